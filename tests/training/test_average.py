"""The exponential average of the weights."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn as nn
from tests.support import assert_close

X = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
Y = X.sum(axis=1, keepdims=True)
NET = nn.serial(nn.dense(4), nn.batch_norm(), nn.dense(1))


def trained(optimizer, n):
    """The states before and after each of n steps."""
    step = nn.make_step(NET, optimizer, optax.squared_error)
    state = nn.init_state(NET, optimizer, jax.random.key(0), X)
    states = [jax.tree.map(jnp.copy, state)]
    for _ in range(n):
        state, _ = step(state, X, Y)
        states.append(jax.tree.map(jnp.copy, state))
    return states


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.9999])
def test_it_is_the_weighted_mean_of_the_weights_after_each_step(decay):
    states = trained(nn.training.averaged(optax.sgd(0.1), decay), 5)
    weights = [jax.tree.map(lambda w: np.asarray(w, np.float64), s.params.weights) for s in states[1:]]
    shares = decay ** np.arange(4, -1, -1.0)
    expected = jax.tree.map(
        lambda *ws: sum(s * w for s, w in zip(shares, ws, strict=True)) / shares.sum(), *weights
    )
    average = nn.training.average_of(states[-1])
    assert_close(average.weights, expected)
    assert_close(average.state, states[-1].params.state)
    assert_close(nn.training.average_of(states[0]).weights, states[0].params.weights)


def test_the_steps_do_not_depend_on_it():
    plain, averaged = (
        trained(optax.rmsprop(0.1), 3),
        trained(nn.training.averaged(optax.rmsprop(0.1), 0.9), 3),
    )
    assert_close(averaged[-1].params, plain[-1].params)


def test_it_is_found_in_an_optimizer_around_it_and_kept_in_float32():
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), nn.training.averaged(optax.sgd(0.1), 0.9))
    params = jax.tree.map(lambda w: w.astype(jnp.bfloat16), NET.init(jax.random.key(0), X))
    state = nn.init_state(NET, optimizer, jax.random.key(0), params=params)
    assert all(w.dtype == jnp.float32 for w in jax.tree.leaves(state.opt_state[1].average))
    assert all(w.dtype == jnp.bfloat16 for w in jax.tree.leaves(nn.training.average_of(state)))


def test_an_update_without_params():
    optimizer = nn.training.averaged(optax.sgd(0.1), 0.9)
    with pytest.raises(
        ValueError, match="averaged: params must be passed to update, to be averaged, got None"
    ):
        optimizer.update({"w": jnp.ones(2)}, optimizer.init({"w": jnp.ones(2)}))
