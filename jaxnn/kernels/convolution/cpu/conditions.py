"""What forms of a convolution need on a CPU and when they pay, with all thresholds.

Unless a line says otherwise thresholds compare forward+backward times of float32 arrays in JAX 0.10.2 on two
cores with AVX-512, over a sweep of channels 1 to 128, sizes 4 to 56 and batches 1 to 32. Those marked *
compare single passes in JAX 0.10.2 with AVX-512 and in 0.12.0.1 with AVX2, over random problems.
"""

from math import prod

from jaxnn.kernels.convolution.cpu import batches, libraries, unfolded
from jaxnn.kernels.convolution.problem import Problem, Settings

#: Up to this many channels XLA's convolution is faster than a matrix product (1×1 windows).
POINTWISE_CHANNELS = 16

#: Few channels: the most input or output channels, and the most pairs of them, at which XLA is nearly idle.
FEW_CHANNELS, FEW_PAIRS = 16, 100
#: A band: the most values in its kernel, and the fewest lines for which building it pays.
BAND_VALUES, BAND_LINES = 2**18, 64
#: *A band is mostly zeros where a line of x holds more values.
BAND_LINE_VALUES = 64
#: Blocks shorter than a line are as fast as a band if they have this many channels, except for windows this
#: wide on this many lines.
BAND_CHANNELS, BAND_WINDOW, BAND_MANY_LINES = 16, 5, 2048
#: A block: the most outputs, the most channels they have together, the shortest line, the fewest outputs in
#: all (256 outputs gain under 1 % of a U-Net's step and cost 5 % of its compile time).
BLOCK_OUTPUTS, BLOCK_CHANNELS, BLOCK_LINE, BLOCK_LEAST = 8, 32, 8, 512
#: With an odd number of input channels XLA is slow for output channels above the first, up to the second.
ODD_SLOW = 16, 32
#: *A block in the kernel's gradient: the most output channels times examples, which are XLA's input channels
#: there, times the last stride, which widens the block's window. Above it takes 0.6 to 1.7 of the time.
BLOCK_KERNEL_PAIRS = 192

#: *The most taps, and the fewest and most input channels, at which unfolding beats XLA's convolution whatever
#: the outputs are.
UNFOLDED_FEW_TAPS, UNFOLDED_CHANNELS = 4, (4, 32)
#: *By rows: the most pairs of channels, with at most as many input channels as above; and the most output
#: channels, whatever comes in: XLA computes these side by side, and is nearly idle.
UNFOLDED_FEW_PAIRS, UNFOLDED_OUTPUTS = 150, 2
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
#: *The kernel's gradient: how many times as many input channels as output channels there are for x to be the
#: window of the convolution, not y; by how much x may be larger than y, since all of it is multiplied; and
#: the most values of y. With these it takes 0.53 of the time in the mean, at worst 2.1; with more values of y
#: 1.2, from 0.5 to 5 (126 problems, JAX 0.10 with AVX-512 and AVX2, 0.12 with AVX-512, Intel).
BY_OUTPUT_RATIO, BY_OUTPUT_GROWTH, BY_OUTPUT_VALUES = 2, 2, 100_000
#: *The kernel's gradient: the most taps per step of the stride at which unfolding beats XLA's convolution,
#: whose window, y, is dilated there; if taps are more in all, from so many multiplications on. With more taps
#: per step, where y has few places in a large image: the most places over the batch, the least image, the
#: fewest floats. Together they take 0.85 of the time with JAX 0.10, 0.8 with 0.12.
UNFOLDED_STEP_TAPS, UNFOLDED_KERNEL_WORK = 6, 30_000
SPARSE_PLACES, SPARSE_IMAGE, SPARSE_FLOATS = 3300, 350, 36_000
#: Where strided windows of more taps than UNFOLDED_TAPS meet padding: the most floats over the batch.
#: With more, XLA's convolution takes 0.84 of the time with JAX 0.10 (0.97 with AVX2), 0.85 with 0.12, three
#: quarters of that of all cores together and less memory; without padding 1.0 to 1.25 of the time.
PADDED_FLOATS = 80_000
#: *Likewise of more than UNFOLDED_FEW_TAPS taps and up to so many output channels, with more floats: there
#: XLA's convolution takes 0.6 of the time of unfolding in the mean (0.14 to 2.3; some 130 problems of 3×3,
#: JAX 0.10 with AVX2, 0.12 with both, Intel). With 48 channels or more it takes 1.5 times as long.
PADDED_OUTPUTS, PADDED_FEW_FLOATS = 32, 500_000
#: Many channels: the pairs of them at which XLA's convolution runs on one core, up to JAX 0.10 (from 0.11 on
#: it uses all, and unfolding is slower), and the most taps that are written out one by one.
UNFOLDED_PAIRS, UNFOLDED_TAPS = (2048, 8192), 9
#: The fewest pairs at which unfolding is not slower than XLA's kernel gradient either.
UNFOLDED_KERNEL_PAIRS = 4096
#: The fewest multiplications for which a loop over chunks of the batch pays: in the batch, in each chunk.
CHUNKED_WORK, CHUNK_WORK = 150_000_000, 30_000_000
#: The fewest floats for which a round of such a loop pays in the kernel's gradient.
CHUNK_FLOATS = 200_000

