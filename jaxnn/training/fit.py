"""A whole training run: ``fit``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING, Any

from jaxnn.distribution.place import gather, require_rows, require_sharding
from jaxnn.distribution.sharding import Sharding
from jaxnn.lifting import LayerLike
from jaxnn.ops import checks
from jaxnn.params import Key, Params, fold_name
from jaxnn.training import arguments
from jaxnn.training.average import averaged
from jaxnn.training.batch import rows_of
from jaxnn.training.best import Best, Keeper
from jaxnn.training.callbacks import Callback, given
from jaxnn.training.checkpoints import Saver, words
from jaxnn.training.device_loop import DeviceLoop, fits
from jaxnn.training.evaluate import scorer
from jaxnn.training.finite import TOGETHER, checked
from jaxnn.training.locate import located
from jaxnn.training.over_devices import crosses_processes, sent
from jaxnn.training.progress import Progress, reporter, style
from jaxnn.training.run import Fit, Run, Validation
from jaxnn.training.score import Loss, Metrics
from jaxnn.training.source import Source
from jaxnn.training.step import fresh_state, training_step
from jaxnn.training.stream import Stream, is_in_memory, of_arrays, of_iterable

if TYPE_CHECKING:
    import optax


def fit(
    net: LayerLike,
    optimizer: optax.GradientTransformation,
    loss: Loss,
    data: Any,
    *,
    key: Key,
    epochs: int,
    batch_size: int | None = None,
    steps_per_epoch: int | None = None,
    params: Params | None = None,
    validation: Any = None,
    metrics: Metrics | None = None,
    accumulate: int = 1,
    average: float | None = None,
    best: Best | None = None,
    on_step: Callback | Sequence[Callback] | None = None,
    on_epoch: Callback | Sequence[Callback] | None = None,
    on_device: bool | None = None,
    find_nan: bool = False,
    checkpoint: Any = None,
    sharding: Sharding | None = None,
    progress: Progress = "auto",
) -> Fit:
    """Trains a net by mini-batch gradient descent.

    Each epoch goes through all examples once in an order drawn from ``key``. The same key gives the same
    run, bit for bit, on the same machine. Ctrl-C ends the run within about a second, between two steps or
    batches of the validation, and returns what was learnt so far; a second one ends it at once, as a
    ``KeyboardInterrupt``.

    As many steps as take about a tenth of a second are one dispatch. Data that fit on the device stay there.
    Other data, and those of an iterable, are read and sent while the device computes, small batches several
    at a time. The steps leave the same params, to the bit on CPUs.

    Args:
      net: the layer to train.
      optimizer: any optax optimiser, see ``make_step``; its schedules count steps.
      loss: ``loss(prediction, target)``, one value per example; see ``make_step``.
      data: ``(inputs, targets)``, pytrees of arrays of one length, NumPy or JAX. Or batches: any iterable of
        ``(x, y)`` or ``(x, y, mask)``, gone through again in each epoch (a loader), or a function
        ``data(epoch)`` that gives one, or a list of them, without ``batch_size``. All batches have the shape
        of the first; one with fewer rows is filled up like the last one of arrays. What NumPy can read counts
        as an array.
      key: one key, for the initial weights, the order of the examples, and dropout.
      epochs: how many times to go through the data, 0 or more.
      batch_size: examples per step, at most as many as there are; of arrays only. A short last batch is
        filled up with other examples that are left out of the loss, so that nothing is compiled twice.
      steps_per_epoch: of batches only: how many make an epoch. Without it an epoch ends with the iterable. An
        iterator, which can't start again, goes on where the last epoch has ended.
      params: where to start from; without it, ``net.init``. They are copied, not consumed.
      validation: data of any of these forms, to be scored after each epoch; no iterator, which ends once.
      metrics: functions of the form of ``loss``, by name, reported beside it. No name is ``loss`` or
        ``epoch``, or starts with ``val_``.
      accumulate: each batch goes through the net in this many pieces, see ``make_step``: the memory of a
        piece, the gradient of the batch. It divides the batch size.
      average: the decay of an exponential average of the weights, such as 0.999. The validation is scored,
        and the params returned, with these weights: see ``nn.training.averaged``.
      best: ``nn.training.Best("val_loss", patience=5)``: the params returned are those after the epoch with
        the best score, and the run ends once that has not become better for so many epochs.
      on_step: ``f(step, scores)``, or several such functions, called for every step in order, from 1, with
        floats by name; a few steps late, as the scores are fetched together. ``nn.training`` has
        ``JSONLines``, ``CSV`` and ``TensorBoard``.
      on_epoch: ``f(epoch, means)``, or several, called after each epoch with what goes into the history.
      on_device: whether arrays stay on the device. By default they do if they take less than a quarter of its
        memory.
      find_nan: when a loss or an update is not finite, the error names the layer where that starts, and
        whether in its values or in its gradient, as ``diagnose`` finds it. Each step is then dispatched and
        looked at alone, and a copy of the params kept: the same run, but slower. Dropout's masks are drawn
        anew for the search.
      checkpoint: a folder, or ``nn.training.Checkpoints(folder, every=…)``, or a ``CheckpointManager`` of
        Orbax: the run is saved there after each epoch, and goes on from the latest checkpoint that it finds:
        called again with the same arguments, an interrupted run ends as one that was not, bit for bit on
        CPUs. A run that has come to its end returns at once. SIGTERM saves and ends the program, with status
        143; Ctrl-C, and a callback that raises, save too. Saving is in the background; a checkpoint is whole
        or absent, also after a SIGKILL. In several processes, which see one folder, all save together: after
        a SIGTERM to any of them at a step that JAX has them agree on, but not when one alone is interrupted.
      sharding: a rule of ``nn.distribution``, such as ``fully_sharded(mesh)``, by which params, the
        optimiser's state and batches are split over devices; see ``make_step``. The devices must divide the
        batch size. The params returned are split too: ``nn.distribution.gather`` makes them whole. In several
        processes arrays must be the same in all, and each reads its rows of every batch alone; an iterable
        gives each its own rows, and needs ``steps_per_epoch``.
      progress: ``"auto"`` (a bar on a terminal with tqdm, else lines), ``"bar"``, ``"lines"``, or False.

    Raises:
      FloatingPointError: the loss is NaN or infinite, or an update makes the params so; the sentence names
        the step. Returned params are finite.
      TypeError, ValueError: an argument that is not as said above. All of them are checked before the first
        step, including whether ``validation`` fits the net and the metrics. Batches that are not like the
        first, or fewer than there should be, when they come.

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
    streams = arguments.gives_batches(data, sized=batch_size is not None)
    n = None if streams else arguments.pair(owner, "data", data)
    checks.key(owner, key)
    epochs = checks.integer(owner, "epochs", epochs, least=0)
    accumulate = checks.integer(owner, "accumulate", accumulate, least=1)
    batch_size, steps = arguments.batching(owner, n, batch_size, steps_per_epoch, accumulate)
    on_device = None if on_device is None else checks.flag(owner, "on_device", on_device)
    if on_device and streams:
        raise ValueError(f"{owner}: on_device must be None or False where data give batches, got True")
    if params is not None:
        arguments.of_layer(owner, layer, params, None if streams else data[0])
        arguments.finite(owner, params)
    if validation is not None:
        if batch_size is not None and isinstance(validation, list) and len(validation) == 2:
            validation = tuple(validation)  # a pair, as data of this form are
        arguments.scored(owner, "validation", validation, again=True)
    functions = {"loss": loss, **metrics}
    names = [*functions, *(() if validation is None else (f"val_{name}" for name in functions))]
    if best is not None:
        arguments.best(owner, best, names)
    listeners = given(owner, "on_step", on_step), given(owner, "on_epoch", on_epoch)
    if average is not None:
        optimizer = averaged(optimizer, arguments.decay(owner, "average", average))
    find_nan = checks.flag(owner, "find_nan", find_nan)
    if sharding is not None:
        require_sharding(owner, sharding)
        if batch_size is not None:
            require_rows(f"{owner}: batches of batch_size", batch_size, sharding, accumulate)
    several = crosses_processes(sharding)
    if several and on_device:
        raise ValueError(f"{owner}: on_device must be None or False in several processes, got True")
    if several and batch_size is None and steps is None:
        raise ValueError(
            f"{owner}: steps_per_epoch must be given in several processes, which all make as many, got None"
        )
    send = None if sharding is None else partial(sent, f"{owner}: batches", sharding, alike=not streams)
    shown = style(progress)

    settings = {
        "data": n, "batch_size": batch_size, "steps_per_epoch": steps, "accumulate": accumulate,
        "key": words(key), "average": average, "best": best and repr(best), "scores": names,
    }  # fmt: skip
    with ExitStack() as stack:
        saver = record = None
        if checkpoint is not None:
            saver = stack.enter_context(closing(Saver(owner, checkpoint, settings, several)))
            record = saver.record()
        order = fold_name(key, "order")
        begin = (1, 0) if record is None else (min(record["epoch"], max(epochs, 1)), record["done"])
        source: Source
        if batch_size is None:
            # One process can't tell where the iterators of the others stood.
            place = None if record is None or several else record.get("place")
            once = isinstance(data, Iterator)
            if not once and begin[1] == 0:
                place = None  # a new epoch begins with a new iterator
            source = Stream(
                of_iterable(data, steps, place is None), steps, begin, send, find_nan, place, once
            )
        elif (fits(data, sharding) and not several) if on_device is None else on_device:
            source = DeviceLoop(data, batch_size, order, 1 if find_nan else None, sharding)
        else:
            batches, at_hand = of_arrays(data, batch_size, order, sharding), is_in_memory(data)
            source = Stream(batches, steps, begin, send, find_nan, own=True, at_hand=at_hand)
        stack.callback(source.close)
        state = fresh_state(layer, optimizer, fold_name(key, "state"), source.example.x, params, sharding)
        run = Run(
            source,
            state,
            checked(
                training_step(layer, optimizer, functions, accumulate, sharding, counted=True),
                state.params,
                TOGETHER if sharding is None else 0,
            ),
            reporter(shown, epochs, source.steps),
            [*functions],
            on_step=listeners[0],
            on_epoch=listeners[1],
            saver=saver,
        )
        if validation is not None:
            size = batch_size or rows_of(source.example)
            run.validate = Validation(scorer(net, functions, sharding), validation, size, sharding)
        if best is not None:
            run.keeper = Keeper(best)
        if find_nan:
            run.locate = partial(located, net=layer, loss=loss, whole=None if sharding is None else gather)
        if record is not None:
            run.resume(record)
        return run.go(epochs)
