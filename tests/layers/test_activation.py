import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.layers.activation import maxout, prelu
from jaxnn.ops import activation as ops
from jaxnn.outputs import output_shape
from tests.support import assert_close, rng_array


def test_prelu_starts_at_a_quarter_with_one_slope_a_channel(key):
    params = prelu().init(key, (1, 5, 3))
    assert_close(params.weights, {"slope": np.full(3, 0.25, np.float32)})
    x = rng_array(2, 5, 3)
    assert_close(prelu().apply(params, x), np.where(x >= 0, x, 0.25 * x))


def test_prelu_with_one_slope_in_all(key):
    layer = prelu(shared=True, slope_init=jax.nn.initializers.constant(0.1))
    params = layer.init(key, (1, 5, 3))
    assert_close(params.weights, {"slope": np.float32(0.1)})
    x = rng_array(2, 5, 3)
    assert_close(layer.train(params, x), (np.where(x >= 0, x, np.float32(0.1) * x), {}))


def test_maxout_is_the_largest_of_several_dense_layers(key):
    layer = maxout(4, 3)
    params = layer.init(key, (1, 5))
    kernel, bias = params.weights["kernel"], params.weights["bias"]
    assert (kernel.shape, bias.shape, output_shape(layer, (7, 5))) == ((5, 12), (12,), (7, 4))
    x = rng_array(7, 5)
    maps = [x @ kernel[:, j::3] + bias[None, j::3] for j in range(3)]
    expected = np.maximum(np.maximum(maps[0], maps[1]), maps[2])
    assert_close(layer.apply(params, x), expected)
    assert_close(layer.train(params, x), (ops.maxout(x @ kernel + bias[None], 3), {}))


@pytest.mark.parametrize("name", ["features", "pieces"])
def test_maxout_needs_at_least_one_of_each(name):
    settings = {"features": 2, "pieces": 2} | {name: 0}
    with pytest.raises(ValueError, match=f"^maxout: {name} must be at least 1, got 0"):
        maxout(**settings)


def test_weights_have_the_dtype_of_the_input(key):
    spec = jax.ShapeDtypeStruct((1, 4), jnp.bfloat16)
    for layer in (prelu(), maxout(2, 2)):
        params = layer.init(key, spec)
        assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"bfloat16"}
        assert layer.apply(params, jnp.ones((3, 4), jnp.bfloat16)).dtype == jnp.bfloat16
