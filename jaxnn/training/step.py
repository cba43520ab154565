"""One step of gradient descent, jitted: ``make_step``."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper, wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.distribution.place import place, placed, require_rows, require_sharding, split
from jaxnn.distribution.sharding import Sharding
from jaxnn.layer import Layer
from jaxnn.lifting import LayerLike
from jaxnn.ops import checks
from jaxnn.params import Key, Params
from jaxnn.shapes import Spec
from jaxnn.training import arguments
from jaxnn.training.batch import Batch
from jaxnn.training.gradient import Outcome, Pass, backward, forward, in_pieces, over_devices
from jaxnn.training.loss_scale import scale_of
from jaxnn.training.optimizer import update_with
from jaxnn.training.score import Loss, Metrics, Scores, only_means

if TYPE_CHECKING:
    import optax

Step = Callable[..., tuple["TrainState", Scores]]


class TrainState(NamedTuple):
    """Everything that a training run carries from step to step.

    Attributes:
      params: those of the net.
      opt_state: that of the optax optimiser.
      key: that of the whole run; step i draws with ``jax.random.fold_in(key, i)``.
      step: the number of steps made, an int32 scalar.
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
    sharding: Sharding | None = None,
) -> TrainState:
    """The state before the first step, of fresh params for ``shape`` or a copy of given ``params``.

    Every array in it is a copy, so that the step may donate it.

    Args:
      net: the layer to train.
      optimizer: any optax gradient transformation.
      key: one key, for the initial weights and what the steps draw.
      shape: that of the inputs, as ``net.init`` takes it. With ``params`` it may be left out; if given, the
        params must be those that ``net`` has for it.
      params: where to start from.
      sharding: a rule of ``nn.distribution``: every array is made where it says, on no device as a whole
        unless it is to be there.

    Raises:
      TypeError: any other argument.
      ValueError: neither shape nor params, or params of another net.
    """
    owner = "init_state"
    layer = arguments.layer(owner, net)
    arguments.optimizer(owner, optimizer)
    checks.key(owner, key)
    if shape is not None:
        arguments.shape(owner, shape)
    if params is not None:
        arguments.of_layer(owner, layer, params, shape)
    elif shape is None:
        raise ValueError(f"{owner}: shape must be given where params are not, got None for both")
    if sharding is not None:
        require_sharding(owner, sharding)
    return fresh_state(layer, optimizer, key, shape, params, sharding)


def fresh_state(
    net: Layer,
    optimizer: optax.GradientTransformation,
    key: Key,
    shape: Spec | None,
    params: Params | None,
    sharding: Sharding | None = None,
) -> TrainState:
    """``init_state`` of arguments that are known to be right."""

    def make(key: Key, params: Params | None) -> TrainState:
        init_key, run_key = jax.random.split(key)
        params = net.init(init_key, shape) if params is None else params
        return TrainState(params, optimizer.init(params.weights), run_key, jnp.zeros((), jnp.int32))

    if sharding is None:
        return jax.tree.map(jnp.copy, make(key, params))
    params = None if params is None else place(params, sharding)
    key = placed(key, sharding.whole)
    try:
        shardings = sharding.of(jax.eval_shape(make, key, params))
    except jax.errors.ConcretizationTypeError:  # an init that looks at values
        return place(make(key, params), sharding)
    return jax.jit(make, out_shardings=shardings)(key, params)


