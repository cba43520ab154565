"""Checks of the arguments of training functions, before any work is done."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.data import examples_at_a_time, is_array, length
from jaxnn.layer import Layer
from jaxnn.lifting import LayerLike, given_layer
from jaxnn.ops import checks
from jaxnn.ops.checks import refusal
from jaxnn.params import Params
from jaxnn.paths import leaves_by_path
from jaxnn.shapes import Spec, as_spec
from jaxnn.training.best import Best


def layer(owner: str, net: LayerLike) -> Layer:
    """``net`` as a layer; raises unless it is one, or a function."""
    return given_layer(owner, "net", net)


def optimizer(owner: str, value: Any) -> None:
    """Raises unless ``value`` has the two functions of an optax optimiser."""
    if callable(getattr(value, "init", None)) and callable(getattr(value, "update", None)):
        return
    sentence = refusal(owner, "optimizer", "an optax gradient transformation, such as optax.sgd(0.1)", value)
    if callable(value):
        sentence += (
            "; a function that makes one is called first, a schedule goes into one: optax.sgd(schedule)"
        )
    raise TypeError(sentence)


def function(owner: str, name: str, value: Any) -> None:
    """Raises unless ``value`` can be called, as a loss or a metric is."""
    checks.function(owner, name, value, "a function of (prediction, target)")


def hashable(owner: str, name: str, value: Any) -> None:
    """Raises unless ``value`` has a hash, by which its compiled program is found again."""
    try:
        hash(value)
    except TypeError:
        raise TypeError(refusal(owner, name, "hashable, as functions are", value)) from None


def metrics(owner: str, value: Any, taken: Iterable[str] = (), prefix: str | None = None) -> None:
    """Raises unless ``value`` maps names to functions, and all names are free.

    Args:
      owner: the function that they are passed to.
      value: the value passed.
      taken: names that are already in use.
      prefix: a prefix that is reserved for other names.
    """
    if not isinstance(value, Mapping):
        raise TypeError(refusal(owner, "metrics", "a dictionary of functions by name", value))
    for name, metric in value.items():
        if not isinstance(name, str):
            raise TypeError(refusal(owner, "metrics", "named by strings", name))
        if name in taken or (prefix is not None and name.startswith(prefix)):
            names = ", ".join(map(repr, taken)) + (f" or {prefix}…" if prefix else "")
            raise ValueError(refusal(owner, "metrics", f"named otherwise than {names}", name))
        function(owner, f"metrics[{name!r}]", metric)


def pair(owner: str, name: str, value: Any) -> int:
    """How many examples ``value`` holds; raises unless it is ``(inputs, targets)``, arrays of one length."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        came = f"a {type(value).__name__} of {len(value)}" if isinstance(value, tuple | list | dict) else None
        rule = "a pair (inputs, targets)"
        raise TypeError(
            f"{owner}: {name} must be {rule}, got {came}" if came else refusal(owner, name, rule, value)
        )
    if not jax.tree.leaves(value[0]):
        raise TypeError(refusal(owner, f"the inputs of {name}", "arrays", value[0]))
    return length(value, f"{owner}: {name}")


def gives_batches(data: Any, sized: bool = False) -> bool:
    """Whether ``data`` is not a pair of arrays but an iterable of batches, or a function that returns one.

    A list of tuples is a pair of trees where the size of a batch is given (``sized``), else batches.
    """
    if not sized and isinstance(data, list) and all(isinstance(part, tuple | list) for part in data):
        return True
    if isinstance(data, tuple | list | dict | str | bytes | np.ndarray | jax.Array):
        return False
    return isinstance(data, Iterable) or callable(data)


def scored(owner: str, name: str, data: Any, *, again: bool = False) -> None:
    """Raises unless ``data`` are a pair of arrays or give batches: ``again``, after each epoch, if asked."""
    if not gives_batches(data) or not (again or isinstance(data, Iterable)):
        pair(owner, name, data)
    elif again and isinstance(data, Iterator):
        rule = (
            "arrays, or an iterable that can be gone through again after each epoch, or a function of the "
            "epoch that gives one"
        )
        raise TypeError(refusal(owner, name, rule, data))


