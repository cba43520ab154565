import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxnn import ops
from tests.reference import activation as reference
from tests.support import assert_close, rng_array

INF, NAN = float("inf"), float("nan")

rows = st.integers(0, 10_000).map(lambda seed: rng_array(3, 5, seed=seed, dtype=np.float64))


@given(x=rows, pieces=st.sampled_from([1, 2, 3, 6]))
def test_maxout_takes_neighbours(x, pieces):
    x = np.concatenate([x, x[:, ::-1] + 1, x[:, :2]], 1).astype(np.float32)
    assert_close(ops.maxout(x, pieces), reference.maxout(x, pieces).astype(np.float32))
    assert_close(ops.maxout(x.T, pieces, axis=0), ops.maxout(x, pieces).T)


@pytest.mark.parametrize("pieces", [2, 3, 4, 6])
def test_maxout_shares_its_derivative_among_ties(pieces):
    x = jnp.asarray(np.random.default_rng(0).integers(0, 3, (50, 12)), jnp.float32)
    groups = np.asarray(x).reshape(50, -1, pieces)
    taken = groups == groups.max(-1, keepdims=True)
    cotangent = rng_array(*groups.shape[:2])
    exact = (cotangent[..., None] * taken / taken.sum(-1, keepdims=True)).reshape(x.shape)
    (found,) = jax.vjp(lambda x: ops.maxout(x, pieces), x)[1](cotangent)
    assert_close(found, exact.astype(np.float32))


def test_pieces_that_do_not_divide_the_channels_raise():
    x = jnp.ones((2, 6))
    sentence = r"^maxout: pieces must be at least 1 and divide the channels, got 4 for 6 channels"
    with pytest.raises(ValueError, match=sentence):
        ops.maxout(x, 4)
    with pytest.raises(ValueError, match=r"^maxout: pieces must be at least 1, got 0$"):
        ops.maxout(x, 0)