def make_step(
    net: LayerLike,
    optimizer: optax.GradientTransformation,
    loss: Loss,
    *,
    metrics: Metrics | None = None,
    accumulate: int = 1,
    sharding: Sharding | None = None,
) -> Step:
    """A jitted training step: ``step(state, x, y, mask=None) -> (state, scores)``.

    w ← w + update(∇ mean loss(net(x), y)). The state is donated: the one passed in is gone after the call.
    One trace per shape of ``x`` and ``y``.

    Args:
      net: the layer to train.
      optimizer: any optax gradient transformation. One that takes more than the gradient gets what it names:
        ``value``, ``grad``, ``value_fn`` (the mean loss of this batch as a function of the weights; L-BFGS
        searches along it), ``obj_fn`` (the same), ``grad_fn`` (its gradient; SAM).
      loss: ``loss(prediction, target)`` as optax has them: one value per example, (N,), or (N, …) with axes
        that the target has; its mean is minimised. A scalar is taken as it is, and then no mask can be given.
        ``prediction`` is whatever the net returns, ``target`` whatever ``y`` is: an array, a pytree, None.
        ``nn.training.with_inputs`` makes one that sees ``x`` too, ``per_step`` one of sequences with lengths.
      metrics: further functions of the same form, by name, to be reported; none is called ``loss``.
      accumulate: a batch goes through the net in this many pieces, one after the other, whose gradients are
        averaged: that of the whole batch, in the memory of one piece. It divides the rows. Layers with batch
        statistics see one piece at a time, and dropout draws for each with a key of its own.
      sharding: a rule of ``nn.distribution`` by which the state and the batch are split over devices: the
        result is that of one device, the statistics of batch norm and the masks of dropout included. What is
        passed in is put in place first. The devices must divide the rows. In several processes each passes
        its own rows, see ``nn.distribution.place_batch``.

    ``mask``: booleans (N,), False for the rows that only fill up a batch. They go through the net all the
    same; the mean over no rows is 0, and so is its gradient. ``scores``: ``"loss"`` and each metric, scalars
    on the device, each the mean over the rows that count.

    Raises:
      TypeError: no optimiser, loss or metric; from the step, a state that is not a ``TrainState``, a mask
        that is not booleans, or a loss of values without a gradient.
      ValueError: a metric called ``loss``; from the step, a loss of another shape, such as (N, N) from (N, 1)
        and (N,), a state that was used before, or one of another optimiser.

    >>> import jax, jax.numpy as jnp, jaxnn as nn, optax
    >>> net, optimizer = nn.dense(1), optax.sgd(0.1)
    >>> state = nn.training.init_state(net, optimizer, jax.random.key(0), (8, 3))
    >>> step = nn.make_step(net, optimizer, optax.squared_error)
    >>> state, scores = step(state, jnp.ones((8, 3)), jnp.ones((8, 1)))
    >>> int(state.step), scores["loss"].shape
    (1, ())
    """
    owner = "make_step"
    layer = arguments.layer(owner, net)
    arguments.optimizer(owner, optimizer)
    arguments.function(owner, "loss", loss)
    metrics = {} if metrics is None else metrics
    arguments.metrics(owner, metrics, taken=("loss",))
    accumulate = checks.integer(owner, "accumulate", accumulate, least=1)
    if sharding is not None:
        require_sharding(owner, sharding)
    step = training_step(layer, optimizer, {"loss": loss, **metrics}, accumulate, sharding)
    return _Jitted(step, sharding)


