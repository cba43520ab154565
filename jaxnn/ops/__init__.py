"""Pure functions on arrays: no params, no keys, no layers. For the layers of jaxnn or of any library.

Channels last, any number of spatial axes: ``x: (N, *space, C)``. Each function has one meaning; how it
is computed may differ by platform and shape.
"""

from jaxnn.ops.activation import (
    arctan,
    celu,
    elu,
    gelu,
    glu,
    hard_shrink,
    hard_sigmoid,
    hard_silu,
    hard_tanh,
    leaky_relu,
    linear,
    log_sigmoid,
    log_softmax,
    maxout,
    mish,
    prelu,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    soft_shrink,
    soft_sign,
    softmax,
    softmin,
    softplus,
    sparsemax,
    step,
    tanh,
    tanh_shrink,
    threshold,
)
from jaxnn.ops.adaptive_pool import adaptive_avg_pool, adaptive_max_pool
from jaxnn.ops.conv import conv
from jaxnn.ops.conv_general import conv_general_dilated
from jaxnn.ops.conv_transpose import conv_transpose
from jaxnn.ops.dense import dense
from jaxnn.ops.global_pool import global_avg_pool, global_max_pool
from jaxnn.ops.lp_pool import lp_pool
from jaxnn.ops.norm import batch_norm, batch_norm_train, group_norm, instance_norm, layer_norm, rms_norm
from jaxnn.ops.pixel_shuffle import pixel_shuffle, pixel_unshuffle
from jaxnn.ops.pool import avg_pool, max_pool, min_pool
from jaxnn.ops.recurrent import gru, gru_step, lstm, lstm_step, rnn, rnn_step
from jaxnn.ops.resize import resize, upsample
from jaxnn.ops.sequences import reverse_sequences
from jaxnn.ops.standardize import feature_statistics, standardize
from jaxnn.ops.unpool import max_pool_with_indices, max_unpool

__all__ = [
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "arctan",
    "avg_pool",
    "batch_norm",
    "batch_norm_train",
    "celu",
    "conv",
    "conv_general_dilated",
    "conv_transpose",
    "dense",
    "elu",
    "feature_statistics",
    "gelu",
    "global_avg_pool",
    "global_max_pool",
    "glu",
    "group_norm",
    "gru",
    "gru_step",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "instance_norm",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "lp_pool",
    "lstm",
    "lstm_step",
    "max_pool",
    "max_pool_with_indices",
    "max_unpool",
    "maxout",
    "min_pool",
    "mish",
    "pixel_shuffle",
    "pixel_unshuffle",
    "prelu",
    "relu",
    "relu6",
    "resize",
    "reverse_sequences",
    "rms_norm",
    "rnn",
    "rnn_step",
    "selu",
    "sigmoid",
    "silu",
    "soft_shrink",
    "soft_sign",
    "softmax",
    "softmin",
    "softplus",
    "sparsemax",
    "standardize",
    "step",
    "tanh",
    "tanh_shrink",
    "threshold",
    "upsample",
]
