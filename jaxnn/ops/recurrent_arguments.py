"""Checks the arguments that all recurrent ops share: arrays that fit together, and an initial carry."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.recurrence.cells import HiddenAndCell
from jaxnn.ops.checks import floating, same_dtype


class Operands(NamedTuple):
    """The input and the weights that every recurrent op has, as arrays that fit together."""

    x: jax.Array
    input_kernel: jax.Array
    recurrent_kernel: jax.Array
    bias: jax.Array | None
    projection: jax.Array | None = None


def operands(
    op: str,
    gates: int,
    axes: str,
    x: ArrayLike,
    input_kernel: ArrayLike,
    recurrent_kernel: ArrayLike,
    bias: ArrayLike | None,
    projection_kernel: ArrayLike | None = None,
) -> Operands:
    """Raises unless the arrays fit together; ``axes`` names those that ``x`` must have."""
    x = floating(op, x)
    input_kernel = floating(op, input_kernel, "input_kernel")
    recurrent_kernel = floating(op, recurrent_kernel, "recurrent_kernel")
    bias = None if bias is None else floating(op, bias, "bias")
    same_dtype(op, x, input_kernel=input_kernel, recurrent_kernel=recurrent_kernel, bias=bias)
    if x.ndim != axes.count(",") + 1:
        raise ValueError(f"{op}: x must be {axes}, got shape {x.shape}")
    if x.ndim == 3 and x.shape[1] == 0:
        raise ValueError(f"{op}: x must have at least one time step, got shape {x.shape}")
    columns = "H" if gates == 1 else f"{gates}·H"
    shape = recurrent_kernel.shape
    if projection_kernel is not None:
        return _projected(op, gates, x, input_kernel, recurrent_kernel, bias, projection_kernel)
    if len(shape) != 2 or shape[1] != gates * shape[0] or shape[0] == 0:
        raise ValueError(f"{op}: recurrent_kernel must be (H, {columns}), got shape {shape}")
    expected = (x.shape[-1], shape[1])
    if input_kernel.shape != expected:
        raise ValueError(
            f"{op}: input_kernel must be (F, {columns}) = {expected} for x of shape {x.shape} and "
            f"recurrent_kernel of shape {shape}, got shape {input_kernel.shape}"
        )
    if bias is not None and bias.shape != shape[1:]:
        raise ValueError(f"{op}: bias must be ({columns},) = {shape[1:]}, got shape {bias.shape}")
    return Operands(x, input_kernel, recurrent_kernel, bias)


def _projected(
    op: str,
    gates: int,
    x: jax.Array,
    input_kernel: jax.Array,
    recurrent_kernel: jax.Array,
    bias: jax.Array | None,
    projection_kernel: ArrayLike,
) -> Operands:
    """``operands`` whose state h is a projection, (N, P), of H values."""
    projection = floating(op, projection_kernel, "projection_kernel")
    same_dtype(op, x, projection_kernel=projection)
    if projection.ndim != 2 or 0 in projection.shape:
        raise ValueError(f"{op}: projection_kernel must be (H, P), got shape {projection.shape}")
    hidden, projected = projection.shape
    columns = gates * hidden
    for name, array, shape, axes in (
        ("recurrent_kernel", recurrent_kernel, (projected, columns), f"(P, {gates}·H)"),
        ("input_kernel", input_kernel, (x.shape[-1], columns), f"(F, {gates}·H)"),
        ("bias", bias, (columns,), f"({gates}·H,)"),
    ):
        if array is not None and array.shape != shape:
            raise ValueError(
                f"{op}: {name} must be {axes} = {shape} for x of shape {x.shape} and projection_kernel of "
                f"shape {projection.shape}, got shape {array.shape}"
            )
    return Operands(x, input_kernel, recurrent_kernel, bias, projection)


def fitting(
    op: str, name: str, value: ArrayLike | None, shape: tuple[int, ...], axes: str, x: jax.Array
) -> jax.Array | None:
    """``value`` as an array of this shape, in the dtype of ``x`` or the accumulator's; None stays None."""
    if value is None:
        return None
    array = floating(op, value, name)
    if array.dtype not in (x.dtype, accumulator(x.dtype)):
        raise TypeError(f"{op}: {name} must be {x.dtype}, as x is, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{op}: {name} must be {axes} = {shape}, got shape {array.shape}")
    return array


def candidate_bias(op: str, recurrent_bias: ArrayLike | None, given: Operands) -> jax.Array | None:
    """The GRU's ``recurrent_bias`` for all gates, (3·H,) with zeros for r and z; or None."""
    if recurrent_bias is None:
        return None
    bias = floating(op, recurrent_bias, "recurrent_bias")
    same_dtype(op, given.x, recurrent_bias=bias)
    expected = given.recurrent_kernel.shape[:1]
    if bias.shape != expected:
        raise ValueError(f"{op}: recurrent_bias must be (H,) = {expected}, got shape {bias.shape}")
    return jnp.pad(bias, (2 * bias.shape[0], 0))


def hidden(
    op: str,
    carry: ArrayLike | None,
    given: Operands,
    name: str = "carry",
    size: int | None = None,
    axes: str = "(N, H)",
) -> jax.Array:
    """The initial h (or c, of another ``size``) in the accumulator's dtype: ``carry``, or zeros."""
    size = given.recurrent_kernel.shape[0] if size is None else size
    shape, dtype = (given.x.shape[0], size), accumulator(given.x.dtype)
    if carry is None:
        return jnp.zeros(shape, dtype)
    if isinstance(carry, tuple | list):
        raise TypeError(f"{op}: {name} must be one array {axes}, got {describe(carry)}")
    array = floating(op, carry, name)
    if array.dtype not in (given.x.dtype, dtype):
        allowed = dtype if dtype == given.x.dtype else f"{dtype} or {given.x.dtype}"
        raise TypeError(f"{op}: {name} must be {allowed} for x in {given.x.dtype}, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{op}: {name} must be {axes} = {shape}, got shape {array.shape}")
    return array.astype(dtype)


def hidden_and_cell(op: str, carry: tuple[ArrayLike, ArrayLike] | None, given: Operands) -> HiddenAndCell:
    """The initial (h, c): ``carry``, or zeros."""
    cells = given.input_kernel.shape[1] // 4
    axes = "(N, H)" if given.projection is None else "(N, P)"
    if carry is None:
        return hidden(op, None, given), hidden(op, None, given, size=cells)
    if not isinstance(carry, tuple) or len(carry) != 2:
        raise TypeError(f"{op}: carry must be a tuple (h, c), got {describe(carry)}")
    return hidden(op, carry[0], given, "carry h", axes=axes), hidden(op, carry[1], given, "carry c", cells)


def describe(value: object) -> str:
    """What was passed, for an error sentence: a shape rather than numbers."""
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"an array of shape {value.shape}" if hasattr(value, "shape") else repr(value)
