"""One step of gradient descent, jitted: ``make_step``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.layer import Key, LayerLike, Params, Spec, as_layer

if TYPE_CHECKING:
    import optax

Loss = Callable[[Any, Any], Any]  #: loss(prediction, target) -> one value an example, or a scalar
Metrics = Mapping[str, Loss]
Scores = dict[str, jax.Array]
Step = Callable[..., tuple["TrainState", Scores]]


class TrainState(NamedTuple):
    """Everything that a training run carries from step to step.

    Attributes:
      params: of the net.
      opt_state: of the optax optimiser.
      key: of the whole run; step i draws with ``jax.random.fold_in(key, i)``.
      step: how many steps were made, an int32 scalar.
    """

    params: Params
    opt_state: optax.OptState
    key: Key
    step: jax.Array


def init_state(
    net: LayerLike,
    optimizer: optax.GradientTransformation,
    key: Key,
    shape: Spec | None = None,
    *,
    params: Params | None = None,
) -> TrainState:
    """The state before the first step, of fresh params for ``shape`` or a copy of given ``params``.

    Every array in it is a copy, so that the step may donate it.
    """
    init_key, run_key = jax.random.split(key)
    params = as_layer(net).init(init_key, shape) if params is None else params
    state = TrainState(params, optimizer.init(params.weights), run_key, jnp.zeros((), jnp.int32))
    return jax.tree.map(jnp.copy, state)


def make_step(
    net: LayerLike,
    optimizer: optax.GradientTransformation,
    loss: Loss,
    *,
    metrics: Metrics | None = None,
) -> Step:
    """A jitted training step: ``step(state, x, y, mask=None) -> (state, scores)``.

    w ← w + update(∇ mean loss(net(x), y)). The state is donated: the one passed in is gone after the call.
    One trace for each shape of ``x`` and ``y``.

    Args:
      net: the layer to train.
      optimizer: any optax gradient transformation.
      loss: ``loss(prediction, target)`` as optax has them: one value an example, (N,) or (N, …); its mean is
        minimised. A scalar is taken as it is, and then no mask can be given.
      metrics: further functions of the same form, by name, to be reported.

    ``mask``: booleans (N,), False for the rows that only fill up a batch. ``scores``: ``"loss"`` and each
    metric, scalars on the device, each the mean over the rows that count.

    >>> import jax, jax.numpy as jnp, jaxnn as nn, optax
    >>> net, optimizer = nn.dense(1), optax.sgd(0.1)
    >>> state = nn.training.init_state(net, optimizer, jax.random.key(0), (8, 3))
    >>> step = nn.make_step(net, optimizer, optax.squared_error)
    >>> state, scores = step(state, jnp.ones((8, 3)), jnp.ones((8, 1)))
    >>> int(state.step), scores["loss"].shape
    (1, ())
    """
    from optax import apply_updates  # here, so that importing the library does not import optax

    net = as_layer(net)
    functions = {"loss": loss, **(metrics or {})}

    def step(state: TrainState, x: Any, y: Any, mask: Any = None) -> tuple[TrainState, Scores]:
        key = jax.random.fold_in(state.key, state.step)

        def objective(weights: Any) -> tuple[jax.Array, tuple[Any, Scores]]:
            prediction, new = net.train(state.params._replace(weights=weights), x, key)
            scores = score(functions, prediction, y, mask)
            return scores["loss"], (new, scores)

        grads, (net_state, scores) = jax.grad(objective, has_aux=True)(state.params.weights)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params.weights)
        weights = apply_updates(state.params.weights, updates)
        return TrainState(Params(weights, net_state), opt_state, state.key, state.step + 1), scores

    return jax.jit(step, donate_argnums=0)


def score(functions: Metrics, prediction: Any, target: Any, mask: Any = None) -> Scores:
    """The mean of each function of ``(prediction, target)`` over the rows that ``mask`` counts."""
    return {
        name: _mean(name, function(prediction, target), target, mask) for name, function in functions.items()
    }


def _mean(name: str, values: Any, target: Any, mask: Any) -> jax.Array:
    values = jnp.asarray(values)
    values = values.astype(jnp.promote_types(values.dtype, jnp.float32))
    if values.ndim == 0:
        if mask is not None:
            raise ValueError(
                f"{name}: a function that returns a scalar cannot leave out the rows that fill up the last "
                "batch; return one value an example, shape (N,), or choose a batch size that divides the data"
            )
        return values
    n = jax.tree.leaves(target)[0].shape[0]
    if values.shape[0] != n:
        raise ValueError(
            f"{name}: must return one value an example, (N, …) with N = {n}, or a scalar, got shape "
            f"{values.shape}"
        )
    rows = values.reshape(n, -1).mean(axis=1)
    return rows.mean(where=mask)
