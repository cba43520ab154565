"""Cases from outside: of a small file, of a named set, or drawn at random.

A TOML file is a list of tables, with ``dtypes`` for those that name none::

    dtypes = ["float32", "bfloat16"]
    [[case]]
    op = "conv"
    shape = [8, 32, 32, 64]
    features = 128
    window = 3
    strides = 2
    padding = 1

A CSV file has the same words as the head of its columns; what is empty is left out::

    op,shape,dtypes,features,window,strides,padding
    conv,8x32x32x64,float32 bfloat16,128,3,2,1
    lstm,32x128x64,,256,,,

``OPS`` lists the operations; their settings are the fields of the classes in ``specs.py``.
"""

import argparse
import csv
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from math import prod
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from benchmarks import nets, specs
from benchmarks.cases import Case
from benchmarks.options import DTYPES, duration, positive
from benchmarks.specs import (
    Attention,
    Conv,
    ConvTranspose,
    Dense,
    Dropout,
    Embedding,
    Function,
    GlobalAvgPool,
    Maxout,
    Norm,
    PixelShuffle,
    Pool,
    Prelu,
    Recurrent,
    Resize,
    Shape,
    Spec,
)  # fmt: skip

#: By the name in a file: the family, and what makes the layer of its settings.
OPS: dict[str, tuple[str, Callable[..., Spec]]] = {
    "dense": ("dense", Dense),
    "conv": ("conv", Conv),
    "conv_transpose": ("transposed", ConvTranspose),
    "max_pool": ("pool", partial(Pool, kind="max")),
    "avg_pool": ("pool", partial(Pool, kind="avg")),
    "global_avg_pool": ("pool", GlobalAvgPool),
    **{f"{kind}_norm": ("norm", partial(Norm, kind)) for kind in ("batch", "layer", "rms", "group")},
    "resize": ("resize", Resize),
    "pixel_shuffle": ("resize", PixelShuffle),
    **{kind: ("recurrent", partial(Recurrent, kind)) for kind in ("lstm", "gru", "rnn")},
    "attention": ("attention", Attention),
    "embedding": ("embedding", Embedding),
    **{
        name: ("activation", partial(Function, name))
        for name in ("relu", "gelu", "silu", "softmax", "tanh", "sigmoid")
    },
    "prelu": ("activation", Prelu),
    "maxout": ("activation", Maxout),
    "dropout": ("dropout", Dropout),
}
#: What is not a setting of the layer.
COMMON = ("op", "shape", "dtypes", "name")

Chosen = tuple[Case, tuple[str, ...]]


