"""Memory: how long can a recurrent net keep what it saw once?

Each sequence starts with one of eight symbols, marked; random ones follow, and at the end the net must name
the first. Every batch is drawn anew; guessing is right once in eight. That the first symbol matters can only
be learnt from the gradient that comes back through all later steps, and each multiplies it by ∂hₜ/∂hₜ₋₁.

- The plain RNN is hₜ = tanh(xₜ·W + hₜ₋₁·R + b). R starts orthogonal and keeps every length; tanh does not.
- The LSTM adds to a cell, cₜ = f·cₜ₋₁ + i·g (Hochreiter and Schmidhuber, 1997), the GRU mixes,
  hₜ = z·hₜ₋₁ + (1 − z)·n (Cho et al., 2014). The past comes through f or z unharmed where that gate is near
  1, and only there. But f starts at σ(1) = 0.73 and z at σ(0) = 0.5: the architecture alone is no memory.
- A forget gate of σ(log T) = T / (T + 1) remembers for about T steps. "Slow gates" is the same LSTM with
  biases drawn as the log of times up to the longest sequence, so it starts with all these memories (Tallec
  and Ollivier, Can Recurrent Neural Networks Warp Time?, 2018). It is one argument, `bias_init`.

All sequences are in arrays of one size, `lengths` says where each ends, and one program serves all lengths.
The maps show how much the loss depends on what came at each step, while the nets learn.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import jaxnn as nn
from examples.gallery.exhibit import Exhibit, fact, panels

SYMBOLS, UNITS, BATCH = 8, 32, 32
SLOW = "LSTM, slow gates"
OPTIMIZER = optax.flatten(optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-3)))


def memories(longest: int, key: jax.Array, shape: Any, dtype: Any) -> jax.Array:
    """Biases of an LSTM's gates i, f, g, o: forget gates with memories of 1 to ``longest`` steps."""
    f = jnp.log(jax.random.uniform(key, (shape[0] // 4,), dtype, 1, longest))
    return jnp.concatenate([-f, f, jnp.zeros_like(f), jnp.zeros_like(f)])


@partial(jax.jit, static_argnames="net")
def trained(net: nn.Layer, params: nn.Params, ids: jax.Array, lengths: jax.Array) -> Any:
    """For each length: each batch's accuracy before it was learnt, and its gradient's norm by time."""

    def step(length: jax.Array, carry: Any, ids: jax.Array) -> Any:
        params, opt_state = carry

        def loss(weights: Any, x: jax.Array) -> Any:
            logits = net.apply(params._replace(weights=weights), (x, jnp.full(BATCH, length)))
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, ids[:, 0])
            return losses.mean(), nn.accuracy(logits, ids[:, 0]).mean()

        x = jnp.pad(jax.nn.one_hot(ids, SYMBOLS), ((0, 0), (0, 0), (0, 1))).at[:, 0, -1].set(1)
        (grads, by_time), accuracy = jax.grad(loss, argnums=(0, 1), has_aux=True)(params.weights, x)
        updates, opt_state = OPTIMIZER.update(grads, opt_state)
        params = params._replace(weights=optax.apply_updates(params.weights, updates))
        return (params, opt_state), (accuracy, jnp.linalg.norm(by_time, axis=(0, 2)))

    start = params, OPTIMIZER.init(params.weights)
    return jax.lax.map(lambda length: jax.lax.scan(partial(step, length), start, ids)[1], lengths)


def figure_of(lengths: np.ndarray, end: dict[str, np.ndarray], norms: dict[str, np.ndarray]) -> Figure:
    figure, ((learnt, first), maps) = panels(2, 2, size=(9, 6.4))
    for size, name in zip((10, 8, 5, 5), end, strict=True):  # lines that coincide stay visible
        learnt.semilogx(lengths, end[name], "o-", markersize=size, label=name)
        first.semilogy(norms[name][0, ::-1], label=name)
    learnt.axhline(1 / SYMBOLS, color="0.4", ls=":")
    learnt.set(xlabel="sequence length (steps)", ylabel="accuracy (dotted: guessing)", title="After training")
    learnt.set_xticks(lengths, lengths)
    learnt.minorticks_off()
    first.legend(loc="lower left")
    first.set(xlabel="steps before the last", ylabel="norm of ∂loss/∂xₜ", title="At the first batch")
    for axes, name in zip(maps, ("RNN", SLOW), strict=True):
        shown = np.log10(np.maximum(norms[name].T, 1e-12))
        span = (0, shown.shape[1], 0, len(shown))
        image = axes.imshow(shown, vmin=-8, vmax=-1, cmap="viridis", aspect="auto", extent=span)
        axes.set(xlabel="step of training", ylabel="steps before the last", title=f"{name}, while it learns")
    figure.colorbar(image, ax=maps, label="log₁₀ norm of ∂loss/∂xₜ")
    return figure


def draw(quick: bool = False) -> Exhibit:
    lengths = np.array([5, 48] if quick else [5, 10, 20, 40, 80])
    ids = np.random.default_rng(0).integers(0, SYMBOLS, (300 if quick else 1000, BATCH, lengths[-1]))
    slow_lstm = partial(nn.lstm, bias_init=partial(memories, lengths[-1]))
    cells = {"RNN": nn.rnn, "GRU": nn.gru, "LSTM": nn.lstm, SLOW: slow_lstm}
    nets = {name: nn.serial(cell(UNITS, outputs="last"), nn.dense(SYMBOLS)) for name, cell in cells.items()}
    end, norms = {}, {}
    for name, net in nets.items():
        params = net.init(jax.random.key(0), (BATCH, lengths[-1], SYMBOLS + 1))
        program = nets["LSTM"] if name == SLOW else net  # the two differ in their initial weights alone
        scores, by_time = jax.tree.map(np.asarray, trained(program, params, ids, lengths))
        end[name], norms[name] = scores[:, -50:].mean(-1), by_time[-1]
    rnn, gru, lstm, slow = (scores[-1] for scores in end.values())
    longest = f"Right in sequences of {lengths[-1]} steps, after {len(ids):,} batches:"
    worst = min(scores[0] for scores in end.values())
    left = [(norm[0, 0] / norm[0, -1]) ** (1 / (lengths[-1] - 1)) for norm in norms.values()]
    facts = [
        fact(worst > 0.95, f"Of sequences of {lengths[0]} steps each net gets at least {worst:.0%} right."),
        fact(max(rnn, gru, lstm) < 0.3, f"{longest} RNN {rnn:.1%}, GRU {gru:.1%}, LSTM {lstm:.1%}."),
        fact(slow > 0.8, f"{longest} the LSTM with slow gates, else the same, {slow:.1%}."),
        fact(
            left[1] + 0.01 < left[0] < left[2] - 0.05 < left[3] - 0.07,
            "Each step back leaves of the first gradient's norm, on average: RNN {:.2f}, GRU {:.2f}, "
            "LSTM {:.2f}, with slow gates {:.2f}.".format(*left),
        ),
    ]
    return Exhibit({"gradients": figure_of(lengths, end, norms)}, facts)
