"""A deep network: what happens between an image and its class?

The net of `examples/classify_images.py`, two blocks of two convolutions and a dense head, learns to read
hand-written digits of 8 × 8 pixels. The test images are only watched, and nothing was chosen by them.

`nn.activations` gives what every layer makes of an image. The maps of the first convolution still look like
the digit, a 3; those of the last are coarse, and say what is there rather than how it looks. How far a layer
has come from the one to the other is measured by the share of its variance that lies between the classes,
not within them: in the pixels most of what differs is handwriting, in the last hidden layer it is the class.
Each panel shows a layer along the two directions in which the classes differ most.

The last figure has the test images whose true class gets the lowest probability; the mistakes are framed.
"""

from collections.abc import Mapping

import jax
import numpy as np
from matplotlib.figure import Figure

import jaxnn as nn
from examples.classify_images import SETTINGS, network, train
from examples.datasets import load
from examples.gallery.exhibit import Exhibit, fact, panels
from jaxnn import plots

#: Where to look, in the order of the layers.
LAYERS = {
    "pixels": None,
    "first convolution": "fine/relu_0",
    "first block": "fine/max_pool_0",
    "second block": "coarse/max_pool_0",
    "last hidden layer": "head/relu_0",
}


def means(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean of each class, (10, F), about the mean of all."""
    return np.stack([values[labels == label].mean(axis=0) for label in range(10)]) - values.mean(axis=0)


def between_classes(values: np.ndarray, labels: np.ndarray) -> float:
    """The share of the variance that is left when each image is replaced by the mean of its class."""
    return float(np.square(means(values, labels)[labels]).mean() / values.var(axis=0).mean())


def draw_classes(seen: Mapping[str, np.ndarray], labels: np.ndarray) -> Figure:
    """What each layer makes of all images, along the two directions in which the classes differ most."""
    figure, axes = panels(1, len(seen), size=(10, 2.8), subplot_kw={"xticks": [], "yticks": []})
    for ax, (name, values) in zip(axes[0], seen.items(), strict=True):
        _, _, directions = np.linalg.svd(means(values, labels), full_matrices=False)
        places = values @ directions[:2].T
        for label in range(10):
            x, y = places[labels == label].T
            ax.scatter(x, y, s=14, marker=f"${label}$", color=plots.COLOURS[label % 6], linewidths=0.3)
        ax.set_title(f"{name}\n{between_classes(values, labels):.0%} between classes")
    return figure


def draw_doubtful(images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> Figure:
    """The images whose true class gets the lowest probability."""
    own = probabilities[np.arange(len(labels)), labels]
    shown = np.argsort(own)[:20]
    read = probabilities.argmax(axis=1)
    titles = [
        f"{read[i]}, {probabilities[i].max():.0%}" + (f"\nnot {labels[i]}" if read[i] != labels[i] else "")
        for i in shown
    ]
    return plots.image_grid(
        images[shown], titles, marked=(read != labels)[shown], heading="read as, and how surely"
    )


def draw(quick: bool = False) -> Exhibit:
    data, (epochs, batch_size, rate) = load(), SETTINGS["digits"]
    net = network(len(data.names))
    params, history = train(data, net, jax.random.key(0), 3 if quick else epochs, batch_size, rate)
    images, labels = data.test
    outputs = jax.device_get(jax.jit(lambda x: nn.activations(net, params, x))(images))
    seen = {
        name: (outputs[path] if path else images).reshape(len(images), -1) for name, path in LAYERS.items()
    }
    three = int(np.argmax(labels == 3))
    shares = [between_classes(values, labels) for values in seen.values()]
    probabilities = np.asarray(nn.softmax(outputs["head/dense_1"]))
    figures = {
        "learning": plots.learning_curves(history),
        "first-maps": plots.feature_maps(outputs["fine/relu_0"][..., :16], example=three),
        "last-maps": plots.feature_maps(outputs["coarse/relu_1"][..., :16], example=three),
        "classes": draw_classes(seen, labels),
        "doubtful": draw_doubtful(images, labels, probabilities),
    }
    accuracy, wrong = history["val_accuracy"][-1], int((probabilities.argmax(axis=1) != labels).sum())
    counted, (pixels, *_, second, last) = 1 - wrong / len(labels), shares
    facts = [
        fact(
            accuracy > 0.88, f"Of {len(labels)} test images {accuracy:.1%} are read right; mistakes: {wrong}."
        ),
        fact(abs(accuracy - counted) < 1e-6, f"Looking inside changes nothing: {counted:.1%} there too."),
        fact(pixels < 0.5 < second, f"Of the pixels' variance {pixels:.0%} lies between the classes."),
        fact(
            second < last, f"Behind the second block {second:.0%} does, in the last hidden layer {last:.0%}."
        ),
    ]
    return Exhibit(figures, facts)