#: *Depthwise: the most outputs of a group, and the most products per value, of all inputs and taps, that are
#: written out one by one. With 8 outputs of one input dense convolutions of groups take 1.2 to 6 times as
#: long, with 16 from 0.55 to 2.8; with 65 to 128 products 1.1 to 11 times, with 150 to 400 from 0.15 to 2.
DEPTHWISE_OUTPUTS, DEPTHWISE_PRODUCTS = 8, 128
#: *Groups, several of which make one dense convolution: how many multiplications take as long as starting one
#: more, how many output channels XLA computes side by side, how many places building the kernel counts for,
#: and the most dense convolutions. With these the form takes 1.17 times as long as the best number of groups
#: in the mean, from 1 to 4.8 times; with just 16 input channels together it took 1.39 (JAX 0.10 with AVX-512
#: and AVX2, 0.12 with AVX-512, Intel).
GROUP_START, GROUP_LANES, GROUP_KERNEL, GROUP_CONVOLUTIONS = 4_000_000, 16, 256, 32
#: *The gradient of a grouped kernel: the most places of y over the batch and the most taps at which it is
#: faster tap by tap. There it takes 0.3 to 1.8 of the time, 0.75 of it in the mean (measured likewise).
BY_TAP_PLACES, BY_TAP_TAPS = 240, 25
#: *The same of depthwise kernels: the most places and the most values of y at which a product per tap takes
#: less time than the loops over lines of y need to start: 0.46 of it with JAX 0.10, 0.8 with 0.12.
BY_TAP_LINES, BY_TAP_VALUES = 100, 400
#: *All phases of an input gradient at once: the most pairs of channels, of x over all phases and of y.
AT_ONCE_PAIRS = 2048
#: *XLA's own dilation of y: the most floats that a window reads of x, and all windows, if x has at most so
#: many channels and if it has more. There it takes 0.8 to 0.85 of the time of the others.
DILATED_CHANNELS, DILATED_READ, DILATED_FLOATS = 4, (56, 1000), (800_000, 400_000)
#: *Or how many times as many channels as x y has, of which each phase would read a copy: there it takes 0.58
#: of the time of phases in the mean, 0.14 to 2.7, and 5 for 16 places (96 problems, JAX 0.10 with AVX-512
#: and AVX2, 0.12 with AVX-512, Intel).
DILATED_RATIO = 4
#: *Windows that lie side by side are read and written in pieces, the lines of one window: slow ones, unless
#: they hold a multiple of so many values.
TILE_LINE = 4

