"""The benchmarks time what users run, so they run under JAX's own defaults, not the tests' strict ones."""

import jax
import pytest

from benchmarks import environment

#: Set for all threads, not as a context: programs may be prepared in several.
DEFAULTS = {"jax_numpy_dtype_promotion": "standard", "jax_numpy_rank_promotion": "allow"}


@pytest.fixture(autouse=True)
def defaults():
    before = {name: getattr(jax.config, name) for name in DEFAULTS}
    for name, value in DEFAULTS.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture
def accelerator(monkeypatch):
    """The CPU is measured as an accelerator is."""
    monkeypatch.setattr(environment, "accelerator", lambda: True)
