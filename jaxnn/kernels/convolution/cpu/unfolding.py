"""When the windows of a convolution are unfolded on a CPU, with all thresholds.

How they were found stands in ``conditions``.
"""

from math import prod

from jaxnn.kernels.convolution.cpu import batches, libraries, unfolded
from jaxnn.kernels.convolution.cpu.conditions import (
    BLOCK_LEAST,
    FEW,
    FEW_CHANNELS,
    few_channels,
    places,
    several_taps,
)
from jaxnn.kernels.convolution.problem import Problem

#: *The most taps, and the fewest and most input channels, at which unfolding beats XLA's convolution whatever
#: the outputs are.
FEW_TAPS, FEW_TAPS_CHANNELS = 4, (4, 32)
#: *By rows: the most pairs of channels, with at most as many input channels as above; and the most output
#: channels, whatever comes in: XLA computes these side by side, and is nearly idle.
ROW_PAIRS, ROW_OUTPUTS = 150, 2
#: *Strides and dilation, with which blocks and bands hold mostly zeros: the most pairs of channels. With more
#: of few channels the others take 0.8 of the time (11 problems, JAX 0.10 and 0.12).
SPREAD_PAIRS = 24
#: *Results so few that starting XLA's convolution takes longer than they do: the most floats unfolded per
#: place and the most values of y. There unfolding takes 0.5 to 0.7 of the time if windows are tiles. From so
#: many multiplications on it does if taps are few, up to JAX 0.10 and from 0.11 on, which starts slower.
BRIEF_FLOATS, BRIEF_VALUES, BRIEF_WORK, BRIEF_TAPS = 64, 2**16, 2**15, (4, 9)
#: *The most floats in all windows and the most multiplications at which XLA's convolution, or one of blocks,
#: takes longer to start than to multiply, up to JAX 0.10 and from 0.11 on, which starts slower. There
#: unfolding takes 0.65 to 0.85 of the time, in the kernel's gradient 0.6 to 0.75. Between both limits it
#: takes 1.05 of the time with JAX 0.10, but 0.65 in the mean with 0.12, in the kernel's gradient 0.75, from
#: 0.2 to 2 (Intel, 0.12 with AVX-512 and AVX2). The third number, of multiplications, is for a kernel's
#: gradient with strides, which dilate the window of XLA's convolution.
BRIEF_WINDOWS, BRIEF_PRODUCTS, BRIEF_STRIDED = (30_000, 45_000), (300_000, 2_000_000), 1_000_000
#: *The gradient of x: the most floats unfolded and channels of x; or the most taps times channels of y; or
#: fewer channels of x and the most floats unfolded per place. There it takes 0.8 of the time of phases.
INPUT_FLOATS, INPUT_CHANNELS, INPUT_READ, INPUT_THIN = 128_000, 32, 40, (4, 200)
#: *But of a single channel of y each product sums few terms: with at most FEW_CHANNELS of x, the fewest and
#: most taps, the fewest places over the batch and the shortest line for which blocks take less, 0.4 of the
#: time with JAX 0.10 in the mean (0.65 with AVX2), 0.75 with 0.12, from 0.25 to 1.6.
SINGLE_TAPS, SINGLE_PLACES, SINGLE_LINE = (9, 25), 4096, 28
#: *The kernel's gradient, for which XLA's convolution has the batch for input channels, y for its window and
#: the input channels for its batch: the most examples, which leave it idle, of strided windows and several
#: output channels; the most input and the fewest output channels. There unfolding takes 0.6 of the time of
#: XLA's convolution in the mean, 0.1 to 2 (88 measurements), and 0.7, 0.4 to 1.15 (24; JAX 0.10 and 0.12 with
#: AVX-512 and AVX2, Intel).
FEW_EXAMPLES, THIN_INPUT, WIDE_OUTPUT = 3, 8, 100
#: *There too: the most taps per step of the stride at which unfolding beats XLA's convolution, whose window
#: is dilated by strides; if taps are more in all, from so many multiplications on. With strides and more taps
#: per step, where y has few places in a large image: the most places over the batch, the least image, the
#: fewest floats. Together they take 0.85 of the time with JAX 0.10, 0.8 with 0.12.
STEP_TAPS, KERNEL_WORK = 6, 30_000
SPARSE_PLACES, SPARSE_IMAGE, SPARSE_FLOATS = 3300, 350, 36_000
#: Where strided windows of more taps than IDLE_TAPS meet padding: the most floats over the batch.
#: With more, XLA's convolution takes 0.84 of the time with JAX 0.10 (0.97 with AVX2), 0.85 with 0.12, three
#: quarters of that of all cores together and less memory; without padding 1.0 to 1.25 of the time.
PADDED_FLOATS = 80_000
#: *Likewise of more than FEW_TAPS taps and up to so many output channels, with more floats: there
#: XLA's convolution takes 0.6 of the time of unfolding in the mean (0.14 to 2.3; some 130 problems of 3×3,
#: JAX 0.10 with AVX2, 0.12 with both, Intel). With 48 channels or more it takes 1.5 times as long.
PADDED_OUTPUTS, PADDED_FEW_FLOATS = 32, 500_000
#: Many channels: the pairs of them at which XLA's convolution runs on one core, up to JAX 0.10 (from 0.11 on
#: it uses all, and unfolding is slower), and the most taps that are written out one by one.
IDLE_PAIRS, IDLE_TAPS = (2048, 8192), 9
#: The fewest pairs at which unfolding is not slower than XLA's kernel gradient either.
KERNEL_PAIRS = 4096
#: The fewest multiplications for which a loop over chunks of the batch pays: in the batch, in each chunk.
CHUNKED_WORK, CHUNK_WORK = 150_000_000, 30_000_000
#: The fewest floats for which a round of such a loop pays in the kernel's gradient.
CHUNK_FLOATS = 200_000

