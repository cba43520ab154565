"""The forms of a convolution on a CPU."""

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
    pointwise,
    unfolded,
)
from jaxnn.kernels.convolution.cpu import conditions as on
from jaxnn.kernels.convolution.cpu.guards import guarded, plain, raw
from jaxnn.kernels.convolution.problem import Problem
from jaxnn.kernels.dtypes import cast

# --- without groups ---


def _reads_in_place(p: Problem) -> bool:
    return on.one_group(p) and p.taps == 1 and p.settings.out == p.settings.space


def _pointwise_pays(p: Problem) -> bool:
    return max(p.c_in, p.c_out) > on.POINTWISE_CHANNELS


def _together(p: Problem) -> int:
    """How many outputs of the last axis to compute together."""
    s = p.settings
    if p.c_in == 1 or p.c_in % 2 == 0:
        return on.block(s, on.BLOCK_CHANNELS // s.strides[-1] // p.c_out)
    most = on.block(s, 2 * on.BLOCK_CHANNELS // p.c_out)
    return most if most * p.c_out > on.ODD_SLOW[1] else on.block(s, on.ODD_SLOW[0] // p.c_out)


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
    if not p.known or not on.few_channels(p) or p.c_out > on.FEW_CHANNELS:
        return False
    block = p.c_out * (_together(p) if _blocked_pays(p) else 1)
    if s.space[-1] * p.c_in > on.BAND_LINE_VALUES:
        return False
    values = prod(s.window[:-1]) * s.space[-1] * s.out[-1] * p.c_in * p.c_out
    wide = on.BAND_MANY_LINES if s.window[-1] >= on.BAND_WINDOW else inf
    lines = on.BAND_LINES if block < on.BAND_CHANNELS else wide
    return values <= on.BAND_VALUES and p.batch * prod(s.out[:-1]) >= lines


def _banded(p: Problem, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return banded.forward(partial(raw, DENSE, p), x, kernel, p.settings)


def _canonical(p: Problem, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return canonical.forward(x, kernel, p.settings)


def _pointwise(p: Problem, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return pointwise.forward(x, kernel, p.settings)


#: Forms of a convolution without groups, not yet guarded against values that aren't finite.
DENSE = (
    Form(
        "pointwise",
        _pointwise,
        _reads_in_place,
        _pointwise_pays,
        needs="one group, one tap, no stride and no padding",
        when=f"more than {on.POINTWISE_CHANNELS} channels on either side",
    ),
    Form(
        "banded",
        _banded,
        _banded_fits,
        _banded_pays,
        needs="one group, several taps and several spatial axes",
        when=f"{on.FEW}, too few for blocks, and at least {on.BAND_LINES} lines of up to "
        f"{on.BAND_LINE_VALUES} values",
        zeros=always,
    ),
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
    return grouped.forward(partial(raw, DENSE, p), x, kernel, p.settings, on.groups_together(p))


def _grouped_zeros(p: Problem) -> bool:
    m = on.groups_together(p)
    one = p.of(p.settings._replace(groups=1), m * p.c_in, m * p.c_out // p.settings.groups)
    return m > 1 or choose(DENSE, one).zeros(one)


_DEPTHWISE = Form(
    "depthwise", _depthwise, on.depthwise_forward_fits, on.depthwise_pays, on.DEPTHWISE_FORWARD, on.THIN
)
_GROUPED = Form("grouped", _grouped, on.has_groups, needs="several groups", zeros=_grouped_zeros)
#: Forms for one and for several groups, not yet guarded either. One of them fits and pays everywhere.
UNGUARDED = (_DEPTHWISE, _GROUPED, *DENSE)

# --- all ---


def _unfolded_pays(p: Problem) -> bool:
    return on.one_window(p) or on.few_windows(p) or on.brief(p) or on.little(p) or on.many(p)


def _unfolded(p: Problem, x: jax.Array, kernel: jax.Array) -> jax.Array:
    kernel = cast(kernel, p.wide)

    def chunk(x: jax.Array) -> jax.Array:
        return cast(unfolded.forward(cast(x, p.wide), kernel, p.settings), p.dtype)

    return batches.mapped(chunk, x, on.unfolded_floats(p))


FORWARD = (
    Form(
        "unfolded",
        _unfolded,
        on.unfolded_fits,
        _unfolded_pays,
        needs=on.TWO_AXES,
        when=f"{on.SMALL}: windows as large as the image; {on.FEW_WINDOWS}; {on.LITTLE}; {on.BRIEF}; "
        f"{on.MANY}",
    ),
    *(
        guarded(form, lax_forms.forward)
        for form in (
            _DEPTHWISE,
            _GROUPED,
            *DENSE,
        )
    ),
    plain(lax_forms.forward),
)
