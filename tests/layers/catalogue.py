"""Every layer once or more, with an input to try it on. A new layer is one more entry."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import jaxnn as nn
from tests.support import deep

IMAGE = (2, 6, 5, 4)
ROW = (2, 6)
SEQUENCE = (2, 5, 3)
HEADS = (2, 5, 4)


@dataclass(frozen=True)
class Entry:
    """A layer and the shape of its input.

    Attributes:
      name: of the test.
      make: builds the layer.
      shape: of the input, batch axis first.
      integers: the bound of the input's integers, for a layer that takes ids; 0 for floats.
      keeps_integers: integers keep their dtype; other layers refuse them.
    """

    name: str
    make: Callable[[], nn.Layer | Callable[[Any], Any]]
    shape: tuple[int, ...]
    integers: int = 0
    keeps_integers: bool = False


ENTRIES = [
    Entry("dense", lambda: nn.dense(3), ROW),
    Entry("dense-no-bias", lambda: nn.dense(3, bias=False), ROW),
    Entry("conv-1d", lambda: nn.conv(3, 3, padding="CAUSAL"), SEQUENCE),
    Entry("conv-2d", lambda: nn.conv(3, 3, strides=2, padding="SAME"), IMAGE),
    Entry("conv-3d", lambda: nn.conv(2, 2), (2, 3, 4, 3, 2)),
    Entry("conv-grouped-dilated", lambda: nn.conv(4, (3, 2), dilation=2, groups=2, padding=2), IMAGE),
    Entry("depthwise_conv", lambda: nn.depthwise_conv(3, multiplier=2), IMAGE),
    Entry("separable_conv", lambda: nn.separable_conv(5, 3, padding="REFLECT"), IMAGE),
    Entry("conv_transpose", lambda: nn.conv_transpose(3, 3, strides=2, padding="SAME"), IMAGE),
    Entry("max_pool", lambda: nn.max_pool(2), IMAGE, keeps_integers=True),
    Entry("max_pool-overlapping", lambda: nn.max_pool(3, strides=2, padding=1), IMAGE, keeps_integers=True),
    Entry("min_pool", lambda: nn.min_pool(2), IMAGE, keeps_integers=True),
    Entry("avg_pool", lambda: nn.avg_pool(2, padding="SAME"), IMAGE),
    Entry("lp_pool", lambda: nn.lp_pool(2, p=2), IMAGE),
    Entry("global_max_pool", lambda: nn.global_max_pool, IMAGE, keeps_integers=True),
    Entry("global_avg_pool", lambda: nn.global_avg_pool, IMAGE),
    Entry("attention_pool", lambda: nn.attention_pool(heads=2, kernel_init=jax.nn.initializers.ones), IMAGE),
    Entry("each_step", lambda: nn.each_step(nn.dense(3)), SEQUENCE),
    Entry("adaptive_avg_pool", lambda: nn.adaptive_avg_pool((3, 2)), IMAGE),
    Entry("adaptive_max_pool", lambda: nn.adaptive_max_pool(2), IMAGE, keeps_integers=True),
    Entry("upsample-nearest", lambda: nn.upsample(2), IMAGE, keeps_integers=True),
    Entry("upsample-linear", lambda: nn.upsample(2, method="linear"), IMAGE),
    Entry("resize-cubic", lambda: nn.resize((7, 3), method="cubic"), IMAGE),
    Entry("pixel_shuffle", lambda: nn.pixel_shuffle(2), IMAGE, keeps_integers=True),
    Entry("pixel_unshuffle", lambda: nn.pixel_unshuffle((2, 1)), IMAGE, keeps_integers=True),
    Entry("batch_norm", lambda: nn.batch_norm(), IMAGE),
    Entry("batch_norm-rows", lambda: nn.batch_norm(), ROW),
    Entry("layer_norm", lambda: nn.layer_norm(), ROW),
    Entry("rms_norm", lambda: nn.rms_norm(), ROW),
    Entry("group_norm", lambda: nn.group_norm(2), IMAGE),
    Entry("instance_norm", lambda: nn.instance_norm(), IMAGE),
    Entry("dropout", lambda: nn.dropout(0.3), ROW),
    Entry("spatial_dropout", lambda: nn.spatial_dropout(0.3), IMAGE),
    Entry("embedding", lambda: nn.embedding(7, 3), (2, 5), integers=7),
    Entry("flatten", lambda: nn.flatten, IMAGE, keeps_integers=True),
    Entry("reshape", lambda: nn.reshape(10, -1), IMAGE, keeps_integers=True),
    Entry("pad", lambda: nn.pad(1), IMAGE, keeps_integers=True),
    Entry("prelu", lambda: nn.prelu(), IMAGE),
    Entry("maxout", lambda: nn.maxout(3, 2), ROW),
    Entry("rnn", lambda: nn.rnn(4), SEQUENCE),
    Entry("lstm", lambda: nn.lstm(4), SEQUENCE),
    Entry("gru", lambda: nn.gru(4), SEQUENCE),
    Entry("lstm-normalised", lambda: nn.lstm(4, projection=2, layer_norm=True), SEQUENCE),
    Entry("conv_lstm", lambda: nn.conv_lstm(3, 3, padding="SAME"), (2, 3, 5, 2)),
    Entry("stacked", lambda: nn.stacked(nn.gru(4), 2, bidirectional=True, dropout=0.2), SEQUENCE),
    Entry("bidirectional", lambda: nn.bidirectional(nn.gru(4)), SEQUENCE),
    Entry("multi_head_attention", lambda: nn.multi_head_attention(4, 2), HEADS),
    Entry(
        "multi_head_attention-causal",
        lambda: nn.multi_head_attention(
            4, 2, kv_heads=1, causal=True, rotary=True, qk_norm=True, dropout=0.2
        ),
        HEADS,
    ),
    Entry("drop_path", lambda: nn.drop_path(0.3), ROW),
    Entry("swiglu", lambda: nn.swiglu(3, 5), ROW),
    Entry("patch_embedding", lambda: nn.patch_embedding(3, 2), IMAGE),
    Entry("position_embedding", lambda: nn.position_embedding(7), SEQUENCE),
    Entry("sinusoidal_positions", lambda: nn.sinusoidal_positions(), HEADS),
    Entry("layer_norm-image", lambda: nn.layer_norm(axes=(1, 2, 3)), IMAGE),
    Entry("lstm-last-reverse", lambda: nn.lstm(4, outputs="last", reverse=True), SEQUENCE),
    Entry(
        "conv_transpose-grouped",
        lambda: nn.conv_transpose(4, 3, strides=2, padding=1, output_padding=1, groups=2),
        IMAGE,
    ),
    Entry("standardize", lambda: nn.standardize(), ROW),
    Entry("weight_norm", lambda: nn.weight_norm(nn.conv(3, 3)), IMAGE),
    Entry("spectral_norm", lambda: nn.spectral_norm(nn.dense(3)), ROW),
    Entry("softmin", lambda: nn.softmin, ROW),
    Entry("relu", lambda: nn.relu, ROW, keeps_integers=True),
    Entry("serial", lambda: nn.serial(nn.conv(3, 3), nn.batch_norm(), nn.relu, nn.flatten), IMAGE),
    Entry("graph", lambda: nn.graph(lambda f, x: f.a(x) * f.b(x), a=nn.dense(3), b=nn.dense(3)), ROW),
    Entry("residual", lambda: nn.residual(nn.dense(6), jnp.tanh), ROW),
    Entry("parallel", lambda: nn.parallel(nn.dense(3), nn.dense(2), merge="concat"), ROW),
    Entry("repeat", lambda: nn.repeat(nn.serial(nn.dense(6), jnp.tanh), 3), ROW),
    Entry("remat", lambda: nn.remat(nn.serial(nn.dense(4), jnp.tanh, nn.dense(3))), ROW),
    Entry("once", lambda: nn.once(nn.dense(3)), ROW),
    Entry("frozen", lambda: nn.frozen(nn.dense(3)), ROW),
    Entry("named", lambda: nn.named("stem", nn.dense(3)), ROW),
]

#: One of each way of computing, for what takes long; the others are computed like one of these.
FEW = {
    "dense", "conv-2d", "conv-grouped-dilated", "conv_transpose", "max_pool-overlapping", "upsample-linear",
    "batch_norm", "dropout", "embedding", "lstm-last-reverse", "spectral_norm", "multi_head_attention-causal",
    "repeat",
}  # fmt: skip
#: A few of these, for what takes seconds per layer.
FEWEST = {"dense", "conv-grouped-dilated", "batch_norm", "embedding", "lstm-last-reverse"}


def each(entries, **options):
    """A mark that runs a test for each of them."""
    return pytest.mark.parametrize("entry", entries, ids=lambda entry: entry.name, **options)


def few(entries, names=FEW, **options):
    """The same, but for those of these names alone unless it is ``make test-deep``."""
    return each([entry if entry.name in names else deep(entry) for entry in entries], **options)


every_layer, few_layers, fewest_layers = each(ENTRIES), few(ENTRIES), few(ENTRIES, FEWEST)
