"""Checks of arrays: that something is one, its dtype, its axes, and what fits together."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnn.ops.checks.sentences import described, refusal, shown


def array(owner: str, value: Any, name: str = "x") -> jax.Array:
    """``value`` as a JAX array; raises unless it is an array or a number.

    A list or a tuple is not: several arrays where one was meant would be stacked silently to a wrong shape.
    """
    if isinstance(value, jax.Array):
        return value
    if isinstance(value, tuple | list):
        raise TypeError(f"{owner}: {name} must be one array, got {described(value)}")
    try:
        if value is not None:
            return jnp.asarray(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise TypeError(refusal(owner, name, "an array", value)) from None


def arrays(owner: str, value: Any, name: str = "x") -> Any:
    """``value``, a pytree; raises unless its leaves are arrays or numbers, at least one."""
    leaves = [value] if isinstance(value, jax.Array) else jax.tree.leaves(value)
    for leaf in leaves or [value]:
        array(owner, leaf, name)
    return value


def one_shape(owner: str, spec: Any) -> Any:
    """``spec``, the shape and dtype of an input; raises unless it describes a single array."""
    if not hasattr(spec, "shape"):
        what = (
            f"a {type(spec).__name__} of {len(spec)}"
            if isinstance(spec, tuple | list | dict)
            else shown(spec)
        )
        raise TypeError(f"{owner}: shape must be that of one array, got {what}")
    return spec


def floating(op: str, x: ArrayLike, name: str = "x") -> jax.Array:
    """``x`` as a JAX array; raises unless its dtype is a real floating-point one."""
    result = x if isinstance(x, jax.Array) else array(op, x, name)
    floating_dtype(op, result.dtype, name)
    return result


def floating_dtype(op: str, dtype: jnp.dtype, name: str = "x") -> None:
    """Raises unless ``dtype`` is a real floating-point one."""
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"{op}: {name} must be floating-point, got {dtype}; cast it first, for example "
            f"{name}.astype(jnp.float32)"
        )


def same_dtype(op: str, x: jax.Array, **others: jax.Array | None) -> None:
    """Raises unless every array in ``others`` has the dtype of ``x``: nothing is cast silently."""
    for name, other in others.items():
        if other is not None and other.dtype != x.dtype:
            raise TypeError(
                f"{op}: {name} is {other.dtype} but x is {x.dtype}; cast one of them, or wrap the layer in "
                "mixed_precision"
            )


def operands(
    op: str, x: ArrayLike, kernel: ArrayLike, bias: ArrayLike | None
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """The three as floating-point arrays of one dtype; raises if the kernel has an axis of size 0."""
    x, kernel = floating(op, x), floating(op, kernel, "kernel")
    bias = None if bias is None else floating(op, bias, "bias")
    same_dtype(op, x, kernel=kernel, bias=bias)
    if 0 in kernel.shape:
        raise ValueError(f"{op}: kernel must have no axis of size 0, got shape {kernel.shape}")
    return x, kernel, bias


def groups_divide(op: str, groups: int, what: str, count: int) -> None:
    """Raises unless ``groups`` divides the ``count`` channels that ``what`` names."""
    if count % groups:
        raise ValueError(f"{op}: groups must divide the {what}, got groups={groups} and {count}")


def one_per_channel(op: str, name: str, value: jax.Array | None, channels: int) -> None:
    """Raises unless ``value`` is None or of shape ``(channels,)``."""
    if value is not None and value.shape != (channels,):
        raise ValueError(
            f"{op}: {name} must have shape ({channels},), one value per output channel, "
            f"got shape {value.shape}"
        )


def spatial(op: str, x: jax.Array, name: str = "x") -> tuple[int, ...]:
    """The sizes of the spatial axes of ``x: (N, *space, C)``; raises if there are none or one is empty."""
    if x.ndim < 3:
        raise ValueError(
            f"{op}: {name} must be (N, *space, C) with at least one spatial axis, got shape {x.shape}"
        )
    if any(isinstance(size, int) and size == 0 for size in x.shape[1:-1]):
        raise ValueError(f"{op}: {name} must have no spatial axis of size 0, got shape {x.shape}")
    return x.shape[1:-1]


def ordered(op: str, x: ArrayLike) -> jax.Array:
    """``x`` as a JAX array; raises unless its values have an order."""
    values = array(op, x)
    kinds = (jnp.floating, jnp.integer, jnp.bool_)
    if not any(jnp.issubdtype(values.dtype, kind) for kind in kinds):
        raise TypeError(f"{op}: x must be floating-point, integer or boolean, got {values.dtype}")
    return values
