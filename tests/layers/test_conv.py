from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.layers.conv import conv, depthwise_conv
from jaxnn.layers.conv_transpose import conv_transpose
from jaxnn.ops.conv import conv as conv_op
from jaxnn.ops.conv_transpose import conv_transpose as conv_transpose_op
from jaxnn.outputs import output_shape
from tests.support import assert_close, rng_array

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("layer", "shape", "kernel"),
    [
        (conv(64, 3), (1, 8, 8, 32), (3, 3, 32, 64)),
        (conv(64, (3, 5), groups=4), (1, 8, 8, 32), (3, 5, 8, 64)),
        (conv(128, 4), (1, 8, 64), (4, 64, 128)),
        (depthwise_conv(7, multiplier=2), (1, 8, 8, 128), (7, 7, 1, 256)),
        (conv_transpose(64, 3, strides=2), (1, 8, 8, 32), (3, 3, 32, 64)),
        (conv_transpose(64, (3, 5), groups=4), (1, 8, 8, 32), (3, 5, 32, 16)),
    ],
    ids=["conv", "conv-grouped", "conv-1d", "depthwise", "transpose", "transpose-grouped"],
)
def test_kernels_start_with_variance_2_over_fan_in(layer, shape, kernel):
    weights = layer.init(KEY, shape).weights
    assert weights["kernel"].shape == kernel
    assert float(jnp.std(weights["kernel"])) == pytest.approx((2 / prod(kernel[:-1])) ** 0.5, rel=0.05)
    assert float(jnp.mean(weights["kernel"])) == pytest.approx(0, abs=0.02)
    assert (weights["bias"] == 0).all()


def test_initialisers_are_called_with_key_shape_and_dtype():
    def record(key, shape, dtype):
        calls.append((shape, dtype))
        return jnp.ones(shape, dtype)

    calls = []
    conv(4, 3, kernel_init=record, bias_init=record).init(KEY, jax.ShapeDtypeStruct((1, 8, 2), jnp.bfloat16))
    assert calls == [((3, 2, 4), jnp.bfloat16), ((4,), jnp.bfloat16)]


def test_kernel_and_bias_have_keys_of_their_own():
    draw = jax.nn.initializers.normal()
    weights = conv(4, 1, kernel_init=draw, bias_init=draw).init(KEY, (1, 8, 1)).weights
    assert not np.isin(weights["kernel"].ravel(), weights["bias"]).any()


SETTINGS = {"strides": 2, "padding": 1, "dilation": 2, "groups": 2}


@pytest.mark.parametrize("bias", [True, False])
def test_the_settings_reach_the_op(bias):
    x = rng_array(2, 7, 6, 4)
    for layer, op, more in ((conv, conv_op, {}), (conv_transpose, conv_transpose_op, {"output_padding": 1})):
        built = layer(6, (3, 2), **SETTINGS, **more, bias=bias, bias_init=jax.nn.initializers.ones)
        params = built.init(KEY, x.shape)
        assert set(params.weights) == ({"kernel", "bias"} if bias else {"kernel"})
        expected = op(x, params.weights["kernel"], params.weights.get("bias"), **SETTINGS, **more)
        assert_close(built.apply(params, x), expected)


def test_an_int_window_takes_the_rank_of_the_input():
    for rank in (1, 2, 3):
        shape = (1, *(5,) * rank, 2)
        assert conv(3, 2).init(KEY, shape).weights["kernel"].shape == (*(2,) * rank, 2, 3)


def test_depthwise_keeps_the_channels_apart():
    layer = depthwise_conv(3, multiplier=2, padding="SAME", bias=False)
    x = rng_array(1, 5, 3)
    params = layer.init(KEY, x.shape)
    y = layer.apply(params, x)
    kernel = params.weights["kernel"]
    for channel in range(3):
        own = slice(2 * channel, 2 * channel + 2)
        assert_close(y[..., own], conv_op(x[..., channel : channel + 1], kernel[..., own], padding="SAME"))


def test_depthwise_rejects_another_number_of_channels():
    layer = depthwise_conv(3, multiplier=2)
    params = layer.init(KEY, (1, 5, 3))
    with pytest.raises(
        ValueError, match=r"x must have 3 channels for a kernel of shape \(3, 1, 6\) .* got 6"
    ):
        layer.apply(params, np.ones((1, 5, 6), np.float32))


