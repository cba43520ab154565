"""Resizing the spatial axes: to a size, or by a factor."""

from collections.abc import Sequence
from math import floor

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.resampling.primitives import (
    Copies,
    Resampling,
    check_copies,
    check_resampled,
    copies,
    resampled,
)
from jaxnn.ops import checks
from jaxnn.ops.windows import Ints, per_axis

METHODS = ("nearest", "linear", "cubic")


def resize(
    x: ArrayLike,
    size: Ints,
    *,
    method: str = "nearest",
    align_corners: bool = False,
    antialias: bool = False,
    cubic_coefficient: float = -0.75,
    implementation: str | None = None,
) -> jax.Array:
    """Resizes every spatial axis to ``size``: (N, *space, C) → (N, *size, C).

    Each axis is resampled on its own. With L input and o output pixels, output pixel i has its centre at
    s(i) = (i + ½)·L/o − ½ on the input axis, and

        nearest:  y[i] = x[⌊(i + ½)·L/o⌋]
        linear:   y[i] = (1 − t)·x[⌊s⌋] + t·x[⌊s⌋ + 1],   t = s − ⌊s⌋
        cubic:    y[i] = Σ_j w(s − j)·x[j],   j = ⌊s⌋ − 1 … ⌊s⌋ + 2

    where x beyond an edge is the edge value and w is Keys's cubic convolution kernel, whose slope at distance
    1 is ``cubic_coefficient``. Positions are computed exactly, in integers.

    Args:
      x: nearest takes any dtype and keeps it; linear and cubic take floating-point values, and sum in
        float32 at least.
      size: the output size, at least 1: one integer for all spatial axes, or one per axis.
      method: ``"nearest"``, ``"linear"`` (bilinear on two axes, trilinear on three) or ``"cubic"``.
      align_corners: for linear and cubic. The centres of the corner pixels coincide,
        s(i) = i·(L − 1)/(o − 1); a single output pixel is the first input pixel.
      antialias: for linear and cubic. Where an axis shrinks, the kernel is widened by L/o, so that every
        input pixel counts, and normalised over its part within the input. Growing axes do not change.
      cubic_coefficient: −0.75 as in PyTorch and ONNX; −0.5 is Catmull–Rom, which ``jax.image`` uses.
      implementation: the form, by name, of the copies where nearest multiplies an axis by a whole number,
        and otherwise of the weighted sums; None chooses by platform and problem. ``"lax"`` is the plain
        form, with JAX's derivative.

    PyTorch: nearest is its ``nearest-exact``; its ``nearest`` is ⌊i·L/o⌋, which is the same where the axis
    grows by a whole factor. Its cubic has the coefficient −0.5 when antialiased. ``jax.image.resize``
    antialiases by default and has −0.5; where an axis grows it leaves out what lies beyond the edges instead
    of repeating the edge value.

    Raises:
      ValueError: for an unknown method, a size below 1, no spatial axis or an empty one, options that the
        method does not take, or a form that does not fit.
      TypeError: for a size that is not an integer, or integer ``x`` with linear or cubic.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> x = jnp.asarray([0.0, 4.0]).reshape(1, 2, 1)
    >>> print(nn.ops.resize(x, 4, method="linear").ravel())
    [0. 1. 3. 4.]
    >>> nn.ops.resize(jnp.ones((2, 32, 32, 3)), (48, 20), method="cubic").shape
    (2, 48, 20, 3)

    Keys, "Cubic convolution interpolation for digital image processing", 1981.
    """
    array = checks.array("resize", x)
    space = checks.spatial("resize", array)
    sizes = per_axis("resize", "size", size, len(space))
    coefficient = checks.number("resize", "cubic_coefficient", cubic_coefficient)
    return _resized("resize", array, sizes, method, align_corners, antialias, coefficient, implementation)


