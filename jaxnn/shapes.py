"""Describes the shape of an input, in any of its forms, as a ``jax.ShapeDtypeStruct``."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.export import is_symbolic_dim

from jaxnn.ops import checks
from jaxnn.params import Params

Spec = Any  #: a tuple of ints, a ``jax.ShapeDtypeStruct``, an array, or a pytree of them


def as_spec(shape: Spec, owner: str = "init") -> Any:
    """``shape`` in any of its forms as a ``jax.ShapeDtypeStruct``, or a pytree of them.

    A tuple of ints means the default float dtype; an array stands for its own shape and dtype. The leading
    axis (the batch) may be empty; any other size below 1 raises. An empty tuple is the shape of a scalar, but
    next to arrays or specs it is an empty part of the pytree.

    >>> from jaxnn.shapes import as_spec
    >>> as_spec((1, 28, 28, 1))
    ShapeDtypeStruct(shape=(1, 28, 28, 1), dtype=float32)
    """
    if _is_described(shape):
        return _leaf_spec(owner, shape, shape)
    described = any(map(_is_described, jax.tree.leaves(shape)))

    def is_shape(node: Any) -> bool:
        return _is_shape(node) and not (described and len(node) == 0)

    return jax.tree.map(partial(_leaf_spec, owner, shape), shape, is_leaf=is_shape)


def given_spec(owner: str, shape: Spec) -> Any:
    """``as_spec`` of what was given to the function ``owner``, where None is not a shape."""
    if shape is None:
        raise TypeError(
            f"{owner}: shape must be a tuple of ints, a jax.ShapeDtypeStruct, an array, or a pytree of them, "
            "got None"
        )
    return as_spec(shape, owner)


def value_spec(owner: str, x: Any) -> Any:
    """The specs of ``x``, which is an array, traced or not, a number, or a pytree of these.

    Unlike in ``as_spec``, a tuple of numbers is a tuple of numbers.
    """

    def spec(leaf: Any) -> jax.ShapeDtypeStruct:
        if not _is_described(leaf) and not isinstance(leaf, bool | int | float | complex):
            raise TypeError(f"{owner}: the input must be an array or a pytree of arrays, got {leaf!r} in it")
        return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))

    return spec(x) if _is_described(x) else jax.tree.map(spec, x)


def _is_described(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def _is_shape(node: Any) -> bool:
    """Whether ``node`` is a tuple or list of sizes, not of specs."""
    return isinstance(node, tuple | list) and not isinstance(node, Params) and all(map(_is_size, node))


def _is_size(size: Any) -> bool:
    if isinstance(size, jax.core.Tracer):
        return size.shape == () and jnp.issubdtype(size.dtype, jnp.integer)
    return (isinstance(size, int | np.integer) and not isinstance(size, bool)) or is_symbolic_dim(size)


def _leaf_spec(owner: str, shape: Spec, leaf: Any) -> jax.ShapeDtypeStruct:
    """The spec of one ``leaf`` of ``shape``."""
    if _is_described(leaf):
        # As jnp.asarray would convert it: NumPy's float64 is float32 unless x64 is enabled.
        sizes, dtype = leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True)
    elif isinstance(leaf, tuple | list):
        sizes, dtype = tuple(leaf), jnp.result_type(float)
    else:
        raise TypeError(
            f"{owner}: shape must be a tuple of ints, a jax.ShapeDtypeStruct, an array, or a pytree of them, "
            f"got {checks.shown(shape)}"
        )
    if any(isinstance(size, jax.core.Tracer) for size in sizes):
        raise TypeError(
            f"{owner}: shape must not be traced; under jax.jit or jax.eval_shape give an array or a "
            "jax.ShapeDtypeStruct, or bind the shape first: jax.jit(lambda key: net.init(key, shape))"
        )
    if any(size < (axis > 0) for axis, size in enumerate(sizes) if not is_symbolic_dim(size)):
        raise ValueError(
            f"{owner}: every size must be at least 1 (the batch may be 0), got shape {tuple(sizes)}"
        )
    return jax.ShapeDtypeStruct(sizes, dtype)
