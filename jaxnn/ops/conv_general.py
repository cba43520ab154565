"""``jax.lax.conv_general_dilated`` by jaxnn's kernels."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import DTypeLike

from jaxnn.kernels.convolution import primitives as convolution
from jaxnn.kernels.convolution.problem import Settings, swap_channels
from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.spans import dilated


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: lax.ConvGeneralDilatedDimensionNumbers = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    out_sharding: NamedSharding | PartitionSpec | None = None,
) -> jax.Array:
    """Convolution with exactly the signature and meaning of ``jax.lax.conv_general_dilated``.

    ``(N, C_in, *space), (C_out, C_in // groups, *window) → (N, C_out, *out)`` unless ``dimension_numbers``
    says otherwise. This function is meant for libraries that accept a replacement of lax's. Arguments,
    defaults and errors are those of lax; ``conv`` is easier to use. lax computes what jaxnn has no kernel for
    (complex numbers and integers, groups of the batch, a dilated input with strides).

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> nn.ops.conv_general_dilated(jnp.ones((1, 3, 8, 8)), jnp.ones((4, 3, 3, 3)), (1, 1), "SAME").shape
    (1, 4, 8, 8)
    """

    def plain(lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation=lhs_dilation,
            rhs_dilation=rhs_dilation,
            dimension_numbers=dimension_numbers,
            feature_group_count=feature_group_count,
            batch_group_count=batch_group_count,
            precision=precision,
            preferred_element_type=preferred_element_type,
            out_sharding=out_sharding,
        )

    result = jax.eval_shape(plain, lhs, rhs)  # All of lax's checks, and the type of the result.
    rank = len(window_strides)
    stretch = tuple(lhs_dilation or (1,) * rank)
    dilation = tuple(rhs_dilation or (1,) * rank)
    dilated_input, strided = (any(step > 1 for step in steps) for steps in (stretch, window_strides))
    special = batch_group_count > 1 or out_sharding is not None or (dilated_input and strided)
    special |= len(dilation) != rank  # lax accepts this
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    out = tuple(result.shape[axis] for axis in numbers.out_spec[2:])
    sizes = (*(lhs.shape[axis] for axis in numbers.lhs_spec[1:]), *rhs.shape, *out)
    if rank == 0 or special or not _has_kernel(lhs, rhs, result.dtype, sizes):
        return plain(lhs, rhs)
    x, kernel = jnp.transpose(lhs, _last(numbers.lhs_spec)), jnp.transpose(rhs, _kernel(numbers.rhs_spec))
    space, window = x.shape[1:-1], kernel.shape[:-2]
    span = dilated(window, dilation)
    pairs = lax.padtype_to_pads(space, span, window_strides, padding) if isinstance(padding, str) else padding
    if not dilated_input:
        padded = tuple((int(low), int(high)) for low, high in pairs)
        settings = Settings(
            space, window, tuple(window_strides), padded, dilation, feature_group_count, precision
        )
        y = convolution.forward(x, kernel, settings, result.dtype)
    else:
        # A convolution of a dilated x is the transpose of one with that stride and a flipped kernel.
        lows = [k - 1 - int(low) for k, (low, _) in zip(span, pairs, strict=True)]
        axes = zip(space, out, span, stretch, lows, strict=True)
        cut = tuple((low, (n - 1) * s + k - size - low) for n, size, k, s, low in axes)
        settings = Settings(out, window, stretch, cut, dilation, feature_group_count, precision)
        kernel = swap_channels(lax.rev(kernel, range(rank)), feature_group_count)
        y = convolution.input_gradient(kernel, x, settings, result.dtype)
    back = _last(numbers.out_spec)
    return jnp.transpose(y, [back.index(axis) for axis in range(rank + 2)])


def _last(spec: Sequence[int]) -> list[int]:
    """The permutation that takes (batch, channels, *space), where ``spec`` finds them, to channels last."""
    batch, channels, *space = spec
    return [batch, *space, channels]


def _kernel(spec: Sequence[int]) -> list[int]:
    """The permutation that takes (C_out, C_in, *window), where ``spec`` finds them, to ``conv``'s order."""
    c_out, c_in, *window = spec
    return [*window, c_in, c_out]


def _has_kernel(lhs: jax.Array, rhs: jax.Array, wanted: jnp.dtype, sizes: Sequence[int]) -> bool:
    """Whether there is something to compute, in one real dtype and without axes sharded explicitly."""
    dtype = lhs.dtype
    return (
        all(isinstance(size, int) and size > 0 for size in sizes)
        and jnp.issubdtype(dtype, jnp.floating)
        and dtype == rhs.dtype
        and wanted in (dtype, accumulator(dtype))
        and not any(any(jax.typeof(a).sharding.spec) for a in (lhs, rhs))
    )
