"""A run that is interrupted, at any step and in any way, and goes on, ends as one that was not."""

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from random import Random

import chex
import jax
import numpy as np
import optax
import orbax.checkpoint as orbax
import pytest

import jaxnn as nn
from jaxnn.training import epoch
from jaxnn.training.dispatch import Dispatch
from tests.support import deep
from tests.training.saving_run import run as simple

X = np.random.default_rng(0).standard_normal((22, 3)).astype(np.float32)
Y = X.sum(axis=1, keepdims=True)
NET = nn.serial(nn.dense(4), nn.batch_norm(), nn.dropout(0.1), nn.dense(1))
EPOCHS, STEPS = 3, 6  #: epochs, and steps in one
Checkpoints = nn.training.Checkpoints


def batches(epoch):
    order = np.random.default_rng(epoch).permutation(22)
    return [(X[rows], Y[rows]) for rows in np.array_split(order, range(4, 22, 4))]


def fit(**settings):
    arrays = "data" not in settings
    run = {
        "key": jax.random.key(0), "epochs": EPOCHS, "progress": False, "validation": (X, Y), "average": 0.9,
        "best": nn.training.Best("val_loss"), "metrics": {"error": lambda p, t: abs(p - t)},
        "data": (X, Y), "optimizer": optax.sgd(0.1, momentum=0.9), "net": NET, **settings,
    }  # fmt: skip
    if arrays:
        run = {"batch_size": 4, **run}
    return nn.fit(loss=optax.squared_error, **run)


def assert_same(one, other):
    chex.assert_trees_all_equal(one.params, other.params)
    assert one.history == other.history


class Stop(Exception):
    pass


def stop_at(step):
    def stop(now, scores):
        if now == step:
            raise Stop

    return stop


WAYS = {"on the device": {}, "from the host": {"on_device": False}, "a stream": {"data": batches}}


@cache
def undisturbed(way):
    return fit(**WAYS[way])


@pytest.mark.parametrize(
    ("way", "stops"),
    [
        ("on the device", (8,)),
        deep("a stream", (11,)),
        deep("on the device", (1, 8, 12, 17)),
        deep("from the host", (7, 9)),
        deep("a stream", (4, 11)),
        *(deep(way, (step,)) for way in WAYS for step in range(1, 18)),
    ],
)
def test_it_goes_on_bit_for_bit(way, stops, tmp_path, monkeypatch):
    """In the middle of an epoch, at its end, at its beginning, several times in a run."""
    expected = undisturbed(way)
    monkeypatch.setattr(Dispatch, "wait", lambda self: None)  # each has one step then
    monkeypatch.setattr(epoch, "LOOK_EVERY", 1)
    for step in stops:
        with pytest.raises(Stop):
            fit(checkpoint=tmp_path, on_step=stop_at(step), **WAYS[way])
    seen = []
    result = fit(checkpoint=tmp_path, on_step=lambda step, _: seen.append(step), **WAYS[way])
    assert_same(result, expected)
    ahead = stops[-1] % STEPS > 0  # by then the next step of the epoch was made too
    assert seen == list(range(stops[-1] + 1 + ahead, EPOCHS * STEPS + 1)), "it did not begin anew"


def test_a_finished_run_returns_at_once_and_a_longer_one_goes_on(tmp_path):
    assert_same(fit(checkpoint=tmp_path, epochs=2), fit(epochs=2))
    seen = []
    assert_same(
        fit(checkpoint=str(tmp_path), on_step=lambda step, _: seen.append(step)), undisturbed("on the device")
    )
    assert seen == list(range(2 * STEPS + 1, 3 * STEPS + 1))
    for epochs in (EPOCHS, 1):
        found = fit(checkpoint=tmp_path, epochs=epochs, on_step=lambda *_: seen.append(None))
        assert_same(found, undisturbed("on the device"))
    assert None not in seen


def test_a_run_that_stopped_early_has_ended(tmp_path):
    rule = nn.training.Best("val_loss", patience=1, margin=1e6)
    first = fit(checkpoint=tmp_path, best=rule, epochs=9)
    assert len(first.history["loss"]) == 2
    assert_same(fit(checkpoint=tmp_path, best=rule, epochs=9, on_step=stop_at(1)), first)


@pytest.mark.parametrize("kind", ["SIGTERM", deep("SIGINT")])
def test_a_signal_saves_the_run(kind, tmp_path, capsys):
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT)}

    def press(step, scores):
        if step == 4:
            signal.raise_signal(getattr(signal, kind))

    settings = {"checkpoint": tmp_path, "on_step": press, "on_device": False}
    if kind == "SIGTERM":
        with pytest.raises(SystemExit) as ended:
            fit(**settings)
        assert ended.value.code == 143
    else:
        fit(**settings)
    assert {name: signal.getsignal(name) for name in before} == before
    assert_same(fit(checkpoint=tmp_path, on_device=False), undisturbed("from the host"))


def test_only_the_latest_are_kept_and_a_manager_of_ones_own_is_used(tmp_path):
    fit(checkpoint=Checkpoints(tmp_path / "a", keep=2))
    assert sorted(os.listdir(tmp_path / "a")) == ["12", "18"]
    options = orbax.CheckpointManagerOptions(max_to_keep=1)
    with orbax.CheckpointManager(tmp_path / "b", options=options) as manager:
        with pytest.raises(Stop):
            fit(checkpoint=manager, on_step=stop_at(7))
        assert_same(fit(checkpoint=manager), undisturbed("on the device"))
        assert manager.all_steps() == [18]