#: The same in words.
TWO_AXES = "one group, several taps, two spatial axes and a batch of known size"
LINE = (
    f"one group, several taps, and on the last axis at least {BLOCK_LINE} outputs, in equal blocks of "
    f"2 to {BLOCK_OUTPUTS}"
)
DEPTHWISE = "groups of one input channel"
DEPTHWISE_FORWARD = f"{DEPTHWISE}, or of one output channel"
FEW = f"at most {FEW_CHANNELS} channels and {FEW_PAIRS} pairs of them"
THIN = (
    f"at most {DEPTHWISE_OUTPUTS} outputs of a group, and {DEPTHWISE_PRODUCTS} taps times inputs of a group"
)
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
    f"by rows, up to {UNFOLDED_CHANNELS[1]} input channels and {UNFOLDED_FEW_PAIRS} pairs of channels, or up "
    f"to {UNFOLDED_OUTPUTS} output channels; up to {UNFOLDED_FEW_TAPS} taps, {FEW} or "
    "{} to {} input channels at a stride of 1; ".format(*UNFOLDED_CHANNELS)
    + f"strides and dilation, {FEW}, several input channels and at least {BLOCK_LEAST} outputs"
)
LITTLE_OF_INPUT = (
    f"up to {INPUT_FLOATS:,} floats and {INPUT_CHANNELS} channels of x; up to {INPUT_READ} taps times "
    f"channels of y; up to {INPUT_THIN[0]} channels of x and {INPUT_THIN[1]} floats for each place; not of "
    f"one channel of y, {SINGLE_TAPS[0]} to {SINGLE_TAPS[1]} taps, up to {FEW_CHANNELS} channels of x and at "
    f"least {SINGLE_PLACES:,} places in lines of {SINGLE_LINE}"
)
LITTLE_OF_KERNEL = (
    f"in chunks of up to {batches.FLOATS:,} floats, on one device: up to {UNFOLDED_STEP_TAPS} taps per step "
    f"of the stride, and as many in all or at least {UNFOLDED_KERNEL_WORK:,} multiplications; of more taps, "
    f"at least {SPARSE_FLOATS:,} floats of up to {SPARSE_PLACES:,} places of y in images of at least "
    f"{SPARSE_IMAGE} places; with strides and padding up to {PADDED_FLOATS:,} floats over the batch of more "
    f"than {UNFOLDED_TAPS} taps, {PADDED_FEW_FLOATS:,} of more than {UNFOLDED_FEW_TAPS} and up to "
    f"{PADDED_OUTPUTS} output channels"
)
CHUNKS = (
    f"at least {CHUNKED_WORK // 10**6} million multiplications, {CHUNK_WORK // 10**6} million per chunk, "
    "on one device"
)
IDLE = f"JAX below 0.11, {UNFOLDED_PAIRS[0]:,} to {UNFOLDED_PAIRS[1]:,} pairs of channels, {CHUNKS}"
MANY = f"strides, {IDLE}"
SMALL = f"up to {batches.FLOATS:,} floats written, on one device"


def one_group(p: Problem) -> bool:
    return p.settings.groups == 1


def has_groups(p: Problem) -> bool:
    return p.settings.groups > 1


def several_taps(p: Problem) -> bool:
    return one_group(p) and p.taps > 1


def few_channels(p: Problem) -> bool:
    return p.c_in <= FEW_CHANNELS and p.c_in * p.c_out <= FEW_PAIRS


# --- depthwise convolutions and groups ---


def depthwise_fits(p: Problem) -> bool:
    return has_groups(p) and p.c_in == 1


def depthwise_forward_fits(p: Problem) -> bool:
    return depthwise_fits(p) or (has_groups(p) and p.c_out == p.settings.groups)


def depthwise_pays(p: Problem) -> bool:
    return p.c_out // p.settings.groups <= DEPTHWISE_OUTPUTS and p.c_in * p.taps <= DEPTHWISE_PRODUCTS


