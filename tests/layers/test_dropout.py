import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.layers.dropout import drop_path, dropout, spatial_dropout
from jaxnn.params import Params
from tests.support import assert_close, equations, rng_array

both = pytest.mark.parametrize("layer", [dropout, spatial_dropout, drop_path])
NONE = Params({}, {})


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_rate_is_the_probability_to_drop_and_kept_values_make_up_for_it(rate, key):
    y, state = dropout(rate).train(NONE, jnp.ones((100, 1000)), key)
    dropped = np.asarray(y == 0)
    assert state == {}
    assert abs(dropped.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / dropped.size)
    assert_close(y[~dropped], np.full(dropped.size - dropped.sum(), 1 / (1 - rate)))
    # Independent: neighbours are dropped together with probability rate².
    assert abs((dropped[:, 1:] & dropped[:, :-1]).mean() - rate**2) < 0.01


def test_whole_channels_of_an_example_are_dropped(key):
    y, _ = spatial_dropout(0.5).train(NONE, jnp.ones((50, 3, 4, 40)), key)
    dropped = np.asarray(y == 0)
    assert (dropped == dropped[:, :1, :1]).all()
    assert abs(dropped[:, 0, 0].mean() - 0.5) < 0.06


def test_whole_examples_are_dropped_and_the_others_scaled(key):
    y, _ = drop_path(0.25).train(NONE, jnp.ones((4000, 2, 1)), key)
    assert_close(np.unique(y), np.array([0, 4 / 3], np.float32))
    assert (np.asarray(y)[:, 0] == np.asarray(y)[:, 1]).all()
    assert abs(float(y.mean()) - 1) < 0.03


@both
def test_apply_is_the_identity_without_a_random_primitive(layer):
    x = rng_array(3, 4, 5)
    assert np.array_equal(layer(0.5).apply(NONE, x), x)
    assert equations(jax.make_jaxpr(lambda x: layer(0.5).apply(NONE, x))(x).jaxpr) == []


@both
def test_rate_0_changes_nothing_and_rate_1_gives_zeros_without_a_key(layer):
    x = jnp.asarray(rng_array(3, 4, 5))
    assert np.array_equal(layer(0).train(NONE, x)[0], x)
    value, gradient = jax.value_and_grad(lambda x: jnp.sum(layer(1).train(NONE, x)[0]))(x)
    assert value == 0
    assert (gradient == 0).all()


@both
def test_a_dropped_nan_is_dropped(layer, key):
    x = jnp.full((4, 3, 50), jnp.nan)
    y, pull = jax.vjp(lambda x: layer(0.5).train(NONE, x, key)[0], x)
    kept = np.isnan(y)
    assert 0 < kept.mean() < 1
    assert (np.asarray(y)[~kept] == 0).all()
    assert np.array_equal(pull(jnp.ones_like(y))[0], np.where(kept, 2.0, 0.0))


@both
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtype_is_kept(layer, dtype, key, x64):
    x = jnp.ones((2, 3, 4), dtype)
    assert layer(0.3).train(NONE, x, key)[0].dtype == x.dtype


def test_the_key_decides(key):
    x = jnp.ones((10, 10))
    first, again = (dropout(0.5).train(NONE, x, key)[0] for _ in range(2))
    other = dropout(0.5).train(NONE, x, jax.random.key(1))[0]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@both
@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_outside_0_and_1_raises(layer, rate):
    with pytest.raises(ValueError, match=rf"^{layer.__name__}: rate must be in \[0, 1\], .*, got {rate}"):
        layer(rate)


@both
def test_training_without_a_key_says_what_to_pass(layer):
    sentence = rf"^{layer.__name__}: train needs a key for its randomness, got None; pass one, as in "
    with pytest.raises(ValueError, match=sentence + r"net\.train\(params, x, key\)"):
        layer(0.5).train(NONE, jnp.ones((2, 3, 4)))


@both
def test_integers_raise(layer, key):
    sentence = f"^{layer.__name__}: x must be floating-point, got int32; cast it first"
    for call in (layer(0.5).apply, lambda params, x: layer(0.5).train(params, x, key)):
        with pytest.raises(TypeError, match=sentence):
            call(NONE, jnp.ones((2, 3, 4), jnp.int32))


def test_spatial_dropout_needs_space():
    with pytest.raises(ValueError, match=r"^spatial_dropout: x must be \(N, \*space, C\) with at least one"):
        spatial_dropout(0.5).apply(NONE, jnp.ones((2, 3)))
