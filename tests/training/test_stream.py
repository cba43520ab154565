"""Batches from anywhere: loaders, generators, functions of the epoch."""

import signal
import threading
import time

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn as nn
from jaxnn.training import stream
from tests.support import assert_close

KEY = jax.random.key(0)
X = np.random.default_rng(0).standard_normal((10, 3)).astype(np.float32)
Y = X.sum(axis=1, keepdims=True)


def cut(size=4, n=10):
    return [(X[i : min(i + size, n)], Y[i : min(i + size, n)]) for i in range(0, n, size)]


class Loader:
    """Like a loader of PyTorch: gone through anew each time, lists of what NumPy can read."""

    def __init__(self, batches):
        self.batches, self.begun = batches, 0

    def __iter__(self):
        self.begun += 1
        return ([Readable(array) for array in batch] for batch in self.batches)


class Readable:
    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


def fit(data, **settings):
    run = {"key": KEY, "epochs": 2, "progress": False, **settings}
    return nn.fit(nn.dense(1), optax.sgd(0.1, momentum=0.9), optax.squared_error, data, **run)


def by_hand(batches, epochs=2):
    """Steps over the batches, the last filled up with its own rows under a mask."""
    optimizer = optax.sgd(0.1, momentum=0.9)
    step = nn.make_step(nn.dense(1), optimizer, optax.squared_error)
    params = fit(lambda epoch: cut(), epochs=0).params
    state = nn.init_state(nn.dense(1), optimizer, KEY, params=params)
    for _ in range(epochs):
        for x, y in batches:
            state, _ = step(state, x, y)
    return state.params


@pytest.mark.parametrize("kind", ["loader", "list", "function", "generators", "iterator", "with masks"])
def test_batches_of_every_kind(kind):
    data, settings = {
        "loader": (Loader(cut()), {}),
        "list": (cut(), {}),
        "function": (lambda epoch: cut(), {}),
        "generators": (lambda epoch: (batch for batch in cut()), {}),
        "iterator": (iter(cut() * 2), {"steps_per_epoch": 3}),
        "with masks": (lambda epoch: [(x, y, np.ones(len(x), bool)) for x, y in cut()], {}),
    }[kind]
    result = fit(data, **settings)
    assert_close(result.params, by_hand(cut()))
    assert len(result.history["loss"]) == 2


def test_a_host_may_write_each_batch_into_the_same_arrays():
    """They are read ahead, so that the steps see copies."""

    def reused(epoch):
        x, y = np.empty_like(X[:5]), np.empty_like(Y[:5])
        for i in (0, 5):
            x[:], y[:] = X[i : i + 5], Y[i : i + 5]
            yield x, y

    assert fit(reused).history == fit(lambda epoch: cut(5)).history


def test_arrays_of_the_host_in_double_precision():
    """They get the dtype that JAX gives them, whether they stay on the device or not."""
    data = X.astype(np.float64), Y.astype(np.float64)
    one, other = (fit(data, batch_size=5, on_device=on_device) for on_device in (True, False))
    assert one.history == other.history
    assert_close(one.params, other.params)


def test_batches_in_double_precision_where_a_context_asks_for_it():
    """The context holds in the thread that entered it only; batches may be read in another."""
    batches = [(X[i : i + 5].astype(np.float64), Y[i : i + 5].astype(np.float64)) for i in (0, 5)]
    seen = []

    def read(epoch):
        for x, y in batches:
            seen.append(jnp.asarray(x).dtype)
            yield x, y

    with jax.enable_x64(True):
        found = [fit(data, epochs=3).params for data in (batches, read)]
        found.append(fit(iter(batches * 3), epochs=3, steps_per_epoch=2).params)
    assert set(seen) == {np.dtype(np.float64)}
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float64)}
    chex.assert_trees_all_equal(*found)


def test_an_epoch_of_its_own_length():
    assert_close(
        fit(lambda epoch: cut()[:2], epochs=1).params, fit(Loader(cut()), epochs=1, steps_per_epoch=2).params
    )
    seen = []
    fit(lambda epoch: cut()[:epoch], epochs=3, on_step=lambda step, _: seen.append(step))
    assert seen == [1, 2, 3, 4, 5, 6]


