"""Beam search: the likeliest continuations, of which a few are followed at each step."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnn.generation import checked_prompt, checked_source, logits_of
from jaxnn.kernels.dtypes import widened
from jaxnn.layer import Layer, Step, in_pieces
from jaxnn.lifting import LayerLike, given_layer
from jaxnn.ops import checks
from jaxnn.params import Params, require_params


class Beams(NamedTuple):
    """Continuations of each prompt, the likeliest first.

    Attributes:
      ids: (N, beams, steps).
      scores: (N, beams), the log-probability of each in all; −∞ where there are fewer sequences than beams.
    """

    ids: jax.Array
    scores: jax.Array


def beam_search(
    net: LayerLike,
    params: Params,
    prompt: ArrayLike,
    *,
    steps: int,
    beams: int,
    end: int | None = None,
    source: Any = None,
) -> Beams:
    """The likeliest continuations that a beam finds: integers (N, P) → (N, beams, steps), with their scores.

    score = Σₜ log softmax(logitsₜ)[idₜ]. At each step every sequence kept is continued by each id, and the
    ``beams`` likeliest of all stay. So it is exact with as many beams as there are sequences of steps − 1
    ids, and greedy with one. Ids after ``end`` cost nothing: there is no penalty for length, so short
    sequences are favoured. The net is fed in pieces, as by ``nn.generate``; its carry follows its sequence.

    Args:
      net: a layer, as for ``nn.generate``.
      params: its params.
      prompt: (N, P) integers, P at least 1; all are P long.
      steps: how many ids to add.
      beams: how many sequences to keep of each prompt.
      end: an id after which a sequence has ended: from there on it is repeated.
      source: as for ``nn.generate``.

    Raises:
      ValueError: a setting out of range, or a net whose output is not (N, T, vocabulary).
      TypeError: for ids that are not integers.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> net = nn.serial(nn.embedding(50, 16), nn.gru(16), nn.dense(50))
    >>> params = net.init(jax.random.key(0), jax.ShapeDtypeStruct((1, 1), jnp.int32))
    >>> nn.beam_search(net, params, jnp.array([[3, 1, 4]]), steps=10, beams=4).ids.shape
    (1, 4, 10)
    """
    name = "beam_search"
    layer = given_layer(name, "net", net)
    require_params(name, params)
    ids = checked_prompt(name, prompt)
    steps = checks.integer(name, "steps", steps, least=1)
    beams = checks.integer(name, "beams", beams, least=1)
    last = None if end is None else checks.integer(name, "end", end, least=0)
    source = checked_source(name, source, ids)
    end_id = None if last is None else jnp.asarray(last, ids.dtype)
    return _searched(layer, steps, beams, params, ids, end_id, source)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _searched(
    net: Layer, steps: int, beams: int, params: Params, prompt: jax.Array, end: jax.Array | None, source: Any
) -> Beams:
    count = prompt.shape[0]
    net_step = in_pieces(net, params, prompt.shape[1] + steps)
    logits, carry = logits_of("beam_search", net_step, prompt, source, None)
    axes = _batch_axes(net_step, prompt, source)
    each = jnp.repeat(jnp.arange(count, dtype=jnp.int32), beams)
    carry, logits = _rows(carry, axes, each), logits[each]
    source = jax.tree.map(lambda a: jnp.asarray(a)[each], source)
    # At first all sequences of a prompt are the same: only one of them counts.
    start = jnp.where(jnp.arange(beams, dtype=jnp.int32) == 0, 0.0, -jnp.inf).astype(widened(logits).dtype)

    def step(state: Any, place: jax.Array) -> tuple[Any, None]:
        logits, carry, scores, ids, ended = state
        costs = jax.nn.log_softmax(widened(logits), axis=-1).reshape(count, beams, -1)
        vocabulary = costs.shape[2]
        if end is not None:
            only = jnp.where(jnp.arange(vocabulary, dtype=jnp.int32) == end, 0.0, -jnp.inf)
            only = jnp.expand_dims(only.astype(costs.dtype), (0, 1))
            costs = jnp.where(jnp.expand_dims(ended, 2), only, costs)
        total = (jnp.expand_dims(scores, 2) + costs).reshape(count, beams * vocabulary)
        scores, best = jax.lax.top_k(total, beams)
        parent, drawn = best // vocabulary, (best % vocabulary).astype(prompt.dtype)
        ids, ended = (
            jnp.take_along_axis(a, jnp.expand_dims(parent, range(2, a.ndim)), 1) for a in (ids, ended)
        )
        ids = jax.lax.dynamic_update_slice_in_dim(ids, jnp.expand_dims(drawn, 2), place, 2)
        if end is not None:
            ended = ended | (drawn == end)
        chosen = (parent + beams * jnp.expand_dims(jnp.arange(count, dtype=jnp.int32), 1)).ravel()
        following = drawn.reshape(count * beams, 1)
        logits, carry = logits_of("beam_search", net_step, following, source, _rows(carry, axes, chosen))
        return (logits, carry, scores, ids, ended), None

    state = (
        logits,
        carry,
        jnp.broadcast_to(jnp.expand_dims(start, 0), (count, beams)),
        jnp.zeros((count, beams, steps), prompt.dtype),
        jnp.zeros((count, beams), jnp.bool_),
    )
    (_, _, scores, ids, _), _ = jax.lax.scan(step, state, jnp.arange(steps, dtype=jnp.int32))
    return Beams(ids, scores)


def _batch_axes(net_step: Step, prompt: jax.Array, source: Any) -> Any:
    """The axis of the batch in each array of the carry, −1 for none: the one that grows with the batch."""

    def carried(more: int) -> Any:
        def grown(a: Any) -> Any:
            return jax.ShapeDtypeStruct((a.shape[0] + more, *a.shape[1:]), a.dtype)

        given = jax.tree.map(grown, (prompt, source))
        return jax.eval_shape(lambda ids, source: logits_of("", net_step, ids, source, None)[1], *given)

    def axis(a: Any, b: Any) -> int:
        return next((i for i, (m, n) in enumerate(zip(a.shape, b.shape, strict=True)) if m != n), -1)

    return jax.tree.map(axis, carried(0), carried(1))


def _rows(carry: Any, axes: Any, rows: jax.Array) -> Any:
    """The carry of these rows of the batch."""
    return jax.tree.map(lambda a, axis: a if axis < 0 else jnp.take(a, rows, axis=axis), carry, axes)
