"""A batch through the net and back: its scores and the gradient, at once or in pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.distribution.sharding import Sharding
from jaxnn.kernels.dtypes import accumulator
from jaxnn.layer import Layer
from jaxnn.params import Key, Params
from jaxnn.training.batch import Batch
from jaxnn.training.score import STEPS, Metrics, Scores, score


class Outcome(NamedTuple):
    """What one batch gives: the gradient, the net's state after it, and the scores."""

    grads: Any
    net_state: Any
    scores: Scores


#: ``pass_(params, batch, key) -> Outcome``: one way through the net, and perhaps back.
Pass = Callable[[Params, Batch, Key], Outcome]


def forward(net: Layer, functions: Metrics, *, counted: bool = False) -> Pass:
    """The scores of a batch in training, without a gradient: that is an empty tuple.

    ``counted`` adds the numbers of steps of functions that are ``per_step``, by which means are weighted.
    """

    def run(params: Params, batch: Batch, key: Key) -> Outcome:
        prediction, net_state = net.train(params, batch.x, key)
        scores = score(
            functions,
            prediction,
            batch.y,
            batch.mask,
            inputs=batch.x,
            objective="loss",
            counted=counted,
        )
        return Outcome((), net_state, scores)

    return run


def backward(
    net: Layer, functions: Metrics, scale: jax.Array | None = None, *, counted: bool = False
) -> Pass:
    """The scores, and the gradient by the weights of the mean of the function called ``loss``.

    Args:
      net: the layer.
      functions: the loss and the metrics, by name.
      scale: multiplies the loss, and with it the gradient, but not the scores.
      counted: see ``forward``.
    """
    ahead = forward(net, functions, counted=counted)

    def run(params: Params, batch: Batch, key: Key) -> Outcome:
        def mean(weights: Any) -> tuple[jax.Array, Outcome]:
            outcome = ahead(params._replace(weights=weights), batch, key)
            loss = outcome.scores["loss"]
            return loss if scale is None else loss * scale.astype(loss.dtype), outcome

        grads, outcome = jax.grad(mean, has_aux=True)(params.weights)
        return outcome._replace(grads=grads)

    return run


def in_pieces(run: Pass, pieces: int) -> Pass:
    """The same for a batch that is split into pieces, which go through the net one after the other.

    ``run`` counts steps, see ``forward``; so does the result.

    Gradients and scores are weighted by the rows that count, or by the steps, so they are those of the whole
    batch; its activations are in memory one piece at a time. The net's state passes from piece to piece, and
    each draws with a key of its own.
    """
    if pieces == 1:
        return run

    def run_all(params: Params, batch: Batch, key: Key) -> Outcome:
        def add(total: Outcome, piece: tuple[Batch, jax.Array, jax.Array]) -> tuple[Outcome, None]:
            rows, share, number = piece
            own = run(params._replace(state=total.net_state), rows, jax.random.fold_in(key, number))

            def plus(sum_: jax.Array, value: jax.Array, weight: jax.Array) -> jax.Array:
                return sum_ + weight.astype(sum_.dtype) * value.astype(sum_.dtype)

            by_loss = own.scores.get(STEPS + "loss", share)
            return Outcome(
                jax.tree.map(lambda sum_, value: plus(sum_, value, by_loss), total.grads, own.grads),
                own.net_state,
                {
                    name: total.scores[name] + value
                    if name.startswith(STEPS)
                    else plus(total.scores[name], value, own.scores.get(STEPS + name, share))
                    for name, value in own.scores.items()
                },
            ), None

        parts = _parts(batch, pieces)
        like = jax.eval_shape(run, params, jax.tree.map(lambda leaf: leaf[0], parts), key)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, accumulator(leaf.dtype)), like)
        start = zeros._replace(net_state=params.state)
        total, _ = lax.scan(add, start, (parts, _shares(batch, pieces), jnp.arange(pieces)))
        steps = {
            name.removeprefix(STEPS): jnp.where(count == 0, jnp.ones_like(count), count)
            for name, count in total.scores.items()
            if name.startswith(STEPS)
        }
        scores = {
            name: value / steps[name] if name in steps else value for name, value in total.scores.items()
        }

        def finished(sum_: jax.Array, own: Any) -> jax.Array:
            mean = sum_ / steps["loss"].astype(sum_.dtype) if "loss" in steps else sum_
            return mean.astype(own.dtype)

        return Outcome(jax.tree.map(finished, total.grads, like.grads), total.net_state, scores)

    return run_all


def over_devices(run: Pass, sharding: Sharding) -> Pass:
    """The same over the devices of a mesh, for params as they are stored between steps.

    Weights that are only split to be stored are gathered first; each device keeps its part of the gradient.
    """

    def run_all(params: Params, batch: Batch, key: Key) -> Outcome:
        outcome = run(sharding.gathered(params), sharding.spread(batch), key)
        return outcome._replace(grads=sharding.scattered(outcome.grads))

    return run_all


def _parts(batch: Batch, pieces: int) -> Batch:
    """Piece i has the rows i, i + pieces, i + 2·pieces, …: each is sharded over devices as the batch is."""

    def cut(array: Any) -> jax.Array:
        array = jnp.asarray(array)
        if array.ndim == 0 or array.shape[0] % pieces:
            raise ValueError(
                f"step: a batch must have rows that accumulate={pieces} divides, got shape {array.shape}"
            )
        return jnp.moveaxis(array.reshape(-1, pieces, *array.shape[1:]), 1, 0)

    return jax.tree.map(cut, batch)


def _shares(batch: Batch, pieces: int) -> jax.Array:
    """The share of each piece in the rows that count."""
    if batch.mask is None:
        return jnp.full(pieces, np.float32(1 / pieces))
    counts = _parts(Batch(None, None, batch.mask), pieces).mask.sum(axis=1, dtype=jnp.float32)
    return counts / jnp.maximum(counts.sum(), 1)
