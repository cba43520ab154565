"""What a run does, in numbers that all contenders share.

The method is that of Keller Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024 (arXiv
2404.00498). A frozen convolution whitens patches of 2×2 pixels; three blocks of convolution, max pool, norm,
GELU, convolution, norm, GELU follow, whose kernels begin as the identity; the logits are scaled down.
Training is SGD with Nesterov's momentum on smoothed labels, with Lookahead and a rate that rises and falls in
straight lines. Images are shifted by up to two pixels, and each is mirrored in every second epoch.
"""

from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import numpy as np

CLASSES, SIDE = 10, 32
#: Of the channels of CIFAR-10's training images, as shares of 255.
MEAN = np.array((0.4914, 0.4822, 0.4465), np.float32)
DEVIATION = np.array((0.2470, 0.2435, 0.2616), np.float32)
#: Of patches: their side, the first images that they are taken from, and what is added to their variances.
PATCH, WHITENED, EPSILON = 2, 5000, 5e-4
LOGITS = 1 / 9  #: what the logits are multiplied by
STATISTICS = 0.6  #: the weight of the old running statistics
NORM_EPSILON = 1e-12
#: The learning rate over its peak: at the start, after this share of the steps, at the end.
RISE, START, END = 0.23, 0.2, 0.07
#: Lookahead: every so many steps; how much of the slow weights is kept in the end.
EVERY, KEPT = 5, 0.95**5
#: By the number of views of a test image: (rows, columns) by which it is shifted, with the weight of each.
CROPS = {
    1: (((0, 0), 1.0),),
    2: (((0, 0), 1.0),),
    6: (((0, 0), 0.5), ((1, 1), 0.25), ((-1, -1), 0.25)),
}


class Images(NamedTuple):
    """uint8, (N, 32, 32, 3), and classes, int32, (N,); of training and of the test."""

    x: np.ndarray
    y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


@dataclass(frozen=True)
class Recipe:
    """The settings of a run.

    Learning rate and weight decay are independent of each other, of the momentum and of the batch: they are
    those of 1,024 examples.

    Attributes:
      batch: examples per step; the last ones of an epoch, which don't fill a batch, are left out.
      epochs: of training.
      widths: channels of the three blocks.
      dtype: to compute in; the weights are float32.
      views: of a test image: 1; 2 with its mirror image; 6 with two shifted ones too.
      rate, momentum, decay: of SGD.
      gain: of the learning rate of the norms' biases.
      smoothing: of the labels.
      shift_epochs: for how long the biases of the whitened patches are trained.
      translate: pixels by which images are shifted at most.
      mirror: whether images are mirrored.
    """

    batch: int = 1024
    epochs: float = 9.9
    widths: tuple[int, int, int] = (64, 256, 256)
    dtype: str = "float32"
    views: int = 6
    rate: float = 11.5
    momentum: float = 0.85
    decay: float = 0.0153
    gain: float = 64.0
    smoothing: float = 0.2
    shift_epochs: float = 3.0
    translate: int = 2
    mirror: bool = True

    @property
    def title(self) -> str:
        return f"CIFAR-10 speedrun, widths {'-'.join(map(str, self.widths))}, batch {self.batch}"

    @property
    def share(self) -> float:
        """What is left of rate and decay for a step, with momentum, on the mean loss of a batch."""
        return self.batch / 1024 / (1 + 1 / (1 - self.momentum))

    def peak(self, kind: str) -> float:
        """The largest learning rate of weights of a kind: kernel, bias (of a norm) or shift."""
        return self.rate * self.share * (self.gain if kind == "bias" else 1)

    def pull(self, kind: str) -> float:
        """The weights times this are added to the gradient, so that all kinds decay at the same rate."""
        return self.decay * self.share / self.peak(kind)

    def fixed_from(self, examples: int) -> int:
        """The step from which on the biases of the whitened patches are fixed."""
        return ceil(self.shift_epochs * self.steps_of_epoch(examples))

    def steps_of_epoch(self, examples: int) -> int:
        return examples // self.batch

    def steps(self, examples: int) -> int:
        """Of a run."""
        return ceil(self.epochs * self.steps_of_epoch(examples))

    def triangle(self, examples: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Steps, and the learning rate over its peak at each; straight lines between them."""
        steps = self.steps(examples)
        return (0, RISE * steps, steps), (START, 1, END)
