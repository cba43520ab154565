"""A JAX library's ``Model`` as programs to time: the same jit, scan and optimiser around each."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from benchmarks import timing
from benchmarks.contenders.model import Model
from benchmarks.contenders.programs import OpTask, Program, StepTask
from jaxnn.kernels import prefer, tune

#: What a compiled program says of its source: its name, its arguments' names, tables of files and frames.
SOURCE = re.compile(
    r"^HloModule \S+|, metadata=\{[^}]*\}|\(.*\) -> .*(?=\{$)"
    r"|^(FileNames|FunctionNames|FileLocations|StackFrames)\n(.+\n)*",
    re.MULTILINE,
)


def without_names(program: str) -> str:
    """The text of a compiled program with its values numbered in the order in which they appear.

    >>> without_names("%y = f32[2] add(%x, %x)") == without_names("%b = f32[2] add(%a, %a)")
    True
    """
    numbers: dict[str, str] = {}
    return re.sub(
        r"%[\w.-]+", lambda name: numbers.setdefault(name[0], f"%{len(numbers)}"), SOURCE.sub("", program)
    )


def rounded(tree: Any, dtype: str) -> Any:
    """Floating-point arrays in ``dtype``, on the device; integers as they are."""
    return jax.tree.map(
        lambda a: jnp.asarray(a, dtype if np.issubdtype(np.asarray(a).dtype, np.floating) else None), tree
    )


def prepared(
    function: Callable[..., Any],
    *args: Any,
    options: Mapping[str, Any] | None,
    tuned: bool,
    donate: tuple[int, ...] = (),
) -> tuple[Callable[..., Any], Callable[[], str]]:
    """A function as a program for such arguments, compiled with ``options``, and how to get its text.

    If ``tuned`` it has the forms that ``kernels.tune`` finds, otherwise those of the lists.
    """
    jitted = jax.jit(function, donate_argnums=donate, compiler_options=options)
    if not tuned:
        kinds = jax.eval_shape(lambda *args: args, *args)  # the arrays of a step are given away
        return jitted, lambda: jitted.lower(*kinds).compile().as_text() or ""
    with prefer(tune(function, *args)):
        program = jitted.lower(*args).compile()
    return program, lambda: program.as_text() or ""


def op_program(
    model: Model, task: OpTask, options: Mapping[str, Any] | None = None, tuned: bool = False
) -> Program:
    """Forward, or forward and backward, at top level or in a scan; compiled with ``options``."""
    weights, x, cotangent = rounded((task.weights, task.x, task.cotangent), task.dtype)
    packed, transpose = jax.vjp(model.pack, weights)
    x, cotangent = model.image(x), model.image(cotangent)
    floats = jnp.issubdtype(x.dtype, jnp.floating)

    def forward(x: Any, weights: Any, key: Any, cotangent: Any) -> Any:
        return model.apply(weights, model.state, x, key)[0]

    def both(x: Any, weights: Any, key: Any, cotangent: Any) -> Any:
        if floats:
            y, pull = jax.vjp(lambda x, weights: forward(x, weights, key, cotangent), x, weights)
        else:  # an embedding's integers have no gradient
            y, pull = jax.vjp(lambda weights: forward(x, weights, key, cotangent), weights)
        return y, *pull(cotangent)

    once = forward if task.mode == "forward" else both

    def scanned(xs: Any, weights: Any, keys: Any, cotangent: Any) -> Any:
        # All inputs change from step to step, or the compiler would move the work out of the loop. The
        # results of a step overwrite those of the last.
        def step(last: Any, args: Any) -> tuple[Any, None]:
            return once(*args, cotangent), None

        kinds = jax.eval_shape(once, x, packed, key, cotangent)
        start = jax.tree.map(lambda kind: jnp.zeros(kind.shape, kind.dtype), kinds)
        return lax.scan(step, start, (xs, weights, keys))[0]

    key = jax.random.key(0)
    args: Any = (x, packed, key)
    if task.place == "scan":
        args = jax.tree.map(lambda a: jnp.stack([a] * task.steps), args)
    program = scanned if task.place == "scan" else once
    compiled, text = prepared(program, *args, cotangent, options=options, tuned=tuned)

    def read(result: Any) -> list[np.ndarray]:
        y, *grads = result if task.mode == "both" else (result,)
        arrays = [_unimage(model, y)]
        if grads:
            *dx, dw = grads
            arrays += [_unimage(model, g) for g in dx] + jax.tree.leaves(transpose(dw)[0])
        return [np.asarray(a) for a in arrays]

    call = timing.calling(lambda: compiled(*args, cotangent), jax.block_until_ready)
    return Program(call, read, lambda: without_names(text()))


def _unimage(model: Model, array: Any) -> Any:
    return jnp.moveaxis(array, 1, -1) if model.channels_first and array.ndim == 4 else array


def loss_of(logits: Any, y: Any) -> Any:
    """Cross entropy for labels, mean squared error for images; in float32."""
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    if jnp.issubdtype(y.dtype, jnp.integer):
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
    return jnp.square(logits - y.astype(logits.dtype)).mean()


def step_program(
    model: Model, task: StepTask, options: Mapping[str, Any] | None = None, tuned: bool = False
) -> Program:
    """A training step, or a scan of them; the state goes from call to call, its memory given back.

    All but the preparation is compiled with ``options``.
    """
    weights, xs, ys = rounded((task.weights, task.x, task.y), task.dtype)
    apply, pack, state = model.apply, model.pack, model.state
    if task.copies:
        apply = jax.vmap(apply, in_axes=(0, 0, None, None))
        pack = jax.vmap(pack)
        state = jax.tree.map(lambda a: jnp.stack([a] * task.copies), state)
    xs, ys = jax.vmap(model.image)(xs), jax.vmap(model.image)(ys)
    optimizer = optax.sgd(task.rate, momentum=task.momentum)
    weights = jax.jit(pack)(weights)
    # Copied, since the first step donates its memory, and a step must be able to start afresh.
    carry = jax.tree.map(jnp.copy, (weights, state, optimizer.init(weights), jax.random.key(0)))

    def step(carry: Any, batch: Any) -> Any:
        weights, state, opt_state, key = carry
        x, y = batch
        key, now = jax.random.split(key)

        def loss(weights: Any) -> Any:
            out, new = apply(weights, state, x, now)
            if task.copies:
                return jax.vmap(loss_of, in_axes=(0, None))(out, y).sum(), new
            return loss_of(out, y), new

        (value, state), grads = jax.value_and_grad(loss, has_aux=True)(weights)
        updates, opt_state = optimizer.update(grads, opt_state, weights)
        return (optax.apply_updates(weights, updates), state, opt_state, key), value

    if task.place == "epoch":

        def epoch(carry: Any, batches: Any) -> Any:
            return lax.scan(step, carry, batches)

        program, batch = epoch, (xs, ys)
    else:
        program, batch = step, (xs[0], ys[0])
    compiled, text = prepared(program, carry, batch, options=options, tuned=tuned, donate=(0,))

    def start() -> Any:
        nonlocal carry
        carry, losses = compiled(carry, batch)
        return losses

    def wait(losses: Any) -> None:
        # The losses alone would not do: the update of the weights may still be running.
        jax.block_until_ready((carry, losses))

    call = timing.calling(start, wait, ahead=None)  # a step writes into the memory of the one before
    return Program(
        call,
        lambda losses: [np.atleast_1d(np.asarray(losses, np.float64))],
        lambda: without_names(text()),
    )
