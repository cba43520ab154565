"""The forms of a convolution on a CPU. What * means before a threshold stands in ``conditions``."""

from functools import partial
from math import inf, prod

import jax

from jaxnn.kernels.choice import Form, always, choose
from jaxnn.kernels.convolution import lax as lax_forms
from jaxnn.kernels.convolution.cpu import (
    banded,
    batches,
    blocked,
    canonical,
    depthwise,
    grouped,
    grouping,
    pointwise,
    unfolded,
    unfolding,
)
from jaxnn.kernels.convolution.cpu import conditions as on
from jaxnn.kernels.convolution.cpu.guards import guarded, plain, raw
from jaxnn.kernels.convolution.problem import Problem
from jaxnn.kernels.dtypes import cast

#: Up to this many channels XLA's convolution is faster than a matrix product (1×1 windows).
POINTWISE_CHANNELS = 16
#: A band: the most values in its kernel, and the fewest lines for which building it pays.
BAND_VALUES, BAND_LINES = 2**18, 64
#: *A band is mostly zeros where a line of x holds more values.
BAND_LINE_VALUES = 64
#: Blocks shorter than a line are as fast as a band if they have this many channels, except for windows this
#: wide on this many lines.
BAND_CHANNELS, BAND_WINDOW, BAND_MANY_LINES = 16, 5, 2048
#: *Windows at least BAND_WINDOW wide that would be unfolded otherwise: the most values in a line of x, and
#: the most values of the band matrix per line. There bands take 0.75 of the time in the mean, at worst 1.3
#: (46 problems, JAX 0.10 and 0.12, Intel); where a larger matrix must be built 2.7 of it.
BAND_UNFOLDED, BAND_BUILT = 176, 300
#: With an odd number of input channels XLA is slow for output channels above the first, up to the second.
ODD_SLOW = 16, 32

# --- without groups ---


def _reads_in_place(p: Problem) -> bool:
    return on.one_group(p) and p.taps == 1 and p.settings.out == p.settings.space


def _pointwise_pays(p: Problem) -> bool:
    return max(p.c_in, p.c_out) > POINTWISE_CHANNELS


