"""Training with optax: one step, a whole run, and scores."""

from jaxnn.training.evaluate import accuracy, evaluate
from jaxnn.training.fit import Fit, fit
from jaxnn.training.step import TrainState, init_state, make_step

__all__ = ["Fit", "TrainState", "accuracy", "evaluate", "fit", "init_state", "make_step"]
