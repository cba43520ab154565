"""The gradient of a convolution's input, without dilating y.

With stride s the places of x fall into s phases per axis. A phase uses every s-th tap of the kernel, and is
an ordinary convolution of y with these taps.
"""

from collections.abc import Callable
from itertools import product
from math import gcd, prod
from typing import NamedTuple

import jax
from jax import lax

from jaxnn.kernels.convolution.problem import Dense, Settings, fit, interleaved, swap_channels
from jaxnn.kernels.lowering.fusion import materialized
from jaxnn.kernels.lowering.places import place, strided
from jaxnn.kernels.padding import padded, padded_copy

#: A convolution by whatever form suits it.
Forward = Callable[[jax.Array, jax.Array, Settings], jax.Array]


class Phase(NamedTuple):
    """The places p, p + s, p + 2·s, … of x: which taps reach them, and the convolution of y with these."""

    taps: tuple[range, ...]
    settings: Settings


def one_by_one(
    forward: Forward, kernel: jax.Array, y: jax.Array, s: Settings, *, stored: bool = False
) -> jax.Array:
    """x[n, s·i + d·j − low, c] += y[n, i, o] · kernel[j, c, o], one convolution per phase, interleaved.

    With ``stored`` the padded y is written out once for all phases, for a form that would do it for each.
    """
    kernel, chosen = swap_channels(kernel, s.groups), _phases(s)
    if stored:
        y, chosen = _stored(y, chosen)
    alike = s.groups == 1 and len({phase and phase.settings.window for phase in chosen}) == 1 < len(chosen)
    taps = _taps_at_places if alike else _taps
    phases = [_computed(forward, kernel, y, s, phase, taps) for phase in chosen]
    for axis, step in reversed(list(enumerate(s.strides, start=1))):
        rows = range(0, len(phases), step)
        phases = [interleaved(phases[row : row + step], axis) for row in rows]
    return fit(phases[0], [0] * s.rank, s.space)


def settings(s: Settings) -> list[Settings]:
    """The convolutions that ``one_by_one`` computes."""
    return [phase.settings for phase in _phases(s) if phase is not None]


def _phases(s: Settings) -> list[Phase | None]:
    return [_phase(phase, s) for phase in product(*map(range, s.strides))]


