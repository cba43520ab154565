"""Normalisation: subtract a mean, divide by a deviation. The norms differ in which values share them.

Only the moments of rows have several forms (``kernels/normalisation/rows.py``), beside the sums that all
norms but RMS normalisation take: its mean square is lax's sum on every platform.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.export import is_symbolic_dim
from jax.typing import ArrayLike

from jaxnn.kernels.dtypes import accumulator, widened
from jaxnn.kernels.lowering.fusion import materialized, materialized_in_reverse
from jaxnn.kernels.normalisation.moments import Scope, counted, mean, reciprocal_root
from jaxnn.kernels.normalisation.normalised import normalised
from jaxnn.kernels.normalisation.rows import check_implementation
from jaxnn.ops.checks import axes as axes_of
from jaxnn.ops.checks import floating, integer, refusal, spatial
from jaxnn.ops.norm_arguments import finished, fitted, positive
from jaxnn.ops.sequences import checked_lengths, real_only, real_steps


def batch_norm(
    x: ArrayLike,
    mean: ArrayLike,
    var: ArrayLike,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    epsilon: float = 1e-5,
) -> jax.Array:
    """Normalises each channel by given statistics (inference): (N, *space, C) → (N, *space, C).

    y = (x − mean) / √(var + ε) · scale + bias

    For training, which takes the statistics from the batch, see ``batch_norm_train``.

    Args:
      x: floating-point, at least 2 axes; computed in float32 at least, returned in its own dtype.
      mean: (C,), of the dtype of ``x`` or of the one it is computed in.
      var: (C,), likewise, ≥ 0.
      scale: (C,), likewise; None leaves it out.
      bias: (C,), likewise; None leaves it out.
      epsilon: ε > 0, inside the root.

    Raises:
      TypeError: for integers, or an array of another dtype than said.
      ValueError: for too few axes, an array that is not (C,), or ε ≤ 0.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> x = jnp.array([[1.0, 10.0], [3.0, 30.0]])
    >>> print(nn.ops.batch_norm(x, jnp.array([2.0, 20.0]), jnp.array([1.0, 100.0])).round(3))
    [[-1. -1.]
     [ 1.  1.]]

    Ioffe and Szegedy, "Batch normalization", 2015.
    """
    op = "batch_norm"
    x = _channels_last(op, x)
    mean = fitted(op, "mean", mean, x, (x.ndim - 1,))
    var = fitted(op, "var", var, x, (x.ndim - 1,))
    epsilon = positive(op, epsilon, x.dtype)
    gain = lax.rsqrt(var + epsilon)
    # Saves one pass over x.
    gain = gain if scale is None else gain * fitted(op, "scale", scale, x, (x.ndim - 1,))
    return finished(op, x, (widened(x) - mean) * gain, (x.ndim - 1,), None, bias)


def batch_norm_train(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    epsilon: float = 1e-5,
    axis_name: Hashable | None = None,
    lengths: ArrayLike | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array, Any]:
    """Normalises each channel by the statistics of the batch: (N, *space, C) → the same, and the statistics.

    y = (x − E[x]) / √(Var[x] + ε) · scale + bias, with E and Var over all axes but the last; Var is the
    biased one (divided by n). Gradients flow through the statistics too. A batch with mean 1e4 and deviation
    0.01 in float32 comes out right, because x − E[x] is not taken from the rounded mean that is returned.

    Args:
      x: floating-point, at least 2 axes, and at least two values per channel.
      scale: (C,), of the dtype of ``x`` or of the one it is computed in; None leaves it out.
      bias: (C,), likewise; None leaves it out.
      epsilon: ε > 0, inside the root.
      axis_name: names of mapped axes (``jax.shard_map``, ``jax.vmap``) that hold further parts of the batch:
        sums and counts are added up over them. Under ``jax.jit`` with a sharded batch it is not needed.
      lengths: (N,) integers: axis 1 is time, and only the steps of each sequence count. y is 0 past the ends.

    Returns:
      ``(y, mean, var, n)``: y in the dtype of ``x``; the mean and the biased variance, each (C,), in float32
      at least; the number of values per channel, with ``lengths`` an array (). The unbiased variance is
      var · n / (n − 1).

    Raises:
      TypeError: for integers, or an array of another dtype than said.
      ValueError: for fewer than two values per channel, too few axes, an array that is not (C,), ε ≤ 0, or
        an ``axis_name`` that nothing around the call maps.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> y, mean, var, n = nn.ops.batch_norm_train(jnp.array([[1.0, 10.0], [3.0, 30.0]]))
    >>> print(y.round(3), mean, var, n)
    [[-1. -1.]
     [ 1.  1.]] [ 2. 20.] [  1. 100.] 2

    Ioffe and Szegedy, "Batch normalization", 2015.
    """
    op = "batch_norm"
    x = _channels_last(op, x)
    _mapped(op, axis_name)
    scope = Scope(tuple(range(x.ndim - 1)), axis_name=axis_name)
    count = _count_over(op, x, scope)
    x, real = _real(op, x, lengths)
    if not is_symbolic_dim(count) and count < 2:
        raise ValueError(
            f"{op}: training needs at least two values per channel, got {count} from x of shape "
            f"{x.shape}; use a larger batch"
        )
    y, middle, var = _normalised(op, x, scope, scale, bias, epsilon, real)
    if real is not None:
        count = lax.squeeze(counted(y, scope, real), range(x.ndim))
    return (
        materialized_in_reverse(_kept(y, real).astype(x.dtype)),
        lax.squeeze(middle, scope.axes),
        lax.squeeze(var, scope.axes),
        count,
    )


def _count_over(op: str, x: jax.Array, scope: Scope) -> Any:
    """The number of values per channel on all devices together."""
    try:
        return scope.count(x)
    except NameError:  # raised by JAX for a name that no transform around the call maps
        raise ValueError(
            f"{op}: axis_name must name an axis that jax.shard_map or jax.vmap maps around this call, got "
            f"{scope.axis_name!r}; for a batch sharded under jax.jit leave it out"
        ) from None


def layer_norm(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    axes: int | Sequence[int] = -1,
    epsilon: float = 1e-5,
    implementation: str | None = None,
    lengths: ArrayLike | None = None,
) -> jax.Array:
    """Normalises each example, or each position, over its own values: any shape → the same shape.

    y = (x − E[x]) / √(Var[x] + ε) · scale + bias, with E and the biased Var over ``axes``.

    Args:
      x: floating-point; computed in float32 at least, returned in its own dtype.
      scale: of the sizes of ``axes``, in the order they have in ``x``; of the dtype of ``x`` or of the one it
        is computed in; None leaves it out.
      bias: likewise.
      axes: the axes that share statistics. The default takes the channels of each position on their own;
        ``(1, 2, 3)`` a whole image.
      epsilon: ε > 0, inside the root. (1e-6 in Flax.)
      implementation: the form of the moments of rows, by name; None chooses by platform and sizes. All have
        exact means.
      lengths: (N,) integers: axis 1 is time, and where it is among ``axes``, only the steps of each sequence
        count. y is 0 past the ends.

    Raises:
      TypeError: for integers, or an array of another dtype than said.
      ValueError: for an axis that is not there or comes twice, a single value to normalise over, an array
        or a form that does not fit, or ε ≤ 0.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> print(nn.ops.layer_norm(jnp.array([[1.0, 3.0], [10.0, 30.0]])).round(3))
    [[-1.  1.]
     [-1.  1.]]

    Ba, Kiros and Hinton, "Layer normalization", 2016.
    """
    op = "layer_norm"
    x = floating(op, x)
    over = axes_of(op, axes, x.shape)
    scope = _several(op, x, Scope(over, implementation=implementation))
    check_implementation(op, x, scope)
    x, real = _real(op, x, lengths)
    shared = real if 1 in over else None
    y = finished(op, x, _normalised(op, x, scope, None, None, epsilon, shared)[0], over, scale, bias)
    return _kept(y, real)


def rms_norm(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    *,
    axes: int | Sequence[int] = -1,
    epsilon: float = 1e-5,
    lengths: ArrayLike | None = None,
) -> jax.Array:
    """Divides each position by the root of its mean square: any shape → the same shape.

    y = x / √(E[x²] + ε) · scale, with E over ``axes``. No mean is subtracted, no bias added.

    Args:
      x: floating-point; computed in float32 at least, returned in its own dtype.
      scale: of the sizes of ``axes``, in the order they have in ``x``; of the dtype of ``x`` or of the one it
        is computed in; None leaves it out.
      axes: the axes that share a mean square.
      epsilon: ε > 0, inside the root. (In PyTorch the default is the dtype's machine epsilon.)
      lengths: as in ``layer_norm``.

    Raises:
      TypeError: for integers, or a scale of another dtype than said.
      ValueError: for an axis that is not there or comes twice, a scale that does not fit, or ε ≤ 0.

    >>> import jax.numpy as jnp, jaxnn as nn, numpy as np
    >>> print(np.asarray(nn.ops.rms_norm(jnp.array([[3.0, 4.0]]), jnp.array([1.0, 2.0]))).round(3))
    [[0.849 2.263]]

    Zhang and Sennrich, "Root mean square layer normalization", 2019.
    """
    op = "rms_norm"
    x = floating(op, x)
    over = axes_of(op, axes, x.shape)
    epsilon = positive(op, epsilon, x.dtype)
    x, real = _real(op, x, lengths)
    wide = widened(x)
    if real is None or 1 not in over:
        squares = jnp.mean(lax.square(wide), over, keepdims=True)
    else:
        squares = mean(lax.square(wide), Scope(over), real)
    gain = reciprocal_root(squares + epsilon)
    return _kept(finished(op, x, wide * gain, over, scale, None), real)


def group_norm(
    x: ArrayLike,
    groups: int,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    epsilon: float = 1e-5,
    lengths: ArrayLike | None = None,
) -> jax.Array:
    """Normalises groups of channels of each example: (N, *space, C) → (N, *space, C).

    y = (x − E[x]) / √(Var[x] + ε) · scale + bias, with E and the biased Var over all positions and the
    channels of one group. Group g holds the C / groups channels from g · C / groups on.

    Args:
      x: floating-point, at least 2 axes; computed in float32 at least, returned in its own dtype.
      groups: ≥ 1; must divide C. With 1 it is a layer norm of the example, except for the scale's shape.
      scale: (C,), of the dtype of ``x`` or of the one it is computed in; None leaves it out.
      bias: (C,), likewise.
      epsilon: ε > 0, inside the root.
      lengths: (N,) integers: the first spatial axis is time, and only the steps of each sequence count. y is
        0 past the ends.

    Raises:
      TypeError: for integers, or an array of another dtype than said.
      ValueError: for groups that do not divide C, a single value in a group, too few axes, an array that is
        not (C,), or ε ≤ 0.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> print(nn.ops.group_norm(jnp.array([[1.0, 3.0, 10.0, 30.0]]), 2).round(3))
    [[-1.  1. -1.  1.]]

    Wu and He, "Group normalization", 2018.
    """
    return _group_norm("group_norm", _channels_last("group_norm", x), groups, scale, bias, epsilon, lengths)


def instance_norm(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    epsilon: float = 1e-5,
    lengths: ArrayLike | None = None,
) -> jax.Array:
    """Normalises each channel of each example over space: (N, *space, C) → (N, *space, C).

    y = (x − E[x]) / √(Var[x] + ε) · scale + bias, with E and the biased Var over all positions.

    Args:
      x: floating-point, at least 3 axes; computed in float32 at least, returned in its own dtype.
      scale: (C,), of the dtype of ``x`` or of the one it is computed in; None leaves it out.
      bias: (C,), likewise.
      epsilon: ε > 0, inside the root.
      lengths: as in ``group_norm``.

    Raises:
      TypeError: for integers, or an array of another dtype than said.
      ValueError: for no spatial axis, a single position, an array that is not (C,), or ε ≤ 0.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> print(nn.ops.instance_norm(jnp.array([[[1.0, 10.0], [3.0, 30.0]]])).round(3))
    [[[-1. -1.]
      [ 1.  1.]]]

    Ulyanov, Vedaldi and Lempitsky, "Instance normalization", 2016.
    """
    x = floating("instance_norm", x)
    spatial("instance_norm", x)
    return _group_norm("instance_norm", x, x.shape[-1], scale, bias, epsilon, lengths)


def _group_norm(
    op: str,
    x: jax.Array,
    groups: int,
    scale: ArrayLike | None,
    bias: ArrayLike | None,
    epsilon: float,
    lengths: ArrayLike | None,
) -> jax.Array:
    channels = x.shape[-1]
    rule = f"at least 1 and divide the {channels} channels"
    if channels % integer(op, "groups", groups, least=1):
        raise ValueError(refusal(op, "groups", rule, groups))
    scope = _several(op, x, Scope(tuple(range(1, x.ndim - 1)), share=channels // groups))
    x, real = _real(op, x, lengths)
    y = _normalised(op, x, scope, scale, bias, epsilon, real)[0]
    return materialized_in_reverse(_kept(y, real).astype(x.dtype))


def _normalised(
    op: str,
    x: jax.Array,
    scope: Scope,
    scale: ArrayLike | None,
    bias: ArrayLike | None,
    epsilon: float,
    real: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """y, mean and variance, widened, with a scale and a bias per channel."""
    epsilon = positive(op, epsilon, x.dtype)
    last = (x.ndim - 1,)
    # Several loops read x and the cotangent, which must not be computed (or sliced from a scan's) in each.
    return normalised(
        scope,
        materialized(x),
        None if scale is None else fitted(op, "scale", scale, x, last),
        None if bias is None else fitted(op, "bias", bias, x, last),
        np.asarray(epsilon, accumulator(x.dtype)),
        real,
    )


def _real(op: str, x: jax.Array, lengths: ArrayLike | None) -> tuple[jax.Array, jax.Array | None]:
    """``x`` with zeros past the ends, and where its steps are real, (N, T, 1, ...)."""
    if lengths is None:
        return x, None
    if x.ndim < 3:
        raise ValueError(f"{op}: x must be (N, T, ..., C) where it has lengths, got shape {x.shape}")
    lengths = checked_lengths(op, lengths, x)
    return real_only(x, lengths), real_steps(lengths, x)


def _kept(y: jax.Array, real: jax.Array | None) -> jax.Array:
    return y if real is None else jnp.where(real, y, jnp.zeros_like(y))


def _several(op: str, x: jax.Array, scope: Scope) -> Scope:
    """``scope``; raises if it holds a single value, which minus its mean would always be 0."""
    count = scope.count(x)
    if not is_symbolic_dim(count) and count < 2:
        raise ValueError(
            f"{op}: x must hold at least two values to normalise over, got {count} in shape {x.shape}"
        )
    return scope


def _mapped(op: str, axis_name: Hashable | None) -> None:
    """Raises unless ``axis_name`` is None or names axes that are mapped here."""
    if axis_name is None:
        return
    try:
        lax.axis_size(axis_name)
    except (NameError, TypeError):
        rule = "the name, or a tuple of names, of axes of a jax.vmap or jax.shard_map around it"
        raise ValueError(refusal(op, "axis_name", rule, axis_name)) from None


def _channels_last(op: str, x: ArrayLike) -> jax.Array:
    array = floating(op, x)
    if array.ndim < 2:
        raise ValueError(f"{op}: x must be (N, *space, C), with at least 2 axes, got shape {array.shape}")
    return array
