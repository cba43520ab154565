"""The three faces of a convolution in the forms that XLA compiles well for CPUs.

XLA has fast code there for matrix products and for convolutions in one layout, channels last, without
groups, without dilation of the input and without reversal of the window. Within a loop nothing brings
others into that shape; they become a naive nest of loops. So everything here is a product, a canonical
convolution with its transposes and flips written out, or, for depthwise kernels, sums of shifted products.
"""

from itertools import product
from math import gcd, prod

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.ops import conv_depthwise, conv_groups
from jaxnn.ops.checks import accumulator
from jaxnn.ops.conv_settings import Settings, channels_last, fit, pad, swap_channels
from jaxnn.ops.windows import Pairs


def forward(x: jax.Array, kernel: jax.Array, s: Settings, dtype: jnp.dtype) -> jax.Array:
    """y[n, i, o] = Σ_j Σ_c x[n, s·i + d·j − low, c] · kernel[j, c, o]."""
    x, kernel = _wide(x, kernel)
    return _forward(x, kernel, s).astype(dtype)


def _forward(x: jax.Array, kernel: jax.Array, s: Settings) -> jax.Array:
    if conv_depthwise.applies(s, kernel.shape):
        return conv_depthwise.forward(x, kernel, s)
    if s.groups > 1:
        return conv_groups.forward(_dense, x, kernel, s)
    return _dense(x, kernel, s)


def _dense(x: jax.Array, kernel: jax.Array, s: Settings) -> jax.Array:
    if prod(s.window) == 1:
        last = ((x.ndim - 1,), (0,))
        return lax.dot_general(
            _at_strides(x, s), kernel.reshape(kernel.shape[-2:]), (last, ((), ())), precision=s.precision
        )
    return _canonical(x, kernel, s.strides, s.padding, s.dilation, s)


def _canonical(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, ...],
    padding: Pairs,
    dilation: tuple[int, ...],
    s: Settings,
) -> jax.Array:
    """The convolution that XLA is fast at. Axes that are cropped are cropped beforehand."""
    crop = tuple(pair if min(pair) < 0 else (0, 0) for pair in padding)
    return lax.conv_general_dilated(
        pad(x, crop),
        kernel,
        strides,
        [(0, 0) if min(pair) < 0 else pair for pair in padding],
        rhs_dilation=dilation,
        dimension_numbers=channels_last(s.rank),
        precision=s.precision,
    )


def _at_strides(x: jax.Array, s: Settings) -> jax.Array:
    """The values of x that a window of one tap reads."""
    x = pad(x, s.padding)
    ends = [(out - 1) * step + 1 for out, step in zip(s.out, s.strides, strict=True)]
    return lax.slice(x, [0] * x.ndim, (x.shape[0], *ends, x.shape[-1]), (1, *s.strides, 1))


