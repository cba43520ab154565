"""Every operation of ``jaxnn.ops`` at a small shape: ours, the form that JAX alone has for it, the right
answer.

The right answer is computed in float64 on a CPU. Where windows slide, by slices and sums that share nothing
with either form (``exact.py``); else by the form of JAX alone (``jax_alone.py``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import exact, jax_alone, specs
from benchmarks.contenders import plain
from jaxnn import ops

Shape = tuple[int, ...]
#: Operations that take no array, or arrange one without arithmetic when a layer is made.
WITHOUT_ARRAYS = ("alibi_bias", "rotary_layout", "sinusoidal_positions")


@dataclass(frozen=True)
class Op:
    """One operation with its settings.

    Attributes:
      name: the function in ``jaxnn.ops``, and what is set.
      family: the operations it belongs to.
      shapes: of ``x`` and of each weight.
      ours: ``ours(x, *weights)``, an array.
      lax: the same by JAX alone; None where it has no such thing.
      exact: the same for the answer in float64; ``lax`` if None.
      terms: how many products one output sums.
      integers: whether integers are taken too.
      positive: the places of arrays that must be above 0.
    """

    name: str
    family: str
    shapes: tuple[Shape, ...]
    ours: Callable[..., Any]
    lax: Callable[..., Any] | None
    exact: Callable[..., Any] | None = None
    terms: int = 1
    integers: bool = False
    positive: tuple[int, ...] = ()

    @property
    def function(self) -> str:
        """The name in ``jaxnn.ops``."""
        return self.name.split()[0].removesuffix(",")

    @property
    def answer(self) -> Callable[..., Any]:
        found = self.exact or self.lax
        assert found is not None
        return found


def conv(name: str, x: Shape, kernel: Shape, *, bias: bool = False, **settings: int) -> Op:
    shapes = (x, kernel, *(((kernel[-1],),) if bias else ()))
    return Op(
        f"conv {name}",
        "conv",
        shapes,
        partial(ops.conv, **settings),
        partial(jax_alone.conv, **settings),
        partial(exact.conv, **settings),
        terms=int(np.prod(kernel[:-1])),
    )


def transposed(name: str, x: Shape, kernel: Shape, **settings: int) -> Op:
    return Op(
        f"conv_transpose {name}",
        "transposed",
        (x, kernel),
        partial(ops.conv_transpose, **settings),
        partial(jax_alone.conv_transpose, **settings),
        partial(exact.conv_transpose, **settings),
        terms=int(np.prod(kernel[:-1])),
    )


def pool(kind: str, name: str, shape: Shape, **settings: Any) -> Op:
    ours = {"max": ops.max_pool, "min": ops.min_pool, "avg": ops.avg_pool}[kind]
    steps = {**settings, "strides": settings.get("strides", settings["window"])}
    answer = {
        "max": partial(exact.max_pool, **steps),
        "min": lambda x: -exact.max_pool(-x, **steps),
        "avg": partial(exact.avg_pool, **steps),
    }[kind]
    return Op(
        f"{kind}_pool {name}",
        "pool",
        (shape,),
        partial(ours, **settings),
        partial(jax_alone.pool, kind=kind, **settings),
        answer,
        terms=settings["window"] ** (len(shape) - 2),
        integers=kind != "avg",
    )


def resized(name: str, size: Shape, method: str, function: Callable[..., Any] | None = None) -> Op:
    def by_image(x: Any) -> Any:
        return jax.image.resize(x, (x.shape[0], *size, x.shape[-1]), method, antialias=False)

    nearest = method == "nearest"
    matrices = partial(jax_alone.matrices, size=size, method=method)
    return Op(
        f"{'upsample' if function else 'resize'} {method} {name}",
        "resize",
        ((2, 4, 5, 2),),
        function or partial(ops.resize, size=size, method=method),
        # jax.image treats the edges of a cubic differently, so there it is a matrix for both.
        matrices if method == "cubic" else by_image,
        partial(jax_alone.gathered, size=size) if nearest else matrices,
        terms=1 if nearest else 16,
        integers=nearest,
    )


def recurrent(kind: str) -> list[Op]:
    gates = {"lstm": 4, "gru": 3, "rnn": 1}[kind]
    weights = ((3, gates * 4), (4, gates * 4), (gates * 4,))
    whole, one = getattr(ops, kind), getattr(ops, f"{kind}_step")
    carry = ((2, 4), (2, 4)) if kind == "lstm" else ((2, 4),)

    def step(x: Any, inputs: Any, recurrent: Any, bias: Any, *carry: Any) -> Any:
        given = tuple(carry) if kind == "lstm" else carry[0]
        return one(given, x, inputs, recurrent, bias)[1]

    return [
        Op(
            kind,
            "recurrent",
            ((2, 5, 3), *weights),
            lambda *arrays: whole(*arrays)[0],
            partial(jax_alone.recurrent, kind=kind),
            terms=35,
        ),
        Op(
            f"{kind}_step",
            "recurrent",
            ((2, 3), *weights, *carry),
            step,
            partial(jax_alone.step, kind=kind),
            terms=7,
        ),
    ]


def activation(name: str, form: Callable[..., Any] | None = None, **settings: Any) -> Op:
    ours = getattr(ops, name)
    return Op(name, "activation", ((3, 8),), partial(ours, **settings), form or getattr(jax.nn, name))


IMAGE = (2, 6, 5, 4)
CHANNELS = ((4,), (4,))
HEADS = ((2, 5, 2, 4),) * 3
CONV_LSTM = ((3, 2, 8), (3, 2, 8), (8,))


def attention(name: str, causal: bool) -> Op:
    return Op(
        f"attention{name}",
        "attention",
        HEADS,
        partial(ops.attention, causal=causal),
        partial(jax.nn.dot_product_attention, is_causal=causal),
        partial(exact.attention, causal=causal),
        terms=9,
    )


OPS = [
    Op(
        "dense",
        "dense",
        ((3, 8), (8, 4), (4,)),
        ops.dense,
        lambda x, kernel, bias: x @ kernel + bias,
        terms=8,
    ),
    conv("1-d", (2, 9, 3), (3, 3, 4), bias=True, padding=1),
    conv("2-d", IMAGE, (3, 3, 4, 4), padding=1),
    conv("1×1", IMAGE, (1, 1, 4, 6)),
    conv("strided", IMAGE, (3, 3, 4, 4), strides=2, padding=1),
    conv("dilated", IMAGE, (2, 2, 4, 4), dilation=2),
    conv("grouped", IMAGE, (3, 3, 2, 4), padding=1, groups=2),
    conv("grouped strided", IMAGE, (3, 3, 2, 4), strides=2, padding=1, groups=2),
    conv("depthwise", IMAGE, (3, 3, 1, 4), padding=1, groups=4),
    conv("depthwise strided", IMAGE, (3, 3, 1, 8), strides=2, padding=1, groups=4),
    conv("3-d", (1, 4, 4, 3, 2), (2, 2, 2, 2, 3), strides=2, padding=1),
    Op(
        "conv_general_dilated both dilated",
        "conv",
        (IMAGE, (2, 2, 4, 4)),
        lambda x, k: ops.conv_general_dilated(
            x, k, (1, 1), ((1, 1), (1, 1)), (2, 2), (1, 2), ("NHWC", "HWIO", "NHWC")
        ),
        lambda x, k: lax.conv_general_dilated(
            x, k, (1, 1), ((1, 1), (1, 1)), (2, 2), (1, 2), ("NHWC", "HWIO", "NHWC")
        ),
        terms=16,
    ),
    transposed("1-d", (2, 5, 3), (4, 3, 2), strides=2, padding=1),
    transposed("4×4 s2", (2, 3, 4, 4), (4, 4, 4, 2), strides=2, padding=1),
    transposed("3×3 s2 +1", (2, 3, 4, 4), (3, 3, 4, 2), strides=2, padding=1, output_padding=1),
    transposed("2×2 s3", (2, 3, 2, 4), (2, 2, 4, 3), strides=3),
    transposed("grouped", (2, 3, 4, 4), (4, 4, 4, 1), strides=2, padding=1, groups=2),
    pool("max", "2×2", IMAGE, window=2),
    pool("max", "3×3 s2", IMAGE, window=3, strides=2, padding=1),
    pool("max", "3×3 s1", IMAGE, window=3, strides=1, padding=1),
    pool("max", "1-d", (2, 9, 3), window=3),
    pool("min", "2×2", IMAGE, window=2),
    pool("avg", "2×2", IMAGE, window=2),
    pool("avg", "3×3 s1", IMAGE, window=3, strides=1, padding=1),
    Op(
        "lp_pool",
        "pool",
        (IMAGE,),
        partial(ops.lp_pool, window=2),
        lambda x: jnp.sqrt(
            lax.reduce_window(x * x, np.zeros((), x.dtype), lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        ),
        lambda x: jnp.sqrt(sum(v * v for _, v in exact.taps(x, (2, 2), 2))),
        terms=4,
    ),
    Op("global_avg_pool", "pool", (IMAGE,), ops.global_avg_pool, lambda x: jnp.mean(x, (1, 2)), terms=30),
    Op("global_max_pool", "pool", (IMAGE,), ops.global_max_pool, lambda x: jnp.max(x, (1, 2)), integers=True),
    Op(
        "adaptive_avg_pool",
        "pool",
        (IMAGE,),
        partial(ops.adaptive_avg_pool, output_size=3),
        partial(jax_alone.adaptive, size=3, reduce=jnp.mean),
        terms=6,
    ),
    Op(
        "adaptive_max_pool",
        "pool",
        (IMAGE,),
        partial(ops.adaptive_max_pool, output_size=3),
        partial(jax_alone.adaptive, size=3, reduce=jnp.max),
        integers=True,
    ),
    Op(
        "max_pool_with_indices, max_unpool",
        "pool",
        ((2, 4, 6, 3),),
        lambda x: ops.max_unpool(*ops.max_pool_with_indices(x, 2), x.shape[1:-1]),
        jax_alone.unpool,
    ),
    Op(
        "batch_norm",
        "norm",
        (IMAGE, *CHANNELS, *CHANNELS),
        ops.batch_norm,
        lambda x, mean, var, scale, bias: (x - mean) * lax.rsqrt(var + 1e-5) * scale + bias,
        positive=(2,),
        terms=4,
    ),
    Op(
        "batch_norm_train",
        "norm",
        (IMAGE, *CHANNELS),
        lambda *arrays: ops.batch_norm_train(*arrays)[0],
        partial(jax_alone.norm, kind="batch"),
        terms=60,
    ),
    Op(
        "layer_norm",
        "norm",
        ((3, 5, 8), (8,), (8,)),
        ops.layer_norm,
        partial(jax_alone.norm, kind="layer"),
        terms=8,
    ),
    Op("rms_norm", "norm", ((3, 5, 8), (8,)), ops.rms_norm, partial(jax_alone.norm, kind="rms"), terms=8),
    Op(
        "group_norm",
        "norm",
        (IMAGE, *CHANNELS),
        lambda x, s, b: ops.group_norm(x, 2, s, b),
        partial(jax_alone.norm, kind="group", groups=2),
        terms=60,
    ),
    Op("instance_norm", "norm", (IMAGE, *CHANNELS), ops.instance_norm, jax_alone.instance_norm, terms=30),
    Op(
        "standardize",
        "norm",
        (IMAGE, *CHANNELS),
        ops.standardize,
        lambda x, mean, deviation: (x - mean) / deviation,
        positive=(2,),
    ),
    Op(
        "feature_statistics",
        "norm",
        ((12, 4),),
        # Statistics are in float32 at least.
        lambda x: jnp.stack(ops.feature_statistics(x)).astype(x.dtype),
        lambda x: jnp.stack([jnp.mean(x, 0), jnp.std(x, 0)]),
        terms=12,
    ),
    resized("×2", (8, 10), "nearest"),
    resized("4→6", (6, 3), "nearest"),
    resized("×2", (8, 10), "linear"),
    resized("4→6", (6, 3), "linear"),
    resized("×2", (8, 10), "cubic"),
    resized("×3", (12, 15), "linear", partial(ops.upsample, scale=3, method="linear")),
    Op(
        "pixel_shuffle",
        "resize",
        ((2, 2, 3, 8),),
        partial(ops.pixel_shuffle, scale=2),
        lambda x: plain.pixel_shuffle(specs.PixelShuffle(2), {}, x, None),
        integers=True,
    ),
    Op(
        "pixel_unshuffle",
        "resize",
        ((2, 4, 6, 2),),
        partial(ops.pixel_unshuffle, scale=2),
        jax_alone.unshuffle,
        integers=True,
    ),
    *recurrent("rnn"),
    *recurrent("gru"),
    *recurrent("lstm"),
    Op(
        "conv_lstm",
        "recurrent",
        ((2, 3, 5, 2), *CONV_LSTM),
        lambda *arrays: ops.conv_lstm(*arrays, padding="SAME")[0],
        partial(jax_alone.conv_lstm, conv=jax_alone.conv),
        partial(jax_alone.conv_lstm, conv=exact.conv),
        terms=36,
    ),
    Op(
        "conv_lstm_step",
        "recurrent",
        ((2, 5, 2), *CONV_LSTM, (2, 5, 2), (2, 5, 2)),
        lambda x, w, r, b, h, c: ops.conv_lstm_step((h, c), x, w, r, b, padding="SAME")[1],
        lambda *arrays: jax_alone.conv_lstm_step(*arrays, conv=jax_alone.conv)[0],
        lambda *arrays: jax_alone.conv_lstm_step(*arrays, conv=exact.conv)[0],
        terms=12,
    ),
    Op(
        "attention_pool",
        "pool",
        (IMAGE, (4, 2)),
        ops.attention_pool,
        jax_alone.attention_pool,
        terms=30,
    ),
    Op(
        "reverse_sequences",
        "recurrent",
        ((2, 5, 3),),
        ops.reverse_sequences,
        lambda x: x[:, ::-1],
        integers=True,
    ),
    attention("", causal=False),
    attention(" causal", causal=True),
    Op("rotary", "attention", ((2, 5, 2, 4),), ops.rotary, jax_alone.rotary, terms=2),
    Op(
        "maxout",
        "activation",
        ((3, 8),),
        partial(ops.maxout, pieces=2),
        lambda x: jnp.max(x.reshape(3, 4, 2), -1),
    ),
    Op("prelu", "activation", ((3, 8), (8,)), ops.prelu, lambda x, slope: jnp.where(x >= 0, x, slope * x)),
    Op("softmax", "activation", ((3, 8),), ops.softmax, jax.nn.softmax, terms=8),
    Op("softmin", "activation", ((3, 8),), ops.softmin, lambda x: jax.nn.softmax(-x), terms=8),
    Op("log_softmax", "activation", ((3, 8),), ops.log_softmax, jax.nn.log_softmax, terms=8),
    Op("sparsemax", "activation", ((3, 8),), ops.sparsemax, jax_alone.sparsemax, terms=8),
    Op(
        "threshold",
        "activation",
        ((3, 8),),
        lambda x: ops.threshold(x, 0.1, -1.0),
        lambda x: jnp.where(x > 0.1, x, -1),
    ),
    activation("step", lambda x: jnp.where(x > 0, 1, 0).astype(x.dtype)),
    activation("arctan", jnp.arctan),
    activation("linear", lambda x: x),
    activation("hard_shrink", lambda x: jnp.where(jnp.abs(x) > 0.5, x, 0)),
    activation("soft_shrink", lambda x: jnp.sign(x) * jnp.maximum(jnp.abs(x) - 0.5, 0)),
    activation("tanh_shrink", lambda x: x - jnp.tanh(x)),
    *map(
        activation,
        (
            "relu",
            "relu6",
            "leaky_relu",
            "elu",
            "selu",
            "celu",
            "gelu",
            "silu",
            "sigmoid",
            "tanh",
            "softplus",
            "soft_sign",
            "hard_tanh",
            "hard_sigmoid",
            "hard_silu",
            "mish",
            "glu",
            "log_sigmoid",
        ),
    ),
]


def select(only: list[str]) -> list[Op]:
    """The operations whose family or name holds one of the words; or all."""
    words = [word.lower() for word in only]
    return [op for op in OPS if not words or any(word in f"{op.family} {op.name}".lower() for word in words)]