def read(path: Path) -> list[Chosen]:
    """The cases of a TOML or CSV file with their dtypes; raises ``ValueError`` with the place of what is
    wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error
    if path.suffix == ".toml":
        try:
            whole = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path}: not TOML ({error})") from error
        entries, usual = whole.get("case", []), whole.get("dtypes", ["float32"])
        if unknown := whole.keys() - {"case", "dtypes"}:
            raise ValueError(f"{path}: must hold dtypes and [[case]] alone, got {', '.join(sorted(unknown))}")
    elif path.suffix == ".csv":
        entries = [
            {name: _value(name, cell) for name, cell in row.items() if name and cell}
            for row in csv.DictReader(text.splitlines())
        ]
        usual = ["float32"]
    else:
        raise ValueError(f"{path}: must end in .toml or .csv")
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: must hold at least one case")
    return [entry_case(entry, usual, f"{path}, case {i}") for i, entry in enumerate(entries, 1)]


def _value(name: str, cell: str) -> Any:
    """What a cell of a CSV file means."""
    if name == "shape":
        return [int(n) if n.isdigit() else n for n in cell.replace("×", "x").split("x")]
    if name == "dtypes":
        return cell.split()
    if name in ("op", "name", "method"):
        return cell
    if cell.lower() in ("true", "false"):
        return cell.lower() == "true"
    try:
        return int(cell)
    except ValueError:
        try:
            return float(cell)
        except ValueError:
            return cell


def entry_case(entry: Mapping[str, Any], usual: Sequence[str], place: str) -> Chosen:
    """One case of a file."""
    op, shape = entry.get("op"), entry.get("shape")
    if op not in OPS:
        raise ValueError(f"{place}: op must be one of {', '.join(OPS)}, got {op!r}")
    if not isinstance(shape, list) or not shape or not all(type(n) is int and n > 0 for n in shape):
        raise ValueError(f"{place}: shape must be a list of positive integers, got {shape!r}")
    dtypes = entry.get("dtypes", usual)
    if not isinstance(dtypes, list) or not dtypes or not set(dtypes) <= set(DTYPES):
        raise ValueError(f"{place}: dtypes must be of {', '.join(DTYPES)}, got {dtypes!r}")
    settings = {name: value for name, value in entry.items() if name not in COMMON}
    return case(op, tuple(shape), settings, entry.get("name"), place), tuple(dtypes)


def case(
    op: str, shape: Shape, settings: Mapping[str, Any], name: str | None = None, place: str = "case"
) -> Case:
    """A layer at a shape; raises ``ValueError`` if it does not fit."""
    family, make = OPS[op]
    known = [field.name for field in fields(make.func if isinstance(make, partial) else make)]  # type: ignore[arg-type]
    if isinstance(make, partial):
        known = [word for word in known[len(make.args) :] if word not in make.keywords]
    for word in settings:
        if word not in known:
            raise ValueError(f"{place}: {op} must have settings of {', '.join(known) or 'none'}, got {word}")
    try:
        spec = make(**settings)
        out = spec.out(shape)
        fits = all(
            type(n) is int and n > 0 for n in (*out, *(n for w in spec.weights(shape).values() for n in w))
        )
    except (TypeError, ValueError, ZeroDivisionError, IndexError) as error:
        raise ValueError(
            f"{place}: {op} must fit the shape {list(shape)}, got {dict(settings)} ({error})"
        ) from error
    if not fits:
        raise ValueError(f"{place}: {op} must fit the shape {list(shape)}, got {dict(settings)}")
    if isinstance(spec, Conv):
        family = family_of_conv(spec, shape)
    return Case(family, name or described(spec), spec, shape)


def family_of_conv(spec: Conv, shape: Shape) -> str:
    """The family of a convolution of an input of this shape."""
    if spec.groups == 1:
        return "conv"
    return "depthwise" if spec.groups == shape[-1] else "grouped"


def described(spec: Spec) -> str:
    """A layer in words.

    >>> described(Conv(3, 2, 1, features=8, groups=2))
    'Conv window 3 strides 2 padding 1 features 8 groups 2'
    >>> described(Norm())
    'Norm batch'
    """
    words = [type(spec).__name__]
    for field in fields(spec):
        value = getattr(spec, field.name)
        if isinstance(value, str):
            words.append(value)
        elif value != field.default:
            words.append(f"{field.name} {value:g}" if isinstance(value, float) else f"{field.name} {value}")
    return " ".join(words)


def leaves(spec: Spec, shape: Shape) -> Iterator[tuple[Spec, Shape]]:
    """The layers of a net, each with the shape that reaches it."""
    parts = specs.children(spec, shape)
    if parts is None:
        yield spec, shape
        return
    for part, at in parts:
        yield from leaves(part, at)


def of_net(spec: Spec, shape: Shape, name: str) -> list[Case]:
    """The different layers of a net, as cases."""
    families = {
        Dense: "dense", ConvTranspose: "transposed", Pool: "pool", GlobalAvgPool: "pool", Norm: "norm",
        Function: "activation", Recurrent: "recurrent", Embedding: "embedding", Attention: "attention",
    }  # fmt: skip

    def family(leaf: Spec, at: Shape) -> str:
        return family_of_conv(leaf, at) if isinstance(leaf, Conv) else families[type(leaf)]

    found = dict.fromkeys(leaves(spec, shape))
    return [Case(family(leaf, at), f"{name}, {described(leaf)}", leaf, at) for leaf, at in found]


def bottleneck(width: int, features: int, strides: int) -> list[Spec]:
    """A block of ResNet-50, without its sum."""
    return [*nets.unit(width, 1), *nets.unit(width, 3, strides), *nets.unit(features, 1)]


def resnet50() -> Spec:
    """The layers of ResNet-50 at 224×224, one block of each kind; their sums left out."""
    parts = [*nets.unit(64, 7, 2), Pool(3, 2, 1)]
    for stage, width in enumerate((64, 128, 256, 512)):
        parts += bottleneck(width, 4 * width, 2 if stage else 1) + bottleneck(width, 4 * width, 1)
    return specs.serial(*parts, GlobalAvgPool(), Dense(1000))


def transformer(features: int, heads: int) -> Spec:
    """The layers of a block of a transformer, in a row: attention, then the multilayer perceptron."""
    return specs.serial(
        Norm("layer"), Dense(3 * features), Attention(heads, causal=True), Dense(features),
        Norm("layer"), Dense(4 * features), Function("gelu"), Dense(features),
    )  # fmt: skip


#: By name: a net and the shape of its input.
SETS: dict[str, Callable[[], list[Case]]] = {
    "resnet": lambda: of_net(nets.resnet(64, 4, 2), (32, 32, 32, 3), "ResNet-18"),
    "resnet50": lambda: of_net(resnet50(), (8, 224, 224, 3), "ResNet-50"),
    "mobilenet": lambda: of_net(nets.mobilenet(32, nets.MOBILE), (32, 32, 32, 3), "MobileNet"),
    "unet": lambda: of_net(nets.unet(16, 3), (8, 64, 64, 3), "U-Net"),
    "dcgan": lambda: of_net(nets.generator(64, 4), (32, 100), "DCGAN"),
    "lstm": lambda: of_net(nets.language("lstm", 10_000, 512), (32, 64), "LSTM"),
    "transformer": lambda: of_net(transformer(768, 12), (4, 256, 768), "transformer"),
}

#: The most operations of a random case's forward pass, and the most values of its input or its output.
MOST_OPERATIONS, MOST_VALUES = 2e9, 4e6


def drawn(families: Iterable[str], count: int, seed: int) -> list[Case]:
    """``count`` random cases of each family, families in turn.

    A case depends on its family, its number and the seed alone: neither the other families nor a larger count
    changes it.
    """
    return [draw(family, i, seed) for i in range(count) for family in families]


def draw(family: str, i: int, seed: int) -> Case:
    """The i-th random case of a family: sizes uniform on a logarithmic scale, none too large to time."""
    rng = np.random.default_rng([seed, i, crc32(family.encode())])
    while True:
        shape, spec = RANDOM[family](rng)
        out = spec.out(shape)
        small = max(prod(shape), prod(out)) <= MOST_VALUES and spec.flops(shape) <= MOST_OPERATIONS
        if min(out) > 0 and small:
            return Case(family, described(spec), spec, shape)


def size(rng: np.random.Generator, low: int, high: int) -> int:
    """An integer, its logarithm uniform; half of them are rounded to powers of two, as sizes in nets are."""
    value = float(np.exp(rng.uniform(np.log(low), np.log(high + 1))))
    return int(np.clip(2 ** round(np.log2(value)) if rng.random() < 0.5 else value, low, high))


def one_of(rng: np.random.Generator, *values: Any) -> Any:
    return values[rng.integers(len(values))]


def image(rng: np.random.Generator, channels: int) -> Shape:
    side = size(rng, 4, 64)
    return size(rng, 1, 32), side, one_of(rng, side, side, size(rng, 4, 64)), channels


def _conv(rng: np.random.Generator, channels: int, groups: int, features: int) -> tuple[Shape, Spec]:
    window, strides = one_of(rng, 1, 2, 3, 3, 5, 7), one_of(rng, 1, 1, 2, 3)
    dilation = one_of(rng, 1, 1, 1, 2)
    padding = one_of(rng, 0, dilation * (window - 1) // 2)
    return image(rng, channels), Conv(window, strides, padding, dilation, features, groups)


def _grouped(rng: np.random.Generator) -> tuple[Shape, Spec]:
    groups = one_of(rng, 2, 4, 8, 32)
    return _conv(rng, groups * size(rng, 2, 32), groups, groups * size(rng, 1, 32))


def _depthwise(rng: np.random.Generator) -> tuple[Shape, Spec]:
    channels = size(rng, 2, 512)
    return _conv(rng, channels, channels, channels * one_of(rng, 1, 1, 2))


def _transposed(rng: np.random.Generator) -> tuple[Shape, Spec]:
    window, strides = one_of(rng, 2, 3, 4, 5), one_of(rng, 1, 2, 2, 3)
    padding = one_of(rng, 0, (window - 1) // 2)
    spec = ConvTranspose(window, strides, padding, features=size(rng, 1, 128))
    return image(rng, size(rng, 1, 256)), spec


def _pool(rng: np.random.Generator) -> tuple[Shape, Spec]:
    window = one_of(rng, 2, 2, 3, 3, 4, 5)
    strides = one_of(rng, window, window, 1, 2)
    spec = Pool(window, strides, one_of(rng, 0, window // 2), kind=one_of(rng, "max", "avg"))
    return image(rng, size(rng, 1, 256)), spec


def _norm(rng: np.random.Generator) -> tuple[Shape, Spec]:
    kind, groups = one_of(rng, "batch", "layer", "rms", "group"), one_of(rng, 1, 2, 4, 8, 32)
    if kind in ("layer", "rms"):
        return (size(rng, 1, 32), size(rng, 8, 512), size(rng, 16, 2048)), Norm(kind)
    if kind == "batch":
        return image(rng, size(rng, 1, 512)), Norm(kind)
    return image(rng, groups * size(rng, 1, 64)), Norm(kind, groups)


def _resize(rng: np.random.Generator) -> tuple[Shape, Spec]:
    method, (below, above) = (
        one_of(rng, "nearest", "linear", "cubic"),
        one_of(rng, (1, 2), (1, 3), (2, 3), (3, 4), (2, 1)),
    )
    side = below * size(rng, 2, 32)
    shape = size(rng, 1, 32), side, side, size(rng, 1, 128)
    return shape, Resize(above / below, method)


def _recurrent(rng: np.random.Generator) -> tuple[Shape, Spec]:
    shape = size(rng, 1, 64), size(rng, 4, 128), size(rng, 8, 256)
    return shape, Recurrent(one_of(rng, "lstm", "gru", "rnn"), size(rng, 8, 256))


def _dense(rng: np.random.Generator) -> tuple[Shape, Spec]:
    return (size(rng, 1, 4096), size(rng, 4, 2048)), Dense(size(rng, 4, 2048))


def _attention(rng: np.random.Generator) -> tuple[Shape, Spec]:
    heads = one_of(rng, 1, 2, 4, 8)
    features = 3 * heads * one_of(rng, 16, 32, 64, 128)
    return (size(rng, 1, 16), size(rng, 16, 1024), features), Attention(heads, bool(rng.integers(2)))


def _activation(rng: np.random.Generator) -> tuple[Shape, Spec]:
    spec = one_of(rng, Function("gelu"), Function("silu"), Function("softmax"), Prelu(), Maxout(2))
    return (size(rng, 1, 256), 2 * size(rng, 4, 2048)), spec


#: By family, what draws a shape and a layer.
RANDOM: dict[str, Callable[[np.random.Generator], tuple[Shape, Spec]]] = {
    "conv": lambda rng: _conv(rng, size(rng, 1, 256), 1, size(rng, 1, 256)),
    "grouped": _grouped,
    "depthwise": _depthwise,
    "transposed": _transposed,
    "pool": _pool,
    "norm": _norm,
    "resize": _resize,
    "recurrent": _recurrent,
    "dense": _dense,
    "attention": _attention,
    "activation": _activation,
}


def add_random(parser: argparse.ArgumentParser) -> None:
    """The flags of random cases, and the budget that they make worth having."""
    parser.add_argument("--random", type=positive, metavar="N", help="N random shapes of each family")
    parser.add_argument("--seed", type=int, default=0, help="of the random shapes (default: %(default)s)")
    parser.add_argument(
        "--families", nargs="+", choices=RANDOM, default=list(RANDOM), metavar="FAMILY",
        help=f"of the random shapes: {', '.join(RANDOM)} (default: all)",
    )  # fmt: skip
    parser.add_argument("--minutes", type=duration, default=float("inf"), help="the budget (default: none)")
