"""A whole run over many devices equals that on one."""

import jax
import numpy as np
import optax
import pytest

import jaxnn as nn
from jaxnn.distribution import by_path, fully_sharded, gather, mesh, replicated
from tests.distribution.nets import CLASSES, LOSS, NETS, OPTIMIZER
from tests.support import assert_close, deep, rng_array

#: 19 examples in batches of 8: the last one has three.
X, Y = rng_array(19, 16), (np.arange(19) % CLASSES).astype(np.int32)
VALIDATION = rng_array(11, 16, seed=1), (np.arange(11) % CLASSES).astype(np.int32)
NET, _ = NETS["dropout"]
SCORED = {"validation": VALIDATION, "metrics": {"accuracy": nn.accuracy}}


def run(sharding=None, data=(X, Y), **options):
    options = {"epochs": 2} | options
    if isinstance(data, tuple):
        options.setdefault("batch_size", 8)
    params, history = nn.fit(
        NET, OPTIMIZER, LOSS, data, key=jax.random.key(0), progress=False, sharding=sharding, **options
    )
    return gather(params), history


def sharded(**options):
    return fully_sharded(mesh(**options), smallest=16)


@pytest.mark.parametrize(
    ("explicit", "on_device"), [deep(False, True), (True, False), deep(False, False), deep(True, True)]
)
def test_a_run_over_eight_devices_equals_that_on_one(explicit, on_device):
    rules = sharded(explicit=explicit), None
    assert_close(*(run(rule, on_device=on_device, **SCORED) for rule in rules))


def batches(epoch):
    """A short last batch, of whose rows one doesn't count."""
    yield X[:8], Y[:8]
    yield X[8:16], Y[8:16]
    yield X[16:], Y[16:], np.array([True, True, False])


@pytest.mark.deep
def test_a_run_over_batches_with_averaged_weights():
    found = [run(rule, data=batches, average=0.5, accumulate=1) for rule in (None, sharded())]
    assert_close(*found)


def test_callbacks_the_best_params_and_a_start_from_given_ones():
    start = NET.init(jax.random.key(5), X[:1])
    found = []
    for rule in (None, replicated(mesh())):
        steps = []
        best = nn.training.Best("val_loss", patience=1)
        options = {"best": best, "on_step": lambda *told, steps=steps: steps.append(told), **SCORED}
        result = run(rule, params=start, **options)
        found.append((result, steps))
    assert_close(*found)


@pytest.mark.deep
def test_a_run_goes_on_over_other_devices(tmp_path):
    """Saved over eight devices, with split weights; restored on four, and at last on one."""
    rules = [sharded(), sharded(sizes={"data": 4}, devices=jax.devices()[:4]), None]
    for epochs, rule in enumerate(rules, 1):
        found = run(rule, epochs=epochs, checkpoint=tmp_path, best=nn.training.Best("loss"))
    assert_close(found, run(epochs=3, best=nn.training.Best("loss")))


def test_a_step_that_is_not_finite_names_its_layer():
    start = jax.tree.map(lambda leaf: np.full_like(leaf, 3e38), NET.init(jax.random.key(0), X[:1]))
    with pytest.raises(FloatingPointError, match=r"the loss is NaN at step 1 .*dense_0"):
        run(sharded(), params=start, find_nan=True, epochs=1)


def test_evaluate_over_devices():
    params = NET.init(jax.random.key(5), X[:1])
    metrics = {"loss": LOSS, "accuracy": nn.accuracy}
    expected = nn.evaluate(NET, params, VALIDATION, metrics, batch_size=4)
    for explicit in (False, True):
        found = nn.evaluate(
            NET, params, VALIDATION, metrics, batch_size=4, sharding=sharded(explicit=explicit)
        )
        assert_close(found, expected)
    loader = [(X[:8], Y[:8]), (X[8:11], Y[8:11])]
    expected = nn.evaluate(NET, params, iter(loader), metrics)
    assert_close(nn.evaluate(NET, params, iter(loader), metrics, sharding=sharded()), expected)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (
            {"sharding": 3},
            TypeError,
            "fit: sharding must be a rule of nn.distribution, such as fully_sharded",
        ),
        (
            {"batch_size": 12},
            ValueError,
            "fit: batches of batch_size must have rows that the 8 devices along 'data' divide, got 12",
        ),
        (
            {"accumulate": 2},
            ValueError,
            "rows that the 8 devices along 'data' and accumulate=2 divide, got 8",
        ),
        (
            {"data": lambda epoch: iter([(X[:6], Y[:6])])},
            ValueError,
            "fit: batches must have rows that the 8 devices along 'data' divide, got 6",
        ),
        (
            {"sharding": by_path(mesh(), {"tail/*": jax.P()})},
            ValueError,
            "by_path: 'tail/.' must match the path of an array, got the paths dense_0/bias, dense_0/kernel",
        ),
    ],
)
def test_what_is_wrong_gets_a_sentence_before_the_first_step(options, error, text):
    options = {"sharding": replicated(mesh())} | options
    with pytest.raises(error, match=text):
        run(**options)


def test_evaluate_takes_only_rules():
    params = NET.init(jax.random.key(5), X[:1])
    with pytest.raises(TypeError, match="evaluate: sharding must be a rule"):
        nn.evaluate(NET, params, VALIDATION, {"accuracy": nn.accuracy}, sharding=optax.sgd(0.1))
