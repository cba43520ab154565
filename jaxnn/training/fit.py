"""A whole training run: ``fit``."""

from __future__ import annotations

from collections.abc import Iterable
from math import isnan
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from jaxnn.data import length, minibatches
from jaxnn.layer import Key, LayerLike, Params, fold_name
from jaxnn.training.evaluate import evaluate
from jaxnn.training.interrupt import delayed_interrupt
from jaxnn.training.progress import Progress, Reporter, reporter
from jaxnn.training.step import Loss, Metrics, Scores, init_state, make_step

if TYPE_CHECKING:
    import optax

#: Steps between two looks at the losses. Each look waits for the device.
_LOOK_EVERY = 50


class Fit(NamedTuple):
    """What a run gives back.

    Attributes:
      params: as they were after the last step.
      history: for ``"loss"``, each metric, and the same with ``val_`` in front, one float an epoch.
    """

    params: Params
    history: dict[str, list[float]]


def fit(
    net: LayerLike,
    optimizer: optax.GradientTransformation,
    loss: Loss,
    data: tuple[Any, Any],
    *,
    key: Key,
    epochs: int,
    batch_size: int,
    params: Params | None = None,
    validation: tuple[Any, Any] | None = None,
    metrics: Metrics | None = None,
    progress: Progress = "auto",
) -> Fit:
    """Trains a net by mini-batch gradient descent.

    Each epoch goes through all examples once in an order drawn from ``key``. The same key gives the same
    run, bit for bit, on the same machine. Ctrl-C ends the run after the step at hand and returns what was
    learnt so far.

    Args:
      net: the layer to train.
      optimizer: any optax gradient transformation; its schedules count steps.
      loss: ``loss(prediction, target)``, one value an example; see ``make_step``.
      data: ``(inputs, targets)``, pytrees of arrays of one length, NumPy or JAX.
      key: for the initial weights, the order of the examples, and dropout.
      epochs: how many times to go through the data, 0 or more.
      batch_size: examples a step, at most as many as there are. A short last batch is filled up with
        other examples that the loss does not count, so that nothing is compiled twice.
      params: where to start from; without it, ``net.init``. They are copied, not consumed.
      validation: data of the same form, to be scored after each epoch.
      metrics: functions of the form of ``loss``, by name, reported beside it.
      progress: ``"auto"`` (a bar on a terminal with tqdm, else lines), ``"bar"``, ``"lines"``, or False.

    Raises:
      FloatingPointError: the loss is NaN; the sentence says at which step.
      ValueError: inputs and targets of different lengths, a batch larger than the data.

    >>> import jax, jax.numpy as jnp, jaxnn as nn, optax
    >>> x = jnp.linspace(-1, 1, 64).reshape(64, 1)
    >>> result = nn.fit(nn.dense(1), optax.sgd(0.5), optax.squared_error, (x, 3 * x + 1),
    ...                 key=jax.random.key(0), epochs=20, batch_size=16, progress=False)
    >>> jax.tree.map(lambda w: round(w.item(), 2), result.params.weights)
    {'bias': 1.0, 'kernel': 3.0}
    """
    n = length(data)
    if not 1 <= batch_size <= n:
        raise ValueError(f"fit: batch_size must be from 1 to the {n} examples there are, got {batch_size}")
    if epochs < 0:
        raise ValueError(f"fit: epochs must be at least 0, got {epochs}")
    if validation is not None:
        length(validation)

    state = init_state(net, optimizer, fold_name(key, "state"), data[0], params=params)
    step = make_step(net, optimizer, loss, metrics=metrics)
    functions = {"loss": loss, **(metrics or {})}
    steps = -(-n // batch_size)
    report = reporter(progress, epochs, steps)
    history: dict[str, list[float]] = {}
    try:
        with delayed_interrupt() as interrupt:
            for epoch in range(1, epochs + 1):
                order = jax.random.fold_in(fold_name(key, "order"), epoch)
                run = _Epoch(epoch, (epoch - 1) * steps + 1, report)
                for (x, y), mask in minibatches(data, batch_size, key=order):
                    state, scores = step(state, x, y, mask if n % batch_size else None)
                    run.add(scores, int(mask.sum()))
                    interrupt()
                means = run.means(functions)
                if validation is not None:
                    values = evaluate(net, state.params, validation, functions, batch_size=batch_size)
                    means |= {f"val_{name}": value for name, value in values.items()}
                for name, value in means.items():
                    history.setdefault(name, []).append(value)
                report.epoch(epoch, means)
                interrupt()
    except KeyboardInterrupt:
        print(f"fit: interrupted after {int(state.step)} steps; returning what was learnt so far", flush=True)
    finally:
        report.close()
    return Fit(state.params, history)


class _Epoch:
    """The scores of one epoch's steps, fetched from the device now and then, with a look for NaN."""

    def __init__(self, epoch: int, first_step: int, report: Reporter):
        self.epoch, self.first_step, self.report = epoch, first_step, report
        self.waiting: list[Scores] = []
        self.counts: list[int] = []
        self.scores: list[dict[str, float]] = []

    def add(self, scores: Scores, count: int) -> None:
        self.waiting.append(scores)
        self.counts.append(count)
        if len(self.waiting) == _LOOK_EVERY:
            self._fetch()

    def means(self, names: Iterable[str]) -> dict[str, float]:
        self._fetch()
        total = sum(self.counts)
        weighted = list(zip(self.scores, self.counts, strict=True))
        return {name: sum(scores[name] * n for scores, n in weighted) / total for name in names}

    def _fetch(self) -> None:
        for scores in jax.device_get(self.waiting):
            self.scores.append({name: float(value) for name, value in scores.items()})
            if isnan(self.scores[-1]["loss"]):
                raise FloatingPointError(
                    f"fit: the loss is NaN at step {self.first_step + len(self.scores) - 1} (epoch "
                    f"{self.epoch}); a lower learning rate, clipped gradients (optax.clip_by_global_norm) or "
                    "standardised inputs may help"
                )
        self.waiting.clear()
        self.report.steps(self.epoch, len(self.scores), self.scores[-1]["loss"])
