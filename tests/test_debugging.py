"""JAX's debugging tools and switches over the whole catalogue: none may break a layer."""

import re

import jax
import jax.numpy as jnp
import pytest

import jaxnn as nn
from jaxnn.lifting import as_layer
from tests.layers.catalogue import every_layer, few_layers, fewest_layers
from tests.layers.test_catalogue import batch
from tests.support import assert_close, random_params


def prepared(entry, dtype=jnp.float32):
    layer, x = as_layer(entry.make()), batch(entry, dtype=dtype)
    return layer, random_params(layer, x), x


def everything(layer):
    """A function that gives inference, training and the new state, with the gradients of both."""

    def run(params, x, key):
        differentiable = jnp.issubdtype(x.dtype, jnp.floating)

        def loss(weights, own_x):
            own, inputs = nn.Params(weights, params.state), own_x if differentiable else x
            y, (z, state) = layer.apply(own, inputs), layer.train(own, inputs, key)
            return jnp.sum(jnp.sin(y)) + jnp.sum(jnp.sin(z)), (y, z, state)

        grad = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
        return grad(params.weights, x if differentiable else jnp.zeros(()))

    return run


def program(function, *args):
    """The text of what is traced, without addresses."""
    # A new function each time, since JAX caches what it has traced.
    return re.sub("0x[0-9a-f]+", "", str(jax.make_jaxpr(lambda *args: function(*args))(*args)))


@fewest_layers
def test_step_by_step_and_watched(entry):
    """Without jit, and with each step looked at for what isn't finite; equal to the compiled program."""
    layer, params, x = prepared(entry)
    key, run = jax.random.key(1), everything(layer)
    expected = jax.jit(run)(params, x, key)
    with jax.disable_jit(), jax.debug_nans(True), jax.debug_infs(True):
        actual = run(params, x, key)
    assert_close(actual, expected)


@few_layers
def test_no_tracer_leaks(entry):
    layer, x = as_layer(entry.make()), batch(entry)
    params = jax.eval_shape(layer.init, jax.random.key(0), x)
    with jax.check_tracer_leaks():
        program(layer.init, jax.random.key(0), x)
        program(everything(layer), params, x, jax.random.key(1))


def check_keys(entry, make):
    layer, x = as_layer(entry.make()), batch(entry)
    params = jax.eval_shape(layer.init, make(0), x)
    assert params == jax.eval_shape(layer.init, jax.random.key(0), x)
    jax.eval_shape(everything(layer), params, x, make(1))


@every_layer
def test_raw_keys(entry):
    check_keys(entry, jax.random.PRNGKey)


@fewest_layers
def test_keys_of_another_implementation(entry):
    check_keys(entry, lambda seed: jax.random.key(seed, impl="rbg"))


@few_layers
def test_double_precision_switched_on_and_off(entry):
    """The same net, before, during and after: nothing is left over from one to the other."""
    layer = as_layer(entry.make())
    key, programs = jax.random.key(0), []
    for wide in (False, True, False):
        with jax.enable_x64(wide):
            x = batch(entry, dtype=jnp.float64 if wide else jnp.float32)
            params = jax.eval_shape(layer.init, key, x)
            programs.append(program(layer.init, key, x) + program(everything(layer), params, x, key))
            if not entry.integers:
                assert {leaf.dtype for leaf in jax.tree.leaves(params)} <= {x.dtype}
                assert jax.eval_shape(layer.apply, params, x).dtype == x.dtype
    assert programs[0] == programs[2]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("kind", ["nan", "inf"])
def test_the_layer_to_blame_is_named(compiled, kind):
    """Where a value isn't finite, JAX runs the program step by step; our own steps appear by name."""
    net = nn.serial(nn.dense(3, kernel_init=jax.nn.initializers.ones), nn.relu)
    params = net.init(jax.random.key(0), (1, 4))
    x = jnp.full((2, 4), jnp.inf).at[0, 0].set(-jnp.inf) if kind == "nan" else jnp.full((2, 4), 3e38)
    apply = jax.jit(net.apply) if compiled else net.apply
    watch = jax.debug_nans if kind == "nan" else jax.debug_infs
    with watch(True), pytest.raises(FloatingPointError, match=rf"\({kind}\) encountered in jaxnn_matrix"):
        apply(params, x)


def test_inspection_leaks_no_tracers():
    net = nn.serial(nn.conv(2, 3), nn.relu, nn.flatten, nn.dense(3))
    x = jnp.ones((2, 5, 5, 1))
    params = net.init(jax.random.key(0), x)
    with jax.check_tracer_leaks():
        nn.summary(net, x.shape)
        jax.make_jaxpr(lambda params: nn.activations(net, params, x))(params)
        nn.diagnose(net, params, x, jnp.zeros((2, 3)), lambda y, target: jnp.square(y - target).mean(-1))
