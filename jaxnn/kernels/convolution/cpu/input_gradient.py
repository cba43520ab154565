"""The forms of the gradient of a convolution's input, the transposed convolution, on a CPU.

What * means before a threshold stands in ``conditions``.
"""

from functools import partial
from math import prod

import jax
import jax.numpy as jnp

from jaxnn.kernels.choice import Form, always, choose
from jaxnn.kernels.convolution import lax as lax_forms
from jaxnn.kernels.convolution.cpu import batches, canonical, phases, unfolded, unfolding
from jaxnn.kernels.convolution.cpu import conditions as on
from jaxnn.kernels.convolution.cpu.forward import UNGUARDED
from jaxnn.kernels.convolution.cpu.guards import guarded, plain, raw
from jaxnn.kernels.convolution.problem import Problem, Settings
from jaxnn.kernels.dtypes import cast

#: *All phases of an input gradient at once: the most pairs of channels, of x over all phases and of y. From
#: 2,048 to 4,096 it takes 0.85 of the time of phases in the mean, at worst 1.6 (17 problems).
AT_ONCE_PAIRS = 4096
#: *XLA's own dilation of y: the most floats that a window reads of x, and all windows, if x has at most so
#: many channels and if it has more. There it takes 0.8 to 0.85 of the time of the others.
DILATED_CHANNELS, DILATED_READ, DILATED_FLOATS = 4, (56, 1000), (800_000, 400_000)
#: *Few channels of y are few terms of its sums, and leave it idle: the most floats with at most so many. With
#: more floats the others take 0.6 of its time in the mean, at worst 1.1 (20 problems, JAX 0.10 and 0.12).
DILATED_THIN, DILATED_THIN_FLOATS = 8, 150_000
#: *Or how many times as many channels as x y has, of which each phase would read a copy: there it takes 0.58
#: of the time of phases in the mean, 0.14 to 2.7, and 5 for 16 places (96 problems, JAX 0.10 with AVX-512
#: and AVX2, 0.12 with AVX-512, Intel).
DILATED_RATIO = 4
#: *But a window of more taps than an example of y has places is exchanged with it by XLA, which has naive
#: loops for the result: the most multiplications for which these take less time than other forms need to
#: start. With more the others take 0.5 of the time in the mean, 0.1 to 2.
DILATED_NAIVE = 500_000
#: *The most multiplications at which it pays anyway, since it starts first: 10 µs where others take 40 to 80.
DILATED_BRIEF = 3_000
#: *Windows with gaps between them are written in pieces, the lines of one window: slow ones, unless they hold
#: a multiple of so many values.
PIECE = 4

#: In words.
DILATED = (
    "a stride above 1 on up to two axes and several taps, but with more taps than y has places at most "
    f"{DILATED_NAIVE:,} multiplications: up to {DILATED_BRIEF:,} multiplications; up to {DILATED_CHANNELS} "
    f"channels of x, {DILATED_READ[0]} floats in a window and {DILATED_FLOATS[0]:,} in all, or more "
    f"channels, {DILATED_READ[1]:,} floats and {DILATED_FLOATS[1]:,}, in both cases {DILATED_THIN_FLOATS:,} "
    f"if y has at most {DILATED_THIN} channels; {DILATED_RATIO} times as many channels of y and more pairs "
    "than all phases at once are for"
)


def _strided(p: Problem) -> bool:
    return max(p.settings.strides) > 1


def _stamps_fit(p: Problem) -> bool:
    s = p.settings
    axes = zip(s.span, s.strides, s.out, strict=True)
    return on.one_group(p) and all(k <= step or n == 1 for k, step, n in axes)


def _stamps_pay(p: Problem) -> bool:
    if not _strided(p) and p.taps == 1:
        return False
    # Between windows that don't touch there are zeros, and what is padded would be cut off by another copy.
    apart = not any(map(any, p.settings.padding)) and p.c_in * p.settings.window[-1] % PIECE == 0
    return unfolded.are_tiles(p.settings) or apart


