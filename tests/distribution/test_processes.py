"""Several processes, with CPU devices of their own, that send each other arrays over the loopback."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxnn as nn
from examples.datasets import load
from examples.train_distributed import train
from jaxnn.distribution import fully_sharded, gather, mesh, own_rows
from tests import quick
from tests.distribution.nets import CLASSES, LOSS, OPTIMIZER
from tests.distribution.worker import HEARTBEAT
from tests.support import assert_close, deep, rng_array

ROOT = Path(__file__).parent.parent.parent
STEPS, EVERY = 8, 2
#: Seconds in which all processes must have ended after one was lost: a failed exchange ends a step at once,
#: a lost heartbeat the process.
LOST = 6 * HEARTBEAT
NET = nn.serial(nn.dense(16), nn.tanh, nn.dropout(0.5), head=nn.dense(CLASSES))
#: Only for arrays: batches of an iterable are filled up by each process, with rows of its own.
NORMED = nn.serial(nn.dense(16), nn.batch_norm(), nn.tanh, head=nn.dense(CLASSES))
#: 19 examples in batches of 8: the last one has three.
X, Y = rng_array(19, 16), (np.arange(19) % CLASSES).astype(np.int32)


def start(what, processes, folder, dies_after=0):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    commands = [
        [sys.executable, "-m", "tests.distribution.worker", what, port, processes, i, folder, dies_after]
        for i in range(processes)
    ]
    given = {"cwd": ROOT, "env": quick.environment()}
    return [
        subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **given)
        for command in commands
    ]


def ended(running, seconds):
    """The exit codes of the processes; none is left behind."""
    try:
        until = time.monotonic() + seconds
        texts = [one.communicate(timeout=max(1, until - time.monotonic()))[0].decode() for one in running]
    finally:
        for one in running:
            one.kill()
            one.wait()
    return [one.returncode for one in running], "\n".join(texts)


def run(what, processes, folder):
    codes, text = ended(start(what, processes, folder), 150)
    assert codes == [0] * processes, text


def params_of(folder):
    return jax.device_get(nn.checkpoint.load(folder / "run.npz")["params"])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The checkpoint of the script in this process alone."""
    folder = tmp_path_factory.mktemp("alone")
    train(load("digits").train, STEPS, folder / "run.npz", EVERY)
    return params_of(folder)


@pytest.mark.parametrize("processes", [deep(2), deep(4)])
def test_the_script_in_several_processes_equals_one(processes, tmp_path, undisturbed):
    run("script", processes, tmp_path)
    assert_close(params_of(tmp_path), undisturbed, terms=2**14)


@pytest.mark.parametrize("processes", [deep(2), deep(4)])
def test_a_lost_process_ends_the_others_and_a_restart_goes_on(processes, tmp_path, undisturbed):
    codes, text = ended(start("script", processes, tmp_path, dies_after=5), 60 + LOST)
    assert codes[-1] == -signal.SIGKILL
    assert all(codes), f"a process ended as if all were well: {codes}"
    assert "Error" in text or "ERROR" in text or "error" in text
    assert int(nn.checkpoint.load(tmp_path / "run.npz")["step"]) == 4
    run("script", processes, tmp_path)
    assert_close(params_of(tmp_path), undisturbed, terms=2**14)


def own_batches(sharding):
    """Batches of an iterable, of which every process reads its rows; its short last batch is its own."""
    mine = own_rows(sharding, 8)

    def batches(epoch):
        for first in (0, 8, 16):
            rows = first + mine
            rows = rows[rows < 19] if (rows < 19).any() else rows[:1]
            x, y = X[rows % 19], Y[rows % 19]
            yield (x, y) if first < 16 else (x, y, first + mine[: len(rows)] < 19)

    return batches


