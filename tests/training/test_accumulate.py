"""A batch in pieces trains as the whole batch does."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn as nn
from tests.support import assert_close, deep, equations

X = np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32)
Y = (np.arange(12) % 3).astype(np.int32)
MASK = np.arange(12) < 7
NET = nn.serial(nn.dense(8), nn.layer_norm(), nn.tanh, nn.dense(3))
cross_entropy = optax.softmax_cross_entropy_with_integer_labels


def steps(accumulate, net=NET, loss=cross_entropy, optimizer=None, data=(X, Y), mask=None, n=2):
    optimizer = optimizer or optax.sgd(0.5, momentum=0.9)
    step = nn.make_step(net, optimizer, loss, metrics={"accuracy": nn.accuracy}, accumulate=accumulate)
    state = nn.init_state(net, optimizer, jax.random.key(0), data[0])
    for _ in range(n):
        state, scores = step(state, *data, mask)
    return state, scores


@pytest.mark.parametrize(
    ("accumulate", "mask"),
    [(4, MASK), *(deep(*one) for one in ((2, None), (4, np.zeros(12, bool)), (12, None), (12, MASK)))],
)
def test_it_equals_the_whole_batch(accumulate, mask):
    """With a mask too, that counts another number of rows in each piece, or none at all."""
    (state, scores), (whole, expected) = steps(accumulate, mask=mask), steps(1, mask=mask)
    assert_close(scores, expected)
    assert_close(state.params, whole.params)
    assert int(state.step) == 2


def test_a_line_search_sees_the_whole_batch():
    search = optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(4))
    (state, _), (whole, _) = (steps(k, nn.dense(3), optimizer=search) for k in (3, 1))
    assert_close(state.params, whole.params, roundings=64)


def test_a_scalar_loss():
    mean = lambda p, t: cross_entropy(p, t).mean()  # noqa: E731
    assert_close(steps(3, loss=mean)[0].params, steps(3)[0].params)


def test_state_passes_from_piece_to_piece_and_keys_differ():
    """Batch norm's running statistics see each piece; dropout draws anew for each."""
    net = nn.serial(nn.dense(8), nn.batch_norm(), nn.dropout(0.5), nn.dense(3))
    state, _ = steps(2, net, n=1)
    optimizer = optax.sgd(0.5, momentum=0.9)
    start = nn.init_state(net, optimizer, jax.random.key(0), X)
    params = start.params
    key = jax.random.fold_in(start.key, 0)
    for i in range(2):
        _, after = net.train(params, X[i::2], jax.random.fold_in(key, i))
        params = params._replace(state=after)
    assert_close(state.params.state, params.state)


def test_sums_of_half_precision_gradients_are_float32():
    params = jax.tree.map(lambda w: w.astype(jnp.bfloat16), NET.init(jax.random.key(0), X))
    optimizer = optax.sgd(1.0)
    step = nn.make_step(NET, optimizer, cross_entropy, accumulate=4)
    state = nn.init_state(NET, optimizer, jax.random.key(0), params=params)
    x = jnp.asarray(X, jnp.bfloat16)
    (scan,) = (e for e in equations(jax.make_jaxpr(step)(state, x, Y).jaxpr) if e.primitive.name == "scan")
    assert {v.aval.dtype for v in scan.outvars} == {jnp.dtype("float32")}
    state, _ = step(state, x, Y)
    assert all(w.dtype == jnp.bfloat16 for w in jax.tree.leaves(state.params))


def test_a_batch_that_it_does_not_divide():
    message = r"step: a batch must have rows that accumulate=5 divides, got shape \(12, 4\)"
    with pytest.raises(ValueError, match=message):
        steps(5)