def test_a_validation_of_batches_is_that_of_arrays():
    arrays = fit((X, Y), batch_size=4, validation=(X, Y)).history["val_loss"]
    assert_close(fit((X, Y), batch_size=4, validation=Loader(cut(3))).history["val_loss"], arrays)
    params, metrics = nn.dense(1).init(KEY, X), {"error": optax.squared_error}
    expected = nn.evaluate(nn.dense(1), params, (X, Y), metrics)
    for batches in (iter(cut(4)), cut(4), cut(5)):
        assert_close(nn.evaluate(nn.dense(1), params, batches, metrics), expected)


@pytest.mark.parametrize("size", [4, 5])
def test_a_validation_may_have_every_form_of_data(size):
    """Two batches, of five, look like a pair of pairs: data in batches say what a list is."""
    epochs = []

    def function(epoch):
        epochs.append(epoch)
        return iter(cut(size))

    expected = fit(cut(), validation=(X, Y)).history
    assert_close(fit(cut(), validation=cut(size)).history, expected)
    assert_close(fit(cut(), validation=function).history, expected)
    assert epochs == [1, 1, 2]  # it is looked at before the first epoch
    assert_close(fit(cut(), validation=[X, Y]).history, expected)


def test_a_list_of_two_tuples_beside_a_batch_size_is_a_pair():
    net = nn.serial(lambda pair: pair[0] + pair[1], nn.dense(1))

    def loss(prediction, targets):
        return optax.squared_error(prediction, targets[0] + targets[1])

    def history(form):
        data = form([(X, X), (Y, Y)])
        result = nn.fit(
            net, optax.sgd(0.1), loss, data, key=KEY, epochs=1, batch_size=5, validation=data, progress=False
        )
        return result.history

    assert history(list) == history(tuple)