OTHERS = {
    "net": (
        {"net": nn.serial(nn.dense(5), nn.batch_norm(), nn.dropout(0.1), nn.dense(1))},
        r"of the same net and optimiser, got one where best/.* is float32\[4\], not float32\[5\]",
    ),
    "optimiser": (
        {"optimizer": optax.sgd(0.1)},
        "of the same net and optimiser, got one where state/opt_state/.* is .*, not missing",
    ),
    "data": (
        {"data": (X[:20], Y[:20]), "batch_size": 4},
        "of a run with the same data, got one of 22 for one of 20; another run needs another folder",
    ),
    "batch size": ({"batch_size": 5}, "of a run with the same batch_size, got one of 4 for one of 5"),
    "key": (
        {"key": jax.random.key(1)},
        r"of a run with the same key, got one of \[0, 0\] for one of ",
    ),
    "average": ({"average": 0.99}, "of a run with the same average, got one of 0.9 for one of 0.99"),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    fit(checkpoint=folder, epochs=1)
    return folder


@pytest.mark.parametrize("other", OTHERS)
def test_a_checkpoint_of_another_run(other, saved):
    settings, message = OTHERS[other]
    with pytest.raises(ValueError, match=f"^fit: checkpoint must be {message}"):
        fit(checkpoint=saved, **settings)
    assert os.listdir(saved) == ["6"]


@pytest.mark.parametrize("value", [3, ["folder"], print])
def test_what_is_no_place_for_checkpoints(value):
    with pytest.raises(TypeError, match=r"^fit: checkpoint must be a folder, Checkpoints\(folder\), or "):
        fit(checkpoint=value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folder": 3}, "folder must be a path or a CheckpointManager of Orbax, got 3"),
        ({"folder": "a", "every": 0}, "every must be at least 1, got 0"),
        ({"folder": "a", "keep": None}, "keep must be an integer, got None"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises((TypeError, ValueError), match=f"^Checkpoints: {message}"):
        Checkpoints(**settings)


def test_a_folder_of_one_of_several_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(
        ValueError, match=r"^fit: checkpoint must be a CheckpointManager .* or sharding given"
    ):
        fit(checkpoint=tmp_path)


@pytest.mark.parametrize("place", ["file", "file/folder"])
def test_a_folder_that_cannot_be_written(place, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"^fit: checkpoint must be a folder that can be written, got .*/file"):
        fit(checkpoint=tmp_path / place)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("damage", ["no run", "its record", "its arrays"])
def test_a_checkpoint_that_cannot_be_read(damage, saved, tmp_path):
    """The sentence says which folder it is, and what to do."""
    folder = tmp_path / "run"
    if damage == "no run":
        (folder / "6").mkdir(parents=True)
    else:
        shutil.copytree(saved, folder)
        part = folder / "6" / ("run" if damage == "its record" else "arrays")
        for file in [file for file in part.rglob("*") if file.is_file()]:
            file.write_bytes(b"{")
    message = r"^fit: checkpoint must be of a run of fit, got .*/run/6, which can't be read: .*; without that"
    with pytest.raises(ValueError, match=f"(?s){message}"):
        fit(checkpoint=folder)


def test_a_save_that_fails_leaves_the_last_good_one(tmp_path, monkeypatch):
    save = orbax.CheckpointManager.save

    def full(self, step, **settings):
        if step > 6:
            raise ValueError("no space left on device")
        return save(self, step, **settings)

    monkeypatch.setattr(orbax.CheckpointManager, "save", full)
    message = (
        r"^fit: checkpoint: the run could not be saved after step 12 in .*no space left on device; those sav"
    )
    with pytest.raises(OSError, match=message):
        fit(checkpoint=tmp_path)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["6"]
    assert_same(fit(checkpoint=tmp_path), undisturbed("on the device"))


PROGRAM = [sys.executable, "-m", "tests.training.saving_run"]
PROCESS = {"cwd": Path(__file__).parents[2], "env": {**os.environ, "JAX_PLATFORMS": "cpu"}}


@pytest.mark.deep
def test_a_full_disk_leaves_the_last_good_one(tmp_path):
    """In a process whose files may grow to no more than a kilobyte."""
    simple(10, tmp_path, on_device=False)
    limited = ["bash", "-c", 'ulimit -f 1 && exec "$@"', "limited", *PROGRAM, str(tmp_path), "20"]
    ended = subprocess.run(limited, capture_output=True, **PROCESS)
    assert ended.returncode != 0
    assert b"fit: checkpoint: the run could not be saved after step 1" in ended.stderr
    assert_same(simple(20, tmp_path, on_device=False), simple(20, on_device=False))


def killed(folder, steps, chance):
    """Starts a process that trains and saves, and kills it in the middle of that. Whether it was in time."""
    known = set(os.listdir(folder))
    with subprocess.Popen([*PROGRAM, str(folder), str(steps)], **PROCESS) as process:
        while process.poll() is None and set(os.listdir(folder)) <= known:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3))
        process.kill()
    return process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(("kills", "steps"), [deep(1, 50), deep(50, 1000)])
def test_a_run_that_is_killed_while_it_saves_can_always_go_on(kills, steps, tmp_path):
    chance = Random(0)
    times = sum(killed(tmp_path, steps, chance) for _ in range(kills))
    assert times >= kills / 2
    assert_same(simple(steps, tmp_path, on_device=False), simple(steps, on_device=False))
