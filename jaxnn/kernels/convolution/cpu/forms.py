"""Which form a convolution and its gradients take on a CPU: an ordered list per pass.

On CPUs XLA has fast code for matrix products and for convolutions in one layout: channels last, no groups,
no dilation of the input, no reversal of the window. So every form but the last is made of these,
or, for depthwise kernels, of sums of shifted products.

All thresholds stand here. Unless a line says otherwise they compare forward+backward times of float32 arrays
in JAX 0.10.2 on two cores with AVX-512, over a sweep of channels 1 to 128, sizes 4 to 56 and batches 1 to 32.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import inf, prod

import jax
from jax import lax
from jax.lax import convert_element_type as _cast

from jaxnn.kernels.choice import Form, always, choose
from jaxnn.kernels.convolution import by_tap
from jaxnn.kernels.convolution import lax as lax_forms
from jaxnn.kernels.convolution.cpu import (
    banded,
    batches,
    blocked,
    canonical,
    depthwise,
    grouped,
    phases,
    pointwise,
    unfolded,
)
from jaxnn.kernels.convolution.cpu.independent import independent, repaired
from jaxnn.kernels.convolution.problem import Problem, Settings

#: Up to this many channels XLA's convolution is faster than a matrix product (1×1 windows).
POINTWISE_CHANNELS = 16

#: Few channels: the most input or output channels, and the most pairs of them, at which XLA is nearly idle.
FEW_CHANNELS, FEW_PAIRS = 16, 100
#: A band: the most values in its kernel, and the fewest lines for which building it pays.
BAND_VALUES, BAND_LINES = 2**18, 64
#: Blocks shorter than a line are as fast as a band if they have this many channels, except for windows this
#: wide on this many lines.
BAND_CHANNELS, BAND_WINDOW, BAND_MANY_LINES = 16, 5, 2048
#: A block: the most outputs, the most channels they have together, the shortest line, the fewest outputs in
#: all (256 outputs gain under 1 % of a U-Net's step and cost 5 % of its compile time).
BLOCK_OUTPUTS, BLOCK_CHANNELS, BLOCK_LINE, BLOCK_LEAST = 8, 32, 8, 512
#: With an odd number of input channels XLA is slow for output channels above the first, up to the second.
ODD_SLOW = 16, 32
#: A block in the kernel's gradient: the most output channels; the batch takes the place of the input
#: channels there.
BLOCK_KERNEL_CHANNELS, BLOCK_KERNEL_BATCH = 15, 16

#: Unfolding: pairs of channels for which XLA's convolution runs on one core (none from JAX 0.11 on, which
#: uses all cores: there unfolding is 0.78 times as fast), and the most taps that are written out one by one.
UNFOLDED_PAIRS, UNFOLDED_BELOW = (2048, 8192), (0, 11)
UNFOLDED_TAPS = 9
#: The fewest input and output channels from which XLA's kernel gradient has only a third of the rate of its
#: matrix product.
UNFOLDED_KERNEL_CHANNELS = 16, 17
#: The fewest multiplications for which a loop over chunks of the batch pays: in the batch, and in each chunk.
CHUNKED_WORK, CHUNK_WORK = 150_000_000, 30_000_000

#: Depthwise: the most outputs per channel, and the most taps that are written out one by one.
DEPTHWISE_MULTIPLIER, DEPTHWISE_TAPS = 4, 64
#: Groups: input channels from which a dense convolution pays, and the most dense convolutions.
GROUP_CHANNELS, GROUP_CONVOLUTIONS = 16, 32
#: All phases of an input gradient at once: the most channels of x over all phases together, and of y.
AT_ONCE_CHANNELS = 32


#: What forms need, and when they pay, in words.
TWO_AXES = "one group, several taps, two spatial axes and a batch of known size"
LINE = (
    f"one group, several taps, and on the last axis at least {BLOCK_LINE} outputs, in equal blocks of "
    f"2 to {BLOCK_OUTPUTS}"
)
DEPTHWISE = "groups of one input channel"
CHUNKS = (
    f"at least {CHUNKED_WORK // 10**6} million multiplications, {CHUNK_WORK // 10**6} million per chunk, "
    "on one device"
)
FEW = f"at most {FEW_CHANNELS} channels and {FEW_PAIRS} pairs of them"
THIN = f"at most {DEPTHWISE_MULTIPLIER} outputs per channel and {DEPTHWISE_TAPS} taps"


def one_group(p: Problem) -> bool:
    return p.settings.groups == 1


def has_groups(p: Problem) -> bool:
    return p.settings.groups > 1


def several_taps(p: Problem) -> bool:
    return one_group(p) and p.taps > 1


# --- without groups ---


def _reads_in_place(p: Problem) -> bool:
    return one_group(p) and p.taps == 1 and p.settings.out == p.settings.space


def _pointwise_pays(p: Problem) -> bool:
    return max(p.c_in, p.c_out) > POINTWISE_CHANNELS


def _few_channels(p: Problem) -> bool:
    return p.c_in <= FEW_CHANNELS and p.c_in * p.c_out <= FEW_PAIRS


def _outputs(s: Settings, most: int) -> int:
    """The number of outputs in a block, a divisor of the number in a line."""
    outputs = s.out[-1]
    most = min(most, BLOCK_OUTPUTS, outputs // 2) if outputs >= BLOCK_LINE else 1
    return max((m for m in range(1, most + 1) if outputs % m == 0), default=1)


def _together(p: Problem) -> int:
    """How many outputs of the last axis to compute together."""
    s = p.settings
    if p.c_in == 1 or p.c_in % 2 == 0:
        return _outputs(s, BLOCK_CHANNELS // s.strides[-1] // p.c_out)
    most = _outputs(s, 2 * BLOCK_CHANNELS // p.c_out)
    return most if most * p.c_out > ODD_SLOW[1] else _outputs(s, ODD_SLOW[0] // p.c_out)


def _blocked_fits(p: Problem) -> bool:
    return several_taps(p) and _together(p) > 1


def _blocked_pays(p: Problem) -> bool:
    return p.known and _few_channels(p) and p.batch * prod(p.settings.out) >= BLOCK_LEAST


def _blocked(p: Problem, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return blocked.forward(canonical.forward, x, kernel, p.settings, _together(p))


def _banded_fits(p: Problem) -> bool:
    return several_taps(p) and p.settings.rank > 1


def _banded_pays(p: Problem) -> bool:
    s = p.settings
    if not p.known or not _few_channels(p) or p.c_out > FEW_CHANNELS:
        return False
    block = p.c_out * (_together(p) if _blocked_pays(p) else 1)
    values = prod(s.window[:-1]) * s.space[-1] * s.out[-1] * p.c_in * p.c_out
    wide = BAND_MANY_LINES if s.window[-1] >= BAND_WINDOW else inf
    lines = BAND_LINES if block < BAND_CHANNELS else wide
    return values <= BAND_VALUES and p.batch * prod(s.out[:-1]) >= lines


def _banded(p: Problem, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return banded.forward(partial(_raw, DENSE, p), x, kernel, p.settings)


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
        when=f"more than {POINTWISE_CHANNELS} channels on either side",
    ),
    Form(
        "banded",
        _banded,
        _banded_fits,
        _banded_pays,
        needs="one group, several taps and several spatial axes",
        when=f"{FEW}, too few for blocks, and at least {BAND_LINES} lines",
        zeros=always,
    ),
    Form(
        "blocked",
        _blocked,
        _blocked_fits,
        _blocked_pays,
        needs=LINE,
        when=f"{FEW}, and at least {BLOCK_LEAST} outputs",
        zeros=always,
    ),
    Form("canonical", _canonical, one_group, needs="one group"),
)


def _raw(forms: Sequence[Form], p: Problem, a: jax.Array, b: jax.Array, s: Settings) -> jax.Array:
    """A part of a problem by the form that suits it, not guarded against values that aren't finite."""
    part = p.of(s, b.shape[-2], b.shape[-1])
    return choose(forms, part).compute(part, a, b)


