"""When a convolution of several groups takes which form on a CPU, with all thresholds.

How they were found stands in ``conditions``.
"""

from jaxnn.kernels.convolution.cpu.conditions import has_groups, places
from jaxnn.kernels.convolution.problem import Problem

#: *Depthwise: the most outputs of a group, and the most products per value, of all inputs and taps, that are
#: written out one by one. With 8 outputs of one input dense convolutions of groups take 1.2 to 6 times as
#: long, with 16 from 0.55 to 2.8; with 65 to 128 products 1.1 to 11 times, with 150 to 400 from 0.15 to 2.
DEPTHWISE_OUTPUTS, DEPTHWISE_PRODUCTS = 8, 128
#: *Groups, several of which make one dense convolution: how many multiplications take as long as starting one
#: more, how many output channels XLA computes side by side, for how many input channels it takes as long as
#: for fewer, how many places building the kernel counts for, and the most dense convolutions. With these the
#: form takes 1.15 times as long as the best number of groups in the mean, from 1 to 4.8 times; with just 16
#: input channels together it took 1.39 (270 problems, JAX 0.10 with AVX-512 and AVX2, 0.12 with AVX-512,
#: Intel).
GROUP_START, GROUP_LANES, GROUP_TERMS, GROUP_KERNEL, GROUP_CONVOLUTIONS = 4_000_000, 16, 8, 256, 32
#: *The gradient of a grouped kernel: the most places of y over the batch, in all and per group, at which it
#: is faster tap by tap, and the most taps, unless places are as few as the last number. There it takes 0.55
#: of the time in the mean, 0.2 to 2.2; with more places per group 1.3 (100 problems, the same machines).
BY_TAP_PLACES, BY_TAP_PER_GROUP, BY_TAP_TAPS, BY_TAP_FEW = 240, 24, 25, 32
#: *The same of depthwise kernels: the most places and the most values of y at which a product per tap takes
#: less time than the loops over lines of y need to start: 0.46 of it with JAX 0.10, 0.8 with 0.12.
BY_TAP_LINES, BY_TAP_VALUES = 100, 400

#: The same in words.
DEPTHWISE = "groups of one input channel"
DEPTHWISE_FORWARD = f"{DEPTHWISE}, or of one output channel"
THIN = (
    f"at most {DEPTHWISE_OUTPUTS} outputs of a group, and {DEPTHWISE_PRODUCTS} taps times inputs of a group"
)
BY_TAP = (
    f"several devices; one input channel per group, and at most {BY_TAP_LINES} places and {BY_TAP_VALUES} "
    f"values of y; more than one, and at most {BY_TAP_PLACES} places, {BY_TAP_PER_GROUP} per group, and "
    f"{BY_TAP_TAPS} taps or {BY_TAP_FEW} places"
)


def depthwise_fits(p: Problem) -> bool:
    return has_groups(p) and p.c_in == 1


def depthwise_forward_fits(p: Problem) -> bool:
    return depthwise_fits(p) or (has_groups(p) and p.c_out == p.settings.groups)


def depthwise_pays(p: Problem) -> bool:
    return p.c_out // p.settings.groups <= DEPTHWISE_OUTPUTS and p.c_in * p.taps <= DEPTHWISE_PRODUCTS


def together(p: Problem) -> int:
    """How many groups to compute together, a divisor of their number.

    Taking m groups together starts fewer convolutions, but multiplies m times as much, except up to
    GROUP_LANES outputs and GROUP_TERMS inputs, which cost the same as fewer.
    """
    groups, outputs = p.settings.groups, p.c_out // p.settings.groups
    computed = places(p._replace(batch=p.batch if p.known else 1))

    def work(m: int) -> int:
        rows = computed + (GROUP_KERNEL if m > 1 else 0)
        each = p.taps * max(m * p.c_in, GROUP_TERMS) * max(m * outputs, GROUP_LANES)
        return (groups // m) * (GROUP_START + rows * each)

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
    few = places(p) <= min(BY_TAP_PLACES, BY_TAP_PER_GROUP * p.settings.groups)
    return few and (p.taps <= BY_TAP_TAPS or places(p) <= BY_TAP_FEW)
