"""Small batches of the host go several at a time."""

import itertools
import time
import tracemalloc

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn as nn
from jaxnn.training import pages as module
from jaxnn.training.batch import Batch
from jaxnn.training.dispatch import Dispatch
from jaxnn.training.pages import ALIGNED, LARGE, MOST, Rows, batch_at, empty, in_numpy, pages, places
from tests.support import assert_close

X = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
Y = X.sum(axis=1, keepdims=True)


def batch(i, mask=None):
    return Batch(X[i : i + 2], Y[i : i + 2], mask)


def filled(batches, room=8, size=8):
    """What the batches of the pages are, page by page."""
    for page, counts, place in pages(batches, room, lambda: size):
        yield [jax.tree.map(np.asarray, batch_at(page, i)) for i in range(len(counts))], counts, place


def fit(data, **settings):
    run = {"key": jax.random.key(0), "epochs": 2, "progress": False, **settings}
    return nn.fit(nn.dense(1), optax.sgd(0.1, momentum=0.9), optax.squared_error, data, **run)


@pytest.fixture
def sizes(monkeypatch):
    """How many steps each dispatch of a run has."""
    found, call = [], Dispatch.__call__

    def counted(self, state, data, start, stop):
        found.append(stop - start)
        return call(self, state, data, start, stop)

    monkeypatch.setattr(Dispatch, "__call__", counted)
    return found


def test_pages_hold_the_batches_in_their_order():
    """The first of an epoch are small: the device would wait for them."""
    given = [(batch(i), {"at": i}) for i in range(20)]
    found = list(filled(given))
    assert [len(counts) for _, counts, _ in found] == [1, 2, 4, 8, 5]
    chex.assert_trees_all_equal([b for batches, *_ in found for b in batches], [b for b, _ in given])
    assert [place["at"] for *_, place in found] == [0, 2, 6, 14, 19]
    assert [len(counts) for _, counts, _ in filled(given, size=2)] == [1, *[2] * 9, 1]
    assert list(filled([])) == []


def test_a_page_ends_where_masks_begin():
    mask = np.array([True, False])
    given = [(batch(i, mask if i > 4 else None), None) for i in range(7)]
    found = list(filled(given))
    assert [counts.tolist() for _, counts, _ in found] == [[2], [2, 2], [2, 2], [1, 1]]
    chex.assert_trees_all_equal([b for batches, *_ in found for b in batches], [b for b, _ in given])


@pytest.mark.parametrize(
    "wrong", [np.array([1, 2]), np.array([[True], [False]])], ids=["integers", "a column"]
)
def test_a_mask_is_not_made_one_by_those_before_it(wrong):
    masks = [np.array([True, False])] * 6 + [wrong] * 2
    found = list(filled([(batch(i, mask), None) for i, mask in enumerate(masks)]))
    assert [len(counts) for _, counts, _ in found] == [1, 2, 3, 2]
    chex.assert_trees_all_equal([b.mask for batches, *_ in found for b in batches], masks)


def test_a_page_ends_where_reading_takes_long(monkeypatch):
    monkeypatch.setattr(module, "TARGET", 0.05)

    def slow():
        for i in range(8):
            time.sleep(0.06 * (i > 2))
            yield batch(i), None

    assert [len(counts) for _, counts, _ in filled(slow())] == [1, 2, 1, 1, 1, 1, 1]


