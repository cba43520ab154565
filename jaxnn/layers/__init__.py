"""Layers: each an initialiser and an op. Layers without settings are plain functions of one array."""

from jaxnn.exports import public
from jaxnn.layers.activation import prelu as prelu
from jaxnn.layers.attention import multi_head_attention as multi_head_attention
from jaxnn.layers.attention_pool import attention_pool as attention_pool
from jaxnn.layers.conv import conv as conv
from jaxnn.layers.conv import depthwise_conv as depthwise_conv
from jaxnn.layers.conv_lstm import conv_lstm as conv_lstm
from jaxnn.layers.conv_transpose import conv_transpose as conv_transpose
from jaxnn.layers.dense import dense as dense
from jaxnn.layers.dropout import drop_path as drop_path
from jaxnn.layers.dropout import dropout as dropout
from jaxnn.layers.dropout import spatial_dropout as spatial_dropout
from jaxnn.layers.embedding import attend as attend
from jaxnn.layers.embedding import embedding as embedding
from jaxnn.layers.norm import batch_norm as batch_norm
from jaxnn.layers.norm import group_norm as group_norm
from jaxnn.layers.norm import instance_norm as instance_norm
from jaxnn.layers.norm import layer_norm as layer_norm
from jaxnn.layers.norm import rms_norm as rms_norm
from jaxnn.layers.pool import adaptive_avg_pool as adaptive_avg_pool
from jaxnn.layers.pool import adaptive_max_pool as adaptive_max_pool
from jaxnn.layers.pool import avg_pool as avg_pool
from jaxnn.layers.pool import global_avg_pool as global_avg_pool
from jaxnn.layers.pool import global_max_pool as global_max_pool
from jaxnn.layers.pool import lp_pool as lp_pool
from jaxnn.layers.pool import max_pool as max_pool
from jaxnn.layers.pool import min_pool as min_pool
from jaxnn.layers.positions import position_embedding as position_embedding
from jaxnn.layers.positions import sinusoidal_positions as sinusoidal_positions
from jaxnn.layers.recurrent import gru as gru
from jaxnn.layers.recurrent import lstm as lstm
from jaxnn.layers.recurrent import rnn as rnn
from jaxnn.layers.reshaping import flatten as flatten
from jaxnn.layers.reshaping import pad as pad
from jaxnn.layers.reshaping import reshape as reshape
from jaxnn.layers.resize import pixel_shuffle as pixel_shuffle
from jaxnn.layers.resize import pixel_unshuffle as pixel_unshuffle
from jaxnn.layers.resize import resize as resize
from jaxnn.layers.resize import upsample as upsample
from jaxnn.layers.standardize import standardize as standardize

__all__ = public(globals())
