"""The forms of the gradient of a convolution's input, the transposed convolution, on a CPU."""

from functools import partial
from math import prod

import jax
import jax.numpy as jnp

from jaxnn.kernels.choice import Form, always, choose
from jaxnn.kernels.convolution import lax as lax_forms
from jaxnn.kernels.convolution.cpu import batches, canonical, phases, unfolded
from jaxnn.kernels.convolution.cpu import conditions as on
from jaxnn.kernels.convolution.cpu.forward import UNGUARDED
from jaxnn.kernels.convolution.cpu.guards import guarded, plain, raw
from jaxnn.kernels.convolution.problem import Problem, Settings
from jaxnn.kernels.dtypes import cast


def _strided(p: Problem) -> bool:
    return max(p.settings.strides) > 1


def _stamps_fit(p: Problem) -> bool:
    s = p.settings
    axes = zip(s.span, s.strides, s.out, strict=True)
    return on.one_group(p) and all(k <= step or n == 1 for k, step, n in axes)


def _stamps_pay(p: Problem) -> bool:
    # Padding would have to be cut off by another copy.
    several = _strided(p) or p.taps > 1
    return several and not any(map(any, p.settings.padding)) and on.whole_pieces(p)


def _stamps(p: Problem, kernel: jax.Array, y: jax.Array) -> jax.Array:
    return phases.stamps(kernel, y, p.settings)


def _at_once_fits(p: Problem) -> bool:
    return on.one_group(p) and max(p.settings.dilation) == 1 < max(p.settings.strides)


def _at_once_pays(p: Problem) -> bool:
    return p.taps > 1 and p.c_in * prod(p.settings.strides) * p.c_out <= on.AT_ONCE_PAIRS


def _at_once(p: Problem, kernel: jax.Array, y: jax.Array) -> jax.Array:
    return phases.at_once(canonical.forward, kernel, y, p.settings)


def _dilated_fits(p: Problem) -> bool:
    # Where the window is dilated too, XLA multiplies the kernel by the zeros between the values of y.
    return on.one_group(p) and max(p.settings.dilation) == 1


def _dilated_pays(p: Problem) -> bool:
    # XLA has naive loops for a dilated y of three axes. A single tap has one phase that isn't empty.
    if not _strided(p) or p.settings.rank > 2 or p.taps == 1 or not p.known:
        return False
    if p.c_out >= on.DILATED_RATIO * p.c_in and not _at_once_pays(p):
        return True
    read, many = p.taps * p.c_in, p.c_in > on.DILATED_CHANNELS
    return read <= on.DILATED_READ[many] and on.places(p) * read <= on.DILATED_FLOATS[many]


def _dilated(p: Problem, kernel: jax.Array, y: jax.Array) -> jax.Array:
    return canonical.input_gradient(kernel, y, p.settings)


def _swapped(p: Problem) -> Problem:
    """The convolution from y to x; with a stride, as many places as y has stand for those of all phases."""
    settings = p.settings if _strided(p) else phases.settings(p.settings)[0]
    return p._replace(settings=settings, c_in=p.c_out, c_out=p.c_in)


def _unfolded_pays(p: Problem) -> bool:
    back = _swapped(p)
    # With strides and no dilation at_once and dilated are faster.
    few = max(p.settings.dilation) > 1 or not _strided(p)
    return on.many(back) or (few and (on.one_window(back) or on.little_in_input(back)))


def _unfolded(p: Problem, kernel: jax.Array, y: jax.Array) -> jax.Array:
    kernel = cast(kernel, p.wide)

    def chunk(y: jax.Array) -> jax.Array:
        x = phases.one_by_one(unfolded.forward, kernel, cast(y, p.wide), p.settings)
        return cast(x, p.dtype)

    return batches.mapped(chunk, y, on.unfolded_floats(_swapped(p)))


def _phases(p: Problem, kernel: jax.Array, y: jax.Array) -> jax.Array:
    # Sums of shifted products take a padded copy each; other forms leave the padding to XLA's convolution.
    stored = _strided(p) and all(form.name == "depthwise" for form, _ in _parts(p))
    return phases.one_by_one(partial(raw, UNGUARDED, p), kernel, y, p.settings, stored=stored)


def _phases_zeros(p: Problem) -> bool:
    """Whether the form of any phase multiplies by zeros: all phases share one guard."""
    return any(form.zeros(part) for form, part in _parts(p))


def _parts(p: Problem) -> list[tuple[Form, Problem]]:
    """The convolution of each phase, and its form."""
    groups = p.settings.groups
    parts = (p.of(s, p.c_out // groups, p.c_in * groups) for s in phases.settings(p.settings))
    return [(choose(UNGUARDED, part), part) for part in parts]


def _exact(kernel: jax.Array, y: jax.Array, s: Settings, dtype: jnp.dtype, *, devices: int) -> jax.Array:
    """What guards take. In a loop XLA computes lax's own form naively, and takes longer to compile it."""
    if s.groups > 1:
        return lax_forms.input_gradient(kernel, y, s, dtype, devices=devices)
    return cast(canonical.input_gradient(kernel, y, s), dtype)


INPUT_GRADIENT = (
    *(
        guarded(form, _exact, data=1)
        for form in (
            Form(
                "stamps",
                _stamps,
                _stamps_fit,
                _stamps_pay,
                needs="one group and windows that do not overlap",
                when="a stride above 1 or several taps, no padding, lines of a window a multiple of "
                f"{on.TILE_LINE} values",
            ),
            Form(
                "dilated",
                _dilated,
                _dilated_fits,
                _dilated_pays,
                needs="one group and no dilation",
                when="a stride above 1 on up to two axes, several taps; up to {} channels of x, {} floats in "
                "a window and {:,} in all; or more channels, up to {:,} floats and {:,}; {} times as many "
                "channels of y and more pairs than all phases at once are for".format(
                    on.DILATED_CHANNELS,
                    *(n for pair in zip(on.DILATED_READ, on.DILATED_FLOATS, strict=True) for n in pair),
                    on.DILATED_RATIO,
                ),
            ),
            Form(
                "at_once",
                _at_once,
                _at_once_fits,
                _at_once_pays,
                needs="one group, a stride and no dilation",
                when=f"several taps, at most {on.AT_ONCE_PAIRS:,} pairs of channels, of x over all phases "
                "and of y",
                zeros=always,
            ),
        )
    ),
    Form(
        "unfolded",
        _unfolded,
        on.unfolded_fits,
        _unfolded_pays,
        needs=on.TWO_AXES,
        when=f"{on.SMALL}, without strides or with dilation: windows as large as y; {on.LITTLE_OF_INPUT}; "
        f"{on.MANY}",
    ),
    guarded(Form("phases", _phases, zeros=_phases_zeros), _exact, data=1),
    plain(lax_forms.input_gradient),
)
