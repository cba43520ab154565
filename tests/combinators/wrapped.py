"""Layers for the wrappers that act on kernels."""

import jax
import pytest

from jaxnn.combinators import residual, serial
from jaxnn.layers.conv import conv
from jaxnn.layers.dense import dense
from jaxnn.layers.norm import batch_norm
from tests.support import deep

WRAPPED = {
    "dense": (dense(4), (2, 3)),
    "conv": (conv(4, 3), (2, 5, 3)),
    "composite": (serial(conv(4, 3), batch_norm(), jax.nn.relu, residual(dense(4))), (2, 5, 3)),
}
every_layer = pytest.mark.parametrize("name", [deep("dense"), deep("conv"), "composite"])