def test_batches_are_read_ahead_and_the_thread_ends():
    read, steps = [], []

    def batches(epoch):
        for i, batch in enumerate(cut() * 20):
            read.append(i)
            yield batch

    def behind(step, scores):
        steps.append(len(read) - step)

    fit(batches, epochs=1, on_step=behind)
    deadline = time.monotonic() + 10
    while any(thread.name == "jaxnn-prefetch" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    reader = nn.training.prefetch(iter(range(10)), ahead=3, put=lambda batch: read.append(batch) or batch)
    while len(read) < 60 + 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert list(reader) == list(range(10))
    assert list(reader) == []
    assert reader.waited >= 0


@pytest.mark.parametrize("kind", ["arrays", "mapped", "function", "slow", "iterator"])
def test_where_batches_are_read(kind, tmp_path, monkeypatch):
    """The loop itself reads them where that is cheap: always for arrays, else if the first epoch shows it."""
    monkeypatch.setattr(stream, "CHEAP", 0.0 if kind == "slow" else 60.0)
    here, threads = threading.current_thread(), []

    class Seen(np.ndarray):
        def __getitem__(self, rows):
            threads.append(threading.current_thread() is here)
            return np.asarray(self)[rows]

    def batches(epoch):
        for batch in cut(5):
            threads.append(threading.current_thread() is here)
            yield batch

    def file(array):
        path = tmp_path / f"{array.shape[1]}.bin"
        array.tofile(path)
        return np.memmap(path, np.float32, "r", shape=array.shape).view(Seen)

    data, settings = {
        "arrays": ((X.view(Seen), Y.view(Seen)), {"batch_size": 5, "on_device": False}),
        "mapped": ((file(X), file(Y)), {"batch_size": 5, "on_device": False}),
        "function": (batches, {}),
        "slow": (batches, {}),
        "iterator": ((batch for epoch in (1, 2, 3) for batch in batches(epoch)), {"steps_per_epoch": 2}),
    }[kind]
    fit(data, epochs=3, **settings)
    first = {"arrays": 0, "mapped": 4, "function": 2}.get(kind, len(threads))
    assert threads == [False] * first + [True] * (len(threads) - first)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_loop_itself_reads_a_batch(sign, tmp_path):
    """It ends the run at once, since no step is under way: with the params so far, or with a checkpoint."""
    pytest.importorskip("orbax.checkpoint")

    def batches(epoch):
        for i, batch in enumerate(cut(5)):
            if (epoch, i) == (2, 1):
                signal.pthread_kill(threading.main_thread().ident, sign)
                time.sleep(20)
            yield batch

    begun = time.monotonic()
    if sign == signal.SIGINT:
        assert_close(fit(batches).params, by_hand(cut(5) + cut(5)[:1], epochs=1))
    else:
        with pytest.raises(SystemExit, match="143"):
            fit(batches, checkpoint=tmp_path)
    assert time.monotonic() - begun < 15
    if sign == signal.SIGTERM:
        assert fit(lambda epoch: cut(5), checkpoint=tmp_path).history == fit(lambda epoch: cut(5)).history


def test_an_error_in_the_data_is_raised_as_it_is():
    def broken(epoch):
        yield cut()[0]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        fit(broken)


def test_ctrl_c_while_a_batch_is_waited_for(capsys):
    """The thread that reads may hang: the run ends all the same, with the params so far."""
    begun, hang = threading.Event(), threading.Event()

    def traced(prediction, target):
        begun.set()
        return optax.squared_error(prediction, target)

    def batches(epoch):
        yield from cut()
        begun.wait(20)  # the reader is ahead: before the first step the signal is not the run's
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        hang.wait(20)

    result = fit(batches, epochs=1, metrics={"traced": traced})
    hang.set()
    steps = int(capsys.readouterr().out.split()[3])
    assert 1 <= steps <= 3
    assert_close(result.params, by_hand(cut()[:steps], epochs=1))


def test_a_bar_without_an_end(capsys):
    fit(Loader(cut()), progress="bar")
    captured = capsys.readouterr()
    assert "epoch 2/2  loss" in captured.out


LESS = "an iterator ends once and for all: pass a function of the epoch that makes one"


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        (lambda e: [], {}, "data must give at least one batch in every epoch, got none in epoch 1$"),
        (iter(cut()), {}, f"data must give at least one batch in every epoch, got none in epoch 2; {LESS}"),
        (
            lambda e: None,
            {},
            "data must be an iterable of batches, or a function of the epoch that gives one, got None",
        ),
        ([X, Y], {}, "batch_size must be an integer, got None"),
        (
            lambda e: cut(),
            {"steps_per_epoch": 4},
            "data must give 4 batches in every epoch, got 3 in epoch 1",
        ),
        (
            lambda e: [X],
            {},
            r"data must give pairs \(inputs, targets\), or with a mask after them, got an array",
        ),
        (lambda e: [(X,)], {}, "data must give pairs .* got a tuple of 1"),
        (
            lambda e: [(X, Y[:3])],
            {},
            r"data must give inputs and targets of one length, at least one row, got sh",
        ),
        (
            lambda e: [(X[:0], Y[:0])],
            {},
            "data must give inputs and targets of one length, at least one",
        ),
        (lambda e: [(X, np.array(["a"] * 10))], {}, "all that data give must be arrays of numbers, got"),
        (
            lambda e: [(np.ma.masked_array(X), Y)],
            {},
            "all that data give must be arrays .* got a masked array",
        ),
        (
            lambda e: [(X, Y), (X[:, :2], Y)],
            {},
            r"data must give batches like the first, float32\[10,3\], float32\[10,1\], got float32\[10,2\]",
        ),
        (lambda e: [(X, Y), ((X, X), Y)], {}, "data must give batches like the first"),
        (lambda e: [(X, Y), (X.astype(int), Y)], {}, "data must give batches like the first"),
        (
            lambda e: [(X[:4], Y[:4]), (X, Y)],
            {},
            "data must give no batch larger than the first, of 4 rows, got one of 10",
        ),
        (lambda e: cut(), {"batch_size": 4}, "batch_size must be left out where data give batches, got 4"),
        (
            lambda e: cut(),
            {"on_device": True},
            "on_device must be None or False where data give batches, got True",
        ),
        (
            (X, Y),
            {"batch_size": 4, "steps_per_epoch": 2},
            "steps_per_epoch must be left out where data are arrays",
        ),
        (
            (X, Y),
            {"batch_size": 4, "validation": iter(cut())},
            "validation must be arrays, or an iterable that can be gone through again after each epoch, or a "
            "function of the epoch that gives one, got",
        ),
        ((X, Y), {"batch_size": 4, "accumulate": 3}, "accumulate must divide batch_size 4, got 3"),
    ],
)
def test_batches_that_do_not_fit(data, settings, message):
    with pytest.raises((TypeError, ValueError), match=f"^fit: {message}"):
        fit(data, **settings)


def test_what_fits_nothing_ends_the_thread_too():
    with pytest.raises(ValueError, match="x must have 2 features"):
        fit(lambda epoch: cut(), params=nn.dense(1).init(KEY, X[:, :2]))
