"""The benchmarks time what users run, so they run under JAX's own defaults, not the tests' strict ones."""

import jax
import pytest


@pytest.fixture(autouse=True)
def defaults():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