def upsample(
    x: ArrayLike,
    scale: float | Sequence[float],
    *,
    method: str = "nearest",
    align_corners: bool = False,
    implementation: str | None = None,
) -> jax.Array:
    """Multiplies every spatial axis by ``scale``: (N, *space, C) → (N, *⌊space · scale⌋, C).

    The same as ``resize`` to the sizes ⌊L·scale⌋: positions follow from the sizes of input and output, so
    that the whole input is always covered. PyTorch by default takes them from the scale itself, which differs
    where L·scale is not an integer; its ``recompute_scale_factor=True`` is this.

    Args:
      x: nearest takes any dtype and keeps it; linear and cubic take floating-point values.
      scale: a positive factor for all spatial axes, or one per axis. Below 1 it shrinks. L·scale is rounded
        down after a product in double precision: 100 · 1.15 = 114.999… gives 114, as in PyTorch. To be sure
        of a size, give it to ``resize``.
      method: ``"nearest"``, ``"linear"`` or ``"cubic"``.
      align_corners: for linear and cubic: the centres of the corner pixels coincide.
      implementation: as in ``resize``.

    Raises:
      ValueError: for a scale that is not positive and finite or gives an empty output, and as ``resize``.
      TypeError: for a scale that is not a number, and as ``resize``.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> print(nn.ops.upsample(jnp.asarray([[[1], [2]]]), 2).ravel())
    [1 1 2 2]
    >>> nn.ops.upsample(jnp.ones((1, 10, 10, 3)), (2, 1.5), method="linear").shape
    (1, 20, 15, 3)
    """
    array = checks.array("upsample", x)
    space = checks.spatial("upsample", array)
    factors = scales("upsample", scale, len(space))
    sizes = tuple(floor(n * factor) for n, factor in zip(space, factors, strict=True))
    if 0 in sizes:
        raise ValueError(
            f"upsample: scale must leave at least one pixel on every axis, got {scale!r} for the spatial "
            f"sizes {space}"
        )
    return _resized("upsample", array, sizes, method, align_corners, False, -0.75, implementation)


def scales(op: str, scale: float | Sequence[float], rank: int) -> tuple[float, ...]:
    """One positive factor for each of ``rank`` axes, from a number or one number per axis."""
    several = isinstance(scale, Sequence) and not isinstance(scale, str)
    values = tuple(scale) if several else (scale,) * rank  # type: ignore[arg-type]
    try:
        factors = tuple(checks.number(op, "scale", v, above=0) for v in values)
    except TypeError:
        raise checks.wrong_kind(op, "scale", "a number or one number per axis", scale) from None
    except ValueError:
        raise ValueError(checks.refusal(op, "scale", "positive and finite", scale)) from None
    if len(factors) != rank:
        raise ValueError(f"{op}: scale must be one number or {rank} (one per spatial axis), got {scale!r}")
    return factors


def check_method(op: str, method: str, align_corners: bool, antialias: bool) -> None:
    """Raises unless ``method`` exists and accepts the options."""
    checks.flags(op, align_corners=align_corners, antialias=antialias)
    if not (isinstance(method, str) and method in METHODS):
        raise ValueError(
            f"{op}: method must be 'nearest', 'linear' (bilinear on two axes, trilinear on three) or "
            f"'cubic', got {method!r}"
        )
    if method == "nearest" and (align_corners or antialias):
        option = "align_corners" if align_corners else "antialias"
        raise ValueError(
            f"{op}: {option} must be False for method 'nearest', got True; use 'linear' or 'cubic'"
        )
    if align_corners and antialias:
        raise ValueError(f"{op}: antialias and align_corners must not both be set, got True for both")


def _resized(
    op: str,
    x: jax.Array,
    sizes: tuple[int, ...],
    method: str,
    align_corners: bool,
    antialias: bool,
    cubic_coefficient: float,
    implementation: str | None,
) -> jax.Array:
    check_method(op, method, align_corners, antialias)
    real = jnp.issubdtype(x.dtype, jnp.floating)
    if method != "nearest" and not real:
        raise TypeError(
            f"{op}: x must be floating-point for method {method!r}, got {x.dtype}; cast it first, or use "
            "'nearest', which keeps integers"
        )
    times = _whole_factors(x, sizes) if method == "nearest" else {}
    copied = Copies(tuple(times.items()), implementation)
    if times:
        check_copies(op, x, copied)
    # Resampling sums in float32 at least; the derivative of copies, also a sum, does so for such an input.
    y = x.astype(accumulator(x.dtype)) if real and times else x
    # The axes that shrink most come first: less is left to do for the others.
    order = sorted(range(1, x.ndim - 1), key=lambda axis: sizes[axis - 1] / x.shape[axis])
    sampled = []
    for axis in order:
        size, out = x.shape[axis], sizes[axis - 1]
        if size == out or axis in times:
            continue
        if method == "nearest" and size % out == 0:
            step = size // out
            y = lax.slice_in_dim(y, step // 2, size, step, axis)
        else:
            sampled.append((axis, out))
    if sampled:
        settings = Resampling(tuple(sampled), method, align_corners, antialias, cubic_coefficient)
        if not times:
            settings = settings._replace(implementation=implementation)
            check_resampled(op, y, settings)
        y = resampled(y, settings)
    if times:  # all axes at once, so that the derivative is a single sum
        y = copies(y, copied)
    return y.astype(x.dtype)


def _whole_factors(x: jax.Array, sizes: tuple[int, ...]) -> dict[int, int]:
    """By axis, for those that grow by a whole factor, the factor."""
    axes = enumerate(zip(x.shape[1:-1], sizes, strict=True), start=1)
    return {axis: out // size for axis, (size, out) in axes if size < out and out % size == 0}
