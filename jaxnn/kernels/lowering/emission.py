"""Lowering a form without tracing it: each operation of ``lax`` becomes one of StableHLO at once.

JAX lowers a function by tracing it to a jaxpr and then making an MLIR function per equation, which it
inlines. Forms hold many small equations and nets many forms: that was three quarters of the time of lowering
a net. Here the operands of a form are tracers that stand for values of the program being written, and the
commonest primitives of ``lax`` are written where they are bound, as JAX would write them. All others, loops
among them, take JAX's way, one at a time.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.core import ShapedArray, Trace, Tracer
from jax.extend.core import Primitive, jaxpr_as_fun, set_current_trace
from jax.extend.mlir import ir
from jax.extend.mlir.dialects import stablehlo as hlo
from jax.interpreters import mlir

#: ``rule(context, types, values, **params) -> (types, values)`` of the results; None where it does not apply.
Rule = Callable[..., tuple[Sequence[Any], Sequence[Any]] | None]
#: The primitives that are written at once.
RULES: dict[Primitive, Rule] = {}

#: JAX concatenates up to so many arrays at a time.
_CONCATENATED = 16


def can_emit(context: mlir.LoweringRuleContext) -> bool:
    """Whether only shapes and dtypes matter: no mesh, no symbolic size, no option for single operations."""
    around: Any = context.jaxpr_eqn_ctx
    if around is not None and (around.compute_type is not None or around.xla_metadata):
        return False
    return all(
        isinstance(t, ShapedArray)
        and isinstance(t.dtype, np.dtype)
        and t.sharding.mesh.empty
        and all(type(n) is int for n in t.shape)
        for t in (*context.avals_in, *context.avals_out)
    )


def platforms(context: mlir.LoweringRuleContext) -> tuple[str, ...]:
    """Those that the program is written for."""
    return tuple(context.platforms or context.module_context.platforms)


def emit(function: Callable[..., Any], context: mlir.LoweringRuleContext, values: Sequence[Any]) -> list[Any]:
    """The values of the program that ``function``, of arrays, gives for these."""
    trace = _Emission(context)
    operands = [_Emitted(trace, t, v) for t, v in zip(context.avals_in, values, strict=True)]
    with set_current_trace(trace):
        results = function(*operands)
    return [trace.value(a) for a in (results if isinstance(results, list | tuple) else [results])]


def once_if(wanted: jax.Array, step: Callable[[jax.Array], jax.Array], a: jax.Array) -> jax.Array:
    """``step(a)`` if ``wanted``, otherwise ``a``: a loop of one round or none.

    A branch that returns its operand would copy it.
    """

    def once(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        go_on, a = carry
        return lax.bitwise_and(go_on, np.False_), step(a)

    if isinstance(wanted, _Emitted) and isinstance(a, _Emitted):
        result: jax.Array = _loop(once, wanted, a)
        return result
    return lax.while_loop(lambda carry: carry[0], once, (wanted, a))[1]


def _loop(step: Callable[..., Any], *carry: "_Emitted") -> Any:
    """The last value of the carry of a loop that goes on while its first value is True."""
    types, trace = [_ir_type(a.aval) for a in carry], carry[0]._trace
    loop = hlo.WhileOp(types, [a.value for a in carry])
    with ir.InsertionPoint(loop.regions[0].blocks.append(*types)) as point:
        hlo.return_([point.block.arguments[0]])
    with ir.InsertionPoint(loop.regions[1].blocks.append(*types)) as point:
        operands = [_Emitted(trace, a.aval, v) for a, v in zip(carry, point.block.arguments, strict=True)]
        hlo.return_([trace.value(a) for a in step(operands)])
    return _Emitted(trace, carry[-1].aval, loop.results[-1])


class _Emitted(Tracer[Any]):
    """An array that stands for a value of the program being written."""

    __slots__ = ("value",)

    def __init__(self, trace: "_Emission", type_of: Any, value: Any):
        super().__init__(trace, type_of)
        self.value = value


class _Emission(Trace):
    """Writes what is bound."""

    def __init__(self, context: mlir.LoweringRuleContext):
        super().__init__()  # type: ignore[no-untyped-call]
        self.context = context

    def value(self, a: Any) -> Any:
        """The value of an operand, which may be a constant."""
        return a.value if isinstance(a, _Emitted) else mlir.ir_constant(a, aval=jax.typeof(a))

    def process_primitive(self, primitive: Primitive, operands: Sequence[Any], params: Any, /) -> Any:
        if primitive is lax.convert_element_type_p and not isinstance(operands[0], _Emitted):
            operands = [np.asarray(operands[0]).astype(params["new_dtype"])]  # a constant
        if primitive.name == "jit":  # one of ``jax.numpy``'s functions
            with set_current_trace(self):
                return jaxpr_as_fun(params["jaxpr"])(*operands)
        types = [a.aval if isinstance(a, _Emitted) else jax.typeof(a) for a in operands]
        values = [self.value(a) for a in operands]
        rule = RULES.get(primitive)
        written = rule(self.context, types, values, **params) if rule else None
        result_types, results = written or self.traced(primitive, types, values, params)
        made = [_Emitted(self, t, v) for t, v in zip(result_types, results, strict=True)]
        return made if primitive.multiple_results else made[0]

    def stage_value(self, a: Any) -> "_Emitted":
        return a if isinstance(a, _Emitted) else _Emitted(self, jax.typeof(a), self.value(a))

    def traced(self, primitive: Primitive, types: Any, values: Any, params: Mapping[str, Any]) -> Any:
        """JAX's way."""
        result_types: list[Any] = []

        def bound(*operands: jax.Array) -> Any:
            results = primitive.bind(*operands, **params)
            result_types.extend(map(jax.typeof, results if primitive.multiple_results else [results]))
            return results

        lowered = mlir.lower_fun(bound, multiple_results=primitive.multiple_results)
        return result_types, lowered(self.context.replace(avals_in=types), *values)

    def process_custom_jvp_call(
        self, primitive: Any, function: Any, jvp: Any, operands: Any, /, **_: Any
    ) -> Any:
        with set_current_trace(self):
            return function.call_wrapped(*operands)

    def process_custom_vjp_call(
        self, primitive: Any, function: Any, forward: Any, backward: Any, operands: Any, /, **_: Any
    ) -> Any:
        with set_current_trace(self):
            return function.call_wrapped(*operands)


