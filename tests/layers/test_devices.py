"""Every layer over several devices: what it computes, and what the devices send each other."""

from functools import cache

import jax
import jax.numpy as jnp
import pytest

import jaxnn as nn
from jaxnn.layer import in_pieces
from jaxnn.lifting import as_layer
from tests.collectives import check_only_sums
from tests.layers.catalogue import fewest_layers
from tests.layers.test_catalogue import batch, prepared
from tests.support import assert_close, deep, plain_jit

#: More rows than weights in every array, so that no activation can be mistaken for a sum.
ROWS = 16
KEY = 3


def gradients(layer, *, floats):
    """The output and the gradients of the sum of its sines, by the input too if that is of ``floats``."""

    def both(call):
        def run(params, x, key):
            def loss(weights, x):
                y = call(params._replace(weights=weights), x, key)
                return jnp.sum(jnp.sin(y)), y

            grads, y = jax.grad(loss, (0, 1)[: 1 + floats], has_aux=True)(params.weights, x)
            return y, grads[0], grads[1:]

        return run

    def apply(params, x, key):
        return layer.apply(params, x)

    def train(params, x, key):
        return layer.train(params, x, key)[0]

    return both(apply), both(train)


@cache
def on_one_device(entry):
    """The layer, and its results and gradients for the batch: in inference and in training."""
    layer, params, _, _ = prepared(entry)
    functions = gradients(layer, floats=not entry.integers)

    def both(*args):
        return tuple(function(*args) for function in functions)

    args = params, batch(entry, ROWS), jax.random.key(KEY)
    return functions, args, jax.device_get(plain_jit(both)(*args))


def mesh_of(sizes, kind="Auto"):
    names = ("batch", "model")[: len(sizes)]
    return jax.make_mesh(sizes, names, axis_types=(getattr(jax.sharding.AxisType, kind),) * len(sizes))


def compiled(function, args, mesh):
    """The program for arguments of which the second has its rows sharded over the devices, and these."""
    placed = [
        jax.device_put(arg, jax.NamedSharding(mesh, jax.P("batch") if i == 1 else jax.P()))
        for i, arg in enumerate(args)
    ]
    return jax.jit(function).lower(*placed).compile(), placed


@fewest_layers
@pytest.mark.parametrize(("kind", "sizes"), [deep("Auto", (8,)), ("Explicit", (4, 2))])
def test_a_sharded_batch_gives_the_same_and_only_sums_are_sent(entry, kind, sizes):
    """Over all devices, and over one of two axes of them."""
    (_, train), args, (_, expected) = on_one_device(entry)
    mesh = mesh_of(sizes, kind)
    with jax.set_mesh(mesh):
        program, placed = compiled(train, args, mesh)
        check_only_sums(program, args[0])
        assert_close(jax.device_get(program(*placed)), expected, terms=4096, scale=1)


@fewest_layers
def test_under_shard_map(entry):
    """With its check of varying axes, and an axis of the mesh over which nothing varies.

    Devices take statistics of their own rows in training, and draw the same masks: the values are compared
    at inference.
    """
    (apply, train), args, (expected, _) = on_one_device(entry)
    rows = jax.P("batch")
    program = jax.shard_map(
        lambda *args: (apply(*args), train(*args)),
        mesh=mesh_of((2, 2)),
        in_specs=(jax.P(), rows, jax.P()),
        out_specs=((rows, jax.P(), rows),) * 2,
    )
    actual, trained = plain_jit(program)(*args)
    assert_close(jax.device_get(actual), expected, terms=4096, scale=1)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(trained))


#: Groups, by which an ensemble of convolutions is computed too: XLA's own forms would gather the batch.
OTHERS = {
    "ensemble": lambda: nn.ensemble(nn.conv(3, 3, strides=2), 2),
    "ensemble-depthwise": lambda: nn.ensemble(nn.depthwise_conv(3), 2),
    "repeat": lambda: nn.repeat(nn.conv(4, 3, padding="SAME", groups=2), 2),
    "depthwise": lambda: nn.depthwise_conv(3, multiplier=2, strides=2),
    "linear": lambda: nn.resize((7, 3), method="linear"),
}


