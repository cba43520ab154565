"""Operations: primitives that ``vmap`` maps by mapping their forms, and pairs of linear ones.

An operation has two parameters: ``settings``, hashable, which may name an ``implementation``; and ``mapped``,
which says for each ``vmap`` around it, the outermost first, which operands have one more leading axis.
Whatever the number of these, its types and forms are those of a single member.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad

from jaxnn.kernels.choice import Form, always, check_name, choose
from jaxnn.kernels.lowering.meaning import Flops
from jaxnn.kernels.lowering.primitive import DEFAULT, KERNELS, Problem, primitive
from jaxnn.kernels.lowering.varying import equally_varying

Level = tuple[bool, ...]
Mapped = tuple[Level, ...]
Rule = Callable[[Any], bool]


def operation(
    name: str,
    *,
    type_of: Callable[..., Any],
    forms: Mapping[str, Sequence[Form]],
    flops: Flops | None = None,
    several: bool = False,
    read_as: str | None = None,
    align: Callable[[Any, Level], Level] = lambda settings, level: level,
) -> Primitive:
    """A primitive called ``jaxnn_<name>``, whose derivatives are still to be defined.

    Args:
      name: of the primitive.
      type_of: ``type_of(settings, *types)``, the type of the result (or several) of one member. Explicitly
        sharded axes other than the first are not its concern: there the plain form is traced instead.
      forms: by platform, as for ``primitive``. The problem that they are passed has ``settings``.
      flops: as for ``primitive``.
      several: whether it has several results.
      read_as: the name of the form by which ``summary`` reads it where that fits, instead of the one that
        the list ``"default"`` chooses.
      align: which operands ``vmap`` must map too, by copies, where it maps these.
    """

    def types(*operands: Any, settings: Any, mapped: Mapped) -> Any:
        if any(part for a in operands for part in a.sharding.spec[1:]):
            with jax.sharding.use_abstract_mesh(operands[0].sharding.mesh):
                chosen = partial(KERNELS[made.name].plain, settings=settings, mapped=mapped)
                traced = jax.make_jaxpr(chosen)(*map(_described, operands)).out_avals
            return traced if several else traced[0]
        members, leading = _members(operands, mapped)
        result = type_of(settings, *members)
        return [_led(t, leading) for t in result] if several else _led(result, leading)

    all_forms = {platform: tuple(map(_mapping, listed)) for platform, listed in forms.items()}

    def plain(*operands: jax.Array, **params: Any) -> Any:
        problem = _describe(tuple(map(jax.typeof, operands)), params, 1)
        return choose(all_forms[DEFAULT], problem, read_as).compute(problem, *operands)

    made: Primitive = primitive(
        name,
        ("settings", "mapped"),
        type_of=types,
        forms=all_forms,
        batch=lambda args, dims, **params: _batch(made, align, args, dims, **params),
        describe=_describe,
        flops=flops,
        plain=plain,
        several=several,
    )
    return made


def linear_operation(
    name: str,
    *,
    type_of: Callable[..., Any],
    forms: Mapping[str, Sequence[Form]],
    flops: Flops | None = None,
    read_as: str | None = None,
) -> Primitive:
    """An operation that is linear in its first operand; the others have no derivative.

    Its transpose is an operation too, called ``jaxnn_<name>_transpose``: each of its forms is the transpose
    of the form of that name.
    """

    def align(settings: Any, level: Level) -> Level:
        return True, *level[1:]  # else the transpose would have to sum over members

    forward = operation(name, type_of=type_of, forms=forms, flops=flops, read_as=read_as, align=align)
    backward = operation(
        f"{name}_transpose",
        type_of=lambda settings, y, *others: y.update(shape=settings.shape, dtype=settings.dtype),
        forms={platform: tuple(map(_transposed, listed)) for platform, listed in forms.items()},
        flops=flops,
        read_as=read_as,
        align=align,
    )

    def transpose(cotangent: Any, x: Any, *others: Any, settings: Any, mapped: Mapped) -> list[Any]:
        shape = x.aval.shape[len(mapped) :]
        settings = Transpose(settings, shape, x.aval.dtype)
        return [_bind(backward, cotangent, *others, settings=settings, mapped=mapped), *[None] * len(others)]

    def transpose_back(cotangent: Any, y: Any, *others: Any, settings: Any, mapped: Mapped) -> list[Any]:
        result = _bind(forward, cotangent, *others, settings=settings.of, mapped=mapped)
        return [result, *[None] * len(others)]

    for made, rule in ((forward, transpose), (backward, transpose_back)):
        ad.primitive_jvps[made] = partial(_linear_jvp, made)
        ad.primitive_transposes[made] = rule
    return forward


class Transpose(NamedTuple):
    """The settings of a transpose: those of the operation, and what its result is like."""

    of: Any
    shape: tuple[Any, ...]
    dtype: Any

    @property
    def implementation(self) -> str | None:
        name: str | None = self.of.implementation
        return name


def apply(made: Primitive, *operands: jax.Array, settings: Any) -> Any:
    """The operation on these operands."""
    return _bind(made, *operands, settings=settings, mapped=())


def check_form(owner: str, made: Primitive, *operands: jax.Array, settings: Any) -> None:
    """Raises unless ``settings`` name no form, or one of the operation's that fits these operands."""
    if settings.implementation is None:
        return
    types = tuple(map(jax.typeof, operands))
    problem = Problem(types, {"settings": settings, "mapped": ()})
    check_name(owner, KERNELS[made.name].forms["cpu"], problem, settings.implementation)


