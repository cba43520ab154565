"""A stack of linear layers: is it deep?

No. W₃·(W₂·(W₁·x)) = (W₃·W₂·W₁)·x: without activations between them, layers collapse into one, whose matrix is
the product of theirs and whose rank is at most that of the narrowest. Ten layers of 32 units, the fifth of 3,
show it on random inputs: the outputs span three directions however deep the stack is. With tanh between the
layers they still pass through three numbers, but the way out is curved, and the outputs fill all directions.

A straight line through the input space makes the same point to the eye: a linear stack maps it to a straight
line, tanh bends it.
"""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn as nn
from examples.gallery.exhibit import Exhibit, fact, panels

WIDTHS = (32,) * 4 + (3,) + (32,) * 5


def stack(activation: nn.Layer) -> nn.Layer:
    init = jax.nn.initializers.glorot_normal()
    layers = (part for width in WIDTHS for part in (nn.dense(width, kernel_init=init), activation))
    return nn.serial(*list(layers)[:-1])


def draw(quick: bool = False) -> Exhibit:
    key = jax.random.key(0)
    x = jax.random.normal(jax.random.key(1), (200 if quick else 2000, 32))
    line = jnp.linspace(-4, 4, 201)[:, None] * x[0]
    figure, ((left, right),) = panels(1, 2, size=(8.5, 3.2))
    ranks, bends = {}, {}
    for activation, style in ((nn.linear, "-"), (nn.tanh, "--")):
        name, net = activation.__name__, stack(activation)
        params = net.init(key, x)
        sizes = np.linalg.svd(np.asarray(net.apply(params, x), np.float64), compute_uv=False)
        ranks[name] = int((sizes > 1e-5 * sizes[0]).sum())
        left.semilogy(range(1, 33), sizes / sizes[0], ".", linestyle=style, label=name)
        path = np.asarray(net.apply(params, line))
        bends[name] = np.abs(np.diff(path, 2, axis=0)).max() / np.abs(np.diff(path, axis=0)).max()
        centred = path - path.mean(axis=0)
        along, aside = (centred @ np.linalg.svd(centred)[2][:2].T).T  # in the plane nearest to it
        right.plot(along / np.ptp(along), aside / np.ptp(along), style, label=name)
    left.set(xlabel="direction of the outputs", ylabel="singular value, of the largest", ylim=(1e-9, 2))
    left.set_title("How many directions the outputs span")
    right.set(xlabel="along its main direction (of its length)", ylabel="aside")
    right.set_title("What becomes of a straight line")
    for axes in (left, right):
        axes.legend(title="between the layers")

    net = stack(nn.linear)
    params = net.init(key, x)
    matrix = reduce(jnp.matmul, (layer["kernel"] for layer in params.weights.values() if layer))
    y = net.apply(params, x)
    apart = float(jnp.abs(x @ matrix - y).max() / jnp.abs(y).max())
    equal = (
        f"Ten linear layers give what the product of their matrices gives, within {apart:.0e} of the largest."
    )
    rank = (
        f"The outputs of the linear stack span {ranks['linear']} directions of 32, the width of the "
        f"narrowest layer; with tanh they span {ranks['tanh']}."
    )
    bend = (
        f"Along a straight line the linear stack changes direction by {bends['linear']:.0e} of a step at "
        f"most, the one with tanh by {bends['tanh']:.2f}."
    )
    facts = [
        fact(apart < 1e-5, equal),
        fact(ranks["linear"] == 3 and ranks["tanh"] > 20, rank),
        fact(bends["linear"] < 1e-3 < 0.05 < bends["tanh"], bend),
    ]
    return Exhibit({"collapse": figure}, facts)
