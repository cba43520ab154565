import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn as nn
from tests.support import assert_close


def block() -> nn.Layer:
    return nn.serial(nn.dense(4), nn.batch_norm(), jnp.tanh, nn.dropout(0.3), nn.dense(2))


def loss(net, x, key):
    return lambda params: jnp.square(net.train(params, x, key)[0]).sum()


def test_remat_is_the_same_function_with_less_kept(key):
    net = block()
    slim = nn.remat(net)
    x = jax.random.normal(key, (5, 4))
    params = slim.init(key, x)
    assert_close(slim.apply(params, x), net.apply(params, x))
    assert_close(slim.train(params, x, key), net.train(params, x, key))
    grads = [jax.grad(loss(n, x, key))(params) for n in (slim, net)]
    assert_close(*grads)


def test_remat_marks_what_is_computed_again(key):
    net = nn.serial(nn.dense(4), jnp.tanh)
    x = jax.random.normal(key, (5, 4))
    params = net.init(key, x)
    programs = [str(jax.make_jaxpr(jax.grad(loss(n, x, key)))(params)) for n in (nn.remat(net), net)]
    assert ["remat" in program for program in programs] == [True, False]


def test_frozen_leaves_no_weights(key):
    net = nn.serial(nn.frozen(block()), head=nn.dense(2))
    x = jax.random.normal(key, (5, 4))
    params = net.init(key, x)
    assert list(params.weights) == ["head"]
    y, state = net.train(params, x, key)
    assert y.shape == (5, 2)
    chex.assert_trees_all_equal(state["serial_0"]["weights"], params.state["serial_0"]["weights"])
    moved = state["serial_0"]["state"]["batch_norm_0"]["mean"]
    assert not jnp.array_equal(moved, params.state["serial_0"]["state"]["batch_norm_0"]["mean"])


def test_frozen_computes_what_the_layer_does(key):
    layer = block()
    x = jax.random.normal(key, (5, 4))
    frozen, plain = nn.frozen(layer), layer.init(key, x)
    params = frozen.init(key, x)
    chex.assert_trees_all_equal(frozen.apply(params, x), layer.apply(plain, x))
    grad, expected = (
        jax.grad(lambda x, n=n, p=p: n.apply(p, x).sum())(x) for n, p in ((frozen, params), (layer, plain))
    )
    assert_close(grad, expected)


def test_frozen_refuses_the_params_of_the_layer(key):
    with pytest.raises(ValueError, match=r"frozen: params of another net: they have no entry 'weights'"):
        nn.frozen(nn.dense(2)).apply(nn.dense(2).init(key, (1, 4)), jnp.ones((1, 4)))


@pytest.mark.parametrize("compute", [jnp.bfloat16, jnp.float16])
def test_mixed_precision_computes_narrow_and_keeps_the_weights_wide(compute, key):
    seen = []

    def spy(x):
        seen.append(x.dtype)
        return x

    layer = nn.serial(nn.dense(4), spy, nn.batch_norm(), nn.dense(2))
    net = nn.mixed_precision(layer, compute)
    x = jax.random.normal(key, (5, 4))
    params = net.init(key, x)
    seen.clear()
    y, state = jax.jit(net.train)(params, x)
    assert set(seen) == {jnp.dtype(compute)}
    assert y.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves((params, state))} == {jnp.dtype(jnp.float32)}
    assert_close(y, jax.jit(layer.train)(params, x)[0], dtype=compute, roundings=8)
    loss = lambda w: net.train(params._replace(weights=w), x)[0].sum()  # noqa: E731
    grads = jax.eval_shape(jax.grad(loss), params.weights)
    assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.dtype(jnp.float32)}


def test_mixed_precision_as_a_part_is_only_run_in_its_own_dtype(key):
    net = nn.serial(nn.mixed_precision(lambda x: x + jnp.ones(4, jnp.bfloat16)[None]), nn.dense(2))
    assert net.apply(net.init(key, (1, 4)), jnp.ones((3, 4))).dtype == jnp.float32


def test_mixed_precision_wants_a_float():
    with pytest.raises(TypeError, match=r"mixed_precision: compute must be a floating-point dtype"):
        nn.mixed_precision(nn.dense(2), jnp.int8)


def test_a_name_is_a_string():
    with pytest.raises(TypeError, match=r"named: name must be a string, got 3"):
        nn.named(3, nn.dense(2))


def test_wrapping_keeps_names_and_keys(key):
    """So that a layer can be wrapped later without changing the initial net."""
    shape = (1, 4)
    plain = nn.serial(nn.dense(3), nn.dense(2)).init(key, shape)
    wrapped = nn.serial(nn.remat(nn.dense(3)), nn.mixed_precision(nn.dense(2))).init(key, shape)
    chex.assert_trees_all_equal(plain, wrapped)


def test_weight_decay_cannot_reach_the_state(key):
    net = nn.serial(nn.frozen(nn.dense(3)), nn.batch_norm(), nn.dense(2))
    params = net.init(key, (1, 4))
    optimizer = optax.chain(optax.add_decayed_weights(0.5), optax.sgd(0.1))
    updates, _ = optimizer.update(params.weights, optimizer.init(params.weights), params.weights)
    assert set(updates) == {"batch_norm_0", "dense_1"}
    assert np.shape(updates["dense_1"]["kernel"]) == (3, 2)
