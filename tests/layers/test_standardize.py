import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.layers.standardize import standardize
from jaxnn.params import Params
from tests.support import assert_close, rng_array


@pytest.mark.parametrize(("axes", "sizes"), [(0, (4, 5, 3)), ((0, 1, 2), (1, 1, 3)), ((0, -1), (4, 5, 1))])
def test_the_training_set_gets_mean_0_and_deviation_1(axes, sizes, key):
    data = 7 + 3 * rng_array(20, 4, 5, 3)
    layer = standardize(data, axes=axes)
    params = layer.init(key, (1, 4, 5, 3))
    assert params.weights == {}
    assert jax.tree.map(jnp.shape, params.state) == {"mean": sizes, "deviation": sizes}
    y = np.asarray(layer.apply(params, data))
    deviation = y.std(axes)
    assert_close((y.mean(axes), deviation), (np.zeros_like(deviation), np.ones_like(deviation)), scale=10)


def test_a_constant_feature_gives_0(key):
    data = np.stack([np.full(33, 0.1), np.arange(33)], 1).astype(np.float32)
    layer = standardize(data)
    y = layer.apply(layer.init(key, data.shape), data)
    assert (y[:, 0] == 0).all()
    assert_close(y[:, 1].std(), 1.0)


def test_without_data_it_changes_nothing_until_statistics_are_loaded(key):
    data = 7 + 3 * rng_array(20, 3)
    blank, fitted = standardize(), standardize(data)
    params = blank.init(key, (1, 3))
    assert_close(blank.apply(params, data), data)
    loaded = Params({}, fitted.init(key, (1, 3)).state)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, loaded)
    assert_close(blank.apply(loaded, data), fitted.apply(loaded, data))


def test_training_keeps_the_statistics(key):
    data = 7 + 3 * rng_array(20, 3)
    layer = standardize(data)
    params = layer.init(key, data.shape)
    y, state = layer.train(params, data[:5] + 1)
    assert_close(state, params.state)
    assert_close(y, layer.apply(params, data[:5] + 1))


def test_statistics_stay_in_float32_for_narrow_input(key):
    data = jnp.asarray(300 + 50 * rng_array(1000, 2), jnp.float16)
    layer = standardize(data)
    params = layer.init(key, data)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params.state)} == {"float32"}
    y = layer.apply(params, data)
    assert y.dtype == jnp.float16
    assert_close(y.astype(jnp.float32).std(0), np.ones(2), dtype=jnp.float16)


BAD = {
    "axes": (
        lambda key: standardize(jnp.ones((2, 3)), axes=1),
        r"^standardize: axes must hold the batch axis, axis 0, got 1",
    ),
    "empty": (
        lambda key: standardize(jnp.ones((0, 3))),
        r"^feature_statistics: x must hold at least one value",
    ),
    "shape": (
        lambda key: standardize(jnp.ones((2, 3))).init(key, (1, 4)),
        r"^standardize: mean must fit the last axes of x \(1, 4\), got shape \(3,\)",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_gets_a_sentence(bad, key):
    call, sentence = BAD[bad]
    with pytest.raises(ValueError, match=sentence):
        call(key)


def test_integers_raise():
    with pytest.raises(TypeError, match=r"^standardize: data must be floating-point, got uint8"):
        standardize(np.ones((2, 3), np.uint8))
