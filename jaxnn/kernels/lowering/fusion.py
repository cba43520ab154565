"""Ends of fusions: which values XLA materializes when it compiles for a CPU.

XLA fuses elementwise work, slices and pads into one loop for as long as it can. A value that several windows
read is then computed anew for each of them, and a loop over pads of pads of slices is no longer vectorised:
without an end of the fusion overlapping pools were twenty times slower. ``lax.optimization_barrier`` is
removed before XLA fuses; a call that may not be inlined stays, costs no copy, and nothing is fused across it.
On other platforms than CPUs this is a no-op.
"""

from typing import Any, cast

import jax
from jax.extend.core import Primitive
from jax.extend.mlir import ir
from jax.extend.mlir.dialects import func
from jax.interpreters import ad, batching, mlir

from jaxnn.kernels.lowering.emission import RULES, platforms
from jaxnn.kernels.lowering.meaning import MEANINGS, Meaning


def materialized(x: jax.Array) -> jax.Array:
    """``x``, which on a CPU is computed once and materialized, whatever reads it afterwards."""
    result: jax.Array = _materialized.bind(x)
    return result


def materialized_in_reverse(x: jax.Array) -> jax.Array:
    """``x`` unchanged; on a CPU its cotangent is materialized."""
    result: jax.Array = _materialized_in_reverse.bind(x)
    return result


_IN_NAMES = str.maketrans("<>?", "___")


def kept_call(context: Any, x: Any) -> Any:
    """A call of a function that returns its argument, and that XLA doesn't inline.

    Written in MLIR: as a traced function the call would take four times as long to lower, and nets hold many.
    """
    module, function = context.module_context, cast(Any, func.FuncOp)  # its stub lacks what it inherits
    name = f"itself_{x.type}".translate(_IN_NAMES)
    if name not in module.symbol_table:
        itself = function(name, ([x.type], [x.type]), visibility="private", ip=module.ip)
        with ir.InsertionPoint(itself.add_entry_block()):
            func.ReturnOp(itself.arguments)
        module.symbol_table.insert(itself)
    call = func.CallOp([x.type], ir.FlatSymbolRefAttr.get(name), [x])
    kept = ir.DictAttr.get({"inlineable": ir.StringAttr.get("false")})
    call.operation.attributes["mhlo.frontend_attributes"] = kept
    return call.results[0]


def _emitted(context: Any, types: Any, values: Any) -> Any:
    return (types, [kept_call(context, *values)]) if platforms(context) == ("cpu",) else None


def _identity(name: str) -> Primitive:
    primitive = Primitive(name)
    primitive.def_impl(lambda x: x)
    primitive.def_abstract_eval(lambda x: x)
    mlir.register_lowering(primitive, lambda context, x: [x])
    ad.deflinear2(primitive, lambda cotangent, x: [materialized(cotangent)])
    batching.defvectorized(primitive)
    MEANINGS[primitive] = Meaning(lambda x: x)
    return primitive


_materialized = _identity("jaxnn_materialized")
mlir.register_lowering(_materialized, lambda context, x: [kept_call(context, x)], platform="cpu")
RULES[_materialized] = _emitted
_materialized_in_reverse = _identity("jaxnn_materialized_in_reverse")