def _together(p: Problem) -> int:
    """How many outputs of the last axis to compute together."""
    s = p.settings
    if p.c_in == 1 or p.c_in % 2 == 0:
        return on.block(s, on.BLOCK_CHANNELS // s.strides[-1] // p.c_out)
    most = on.block(s, 2 * on.BLOCK_CHANNELS // p.c_out)
    return most if most * p.c_out > ODD_SLOW[1] else on.block(s, ODD_SLOW[0] // p.c_out)


def _blocked_fits(p: Problem) -> bool:
    return on.several_taps(p) and _together(p) > 1


def _blocked_pays(p: Problem) -> bool:
    return p.known and on.few_channels(p) and p.batch * prod(p.settings.out) >= on.BLOCK_LEAST


def _blocked(p: Problem, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return blocked.forward(canonical.forward, x, kernel, p.settings, _together(p))


def _banded_fits(p: Problem) -> bool:
    return on.several_taps(p) and p.settings.rank > 1


def _banded_pays(p: Problem) -> bool:
    s = p.settings
    if not _few_for_bands(p):
        return False
    block = p.c_out * (_together(p) if _blocked_pays(p) else 1)
    if s.space[-1] * p.c_in > BAND_LINE_VALUES:
        return False
    wide = BAND_MANY_LINES if s.window[-1] >= BAND_WINDOW else inf
    lines = BAND_LINES if block < BAND_CHANNELS else wide
    return _band_values(p) <= BAND_VALUES and p.batch * prod(s.out[:-1]) >= lines


def _few_for_bands(p: Problem) -> bool:
    return p.known and on.few_channels(p) and p.c_out <= on.FEW_CHANNELS


def _bands_beat_unfolding(p: Problem) -> bool:
    """Whether wide windows of few channels lie in many short lines."""
    s = p.settings
    wide = unfolding.fits(p) and s.window[-1] >= BAND_WINDOW and s.space[-1] * p.c_in <= BAND_UNFOLDED
    if not wide or not _few_for_bands(p):
        return False
    lines = p.batch * prod(s.out[:-1])
    return lines >= BAND_LINES and _band_values(p) <= BAND_BUILT * lines


def _band_values(p: Problem) -> int:
    """The size of the band matrix, with its zeros."""
    s = p.settings
    return prod(s.window[:-1]) * s.space[-1] * s.out[-1] * p.c_in * p.c_out


def _banded(p: Problem, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return banded.forward(partial(raw, DENSE, p), x, kernel, p.settings)


def _canonical(p: Problem, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return canonical.forward(x, kernel, p.settings)


def _pointwise(p: Problem, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return pointwise.forward(x, kernel, p.settings)


_FEW_LINES = (
    f"{on.FEW}, too few for blocks, and at least {BAND_LINES} lines of up to {BAND_LINE_VALUES} values"
)

_BANDED = Form(
    "banded",
    _banded,
    _banded_fits,
    _banded_pays,
    needs="one group, several taps and several spatial axes",
    when=_FEW_LINES,
    zeros=always,
)

#: Forms of a convolution without groups, not yet guarded against values that aren't finite.
DENSE = (
    Form(
        "pointwise",
        _pointwise,
        _reads_in_place,
        _pointwise_pays,
        needs="one group, one tap, no stride and no padding",
        when=f"more than {POINTWISE_CHANNELS} channels on either side",
    ),
    _BANDED,
    Form(
        "blocked",
        _blocked,
        _blocked_fits,
        _blocked_pays,
        needs=on.LINE,
        when=f"{on.FEW}, and at least {on.BLOCK_LEAST} outputs",
        zeros=always,
    ),
    Form("canonical", _canonical, on.one_group, needs="one group"),
)

# --- groups ---


def _depthwise(p: Problem, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return depthwise.forward(x, kernel, p.settings)


def _grouped(p: Problem, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return grouped.forward(partial(raw, DENSE, p), x, kernel, p.settings, grouping.together(p))


def _grouped_zeros(p: Problem) -> bool:
    m = grouping.together(p)
    one = p.of(p.settings._replace(groups=1), m * p.c_in, m * p.c_out // p.settings.groups)
    return m > 1 or choose(DENSE, one).zeros(one)


_DEPTHWISE = Form(
    "depthwise",
    _depthwise,
    grouping.depthwise_forward_fits,
    grouping.depthwise_pays,
    grouping.DEPTHWISE_FORWARD,
    grouping.THIN,
)
_GROUPED = Form("grouped", _grouped, on.has_groups, needs="several groups", zeros=_grouped_zeros)
#: Forms for one and for several groups, not yet guarded either. One of them fits and pays everywhere.
UNGUARDED = (_DEPTHWISE, _GROUPED, *DENSE)

# --- all ---


def _wide_banded_pays(p: Problem) -> bool:
    return _banded_pays(p) or (_bands_beat_unfolding(p) and unfolding.pays_forward(p))


def _unfolded_pays(p: Problem) -> bool:
    return not _bands_beat_unfolding(p) and unfolding.pays_forward(p)


def _unfolded(p: Problem, x: jax.Array, kernel: jax.Array) -> jax.Array:
    kernel = cast(kernel, p.wide)

    def chunk(x: jax.Array) -> jax.Array:
        return cast(unfolded.forward(cast(x, p.wide), kernel, p.settings), p.dtype)

    return batches.mapped(chunk, x, unfolding.written(p))


#: Parts of a convolution, as phases and groups are, are not unfolded.
_WIDE_BANDED = _BANDED._replace(
    pays=_wide_banded_pays,
    when=f"{_FEW_LINES}; windows at least {BAND_WINDOW} wide that would be unfolded, on as many lines of up "
    f"to {BAND_UNFOLDED} values, with at most {BAND_BUILT} values of the band matrix for each",
)
FORWARD = (
    Form(
        "unfolded",
        _unfolded,
        unfolding.fits,
        _unfolded_pays,
        needs=on.TWO_AXES,
        when=f"{unfolding.FORWARD}, but not where bands are taken instead",
    ),
    *(
        guarded(_WIDE_BANDED if form is _BANDED else form, lax_forms.forward)
        for form in (_DEPTHWISE, _GROUPED, *DENSE)
    ),
    plain(lax_forms.forward),
)
