"""Checks that params stay finite: a flag computed on the device with each step, and fetched later."""

from collections import defaultdict
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.params import Key, Params
from jaxnn.training.score import Scores
from jaxnn.training.source import CheckedStep
from jaxnn.training.step import Step, TrainState

#: Arrays of fewer values than this are searched together, in a copy: a separate search of each would take
#: about 3 ms to compile.
TOGETHER = 2**16


def checked(step: Step, start: Params, together: int = TOGETHER) -> CheckedStep:
    """The step, jitted, which also says whether it left something that is not finite. It takes the state.

    Args:
      step: the step.
      start: params like those to come.
      together: arrays of fewer values are searched together. Of arrays that are split over devices none are:
        to be joined they would have to be gathered.
    """
    broken = breakage(start, together)

    def run(carry: tuple[Any, ...], key: Key, *batch: Any) -> tuple[Any, ...]:
        params, opt_state, made = carry
        state, scores = step(TrainState(params, opt_state, key, made), *batch)
        # Without the barrier XLA would compute the update again for each search of its results.
        params = lax.optimization_barrier(state.params)
        return params, state.opt_state, state.step, scores, broken(params)

    program = jax.jit(run, donate_argnums=0)

    def call(state: TrainState, x: Any, y: Any, mask: Any = None) -> tuple[TrainState, Scores, jax.Array]:
        # The key is no result: of each that a program returns JAX makes an object, as slowly as a small step.
        carry = state.params, state.opt_state, state.step
        params, opt_state, made, scores, flag = program(carry, state.key, x, y, mask)
        return TrainState(params, opt_state, state.key, made), scores, flag

    return call


def breakage(start: Params, together: int = TOGETHER) -> Callable[[Params], jax.Array]:
    """``broken(params)``: whether a weight is NaN or infinite, or a state that was finite at the start.

    A state may start from infinity, such as a running minimum.
    """
    watched = tuple(bool(_is_finite_here(leaf)) for leaf in jax.tree.leaves(start.state))
    return partial(_broken, watched, together)


@partial(jax.jit, static_argnums=(0, 1))
def _broken(watched: tuple[bool, ...], together: int, params: Params) -> jax.Array:
    states = [leaf for leaf, watch in zip(jax.tree.leaves(params.state), watched, strict=True) if watch]
    flags = map(_is_broken, _joined(_floats([*jax.tree.leaves(params.weights), *states]), together))
    return reduce(lax.bitwise_or, flags, jnp.zeros((), bool))


def _is_finite_here(leaf: Any) -> bool:
    """Whether all values that this process holds are finite."""
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return True
    return not jnp.issubdtype(leaf.dtype, jnp.inexact) or np.isfinite(np.asarray(leaf)).all()


def _is_broken(array: jax.Array) -> jax.Array:
    # Not by the largest absolute value: XLA's maximum over 65,536 values and more loses a NaN on CPUs. Nor by
    # a sum: that takes half the time in a loop of steps, but more in a program of one step.
    return lax.reduce_or(~jnp.isfinite(array), tuple(range(array.ndim)))


def _joined(arrays: list[jax.Array], together: int) -> list[jax.Array]:
    """The same values, with small arrays of one dtype joined into one."""
    small = defaultdict(list)
    for array in arrays:
        if array.size < together:
            small[array.dtype].append(lax.reshape(array, (array.size,)))
    return [a for a in arrays if a.size >= together] + [lax.concatenate(group, 0) for group in small.values()]


def _floats(leaves: list[Any]) -> list[jax.Array]:
    """The floating-point and complex arrays that are not empty."""
    arrays = (leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf) for leaf in leaves)
    return [array for array in arrays if array.size and jnp.issubdtype(array.dtype, jnp.inexact)]
