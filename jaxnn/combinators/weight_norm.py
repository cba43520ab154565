"""``weight_norm``: length and direction of each output channel's kernel, learnt separately."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.combinators.kernel_entries import at_kernels, is_kernel, require_kernels
from jaxnn.combinators.rewritten import rewritten
from jaxnn.draft import Draw, draft
from jaxnn.entries import require_entries
from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.scale import length, scale_of
from jaxnn.layer import Layer, constructor
from jaxnn.lifting import LayerLike, given_layer
from jaxnn.params import Key, Params, State, checks_params


@constructor
def weight_norm(layer: LayerLike) -> Layer:
    """Learns length and direction of each output channel's kernel separately; shapes as of ``layer``.

    kernel = magnitude · direction / ‖direction‖, with one magnitude and one norm per output channel
    (the last axis of the kernel). In the weights, each ``kernel`` is replaced by a dict of ``direction``, in
    the kernel's shape, and ``magnitude``, (C_out,). Initially the kernel is what the layer's own ``init``
    gives.

    A channel whose direction is all zeros stays zero and gets no NaN. Lengths are taken without overflow or
    underflow, whatever the scale; in float16 a magnitude above 65,504 is infinite.

    Args:
      layer: any layer with a kernel, composite or not.

    Raises:
      ValueError: at ``init`` if the layer has no kernel.

    >>> import jax, jaxnn as nn
    >>> params = nn.weight_norm(nn.dense(2)).init(jax.random.key(0), (1, 4))
    >>> jax.tree.map(jax.numpy.shape, params.weights)
    {'bias': (2,), 'kernel': {'direction': (4, 2), 'magnitude': (2,)}}

    Salimans and Kingma, "Weight normalization", 2016.
    """
    layer = given_layer("weight_norm", "layer", layer)

    def drafted(key: Key, x: Any) -> tuple[Any, Draw]:
        y, draw = draft(layer, key, x)

        def polar(key: Key) -> Params:
            weights, state = draw(key)
            require_kernels("weight_norm", layer, weights)
            return Params(at_kernels(is_kernel, _polar, weights, again=True), state)

        return y, polar

    @partial(checks_params, "weight_norm")
    def plain(params: Params) -> Params:
        return Params(at_kernels(_is_polar, _cartesian, params.weights, again=True), params.state)

    def train(params: Params, x: Any, /, key: Key | None = None) -> tuple[Any, State]:
        return layer.train(plain(params), x, key)

    return rewritten(layer, drafted, plain, train)


def _is_polar(name: str, entry: Any) -> bool:
    """Whether ``entry`` stands for a kernel, valid or not: a dict of other entries is a layer of that name.

    So is one whose direction is a dict: that of another ``weight_norm`` inside.
    """
    if not name.endswith("kernel"):
        return False
    if not isinstance(entry, Mapping):
        return True
    return not entry.keys().isdisjoint(("direction", "magnitude")) and not isinstance(
        entry.get("direction"), Mapping
    )


@jax.jit
def _polar(kernel: jax.Array) -> dict[str, jax.Array]:
    lengths = length(kernel.astype(accumulator(kernel.dtype)), range(kernel.ndim - 1))
    return {"direction": kernel, "magnitude": jnp.ravel(lengths).astype(kernel.dtype)}


def _cartesian(polar: Mapping[str, jax.Array]) -> jax.Array:
    require_entries("weight_norm", {"direction": None, "magnitude": None}, polar)
    direction, magnitude = jnp.asarray(polar["direction"]), jnp.asarray(polar["magnitude"])
    if magnitude.shape != direction.shape[-1:]:
        raise ValueError(
            "weight_norm: params of another net: magnitude must have the shape of direction's last axis, "
            f"got shapes {magnitude.shape} and {direction.shape}"
        )
    wide, others = direction.astype(accumulator(direction.dtype)), range(direction.ndim - 1)
    near_one = wide / scale_of(wide, others)
    squares = jnp.sum(lax.square(near_one), others, keepdims=True)
    # Zeros divided by 1 stay zeros, without a NaN.
    lengths = jnp.sqrt(jnp.where(squares == 0, jnp.ones_like(squares), squares))
    gain = lax.expand_dims(magnitude.astype(wide.dtype), others) / lengths
    return (near_one * gain).astype(direction.dtype)
