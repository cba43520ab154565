"""A recurrence over time as an operation; its tangents and its gradients are operations too.

Derivatives beyond the first are those of the forms for CPUs, traced at once: there is no form per platform.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad

from jaxnn.kernels.choice import check_name
from jaxnn.kernels.lowering.operation import Level, Mapped, apply, in_form, operation, over_members
from jaxnn.kernels.lowering.varying import equally_varying, varying_as
from jaxnn.kernels.recurrence.cells import Cell, gates
from jaxnn.kernels.recurrence.forms import (
    GRADIENTS,
    TANGENTS,
    VALUES,
    Gradients,
    Settings,
    Tangents,
    chosen,
    filled,
)
from jaxnn.kernels.recurrence.values import Operands, Values, Weights, by_time


def over_time(
    cell: Cell,
    weights: Weights,
    recurrent: Weights,
    carry: Any,
    x: jax.Array,
    real: jax.Array | None,
    *,
    reverse: bool,
    implementation: str | None = None,
) -> tuple[jax.Array, Any]:
    """Runs ``cell`` over the steps of ``x: (N, T, F)``, T at least 1.

    Args:
      cell: one step.
      weights: the kernel and the bias of the input's share of the gates, (F, gates·H) and (gates·H,) or None.
      recurrent: the kernel and the bias of the carry's share, (H, gates·H) and (gates·H,) or None.
      carry: the initial one, arrays (N, H). The first is the output.
      x: (N, T, F).
      real: (N, T, 1), False where a step lies past the end: there the carry stays. Going backwards, the carry
        thus waits at its initial value for the sequence's last step: each sequence is reversed within its own
        length.
      reverse: from the last step to the first. Outputs stand where their inputs stand.
      implementation: the form to take in each pass that has one of that name.

    Returns:
      The first array of the carry after each step, (N, T, H), and the final carry.
    """
    # The operands of one primitive vary over the same axes of a shard_map, and so must what is traced here.
    given = x, weights, recurrent, carry, real
    x, weights, recurrent, carry, real = varying_as(given, given)

    # A scan's first carry must be sharded as all later ones are. Zeros made from a result of the cell are;
    # nothing else of that call is left in the compiled program.
    def first_sums(carry: Any) -> Any:
        return cell.sums(gates(x[:, 0], *weights), gates(jax.tree.leaves(carry)[0], *recurrent))

    sums = first_sums(carry)
    like = cell.step(carry, sums)
    carry = jax.tree.map(lambda c, like: c + jnp.zeros_like(like), carry, like)
    # An activation may close over a traced value, which a custom derivative must take as an argument.
    step, closed_over = jax.closure_convert(cell.step, carry, sums)
    real = None if real is None else by_time(real)
    operands = Operands(x, weights, recurrent, closed_over, carry, real)
    leaves, structure = jax.tree.flatten(operands)
    of_values = jax.tree.structure(Values(x, carry, jax.tree.leaves(carry)[1:], sums))
    of_sums = tuple((a.shape, a.dtype) for a in jax.tree.leaves(sums))
    settings = Settings(cell._replace(step=step), reverse, structure, of_values, of_sums, implementation)
    values = jax.tree.unflatten(of_values, apply(_VALUES, *leaves, settings=settings))
    return values.outputs, values.final


def check_implementation(owner: str, name: str | None) -> None:
    """Raises unless ``name`` is None or that of a form of some pass; all of them fit everywhere."""
    check_name(owner, (*VALUES["cpu"], *TANGENTS["cpu"]), None, name)


def _types(s: Settings, *leaves: Any) -> list[Any]:
    operands = jax.tree.unflatten(s.operands, leaves)
    x, (h, *rest) = operands.x, jax.tree.leaves(operands.carry)
    steps, batch = x.shape[1], x.sharding.spec[0]

    def each_step(a: Any) -> Any:
        spec = a.sharding.update(spec=(None, *a.sharding.spec))
        return a.update(shape=(steps, *a.shape), sharding=spec)

    def of_batch(shape: tuple[Any, ...], dtype: Any) -> Any:
        spec = x.sharding.update(spec=(batch, *[None] * (len(shape) - 1)))
        return x.update(shape=shape, dtype=dtype, sharding=spec)

    outputs = of_batch((h.shape[0], steps, h.shape[1]), h.dtype)
    sums = [each_step(of_batch(shape, dtype)) for shape, dtype in s.sums]
    return [outputs, h, *rest, *map(each_step, rest), *sums]


def _types_of_tangents(s: Tangents, *arrays: Any) -> list[Any]:
    return list(arrays[len(s.along) : len(s.along) + s.of.values.num_leaves])


def _types_of_gradients(s: Gradients, *arrays: Any) -> list[Any]:
    return chosen(s.wanted, arrays[: len(s.wanted)])


def _with_tangents(s: Tangents, level: Level) -> Level:
    """Operands are mapped where their tangents are, and the other way round."""
    count = len(s.along)
    operands, values, tangents = level[:count], level[count : -sum(s.along)], level[-sum(s.along) :]
    own = filled(s.along, tangents, lambda place: False)
    both = tuple(a or b for a, b in zip(operands, own, strict=True))
    return *both, *values, *chosen(s.along, both)


def _with_cotangents(s: Gradients, level: Level) -> Level:
    """Cotangents are mapped: else the transpose would have to sum over members."""
    count = len(s.wanted) + len(s.given)
    return *level[:count], *[True] * sum(s.given)


_VALUES = operation("recurrence", type_of=_types, forms=VALUES, several=True, read_as="in_loop")
_TANGENTS = operation(
    "recurrence_tangents", type_of=_types_of_tangents, forms=TANGENTS, several=True, align=_with_tangents
)
_GRADIENTS = operation(
    "recurrence_gradients",
    type_of=_types_of_gradients,
    forms=GRADIENTS,
    several=True,
    align=_with_cotangents,
)


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, ad.Zero)


def _values_jvp(primals: Any, tangents: Any, *, settings: Settings, mapped: Mapped) -> Any:
    along = tuple(not _is_zero(t) for t in tangents)
    if settings.implementation == "lax":  # whose derivative is that of lax.scan
        plain = partial(in_form, _VALUES, "lax", settings=settings, mapped=mapped)
        return _traced_jvp(plain, primals, tangents)
    values = _VALUES.bind(*primals, settings=settings, mapped=mapped)
    levels = tuple((*level, *[True] * len(values), *chosen(along, level)) for level in mapped)
    operands = equally_varying(*primals, *values, *chosen(along, tangents))
    return values, _TANGENTS.bind(*operands, settings=Tangents(settings, along), mapped=levels)


def _tangents_transpose(cotangents: Any, *arrays: Any, settings: Tangents, mapped: Mapped) -> Any:
    count = len(settings.along) + settings.of.values.num_leaves
    known, unknown = arrays[:count], arrays[count:]
    given = tuple(not _is_zero(c) for c in cotangents)
    if not any(given):
        return [None] * count + [ad.Zero(a.aval) for a in unknown]
    levels = tuple(level[:count] for level in mapped)
    operands = equally_varying(*known, *chosen(given, cotangents))
    wanted = Gradients(settings.of, settings.along, given, levels)
    return [None] * count + list(_GRADIENTS.bind(*operands, settings=wanted, mapped=()))


def _gradients_transpose(cotangents: Any, *arrays: Any, settings: Gradients, mapped: Mapped) -> Any:
    count = len(settings.wanted) + len(settings.given)
    known, unknown = arrays[:count], arrays[count:]
    moving = [not _is_zero(c) for c in cotangents]
    if not any(moving):
        return [None] * count + [ad.Zero(a.aval) for a in unknown]
    along = tuple(filled(settings.wanted, moving, lambda place: False))

    def of_member(*operands: Any) -> Any:
        levels = tuple((*level, *chosen(along, level[: len(along)])) for level in settings.mapped)
        operands = equally_varying(*operands)
        made = _TANGENTS.bind(*operands, settings=Tangents(settings.of, along), mapped=levels)
        return chosen(settings.given, made)

    directions = chosen(moving, cotangents)
    levels = tuple((*level[:count], *[True] * len(directions)) for level in mapped)
    return [None] * count + list(over_members(of_member, levels)(*known, *directions))


def _traced_jvp(function: Any, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The values and tangents of a function of arrays, traced at once."""
    along = [not _is_zero(t) for t in tangents]

    def of_moving(*moving: Any) -> Any:
        return function(*filled(along, moving, lambda place: primals[place]))

    return jax.jvp(of_moving, chosen(along, primals), chosen(along, tangents))


def _jvp_in_blocks(made: Primitive, primals: Any, tangents: Any, **params: Any) -> Any:
    return _traced_jvp(partial(in_form, made, "blocks", **params), primals, tangents)


ad.primitive_jvps[_VALUES] = _values_jvp
ad.primitive_jvps[_TANGENTS] = partial(_jvp_in_blocks, _TANGENTS)
ad.primitive_jvps[_GRADIENTS] = partial(_jvp_in_blocks, _GRADIENTS)
ad.primitive_transposes[_TANGENTS] = _tangents_transpose
ad.primitive_transposes[_GRADIENTS] = _gradients_transpose
