"""Primitives: operations whose form is chosen when a program is lowered, by platform and problem.

Only a primitive can have both a form per platform and derivatives of its own, of any order and in either
mode.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from jaxnn.kernels.choice import Form, choose
from jaxnn.kernels.lowering.emission import RULES, can_emit, emit, platforms
from jaxnn.kernels.lowering.meaning import MEANINGS, Flops, Meaning
from jaxnn.kernels.lowering.preference import preferred

#: The key of the list for every platform that has none of its own.
DEFAULT = "default"


class Problem(NamedTuple):
    """What the choice of a form may depend on, where an operation has no description of its own.

    Attributes:
      types: the operands' types: shape, dtype, sharding.
      params: the primitive's parameters, by name.
      devices: over how many devices the compiler may spread the arrays.
      members: how many such problems ``vmap`` has put side by side.
    """

    types: tuple[Any, ...]
    params: Mapping[str, Any]
    devices: int = 1
    members: Any = 1

    @property
    def settings(self) -> Any:
        return self.params["settings"]


class Kernel(NamedTuple):
    """A primitive and its forms.

    Attributes:
      primitive: the primitive that a traced program holds.
      forms: ordered lists by platform, and one for all others.
      describe: makes the problem that forms are chosen by from types, params and devices.
    """

    primitive: Primitive
    forms: Mapping[str, Sequence[Form]]
    describe: Callable[[tuple[Any, ...], Mapping[str, Any], int], Any]

    def on(self, platform: str) -> Sequence[Form]:
        """The list of a platform: its own, that of the platform whose forms it uses, or the default."""
        return self.forms.get(_TAKES.get(platform, platform), self.forms[DEFAULT])

    def chosen(
        self, platform: str, types: tuple[Any, ...], params: Mapping[str, Any], devices: int
    ) -> tuple[Form, Any]:
        """The form that is chosen on a platform, and the problem that it is passed."""
        problem = self.describe(types, params, devices)
        name = implementation(params) or preferred(self.primitive.name, types, params, platform, devices)
        return choose(self.on(platform), problem, name), problem

    def plain(self, *operands: jax.Array, **params: Any) -> Any:
        """The plain form: the one that the default list chooses on one device when none is named."""
        problem = self.describe(tuple(map(jax.typeof, operands)), params, 1)
        return choose(self.forms[DEFAULT], problem).compute(problem, *operands)


#: Platforms that take the forms of another, by ``use``.
_TAKES: dict[str, str] = {}
#: All kernels, by the names of their primitives.
KERNELS: dict[str, Kernel] = {}


def of(function: Callable[..., jax.Array], name: str = "lax", **rules: Any) -> Form:
    """``function(*operands, devices=..., **params)`` as a form."""

    def compute(problem: Problem, *operands: jax.Array) -> jax.Array:
        return function(*operands, **problem.params, devices=problem.devices)

    return Form(name, compute, **rules)


def primitive(
    name: str,
    settings: Sequence[str],
    *,
    type_of: Callable[..., Any],
    forms: Mapping[str, Sequence[Form]],
    batch: Callable[..., tuple[jax.Array, int]],
    describe: Callable[[tuple[Any, ...], Mapping[str, Any], int], Any] = Problem,
    flops: Flops | None = None,
    plain: Callable[..., Any] | None = None,
    several: bool = False,
) -> Primitive:
    """A primitive called ``jaxnn_<name>``, whose derivatives are still to be defined.

    Args:
      name: of the primitive.
      settings: the names of its parameters.
      type_of: the type of the result, from those of the operands.
      forms: by platform (``"cpu"``, ``"cuda"``, ``"rocm"``, ``"tpu"``) an ordered list, and one called
        ``"default"``. The last form of each must fit everywhere. What ``"default"`` chooses on one device is
        the plain form, by which ``summary`` reads the primitive.
      batch: what ``vmap`` does: from operands and their mapped axes to the result and its mapped axis.
      describe: makes the problem that forms are chosen by from the operands' types, the parameters and the
        number of devices.
      flops: the number of floating-point operations, from the types of the operands and of the result; None
        for those of the plain form.
      plain: the plain form as a function of operands and parameters; None for what ``"default"`` chooses.
      several: whether it has a list of results instead of one; ``type_of`` and ``batch`` then give lists too.
    """
    made = Primitive(f"jaxnn_{name}")
    made.multiple_results = several
    made.def_impl(_compiled(made, settings))
    made.def_abstract_eval(type_of)
    batching.primitive_batchers[made] = batch
    kernel = KERNELS[made.name] = Kernel(made, forms, describe)
    MEANINGS[made] = Meaning(plain or kernel.plain, flops)
    RULES[made] = partial(_within_a_form, kernel)
    mlir.register_lowering(made, _lowering(kernel))
    for platform in forms:
        if platform != DEFAULT:
            mlir.register_lowering(made, _lowering(kernel, platform), platform=platform)
    return made


def use(platform: str, *, forms: str) -> None:
    """Lets programs for ``platform`` take another platform's forms; call it at start-up.

    Some accelerators' compilers lack select-and-scatter, dilated inputs or grouped gradients. The forms for
    CPUs avoid these, but for transposed convolutions of few channels and for values that aren't finite:
    ``use("METAL", forms="cpu")``. Programs compiled before stay as they are.

    Raises:
      ValueError: JAX knows no such platform here, or no operation has forms for ``forms``.
    """
    known = {name for kernel in KERNELS.values() for name in kernel.forms}
    if forms not in known:
        raise ValueError(f"use: forms must be one of {', '.join(map(repr, sorted(known)))}, got {forms!r}")
    for kernel in KERNELS.values():
        try:
            mlir.register_lowering(kernel.primitive, _lowering(kernel, platform), platform=platform)
        except NotImplementedError as error:
            raise ValueError(
                f"use: platform must be one that JAX knows here, with its plug-in, got {platform!r}"
            ) from error
    _TAKES[platform] = forms


def implementation(params: Mapping[str, Any]) -> str | None:
    """The name of the form that an operation's parameters ask for."""
    name: str | None = getattr(params.get("settings"), "implementation", params.get("implementation"))
    return name


