"""Pure functions on arrays: no params, no keys, no layers. For the layers of jaxnn or of any library.

Channels last, any number of spatial axes: ``x: (N, *space, C)``. Each function has one meaning; how it
is computed may differ by platform and shape.
"""

from jax.nn import celu as celu
from jax.nn import elu as elu
from jax.nn import glu as glu
from jax.nn import hard_sigmoid as hard_sigmoid
from jax.nn import hard_tanh as hard_tanh
from jax.nn import leaky_relu as leaky_relu
from jax.nn import log_sigmoid as log_sigmoid
from jax.nn import log_softmax as log_softmax
from jax.nn import relu as relu
from jax.nn import relu6 as relu6
from jax.nn import selu as selu
from jax.nn import sigmoid as sigmoid
from jax.nn import softplus as softplus
from jax.nn import tanh as tanh

from jaxnn.exports import public
from jaxnn.ops.activation import arctan as arctan
from jaxnn.ops.activation import hard_shrink as hard_shrink
from jaxnn.ops.activation import linear as linear
from jaxnn.ops.activation import prelu as prelu
from jaxnn.ops.activation import soft_shrink as soft_shrink
from jaxnn.ops.activation import soft_sign as soft_sign
from jaxnn.ops.activation import step as step
from jaxnn.ops.activation import tanh_shrink as tanh_shrink
from jaxnn.ops.activation import threshold as threshold
from jaxnn.ops.adaptive_pool import adaptive_avg_pool as adaptive_avg_pool
from jaxnn.ops.adaptive_pool import adaptive_max_pool as adaptive_max_pool
from jaxnn.ops.attention import attention as attention
from jaxnn.ops.attention_pool import attention_pool as attention_pool
from jaxnn.ops.conv import conv as conv
from jaxnn.ops.conv_general import conv_general_dilated as conv_general_dilated
from jaxnn.ops.conv_lstm import conv_lstm as conv_lstm
from jaxnn.ops.conv_lstm import conv_lstm_step as conv_lstm_step
from jaxnn.ops.conv_transpose import conv_transpose as conv_transpose
from jaxnn.ops.dense import dense as dense
from jaxnn.ops.gated import gelu as gelu
from jaxnn.ops.gated import hard_silu as hard_silu
from jaxnn.ops.gated import mish as mish
from jaxnn.ops.gated import silu as silu
from jaxnn.ops.global_pool import global_avg_pool as global_avg_pool
from jaxnn.ops.global_pool import global_max_pool as global_max_pool
from jaxnn.ops.lp_pool import lp_pool as lp_pool
from jaxnn.ops.maxout import maxout as maxout
from jaxnn.ops.norm import batch_norm as batch_norm
from jaxnn.ops.norm import batch_norm_train as batch_norm_train
from jaxnn.ops.norm import group_norm as group_norm
from jaxnn.ops.norm import instance_norm as instance_norm
from jaxnn.ops.norm import layer_norm as layer_norm
from jaxnn.ops.norm import rms_norm as rms_norm
from jaxnn.ops.pixel_shuffle import pixel_shuffle as pixel_shuffle
from jaxnn.ops.pixel_shuffle import pixel_unshuffle as pixel_unshuffle
from jaxnn.ops.pool import avg_pool as avg_pool
from jaxnn.ops.pool import max_pool as max_pool
from jaxnn.ops.pool import min_pool as min_pool
from jaxnn.ops.positions import alibi_bias as alibi_bias
from jaxnn.ops.positions import rotary as rotary
from jaxnn.ops.positions import rotary_layout as rotary_layout
from jaxnn.ops.positions import sinusoidal_positions as sinusoidal_positions
from jaxnn.ops.recurrent import gru as gru
from jaxnn.ops.recurrent import gru_step as gru_step
from jaxnn.ops.recurrent import lstm as lstm
from jaxnn.ops.recurrent import lstm_step as lstm_step
from jaxnn.ops.recurrent import rnn as rnn
from jaxnn.ops.recurrent import rnn_step as rnn_step
from jaxnn.ops.resize import resize as resize
from jaxnn.ops.resize import upsample as upsample
from jaxnn.ops.sequences import reverse_sequences as reverse_sequences
from jaxnn.ops.softmax import softmax as softmax
from jaxnn.ops.softmax import softmin as softmin
from jaxnn.ops.softmax import sparsemax as sparsemax
from jaxnn.ops.standardize import feature_statistics as feature_statistics
from jaxnn.ops.standardize import standardize as standardize
from jaxnn.ops.unpool import max_pool_with_indices as max_pool_with_indices
from jaxnn.ops.unpool import max_unpool as max_unpool

__all__ = public(globals())
