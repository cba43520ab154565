"""Where a value that is not finite comes from: which layer, and whether in its values or in its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.layer import Layer
from jaxnn.params import Params
from jaxnn.training.batch import Batch
from jaxnn.training.epoch import NotFinite
from jaxnn.training.score import Loss, score
from jaxnn.training.step import TrainState


class Before(NamedTuple):
    """What a step starts from, kept since the step takes the state."""

    params: Params
    key: jax.Array


def kept(state: TrainState) -> Before:
    """A copy of what a step starts from."""
    key = jax.random.fold_in(state.key, state.step)
    return Before(jax.tree.map(jnp.copy, state.params), key)


def located(
    error: NotFinite,
    before: Before,
    batch: Batch,
    *,
    net: Layer,
    loss: Loss,
    whole: Callable[[Any], Any] | None = None,
) -> NotFinite:
    """The error with what ``diagnose`` says of the step: the first layer that isn't finite, and where.

    ``whole`` makes whole arrays of those that are split over devices.
    """
    from jaxnn.inspection import diagnose  # here, since inspection stands on training

    def mean(prediction: Any, target: Any) -> jax.Array:
        return score({"loss": loss}, prediction, target, batch.mask, inputs=batch.x)["loss"]

    if whole is not None:
        before, batch = whole((before, batch))
    report = diagnose(net, before.params, batch.x, batch.y, mean, key=before.key)
    found = next((sentence for sentence in report.warnings if "not finite" in sentence), None)
    found = found or next((s for s in report.warnings if s.startswith("The loss is")), None)
    if found is None:
        found = "All values and gradients of this step are finite: it is the optimiser's update that is not."
    return error.because(found)
