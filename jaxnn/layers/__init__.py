"""Layers: init and an op each."""

from jaxnn.layers.conv import conv, depthwise_conv, separable_conv
from jaxnn.layers.dense import dense
from jaxnn.layers.dropout import dropout, spatial_dropout
from jaxnn.layers.norm import batch_norm
from jaxnn.layers.pool import *
from jaxnn.layers.reshaping import flatten, reshape
