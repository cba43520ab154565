"""Checks that every op makes of its arguments, and the sentences that they raise."""

from operator import index

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def floating(op: str, x: ArrayLike, name: str = "x") -> jax.Array:
    """``x`` as a JAX array; raises unless its dtype is a real floating-point one."""
    array = x if isinstance(x, jax.Array) else jnp.asarray(x)
    floating_dtype(op, array.dtype, name)
    return array


def floating_dtype(op: str, dtype: jnp.dtype, name: str = "x") -> None:
    """Raises unless ``dtype`` is a real floating-point one."""
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"{op}: {name} must be floating-point, got {dtype}; cast it first, for example "
            f"{name}.astype(jnp.float32)"
        )


def same_dtype(op: str, x: jax.Array, **others: jax.Array | None) -> None:
    """Raises unless every array in ``others`` has the dtype of ``x``: nothing is cast in silence."""
    for name, other in others.items():
        if other is not None and other.dtype != x.dtype:
            raise TypeError(
                f"{op}: {name} is {other.dtype} but x is {x.dtype}; cast one of them, or wrap the layer in "
                "mixed_precision"
            )


def at_least(op: str, name: str, value: int, least: int = 1) -> int:
    """``value`` as a plain int; raises unless it is a whole number of at least ``least``."""
    try:
        number = index(value)
    except TypeError:
        raise TypeError(f"{op}: {name} must be an integer, got {value!r}") from None
    if number < least:
        raise ValueError(f"{op}: {name} must be at least {least}, got {number}")
    return number


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


def one_a_channel(op: str, name: str, value: jax.Array | None, channels: int) -> None:
    """Raises unless ``value`` is None or of shape ``(channels,)``."""
    if value is not None and value.shape != (channels,):
        raise ValueError(
            f"{op}: {name} must have shape ({channels},), one an output channel, got shape {value.shape}"
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


def accumulator(dtype: jnp.dtype) -> jnp.dtype:
    """The dtype that sums over ``dtype`` are taken in: float32 at least."""
    return dtype if dtype.itemsize >= 4 else jnp.dtype(jnp.float32)
