"""Batch normalisation: what does a net gain when each of its layers is standardised too?

Standardised inputs help the first layer. The inputs of all others move while the net learns, so *batch
normalisation* (Ioffe and Szegedy, 2015) standardises every unit over the batch at hand, and lets a learnt
scale and shift have the last word: y = (x − mean) / √(variance + ε) · scale + bias. The first experiment of
that paper, three hidden layers of sigmoids that read digits, is repeated here at seven learning rates, and
with ReLUs beside. Sigmoids gain most; ReLUs with He's initialisation get as far without it in the end, but
stand only small rates. Seven trainings of one net are one program: `jax.vmap` over the rate.

When the net is used there is no batch: `apply` takes running averages, which `train` moves a tenth of the way
at each step. They start at mean 0 and variance 1; until they have caught up, inference does worse.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnn as nn
from examples.datasets import load
from examples.gallery.exhibit import Exhibit, fact, panels
from jaxnn.plots import COLOURS

NETS = {"sigmoid": (nn.sigmoid, False), "sigmoid, batch norm": (nn.sigmoid, True),
        "ReLU": (nn.relu, False), "ReLU, batch norm": (nn.relu, True)}  # fmt: skip
RATES = np.logspace(-2, 1, 7)


def network(activation: Any, norm: bool) -> nn.Layer:
    block = nn.serial(nn.dense(64), *[nn.batch_norm()] * norm, activation)
    return nn.serial(nn.flatten, nn.repeat(block, 3), head=nn.dense(10))


def learn(net: nn.Layer, epochs: int) -> tuple[dict[str, Any], Any]:
    """The scores and the net's state after every step, for each rate: (rates, steps, ...)."""
    (x, y), test = jax.tree.map(jnp.asarray, load()[:2])
    shuffled = np.random.default_rng(0).permuted(np.tile(np.arange(len(y)), (epochs, 1)), axis=1)
    order = shuffled[:, :1380].reshape(-1, 60)  # 23 batches per epoch
    start = net.init(jax.random.key(0), x)

    def training(rate: jax.Array) -> tuple[dict[str, Any], Any]:
        step = nn.make_step(net, optax.sgd(rate), optax.softmax_cross_entropy_with_integer_labels)

        def walk(state: nn.TrainState, rows: jax.Array) -> tuple[nn.TrainState, Any]:
            state, scores = step(state, x[rows], y[rows])
            scores["running"] = nn.accuracy(net.apply(state.params, test.images), test.labels).mean()
            scores["batch"] = nn.accuracy(net.train(state.params, test.images)[0], test.labels).mean()
            return state, (scores, state.params.state)

        state = nn.init_state(net, optax.sgd(rate), jax.random.key(1), params=start)
        return jax.lax.scan(walk, state, order)[1]

    return jax.device_get(jax.jit(jax.vmap(training))(RATES))


def draw_speeds(losses: dict[str, Any], epochs: int) -> tuple[Any, list[str]]:
    """The loss over the epochs at each net's best rate, and that of the last epoch at every rate."""
    figure, ((left, right),) = panels(1, 2, size=(9, 3.8), sharey=True)
    ends = []
    for i, (name, steps) in enumerate(losses.items()):
        values = np.fmin(steps.reshape(len(RATES), epochs, -1).mean(axis=-1), 10)  # NaN counts as 10
        ends.append(values[:, -1])
        best = values[:, -1].argmin()
        style = {"color": COLOURS[i // 2], "linestyle": "-" if "batch" in name else "--", "marker": "."}
        left.semilogy(range(1, epochs + 1), values[best], **style, label=f"{name}, rate {RATES[best]:.2g}")
        right.loglog(RATES, values[:, -1], **style)
    left.set(title="At the best rate", xlabel="epoch", ylabel="training loss", ylim=(1e-4, 15))
    right.set(title=f"After {epochs} epochs at every rate", xlabel="learning rate")
    figure.legend(loc="outside lower center", ncols=4)
    plain, normed = (end.min() for end in ends[:2])
    low, high = (RATES[end < 1].max(initial=0) for end in ends[2:])
    gain = (
        f"After {epochs} epochs sigmoids have a loss of {plain:.2g} at best, with batch norm of {normed:.2g}."
    )
    span = f"ReLUs learn (to a loss below 1) at rates up to {low:.2g}, with batch norm up to {high:.2g}."
    return figure, [fact(plain > 3 * normed, gain), fact(high > 2 * low > 0, span)]


def draw_statistics(scores: dict[str, Any], state: Any) -> tuple[Any, list[str]]:
    figure, ((*pair, right),) = panels(1, 3, size=(10, 3))
    layer = jax.tree.map(lambda values: values[:100, 0], state["repeat_0"]["batch_norm_0"])
    unit = np.abs(layer["mean"][-1]).argmax()
    for axes, name, title, first in zip(pair, ("mean", "var"), ("Mean", "Variance"), (0.0, 1.0), strict=True):
        values = np.append(first, layer[name][:, unit])
        # running = 0.9 · running + 0.1 · batch, solved for the batch
        axes.plot((values[1:] - 0.9 * values[:-1]) / 0.1, ".", markersize=3, label="of each batch")
        axes.plot(values, label="running")
        axes.set(title=f"{title} of one unit of layer 1", xlabel="step")
    batch, running = (100 * scores[name][:100] for name in ("batch", "running"))
    right.plot(range(1, 101), batch, label="by batch statistics")
    right.plot(range(1, 101), running, label="by running statistics")
    right.set(title="Test images read right", xlabel="step", ylabel="%", ylim=(0, 100))
    for axes in (*pair, right):
        axes.legend()
    (early, late), (own_early, own_late) = ((y[:15].mean(), y[-15:].mean()) for y in (running, batch))
    sentence = (
        f"Inference reads {early:.0f} % of the test images right over the first 15 steps, the same net by "
        f"their own statistics {own_early:.0f} %; 85 steps later it is {late:.0f} % and {own_late:.0f} %."
    )
    return figure, [fact(own_early - early > 15 and abs(own_late - late) < 3, sentence)]


def draw(quick: bool = False) -> Exhibit:
    epochs = 6 if quick else 24
    runs = {name: learn(network(*settings), epochs) for name, settings in NETS.items()}
    speed, facts = draw_speeds({name: scores["loss"] for name, (scores, _) in runs.items()}, epochs)
    statistics, more = draw_statistics(*jax.tree.map(lambda values: values[4], runs["sigmoid, batch norm"]))
    return Exhibit({"speed": speed, "statistics": statistics}, facts + more)