#: The same in words, for parts of the conditions and then for each pass.
SMALL = f"up to {batches.FLOATS:,} floats written, on one device"
BRIEF = (
    f"up to {BRIEF_VALUES:,} values of y and {BRIEF_FLOATS} floats unfolded for each place, of tiles, or of "
    f"up to {BRIEF_TAPS[0]} taps ({BRIEF_TAPS[1]} from JAX 0.11 on) and at least {BRIEF_WORK:,} products"
)
FEW_WINDOWS = (
    f"up to {BRIEF_WINDOWS[0]:,} floats and {BRIEF_PRODUCTS[0]:,} multiplications over the batch "
    f"({BRIEF_WINDOWS[1]:,} and {BRIEF_PRODUCTS[1]:,} from JAX 0.11 on)"
)
FEW_IN_KERNEL = f"{FEW_WINDOWS}, with strides {BRIEF_STRIDED:,} if those are fewer"
LITTLE = (
    f"by rows, up to {FEW_TAPS_CHANNELS[1]} input channels and {ROW_PAIRS} pairs of channels, or up "
    f"to {ROW_OUTPUTS} output channels; up to {FEW_TAPS} taps, {FEW} or "
    "{} to {} input channels at a stride of 1; ".format(*FEW_TAPS_CHANNELS)
    + f"strides and dilation, up to {SPREAD_PAIRS} pairs of at most {FEW_CHANNELS} channels, several input "
    f"channels and at least {BLOCK_LEAST} outputs"
)
LITTLE_OF_INPUT = (
    f"up to {INPUT_FLOATS:,} floats and {INPUT_CHANNELS} channels of x; up to {INPUT_READ} taps times "
    f"channels of y; up to {INPUT_THIN[0]} channels of x and {INPUT_THIN[1]} floats for each place; not of "
    f"one channel of y, {SINGLE_TAPS[0]} to {SINGLE_TAPS[1]} taps, up to {FEW_CHANNELS} channels of x and at "
    f"least {SINGLE_PLACES:,} places in lines of {SINGLE_LINE}"
)
LITTLE_OF_KERNEL = (
    f"in chunks of up to {batches.FLOATS:,} floats, on one device: up to {FEW_EXAMPLES} examples, strides, "
    f"several output channels and at least {KERNEL_WORK:,} multiplications; up to {THIN_INPUT} input and at "
    f"least {WIDE_OUTPUT} output channels; up to {STEP_TAPS} taps per step of the stride, and as many in all "
    f"or at least {KERNEL_WORK:,} multiplications; strides, more taps, at least {SPARSE_FLOATS:,} floats of "
    f"up to {SPARSE_PLACES:,} places of y in images of at least {SPARSE_IMAGE} places; the last two with "
    f"strides and padding only up to {PADDED_FLOATS:,} floats over the batch of more than {IDLE_TAPS} taps, "
    f"{PADDED_FEW_FLOATS:,} of more than {FEW_TAPS} and up to {PADDED_OUTPUTS} output channels"
)
CHUNKS = (
    f"at least {CHUNKED_WORK // 10**6} million multiplications, {CHUNK_WORK // 10**6} million per chunk, "
    "on one device"
)
IDLE = f"JAX below 0.11, {IDLE_PAIRS[0]:,} to {IDLE_PAIRS[1]:,} pairs of channels, {CHUNKS}"
MANY = f"strides, {IDLE}"
FORWARD = f"{SMALL}: windows as large as the image; {FEW_WINDOWS}; {LITTLE}; {BRIEF}; {MANY}"
INPUT_GRADIENT = (
    f"{SMALL}, without strides or with dilation: windows as large as y; {LITTLE_OF_INPUT}; {MANY}"
)
KERNEL_GRADIENT = (
    f"{SMALL}: windows as large as the image; {FEW_IN_KERNEL}; {LITTLE_OF_KERNEL}; "
    f"{IDLE}, but from {KERNEL_PAIRS:,} pairs on"
)


