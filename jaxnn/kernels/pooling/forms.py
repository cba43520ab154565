"""The forms of pools, by platform and pass.

The values of an extreme alone come from lax's sliding windows, except on CPUs, where these are slow. With a
derivative the extreme goes one axis at a time everywhere, and remembers which value of its window each was:
lax's derivative selects and scatters, serially on CPUs and slowly on others. An average is a sum of windows
and a division; its derivative is the transpose of the sum, in the form of the sum.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.kernels.choice import Form
from jaxnn.kernels.dtypes import accumulator, widened
from jaxnn.kernels.lowering.fusion import materialized
from jaxnn.kernels.lowering.primitive import DEFAULT, Problem
from jaxnn.kernels.pooling import blocks, by_axis, plain, sums
from jaxnn.kernels.pooling.windows import MOST_SLICES, AnyWindows, Windows, few

Forms = Mapping[str, Sequence[Form]]


class Settings(NamedTuple):
    """The windows on each pooled axis, by the number of the axis; and the form to take in each pass."""

    axes: tuple[tuple[int, AnyWindows], ...]
    smallest: bool = False
    implementation: str | None = None


#: What forms need, in words.
SHORT = f"windows of at most {MOST_SLICES} values on some axis"
SIDE_BY_SIDE = (
    f"windows of at most {MOST_SLICES} values that lie side by side, and tile axes sharded explicitly"
)
UNDILATED = "windows of one size without dilation, on axes that are not sharded explicitly"
FEW_SIDE_BY_SIDE = (
    "if padded, on one axis, of 4 bytes or more a value and at most 8 channels, or 16 in windows of at most 4"
)
UNSHARDED = "axes that are not sharded explicitly"
#: Padding inside a loop keeps it from being vectorised. So values alone of windows side by side that are at
#: most so wide on every axis are unfolded if any is padded: in 0.75 of the time of slices in the mean; of
#: windows 4 wide in 1.6 of it (150 random pools, JAX 0.10 with AVX-512 and AVX2, 0.12 with AVX-512, Intel).
#: Without padding they are on par.
MOST_PADDED = 3
NOT_PADDED = (
    f"unless windows lie side by side, at most {MOST_PADDED} values wide on every axis, and some axis is "
    "padded"
)


def _some_short(p: Problem) -> bool:
    return any(by_axis.short(windows) for _, windows in p.settings.axes)


def _side_by_side(p: Problem) -> bool:
    windows = [windows for _, windows in p.settings.axes]
    if not few(*windows):
        return False
    # How much is cut off must be known, and a shard may not be padded.
    return all(w.tiles for w in windows) or (_unsharded(p) and all(w.side_by_side for w in windows))


def _undilated(p: Problem) -> bool:
    """Windows that lax's derivative of an extreme knows too."""
    plain = all(isinstance(w, Windows) and w.dilation == 1 for _, w in p.settings.axes)
    return plain and _unsharded(p)


def _unsharded(p: Problem) -> bool:
    spec = p.types[0].sharding.spec
    return not any(spec[axis] for axis, _ in p.settings.axes)


def _all_unfolded(windows: AnyWindows) -> bool:
    return False


def _as_it_is(p: Problem, x: jax.Array) -> jax.Array:
    return x


def _prepared(p: Problem, x: jax.Array) -> jax.Array:
    """Materialized, unless one window reads it; and wide: a CPU would convert half-precision values for
    every comparison.
    """
    x = _materialized(p, x)
    return widened(x) if jnp.issubdtype(x.dtype, jnp.floating) else x


def _materialized(p: Problem, x: jax.Array) -> jax.Array:
    once = all(isinstance(w, Windows) and w.is_whole for _, w in p.settings.axes)
    return x if once else materialized(x)


Prepare = Callable[[Problem, jax.Array], jax.Array]


def _extremes(sliced: by_axis.Sliced, prepare: Prepare, p: Problem, x: jax.Array) -> jax.Array:
    return by_axis.extremes(prepare(p, x), p.settings.axes, p.settings.smallest, sliced).astype(x.dtype)


