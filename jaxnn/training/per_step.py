"""Losses and metrics of sequences: one value per step, of which only the real ones count."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.kernels.dtypes import accumulator
from jaxnn.ops import checks
from jaxnn.ops.sequences import checked_lengths, real_steps
from jaxnn.sequences import are_lengths, with_lengths

OWNER = "per_step"


class Steps(NamedTuple):
    """What a function gives per sequence.

    Attributes:
      totals: the sum of the values of its steps, each times its weight, (N,).
      counts: the sum of the weights, (N,).
    """

    totals: jax.Array
    counts: jax.Array


@dataclass(frozen=True)
class per_step:  # in lower case, since it is used like a function
    """A loss or metric of sequences, ``function(prediction, target)``, of which only real steps count.

    Everywhere that takes a loss or a metric, ``per_step(function)`` may be passed. The mean is over all real
    steps of a batch, so that each counts the same in sequences of any length: Σ w·value / Σ w. So it is where
    a batch goes through the net in pieces (``accumulate=``), and over all batches in ``evaluate`` and in the
    history of ``fit``. What stands past an end has no influence, labels that are none included.

    Which steps are real follows from the prediction, ``(y, lengths)`` as a net over sequences gives it, or
    from the target, ``(labels, lengths)`` or ``(labels, weights)`` with weights (N, T), booleans or numbers;
    from both, if both say so. ``function`` gets y and the labels alone.

    Args:
      function: gives one value per step, (N, T), or (N, T, …), whose mean is taken over the other axes.

    Raises:
      TypeError: not a function.
      ValueError: values that are not (N, T, …), or lengths or weights that do not fit them.

    >>> import jax.numpy as jnp, jaxnn as nn, optax
    >>> loss = nn.training.per_step(optax.softmax_cross_entropy_with_integer_labels)
    >>> logits, labels = jnp.zeros((2, 3, 4)), jnp.array([[1, 2, 3], [0, -1, -1]])
    >>> totals, counts = loss((logits, jnp.array([3, 1])), labels)
    >>> print(counts, (totals / counts).round(3))
    [3. 1.] [1.386 1.386]
    """

    function: Callable[..., Any]

    def __post_init__(self) -> None:
        checks.function(OWNER, "function", self.function, "a function of (prediction, target)")

    def __call__(self, prediction: Any, target: Any, *others: Any) -> Steps:
        weights = []
        if (given := with_lengths(prediction)) is not None:
            prediction = given.x
            if given.lengths is not None:
                weights.append(_weights("the prediction's lengths", given.lengths, prediction))
        if isinstance(target, tuple) and len(target) == 2:
            target, own = target
            name = "the target's lengths" if are_lengths(own) else "the target's weights"
            weights.append(_weights(name, own, target))
        for own in weights:
            # Labels past an end may be none: 0 is one, and its value doesn't count.
            target = jax.tree.map(lambda leaf, own=own: _kept(leaf, own), target)
        values = self.function(prediction, target, *others)
        shapes = [jnp.shape(leaf)[:2] for leaf in jax.tree.leaves((prediction, target))]
        if not isinstance(values, jax.Array) or values.ndim < 2 or values.shape[:2] not in shapes:
            raise ValueError(
                f"{OWNER}: function must return one value per step, (N, T) = {shapes[0] if shapes else ()}, "
                f"got {checks.described(values)}"
            )
        floating = jnp.issubdtype(values.dtype, jnp.floating)
        values = values.astype(accumulator(values.dtype) if floating else jnp.float32)
        values = values.mean(tuple(range(2, values.ndim)))
        share = jnp.ones_like(values)
        for own in weights:
            share = share * own.astype(values.dtype)
        totals = jnp.where(share != 0, share * values, jnp.zeros_like(values)).sum(1)
        return Steps(totals, share.sum(1))


def _weights(name: str, given: Any, like: Any) -> jax.Array:
    """How much each step counts, (N, T)."""
    leaf = next((leaf for leaf in jax.tree.leaves(like) if jnp.ndim(leaf) >= 2), None)
    if leaf is None:
        raise ValueError(f"{OWNER}: {name} must come with steps, (N, T, …), got {checks.described(like)}")
    array = jnp.asarray(leaf)
    if are_lengths(given):
        steps = array.reshape(*array.shape[:2], -1)[..., :1]
        return real_steps(checked_lengths(OWNER, given, array, name), steps)[..., 0]
    weights = checks.array(OWNER, given, name)
    if weights.shape != array.shape[:2]:
        raise ValueError(
            f"{OWNER}: {name} must be (N, T) = {array.shape[:2]}, or lengths (N,), got shape {weights.shape}"
        )
    return weights


def _kept(leaf: Any, weights: jax.Array) -> jax.Array:
    array = jnp.asarray(leaf)
    if array.shape[:2] != weights.shape:
        return array
    return jnp.where(
        jnp.expand_dims(weights.astype(jnp.bool_), tuple(range(2, array.ndim))), array, jnp.zeros_like(array)
    )
