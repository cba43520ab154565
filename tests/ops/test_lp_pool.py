from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxnn.ops.lp_pool import lp_pool
from tests.derivatives import check_derivatives
from tests.ops.pool_settings import by_unfolding, drawn, value_and_gradient
from tests.reference import pool as reference
from tests.support import assert_close, deep, plain_jit, rng_array


def line(*values, dtype=np.float32):
    return np.array(values, dtype).reshape(1, -1, 1)


def flat(y):
    return np.asarray(y).ravel().tolist()


@pytest.mark.usefixtures("x64")
@given(drawn(), st.sampled_from([1, 1.5, 2, 2.0, 3, 7.5]), st.booleans())
def test_equals_the_reference(setting, p, unfolded):
    space, settings, windows = setting
    x = rng_array(2, *space, 2, dtype=np.float64)
    x[np.abs(x) < 0.3] = 0
    with by_unfolding() if unfolded else nullcontext():
        y, cotangent, dx = value_and_gradient(lambda x: lp_pool(x, p=p, **settings), x)
    assert_close((y, dx), reference.lp_pool(x, windows, cotangent, p))


def test_a_norm_counts_magnitudes_whatever_p():
    """PyTorch adds the signed cubes, and has NaN for the root of a negative sum."""
    x = line(3, -4, -5, -12)
    for p in (1, 2, 3, 2.5):
        assert_close(lp_pool(x, 2, p=p), lp_pool(np.abs(x), 2, p=p))
    assert_close(flat(lp_pool(x, 2)), [5.0, 13.0])


def test_large_p_approaches_the_maximum_without_overflow():
    x = line(3, -4, 1e-3, 2e-3)
    assert_close(flat(lp_pool(x, 2, p=1000)), [4.0, 2e-3])
    assert_close(np.asarray(lp_pool(line(3e30, 4e30), 2)) / 1e30, line(5))
    assert lp_pool(line(300, 400, dtype=np.float16), 2).dtype == np.float16


def test_overhang_of_ceil_mode_adds_nothing():
    assert_close(flat(lp_pool(line(3, 4, 6), 2, ceil_mode=True)), [5.0, 6.0])


def test_infinity_and_nan_propagate():
    assert flat(lp_pool(line(1, -np.inf, 3, 4), 2)) == [np.inf, 5.0]
    assert np.isnan(flat(lp_pool(line(1, np.nan, 3, 4), 2))).tolist() == [True, False]


@pytest.mark.parametrize("p", [1, deep(1.5), 2, deep(3)])
def test_derivatives_at_a_window_of_zeros_are_zero(p):
    x = line(0, 0, 3, 0)

    def loss(x):
        return jnp.sum(lp_pool(x, 2, p=p))

    assert flat(jax.grad(loss)(x)) == [0, 0, 1, 0]
    curvature = plain_jit(lambda x: jax.jvp(jax.grad(loss), (x,), (jnp.ones_like(x),))[1])(x)
    assert np.isfinite(curvature).all()


@pytest.mark.parametrize("unfolded", [False, True])
def test_second_derivative_at_a_row_of_zeros_of_a_window_that_is_not(unfolded, x64):
    x = jnp.asarray([0.0, 0.0, 3.0, 0.0])
    with by_unfolding() if unfolded else nullcontext():
        curvature = plain_jit(jax.hessian(lambda x: lp_pool(x.reshape(1, 2, 2, 1), 2).sum()))(x)
    assert_close(curvature, np.diag([1 / 3, 1 / 3, 0, 1 / 3]))


@pytest.mark.parametrize("p", [deep(1), 2, 2.5, deep(5)])
def test_second_order(p, x64):
    x = jnp.asarray(rng_array(1, 5, 2, dtype=np.float64))
    check_derivatives(lambda x: lp_pool(x, 3, p=p, strides=1, padding=1), (x,))


@pytest.mark.parametrize("p", [0.5, 0, -2, float("inf"), float("nan")])
def test_bad_p_raises(p):
    with pytest.raises(ValueError, match=r"lp_pool: p must be at least 1 and finite .*, got "):
        lp_pool(line(1, 2), 2, p=p)


def test_bad_types_raise():
    with pytest.raises(TypeError, match="lp_pool: p must be a plain number, got '2'"):
        lp_pool(line(1, 2), 2, p="2")
    with pytest.raises(TypeError, match="lp_pool: x must be floating-point, got int32"):
        lp_pool(line(1, 2, dtype=np.int32), 2)
    with pytest.raises(ValueError, match="lp_pool: strides must be at least 1, got 0"):
        lp_pool(line(1, 2), 2, strides=0)
