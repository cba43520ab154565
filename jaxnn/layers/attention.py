"""Multi-head attention as a layer: within one sequence or to another, with a cache as its carry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from jaxnn.kernels.attention.primitives import check_implementation
from jaxnn.layer import Layer, Step, constructor, stateless, stochastic
from jaxnn.layers.attention_cache import Cache, MemoryCache, empty_cache, extended, nan_beyond
from jaxnn.layers.attention_heads import Heads, checked_heads
from jaxnn.layers.attention_inputs import Given, given_inputs, input_specs
from jaxnn.layers.initialisers import GLOROT_UNIFORM, ZEROS
from jaxnn.ops import checks
from jaxnn.ops.attention import Window, attention, cached_attention, dropped_attention, reach
from jaxnn.ops.positions import alibi_bias
from jaxnn.ops.positions import rotary as rotary_op
from jaxnn.ops.sequences import places, real_only
from jaxnn.params import Key, Params, Weights

Rotation = Callable[[jax.Array, jax.Array], jax.Array]


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
    parts = checked_heads(name, features, heads, kv_heads, head_features, bias, qk_norm)
    checks.flags(name, causal=causal, alibi=alibi, return_carry=return_carry)
    output_init = kernel_init if output_init is None else output_init
    checks.initialisers(name, kernel_init=kernel_init, output_init=output_init, bias_init=bias_init)
    rotation = _rotation(name, rotary, parts.size)
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
    reading = Reading(parts, causal, window, rotation, alibi, share, implementation)

    def init(key: Key, inputs: Any) -> Weights:
        return parts.init(key, *input_specs(name, inputs), kernel_init, output_init, bias_init)

    def apply(weights: Weights, inputs: Any, key: Key | None = None) -> Any:
        given = given_inputs(name, inputs)
        if given.carry is not None and not causal:
            raise ValueError(f"{name}: a carry needs causal=True, got causal=False")
        if key is not None and (given.carry is not None or return_carry):
            raise ValueError(f"{name}: train with dropout must get whole sequences, got a carry")
        if return_carry and given.memory is not None:
            raise ValueError(f"{name}: return_carry must be False for (query, memory), got True")
        if not return_carry and given.carry is None:
            return reading.whole(weights, given, key)
        y, carry = reading.piece(weights, given, room)
        return (y, carry) if return_carry else y

    def step(params: Params, room: int, inputs: Any, carry: Any) -> tuple[Any, Any]:
        given = given_inputs(name, inputs)
        if given.memory is not None:
            return reading.of_memory(params.weights, given, carry)
        if not causal:
            raise ValueError(
                f"{name}: causal must be True where a sequence comes in pieces, got False; "
                "nn.once around it reads a whole sequence"
            )
        y, new = reading.piece(params.weights, given._replace(carry=carry), room)
        return ((y, new) if return_carry else y), new

    if share == 0:
        layer = stateless(name, init, apply, entries=parts.entries())
    else:
        layer = stochastic(name, init, apply, apply, entries=parts.entries())

    def stream(params: Params, room: int) -> Step:
        return partial(step, params._replace(weights=parts.together(params.weights)), room)

    return replace(layer, stream=stream)


class Reading(NamedTuple):
    """What an attention layer computes: a whole sequence, or the next piece of one."""

    parts: Heads
    causal: bool
    window: Window
    rotation: Rotation | None
    alibi: bool
    dropout: float
    implementation: str | None

    def whole(self, weights: Weights, given: Given, key: Key | None = None) -> Any:
        """What each step of x reads, of x itself or of a memory; with ``key`` some weights are dropped."""
        return self._output(weights, given, self._read(given, *self._inputs(weights, given, None), key))

    def piece(self, weights: Weights, given: Given, room: int | None) -> tuple[Any, Cache]:
        """What the next steps read of all steps so far and of themselves, and the carry with them in it.

        A carry that is missing is made for ``room`` steps; None for those of this piece.
        """
        before = given.carry
        q, k, v = self._inputs(weights, given, before)
        start = empty_cache(k, k.shape[1] if room is None else room) if before is None else before
        cache = extended(self.parts.owner, start, k, v, given.lengths)
        if before is None:
            y = self._read(given, q, k, v, None)
        else:
            y = cached_attention(
                q,
                cache.keys,
                cache.values,
                offset=before.steps,
                key_lengths=cache.steps,
                bias=alibi_bias(self.parts.heads, cache.room) if self.alibi else None,
                window=self.window,
                implementation=self.implementation,
            )
        return self._output(weights, given, nan_beyond(start, y)), cache

    def of_memory(self, weights: Weights, given: Given, carry: MemoryCache | None) -> tuple[Any, MemoryCache]:
        """What the next steps read of a memory, whose keys and values are those that the first piece made."""
        if carry is None:
            k, v = (
                jnp.swapaxes(self.parts.input(weights, part, given.source), 1, 2) for part in ("key", "value")
            )
            carry = MemoryCache(k, v, given.memory_lengths, jnp.zeros((), jnp.int32))
        q = self.parts.input(weights, "query", given.x)
        real = jnp.asarray(carry.keys.shape[2], jnp.int32) if carry.lengths is None else carry.lengths
        y = cached_attention(
            q,
            carry.keys,
            carry.values,
            offset=carry.steps,
            key_lengths=real,
            bias=None,
            window=self.window,
            implementation=self.implementation,
            causal=False,
        )
        return self._output(weights, given, y), carry._replace(steps=carry.steps + q.shape[1])

    def _inputs(
        self, weights: Weights, given: Given, before: Cache | None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries, keys and values of the steps that follow those of ``before``."""
        q, k, v = self.parts.inputs(weights, given.x, given.source)
        if self.rotation is None or given.memory is not None:
            return q, k, v
        place = places(None if before is None else before.steps, q.shape[1])
        return self.rotation(q, place), self.rotation(k, place), v

    def _read(self, given: Given, q: jax.Array, k: jax.Array, v: jax.Array, key: Key | None) -> jax.Array:
        settings: dict[str, Any] = {
            "causal": self.causal and given.memory is None,
            "window": self.window,
            "implementation": self.implementation,
        }
        if self.alibi:
            settings["bias"] = alibi_bias(self.parts.heads, k.shape[1])
        if given.lengths is not None:
            settings["lengths"] = given.lengths
        if given.source_lengths is not None:
            settings["key_lengths"] = given.source_lengths
        if key is None:
            return attention(q, k, v, **settings)
        return dropped_attention(q, k, v, self.dropout, key, **settings)

    def _output(self, weights: Weights, given: Given, y: jax.Array) -> Any:
        result = self.parts.join(weights, y)
        return result if given.lengths is None else (real_only(result, given.lengths), given.stated)


def _rotation(name: str, rotary: Any, size: int) -> Rotation | None:
    if rotary is True and size % 2:
        raise ValueError(f"{name}: rotary must be False for heads of an odd number of features, got {size}")
    if rotary is True or rotary is False:
        return rotary_op if rotary else None
    checks.function(name, "rotary", rotary, "True, False or a function of (x, positions)")
    rotation: Rotation = rotary
    return rotation