def _phase(phase: tuple[int, ...], s: Settings) -> Phase | None:
    """The phase that begins at this place; None if no tap reaches it."""
    taps, padding, dilation = [], [], []
    axes = zip(phase, _sizes(s), s.out, s.window, s.strides, s.dilation, s.padding, strict=True)
    for p, size, n, k, step, d, (low, _) in axes:
        common = gcd(d, step)
        first = next((j for j in range(min(k, step // common)) if (p + low - d * j) % step == 0), None)
        if first is None:
            return None
        taps.append(range(first, k, step // common))
        reach = d // common * (len(taps[-1]) - 1)
        before = reach - (p + low - d * first) // step
        padding.append((before, size + reach - n - before))
        dilation.append(d // common)
    window, one = tuple(map(len, taps)), (1,) * s.rank
    return Phase(
        tuple(taps), Settings(s.out, window, one, tuple(padding), tuple(dilation), s.groups, s.precision)
    )


def _stored(y: jax.Array, phases: list[Phase | None]) -> tuple[jax.Array, list[Phase | None]]:
    """y with all zeros that any phase reads around it, and the phases of that, which crop it."""
    read = [phase.settings.padding for phase in phases if phase is not None]
    common = tuple(
        (max(0, *(low for low, _ in pairs)), max(0, *(high for _, high in pairs)))
        for pairs in zip(*read, strict=True)
    )

    def of_stored(phase: Phase | None) -> Phase | None:
        if phase is None:
            return None
        space, padding = phase.settings.space, phase.settings.padding
        return phase._replace(
            settings=phase.settings._replace(
                space=tuple(n + low + high for n, (low, high) in zip(space, common, strict=True)),
                padding=tuple(
                    (low - more_low, high - more_high)
                    for (low, high), (more_low, more_high) in zip(padding, common, strict=True)
                ),
            )
        )

    return padded_copy(y, dict(enumerate(common, 1))), list(map(of_stored, phases))


def _sizes(s: Settings) -> list[int]:
    """How many places a phase has per axis."""
    return [-(-n // step) for n, step in zip(s.space, s.strides, strict=True)]


def _computed(
    forward: Forward,
    kernel: jax.Array,
    y: jax.Array,
    s: Settings,
    phase: Phase | None,
    taps: Callable[[jax.Array, Phase], jax.Array],
) -> jax.Array:
    """The values of x at the places of one phase, which reads these taps of the kernel."""
    if phase is None:
        return lax.full((y.shape[0], *_sizes(s), kernel.shape[-1]), 0, y.dtype)
    return forward(y, taps(kernel, phase), phase.settings)


def _taps(kernel: jax.Array, phase: Phase) -> jax.Array:
    """The taps of a phase in reverse."""
    window = phase.settings.window
    if window != kernel.shape[:-2]:
        starts, ends, steps = zip(*((js.start, js[-1] + 1, js.step) for js in phase.taps), strict=True)
        kernel = lax.slice(kernel, (*starts, 0, 0), (*ends, *kernel.shape[-2:]), (*steps, 1, 1))
    return lax.rev(kernel, [axis for axis, n in enumerate(window) if n > 1])


def _taps_at_places(kernel: jax.Array, phase: Phase) -> jax.Array:
    """The same, at places that XLA does not know: one loop for all phases whose windows have one size."""
    *window, _, _ = kernel.shape
    axes = enumerate(zip(window, phase.taps, strict=True))
    kernel = lax.rev(kernel, range(len(window)))
    return strided(kernel, {axis: (place(k - 1 - js[-1]), len(js), js.step) for axis, (k, js) in axes})


def at_once(dense: Dense, kernel: jax.Array, y: jax.Array, s: Settings) -> jax.Array:
    """x[n, s·i + j − low, c] += y[n, i, o] · kernel[j, c, o], all places of a stride as channels of one."""
    c_in, c_out = kernel.shape[-2:]
    spans, sizes, taps, padding = [], [], [], []
    for out, n, k, step, (low, _) in zip(s.out, s.space, s.window, s.strides, s.padding, strict=True):
        # Zeros before and after the taps, so that the taps that meet one y within a stride are neighbours.
        before = -low % step
        sizes.append(-(-n // step))
        taps.append(-(-(before + k) // step))
        spans.append((before, taps[-1] * step - before - k))
        first = taps[-1] - 1 - (low + before) // step
        padding.append((first, sizes[-1] + taps[-1] - 1 - out - first))
    kernel = padded(kernel, dict(enumerate(spans)))
    pairs = (n for pair in zip(taps, s.strides, strict=True) for n in pair)
    kernel = lax.reshape(kernel, (*pairs, c_in, c_out))
    # (taps, stride, taps, stride, …, I, O) to (taps, taps, …, O, strides and I), the taps reversed.
    rank = s.rank
    axes = (*range(0, 2 * rank, 2), 2 * rank + 1, *range(1, 2 * rank, 2), 2 * rank)
    kernel = lax.transpose(lax.rev(kernel, range(0, 2 * rank, 2)), axes)
    kernel = lax.reshape(kernel, (*taps, c_out, prod(s.strides) * c_in))
    one = (1,) * rank
    x = dense(y, kernel, Settings(s.out, tuple(taps), one, tuple(padding), one, precision=s.precision))
    x = lax.reshape(x, (x.shape[0], *sizes, *s.strides, c_in))
    beside = (axis for i in range(1, rank + 1) for axis in (i, rank + i))
    x = lax.transpose(x, (0, *beside, 2 * rank + 1))
    shape = (size * step for size, step in zip(sizes, s.strides, strict=True))
    return fit(lax.reshape(x, (x.shape[0], *shape, c_in)), [0] * rank, s.space)


def stamps(kernel: jax.Array, y: jax.Array, s: Settings) -> jax.Array:
    """The input gradient where windows do not overlap: one matrix product gives the stamp of each y."""
    n, *out, _ = y.shape
    contracted = ((y.ndim - 1,), (kernel.ndim - 1,))
    x = lax.dot_general(y, kernel, (contracted, ((), ())), precision=s.precision)
    order = [axis for i in range(1, s.rank + 1) for axis in (i, s.rank + i)]
    x = lax.transpose(x, (0, *order, x.ndim - 1))
    steps = [max(k, step) for k, step in zip(s.span, s.strides, strict=True)]
    sizes = [size * step for size, step in zip(out, steps, strict=True)]
    gaps = [(0, step - k, d - 1) for k, step, d in zip(s.span, steps, s.dilation, strict=True)]
    ends = zip(sizes, s.padding, s.space, strict=True)
    if any(map(any, gaps)) or any(low < 0 or size - low < n for size, (low, _), n in ends):
        # A pad fused with a transposition would be a loop of branches.
        x = materialized(x)
    x = padded(x, {2 * i: gap for i, gap in enumerate(gaps, 1)})
    x = lax.reshape(x, (n, *sizes, kernel.shape[-2]))
    return fit(x, [-low for low, _ in s.padding], s.space)
