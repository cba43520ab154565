import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.layers.activation import prelu
from tests.support import assert_close, rng_array


def test_prelu_starts_at_a_quarter_with_one_slope_per_channel(key):
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


def test_weights_have_the_dtype_of_the_input(key):
    spec = jax.ShapeDtypeStruct((1, 4), jnp.bfloat16)
    params = prelu().init(key, spec)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"bfloat16"}
    assert prelu().apply(params, jnp.ones((3, 4), jnp.bfloat16)).dtype == jnp.bfloat16
