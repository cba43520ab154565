"""What is reported of a run: to functions, and to files."""

import csv
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn as nn

X = np.random.default_rng(0).standard_normal((10, 3)).astype(np.float32)
Y = X.sum(axis=1, keepdims=True)


def fit(**settings):
    run = {"key": jax.random.key(0), "epochs": 3, "batch_size": 4, "progress": False, **settings}
    metrics = {"error": lambda p, t: abs(p - t)}
    return nn.fit(nn.dense(1), optax.sgd(0.1), optax.squared_error, (X, Y), metrics=metrics, **run)


@pytest.mark.parametrize("on_device", [True, False])
def test_every_step_and_every_epoch_are_told_in_order(on_device):
    steps, others, epochs = [], [], []
    result = fit(
        on_step=[lambda *row: steps.append(row), lambda *row: others.append(row)],
        on_epoch=lambda *row: epochs.append(row), validation=(X, Y), on_device=on_device,
    )  # fmt: skip
    assert [step for step, _ in steps] == list(range(1, 10))
    assert others == steps
    assert all(list(scores) == ["loss", "error"] for _, scores in steps)
    assert all(type(value) is float for _, scores in steps for value in scores.values())
    assert [epoch for epoch, _ in epochs] == [1, 2, 3]
    names = ["loss", "error", "val_loss", "val_error"]
    assert list(epochs[0][1]) == names
    assert result.history == {name: [means[name] for _, means in epochs] for name in names}
    of_first = [scores["loss"] for _, scores in steps[:3]]
    assert epochs[0][1]["loss"] == pytest.approx((4 * of_first[0] + 4 * of_first[1] + 2 * of_first[2]) / 10)


def test_the_step_that_is_not_finite_is_told_before_the_run_ends():
    steps = []
    optimizer = optax.sgd(lambda count: jnp.where(count == 3, 1e30, 0.1))
    with pytest.raises(FloatingPointError, match="at step 5"):
        nn.fit(
            nn.dense(1), optimizer, optax.squared_error, (X, Y), key=jax.random.key(0), epochs=3,
            batch_size=4, progress=False, on_step=lambda *row: steps.append(row),
        )  # fmt: skip
    assert [step for step, _ in steps] == [1, 2, 3, 4, 5]
    assert not math.isfinite(steps[-1][1]["loss"])


def test_an_error_of_a_callback_is_raised_as_it_is():
    def full(step, scores):
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        fit(on_step=full)


def test_lines_of_json(tmp_path):
    path = tmp_path / "run.jsonl"
    steps = []
    fit(on_step=[nn.training.JSONLines(path), lambda *row: steps.append(row)])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows == [{"step": step, **scores} for step, scores in steps]
    nn.training.JSONLines(path, "epoch")(1, {"loss": math.nan, "other": -math.inf})
    assert json.loads(path.read_text().splitlines()[-1]) == {"epoch": 1, "loss": None, "other": None}


def test_rows_of_csv_are_continued(tmp_path):
    path = tmp_path / "run.csv"
    epochs = []
    for _ in range(2):
        fit(epochs=2, on_epoch=[nn.training.CSV(path, "epoch"), lambda *row: epochs.append(row)])
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["epoch"]), float(row["loss"]), float(row["error"])) for row in rows] == [
        (epoch, means["loss"], means["error"]) for epoch, means in epochs
    ]
    with pytest.raises(
        ValueError, match=r"CSV: scores must be those of .*run.csv, \['epoch', 'loss', 'error'\]"
    ):
        nn.training.CSV(path, "epoch")(3, {"loss": 1.0})


def test_tensorboard(tmp_path):
    steps = []
    board = nn.training.TensorBoard(tmp_path / "run", "train/")
    fit(on_step=[board, lambda *row: steps.append(row)])
    board.close()
    (file,) = (tmp_path / "run").glob("events*")
    written = file.read_bytes()
    assert written.count(b"train/loss") == written.count(b"train/error") == len(steps)


@pytest.mark.parametrize("writer", [nn.training.JSONLines, nn.training.CSV])
def test_a_file_that_cannot_be_written_is_found_out_at_once(writer, tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        writer(tmp_path / "nowhere" / "run")


def test_the_best_epoch_is_kept_and_the_rest_not_waited_for(capsys):
    """The rate is so large from epoch 3 on that things only get worse."""
    rate = lambda count: jnp.where(count < 6, 0.05, 3.0)  # noqa: E731
    shown = []

    def run(epochs, **settings):
        return nn.fit(
            nn.dense(1), optax.sgd(rate), optax.squared_error, (X, Y), key=jax.random.key(0), batch_size=4,
            epochs=epochs, validation=(X, Y), metrics={"score": lambda p, t: -((p - t) ** 2)}, progress=False,
            on_epoch=lambda *row: shown.append(row), **settings,
        )  # fmt: skip

    expected = run(2)
    for rule in (
        nn.training.Best("val_loss", patience=2),
        nn.training.Best("val_score", higher=True, patience=2),
    ):
        found = run(50, best=rule)
        assert len(found.history["loss"]) == 4
        jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)
        reason = f"{rule.score} has not become better than {found.history[rule.score][1]} for 2 epochs"
        assert f"fit: stopped after epoch 4: {reason}" in capsys.readouterr().out
    assert len(run(5, best=nn.training.Best("loss")).history["loss"]) == 5
    assert len(run(50, best=nn.training.Best("val_loss", patience=1, margin=1e6)).history["loss"]) == 2


def test_an_average_is_validated_and_returned():
    optimizer = nn.training.averaged(optax.sgd(0.1), 0.9)
    settings = {
        "key": jax.random.key(0), "epochs": 3, "batch_size": 4, "validation": (X, Y), "progress": False,
    }  # fmt: skip
    by_hand = nn.fit(nn.dense(1), optimizer, optax.squared_error, (X, Y), **settings)
    result = nn.fit(nn.dense(1), optax.sgd(0.1), optax.squared_error, (X, Y), average=0.9, **settings)
    plain = nn.fit(nn.dense(1), optax.sgd(0.1), optax.squared_error, (X, Y), **settings)
    assert result.history == by_hand.history
    assert result.history["loss"] == plain.history["loss"]
    assert result.history["val_loss"] != plain.history["val_loss"]
    scores = nn.evaluate(nn.dense(1), result.params, (X, Y), {"loss": optax.squared_error})
    assert scores["loss"] == pytest.approx(result.history["val_loss"][-1])


def test_accumulation_gives_the_same_run():
    whole, pieces = fit(epochs=2), fit(epochs=2, accumulate=4)
    assert pieces.history["loss"] == pytest.approx(whole.history["loss"], rel=1e-5)