@pytest.mark.parametrize(
    "name", [name if name in ("ensemble-depthwise", "linear") else deep(name) for name in OTHERS]
)
def test_tangents_and_ensembles_send_only_sums(name):
    layer = as_layer(OTHERS[name]())
    x = jax.random.normal(jax.random.key(1), (ROWS, 6, 5, 4))
    params = layer.init(jax.random.key(0), x)
    _, train = gradients(layer, floats=True)

    def run(params, x, key):
        _, tangent = jax.jvp(lambda x: layer.apply(params, x), (x,), (x,))
        return tangent, train(params, x, key)

    args = params, x, jax.random.key(KEY)
    expected = jax.device_get(plain_jit(run)(*args))
    program, placed = compiled(run, args, mesh_of((8,)))
    check_only_sums(program, params)
    assert_close(jax.device_get(program(*placed)), expected, terms=4096, scale=1)


def test_repeat_over_weights_that_vary_where_the_input_does_not():
    layer = nn.repeat(nn.serial(nn.dense(4), jnp.tanh), 2)
    x = jnp.ones((3, 4))
    members = jax.vmap(layer.init, (0, None))(jax.random.split(jax.random.key(0), 2), x)

    def member(members, x):
        (y, _) = layer.train(jax.tree.map(lambda leaf: leaf[0], members), x)
        return y[None]

    sharded = jax.shard_map(
        member, mesh=mesh_of((2,)), in_specs=(jax.P("batch"), jax.P()), out_specs=jax.P("batch")
    )
    assert_close(jax.jit(sharded)(members, x), jax.vmap(layer.apply, (0, None))(members, x))


#: What knows of lengths in a way of its own: padding that moves, statistics, sums and maxima over time.
OVER_TIME = {
    "net": lambda: nn.serial(
        nn.conv(4, 3, strides=2, padding="SAME"), nn.batch_norm(), nn.avg_pool(2), nn.attention_pool()
    ),
    "group_norm": lambda: nn.serial(nn.group_norm(2), nn.max_pool(2), nn.global_max_pool),
    "recurrent": lambda: nn.serial(nn.lstm(4, projection=2), nn.stacked(nn.gru(3), 2)),
}


@pytest.mark.parametrize("kind", [deep("Auto"), "Explicit"])
@pytest.mark.parametrize("name", ["net", deep("group_norm"), deep("recurrent")])
def test_sequences_over_devices_send_only_sums(name, kind):
    layer, x = OVER_TIME[name](), jax.random.normal(jax.random.key(1), (ROWS, 9, 4))
    lengths = jnp.arange(ROWS, dtype=jnp.int32) % 10
    params = layer.init(jax.random.key(0), (x, lengths))

    def run(params, x, lengths):
        def loss(weights, x):
            y, state = layer.train(params._replace(weights=weights), (x, lengths))
            return sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(y)[:1]), state

        return jax.grad(loss, (0, 1), has_aux=True)(params.weights, x)

    expected = jax.device_get(plain_jit(run)(params, x, lengths))
    mesh = mesh_of((8,), kind)
    with jax.set_mesh(mesh):
        specs = jax.P(), jax.P("batch"), jax.P("batch")
        args = [
            jax.device_put(arg, jax.NamedSharding(mesh, spec))
            for arg, spec in zip((params, x, lengths), specs, strict=True)
        ]
        program = jax.jit(run).lower(*args).compile()
        check_only_sums(program, params)
        assert_close(jax.device_get(program(*args)), expected, terms=4096, scale=1)


@pytest.mark.parametrize("kind", [deep("Auto"), "Explicit"])
def test_a_step_of_attention_keeps_examples_on_their_devices(kind):
    """One step from a carry: what the whole gives, and nothing of one example is sent to another."""
    layer = nn.multi_head_attention(4, 2, kv_heads=1, causal=True, rotary=True, window=(3, None))
    x = jax.random.normal(jax.random.key(1), (8, 6, 4))
    params = layer.init(jax.random.key(0), x)
    expected = jax.device_get(plain_jit(layer.apply)(params, x))
    mesh = mesh_of((8,), kind)
    with jax.set_mesh(mesh):
        x = jax.device_put(x, jax.NamedSharding(mesh, jax.P("batch")))
        params = jax.device_put(params, jax.NamedSharding(mesh, jax.P()))
        _, carry = jax.jit(lambda params, x: in_pieces(layer, params, 8)(x, None))(params, x[:, :5])
        step = jax.jit(lambda params, x, carry: in_pieces(layer, params, 8)(x, carry))
        program = step.lower(params, x[:, 5:], carry).compile()
        check_only_sums(program, params)
        assert_close(jax.device_get(program(params, x[:, 5:], carry)[0]), expected[:, 5:])