def _one(type_of: Any, value: Any) -> tuple[list[Any], list[Any]]:
    return [type_of], [value]


@lru_cache(maxsize=1024)
def _array(shape: tuple[int, ...], dtype: np.dtype, weak_type: bool = False) -> ShapedArray:
    return ShapedArray(shape, dtype, weak_type)


def _shaped(t: Any, shape: Sequence[int]) -> ShapedArray:
    """``t`` in another shape."""
    return _array(tuple(shape), t.dtype, t.weak_type)


def _truths(t: Any) -> ShapedArray:
    return _array(t.shape, np.dtype(bool))


def _ir_type(t: Any) -> Any:
    return ir.RankedTensorType.get(t.shape, mlir.dtype_to_ir_type(t.dtype))


def _ints(values: Sequence[int]) -> Any:
    return ir.DenseI64ArrayAttr.get(values)


def _rule(primitive: Primitive) -> Callable[[Rule], Rule]:
    def registered(rule: Rule) -> Rule:
        RULES[primitive] = rule
        return rule

    return registered


def _is_number(*types: Any) -> bool:
    """Whether these are real numbers that JAX has no other representation of."""
    return all(t.dtype.kind in "biuf" or t.dtype == jax.numpy.bfloat16 for t in types)


@_rule(lax.reshape_p)
def _reshape(context: Any, types: Any, values: Any, *, new_sizes: Any, dimensions: Any, **_: Any) -> Any:
    if dimensions is not None or len(values) > 1:
        return None
    made = _shaped(types[0], new_sizes)
    return _one(made, hlo.reshape(_ir_type(made), values[0]))


