"""Training with optax: one step, a whole run, and scores."""

from jaxnn.training.average import average_of, averaged
from jaxnn.training.evaluate import accuracy, evaluate
from jaxnn.training.fit import Fit, fit
from jaxnn.training.loss_scale import scale_of, scaled_loss
from jaxnn.training.paths import labels, mask
from jaxnn.training.score import with_inputs
from jaxnn.training.step import TrainState, init_state, make_step

__all__ = [
    "Fit",
    "TrainState",
    "accuracy",
    "average_of",
    "averaged",
    "evaluate",
    "fit",
    "init_state",
    "labels",
    "make_step",
    "mask",
    "scale_of",
    "scaled_loss",
    "with_inputs",
]