def training_step(
    net: Layer,
    optimizer: optax.GradientTransformation,
    functions: Metrics,
    accumulate: int = 1,
    sharding: Sharding | None = None,
    *,
    counted: bool = False,
) -> Step:
    """The step itself, not jitted; it minimises the function called ``loss``.

    ``counted``: whether the numbers of steps of functions that are ``per_step`` are among the scores.
    """
    from optax import apply_updates  # here, so that importing the library does not import optax

    def step(state: TrainState, x: Any, y: Any, mask: Any = None) -> tuple[TrainState, Scores]:
        _check_state(state, optimizer)
        key = jax.random.fold_in(state.key, state.step)
        batch, counts = Batch(x, y, mask), counted or accumulate > 1

        def run(way: Pass, weights: Any) -> Outcome:
            run = in_pieces(way, accumulate)
            run = run if sharding is None else over_devices(run, sharding)
            return run(state.params._replace(weights=weights), batch, key)

        # The other two are named since optax's line searches refuse what their value_fn doesn't take.
        def value(weights: Any, *, obj_fn: Any = None, grad_fn: Any = None) -> jax.Array:
            return run(forward(net, functions, counted=counts), weights).scores["loss"]

        def slope(weights: Any, *_: Any) -> Any:
            return run(backward(net, functions, counted=counts), weights).grads

        scale = scale_of(state.opt_state)
        grads, net_state, scores = run(backward(net, functions, scale, counted=counts), state.params.weights)
        extra = {"value": scores["loss"], "grad": grads, "value_fn": value, "obj_fn": value, "grad_fn": slope}
        updates, opt_state = update_with(optimizer, grads, state.opt_state, state.params.weights, extra)
        weights = apply_updates(state.params.weights, updates)
        scores = scores if counted else only_means(scores)
        return TrainState(Params(weights, net_state), opt_state, state.key, state.step + 1), scores

    return step if sharding is None else _on_mesh(step, sharding, accumulate)


def _on_mesh(step: Step, sharding: Sharding, accumulate: int) -> Step:
    """The step, with a state that comes and goes as it is stored between steps."""

    @wraps(step)
    def run(state: TrainState, x: Any, y: Any, mask: Any = None) -> tuple[TrainState, Scores]:
        _check_kind(state)
        for leaf in jax.tree.leaves((x, y, mask)):
            if leaf.ndim:
                require_rows("step: a batch", leaf.shape[0], sharding, accumulate)
        with sharding.context():
            state, scores = step(sharding.stored(state), x, y, mask)
            return sharding.stored(state), sharding.everywhere(scores)

    return run


def _check_state(state: Any, optimizer: optax.GradientTransformation) -> None:
    """Raises, when a step is traced, unless ``state`` is one of this optimiser."""
    _check_kind(state)
    try:
        expected: Any = jax.tree.structure(jax.eval_shape(optimizer.init, state.params.weights))
    except jax.errors.ConcretizationTypeError:
        return  # an optimiser that looks at values
    if expected != jax.tree.structure(state.opt_state):
        raise ValueError(
            "step: state must be one of the optimiser that the step was made with, got one of another; "
            "init_state makes one, from the same optimiser and net"
        )


def _check_kind(state: Any) -> None:
    if not isinstance(state, TrainState) or not isinstance(state.params, Params):
        raise TypeError(checks.refusal("step", "state", "a TrainState, as init_state gives", state))


class _Jitted:
    """A jitted step, with the attributes of jitted functions. Calling it donates the state.

    If a call fails, the arguments are checked for the cause; a call that succeeds pays nothing for this.
    """

    def __init__(self, step: Step, sharding: Sharding | None = None):
        self._step, self._sharding = jax.jit(step, donate_argnums=0), sharding
        self.lower, self.trace, self.eval_shape = self._step.lower, self._step.trace, self._step.eval_shape
        update_wrapper(self, step)

    def __call__(self, state: TrainState, x: Any, y: Any, mask: Any = None) -> tuple[TrainState, Scores]:
        try:
            if self._sharding is not None and not _is_traced((state, x, y, mask)):
                return self._step(*_in_place(self._sharding, state, x, y, mask))
            return self._step(state, x, y, mask)
        except Exception:
            _check_kind(state)
            arguments.alive("step", "state", state)
            for name, value in (("state", state), ("x", x), ("y", y), ("mask", mask)):
                arguments.arrays("step", name, value)
            raise


def _in_place(sharding: Sharding, state: TrainState, *batch: Any) -> tuple[Any, ...]:
    # The program puts in place what is on these devices already, as what it has returned is.
    if not all(map(sharding.is_on_mesh, jax.tree.leaves(state))):
        state = place(state, sharding)
    return state, *split("step: a batch", batch, sharding)


def _is_traced(tree: Any) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))
