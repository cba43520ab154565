"""Optimisation: how does a net walk downhill, and how far should it step?

All training is w ← w − η · ∇L(w): measure the slope of the loss, go a little way down. What differs is how
much data a step looks at, what it remembers, and how long it is. One surface shows it: a net of two weights,
and two blood values of 442 patients (total and LDL cholesterol, which correlate at 0.9).

*Full-batch* descent sees all patients at each step, *stochastic* descent one, *mini-batches* stand between.
In as many passes over the data they take more steps, but their noise does not fade: they end in a cloud whose
size falls with the learning rate and with the root of the batch size. *Momentum* (Polyak, 1964; Nesterov,
1983) adds up past slopes: across a valley they cancel, along it they grow. Where curvatures differ by κ it
needs some √κ steps, plain descent some κ. The limit of the rate is 2 / the largest curvature.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_diabetes

import jaxnn as nn
from examples.gallery.exhibit import Exhibit, fact, panels
from jaxnn.plots import loss_surface

NET = nn.dense(1, bias=False)
START = np.array([-0.6, 1.4], np.float32)
MAP: Any = {"limits": ((-1.7, 1.1), (-0.9, 1.7)), "labels": ("weight of total cholesterol", "weight of LDL")}


@cache
def patients() -> tuple[np.ndarray, np.ndarray]:
    """Two blood values and the progress of diabetes, all standardised: (442, 2) and (442, 1)."""
    bunch: Any = load_diabetes(scaled=False)
    table = np.c_[bunch.data[:, [4, 5]], bunch.target]
    table = ((table - table.mean(axis=0)) / table.std(axis=0)).astype(np.float32)
    return table[:, :2], table[:, 2:]


def cost(w: jax.Array) -> jax.Array:
    x, y = patients()
    return optax.squared_error(NET.apply(nn.Params({"kernel": w[:, None]}, {}), x), y).mean()


@jax.jit(static_argnums=0)
def walk(optimizer: optax.GradientTransformation, rows: jax.Array) -> jax.Array:
    """The weights before each step, taken on the patients that a row of ``rows`` names: (steps, 2)."""
    x, y = map(jnp.asarray, patients())
    step = nn.make_step(NET, optimizer, optax.squared_error)

    def keep(state: nn.TrainState, chosen: jax.Array) -> tuple[nn.TrainState, jax.Array]:
        return step(state, x[chosen], y[chosen])[0], state.params.weights["kernel"][:, 0]

    start = nn.Params({"kernel": START[:, None]}, {})
    state = nn.training.init_state(NET, optimizer, jax.random.key(0), params=start)
    return jax.lax.scan(keep, state, rows)[1]


def draw_noise(bottom: np.ndarray) -> tuple[Any, list[str]]:
    figure, (row,) = panels(1, 3, size=(10.5, 3.4))
    shuffled = np.random.default_rng(0).permuted(np.tile(np.arange(442), (40, 1)), axis=1)
    away, cloud = [], []
    for axes, size in zip(row, (442, 34, 1), strict=True):
        path = np.asarray(walk(optax.sgd(0.05), shuffled.reshape(-1, size)))
        loss_surface(cost, paths={"": path}, axes=axes, **MAP)
        axes.get_legend().remove()
        axes.set_title(f"40 passes: {len(path):,} steps of {size}")
        away.append(np.linalg.norm(path[-1] - bottom))
        cloud.append(np.linalg.norm(path[len(path) // 2 :].std(axis=0)))
    near = f"40 passes end {away[0]:.2g} from the bottom with all patients per step, {away[1]:.2g} with 34."
    noise = f"One patient per step ends in a cloud of deviation {cloud[2]:.2g}, 34 in one of {cloud[1]:.2g}."
    hand = jax.lax.scan(lambda w, _: (w - 0.05 * jax.grad(cost)(w), w), START, length=40)[1]
    apart = np.abs(hand - walk(optax.sgd(0.05), shuffled)).max()
    same = f"`w - 0.05 * jax.grad(cost)(w)` and `optax.sgd(0.05)` never differ by more than {apart:.0e}."
    closer, calmer = away[0] > 5 * away[1], 3 < cloud[2] / cloud[1] < 15  # √34 = 5.8
    return figure, [fact(closer, near), fact(calmer, noise), fact(apart < 1e-5, same)]


def draw_steps(bottom: np.ndarray, low: float, high: float) -> tuple[Any, list[str]]:
    figure, ((left, middle, right),) = panels(1, 3, size=(11, 3.9))
    root = (high / low) ** 0.5
    memory = {
        "plain": optax.sgd(2 / (low + high)),
        "momentum": optax.sgd(4 / (low**0.5 + high**0.5) ** 2, momentum=((root - 1) / (root + 1)) ** 2),
        "Nesterov": optax.sgd(1 / high, momentum=(root - 1) / (root + 1), nesterov=True),
    }
    rates = {f"{share} of the limit": optax.sgd(share * 2 / high) for share in (0.02, 0.2, 0.95, 1.05)}
    paths = {name: walk(way, np.tile(np.arange(442), (60, 1))) for name, way in (memory | rates).items()}
    above = {name: np.asarray(jax.vmap(cost)(path) - cost(bottom)) for name, path in paths.items()}
    loss_surface(cost, paths={name: paths[name] for name in memory}, axes=left, **MAP)
    left.get_legend().remove()  # its colours are those of the middle
    for axes, title, names in ((middle, f"√κ = {root:.1f}", memory), (right, "Learning rate", rates)):
        axes.semilogy(np.stack([above[name] for name in names], axis=1), label=list(names))
        axes.set(title=title, xlabel="step", ylabel="loss − least loss", ylim=(1e-5, 1e3))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    plain, heavy = (int(np.argmax(above[name] < 1e-3)) for name in ("plain", "momentum"))
    small, _, best, large = (above[name][-1] for name in rates)
    speed = f"Plain descent is within 0.001 of the least loss in {plain} steps, with momentum in {heavy}."
    cliff = f"60 steps end {small:.2g} off at 0.02 of the limit, under 0.001 at 0.95, {large:,.0f} at 1.05."
    return figure, [
        fact(plain > 1.5 * heavy > 0, speed),
        fact(best < 1e-3 < 0.1 < small < 1e3 < large, cliff),
    ]


def draw(quick: bool = False) -> Exhibit:
    bottom = np.linalg.lstsq(*patients())[0][:, 0]
    noise, facts = draw_noise(bottom)
    steps, more = draw_steps(bottom, *np.linalg.eigvalsh(jax.hessian(cost)(bottom)))
    return Exhibit({"noise": noise, "steps": steps}, facts + more)
