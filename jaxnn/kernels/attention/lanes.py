"""A few heads of one example at a time, so that what is held of them stays in the cache."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.kernels.attention.problem import GRADIENT_OPERANDS, TANGENT_OPERANDS, Problem
from jaxnn.kernels.lowering.varying import varying_as

#: The fewest scores per step that keep two cores at work.
SCORES = 1 << 18
#: What follows the operands of the attention in those of a pass, and the axis of the heads in its results.
_PASSES: dict[str, tuple[Sequence[str], Sequence[int]]] = {
    "forward": ((), (2, 1)),
    "tangent": (TANGENT_OPERANDS, (2,)),
    "gradient": (GRADIENT_OPERANDS, (2, 2, 2)),
    "bias_gradient": (GRADIENT_OPERANDS, (1,)),
}
#: The axis of the heads, by operand.
_HEADS = {
    **dict.fromkeys(("q", "k", "v", "y", "d_q", "d_k", "d_v", "d_y"), 2),
    **dict.fromkeys(("bias", "mask", "d_bias", "logarithms"), 1),
}


def in_lanes(
    name: str,
    p: Problem,
    compute: Callable[..., tuple[jax.Array, ...]],
    operands: Sequence[jax.Array],
    held: Any,
    total: Sequence[Any] | None = None,
) -> tuple[jax.Array, ...]:
    """``compute(p, *operands)`` for a few heads of one example at a time.

    They are cut out in their own layout: transposed as a whole they would be written once more. All at once
    where the compiler may spread the batch over devices: a loop over it would gather it.

    Args:
      name: of the pass.
      p: the problem.
      compute: of a problem and its operands.
      operands: of the whole problem.
      held: how many scores per query head are held at a time.
      total: the shape of the one result if that is a sum: over examples or heads where it has a size of 1.
    """
    if p.devices > 1 or not isinstance(p.batch, int) or p.batch == 0:
        return compute(p, *operands)
    others, heads = _PASSES[name]
    names = p.settings.names(*others)
    most = SCORES // max(1, held * (p.heads // p.kv_heads))
    together = max(n for n in range(1, p.kv_heads + 1) if p.kv_heads % n == 0 and n <= max(1, most))
    groups = p.kv_heads // together
    if p.batch * groups == 1:
        return compute(p, *operands)
    part = p._replace(batch=1, heads=p.heads // groups, kv_heads=together)

    def lane(name: str, a: jax.Array, i: Any) -> jax.Array:
        if a.shape[0] > 1:
            a = lax.dynamic_slice_in_dim(a, i // groups, 1, 0)
        axis = _HEADS.get(name)
        if axis is not None and groups > 1 and a.shape[axis] > 1:
            size = a.shape[axis] // groups
            a = lax.dynamic_slice_in_dim(a, i % groups * size, size, axis)
        return a

    def lanes(i: Any) -> tuple[jax.Array, ...]:
        return compute(part, *(lane(name, a, i) for name, a in zip(names, operands, strict=False)))

    def step(i: jax.Array, results: list[jax.Array]) -> list[jax.Array]:
        placed = []
        for whole, a, axis in zip(results, lanes(i), heads, strict=True):
            start = [jnp.zeros((), i.dtype)] * a.ndim
            # A sum of size 1 has its place at 0, which is what larger starts become.
            start[0], start[axis] = i // groups, i % groups * a.shape[axis]
            if total is not None:
                a = a + lax.dynamic_slice(whole, start, a.shape)
            placed.append(lax.dynamic_update_slice(whole, a, start))
        return placed

    results = []
    for a, axis in zip(jax.eval_shape(lambda: lanes(0)), heads, strict=True):
        shape = [p.batch, *a.shape[1:]]
        shape[axis] *= groups
        shape = shape if total is None else [*total]
        results.append(jnp.zeros(shape, a.dtype))
    return tuple(lax.fori_loop(0, p.batch * groups, step, varying_as(results, operands)))
