"""Layers that move or add values and compute nothing: flatten, reshape, pad."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxnn.kernels.spans import Pairs
from jaxnn.layer import Layer, constructor
from jaxnn.layers.weights import weightless
from jaxnn.ops import checks, windows
from jaxnn.ops.windows import Padding


def flatten(x: ArrayLike) -> jax.Array:
    """All axes but the batch axis as one: (N, ...) → (N, product of the others).

    Row-major, so channels vary fastest: y[n, (h·W + w)·C + c] = x[n, h, w, c]. PyTorch's channels-first
    order differs; a dense layer imported from there needs its kernel permuted. A plain function of one array,
    so it can be used as a layer: ``nn.serial(nn.conv(8, 3), nn.flatten, nn.dense(10))``. Every dtype is kept.

    Raises:
      ValueError: if ``x`` has no batch axis.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> nn.flatten(jnp.ones((2, 4, 4, 3))).shape
    (2, 48)
    """
    array = checks.array("flatten", x)
    if array.ndim == 0:
        raise ValueError("flatten: x must have a batch axis, got shape ()")
    return jnp.reshape(array, (array.shape[0], prod(array.shape[1:])))


@constructor
def reshape(*shape: int) -> Layer:
    """Gives every example the shape ``shape``: (N, ...) → (N, *shape). Row-major, like ``jnp.reshape``.

    Args:
      *shape: the sizes of the axes after the batch axis; one of them may be −1: whatever is left.

    Every dtype is kept.

    Raises:
      TypeError: if a size is not an integer.
      ValueError: if a size is below 1 (and not the one −1), or, once the input is known, if an example of it
        does not hold as many values.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.reshape(7, -1, 8), (32, 784))
    (32, 7, 14, 8)
    """
    sizes = _sizes(shape)

    def apply(x: ArrayLike) -> jax.Array:
        array = checks.array("reshape", x)
        if array.ndim == 0:
            raise ValueError("reshape: x must have a batch axis, got shape ()")
        return _reshaped(array, _fitted(sizes, array.shape))

    return weightless("reshape", apply)


def _sizes(shape: tuple[int, ...]) -> tuple[int, ...]:
    sizes = checks.integers(shape)
    if sizes is None:
        raise TypeError(
            "reshape: the sizes must be integers given one by one, as in reshape(7, 7, 64), got "
            f"{', '.join(map(checks.shown, shape))}"
        )
    if any(size < 1 and size != -1 for size in sizes) or sizes.count(-1) > 1:
        raise ValueError(f"reshape: the sizes must be at least 1, and one of them may be -1, got {sizes}")
    return sizes


def _fitted(sizes: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """``sizes`` with the −1 filled in, checked against an input of ``shape``."""
    values, known = prod(shape[1:]), prod(size for size in sizes if size != -1)
    filled = tuple(values // known if size == -1 else size for size in sizes)
    if prod(filled) != values:
        raise ValueError(
            f"reshape: sizes {sizes} must hold the {values} values of each example, got input shape {shape}"
        )
    return filled


def _reshaped(x: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
    """In three steps, because arrays sharded over an explicit mesh refuse some reshapes done at once."""
    ones = [axis for axis, size in enumerate(sizes, start=1) if size == 1]
    split = jnp.reshape(flatten(x), (x.shape[0], *(size for size in sizes if size != 1)))
    return jnp.expand_dims(split, ones)


@constructor
def pad(padding: Padding, *, mode: str = "CONSTANT", value: complex = 0) -> Layer:
    """Adds a border to the spatial axes: (N, *space, C) → (N, *(low + space + high), C).

    Every dtype is kept.

    Args:
      padding: an integer for both ends of every spatial axis, one integer per axis, or one (low, high) pair
        per axis. Negative numbers crop. In PyTorch the pairs are in reverse order, the last axis first.
      mode: what the border holds: ``"CONSTANT"`` ``value``; ``"REPLICATE"`` the edge value; ``"REFLECT"`` the
        input mirrored at the edge pixel, which is not repeated; ``"CIRCULAR"`` the input from its other end.
        The last two continue periodically where the border is wider than the input.
      value: for ``"CONSTANT"``; it must be a value of the input's dtype.

    Raises:
      TypeError: for padding in none of these forms, or a ``value`` that an integer input cannot hold.
      ValueError: for an unknown mode, a ``value`` that the mode ignores, padding for another number of axes,
        or cropping that leaves nothing.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> layer = nn.pad(((1, 2),), mode="REFLECT")
    >>> x = jnp.asarray([1, 2, 3]).reshape(1, 3, 1)
    >>> print(layer.apply(layer.init(jax.random.key(0), x.shape), x).ravel())
    [2 1 2 3 2 1]
    """
    checks.choice("pad", "mode", mode, ("CONSTANT", *windows.VALUE_PADDINGS))
    value = checks.scalar("pad", "value", value)
    if mode != "CONSTANT" and value != 0:
        raise ValueError(f"pad: value must be left out for mode {mode!r}, got {value!r}")
    _pairs(padding, len(padding) if isinstance(padding, Sequence) else 1)

    def apply(x: ArrayLike) -> jax.Array:
        array = checks.array("pad", x)
        space = checks.spatial("pad", array)
        pairs = _pairs(padding, len(space))
        if any(low + size + high < 1 for size, (low, high) in zip(space, pairs, strict=True)):
            raise ValueError(
                f"pad: padding must leave at least one value on every axis, got {padding!r} for the spatial "
                f"sizes {space}"
            )
        border = ((0, 0), *pairs, (0, 0))
        return _filled(array, border, value) if mode == "CONSTANT" else _extended(array, border, mode)

    return weightless("pad", apply)


def _pairs(padding: Padding, rank: int) -> Pairs:
    if windows.entries(padding) is None:
        raise checks.wrong_kind("pad", "padding", windows.FORMS, padding)
    return windows.pairs("pad", padding, (0,) * rank, (1,) * rank, (1,) * rank)


def _filled(x: jax.Array, border: Pairs, value: complex) -> jax.Array:
    with np.errstate(all="ignore"):
        fill = np.asarray(value).astype(x.dtype)
    if not jnp.issubdtype(x.dtype, jnp.floating) and fill != value:
        raise TypeError(f"pad: value must be a value of the input's dtype {x.dtype}, got {value!r}")
    return lax.pad(x, jnp.asarray(fill), [(low, high, 0) for low, high in border])


def _extended(x: jax.Array, border: Pairs, mode: str) -> jax.Array:
    """Extends first, then crops, so that a cropped axis reflects at its own edge, not at the cut."""
    wide = jnp.pad(
        x, [(max(low, 0), max(high, 0)) for low, high in border], mode=windows.VALUE_PADDINGS[mode]
    )
    return lax.pad(wide, jnp.zeros((), x.dtype), [(min(low, 0), min(high, 0), 0) for low, high in border])