@_rule(lax.squeeze_p)
def _squeeze(context: Any, types: Any, values: Any, *, dimensions: Any) -> Any:
    (x,) = types
    made = _shaped(x, [n for axis, n in enumerate(x.shape) if axis not in dimensions])
    return _one(made, hlo.reshape(_ir_type(made), values[0]))


@_rule(lax.transpose_p)
def _transpose(context: Any, types: Any, values: Any, *, permutation: Any) -> Any:
    (x,) = types
    made = _shaped(x, [x.shape[axis] for axis in permutation])
    return _one(made, hlo.transpose(values[0], _ints(permutation)))


@_rule(lax.rev_p)
def _rev(context: Any, types: Any, values: Any, *, dimensions: Any) -> Any:
    return _one(types[0], hlo.reverse(values[0], _ints(dimensions)))


@_rule(lax.broadcast_in_dim_p)
def _broadcast(
    context: Any, types: Any, values: Any, *, shape: Any, broadcast_dimensions: Any, **_: Any
) -> Any:
    if len(values) > 1:
        return None
    made = _shaped(types[0], shape)
    if made.shape == types[0].shape:
        return _one(made, values[0])
    return _one(made, hlo.broadcast_in_dim(_ir_type(made), values[0], _ints(broadcast_dimensions)))


