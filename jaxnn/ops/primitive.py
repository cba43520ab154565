"""What JAX must be told of an operation that has a form of its own on CPUs, and derivatives of its own.

The form is chosen when a program is lowered, by the platform it is lowered for.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

Form = Callable[..., jax.Array]


def primitive(
    name: str,
    settings: Sequence[str],
    *,
    type_of: Callable[..., Any],
    form: Form,
    batch: Callable[..., tuple[jax.Array, int]],
    cpu: Form | None = None,
) -> Primitive:
    """A primitive of one result, called ``jaxnn_<name>``, whose derivatives are still to be said.

    Args:
      name: of the primitive.
      settings: the names of its parameters.
      type_of: the type of the result, from those of the operands.
      form: the result, from the operands; told too over how many ``devices`` the compiler may spread them.
      batch: what ``vmap`` does: from operands and their mapped axes to the result and its mapped axis.
      cpu: the same on a CPU, if it has a form of its own there.
    """
    made = Primitive(f"jaxnn_{name}")
    made.def_impl(_compiled(made, settings))
    made.def_abstract_eval(type_of)
    batching.primitive_batchers[made] = batch
    mlir.register_lowering(made, _lowering(form))
    if cpu is not None:
        mlir.register_lowering(made, _lowering(cpu), platform="cpu")
    return made


def _compiled(made: Primitive, settings: Sequence[str]) -> Form:
    """What ``made`` does when it is called outside of all tracing: it is compiled like everything else.

    So are JAX's own primitives, even where ``jax.disable_jit`` runs functions step by step. A function that
    is run step by step, for that or because ``jax.debug_nans`` looks for the step to blame, comes back here:
    a step is not divided further.
    """
    compiled = jax.jit(made.bind, static_argnames=settings)

    def run(*operands: jax.Array, **params: Any) -> jax.Array:
        config: Any = jax.config
        if not (config.jax_disable_jit or config.jax_debug_nans or config.jax_debug_infs):
            return compiled(*operands, **params)
        refused = {"nan": config.jax_debug_nans, "inf": config.jax_debug_infs}
        with jax.disable_jit(False), jax.debug_nans(False), jax.debug_infs(False):
            result = compiled(*operands, **params)
            for kind, is_kind in (("nan", jnp.isnan), ("inf", jnp.isinf)):
                if refused[kind] and jnp.issubdtype(result.dtype, jnp.inexact) and is_kind(result).any():
                    raise FloatingPointError(f"invalid value ({kind}) encountered in {made.name}")
        return result

    return run


def _lowering(form: Form) -> Callable[..., Any]:
    lower = mlir.lower_fun(form, multiple_results=False)

    def rule(context: mlir.LoweringRuleContext, *args: Any, **params: Any) -> Any:
        return lower(context, *args, **params, devices=_devices(context.module_context.axis_context))

    return rule


def _devices(axes: Any) -> int:
    """Over how many devices a compiler may spread an array: inside a ``shard_map`` only over the rest."""
    if hasattr(axes, "mesh"):
        return prod(size for name, size in axes.mesh.shape.items() if name not in axes.manual_axes)
    return getattr(axes, "num_devices", 1)