def test_an_error_comes_after_the_batches_before_it():
    def broken():
        for i in range(5):
            yield batch(i), None
        raise OSError("the disk is gone")

    found = filled(broken())
    assert [len(counts) for _, counts, _ in itertools.islice(found, 3)] == [1, 2, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(found)

    steps = []
    data = ((X[i : i + 2], Y[i : i + 2]) if i < 9 else (X, X, X, X) for i in range(20))
    with pytest.raises(TypeError, match="got a tuple of 4"):
        fit(data, epochs=1, steps_per_epoch=20, on_step=lambda step, _: steps.append(step))
    assert steps == list(range(1, steps[-1] + 1))


@pytest.mark.parametrize("large", [False, True])
def test_arrays_that_xla_reads_where_they_are(large):
    rows = np.array([4, 1, 4])
    array = np.arange(10.0 * (LARGE if large else 3)).reshape(10, -1)
    taken = in_numpy(Rows(array, rows))
    assert taken.dtype == np.float32
    chex.assert_trees_all_equal(taken, array[rows].astype(np.float32))
    if large:
        addresses = {empty((size, LARGE), taken.dtype).ctypes.data % ALIGNED for size in range(1, 9)}
        assert addresses == {0}
        assert taken.ctypes.data % ALIGNED == 0


def test_rows_of_a_class_of_its_own_are_read_its_way():
    class Decoded(np.ndarray):
        def __getitem__(self, rows):
            return 2 * np.asarray(self)[rows]

    rows = np.array([3, 0])
    chex.assert_trees_all_equal(in_numpy(Rows(X.view(Decoded), rows)), 2 * X[rows])


def test_rows_of_an_array_that_is_not_contiguous_do_not_copy_the_others(monkeypatch):
    """Such as pictures whose channels were moved to the end, or a column of records."""
    rows = np.array([3, 0, 48])
    shifted = np.frombuffer(b"a" + X.tobytes(), np.uint8)[1:].view(np.float32).reshape(X.shape)
    for array in (X, np.asfortranarray(X), X[:, ::2], X[::-1], shifted, np.broadcast_to(X[:1], X.shape)):
        chex.assert_trees_all_equal(in_numpy(Rows(array, rows)), array[rows])

    pictures = np.zeros((2000, 3, 32, 32), np.float32).transpose(0, 2, 3, 1)
    tracemalloc.start()
    in_numpy(Rows(pictures, rows))
    assert tracemalloc.get_traced_memory()[1] < pictures.nbytes / 10
    tracemalloc.stop()


def test_how_many_batches_there_are_in_a_page():
    like = Batch(np.zeros((2, 3), np.float32), np.zeros(2, np.int32))
    assert places(like) == MOST
    assert places(Batch(np.zeros((2**20,), np.float32), np.zeros(2**20, np.int32))) == 1
    assert places(Batch(np.zeros((2**17,), np.float32), np.zeros(2**17, np.int32))) == 8
    assert places(like._replace(y=jnp.zeros(2))) == 1  # a device's


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("form", ["arrays", "batches"])
def test_the_params_are_those_of_single_steps(form, padded, sizes):
    """To the bit, as users compile: whatever the number of steps in a dispatch, and where an epoch ends."""
    n, size = len(X) - padded, 5
    if form == "arrays":
        data, settings = (X[:n], Y[:n]), {"batch_size": size, "on_device": False}
    else:
        data, settings = [(X[i : min(i + size, n)], Y[i : min(i + size, n)]) for i in range(0, n, size)], {}
    together = fit(data, epochs=6, **settings)
    assert max(sizes) > 1
    assert sum(sizes) == 60
    sizes.clear()
    alone = fit(data, epochs=6, find_nan=True, **settings)
    assert sizes == []
    if jax.config.read("jax_disable_most_optimizations"):
        assert_close(together.params, alone.params)
    else:
        chex.assert_trees_all_equal(together.params, alone.params)


def test_batches_of_a_device_go_one_by_one(sizes):
    x, y = jnp.asarray(X), jnp.asarray(Y)
    fit([(x, y)] * 3)
    fit((x, y), batch_size=5, on_device=False)
    assert sizes == []


def test_an_optimiser_whose_state_changes_its_dtype(sizes):
    """A loop can't have it: then each dispatch has one step."""

    def init(weights):
        return {"seen": jnp.zeros((), jnp.float16)}

    def update(grads, state, weights=None):
        return jax.tree.map(lambda g: -0.1 * g, grads), {"seen": state["seen"].astype(jnp.float32) + 1}

    changing = optax.GradientTransformation(init, update)
    run = {"key": jax.random.key(0), "epochs": 2, "batch_size": 5, "progress": False}
    found = [
        nn.fit(nn.dense(1), changing, optax.squared_error, (X, Y), on_device=on_device, **run)
        for on_device in (True, False)
    ]
    assert set(sizes) == {1}
    chex.assert_trees_all_equal(found[0].params, found[1].params)
