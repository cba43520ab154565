"""Multi-head attention as a layer: within one sequence or to another, with a cache as its carry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer, glorot_uniform

from jaxnn.entries import Entries
from jaxnn.kernels.attention.primitives import check_implementation
from jaxnn.layer import Layer, constructor, stateless, stochastic
from jaxnn.layers.sequences import as_sequences
from jaxnn.layers.weights import ONES, ZEROS, drawn
from jaxnn.ops import checks
from jaxnn.ops.attention import Window, attention, cached_attention, dropped_attention, reach
from jaxnn.ops.dense import dense
from jaxnn.ops.norm import rms_norm
from jaxnn.ops.positions import alibi_bias
from jaxnn.ops.positions import rotary as rotary_op
from jaxnn.ops.sequences import checked_lengths, places, real_only
from jaxnn.params import Key, Params, Weights, fold_name

Rotation = Callable[[jax.Array, jax.Array], jax.Array]

#: The default of the four kernels, as in PyTorch and Keras: no activation follows them.
GLOROT_UNIFORM: Initializer = glorot_uniform()


class Cache(NamedTuple):
    """The carry of an attention layer: the keys and values of all steps so far.

    Attributes:
      keys: (N, room, K, D), zeros where no step has been.
      values: the same.
      steps: how many steps have been, () or, where sequences have lengths, (N,).
    """

    keys: jax.Array
    values: jax.Array
    steps: jax.Array


class Given(NamedTuple):
    """The input of an attention layer, taken apart."""

    x: Any
    lengths: Any = None
    carry: Cache | None = None
    memory: Any = None
    memory_lengths: Any = None


@constructor
def multi_head_attention(
    features: int,
    heads: int,
    *,
    kv_heads: int | None = None,
    head_features: int | None = None,
    causal: bool = False,
    window: Window = None,
    rotary: bool | Rotation = False,
    alibi: bool = False,
    qk_norm: bool = False,
    dropout: float = 0.0,
    bias: bool = True,
    return_carry: bool = False,
    room: int | None = None,
    kernel_init: Initializer = GLOROT_UNIFORM,
    output_init: Initializer | None = None,
    bias_init: Initializer = ZEROS,
    implementation: str | None = None,
) -> Layer:
    """Multi-head attention: ``(N, T, F) → (N, T, features)``.

    q, k, v = x·W_q + b_q, x·W_k + b_k, x·W_v + b_v, cut into heads of D features, and
    y = concat over heads of (softmax(q·kᵀ/√D)·v) · W_o + b_o; see ``nn.ops.attention``. Weights:
    ``query_kernel (F, heads·D)``, ``key_kernel`` and ``value_kernel (F, kv_heads·D)``, ``output_kernel
    (heads·D, features)``; with ``bias=True`` ``query_bias``, ``key_bias``, ``value_bias``, ``output_bias``;
    with ``qk_norm=True`` ``query_scale`` and ``key_scale (D,)``.

    The input is ``x``, ``(x, lengths)`` or ``nn.Sequences(x, lengths, carry)`` for attention within a
    sequence; then with lengths the output is ``(y, lengths)``, as of a recurrent layer. For attention to
    another sequence it is ``(query, memory)``, each of which is an array or ``(array, lengths)``. What stands
    past the end of a sequence has no influence, and outputs there are zero.

    Args:
      features: the size of the output.
      heads: of the queries.
      kv_heads: of keys and values, a divisor of ``heads``; None for as many.
      head_features: D; None for features / heads.
      causal: each step reads itself and earlier ones only.
      window: how far it reads: (left, right), or one integer for both; see ``nn.ops.attention``.
      rotary: whether queries and keys are rotated by their positions; or a function of (x, positions) that
        does so, such as ``partial(nn.ops.rotary, base=5e5)``.
      alibi: whether ALiBi's bias is added, which needs ``causal``.
      qk_norm: whether queries and keys are normalised head by head, by their root mean square, before they
        are rotated.
      dropout: the probability to drop a weight of the softmax in training; all weights are then held at once.
      bias: whether to add biases.
      return_carry: return ``(the result without it, carry)``: a cache of the keys and values so far, of fixed
        size, so that one compilation serves all pieces. Put into the next ``nn.Sequences`` it continues where
        this sequence stopped: pieces equal the whole, one step at a time too. Needs ``causal``.
      room: for how many steps a new carry is made, for ``return_carry``. A step beyond raises where the
        number of steps is known, and gives NaN where it is traced.
      kernel_init: any function of (key, shape, dtype), for each of the four kernels.
      output_init: for ``output_kernel``, if it differs: GPT-2's, for instance, grows smaller with depth.
      bias_init: the same for the biases.
      implementation: the form of the attention, see ``nn.ops.attention``.

    Raises:
      ValueError: heads that don't divide, a carry that is full, a memory that is missing.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.multi_head_attention(64, 8, causal=True, rotary=True), (1, 20, 64))
    (1, 20, 64)

    Vaswani et al., "Attention is all you need", 2017.
    """
    name = "multi_head_attention"
    features = checks.integer(name, "features", features, least=1)
    heads = checks.integer(name, "heads", heads, least=1)
    kv_heads = heads if kv_heads is None else checks.integer(name, "kv_heads", kv_heads, least=1)
    if heads % kv_heads:
        raise ValueError(f"{name}: kv_heads must divide heads, got {kv_heads} and {heads}")
    if head_features is None and features % heads:
        raise ValueError(
            f"{name}: heads must divide features, or head_features be given, got {heads} and {features}"
        )
    size = checks.integer(
        name, "head_features", features // heads if head_features is None else head_features, least=1
    )
    checks.flags(name, causal=causal, alibi=alibi, qk_norm=qk_norm, bias=bias, return_carry=return_carry)
    output_init = kernel_init if output_init is None else output_init
    checks.initialisers(name, kernel_init=kernel_init, output_init=output_init, bias_init=bias_init)
    rotation = _rotation(name, rotary, size)
    share = checks.number(
        name, "dropout", dropout, least=0, below=1, rule="in [0, 1), the probability to drop"
    )
    if not causal and (alibi or return_carry):
        raise ValueError(
            f"{name}: {'alibi' if alibi else 'return_carry'} needs causal=True, got causal=False"
        )
    room = None if room is None else checks.integer(name, "room", room, least=1)
    if return_carry and room is None:
        raise ValueError(
            f"{name}: room must be the most steps that a carry holds, for return_carry, got None"
        )
    reach(name, window)
    check_implementation(name, implementation)
    sizes = {"query": heads * size, "key": kv_heads * size, "value": kv_heads * size, "output": features}

    def init(key: Key, inputs: Any) -> Weights:
        x, memory = _specs(name, inputs)
        rows = {
            "query": x.shape[-1],
            "key": memory.shape[-1],
            "value": memory.shape[-1],
            "output": heads * size,
        }
        weights = {}
        for part, columns in sizes.items():
            own, shape = f"{part}_kernel", (rows[part], columns)
            setting, of_part = (
                ("output_init", output_init) if part == "output" else ("kernel_init", kernel_init)
            )
            weights[own] = drawn(name, setting, of_part, fold_name(key, own), shape, x.dtype)
            if bias:
                own = f"{part}_bias"
                weights[own] = drawn(name, "bias_init", bias_init, fold_name(key, own), (columns,), x.dtype)
        if qk_norm:
            weights |= {f"{part}_scale": ONES(key, (size,), x.dtype) for part in ("query", "key")}
        return weights

    def project(weights: Weights, part: str, x: jax.Array) -> jax.Array:
        if x.shape[-1] != jnp.shape(weights[f"{part}_kernel"])[0]:
            raise ValueError(
                f"{name}: params of another net: {part}_kernel must have one row per feature of "
                f"an input of shape {x.shape}, got shape {jnp.shape(weights[f'{part}_kernel'])}"
            )
        return dense(x, weights[f"{part}_kernel"], weights[f"{part}_bias"] if bias else None)

    def split(weights: Weights, part: str, x: jax.Array) -> jax.Array:
        y = project(weights, part, x)
        y = y.reshape(*y.shape[:2], y.shape[2] // size, size)
        return rms_norm(y, weights[f"{part}_scale"]) if qk_norm and part != "value" else y

    def run(
        weights: Weights, given: Given, room: int | None, key: Key | None = None
    ) -> tuple[Any, Cache | None]:
        """The result without a carry, and the carry if there is room for one or one was given."""
        x, lengths = given.x, given.lengths
        if lengths is not None:
            lengths = checked_lengths(name, lengths, x)
            x = real_only(x, lengths)
        memory, memory_lengths = (
            (x, lengths) if given.memory is None else (given.memory, given.memory_lengths)
        )
        if given.memory is not None and memory_lengths is not None:
            memory_lengths = checked_lengths(name, memory_lengths, memory, "the memory's lengths")
            memory = real_only(memory, memory_lengths)
        q = split(weights, "query", x)
        k, v = (split(weights, part, memory) for part in ("key", "value"))
        carry = given.carry
        if carry is None and room is not None and given.memory is None:
            carry = _empty(k, room)
        if rotation is not None and given.memory is None:
            place = places(None if carry is None else carry.steps, q.shape[1])
            q, k = rotation(q, place), rotation(k, place)
        settings: dict[str, Any] = {
            "causal": causal and given.memory is None,
            "window": window,
            "implementation": implementation,
        }
        if carry is not None:
            y, carry = _continued(name, q, k, v, carry, lengths, alibi, window, implementation)
        else:
            if alibi:
                settings["bias"] = alibi_bias(heads, k.shape[1])
            if lengths is not None:
                settings["lengths"] = lengths
            if memory_lengths is not None:
                settings["key_lengths"] = memory_lengths
            y = (
                attention(q, k, v, **settings)
                if key is None
                else dropped_attention(q, k, v, share, key, **settings)
            )
        y = project(weights, "output", y.reshape(*y.shape[:2], heads * size))
        if lengths is None:
            return y, carry
        return (real_only(y, lengths), given.lengths), carry

    def apply(weights: Weights, inputs: Any, key: Key | None = None) -> Any:
        given = _given(name, inputs)
        if given.carry is not None and not causal:
            raise ValueError(f"{name}: a carry needs causal=True, got causal=False")
        if key is not None and (given.carry is not None or return_carry):
            raise ValueError(f"{name}: train with dropout must get whole sequences, got a carry")
        y, carry = run(weights, given, room if return_carry else None, key)
        if not return_carry:
            return y
        if given.memory is not None:
            raise ValueError(f"{name}: return_carry must be False for (query, memory), got True")
        return y, carry

    def step(params: Params, room: int, inputs: Any, carry: Any) -> tuple[Any, Any]:
        given = _given(name, inputs)
        if given.memory is not None:  # its keys and values are those of the memory, which is given each time
            return run(params.weights, given, None)[0], ()
        if not causal:
            raise ValueError(f"{name}: causal must be True where a sequence comes in pieces, got False")
        y, new = run(params.weights, given._replace(carry=carry), room)
        return ((y, new) if return_carry else y), new

    entries = _entries(sizes, heads * size, size, bias, qk_norm)
    if share == 0:
        layer = stateless(name, init, apply, entries=entries)
    else:
        layer = stochastic(name, init, apply, apply, entries=entries)
    return replace(layer, stream=lambda params, room: partial(step, params, room))


def _given(name: str, inputs: Any) -> Given:
    """The input in any of its forms; raises unless its arrays have three axes."""
    if _has_memory(name, inputs):
        (x, lengths), (memory, memory_lengths) = (
            part if isinstance(part, tuple) and len(part) == 2 else (part, None) for part in inputs
        )
        given = Given(x, lengths, None, memory, memory_lengths)
    else:
        x, lengths, carry = as_sequences(name, inputs)
        given = Given(x, lengths, _as_cache(name, carry))
    x = _array(name, given.x, "x", "(N, T, F)")
    if given.memory is None:
        return given._replace(x=x)
    memory = _array(name, given.memory, "the memory", "(N, S, F)")
    if memory.shape[0] != x.shape[0] or memory.dtype != x.dtype:
        raise ValueError(
            f"{name}: the memory must have the batch and the dtype of x, got {checks.described(memory)} and "
            f"{checks.described(x)}"
        )
    return given._replace(x=x, memory=memory)


def _has_memory(name: str, inputs: Any) -> bool:
    """Whether the input is ``(query, memory)``; raises where the memory is None."""
    pair = isinstance(inputs, tuple) and not hasattr(inputs, "_fields") and len(inputs) == 2
    if not pair or _are_lengths(inputs[1]):
        return False
    memory = inputs[1]
    if memory is None or (isinstance(memory, tuple) and len(memory) == 2 and memory[0] is None):
        raise ValueError(f"{name}: the memory must be an array (N, S, F), or (array, lengths), got None")
    return True


def _are_lengths(value: Any) -> bool:
    """Whether the second of a pair are lengths, and not a memory."""
    if isinstance(value, tuple | list):
        return bool(value) and all(isinstance(entry, int) for entry in value)
    return value is not None and len(getattr(value, "shape", ())) <= 1


def _array(name: str, value: Any, what: str, axes: str) -> jax.Array:
    array = checks.floating(name, value, what)
    if array.ndim != 3 or array.shape[1] == 0:
        raise ValueError(f"{name}: {what} must be {axes} with at least one step, got shape {array.shape}")
    return array


def _as_cache(name: str, carry: Any) -> Cache | None:
    if carry is None or isinstance(carry, Cache):
        return carry
    raise TypeError(f"{name}: carry must be one that this layer returned, got {checks.described(carry)}")


def _specs(name: str, inputs: Any) -> tuple[Any, Any]:
    """The specs of x and of what keys and values are made from."""
    if _has_memory(name, inputs):
        found = [part[0] if isinstance(part, tuple) else part for part in inputs]
    else:
        found = [as_sequences(name, inputs).x] * 2
    for spec in found:
        checks.floating_dtype(name, checks.one_shape(name, spec).dtype)
        if len(spec.shape) != 3:
            raise ValueError(f"{name}: x must be (N, T, F), got shape {spec.shape}")
    return found[0], found[1]


def _rotation(name: str, rotary: Any, size: int) -> Rotation | None:
    if rotary is True and size % 2:
        raise ValueError(f"{name}: rotary must be False for heads of an odd number of features, got {size}")
    if rotary is True or rotary is False:
        return rotary_op if rotary else None
    checks.function(name, "rotary", rotary, "True, False or a function of (x, positions)")
    rotation: Rotation = rotary
    return rotation


def _entries(sizes: dict[str, int], inner: int, size: int, bias: bool, qk_norm: bool) -> Entries:
    rows: dict[str, int | str] = {"query": "F", "key": "F", "value": "F", "output": inner}
    entries: dict[str, Any] = {f"{part}_kernel": (rows[part], columns) for part, columns in sizes.items()}
    if bias:
        entries |= {f"{part}_bias": (columns,) for part, columns in sizes.items()}
    if qk_norm:
        entries |= {"query_scale": (size,), "key_scale": (size,)}
    return entries


def _empty(k: jax.Array, room: int) -> Cache:
    """A carry without steps, sharded and varying as the keys."""
    zeros = jnp.broadcast_to(jnp.zeros_like(k[:, :1]), (k.shape[0], room, *k.shape[2:]))
    return Cache(zeros, zeros, jnp.zeros((), jnp.int32))


def _continued(
    name: str,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    carry: Cache,
    lengths: jax.Array | None,
    alibi: bool,
    window: Window,
    implementation: str | None,
) -> tuple[jax.Array, Cache]:
    """What the next steps read of all steps so far and of themselves, and the carry with them in it."""
    room, count = carry.keys.shape[1], q.shape[1]
    if carry.keys.shape != (k.shape[0], room, *k.shape[2:]) or carry.keys.dtype != k.dtype:
        raise ValueError(
            f"{name}: carry must have the batch, heads and dtype of the keys, {checks.described(k)}, got "
            f"{checks.described(carry.keys)}"
        )
    _check_room(name, carry, count, lengths)
    if lengths is None and carry.steps.ndim == 0:
        keys, values = (
            jax.lax.dynamic_update_slice_in_dim(whole, new, carry.steps, 1)
            for whole, new in ((carry.keys, k), (carry.values, v))
        )
    else:
        place = places(carry.steps, count)
        place = jnp.broadcast_to(place, (k.shape[0], count))
        row = jnp.broadcast_to(jnp.expand_dims(jnp.arange(k.shape[0], dtype=jnp.int32), 1), place.shape)
        keys, values = (
            whole.at[row, place].set(new, mode="drop") for whole, new in ((carry.keys, k), (carry.values, v))
        )
    steps = carry.steps + (count if lengths is None else jnp.clip(lengths, 0, count))
    y = cached_attention(
        q,
        keys,
        values,
        offset=carry.steps,
        key_lengths=steps,
        bias=alibi_bias(q.shape[2], room) if alibi else None,
        window=window,
        implementation=implementation,
    )
    beyond = jnp.expand_dims(places(carry.steps, count) >= room, (2, 3) if carry.steps.ndim else (0, 2, 3))
    return jnp.where(beyond, jnp.nan, y), Cache(keys, values, steps)


def _check_room(name: str, carry: Cache, count: int, lengths: jax.Array | None) -> None:
    """Raises where it is known that the carry is full."""
    room = carry.keys.shape[1]
    known = not isinstance(carry.steps, jax.core.Tracer) and not isinstance(lengths, jax.core.Tracer)
    if known and carry.keys.shape[0]:
        so_far, new = (int(jnp.max(a)) for a in (carry.steps, count if lengths is None else lengths))
        if so_far + min(new, count) > room:
            raise ValueError(
                f"{name}: the carry is full: it was made for {room} steps, got {new} more after {so_far}"
            )
    elif lengths is None and count > room:
        raise ValueError(f"{name}: the carry is full: it was made for {room} steps, got {count} more")
