import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxnn as nn
from jaxnn.shuffle import Orders, bits, ordered, permutation
from tests.support import assert_close


@given(n=st.integers(1, 40), batch_size=st.integers(1, 40), shuffle=st.booleans())
def test_every_row_comes_exactly_once(n, batch_size, shuffle):

    batch_size = min(n, batch_size)
    x = np.arange(n)
    key = jax.random.key(n) if shuffle else None
    batches = list(nn.data.minibatches((x, {"label": x + 100}), batch_size, key=key))
    assert all(rows.shape == mask.shape == (batch_size,) for (rows, _), mask in batches)
    counted = np.concatenate([rows[mask] for (rows, _), mask in batches])
    np.testing.assert_array_equal(np.sort(counted), x)
    assert len(batches) == -(-n // batch_size)
    for (rows, others), _ in batches:
        np.testing.assert_array_equal(rows + 100, others["label"])


def test_the_order_depends_on_the_key_alone(key):
    def order(key):
        return [rows.tolist() for rows, _ in nn.data.minibatches(np.arange(20), 5, key=key)]

    assert order(key) == order(key) != order(None)


def test_jax_arrays_stay_on_the_device():
    (batch, _mask), *_ = nn.data.minibatches(jnp.arange(4.0), 2)
    assert isinstance(batch, jnp.ndarray)


@pytest.mark.parametrize("batch_size", [0, 6, -1])
def test_batch_sizes_out_of_range(batch_size):
    with pytest.raises(
        ValueError, match=rf"batch_size must be from 1 to the 5 examples there are, got {batch_size}"
    ):
        nn.data.minibatches(np.arange(5), batch_size)


def test_lengths_that_differ():
    with pytest.raises(
        ValueError, match=r"inputs and targets must be arrays of one length.* got lengths 3, 2"
    ):
        nn.data.minibatches((np.zeros(3), np.zeros(2)), 1)
    with pytest.raises(ValueError, match=r"got lengths None"):
        nn.data.minibatches(np.float32(3), 1)


def test_standardised_features_have_zero_mean_and_unit_deviation():
    x = np.random.default_rng(0).normal(1e4, 0.01, (1000, 3)).astype(np.float32)
    x[:, 1] = 7
    statistics = nn.data.feature_statistics(x)
    y = np.asarray(nn.data.standardize(x, *statistics), np.float64)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(y.std(axis=0), [1, 0, 1], atol=0.02)
    test = np.asarray(nn.data.standardize(x[:5], *statistics))
    assert_close(test, y[:5])


@pytest.mark.parametrize("n", [1, 2, 7, 1625, 1626])
def test_the_order_is_that_of_jax(n):
    """From 1,626 rows on, 32 bits per row are too few, and there are two rounds of sorting."""
    key = jax.random.key(n)
    np.testing.assert_array_equal(permutation(key, n), jax.random.permutation(key, n))
    assert bits(key, n).shape == (0 if n == 1 else 1 if n < 1626 else 2, n)


def test_the_order_of_an_epoch_is_the_same_asked_for_early_or_not():
    key, n = jax.random.key(3), 50
    early, late = Orders(key, n), Orders(key, n)
    for epoch in (1, 2, 2, 5, 4):  # a run may begin with any, and read one twice
        early.ask(epoch)
        expected = jax.random.permutation(jax.random.fold_in(key, epoch), n)
        np.testing.assert_array_equal(early.of(epoch), expected)
        np.testing.assert_array_equal(late.of(epoch), expected)
        early.ask(epoch + 1)


def test_equal_bits_keep_the_order_of_the_round_before():
    np.testing.assert_array_equal(ordered(jnp.array([[3, 1, 2, 0], [7, 7, 7, 7]], jnp.uint32)), [3, 1, 2, 0])
    np.testing.assert_array_equal(
        ordered(jnp.array([[2**32 - 1, 5, 2**32 - 1, 5]], jnp.uint32)), [1, 3, 0, 2]
    )