def _firsts(sliced: by_axis.Sliced, prepare: Prepare, p: Problem, x: jax.Array) -> tuple[jax.Array, ...]:
    y, *taps = by_axis.firsts(prepare(p, x), p.settings.axes, p.settings.smallest, sliced)
    return y.astype(x.dtype), *taps


def _taken(sliced: by_axis.Sliced, prepare: Prepare, p: Problem, x: jax.Array, *taps: jax.Array) -> jax.Array:
    return by_axis.taken(prepare(p, x), taps, p.settings.axes, sliced).astype(x.dtype)


def _given_back(sliced: by_axis.Sliced, p: Problem, y: jax.Array, *taps: jax.Array) -> jax.Array:
    """The transpose of ``_taken``."""
    x = by_axis.given_back(widened(y), taps, p.settings.axes, sliced, p.types[0].shape)
    return _materialized(p, x.astype(y.dtype))


def _both(compute: Callable[..., Any], prepare: Prepare) -> tuple[Form, Form]:
    return (
        Form("slices", partial(compute, by_axis.short, prepare), _some_short, needs=SHORT),
        Form("unfolded", partial(compute, _all_unfolded, prepare)),
    )


def _linear(prepare: Prepare) -> tuple[Form, Form]:
    slices, unfolded = _both(_taken, prepare)
    return (
        slices._replace(transpose=partial(_given_back, by_axis.short)),
        unfolded._replace(transpose=partial(_given_back, _all_unfolded)),
    )


def _plain_extremes(p: Problem, x: jax.Array) -> jax.Array:
    return plain.extremes(x, p.settings.axes, p.settings.smallest)


def _few_side_by_side(p: Problem) -> bool:
    """Of so few channels lax's windows are faster than any loop over padding."""
    x = p.types[0]
    (_, windows), *others = p.settings.axes
    if others or not isinstance(windows, Windows) or accumulator(x.dtype) != x.dtype:
        return False
    channels = x.shape[-1]
    if not (isinstance(channels, int) and isinstance(windows.size, int)):
        return False  # symbolic
    narrow = channels <= 8 or (channels <= 16 and windows.window <= 4)
    return narrow and _is_padded(windows)


def _is_padded(windows: Windows) -> bool:
    return windows.low > 0 or windows.reach > 0


def _not_narrow_and_padded(p: Problem) -> bool:
    windows = [windows for _, windows in p.settings.axes]
    narrow = all(isinstance(w, Windows) and w.side_by_side and w.window <= MOST_PADDED for w in windows)
    return not (narrow and any(map(_is_padded, windows)))


_PLAIN = Form("lax", _plain_extremes, _undilated, needs=UNDILATED)
_SLICES, _UNFOLDED = _both(_extremes, _prepared)
EXTREMES: Forms = {
    "cpu": (
        _PLAIN._replace(pays=_few_side_by_side, when=FEW_SIDE_BY_SIDE),
        _SLICES._replace(pays=_not_narrow_and_padded, when=NOT_PADDED),
        _UNFOLDED,
    ),
    DEFAULT: (_PLAIN, *_both(_extremes, _as_it_is)),
}
FIRSTS: Forms = {"cpu": _both(_firsts, _prepared), DEFAULT: _both(_firsts, _as_it_is)}
TAKEN: Forms = {"cpu": _linear(_prepared), DEFAULT: _linear(_as_it_is)}


def _block_sums(p: Problem, x: jax.Array) -> jax.Array:
    return blocks.block_sums(materialized(x), dict(p.settings.axes))


def _sums_by_axis(p: Problem, x: jax.Array) -> jax.Array:
    return sums.by_axis(x, p.settings.axes)


def _plain_sums(p: Problem, x: jax.Array) -> jax.Array:
    return plain.sums(x, p.settings.axes)


_BLOCKS = Form("blocks", _block_sums, _side_by_side, needs=SIDE_BY_SIDE)
_BY_AXIS = Form("by_axis", _sums_by_axis)
_SUMS = Form("lax", _plain_sums, _unsharded, needs=UNSHARDED)
SUMS: Forms = {"cpu": (_BLOCKS, _BY_AXIS, _SUMS), DEFAULT: (_SUMS, _BLOCKS, _BY_AXIS)}
