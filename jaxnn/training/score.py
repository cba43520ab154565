"""The results of losses and metrics, checked and averaged over the examples that count."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.combinators.location import describe
from jaxnn.kernels.dtypes import accumulator
from jaxnn.ops import checks
from jaxnn.training.per_step import Steps

Loss = Callable[..., Any]  #: loss(prediction, target) -> one value per example, or a scalar
Metrics = Mapping[str, Loss]
Scores = dict[str, jax.Array]
Shape = tuple[int, ...]

#: Before the name of a function of steps, in scores: how many steps its mean is taken over.
STEPS = "steps of "


@dataclass(frozen=True)
class with_inputs:  # in lower case, since it is used like a function
    """A loss or metric that sees the inputs of the net too: ``function(prediction, target, inputs)``.

    Everywhere that takes a loss or a metric, ``with_inputs(function)`` may be passed; ``inputs`` is the batch
    that the net was given. A net of several outputs needs none of this: ``prediction`` is whatever the net
    returns, and ``target``, which may be None or a pytree (labels and their weights, say), whatever the data
    hold.

    Args:
      function: returns one value per example or a scalar, like any loss.

    Raises:
      TypeError: not a function.

    An autoencoder's error, without a second copy of its inputs as targets:

    >>> import jax, jax.numpy as jnp, jaxnn as nn, optax
    >>> error = nn.training.with_inputs(lambda prediction, target, x: optax.squared_error(prediction, x))
    >>> x = jnp.eye(4)
    >>> params, history = nn.fit(nn.serial(nn.dense(2), nn.dense(4)), optax.sgd(0.1), error, (x, None),
    ...                          key=jax.random.key(0), epochs=3, batch_size=4, progress=False)
    >>> len(history["loss"])
    3
    """

    function: Callable[[Any, Any, Any], Any]

    def __post_init__(self) -> None:
        checks.function(
            "with_inputs", "function", self.function, "a function of (prediction, target, inputs)"
        )

    def __call__(self, prediction: Any, target: Any, inputs: Any) -> Any:
        return self.function(prediction, target, inputs)


def score(
    functions: Metrics,
    prediction: Any,
    target: Any,
    mask: Any = None,
    *,
    inputs: Any = None,
    objective: str | None = None,
    counted: bool = False,
) -> Scores:
    """The mean of each function of ``(prediction, target)`` over the rows that ``mask`` counts.

    The mean over no rows is 0. The checks run when a step is traced: they cost nothing when it runs.

    Args:
      functions: by name; each gives one value per example or a scalar.
      prediction: the output of a net for a batch.
      target: what the prediction is compared with.
      mask: booleans (N,), or None where all rows count.
      inputs: what the net was given, for functions that see it.
      objective: the name of the function that is to be minimised, which must have a gradient.
      counted: whether the numbers of steps of functions that are ``per_step`` are among the scores.
    """
    if mask is not None:
        mask = _checked_mask(mask)
    scores = {}
    for name, function in functions.items():
        seen = (prediction, target, inputs) if isinstance(function, with_inputs) else (prediction, target)
        try:
            found = function(*seen)
        except Exception as error:
            error.add_note(
                f"in {name}, given prediction {describe(prediction)} and target {describe(target)}"
            )
            raise
        if isinstance(found, Steps):
            totals, counts = (_sum(name, rows, mask) for rows in found)
            scores[name] = totals / jnp.where(counts == 0, jnp.ones_like(counts), counts)
            if counted:
                scores[STEPS + name] = counts
        else:
            values = _checked(name, found, prediction, target, name == objective)
            scores[name] = _mean(name, values, mask)
    return scores


def only_means(scores: Scores) -> Scores:
    """The scores without the numbers of steps."""
    return {name: value for name, value in scores.items() if not name.startswith(STEPS)}


def _sum(name: str, rows: jax.Array, mask: jax.Array | None) -> jax.Array:
    _check_rows(name, mask, rows.shape[0])
    return rows.sum() if mask is None else rows.sum(where=mask)


def _mean(name: str, values: jax.Array, mask: jax.Array | None) -> jax.Array:
    floating = jnp.issubdtype(values.dtype, jnp.floating)
    values = values.astype(accumulator(values.dtype) if floating else jnp.float32)
    if values.ndim == 0:
        if mask is not None:
            raise ValueError(
                f"{name}: a function that returns a scalar cannot leave out the rows that fill up the last "
                "batch; return one value per example, (N,), or choose a batch size that divides the data"
            )
        return values
    n = values.shape[0]
    _check_rows(name, mask, n)
    rows = values.mean(axis=tuple(range(1, values.ndim)))
    if mask is None:
        return rows.mean() if n else rows.sum()
    return rows.sum(where=mask) / jnp.maximum(mask.sum(dtype=rows.dtype), 1)


def _check_rows(name: str, mask: jax.Array | None, n: int) -> None:
    if mask is not None and mask.shape != (n,):
        raise ValueError(f"{name}: mask must have one value per example, shape ({n},), got {mask.shape}")


def _checked_mask(mask: Any) -> jax.Array:
    if not isinstance(mask, jax.Array | np.ndarray) or mask.dtype != bool or mask.ndim != 1:
        raise TypeError(f"mask: must be booleans, one per example, shape (N,), got {_described(mask)}")
    return jnp.asarray(mask)


def _checked(name: str, values: Any, prediction: Any, target: Any, minimised: bool) -> jax.Array:
    """The result of a function; raises unless it is a scalar or has the axes of the examples."""
    if not isinstance(values, jax.Array | np.ndarray | np.generic | int | float):
        raise TypeError(f"{name}: must return one array, one value per example, got {_described(values)}")
    values = jnp.asarray(values)
    if jnp.issubdtype(values.dtype, jnp.complexfloating) or (
        minimised and not jnp.issubdtype(values.dtype, jnp.floating)
    ):
        kind = "floating-point values, which have a gradient" if minimised else "real values"
        raise TypeError(f"{name}: must return {kind}, got {values.dtype}")
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(target) if np.ndim(leaf)]
    if values.ndim and shapes and not any(_explains(shape, values.shape) for shape in shapes):
        raise ValueError(
            f"{name}: must return one value per example, (N,) with N = {shapes[0][0]}, or (N, …) with axes "
            f"that the target has, or a scalar, got shape {values.shape} from prediction "
            f"{_described(prediction)} and target {_described(target)}; if the two were broadcast against "
            "each other, give them one shape, "
            "else take the mean over the other axes"
        )
    if 0 in values.shape[1:]:
        raise ValueError(f"{name}: must return at least one value per example, got shape {values.shape}")
    return values


def _explains(target: Shape, values: Shape) -> bool:
    """Whether ``values`` has the batch's axis, and after it axes of the target in their order.

    Trailing axes of size 1 don't matter; three or more axes may be shorter if all are there, as in a loss of
    the inner part of a picture. A prediction (N, 1) minus a target (N,) is (N, N): that is detected, since
    the second N is not an axis of the target, and since broadcasting makes no axis shorter.
    """
    if target[0] != values[0]:
        return False
    if len(values) == len(target) > 2 and all(
        size <= most for size, most in zip(values, target, strict=True)
    ):
        return True
    while len(values) > 1 and values[-1] == 1:
        values = values[:-1]
    axes = iter(target[1:])
    return all(size in axes for size in values[1:])


def _described(tree: Any) -> str:
    """The shape of an array, the leaves of a pytree, or a short form of anything else."""
    if isinstance(tree, jax.Array | np.ndarray):
        return f"{tree.dtype} {tree.shape}"
    leaves = jax.tree.leaves(tree)
    if isinstance(tree, tuple | list | dict):
        return f"a {type(tree).__name__} of {len(leaves)} arrays"
    return f"{tree!r:.80}"
