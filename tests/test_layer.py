"""The contract: specs, params, lifted functions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn as nn
from jaxnn.lifting import as_layer
from jaxnn.params import fold_name
from jaxnn.shapes import as_spec
from tests.support import assert_close


def test_a_shape_may_be_a_tuple_a_spec_an_array_or_a_pytree(key):
    layer = nn.dense(3)
    expected = layer.init(key, (2, 4)).weights["kernel"]
    for shape in (
        [2, 4],
        jax.ShapeDtypeStruct((2, 4), jnp.float32),
        jnp.ones((2, 4)),
        np.ones((2, 4), np.float32),
    ):
        np.testing.assert_array_equal(layer.init(key, shape).weights["kernel"], expected)
    spec = as_spec({"a": (2, 3), "b": ((4,), jnp.ones(5))})
    assert jax.tree.map(lambda s: s.shape, spec) == {"a": (2, 3), "b": ((4,), (5,))}


def test_the_weights_take_the_dtype_of_the_spec(key):
    spec = jax.ShapeDtypeStruct((1, 4), jnp.bfloat16)
    params = nn.serial(nn.dense(3), nn.batch_norm()).init(key, spec)
    assert {leaf.dtype for leaf in jax.tree.leaves(params.weights)} == {jnp.dtype(jnp.bfloat16)}
    assert {leaf.dtype for leaf in jax.tree.leaves(params.state)} == {jnp.dtype(jnp.float32)}


def test_float64_input_means_what_jax_makes_of_it(key):
    """NumPy's default dtype is no reason for a warning, nor for weights of another dtype than the input's."""
    x = np.ones((2, 4))
    params = nn.dense(3).init(key, x)
    assert params.weights["kernel"].dtype == nn.dense(3).apply(params, x).dtype == jnp.float32
    with jax.enable_x64(True):
        assert nn.dense(3).init(key, x).weights["kernel"].dtype == jnp.float64


def test_init_under_jit_vmap_and_eval_shape(key):
    net = nn.serial(nn.conv(4, 3), nn.relu, nn.flatten, nn.dense(2))
    shape = (1, 6, 6, 1)
    params = net.init(key, shape)
    x = jnp.zeros(shape)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(net.init)(key, x), params)
    static = jax.jit(net.init, static_argnums=1)(key, shape)
    jax.tree.map(np.testing.assert_array_equal, static, params)
    spec = jax.eval_shape(net.init, key, jax.ShapeDtypeStruct(shape, jnp.float32))
    assert jax.tree.map(lambda s: s.shape, spec) == jax.tree.map(lambda a: a.shape, params)
    keys = jax.random.split(key, 3)
    stacked = jax.vmap(net.init, in_axes=(0, None))(keys, shape)
    third = net.init(keys[2], shape)
    jax.tree.map(lambda s, t: np.testing.assert_array_equal(s[2], t), stacked, third)


def test_the_batch_size_has_no_effect_on_the_params(key):
    net = nn.serial(nn.conv(4, 3), nn.batch_norm(), nn.flatten, nn.dense(2))
    one, many = net.init(key, (1, 6, 6, 1)), net.init(key, (32, 6, 6, 1))
    jax.tree.map(np.testing.assert_array_equal, one, many)


def test_old_style_keys_work():
    net = nn.serial(nn.dense(4), nn.dropout(0.5))
    params = net.init(jax.random.PRNGKey(0), (1, 4))
    y, _ = net.train(params, jnp.ones((2, 4)), jax.random.PRNGKey(1))
    assert y.shape == (2, 4)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 0, 3), r"init: every size must be at least 1 \(the batch may be 0\), got shape \(1, 0, 3\)"),
        ((1, -4), r"every size must be at least 1 .* got shape \(1, -4\)"),
        ((-1, 4), r"every size must be at least 1 .* got shape \(-1, 4\)"),
    ],
)
def test_sizes_below_one(shape, message, key):
    with pytest.raises(ValueError, match=message):
        nn.dense(3).init(key, shape)


def test_what_is_no_shape(key):
    with pytest.raises(TypeError, match=r"init: shape must be a tuple of ints.*got 'abc'"):
        nn.dense(3).init(key, "abc")
    with pytest.raises(TypeError, match=r"init: shape must not be traced.*bind the shape first"):
        jax.eval_shape(nn.dense(3).init, key, (1, 4))


def test_plain_functions_are_layers():
    assert as_layer(nn.relu).name == "relu"
    assert as_layer(lambda x: x).name == "lambda"
    assert as_layer(functools.partial(jnp.clip, max=1.0)).name == "clip"
    y, state = as_layer(jnp.tanh).train(nn.Params({}, {}), jnp.ones(3))
    assert state == {}
    assert_close(y, np.full(3, np.tanh(1.0)))
    with pytest.raises(TypeError, match=r"a layer must be a Layer or a function of one array, got 3"):
        as_layer(3)


def test_what_makes_a_layer_is_called_first():
    sentence = (
        r"serial: a layer must be .* got the function batch_norm, which makes a layer: call it first, as "
    )
    with pytest.raises(TypeError, match=sentence + r"in nn.batch_norm\(...\)"):
        nn.serial(nn.dense(4), nn.batch_norm)
    with pytest.raises(
        TypeError, match=r"fit: net must be .*; nn.serial\(\*layers\) makes one layer of several"
    ):
        nn.fit([nn.dense(4), nn.relu], None, None, None, key=None, epochs=1)


def test_keys_fold_in_names(key):
    """Inserting a layer does not reshuffle the others; two names give two keys."""
    short = nn.serial(nn.dense(4), head=nn.dense(2)).init(key, (1, 4))
    longer = nn.serial(nn.dense(4), nn.relu, nn.dense(4), head=nn.dense(2)).init(key, (1, 4))
    for name in ("dense_0", "head"):
        jax.tree.map(np.testing.assert_array_equal, short.weights[name], longer.weights[name])
    assert not np.array_equal(longer.weights["dense_0"]["kernel"], longer.weights["dense_1"]["kernel"])
    assert not jnp.array_equal(
        jax.random.key_data(fold_name(key, "a")), jax.random.key_data(fold_name(key, "b"))
    )


def test_params_of_another_net(key):
    x = jnp.ones((2, 4))
    layer = nn.dense(3)
    with pytest.raises(
        ValueError, match=r"dense: params of another net: they have no entry 'kernel', only \['scale'\]"
    ):
        layer.apply(nn.Params({"scale": x}, {}), x)
    with pytest.raises(
        TypeError, match=r"dense: params must be Params\(weights, state\), as init gives, got dict"
    ):
        layer.apply({"kernel": x}, x)
    net, other = nn.serial(nn.dense(3)), nn.serial(nn.conv(3, 3))
    with pytest.raises(
        ValueError, match=r"serial: params of another net: they are for dense_0, but .* here are conv_0"
    ):
        other.apply(net.init(key, (1, 4)), x)
    with pytest.raises(TypeError, match=r"serial: params must be Params"):
        net.apply({}, x)


def test_layer_is_four_plain_functions_in_a_frozen_dataclass():
    layer = nn.dense(3)
    with pytest.raises(AttributeError):
        layer.name = "other"
    assert layer == layer
    assert hash(layer) == hash(layer)


def test_output_shape_of_several_outputs():
    net = nn.parallel(nn.dense(2), nn.dense(3))
    assert nn.output_shape(net, (5, 4)) == ((5, 2), (5, 3))
    assert nn.output_shape(nn.relu, (5, 4)) == (5, 4)


def test_a_layer_of_ones_own_that_draws(key):
    noise = nn.stochastic(
        "noise",
        lambda key, x: {"size": jnp.ones((), x.dtype)},
        lambda weights, x: x,
        lambda weights, x, key: x + weights["size"] * jax.random.normal(key, x.shape),
    )
    net = nn.serial(noise, nn.dense(2))
    params, x = net.init(key, (1, 4)), jnp.ones((2, 4))
    np.testing.assert_array_equal(net.apply(params, x), net.apply(params, x))
    one, other = (net.train(params, x, jax.random.key(i))[0] for i in range(2))
    assert not jnp.array_equal(one, other)
    assert net.train(params, x, key)[1] == {}
    with pytest.raises(ValueError, match=r"noise: train needs a key for its randomness, got None; pass one"):
        net.train(params, x)
    with pytest.raises(ValueError, match=r"noise: params of another net: they have no entry 'size'"):
        noise.train(nn.Params({}, {}), x, key)
