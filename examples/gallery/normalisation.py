"""Normalisation: why does the scale of its inputs decide how fast a net learns?

Gradient descent takes one step size for all weights. A feature with a deviation of 35 curves the loss 60
times as much along its weight as one with a deviation of 4.4 does: a step that is small enough for the first
is far too small for the second, and the path zigzags down a long valley. The distance to the bottom shrinks
by at best (κ − 1) / (κ + 1) per step, where κ is the largest curvature over the smallest. *Standardisation*,
x ↦ (x − mean) / deviation, makes the valley round, and the same method is there in a few steps.

Both surfaces are those of a net of two weights that predicts the progress of diabetes in 442 patients from
their body mass index and their cholesterol (Efron et al., "Least angle regression", 2004). One unit of one
weight is drawn as long as one unit of the other, so the steps stand at right angles to the lines of equal
loss. The net that standardises is `nn.serial(nn.standardize(x), nn.dense(1))`: the statistics of the data
are part of it, are saved with it, and cannot be forgotten when it is used.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_diabetes

import jaxnn as nn
from examples.gallery.exhibit import Exhibit, fact, panels
from jaxnn.plots import loss_surface

Cost = Callable[[jax.Array], jax.Array]
WEIGHTS = ("weight of body mass index", "weight of\ncholesterol")


def valley(before: Any, x: jax.Array, y: jax.Array) -> Cost:
    """The mean squared error of a net of two weights, as a function of them."""
    net = nn.serial(before, head=nn.dense(1, bias=False))
    params = net.init(jax.random.key(0), x)

    def cost(w: jax.Array) -> jax.Array:
        weights = {**params.weights, "head": {"kernel": w[:, None]}}
        return optax.squared_error(net.apply(params._replace(weights=weights), x)[:, 0], y).mean()

    return cost


@jax.jit(static_argnums=0)
def descend(cost: Cost, w: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """κ, the path of 100 steps at the best constant rate, and how far each lies above the bottom."""
    curvature, slope = jax.hessian(cost)(w), jax.grad(cost)(w)
    low, high = jnp.linalg.eigvalsh(curvature)
    path = jax.lax.scan(lambda w, _: (w - 2 / (low + high) * jax.grad(cost)(w), w), w, length=100)[1]
    away = path - (w - jnp.linalg.solve(curvature, slope))  # Newton's step ends at the bottom of a parabola
    return high / low, path, jnp.einsum("ti,ij,tj->t", away, curvature, away) / 2


def draw(quick: bool = False) -> Exhibit:
    bunch: Any = load_diabetes(scaled=False)
    x, y = jnp.asarray(bunch.data[:, [2, 4]], jnp.float32), jnp.asarray(bunch.target, jnp.float32)
    mean, deviation = nn.data.feature_statistics(x)
    y = nn.data.standardize(y, *nn.data.feature_statistics(y))
    figure, ((long,), (round_,), (curves,)) = panels(3, 1, size=(7.5, 7.2))
    start, found = jnp.array([0.0, 0.02]), {}
    for axes, name, before, units, limits in (
        (long, "in their own units", lambda x: x - mean, jnp.ones(2), ((-0.02, 0.18), (-0.03, 0.03))),
        (round_, "standardised", nn.standardize(x), deviation, ((-2.1, 3.2), (-0.7, 0.9))),
    ):
        cost = valley(before, x, y)
        found[name] = ratio, path, above = jax.device_get(descend(cost, start * units))
        loss_surface(cost, limits, paths={"gradient descent": path}, labels=WEIGHTS, levels=16, axes=axes)
        axes.set(title=f"Two features {name}: κ = {ratio:.2g}", aspect="equal")
        curves.semilogy(above, label=name)
    curves.set(title="How far above the bottom", xlabel="step", ylabel="loss − least loss", ylim=(1e-6, 1))
    curves.legend()

    (before, path, slow), (after, _, fast) = found.values()
    many, few = (int(np.argmax(above < above[0] / 100)) for above in (slow, fast))
    turns = int((np.diff(np.sign(np.diff(path[:, 1]))) != 0).sum())
    bias = np.linalg.cond(np.c_[bunch.data[:, [2, 4]], np.ones(len(y))]) ** 2
    speed = (
        f"In their own units (centred) the two features give κ = {before:.0f}, and {many} steps take away "
        f"99 % of the loss that can be avoided; standardised they give κ = {after:.2g}, and {few} do."
    )
    zigzag = (
        f"In the long valley the weight of the cholesterol turns back at {turns} of 98 steps, while that of "
        "the body mass index only creeps forward."
    )
    shift = (
        f"Not even centred, and with a bias as a third weight, κ is {bias:,.0f}: a mean far from 0 is worse "
        "than a wrong scale."
    )
    facts = [
        fact(before > 20 * after and many > 10 * few > 0, speed),
        fact(turns > 80 and np.all(np.diff(path[:, 0]) > 0), zigzag),
        fact(bias > 1000 * before, shift),
    ]
    return Exhibit({"surfaces": figure}, facts)
