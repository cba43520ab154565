"""Generation: a net that predicts the next id, run on its own predictions."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnn.kernels.dtypes import widened
from jaxnn.layer import Layer, Step, in_pieces
from jaxnn.lifting import LayerLike, given_layer
from jaxnn.ops import checks
from jaxnn.ops.sequences import checked_lengths
from jaxnn.params import Key, Params, require_params


def generate(
    net: LayerLike,
    params: Params,
    prompt: ArrayLike,
    *,
    steps: int,
    key: Key | None = None,
    lengths: ArrayLike | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    end: int | None = None,
    source: Any = None,
) -> jax.Array:
    """Continues each prompt by ``steps`` ids: integers (N, P) → (N, steps).

    The net gives logits (N, T, vocabulary) for ids (N, T), each step from itself and earlier ones. It is fed
    in pieces: the prompt at once, and then one id at a time, in one ``lax.scan``. What a layer needs of the
    steps before it carries: the state of ``rnn``, ``lstm`` and ``gru``, the keys and values of
    ``multi_head_attention``, the places of ``position_embedding`` and ``sinusoidal_positions``, the last
    values of a causal ``conv``; in ``serial``, ``repeat``, ``graph`` and all other composites. A layer that
    has nothing to carry is taken to treat each step on its own; flattening or pooling over time won't do.

    Each id is drawn with the probabilities softmax(logits / temperature), of which ``top_k`` and then
    ``top_p`` leave the largest. One program serves all params, prompts of a shape, keys, temperatures above 0
    and values of ``top_p``; build the net once, since another one is another program.

    Args:
      net: a layer, with return_carry left False in its parts.
      params: its params.
      prompt: (N, P) integers, P at least 1.
      steps: how many ids to add.
      key: for the draws; not needed with temperature 0.
      lengths: (N,) integers from 1 to P, where the prompts have different lengths: what follows them is
        ignored, and each is continued from its own end. Prompts are then fed one id at a time. None: all are
        P long.
      temperature: 0 takes the largest logit, the first among equals.
      top_k: only so many of the largest logits are drawn from (and what is equal to the smallest of them).
      top_p: only the fewest largest ones that together have this probability, in (0, 1].
      end: an id after which a sequence has ended: from there on it is repeated.
      source: for a net of ``(source, ids)``, such as ``nn.models.transformer``: what it gets before the ids,
        an array or a tuple of arrays such as ``(ids, lengths)``. A layer within ``nn.once`` is computed once,
        and so are the keys and values that ``multi_head_attention`` makes of a memory.

    Raises:
      ValueError: a setting out of range, no key, or a net whose output is not (N, T, vocabulary).
      TypeError: for ids that are not integers.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> net = nn.serial(nn.embedding(50, 16), nn.gru(16), nn.dense(50))
    >>> params = net.init(jax.random.key(0), jax.ShapeDtypeStruct((1, 1), jnp.int32))
    >>> nn.generate(net, params, jnp.array([[3, 1, 4]]), steps=10, key=jax.random.key(1)).shape
    (1, 10)

    ``top_p``: Holtzman et al., "The curious case of neural text degeneration", 2020.
    """
    name = "generate"
    layer = given_layer(name, "net", net)
    require_params(name, params)
    ids = checked_prompt(name, prompt)
    steps = checks.integer(name, "steps", steps, least=1)
    heat = checks.number(name, "temperature", temperature, least=0)
    checks.optional_key(name, key)
    if heat > 0 and key is None:
        raise ValueError(f"{name}: key must be one JAX key for a temperature above 0, got None")
    top_k = None if top_k is None else checks.integer(name, "top_k", top_k, least=1)
    share = None if top_p is None else checks.number(name, "top_p", top_p, above=0, most=1)
    last = None if end is None else checks.integer(name, "end", end, least=0)
    of_each = None if lengths is None else checked_lengths(name, lengths, ids)
    return _generated(
        layer,
        steps,
        heat == 0,
        top_k,
        params,
        ids,
        of_each,
        key,
        jnp.float32(heat or 1.0),
        None if share is None else jnp.float32(share),
        None if last is None else jnp.asarray(last, ids.dtype),
        checked_source(name, source, ids),
    )


def checked_prompt(owner: str, prompt: Any) -> jax.Array:
    """The prompt as an array; raises unless it is (N, P) integers."""
    ids = checks.array(owner, prompt, "prompt")
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        raise TypeError(f"{owner}: prompt must be integers, got {ids.dtype}")
    if ids.ndim != 2 or ids.shape[1] == 0:
        raise ValueError(f"{owner}: prompt must be (N, P) with at least one id, got shape {ids.shape}")
    return ids


def checked_source(owner: str, source: Any, ids: jax.Array) -> Any:
    """The source with arrays of one row per prompt; raises unless it consists of such."""
    leaves = jax.tree.leaves(source)
    if source is not None and (
        not leaves or any(getattr(leaf, "shape", ())[:1] != ids.shape[:1] for leaf in leaves)
    ):
        raise ValueError(
            f"{owner}: source must be an array or a tuple of arrays, with one row for each of {ids.shape[0]} "
            f"prompts, got {checks.described(source)}"
        )
    return source


def logits_of(owner: str, step: Step, ids: jax.Array, source: Any, carry: Any) -> tuple[jax.Array, Any]:
    """The logits (N, vocabulary) of what follows the next ids (N, T), and the new carry."""
    logits, carry = step(ids if source is None else (source, ids), carry)
    if getattr(logits, "ndim", 0) != 3 or logits.shape[:2] != ids.shape:
        raise ValueError(
            f"{owner}: the net must give logits (N, T, vocabulary), for ids of shape {ids.shape}, got "
            f"{checks.described(logits)}"
        )
    return logits[:, -1], carry


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _generated(
    net: Layer,
    steps: int,
    greedy: bool,
    top_k: int | None,
    params: Params,
    prompt: jax.Array,
    lengths: jax.Array | None,
    key: Key | None,
    temperature: jax.Array,
    top_p: jax.Array | None,
    end: jax.Array | None,
    source: Any,
) -> jax.Array:
    count = prompt.shape[1]
    room = count + steps
    # With lengths only the first id is known to be part of every prompt.
    fed = count if lengths is None else 1
    first = jnp.full_like(prompt[:, 0], count, jnp.int32) if lengths is None else jnp.clip(lengths, 1, count)

    net_step = in_pieces(net, params, room)

    def piece(ids: jax.Array, carry: Any) -> tuple[jax.Array, Any]:
        return logits_of("generate", net_step, ids, source, carry)

    def step(carry: Any, place: jax.Array) -> tuple[Any, jax.Array]:
        """Draws the id at ``place``, or takes it from the prompt, and feeds it."""
        logits, own, ended = carry
        drawn = _drawn(logits, greedy, top_k, key, place, temperature, top_p).astype(prompt.dtype)
        if end is not None:
            drawn = jnp.where(ended, end, drawn)
            ended = (place >= first) & (ended | (drawn == end))
        if lengths is not None:
            known = prompt[:, jnp.minimum(place, count - 1)]
            drawn = jnp.where(place < first, known, drawn)
        logits, own = piece(jnp.expand_dims(drawn, 1), own)
        return (logits, own, ended), drawn

    logits, own = piece(prompt[:, :fed], None)
    places = jnp.arange(fed, count + steps, dtype=jnp.int32)
    start = logits, own, jnp.zeros(prompt.shape[0], jnp.bool_)
    _, ids = jax.lax.scan(step, start, places)
    ids = jnp.swapaxes(ids, 0, 1)
    if lengths is None:
        return ids
    place = jnp.expand_dims(first - fed, 1) + jnp.expand_dims(jnp.arange(steps, dtype=jnp.int32), 0)
    return jnp.take_along_axis(ids, place, axis=1)


def _drawn(
    logits: jax.Array,
    greedy: bool,
    top_k: int | None,
    key: Key | None,
    place: jax.Array,
    temperature: jax.Array,
    top_p: jax.Array | None,
) -> jax.Array:
    """One id per row of ``logits``, (N, vocabulary)."""
    if greedy or key is None:
        return jnp.argmax(logits, axis=-1)
    scores = widened(logits)
    scores = scores / temperature.astype(scores.dtype)
    if top_k is not None or top_p is not None:
        scores = jnp.where(scores >= _smallest(scores, top_k, top_p), scores, -jnp.inf)
    return jax.random.categorical(jax.random.fold_in(key, place), scores)


def _smallest(scores: jax.Array, top_k: int | None, top_p: jax.Array | None) -> jax.Array:
    """The smallest score of each row that is drawn from, (N, 1)."""
    count = scores.shape[-1] if top_k is None else min(top_k, scores.shape[-1])
    largest = jax.lax.top_k(scores, count)[0]
    if top_p is not None:
        shares = jax.nn.softmax(largest, axis=-1)
        # What stands before it, largest first, must not yet be enough.
        before = jnp.cumsum(shares, axis=-1) - shares
        largest = jnp.where(before < top_p.astype(shares.dtype), largest, jnp.inf)
    return jnp.min(largest, axis=-1, keepdims=True)
