"""Small nets, a batch for each, and one training step: on one device, and by a rule over several."""

from functools import cache

import jax
import numpy as np
import optax

import jaxnn as nn
from tests.support import rng_array

ROWS, CLASSES = 16, 8
LOSS = optax.softmax_cross_entropy_with_integer_labels
OPTIMIZER = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1, momentum=0.9))

#: By name, a net and the shape of an example.
NETS = {
    "plain": (nn.serial(nn.dense(16), nn.tanh, head=nn.dense(CLASSES)), (16,)),
    "batch norm": (
        nn.serial(nn.conv(8, 3), nn.batch_norm(), nn.relu, nn.flatten, head=nn.dense(CLASSES)),
        (4, 4, 3),
    ),
    "dropout": (nn.serial(nn.dense(16), nn.dropout(0.5), head=nn.dense(CLASSES)), (16,)),
    "recurrent": (nn.serial(nn.lstm(8), nn.flatten, head=nn.dense(CLASSES)), (3, 4)),
    "grouped": (nn.serial(nn.conv(16, 3, groups=4), nn.relu, nn.flatten, head=nn.dense(CLASSES)), (4, 4, 8)),
}


def batch_of(name, rows=ROWS):
    _, shape = NETS[name]
    return rng_array(rows, *shape), (np.arange(rows) % CLASSES).astype(np.int32)


def fresh(name, sharding=None):
    """The state before the first step, and the step."""
    net, shape = NETS[name]
    state = nn.init_state(net, OPTIMIZER, jax.random.key(0), (1, *shape), sharding=sharding)
    return state, nn.make_step(net, OPTIMIZER, LOSS, sharding=sharding)


def compiled(step, state, x, y):
    """The step's program, compiled in two thirds of the time."""
    return step.lower(state, x, y).compile(compiler_options={"xla_backend_optimization_level": 0})


@cache
def on_one_device(name):
    """The state and the scores after two steps."""
    state, step = fresh(name)
    x, y = batch_of(name)
    program = compiled(step, state, x, y)
    for _ in range(2):
        state, scores = program(state, x, y)
    return jax.device_get((state.params, state.opt_state, scores))
