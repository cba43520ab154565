"""A whole training run: ``fit``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from jaxnn.data import examples_at_a_time, minibatches
from jaxnn.lifting import LayerLike
from jaxnn.ops import checks
from jaxnn.params import Key, Params, fold_name
from jaxnn.training import arguments
from jaxnn.training.epoch import Epoch
from jaxnn.training.evaluate import batches, means, scorer
from jaxnn.training.finite import breakage
from jaxnn.training.interrupt import delayed_interrupt
from jaxnn.training.progress import Progress, reporter, style
from jaxnn.training.score import Loss, Metrics, Scores
from jaxnn.training.step import fresh_state, training_step

if TYPE_CHECKING:
    import optax


class Fit(NamedTuple):
    """The result of a run.

    Attributes:
      params: those after the last step.
      history: for ``"loss"``, each metric, and the same with ``val_`` in front, one float per epoch.
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
    run, bit for bit, on the same machine. Ctrl-C ends the run after the current step, or validation
    batch, and returns what was learnt so far; a second one ends it at once, as a ``KeyboardInterrupt``.

    Args:
      net: the layer to train.
      optimizer: any optax gradient transformation; its schedules count steps.
      loss: ``loss(prediction, target)``, one value per example; see ``make_step``.
      data: ``(inputs, targets)``, pytrees of arrays of one length, NumPy or JAX.
      key: one key, for the initial weights, the order of the examples, and dropout.
      epochs: how many times to go through the data, 0 or more.
      batch_size: examples per step, at most as many as there are. A short last batch is filled up with
        other examples that are left out of the loss, so that nothing is compiled twice.
      params: where to start from; without it, ``net.init``. They are copied, not consumed.
      validation: data of the same form, to be scored after each epoch.
      metrics: functions of the form of ``loss``, by name, reported beside it. No name is ``loss`` or
        ``epoch``, or starts with ``val_``.
      progress: ``"auto"`` (a bar on a terminal with tqdm, else lines), ``"bar"``, ``"lines"``, or False.

    Raises:
      FloatingPointError: the loss is NaN or infinite, or an update makes the params so; the sentence names
        the step. Returned params are finite.
      TypeError, ValueError: an argument that is not as said above. All of them are checked before the first
        step, including whether ``validation`` fits the net and the metrics.

    >>> import jax, jax.numpy as jnp, jaxnn as nn, optax
    >>> x = jnp.linspace(-1, 1, 64).reshape(64, 1)
    >>> result = nn.fit(nn.dense(1), optax.sgd(0.5), optax.squared_error, (x, 3 * x + 1),
    ...                 key=jax.random.key(0), epochs=20, batch_size=16, progress=False)
    >>> jax.tree.map(lambda w: round(w.item(), 2), result.params.weights)
    {'bias': 1.0, 'kernel': 3.0}
    """
    owner = "fit"
    layer = arguments.layer(owner, net)
    arguments.optimizer(owner, optimizer)
    arguments.function(owner, "loss", loss)
    metrics = {} if metrics is None else metrics
    arguments.metrics(owner, metrics, taken=("loss", "epoch"), prefix="val_")
    n = arguments.pair(owner, "data", data)
    checks.key(owner, key)
    epochs = checks.integer(owner, "epochs", epochs, least=0)
    batch_size = examples_at_a_time(owner, batch_size, n)
    if params is not None:
        arguments.of_layer(owner, layer, params, data[0])
        arguments.finite(owner, params)
    if validation is not None:
        arguments.pair(owner, "validation", validation)
    functions = {"loss": loss, **metrics}
    steps = -(-n // batch_size)
    shown = style(progress)

    state = fresh_state(layer, optimizer, fold_name(key, "state"), data[0], params)
    step = jax.jit(training_step(layer, optimizer, functions), donate_argnums=0)
    broken = breakage(state.params)
    scores_of = scorer(net, functions)
    history: dict[str, list[float]] = {}
    report = reporter(shown, epochs, steps)
    run = Epoch(report)
    with delayed_interrupt() as interrupt:
        try:
            batch, _ = next(batches(data, batch_size))
            jax.eval_shape(step, state, *batch)  # raises if something does not fit, and traces the first step
            if validation is not None:
                _require_fitting(scores_of, state.params, validation, batch_size)
            for epoch in range(1, epochs + 1):
                order = jax.random.fold_in(fold_name(key, "order"), epoch)
                run = Epoch(report, epoch, (epoch - 1) * steps + 1)
                for (x, y), mask in minibatches(data, batch_size, key=order):
                    state, scores = step(state, x, y, mask if n % batch_size else None)
                    run.add(scores, broken(state.params), int(mask.sum()))
                    interrupt()
                found = run.means(functions)
                if validation is not None:
                    values = means(scores_of, state.params, validation, batch_size, interrupt)
                    found |= {f"val_{name}": values[name] for name in functions}
                for name, value in found.items():
                    history.setdefault(name, []).append(value)
                report.epoch(epoch, found)
                interrupt()
        except KeyboardInterrupt:
            if interrupt.insistent or arguments.is_deleted(state):
                raise
            run.look()
            print(
                f"fit: interrupted after {int(state.step)} steps; returning what was learnt so far",
                flush=True,
            )
        finally:
            report.close()
    return Fit(state.params, history)


def _require_fitting(scores_of: Callable[..., Scores], params: Params, validation: Any, size: int) -> None:
    """Raises before the first epoch if the validation cannot be scored after it."""
    batch, _ = next(batches(validation, size))
    try:
        jax.eval_shape(scores_of, params, *batch)
    except Exception as error:
        raise ValueError(f"fit: validation must fit the net, the loss and the metrics: {error}") from error
