"""Sweeps: how does one program try 32 learning rates at once, with four seeds each?

Whatever is an array can differ from one net to the next: the seed, the data, a regulariser, the learning
rate. A whole training, a `lax.scan` over the steps of `nn.make_step`, is a pure function of these, so
`jax.vmap` makes of it the training of 128 nets side by side, which read the same batches:

`jax.jit(jax.vmap(jax.vmap(training, (0, None)), (None, 0)))(rates, keys)`

The net reads scikit-learn's digits (64-32-10, plain stochastic gradient descent in batches of 64). Too small
a rate gets nowhere in the time there is; too large a one throws the weights about, or kills every ReLU. A net
that diverges leaves the others as they are.
"""

from collections.abc import Callable
from time import process_time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnn as nn
from examples.datasets import load
from examples.gallery.exhibit import Exhibit, fact, panels


def draw(quick: bool = False) -> Exhibit:
    (x, y), test = jax.tree.map(jnp.asarray, load()[:2])
    net = nn.serial(nn.flatten, nn.dense(32), nn.relu, head=nn.dense(10))
    rates = np.logspace(-3, 1, 8 if quick else 32)
    keys = jax.random.split(jax.random.key(0), 2 if quick else 4)
    rows = np.random.default_rng(0).integers(0, len(y), (150 if quick else 600, 64))

    def training(rate: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        step = nn.make_step(net, optax.sgd(rate), optax.softmax_cross_entropy_with_integer_labels)
        state = nn.init_state(net, optax.sgd(rate), key, x)
        state, scores = jax.lax.scan(lambda state, row: step(state, x[row], y[row]), state, rows)
        right = nn.accuracy(net.apply(state.params, test.images), test.labels)
        return scores["loss"], right.mean()

    sweep = jax.jit(jax.vmap(jax.vmap(training, (0, None)), (None, 0)))
    (losses, accuracies), together = timed(lambda: sweep(rates, keys))
    ends = losses[:, :, -30:].mean(axis=2)
    typical = np.median(accuracies, axis=0)
    best = typical.argmax()

    figure, ((left, middle, right),) = panels(1, 3, size=(10, 3.4))
    for i, name in ((0, "smallest"), (best, "best"), (-1, "largest")):
        smooth = np.convolve(losses[0, i], np.ones(20) / 20, "valid")
        left.semilogy(np.arange(20, len(rows) + 1), smooth, label=f"{name}, {rates[i]:.2g}")
    left.set(xlabel="step", ylabel="training loss (mean of 20 steps)", title="Three of the nets")
    figure.legend(title="learning rate", loc="outside lower left", ncols=3)
    middle.loglog(rates, ends.T, ".", color="C0", alpha=0.4)
    middle.loglog(rates, np.median(ends, axis=0), color="C0")
    middle.set(xlabel="learning rate", ylabel="training loss", title="The last 30 steps")
    right.semilogx(rates, 100 * accuracies.T, ".", color="C0", alpha=0.4)
    right.semilogx(rates, 100 * typical, color="C0")
    right.set(xlabel="learning rate", ylabel="read right (%)", ylim=(0, 101), title="Held-out digits")

    single = jax.jit(training)
    calm = np.abs(rates - 0.3).argmin()  # at the largest rates that work, rounding grows from step to step
    alone, by_itself = timed(lambda: single(rates[calm], keys[0]))
    apart = np.abs(alone[0] - losses[0, calm])[:100].max()
    nets = len(rates) * len(keys)
    step = nn.make_step(net, optax.sgd(rates[calm]), optax.softmax_cross_entropy_with_integer_labels)

    images, labels = np.asarray(x), np.asarray(y)

    def from_python() -> nn.TrainState:
        state = nn.init_state(net, optax.sgd(rates[calm]), keys[0], x)
        for row in rows:
            state, _ = step(state, images[row], labels[row])
        return state

    _, stepwise = timed(from_python)
    reads = (
        f"Of {len(rates)} rates {rates[best]:.2g} reads most held-out digits right after {len(rows)} steps, "
        f"{100 * typical[best]:.1f} % in the median of {len(keys)} seeds; the smallest, {rates[0]:g}, "
        f"{100 * typical[0]:.0f} %, and the largest, {rates[-1]:g}, {100 * typical[-1]:.0f} %."
    )
    same = (
        f"Trained alone at a rate of {rates[calm]:.2g}, a net has the same losses in its first 100 steps, "
        f"within {apart:.0e}."
    )
    faster = (
        f"All {nets} nets take {together:.2g} s of processor time; one after the other, each as one program, "
        f"they would take {nets * by_itself:.2g} s, and step by step from Python {nets * stepwise:.2g} s."
    )
    facts = [
        fact(typical[best] > 0.85 > max(typical[0], typical[-1]) + 0.1, reads),
        fact(apart < 1e-3, same),
        fact(together > 0, faster),
    ]
    return Exhibit({"learning-rates": figure}, facts)


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and the seconds of processor time that it takes once it is compiled."""
    jax.block_until_ready(run())
    start = process_time()
    result = jax.device_get(run())
    return result, process_time() - start
