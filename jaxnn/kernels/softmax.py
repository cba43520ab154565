"""Softmax of many rows, whose derivative reads the values; and the forms in which it reads them.

The derivative y · (t − Σ y · t) needs y alone. What is chosen is whether that y is computed again from x or
materialized: XLA's library for CPUs then does both passes a few rows at a time. For fewer rows this
derivative gains nothing over that of ``jax.nn.softmax``, on any platform.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.kernels.choice import Form
from jaxnn.kernels.lowering.fusion import materialized
from jaxnn.kernels.lowering.operation import apply, check_form, linear_operation
from jaxnn.kernels.lowering.primitive import DEFAULT, Problem
from jaxnn.kernels.reduction.cuts import MANY_ROWS, many_rows


class Settings(NamedTuple):
    """The form to take, by name, or None."""

    implementation: str | None = None


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def softmax(x: jax.Array, settings: Settings) -> jax.Array:
    """exp(x) / Σ exp(x) along the last axis, with the derivative that reads the values."""
    with jax.debug_infs(False):  # its maximum begins at −∞
        y: jax.Array = jax.nn.softmax(x)
    return y


@softmax.defjvp
def _softmax_jvp(settings: Settings, primals: Any, tangents: Any) -> Any:
    y = apply(_VALUES, softmax(*primals, settings), settings=settings)
    (tangent,) = tangents
    return y, y * (tangent - jnp.sum(y * tangent, -1, keepdims=True))


def has_forms(x: jax.Array, implementation: str | None) -> bool:
    """Whether softmax along the last axis of ``x`` is worth a derivative that reads the values."""
    return implementation != "lax" and (implementation is not None or many_rows(Problem((x,), {})))


def check_implementation(owner: str, x: jax.Array, settings: Settings) -> None:
    """Raises unless the settings name no form, or one that there is."""
    check_form(owner, _VALUES, x, settings=settings)


def _materialized(p: Problem, y: jax.Array) -> jax.Array:
    return materialized(y)


def _as_they_are(p: Problem, y: jax.Array) -> jax.Array:
    return y


_ROWS = Form("rows", _materialized, pays=many_rows, when=MANY_ROWS)
_PLAIN = Form("lax", _as_they_are)
_VALUES = linear_operation(
    "softmax_values",
    type_of=lambda settings, y: y,
    forms={"cpu": (_ROWS, _PLAIN), DEFAULT: (_PLAIN, _ROWS)},
)