def fits(p: Problem) -> bool:
    """Whether there is one group, of two axes, and a known number of windows of several taps."""
    return several_taps(p) and p.settings.rank == 2 and p.known


def written(p: Problem) -> int:
    """How many floats unfolding writes out per example."""
    return unfolded.floats(p.settings, p.c_in, p.c_out)


def pays_forward(p: Problem) -> bool:
    """Whether unfolding is the fastest form of the forward pass."""
    return one_window(p) or few_windows(p) or brief(p) or little(p) or many(p)


def pays_in_input(p: Problem, back: Problem) -> bool:
    """The same for the gradient of x; ``back`` is the convolution from y to x."""
    # With strides and no dilation at_once and dilated are faster.
    few = max(p.settings.dilation) > 1 or max(p.settings.strides) == 1
    return many(back) or (few and (one_window(back) or little_in_input(back)))


def pays_in_kernel(p: Problem) -> bool:
    """The same for the kernel's gradient."""
    return one_window(p) or few_in_kernel(p) or little_in_kernel(p) or many_in_kernel(p)


def chunks_pay(p: Problem) -> bool:
    """Whether the batch is enough work to be split into chunks, and each chunk that fits into the cache too.

    A loop over a batch that is sharded would gather it. A batch of a prime number of small images has no good
    chunks.
    """
    floats, work = written(p), p.products
    if p.devices > 1 or p.batch < 2 or floats > batches.FLOATS or p.batch * work < CHUNKED_WORK:
        return False
    few = batches.examples(p.batch, floats)
    return few == p.batch or few * work >= CHUNK_WORK


def many(p: Problem) -> bool:
    """Whether XLA's convolution of many channels leaves cores idle, and its other library can't be asked."""
    return max(p.settings.strides) > 1 and _idle(p)


def _idle(p: Problem) -> bool:
    """Whether XLA's convolution of many channels leaves cores idle."""
    least, most = IDLE_PAIRS
    slow = libraries.IDLE and least <= p.c_in * p.c_out <= most
    short = unfolded.is_by_rows(p.settings, p.c_in, p.c_out) or p.taps <= IDLE_TAPS
    return slow and short and chunks_pay(p)


def many_in_kernel(p: Problem) -> bool:
    """Whether unfolding is not slower than XLA's kernel gradient either."""
    return p.c_in * p.c_out >= KERNEL_PAIRS and _idle(p)


def brief(p: Problem) -> bool:
    """Whether the results are fewer than starting XLA's convolution is worth."""
    values = places(p) * p.c_out
    floats = unfolded.floats_per_place(p.settings, p.c_in, p.c_out)
    if p.devices > 1 or floats > BRIEF_FLOATS or values > BRIEF_VALUES:
        return False
    few_taps = p.taps <= BRIEF_TAPS[not libraries.IDLE]
    return unfolded.are_tiles(p.settings) or (few_taps and values * p.taps * p.c_in >= BRIEF_WORK)


def few_windows(p: Problem, products: int = 0) -> bool:
    """Whether what unfolding writes out and multiplies is so little that nothing starts faster.

    Up to ``products`` multiplications are little if that is more than BRIEF_PRODUCTS.
    """
    slow = not libraries.IDLE
    few = p.batch * written(p) <= BRIEF_WINDOWS[slow]
    return p.devices == 1 and few and 0 < p.batch * p.products <= max(products, BRIEF_PRODUCTS[slow])


