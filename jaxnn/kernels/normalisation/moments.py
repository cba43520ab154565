"""Mean and variance over chosen axes, without loss of digits, and what every norm does with them.

Every statistic is computed in float32 at least and from d = x − c, with c one of the values or the mean of a
few: the difference cancels what they have in common without an error, whereas E[x²] − E[x]² has lost every
digit once the mean is some thousand deviations. The mean c + E[d] is kept as a sum of two numbers, and the
variance is E[(x − mean)²], so x is read twice. The result does not depend on c, so c needs no derivative.
"""

from collections.abc import Hashable
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.kernels.dtypes import widened
from jaxnn.kernels.lowering.fusion import materialized
from jaxnn.kernels.lowering.linear_map import with_transpose
from jaxnn.kernels.reduction.cuts import Axes
from jaxnn.kernels.reduction.sums import broadcast, sum_over

#: Means of at most so many deviations keep their digits without a second number.
FAR = 4
#: Of fewer values than this, the loops that read the sums of groups find the group of each value themselves:
#: 1.4 to 2 times as fast as sums repeated in memory, forward and backward; on par forward.
FEWEST_REPEATED = 1 << 13


class Scope(NamedTuple):
    """Which values share a statistic: those along ``axes``.

    So do ``share`` neighbours on the last axis, which then is not among ``axes``, and under ``axis_name`` the
    other shards of the batch. ``in_derivative`` says that the statistic is for a derivative;
    ``implementation`` names its form, where it has several, and ``sums`` that of its sums.
    """

    axes: Axes
    share: int = 1
    axis_name: Hashable | None = None
    in_derivative: bool = False
    implementation: str | None = None
    sums: str | None = None

    def count(self, x: jax.Array) -> Any:
        """How many values one statistic is taken over: an int, or a symbolic size."""
        here = prod(x.shape[axis] for axis in self.axes) * self.share
        return here if self.axis_name is None else here * lax.axis_size(self.axis_name)


class Moments(NamedTuple):
    """The mean, its rounding error and the biased variance. The reduced axes are kept with size 1."""

    mean: jax.Array
    rest: jax.Array
    var: jax.Array


def shifted(x: jax.Array, scope: Scope, real: jax.Array | None = None) -> Moments:
    """The moments by sums of differences from one of the values."""
    wide = widened(x)
    first = _first(x, scope.axes)
    of_first = None if real is None else lax.slice_in_dim(real, 0, first.shape[1], axis=1)
    shift = lax.stop_gradient(mean(widened(first), scope, of_first))
    middle, rest = _sum(shift, mean(lax.sub(wide, broadcast(shift, scope.axes, wide)), scope, real))
    return Moments(middle, rest, mean(lax.square(centred(wide, middle, rest, scope)), scope, real))


def plain(x: jax.Array, axes: Axes) -> Moments:
    """The moments by lax's own sums of few values.

    The variance is taken about the rounded mean: the square of the rounding error is below its last digit.
    """
    middle, rests, rest = _mean_and_rest(x, axes)
    var = jnp.mean(lax.square(rests), axes, keepdims=True) - lax.square(rest)
    return Moments(middle, rest, jnp.maximum(var, 0))


def chained(x: jax.Array, axes: Axes) -> Moments:
    """As ``plain``, but the variance is taken about both numbers of the mean: one sum after the other.

    XLA computes a chain of sums along rows in one kernel on GPUs, with all that reads it. Of two sums at the
    same level it makes more.
    """
    middle, rests, rest = _mean_and_rest(x, axes)
    return Moments(middle, rest, jnp.mean(lax.square(rests - rest), axes, keepdims=True))


