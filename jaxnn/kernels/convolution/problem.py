"""Describes a convolution without its operands, with the helpers that its forms share."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.kernels import padding
from jaxnn.kernels.matrix_product import gradient, is_narrow, product, transposed_gradient
from jaxnn.kernels.spans import Pairs, dilated


class Settings(NamedTuple):
    """The sizes of the input's and the kernel's spatial axes, and the settings of ``conv``.

    ``implementation`` names the form to take in each pass that has a form of that name that fits.
    """

    space: tuple[int, ...]
    window: tuple[int, ...]
    strides: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]
    groups: int = 1
    precision: lax.PrecisionLike = None
    implementation: str | None = None

    @property
    def rank(self) -> int:
        return len(self.space)

    @property
    def span(self) -> tuple[int, ...]:
        return dilated(self.window, self.dilation)

    @property
    def out(self) -> tuple[int, ...]:
        axes = zip(self.space, self.span, self.strides, self.padding, strict=True)
        return tuple((n + low + high - k) // s + 1 for n, k, s, (low, high) in axes)


class Problem(NamedTuple):
    """What the choice of a form rests on.

    Attributes:
      settings: those of the convolution.
      batch: how many examples; possibly a symbolic size.
      c_in: input channels of the kernel, those of one group.
      c_out: output channels of the kernel, those of all groups.
      dtype: of the result.
      wide: what sums are taken in.
      devices: over how many devices the compiler may spread the arrays.
    """

    settings: Settings
    batch: Any
    c_in: int
    c_out: int
    dtype: jnp.dtype
    wide: jnp.dtype
    devices: int = 1

    @property
    def taps(self) -> int:
        """How many values per window holds."""
        return prod(self.settings.window)

    @property
    def products(self) -> int:
        """How many products an example is the sum of, those with padding among them."""
        return prod(self.settings.out) * self.taps * self.c_in * self.c_out

    @property
    def known(self) -> bool:
        """Whether the size of the batch is known, not symbolic."""
        return isinstance(self.batch, int)

    def of(self, settings: Settings, c_in: int, c_out: int) -> "Problem":
        """The problem of a convolution that is a part of this one, in the dtype of its sums."""
        return self._replace(settings=settings, c_in=c_in, c_out=c_out, dtype=self.wide)


#: A form of a convolution without groups, or of the gradient of its kernel.
Dense = Callable[[jax.Array, jax.Array, Settings], jax.Array]


def channels_last(rank: int) -> lax.ConvDimensionNumbers:
    """Where lax finds batch, channels and space in ``(N, *space, C)`` and ``(*window, I, O)``."""
    data = (0, rank + 1, *range(1, rank + 1))
    return lax.ConvDimensionNumbers(data, (rank + 1, rank, *range(rank)), data)


def pad(x: jax.Array, pairs: Pairs) -> jax.Array:
    """``x`` with its spatial axes extended by zeros, or cropped where a pair is negative."""
    return padding.padded(x, dict(enumerate(pairs, 1)))


def fit(x: jax.Array, low: Sequence[int], sizes: Sequence[int]) -> jax.Array:
    """``x`` with ``low`` zeros before each spatial axis (cropped if negative), to ``sizes`` values in all."""
    spatial = zip(x.shape[1:-1], low, sizes, strict=True)
    return pad(x, tuple((before, size - before - n) for n, before, size in spatial))


def padded(x: jax.Array, s: Settings) -> jax.Array:
    """``x`` with its padding, cut to what the windows read."""
    return pad(x, _read_by_windows(s))


def interleaved(parts: Sequence[jax.Array], axis: int) -> jax.Array:
    """The first of each part along ``axis``, then the second of each, and so on."""
    if len(parts) == 1:
        return parts[0]
    shape = parts[0].shape
    beside = lax.concatenate([lax.expand_dims(part, (axis + 1,)) for part in parts], axis + 1)
    return lax.reshape(beside, (*shape[:axis], shape[axis] * len(parts), *shape[axis + 1 :]))


def padded_copy(x: jax.Array, s: Settings) -> jax.Array:
    """The same, materialized on a CPU."""
    return padding.padded_copy(x, dict(enumerate(_read_by_windows(s), 1)))


def _read_by_windows(s: Settings) -> Pairs:
    """The padding that the windows read; negative where they leave out values at the end."""
    axes = zip(s.space, s.out, s.span, s.strides, s.padding, strict=True)
    return tuple((low, (out - 1) * step + k - n - low) for n, out, k, step, (low, _) in axes)


def shifted(x: jax.Array, tap: Sequence[int], out: Sequence[int], s: Settings) -> jax.Array:
    """The values of the padded ``x`` that one tap reads in the first ``out`` windows of each axis."""
    if (*out, max(s.strides)) == (*x.shape[1:-1], 1):
        return x
    starts = [j * d for j, d in zip(tap, s.dilation, strict=True)]
    ends = [start + (n - 1) * step + 1 for start, n, step in zip(starts, out, s.strides, strict=True)]
    return lax.slice(x, (0, *starts, 0), (x.shape[0], *ends, x.shape[-1]), (1, *s.strides, 1))


def times(rows: jax.Array, matrix: jax.Array, s: Settings) -> jax.Array:
    """``(…, A), (A, B) → (…, B)``."""
    return product(rows, matrix, s.precision)


def summed_products(
    x: jax.Array, y: jax.Array, s: Settings, of_x: Sequence[int], of_y: Sequence[int]
) -> jax.Array:
    """``(…, A), (…, B) → (*of_x, *of_y)``: a sum over all places, the transpose of ``times`` in its matrix.

    A is the product of the sizes ``of_x``, B of ``of_y``.
    """
    if not is_narrow(x.shape[-1], y.shape[-1]):
        return lax.reshape(gradient(x, y, s.precision), (*of_x, *of_y))
    # Reshaped first: transpositions that follow each other are one copy, with a reshape between them two.
    transposed = lax.reshape(transposed_gradient(x, y, s.precision), (*of_y, *of_x))
    first = len(of_y)
    return lax.transpose(transposed, (*range(first, transposed.ndim), *range(first)))


def swap_channels(kernel: jax.Array, groups: int) -> jax.Array:
    """``(*window, I, g·O)`` as ``(*window, O, g·I)``, each group on its own."""
    *window, c_in, c_out = kernel.shape
    rank = len(window)
    if groups == 1:
        return lax.transpose(kernel, (*range(rank), rank + 1, rank))
    split = lax.reshape(kernel, (*window, c_in, groups, c_out // groups))
    swapped = lax.transpose(split, (*range(rank), rank + 2, rank + 1, rank))
    return lax.reshape(swapped, (*window, c_out // groups, groups * c_in))
