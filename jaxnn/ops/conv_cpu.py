"""The three faces of a convolution in the forms that XLA compiles well for CPUs.

XLA has fast code there for matrix products and for convolutions in one layout, channels last, without
groups, without dilation of the input and without reversal of the window. Within a loop nothing brings
others into that shape; they become a naive nest of loops. So everything here is a product, a canonical
convolution with its transposes and flips written out, or, for depthwise kernels, sums of shifted products.
"""

from functools import partial
from itertools import product
from math import gcd, prod

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.ops import (
    conv_banded,
    conv_blocks,
    conv_by_tap,
    conv_depthwise,
    conv_groups,
    conv_parts,
    conv_plain,
    conv_unfolded,
)
from jaxnn.ops.checks import accumulator
from jaxnn.ops.conv_independent import independent, repaired
from jaxnn.ops.conv_settings import (
    Dense,
    Settings,
    channels_last,
    fit,
    pad,
    shifted,
    summed_products,
    swap_channels,
    times,
)
from jaxnn.ops.stored import stored

#: The most channels for which a matrix product is slower than XLA's convolution.
_FEW = 16


def forward(x: jax.Array, kernel: jax.Array, s: Settings, dtype: jnp.dtype, *, devices: int = 1) -> jax.Array:
    """y[n, i, o] = Σ_j Σ_c x[n, s·i + d·j − low, c] · kernel[j, c, o].

    A loop over the batch would gather one that is spread over several ``devices``.
    """
    wide = _wider(x, kernel)
    kernel = kernel.astype(wide)
    c_in, c_out = kernel.shape[-2:]
    unfolds = devices == 1 and conv_unfolded.applies(s, c_in, c_out)
    floats = _in_parts(s, x.shape[0], c_in, c_out, unfolds=unfolds)
    dense = conv_unfolded.forward if floats else _dense

    def part(x: jax.Array) -> jax.Array:
        return _forward(dense, x.astype(wide), kernel, s, devices=devices).astype(dtype)

    return conv_parts.mapped(part, x, floats)


def _in_parts(s: Settings, batch: int, c_in: int, c_out: int, *, unfolds: bool) -> int:
    """The floats that windows unfolded write out for each example; 0 if the batch is not to be parted."""
    floats = conv_unfolded.floats(s, c_in, c_out)
    return floats if unfolds and conv_parts.pays(s, batch, c_in, c_out, floats) else 0