def _mean_and_rest(x: jax.Array, axes: Axes) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The rounded mean, what is left of each value after it, and the mean of that."""
    wide = widened(x)
    middle = lax.stop_gradient(jnp.mean(wide, axes, keepdims=True))
    rests = wide - middle
    return middle, rests, jnp.mean(rests, axes, keepdims=True)


def checked(x: jax.Array, axes: Axes) -> Moments:
    """As ``plain``, but what is left after the mean is summed only if the mean of some row is far from 0.

    A mean of at most ``FAR`` deviations has a rounding error as small as those of the values. Rows that are
    near stay as they are, whatever the others hold.
    """
    wide = widened(x)
    middle = lax.stop_gradient(jnp.mean(wide, axes, keepdims=True))
    var = jnp.mean(lax.square(wide - middle), axes, keepdims=True)
    far = lax.abs(middle) > FAR * lax.sqrt(var)

    def where_far(values: jax.Array) -> jax.Array:
        return jnp.where(far, values, jnp.zeros_like(values))

    def summed(x: jax.Array) -> jax.Array:
        return where_far(jnp.mean(widened(x) - middle, axes, keepdims=True))

    rest = lax.cond(jnp.any(far), summed, lambda x: where_far(middle), x)
    return Moments(middle, rest, jnp.maximum(var - lax.square(rest), 0))


def centred(wide: jax.Array, middle: jax.Array, rest: jax.Array, scope: Scope) -> jax.Array:
    """x less a mean that is a sum of two numbers."""
    return lax.sub(lax.sub(wide, broadcast(middle, scope.axes, wide)), broadcast(rest, scope.axes, wide))


def mean(values: jax.Array, scope: Scope, real: jax.Array | None = None) -> jax.Array:
    """The mean of the values that share a statistic; with ``real``, see ``counted``, of these alone."""
    if real is not None:
        values = jnp.where(real, values, jnp.zeros_like(values))
    sums = sum_over(values, scope.axes, scope.sums)
    # Channels are joined after the sum: a reduction to whole rows of channels is many times faster on a CPU.
    few = isinstance(values.size, int) and values.size < FEWEST_REPEATED
    sums = sums if scope.share == 1 else _of_groups(sums, scope.share, few)
    sums = sums if scope.axis_name is None else lax.psum(sums, scope.axis_name)
    if real is not None:
        return sums / jnp.maximum(counted(values, scope, real), 1)
    count = scope.count(values)
    number = np.asarray if isinstance(count, int) else jnp.asarray
    return lax.div(sums, number(count, values.dtype))


def _of_groups(sums: jax.Array, share: int, few: bool) -> jax.Array:
    """The sum of each ``share`` neighbours on the last axis, repeated for each of them: its own transpose."""

    def both(sums: jax.Array) -> jax.Array:
        groups = jnp.reshape(sums, (*sums.shape[:-1], sums.shape[-1] // share, share))
        wide = jnp.broadcast_to(jnp.sum(groups, -1, keepdims=True), groups.shape)
        repeated = jnp.reshape(wide, sums.shape)
        # Within a loop over all of x a quotient would choose the group of each value; and with many groups
        # XLA's library would take over what reads their sums.
        return repeated if few else materialized(repeated)

    return with_transpose(sums, {}, both, both)


def counted(values: jax.Array, scope: Scope, real: jax.Array) -> jax.Array:
    """How many real values each statistic is taken over, with as many axes as ``values``.

    ``real``, (N, T, 1, ...), is True at the steps that are real; T is among the axes of ``scope``.
    """
    over = tuple(axis for axis in scope.axes if axis < 2)
    others = prod(values.shape[axis] for axis in scope.axes if axis >= 2) * scope.share
    steps = jnp.sum(real, over, dtype=values.dtype, keepdims=True)
    steps = steps if scope.axis_name is None else lax.psum(steps, scope.axis_name)
    return steps * jnp.asarray(others, values.dtype)


def _sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """a + b and its exact rounding error."""
    rounded = lax.add(a, b)
    share = lax.sub(rounded, a)
    return rounded, lax.add(lax.sub(a, lax.sub(rounded, share)), lax.sub(b, share))


def _first(x: jax.Array, axes: Axes) -> jax.Array:
    """The first value along each axis, except the batch and sharded axes."""
    spec = jax.typeof(x).sharding.spec
    first = {axis for axis in axes if axis > 0 and spec[axis] is None}
    ends = [1 if axis in first else n for axis, n in enumerate(x.shape)]
    return lax.slice(x, (0,) * x.ndim, ends) if first else x


@partial(jax.jit, inline=True)  # traced and differentiated once per shape
def reciprocal_root(x: jax.Array) -> jax.Array:
    """1 / √x, with a derivative that is right wherever it can be represented."""
    y: jax.Array = _reciprocal_root(x)
    return y


@jax.custom_jvp
def _reciprocal_root(x: jax.Array) -> jax.Array:
    return lax.rsqrt(x)


@_reciprocal_root.defjvp
def _reciprocal_root_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    y = _reciprocal_root(*primals)
    return y, reciprocal_root_tangent(y, *tangents)


def reciprocal_root_tangent(y: jax.Array, tangent: jax.Array) -> jax.Array:
    """−½ y³ · tangent for y = 1 / √x, factor by factor.

    y³ leaves the range of float32 for deviations beyond 1e13, and if all values are equal and ε is below
    2e-26.
    """
    half = np.asarray(-0.5, y.dtype)
    return lax.mul(lax.mul(lax.mul(y, tangent), y), lax.mul(y, half))
