"""Settings of a pool for hypothesis to draw."""

from contextlib import contextmanager
from unittest import mock

import jax
import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from jaxnn.kernels.pooling import windows as pooling_windows
from tests.reference.pool import Windows
from tests.support import rng_array

SPACES = {1: (7,), 2: (6, 5), 3: (4, 5, 3)}


@st.composite
def drawn(draw):
    """(input space, settings of the op, the reference's windows); every window holds a value."""
    rank = draw(st.integers(1, 3))
    space = SPACES[rank]
    axes = st.tuples(*[st.integers(1, 3)] * rank)
    window, strides, ceil_mode = draw(axes), draw(st.none() | axes), draw(st.booleans())
    dilation = draw(st.tuples(*[st.integers(1, 2)] * rank))
    span = [d * (k - 1) + 1 for k, d in zip(window, dilation, strict=True)]
    pads = [st.integers(0, k // 2) for k in span]
    padding = draw(
        st.sampled_from(["VALID", "SAME", "SAME_LOWER"])
        | st.integers(0, min(span) // 2)
        | st.tuples(*pads)
        | st.tuples(*(st.tuples(pad, pad) for pad in pads))
    )
    assume(padding in ("SAME", "SAME_LOWER") or all(k <= n for k, n in zip(span, space, strict=True)))
    windows = Windows(space, window, strides, padding, dilation, ceil_mode)
    assume(windows.all_hold_values())
    settings = {"strides": strides, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    return space, {"window": window, **settings}, windows


def tied(*shape, seed=0):
    """Few different values, so that maxima are tied often."""
    return np.random.default_rng((seed, *shape)).integers(-2, 3, shape).astype(np.float64)


def value_and_gradient(op, x):
    """``op(x)``, a cotangent of its shape, and the gradient of ⟨op(x), cotangent⟩."""

    def both(x):
        y, pull = jax.vjp(op, x)
        return y, pull(jax.numpy.asarray(rng_array(*y.shape, seed=9, dtype=y.dtype)))[0]

    y, dx = jax.jit(both)(x)
    return y, rng_array(*y.shape, seed=9, dtype=y.dtype), dx


@contextmanager
def by_unfolding():
    """As if every window were too large for slices."""
    with mock.patch.object(pooling_windows, "MOST_SLICES", 0):
        yield
