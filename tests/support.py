"""Shared by the tests: tolerances by dtype, reproducible arrays, known answers."""

from pathlib import Path
from typing import Any
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from tests import quick

KNOWN_ANSWERS = Path(__file__).parent / "known_answers"

#: For tests of what XLA makes of a program for CPUs, or of results that are the same to the bit there alone.
on_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="for CPUs")


def allowed_error(dtype: Any, *, terms: int = 256, roundings: int = 4) -> float:
    """How far two right results of magnitude 1 may lie apart.

    = ``roundings`` · ε(dtype) + 8 · √``terms`` · ε(accumulator)

    The first part: inputs, intermediates and the result are each rounded to the dtype. The second: the error
    of a sum of n terms grows like √n roundings of the accumulator, which is at least float32. The order of
    the sum, and with it the error, depends on the instruction set, the number of threads and the version of
    XLA; the 8 allows for a few sums in a row and for approximations of exp and its like. By default this is
    1.6e-5 in float32, 0.004 in float16, 0.031 in bfloat16 and 3e-14 in float64.
    """
    result, single = float(jnp.finfo(dtype).eps), float(jnp.finfo(jnp.float32).eps)
    return roundings * result + 8 * terms**0.5 * min(result, single)


def assert_close(
    actual: Any,
    expected: Any,
    *,
    terms: int = 256,
    roundings: int = 4,
    scale: Any = None,
    dtype: Any = None,
) -> None:
    """Every leaf of ``actual`` equals that of ``expected``, except for rounding.

    |actual − expected| ≤ allowed_error(dtype, terms, roundings) · magnitude

    Rounding follows the magnitude of what was added up, not that of each result: a value near 0 that is a
    difference of values near 1 has the error of those. Hence one magnitude per leaf.

    Args:
      terms: how many values were summed for one of the result (of a convolution: window · channels; of its
        kernel's gradient: batch · places).
      roundings: how many times, one after the other, values were rounded to ``dtype``: matters for
        half-precision dtypes, for instance in layers in a row.
      scale: the magnitude of what was summed, for results that are small differences, or deliberately tiny
        ones. By default that of the inputs the tests draw, 1. A number is a lower bound: the largest finite
        magnitude in the expected leaf counts if it is larger. An array, positive, is the magnitude of each
        value: ``np.abs(expected)`` demands every value to its own precision.
      dtype: what the result was computed in, if not in the dtype of the actual leaf; a Python float counts as
        float32.

    Integers and booleans must be equal; infinities and NaNs must be in the same places. Where the expected
    values of all leaves are smaller than the allowed error, ``scale`` must be given: anything small would
    pass. (One such leaf among others may be the rounding of an exact 0: a bias's gradient before batch norm.)
    """
    compared = []
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        own = jnp.float32 if type(a) is float else None
        a, e = np.asarray(a), np.asarray(e)
        assert a.shape == e.shape, f"shape {a.shape}, expected {e.shape}"
        if not jnp.issubdtype(a.dtype, jnp.floating):
            np.testing.assert_array_equal(a, e)
            continue
        allowed = allowed_error(dtype or own or a.dtype, terms=terms, roundings=roundings)
        a, e = a.astype(np.float64), e.astype(np.float64)
        largest = np.abs(e[np.isfinite(e)]).max(initial=0)
        compared.append(largest / allowed)
        if np.ndim(scale):
            a, e = a / scale, e / scale
        else:
            allowed *= max(largest, 1 if scale is None else scale)
        np.testing.assert_allclose(a, e, rtol=0, atol=allowed)
    assert scale is not None or not 0 < max(compared, default=0) <= 1, "all values are tiny: give their scale"


def plain_jit(f: Any, **settings: Any) -> Any:
    """``jax.jit`` that compiles in a fraction of the time.

    For values that others are compared with, and where derivatives are compared with differences. What is
    under test itself is compiled as it is for users.
    """
    options = {"xla_backend_optimization_level": 0, **quick.options()}
    return jax.jit(f, compiler_options=options, **settings)


def deep(*values: Any) -> Any:
    """Values of a parameter that only ``make test-deep`` takes."""
    return pytest.param(*values, marks=pytest.mark.deep)


def rng_array(*shape: int, seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    """Normally distributed values: the same for the same shape and seed."""
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(dtype)


def random_params(net: Any, x: Any) -> Any:
    """Params for an input like ``x`` as after training: random, variances positive; nothing is compiled."""

    def draw(path: Any, leaf: Any) -> jax.Array:
        array = rng_array(*leaf.shape, seed=crc32(jax.tree_util.keystr(path).encode()))
        positive = path[-1] == jax.tree_util.DictKey("var")
        return jnp.asarray(np.abs(array) + 0.5 if positive else array, leaf.dtype)

    spec = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)), x)
    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(net.init, jax.random.key(0), spec))


def known_answers(family: str) -> dict[str, np.ndarray]:
    """The arrays of ``known_answers/<family>.npz``, made by the script beside it."""
    with np.load(KNOWN_ANSWERS / f"{family}.npz") as archive:
        return dict(archive)


def assert_known_answers(function: Any, archive: dict[str, np.ndarray], prefix: str) -> None:
    """``function(x, kernel, bias)`` and its gradients are those that the archive holds under this prefix."""
    arguments = "x", "kernel", "bias"
    y, vjp = jax.vjp(function, *(archive[f"{prefix}_{name}"] for name in arguments))
    assert_close(y, archive[f"{prefix}_y"])
    expected = tuple(archive[f"{prefix}_{name}_gradient"] for name in arguments)
    assert_close(vjp(archive[f"{prefix}_cotangent"]), expected)


def equations(jaxpr: Any) -> list[Any]:
    """Every equation of a jaxpr, those inside its calls, loops and branches too."""
    inner = [eqn for outer in jaxpr.eqns for sub in jaxprs_in_params(outer.params) for eqn in equations(sub)]
    return [*jaxpr.eqns, *inner]
