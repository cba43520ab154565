import jax
import numpy as np
import pytest

import jaxnn as nn
from tests.support import assert_close, rng_array

WINDOWED = ["max_pool", "min_pool", "avg_pool", "lp_pool"]
SETTINGS = {"strides": 2, "padding": (1, 0), "dilation": (1, 2), "ceil_mode": True}
MORE = {"avg_pool": {"count_include_pad": True}, "lp_pool": {"p": 3}}


@pytest.mark.parametrize("name", WINDOWED)
def test_every_setting_reaches_the_op(name):
    x = rng_array(2, 6, 7, 3)
    settings = {**SETTINGS, **MORE.get(name, {})}
    layer = getattr(nn, name)((3, 2), **settings)
    params = layer.init(jax.random.key(0), x.shape)
    assert params == nn.Params({}, {})
    assert_close(layer.apply(params, x), getattr(nn.ops, name)(x, (3, 2), **settings))


@pytest.mark.parametrize("name", WINDOWED)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_an_int_window_takes_the_rank_from_the_input(name, rank):
    shape = (1, *(5,) * rank, 2)
    assert nn.output_shape(getattr(nn, name)(2), shape) == (1, *(2,) * rank, 2)


@pytest.mark.parametrize("name", ["adaptive_avg_pool", "adaptive_max_pool"])
def test_adaptive_layers_give_their_output_size(name):
    layer, x = getattr(nn, name)((2, 3)), rng_array(1, 5, 5, 2)
    assert_close(layer.apply(nn.Params({}, {}), x), getattr(nn.ops, name)(x, (2, 3)))


def test_global_pools_are_layers_as_they_are():
    x = rng_array(2, 4, 4, 3)
    net = nn.serial(nn.max_pool(2), nn.global_avg_pool)
    params = net.init(jax.random.key(0), x.shape)
    assert_close(net.apply(params, x), nn.ops.max_pool(x, 2).mean(axis=(1, 2)))
    assert nn.global_max_pool is nn.ops.global_max_pool


@pytest.mark.parametrize("name", WINDOWED)
@pytest.mark.parametrize(
    ("window", "settings", "sentence"),
    [
        (0, {}, "window must be at least 1, got 0"),
        ((2, -1), {}, r"window must be at least 1, got \(2, -1\)"),
        (2, {"strides": 0}, "strides must be at least 1, got 0"),
        (2, {"dilation": 0}, "dilation must be at least 1, got 0"),
        (2, {"padding": "same"}, "unknown padding 'same'"),
        (2, {"padding": "CIRCULAR"}, "pools do not take padding 'CIRCULAR'"),
    ],
)
def test_bad_settings_raise_when_the_layer_is_made(name, window, settings, sentence):
    with pytest.raises(ValueError, match=f"^{name}: {sentence}"):
        getattr(nn, name)(window, **settings)


def test_bad_settings_of_single_layers_raise_when_they_are_made():
    with pytest.raises(ValueError, match=r"lp_pool: p must be at least 1 and finite .*, got 0"):
        nn.lp_pool(2, p=0)
    for name in ("adaptive_avg_pool", "adaptive_max_pool"):
        with pytest.raises(ValueError, match=f"{name}: output_size must be at least 1, got 0"):
            getattr(nn, name)(0)


def test_integers_pass_through_maximum_layers():
    x = np.arange(8, dtype=np.int32).reshape(1, 8, 1)
    assert nn.max_pool(4).apply(nn.Params({}, {}), x).dtype == np.int32
    with pytest.raises(TypeError, match="avg_pool: x must be floating-point, got int32"):
        nn.avg_pool(4).apply(nn.Params({}, {}), x)
