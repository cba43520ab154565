import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn as nn
from jaxnn.combinators import maxout
from jaxnn.ops.maxout import maxout as maxout_op
from jaxnn.outputs import output_shape
from tests.support import assert_close, rng_array


def test_maxout_is_the_largest_of_several_dense_layers(key):
    layer = maxout(4, 3)
    params = layer.init(key, (1, 5))
    kernel, bias = params.weights["kernel"], params.weights["bias"]
    assert (kernel.shape, bias.shape, output_shape(layer, (7, 5))) == ((5, 12), (12,), (7, 4))
    x = rng_array(7, 5)
    maps = [x @ kernel[:, j::3] + bias[None, j::3] for j in range(3)]
    expected = np.maximum(np.maximum(maps[0], maps[1]), maps[2])
    assert_close(layer.apply(params, x), expected)
    assert_close(layer.train(params, x), (maxout_op(x @ kernel + bias[None], 3), {}))


@pytest.mark.parametrize("name", ["features", "pieces"])
def test_maxout_needs_at_least_one_of_each(name):
    settings = {"features": 2, "pieces": 2} | {name: 0}
    with pytest.raises(ValueError, match=f"^maxout: {name} must be at least 1, got 0"):
        maxout(**settings)


def test_weights_have_the_dtype_of_the_input(key):
    spec = jax.ShapeDtypeStruct((1, 4), jnp.bfloat16)
    params = maxout(2, 2).init(key, spec)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"bfloat16"}
    assert maxout(2, 2).apply(params, jnp.ones((3, 4), jnp.bfloat16)).dtype == jnp.bfloat16


def test_its_parts_are_seen(key):
    """The weights are in the maxout's own entry; the dense layer and the maximum have a row each."""
    net = nn.serial(maxout(2, 3), nn.relu)
    params, x = net.init(key, (1, 4)), rng_array(5, 4)
    rows = nn.summary(net, (1, 4)).rows
    assert [(row.path, row.output.shape, row.weights, row.flops) for row in rows] == [
        ("maxout_0/dense", (1, 6), 30, 2 * 24 + 6),
        ("maxout_0/max", (1, 2), 0, 2 * 3),
        ("relu_0", (1, 2), 0, 2),
    ]
    seen = nn.activations(net, params, x)
    kernel, bias = params.weights["maxout_0"]["kernel"], params.weights["maxout_0"]["bias"]
    assert_close(seen["maxout_0/dense"], x @ kernel + bias[None])
    assert_close(seen["maxout_0/max"], maxout(2, 3).apply(nn.Params(params.weights["maxout_0"], {}), x))
