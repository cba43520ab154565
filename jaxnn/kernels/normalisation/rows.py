"""The moments that a norm takes, and their forms where they are those of rows, along the last axis alone.

Every form has exact means. Other norms have one form: sums of differences, which have forms of their own.
"""

from typing import Any

import jax
from jax.interpreters import ad

from jaxnn.kernels.choice import Form, never
from jaxnn.kernels.dtypes import accumulator, widened
from jaxnn.kernels.lowering.operation import apply, check_form, operation, over_members
from jaxnn.kernels.lowering.primitive import DEFAULT, Problem
from jaxnn.kernels.normalisation.moments import (
    Moments,
    Scope,
    centred,
    chained,
    checked,
    mean,
    plain,
    shifted,
)
from jaxnn.kernels.reduction.cuts import FEWEST_FOR_LIBRARY, MANY_ROWS, in_columns, left_by_slices, many_rows

#: Rows of at most this many values are summed by the library, unless they are so few that what slices leave
#: needs no library: in 0.7 to 1.0 of the time of slices for 500 to 3,200 rows of 40 to 64, but in 1.2 to 1.8
#: for 225 rows of 197, 256 of 200 and 512 of 768 (values, AVX-512, JAX 0.10 and 0.12).
SHORT_ROW = 64
#: On an H200, float32, forward and backward: of rows of 768 values a chain of sums takes 0.75 to 0.9 of the
#: time of ``lax``, of 4,096 1.07, of 256 1.12; ``lax`` without a second number 0.6 to 0.85, 1.05 and 0.96.
LONG_ROW = 256


def moments(x: jax.Array, scope: Scope, real: jax.Array | None = None) -> Moments:
    """The moments of the values of ``x`` that share them; with ``real``, of the real steps alone."""
    if real is not None or not _is_of_rows(x, scope):
        return shifted(x, scope, real)
    return Moments(*apply(_MOMENTS, x, settings=scope))


def check_implementation(owner: str, x: jax.Array, scope: Scope) -> None:
    """Raises unless ``scope`` names no form, or one that fits."""
    check_form(owner, _MOMENTS, x, settings=scope)


def _is_of_rows(x: Any, scope: Scope) -> bool:
    return scope.axes == (x.ndim - 1,) and scope.share == 1 and scope.axis_name is None


def _fits(p: Problem) -> bool:
    return _is_of_rows(p.types[0], p.settings)


def _library_pays(p: Problem) -> bool:
    """XLA's library for CPUs does many rows a few at a time, and all that the values need of them.

    The derivative reads the moments too, and the library's calls return one result each.
    """
    return many_rows(p) and not p.settings.in_derivative


def _sliced(p: Problem) -> bool:
    """Whether values take their sums by slices, also where other sums along rows don't yet.

    The derivative sums twice as often: there the library's calls, one per sum, are as fast.
    """
    (x,) = p.types
    left = left_by_slices(x, p.settings.axes)
    few = left is not None and (left < FEWEST_FOR_LIBRARY or x.shape[-1] > SHORT_ROW)
    return few and x.size >= FEWEST_FOR_LIBRARY and not p.settings.in_derivative


def _check_pays(p: Problem) -> bool:
    """The library's sums of fewer rows are faster than those of differences, which must be computed first.

    Only sums by slices of long rows are faster still, and sums of few values that each take a single kernel:
    the check and its branch are more of them. What is checked is sent between devices, and ``vmap``
    turns a branch into both.
    """
    (x,) = p.types
    return (
        not (_sliced(p) or in_columns(x, p.settings.axes) or p.settings.in_derivative)
        and p.devices == 1
        and not p.params["mapped"]
    )


def _has_long_rows(p: Problem) -> bool:
    size = p.types[0].shape[-1]
    return isinstance(size, int) and size > LONG_ROW


def _plain(p: Problem, x: jax.Array) -> Moments:
    return plain(x, p.settings.axes)


def _chained(p: Problem, x: jax.Array) -> Moments:
    return chained(x, p.settings.axes)


def _checked(p: Problem, x: jax.Array) -> Moments:
    return checked(x, p.settings.axes)


def _shifted(p: Problem, x: jax.Array) -> Moments:
    return shifted(x, p.settings._replace(sums="slices") if _sliced(p) else p.settings)


def _types(scope: Scope, x: Any) -> list[Any]:
    spec = x.sharding.update(spec=(*x.sharding.spec[:-1], None))
    return [x.update(shape=(*x.shape[:-1], 1), dtype=accumulator(x.dtype), sharding=spec)] * 3


_ROWS = "the last axis alone"
_FEW = "values alone, where sums by slices don't pay"
_PLAIN = Form("lax", _plain, _fits, needs=_ROWS)
_CHAINED = Form("chained", _chained, _fits, needs=_ROWS)
_CHECKED = Form("checked", _checked, _fits, needs=_ROWS)
_SHIFTED = Form("shifted", _shifted)
_MOMENTS = operation(
    "moments",
    type_of=_types,
    forms={
        "cpu": (
            _PLAIN._replace(pays=_library_pays, when=f"{MANY_ROWS}, for values"),
            _CHECKED._replace(pays=_check_pays, when=_FEW),
            _CHAINED._replace(pays=never),
            _SHIFTED,
        ),
        "cuda": (
            _CHAINED._replace(pays=_has_long_rows, when=f"more than {LONG_ROW} values in a row"),
            _PLAIN,
            _SHIFTED,
            _CHECKED,
        ),
        DEFAULT: (_PLAIN, _SHIFTED, _CHECKED, _CHAINED),
    },
    several=True,
    read_as="shifted",
)


def _moments_jvp(primals: Any, tangents: Any, *, settings: Scope, mapped: Any) -> Any:
    def along(
        x: jax.Array, d_x: jax.Array, middle: jax.Array, rest: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        rests, d_wide = centred(widened(x), middle, rest, settings), widened(d_x)
        return mean(d_wide, settings), 2 * mean(d_wide * rests, settings)

    middle, rest, var = _MOMENTS.bind(*primals, settings=settings, mapped=mapped)
    each = tuple((True,) * 4 for _ in mapped)
    d_mean, d_var = over_members(along, each)(*primals, *tangents, middle, rest)
    return [middle, rest, var], [d_mean, ad.Zero(jax.typeof(rest)), d_var]


ad.primitive_jvps[_MOMENTS] = _moments_jvp
