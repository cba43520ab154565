"""``spectral_norm``: each kernel divided by its largest singular value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from jaxnn.combinators.kernel_entries import at_kernels, is_kernel, kernels, require_kernels
from jaxnn.combinators.rewritten import rewritten
from jaxnn.draft import Draw, draft
from jaxnn.entries import require_entries
from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.scale import length, scale_of
from jaxnn.layer import Layer, constructor
from jaxnn.lifting import LayerLike, given_layer
from jaxnn.ops.checks import integer, number
from jaxnn.params import Key, Params, State, fold_name, require_params
from jaxnn.precision import cast_weights


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
            require_kernels("spectral_norm", layer, weights)
            start = partial(_start, key=fold_name(key, "vectors"))
            vectors = at_kernels(is_kernel, start, kernels(weights))
            return Params(weights, {"state": state, "vectors": vectors})

        return y, with_vectors

    def narrowed(params: Params, dtype: DTypeLike) -> Params:
        weights, state = cast_weights(layer, Params(params.weights, params.state["state"]), dtype)
        return Params(weights, {**params.state, "state": state})

    def divided(params: Params, vectors: State) -> Params:
        divide = partial(_divide, epsilon=epsilon)
        return Params(at_kernels(is_kernel, divide, params.weights, vectors), params.state["state"])

    def checked(function: Callable[..., Any]) -> Callable[..., Any]:
        def of_params(params: Params, *args: Any) -> Any:
            require_params("spectral_norm", params)
            require_entries("spectral_norm", {"state": None, "vectors": None}, params.state)
            vectors = at_kernels(is_kernel, lambda kernel: jnp.shape(kernel)[-1:], kernels(params.weights))
            require_entries("spectral_norm", vectors, params.state["vectors"])
            return function(params, *args)

        return of_params

    @checked
    def stored(params: Params) -> Params:
        return divided(params, params.state["vectors"])

    @checked
    def moved(params: Params) -> State:
        move = partial(_iterate, iterations=iterations)
        return at_kernels(is_kernel, move, kernels(params.weights), params.state["vectors"])

    def train(params: Params, x: Any, /, key: Key | None = None) -> tuple[Any, State]:
        vectors = moved(params)
        y, state = layer.train(divided(params, vectors), x, key)
        return y, {"state": state, "vectors": vectors}

    return replace(rewritten(layer, drafted, stored, train), cast=layer.cast and checked(narrowed))


@jax.jit
def _start(kernel: jax.Array, *, key: Key) -> jax.Array:
    drawn = jax.random.normal(key, kernel.shape[-1:], accumulator(kernel.dtype))
    start: jax.Array = lax.fori_loop(
        0, 15, lambda _, u: _iterate(kernel, u, iterations=1), _unit(drawn, drawn)
    )
    return start


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