def _stamps(p: Problem, kernel: jax.Array, y: jax.Array) -> jax.Array:
    return phases.stamps(kernel, y, p.settings)


def _at_once_fits(p: Problem) -> bool:
    return on.one_group(p) and max(p.settings.dilation) == 1 < max(p.settings.strides)


def _at_once_pays(p: Problem) -> bool:
    # Windows shorter than the stride leave phases empty, for which it multiplies zeros.
    full = all(k >= step for k, step in zip(p.settings.window, p.settings.strides, strict=True))
    return full and p.taps > 1 and _pairs(p) <= AT_ONCE_PAIRS


def _pairs(p: Problem) -> int:
    """The pairs of channels, of x over all phases and of y."""
    return p.c_in * prod(p.settings.strides) * p.c_out


def _at_once(p: Problem, kernel: jax.Array, y: jax.Array) -> jax.Array:
    return phases.at_once(canonical.forward, kernel, y, p.settings)


def _dilated_fits(p: Problem) -> bool:
    # Where the window is dilated too, XLA multiplies the kernel by the zeros between the values of y.
    return on.one_group(p) and max(p.settings.dilation) == 1


def _dilated_pays(p: Problem) -> bool:
    # XLA has naive loops for a dilated y of three axes. A single tap has one phase that isn't empty.
    if not _strided(p) or p.settings.rank > 2 or p.taps == 1 or not p.known:
        return False
    if p.taps > prod(p.settings.out) and p.batch * p.products > DILATED_NAIVE:
        return False
    if p.batch * p.products <= DILATED_BRIEF:
        return True
    if p.c_out >= DILATED_RATIO * p.c_in and _pairs(p) > AT_ONCE_PAIRS:
        return True
    read, many = p.taps * p.c_in, p.c_in > DILATED_CHANNELS
    floats = DILATED_THIN_FLOATS if p.c_out <= DILATED_THIN else DILATED_FLOATS[many]
    return read <= DILATED_READ[many] and on.places(p) * read <= floats


def _dilated(p: Problem, kernel: jax.Array, y: jax.Array) -> jax.Array:
    return canonical.input_gradient(kernel, y, p.settings)


def _swapped(p: Problem) -> Problem:
    """The convolution from y to x; with a stride, as many places as y has stand for those of all phases."""
    settings = p.settings if _strided(p) else phases.settings(p.settings)[0]
    return p._replace(settings=settings, c_in=p.c_out, c_out=p.c_in)


def _unfolded_pays(p: Problem) -> bool:
    return unfolding.pays_in_input(p, _swapped(p))


def _unfolded(p: Problem, kernel: jax.Array, y: jax.Array) -> jax.Array:
    kernel = cast(kernel, p.wide)

    def chunk(y: jax.Array) -> jax.Array:
        x = phases.one_by_one(unfolded.forward, kernel, cast(y, p.wide), p.settings)
        return cast(x, p.dtype)

    return batches.mapped(chunk, y, unfolding.written(_swapped(p)))


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
                when="a stride above 1 or several taps: windows side by side; or with gaps, if nothing is "
                f"padded and lines of a window are a multiple of {PIECE} values",
            ),
            Form(
                "dilated",
                _dilated,
                _dilated_fits,
                _dilated_pays,
                needs="one group and no dilation",
                when=DILATED,
            ),
            Form(
                "at_once",
                _at_once,
                _at_once_fits,
                _at_once_pays,
                needs="one group, a stride and no dilation",
                when=f"several taps, windows no shorter than the stride, and at most {AT_ONCE_PAIRS:,} pairs "
                "of channels, of x over all phases and of y",
                zeros=always,
            ),
        )
    ),
    Form(
        "unfolded",
        _unfolded,
        unfolding.fits,
        _unfolded_pays,
        needs=on.TWO_AXES,
        when=unfolding.INPUT_GRADIENT,
    ),
    guarded(Form("phases", _phases, zeros=_phases_zeros), _exact, data=1),
    plain(lax_forms.input_gradient),
)