def in_form(made: Primitive, name: str, *operands: jax.Array, **params: Any) -> Any:
    """The result of an operation in the form called ``name``, traced at once."""
    types = tuple(map(jax.typeof, operands))
    form = next(form for form in KERNELS[made.name].forms[DEFAULT] if form.name == name)
    return form.compute(_describe(types, params, 1), *operands)


def over_members(function: Callable[..., Any], mapped: Mapped) -> Callable[..., Any]:
    """A function of the operands of one member as one of those of all."""
    for level in reversed(mapped):
        function = jax.vmap(function, [0 if is_mapped else None for is_mapped in level])
    return function


def _bind(made: Primitive, *operands: jax.Array, **params: Any) -> Any:
    return made.bind(*equally_varying(*operands), **params)


def _linear_jvp(made: Primitive, primals: Sequence[Any], tangents: Sequence[Any], **params: Any) -> Any:
    (x, *others), (d_x, *_) = primals, tangents
    return made.bind(x, *others, **params), made.bind(d_x, *others, **params)


def _batch(
    made: Primitive,
    align: Callable[[Any, Level], Level],
    args: Sequence[jax.Array],
    dims: Sequence[int | None],
    *,
    settings: Any,
    mapped: Mapped,
) -> Any:
    """The mapped axis comes first."""
    size = next(a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None)
    level = align(settings, tuple(d is not None for d in dims))

    def led(a: jax.Array, d: int | None, is_mapped: bool) -> jax.Array:
        if d is not None:
            return jnp.moveaxis(a, d, 0)
        return jnp.broadcast_to(a, (size, *a.shape)) if is_mapped else a

    operands = map(led, args, dims, level)
    result = _bind(made, *operands, settings=settings, mapped=(level, *mapped))
    return result, [0] * len(result) if made.multiple_results else 0


def _mapping(form: Form) -> Form:
    """A form of one member as one of all."""

    def compute(problem: Problem, *operands: jax.Array) -> Any:
        return over_members(partial(form.compute, problem), problem.params["mapped"])(*operands)

    return form._replace(compute=compute)


def _transposed(form: Form) -> Form:
    """The form of an operation as one of its transpose."""

    def of(problem: Problem) -> Problem:
        (y, *others), settings = problem.types, problem.settings
        types = (y.update(shape=settings.shape, dtype=settings.dtype), *others)
        return problem._replace(types=types, params={**problem.params, "settings": settings.of})

    def compute(problem: Problem, y: jax.Array, *others: jax.Array) -> jax.Array:
        original = of(problem)
        if form.transpose is not None:
            written_out: jax.Array = form.transpose(original, y, *others)
            return written_out
        like = jax.typeof(y).update(shape=problem.settings.shape, dtype=problem.settings.dtype)
        (x,) = jax.linear_transpose(lambda x: form.compute(original, x, *others), like)(y)
        result: jax.Array = x
        return result

    def rule(asked: Rule) -> Rule:
        return always if asked is always else lambda problem: asked(of(problem))

    return form._replace(compute=compute, fits=rule(form.fits), pays=rule(form.pays))


def _describe(types: tuple[Any, ...], params: Mapping[str, Any], devices: int) -> Problem:
    members, leading = _members(types, params["mapped"])
    count = 1
    for size, _ in leading:
        count *= size
    return Problem(members, params, devices, count)


def _members(types: Sequence[Any], mapped: Mapped) -> tuple[tuple[Any, ...], list[tuple[Any, Any]]]:
    """The operands' types without the leading axes of ``vmap``, and the sizes and shardings of these."""
    leading = []
    for level in mapped:
        first = next(t for t, is_mapped in zip(types, level, strict=True) if is_mapped)
        leading.append((first.shape[0], first.sharding.spec[0]))
        types = [_row(t) if is_mapped else t for t, is_mapped in zip(types, level, strict=True)]
    return tuple(types), leading


def _row(t: Any) -> Any:
    return t.update(shape=t.shape[1:], sharding=t.sharding.update(spec=t.sharding.spec[1:]))


def _led(t: Any, leading: Sequence[tuple[Any, Any]]) -> Any:
    """A type with leading axes of these sizes and shardings."""
    if not leading:
        return t.update(weak_type=False)
    sizes, parts = zip(*leading, strict=True)
    spec = (*parts, *t.sharding.spec)
    return t.update(shape=(*sizes, *t.shape), weak_type=False, sharding=t.sharding.update(spec=spec))


def _described(t: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(t.shape, t.dtype, sharding=t.sharding)
