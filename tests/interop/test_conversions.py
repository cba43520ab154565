"""Weights of plain stacks from and to Flax and Equinox: the nets then compute the same."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from flax import linen, nnx

import jaxnn as nn
from jaxnn.interop.equinox import load_module, to_module
from jaxnn.interop.flax import load_variables, to_variables
from tests.support import assert_close, plain_jit, rng_array

KEY = jax.random.key(0)
IMAGE = jnp.asarray(rng_array(2, 6, 5, 3))


def cnn(**settings):
    return nn.serial(
        nn.conv(4, 3, padding="SAME", **settings), nn.batch_norm(), nn.relu, nn.max_pool(2), nn.flatten,
        nn.layer_norm(epsilon=1e-6), nn.dense(7), nn.relu, head=nn.dense(2),
    )  # fmt: skip


class Theirs(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.relu(linen.BatchNorm(use_running_average=True)(linen.Conv(4, (3, 3))(x)))
        x = linen.max_pool(x, (2, 2), (2, 2)).reshape(len(x), -1)
        return linen.Dense(2)(linen.relu(linen.Dense(7)(linen.LayerNorm()(x))))


class TheirsNnx(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, use_running_average=True, rngs=rngs)
        self.layer = nnx.LayerNorm(24, rngs=rngs)
        self.hidden = nnx.Linear(24, 7, rngs=rngs)
        self.head = nnx.Linear(7, 2, rngs=rngs)

    def __call__(self, x):
        x = nnx.max_pool(nnx.relu(self.norm(self.conv(x))), (2, 2), (2, 2)).reshape(len(x), -1)
        return self.head(nnx.relu(self.hidden(self.layer(x))))


#: Linen sorts its modules by name, so that a mapping says which is which. The head is made first.
LINEN = {
    "conv_0": "Conv_0", "batch_norm_0": "BatchNorm_0", "layer_norm_0": "LayerNorm_0", "dense_0": "Dense_1",
    "head": "Dense_0",
}  # fmt: skip
NNX = {"conv_0": "conv", "batch_norm_0": "norm", "layer_norm_0": "layer", "dense_0": "hidden", "head": "head"}


def random(tree):
    """Every array drawn anew, positive, so that each counts."""
    return jax.tree.map(lambda leaf: jnp.abs(jnp.asarray(rng_array(*leaf.shape))) + 0.1, tree)


def test_linen_and_back():
    theirs, net = Theirs(), cnn()
    variables = random(jax.eval_shape(theirs.init, KEY, IMAGE))
    params = load_variables(net, jax.eval_shape(net.init, KEY, IMAGE), variables, LINEN)
    y = plain_jit(theirs.apply)(variables, IMAGE)
    assert_close(plain_jit(net.apply)(params, IMAGE), y, scale=jnp.abs(y).max().item())
    assert_close(to_variables(net, params, LINEN), variables)


def test_nnx_and_back():
    theirs, net = TheirsNnx(nnx.Rngs(0)), cnn()
    nnx.update(theirs, random(nnx.state(theirs)))
    params = load_variables(net, jax.eval_shape(net.init, KEY, IMAGE), nnx.state(theirs), NNX)
    y = nnx.jit(lambda theirs, x: theirs(x))(theirs, IMAGE)
    assert_close(plain_jit(net.apply)(params, IMAGE), y, scale=jnp.abs(y).max().item())
    back = to_variables(net, params, NNX)
    pure = {module: back["params"][module] | back["batch_stats"].get(module, {}) for module in back["params"]}
    assert_close(pure, nnx.to_pure_dict(nnx.state(theirs)))


def test_equinox_and_back():
    keys = iter(jax.random.split(KEY, 4))
    theirs = eqx.nn.Sequential([
        eqx.nn.Conv2d(3, 4, 3, padding=1, key=next(keys)), eqx.nn.GroupNorm(2, 4), eqx.nn.Lambda(jax.nn.relu),
        eqx.nn.MaxPool2d(2, 2), eqx.nn.Lambda(jnp.ravel), eqx.nn.Linear(24, 7, key=next(keys)),
        eqx.nn.LayerNorm(7), eqx.nn.Linear(7, 2, key=next(keys)),
    ])  # fmt: skip
    net = nn.serial(
        nn.conv(4, 3, padding=1), nn.group_norm(2), nn.relu, nn.max_pool(2), nn.flatten, nn.dense(7),
        nn.layer_norm(), head=nn.dense(2),
    )  # fmt: skip
    theirs = jax.tree.map(lambda leaf: random(leaf) if eqx.is_inexact_array(leaf) else leaf, theirs)
    params = load_module(net, jax.eval_shape(net.init, KEY, IMAGE), theirs)
    run = eqx.filter_jit(lambda theirs, x: jax.vmap(theirs)(jnp.moveaxis(x, -1, 1)))
    apply = plain_jit(net.apply)
    y = run(theirs, IMAGE)
    assert_close(apply(params, IMAGE), y, scale=jnp.abs(y).max().item())
    other = jax.tree.map(lambda leaf: leaf / 2, params)
    assert_close(run(to_module(net, other, theirs), IMAGE), apply(other, IMAGE))


def test_what_does_not_fit_is_told():
    net = nn.serial(nn.dense(3), nn.dense(2))
    params = jax.eval_shape(net.init, KEY, jnp.ones((1, 4)))
    with pytest.raises(
        ValueError, match="load_variables: both sides must fit, got 1 problem:\ndense_1: no module"
    ):
        load_variables(
            net, params, {"params": {"Dense_0": {"kernel": rng_array(4, 3), "bias": rng_array(3)}}}
        )
    with pytest.raises(
        TypeError, match=r"variables must be Linen's, with an entry 'params', or nnx.state\(model\)"
    ):
        load_variables(net, params, [])
    with pytest.raises(
        ValueError, match="must hold kernel, bias, scale, embedding, mean, var only, got cell/i"
    ):
        load_variables(net, params, {"params": {"cell": {"i": rng_array(3)}}})
    with pytest.raises(
        ValueError, match="load_module: module must hold weights called weight and bias alone, got"
    ):
        load_module(net, params, eqx.nn.GRUCell(3, 4, key=KEY))
    with pytest.raises(ValueError, match="to_module: both sides must fit"):
        to_module(net, params, eqx.nn.Linear(4, 3, key=KEY))


def test_transposed_convolutions_are_left_to_the_reader():
    """Flax flips their kernels: one that fits must not be taken as it is."""
    net = nn.serial(nn.conv_transpose(3, 2))
    params = random(jax.eval_shape(net.init, KEY, jnp.ones((1, 4, 4, 3))))
    variables = {"params": {"ConvTranspose_0": {"kernel": rng_array(2, 2, 3, 3), "bias": rng_array(3)}}}
    with pytest.raises(
        ValueError, match="conv_transpose_0: Flax flips the kernel of a transposed convolution"
    ):
        load_variables(net, params, variables)
    with pytest.raises(
        ValueError, match="conv_transpose_0: Flax flips the kernel of a transposed convolution"
    ):
        to_variables(net, params)
