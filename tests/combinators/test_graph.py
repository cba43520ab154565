from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn as nn
from tests.support import assert_close


def counter() -> nn.Layer:
    """Adds up what it has seen: y = x + total; total ← total + mean(x)."""

    def train(params, x, key=None):
        total = params.state["total"]
        return x + total, {"total": total + x.mean()}

    return nn.Layer(
        "counter",
        lambda key, shape: nn.Params({}, {"total": jnp.zeros(())}),
        lambda params, x: x + params.state["total"],
        train,
    )


def test_any_data_flow(key):
    net = nn.graph(
        lambda f, x: f.decode(jnp.concatenate([f.encode(x["a"]), x["b"]], -1)),
        encode=nn.dense(3),
        decode=nn.dense(2),
    )
    x = {"a": jnp.ones((5, 4)), "b": jnp.ones((5, 1))}
    params = net.init(key, x)
    assert params.weights["decode"]["kernel"].shape == (4, 2)
    assert net.apply(params, x).shape == (5, 2)


def test_nested_composites_are_gone_through_once_to_find_shapes(key):
    calls = 0

    def noted(x):
        nonlocal calls
        calls += 1
        return x

    net = nn.serial(nn.residual(nn.serial(noted, nn.dense(3)), nn.dense(3)), nn.dense(2))
    assert net.init(key, (1, 3)).weights["dense_0"]["kernel"].shape == (3, 2)
    assert calls == 1


def test_a_composite_with_another_apply_or_init_is_not_taken_for_the_old_one(key):
    def linear(features):
        return nn.stateless(
            "linear",
            lambda key, x: {"kernel": jnp.ones((x.shape[-1], features))},
            lambda w, x: x @ w["kernel"],
        )

    inner = nn.serial(linear(3))
    twice = replace(inner, apply=lambda params, x: jnp.concatenate([inner.apply(params, x)] * 2, -1))
    wider = replace(inner, init=nn.serial(linear(5)).init)
    for layer, rows in ((inner, 3), (twice, 6), (wider, 5), (nn.remat(inner), 3), (inner, 3)):
        params = nn.serial(layer, head=nn.dense(2)).init(key, (1, 4))
        assert params.weights["head"]["kernel"].shape == (rows, 2)


def test_a_layer_called_twice_shares_its_weights(key):
    net = nn.graph(lambda f, x: f.half(f.half(x)), half=nn.dense(4))
    params = net.init(key, (1, 4))
    x = jnp.arange(4.0)[None]
    layer, own = nn.dense(4), nn.Params(params.weights["half"], {})
    assert_close(net.apply(params, x), layer.apply(own, layer.apply(own, x)))


def test_state_of_a_layer_called_twice_is_threaded_in_call_order(key):
    net = nn.graph(lambda f, x: f.counter(f.counter(x)), counter=counter())
    params = net.init(key, (1, 1))
    y, state = net.train(params, jnp.ones((1, 1)))
    # First call: 1 + 0, total 1. Second call: 1 + 1, total 1 + 1.
    np.testing.assert_array_equal(y, [[2.0]])
    np.testing.assert_array_equal(state["counter"]["total"], 2.0)
    np.testing.assert_array_equal(params.state["counter"]["total"], 0.0)


def test_each_call_in_training_has_a_key_of_its_own(key):
    net = nn.graph(lambda f, x: (f.drop(x), f.drop(x)), drop=nn.dropout(0.5))
    first, second = net.train(nn.Params({}, {}), jnp.ones((4, 32)), key)[0]
    assert not jnp.array_equal(first, second)


def test_a_layer_that_is_never_called(key):
    net = nn.graph(lambda f, x: f.a(x), a=nn.dense(2), b=nn.dense(3))
    with pytest.raises(ValueError, match=r"graph: b is never called, so its input is unknown"):
        net.init(key, (1, 4))


def test_a_layer_that_is_not_there(key):
    net = nn.graph(lambda f, x: f.encodr(x), encoder=nn.dense(2))
    with pytest.raises(AttributeError, match=r"graph: no layer is called 'encodr'; there are encoder"):
        net.init(key, (1, 4))