def places(p: Problem) -> int:
    """How many places y has over the batch."""
    return int(p.batch) * prod(p.settings.out)


def groups_together(p: Problem) -> int:
    """How many groups to compute together, a divisor of their number.

    Fewer convolutions are started, and of few output channels no more is multiplied, since XLA computes
    several side by side anyway; of many as many times more as there are groups.
    """
    groups, outputs = p.settings.groups, p.c_out // p.settings.groups
    computed = places(p._replace(batch=p.batch if p.known else 1))

    def work(m: int) -> int:
        rows = computed + (GROUP_KERNEL if m > 1 else 0)
        return GROUP_START * (groups // m) + rows * p.taps * p.c_in * groups * max(m * outputs, GROUP_LANES)

    divisors = (m for m in range(1, groups + 1) if groups % m == 0)
    return min((m for m in divisors if groups // m <= GROUP_CONVOLUTIONS), key=work)


def by_tap_pays(p: Problem) -> bool:
    """Whether a batch is spread over devices, or has so few places that single taps are faster."""
    if p.devices > 1:
        return True
    if not p.known:
        return False
    if p.c_in == 1:
        return 0 < places(p) <= BY_TAP_LINES and places(p) * p.c_out <= BY_TAP_VALUES
    return places(p) <= BY_TAP_PLACES and p.taps <= BY_TAP_TAPS


# --- blocks of outputs ---


def block(s: Settings, most: int) -> int:
    """The number of outputs in a block, a divisor of the number in a line."""
    outputs = s.out[-1]
    most = min(most, BLOCK_OUTPUTS, outputs // 2) if outputs >= BLOCK_LINE else 1
    return max((m for m in range(1, most + 1) if outputs % m == 0), default=1)


# --- unfolded windows ---


def unfolded_fits(p: Problem) -> bool:
    return several_taps(p) and p.settings.rank == 2 and p.known


def unfolded_floats(p: Problem) -> int:
    """How many floats unfolding writes out per example."""
    return unfolded.floats(p.settings, p.c_in, p.c_out)


def chunks_pay(p: Problem) -> bool:
    """Whether the batch is enough work to be split into chunks, and each chunk that fits into the cache too.

    A loop over a batch that is sharded would gather it. A batch of a prime number of small images has no good
    chunks.
    """
    floats, work = unfolded_floats(p), p.products
    if p.devices > 1 or p.batch < 2 or floats > batches.FLOATS or p.batch * work < CHUNKED_WORK:
        return False
    few = batches.examples(p.batch, floats)
    return few == p.batch or few * work >= CHUNK_WORK


def whole_pieces(p: Problem) -> bool:
    """Whether the lines of a window are quickly copied."""
    return p.c_in * p.settings.window[-1] % TILE_LINE == 0


def many(p: Problem) -> bool:
    """Whether XLA's convolution of many channels leaves cores idle, and its other library can't be asked."""
    return max(p.settings.strides) > 1 and _idle(p)


def _idle(p: Problem) -> bool:
    """Whether XLA's convolution of many channels leaves cores idle."""
    least, most = UNFOLDED_PAIRS
    slow = libraries.IDLE and least <= p.c_in * p.c_out <= most
    short = unfolded.is_by_rows(p.settings, p.c_in, p.c_out) or p.taps <= UNFOLDED_TAPS
    return slow and short and chunks_pay(p)


def many_in_kernel(p: Problem) -> bool:
    """Whether unfolding is not slower than XLA's kernel gradient either."""
    return p.c_in * p.c_out >= UNFOLDED_KERNEL_PAIRS and _idle(p)


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
    few = p.batch * unfolded_floats(p) <= BRIEF_WINDOWS[slow]
    return p.devices == 1 and few and 0 < p.batch * p.products <= max(products, BRIEF_PRODUCTS[slow])


def few_in_kernel(p: Problem) -> bool:
    """The same for the kernel's gradient."""
    return few_windows(p, BRIEF_STRIDED if max(p.settings.strides) > 1 else 0)


def one_window(p: Problem) -> bool:
    """Whether a window is the whole image, so that unfolding copies nothing."""
    return small(p) and unfolded.are_tiles(p.settings) and max(p.settings.out) == 1


def little(p: Problem) -> bool:
    """Whether XLA's convolution is nearly idle, or has so few taps that unfolding costs little."""
    fewest, most = UNFOLDED_CHANNELS
    few = p.c_in <= most and p.c_in * p.c_out <= UNFOLDED_FEW_PAIRS
    by_rows = unfolded.is_by_rows(p.settings, p.c_in, p.c_out) and (few or p.c_out <= UNFOLDED_OUTPUTS)
    beside = max(p.settings.strides) == 1 and fewest <= p.c_in <= most
    few_taps = p.taps <= UNFOLDED_FEW_TAPS and (beside or few_channels(p))
    return small(p) and (by_rows or few_taps or spread(p))


def spread(p: Problem) -> bool:
    """Whether few channels meet strides and dilation, for which blocks and bands hold mostly zeros."""
    both = p.c_in > 1 and max(p.settings.strides) > 1 < max(p.settings.dilation)
    return both and few_channels(p) and places(p) >= BLOCK_LEAST


def little_in_input(p: Problem) -> bool:
    """The same for the gradient of x, from whose problem y and x are swapped."""
    few = p.c_out <= INPUT_CHANNELS and p.batch * unfolded_floats(p) <= INPUT_FLOATS
    thinnest, most = INPUT_THIN
    thin = p.c_out <= thinnest and unfolded.floats_per_place(p.settings, p.c_in, p.c_out) <= most
    return small(p) and (few or thin or p.taps * p.c_in <= INPUT_READ) and not _single(p)


def _single(p: Problem) -> bool:
    """Whether a single channel of y meets few of x in many places."""
    (fewest, most), line = SINGLE_TAPS, p.settings.out[-1]
    narrow = p.c_in == 1 and p.c_out <= FEW_CHANNELS and fewest <= p.taps <= most
    return narrow and line >= SINGLE_LINE and places(p) >= SINGLE_PLACES


def little_in_kernel(p: Problem) -> bool:
    """The same for the kernel's gradient, a convolution of another shape."""
    if not in_chunks(p) or _many_padded(p):
        return False
    if p.taps <= UNFOLDED_STEP_TAPS * prod(p.settings.strides):
        return p.taps <= UNFOLDED_STEP_TAPS or p.batch * p.products >= UNFOLDED_KERNEL_WORK
    sparse = places(p) <= SPARSE_PLACES and prod(p.settings.space) >= SPARSE_IMAGE
    return sparse and places(p) * p.taps * p.c_in >= SPARSE_FLOATS


def _many_padded(p: Problem) -> bool:
    """Whether strided windows on a padded image are more floats than it pays to write out."""
    if max(p.settings.strides) == 1 or not any(map(any, p.settings.padding)):
        return False
    floats = p.batch * unfolded_floats(p)
    if p.taps > UNFOLDED_TAPS:
        return floats > PADDED_FLOATS
    return p.taps > UNFOLDED_FEW_TAPS and p.c_out <= PADDED_OUTPUTS and floats > PADDED_FEW_FLOATS


def in_chunks(p: Problem) -> bool:
    """Whether a round of a loop over the batch, if there is one, is worth it and stays in the cache."""
    floats = unfolded_floats(p)
    if p.devices > 1 or floats > batches.FLOATS:
        return False
    few = batches.examples(p.batch, floats)
    return few >= p.batch or few * floats >= CHUNK_FLOATS


def small(p: Problem) -> bool:
    """Whether what unfolding writes out stays in the cache."""
    return p.devices == 1 and p.batch * unfolded_floats(p) <= batches.FLOATS
