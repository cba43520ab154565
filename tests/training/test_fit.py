import os
import signal
import threading

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn as nn
from tests.support import assert_close, deep

cross_entropy = optax.softmax_cross_entropy_with_integer_labels


def data(n=37):
    x = np.random.default_rng(0).standard_normal((n, 4)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(np.int32)


def net():
    return nn.serial(nn.dense(8), nn.batch_norm(), nn.relu, nn.dropout(0.1), nn.dense(2))


def fit(key, **options):
    settings = {"data": data(), "epochs": 3, "batch_size": 8, "progress": False, **options}
    return nn.fit(net(), optax.sgd(0.1, momentum=0.9), cross_entropy, key=key, **settings)


def test_it_learns(key):
    result = fit(key, epochs=30, metrics={"accuracy": nn.accuracy}, validation=data(20))
    assert list(result.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert all(
        len(values) == 30 and all(type(v) is float for v in values) for values in result.history.values()
    )
    assert result.history["loss"][-1] < result.history["loss"][0] / 2
    assert result.history["val_accuracy"][-1] >= 0.85


def test_the_same_key_gives_the_same_run_bit_for_bit(key):
    first, second = fit(key), fit(key)
    chex.assert_trees_all_equal(first.params, second.params)
    assert first.history == second.history
    other = fit(jax.random.key(1))
    assert other.history != first.history


def test_a_short_last_batch_is_neither_compiled_nor_averaged_wrongly(key):
    """37 rows in batches of 8: all losses are 1 but those of the last rows in order; the mean is over 37."""
    shapes = []

    def loss(prediction, target):
        shapes.append(prediction.shape)
        return target + 0 * prediction.sum(axis=-1)

    x = data()[0]
    y = np.arange(37, dtype=np.float32)
    result = nn.fit(
        nn.dense(2), optax.sgd(0.0), loss, (x, y), key=key, epochs=2, batch_size=8, progress=False
    )
    assert_close(result.history["loss"], [18.0, 18.0], dtype=np.float32)
    assert shapes == [(8, 2)]


def test_params_to_start_from_are_left_alone(key):
    start = net().init(key, (1, 4))
    result = fit(key, params=start)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(start))
    assert not jnp.array_equal(result.params.weights["dense_0"]["kernel"], start.weights["dense_0"]["kernel"])
    chex.assert_trees_all_equal(fit(key, params=start, epochs=0).params, start)


def test_inputs_may_be_pytrees(key):
    model = nn.serial(nn.split(nn.dense(3), nn.dense(3)), lambda parts: parts[0] + parts[1], nn.dense(2))
    x, y = data()
    result = nn.fit(
        model, optax.sgd(0.1), cross_entropy, ((x, x), y), key=key, epochs=1, batch_size=8, progress=False
    )
    assert len(result.history["loss"]) == 1


def test_ctrl_c_returns_what_was_learnt(key, capsys):
    """The signal arrives in the middle of an epoch; the state that the step had donated is not lost."""
    steps, one_at_a_time = [], threading.Lock()

    def loss(prediction, target):
        def count(_):
            with one_at_a_time:
                steps.append(1)
                if len(steps) == 7:
                    os.kill(os.getpid(), signal.SIGINT)

        jax.debug.callback(count, prediction[0, 0])
        return cross_entropy(prediction, target)

    before = signal.getsignal(signal.SIGINT)
    result = nn.fit(net(), optax.sgd(0.1), loss, data(), key=key, epochs=500, batch_size=8, progress=False)
    assert signal.getsignal(signal.SIGINT) is before
    assert 7 <= len(steps) < 2000
    assert 1 <= len(result.history["loss"]) < 400
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.params))
    assert "fit: interrupted after" in capsys.readouterr().out


def test_an_interrupt_raised_elsewhere_is_taken_too(key):
    def stop(prediction, target):
        raise KeyboardInterrupt

    result = fit(key, validation=data(), metrics={"stop": stop})
    assert isinstance(result, nn.Fit)


def test_it_runs_outside_the_main_thread(key):
    results = []
    thread = threading.Thread(target=lambda: results.append(fit(key, epochs=1)))
    thread.start()
    thread.join()
    assert len(results[0].history["loss"]) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 38}, r"fit: batch_size must be from 1 to the 37 examples there are, got 38"),
        ({"batch_size": 0}, r"fit: batch_size must be from 1 to the 37 examples there are, got 0"),
        ({"epochs": -1}, r"fit: epochs must be at least 0, got -1"),
        (
            {"data": (data()[0], data()[1][:30])},
            r"inputs and targets must be .* of one length.* got lengths 37, 30",
        ),
        ({"validation": (data()[0], data()[1][:30])}, r"inputs and targets must be .* got lengths 37, 30"),
        ({"progress": "loud"}, r"fit: progress must be 'auto', 'bar', 'lines' or False, got 'loud'"),
    ],
)
def test_bad_settings(change, message, key):
    with pytest.raises(ValueError, match=message):
        fit(key, **change)


def test_lines_where_there_is_no_terminal(key, capsys):
    fit(key, epochs=2, progress="auto", metrics={"accuracy": nn.accuracy})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2  loss ")
    assert "accuracy" in lines[1]


def test_a_bar_on_a_terminal(key, capsys):
    fit(key, epochs=2, progress="bar")
    captured = capsys.readouterr()
    assert "epoch 2/2  loss" in captured.out
    assert "10/10" in captured.err


def test_an_ensemble_trains_as_one_program(key):
    members = nn.ensemble(net(), 3)
    loss = lambda logits, y: jax.vmap(cross_entropy, (0, None))(logits, y).sum(axis=0)  # noqa: E731
    result = nn.fit(members, optax.sgd(0.1), loss, data(), key=key, epochs=20, batch_size=8, progress=False)
    assert result.history["loss"][-1] < result.history["loss"][0] / 2


@pytest.mark.parametrize(
    ("validation", "metrics", "why"),
    [
        ((data()[0][:, :3], data()[1]), {}, "x must have 4 features"),
        ((data()[0], data()[1][:, None]), {}, "same number of dimensions"),
        ((data()[0], np.eye(2)[data()[1]]), {"accuracy": nn.accuracy}, "integer"),
        (data(9), {"mean": lambda p, t: p.mean()}, "mean: a function that returns a scalar cannot leave out"),
    ],
)
def test_a_validation_that_does_not_fit_is_told_before_the_first_epoch(validation, metrics, why, key, capsys):
    x, y = data(16)
    with pytest.raises(
        ValueError, match=f"fit: validation must fit the net, the loss and the metrics: .*{why}"
    ):
        fit(key, data=(x, y), validation=validation, metrics=metrics, progress="lines")
    assert capsys.readouterr().out == ""


def test_what_does_not_fit_the_data_is_not_laid_on_the_validation(key):
    with pytest.raises(ValueError, match=r"^mean: a function that returns a scalar cannot leave out"):
        fit(key, validation=data(16), metrics={"mean": lambda p, t: p.mean()})


@pytest.mark.parametrize(
    "way", [deep("disable_jit"), "debug_nans", deep("debug_infs"), deep("check_tracer_leaks")]
)
def test_under_the_ways_to_debug(way, key):
    x, y = data(5)
    with getattr(jax, way)(True):
        result = nn.fit(
            nn.dense(2), optax.sgd(0.1, momentum=0.9), cross_entropy, (x, y), key=key, epochs=1, batch_size=4,
            validation=(x, y), metrics={"accuracy": nn.accuracy}, progress=False,
        )  # fmt: skip
    assert len(result.history) == 4
