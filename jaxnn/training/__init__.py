"""Training with optax: one step, a whole run, and scores."""

from jaxnn.exports import public
from jaxnn.training.average import average_of as average_of
from jaxnn.training.average import averaged as averaged
from jaxnn.training.best import Best as Best
from jaxnn.training.callbacks import CSV as CSV
from jaxnn.training.callbacks import JSONLines as JSONLines
from jaxnn.training.callbacks import TensorBoard as TensorBoard
from jaxnn.training.checkpoints import Checkpoints as Checkpoints
from jaxnn.training.evaluate import accuracy as accuracy
from jaxnn.training.evaluate import evaluate as evaluate
from jaxnn.training.fit import fit as fit
from jaxnn.training.loss_scale import scale_of as scale_of
from jaxnn.training.loss_scale import scaled_loss as scaled_loss
from jaxnn.training.paths import labels as labels
from jaxnn.training.paths import mask as mask
from jaxnn.training.per_step import per_step as per_step
from jaxnn.training.prefetch import prefetch as prefetch
from jaxnn.training.run import Fit as Fit
from jaxnn.training.score import with_inputs as with_inputs
from jaxnn.training.step import TrainState as TrainState
from jaxnn.training.step import init_state as init_state
from jaxnn.training.step import make_step as make_step

__all__ = public(globals())
