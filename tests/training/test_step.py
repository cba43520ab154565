import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn as nn
from tests.support import assert_close

cross_entropy = optax.softmax_cross_entropy_with_integer_labels


def data(n=12):
    x = np.random.default_rng(0).standard_normal((n, 4)).astype(np.float32)
    return x, (np.arange(n) % 3).astype(np.int32)


def test_the_step_is_the_twelve_lines_written_by_hand(key):
    net = nn.serial(nn.dense(8), nn.batch_norm(), nn.relu, nn.dropout(0.3), nn.dense(3))
    optimizer = optax.sgd(0.1, momentum=0.9)
    x, y = data()
    state = nn.init_state(net, optimizer, key, x)
    params, opt_state, run_key = jax.tree.map(jnp.copy, state[:3])

    @jax.jit
    def by_hand(params, opt_state, i):
        def loss(weights):
            logits, net_state = net.train(params._replace(weights=weights), x, draw)
            return cross_entropy(logits, y).mean(), net_state

        draw = jax.random.fold_in(run_key, i)
        (value, net_state), grads = jax.value_and_grad(loss, has_aux=True)(params.weights)
        updates, opt_state = optimizer.update(grads, opt_state, params.weights)
        return nn.Params(optax.apply_updates(params.weights, updates), net_state), opt_state, value

    step = nn.make_step(net, optimizer, cross_entropy)
    for i in range(2):
        params, opt_state, value = by_hand(params, opt_state, i)
        state, scores = step(state, x, y)
        assert_close(scores["loss"], value)
        assert_close(state.params, params)
    assert int(state.step) == 2


def test_one_trace_and_a_donated_state(key):
    net, optimizer = nn.serial(nn.dense(8), nn.relu, nn.dense(3)), optax.sgd(0.1)
    loss = chex.assert_max_traces(lambda prediction, target: cross_entropy(prediction, target), n=1)
    x, y = data()
    state = nn.init_state(net, optimizer, key, x, params=net.init(key, x))
    step = nn.make_step(net, optimizer, loss)
    old = state
    for _ in range(3):
        state, _ = step(state, x, y)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(old.params))


def test_init_state_copies_what_it_is_given(key):
    net, optimizer = nn.dense(3), optax.sgd(0.1)
    x, y = data()
    params = net.init(key, x)
    state = nn.init_state(net, optimizer, key, params=params)
    nn.make_step(net, optimizer, cross_entropy)(state, x, y)
    assert np.isfinite(params.weights["kernel"]).all()
    assert not key.is_deleted()


def test_rows_masked_out_do_not_count(key):
    net, optimizer = nn.dense(3), optax.sgd(0.1)
    x, y = data()
    step = nn.make_step(net, optimizer, cross_entropy, metrics={"accuracy": nn.accuracy})
    states = [nn.init_state(net, optimizer, key, x) for _ in range(2)]
    x2, y2 = x.copy(), y.copy()
    x2[8:], y2[8:] = 100.0, 0
    masked, scores = step(states[0], x2, y2, np.arange(12) < 8)
    short, expected = step(states[1], x[:8], y[:8])
    assert_close(masked.params, short.params)
    assert_close(scores, expected)


def test_losses_of_another_form(key):
    net, optimizer = nn.dense(3), optax.sgd(0.1)
    x, y = data()
    state = nn.init_state(net, optimizer, key, x)
    with pytest.raises(
        ValueError, match=r"loss: must return one value per example, \(N,\) with N = 12, or .* or a scalar"
    ):
        nn.make_step(net, optimizer, lambda p, t: jnp.zeros(5))(state, x, y)
    scalar = nn.make_step(net, optimizer, lambda p, t: cross_entropy(p, t).mean())
    with pytest.raises(ValueError, match=r"loss: a function that returns a scalar cannot leave out the rows"):
        scalar(state, x, y, np.ones(12, bool))
    _, scores = scalar(state, x, y)
    assert scores["loss"].shape == ()


def test_losses_of_several_values_a_row_are_averaged(key):
    net, optimizer = nn.dense(3), optax.sgd(0.1)
    x, _ = data()
    target = np.ones((12, 3), np.float32)
    state = nn.init_state(net, optimizer, key, x)
    expected = np.square(np.asarray(net.apply(state.params, x)) - target).mean() / 2
    _, scores = nn.make_step(net, optimizer, optax.l2_loss)(state, x, target)
    assert_close(scores["loss"], expected)


def test_states_that_do_not_fit(key):
    net, optimizer = nn.dense(3), optax.sgd(0.1)
    x, y = data()
    step = nn.make_step(net, optimizer, cross_entropy)
    old = nn.init_state(net, optimizer, key, x)
    new, _ = step(old, x, y)
    used = (
        r"must not have been given to a step before, which takes its memory; go on with the state that the st"
    )
    with pytest.raises(ValueError, match=f"step: state {used}"):
        step(old, x, y)
    with pytest.raises(ValueError, match=f"evaluate: params {used}"):
        nn.evaluate(net, old.params, (x, y), {"accuracy": nn.accuracy})
    with pytest.raises(ValueError, match=f"init_state: params {used}"):
        nn.init_state(net, optimizer, key, params=old.params)
    with pytest.raises(ValueError, match=f"fit: params {used}"):
        nn.fit(net, optimizer, cross_entropy, (x, y), key=key, epochs=1, batch_size=4, params=old.params)
    with pytest.raises(TypeError, match=r"step: state must be a TrainState, as init_state gives, got Params"):
        step(new.params, x, y)
    for other in (optax.adam(0.1), optax.sgd(0.1, momentum=0.9)):
        state = nn.init_state(net, other, key, x)
        with pytest.raises(
            ValueError, match="step: state must be one of the optimiser that the step was made wi"
        ):
            step(state, x, y)
        assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(state)), "nothing was lost"
    for arguments, name in ((("x", y), "x"), ((x, object()), "y"), ((x, y, "all"), "mask")):
        with pytest.raises(TypeError, match=rf"(step: {name}|mask:) must be "):
            step(new, *arguments)


def test_a_step_is_still_a_jitted_function(key):
    net, optimizer = nn.dense(3), optax.sgd(0.1)
    x, y = data()
    step, state = nn.make_step(net, optimizer, cross_entropy), nn.init_state(net, optimizer, key, x)
    assert "stablehlo" in step.lower(state, x, y).as_text()
    assert jax.eval_shape(step, state, x, y)[1]["loss"].shape == ()
    losses = jax.lax.scan(lambda state, _: step(state, x, y), state, None, length=2)[1]["loss"]
    assert losses[1] < losses[0]


def test_init_state_needs_a_shape_or_params(key):
    with pytest.raises(ValueError, match="init_state: shape must be given where params are not, got None"):
        nn.init_state(nn.dense(3), optax.sgd(0.1), key)