def few_in_kernel(p: Problem) -> bool:
    """The same for the kernel's gradient."""
    return few_windows(p, BRIEF_STRIDED if max(p.settings.strides) > 1 else 0)


def one_window(p: Problem) -> bool:
    """Whether a window is the whole image, so that unfolding copies nothing."""
    return small(p) and unfolded.are_tiles(p.settings) and max(p.settings.out) == 1


def little(p: Problem) -> bool:
    """Whether XLA's convolution is nearly idle, or has so few taps that unfolding costs little."""
    fewest, most = FEW_TAPS_CHANNELS
    few = p.c_in <= most and p.c_in * p.c_out <= ROW_PAIRS
    by_rows = unfolded.is_by_rows(p.settings, p.c_in, p.c_out) and (few or p.c_out <= ROW_OUTPUTS)
    beside = max(p.settings.strides) == 1 and fewest <= p.c_in <= most
    few_taps = p.taps <= FEW_TAPS and (beside or few_channels(p))
    return small(p) and (by_rows or few_taps or spread(p))


def spread(p: Problem) -> bool:
    """Whether few channels meet strides and dilation, for which blocks and bands hold mostly zeros."""
    both = max(p.settings.strides) > 1 < max(p.settings.dilation)
    few = 1 < p.c_in <= FEW_CHANNELS and p.c_in * p.c_out <= SPREAD_PAIRS
    return both and few and places(p) >= BLOCK_LEAST


def little_in_input(p: Problem) -> bool:
    """Whether unfolding is faster than phases; x and y are swapped in the problem."""
    few = p.c_out <= INPUT_CHANNELS and p.batch * written(p) <= INPUT_FLOATS
    thinnest, most = INPUT_THIN
    thin = p.c_out <= thinnest and unfolded.floats_per_place(p.settings, p.c_in, p.c_out) <= most
    return small(p) and (few or thin or p.taps * p.c_in <= INPUT_READ) and not _single(p)


def _single(p: Problem) -> bool:
    """Whether a single channel of y meets few of x in many places."""
    (fewest, most), line = SINGLE_TAPS, p.settings.out[-1]
    narrow = p.c_in == 1 and p.c_out <= FEW_CHANNELS and fewest <= p.taps <= most
    return narrow and line >= SINGLE_LINE and places(p) >= SINGLE_PLACES


def little_in_kernel(p: Problem) -> bool:
    """Whether the kernel's gradient, a convolution of another shape, leaves XLA idle or has few taps."""
    strided = max(p.settings.strides) > 1
    if not in_chunks(p):
        return False
    if strided and p.batch <= FEW_EXAMPLES and p.c_out > 1 and p.batch * p.products >= KERNEL_WORK:
        return True
    if p.c_in <= THIN_INPUT and p.c_out >= WIDE_OUTPUT:
        return True
    if _many_padded(p):
        return False
    if p.taps <= STEP_TAPS * prod(p.settings.strides):
        return p.taps <= STEP_TAPS or p.batch * p.products >= KERNEL_WORK
    sparse = places(p) <= SPARSE_PLACES and prod(p.settings.space) >= SPARSE_IMAGE
    return strided and sparse and places(p) * p.taps * p.c_in >= SPARSE_FLOATS


def _many_padded(p: Problem) -> bool:
    """Whether strided windows on a padded image are more floats than it pays to write out."""
    if max(p.settings.strides) == 1 or not any(map(any, p.settings.padding)):
        return False
    floats = p.batch * written(p)
    if p.taps > IDLE_TAPS:
        return floats > PADDED_FLOATS
    return p.taps > FEW_TAPS and p.c_out <= PADDED_OUTPUTS and floats > PADDED_FEW_FLOATS


def in_chunks(p: Problem) -> bool:
    """Whether a round of a loop over the batch, if there is one, is worth it and stays in the cache."""
    floats = written(p)
    if p.devices > 1 or floats > batches.FLOATS:
        return False
    few = batches.examples(p.batch, floats)
    return few >= p.batch or few * floats >= CHUNK_FLOATS


def small(p: Problem) -> bool:
    """Whether what unfolding writes out stays in the cache."""
    return p.devices == 1 and p.batch * written(p) <= batches.FLOATS
