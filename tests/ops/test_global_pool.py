import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxnn as nn
from jaxnn.ops.global_pool import global_avg_pool, global_max_pool
from tests.ops.pool_settings import SPACES, tied, value_and_gradient
from tests.reference import pool as reference
from tests.support import assert_close, rng_array

spaces = st.sampled_from([*SPACES.values(), (1,), (2, 2), (9, 11)])


def whole(space):
    return reference.Windows(space, space)


@pytest.mark.usefixtures("x64")
@given(spaces)
def test_average_equals_the_reference(space):
    x = rng_array(2, *space, 2, dtype=np.float64)
    y, cotangent, dx = value_and_gradient(global_avg_pool, x)
    pooled_shape = cotangent.reshape(2, *(1 for _ in space), 2)
    expected, gradient = reference.avg_pool(x, whole(space), pooled_shape)
    assert_close((y, dx), (expected.reshape(2, 2), gradient))


@pytest.mark.usefixtures("x64")
@given(spaces)
def test_maximum_equals_the_reference(space):
    x = tied(2, *space, 2)
    y, cotangent, dx = value_and_gradient(global_max_pool, x)
    pooled_shape = cotangent.reshape(2, *(1 for _ in space), 2)
    expected, _, gradient = reference.max_pool(x, whole(space), pooled_shape)
    assert_close((y, dx), (expected.reshape(2, 2), gradient))


@pytest.mark.parametrize("size", [5, 50])
def test_ties_and_nans_give_their_gradient_to_the_first(size):
    x = np.zeros((1, size, 1), np.float32)
    gradient = jax.grad(lambda x: global_max_pool(x).sum())
    assert np.flatnonzero(gradient(x)).tolist() == [0]
    x[0, 3:] = np.nan
    assert np.isnan(global_max_pool(x)).all()
    assert np.flatnonzero(gradient(x)).tolist() == [3]


def test_integers_keep_their_dtype_in_the_maximum_only():
    x = np.array([3, 250, 7], np.uint8).reshape(1, 3, 1)
    y = global_max_pool(x)
    assert y.dtype == np.uint8
    assert y.tolist() == [[250]]
    with pytest.raises(TypeError, match="global_avg_pool: x must be floating-point, got uint8"):
        global_avg_pool(x)


def test_half_precision_average_of_many_values():
    y = global_avg_pool(np.full((1, 300, 300, 1), 7.5, np.float16))
    assert y.dtype == np.float16
    assert y.tolist() == [[7.5]]


@pytest.mark.parametrize("pool", [global_avg_pool, global_max_pool])
def test_bad_input_raises_a_sentence(pool):
    with pytest.raises(ValueError, match=f"^{pool.__name__}: x must be .* got shape \\(2, 3\\)"):
        pool(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match=f"^{pool.__name__}: x must have no spatial axis of size 0"):
        pool(np.zeros((2, 0, 3), np.float32))
    with pytest.raises(TypeError, match=f"^{pool.__name__}: x must be floating-point"):
        pool(np.zeros((1, 2, 3), np.complex64))


@pytest.mark.parametrize("shape", [(2, 90, 70, 1), (1, 5000, 2)])
def test_nan_is_found_in_a_large_image(shape):
    """XLA's own maximum over this many values loses it on a CPU."""
    x = rng_array(*shape)
    x[0, 7, ..., 0] = np.nan
    for pool in (
        nn.ops.global_max_pool,
        lambda x: nn.ops.adaptive_max_pool(x, 1),
        lambda x: nn.ops.max_pool(x, 40),
    ):
        y = np.asarray(jax.jit(pool)(x))
        assert np.isnan(y[0, ..., 0]).any()
        assert np.isfinite(y[..., 1:]).all()
        assert np.isfinite(y[1:]).all()
