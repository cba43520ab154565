"""Many steps per dispatch are the steps made one by one, to the bit."""

import os
import signal
import time

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn as nn
from jaxnn.training import device_loop
from jaxnn.training.device_loop import DeviceLoop
from tests.support import deep

cross_entropy = optax.softmax_cross_entropy_with_integer_labels
IMAGES = np.random.default_rng(0).standard_normal((22, 6, 6, 2)).astype(np.float32)
LABELS = (np.arange(22) % 3).astype(np.int32)

NETS = {
    "dense": lambda: nn.serial(nn.flatten, nn.dense(8), nn.dropout(0.2), nn.relu, nn.dense(3)),
    "convolutions": lambda: nn.serial(
        nn.conv(4, 3), nn.batch_norm(), nn.relu, nn.max_pool(2), nn.conv(4, 2, groups=2), nn.flatten,
        nn.dense(3),
    ),
    "recurrent": lambda: nn.serial(nn.reshape(6, 12), nn.lstm(5, outputs="last"), nn.dense(3)),
}  # fmt: skip


def fit(net, batch_size=4, data=(IMAGES, LABELS), optimizer=None, **settings):
    run = {"key": jax.random.key(0), "epochs": 2, "progress": False, **settings}
    rows = []
    found = nn.fit(
        net, optimizer or optax.sgd(0.1, momentum=0.9), cross_entropy, data, batch_size=batch_size,
        on_step=lambda *row: rows.append(row), **run,
    )  # fmt: skip
    return found, rows


def assert_same(one, other):
    chex.assert_trees_all_equal(one[0].params, other[0].params)
    assert one[0].history == other[0].history
    assert one[1] == other[1]


@pytest.mark.parametrize("name", ["dense", deep("convolutions"), deep("recurrent")])
def test_blocks_of_any_size_and_batches_from_the_host_give_the_same(name, monkeypatch):
    """22 rows in batches of 4: the last one is short, so that a mask is in it too."""
    net = NETS[name]()
    looped = fit(net)
    assert [step for step, _ in looped[1]] == list(range(1, 13))
    monkeypatch.setattr(device_loop, "MOST", 1)
    assert_same(fit(net), looped)
    assert_same(fit(net, on_device=False), looped)


def test_many_steps_are_one_dispatch(monkeypatch):
    blocks = []
    advance = DeviceLoop.advance

    def counted(self, state):
        made = advance(self, state)
        blocks.extend([] if made is None else [len(made[1].counts)])
        return made

    monkeypatch.setattr(DeviceLoop, "advance", counted)
    x = np.ones((4000, 1), np.float32)
    nn.fit(
        nn.dense(1), optax.sgd(0.1), optax.squared_error, (x, x), key=jax.random.key(0), epochs=1,
        batch_size=1, progress=False,
    )  # fmt: skip
    assert sum(blocks) == 4000
    assert max(blocks) >= 64


def test_ctrl_c_is_heard_between_two_blocks(capsys):
    """Within a second of it the run has ended: steps of a millisecond, of which an epoch has 10,000."""
    pressed = []

    def press(step, scores):
        if step == 100:
            pressed.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

    def slow(prediction, target):
        busy = jax.lax.fori_loop(0, 30, lambda i, a: jnp.sin(a @ a), jnp.ones((40, 40)))
        return optax.squared_error(prediction, target) + 0 * busy.sum()

    x = np.ones((10_000, 1), np.float32)
    result = nn.fit(
        nn.dense(1), optax.sgd(0.01), slow, (x, x), key=jax.random.key(0), epochs=1, batch_size=1,
        on_step=press, progress=False,
    )  # fmt: skip
    assert result.history == {}
    steps = int(capsys.readouterr().out.split()[3])
    assert 100 <= steps < 5000


def test_an_optimizer_whose_state_changes_its_dtype():
    """Its second step is another program than the first: no loop, but the same run."""

    def update(grads, state, params=None):
        return jax.tree.map(lambda g: -0.1 * g, grads), state.astype(jnp.float32) + 1

    optimizer = optax.GradientTransformation(lambda params: jnp.zeros((), jnp.float16), update)
    data = (IMAGES, LABELS)
    assert_same(
        fit(NETS["dense"](), optimizer=optimizer, data=data),
        fit(NETS["dense"](), optimizer=optimizer, data=data, on_device=False),
    )


def test_data_that_are_too_large_stay_where_they_are(monkeypatch):
    monkeypatch.setattr(device_loop, "SHARE", 0.0)
    monkeypatch.setattr(DeviceLoop, "__init__", None)
    assert fit(NETS["dense"]())[0].history
    with pytest.raises(TypeError):
        fit(NETS["dense"](), on_device=True)


def test_keys_among_the_data():
    keys = jax.random.split(jax.random.key(1), 8)
    draw = nn.stateless(
        "draw", lambda key, x: {"w": jnp.ones(())}, lambda w, key: w["w"] * jax.vmap(jax.random.normal)(key)
    )
    result = nn.fit(
        draw, optax.sgd(0.1), optax.squared_error, (keys, np.zeros(8, np.float32)), key=jax.random.key(0),
        epochs=2, batch_size=4, progress=False,
    )  # fmt: skip
    assert result.history["loss"][1] < result.history["loss"][0]
