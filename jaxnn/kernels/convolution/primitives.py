"""Convolution as one trilinear form with three passes, each the transpose of the others.

For an input x, a kernel k and an output y take the number ⟨y, x ∗ k⟩. Leaving one of the three out gives

- ``forward(x, k)``, the convolution,
- ``input_gradient(k, y)``, its transpose in x, which is the transposed convolution,
- ``kernel_gradient(x, y)``, its transpose in k.

So the derivatives of each, of any order and in either mode, are the other two, and each is computed by a form
chosen for it, never by transposing another's form. Only a JAX primitive can do that: a ``custom_vjp`` has no
forward mode, and a ``custom_jvp`` is transposed form and all. ``vmap`` folds its axis into the batch or the
channels, or makes groups of it. The form is chosen when the primitive is lowered, by platform and problem:
see ``forms``.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxnn.kernels.choice import Form, check_name
from jaxnn.kernels.convolution.forms import FORMS
from jaxnn.kernels.convolution.problem import Problem, Settings
from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.lowering.primitive import KERNELS, primitive
from jaxnn.kernels.lowering.varying import equally_varying

X, KERNEL, Y = range(3)


class Pass(NamedTuple):
    """One of the three passes: the roles of its two operands and of its result, and its primitive."""

    roles: tuple[int, int]
    result: int
    primitive: Primitive


def forward(x: jax.Array, kernel: jax.Array, settings: Settings, dtype: jnp.dtype) -> jax.Array:
    """``(N, *space, C_in), (*window, C_in // g, C_out) → (N, *out, C_out)``, of ``dtype``."""
    return _bind(_FORWARD, x, kernel, settings, dtype)


def input_gradient(kernel: jax.Array, y: jax.Array, settings: Settings, dtype: jnp.dtype) -> jax.Array:
    """``(*window, C_in // g, C_out), (N, *out, C_out) → (N, *space, C_in)``, of ``dtype``."""
    return _bind(_INPUT_GRADIENT, kernel, y, settings, dtype)


def kernel_gradient(x: jax.Array, y: jax.Array, settings: Settings, dtype: jnp.dtype) -> jax.Array:
    """``(N, *space, C_in), (N, *out, C_out) → (*window, C_in // g, C_out)``, of ``dtype``."""
    return _bind(_KERNEL_GRADIENT, x, y, settings, dtype)


def check_implementation(owner: str, name: str, a: jax.Array, b: jax.Array, settings: Settings) -> None:
    """Raises unless ``settings`` name no form, or one that fits the pass ``name`` of these operands."""
    if settings.implementation is None:
        return
    params = {"settings": settings, "dtype": accumulator(a.dtype)}
    problem = KERNELS[f"jaxnn_conv_{name}"].describe((jax.typeof(a), jax.typeof(b)), params, 1)
    check_name(owner, FORMS["cpu"][name], problem, settings.implementation)


def _bind(which: Pass, a: jax.Array, b: jax.Array, settings: Settings, dtype: Any) -> jax.Array:
    if settings.precision is None:
        # The default precision is read while tracing: at lowering it may be another.
        settings = settings._replace(precision=jax.config.jax_default_matmul_precision)  # type: ignore[attr-defined]
    a, b = equally_varying(a, b)
    return which.primitive.bind(a, b, settings=settings, dtype=jnp.dtype(dtype))


def _shape(role: int, a: Any, b: Any, settings: Settings) -> tuple[int, ...]:
    """The shape of the result of the pass that gives ``role``, from its operands."""
    if role == Y:
        return (a.shape[0], *settings.out, b.shape[-1])
    if role == X:
        return (b.shape[0], *settings.space, a.shape[-2] * settings.groups)
    return (*settings.window, a.shape[-1] // settings.groups, b.shape[-1])


def _sharding(which: Pass, a: Any, b: Any) -> NamedSharding:
    """The result's sharding on explicit axes: only the batch may be sharded, and stays so."""
    batch = None
    for role, operand in zip(which.roles, (a, b), strict=True):
        first, *others = operand.sharding.spec
        if any(others) or (role == KERNEL and first):
            raise ValueError(
                "conv: only the batch axis may be sharded explicitly, got "
                f"{' and '.join(str(v.sharding.spec) for v in (a, b))}; reshard the others with "
                "jax.sharding.reshard, or run the convolution with jax.sharding.auto_axes or jax.shard_map"
            )
        batch = batch or first
    spec = [None] * a.ndim if which.result == KERNEL else [batch, *[None] * (a.ndim - 1)]
    return NamedSharding(a.sharding.mesh, PartitionSpec(*spec))


def _transpose(which: Pass, missing: int) -> Callable[..., jax.Array]:
    """The transpose of a pass in one of its operands: the pass that gives that operand."""

    def rule(cotangent: jax.Array, a: Any, b: Any, *, settings: Settings, dtype: Any) -> jax.Array:
        wanted = (a, b)[missing].aval.dtype
        given = {which.result: cotangent, which.roles[1 - missing]: (a, b)[1 - missing]}
        other = _PASSES[which.roles[missing]]
        first, second = (given[role] for role in other.roles)
        return _bind(other, first, second, settings, wanted)

    return rule


#: The axes of x, of the kernel and of y that a mapped axis is folded into, by the one of them that is not
#: mapped: the batch if that is the kernel, C_out if x, C_in if y. With both operands mapped it makes groups.
_FOLDS: dict[int | None, dict[int, int]] = {
    KERNEL: {X: 0, Y: 0},
    X: {KERNEL: -1, Y: -1},
    Y: {KERNEL: -2, X: -1},
    None: {X: -1, KERNEL: -1, Y: -1},
}


def _batch(which: Pass) -> Callable[..., tuple[jax.Array, int]]:
    def rule(
        args: Sequence[jax.Array], dims: Sequence[int | None], *, settings: Settings, dtype: Any
    ) -> tuple[jax.Array, int]:
        size = next(a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None)
        common = next((r for r, d in zip(which.roles, dims, strict=True) if d is None), None)
        if common != KERNEL and settings.groups > 1:
            common = None
        folds = _FOLDS[common]
        first, second = (
            a if role == common else _fold(a, d, folds[role], size)
            for role, a, d in zip(which.roles, args, dims, strict=True)
        )
        if common is None:
            settings = settings._replace(groups=settings.groups * size)
        result = _bind(which, first, second, settings, dtype)
        axis = folds[which.result] % result.ndim
        shape = (*result.shape[:axis], size, result.shape[axis] // size, *result.shape[axis + 1 :])
        return lax.reshape(result, shape), axis

    return rule


def _fold(a: jax.Array, mapped: int | None, axis: int, size: int) -> jax.Array:
    """``a`` with its mapped axis merged into ``axis`` of the rest, as the slower one."""
    if mapped is None:
        a, mapped = lax.broadcast(a, (size,)), 0
    axis %= a.ndim - 1
    order = [i for i in range(a.ndim) if i != mapped]
    order.insert(axis, mapped)
    a = lax.transpose(a, order)
    return lax.reshape(a, (*a.shape[:axis], size * a.shape[axis + 1], *a.shape[axis + 2 :]))


def _pass(name: str, roles: tuple[int, int], result: int) -> Pass:
    def type_of(a: Any, b: Any, *, settings: Settings, dtype: Any) -> Any:
        shape = _shape(result, a, b, settings)
        return a.update(shape=shape, dtype=dtype, weak_type=False, sharding=_sharding(which, a, b))

    def describe(types: tuple[Any, ...], params: Mapping[str, Any], devices: int) -> Problem:
        by_role = dict(zip(roles, types, strict=True))
        a, b = types
        settings = params["settings"]
        # Products of half-precision values are exact in float32.
        wide = max(accumulator(a.dtype), accumulator(b.dtype), key=lambda dtype: dtype.itemsize)
        batch = by_role[X if X in by_role else Y].shape[0]
        if KERNEL in by_role:
            c_in, c_out = by_role[KERNEL].shape[-2:]
        else:
            c_in, c_out = by_role[X].shape[-1] // settings.groups, by_role[Y].shape[-1]
        return Problem(settings, batch, c_in, c_out, params["dtype"], wide, devices)

    def flops(operands: Sequence[Any], made: Any) -> Any:
        # A trilinear form has the same number of terms whichever of its three operands is the result.
        shapes = {role: a.shape for role, a in zip((*roles, result), (*operands, made), strict=True)}
        return 2 * prod(shapes[Y]) * prod(shapes[KERNEL][:-1])

    def settled(form: Form) -> Form:
        """The form under explicit sharding: the result's is known; all in between is left to the compiler."""

        def compute(problem: Problem, a: jax.Array, b: jax.Array) -> jax.Array:
            if AxisType.Explicit not in jax.typeof(a).sharding.mesh.axis_types:
                return form.compute(problem, a, b)
            spec = _sharding(which, jax.typeof(a), jax.typeof(b)).spec
            return jax.sharding.auto_axes(partial(form.compute, problem), out_sharding=spec)(a, b)

        return form._replace(compute=compute)

    which = Pass(
        roles,
        result,
        primitive(
            f"conv_{name}",
            ("settings", "dtype"),
            type_of=type_of,
            forms={platform: tuple(map(settled, lists[name])) for platform, lists in FORMS.items()},
            describe=describe,
            flops=flops,
            batch=lambda *args, **params: _batch(which)(*args, **params),
        ),
    )
    ad.defbilinear(which.primitive, _transpose(which, 0), _transpose(which, 1))
    return which


_FORWARD = _pass("forward", (X, KERNEL), Y)
_INPUT_GRADIENT = _pass("input_gradient", (KERNEL, Y), X)
_KERNEL_GRADIENT = _pass("kernel_gradient", (X, Y), KERNEL)
_PASSES = {which.result: which for which in (_FORWARD, _INPUT_GRADIENT, _KERNEL_GRADIENT)}
