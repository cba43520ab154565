"""Rows times a matrix, with a derivative that XLA's matrix product for CPUs is fast at.

The gradient of the matrix is xᵀ · dy, and a left operand that lies transposed costs that product its speed:
it goes to a slower library, and where rows are a multiple of a kilobyte long their columns displace each
other in the cache. So one of the two is turned round first: x, or dy where its rows are short, and then the
gradient is (dyᵀ · x)ᵀ. On other platforms the compiler sees ordinary transpositions.
"""

from collections.abc import Sequence
from math import prod
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxnn.ops.checks import accumulator
from jaxnn.ops.stored import stored
from jaxnn.ops.varying import equally_varying

#: Fewer multiplications are done before a second loop has started.
_FEWEST_FOR_DY, _FEWEST_FOR_X = 1 << 17, 1 << 20
#: So many examples are few, and so many are enough for a gradient of any size; one that is large beside them
#: takes its time to be written, and nothing is gained.
_FEW, _ENOUGH, _LARGE = 64, 512, 1 << 19
#: Rows of dy that are short, by whether the examples are few: then turning the result counts.
_SHORT = {True: 16, False: 64}
#: Rows of a multiple of so many values have their columns in the same places of the cache.
_ALIASED = 256


def matrix_product(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """``(..., F), (F, O) → (..., O)``, summed, and given, in float32 at least."""
    turned = _to_turn(x, matrix)
    if turned is None:
        return _product(x, matrix)
    result: jax.Array = _matrix_product.bind(
        *equally_varying(x, matrix),
        turned=turned,
        dimension_numbers=_numbers(x),
        # It is asked for where the call is traced, which is not where it is lowered.
        precision=jax.config.jax_default_matmul_precision,  # type: ignore[attr-defined]
    )
    return result


def _to_turn(x: jax.Array, matrix: jax.Array) -> Literal["x", "dy"] | None:
    """Which operand of the matrix's gradient, if any."""
    spread = any(part for a in (x, matrix) for part in jax.typeof(a).sharding.spec)
    if spread or not isinstance(x.size, int):
        return None
    features, outputs = matrix.shape
    examples = prod(x.shape[:-1])
    few, work = examples <= _FEW, examples * features * outputs
    if work >= _FEWEST_FOR_DY and outputs <= _SHORT[few]:
        return "dy"
    slow = few or features % _ALIASED == 0
    pays = work >= _FEWEST_FOR_X and (examples >= _ENOUGH or matrix.size <= _LARGE)
    return "x" if slow and pays else None


def _numbers(x: Any) -> lax.DotDimensionNumbers:
    return ((x.ndim - 1,), (0,)), ((), ())


def _product(x: jax.Array, matrix: jax.Array, precision: lax.PrecisionLike = None, **_: Any) -> jax.Array:
    wide = accumulator(x.dtype)
    return lax.dot_general(x, matrix, _numbers(x), precision=precision, preferred_element_type=wide)


def _type_of_product(x: Any, matrix: Any, **_: Any) -> Any:
    shape, dtype = (*x.shape[:-1], matrix.shape[1]), jnp.dtype(accumulator(x.dtype))
    return x.update(shape=shape, dtype=dtype, weak_type=False)


def _gradient_of_x(dy: jax.Array, x: Any, matrix: jax.Array, **params: Any) -> jax.Array:
    (result,) = jax.linear_transpose(lambda x: _product(x, matrix, **params), x.aval)(dy)
    return result


def _gradient_of_matrix(
    dy: jax.Array, x: jax.Array, matrix: Any, *, turned: str, precision: lax.PrecisionLike, **_: Any
) -> jax.Array:
    a, b = (dy, x) if turned == "dy" else (x, dy)
    examples = tuple(range(x.ndim - 1))
    rows_of_a = stored(jnp.moveaxis(a, -1, 0))
    numbers = (tuple(axis + 1 for axis in examples), examples), ((), ())
    result = lax.dot_general(rows_of_a, b, numbers, precision=precision, preferred_element_type=dy.dtype)
    return (stored(result).T if turned == "dy" else result).astype(matrix.aval.dtype)


def _batched(args: Sequence[jax.Array], dims: Sequence[int | None], **params: Any) -> tuple[jax.Array, int]:
    (x, matrix), (axis, of_matrix) = args, dims
    if axis is not None and of_matrix is None:  # more examples
        x = jnp.moveaxis(x, axis, 0)
        return _matrix_product.bind(x, matrix, **params | {"dimension_numbers": _numbers(x)}), 0
    return jax.vmap(lambda x, matrix: _product(x, matrix, **params), tuple(dims))(x, matrix), 0


_matrix_product = Primitive("jaxnn_matrix_product")
_SETTINGS = ("turned", "dimension_numbers", "precision")
# Called eagerly, it is compiled like everything else.
_matrix_product.def_impl(jax.jit(_matrix_product.bind, static_argnames=_SETTINGS))
_matrix_product.def_abstract_eval(_type_of_product)
mlir.register_lowering(_matrix_product, mlir.lower_fun(_product, multiple_results=False))
ad.defbilinear(_matrix_product, _gradient_of_x, _gradient_of_matrix)
batching.primitive_batchers[_matrix_product] = _batched
