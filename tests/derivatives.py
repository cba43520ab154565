"""Every derivative up to the second, in every order of the modes, against central differences.

``jax.test_util.check_grads`` checks the same with a dozen small programs; compiled as two, the check takes a
third of the time.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from tests.support import plain_jit, rng_array

STEP = 1e-5


def check_derivatives(
    f: Callable[..., Any], args: Sequence[Any], *, order: int = 2, forward_mode: bool = True
) -> None:
    """Raises unless the derivatives of ``f`` at ``args``, all float64, are what differences say.

    Outputs are weighed with a random cotangent, and the derivatives taken along random directions.
    """
    args = jax.tree.map(np.asarray, tuple(args))  # so that additions here are not compiled
    directions = [_like(args, seed) for seed in (1, 2)]
    cotangent = _like(jax.eval_shape(f, *args), 3)

    def weighed(*args: Any) -> jax.Array:
        return _inner(f(*args), cotangent)

    gradient = jax.grad(weighed, tuple(range(len(args))))

    @plain_jit
    def first(*args: Any) -> Any:
        return f(*args), gradient(*args)

    @plain_jit
    def others(*args: Any) -> Any:
        """By name what differences of the value, and of the gradient, along a direction must give."""
        v, w = directions
        values, gradients, scalars = {}, {}, {}
        if forward_mode:
            values["forward"] = jax.jvp(f, args, v)[1]
        if order == 2:
            gradients["reverse over reverse"] = jax.vjp(gradient, *args)[1](v)
        if order == 2 and forward_mode:
            along = lambda *args: jax.jvp(weighed, args, v)[1]  # noqa: E731
            gradients["forward over reverse"] = jax.jvp(gradient, args, v)[1]
            gradients["reverse over forward"] = jax.grad(along, tuple(range(len(args))))(*args)
            scalars["forward over forward"] = jax.jvp(along, args, w)[1]
        return values, gradients, scalars

    v, w = directions
    (after, gradient_after), (before, gradient_before) = (
        jax.device_get(first(*jax.tree.map(lambda a, d: a + step * d, args, v)))  # noqa: B023
        for step in (STEP, -STEP)
    )
    slope, curvature = (
        jax.tree.map(lambda a, b: (a - b) / (2 * STEP), *pair)
        for pair in ((after, before), (gradient_after, gradient_before))
    )
    values, gradients, scalars = others(*args)
    _close("reverse", _inner(jax.device_get(first(*args)[1]), v), _inner(slope, cotangent))
    for expected, found in ((slope, values), (curvature, gradients), (_inner(curvature, w), scalars)):
        for mode, derivative in found.items():
            _close(mode, derivative, expected)


def _like(tree: Any, seed: int) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    drawn = [rng_array(*a.shape, seed=seed + 10 * i, dtype=a.dtype) for i, a in enumerate(leaves)]
    return jax.tree.unflatten(structure, drawn)


def _inner(a: Any, b: Any) -> jax.Array:
    return sum((x * y).sum() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def _close(mode: str, actual: Any, expected: Any) -> None:
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-4, err_msg=f"derivative in {mode} mode")
