"""Initialisation: how large should the first weights be?

A unit sums n inputs, each times a weight of deviation σ: the sum is √n·σ times as large as one input. Ten
layers do so ten times. Too small, and nothing is left of an image; too large, and the numbers explode, or
tanh sits at ±1, where it has no slope. Xavier's σ = 1/√n (for as many outputs as inputs) keeps the size while
tanh is nearly linear. ReLU sets half of its inputs to 0, and with them half of the mean square; He's
σ = √(2/n) doubles it in advance.

Standardised handwritten digits go through ten dense layers of 256 units that have learnt nothing yet. The
panels show how the outputs of a layer are distributed (of ReLU those that are not 0), with mean ± deviation.
The curves are their root mean square; black and dashed, what the weights alone predict: a factor of σ·√n per
layer, with ReLU σ·√(n/2).

Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010; He et
al., "Delving deep into rectifiers", 2015.
"""

import jax
import numpy as np
from jax.nn.initializers import Initializer, glorot_normal, he_normal, normal
from matplotlib.figure import Figure

import jaxnn as nn
from examples.datasets import load
from examples.gallery.exhibit import Exhibit, fact, panels
from jaxnn import plots

DEPTH, SHOWN = 10, (0, 2, 4, 6, 9)
INITS = {"σ = 0.0001": normal(0.0001), "σ = 10": normal(10.0), "Xavier": glorot_normal(), "He": he_normal()}


def through(
    activation: nn.lifting.LayerLike, init: Initializer, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What ten layers give (layers, images, units), and the deviation σ·√n that they give a sum of inputs."""
    net = nn.serial(*[nn.dense(256, kernel_init=init), activation] * DEPTH)
    params = net.init(jax.random.key(0), x.shape)
    kernels = [params.weights[f"dense_{i}"]["kernel"] for i in range(DEPTH)]
    outputs = [*nn.activations(net, params, x).values()][1::2]
    return np.stack(outputs), np.array([kernel.std() * len(kernel) ** 0.5 for kernel in kernels])


def draw(quick: bool = False) -> Exhibit:
    x = load().train.images[: 100 if quick else 1000].reshape(-1, 64)
    x = (x - x.mean()) / x.std()
    tanh, relu = ([through(f, init, x) for init in INITS.values()] for f in (nn.tanh, nn.relu))
    size = [np.stack([rms(y) for y, _ in seen]) for seen in (tanh, relu)]  # (inits, layers)
    foreseen = [
        np.stack([(gains * c).cumprod() for _, gains in seen]) for seen, c in ((tanh, 1), (relu, 0.5**0.5))
    ]
    (lost, _, xavier, he), saturated = size[0][:, -1], (np.abs(tanh[1][0][-1]) > 0.99).mean()
    off = np.exp(np.abs(np.log(size[1] / foreseen[1])).max()) - 1
    _, explodes, shrinks, keeps = (size[1][:, -1] / size[1][:, 0]) ** (1 / (DEPTH - 1))
    end = f"after ten layers the root mean square is {xavier:.2f} with Xavier's σ, {he:.2f} with He's"
    growth = (
        f"by {shrinks:.2f} with Xavier's (1/√2 = 0.71), {keeps:.2f} with He's, {explodes:.0f} with σ = 10"
    )
    facts = [
        fact(lost < 1e-20, f"Tanh, σ = 0.0001: of inputs of size 1, {lost:.0e} is left in layer 10."),
        fact(
            saturated > 0.9, f"Tanh, σ = 10: {saturated:.0%} of layer 10 is beyond ±0.99 (slope below 0.02)."
        ),
        fact(0.15 < xavier < 0.4 < he < 0.7, f"Tanh: {end}."),
        fact(
            abs(shrinks**2 - 0.5) < 0.1 and abs(keeps - 1) < 0.1 < 50 < explodes,
            f"ReLU: a layer multiplies it {growth}.",
        ),
        fact(
            off < 0.5,
            f"ReLU: from {size[1].min():.0e} to {size[1].max():.0e} predictions are at most {off:.0%} off.",
        ),
    ]
    figures = {
        "tanh": outputs(tanh, (-1, 1), "tanh"),
        "relu": outputs(relu, (0, 4), "ReLU, where it is not 0"),
    }
    return Exhibit({**figures, "size": sizes(size, foreseen)}, facts)


def rms(y: np.ndarray) -> np.ndarray:
    """The root mean square of each layer; in float64, where 10²⁰ has a square."""
    return np.sqrt(np.mean(np.square(y, dtype=np.float64), axis=(1, 2)))


def outputs(seen: list[tuple[np.ndarray, np.ndarray]], limits: tuple[float, float], label: str) -> Figure:
    """A row of histograms for each initialiser."""
    rows = zip(INITS, seen, strict=True)
    values = {f"{name}, layer {i + 1}": y[i][y[i] != 0] for name, (y, _) in rows for i in SHOWN}
    figure = plots.histograms(values, limits=limits, columns=len(SHOWN), xlabel=f"outputs of {label}")
    figure.set_size_inches(9.6, 6.4)
    return figure


def sizes(size: list[np.ndarray], foreseen: list[np.ndarray]) -> Figure:
    """Root mean squares by layer: all, and once more closely those that stay near 1."""
    figure, (row,) = panels(1, 3, size=(10, 3.4))
    layers = range(1, DEPTH + 1)
    for axes, title, lines, expected in zip(
        row, ("tanh", "ReLU", "ReLU, closely"), (*size, size[1]), (*foreseen, foreseen[1]), strict=True
    ):
        axes.plot(layers, lines.T, "o-", markersize=4, label=[*INITS])
        axes.plot(layers, expected.T, "k--", linewidth=1, label=["predicted", *[None] * 3])
        axes.set(title=title, xlabel="layer", yscale="log", xticks=layers, ylim=(1e-33, 1e25))
    row[0].set_ylabel("root mean square of the outputs")
    row[2].set_ylim(1e-2, 10)
    row[0].legend()
    return figure
