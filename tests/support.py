"""What the tests share: tolerances by dtype, reproducible arrays, known answers."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params

KNOWN_ANSWERS = Path(__file__).parent / "known_answers"

#: (relative, absolute) tolerances of a result computed once in each dtype.
TOLERANCES = {
    "float64": (1e-10, 1e-10),
    "float32": (2e-5, 2e-5),
    "float16": (4e-3, 4e-3),
    "bfloat16": (3e-2, 3e-2),
}


def assert_close(actual: Any, expected: Any, *, dtype: Any = None, scale: float = 1.0) -> None:
    """Every leaf of ``actual`` equals that of ``expected`` within the tolerance of ``dtype``.

    ``dtype`` defaults to that of the actual leaf; ``scale`` widens the tolerance.
    """
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        a, e = np.asarray(a), np.asarray(e)
        assert a.shape == e.shape, f"shape {a.shape}, expected {e.shape}"
        if not jnp.issubdtype(a.dtype, jnp.floating):
            np.testing.assert_array_equal(a, e)
            continue
        rtol, atol = TOLERANCES[jnp.dtype(dtype or a.dtype).name]
        np.testing.assert_allclose(
            a.astype(np.float64), e.astype(np.float64), rtol=rtol * scale, atol=atol * scale
        )


def rng_array(*shape: int, seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    """Normally distributed values: the same for the same shape and seed."""
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(dtype)


def known_answers(family: str) -> dict[str, np.ndarray]:
    """The arrays of ``known_answers/<family>.npz``, made by the script beside it."""
    with np.load(KNOWN_ANSWERS / f"{family}.npz") as archive:
        return dict(archive)


def equations(jaxpr: Any) -> list[Any]:
    """Every equation of a jaxpr, those inside its calls, loops and branches too."""
    inner = [eqn for outer in jaxpr.eqns for sub in jaxprs_in_params(outer.params) for eqn in equations(sub)]
    return [*jaxpr.eqns, *inner]
