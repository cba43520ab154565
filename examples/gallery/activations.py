"""Activations: what makes a net more than one matrix, and where does each of them stop learning?

A unit applies a function to a weighted sum. The first page shows all of the library's that map one number to
one number, with their derivatives by `jax.grad`: what flows back through a unit is multiplied by f′(x). Where
f′ is nearly 0 the unit *saturates* and learns nothing. `step` is flat everywhere, so the net behind it never
learns by gradients. `tanh` and `sigmoid` flatten exponentially; `arctan` looks like them, but flattens as
1/(1 + x²) and still learns where they no longer do. ReLU is flat on one side only; leaky ReLU, PReLU and ELU
on none.

*Maxout* (Goodfellow et al., 2013) takes the largest of several weighted sums, so a unit learns its own convex
function; two pieces give ReLU and |x| exactly. *Softmax* makes probabilities of a whole vector; shifted by
its largest entry (`nn.softmax` does), it cannot overflow.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import jaxnn as nn
from examples.gallery.exhibit import Exhibit, fact, panels
from jaxnn.plots import activation_functions

ALL = {
    name: getattr(nn, name)
    for name in (
        "linear", "step", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish",
        "softplus", "sigmoid", "hard_sigmoid", "log_sigmoid", "tanh", "hard_tanh", "arctan", "soft_sign",
        "hard_silu", "hard_shrink", "soft_shrink", "tanh_shrink",
    )
}  # fmt: skip
ALL["prelu, slope 0.25"] = partial(nn.ops.prelu, slope=0.25)
ALL["threshold 1, value −1"] = partial(nn.ops.threshold, threshold=1.0, value=-1.0)


def slopes(name: str, x: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(jax.vmap(jax.grad(ALL[name]))(jnp.asarray(x)))


def saturation() -> Figure:
    x = np.linspace(0, 10, 200)
    figure, ((axes,),) = panels(size=(6.4, 3.2))
    for i, name in enumerate(("sigmoid", "tanh", "arctan", "soft_sign", "softplus")):
        axes.semilogy(x, slopes(name, x), label=name, linestyle=("-", "--")[i % 2])
    axes.set(xlabel="x", ylabel="derivative", ylim=(1e-7, 2), title="How fast each falls asleep")
    axes.legend(loc="lower left")
    return figure


def maxout_and_softmax() -> Figure:
    x = jnp.linspace(-3, 3, 200)[:, None]
    figure, ((left, right),) = panels(1, 2, size=(8, 3))
    for label, slope in (
        ("|x|: pieces x, −x", [1, -1]),
        ("ReLU: x, 0", [1, 0]),
        ("4 pieces", [-2, -0.5, 0.3, 1]),
    ):
        pieces = x * jnp.array(slope) - (jnp.array(slope) ** 2 / 2 if len(slope) > 2 else 0)
        style = "--" if label.startswith("ReLU") else "-"
        left.plot(x, nn.ops.maxout(pieces, len(slope)), style, label=label)
    left.set(xlabel="x", ylabel="largest piece", title="Maxout: the largest of linear pieces")
    left.legend()
    logits = jnp.stack([x[:, 0], jnp.zeros(200), -jnp.ones(200)], axis=-1)
    for i, (shares, name) in enumerate(zip(nn.softmax(logits).T, ("z₁", "0", "−1"), strict=True)):
        right.plot(x, shares, label=f"logit {name}", linestyle=("-", "--", "-.")[i])
    right.set(xlabel="z₁", ylabel="probability", ylim=(0, 1), title="Softmax of (z₁, 0, −1)")
    right.legend()
    return figure


def draw(quick: bool = False) -> Exhibit:
    x = np.linspace(-5, 5, 1001) + 1e-3  # beside the kinks
    with jax.enable_x64(True):
        wide, h = jnp.asarray(x), 1e-6
        away = max(
            float(jnp.abs(jax.vmap(jax.grad(f))(wide) - (f(wide + h) - f(wide - h)) / (2 * h)).max())
            for f in ALL.values()
        )
    tanh, arctan = (slopes(name, np.array([5.0]))[0] for name in ("tanh", "arctan"))
    asleep = {name: int((slopes(name, x) == 0).sum()) for name in ("step", "relu", "leaky_relu")}
    logits = np.array([1e4, 9999, 0], np.float32)
    shares = np.asarray(nn.softmax(logits))
    facts = [
        fact(
            away < 1e-6,
            f"Each of the {len(ALL)} derivatives equals its difference quotient within {away:.0e} at 1,001 "
            "points.",
        ),
        fact(
            asleep["step"] == 1001 > asleep["relu"] > 400 > asleep["leaky_relu"] == 0,
            f"The derivative is exactly 0 at all 1,001 points for step, at {asleep['relu']} for ReLU, at "
            "none for leaky ReLU.",
        ),
        fact(
            arctan > 100 * tanh > 0,
            f"At x = 5 the derivative of arctan is {arctan:.3f}, {arctan / tanh:.0f} times that of tanh.",
        ),
        fact(
            np.allclose(shares, [1 / (1 + np.exp(-1)), 1 / (1 + np.e), 0]),
            f"Softmax of the logits 10,000, 9,999 and 0 is {', '.join(f'{p:.4f}' for p in shares)}.",
        ),
    ]
    page = activation_functions(ALL, limits=(-7, 7), columns=5)
    return Exhibit({"all": page, "saturation": saturation(), "vectors": maxout_and_softmax()}, facts)
