"""Layers whose kernels are computed from other arrays: weight norm and spectral norm.

Both wrap any layer and act on every weight called ``kernel`` (or ``input_kernel``, ``recurrent_kernel``,
...), at any depth. The kernel that the layer sees is computed anew at each call and never stored.
Output channels are a kernel's last axis. Around ``repeat`` or ``ensemble`` the axis of the copies would count
as one of the other axes: put the wrapper inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from jaxnn.draft import Drafted, Draw, draft
from jaxnn.entries import require_entries
from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.scale import length, scale_of
from jaxnn.layer import Call, Layer, Visit, constructor
from jaxnn.lifting import LayerLike, given_layer
from jaxnn.ops.checks import integer, number
from jaxnn.params import Key, Params, State, checks_params, fold_name, require_params
from jaxnn.precision import cast_weights


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
            _require_kernels("weight_norm", layer, weights)
            return Params(_at_kernels(_is_array, _polar, weights, again=True), state)

        return y, polar

    @partial(checks_params, "weight_norm")
    def plain(params: Params) -> Params:
        return Params(_at_kernels(_is_polar, _cartesian, params.weights, again=True), params.state)

    def apply(params: Params, x: Any, /) -> Any:
        return layer.apply(plain(params), x)

    def train(params: Params, x: Any, key: Key | None = None, /) -> tuple[Any, State]:
        return layer.train(plain(params), x, key)

    def visit(inner: Visit, params: Params, x: Any, call: Call, /) -> Any:
        return inner(plain(params), x, call)

    return replace(
        layer,
        init=Drafted(drafted, apply),
        apply=apply,
        train=train,
        visit=layer.visit and partial(visit, layer.visit),
    )


@constructor
def spectral_norm(layer: LayerLike, *, iterations: int = 1, epsilon: float = 1e-12) -> Layer:
    """Divides each kernel by its largest singular value; shapes as of ``layer``.

    y = layer with kernel / σ, where σ = ‖W u‖ of W, the kernel as a matrix (all other axes, C_out), and u an
    estimate of its first right singular vector. ``train`` moves u by power iteration, u ← Wᵀ W u / ‖Wᵀ W u‖,
    before u is used; ``apply`` uses u as it is. σ has its gradient for W, with u held fixed.

    The weights are those of ``layer``, with the kernel as it is learnt. ``params.state`` is
    ``{"state": …, "vectors": …}``: the layer's own, and u, (C_out,), for each kernel, in float32 at least,
    after 15 iterations from a random start.

    Args:
      layer: any layer with a kernel, composite or not.
      iterations: of the power method in each ``train``, ≥ 1.
      epsilon: σ is at least this, > 0; so a kernel of zeros stays zero.

    Raises:
      ValueError: for settings out of range; at ``init`` if the layer has no kernel.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> layer = nn.spectral_norm(nn.dense(4, bias=False))
    >>> params = layer.init(jax.random.key(0), (1, 4))
    >>> print(jnp.linalg.norm(layer.apply(params, jnp.eye(4)), 2).round(2))
    1.0

    Miyato et al., "Spectral normalization for generative adversarial networks", 2018.
    """
    layer = given_layer("spectral_norm", "layer", layer)
    iterations = integer("spectral_norm", "iterations", iterations, least=1)
    epsilon = number("spectral_norm", "epsilon", epsilon, above=0)

    def drafted(key: Key, x: Any) -> tuple[Any, Draw]:
        y, draw = draft(layer, key, x)

        def with_vectors(key: Key) -> Params:
            weights, state = draw(key)
            _require_kernels("spectral_norm", layer, weights)
            start = partial(_start, key=fold_name(key, "vectors"))
            vectors = _at_kernels(_is_array, start, _kernels(weights))
            return Params(weights, {"state": state, "vectors": vectors})

        return y, with_vectors

    def narrowed(params: Params, dtype: DTypeLike) -> Params:
        weights, state = cast_weights(layer, Params(params.weights, params.state["state"]), dtype)
        return Params(weights, {**params.state, "state": state})

    def divided(params: Params, vectors: State) -> Params:
        divide = partial(_divide, epsilon=epsilon)
        return Params(_at_kernels(_is_array, divide, params.weights, vectors), params.state["state"])

    def checked(function: Callable[..., Any]) -> Callable[..., Any]:
        def of_params(params: Params, *args: Any) -> Any:
            require_params("spectral_norm", params)
            require_entries("spectral_norm", {"state": None, "vectors": None}, params.state)
            vectors = _at_kernels(_is_array, lambda kernel: jnp.shape(kernel)[-1:], _kernels(params.weights))
            require_entries("spectral_norm", vectors, params.state["vectors"])
            return function(params, *args)

        return of_params

    @checked
    def stored(params: Params) -> Params:
        return divided(params, params.state["vectors"])

    @checked
    def moved(params: Params) -> State:
        move = partial(_iterate, iterations=iterations)
        return _at_kernels(_is_array, move, _kernels(params.weights), params.state["vectors"])

    def apply(params: Params, x: Any, /) -> Any:
        return layer.apply(stored(params), x)

    def train(params: Params, x: Any, key: Key | None = None, /) -> tuple[Any, State]:
        vectors = moved(params)
        y, state = layer.train(divided(params, vectors), x, key)
        return y, {"state": state, "vectors": vectors}

    def visit(inner: Visit, params: Params, x: Any, call: Call, /) -> Any:
        return inner(stored(params), x, call)

    return replace(
        layer,
        init=Drafted(drafted, apply),
        apply=apply,
        train=train,
        visit=layer.visit and partial(visit, layer.visit),
        cast=layer.cast and checked(narrowed),
    )


def _at_kernels(
    is_kernel: Callable[[str, Any], bool],
    function: Callable[..., Any],
    weights: Any,
    *others: Any,
    again: bool = False,
    owner: str = "",
) -> Any:
    """``weights`` with ``function(kernel, *those of others at the same place)`` in place of each kernel.

    With ``again`` the direction of a kernel that another ``weight_norm`` has taken apart counts as a kernel.
    """
    if not isinstance(weights, Mapping):
        return weights
    result = {}
    for name, entry in weights.items():
        called = owner if again and name == "direction" and owner.endswith("kernel") else name
        if is_kernel(called, entry):
            result[name] = function(entry, *(other[name] for other in others))
        else:
            theirs = (other.get(name, {}) for other in others)
            result[name] = _at_kernels(is_kernel, function, entry, *theirs, again=again, owner=called)
    return result


def _kernels(weights: Any) -> Any:
    """The kernels of ``weights`` and nothing else, in the same nested dicts."""
    if not isinstance(weights, Mapping):
        return {}
    found = {name: entry if _is_array(name, entry) else _kernels(entry) for name, entry in weights.items()}
    return {name: entry for name, entry in found.items() if not isinstance(entry, Mapping) or entry}


def _is_array(name: str, entry: Any) -> bool:
    return name.endswith("kernel") and not isinstance(entry, Mapping)


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


def _require_kernels(wrapper: str, layer: Layer, weights: Any) -> None:
    if not _kernels(weights):
        names = ", ".join(weights) if isinstance(weights, Mapping) and weights else "none"
        raise ValueError(f"{wrapper}: the layer {layer.name!r} must have a kernel, its weights are: {names}")


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


def _start(kernel: jax.Array, *, key: Key) -> jax.Array:
    drawn = jax.random.normal(key, kernel.shape[-1:], accumulator(kernel.dtype))
    return _iterate(kernel, _unit(drawn, drawn), iterations=15)


def _iterate(kernel: jax.Array, u: jax.Array, *, iterations: int) -> jax.Array:
    """``iterations`` steps of the power method for WᵀW, without a derivative."""
    wide = lax.stop_gradient(kernel).astype(u.dtype)
    near_one = wide / scale_of(wide, range(wide.ndim))
    for _ in range(iterations):
        left = _image(near_one, u)
        u = _unit(jnp.tensordot(left, near_one, left.ndim, precision=lax.Precision.HIGHEST), u)
    return u


def _divide(kernel: jax.Array, u: jax.Array, *, epsilon: float) -> jax.Array:
    """kernel / ‖W u‖: the derivative of ‖W u‖ is v uᵀ with v = W u / ‖W u‖, the paper's."""
    wide = kernel.astype(u.dtype)
    scale = scale_of(wide, range(wide.ndim))
    near_one = wide / scale
    image = _image(near_one, lax.stop_gradient(u))
    sigma = length(image, range(image.ndim)).squeeze()
    # ε applies to the unscaled kernel; ε divided by the scale may be too small for a float.
    least = jnp.asarray(epsilon, sigma.dtype) / scale.squeeze()
    return (near_one / jnp.maximum(sigma, jnp.maximum(least, np.finfo(sigma.dtype).tiny))).astype(
        kernel.dtype
    )


def _image(kernel: jax.Array, u: jax.Array) -> jax.Array:
    """W u, in the shape of all axes of the kernel but the last."""
    return jnp.matmul(kernel, u, precision=lax.Precision.HIGHEST)


def _unit(vector: jax.Array, otherwise: jax.Array) -> jax.Array:
    """``vector`` at length 1, or ``otherwise`` if it is all zeros."""
    near_one = vector / scale_of(vector, (0,))
    size = length(near_one, (0,))
    nothing = size == 0
    return jnp.where(nothing, otherwise, near_one / jnp.where(nothing, jnp.ones_like(size), size))
