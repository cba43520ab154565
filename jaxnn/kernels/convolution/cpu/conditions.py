"""What forms of a convolution need on a CPU, and when few channels leave XLA's convolution idle.

Thresholds stand in the file of the form or of the condition that uses them. Unless a line says otherwise it
compares forward+backward times of float32 arrays in JAX 0.10.2 on two cores with AVX-512, over a sweep of
channels 1 to 128, sizes 4 to 56 and batches 1 to 32. Those marked * compare single passes in JAX 0.10.2 with
AVX-512 and in 0.12.0.1 with AVX2, over random problems.
"""

from math import prod

from jaxnn.kernels.convolution.problem import Problem, Settings

#: Few channels: the most input or output channels, and the most pairs of them, at which XLA is nearly idle.
FEW_CHANNELS, FEW_PAIRS = 16, 100
#: A block: the most outputs, the most channels they have together, the shortest line, the fewest outputs in
#: all (256 outputs gain under 1 % of a U-Net's step and cost 5 % of its compile time).
BLOCK_OUTPUTS, BLOCK_CHANNELS, BLOCK_LINE, BLOCK_LEAST = 8, 32, 8, 512

#: The same in words.
TWO_AXES = "one group, several taps, two spatial axes and a batch of known size"
LINE = (
    f"one group, several taps, and on the last axis at least {BLOCK_LINE} outputs, in equal blocks of "
    f"2 to {BLOCK_OUTPUTS}"
)
FEW = f"at most {FEW_CHANNELS} channels and {FEW_PAIRS} pairs of them"


def one_group(p: Problem) -> bool:
    return p.settings.groups == 1


def has_groups(p: Problem) -> bool:
    return p.settings.groups > 1


def several_taps(p: Problem) -> bool:
    return one_group(p) and p.taps > 1


def few_channels(p: Problem) -> bool:
    return p.c_in <= FEW_CHANNELS and p.c_in * p.c_out <= FEW_PAIRS


def places(p: Problem) -> int:
    """How many places y has over the batch."""
    return int(p.batch) * prod(p.settings.out)


def block(s: Settings, most: int) -> int:
    """The number of outputs in a block, a divisor of the number in a line."""
    outputs = s.out[-1]
    most = min(most, BLOCK_OUTPUTS, outputs // 2) if outputs >= BLOCK_LINE else 1
    return max((m for m in range(1, most + 1) if outputs % m == 0), default=1)
