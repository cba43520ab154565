import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxnn.ops.pool import max_pool
from jaxnn.ops.unpool import max_pool_with_indices, max_unpool
from tests.ops.pool_settings import drawn, tied, value_and_gradient
from tests.reference import pool as reference
from tests.support import assert_close, rng_array


def line(*values, dtype=np.float32):
    return np.array(values, dtype).reshape(1, -1, 1)


def flat(y):
    return np.asarray(y).ravel().tolist()


@pytest.mark.usefixtures("x64")
@given(drawn(), st.sampled_from([None, "slices", "unfolded"]))
def test_maxima_and_indices_equal_the_reference(setting, form):
    space, settings, windows = setting
    x = tied(2, *space, 2)
    y, indices = jax.jit(lambda x: max_pool_with_indices(x, **settings, implementation=form))(x)
    assert indices.dtype == np.int32
    assert_close((y, indices), reference.max_pool(x, windows)[:2])
    values = np.take_along_axis(x.reshape(2, -1, 2), np.asarray(indices).reshape(2, -1, 2), 1)
    assert_close(y, values.reshape(y.shape))


@pytest.mark.usefixtures("x64")
@given(drawn())
def test_unpooling_equals_the_reference(setting):
    """Overlapping windows too: they write the same value to one place more than once."""
    space, _, windows = setting
    pooled, indices, _ = reference.max_pool(tied(2, *space, 2), windows)
    y, cotangent, dx = value_and_gradient(lambda x: max_unpool(x, indices, space), pooled)
    assert_close(y, reference.max_unpool(pooled, indices, space))
    # The derivative is that of the writer that stayed: number the writers to find it.
    numbers = np.arange(1.0, pooled.size + 1).reshape(pooled.shape)
    stayed = reference.max_unpool(numbers, indices, space)
    expected = [cotangent[stayed == number].sum() for number in numbers.ravel()]
    assert_close(dx, np.reshape(expected, dx.shape))


def test_the_last_of_several_values_stays():
    y, dx = line(1, 2, 3), line(0, 0, 0)
    indices = np.array([4, 1, 4]).reshape(1, 3, 1)
    assert flat(max_unpool(y, indices, 6)) == [0, 2, 0, 0, 3, 0]
    dx = jax.grad(lambda y: max_unpool(y, indices, 6).sum())(y)
    assert flat(dx) == [0, 1, 1]


def test_indices_outside_the_output_are_left_out():
    indices = np.array([-1, 6, 2]).reshape(1, 3, 1)
    assert flat(max_unpool(line(1, 2, 3), indices, 6)) == [0, 0, 3, 0, 0, 0]


def test_indices_are_flat_over_the_unpadded_plane_whatever_batch_and_channel():
    x = np.zeros((2, 3, 4, 2), np.float32)
    x[:, 2, 1] = 1
    _, indices = jax.jit(lambda x: max_pool_with_indices(x, (3, 4), padding=1, strides=2))(x)
    assert (np.asarray(indices)[:, 1] == 2 * 4 + 1).all()


def test_values_are_those_of_max_pool_and_so_is_the_gradient():
    x = rng_array(2, 6, 5, 2)

    def loss(pool):
        return lambda x: (pool(x) ** 2).sum()

    plain = loss(lambda x: max_pool(x, 3, strides=2, padding=1))
    indexed = loss(lambda x: max_pool_with_indices(x, 3, strides=2, padding=1)[0])
    assert_close(*(jax.jit(jax.value_and_grad(function))(x) for function in (plain, indexed)))


@pytest.mark.parametrize("form", ["slices", "unfolded"])
def test_indices_never_point_into_padding(form):
    for x in (line(-np.inf, -np.inf, -np.inf), line(0, 0, 0, dtype=np.uint8)):
        _, indices = max_pool_with_indices(x, 3, strides=1, padding=1, implementation=form)
        assert flat(indices) == [0, 0, 1]
    assert flat(max_pool_with_indices(line(1, np.nan, np.nan), 3, implementation=form)[1]) == [1]


def test_unpooling_keeps_integers_and_restores_the_size():
    x = np.arange(30, dtype=np.int16).reshape(1, 5, 6, 1)
    pool = jax.jit(lambda x: max_pool(x, 2))
    y = np.asarray(jax.jit(lambda x: max_unpool(*max_pool_with_indices(x, 2), (5, 6)))(x))
    assert y.dtype == np.int16
    assert_close(pool(y), pool(x))
    assert int((y != 0).sum()) == 6


def test_bad_input_raises_a_sentence():
    x = rng_array(1, 3, 2)
    indices = jnp.zeros((1, 3, 2), jnp.int32)
    with pytest.raises(TypeError, match="max_unpool: indices must be integers, got float32"):
        max_unpool(x, x, 6)
    with pytest.raises(ValueError, match=r"max_unpool: indices must have the shape of x, \(1, 3, 2\), got"):
        max_unpool(x, indices[:, :2], 6)
    with pytest.raises(ValueError, match="max_unpool: output_size must be at least 1, got 0"):
        max_unpool(x, indices, 0)
    with pytest.raises(ValueError, match=r"max_unpool: x must be .* got shape \(3, 2\)"):
        max_unpool(x[0], indices[0], 6)
    with pytest.raises(ValueError, match="max_pool_with_indices: the window must fit"):
        max_pool_with_indices(x, 4)
