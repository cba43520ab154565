"""Universal approximation: can one hidden layer fit any function, if only it is wide enough?

Yes (Cybenko, 1989; Hornik, 1991), and the proof can be built. A unit that switches from 0 to 1 at some place
adds a step there: n of them make a staircase, whose error falls as 1/n. A ReLU adds a kink instead: n of them
join n + 1 points of the function by straight lines, and the error falls as 1/n². The first two nets below are
put together like that, weight by weight, without any learning; the function is sin 2πx + ½ sin 5πx.

The theorem says that good weights exist, not that training finds them. Tanh units trained by Adam beat the
built nets while they are few, as they move to where they are needed (marks show where each switches). But
their error soon stops falling: more units would help if descent could place them. And the theorem speaks of
an interval (shaded): outside of it nothing is promised, and each fit leaves the function.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.nn.initializers import normal

import jaxnn as nn
from examples.gallery.exhibit import Exhibit, fact, panels
from jaxnn.plots import COLOURS


def function(x: Any) -> Any:
    return jnp.sin(2 * jnp.pi * x) + jnp.sin(5 * jnp.pi * x) / 2


def network(width: int, activation: Any) -> nn.Layer:
    # Units that switch all over the interval: with the usual small weights most would be linear in it.
    hidden = nn.dense(width, kernel_init=normal(4), bias_init=normal(2))
    return nn.serial(hidden=hidden, bend=activation, head=nn.dense(1))


def build(width: int, activation: Any) -> nn.Params:
    """The net of steps or of ReLUs that meets the function at evenly spaced points, weight by weight."""
    points = np.linspace(-1, 1, width + 1)
    rises = np.diff(function(points))
    places, heights = points[:-1], np.diff(rises / np.diff(points), prepend=0)
    if activation is nn.step:
        places, heights = (points[:-1] + points[1:]) / 2, rises
    hidden = {"kernel": np.ones((1, width)), "bias": -places}
    head = {"kernel": heights[:, None], "bias": function(points[:1])}
    return nn.Params(jax.tree.map(np.float32, {"hidden": hidden, "bend": {}, "head": head}), {})


def train(net: nn.Layer, steps: int, seeds: int) -> nn.Params:
    """So many copies of the net, each from another seed, trained in one program."""
    x = jnp.linspace(-1, 1, 256)[:, None]
    optimizer = optax.adam(optax.cosine_decay_schedule(0.02, steps))
    step = nn.make_step(net, optimizer, optax.squared_error)

    def run(key: jax.Array) -> nn.Params:
        state = nn.training.init_state(net, optimizer, key, x)
        return jax.lax.fori_loop(0, steps, lambda _, state: step(state, x, function(x))[0], state).params

    return jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), seeds))


@jax.jit(static_argnums=0)
def off(net: nn.Layer, params: nn.Params, low: float = -1, high: float = 1) -> jax.Array:
    """The root of the mean squared error between ``low`` and ``high``."""
    x = jnp.linspace(low, high, 1001)[:, None]
    return jnp.sqrt(optax.squared_error(net.apply(params, x), function(x)).mean())


def draw_fits(best: nn.Params) -> Any:
    figure, (row,) = panels(1, 3, size=(10, 3.4), sharex=True, sharey=True)
    x = jnp.linspace(-1.4, 1.4, 1401)[:, None]
    fits = (nn.step, build(16, nn.step)), (nn.relu, build(16, nn.relu)), (jnp.tanh, best)
    for axes, (bend, params) in zip(row, fits, strict=True):
        net, units = network(16, bend), params.weights["hidden"]
        places = -units["bias"] / units["kernel"][0]
        axes.plot(x, function(x), color="0.6", linewidth=3, label="function")
        axes.plot(x, net.apply(params, x), color=COLOURS[1], label="net")
        axes.plot(places, np.full_like(places, -2.2), "|", color=COLOURS[0], label="units")
        axes.axvspan(-1, 1, color="0.95", zorder=0)
        axes.set(title=f"16 units of {bend.__name__}: off by {off(net, params):.2g}", xlabel="x")
    row[0].set(xlim=(-1.4, 1.4), ylim=(-2.4, 2.4))
    figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def draw(quick: bool = False) -> Exhibit:
    widths, steps, seeds = ((16, 64), 4000, 4) if quick else ((2, 4, 8, 16, 32, 64, 128), 10000, 8)
    sizes = np.array([16, 64, 256] if quick else [4, 8, 16, 32, 64, 128, 256])
    stairs, lines = (np.array([off(network(n, f), build(n, f)) for n in sizes]) for f in (nn.step, nn.relu))
    nets = {n: train(network(n, jnp.tanh), steps, seeds) for n in widths}
    learnt = np.array([jax.vmap(lambda q, n=n: off(network(n, jnp.tanh), q))(p) for n, p in nets.items()])
    middle, at = np.median(learnt, axis=1), widths.index(16)
    figure, ((axes,),) = panels(size=(6.6, 4))
    axes.loglog(sizes, np.stack([stairs, lines], axis=1), "o-", label=["steps, built", "ReLUs, built"])
    axes.loglog(widths, middle, "^-", label=f"tanh, trained: {seeds} seeds, median and range")
    axes.fill_between(widths, learnt.min(axis=1), learnt.max(axis=1), color=COLOURS[2], alpha=0.2)
    axes.set(title="The error inside [−1, 1]", xlabel="hidden units", ylabel="root mean squared error")
    axes.legend()
    best = jax.tree.map(lambda leaf: leaf[learnt[at].argmin()], nets[16])
    slopes = [np.polyfit(np.log(sizes[-3:]), np.log(error[-3:]), 1)[0] for error in (stairs, lines)]
    built, last = dict(zip(sizes, lines, strict=True)), widths[-1]
    gains = middle[at] / middle[-1], built[16] / built[last]
    inside, outside = (off(network(16, jnp.tanh), best, *ends) for ends in ((-1.0, 1.0), (1.0, 1.4)))
    order = f"The error of n built steps goes as n^−{-slopes[0]:.2f}, of ReLUs as n^−{-slopes[1]:.2f}."
    few = f"16 tanh are off by {middle[at]:.2g} after training (median), 16 built ReLUs by {built[16]:.2g}."
    many = f"{last} units do {gains[0]:.1f} times better than 16 if trained, {gains[1]:.0f} times if built."
    edge = f"The best 16 tanh are off by {inside:.2g} in the interval, by {outside:.2g} from 1 to 1.4."
    facts = [fact(np.abs(np.add(slopes, [1, 2])) < 0.1, order), fact(middle[at] < 0.6 * built[16], few)]
    facts += [fact(3 * gains[0] < gains[1], many), fact(outside > 5 * inside, edge)]
    return Exhibit({"fits": draw_fits(best), "errors": figure}, facts)
