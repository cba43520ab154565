"""Rows times a matrix: ``lax.dot_general``, but for one row, and for the gradient of the matrix, on a CPU.

One row reads each value of the matrix once, and XLA for CPUs leaves that to one core. Of a batch of two
products it gives one to each core: so the halves of the features, which are views, are multiplied as a batch.

The gradient is xᵀ · dy, summed over all rows. XLA's fast matrix product for CPUs needs operands that are
stored in the order they are read, and a single axis of rows. Rows along several axes are therefore merged,
and where a transposed operand is slow, one of the two is transposed first: x, or dy where its rows are short,
and then the gradient is (dyᵀ · x)ᵀ. An operation with a form of its own on one platform must be a primitive.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad

from jaxnn.kernels.choice import check_name
from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.lowering.fusion import materialized
from jaxnn.kernels.lowering.primitive import DEFAULT, KERNELS, Problem, of, primitive
from jaxnn.kernels.lowering.varying import equally_varying

# Thresholds compare the gradient alone, in JAX 0.10.2 with AVX-512 and 0.12.0.1 with AVX2, over 8 to 4096
# rows and 2 to 1500 features and outputs.

#: Fewer multiplications take less time than starting a second loop: for dy of one or two rows, which XLA may
#: multiply in a loop of its own, and of more; for x.
_FEWEST_FOR_DY, _FEWEST_FOR_X = {True: 1 << 18, False: 1 << 15}, 1 << 20
#: The longest rows of dy that are short, if those of x are at least this many times as long.
NARROW, _TIMES_AS_LONG = 64, 2
#: Up to this many rows are few.
_FEW = 64
#: Rows whose length is a multiple of this many values map their columns to the same cache sets; the number is
#: smaller for many rows. Writing a gradient that is large compared with the rows takes longer than is gained.
_MANY, _ALIASED = 4096, {True: 64, False: 256}
_ENOUGH, _LARGE = 512, 1 << 19

#: The fewest values of a matrix that two cores read in less time than one. Measured on 2 AVX-512 cores, in a
#: loop over 12 MB of matrices: halves take 0.45 to 0.7 of the time at 2¹⁷ and 2¹⁸ values, at 2¹⁶ as long as
#: the whole, and from 2¹⁹ on, where XLA itself uses both cores, 0.8 to 1.
_FEWEST_FOR_HALVES = 1 << 17

#: What forms need, and when they pay, in words.
ONE_ROW = "one row, an even number of features"
LARGE_ROW = f"float32, a matrix of at least {_FEWEST_FOR_HALVES:,} values, one device"
NARROW_DY = f"2 to {NARROW} outputs and at least {_TIMES_AS_LONG} times as many features, one device"
SLOW_X = (
    f"several outputs: fewer features than outputs, at most {_FEW} rows, or a multiple of "
    f"{_ALIASED[False]} features ({_ALIASED[True]} from {_MANY:,} rows on), one device"
)
#: The name of the product by ``lax``; no form of the gradient has it.
WHOLE = "whole"


def matrix_product(x: jax.Array, matrix: jax.Array, implementation: str | None = None) -> jax.Array:
    """``(..., F), (F, O) → (..., O)``, summed and returned in float32 at least.

    ``implementation`` names the form of the gradient of the matrix; or it is ``WHOLE``, for a matrix that is
    a transposed array, whose halves would be copies.
    """
    if any(part for a in (x, matrix) for part in jax.typeof(a).sharding.spec):
        return product(x, matrix)  # this has rules for explicitly sharded axes
    # The default precision is read while tracing: at lowering it may be another.
    precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    params = {"precision": precision, "implementation": implementation}
    return _bound(_PRODUCT, x, matrix, dimension_numbers=_numbers(x), **params)


def check_implementation(owner: str, name: str | None) -> None:
    """Raises unless ``name`` is None or that of a form of the gradient; all of them fit everywhere."""
    check_name(owner, KERNELS[_GRADIENT.name].forms["cpu"], None, name)


def _bound(primitive: Primitive, a: jax.Array, b: jax.Array, **params: Any) -> jax.Array:
    result: jax.Array = primitive.bind(*equally_varying(a, b), **params)
    return result


def _numbers(x: jax.Array) -> lax.DotDimensionNumbers:
    return ((x.ndim - 1,), (0,)), ((), ())


def product(x: jax.Array, matrix: jax.Array, precision: Any = None, **_: Any) -> jax.Array:
    """``(..., F), (F, O) → (..., O)`` as ``lax`` does it."""
    wide = accumulator(x.dtype)
    return lax.dot_general(x, matrix, _numbers(x), precision=precision, preferred_element_type=wide)


def _in_halves(x: jax.Array, matrix: jax.Array, precision: Any, **_: Any) -> jax.Array:
    """``(..., F), (F, O) → (..., O)`` for one row, half of the features at a time."""
    features, outputs = matrix.shape
    low, high = lax.dot_general(
        lax.reshape(x, (2, features // 2)),
        lax.reshape(matrix, (2, features // 2, outputs)),
        (((1,), (1,)), ((0,), (0,))),
        precision=precision,
        preferred_element_type=accumulator(x.dtype),
    )
    return lax.reshape(low + high, (*x.shape[:-1], outputs))


def gradient(x: jax.Array, dy: jax.Array, precision: Any = None, **_: Any) -> jax.Array:
    """``(..., F), (..., O) → (F, O)`` as ``lax`` does it: the sum of x times dy over all rows."""
    rows = tuple(range(x.ndim - 1))
    return lax.dot_general(
        x, dy, ((rows, rows), ((), ())), precision=precision, preferred_element_type=dy.dtype
    )


def _of_rows(x: jax.Array, dy: jax.Array, precision: Any, **_: Any) -> jax.Array:
    return gradient(_rows(x), _rows(dy), precision)


def _of_transposed_dy(x: jax.Array, dy: jax.Array, precision: Any, **_: Any) -> jax.Array:
    return transposed_gradient(x, dy, precision).T


def _of_transposed_x(x: jax.Array, dy: jax.Array, precision: Any, **_: Any) -> jax.Array:
    return product(materialized(_rows(x).T).astype(dy.dtype), _rows(dy), precision)


def _one_device(p: Problem) -> bool:
    """Rows along several axes that are spread over devices can't be merged without moving them."""
    return p.devices == 1


