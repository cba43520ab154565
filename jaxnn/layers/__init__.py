"""Layers: each an initialiser and an op. Layers without settings are plain functions of one array."""

from jaxnn.layers.activation import maxout, prelu
from jaxnn.layers.conv import conv, depthwise_conv, separable_conv
from jaxnn.layers.conv_transpose import conv_transpose
from jaxnn.layers.dense import dense
from jaxnn.layers.dropout import dropout, spatial_dropout
from jaxnn.layers.embedding import attend, embedding
from jaxnn.layers.norm import batch_norm, group_norm, instance_norm, layer_norm, rms_norm
from jaxnn.layers.pool import (
    adaptive_avg_pool,
    adaptive_max_pool,
    avg_pool,
    global_avg_pool,
    global_max_pool,
    lp_pool,
    max_pool,
    min_pool,
)
from jaxnn.layers.recurrent import gru, lstm, rnn
from jaxnn.layers.reparametrised import spectral_norm, weight_norm
from jaxnn.layers.reshaping import flatten, pad, reshape
from jaxnn.layers.resize import pixel_shuffle, pixel_unshuffle, resize, upsample
from jaxnn.layers.standardize import standardize

__all__ = [
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "attend",
    "avg_pool",
    "batch_norm",
    "conv",
    "conv_transpose",
    "dense",
    "depthwise_conv",
    "dropout",
    "embedding",
    "flatten",
    "global_avg_pool",
    "global_max_pool",
    "group_norm",
    "gru",
    "instance_norm",
    "layer_norm",
    "lp_pool",
    "lstm",
    "max_pool",
    "maxout",
    "min_pool",
    "pad",
    "pixel_shuffle",
    "pixel_unshuffle",
    "prelu",
    "reshape",
    "resize",
    "rms_norm",
    "rnn",
    "separable_conv",
    "spatial_dropout",
    "spectral_norm",
    "standardize",
    "upsample",
    "weight_norm",
]
