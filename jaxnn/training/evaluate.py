"""Scores of a net on a data set: ``evaluate`` and the metrics it is given."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.data import length, minibatches
from jaxnn.layer import LayerLike, Params, as_layer
from jaxnn.training.step import Loss, Metrics, Scores, score


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """1 where the largest logit is that of the label, else 0.

    Shapes: logits (N, …, classes), integer labels (N, …) → (N, …), float32.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> nn.accuracy(jnp.array([[0., 2.], [3., 1.]]), jnp.array([1, 1]))
    Array([1., 0.], dtype=float32)
    """
    if logits.shape[:-1] != labels.shape:
        raise ValueError(
            f"accuracy: labels must have the shape of the logits without the last axis, {logits.shape[:-1]}, "
            f"got {labels.shape}"
        )
    return (logits.argmax(axis=-1) == labels).astype(jnp.float32)


def evaluate(
    net: LayerLike, params: Params, data: tuple[Any, Any], metrics: Metrics, *, batch_size: int = 256
) -> dict[str, float]:
    """The mean of each metric over a whole data set, by ``net.apply``.

    Args:
      net: the layer.
      params: its parameters.
      data: ``(inputs, targets)``, pytrees of arrays of one length.
      metrics: functions ``metric(prediction, target)``, one value an example or a scalar, by name.
      batch_size: rows at a time; more than there are means all at once. The last batch is filled up and the
        filling left out of the mean, so the batch size changes the time but not the result. A metric that
        returns scalars needs one that divides the data.

    Returns:
      Plain floats by name.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> x, y = jnp.eye(3), jnp.array([0, 1, 0])
    >>> round(nn.evaluate(nn.linear, nn.Params({}, {}), (x, y), {"accuracy": nn.accuracy})["accuracy"], 3)
    0.667
    """
    totals: dict[str, float] = defaultdict(float)
    for scores, count in _batch_scores(net, params, data, metrics, batch_size):
        for name, value in scores.items():
            totals[name] += float(value) * count
    return {name: totals[name] / length(data) for name in metrics}


def _batch_scores(
    net: LayerLike, params: Params, data: tuple[Any, Any], metrics: Metrics, batch_size: int
) -> Iterator[tuple[Scores, int]]:
    n = length(data)
    batch_size = min(batch_size, n)
    scores = _scorer(net, tuple(metrics.items()))
    for (x, y), mask in minibatches(data, batch_size):
        yield scores(params, x, y, mask if n % batch_size else None), int(mask.sum())


# Remembered, so that evaluating after every epoch compiles once.
@lru_cache(maxsize=32)
def _scorer(net: LayerLike, metrics: tuple[tuple[str, Loss], ...]) -> Callable[..., Scores]:
    layer = as_layer(net)

    def scores(params: Params, x: Any, y: Any, mask: Any) -> Scores:
        return score(dict(metrics), layer.apply(params, x), y, mask)

    return jax.jit(scores)
