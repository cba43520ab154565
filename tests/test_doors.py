"""Wrong calls: every public callable, every argument, values that it can't take.

Each must raise a sentence of this library, never Python's or JAX's inner error, and never pass silently.
The calls are only traced, so that thousands of them cost seconds.
"""

import inspect
import re
from collections.abc import Callable
from functools import partial
from math import inf, nan
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn as nn
from tests.support import random_params

he_normal = jax.nn.initializers.he_normal


class Traced(NamedTuple):
    """Stands for a traced value, which only exists while a program is traced."""

    dtype: Any


class Uncallable:
    def __repr__(self) -> str:
        return "an object"


KEY = jax.random.key(0)
NOTHING = Uncallable()
TRACED = Traced(jnp.float32)
WHOLE = Traced(jnp.int32)
ARRAY = np.ones(2, np.float32)
PARAMS = nn.Params({"kernel": np.ones((6, 3), np.float32), "bias": np.ones(3, np.float32)}, {})

#: Values that are wrong for every argument of a kind.
WRONG: dict[str, tuple[Any, ...]] = {
    "integer": (
        None, "3", True, 2.5, nan, inf, 1j, [3], (3,), {}, np.float32(3), np.array([3]), NOTHING, WHOLE,
        TRACED,
        0, -1, np.int64(-1), jnp.int32(-3),
    ),
    "integers": (
        None, "33", True, 2.5, nan, 1j, {}, (), (True,), (3, None), ("3", "3"), (1, 1, 1, 1, 1), ((2, 2),),
        np.array([2, 2]), NOTHING, WHOLE, 0, -1, (2, 0), np.int64(-1),
    ),
    "whole_or_zero": (
        None, "33", True, 2.5, nan, 1j, {}, (), (True,), (3, None), NOTHING, WHOLE, -1, (0, -1),
    ),
    "positive": (
        None, "0.1", True, 1j, [0.1], {}, nan, inf, -inf, np.float32(nan), np.float64(inf), jnp.float32(inf),
        np.array([0.1]), NOTHING, TRACED, 0, -1, 0.0, -1e-5, np.float32(0), np.array(-1.0), jnp.float32(-1),
    ),
    "share": (
        None, "0.1", True, 1j, [0.1], {}, nan, inf, np.float32(nan), jnp.float32(nan), NOTHING, TRACED,
        -0.1, 1.1,
        np.float32(2), jnp.float32(-1),
    ),
    "level": (
        None, "0.1", True, 1j, [0.1], {}, nan, inf, np.float32(nan), NOTHING, TRACED, -1, np.float32(-1),
    ),
    "number": (None, "0.1", True, 1j, [0.1], {}, nan, np.float32(nan), NOTHING, TRACED, np.array([0.1])),
    "finite": (None, "0.1", True, 1j, [0.1], {}, nan, inf, np.float32(nan), NOTHING, TRACED, np.array([0.1])),
    "exponent": (None, "2", True, 1j, [2], {}, nan, inf, 0, 0.5, -1, np.float32(nan), NOTHING, TRACED),
    "factors": (
        None, "2", True, 1j, {}, (), nan, inf, 0, -1, (2, 0), (2, None), (1, 1, 1, 1), NOTHING, TRACED,
    ),
    "scalar": (None, "0", [0], {}, np.array([0]), NOTHING, TRACED),
    "counts": (None, 2, "22", True, {}, (), (1, 0), (2.5,), (True,), ((1, 2),), np.array([1]), NOTHING),
    "rows": (None, 2, "22", {}, (), (1, 2), ((1,),), ((1, 0),), ((8, 2.5),), ("ab",), NOTHING, WHOLE),
    "flag": (None, 0, 1, 2.5, nan, "True", [], {}, np.array([True]), NOTHING, Traced(jnp.bool_)),
    "choice": (None, "abc", 3, True, nan, ["all"], {}, b"all", NOTHING, TRACED),
    "axis": (None, True, 1.5, nan, "0", 99, -99, (), [], {}, (1, None), NOTHING, WHOLE),
    "axes": (None, True, 1.5, nan, "0", 99, -99, (), {}, (1, None), (-1, -1), ((1,),), NOTHING, WHOLE),
    "padding": (
        None, True, 2.5, nan, "same", "abc", (), {}, (1, None), (2.5, 2.5), ((1,), (1,)), ((1, 2, 3), (1,
        2, 3)),
        ("SAME", "SAME"), (1,) * 5, NOTHING, WHOLE,
    ),
    "array": (
        None, "abc", b"abc", [1.0], (ARRAY, ARRAY), {}, np.array([None]), np.array(["a"]), abs, NOTHING,
    ),
    "initialiser": (None, "zeros", 3, [], {}, NOTHING, he_normal),
    "function": (None, "tanh", 3, [], {}, NOTHING),
    "layer": (None, "relu", 3, [], {}, NOTHING, ARRAY),
    "dtype": (None, "abc", 3, jnp.int32, "complex64", [], {}, NOTHING),
    "name": (None, 3, True, [], {}, NOTHING),
    "axis_name": ("nowhere", ["i"], {}, ("i", "nowhere"), ARRAY),
    "optional_key": (0, "key", 1.5, [0, 0], jax.random.split(KEY), np.zeros(2), np.zeros((3, 2), np.uint32)),
    "key": (None, 0, "key", 1.5, [0, 0], jax.random.split(KEY), np.zeros(2), np.zeros((3, 2), np.uint32)),
    "shape": (
        None, "abc", 3, 2.5, True, NOTHING, (1, "a"), (1, None), (1, 2.5), (True, 4), (2, -1), (2, 0), (2,
        WHOLE),
        ((2, 6), (2, 6)),
    ),
    "params": (None, 3, "abc", {}, ({}, {}), [], ARRAY),
    "table": (
        None, 3, "abc", {}, [], ARRAY, PARAMS._replace(weights=ARRAY), PARAMS._replace(weights={"a": 1}),
    ),
    "size": (None, "3", True, 2.5, nan, [6], (6,), {}, NOTHING, 0, -2, WHOLE),
    "optimizer": (3, "sgd", optax.sgd, NOTHING),
    "numbers": (None, "abc", [[1], [2, 3]], {}, np.array(["a"]), np.zeros(0), NOTHING, np.ones(3) * 1j),
    "by_title": (None, 3, "abc", {}, [1], {"a": None}, {"a": "abc"}, NOTHING),
    "interval": (None, 3, "ab", (1,), (1, 2, 3), (2, 1), (1, 1), (nan, 1), (0, inf), ("a", "b"), (None, 1)),
    "strings": (None, 3, "abc", [], ["a"] * 7, [1, 2], NOTHING),
    "text": (None, 3, ["a"], NOTHING),
    "entries": (3, "abc", [], ARRAY, {"kernel": 3}, {"kernel": (1, None)}, {"kernel": (True,)}, {1: (2,)}),
    "reach": (
        "3", True, 2.5, nan, 1j, [3], {}, (), (1,), (1, 2, 3), (1, -1), ("1", 1), NOTHING, WHOLE, -1,
        np.int64(-1),
    ),
    "whole_or_none": (
        "3", True, 2.5, nan, inf, 1j, [3], (3,), {}, np.float32(3), NOTHING, WHOLE, TRACED, 0, -1,
    ),
    "fraction": (None, "0.1", True, 1j, [0.1], {}, nan, inf, NOTHING, TRACED, 0, -0.1, 1.1, np.float32(2)),
    "part": (None, "0.1", True, 1j, [0.1], {}, nan, inf, NOTHING, TRACED, -0.1, 1, 1.1, np.float32(2)),
    "function_or_flag": (None, "abc", 3, [], {}, NOTHING),
    "implementation": (3, "abc", True, [], {}, nan, b"lax"),
    "source": (3, "abc", b"abc", True, nan, [], {}, [1.0], np.zeros((3, 2)), (ARRAY, 3), abs),
    "matplotlib": (3, "abc", ARRAY, NOTHING),
}  # fmt: skip