def input_gradient(kernel: jax.Array, y: jax.Array, s: Settings, dtype: jnp.dtype) -> jax.Array:
    """x[n, s·i + d·j − low, c] += y[n, i, o] · kernel[j, c, o], without dilating y.

    The places of x fall into s phases on each axis. One phase sees one in s taps of the kernel, and is an
    ordinary convolution of y with these.
    """
    kernel, y = _wide(kernel, y)
    if s.groups == 1 and all(k <= step for k, step in zip(s.span, s.strides, strict=True)):
        return _stamps(kernel, y, s).astype(dtype)
    kernel = swap_channels(kernel, s.groups)
    sizes = [-(-n // step) for n, step in zip(s.space, s.strides, strict=True)]
    phases = [_phase(kernel, y, s, phase, sizes) for phase in product(*map(range, s.strides))]
    for axis, step in reversed(list(enumerate(s.strides, start=1))):
        rows = range(0, len(phases), step)
        phases = [_interleave(phases[row : row + step], axis) for row in rows]
    return fit(phases[0], [0] * s.rank, s.space).astype(dtype)


def _phase(
    kernel: jax.Array, y: jax.Array, s: Settings, phase: tuple[int, ...], sizes: list[int]
) -> jax.Array:
    """The places p, p + s, p + 2·s, … of x, as many as ``sizes`` on each axis."""
    taps, padding, dilation = [], [], []
    axes = zip(phase, sizes, y.shape[1:-1], s.window, s.strides, s.dilation, s.padding, strict=True)
    for p, size, n, k, step, d, (low, _) in axes:
        common = gcd(d, step)
        first = next((j for j in range(min(k, step // common)) if (p + low - d * j) % step == 0), None)
        if first is None:
            return jnp.zeros((y.shape[0], *sizes, kernel.shape[-1]), y.dtype)
        taps.append(range(first, k, step // common))
        reach = d // common * (len(taps[-1]) - 1)
        before = reach - (p + low - d * first) // step
        padding.append((before, size + reach - n - before))
        dilation.append(d // common)
    for axis, js in enumerate(taps):
        kernel = lax.rev(lax.slice_in_dim(kernel, js.start, js[-1] + 1, js.step, axis), (axis,))
    window = tuple(map(len, taps))
    return _forward(
        y,
        kernel,
        Settings(
            y.shape[1:-1], window, (1,) * s.rank, tuple(padding), tuple(dilation), s.groups, s.precision
        ),
    )


def _interleave(parts: list[jax.Array], axis: int) -> jax.Array:
    """The first of each part, then the second of each, and so on."""
    if len(parts) == 1:
        return parts[0]
    shape = parts[0].shape
    return jnp.stack(parts, axis + 1).reshape(*shape[:axis], shape[axis] * len(parts), *shape[axis + 1 :])


def _stamps(kernel: jax.Array, y: jax.Array, s: Settings) -> jax.Array:
    """The input gradient where windows do not overlap: one matrix product gives the stamp of each y."""
    rest = [(0, step - k, d - 1) for k, step, d in zip(s.span, s.strides, s.dilation, strict=True)]
    kernel = lax.pad(kernel, jnp.zeros((), kernel.dtype), (*rest, (0, 0, 0), (0, 0, 0)))
    n, *out, _ = y.shape
    contracted = ((y.ndim - 1,), (kernel.ndim - 1,))
    x = lax.dot_general(y, kernel, (contracted, ((), ())), precision=s.precision)
    order = [axis for i in range(1, s.rank + 1) for axis in (i, s.rank + i)]
    sizes = [size * step for size, step in zip(out, s.strides, strict=True)]
    x = jnp.transpose(x, (0, *order, x.ndim - 1)).reshape(n, *sizes, kernel.shape[-2])
    return fit(x, [-low for low, _ in s.padding], s.space)


def kernel_gradient(x: jax.Array, y: jax.Array, s: Settings, dtype: jnp.dtype) -> jax.Array:
    """kernel[j, c, o] = Σ_n Σ_i x[n, s·i + d·j − low, c] · y[n, i, o]."""
    shape = (*s.window, x.shape[-1] // s.groups, y.shape[-1])
    if isinstance(x.shape[0], int) and x.shape[0] == 0:
        return jnp.zeros(shape, dtype)
    x, y = _wide(x, y)
    if conv_depthwise.applies(s, shape):
        kernel = conv_depthwise.kernel_gradient(x, y, s)
    elif s.groups > 1:
        kernel = conv_groups.kernel_gradient(_dense_kernel_gradient, x, y, s)
    else:
        kernel = _dense_kernel_gradient(x, y, s)
    return kernel.astype(dtype)


def _dense_kernel_gradient(x: jax.Array, y: jax.Array, s: Settings) -> jax.Array:
    """A convolution whose window is y and whose batch is the channels of x; its channels are the batch."""
    if prod(s.window) == 1:
        rows = tuple(range(s.rank + 1))
        product = lax.dot_general(_at_strides(x, s), y, ((rows, rows), ((), ())), precision=s.precision)
        return product.reshape(*s.window, *product.shape)
    axes = zip(s.space, s.out, s.window, s.strides, s.dilation, s.padding, strict=True)
    pairs = tuple(
        (low, (out - 1) * step + 1 + (k - 1) * d - n - low) for n, out, k, step, d, (low, _) in axes
    )
    by_channel, window = jnp.swapaxes(x, 0, -1), jnp.moveaxis(y, 0, -2)
    kernel = _canonical(by_channel, window, s.dilation, pairs, s.strides, s)
    return jnp.moveaxis(kernel, 0, -2)


def _wide(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both in the dtype that sums are taken in. Products of halves are exact in float32."""
    wide = max(accumulator(a.dtype), accumulator(b.dtype), key=lambda dtype: dtype.itemsize)
    return a.astype(wide), b.astype(wide)