def _forward(dense: Dense, x: jax.Array, kernel: jax.Array, s: Settings, *, devices: int) -> jax.Array:
    if conv_depthwise.applies(s, kernel.shape):
        return conv_depthwise.forward(x, kernel, s)

    def form(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return dense(x, kernel, s) if s.groups == 1 else conv_groups.forward(dense, x, kernel, s)

    if not _multiplies_by_zeros(dense, s, x.shape[0], *kernel.shape[-2:]):
        return form(x, kernel)
    exact = partial(conv_plain.forward, s=s, dtype=x.dtype, devices=devices)
    # Groups may be the members of an ensemble, and what one does must leave the others as they are.
    return independent(form, exact, x, kernel, bits=s.groups > 1)


def _multiplies_by_zeros(dense: Dense, s: Settings, batch: int, c_in: int, c_out: int) -> bool:
    """Whether a convolution in its fast form reads more than it depends on, and multiplies that by zero."""
    together = conv_groups.together(s.groups, c_in)
    few = _for_few(s, batch, together * c_in, together * c_out // s.groups)
    return together > 1 or (dense is _dense and few is not None)


def _dense(x: jax.Array, kernel: jax.Array, s: Settings) -> jax.Array:
    c_in, c_out = kernel.shape[-2:]
    if prod(s.window) == 1 and s.out == s.space and max(c_in, c_out) > _FEW:
        return times(_only_tap(x, s), kernel.reshape(c_in, c_out), s)
    form = _for_few(s, x.shape[0], c_in, c_out) or _canonical
    return form(x, kernel, s)


def _for_few(s: Settings, batch: int, c_in: int, c_out: int) -> Dense | None:
    """The form for few channels, if it pays: a kernel of bands or of blocks, with zeros in between."""
    if prod(s.window) == 1:
        return None
    together = conv_blocks.together(s, batch, c_in, c_out)
    if conv_banded.applies(s, batch, c_in, c_out, together * c_out):
        return partial(conv_banded.forward, _dense)
    return partial(conv_blocks.forward, _canonical, m=together) if together > 1 else None


def _canonical(x: jax.Array, kernel: jax.Array, s: Settings) -> jax.Array:
    """The convolution that XLA is fast at. Axes that are cropped are cropped beforehand."""
    crop = tuple(pair if min(pair) < 0 else (0, 0) for pair in s.padding)
    return lax.conv_general_dilated(
        pad(x, crop),
        kernel,
        s.strides,
        [(0, 0) if min(pair) < 0 else pair for pair in s.padding],
        rhs_dilation=s.dilation,
        dimension_numbers=channels_last(s.rank),
        precision=s.precision,
    )


def _only_tap(x: jax.Array, s: Settings) -> jax.Array:
    """The values of x that windows of one tap read."""
    return shifted(pad(x, s.padding), (0,) * s.rank, s.out, s)


def input_gradient(
    kernel: jax.Array, y: jax.Array, s: Settings, dtype: jnp.dtype, *, devices: int = 1
) -> jax.Array:
    """x[n, s·i + d·j − low, c] += y[n, i, o] · kernel[j, c, o], without dilating y."""
    wide, (c_in, c_out) = _wider(kernel, y), kernel.shape[-2:]
    kernel = kernel.astype(wide)
    overlaps = any(k > step for k, step in zip(s.span, s.strides, strict=True))
    if s.groups == 1 and not overlaps and max(s.strides) > 1:
        return _stamps(kernel, y.astype(wide), s).astype(dtype)
    if conv_blocks.at_once(s, c_in, c_out):
        fast = partial(conv_blocks.input_gradient, _canonical, s=s)
        exact = partial(conv_plain.input_gradient, s=s, dtype=wide, devices=devices)
        return independent(fast, exact, kernel, y.astype(wide), bits=False).astype(dtype)
    unfolds = devices == 1 and conv_unfolded.applies(s, c_out, c_in)
    floats = _in_parts(s, y.shape[0], c_out, c_in, unfolds=unfolds)
    dense = conv_unfolded.forward if floats else _dense

    def part(y: jax.Array) -> jax.Array:
        return _phases(dense, kernel, y.astype(wide), s, devices=devices).astype(dtype)

    return conv_parts.mapped(part, y, floats)


def _phases(dense: Dense, kernel: jax.Array, y: jax.Array, s: Settings, *, devices: int) -> jax.Array:
    """The input gradient, phase by phase.

    The places of x fall into s phases on each axis. One phase sees one in s taps of the kernel, and is an
    ordinary convolution of y with these.
    """
    kernel = swap_channels(kernel, s.groups)
    sizes = [-(-n // step) for n, step in zip(s.space, s.strides, strict=True)]
    every = product(*map(range, s.strides))
    phases = [_phase(dense, kernel, y, s, phase, sizes, devices=devices) for phase in every]
    for axis, step in reversed(list(enumerate(s.strides, start=1))):
        rows = range(0, len(phases), step)
        phases = [_interleave(phases[row : row + step], axis) for row in rows]
    return fit(phases[0], [0] * s.rank, s.space)


def _phase(
    dense: Dense,
    kernel: jax.Array,
    y: jax.Array,
    s: Settings,
    phase: tuple[int, ...],
    sizes: list[int],
    *,
    devices: int,
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
        dense,
        y,
        kernel,
        Settings(
            y.shape[1:-1], window, (1,) * s.rank, tuple(padding), tuple(dilation), s.groups, s.precision
        ),
        devices=devices,
    )


def _interleave(parts: list[jax.Array], axis: int) -> jax.Array:
    """The first of each part, then the second of each, and so on."""
    if len(parts) == 1:
        return parts[0]
    shape = parts[0].shape
    return jnp.stack(parts, axis + 1).reshape(*shape[:axis], shape[axis] * len(parts), *shape[axis + 1 :])


def _stamps(kernel: jax.Array, y: jax.Array, s: Settings) -> jax.Array:
    """The input gradient where windows do not overlap: one matrix product gives the stamp of each y."""
    n, *out, _ = y.shape
    contracted = ((y.ndim - 1,), (kernel.ndim - 1,))
    x = lax.dot_general(y, kernel, (contracted, ((), ())), precision=s.precision)
    order = [axis for i in range(1, s.rank + 1) for axis in (i, s.rank + i)]
    # Stored before it is padded: a pad of a transposition would be a loop of branches.
    x = stored(jnp.transpose(x, (0, *order, x.ndim - 1)))
    gaps = [(0, step - k, d - 1) for k, step, d in zip(s.span, s.strides, s.dilation, strict=True)]
    if any(map(any, gaps)):
        none = (0, 0, 0)
        x = lax.pad(x, jnp.zeros((), x.dtype), (none, *(pair for gap in gaps for pair in (none, gap)), none))
    sizes = [size * step for size, step in zip(out, s.strides, strict=True)]
    return fit(x.reshape(n, *sizes, kernel.shape[-2]), [-low for low, _ in s.padding], s.space)


def kernel_gradient(
    x: jax.Array, y: jax.Array, s: Settings, dtype: jnp.dtype, *, devices: int = 1
) -> jax.Array:
    """kernel[j, c, o] = Σ_n Σ_i x[n, s·i + d·j − low, c] · y[n, i, o]."""
    shape = (*s.window, x.shape[-1] // s.groups, y.shape[-1])
    if isinstance(x.shape[0], int) and x.shape[0] == 0:
        return jnp.zeros(shape, dtype)
    wide = _wider(x, y)
    if s.groups > 1 < devices:
        return conv_by_tap.kernel_gradient(x.astype(wide), y.astype(wide), s, devices).astype(dtype)
    c_in, c_out = shape[-2:]
    unfolds = devices == 1 and conv_unfolded.applies_to_kernel(s, c_in, c_out)
    floats = _in_parts(s, x.shape[0], c_in, c_out, unfolds=unfolds)
    # Devices would add up what a block of outputs makes of it, which is some times the gradient.
    own = _dense_kernel_gradient if devices == 1 else _plain_kernel_gradient
    dense = conv_unfolded.kernel_gradient if floats else own

    def part(x: jax.Array, y: jax.Array) -> jax.Array:
        return _kernel_gradient(dense, x.astype(wide), y.astype(wide), s)

    kernel = conv_parts.summed(part, x, y, floats)
    if floats and conv_unfolded.multiplies_by_zeros(s):
        kernel = repaired(kernel, lambda: _canonical_kernel_gradient(x.astype(wide), y.astype(wide), s))
    return kernel.astype(dtype)


def _kernel_gradient(dense: Dense, x: jax.Array, y: jax.Array, s: Settings) -> jax.Array:
    c_in, c_out = x.shape[-1] // s.groups, y.shape[-1]
    if conv_depthwise.applies(s, (c_in, c_out)):
        return conv_depthwise.kernel_gradient(x, y, s)
    if s.groups > 1:
        return conv_groups.kernel_gradient(dense, x, y, s)
    return dense(x, y, s)


def _dense_kernel_gradient(x: jax.Array, y: jax.Array, s: Settings) -> jax.Array:
    together = conv_blocks.together_for_kernel(s, x.shape[0], y.shape[-1])
    if prod(s.window) > 1 < together:
        return conv_blocks.kernel_gradient(_canonical_kernel_gradient, x, y, s, together)
    return _plain_kernel_gradient(x, y, s)


def _plain_kernel_gradient(x: jax.Array, y: jax.Array, s: Settings) -> jax.Array:
    if prod(s.window) == 1:
        return summed_products(_only_tap(x, s), y, s).reshape(*s.window, x.shape[-1], y.shape[-1])
    return _canonical_kernel_gradient(x, y, s)


def _canonical_kernel_gradient(x: jax.Array, y: jax.Array, s: Settings) -> jax.Array:
    """A convolution whose window is y and whose batch is the channels of x; its channels are the batch."""
    axes = zip(s.space, s.out, s.window, s.strides, s.dilation, s.padding, strict=True)
    pairs = tuple(
        (low, (out - 1) * step + 1 + (k - 1) * d - n - low) for n, out, k, step, d, (low, _) in axes
    )
    by_channel, window = jnp.swapaxes(x, 0, -1), jnp.moveaxis(y, 0, -2)
    turned = s._replace(strides=s.dilation, padding=pairs, dilation=s.strides)
    kernel = _canonical(by_channel, window, turned)
    return jnp.moveaxis(kernel, 0, -2)


def _wider(a: jax.Array, b: jax.Array) -> jnp.dtype:
    """The dtype that sums are taken in. Products of halves are exact in float32."""
    return max(accumulator(a.dtype), accumulator(b.dtype), key=lambda dtype: dtype.itemsize)
