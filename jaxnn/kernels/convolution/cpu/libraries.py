"""Which of XLA's libraries computes a convolution, up to JAX 0.10.

XLA leaves a convolution of two axes and more than 16 channels to YNNPACK if its result is no larger than the
image, and all others to Eigen. Up to JAX 0.10 YNNPACK has two weaknesses. It uses one core unless the kernel
is large; and where nothing is padded, it writes out all windows before it multiplies them. Both are avoided
by asking for more than is needed, on one axis: so many places that the result is larger than the image, which
makes it Eigen's, or one place, which is padding. What isn't needed is cut off.

All thresholds compare float32 in JAX 0.10.2 on two cores, over random convolutions and kernel gradients. From
JAX 0.11 on YNNPACK uses all cores, and the same takes 0.9 to 1.5 of the time.
"""

from math import prod

import jax
from jax import lax

from jaxnn.kernels.convolution.problem import Settings

#: Whether this version has these weaknesses.
IDLE = jax.__version_info__ < (0, 11)
#: YNNPACK takes no convolution whose channels are all as few.
_SMALL = 16
#: Eigen: the fewest channels that come in and go out, the fewest multiplications, the most values of a kernel
#: and by how much the result may grow. There it takes 0.76 of the time in the mean, at worst 1.3.
_CHANNELS, _OUTPUTS, _WORK, _KERNEL, _GROWTH = 16, 24, 20_000_000, 130_000, 4 / 3
#: Padding: the fewest floats in all windows from which it pays and by how much the result may then grow; and
#: how many are allocated anew at each call, which takes ten times as long.
_WINDOWS, _LITTLE, _ALLOCATED = 1_000_000, 5 / 4, 8_000_000


def beyond(x: jax.Array, kernel: jax.Array, s: Settings) -> tuple[int, int] | None:
    """On which spatial axis to ask for more places than are needed, and for how many; None for none."""
    if not _by_ynnpack(x, kernel, s):
        return None
    eigen = [
        (n + 1 - out, axis)
        for axis, (n, out, step) in enumerate(zip(s.space, s.out, s.strides, strict=True))
        if step == 1
    ]
    if eigen:
        more, axis = min(eigen, key=lambda one: one[0] / s.out[one[1]])
        if _eigen_pays(x, kernel, s, 1 + more / s.out[axis]):
            return axis, more
    longest = max(range(s.rank), key=lambda axis: s.out[axis])
    return (longest, 1) if _padding_pays(x, kernel, s, 1 + 1 / s.out[longest]) else None


def _by_ynnpack(x: jax.Array, kernel: jax.Array, s: Settings) -> bool:
    c_in, c_out = kernel.shape[-2:]
    # The size of a batch, which is a number of channels in the kernel's gradient, may be symbolic.
    known = all(isinstance(n, int) for n in (*x.shape, *kernel.shape))
    if not IDLE or s.rank != 2 or not known:
        return False
    fits = all(max(k, out) <= n for k, out, n in zip(s.window, s.out, s.space, strict=True))
    return fits and max(c_in, c_out) > _SMALL and prod(s.out) > 0 and s.precision is None


def _eigen_pays(x: jax.Array, kernel: jax.Array, s: Settings, growth: float) -> bool:
    c_in, c_out = kernel.shape[-2:]
    work = x.shape[0] * prod(s.out) * kernel.size * growth
    many = c_in >= _CHANNELS and c_out >= _OUTPUTS and work >= _WORK
    return many and kernel.size <= _KERNEL and growth <= _GROWTH


def _padding_pays(x: jax.Array, kernel: jax.Array, s: Settings, growth: float) -> bool:
    if max(map(max, s.padding)) > 0 or prod(s.window) == 1:
        return False
    windows = x.shape[0] * prod(s.out) * prod(kernel.shape[:-1])
    return windows >= _ALLOCATED or (windows >= _WINDOWS and growth <= _LITTLE)


def cut(y: jax.Array, s: Settings) -> jax.Array:
    """What was needed."""
    return lax.slice(y, (0,) * y.ndim, (y.shape[0], *s.out, y.shape[-1]))
