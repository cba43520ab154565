"""``attention_pool`` against NumPy, and its limits."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import global_avg_pool
from jaxnn.ops.attention_pool import attention_pool
from tests.support import assert_close, rng_array


@pytest.mark.parametrize("heads", [1, 2])
def test_equals_the_reference(heads):
    x, kernel, lengths = rng_array(3, 5, 2, 4), rng_array(4, heads, seed=1), [5, 0, 2]
    y = np.asarray(jax.jit(partial(attention_pool, lengths=lengths))(x, kernel))
    for n, length in enumerate(lengths):
        rows = x[n, :length].reshape(-1, 4).astype(np.float64)
        scores = np.exp(rows @ kernel)
        shares = np.repeat(scores / scores.sum(0), 4 // heads, axis=1)
        assert_close(y[n], (shares * rows).sum(0))


def test_a_kernel_of_zeros_gives_the_average():
    x, lengths = rng_array(3, 5, 4), [5, 0, 2]
    assert_close(attention_pool(x, np.zeros((4, 2), np.float32)), global_avg_pool(x))
    assert_close(
        attention_pool(x, np.zeros((4, 2), np.float32), lengths=lengths), global_avg_pool(x, lengths=lengths)
    )


@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_large_scores_and_sequences_without_steps_have_finite_gradients(scale):
    x, kernel = rng_array(2, 5, 4), np.float32(scale) * rng_array(4, 1, seed=1)
    grads = jax.jit(jax.grad(lambda *args: attention_pool(*args, lengths=[3, 0]).sum(), (0, 1)))(x, kernel)
    assert all(np.isfinite(g).all() for g in grads)
    assert not np.any(grads[0][1])


def test_bad_input_gets_a_sentence():
    x = rng_array(2, 5, 4)
    with pytest.raises(ValueError, match=r"kernel must be \(C, H\) with C = 4 and H a divisor of it, got"):
        attention_pool(x, np.ones((4, 3), np.float32))
    with pytest.raises(TypeError, match="attention_pool: kernel is bfloat16 but x is float32"):
        attention_pool(x, jnp.ones((4, 1), jnp.bfloat16))
