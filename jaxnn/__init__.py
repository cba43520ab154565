"""Neural networks as pure functions for JAX.

>>> import jax, jaxnn as nn
>>> net = nn.serial(nn.conv(8, 3), nn.relu, nn.flatten, head=nn.dense(10))
>>> params = net.init(jax.random.key(0), (1, 28, 28, 1))
>>> net.apply(params, jax.numpy.ones((2, 28, 28, 1))).shape
(2, 10)
"""

from jaxnn import checkpoint, data, ops, training
from jaxnn.combinators import *  # noqa: F403
from jaxnn.inspection import summary
from jaxnn.layer import Layer, Params, as_layer, output_shape, stateless
from jaxnn.layers import *  # noqa: F403
from jaxnn.ops.activation import *  # noqa: F403
from jaxnn.training import Fit, TrainState, accuracy, evaluate, fit, init_state, make_step
