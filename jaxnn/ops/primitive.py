"""What JAX must be told of an operation that has a form of its own on CPUs, and derivatives of its own.

The form is chosen when a program is lowered, by the platform it is lowered for.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
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
      form: the result, from the operands.
      batch: what ``vmap`` does: from operands and their mapped axes to the result and its mapped axis.
      cpu: the result on a CPU, if it has a form of its own there. It is also told whether arrays may be
        ``spread`` over several devices.
    """
    made = Primitive(f"jaxnn_{name}")
    # Called eagerly, it is compiled like everything else.
    made.def_impl(jax.jit(made.bind, static_argnames=settings))
    made.def_abstract_eval(type_of)
    batching.primitive_batchers[made] = batch
    mlir.register_lowering(made, mlir.lower_fun(form, multiple_results=False))
    if cpu is None:
        return made

    def lowered_for_a_cpu(context: mlir.LoweringRuleContext, *args: Any, **params: Any) -> Any:
        devices = getattr(context.module_context.axis_context, "num_devices", None)
        lower = mlir.lower_fun(cpu, multiple_results=False)
        return lower(context, *args, **params, spread=devices != 1)

    mlir.register_lowering(made, lowered_for_a_cpu, platform="cpu")
    return made
