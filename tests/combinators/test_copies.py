import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn as nn
from tests.support import assert_close, equations


def block() -> nn.Layer:
    return nn.serial(nn.dense(4), nn.batch_norm(), nn.relu, nn.dropout(0.3))


def member(params, i):
    return jax.tree.map(lambda leaf: leaf[i], params)


def test_repeat_equals_layers_in_a_row(key):
    n, layer = 3, block()
    net = nn.repeat(layer, n)
    x = jax.random.normal(key, (5, 4))
    params = net.init(key, x)
    keys = jax.random.split(key, n)
    for i in range(n):
        jax.tree.map(np.testing.assert_array_equal, member(params, i), layer.init(keys[i], x))

    @jax.jit
    def in_a_row(params, x):
        y, z, states = x, x, []
        for i in range(n):
            y = layer.apply(member(params, i), y)
            z, state = layer.train(member(params, i), z, keys[i])
            states.append(state)
        return y, (z, jax.tree.map(lambda *leaves: jnp.stack(leaves), *states))

    repeated = jax.jit(lambda params, x: (net.apply(params, x), net.train(params, x, key)))
    assert_close(repeated(params, x), in_a_row(params, x))


@pytest.mark.parametrize("what", ["init", "apply", "grad"])
def test_repeat_compiles_in_time_flat_in_n(what, key):
    def size(n):
        net = nn.repeat(nn.serial(nn.dense(4), nn.relu), n)
        x = jax.ShapeDtypeStruct((2, 4), jnp.float32)
        params = jax.eval_shape(net.init, key, x)
        functions = {
            "init": (net.init, (key, x)),
            "apply": (net.apply, (params, x)),
            "grad": (jax.grad(lambda p, x: net.train(p, x)[0].sum()), (params, x)),
        }
        function, args = functions[what]
        return len(equations(jax.make_jaxpr(function)(*args).jaxpr))

    assert size(64) == size(4) > 0


def test_repeat_must_keep_the_shape(key):
    with pytest.raises(
        ValueError, match=r"repeat: dense must keep the shape and dtype of its input, but it makes"
    ):
        nn.repeat(nn.dense(3), 2).init(key, (1, 4))


def test_repeat_of_a_plain_function(key):
    net = nn.repeat(lambda x: x + 1, 5)
    np.testing.assert_array_equal(net.apply(net.init(key, (1, 2)), jnp.zeros((1, 2))), [[5.0, 5.0]])


@pytest.mark.parametrize("combinator", [nn.repeat, nn.ensemble])
@pytest.mark.parametrize(
    ("n", "error", "rule"),
    [(0, ValueError, "at least 1"), (-1, ValueError, "at least 1"), (2.5, TypeError, "an integer")],
)
def test_n_must_be_a_positive_integer(combinator, n, error, rule):
    with pytest.raises(error, match=rf"{combinator.__name__}: n must be {rule}, got {n}"):
        combinator(nn.dense(3), n)


def test_ensemble_members_equal_single_nets_with_the_same_keys(key):
    n, layer = 3, block()
    net = nn.ensemble(layer, n)
    x = jax.random.normal(key, (5, 4))
    params = net.init(key, x)
    keys = jax.random.split(key, n)

    def both(layer):
        return jax.jit(lambda params, key: (layer.apply(params, x), layer.train(params, x, key)))

    members, one = jax.device_get(both(net)(params, key)), both(layer)
    assert members[0].shape == (n, 5, 4)
    for i in range(n):
        single = layer.init(keys[i], x)
        jax.tree.map(np.testing.assert_array_equal, member(params, i), single)
        assert_close(member(members, i), one(single, keys[i]))


def test_ensemble_members_are_independent(key):
    net = nn.ensemble(nn.dense(3), 2)
    x = jnp.ones((1, 4))
    params = net.init(key, x)
    assert not jnp.array_equal(*params.weights["kernel"])
    grads = jax.grad(lambda p: net.apply(p, x)[0].sum())(params)
    assert (grads.weights["kernel"][1] == 0).all()
    assert (grads.weights["kernel"][0] != 0).any()


def test_an_ensemble_without_weights(key):
    net = nn.ensemble(nn.relu, 2)
    assert net.apply(net.init(key, (1, 3)), jnp.ones((1, 3))).shape == (2, 1, 3)