def _has_halves(p: Problem) -> bool:
    x, (features, _) = (type_of.shape for type_of in p.types)
    return isinstance(features, int) and features % 2 == 0 and all(size == 1 for size in x[:-1])


def _large_row(p: Problem) -> bool:
    x, matrix = p.types
    weights = prod(matrix.shape)
    enough = isinstance(weights, int) and weights >= _FEWEST_FOR_HALVES
    return enough and x.dtype == jnp.float32 and _one_device(p)


def _transposes(which: str, p: Problem) -> bool:
    (*rows, features), (*_, outputs) = (type_of.shape for type_of in p.types)
    return _one_device(p) and _to_transpose(prod(rows), features, outputs) == which


def transposed_gradient(x: jax.Array, dy: jax.Array, precision: Any) -> jax.Array:
    """``(..., F), (..., O) → (O, F)`` for small O, as dyᵀ · x: the transpose of the gradient."""
    x, dy = _rows(x), _rows(dy)
    return materialized(product(materialized(dy.T), x.astype(dy.dtype), precision))


def _rows(a: jax.Array) -> jax.Array:
    return lax.reshape(a, (prod(a.shape[:-1]), a.shape[-1]))


def is_narrow(features: int, outputs: int) -> bool:
    """Whether transposing dy, which has ``outputs`` columns, is cheaper than what lax does with x.

    A single column is a vector, which XLA multiplies with rows in either order: as fast without a copy.
    """
    return 1 < outputs <= NARROW and _TIMES_AS_LONG * outputs <= features


def _to_transpose(rows: Any, features: int, outputs: int) -> Literal["x", "dy"] | None:
    work = rows * features * outputs
    if not isinstance(work, int) or outputs == 1:  # a symbolic size; a vector
        return None
    if work >= _FEWEST_FOR_DY[rows <= 2] and is_narrow(features, outputs):
        return "dy"
    aliased = features % _ALIASED[rows >= _MANY] == 0 and (rows >= _ENOUGH or features * outputs <= _LARGE)
    slow = features < outputs or rows <= _FEW or aliased
    return "x" if slow and work >= _FEWEST_FOR_X else None