def batching(
    owner: str, n: int | None, batch_size: Any, steps_per_epoch: Any, accumulate: int
) -> tuple[int | None, int | None]:
    """The batch size, None where the data give batches (n is None), and the steps of an epoch, if known."""
    if n is None:
        if batch_size is not None:
            rule = "left out where data give batches"
            raise ValueError(refusal(owner, "batch_size", rule, batch_size))
        if steps_per_epoch is None:
            return None, None
        return None, checks.integer(owner, "steps_per_epoch", steps_per_epoch, least=1)
    if steps_per_epoch is not None:
        raise ValueError(refusal(owner, "steps_per_epoch", "left out where data are arrays", steps_per_epoch))
    size = examples_at_a_time(owner, batch_size, n)
    if size % accumulate:
        raise ValueError(f"{owner}: accumulate must divide batch_size {size}, got {accumulate}")
    return size, -(-n // size)


def best(owner: str, value: Any, names: Iterable[str]) -> None:
    """Raises unless ``value`` is a ``Best`` of one of the scores called ``names``."""
    if not isinstance(value, Best):
        raise TypeError(refusal(owner, "best", 'a rule, such as nn.training.Best("val_loss")', value))
    if value.score not in names:
        raise ValueError(refusal(owner, "best", f"of one of the scores {', '.join(names)}", value.score))


def decay(owner: str, name: str, value: Any) -> float:
    """``value`` as a float; raises unless it is from 0 to below 1."""
    return checks.number(owner, name, value, least=0, below=1)


def of_layer(owner: str, net: Layer, params: Any, shape: Spec | None = None) -> None:
    """Raises unless ``params`` are ``Params``, not donated and, if a shape is given, those of ``net``."""
    if not isinstance(params, Params):
        raise TypeError(refusal(owner, "params", "Params(weights, state), as init gives", params))
    alive(owner, "params", params)
    if shape is None:
        return
    try:
        expected = jax.eval_shape(net.init, jax.random.key(0), as_spec(shape))
    except jax.errors.ConcretizationTypeError:
        return  # the user's own init, which looks at values: nothing is known before it runs
    wanted, found = leaves_by_path(expected), leaves_by_path(params)
    for path in [*wanted, *found]:
        if path not in found:
            raise ValueError(f"{owner}: params must be those of net, got none called {path}")
        if path not in wanted:
            raise ValueError(f"{owner}: params must be those of net, which has none called {path}")
        leaf = found[path]
        if not is_array(leaf):
            raise TypeError(refusal(owner, "params", f"arrays, in {path} too", leaf))
        if leaf.shape != wanted[path].shape:
            raise ValueError(
                f"{owner}: params must be those of net, where {path} has shape {wanted[path].shape}, "
                f"got shape {leaf.shape}"
            )
        if _is_floating(wanted[path]) and not _is_floating(leaf):
            raise TypeError(f"{owner}: params must be floating-point, got {leaf.dtype} in {path}")


def train_state(owner: str, value: Any) -> None:
    """Raises unless ``value`` has the parts of a ``TrainState`` and was not donated."""
    if not isinstance(getattr(value, "params", None), Params) or not hasattr(value, "opt_state"):
        raise TypeError(refusal(owner, "state", "a TrainState, as init_state gives", value))
    alive(owner, "state", value)


def shape(owner: str, value: Any) -> None:
    """Raises unless ``value`` describes an input, as ``net.init`` takes it."""
    try:
        as_spec(value)
    except (TypeError, ValueError) as error:
        rule = "a tuple of sizes, an array, or a pytree of them"
        raise type(error)(refusal(owner, "shape", rule, value)) from error


def finite(owner: str, params: Params) -> None:
    """Raises if a weight is NaN or infinite, or a state is NaN: training can't remove these."""
    for path, leaf in leaves_by_path(params).items():
        if not _is_floating(leaf) or not _is_here(leaf):
            continue
        values = np.asarray(leaf)
        if np.isnan(values).any() or (path.startswith("weights") and np.isinf(values).any()):
            raise ValueError(f"{owner}: params must hold no NaN and no infinite weight, got some in {path}")


def alive(owner: str, name: str, value: Any) -> None:
    """Raises if an array in ``value`` was donated to a step."""
    if is_deleted(value):
        raise ValueError(
            f"{owner}: {name} must not have been given to a step before, which takes its memory; "
            "go on with the state that the step returned"
        )


def arrays(owner: str, name: str, value: Any) -> None:
    """Raises unless all leaves of ``value`` are arrays or numbers."""
    for leaf in jax.tree.leaves(value):
        if not is_array(leaf) and not isinstance(leaf, int | float | complex):
            raise TypeError(refusal(owner, name, "an array or a pytree of arrays", leaf))


def batch(owner: str, name: str, value: Any) -> None:
    """Raises unless ``value`` is an array or a pytree of arrays, none of them empty."""
    arrays(owner, name, value)
    leaves = jax.tree.leaves(value)
    if not leaves or any(np.shape(leaf)[:1] == (0,) for leaf in leaves):
        raise ValueError(f"{owner}: {name} must hold at least one example, got none")


def is_deleted(tree: Any) -> bool:
    """Whether an array in ``tree`` was donated."""
    leaves = (leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array))
    return any(not isinstance(leaf, jax.core.Tracer) and leaf.is_deleted() for leaf in leaves)


def _is_floating(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def _is_here(leaf: Any) -> bool:
    return not isinstance(leaf, jax.Array) or leaf.is_fully_addressable
