"""Every operation of ``jaxnn.ops`` at a small shape: ours, the form that JAX alone has for it, the right
answer.

The right answer is computed in float64 on a CPU. Where windows slide, by slices and sums that share nothing
with either form; else by the form of JAX alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import specs
from benchmarks.contenders import plain
from benchmarks.contenders.model import stamping_kernel
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


def taps(
    x: Any, window: Shape, strides: int = 1, padding: int = 0, dilation: int = 1, fill: float = 0.0
) -> Iterator[tuple[Shape, Any]]:
    """Each place of the window, with the values that stand there for all outputs."""
    x = jnp.pad(x, ((0, 0), *((padding,) * 2,) * len(window), (0, 0)), constant_values=fill)
    spans = [dilation * (w - 1) + 1 for w in window]
    counts = [(n - span) // strides + 1 for n, span in zip(x.shape[1:-1], spans, strict=True)]
    for place in product(*map(range, window)):
        cut = [
            slice(dilation * j, dilation * j + strides * (count - 1) + 1, strides)
            for j, count in zip(place, counts, strict=True)
        ]
        yield place, x[:, *cut]


def exact_conv(x: Any, kernel: Any, bias: Any = None, *, groups: int = 1, **settings: Any) -> Any:
    """A convolution as a sum over the window's places."""
    *window, block, features = kernel.shape
    total: Any = 0.0
    for place, values in taps(x, tuple(window), **settings):
        split = values.reshape(*values.shape[:-1], groups, block)
        tap = kernel[place].reshape(block, groups, features // groups)
        total += jnp.einsum("...gc,cgo->...go", split, tap).reshape(*values.shape[:-1], features)
    return total if bias is None else total + bias


def exact_conv_transpose(
    x: Any,
    kernel: Any,
    bias: Any = None,
    *,
    strides: int,
    padding: int = 0,
    groups: int = 1,
    output_padding: int = 0,
) -> Any:
    """The transpose of a convolution."""
    *window, _, block = kernel.shape
    space = [
        (n - 1) * strides + w - 2 * padding + output_padding
        for n, w in zip(x.shape[1:-1], window, strict=True)
    ]
    big = jnp.zeros((x.shape[0], *space, groups * block), x.dtype)
    swapped = jnp.swapaxes(kernel, -1, -2)
    forward = partial(exact_conv, groups=groups, strides=strides, padding=padding)
    (y,) = jax.vjp(lambda big: forward(big, swapped), big)[1](x)
    return y if bias is None else y + bias


def exact_max_pool(x: Any, *, window: int, **settings: Any) -> Any:
    """The largest of the window's places, the first of equal ones."""
    largest = None
    for _, values in taps(x, (window,) * (x.ndim - 2), fill=-jnp.inf, **settings):
        largest = values if largest is None else jnp.where(values > largest, values, largest)
    return largest


def exact_avg_pool(x: Any, *, window: int, **settings: Any) -> Any:
    """The mean of the window's real places."""
    shape = (window,) * (x.ndim - 2)
    real = sum(values for _, values in taps(jnp.ones_like(x), shape, **settings))
    return sum(values for _, values in taps(x, shape, **settings)) / real


def dimension_numbers(x: Any) -> tuple[str, str, str]:
    space = "DHW"[-(x.ndim - 2) :]
    return f"N{space}C", f"{space}IO", f"N{space}C"


def lax_conv(
    x: Any,
    kernel: Any,
    bias: Any = None,
    *,
    strides: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Any:
    rank = x.ndim - 2
    y = lax.conv_general_dilated(
        x,
        kernel,
        (strides,) * rank,
        ((padding,) * 2,) * rank,
        rhs_dilation=(dilation,) * rank,
        dimension_numbers=dimension_numbers(x),
        feature_group_count=groups,
    )
    return y if bias is None else y + bias


def lax_conv_transpose(
    x: Any,
    kernel: Any,
    bias: Any = None,
    *,
    strides: int,
    padding: int = 0,
    groups: int = 1,
    output_padding: int = 0,
) -> Any:
    rank, low = x.ndim - 2, kernel.shape[0] - 1 - padding
    y = lax.conv_general_dilated(
        x,
        stamping_kernel(kernel, groups),
        (1,) * rank,
        ((low, low + output_padding),) * rank,
        lhs_dilation=(strides,) * rank,
        dimension_numbers=dimension_numbers(x),
        feature_group_count=groups,
    )
    return y if bias is None else y + bias


def lax_pool(x: Any, *, window: int, strides: int | None = None, padding: int = 0, kind: str = "max") -> Any:
    rank = x.ndim - 2
    sizes, steps = (1, *(window,) * rank, 1), (1, *(strides or window,) * rank, 1)
    pads = ((0, 0), *((padding,) * 2,) * rank, (0, 0))
    if kind == "avg":
        total = lax.reduce_window(x, np.zeros((), x.dtype), lax.add, sizes, steps, pads)
        return total / lax.reduce_window(jnp.ones_like(x), np.zeros((), x.dtype), lax.add, sizes, steps, pads)
    least = -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    most = jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).max
    start, function = (least, lax.max) if kind == "max" else (most, lax.min)
    return lax.reduce_window(x, np.asarray(start, x.dtype), function, sizes, steps, pads)


def lax_norm(x: Any, scale: Any, bias: Any = None, *, kind: str, groups: int = 1) -> Any:
    return plain.norm(specs.Norm(kind, groups), {"scale": scale, "bias": bias}, x, None)


def lax_instance_norm(x: Any, scale: Any, bias: Any) -> Any:
    axes = tuple(range(1, x.ndim - 1))
    mean, var = jnp.mean(x, axes, keepdims=True), jnp.var(x, axes, keepdims=True)
    return (x - mean) * lax.rsqrt(var + 1e-5) * scale + bias


def lax_recurrent(x: Any, inputs: Any, recurrent: Any, bias: Any, *, kind: str) -> Any:
    weights = {"input_kernel": inputs, "recurrent_kernel": recurrent, "bias": bias}
    return plain.recurrent(specs.Recurrent(kind, recurrent.shape[0]), weights, x, None)


def lax_step(x: Any, inputs: Any, recurrent: Any, bias: Any, h: Any, c: Any = None, *, kind: str) -> Any:
    cell = {"lstm": plain._lstm, "gru": plain._gru, "rnn": plain._rnn}[kind]
    return cell((h, c) if kind == "lstm" else h, x @ inputs + bias, recurrent)[1]


def conv_lstm_step(
    x: Any, inputs: Any, recurrent: Any, bias: Any, h: Any, c: Any, *, conv: Callable[..., Any]
) -> tuple[Any, Any]:
    """h and c after a step, windows of 3 that keep the size."""
    gates = conv(x, inputs, bias, padding=1) + conv(h, recurrent, padding=1)
    i, f, g, o = jnp.split(gates, 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def conv_lstm(x: Any, inputs: Any, recurrent: Any, bias: Any, *, conv: Callable[..., Any]) -> Any:
    """The outputs of a sequence, from zeros."""
    zeros = jnp.zeros((*x.shape[:1], *x.shape[2:-1], recurrent.shape[-2]), x.dtype)

    def step(carry: Any, x: Any) -> tuple[Any, Any]:
        carry = conv_lstm_step(x, inputs, recurrent, bias, *carry, conv=conv)
        return carry, carry[0]

    return jnp.swapaxes(lax.scan(step, (zeros, zeros), jnp.swapaxes(x, 0, 1))[1], 0, 1)


def lax_attention_pool(x: Any, kernel: Any) -> Any:
    flat = x.reshape(x.shape[0], -1, x.shape[-1])
    shares = jax.nn.softmax(flat @ kernel, 1)
    split = flat.reshape(*flat.shape[:2], kernel.shape[1], -1)
    return jnp.einsum("nph,nphc->nhc", shares, split).reshape(x.shape[0], -1)


def exact_attention(q: Any, k: Any, v: Any, *, causal: bool = False) -> Any:
    scores = jnp.einsum("nqhd,nkhd->nhqk", q, k) / q.shape[-1] ** 0.5
    if causal:
        scores = jnp.where(jnp.tri(q.shape[1], k.shape[1], dtype=bool), scores, -jnp.inf)
    return jnp.einsum("nhqk,nkhd->nqhd", jax.nn.softmax(scores), v)


def matrices(x: Any, *, size: Shape, method: str) -> Any:
    """Resizing as one dense matrix per axis."""
    for axis, length in enumerate(size, 1):
        matrix = plain.resize_matrix(x.shape[axis], length / x.shape[axis], method)
        x = jnp.moveaxis(jnp.tensordot(jnp.asarray(matrix, x.dtype), x, (1, axis)), 0, axis)
    return x


def gathered(x: Any, *, size: Shape) -> Any:
    """Resizing by nearest, for any dtype."""
    for axis, length in enumerate(size, 1):
        x = jnp.take(x, ((np.arange(length) + 0.5) * x.shape[axis] / length).astype(int), axis)
    return x


def lax_rotary(x: Any) -> Any:
    half = x.shape[-1] // 2
    angles = jnp.arange(x.shape[1])[:, None] / 10_000.0 ** (jnp.arange(half) / half)
    cos, sin = (f(angles).astype(x.dtype)[:, None] for f in (jnp.cos, jnp.sin))
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def lax_unshuffle(x: Any) -> Any:
    n, h, w, c = x.shape
    split = x.reshape(n, h // 2, 2, w // 2, 2, c)
    return split.transpose(0, 1, 3, 5, 2, 4).reshape(n, h // 2, w // 2, 4 * c)


def lax_adaptive(x: Any, size: int, reduce: Callable[..., Any]) -> Any:
    """Bins from ⌊i·n/o⌋ to ⌈(i+1)·n/o⌉, one reduction each."""
    for axis in range(1, x.ndim - 1):
        n = x.shape[axis]
        bins = [(i * n // size, -(-(i + 1) * n // size)) for i in range(size)]
        x = jnp.stack([reduce(lax.slice_in_dim(x, a, b, axis=axis), axis) for a, b in bins], axis)
    return x


def lax_unpool(x: Any) -> Any:
    """Each window's largest value where it stood, zeros elsewhere."""
    n, h, w, c = x.shape
    windows = (
        x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4).reshape(n, h // 2, w // 2, c, 4)
    )
    there = jax.nn.one_hot(jnp.argmax(windows, -1), 4, dtype=x.dtype)
    return (windows * there).reshape(n, h // 2, w // 2, c, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(x.shape)


def lax_sparsemax(x: Any) -> Any:
    ordered = -jnp.sort(-x, -1)
    ranks = jnp.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    sums = jnp.cumsum(ordered, -1)
    support = jnp.sum(1 + ranks * ordered > sums, -1, keepdims=True)
    threshold = (jnp.take_along_axis(sums, support - 1, -1) - 1) / support.astype(x.dtype)
    return jnp.maximum(x - threshold, 0)


def conv(name: str, x: Shape, kernel: Shape, *, bias: bool = False, **settings: int) -> Op:
    shapes = (x, kernel, *(((kernel[-1],),) if bias else ()))
    return Op(
        f"conv {name}",
        "conv",
        shapes,
        partial(ops.conv, **settings),
        partial(lax_conv, **settings),
        partial(exact_conv, **settings),
        terms=int(np.prod(kernel[:-1])),
    )


def transposed(name: str, x: Shape, kernel: Shape, **settings: int) -> Op:
    return Op(
        f"conv_transpose {name}",
        "transposed",
        (x, kernel),
        partial(ops.conv_transpose, **settings),
        partial(lax_conv_transpose, **settings),
        partial(exact_conv_transpose, **settings),
        terms=int(np.prod(kernel[:-1])),
    )


def pool(kind: str, name: str, shape: Shape, **settings: Any) -> Op:
    ours = {"max": ops.max_pool, "min": ops.min_pool, "avg": ops.avg_pool}[kind]
    steps = {**settings, "strides": settings.get("strides", settings["window"])}
    exact = {
        "max": partial(exact_max_pool, **steps),
        "min": lambda x: -exact_max_pool(-x, **steps),
        "avg": partial(exact_avg_pool, **steps),
    }[kind]
    return Op(
        f"{kind}_pool {name}",
        "pool",
        (shape,),
        partial(ours, **settings),
        partial(lax_pool, kind=kind, **settings),
        exact,
        terms=settings["window"] ** (len(shape) - 2),
        integers=kind != "avg",
    )


def resized(name: str, size: Shape, method: str, function: Callable[..., Any] | None = None) -> Op:
    def by_image(x: Any) -> Any:
        return jax.image.resize(x, (x.shape[0], *size, x.shape[-1]), method, antialias=False)

    nearest = method == "nearest"
    return Op(
        f"{'upsample' if function else 'resize'} {method} {name}",
        "resize",
        ((2, 4, 5, 2),),
        function or partial(ops.resize, size=size, method=method),
        # jax.image treats the edges of a cubic differently, so there it is a matrix for both.
        partial(matrices, size=size, method=method) if method == "cubic" else by_image,
        partial(gathered, size=size) if nearest else partial(matrices, size=size, method=method),
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
            partial(lax_recurrent, kind=kind),
            terms=35,
        ),
        Op(
            f"{kind}_step",
            "recurrent",
            ((2, 3), *weights, *carry),
            step,
            partial(lax_step, kind=kind),
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
        partial(exact_attention, causal=causal),
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
        lambda x: jnp.sqrt(sum(v * v for _, v in taps(x, (2, 2), 2))),
        terms=4,
    ),
    Op("global_avg_pool", "pool", (IMAGE,), ops.global_avg_pool, lambda x: jnp.mean(x, (1, 2)), terms=30),
    Op("global_max_pool", "pool", (IMAGE,), ops.global_max_pool, lambda x: jnp.max(x, (1, 2)), integers=True),
    Op(
        "adaptive_avg_pool",
        "pool",
        (IMAGE,),
        partial(ops.adaptive_avg_pool, output_size=3),
        partial(lax_adaptive, size=3, reduce=jnp.mean),
        terms=6,
    ),
    Op(
        "adaptive_max_pool",
        "pool",
        (IMAGE,),
        partial(ops.adaptive_max_pool, output_size=3),
        partial(lax_adaptive, size=3, reduce=jnp.max),
        integers=True,
    ),
    Op(
        "max_pool_with_indices, max_unpool",
        "pool",
        ((2, 4, 6, 3),),
        lambda x: ops.max_unpool(*ops.max_pool_with_indices(x, 2), x.shape[1:-1]),
        lax_unpool,
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
        partial(lax_norm, kind="batch"),
        terms=60,
    ),
    Op(
        "layer_norm",
        "norm",
        ((3, 5, 8), (8,), (8,)),
        ops.layer_norm,
        partial(lax_norm, kind="layer"),
        terms=8,
    ),
    Op("rms_norm", "norm", ((3, 5, 8), (8,)), ops.rms_norm, partial(lax_norm, kind="rms"), terms=8),
    Op(
        "group_norm",
        "norm",
        (IMAGE, *CHANNELS),
        lambda x, s, b: ops.group_norm(x, 2, s, b),
        partial(lax_norm, kind="group", groups=2),
        terms=60,
    ),
    Op("instance_norm", "norm", (IMAGE, *CHANNELS), ops.instance_norm, lax_instance_norm, terms=30),
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
        lax_unshuffle,
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
        partial(conv_lstm, conv=lax_conv),
        partial(conv_lstm, conv=exact_conv),
        terms=36,
    ),
    Op(
        "conv_lstm_step",
        "recurrent",
        ((2, 5, 2), *CONV_LSTM, (2, 5, 2), (2, 5, 2)),
        lambda x, w, r, b, h, c: ops.conv_lstm_step((h, c), x, w, r, b, padding="SAME")[1],
        lambda *arrays: conv_lstm_step(*arrays, conv=lax_conv)[0],
        lambda *arrays: conv_lstm_step(*arrays, conv=exact_conv)[0],
        terms=12,
    ),
    Op(
        "attention_pool",
        "pool",
        (IMAGE, (4, 2)),
        ops.attention_pool,
        lax_attention_pool,
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
    Op("rotary", "attention", ((2, 5, 2, 4),), ops.rotary, lax_rotary, terms=2),
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
    Op("sparsemax", "activation", ((3, 8),), ops.sparsemax, lax_sparsemax, terms=8),
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