#: The kind of an argument, by its name; under "callable.argument" where one differs.
KINDS = {
    "integer": "heads features pieces groups multiplier vocabulary iterations n columns bins resolution "
    "levels steps beams gpt.room alibi_bias.keys "
    "classes hidden width depth channels doublings halvings growth stem models.bottleneck tags",
    "integers": "recurrent_window window strides dilation output_size size scale",
    "whole_or_zero": "output_padding",
    "positive": "base epsilon width_mult",
    "fraction": "fraction top_p",
    "part": "multi_head_attention.dropout state_dropout",
    "share": "stacked.dropout momentum rate dropout_rate stochastic_depth_rate drop_path_rate",
    "level": "temperature hard_shrink.threshold soft_shrink.threshold",
    "number": "threshold value",
    "whole_or_none": "position_embedding.room end top_k kv_heads head_features multi_head_attention.room "
    "projection",
    "finite": "cubic_coefficient convnext.scale convnext_tiny.scale attention.scale",
    "reach": "attention.window multi_head_attention.window encoder_block.window",
    "exponent": "p",
    "factors": "upsample.scale",
    "scalar": "pad.value",
    "flag": "ceil_mode count_include_pad align_corners antialias approximate shared reverse return_carry "
    "logarithmic batch_norm.scale layer_norm.scale rms_norm.scale group_norm.scale instance_norm.scale bias "
    "layer_norm bidirectional resnet.bottleneck causal alibi qk_norm norm_first rematerialise",
    "counts": "blocks",
    "rows": "stages",
    "choice": "layout to method mode outputs merge",
    "axis": "axis",
    "axes": "axes",
    "padding": "padding",
    "array": "x kernel mean var deviation slope input_kernel recurrent_kernel recurrent_bias carry lengths "
    "positions prompt q k v mask key_lengths offset indices where data ops.scale ops.bias target "
    "state_mask projection_kernel input_scale recurrent_scale cell_scale cell_bias",
    "initialiser": "output_init kernel_init bias_init scale_init slope_init embedding_init "
    "recurrent_kernel_init projection_init cell_bias_init",
    "function_or_flag": "rotary",
    "function": "activation fn loss init apply stochastic.train predict",
    "layer": "layer net shortcut layers named norm mlp encoder_block.activation decoder_block.activation",
    "dtype": "dtype compute",
    "name": "named.name",
    "text": "stateless.name stochastic.name xlabel heading",
    "entries": "entries",
    "implementation": "implementation",
    "source": "source",
    "axis_name": "axis_name",
    "optional_key": "key",
    "shape": "shape",
    "params": "params",
    "table": "embedding",
    "size": "reshape.shape",
    "optimizer": "optimizer",
}
KIND = {argument: kind for kind, arguments in KINDS.items() for argument in arguments.split()}


