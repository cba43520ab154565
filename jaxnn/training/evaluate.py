"""Scores of a net on a data set: ``evaluate``, and the metric ``accuracy``."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.data import length, minibatches
from jaxnn.distribution.place import place, require_sharding
from jaxnn.distribution.sharding import Sharding
from jaxnn.lifting import LayerLike, as_layer
from jaxnn.ops import checks
from jaxnn.params import Params
from jaxnn.training import arguments
from jaxnn.training.batch import Batch, rows_that_count
from jaxnn.training.over_devices import scored
from jaxnn.training.score import STEPS, Loss, Metrics, Scores, score
from jaxnn.training.stream import as_batch, fitted


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """1 where the largest logit is that of the label, else 0.

    Shapes: logits (N, …, classes), integer labels (N, …) → (N, …), float32.

    Among equal logits the first counts as the largest, as in ``argmax``. A row with a NaN has no largest
    logit, and a label outside the classes never matches: both give 0.

    Args:
      logits: real, of two classes or more.
      labels: integers from 0, or booleans for two classes. One-hot labels and probabilities go through
        ``argmax(axis=-1)`` first.

    Raises:
      TypeError: labels that are not integers, or complex logits.
      ValueError: labels of another shape, or logits of fewer than two classes.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> nn.accuracy(jnp.array([[0., 2.], [3., 1.]]), jnp.array([1, 1]))
    Array([1., 0.], dtype=float32)
    """
    owner = "accuracy"
    logits, labels = checks.array(owner, logits, "logits"), checks.array(owner, labels, "labels")
    if not (jnp.issubdtype(labels.dtype, jnp.integer) or labels.dtype == bool):
        raise TypeError(
            f"{owner}: labels must be integers, got {labels.dtype}; one-hot labels or probabilities become "
            "integers by labels.argmax(axis=-1)"
        )
    if not jnp.issubdtype(logits.dtype, jnp.floating) and not jnp.issubdtype(logits.dtype, jnp.integer):
        raise TypeError(f"{owner}: logits must be real numbers, got {logits.dtype}")
    if logits.ndim == 0 or logits.shape[-1] < 2:
        raise ValueError(
            f"{owner}: logits must have two classes or more on the last axis, got shape {logits.shape}; of "
            "one logit per example the metric is (logits > 0) == labels, both of one shape"
        )
    if logits.shape[:-1] != labels.shape:
        raise ValueError(
            f"{owner}: labels must have the shape of the logits without the last axis, {logits.shape[:-1]}, "
            f"got {labels.shape}" + (_ONE_HOT if logits.shape == labels.shape else "")
        )
    # Small integers are widened: in uint8 class 256 would be class 0.
    wide = labels.dtype if labels.dtype != bool and labels.dtype.itemsize >= 4 else jnp.dtype(jnp.int32)
    hits = logits.argmax(axis=-1).astype(wide) == labels.astype(wide)
    if jnp.issubdtype(logits.dtype, jnp.floating):
        hits &= ~jnp.isnan(logits).any(axis=-1)
    return hits.astype(jnp.float32)


_ONE_HOT = "; one-hot labels become integers by labels.argmax(axis=-1)"


def evaluate(
    net: LayerLike,
    params: Params,
    data: Any,
    metrics: Metrics,
    *,
    batch_size: int = 256,
    sharding: Sharding | None = None,
) -> dict[str, float]:
    """The mean of each metric over a whole data set, by ``net.apply``.

    Args:
      net: the layer.
      params: its parameters.
      data: ``(inputs, targets)``, pytrees of arrays of one length; or an iterable of batches, as ``fit`` has
        them, such as a list of tuples.
      metrics: functions ``metric(prediction, target)`` by name, each one value per example or a scalar; see
        ``make_step`` for the shapes.
      batch_size: rows at a time; more than there are means all at once. The last batch is padded and the
        padding left out of the mean, so the batch size changes the time but not the result. A metric that
        returns scalars needs a batch size that divides the data.
      sharding: a rule of ``nn.distribution`` by which params and batches are split over devices. In several
        processes arrays are the same in all, and an iterable gives each its own rows.

    Returns:
      Plain floats by name.

    Raises:
      TypeError: data that is not a pair of arrays, params that are not ``Params``, metrics that are not
        functions by name.
      ValueError: no data, lengths that differ, or a metric of another shape, such as (N, N).

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> x, y = jnp.eye(3), jnp.array([0, 1, 0])
    >>> round(nn.evaluate(nn.linear, nn.Params({}, {}), (x, y), {"accuracy": nn.accuracy})["accuracy"], 3)
    0.667
    """
    owner = "evaluate"
    layer = arguments.layer(owner, net)
    arguments.of_layer(owner, layer, params)
    arguments.scored(owner, "data", data)
    arguments.metrics(owner, metrics)
    batch_size = checks.integer(owner, "batch_size", batch_size, least=1)
    if sharding is not None:
        require_sharding(owner, sharding)
        params = place(params, sharding)
    found = means(scorer(net, metrics, sharding), params, data, batch_size, sharding=sharding)
    return {name: found[name] for name in metrics}


def means(
    scores: Callable[..., Scores],
    params: Params,
    data: Any,
    batch_size: int,
    pause: Callable[[], None] = lambda: None,
    sharding: Sharding | None = None,
) -> dict[str, float]:
    """The mean of ``scores`` over all batches; between two of them it calls ``pause``."""
    totals: dict[str, float] = defaultdict(float)
    weights: dict[str, float] = defaultdict(float)
    n = 0
    for (x, y, mask), count in batches(data, batch_size, sharding):
        found = scores(params, x, y, mask)
        for name, value in found.items():
            if not name.startswith(STEPS):
                weight = float(found.get(STEPS + name, count))
                totals[name] += float(value) * weight
                weights[name] += weight
        pause()
        n += count
    if not n:
        raise ValueError("evaluate: data must give at least one example, got none")
    return {name: total / (weights[name] or 1) for name, total in totals.items()}


def batches(data: Any, batch_size: int, sharding: Sharding | None = None) -> Iterator[tuple[Batch, int]]:
    """Batches, and how many rows count in each; the mask is None where no batch has to be padded."""
    found = _batches(data, batch_size)
    return found if sharding is None else scored(found, sharding, whole=not arguments.gives_batches(data))


def _batches(data: Any, batch_size: int) -> Iterator[tuple[Batch, int]]:
    if arguments.gives_batches(data):
        like = None
        for item in data:
            batch = as_batch("evaluate", item)
            like = batch if like is None else like
            batch = fitted("evaluate", batch, like)
            yield batch, rows_that_count(batch)
        return
    n = length(data)
    batch_size = min(batch_size, n)
    for (x, y), mask in minibatches(data, batch_size):
        yield Batch(x, y, mask if n % batch_size else None), int(mask.sum())


def scorer(net: LayerLike, metrics: Metrics, sharding: Sharding | None = None) -> Callable[..., Scores]:
    """``scores(params, x, y, mask)``, jitted, and cached so that it is compiled once for all epochs."""
    functions = tuple(metrics.items())
    try:
        return _remembered(net, functions, sharding)
    except TypeError:  # something without a hash
        return _scorer(net, functions, sharding)


def _scorer(
    net: LayerLike, metrics: tuple[tuple[str, Loss], ...], sharding: Sharding | None
) -> Callable[..., Scores]:
    layer = as_layer(net)

    def scores(params: Params, x: Any, y: Any, mask: Any) -> Scores:
        return score(dict(metrics), layer.apply(params, x), y, mask, inputs=x, counted=True)

    def over_devices(params: Params, *batch: Any) -> Scores:
        assert sharding is not None
        with sharding.context():
            return sharding.everywhere(scores(sharding.gathered(params), *sharding.spread(batch)))

    return jax.jit(scores if sharding is None else over_devices)


_remembered = lru_cache(maxsize=32)(_scorer)
