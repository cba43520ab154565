"""The weights that product layers share: a kernel and an optional bias, the kernels of gates."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from jaxnn.kernels.dtypes import accumulator
from jaxnn.layer import Layer, stateless
from jaxnn.layers.initialisers import HE_NORMAL, ZEROS
from jaxnn.ops import checks
from jaxnn.params import Key, Weights, fold_name


def weightless(name: str, function: Callable[[Any], Any]) -> Layer:
    """A layer called ``name`` that is a function of one array."""

    def init(key: Key, x: Any) -> Weights:
        checks.one_shape(name, x)
        return {}

    return stateless(name, init, lambda weights, x: function(x), entries={})


#: Name, initialiser and shape of each array that a layer draws.
Plan = tuple[tuple[str, Initializer, tuple[int, ...]], ...]


def kernel_and_bias(
    owner: str,
    key: Key,
    dtype: Any,
    kernel: tuple[int, ...],
    kernel_init: Initializer,
    bias: tuple[int, ...] | None,
    bias_init: Initializer,
) -> Weights:
    """``{"kernel": ..., "bias": ...}`` of these shapes, each from its own key; no bias if that is None."""
    plan: Plan = (("kernel", kernel_init, kernel),)
    if bias is not None:
        plan += (("bias", bias_init, bias),)
    # The defaults as one program: starting one per key and array costs more.
    if kernel_init is HE_NORMAL and bias_init is ZEROS:
        weights: Weights = _compiled(key, jnp.dtype(dtype), plan)
        return weights
    return {
        name: drawn(owner, f"{name}_init", init, fold_name(key, name), shape, dtype)
        for name, init, shape in plan
    }


def drawn(
    owner: str, name: str, init: Initializer, key: Key, shape: tuple[int, ...], dtype: Any
) -> jax.Array:
    """What the initialiser ``name`` gives; raises unless that is an array of ``shape``."""
    array = init(key, shape, dtype)
    if getattr(array, "shape", None) != shape:
        sentence = checks.refusal(owner, name, f"a function that gives an array of shape {shape}", init)
        # he_normal instead of he_normal()
        raise TypeError(
            f"{sentence}; it gives a function: did you forget to call it?" if callable(array) else sentence
        )
    return array


#: The gates of an LSTM, in the order of its weights.
LSTM_GATES = ("i", "f", "g", "o")


def gated_weights(
    owner: str,
    key: Key,
    dtype: Any,
    gates: tuple[str, ...],
    features: int,
    axes: tuple[tuple[int, ...], tuple[int, ...]],
    kernel_init: Initializer,
    recurrent_kernel_init: Initializer,
    bias_init: Initializer | None,
) -> dict[str, jax.Array]:
    """Both kernels and an optional bias, drawn gate by gate, each gate from a key of its own.

    ``axes`` are those of the input kernel and of the recurrent one but for the last, gates · features.
    """
    # Orthogonal matrices need a decomposition that does not exist below float32.
    draw_dtype = accumulator(dtype)

    def kernel(name: str, init: Initializer, own_axes: tuple[int, ...]) -> jax.Array:
        keys = (fold_name(fold_name(key, name), gate) for gate in gates)
        setting = name.removeprefix("input_") + "_init"
        columns = [drawn(owner, setting, init, own, (*own_axes, features), draw_dtype) for own in keys]
        return jnp.concatenate(columns, axis=-1).astype(dtype)

    weights = {
        "input_kernel": kernel("input_kernel", kernel_init, axes[0]),
        "recurrent_kernel": kernel("recurrent_kernel", recurrent_kernel_init, axes[1]),
    }
    if bias_init is not None:
        own_key, shape = fold_name(key, "bias"), (len(gates) * features,)
        weights["bias"] = drawn(owner, "bias_init", bias_init, own_key, shape, dtype)
    return weights


@partial(jax.jit, static_argnums=(1, 2))
def _compiled(key: Key, dtype: Any, plan: Plan) -> Weights:
    return {name: init(fold_name(key, name), shape, dtype) for name, init, shape in plan}
