"""A scaled loss keeps gradients that float16 would lose, and leaves out steps that it spoils."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnn as nn
from tests.support import assert_close, on_cpu

X = np.full((8, 3), 0.5, np.float32)
NET = nn.mixed_precision(nn.dense(1), compute=jnp.float16)


def error(factor):
    return lambda p, t: jnp.float32(factor) * (p.astype(jnp.float32) - t) ** 2


def run(optimizer, factor, n, net=NET, loss=None):
    step = nn.make_step(net, optimizer, loss or error(factor))
    state = nn.init_state(net, optimizer, jax.random.key(0), X)
    weights, scales = [jax.device_get(state.params.weights)], []
    for _ in range(n):
        scales.append(nn.training.scale_of(state.opt_state))
        scales[-1] = None if scales[-1] is None else float(scales[-1])
        state, scores = step(state, X, np.ones((8, 1), np.float32))
        weights.append(jax.device_get(state.params.weights))
    return weights, scales, scores


@on_cpu
def test_small_gradients_survive():
    """Of 1e-7 and less by one example: 0 in float16, unless scaled."""
    tiny = 1e-7
    exact, _, _ = run(optax.sgd(1 / tiny), tiny, 1, net=nn.dense(1))
    plain, none, _ = run(optax.sgd(1 / tiny), tiny, 1)
    scaled, _, _ = run(nn.training.scaled_loss(optax.sgd(1 / tiny)), tiny, 1)
    assert none == [None]
    assert_close(scaled[1], exact[1], roundings=16, dtype=jnp.float16)
    assert np.abs(plain[1]["kernel"] - exact[1]["kernel"]).max() > 0.05


@on_cpu
def test_a_step_that_overflows_is_left_out_and_the_scale_halved():
    optimizer = nn.training.scaled_loss(optax.rmsprop(0.1), initial=2.0**20, period=2)
    weights, scales, scores = run(optimizer, 1.0, 12)
    moved = [not np.array_equal(a["kernel"], b["kernel"]) for a, b in pairwise(weights)]
    assert not moved[0]
    assert moved[-1]
    assert all(np.isfinite(w["kernel"]).all() for w in weights)
    assert np.isfinite(scores["loss"])
    for before, after, good in zip(scales, scales[1:], moved, strict=False):
        assert after in ((before, 2 * before) if good else (before / 2,))
    assert max(scales[scales.index(min(scales)) :]) > min(scales), "it grows again after two good steps"


def test_the_scale_stays_within_its_bounds():
    assert (
        run(nn.training.scaled_loss(optax.sgd(0.0), initial=2.0**24, period=1), 1.0, 3, nn.dense(1))[1][-1]
        == 2**24
    )
    lost = lambda p, t: p * jnp.float32(jnp.nan)  # noqa: E731
    assert run(nn.training.scaled_loss(optax.sgd(0.0), initial=2.0), 1.0, 4, nn.dense(1), lost)[1] == [
        2,
        1,
        1,
        1,
    ]


def test_in_float32_it_changes_nothing():
    """A power of two scales without rounding."""
    plain, _, expected = run(optax.rmsprop(0.1), 1.0, 3, nn.dense(1))
    scaled, _, scores = run(nn.training.scaled_loss(optax.rmsprop(0.1)), 1.0, 3, nn.dense(1))
    assert_close(scaled, plain)
    assert_close(scores, expected)
