"""Dying ReLU: what kills a unit, and why does it not come back?

A rectifier, y = max(z, 0), has the slope 0 where z < 0. If one bad step moves a unit so far that z < 0 for
*every* image, none of them sends a gradient to its weights, and no later step fixes it: the unit is dead.

Here a net of five layers of 64 units learns handwritten digits by Adam at the rate 0.001. The sixth pass is
an accident (grey): its rate is far too large. Then the rate is 0.001 again, and there is time to heal. A unit
counts as dead when it gives the same number for all images. It can revive only if the layers *before* it
change what it gets. Leaky ReLU (slope 0.01 below zero), PReLU (a slope that is learnt, from 0.25 on) and ELU
(eᶻ − 1, whose slope eᶻ falls to 0) start from the same weights and see the same images.

Maas, Hannun and Ng, "Rectifier nonlinearities improve neural network acoustic models", 2013; He et al.,
"Delving deep into rectifiers", 2015; Clevert, Unterthiner and Hochreiter, "Exponential linear units", 2016.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import jaxnn as nn
from examples.datasets import load
from examples.gallery.exhibit import Exhibit, fact, panels

KINDS = {"ReLU": nn.relu, "leaky ReLU": nn.leaky_relu, "PReLU": nn.prelu(), "ELU": nn.elu}
STEPS, LOOKS, ACCIDENT = 45, 3, 5  # a pass: 45 steps of 32 images, with 3 looks into the net
BEFORE, AFTER = LOOKS * ACCIDENT, LOOKS * (ACCIDENT + 1)  # the looks on either side of the accident
Looks = tuple[jax.Array, ...]  # of each unit whether it is dead and the range of its inputs; right answers


def study(kind: nn.lifting.LayerLike, rates: jax.Array, seeds: int, passes: int) -> Looks:
    """Trains a net for each seed and rate of the accident; returns looks (seeds, rates, time, ...)."""
    images, labels = map(jnp.asarray, load().train)
    x = images.reshape(-1, 64)
    rows = np.random.default_rng(0).integers(len(x), size=(passes * LOOKS, STEPS // LOOKS, 32))
    block = nn.serial(nn.dense(64), kind)
    net = nn.serial(hidden=nn.repeat(block, 5), head=nn.dense(10))

    def layer(x: jax.Array, weights: nn.params.Weights) -> tuple[jax.Array, Looks]:
        z, y = nn.activations(block, nn.Params(weights, {}), x).values()
        return y, (y.min(0) == y.max(0), z.min(0), z.max(0))

    def run(params: nn.Params, rate: jax.Array) -> Looks:
        optimizer = optax.adam(lambda step: jnp.where(step // STEPS == ACCIDENT, rate, 0.001))
        step = nn.make_step(net, optimizer, optax.softmax_cross_entropy_with_integer_labels)

        def part(state: nn.TrainState, rows: jax.Array) -> tuple[nn.TrainState, Looks]:
            units = jax.lax.scan(layer, x, state.params.weights["hidden"])[1]
            right = nn.accuracy(net.apply(state.params, x), labels).mean()
            return jax.lax.scan(lambda s, row: step(s, x[row], labels[row]), state, rows)[0], (*units, right)

        return jax.lax.scan(part, nn.init_state(net, optimizer, keys[0], x.shape, params=params), rows)[1]

    keys, runs = jax.random.split(jax.random.key(0), seeds), jax.jit(jax.vmap(run, (None, 0)))
    return tuple(map(np.stack, zip(*(runs(net.init(key, x.shape), rates) for key in keys), strict=True)))


def draw(quick: bool = False) -> Exhibit:
    rates = jnp.array([0.001, 0.03, 0.1] if quick else [0.001, 0.003, 0.01, 0.03, 0.1])
    looks = [study(kind, rates, 2 if quick else 4, 12 if quick else 20) for kind in KINDS.values()]
    dead, low, high, right = map(np.stack, zip(*looks, strict=True))  # (kinds, seeds, rates, time, ...)
    shares, final = dead.mean((1, 4, 5)), right[..., -1].mean(1)  # (kinds, rates, time), (kinds, rates)
    relu, elu = dead[[0, 3], :, -2]  # at 0.03: (seeds, time, layers, units)
    calm, hit = shares[[0, 3], -2][:, [BEFORE, AFTER]].T
    killed, healed = relu[:, AFTER], relu[:, AFTER] & ~relu[:, -1]
    share, first = (healed[:, part].sum() / killed[:, part].sum() for part in (slice(5), 0))
    peak = high[3, :, -2, AFTER][elu[:, AFTER]].max()
    died = f"ReLU: {calm[0]:.0%} of the units are dead before a pass at 0.03, {hit[0]:.0%} after it."
    revived = f" Of these {share:.0%} live at the end; of layer 1's, which sees the images, {first:.0%}."
    flat = f"ELU: {calm[1]:.0%} and {hit[1]:.0%}; their z is at most {peak:.1f}, and eᶻ − 1 rounded to −1."
    answers = ", ".join(f"{name} {share:.0%}" for name, share in zip(KINDS, final[:, -1], strict=True))
    facts = [
        fact(calm[0] < 0.25 and hit[0] > 0.45 and share < 0.2 and first < 0.03, died + revived),
        fact(not dead[1:3].any(), "Leaky ReLU, PReLU: no unit is dead at any time, after any rate."),
        fact(calm[1] < 0.01 and hit[1] > 0.15 and peak < -10, flat),
        fact(final[2, -1] > final[0, -1] + 0.2, f"Right answers at the end, after a pass at 0.1: {answers}."),
    ]
    unit = units(relu, low[0, 0, -2], high[0, 0, -2])
    return Exhibit({"units": unit, "rates": by_rate(rates, shares, final)}, facts)


def units(dead: np.ndarray, low: np.ndarray, high: np.ndarray) -> Figure:
    """ReLU with an accident at 0.03: the dead by layer; one of them, which had been on either side of 0."""
    figure, ((layers, unit),) = panels(1, 2, size=(8, 3.2))
    time = np.arange(len(low)) / LOOKS
    layers.plot(time, 100 * dead.mean((0, 3)), label=[f"layer {i + 1}" for i in range(5)])
    layers.set(title="Dead ReLUs by layer", ylabel="units (%)", ylim=(-3, 103))
    one = np.argmax(np.where(dead[0, -1, 2], np.minimum(high, -low)[BEFORE, 2], -np.inf))
    unit.fill_between(time, low[:, 2, one], high[:, 2, one], alpha=0.5, label="of all images")
    unit.axhline(0, color="black", label="the slope is 0 below")
    unit.set_yscale("symlog", linthresh=1)
    unit.set(title="Inputs z of one that died, in layer 3", ylabel="z (logarithmic beyond ±1)")
    for axes in (layers, unit):
        axes.axvspan(ACCIDENT, ACCIDENT + 1, color="0.85", zorder=0)
        axes.set_xlabel("passes through the images")
        axes.legend()
    return figure


def by_rate(rates: jax.Array, dead: np.ndarray, right: np.ndarray) -> Figure:
    """What the rate of the accident leaves at the end, of units and of answers."""
    figure, ((units, answers),) = panels(1, 2, size=(8, 3.2))
    for axes, shares, title in ((units, dead[..., -1], "Dead units"), (answers, right, "Right answers")):
        for kind, share, line in zip(KINDS, shares, ("o-", "s-", "D--", "^-"), strict=True):
            axes.plot(rates, 100 * share, line, label=kind)
        axes.set(title=f"{title} at the end", ylabel="%", xscale="log", ylim=(-3, 103))
        axes.set_xlabel("rate of the accident (at 0.001 there is none)")
        axes.legend()
    return figure
