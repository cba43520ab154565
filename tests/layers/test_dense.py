import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.layers.dense import dense
from tests.support import assert_close, rng_array

KEY = jax.random.key(0)


def test_it_is_an_affine_map_of_the_last_axis():
    x = rng_array(2, 3, 4)
    layer = dense(5, bias_init=jax.nn.initializers.ones)
    params = layer.init(KEY, x.shape)
    assert_close(layer.apply(params, x), np.tensordot(x, params.weights["kernel"], 1) + np.float32(1))


def test_kernels_start_with_variance_2_over_fan_in():
    weights = dense(256).init(KEY, (1, 128)).weights
    assert float(jnp.std(weights["kernel"])) == pytest.approx((2 / 128) ** 0.5, rel=0.05)
    assert (weights["bias"] == 0).all()


def test_kernels_are_cut_at_two_deviations_and_the_variance_put_right():
    kernel = dense(256).init(KEY, (1, 128)).weights["kernel"]
    # A standard normal cut at ±2 has a deviation of 0.8796: divided by it, 2 becomes 2.27.
    largest = float(jnp.abs(kernel).max()) / (2 / 128) ** 0.5
    assert 2.2 < largest < 2.28


def test_weights_have_the_dtype_of_the_input():
    weights = dense(2).init(KEY, jax.ShapeDtypeStruct((1, 3), jnp.float16)).weights
    assert {w.dtype for w in jax.tree.leaves(weights)} == {jnp.dtype(jnp.float16)}


def test_without_a_bias():
    params = dense(2, bias=False).init(KEY, (1, 3))
    assert set(params.weights) == {"kernel"}
    assert dense(2, bias=False).apply(params, np.ones((4, 3), np.float32)).shape == (4, 2)


def test_bad_settings_and_input_raise():
    with pytest.raises(ValueError, match="dense: features must be at least 1, got 0"):
        dense(0)
    with pytest.raises(TypeError, match=r"dense: features must be an integer, got 2\.5"):
        dense(2.5)
    with pytest.raises(TypeError, match="dense: x must be floating-point, got int32; cast it first"):
        dense(2).init(KEY, np.ones((1, 3), np.int32))
    params = dense(2).init(KEY, (1, 3))
    with pytest.raises(TypeError, match="dense: x must be floating-point, got int32; cast it first"):
        dense(2).apply(params, np.ones((1, 3), np.int32))
    with pytest.raises(ValueError, match=r"dense: x must have 3 features for a kernel of shape \(3, 2\)"):
        dense(2).apply(params, np.ones((1, 4), np.float32))


def test_an_initialiser_of_the_wrong_kind_is_told():
    def one_for_all(key, shape, dtype):
        return jnp.zeros((), dtype)

    rule = r"^dense: kernel_init must be a function that gives an array of shape \(3, 2\), got the function "
    with pytest.raises(TypeError, match=rule + "he_normal; it gives a function: did you forget to call it"):
        dense(2, kernel_init=jax.nn.initializers.he_normal).init(KEY, (1, 3))
    with pytest.raises(TypeError, match=rule + "one_for_all$"):
        dense(2, kernel_init=one_for_all).init(KEY, (1, 3))
