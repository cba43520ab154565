"""An exponential average of the weights, kept by the optimiser's state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.kernels.dtypes import accumulator
from jaxnn.ops import checks
from jaxnn.params import Params
from jaxnn.training import arguments
from jaxnn.training.optimizer import found, update_with

if TYPE_CHECKING:
    import optax

    from jaxnn.training.step import TrainState


class Averaged(NamedTuple):
    """The state of an optimiser made by ``averaged``.

    Attributes:
      average: of the weights after each step, in float32 at least.
      steps: how many it is taken over.
      inner: the state of the optimiser that makes the steps.
    """

    average: Any
    steps: jax.Array
    inner: Any


def averaged(optimizer: optax.GradientTransformation, decay: float) -> optax.GradientTransformationExtraArgs:
    """The same optimiser, which also keeps an exponential average of the weights that it makes.

    After t steps to the weights w₁ … wₜ the average is Σ dᵗ⁻ⁱ·wᵢ / Σ dᵗ⁻ⁱ, i from 1 to t: it does not
    contain the initial weights. The steps are those of ``optimizer``, and do not depend on the average.
    ``average_of(state)`` gives it; ``fit(average=decay)`` does both.

    Args:
      optimizer: any optax gradient transformation.
      decay: d, from 0 (the last weights) to below 1; about the last 1 / (1 − d) steps count.

    Raises:
      TypeError, ValueError: no optimiser, or a decay out of range.

    >>> import jax, jax.numpy as jnp, jaxnn as nn, optax
    >>> net, optimizer = nn.dense(1), nn.training.averaged(optax.sgd(0.1), decay=0.9)
    >>> state = nn.init_state(net, optimizer, jax.random.key(0), (8, 3))
    >>> step = nn.make_step(net, optimizer, optax.squared_error)
    >>> state, scores = step(state, jnp.ones((8, 3)), jnp.ones((8, 1)))
    >>> net.apply(nn.training.average_of(state), jnp.ones((2, 3))).shape
    (2, 1)
    """
    from optax import GradientTransformationExtraArgs, apply_updates

    owner = "averaged"
    arguments.optimizer(owner, optimizer)
    decay = arguments.decay(owner, "decay", decay)

    def init(weights: Any) -> Averaged:
        average = jax.tree.map(lambda w: jnp.asarray(w, _wide(w)), weights)
        return Averaged(average, jnp.zeros((), jnp.int32), optimizer.init(weights))

    def update(updates: Any, state: Averaged, weights: Any = None, **extra: Any) -> tuple[Any, Averaged]:
        if weights is None:
            raise ValueError(checks.refusal(owner, "params", "passed to update, to be averaged", None))
        updates, inner = update_with(optimizer, updates, state.inner, weights, extra)
        steps = state.steps + 1
        # = (1 − d) / (1 − dᵗ), exact for d near 1 too: 1 in the first step, 1 − d in the long run.
        logarithm = jnp.log1p(jnp.float32(decay - 1)) if decay else -jnp.inf
        share = (1 - decay) / -jnp.expm1(steps.astype(jnp.float32) * logarithm)
        average = jax.tree.map(
            lambda mean, w: mean + share.astype(mean.dtype) * (w.astype(mean.dtype) - mean),
            state.average,
            apply_updates(weights, updates),
        )
        return updates, Averaged(average, steps, inner)

    return GradientTransformationExtraArgs(init, update)


def average_of(state: TrainState) -> Params:
    """The params of a net with the averaged weights, for ``apply`` and ``evaluate``.

    The net's state is that of the last step. Before the first step these are the initial weights.

    Args:
      state: one whose optimiser was made by ``averaged``.

    Raises:
      TypeError: not a ``TrainState``.
      ValueError: its optimiser keeps no average.
    """
    arguments.train_state("average_of", state)
    kept = found(Averaged, state.opt_state)
    if kept is None:
        raise ValueError(
            "average_of: state must be one of an optimiser made by averaged(optimizer, decay), got one that "
            "keeps no average"
        )
    weights = jax.tree.map(lambda mean, w: mean.astype(w.dtype), kept.average, state.params.weights)
    return state.params._replace(weights=weights)


def _wide(leaf: Any) -> Any:
    dtype = jnp.result_type(leaf)
    return accumulator(dtype) if jnp.issubdtype(dtype, jnp.floating) else dtype
