"""Losses and metrics per step: only real steps count, each the same, however the batch is cut."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn as nn
from tests.support import assert_close, rng_array

N, T, CLASSES = 6, 5, 3
LENGTHS = np.array([5, 1, 0, 3, 2, 4], np.int32)
IDS = np.random.default_rng(0).integers(0, 4, (N, T)).astype(np.int32)
LABELS = np.where(np.arange(T) < LENGTHS[:, None], IDS % CLASSES, -1)
ENTROPY = optax.softmax_cross_entropy_with_integer_labels
LOSS = nn.training.per_step(ENTROPY)
NET = nn.serial(nn.embedding(4, 3), nn.rnn(3), nn.dense(CLASSES))
PARAMS = NET.init(jax.random.key(0), (IDS, LENGTHS))


def expected(labels=LABELS, lengths=LENGTHS):
    """The mean over all real steps, in NumPy."""
    logits, _ = NET.apply(PARAMS, (IDS, LENGTHS))
    values = ENTROPY(logits, jnp.maximum(labels, 0))
    real = np.arange(T) < lengths[:, None]
    return float(np.asarray(values, np.float64)[real].mean())


@pytest.mark.parametrize("batch_size", [6, 4, 1])
def test_evaluate_gives_the_mean_over_all_steps_whatever_the_batches(batch_size):
    metrics = {"loss": LOSS, "accuracy": nn.training.per_step(nn.accuracy)}
    found = nn.evaluate(NET, PARAMS, ((IDS, LENGTHS), LABELS), metrics, batch_size=batch_size)
    assert_close(found["loss"], expected())
    logits, _ = NET.apply(PARAMS, (IDS, LENGTHS))
    real = np.arange(T) < LENGTHS[:, None]
    assert_close(found["accuracy"], float((np.asarray(logits).argmax(-1) == LABELS)[real].mean()))


@pytest.mark.parametrize(
    "target",
    [(LABELS, LENGTHS), (LABELS, np.arange(T) < LENGTHS[:, None])],
    ids=["lengths", "weights"],
)
def test_the_target_may_say_which_steps_are_real(target):
    logits, _ = NET.apply(PARAMS, (IDS, LENGTHS))
    totals, counts = LOSS(logits, target)
    assert_close(float(totals.sum() / counts.sum()), expected())
    shorter = np.minimum(LENGTHS, 2)
    totals, counts = LOSS((logits, LENGTHS), (LABELS, shorter))
    assert_close(float(totals.sum() / counts.sum()), expected(lengths=shorter))


def test_weights_of_steps():
    logits, weights = rng_array(N, T, CLASSES), np.abs(rng_array(N, T, seed=1))
    totals, counts = LOSS(logits, (np.maximum(LABELS, 0), weights))
    values = ENTROPY(logits, np.maximum(LABELS, 0))
    assert_close((totals, counts), ((weights * values).sum(1), weights.sum(1)))


def test_padding_reaches_neither_loss_nor_gradient():
    def grad(params, x, labels):
        def loss(weights):
            prediction, _ = NET.train(params._replace(weights=weights), (x, LENGTHS))
            totals, counts = LOSS(prediction, labels)
            return totals.sum() / counts.sum()

        return jax.value_and_grad(loss)(params.weights)

    more = [np.concatenate([a, np.full((N, 3), -7, np.int32)], 1) for a in (IDS, LABELS)]
    assert_close(jax.jit(grad)(PARAMS, *more), jax.jit(grad)(PARAMS, IDS, LABELS))


def test_a_batch_in_pieces_gives_the_same_step():
    """Though the pieces have different numbers of steps, and one of them none."""
    steps = {}
    for pieces in (1, 3, 6):
        step = nn.make_step(NET, optax.sgd(1.0), LOSS, metrics={"own": LOSS}, accumulate=pieces)
        state = nn.init_state(NET, optax.sgd(1.0), jax.random.key(0), (IDS, LENGTHS), params=PARAMS)
        state, scores = step(state, (IDS, LENGTHS), LABELS, np.arange(N) < 5)
        steps[pieces] = jax.device_get((state.params.weights, scores))
    assert_close(steps[3], steps[1])
    assert_close(steps[6], steps[1])
    assert set(steps[6][1]) == {"loss", "own"}


def test_fit_learns_with_it():
    data = (IDS, LENGTHS), LABELS
    result = nn.fit(
        NET, optax.rmsprop(0.03), LOSS, data, key=jax.random.key(1), epochs=60, batch_size=4, validation=data,
        metrics={"accuracy": nn.training.per_step(nn.accuracy)}, progress=False,
    )  # fmt: skip
    assert result.history["val_accuracy"][-1] > 0.9
    assert result.history["loss"][-1] < result.history["loss"][0]


@pytest.mark.parametrize(("pieces", "on_device"), [(1, True), (2, False)])
def test_the_history_is_the_mean_over_all_steps_of_the_epoch(pieces, on_device):
    """Though batches have different numbers of steps, and the last is filled up; nothing is learnt."""
    metrics = {"examples": lambda y, labels: jnp.arange(3.0)[labels.max(1)]}
    rows = []
    result = nn.fit(
        NET, optax.sgd(0.0), LOSS, ((IDS, LENGTHS), LABELS), key=jax.random.key(1), epochs=2, batch_size=4,
        params=PARAMS, accumulate=pieces, on_device=on_device, on_step=lambda _, row: rows.append(row),
        metrics=metrics, progress=False,
    )  # fmt: skip
    assert_close(result.history["loss"], [expected()] * 2, terms=LENGTHS.sum())
    assert_close(result.history["examples"], [float(np.arange(3.0)[LABELS.max(1)].mean())] * 2)
    assert [set(row) for row in rows] == [{"loss", "examples"}] * 4


def test_bad_input_gets_a_sentence():
    logits = rng_array(N, T, CLASSES)
    with pytest.raises(TypeError, match=r"per_step: function must be a function of \(prediction, target\)"):
        nn.training.per_step("accuracy")
    with pytest.raises(
        ValueError, match=r"per_step: function must return one value per step, \(N, T\) = \(6, 5\)"
    ):
        nn.training.per_step(lambda y, labels: y.sum())(logits, LABELS)
    with pytest.raises(
        ValueError, match=r"per_step: the target's weights must be \(N, T\) = \(6, 5\), or lengths"
    ):
        LOSS(logits, (LABELS, logits))
    with pytest.raises(
        ValueError, match=r"per_step: the prediction's lengths must be \(N,\) = \(6,\), one for"
    ):
        LOSS((logits, LENGTHS[:2]), LABELS)
    with pytest.raises(ValueError, match=r"per_step: the target's lengths must come with steps, \(N, T, …\)"):
        LOSS(logits, (LABELS[:, 0], LENGTHS))
