import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn as nn
from jaxnn.combinators import separable_conv
from jaxnn.layers.conv import conv, depthwise_conv
from jaxnn.outputs import output_shape
from jaxnn.params import Params
from tests.support import assert_close, plain_jit, rng_array

KEY = jax.random.key(0)


def test_separable_is_depthwise_then_pointwise():
    layer = separable_conv(5, 3, multiplier=2, strides=2, padding="SAME", bias_init=jax.nn.initializers.ones)
    x = rng_array(2, 7, 6, 3)
    params = layer.init(KEY, x.shape)
    assert jax.tree.map(jnp.shape, params.weights) == {
        "depthwise": {"kernel": (3, 3, 1, 6)},
        "pointwise": {"kernel": (1, 1, 6, 5), "bias": (5,)},
    }
    between = depthwise_conv(3, multiplier=2, strides=2, padding="SAME", bias=False).apply(
        Params(params.weights["depthwise"], {}), x
    )
    assert_close(layer.apply(params, x), conv(5, 1).apply(Params(params.weights["pointwise"], {}), between))


def test_its_output_shape():
    assert output_shape(separable_conv(8, (3, 2)), (4, 9, 8, 3)) == (4, 7, 7, 8)


def test_its_parts_are_seen():
    net = nn.serial(separable_conv(8, 3, multiplier=2), nn.relu)
    rows = nn.summary(net, (1, 6, 6, 4)).rows
    assert [(row.path, row.output.shape, row.weights, row.flops, row.field) for row in rows] == [
        ("separable_conv_0/depthwise", (1, 4, 4, 8), 72, 2 * 128 * 9, (3, 3)),
        ("separable_conv_0/pointwise", (1, 4, 4, 8), 72, 2 * 128 * 8 + 128, (3, 3)),
        ("relu_0", (1, 4, 4, 8), 0, 128, (3, 3)),
    ]
    params, x = net.init(KEY, (1, 6, 6, 4)), rng_array(2, 6, 6, 4)
    own = Params(params.weights["separable_conv_0"]["depthwise"], {})
    seen = plain_jit(lambda params: nn.activations(net, params, x))(params)
    between = plain_jit(depthwise_conv(3, multiplier=2, bias=False).apply)(own, x)
    assert_close(seen["separable_conv_0/depthwise"], between)


@pytest.mark.parametrize(
    ("construct", "sentence"),
    [
        (lambda: separable_conv(0, 3), "^separable_conv: features must be at least 1, got 0"),
        (lambda: separable_conv(4, 0), "^separable_conv: window must be at least 1, got 0"),
    ],
)
def test_bad_settings_raise_when_the_layer_is_made(construct, sentence):
    with pytest.raises(ValueError, match=sentence):
        construct()


def test_integer_input_raises_in_init_and_in_apply():
    layer, pixels = separable_conv(8, 3), np.ones((1, 8, 8, 3), np.uint8)
    with pytest.raises(TypeError, match=r"^separable_conv: x must be floating-point, got uint8; cast it"):
        layer.init(KEY, pixels)
    with pytest.raises(TypeError, match=r"^conv: x must be floating-point, got uint8; cast it first"):
        layer.apply(layer.init(KEY, pixels.shape), pixels)


def test_an_error_says_in_which_part_it_is():
    params = separable_conv(8, 3).init(KEY, (1, 8, 8, 3))
    with pytest.raises(ValueError, match="x must have 3 channels") as caught:
        separable_conv(8, 3).apply(params, np.ones((1, 8, 8, 4), np.float32))
    assert caught.value.__notes__ == ["in layer separable_conv/depthwise, given float32[1,8,8,4]"]