@pytest.mark.parametrize(
    ("layer", "shape", "out"),
    [
        (conv(8, 3, strides=2, padding="SAME"), (4, 9, 8, 3), (4, 5, 4, 8)),
        (conv_transpose(8, 4, strides=2, padding="SAME"), (4, 9, 8, 3), (4, 18, 16, 8)),
        (conv_transpose(8, 3), (4, 9, 3), (4, 11, 8)),
    ],
)
def test_output_shapes(layer, shape, out):
    assert output_shape(layer, shape) == out


@pytest.mark.parametrize(
    ("construct", "error", "sentence"),
    [
        (lambda: conv(0, 3), ValueError, "conv: features must be at least 1, got 0"),
        (lambda: conv(8.0, 3), TypeError, "conv: features must be an integer, got 8.0"),
        (lambda: conv(8, 0), ValueError, "conv: window must be at least 1, got 0"),
        (lambda: conv(8, "3"), TypeError, "conv: window must be an integer or one integer per axis, got '3'"),
        (lambda: conv(8, 3, strides=0), ValueError, "conv: strides must be at least 1, got 0"),
        (lambda: conv(8, 3, dilation=(1, 0)), ValueError, r"conv: dilation must be at least 1, got \(1, 0\)"),
        (lambda: conv(8, 3, padding="same"), ValueError, "conv: unknown padding 'same'"),
        (
            lambda: conv(8, 3, groups=3),
            ValueError,
            "conv: groups must divide the features, got groups=3 and 8",
        ),
        (lambda: conv(8, 3, groups=0), ValueError, "conv: groups must be at least 1, got 0"),
        (
            lambda: depthwise_conv(3, multiplier=0),
            ValueError,
            "depthwise_conv: multiplier must be at least 1",
        ),
        (lambda: conv_transpose(0, 3), ValueError, "conv_transpose: features must be at least 1, got 0"),
        (
            lambda: conv_transpose(8, 3, groups=3),
            ValueError,
            "conv_transpose: groups must divide the features",
        ),
        (
            lambda: conv_transpose(8, 3, output_padding=-1),
            ValueError,
            "conv_transpose: output_padding must be at least 0, got -1",
        ),
    ],
)
def test_bad_settings_raise_when_the_layer_is_made(construct, error, sentence):
    with pytest.raises(error, match=sentence):
        construct()


@pytest.mark.parametrize(
    ("layer", "shape", "sentence"),
    [
        (
            conv(8, 3),
            (1, 8),
            r"conv: x must be \(N, \*space, C\) with at least one spatial axis, got shape \(1, 8\)",
        ),
        (conv(8, (3, 3)), (1, 8, 4), r"conv: window must be one integer or 1 .* got \(3, 3\)"),
        (conv(8, 3, groups=2), (1, 8, 3), "conv: groups must divide the channels of x, got groups=2 and 3"),
        (conv_transpose(8, 3, groups=2), (1, 8, 3), "conv_transpose: groups must divide the channels of x"),
    ],
)
def test_a_bad_input_shape_raises_in_init(layer, shape, sentence):
    with pytest.raises(ValueError, match=sentence):
        layer.init(KEY, shape)


@pytest.mark.parametrize("layer", [conv(8, 3), depthwise_conv(3), conv_transpose(8, 3)])
def test_integer_input_raises_in_init_and_in_apply(layer):
    pixels = np.ones((1, 8, 8, 3), np.uint8)
    with pytest.raises(TypeError, match="x must be floating-point, got uint8; cast it first"):
        layer.init(KEY, pixels)
    with pytest.raises(TypeError, match="x must be floating-point, got uint8; cast it first"):
        layer.apply(layer.init(KEY, pixels.shape), pixels)


def test_wrong_channels_at_apply_raise():
    layer = conv(8, 3)
    params = layer.init(KEY, (1, 8, 8, 3))
    with pytest.raises(ValueError, match=r"x must have 3 channels for a kernel of shape \(3, 3, 3, 8\)"):
        layer.apply(params, np.ones((1, 8, 8, 4), np.float32))


def test_params_without_the_bias_raise():
    x = np.ones((1, 8, 8, 3), np.float32)
    with pytest.raises(ValueError, match="conv: params of another net"):
        conv(8, 3).apply(conv(8, 3, bias=False).init(KEY, x.shape), x)