def _product_jvp(primals: Any, tangents: Any, **params: Any) -> Any:
    """The value is an ordinary product, so that policies of ``jax.checkpoint`` recognise it."""
    (x, matrix), (d_x, d_matrix) = primals, tangents
    terms = []
    if not isinstance(d_x, ad.Zero):
        terms.append(product(d_x, matrix, **params))
    if not isinstance(d_matrix, ad.Zero):
        terms.append(_PRODUCT.bind(x, d_matrix, **params))
    return product(x, matrix, **params), sum(terms[1:], terms[0])


def _product_transpose(dy: jax.Array, x: Any, matrix: Any, **params: Any) -> list[Any]:
    if ad.is_undefined_primal(x):
        return [*jax.linear_transpose(lambda x: product(x, matrix, **params), x.aval)(dy), None]
    result = _bound(_GRADIENT, x, dy, **_of_gradient(params))
    return [None, result.astype(matrix.aval.dtype)]


def _of_gradient(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: params[name] for name in ("precision", "implementation")}


def _transposed_in_x(
    d_matrix: jax.Array, x: Any, dy: jax.Array, *, precision: Any, implementation: str | None
) -> jax.Array:
    (result,) = jax.linear_transpose(lambda x: gradient(x, dy, precision), x.aval)(d_matrix)
    return result


def _transposed_in_dy(
    d_matrix: jax.Array, x: jax.Array, dy: Any, *, precision: Any, implementation: str | None
) -> jax.Array:
    (result,) = jax.linear_transpose(lambda dy: gradient(x, dy, precision), dy.aval)(d_matrix)
    return result


def _product_type(x: Any, matrix: Any, **_: Any) -> Any:
    shape, wide = (*x.shape[:-1], matrix.shape[1]), jnp.dtype(accumulator(x.dtype))
    return x.update(shape=shape, dtype=wide, weak_type=False)


def _gradient_type(x: Any, dy: Any, **_: Any) -> Any:
    return dy.update(shape=(x.shape[-1], dy.shape[-1]), weak_type=False)


def _product_batch(args: Sequence[jax.Array], dims: Sequence[int | None], **params: Any) -> Any:
    (x, matrix), (axis, of_matrix) = args, dims
    if axis is not None and of_matrix is None:  # one more axis of rows
        x = jnp.moveaxis(x, axis, 0)
        return _PRODUCT.bind(x, matrix, **params | {"dimension_numbers": _numbers(x)}), 0
    return jax.vmap(lambda x, matrix: product(x, matrix, **params), tuple(dims))(x, matrix), 0


def _gradient_batch(
    args: Sequence[jax.Array], dims: Sequence[int | None], *, precision: Any, implementation: str | None
) -> Any:
    return jax.vmap(lambda x, dy: gradient(x, dy, precision), tuple(dims))(*args), 0


_PRODUCTS = (
    of(_in_halves, "halves", fits=_has_halves, pays=_large_row, needs=ONE_ROW, when=LARGE_ROW),
    of(product, WHOLE),
)
_PRODUCT = primitive(
    "matrix_product",
    ("dimension_numbers", "precision", "implementation"),
    type_of=_product_type,
    forms={DEFAULT: _PRODUCTS[-1:], "cpu": _PRODUCTS},
    batch=_product_batch,
)
ad.primitive_jvps[_PRODUCT] = _product_jvp
ad.primitive_transposes[_PRODUCT] = _product_transpose
_FORMS = (
    of(_of_transposed_dy, "dy_transposed", pays=partial(_transposes, "dy"), when=NARROW_DY),
    of(_of_transposed_x, "x_transposed", pays=partial(_transposes, "x"), when=SLOW_X),
    of(_of_rows, "rows", pays=_one_device, when="one device"),
    of(gradient),
)
_GRADIENT = primitive(
    "matrix_gradient",
    ("precision", "implementation"),
    type_of=_gradient_type,
    forms={DEFAULT: (_FORMS[-1], *_FORMS[:-1]), "cpu": _FORMS},
    batch=_gradient_batch,
)
ad.defbilinear(_GRADIENT, _transposed_in_x, _transposed_in_dy)