# --- groups ---


def _depthwise_fits(p: Problem) -> bool:
    return has_groups(p) and p.c_in == 1


def _depthwise_pays(p: Problem) -> bool:
    return p.c_out // p.settings.groups <= DEPTHWISE_MULTIPLIER and p.taps <= DEPTHWISE_TAPS


def _depthwise(p: Problem, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return depthwise.forward(x, kernel, p.settings)


def _groups(p: Problem) -> int:
    """How many groups to compute together, a divisor of their number."""
    groups = p.settings.groups
    divisors = (m for m in range(1, groups) if groups % m == 0)
    enough = (m for m in divisors if m * p.c_in >= GROUP_CHANNELS and groups // m <= GROUP_CONVOLUTIONS)
    return next(enough, groups)


def _grouped(p: Problem, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return grouped.forward(partial(_raw, DENSE, p), x, kernel, p.settings, _groups(p))


def _grouped_zeros(p: Problem) -> bool:
    m = _groups(p)
    one = p.of(p.settings._replace(groups=1), m * p.c_in, m * p.c_out // p.settings.groups)
    return m > 1 or choose(DENSE, one).zeros(one)


GROUPS = (
    Form("depthwise", _depthwise, _depthwise_fits, _depthwise_pays, DEPTHWISE, THIN),
    Form("grouped", _grouped, has_groups, needs="several groups", zeros=_grouped_zeros),
)


# --- unfolded windows ---


def _unfolded_fits(p: Problem) -> bool:
    return several_taps(p) and p.settings.rank == 2 and p.known


def _chunks_pay(p: Problem) -> bool:
    """Whether the batch is enough work to be split into chunks, and each chunk that fits into the cache too.

    A loop over a batch that is sharded would gather it. A batch of a prime number of small images has no good
    chunks.
    """
    floats, work = _floats(p), prod(p.settings.out) * p.taps * p.c_in * p.c_out
    if p.devices > 1 or p.batch < 2 or floats > batches.FLOATS or p.batch * work < CHUNKED_WORK:
        return False
    few = batches.examples(p.batch, floats)
    return few == p.batch or few * work >= CHUNK_WORK


def _floats(p: Problem) -> int:
    return unfolded.floats(p.settings, p.c_in, p.c_out)


def _unfolded_pays(p: Problem) -> bool:
    few, many = UNFOLDED_PAIRS
    slow = jax.__version_info__ < UNFOLDED_BELOW and few <= p.c_in * p.c_out <= many
    short = unfolded.is_by_rows(p.settings) or p.taps <= UNFOLDED_TAPS
    return slow and short and _chunks_pay(p)


_UNFOLDED_WHEN = f"JAX below 0.11, {UNFOLDED_PAIRS[0]:,} to {UNFOLDED_PAIRS[1]:,} pairs of channels, {CHUNKS}"


def _unfolded(p: Problem, x: jax.Array, kernel: jax.Array) -> jax.Array:
    kernel = _cast(kernel, p.wide)

    def chunk(x: jax.Array) -> jax.Array:
        return _cast(unfolded.forward(_cast(x, p.wide), kernel, p.settings), p.dtype)

    return batches.mapped(chunk, x, _floats(p))


# --- what is handed out ---


def _guarded(form: Form, exact: Callable[..., jax.Array], data: int = 0) -> Form:
    """The form in the dtype of its sums, with NaN and ∞ only where ``exact`` has them.

    ``data`` is the operand that is multiplied by the form's own zeros; the other is the kernel.
    """

    def compute(p: Problem, *operands: jax.Array) -> jax.Array:
        operands = tuple(_cast(a, p.wide) for a in operands)
        if not form.zeros(p):
            return _cast(form.compute(p, *operands), p.dtype)

        def of(bilinear: Callable[..., jax.Array]) -> Callable[[jax.Array], jax.Array]:
            return lambda a: bilinear(*operands[:data], a, *operands[data + 1 :])

        fast = of(partial(form.compute, p))
        right = of(partial(exact, s=p.settings, dtype=p.wide, devices=p.devices))
        # Groups may be the members of an ensemble, and NaN or ∞ in one must leave the others as they are.
        return _cast(independent(fast, right, operands[data], bits=has_groups(p)), p.dtype)

    return form._replace(compute=compute)


def _lax(function: Callable[..., jax.Array]) -> Form:
    def compute(p: Problem, a: jax.Array, b: jax.Array) -> jax.Array:
        return function(a, b, p.settings, p.dtype, devices=p.devices)

    return Form("lax", compute)


_WITHOUT_CHUNKS = tuple(_guarded(form, lax_forms.forward) for form in (*GROUPS, *DENSE))

FORWARD = (
    Form("unfolded", _unfolded, _unfolded_fits, _unfolded_pays, TWO_AXES, _UNFOLDED_WHEN),
    *_WITHOUT_CHUNKS,
    _lax(lax_forms.forward),
)


# --- the gradient of the input ---


def _stamps_fit(p: Problem) -> bool:
    s = p.settings
    return one_group(p) and all(k <= step for k, step in zip(s.span, s.strides, strict=True))


def _strided(p: Problem) -> bool:
    return max(p.settings.strides) > 1


def _stamps(p: Problem, kernel: jax.Array, y: jax.Array) -> jax.Array:
    return phases.stamps(kernel, y, p.settings)


def _at_once_fits(p: Problem) -> bool:
    return one_group(p) and max(p.settings.dilation) == 1 < max(p.settings.strides)


def _at_once_pays(p: Problem) -> bool:
    return p.c_in * prod(p.settings.strides) <= AT_ONCE_CHANNELS and p.c_out <= AT_ONCE_CHANNELS


def _at_once(p: Problem, kernel: jax.Array, y: jax.Array) -> jax.Array:
    return phases.at_once(canonical.forward, kernel, y, p.settings)


def _swapped(p: Problem) -> Problem:
    """The convolution from y to x."""
    return p._replace(c_in=p.c_out, c_out=p.c_in)


def _unfolded_phases_pay(p: Problem) -> bool:
    return _unfolded_pays(_swapped(p))


def _unfolded_phases(p: Problem, kernel: jax.Array, y: jax.Array) -> jax.Array:
    kernel = _cast(kernel, p.wide)

    def chunk(y: jax.Array) -> jax.Array:
        x = phases.one_by_one(unfolded.forward, kernel, _cast(y, p.wide), p.settings)
        return _cast(x, p.dtype)

    return batches.mapped(chunk, y, _floats(_swapped(p)))


def _phases(p: Problem, kernel: jax.Array, y: jax.Array) -> jax.Array:
    return phases.one_by_one(partial(_raw, _WITHOUT_CHUNKS, p), kernel, y, p.settings)


INPUT_GRADIENT = (
    *(
        _guarded(form, lax_forms.input_gradient, data=1)
        for form in (
            Form(
                "stamps",
                _stamps,
                _stamps_fit,
                _strided,
                needs="one group and windows that do not overlap",
                when="a stride above 1",
            ),
            Form(
                "at_once",
                _at_once,
                _at_once_fits,
                _at_once_pays,
                needs="one group, a stride and no dilation",
                when=f"at most {AT_ONCE_CHANNELS} channels of y, and of x for all phases together",
                zeros=always,
            ),
        )
    ),
    Form("unfolded", _unfolded_phases, _unfolded_fits, _unfolded_phases_pay, TWO_AXES, _UNFOLDED_WHEN),
    _guarded(Form("phases", _phases), lax_forms.input_gradient, data=1),
    _lax(lax_forms.input_gradient),
)


# --- the gradient of the kernel ---


def _no_examples(p: Problem) -> bool:
    return p.known and p.batch == 0


def _zeros(p: Problem, x: jax.Array, y: jax.Array) -> jax.Array:
    return lax.full((*p.settings.window, p.c_in, p.c_out), 0, p.dtype)


def _several_devices(p: Problem) -> bool:
    return p.devices > 1


def _by_tap(p: Problem, x: jax.Array, y: jax.Array) -> jax.Array:
    return by_tap.kernel_gradient(x, y, p.settings, p.devices)


def _unfolded_kernel_pays(p: Problem) -> bool:
    least_in, least_out = UNFOLDED_KERNEL_CHANNELS
    return p.c_in >= least_in and p.c_out >= least_out and _chunks_pay(p)


_UNFOLDED_KERNEL_WHEN = "from {} input and {} output channels on, {}".format(
    *UNFOLDED_KERNEL_CHANNELS, CHUNKS
)


def _unfolded_kernel(p: Problem, x: jax.Array, y: jax.Array) -> jax.Array:
    def chunk(x: jax.Array, y: jax.Array) -> jax.Array:
        return unfolded.kernel_gradient(_cast(x, p.wide), _cast(y, p.wide), p.settings)

    kernel = batches.summed(chunk, x, y, _floats(p))
    if unfolded.multiplies_by_zeros(p.settings):
        wide = _cast(x, p.wide), _cast(y, p.wide)
        kernel = repaired(kernel, lambda: canonical.kernel_gradient(*wide, p.settings))
    return _cast(kernel, p.dtype)


def _depthwise_kernel(p: Problem, x: jax.Array, y: jax.Array) -> jax.Array:
    return depthwise.kernel_gradient(x, y, p.settings)


def _raw_kernel(p: Problem, x: jax.Array, y: jax.Array, s: Settings) -> jax.Array:
    part = p.of(s, x.shape[-1] // s.groups, y.shape[-1])
    return choose(DENSE_KERNEL_GRADIENT, part).compute(part, x, y)


def _grouped_kernel(p: Problem, x: jax.Array, y: jax.Array) -> jax.Array:
    return grouped.kernel_gradient(partial(_raw_kernel, p), x, y, p.settings, _groups(p))


def _single_tap(p: Problem) -> bool:
    return one_group(p) and p.taps == 1


def _pointwise_kernel(p: Problem, x: jax.Array, y: jax.Array) -> jax.Array:
    return pointwise.kernel_gradient(x, y, p.settings)


def _together_for_kernel(p: Problem) -> int:
    return _outputs(p.settings, BLOCK_CHANNELS // p.c_out)


def _blocked_kernel_fits(p: Problem) -> bool:
    return several_taps(p) and _together_for_kernel(p) > 1


def _blocked_kernel_pays(p: Problem) -> bool:
    # Devices would sum the gradient of the whole block's kernel, which is several times as large.
    few = p.known and p.batch <= BLOCK_KERNEL_BATCH and p.c_out <= BLOCK_KERNEL_CHANNELS
    return few and p.devices == 1


def _blocked_kernel(p: Problem, x: jax.Array, y: jax.Array) -> jax.Array:
    by_input = canonical.kernel_gradient_by_input
    return blocked.kernel_gradient(by_input, x, y, p.settings, _together_for_kernel(p))


def _canonical_kernel(p: Problem, x: jax.Array, y: jax.Array) -> jax.Array:
    return canonical.kernel_gradient(x, y, p.settings)


DENSE_KERNEL_GRADIENT = (
    Form("pointwise", _pointwise_kernel, _single_tap, needs="one group and one tap"),
    Form(
        "blocked",
        _blocked_kernel,
        _blocked_kernel_fits,
        _blocked_kernel_pays,
        needs=LINE,
        when=f"at most {BLOCK_KERNEL_BATCH} examples, {BLOCK_KERNEL_CHANNELS} output channels, on one device",
    ),
    Form("canonical", _canonical_kernel, one_group, needs="one group"),
)

KERNEL_GRADIENT = (
    Form("zeros", _zeros, _no_examples, needs="a batch without examples"),
    _guarded(
        Form("by_tap", _by_tap, has_groups, _several_devices, "several groups", "several devices"),
        lax_forms.kernel_gradient,
    ),
    Form(
        "unfolded",
        _unfolded_kernel,
        _unfolded_fits,
        _unfolded_kernel_pays,
        needs=TWO_AXES,
        when=_UNFOLDED_KERNEL_WHEN,
    ),
    *(
        _guarded(form, lax_forms.kernel_gradient)
        for form in (
            Form("depthwise", _depthwise_kernel, _depthwise_fits, _depthwise_pays, DEPTHWISE, THIN),
            Form("grouped", _grouped_kernel, has_groups, needs="several groups"),
            *DENSE_KERNEL_GRADIENT,
        )
    ),
    _lax(lax_forms.kernel_gradient),
)