@_rule(lax.slice_p)
def _slice(
    context: Any, types: Any, values: Any, *, start_indices: Any, limit_indices: Any, strides: Any
) -> Any:
    strides = strides or (1,) * len(start_indices)
    axes = zip(start_indices, limit_indices, strides, strict=True)
    made = _shaped(types[0], [-(-(limit - start) // step) for start, limit, step in axes])
    return _one(made, hlo.slice(values[0], _ints(start_indices), _ints(limit_indices), _ints(strides)))


@_rule(lax.dynamic_slice_p)
def _dynamic_slice(context: Any, types: Any, values: Any, *, slice_sizes: Any) -> Any:
    if len({t.dtype for t in types[1:]}) > 1:
        return None
    made = _shaped(types[0], slice_sizes)
    return _one(made, hlo.dynamic_slice(values[0], values[1:], _ints(slice_sizes)))


@_rule(lax.split_p)
def _split(context: Any, types: Any, values: Any, *, sizes: Any, axis: int) -> Any:
    (x,), results, made = types, [], []
    starts, limits, strides = [0] * x.ndim, list(x.shape), _ints([1] * x.ndim)
    for size in sizes:
        limits[axis] = starts[axis] + size
        results.append(hlo.slice(values[0], _ints(starts), _ints(limits), strides))
        made.append(_shaped(x, (*x.shape[:axis], size, *x.shape[axis + 1 :])))
        starts[axis] = limits[axis]
    return made, results


@_rule(lax.pad_p)
def _pad(context: Any, types: Any, values: Any, *, padding_config: Any) -> Any:
    lows, highs, between = zip(*padding_config, strict=True) if padding_config else ((), (), ())
    axes = zip(types[0].shape, lows, highs, between, strict=True)
    made = _shaped(types[0], [n + low + high + max(n - 1, 0) * more for n, low, high, more in axes])
    return _one(made, hlo.pad(values[0], values[1], _ints(lows), _ints(highs), _ints(between)))


@_rule(lax.concatenate_p)
def _concatenate(context: Any, types: Any, values: Any, *, dimension: int) -> Any:
    shape, along = list(types[0].shape), mlir.i64_attr(dimension)
    shape[dimension] = sum(t.shape[dimension] for t in types)
    while len(values) > 1:
        values = [
            hlo.concatenate(values[i : i + _CONCATENATED], along)
            for i in range(0, len(values), _CONCATENATED)
        ]
    return _one(_shaped(types[0], shape), values[0])


@_rule(lax.convert_element_type_p)
def _convert(context: Any, types: Any, values: Any, *, new_dtype: Any, weak_type: bool, **_: Any) -> Any:
    made = _array(types[0].shape, np.dtype(new_dtype), weak_type)
    if made.dtype == types[0].dtype:
        return _one(made, values[0])
    if not _is_number(types[0], made) or made.dtype == bool:
        return None
    return _one(made, hlo.convert(_ir_type(made), values[0]))


@_rule(lax.select_n_p)
def _select(context: Any, types: Any, values: Any) -> Any:
    which, *cases = types
    if which.dtype != bool or len(cases) != 2:
        return None
    return _one(cases[0], hlo.select(values[0], values[2], values[1]))


@_rule(lax.is_finite_p)
def _is_finite(context: Any, types: Any, values: Any) -> Any:
    return _one(_truths(types[0]), hlo.is_finite(values[0]))


def _alike(types: Any, values: Any) -> tuple[tuple[int, ...], Any] | None:
    """The common shape and the operands in it, scalars copied; None for other shapes or dtypes."""
    shape = max((t.shape for t in types), key=len)
    if not _is_number(*types) or any(t.shape not in ((), shape) for t in types):
        return None
    copied = (
        v if t.shape == shape else hlo.broadcast_in_dim(_ir_type(_shaped(t, shape)), v, _ints(()))
        for t, v in zip(types, values, strict=True)
    )
    return shape, list(copied)


def _elementwise(operation: Any, context: Any, types: Any, values: Any, **params: Any) -> Any:
    alike = _alike(types, values)
    if alike is None or any(p is not None for p in params.values()):
        return None
    shape, values = alike
    return _one(_array(shape, types[0].dtype, all(t.weak_type for t in types)), operation(*values))


for _primitive, _operation in (
    (lax.add_p, hlo.add),
    (lax.sub_p, hlo.subtract),
    (lax.mul_p, hlo.multiply),
    (lax.div_p, hlo.divide),
    (lax.max_p, hlo.maximum),
    (lax.min_p, hlo.minimum),
    (lax.and_p, hlo.and_),
    (lax.or_p, hlo.or_),
    (lax.not_p, hlo.not_),
    (lax.neg_p, hlo.negate),
    (lax.exp_p, hlo.exponential),
    (lax.log_p, hlo.log),
    (lax.tanh_p, hlo.tanh),
    (lax.sqrt_p, hlo.sqrt),
    (lax.rsqrt_p, hlo.rsqrt),
):
    RULES[_primitive] = partial(_elementwise, _operation)


def _compare(direction: str, context: Any, types: Any, values: Any) -> Any:
    alike, dtype = _alike(types, values), types[0].dtype
    if alike is None:
        return None
    shape, (x, y) = alike
    kind = "SIGNED" if dtype.kind == "i" else "UNSIGNED" if dtype.kind in "bu" else "FLOAT"
    compared = hlo.compare(
        x, y, hlo.ComparisonDirectionAttr.get(direction), compare_type=hlo.ComparisonTypeAttr.get(kind)
    )
    return _one(_array(shape, np.dtype(bool)), compared)


for _primitive, _direction in (
    (lax.eq_p, "EQ"),
    (lax.ne_p, "NE"),
    (lax.lt_p, "LT"),
    (lax.le_p, "LE"),
    (lax.gt_p, "GT"),
    (lax.ge_p, "GE"),
):
    RULES[_primitive] = partial(_compare, _direction)


@_rule(lax.reduce_sum_p)
def _sum(context: Any, types: Any, values: Any, *, axes: Any, **params: Any) -> Any:
    (x,) = types
    if not _is_number(x) or any(p is not None for p in params.values()):
        return None
    made = _shaped(x, [n for axis, n in enumerate(x.shape) if axis not in axes])
    scalar = _array((), x.dtype)
    zero = mlir.ir_constant(np.zeros((), x.dtype), aval=scalar)
    reduction = hlo.ReduceOp([_ir_type(made)], values, [zero], _ints(axes))
    block = reduction.regions[0].blocks.append(_ir_type(scalar), _ir_type(scalar))
    with ir.InsertionPoint(block):
        hlo.return_([hlo.add(*block.arguments)])
    return _one(made, reduction.result)


def _default_precision() -> Any:
    return ir.ArrayAttr.get([hlo.PrecisionAttr.get("DEFAULT")] * 2)


def _sums_in_its_dtype(types: Any, preferred: Any) -> bool:
    """Whether products of float32 or float64 are summed in that dtype."""
    dtype = types[0].dtype
    return dtype in (np.float32, np.float64) and types[1].dtype == dtype and preferred in (None, dtype)


@_rule(lax.dot_general_p)
def _dot(
    context: Any, types: Any, values: Any, *, dimension_numbers: Any, precision: Any,
    preferred_element_type: Any, **_: Any,
) -> Any:  # fmt: skip
    if precision is not None or not _sums_in_its_dtype(types, preferred_element_type):
        return None
    (a, b), ((a_summed, b_summed), (a_apart, b_apart)) = types, dimension_numbers
    shape = [a.shape[axis] for axis in a_apart]
    for t, summed, apart in ((a, a_summed, a_apart), (b, b_summed, b_apart)):
        shape += [n for axis, n in enumerate(t.shape) if axis not in (*summed, *apart)]
    numbers = hlo.DotDimensionNumbers.get(
        lhs_batching_dimensions=list(a_apart),
        rhs_batching_dimensions=list(b_apart),
        lhs_contracting_dimensions=list(a_summed),
        rhs_contracting_dimensions=list(b_summed),
    )
    made = _array(tuple(shape), a.dtype)
    product = hlo.dot_general(
        _ir_type(made), values[0], values[1], numbers, precision_config=_default_precision()
    )
    return _one(made, product)


@_rule(lax.conv_general_dilated_p)
def _convolution(
    context: Any, types: Any, values: Any, *, window_strides: Any, padding: Any, lhs_dilation: Any,
    rhs_dilation: Any, dimension_numbers: Any, feature_group_count: int, batch_group_count: int,
    precision: Any, preferred_element_type: Any, **_: Any,
) -> Any:  # fmt: skip
    if precision is not None or not _sums_in_its_dtype(types, preferred_element_type):
        return None
    (x, kernel), (of_x, of_kernel, of_y) = types, dimension_numbers
    numbers = hlo.ConvDimensionNumbers.get(
        input_batch_dimension=of_x[0],
        input_feature_dimension=of_x[1],
        input_spatial_dimensions=list(of_x[2:]),
        kernel_output_feature_dimension=of_kernel[0],
        kernel_input_feature_dimension=of_kernel[1],
        kernel_spatial_dimensions=list(of_kernel[2:]),
        output_batch_dimension=of_y[0],
        output_feature_dimension=of_y[1],
        output_spatial_dimensions=list(of_y[2:]),
    )
    shape = [0] * x.ndim
    shape[of_y[0]] = x.shape[of_x[0]] // batch_group_count
    shape[of_y[1]] = kernel.shape[of_kernel[0]]
    for i, (low, high) in enumerate(padding):
        n, k = x.shape[of_x[2 + i]], kernel.shape[of_kernel[2 + i]]
        span = (k - 1) * rhs_dilation[i] + 1 if k else 0
        padded = ((n - 1) * lhs_dilation[i] + 1 if n else 0) + low + high
        shape[of_y[2 + i]] = max((padded - span) // window_strides[i] + 1, 0)
    made = _array(tuple(shape), x.dtype)
    y = hlo.convolution(
        _ir_type(made),
        values[0],
        values[1],
        dimension_numbers=numbers,
        feature_group_count=mlir.i64_attr(feature_group_count),
        batch_group_count=mlir.i64_attr(batch_group_count),
        window_strides=_ints(window_strides),
        padding=mlir.dense_int_elements(np.asarray(padding).reshape(-1, 2)),
        lhs_dilation=_ints(lhs_dilation),
        rhs_dilation=_ints(rhs_dilation),
        window_reversal=ir.DenseBoolArrayAttr.get([False] * len(padding)),
        precision_config=_default_precision(),
    )
    return _one(made, y)