def places(error) -> list[str]:
    """Our notes; JAX may add one of its own about tracebacks."""
    return [note for note in error.__notes__ if note.startswith("in layer")]


def test_an_error_names_the_path_and_the_input_once(key):
    net = nn.serial(nn.relu, nn.residual(nn.conv(3, 3, padding="SAME"), nn.conv(3, 5)))
    with pytest.raises(ValueError, match="window") as caught:
        net.init(key, (2, 4, 4, 3))
    assert places(caught.value) == ["in layer serial/residual_0/conv_1, given float32[2,4,4,3]"]

    net = nn.serial(nn.residual(nn.conv(3, 3, padding="SAME"), nn.conv(3, 3, padding="SAME")))
    params = net.init(key, (2, 4, 4, 3))
    for function in (net.apply, jax.jit(net.apply), net.train):
        with pytest.raises(ValueError, match="channels") as caught:
            function(params, jnp.ones((2, 4, 4, 5)))
        assert places(caught.value) == ["in layer serial/residual_0/conv_0, given float32[2,4,4,5]"]


def test_nesting_initialises_in_linear_time(key):
    """Each level asks its parts for their shapes; that must not double the work level by level."""
    calls = []

    def probe(key, x):
        calls.append(x.shape)
        return {"w": jnp.ones(x.shape[-1:])}

    net = nn.stateless("probe", probe, lambda weights, x: x * weights["w"][None])
    for _ in range(8):
        net = nn.serial(net)
    net.init(key, (1, 4))
    assert len(calls) <= 10


def test_the_same_function_jitted(key):
    net = nn.graph(lambda f, x: f.a(x) + f.b(x), a=nn.dense(3), b=nn.serial(nn.dense(3), nn.dropout(0.5)))
    params, x = net.init(key, (1, 4)), jnp.ones((2, 4))
    assert_close(jax.jit(net.apply)(params, x), net.apply(params, x))
    assert_close(jax.jit(net.train)(params, x, key), net.train(params, x, key))


def test_keys_are_folded_in_for_those_who_draw_alone(key):
    """For other layers that would cost tracing time. Wrappers keep whether a layer draws."""

    def folds(net):
        params = net.init(key, (1, 4))
        return str(jax.make_jaxpr(net.train)(params, jnp.ones((2, 4)), key)).count("random_fold_in")

    plain = nn.serial(nn.dense(3), nn.relu, nn.serial(nn.batch_norm(), jnp.tanh))
    assert folds(plain) == 0
    assert folds(nn.serial(plain, nn.dropout(0.5))) == 1
    for wrap in (nn.remat, nn.frozen, nn.mixed_precision, nn.weight_norm, lambda layer: nn.repeat(layer, 2)):
        assert folds(nn.serial(wrap(nn.dense(4)), nn.dropout(0.5))) == 1
        assert folds(nn.serial(wrap(nn.serial(nn.dense(4), nn.dropout(0.5))))) >= 1
    own = nn.Layer("own", plain.init, plain.apply, plain.train)
    assert folds(nn.serial(plain, own)) == 1


class VariantsTest(chex.TestCase):
    """A whole net of every kind of part, jitted, not jitted, and on a device."""

    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_training_moves_the_state_and_nothing_else(self):
        net = nn.serial(
            nn.conv(2, 3), nn.batch_norm(), nn.relu, nn.flatten, nn.dropout(0.5), head=nn.dense(3)
        )
        x = jax.random.normal(jax.random.key(1), (4, 5, 5, 1))
        params = net.init(jax.random.key(0), x)
        y, state = self.variant(net.train)(params, x, jax.random.key(2))
        chex.assert_shape(y, (4, 3))
        chex.assert_tree_all_finite(y)
        chex.assert_trees_all_equal_shapes_and_dtypes(state, params.state)
        mean = jnp.mean(nn.conv(2, 3).apply(nn.Params(params.weights["conv_0"], {}), x), axis=(0, 1, 2))
        assert_close(state["batch_norm_0"]["mean"], 0.1 * mean)
