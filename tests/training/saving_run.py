"""A run that saves at every step, to be killed: ``python -m tests.training.saving_run FOLDER STEPS``."""

import sys

import jax
import numpy as np
import optax

import jaxnn as nn

X = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
Y = X.sum(axis=1, keepdims=True)


def run(steps, checkpoint=None, **settings):
    net = nn.serial(nn.dense(4), nn.dropout(0.1), nn.dense(1))
    return nn.fit(
        net, optax.sgd(0.01, momentum=0.9), optax.squared_error, (X, Y), key=jax.random.key(0),
        epochs=steps // 5, batch_size=4, progress=False, checkpoint=checkpoint, **settings,
    )  # fmt: skip


if __name__ == "__main__":
    folder, steps = sys.argv[1:]
    # A block at a time would save the run a few times only.
    run(int(steps), nn.training.Checkpoints(folder, every=1), on_device=False)
