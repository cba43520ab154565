"""A scaled loss, so that small gradients survive in float16."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.kernels.dtypes import widened
from jaxnn.ops import checks
from jaxnn.training import arguments
from jaxnn.training.optimizer import found, update_with

if TYPE_CHECKING:
    import optax


#: The scale grows no further. Float16 ends at 2¹⁶, so that only tiny losses can need as much.
LARGEST = 2.0**24


class ScaledLoss(NamedTuple):
    """The state of an optimiser made by ``scaled_loss``.

    Attributes:
      scale: what the next loss is multiplied by, float32.
      good: how many steps in a row had finite gradients.
      inner: the state of the optimiser that makes the steps.
    """

    scale: jax.Array
    good: jax.Array
    inner: Any


def scaled_loss(
    optimizer: optax.GradientTransformation, *, initial: float = 2.0**15, period: int = 2000
) -> optax.GradientTransformationExtraArgs:
    """The same optimiser for gradients of a loss that is multiplied by a scale, found as it goes.

    Gradients below 6e-8 are 0 in float16. Multiplied by a scale on the way, they are not; ``update`` divides
    them by it again. ``make_step`` and ``fit`` find the scale in the optimiser's state and multiply the loss
    by it. A step whose gradients are not finite is left out, weights and the inner state as they were, and
    the scale is halved, down to 1; after ``period`` good steps in a row it is doubled, up to 2²⁴. For
    bfloat16 and float32 none of this is needed.

    In a loop written by hand: the gradient of ``nn.training.scale_of(opt_state) * loss``.

    Args:
      optimizer: any optax gradient transformation.
      initial: the first scale, at least 1.
      period: good steps before the scale is doubled, at least 1.

    Raises:
      TypeError, ValueError: no optimiser, or a setting out of range.

    >>> import jax, jax.numpy as jnp, jaxnn as nn, optax
    >>> net = nn.mixed_precision(nn.dense(1), compute=jnp.float16)
    >>> optimizer = nn.training.scaled_loss(optax.adam(1e-3))
    >>> state = nn.init_state(net, optimizer, jax.random.key(0), (8, 3))
    >>> float(nn.training.scale_of(state.opt_state))
    32768.0
    """
    from optax import GradientTransformationExtraArgs

    owner = "scaled_loss"
    arguments.optimizer(owner, optimizer)
    initial = checks.number(owner, "initial", initial, least=1)
    period = checks.integer(owner, "period", period, least=1)

    def init(weights: Any) -> ScaledLoss:
        return ScaledLoss(jnp.float32(initial), jnp.zeros((), jnp.int32), optimizer.init(weights))

    def update(grads: Any, state: ScaledLoss, weights: Any = None, **extra: Any) -> tuple[Any, ScaledLoss]:
        # Wide: 2¹⁶ and beyond is infinite in float16.
        unscaled = jax.tree.map(
            lambda g: (widened(g) / state.scale.astype(widened(g).dtype)).astype(g.dtype), grads
        )
        finite = jnp.stack([jnp.isfinite(g).all() for g in jax.tree.leaves(grads)] or [jnp.bool_(True)]).all()

        def step() -> tuple[Any, Any]:
            return update_with(optimizer, unscaled, state.inner, weights, extra | {"grad": unscaled})

        like = jax.eval_shape(step)[0]
        zeros = jax.tree.map(lambda u: jnp.zeros(u.shape, u.dtype), like)
        updates, inner = lax.cond(finite, step, lambda: (zeros, state.inner))
        good = jnp.where(finite, state.good + 1, 0)
        grown = jnp.where(good == period, jnp.minimum(state.scale * 2, LARGEST), state.scale)
        scale = jnp.where(finite, grown, jnp.maximum(state.scale / 2, 1.0))
        return updates, ScaledLoss(scale, jnp.where(good == period, 0, good), inner)

    return GradientTransformationExtraArgs(init, update)


def scale_of(opt_state: Any) -> jax.Array | None:
    """What the loss is to be multiplied by: None if the optimiser was not made by ``scaled_loss``."""
    scaled = found(ScaledLoss, opt_state)
    return None if scaled is None else scaled.scale