def runs():
    """``fit`` over all devices of all processes: of arrays with a validation, and of batches."""
    sharding = fully_sharded(mesh(), smallest=16)
    given = {"key": jax.random.key(0), "epochs": 2, "progress": False, "sharding": sharding}
    steps = []
    arrays = nn.fit(
        NORMED, OPTIMIZER, LOSS, (X, Y), batch_size=8, validation=(X[:11], Y[:11]), average=0.5,
        metrics={"accuracy": nn.accuracy}, on_step=lambda *told: steps.append(told), **given,
    )  # fmt: skip
    batches = nn.fit(NET, OPTIMIZER, LOSS, own_batches(sharding), steps_per_epoch=3, **given)
    history = {name: np.float32(numbers) for name, numbers in arrays.history.items()}
    losses = np.float32(batches.history["loss"]), np.float32([scores["loss"] for _, scores in steps])
    return {
        "arrays": arrays.params.weights, "batches": batches.params.weights, "history": history,
        "losses": {"batches": losses[0], "steps": losses[1]},
    }  # fmt: skip


@pytest.mark.parametrize("processes", [deep(2), deep(4)])
def test_fit_in_several_processes_equals_one(processes, tmp_path):
    run("fit", processes, tmp_path)
    expected = gather(runs())
    assert_close(jax.device_get(nn.checkpoint.load(tmp_path / "fit.npz")), expected)


def saving(folder, epochs, data=(X, Y), **settings):
    """A run over all devices of all processes that is saved every other step, and after each epoch."""
    sharding = fully_sharded(mesh(), smallest=16)
    return nn.fit(
        NORMED, OPTIMIZER, LOSS, data, batch_size=8, key=jax.random.key(0), epochs=epochs, progress=False,
        sharding=sharding, average=0.5, validation=(X[:11], Y[:11]), best=nn.training.Best("val_loss"),
        checkpoint=None if folder is None else nn.training.Checkpoints(folder, every=2), **settings,
    )  # fmt: skip


def numbers(result):
    history = {name: np.float32(row) for name, row in result.history.items()}
    return {"weights": result.params.weights, "history": history}


def broken():
    """What a run with a NaN among its inputs says; the row is in the first batch of one process alone."""
    x = X.copy()
    x[5] = np.nan
    try:
        saving(None, 1, (x, Y), find_nan=True)
    except FloatingPointError as error:
        return str(error)
    return "nothing"


@pytest.mark.parametrize("processes", [2, deep(4)])
def test_a_run_of_several_processes_goes_on_from_its_checkpoint(processes, tmp_path):
    """Saved after one epoch of two, and gone on with; and every process names the layer of a NaN."""
    run("saving", processes, tmp_path)
    expected = gather(numbers(saving(None, 2)))
    assert_close(jax.device_get(nn.checkpoint.load(tmp_path / "fit.npz")), expected)
    said = {(tmp_path / f"nan-{i}").read_text() for i in range(processes)}
    assert said == {broken()}
    assert "fit: the loss is NaN at step" in said.pop()


@pytest.mark.deep
def test_a_run_of_several_processes_goes_on_in_one_with_other_devices(tmp_path):
    run("saving", 2, tmp_path)
    alone = saving(tmp_path / "run", 3)
    assert_close(gather(alone.params.weights), gather(saving(None, 3).params.weights))


@pytest.mark.parametrize("processes", [deep(2), deep(4)])
def test_a_run_of_several_processes_survives_the_loss_of_one(processes, tmp_path):
    codes, text = ended(start("saving", processes, tmp_path, dies_after=5), 60 + LOST)
    assert codes[-1] == -signal.SIGKILL
    assert all(codes), f"a process ended as if all were well: {codes}\n{text}"
    assert not (tmp_path / "fit.npz").exists()
    run("saving", processes, tmp_path)
    assert_close(jax.device_get(nn.checkpoint.load(tmp_path / "fit.npz")), gather(numbers(saving(None, 2))))


@pytest.mark.deep
def test_a_sigterm_to_one_of_several_processes_saves_all_and_ends_them(tmp_path):
    """At a step after the signal that they agree on; the run of two epochs has six."""
    codes, text = ended(start("leaving", 2, tmp_path, dies_after=1), 90)
    assert codes == [143, 143], text
    (*_, last) = sorted(int(file.name) for file in (tmp_path / "run").iterdir())
    assert 1 < last < 6
    run("saving", 2, tmp_path)
    assert_close(jax.device_get(nn.checkpoint.load(tmp_path / "fit.npz")), gather(numbers(saving(None, 2))))
