"""A jaxnn layer inside Linen, NNX, Equinox and Haiku: the same values, gradients and statistics."""

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import optax
import pytest
from flax import linen, nnx

import jaxnn as nn
from jaxnn.interop import equinox as ours_equinox
from jaxnn.interop import flax as ours_flax
from jaxnn.interop import haiku as ours_haiku
from tests.support import assert_close, plain_jit, rng_array

KEY = jax.random.key(0)
X = jnp.asarray(rng_array(4, 6))


def net():
    return nn.serial(nn.dense(5), nn.batch_norm(), nn.relu, nn.residual(nn.dense(5)), head=nn.dense(3))


apply = plain_jit(net().apply)


@plain_jit
def expected(params):
    """Inference, training, the gradient of its squares, the state after it; jaxnn by itself."""
    made = net()

    def loss(weights):
        y, state = made.train(params._replace(weights=weights), X)
        return jnp.sum(jnp.square(y)), (y, state)

    grads, (y, state) = jax.grad(loss, has_aux=True)(params.weights)
    return made.apply(params, X), y, grads, state


def test_linen_by_its_jit_and_grad():
    module = linen.Sequential([ours_flax.Linen(net())])
    variables = module.init(KEY, X)
    params = nn.Params(variables["params"]["layers_0"]["weights"], variables["state"]["layers_0"]["state"])
    still, moving, grads, state = expected(params)

    @jax.jit
    def step(variables):
        def loss(weights):
            all_of = variables | {"params": weights}
            y, updates = module.apply(all_of, X, train=True, mutable=["state"])
            return jnp.sum(jnp.square(y)), (y, updates)

        return jax.grad(loss, has_aux=True)(variables["params"])

    found, (y, updates) = step(variables)
    assert_close(module.apply(variables, X), still)
    assert_close(y, moving)
    assert_close(found["layers_0"]["weights"], grads)
    assert_close(updates["state"]["layers_0"]["state"], state)


def test_linen_gives_a_key_to_what_draws():
    module = ours_flax.Linen(nn.serial(nn.dense(3), nn.dropout(0.5)))
    variables = module.init(KEY, X)
    y, _ = module.apply(variables, X, train=True, mutable=["state"], rngs={"dropout": KEY})
    assert bool((y == 0).any())
    assert_close(jax.vmap(lambda x: module.apply(variables, x))(X[None])[0], module.apply(variables, X))


def test_nnx_by_its_jit_grad_and_optimizer():
    module = ours_flax.Nnx(net(), X, rngs=nnx.Rngs(0))
    params = nn.Params(*(jax.tree.map(lambda leaf: leaf, tree) for tree in _plain(module)))
    still, moving, grads, state = expected(params)

    @nnx.jit
    def step(module):
        def loss(module):
            y = module(X)
            return jnp.sum(jnp.square(y)), y

        return nnx.grad(loss, has_aux=True)(module)

    found, y = step(module)
    assert_close(y, moving)
    assert_close(nnx.to_pure_dict(found)["weights"], grads)
    assert_close(_plain(module)[1], state)
    module.eval()
    assert_close(module(X), apply(nn.Params(params.weights, state), X))
    assert_close(still, apply(params, X))
    optimizer = nnx.Optimizer(module, optax.sgd(0.1), wrt=nnx.Param)
    optimizer.update(module, found)
    assert_close(_plain(module)[0], jax.tree.map(lambda w, g: w - 0.1 * g, params.weights, grads))


def _plain(module):
    state = nnx.to_pure_dict(nnx.state(module))
    return state["weights"], state["state"]


def test_nnx_draws_from_its_streams_and_maps():
    module = ours_flax.Nnx(nn.serial(nn.dense(8), nn.dropout(0.5)), X, rngs=nnx.Rngs(0))
    first, second = module(X), module(X)
    assert bool((first != second).any())
    module.eval()
    mapped = nnx.vmap(lambda module, x: module(x), in_axes=(None, 0))(module, X[None])
    assert_close(mapped[0], module(X))


def test_equinox_by_its_jit_grad_and_partition():
    module = ours_equinox.Module.create(net(), KEY, X)
    still, moving, grads, state = expected(nn.Params(module.weights, module.state))

    @eqx.filter_jit
    def step(module):
        @eqx.filter_grad(has_aux=True)
        def loss(module):
            y, new = module.train(X)
            return jnp.sum(jnp.square(y)), (y, new)

        return loss(module)

    found, (y, new) = step(module)
    assert_close(eqx.filter_jit(module)(X), still)
    assert_close(y, moving)
    assert_close(found.weights, grads)
    assert not any(leaf.any() for leaf in jax.tree.leaves(found.state))
    assert_close(new.state, state)
    weights, rest = eqx.partition(module, module.is_weight())
    assert not jax.tree.leaves(weights.state)
    assert_close(eqx.combine(weights, rest)(X), still)
    assert_close(eqx.filter_vmap(module)(X[None])[0], still)


def test_haiku_by_its_transform():
    run = hk.transform_with_state(lambda x, train: ours_haiku.Module(net(), name="net")(x, train=train))
    weights, statistics = run.init(KEY, X, False)
    assert sorted(weights["net"])[0] == "batch_norm_0/bias"

    def nested(flat):
        tree = {}
        for path, leaf in flat["net"].items():
            node = tree
            *parts, last = path.split("/")
            for part in parts:
                node = node.setdefault(part, {})
            node[last] = leaf
        return tree

    still, moving, grads, state = expected(nn.Params(nested(weights), nested(statistics)))

    @jax.jit
    def step(weights):
        def loss(weights):
            y, new = run.apply(weights, statistics, None, X, True)
            return jnp.sum(jnp.square(y)), (y, new)

        return jax.grad(loss, has_aux=True)(weights)

    found, (y, new) = step(weights)
    assert_close(run.apply(weights, statistics, None, X, False)[0], still)
    assert_close(y, moving)
    assert_close(nested(found), grads)
    assert_close(nested(new), state)


def test_haiku_gives_a_key_to_what_draws():
    run = hk.transform_with_state(
        lambda x: ours_haiku.Module(nn.serial(nn.dense(8), nn.dropout(0.5)))(x, train=True)
    )
    weights, state = run.init(KEY, X)
    (first, _), (second, _) = (run.apply(weights, state, jax.random.key(i), X) for i in (1, 2))
    assert bool((first != second).any())


@pytest.mark.parametrize("make", [ours_flax.Linen, ours_haiku.Module])
def test_what_is_no_layer_gets_a_sentence(make):
    def run(x):
        return make(3)(x)

    with pytest.raises(
        TypeError, match=r"(Linen|Module): net must be a Layer or a function of one array, got 3"
    ):
        hk.transform(run).init(KEY, X) if make is ours_haiku.Module else make(3).init(KEY, X)
