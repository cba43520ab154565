"""Extremes over axes, wherever a NaN is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.kernels.reduction.extremes import extreme
from tests.kernels.test_sums import COLUMNS, assert_one_kernel
from tests.support import on_cpu, rng_array

#: XLA's library reduces arrays of 4,096 values and more on a CPU, and its maximum loses NaN.
EXTREMES = [
    ((4, 64, 64, 3), (1, 2)),
    ((5, 1000), (1,)),
    ((4, 1000), (1,)),
    ((3, 4, 217), (2,)),
    ((65,), (0,)),
    ((2, 17, 500), (2,)),
    ((3, 5, 7), (1,)),
    ((0, 64, 8), (1,)),
]


@pytest.mark.parametrize(("shape", "axes"), EXTREMES)
@pytest.mark.parametrize("smallest", [False, True])
def test_an_extreme_keeps_nan_wherever_it_is(shape, axes, smallest):
    x = rng_array(*shape)
    function = jax.jit(lambda x: extreme(x, axes, smallest=smallest))
    over = np.min if smallest else np.max
    np.testing.assert_array_equal(function(x), over(x, axes, keepdims=True))
    for seed in range(4 if x.size else 0):
        spoiled = x.ravel().copy()
        spoiled[np.random.default_rng(seed).integers(x.size)] = np.nan
        spoiled = spoiled.reshape(shape)
        np.testing.assert_array_equal(function(spoiled), over(spoiled, axes, keepdims=True))


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.bfloat16, jnp.bool_])
def test_an_extreme_of_any_dtype(dtype):
    x = jnp.asarray(10 * rng_array(3, 70, 31)).astype(dtype)
    np.testing.assert_array_equal(extreme(x, (1,)), jnp.max(x, 1, keepdims=True))
    mapped = jax.vmap(lambda x: extreme(x, (0, 1), smallest=True))(x)
    np.testing.assert_array_equal(mapped, jnp.min(x, (1, 2), keepdims=True))


@on_cpu
@pytest.mark.parametrize(("shape", "axes"), COLUMNS)
def test_few_values_are_reduced_in_one_kernel(shape, axes):
    """Together with what is done with the result."""
    assert_one_kernel(lambda x: 2 * extreme(x, axes), jnp.ones(shape))
