"""Backpropagation: how does a net find the slope of its loss along every weight at once?

By the chain rule, from the end to the front. A net of two dense layers computes h = x W₁ + b₁, a = tanh(h),
z = a W₂ + b₂, and the cross-entropy L of softmax(z). On the way back each line needs only what its own step
forward left behind (δ is ∂L/∂…, y has a row of 0 and 1 for each of n images):

    δz = (softmax(z) − y) / n      δW₂ = aᵀ δz      δb₂ = Σ δz      δa = δz W₂ᵀ
    δh = δa · (1 − a²)             δW₁ = xᵀ δh      δb₁ = Σ δh      δx = δh W₁ᵀ

They are written out in NumPy below and compared with `jax.grad` of the same net on 1,437 digits, in double
precision. Finite differences, (L(w + h) − L(w − h)) / 2h, check both, but a long step errs by the curve of L
and a short one by rounding. And they run the net twice per weight, where backpropagation has all slopes for
the price of two or three runs (Rumelhart, Hinton and Williams, 1986). First: an image that is read wrong.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import jaxnn as nn
from examples.datasets import load
from examples.gallery.exhibit import Exhibit, fact, panels

NET = nn.serial(hidden=nn.dense(16), tanh=jnp.tanh, head=nn.dense(10))
STEPS = np.logspace(-13, 0, 40)


def by_hand(weights: Any, x: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """The chain rule, forward and back: all that the net computes, and the slopes of the loss."""
    first, second = weights["hidden"], weights["head"]
    a = np.tanh(x @ first["kernel"] + first["bias"])
    z = a @ second["kernel"] + second["bias"]
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    dz = (p - np.eye(10)[labels]) / len(x)
    dh = dz @ second["kernel"].T * (1 - a**2)
    hidden, head = {"kernel": x.T @ dh, "bias": dh.sum(axis=0)}, {"kernel": a.T @ dz, "bias": dz.sum(axis=0)}
    dx, slopes = dh @ first["kernel"].T, {"hidden": hidden, "head": head}
    return {"a": a, "p": p, "dz": dz, "dh": dh, "dx": dx, "slopes": slopes}


def loss(weights: Any, x: Any, labels: Any) -> jax.Array:
    chances = nn.log_softmax(NET.apply(nn.Params(weights, {}), x))
    return -jnp.take_along_axis(chances, labels[:, None], axis=1).mean()


def draw_flow(run: dict[str, Any], x: np.ndarray, label: int) -> Any:
    """One image on its way through the net, and its slopes on their way back."""
    figure, rows = panels(2, 3, size=(9, 4.4))
    rows[0, 0].imshow(x.reshape(8, 8), cmap="gray_r")
    rows[1, 0].imshow((run["dx"] / np.abs(run["dx"]).max()).reshape(8, 8), cmap="RdBu_r", vmin=-1, vmax=1)
    rows[0, 0].set(title="x, the image", xticks=[], yticks=[], ylabel="forward →")
    rows[1, 0].set(title="δx: ink where it is blue would help", xticks=[], yticks=[], ylabel="← back")
    titles = ("a = tanh(h)", f"softmax(z); the true class is {label}", "δh", "δz = softmax(z) − y")
    for i, (name, title) in enumerate(zip(("a", "p", "dh", "dz"), titles, strict=True)):
        axes, values = rows[i // 2, 1 + i % 2], run[name][0]
        axes.bar(range(len(values)), values, color=f"C{i // 2}")
        axes.set(title=title, xlabel=("hidden unit", "class")[i % 2], xticks=range(0, len(values), 2 - i % 2))
    return figure


@jax.jit
@partial(jax.vmap, in_axes=(0, None, None, None, None))
def difference(h: jax.Array, weights: Any, direction: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
    """The slope of the loss along a direction, by a central difference of step ``h``."""
    there, here = (jax.tree.map(lambda w, v, h=h: w + h * v, weights, direction) for h in (h, -h))
    return (loss(there, x, labels) - loss(here, x, labels)) / (2 * h)


@jax.enable_x64(True)
def draw(quick: bool = False) -> Exhibit:
    (images, y), (unseen, answers), _ = load()
    x = images.reshape(-1, 64).astype(np.float64)
    weights = jax.device_get(NET.init(jax.random.key(0), x).weights)
    forward, back = (jax.jit(f).lower(weights, x, y).compile() for f in (loss, jax.grad(loss)))
    slopes = back(weights, x, y)
    hand, auto = (np.asarray(ravel_pytree(tree)[0]) for tree in (by_hand(weights, x, y)["slopes"], slopes))
    figure, ((left, right),) = panels(1, 2, size=(9, 3.6))
    left.plot(auto, hand, ".", markersize=4)
    left.set(title=f"The slopes of {hand.size:,} weights", xlabel="by jax.grad", ylabel="by hand")
    left.locator_params(nbins=5)
    steepest, least = np.linalg.norm(auto), []
    for dtype in (np.float64, np.float32):
        direction = jax.tree.map(lambda slope: slope / steepest, slopes)
        found = difference(*jax.tree.map(dtype, (STEPS, weights, direction, x)), y)
        error = np.abs(np.asarray(found, np.float64) / steepest - 1)
        right.loglog(STEPS, error, label=dtype.__name__)
        least.append(error.min())
    right.set(title="Finite differences", xlabel="step h", ylabel="relative error")
    right.legend()
    for _ in range(60 if quick else 200):
        weights = jax.tree.map(lambda w, dw: w - dw, weights, by_hand(weights, x, y)["slopes"])
    worst = [np.argmin(by_hand(weights, x, y)["p"][np.arange(len(y)), y])]
    flow = draw_flow(by_hand(weights, x[worst], y[worst]), x[worst], y[worst][0])

    apart, cost = np.abs(hand - auto).max(), back.cost_analysis()["flops"] / forward.cost_analysis()["flops"]
    share = 100 * (by_hand(weights, unseen.reshape(-1, 64), answers)["p"].argmax(axis=1) == answers).mean()
    same = f"The {hand.size:,} slopes by hand and by `jax.grad` differ by {apart:.0e} at most."
    check = f"Finite differences are off by at least {least[0]:.0e} in float64, {least[1]:.0e} in float32."
    price = (
        f"All slopes cost {cost:.1f} times the arithmetic of the loss, differences {2 * hand.size:,} times."
    )
    learnt = f"Trained by the lines of NumPy alone, the net reads {share:.0f} % of the test images."
    facts = [fact(apart < 1e-14, same), fact(least[0] < 1e-8 < 1e-7 < least[1], check)]
    return Exhibit(
        {"flow": flow, "slopes": figure}, [*facts, fact(1.5 < cost < 4, price), fact(share > 85, learnt)]
    )
