"""Grouped convolution for NVIDIA GPUs with several groups taken together, by the form of lax.

cuDNN computes groups of a few channels far below the rate of its matrix units. A kernel that is zero between
some groups makes one larger group of them, for which it multiplies more, and takes less time. In the
gradient of the kernel what lies between two groups is left out.

Measured on an H200 with 64 channels on 256 images of 32×32, 3×3, float32 (TF32): 32 groups of 2 take 2.4 ms
forward and backward, merged 0.4; the gradient of the kernel of 4 groups of 16 takes 0.32 ms, merged 0.21, and
their other passes are as fast alone. What lies between was not measured, nor was more than 64 channels.
"""

from collections.abc import Callable, Mapping

import jax

from jaxnn.kernels.choice import Form
from jaxnn.kernels.convolution import lax as lax_forms
from jaxnn.kernels.convolution.independent import independent
from jaxnn.kernels.convolution.merging import merged, unmerged
from jaxnn.kernels.convolution.problem import Problem, Settings

#: Groups of at least so many channels on either side are as fast alone.
ENOUGH = 16
#: The most channels of a group, on the side with fewer, for which others are taken with it.
FEW = 4
#: Groups with so many channels in all are one in the gradient of the kernel.
ALL_TOGETHER = 64
#: The fewest multiplications that are worth the test for values that aren't finite.
FEWEST = 1 << 24

MUCH = f"at least {FEWEST:,} multiplications, one device"
WHEN = f"groups of 2 to {FEW} channels, {MUCH}"
WHEN_KERNEL = f"groups of 2 to {ENOUGH} channels, at most {ALL_TOGETHER} in all, {MUCH}"


def _channels(p: Problem) -> tuple[int, int]:
    """Those of one group, in and out."""
    return p.c_in, p.c_out // p.settings.groups


def _fits(p: Problem) -> bool:
    return p.settings.groups > 1


def _together(p: Problem) -> int:
    """The fewest groups that have enough channels together."""
    groups, least = p.settings.groups, min(_channels(p))
    return next(m for m in range(1, groups + 1) if groups % m == 0 and (m * least >= ENOUGH or m == groups))


def _much(p: Problem) -> bool:
    return p.known and p.devices == 1 and bool(p.batch * p.products >= FEWEST)


def _pays(p: Problem) -> bool:
    return 1 < min(_channels(p)) <= FEW and _much(p)


def _kernel_pays(p: Problem) -> bool:
    most = max(p.c_in * p.settings.groups, p.c_out)
    return 1 < min(_channels(p)) <= ENOUGH and most <= ALL_TOGETHER and _much(p)


def _wider(s: Settings, m: int) -> Settings:
    return s._replace(groups=s.groups // m)


def _of(function: Callable[..., jax.Array], data: int) -> Callable[..., jax.Array]:
    """The pass that has the kernel for one operand, and for operand ``data`` what meets its zeros."""

    def compute(p: Problem, *operands: jax.Array) -> jax.Array:
        s, m, kernel = p.settings, _together(p), operands[1 - data]

        def by(kernel: jax.Array, s: Settings) -> Callable[[jax.Array], jax.Array]:
            return lambda values: function(*_in_order(values, kernel, data), s, p.dtype)

        fast, exact = by(merged(kernel, s, m), _wider(s, m)), by(kernel, s)
        # Groups may be the members of an ensemble, and NaN or ∞ in one must leave the others as they are.
        return independent(fast, exact, operands[data], bits=True)

    return compute


def _in_order(values: jax.Array, kernel: jax.Array, data: int) -> tuple[jax.Array, jax.Array]:
    return (kernel, values) if data else (values, kernel)


def _kernel_gradient(p: Problem, x: jax.Array, y: jax.Array) -> jax.Array:
    s = p.settings
    m = s.groups if max(x.shape[-1], y.shape[-1]) <= ALL_TOGETHER else _together(p)
    return unmerged(lax_forms.kernel_gradient(x, y, _wider(s, m), p.dtype), s, m)


#: By pass.
MERGED: Mapping[str, Form] = {
    "forward": Form("merged", _of(lax_forms.forward, 0), _fits, _pays, "several groups", WHEN),
    "input_gradient": Form("merged", _of(lax_forms.input_gradient, 1), _fits, _pays, "several groups", WHEN),
    "kernel_gradient": Form("merged", _kernel_gradient, _fits, _kernel_pays, "several groups", WHEN_KERNEL),
}
