"""Loaders of other libraries feed ``fit``, and a run goes on where they stood."""

import chex
import grain
import jax
import numpy as np
import optax
import pytest

import jaxnn as nn
from jaxnn.training import Checkpoints
from tests.support import assert_close, deep

X = np.random.default_rng(0).standard_normal((22, 3)).astype(np.float32)
Y = X.sum(axis=1, keepdims=True)


class Rows:
    """A source of single examples; Grain's DataLoader tells sources apart by what they are printed as."""

    def __repr__(self):
        return "Rows()"

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return X[i], Y[i]


def map_dataset(seed=0):
    return grain.MapDataset.source(Rows()).seed(seed).shuffle().batch(4)


def data_loader():
    sampler = grain.samplers.IndexSampler(len(X), num_epochs=1, shuffle=True, seed=0)
    return grain.DataLoader(data_source=Rows(), sampler=sampler, operations=[grain.transforms.Batch(4)])


def fit(data, **settings):
    run = {"key": jax.random.key(0), "epochs": 2, "progress": False, **settings}
    return nn.fit(nn.dense(1), optax.sgd(0.1, momentum=0.9), optax.squared_error, data, **run)


LOADERS = {
    "MapDataset": map_dataset,
    "IterDataset": lambda: map_dataset().to_iter_dataset(),
    "DataLoader": data_loader,
    "function of the epoch": lambda: lambda epoch: map_dataset(epoch),
}


@pytest.mark.parametrize("name", LOADERS)
def test_grain_gives_the_batches_of_its_own_iterator(name):
    """The last of each epoch has two rows, and is filled up."""
    data = LOADERS[name]()
    epochs = [list(data(epoch) if callable(data) else data) for epoch in (1, 2)]
    assert [len(x) for x, _ in epochs[0]] == [4, 4, 4, 4, 4, 2]
    assert_close(fit(LOADERS[name]()).params, fit(lambda epoch: epochs[epoch - 1]).params)


def iterator():
    """Without an end, shuffled anew in each round."""
    return iter(grain.MapDataset.source(Rows()).shuffle(seed=0).repeat().batch(4).to_iter_dataset())


STREAMS = {
    "IterDataset": (LOADERS["IterDataset"], {}),
    "DataLoader": (data_loader, {}),
    "iterator": (iterator, {"steps_per_epoch": 6}),
    "function": (lambda: lambda epoch: iterator(), {"steps_per_epoch": 6}),
}


class Stop(Exception):
    pass


@pytest.mark.parametrize(
    ("name", "stop"),
    [
        ("IterDataset", 5), ("DataLoader", 6), ("iterator", 6), ("iterator", 8),
        *(deep(name, stop) for name in STREAMS for stop in (3, 5, 6, 8)),
    ],
)  # fmt: skip
def test_a_run_goes_on_where_grain_stood(name, stop, tmp_path):
    """Bit for bit, at the end of an epoch and before its last, shorter batch too."""
    make, settings = STREAMS[name]
    whole = fit(make(), **settings)
    kept = Checkpoints(tmp_path, every=3)

    def raising(step, scores):
        if step == stop:
            raise Stop

    with pytest.raises(Stop):
        fit(make(), checkpoint=kept, on_step=raising, **settings)
    again = fit(make(), checkpoint=kept, **settings)
    chex.assert_trees_all_equal(again.params, whole.params)
    assert again.history == whole.history


class Counter:
    """Batches with a state of their own kind; counts how many were asked for."""

    def __init__(self):
        self.at = self.read = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.at += 1
        self.read += 1
        return X[:4] * self.at / 10, Y[:4]

    def get_state(self):
        return {"at": self.at}

    def set_state(self, state):
        self.at = state["at"]


def test_any_iterator_that_tells_where_it_stands_is_put_there_again(tmp_path):
    """What was read before is not read again, but for the first batch, which says what all are like."""
    whole = fit(Counter(), steps_per_epoch=3, epochs=2)
    fit(Counter(), checkpoint=tmp_path, steps_per_epoch=3, epochs=1)
    counter = Counter()
    again = fit(counter, checkpoint=tmp_path, steps_per_epoch=3, epochs=2)
    chex.assert_trees_all_equal(again.params, whole.params)
    assert (counter.at, counter.read) == (6, 1 + 3)
    with pytest.raises(
        ValueError,
        match=r"fit: data must give iterators with get_state and set_state, as in the run that was",
    ):
        fit(iter([(X[:4], Y[:4])] * 20), checkpoint=tmp_path, steps_per_epoch=3, epochs=3)


def test_a_generator_goes_on_by_reading(tmp_path):
    """It can't tell where it stands: a fresh one is read up to there."""

    def batches():
        for i in range(20):
            yield X[i : i + 2], Y[i : i + 2]

    whole = fit(batches(), steps_per_epoch=5, epochs=3)
    fit(batches(), steps_per_epoch=5, epochs=1, checkpoint=tmp_path)
    again = fit(batches(), steps_per_epoch=5, epochs=3, checkpoint=tmp_path)
    chex.assert_trees_all_equal(again.params, whole.params)
    with pytest.raises(
        ValueError, match=r"data must give at least one batch in every epoch, got none in epoch 2; a"
    ):
        fit(batches())
