"""``diagnose``: what happens in a net during one training step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import hypot, isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.inspection.diagnosis import Diagnosis, Reading
from jaxnn.inspection.receptive_field import acts_by_value
from jaxnn.inspection.sentences import sentences
from jaxnn.inspection.walk import walk
from jaxnn.kernels.dtypes import accumulator
from jaxnn.layer import Layer
from jaxnn.lifting import LayerLike
from jaxnn.ops import checks
from jaxnn.params import Key, Params, fold_name
from jaxnn.shapes import value_spec
from jaxnn.training import arguments
from jaxnn.training.optimizer import update_with
from jaxnn.training.score import score

if TYPE_CHECKING:
    import optax

#: The learning rate of the plain gradient descent whose update is measured when no optimiser is given.
RATE = 0.01
#: A value is saturated where its function is less steep than this share of its steepest.
FLAT = 1e-3
#: Fewer values than this do not show that a unit is dead.
FEWEST = 16


def diagnose(
    net: LayerLike,
    params: Params,
    x: Any,
    target: Any,
    loss: Callable[[Any, Any], Any],
    *,
    optimizer: optax.GradientTransformation | None = None,
    key: Key | None = None,
) -> Diagnosis:
    r"""What every layer returns and receives in one training step, and in sentences what looks wrong.

    The net is run once on the batch, forwards and backwards, each layer by its ``train``: with the batch's
    own statistics, and with dropout. No weight and no state is changed. By layer, in the order of the calls:

    - ``mean``, ``deviation``: of its values, all examples together.
    - ``zeros``: the share of its values that are 0.
    - ``dead``, for an activation function: the share of its units that are 0 for every example, though the
      input is not. A unit is an entry of the last axis, at all places: a channel of a convolution.
    - ``saturated``, for an activation function: the share of the values at which it is flat, less than a
      thousandth as steep as it gets on this batch or at −1, 0 or 1. ReLU is flat wherever it gives 0, tanh
      beyond ±4.1, the sigmoid beyond ±8.3, step everywhere. An activation function is any layer that acts
      value by value and has no params; whether a layer does is read from its program.
    - ``not_finite``: the share of its values that are NaN or infinite.
    - ``gradient``: the Euclidean norm of the derivative of the mean loss by what the layer gives.
    - ``weight``, ``weight_gradient``: the norm of its weights, and that of the derivative by them; both rows
      of a layer that is called twice have the same.
    - ``update_ratio``: how far the optimiser's first step moves the weights, as a share of their norm.

    A row has None where something does not apply. The sentences, ``warnings``, report values that are not
    finite, and where they occur first; of dead units; of saturation; of gradients that vanish or explode
    over the depth of the net; of weights that get no gradient; and, with an ``optimizer``, of updates that
    are a thousand times smaller or larger than the usual thousandth of the weights. The bounds are in
    ``jaxnn.inspection.sentences``. A healthy net gets no sentence; give it a few dozen examples at least.

    Args:
      net: the layer to look into.
      params: its params, fresh or trained.
      x: a batch of inputs.
      target: what the loss compares the outputs with.
      loss: ``loss(prediction, target)``: one value per example, or a scalar, as for ``fit``.
      optimizer: the optax optimiser whose first step is measured. Without one: w ← w − 0.01·∇.
      key: for layers with randomness, as for ``net.train``.

    Raises:
      TypeError, ValueError: an argument that is not as said above, or a loss of another shape.

    >>> import jax, jax.numpy as jnp, jaxnn as nn, optax
    >>> net = nn.serial(nn.dense(16, bias_init=jax.nn.initializers.constant(-9.0)), nn.relu, head=nn.dense(1))
    >>> x = jax.random.normal(jax.random.key(0), (64, 4))
    >>> report = nn.diagnose(net, net.init(jax.random.key(1), x), x, x[:, :1], optax.squared_error)
    >>> print(*report.warnings, sep="\n")
    relu_0: 100.0 % of its units are zero for every example.
    dense_0: its weights get no gradient.
    >>> report.rows[1].dead
    1.0
    """
    owner = "diagnose"
    layer = arguments.layer(owner, net)
    arguments.batch(owner, "x", x)
    arguments.arrays(owner, "target", target)
    arguments.of_layer(owner, layer, params, x)
    arguments.function(owner, "loss", loss)
    arguments.hashable(owner, "loss", loss)
    if optimizer is not None:
        arguments.optimizer(owner, optimizer)
        arguments.hashable(owner, "optimizer", optimizer)
    if key is not None:
        checks.key(owner, key)
    value, layers = _step(layer, loss, optimizer, params, x, target, key)
    rows = tuple(_reading(path, seen) for (_, path), seen in layers.items())
    found = sentences(rows, float(value), isfinite(_norm(x)), optimizer is not None)
    return Diagnosis(rows, float(value), found)


class _Seen(NamedTuple):
    """What is recorded of one layer, as numbers."""

    x: Any  #: like ``saturated``, only for activation functions
    y: Any
    gradient: Any
    saturated: Any
    weights: Any
    weight_gradient: Any
    update: Any
    trainable: jax.Array


@partial(jax.jit, static_argnums=(0, 1, 2))
def _step(
    net: Layer, loss: Any, optimizer: Any, params: Params, x: Any, target: Any, key: Key | None
) -> tuple[jax.Array, dict[tuple[int, str], _Seen]]:
    """The loss, and what each layer returns and receives; the numbers keep the order of the calls."""

    # To differentiate by the layers' outputs, a zero (``nothing``) is added to each.
    def objective(weights: Any, nothing: dict[str, Any]) -> tuple[jax.Array, dict[str, Any]]:
        outputs: dict[str, Any] = {}

        def call(path: str, layer: Layer, params: Params, x: Any) -> Any:
            y, _ = layer.train(params, x, None if key is None else fold_name(key, path))
            outputs[path] = jax.tree.map(_plus, y, nothing[path]) if nothing else y
            return outputs[path]

        prediction = walk(net, params._replace(weights=weights), x, call)
        return score({"loss": loss}, prediction, target, inputs=x)["loss"], outputs

    _, specs = jax.eval_shape(objective, params.weights, {})
    nothing = jax.tree.map(lambda y: jnp.zeros(y.shape, y.dtype if _is_floating(y) else jnp.float32), specs)
    (value, outputs), (by_weights, by_outputs) = jax.value_and_grad(objective, (0, 1), has_aux=True)(
        params.weights, nothing
    )

    inputs: dict[str, Any] = {}
    saturated: dict[str, Any] = {}

    def look(path: str, layer: Layer, params: Params, x: Any) -> Any:
        saturated[path] = _saturated(layer, params, x)
        inputs[path] = None if saturated[path] is None else x
        return outputs[path]

    walk(net, params, x, look)

    def by_layer(weights: Any) -> dict[str, Any]:
        """Each layer's part of ``weights``, which are of the net's structure."""
        parts: dict[str, Any] = {}

        def call(path: str, layer: Layer, params: Params, x: Any) -> Any:
            parts[path] = params.weights
            return outputs[path]

        # What a layer takes from the state, as a frozen one does, is not among the net's weights.
        walk(net, Params(weights, jax.tree.map(jnp.zeros_like, params.state)), x, call)
        return parts

    weights, gradients = by_layer(params.weights), by_layer(by_weights)
    extra = {"value": value, "grad": by_weights, "value_fn": lambda weights: objective(weights, {})[0]}
    updates = by_layer(_updates(optimizer, by_weights, params.weights, extra))
    ones = by_layer(jax.tree.map(jnp.ones_like, params.weights))
    return value, {
        (i, path): _Seen(
            inputs[path], outputs[path], by_outputs[path], saturated[path],
            weights[path], gradients[path], updates[path], _any(ones[path]),
        )
        for i, path in enumerate(inputs)
    }  # fmt: skip


def _saturated(layer: Layer, params: Params, x: Any) -> jax.Array | None:
    """The share of the values of ``x`` at which an activation function is flat; None for other layers."""
    if (
        jax.tree.leaves(params)
        or not _floats(x)
        or not acts_by_value(layer.apply, *value_spec("diagnose", (params, x)))
    ):
        return None

    def steepness(at: jax.Array) -> jax.Array:
        y, pulled = jax.vjp(lambda at: layer.apply(params, at), at)
        return jnp.abs(pulled(jnp.ones_like(y))[0])

    here = steepness(x)
    steepest = jnp.stack([here.max(), *(steepness(jnp.full_like(x, c)).max() for c in (-1, 0, 1))]).max()
    return jnp.mean(here <= jnp.asarray(FLAT, here.dtype) * steepest)


def _updates(optimizer: Any, gradients: Any, weights: Any, extra: dict[str, Any]) -> Any:
    if optimizer is None:
        return jax.tree.map(lambda g: -RATE * g, gradients)
    return update_with(optimizer, gradients, optimizer.init(weights), weights, extra)[0]


def _reading(path: str, seen: _Seen) -> Reading:
    numbers: dict[str, float | None] = dict.fromkeys(("mean", "deviation", "zeros", "not_finite", "dead"))
    values = next(iter(_floats(seen.y)), None)
    if values is not None:
        numbers |= {name: float(number) for name, number in _statistics(values).items()}
        if seen.saturated is not None and values.size >= FEWEST * max(values.shape[-1:], default=1):
            numbers["dead"] = float(_dead(seen.x, values))
    weight = _norm(seen.weights) if seen.trainable else None
    return Reading(
        path,
        **numbers,
        saturated=None if seen.saturated is None else float(seen.saturated),
        gradient=None if values is None else _norm(seen.gradient),
        weight=weight,
        weight_gradient=None if weight is None else _norm(seen.weight_gradient),
        update_ratio=_norm(seen.update) / weight if weight else None,
    )


# Compiled once per shape, not again for every layer.


@jax.jit
def _statistics(values: jax.Array) -> dict[str, jax.Array]:
    single = values.astype(accumulator(values.dtype))
    return {
        "mean": single.mean(),
        "deviation": single.std(),
        "zeros": jnp.mean(values == 0),
        "not_finite": jnp.mean(~jnp.isfinite(values)),
    }


@jax.jit
def _dead(x: jax.Array, y: jax.Array) -> jax.Array:
    """The share of units that are 0 for every example, though the input is not."""
    others = tuple(range(y.ndim - 1))
    return jnp.mean(jnp.all(y == 0, axis=others) & ~jnp.all(x == 0, axis=others))


@jax.jit
def _norm_of_one(a: jax.Array) -> jax.Array:
    """The Euclidean norm; squares of tiny and huge values don't underflow or overflow."""
    single = jnp.abs(a.astype(accumulator(a.dtype)))
    largest = single.max(initial=0)
    scale = jnp.where(largest > 0, largest, jnp.ones_like(largest))
    return scale * jnp.sqrt(jnp.sum((single / scale) ** 2))


def _norm(tree: Any) -> float:
    return hypot(*(float(_norm_of_one(a)) for a in _floats(tree)))


def _any(tree: Any) -> jax.Array:
    return jnp.any(jnp.stack([jnp.any(a != 0) for a in jax.tree.leaves(tree)] or [jnp.asarray(False)]))


def _plus(y: Any, nothing: jax.Array) -> Any:
    return y + nothing if _is_floating(y) else y


def _is_floating(a: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(a), jnp.floating)


def _floats(tree: Any) -> list[jax.Array]:
    return [jnp.asarray(a) for a in jax.tree.leaves(tree) if _is_floating(a)]
