"""Sweeps: how does one program try 32 learning rates at once?

Whatever is an array can differ from one net to the next: the seed, the data, a regulariser, here the learning
rate. A whole training, a `lax.scan` over its steps, is a pure function of the rate, so `jax.vmap` makes of it
the training of 32 nets side by side, which start from the same weights and read the same batches:

`jax.jit(jax.vmap(training))(rates)`

The net reads scikit-learn's digits (64-32-10, plain stochastic gradient descent in batches of 64). Too small
a rate gets nowhere in the time there is; too large a one throws the weights about, or kills every ReLU.
"""

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
    rows = np.random.default_rng(0).integers(0, len(y), (150 if quick else 600, 64))
    key = jax.random.key(0)

    def training(rate: jax.Array) -> tuple[jax.Array, jax.Array]:
        step = nn.make_step(net, optax.sgd(rate), optax.softmax_cross_entropy_with_integer_labels)
        state = nn.init_state(net, optax.sgd(rate), key, x)
        state, scores = jax.lax.scan(lambda state, row: step(state, x[row], y[row]), state, rows)
        right = nn.accuracy(net.apply(state.params, test.images), test.labels)
        return scores["loss"], right.mean()

    losses, accuracies = jax.device_get(jax.jit(jax.vmap(training))(rates))
    ends = losses[:, -30:].mean(axis=1)
    best = accuracies.argmax()

    figure, ((left, middle, right),) = panels(1, 3, size=(10, 3.4))
    for i, name in ((0, "smallest"), (best, "best"), (-1, "largest")):
        smooth = np.convolve(losses[i], np.ones(20) / 20, "valid")
        left.semilogy(np.arange(20, len(rows) + 1), smooth, label=f"{name}, {rates[i]:.2g}")
    left.set(xlabel="step", ylabel="training loss (mean of 20 steps)", title="Three of the nets")
    figure.legend(title="learning rate", loc="outside lower left", ncols=3)
    middle.loglog(rates, ends, ".-")
    middle.set(xlabel="learning rate", ylabel="training loss", title="The last 30 steps")
    right.semilogx(rates, 100 * accuracies, ".-")
    right.set(xlabel="learning rate", ylabel="read right (%)", ylim=(0, 101), title="Held-out digits")

    alone = jax.jit(training)(rates[best])
    apart = np.abs(alone[0] - losses[best])[:100].max()
    reads = (
        f"Of {len(rates)} rates {rates[best]:.2g} reads most held-out digits right after {len(rows)} steps, "
        f"{100 * accuracies[best]:.1f} %; the smallest, {rates[0]:g}, {100 * accuracies[0]:.0f} %, and the "
        f"largest, {rates[-1]:g}, {100 * accuracies[-1]:.0f} %."
    )
    same = (
        f"Trained alone at that rate, the net has the same losses in its first 100 steps, within {apart:.0e}."
    )
    facts = [
        fact(accuracies[best] > 0.85 > max(accuracies[0], accuracies[-1]) + 0.1, reads),
        fact(apart < 1e-3, same),
    ]
    return Exhibit({"learning-rates": figure}, facts)