class Door(NamedTuple):
    """A public callable, how it is called from beginning to end, and good values of its arguments.

    ``call(function, settings)`` also runs what the function makes: a wrong setting may show only there.
    """

    function: Callable[..., Any]
    call: Callable[[Callable[..., Any], dict[str, Any]], Any]
    good: dict[str, Any]
    x: Any = None  #: an input of the layer that the function makes
    traced: bool = True

    def parameters(self) -> dict[str, inspect.Parameter]:
        return dict(inspect.signature(self.function).parameters)


def plainly(function: Callable[..., Any], settings: dict[str, Any]) -> Any:
    """Passes arguments by name where that is possible; for ``*layers`` and ``**named``, one value."""
    parameters = inspect.signature(function).parameters.values()
    by_place = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL)]
    free = {p.name: "named" for p in parameters if p.kind is p.VAR_KEYWORD}
    places = [settings[name] for name in by_place if name in settings]
    names = {free.get(name, name): value for name, value in settings.items() if name not in by_place}
    return function(*places, **names)


def ones(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.ones(shape, dtype)


def layer(function: Callable[..., Any], x: Any, **good: Any) -> Door:
    """The door of a function that makes a layer; ``x`` is an input of the layer."""

    def call(function: Callable[..., Any], settings: dict[str, Any]) -> None:
        made = plainly(function, settings)
        params = made.init(KEY, x)
        made.apply(params, x)
        made.train(params, x, KEY)

    return Door(function, call, good, x)


def op(function: Callable[..., Any], **good: Any) -> Door:
    return Door(function, plainly, good)


IMAGE, ROW, STEPS, IDS = ones(2, 6, 6, 4), ones(2, 6), ones(2, 5, 3), ones(2, 5, dtype=np.int32)
FRAMES = ones(2, 3, 6, 3)
NET = nn.dense(3)

OWN = {"name": "own", "init": lambda key, x: {}, "apply": lambda weights, x: nn.flatten(x)}

LAYERS = {
    "dense": layer(nn.dense, ROW, features=3),
    "conv": layer(nn.conv, IMAGE, features=4, window=3),
    "depthwise_conv": layer(nn.depthwise_conv, IMAGE, window=3),
    "separable_conv": layer(nn.separable_conv, IMAGE, features=4, window=3),
    "conv_transpose": layer(nn.conv_transpose, IMAGE, features=4, window=3, strides=2, output_padding=1),
    "max_pool": layer(nn.max_pool, IMAGE, window=2),
    "min_pool": layer(nn.min_pool, IMAGE, window=2),
    "avg_pool": layer(nn.avg_pool, IMAGE, window=2),
    "lp_pool": layer(nn.lp_pool, IMAGE, window=2),
    "adaptive_avg_pool": layer(nn.adaptive_avg_pool, IMAGE, output_size=2),
    "attention_pool": layer(nn.attention_pool, IMAGE),
    "each_step": layer(nn.each_step, STEPS, layer=NET),
    "adaptive_max_pool": layer(nn.adaptive_max_pool, IMAGE, output_size=2),
    "resize": layer(nn.resize, IMAGE, size=3, method="cubic"),
    "upsample": layer(nn.upsample, IMAGE, scale=2, method="linear"),
    "pixel_shuffle": layer(nn.pixel_shuffle, IMAGE, scale=2),
    "pixel_unshuffle": layer(nn.pixel_unshuffle, IMAGE, scale=2),
    "batch_norm": layer(nn.batch_norm, IMAGE),
    "layer_norm": layer(nn.layer_norm, IMAGE),
    "rms_norm": layer(nn.rms_norm, IMAGE),
    "group_norm": layer(nn.group_norm, IMAGE, groups=2),
    "instance_norm": layer(nn.instance_norm, IMAGE),
    "dropout": layer(nn.dropout, ROW, rate=0.5),
    "spatial_dropout": layer(nn.spatial_dropout, IMAGE, rate=0.5),
    "embedding": layer(nn.embedding, IDS, vocabulary=4, features=3),
    "reshape": layer(nn.reshape, ROW, shape=6),
    "pad": layer(nn.pad, IMAGE, padding=1),
    "prelu": layer(nn.prelu, ROW),
    "maxout": layer(nn.maxout, ROW, features=3, pieces=2),
    "rnn": layer(nn.rnn, STEPS, features=3),
    "lstm": layer(nn.lstm, STEPS, features=3, projection=2, layer_norm=True),
    "conv_lstm": layer(nn.conv_lstm, FRAMES, features=3, window=3),
    "stacked": layer(nn.stacked, STEPS, layer=nn.gru(3), n=2),
    "gru": layer(nn.gru, STEPS, features=3),
    "standardize": layer(nn.standardize, ROW, data=ROW),
    "weight_norm": layer(nn.weight_norm, ROW, layer=NET),
    "spectral_norm": layer(nn.spectral_norm, ROW, layer=NET),
    "serial": layer(nn.serial, ROW, layers=NET, named=NET),
    "residual": layer(nn.residual, ROW, layers=NET, named=nn.dense(6), shortcut=nn.dense(6)),
    "parallel": layer(nn.parallel, ROW, layers=NET, named=NET),
    "split": layer(nn.split, (ROW, ROW), layers=NET, named=NET),
    "graph": layer(nn.graph, ROW, fn=lambda f, x: f.named(x), layers=NET),
    "repeat": layer(nn.repeat, ROW, layer=nn.dense(6), n=2),
    "ensemble": layer(nn.ensemble, ROW, layer=NET, n=2),
    "remat": layer(nn.remat, ROW, layer=NET),
    "once": layer(nn.once, ROW, layer=NET),
    "frozen": layer(nn.frozen, ROW, layer=NET),
    "mixed_precision": layer(nn.mixed_precision, ROW, layer=NET),
    "multi_head_attention": layer(nn.multi_head_attention, ones(2, 5, 6), features=6, heads=2),
    "drop_path": layer(nn.drop_path, ROW, rate=0.5),
    "swiglu": layer(nn.swiglu, ROW, features=3, hidden=4, bias=True),
    "patch_embedding": layer(nn.patch_embedding, IMAGE, features=3, window=2),
    "position_embedding": layer(nn.position_embedding, STEPS, room=5),
    "sinusoidal_positions": layer(nn.sinusoidal_positions, ones(2, 5, 6)),
    "bidirectional": layer(nn.bidirectional, STEPS, layer=nn.gru(3)),
    "named": layer(nn.named, ROW, name="stem", layer=NET),
    "as_layer": layer(nn.as_layer, ROW, layer=nn.flatten),
    "stateless": layer(nn.stateless, ROW, **OWN),
    "stochastic": layer(nn.stochastic, ROW, **OWN, train=lambda weights, x, key: nn.flatten(x)),
}
GATES = {"x": STEPS, "recurrent_kernel": ones(4, 4), "input_kernel": ones(3, 4)}
LSTM = {"x": STEPS, "recurrent_kernel": ones(4, 16), "input_kernel": ones(3, 16)}
GRU = {"x": STEPS, "recurrent_kernel": ones(4, 12), "input_kernel": ones(3, 12)}
STATE = ones(2, 4)
FRAMED = {"x": FRAMES, "input_kernel": ones(3, 3, 8), "recurrent_kernel": ones(3, 2, 8)}
HEADS = ones(2, 5, 2, 3)
OPS = {
    "attention": op(nn.ops.attention, q=HEADS, k=HEADS, v=HEADS),
    "alibi_bias": op(nn.ops.alibi_bias, heads=2, keys=5),
    "rotary": op(nn.ops.rotary, x=ones(2, 5, 2, 4)),
    "rotary_layout": op(nn.ops.rotary_layout, kernel=ones(3, 8), heads=2, to="pairs"),
    "sinusoidal_positions": op(nn.ops.sinusoidal_positions, positions=ones(5, dtype=np.int32), features=4),
    "dense": op(nn.ops.dense, x=ROW, kernel=ones(6, 3)),
    "conv": op(nn.ops.conv, x=IMAGE, kernel=ones(3, 3, 4, 4)),
    "conv_transpose": op(
        nn.ops.conv_transpose, x=IMAGE, kernel=ones(3, 3, 4, 4), strides=2, output_padding=1
    ),
    "max_pool": op(nn.ops.max_pool, x=IMAGE, window=2),
    "min_pool": op(nn.ops.min_pool, x=IMAGE, window=2),
    "avg_pool": op(nn.ops.avg_pool, x=IMAGE, window=2),
    "lp_pool": op(nn.ops.lp_pool, x=IMAGE, window=2),
    "max_pool_with_indices": op(nn.ops.max_pool_with_indices, x=IMAGE, window=2),
    "max_unpool": op(nn.ops.max_unpool, x=IMAGE, indices=ones(2, 6, 6, 4, dtype=np.int32), output_size=12),
    "adaptive_avg_pool": op(nn.ops.adaptive_avg_pool, x=IMAGE, output_size=2),
    "adaptive_max_pool": op(nn.ops.adaptive_max_pool, x=IMAGE, output_size=2),
    "global_avg_pool": op(nn.ops.global_avg_pool, x=IMAGE),
    "attention_pool": op(nn.ops.attention_pool, x=IMAGE, kernel=ones(4, 2)),
    "global_max_pool": op(nn.ops.global_max_pool, x=IMAGE),
    "resize": op(nn.ops.resize, x=IMAGE, size=3, method="cubic"),
    "upsample": op(nn.ops.upsample, x=IMAGE, scale=2, method="linear"),
    "pixel_shuffle": op(nn.ops.pixel_shuffle, x=IMAGE, scale=2),
    "pixel_unshuffle": op(nn.ops.pixel_unshuffle, x=IMAGE, scale=2),
    "batch_norm": op(nn.ops.batch_norm, x=ROW, mean=ones(6), var=ones(6)),
    "batch_norm_train": op(nn.ops.batch_norm_train, x=ROW),
    "layer_norm": op(nn.ops.layer_norm, x=ROW),
    "rms_norm": op(nn.ops.rms_norm, x=ROW),
    "group_norm": op(nn.ops.group_norm, x=ROW, groups=2),
    "instance_norm": op(nn.ops.instance_norm, x=IMAGE),
    "standardize": op(nn.ops.standardize, x=ROW, mean=ones(6), deviation=ones(6)),
    "feature_statistics": op(nn.ops.feature_statistics, x=ROW),
    "rnn": op(nn.ops.rnn, **GATES),
    "lstm": op(nn.ops.lstm, **LSTM),
    "gru": op(nn.ops.gru, **GRU),
    "rnn_step": op(nn.ops.rnn_step, **(GATES | {"x": ones(2, 3)}), carry=STATE),
    "lstm_step": op(nn.ops.lstm_step, **(LSTM | {"x": ones(2, 3)}), carry=(STATE, STATE)),
    "gru_step": op(nn.ops.gru_step, **(GRU | {"x": ones(2, 3)}), carry=STATE),
    "conv_lstm": op(nn.ops.conv_lstm, **FRAMED),
    "conv_lstm_step": op(
        nn.ops.conv_lstm_step, **(FRAMED | {"x": FRAMES[:, 0]}), carry=(ones(2, 4, 2), ones(2, 4, 2))
    ),
    "reverse_sequences": op(nn.ops.reverse_sequences, x=STEPS),
    "maxout": op(nn.ops.maxout, x=ROW, pieces=2),
    "prelu": op(nn.ops.prelu, x=ROW, slope=ones(6)),
    "threshold": op(nn.ops.threshold, x=ROW, threshold=1.0, value=0.0),
}
#: All others take one array, and settings that have defaults.
OPS |= {
    name: op(getattr(nn.ops, name), x=ROW)
    for name in nn.ops.__all__
    if name not in {*OPS, "conv_general_dilated"} and getattr(nn.ops, name).__module__.startswith("jaxnn.")
}
WORDS = nn.serial(nn.embedding(4, 3), nn.gru(3), nn.dense(4))
OTHERS = {
    "generate": op(
        nn.generate,
        net=WORDS,
        params=random_params(WORDS, IDS),
        prompt=np.zeros((2, 5), np.int32),
        steps=2,
        key=KEY,
    ),
    "beam_search": op(
        nn.beam_search,
        net=WORDS,
        params=random_params(WORDS, IDS),
        prompt=np.zeros((2, 5), np.int32),
        steps=2,
        beams=2,
    ),
    "flatten": op(nn.flatten, x=ROW),
    "attend": op(nn.attend, embedding=nn.Params({"embedding": ones(4, 6)}, {}), x=ROW),
    "output_shape": op(nn.output_shape, layer=NET, shape=(2, 6)),
    "summary": op(nn.summary, net=NET, shape=(2, 6)),
    "cost": op(nn.cost, net=NET, shape=(2, 6), optimizer=optax.sgd(0.1)),
    "activations": op(nn.activations, net=NET, params=PARAMS, x=ROW),
    "diagnose": op(
        nn.diagnose, net=NET, params=PARAMS, x=ROW, target=ones(2, 3), loss=optax.squared_error, key=KEY
    )._replace(traced=False),
}
WIDE = ones(2, 5, 6)
SMALL, PIXELS = ones(2, 8, 8, 3), ones(2, 64, 64, 3)
MODELS = {
    "alexnet": layer(nn.models.alexnet, PIXELS, hidden=8),
    "convnext": layer(nn.models.convnext, SMALL, stages=((8, 1),)),
    "convnext_tiny": layer(nn.models.convnext_tiny, PIXELS),
    "dcgan_discriminator": layer(nn.models.dcgan_discriminator, SMALL, width=4, halvings=1),
    "dcgan_generator": layer(nn.models.dcgan_generator, ROW, width=4, doublings=1),
    "densenet": layer(nn.models.densenet, SMALL, blocks=(1,)),
    "densenet121": layer(nn.models.densenet121, PIXELS),
    "efficientnet": layer(nn.models.efficientnet, SMALL, stages=((1, 3, 1, 8, 1),)),
    "efficientnet_b0": layer(nn.models.efficientnet_b0, PIXELS),
    "decoder_block": layer(nn.models.decoder_block, (WIDE, WIDE), features=6, heads=2, hidden=4),
    "encoder_block": layer(nn.models.encoder_block, WIDE, features=6, heads=2, hidden=4),
    "gpt": layer(nn.models.gpt, IDS, vocabulary=4, features=6, heads=2, depth=1, room=5),
    "transformer": layer(
        nn.models.transformer, (IDS, IDS), vocabulary=4, features=6, heads=2, hidden=4, depth=1
    ),
    "vit": layer(nn.models.vit, SMALL, features=6, heads=2, depth=1, window=4),
    "lenet": layer(nn.models.lenet, ones(2, 28, 28, 1)),
    "lstm_tagger": layer(nn.models.lstm_tagger, IDS, vocabulary=4, tags=3),
    "mobilenet_v2": layer(nn.models.mobilenet_v2, SMALL, stages=((1, 8, 1, 1),)),
    "resnet": layer(nn.models.resnet, SMALL, blocks=(1,)),
    "resnet18": layer(nn.models.resnet18, PIXELS),
    "resnet50": layer(nn.models.resnet50, PIXELS),
    "unet": layer(nn.models.unet, SMALL, depth=1),
    "vgg": layer(nn.models.vgg, SMALL, stages=((8, 1),), hidden=8),
    "vgg11_bn": layer(nn.models.vgg11_bn, PIXELS, hidden=8),
}
DOORS = {
    **{f"layers.{name}": door for name, door in (LAYERS | OTHERS).items()},
    **{f"ops.{name}": door for name, door in OPS.items()},
    **{f"models.{name}": door for name, door in MODELS.items()},
}

#: Public names whose wrong calls are tested elsewhere, or that accept anything.
ELSEWHERE = {
    "ops.conv_general_dilated": "its errors are those of jax.lax, see tests/ops/test_conv_general.py",
    **dict.fromkeys(
        ("layers.Beams", "layers.Layer", "layers.Params", "layers.Sequences"), "a record of what it is given"
    ),
    **dict.fromkeys(
        ("layers.export", "layers.load_exported", "layers.stablehlo"), "see tests/test_export.py"
    ),
    "layers.fold_batch_norm": "see tests/test_folding.py",
    **dict.fromkeys(("layers.Fit", "layers.TrainState"), "a record of what it is given"),
    **dict.fromkeys(
        (f"layers.{name}" for name in ("accuracy", "evaluate", "fit", "init_state", "make_step")),
        "see tests/training",
    ),
}

#: Values that are wrong for the kind of an argument but right for this one. A default is always right.
RIGHT: dict[str, tuple[Any, ...]] = {
    "ops.softmax.axis": (None,),  # all axes
    **{
        f"ops.{step}.carry": (None,) for step in ("rnn_step", "lstm_step", "gru_step", "conv_lstm_step")
    },  # zeros
    "as_layer.shape": (None, ((2, 6), (2, 6))),  # up to the function
    "stateless.shape": (None, ((2, 6), (2, 6))),
    "stochastic.shape": (None, ((2, 6), (2, 6))),
    "split.shape": (((2, 6), (2, 6)),),
    "layers.diagnose.target": (None, {}, [1.0], (ARRAY, ARRAY)),  # up to the loss
    "layers.attend.embedding": (abs,),  # a function is taken for a part of a graph
    "models.unet.depth": (0,),
    "layers.generate.end": (0,),
    "layers.beam_search.end": (0,),
}

#: The layers that another is made of, or is given here: the sentence may name them as its owner.
BLOCK = ("multi_head_attention", "dropout", "drop_path", "dense", "as_layer", "serial")
PARTS = {
    "swiglu": ("dense",),
    "stacked": ("gru", "as_layer"),
    "each_step": ("as_layer",),
    "patch_embedding": ("conv", "graph"),
    **dict.fromkeys(("encoder_block", "decoder_block"), (*BLOCK, "graph")),
    "gpt": ("encoder_block", "embedding", *BLOCK),
    "transformer": ("encoder_block", "decoder_block", "embedding", "repeat", *BLOCK),
    "vit": ("encoder_block", "patch_embedding", "conv", "repeat", *BLOCK),
    "separable_conv": ("depthwise_conv", "conv"),
    "maxout": ("dense",),
    "activations": ("dense",),
    "summary": ("dense",),
    "cost": ("dense",),
    "output_shape": ("dense",),
    "diagnose": ("dense", "init"),
    "batch_norm_train": ("batch_norm",),
    "attend": ("embedding",),
}


def wrong_calls(name: str, door: Door) -> list[tuple[str, Any]]:
    """Each argument with each value that it can't take."""
    folder, _, function = name.partition(".")
    calls = []
    for argument, parameter in door.parameters().items():
        keys = (f"{function}.{argument}", f"{folder}.{argument}", argument)
        kind = next((KIND[key] for key in keys if key in KIND), None)
        assert kind is not None, f"{name}: no kind for its argument {argument!r}; say one in KINDS"
        right = {repr(value) for value in (parameter.default, *RIGHT.get(f"{name}.{argument}", ()))}
        calls += [(argument, value) for value in WRONG[kind] if repr(value) not in right]
    return calls


def complaint(owners: tuple[str, ...], argument: str, call: Callable[[], Any], value: Any) -> str | None:
    """What a wrong call does in place of raising a sentence; None if it raises one."""
    try:
        call()
    except (TypeError, ValueError) as error:
        sentence = str(error)
        if re.match(rf"({'|'.join(owners)}): .*\b({argument})\b", sentence):
            return None
        return f"{argument}={value!r}: {type(error).__name__}: {sentence[:200]}"
    except Exception as error:
        return f"{argument}={value!r}: {type(error).__name__}: {str(error)[:200]}"
    return f"{argument}={value!r} passes"


def is_traced(value: Any) -> bool:
    return isinstance(value, Traced)


def run(door: Door, settings: dict[str, Any]) -> None:
    """The call, without computing anything, and with a traced value for each ``Traced`` in the settings."""
    if not door.traced:
        door.call(door.function, settings)
        return
    stand_ins = [leaf for leaf in jax.tree.leaves(settings, is_leaf=is_traced) if is_traced(leaf)]

    def traced(*numbers: Any) -> None:
        given = iter(numbers)
        door.call(
            door.function,
            jax.tree.map(lambda leaf: next(given) if is_traced(leaf) else leaf, settings, is_leaf=is_traced)
            if stand_ins
            else settings,
        )

    jax.eval_shape(traced, *(jax.ShapeDtypeStruct((), stand_in.dtype) for stand_in in stand_ins))


def test_every_public_callable_has_a_door():
    public = {f"layers.{name}": getattr(nn, name) for name in nn.__all__}
    public |= {f"ops.{name}": getattr(nn.ops, name) for name in nn.ops.__all__}
    public |= {f"models.{name}": getattr(nn.models, name) for name in nn.models.__all__}
    ours = {
        name
        for name, value in public.items()
        # Functions of jax.nn are re-exported as they are, errors included. An op that is a layer: one door.
        if callable(value)
        and not str(value.__module__).startswith("jax.")
        and not (name.startswith("layers.") and getattr(nn.ops, name[7:], None) is value)
    }
    assert ours == DOORS.keys() | ELSEWHERE.keys()


@pytest.mark.parametrize("name", DOORS)
def test_good_calls_pass(name):
    door = DOORS[name]
    run(door, dict(door.good))


@pytest.mark.parametrize("name", DOORS)
def test_wrong_calls_get_a_sentence(name):
    door = DOORS[name]
    owner = name.partition(".")[2]
    # What a sentence may call these arguments: one of ``*layers`` is a layer, or has a name.
    several = {"layers": "layer|named", "shape": "shape|sizes", "x": "x|shape"}
    complaints = []
    for argument, value in wrong_calls(name, door):
        found = complaint(
            (owner, *PARTS.get(owner, ())),
            several.get(argument, argument),
            partial(run, door, door.good | {argument: value}),
            value,
        )
        complaints += [] if found is None else [found]
    assert not complaints, "\n" + "\n".join(complaints)


#: Inner layers that may be named as the owner of a sentence when a layer made of layers is called.
INNER = ("dense", "conv", "depthwise_conv", "gru", "flatten")


@pytest.mark.parametrize("name", LAYERS)
def test_wrong_calls_of_the_functions_of_a_layer_get_a_sentence(name):
    door = LAYERS[name]
    x = door.x
    made = plainly(door.function, door.good)
    params = jax.tree.map(lambda leaf: ones(*leaf.shape, dtype=leaf.dtype), jax.eval_shape(made.init, KEY, x))
    doors = [
        Door(made.init, lambda f, s: f(s["key"], s["shape"]), {"key": KEY, "shape": x}),
        Door(made.apply, lambda f, s: f(s["params"], s["x"]), {"params": params, "x": x}),
        Door(
            made.train, lambda f, s: f(s["params"], s["x"], s["key"]), {"params": params, "x": x, "key": KEY}
        ),
    ]
    complaints = []
    for place, of_made in enumerate(doors):
        for argument in of_made.good:
            kind = "array" if argument == "x" else argument
            right = (None,) if argument == "key" and place == 2 else RIGHT.get(f"{name}.{argument}", ())
            for value in WRONG[kind]:
                if repr(value) not in map(repr, right):
                    said = {"x": "x|ids|input", "shape": "shape|input"}.get(argument, argument)
                    call = partial(run, of_made, of_made.good | {argument: value})
                    found = complaint((name, made.name, "init", *INNER), said, call, value)
                    complaints += [] if found is None else [("init", "apply", "train")[place] + " " + found]
    assert not complaints, "\n" + "\n".join(complaints)
