"""An image transformer: does a net need convolutions to read images?

A convolution is built for images: it looks at neighbours, and does the same everywhere. A *vision
transformer* (ViT; Dosovitskiy et al., An Image is Worth 16×16 Words, 2021) is told nothing of that. It cuts
the image into patches, makes a vector of each, adds a learnt row per place, and lets every patch read every
other.

Both learn the same digits of 8 × 8 pixels: a ViT of 16 patches of 2 × 2 pixels, and the convolutional net of
`examples/classify_images.py`. In the paper the ViT overtakes convolutions when it has seen a hundred million
images and more. Here are 1,437, and half and an eighth of them: too few to say which is better at
large. They show what a convolution knows beforehand, and a ViT has to learn.
"""

import jax
import numpy as np
import optax
from matplotlib.figure import Figure

import jaxnn as nn
from examples.classify_images import network
from examples.datasets import load
from examples.gallery.exhibit import Exhibit, fact, panels

NETS = {
    "CNN": network(10),
    "ViT": nn.models.vit(10, features=48, heads=4, depth=3, window=2, dropout_rate=0.1),
}


def trained(net: nn.Layer, images: np.ndarray, labels: np.ndarray, steps: int) -> nn.Params:
    """Adam along a cosine for so many steps of 64 images, whatever their number."""
    epochs = -(-steps // -(-len(images) // 64))
    schedule = optax.warmup_cosine_decay_schedule(0.0, 2e-3, steps // 10, steps)
    optimizer = optax.flatten(optax.adamw(schedule, weight_decay=0.05))
    loss = optax.softmax_cross_entropy_with_integer_labels
    settings = {"epochs": epochs, "batch_size": 64, "progress": False}
    return nn.fit(net, optimizer, loss, (images, labels), key=jax.random.key(0), **settings).params


def draw_errors(sizes: list[int], errors: dict[str, list[float]]) -> Figure:
    figure, ((axes,),) = panels(size=(6, 3.2))
    for style, (name, values) in zip(("o-", "s--"), errors.items(), strict=True):
        axes.loglog(sizes, [100 * value for value in values], style, label=name)
    axes.set(xlabel="training images", ylabel="errors on the test set (%)")
    axes.set_xticks(sizes, sizes)
    axes.minorticks_off()
    axes.legend()
    return figure


def draw(quick: bool = False) -> Exhibit:
    train, test, _ = load("digits")
    steps, parts = (150, [8, 1]) if quick else (600, [8, 2, 1])
    sizes = [len(train.images) // part for part in parts]
    errors: dict[str, list[float]] = {name: [] for name in NETS}
    for name, net in NETS.items():
        for size in sizes:
            params = trained(net, train.images[:size], train.labels[:size], steps)
            right = nn.accuracy(net.apply(params, test.images), test.labels)
            errors[name].append(1 - float(right.mean()))
    count = {
        name: sum(leaf.size for leaf in jax.tree.leaves(net.init(jax.random.key(0), (1, 8, 8, 1)).weights))
        for name, net in NETS.items()
    }
    cnn, vit = errors["CNN"], errors["ViT"]
    listed = "; ".join(f"{n}: {a:.1%} and {b:.1%}" for n, a, b in zip(sizes, cnn, vit, strict=True))
    facts = [
        fact(cnn[0] < vit[0], f"Errors of the CNN and the ViT by training images: {listed}."),
        fact(cnn[-1] < cnn[0] and vit[-1] < vit[0], "Both gain by more images."),
        fact(
            0.8 < count["ViT"] / count["CNN"] < 1.25,
            f"The CNN has {count['CNN']:,} weights, the ViT {count['ViT']:,}.",
        ),
    ]
    return Exhibit({"errors": draw_errors(sizes, errors)}, facts)
