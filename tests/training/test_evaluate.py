import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn as nn
from tests.support import assert_close

LOGITS = np.array([[2, 1], [0, 3], [5, 4], [1, 2], [7, 0]], np.float32)
LABELS = np.array([0, 1, 1, 1, 1], np.int32)
NOTHING = nn.Params({}, {})


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 100])
def test_the_batch_size_does_not_change_the_mean(batch_size):
    scores = nn.evaluate(
        nn.linear, NOTHING, (LOGITS, LABELS), {"accuracy": nn.accuracy, "first": lambda p, t: p[:, 0]},
        batch_size=batch_size,
    )  # fmt: skip
    assert list(scores) == ["accuracy", "first"]
    assert all(type(value) is float for value in scores.values())
    assert_close(scores, {"accuracy": 3 / 5, "first": 3.0}, dtype=np.float32)


def test_it_uses_apply_and_not_train():
    net = nn.serial(nn.dropout(0.9), nn.linear)
    scores = nn.evaluate(net, NOTHING, (LOGITS, LABELS), {"accuracy": nn.accuracy})
    assert_close(scores, {"accuracy": 0.6}, dtype=np.float32)


def test_evaluating_again_does_not_compile_again():
    traces = []

    def metric(prediction, target):
        traces.append(1)
        return prediction[:, 0]

    metrics = {"metric": metric}
    for _ in range(3):
        nn.evaluate(nn.linear, NOTHING, (LOGITS, LABELS), metrics, batch_size=2)
    assert len(traces) == 1


def test_accuracy_over_further_axes():
    logits = jnp.stack([jnp.eye(3)] * 2)
    np.testing.assert_array_equal(
        nn.accuracy(logits, jnp.array([[0, 1, 2], [0, 0, 0]])), [[1, 1, 1], [1, 0, 0]]
    )
    with pytest.raises(
        ValueError, match=r"accuracy: labels must have the shape of the logits without the last axis"
    ):
        nn.accuracy(logits, jnp.zeros((2,), jnp.int32))


@pytest.mark.parametrize(
    ("logits", "labels", "expected"),
    [
        *{
            "the first of equal logits": ([[1.0, 1.0], [1.0, 1.0]], [0, 1], [1, 0]),
            "a NaN": ([[np.nan, 1.0], [1.0, np.nan], [np.nan, np.nan]], [0, 0, 0], [0, 0, 0]),
            "infinite": ([[np.inf, 1.0], [-np.inf, 1.0], [-np.inf, np.inf]], [0, 1, 0], [1, 1, 0]),
            "no such class": ([[1.0, 0.0]] * 3, [-1, 2, 0], [0, 0, 1]),
            "whole logits": ([[3, 4], [5, 4]], [1, 1], [1, 0]),
            "booleans": ([[3.0, 4.0], [5.0, 4.0]], [True, True], [1, 0]),
            "narrow": (np.eye(300)[[256, 255]], np.array([0, 255], np.uint8), [0, 1]),
            "unsigned": ([[3.0, 4.0]], np.array([1], np.uint32), [1]),
        }.values()
    ],
)
def test_accuracy_at_the_edges(logits, labels, expected):
    hits = nn.accuracy(jnp.asarray(logits), jnp.asarray(labels))
    assert hits.dtype == jnp.float32
    np.testing.assert_array_equal(hits, expected)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (
            np.ones((4, 1)),
            np.ones(4, int),
            r"must have two classes or more on the last axis, got shape \(4, 1\)",
        ),
        (
            np.eye(4),
            np.ones(4),
            "labels must be integers, got float32; one-hot labels or probabilities become",
        ),
        (np.eye(4), np.eye(4, dtype=int), r"got \(4, 4\); one-hot labels become integers by labels.argmax"),
        (np.eye(4), np.ones((4, 1), int), r"without the last axis, \(4,\), got \(4, 1\)"),
        (np.eye(4, dtype=complex), np.ones(4, int), "logits must be real numbers, got complex64"),
    ],
)
def test_accuracy_of_what_has_none(logits, labels, message):
    """Refused by itself and in ``evaluate``."""
    with pytest.raises((TypeError, ValueError), match=message):
        nn.accuracy(logits, labels)
    with pytest.raises((TypeError, ValueError), match=message):
        nn.evaluate(nn.linear, NOTHING, (logits, labels), {"accuracy": nn.accuracy})


def test_a_metric_without_a_hash():
    class Share(list):
        def __call__(self, prediction, target):
            return target == 1

    assert nn.evaluate(nn.linear, NOTHING, (LOGITS, LABELS), {"share": Share()}) == {
        "share": pytest.approx(0.8)
    }


def test_no_data():
    with pytest.raises(
        ValueError, match=r"evaluate: data: inputs and targets must hold at least one example"
    ):
        nn.evaluate(nn.linear, NOTHING, (LOGITS[:0], LABELS[:0]), {"accuracy": nn.accuracy})


def test_sharded_data(key):
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    x = jax.device_put(np.tile(LOGITS, (8, 1)), jax.NamedSharding(mesh, jax.P("batch")))
    scores = nn.evaluate(
        nn.linear, NOTHING, (x, np.tile(LABELS, 8)), {"accuracy": nn.accuracy}, batch_size=40
    )
    assert_close(scores["accuracy"], 0.6, dtype=np.float32)
