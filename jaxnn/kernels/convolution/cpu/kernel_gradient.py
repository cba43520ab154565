"""The forms of the gradient of a convolution's kernel on a CPU.

What * means before a threshold stands in ``conditions``.
"""

from functools import partial
from math import prod

import jax
from jax import lax

from jaxnn.kernels.choice import Form, choose
from jaxnn.kernels.convolution import by_tap
from jaxnn.kernels.convolution import lax as lax_forms
from jaxnn.kernels.convolution.cpu import (
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
from jaxnn.kernels.convolution.cpu.guards import guarded, plain
from jaxnn.kernels.convolution.independent import repaired
from jaxnn.kernels.convolution.problem import Problem, Settings
from jaxnn.kernels.dtypes import cast

#: *A block in the kernel's gradient: the most output channels times examples, which are XLA's input channels
#: there, times the last stride, which widens the block's window. Above it takes 0.6 to 1.7 of the time.
BLOCK_KERNEL_PAIRS = 192
#: *The kernel's gradient: how many times as many input channels as output channels there are for x to be the
#: window of the convolution, not y; by how much x may be larger than y, since all of it is multiplied; and
#: the most values of y. With these it takes 0.53 of the time in the mean, at worst 2.1; with more values of y
#: 1.2, from 0.5 to 5 (126 problems, JAX 0.10 with AVX-512 and AVX2, 0.12 with AVX-512, Intel).
BY_OUTPUT_RATIO, BY_OUTPUT_GROWTH, BY_OUTPUT_VALUES = 2, 2, 100_000


def _no_examples(p: Problem) -> bool:
    return p.known and p.batch == 0


def _zeros(p: Problem, x: jax.Array, y: jax.Array) -> jax.Array:
    return lax.full((*p.settings.window, p.c_in, p.c_out), 0, p.dtype)


def _by_tap(p: Problem, x: jax.Array, y: jax.Array) -> jax.Array:
    return by_tap.kernel_gradient(x, y, p.settings, p.devices)


def _by_output_fits(p: Problem) -> bool:
    return on.several_taps(p) and max(p.settings.strides) == 1


def _by_output_pays(p: Problem) -> bool:
    if not p.known:
        return False
    # Few taps are unfolded, unless they are too many values.
    few_taps = p.taps <= unfolding.FEW_TAPS and unfolding.small(p)
    unfolded = unfolding.one_window(p) or few_taps or (unfolding.fits(p) and unfolding.few_windows(p))
    little_more = prod(p.settings.space) <= BY_OUTPUT_GROWTH * prod(p.settings.out)
    few = p.c_in >= BY_OUTPUT_RATIO * p.c_out and on.places(p) * p.c_out <= BY_OUTPUT_VALUES
    return few and little_more and not unfolded


def _by_output(p: Problem, x: jax.Array, y: jax.Array) -> jax.Array:
    wide = cast(x, p.wide), cast(y, p.wide)
    return cast(_repaired(p, canonical.kernel_gradient_by_output(*wide, p.settings), *wide), p.dtype)


def _repaired(p: Problem, kernel: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """The gradient by a form that multiplies values of x that a tap doesn't read by zeros."""
    return repaired(kernel, lambda: canonical.kernel_gradient(x, y, p.settings))


def _unfolded(p: Problem, x: jax.Array, y: jax.Array) -> jax.Array:
    def chunk(x: jax.Array, y: jax.Array) -> jax.Array:
        return unfolded.kernel_gradient(cast(x, p.wide), cast(y, p.wide), p.settings)

    kernel = batches.summed(chunk, x, y, unfolding.written(p))
    if unfolded.multiplies_by_zeros(p.settings, p.c_in, p.c_out):
        kernel = _repaired(p, kernel, cast(x, p.wide), cast(y, p.wide))
    return cast(kernel, p.dtype)


def _depthwise(p: Problem, x: jax.Array, y: jax.Array) -> jax.Array:
    return depthwise.kernel_gradient(x, y, p.settings)


def _raw(p: Problem, x: jax.Array, y: jax.Array, s: Settings) -> jax.Array:
    part = p.of(s, x.shape[-1] // s.groups, y.shape[-1])
    return choose(DENSE, part).compute(part, x, y)


def _grouped(p: Problem, x: jax.Array, y: jax.Array) -> jax.Array:
    return grouped.kernel_gradient(partial(_raw, p), x, y, p.settings, grouping.together(p))


def _single_tap(p: Problem) -> bool:
    return on.one_group(p) and p.taps == 1


def _pointwise(p: Problem, x: jax.Array, y: jax.Array) -> jax.Array:
    return pointwise.kernel_gradient(x, y, p.settings)


def _together(p: Problem) -> int:
    return on.block(p.settings, on.BLOCK_CHANNELS // p.c_out)


def _blocked_fits(p: Problem) -> bool:
    return on.several_taps(p) and _together(p) > 1


def _blocked_pays(p: Problem) -> bool:
    # Devices would sum the gradient of the whole block's kernel, which is several times as large.
    few = p.known and p.batch * p.c_out * p.settings.strides[-1] <= BLOCK_KERNEL_PAIRS
    # The kernel of a block has zeros between the taps of a dilated one too.
    return few and p.devices == 1 and max(p.settings.dilation) == 1


def _blocked(p: Problem, x: jax.Array, y: jax.Array) -> jax.Array:
    by_input = canonical.kernel_gradient_by_input
    return blocked.kernel_gradient(by_input, x, y, p.settings, _together(p))


def _canonical(p: Problem, x: jax.Array, y: jax.Array) -> jax.Array:
    return canonical.kernel_gradient(x, y, p.settings)


DENSE = (
    Form("pointwise", _pointwise, _single_tap, needs="one group and one tap"),
    Form(
        "blocked",
        _blocked,
        _blocked_fits,
        _blocked_pays,
        needs=on.LINE,
        when=f"at most {BLOCK_KERNEL_PAIRS} output channels times examples times the last stride, "
        "no dilation, on one device",
    ),
    Form("canonical", _canonical, on.one_group, needs="one group"),
)

KERNEL_GRADIENT = (
    Form("zeros", _zeros, _no_examples, needs="a batch without examples"),
    guarded(
        Form(
            "by_tap",
            _by_tap,
            on.has_groups,
            grouping.by_tap_pays,
            needs="several groups",
            when=grouping.BY_TAP,
        ),
        lax_forms.kernel_gradient,
    ),
    Form(
        "by_output",
        _by_output,
        _by_output_fits,
        _by_output_pays,
        needs="one group, several taps and no strides",
        when=f"at least {BY_OUTPUT_RATIO} times as many input channels as output channels, x at most "
        f"{BY_OUTPUT_GROWTH} times as large as y, up to {BY_OUTPUT_VALUES:,} values of y, and more "
        f"than {unfolding.FEW_TAPS} taps or {batches.FLOATS:,} floats unfolded, and not "
        f"{unfolding.FEW_WINDOWS}",
    ),
    Form(
        "unfolded",
        _unfolded,
        unfolding.fits,
        unfolding.pays_in_kernel,
        needs=on.TWO_AXES,
        when=unfolding.KERNEL_GRADIENT,
    ),
    *(
        guarded(form, lax_forms.kernel_gradient)
        for form in (
            Form(
                "depthwise",
                _depthwise,
                grouping.depthwise_fits,
                grouping.depthwise_pays,
                grouping.DEPTHWISE,
                grouping.THIN,
            ),
            Form("grouped", _grouped, on.has_groups, needs="several groups"),
            *DENSE,
        )
    ),
    plain(lax_forms.kernel_gradient),
)