def _compiled(made: Primitive, settings: Sequence[str]) -> Callable[..., Any]:
    """What ``made`` does when it is called outside of all tracing: it runs compiled.

    JAX's own primitives do too, even where ``jax.disable_jit`` runs functions step by step. A function that
    is run step by step, for that or because ``jax.debug_nans`` looks for the step to blame, calls this for
    each primitive: a step is not divided further.
    """
    compiled = jax.jit(made.bind, static_argnames=settings)

    def run(*operands: jax.Array, **params: Any) -> Any:
        config: Any = jax.config
        if not (config.jax_disable_jit or config.jax_debug_nans or config.jax_debug_infs):
            return compiled(*operands, **params)
        refused = {"nan": config.jax_debug_nans, "inf": config.jax_debug_infs}
        with jax.disable_jit(False), jax.debug_nans(False), jax.debug_infs(False):
            results = compiled(*operands, **params)
            floats = [a for a in jax.tree.leaves(results) if jnp.issubdtype(a.dtype, jnp.inexact)]
            for kind, is_kind in (("nan", jnp.isnan), ("inf", jnp.isinf)):
                if refused[kind] and any(is_kind(a).any() for a in floats):
                    raise FloatingPointError(f"invalid value ({kind}) encountered in {made.name}")
        return results

    return run


def _lowering(kernel: Kernel, platform: str | None = None) -> Callable[..., Any]:
    """The rule of a platform; None for that of all that have none of their own."""

    def rule(context: mlir.LoweringRuleContext, *args: Any, **params: Any) -> Any:
        devices = _devices(context.module_context.axis_context)
        target, *others = (platform,) if platform else platforms(context)

        def compute(*operands: jax.Array) -> Any:
            types = tuple(map(jax.typeof, operands))
            form, problem = kernel.chosen(DEFAULT if others else target, types, params, devices)
            return form.compute(problem, *operands)

        if can_emit(context):
            return emit(compute, context, args)
        several = kernel.primitive.multiple_results
        return mlir.lower_fun(compute, multiple_results=several)(context, *args)

    return rule


def _within_a_form(kernel: Kernel, context: Any, types: Any, values: Any, **params: Any) -> Any:
    """Writes the primitive as a part of another's form."""
    platform, *others = platforms(context)
    if others:
        return None
    made, several = kernel.primitive, kernel.primitive.multiple_results
    results, _ = made.abstract_eval(*types, **params)
    written = _lowering(kernel, platform)(context.replace(avals_in=types), *values, **params)
    return results if several else [results], written


def _devices(axes: Any) -> int:
    """Over how many devices a compiler may spread an array: inside a ``shard_map`` only over the rest."""
    if hasattr(axes, "mesh"):
        return prod(size for name, size in axes.mesh.shape.items() if name not in axes.manual_axes)
    return getattr(axes, "num_devices", 1)
