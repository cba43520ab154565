"""(Values − mean) / deviation, with a derivative of its own: two sums and one pass over x.

Automatic differentiation of the statistics would also store x − mean, and sum more often.
"""

from functools import partial
from typing import Any

import jax
from jax import lax

from jaxnn.kernels.dtypes import widened
from jaxnn.kernels.normalisation.moments import Moments, Scope, centred, mean, reciprocal_root_tangent
from jaxnn.kernels.normalisation.rows import moments
from jaxnn.kernels.reduction.sums import broadcast


@partial(jax.jit, static_argnums=0, inline=True)  # traced and differentiated once per shape
def normalised(
    scope: Scope,
    x: jax.Array,
    scale: jax.Array | None,
    bias: jax.Array | None,
    epsilon: jax.Array,
    real: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(x − E[x]) · scale / √(Var[x] + ε) + bias, E[x] and Var[x], whose reduced axes are kept with size 1.

    ``scale`` and ``bias`` have as many axes as ``x``, of size 1 where ``scope`` has its axes. They and all
    results are, like epsilon, of the accumulator's dtype. With ``real``, (N, T, 1, ...), the statistics are
    of the steps alone where it is True; x must be finite at the others, whose y has no meaning.
    """
    result: tuple[jax.Array, jax.Array, jax.Array] = _normalised(scope, x, scale, bias, epsilon, real)
    return result


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _normalised(
    scope: Scope,
    x: jax.Array,
    scale: jax.Array | None,
    bias: jax.Array | None,
    epsilon: jax.Array,
    real: jax.Array | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    of_x = moments(x, scope, real)
    return _by(scope, of_x, x, scale, bias, epsilon, real), of_x.mean, of_x.var


@_normalised.defjvp
def _normalised_jvp(scope: Scope, primals: Any, tangents: Any) -> Any:
    x, *_, real = primals
    scope = scope._replace(in_derivative=True)
    of_x = moments(x, scope, real)
    y, *means = _by(scope, of_x, *primals), of_x.mean, of_x.var
    return (y, *means), _along(scope, of_x, primals, tangents)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _by(
    scope: Scope,
    of_x: Moments,
    x: jax.Array,
    scale: jax.Array | None,
    bias: jax.Array | None,
    epsilon: jax.Array,
    real: jax.Array | None,
) -> jax.Array:
    """``x`` normalised by its moments. Its derivative in x counts how they change; they have none."""
    wide = widened(x)
    rests = centred(wide, of_x.mean, of_x.rest, scope)
    y = lax.mul(rests, broadcast(_gain(scale, of_x.var, epsilon), scope.axes, wide))
    return y if bias is None else lax.add(y, bias)


@_by.defjvp
def _by_jvp(scope: Scope, primals: Any, tangents: Any) -> Any:
    of_x, *others = primals
    return _by(scope, *primals), _along(scope, of_x, others, tangents[1:])[0]


def _along(
    scope: Scope, of_x: Moments, primals: Any, tangents: Any
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The change of y, E[x] and Var[x] along ``tangents``."""
    x, scale, bias, epsilon, real = primals
    middle, rest, var = of_x

    # What is computed from x here is computed again in reverse mode, where x is read anyway, not stored.
    @partial(jax.checkpoint, prevent_cse=False)
    def linear(x: jax.Array, tangents: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        d_x, d_scale, d_bias, d_epsilon = tangents
        wide, d_wide = widened(x), widened(d_x)
        over = partial(broadcast, axes=scope.axes, like=wide)
        rests = centred(wide, middle, rest, scope)
        d_mean, half = mean(d_wide, scope, real), mean(lax.mul(d_wide, rests), scope, real)
        d_var = lax.add(half, half)
        root = lax.rsqrt(lax.add(var, epsilon))
        gain, d_gain = root, reciprocal_root_tangent(root, lax.add(d_var, d_epsilon))
        if scale is not None:
            gain = lax.mul(root, scale)
            d_gain = lax.add(lax.mul(d_gain, scale), lax.mul(root, d_scale))
        # What all values of one mean share is a separate term: the transpose then sums the cotangent alone.
        shared = lax.neg(lax.mul(d_mean, gain))
        shared = shared if bias is None else lax.add(d_bias, shared)
        y = lax.add(lax.mul(d_wide, over(gain)), lax.mul(rests, over(d_gain)))
        return lax.add(y, over(shared)), d_mean, d_var

    return linear(x, tangents[:-1])


def _gain(scale: jax.Array | None, var: jax.Array, epsilon: jax.Array) -> jax.Array:
    gain = lax.rsqrt(lax.add(var, epsilon))
    return gain if scale is None else lax.mul(gain, scale)
