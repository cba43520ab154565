"""Whole nets to train, at four sizes: ``tiny`` shows that all runs, ``small`` steps take milliseconds, and
``large`` ones keep an accelerator busy.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal
from zlib import crc32

import numpy as np

from benchmarks import specs
from benchmarks.cases import larger, repeated
from benchmarks.contenders import StepTask
from benchmarks.specs import (
    Attention,
    Conv,
    ConvTranspose,
    Dense,
    Embedding,
    Function,
    GlobalAvgPool,
    Norm,
    Pool,
    Recurrent,
    Serial,
    Skip,
    Sum,
    serial,
)  # fmt: skip

RELU = Function("relu")


@dataclass(frozen=True)
class Net:
    """A net and its batches.

    Attributes:
      name: of the net.
      spec, shape: the net and one batch of its input.
      classes: labels are below this; 0 where the target is an image.
      copies: independent nets trained side by side; 0 for one.
      repeats: how many times a batch holds the same examples.
    """

    name: str
    spec: Serial
    shape: specs.Shape
    classes: int
    copies: int = 0
    repeats: int = 1

    @property
    def title(self) -> str:
        many = f"{self.copies} nets, " if self.copies else ""
        return f"{self.name}, {many}batch {'×'.join(map(str, self.shape))}"

    def task(self, steps: int) -> StepTask:
        """Random weights and ``steps`` random batches, the same each time."""
        rng = np.random.default_rng(crc32(self.title.encode()))
        weights = specs.draw_weights(self.spec, self.shape, rng)
        if self.copies:
            more = [
                weights,
                *(specs.draw_weights(self.spec, self.shape, rng) for _ in range(self.copies - 1)),
            ]
            weights = specs.stack(more)
        first, shape = self.spec.parts[0], (self.shape[0] // self.repeats, *self.shape[1:])
        if isinstance(first, Embedding):
            x = rng.integers(0, first.vocabulary, (steps, *shape)).astype(np.int32)
        else:
            x = rng.standard_normal((steps, *shape)).astype(np.float32)
        out = self.spec.out(shape)
        if self.classes:
            y = rng.integers(0, self.classes, (steps, *out[:-1])).astype(np.int32)
        else:
            y = rng.standard_normal((steps, *out)).astype(np.float32)
        x, y = (repeated(array, self.repeats, axis=1) for array in (x, y))
        return StepTask(self.spec, weights, x, y, copies=self.copies)


def large(net: Net) -> Net:
    """A real net with a batch of the size ``large``; ids are drawn anew, as in ``cases.large``."""
    shape = larger(net.shape)
    repeats = 1 if isinstance(net.spec.parts[0], Embedding) else shape[0] // net.shape[0]
    return replace(net, shape=shape, repeats=repeats)


def unit(features: int, window: int = 3, strides: int = 1, groups: int = 1) -> list[specs.Spec]:
    """Convolution, batch norm, ReLU."""
    conv = Conv(window, strides, window // 2, features=features, groups=groups)
    return [conv, Norm("batch"), RELU]


def mlp() -> Serial:
    return serial(Dense(50), RELU, Dense(100), RELU, Dense(10))


def lenet() -> Serial:
    return serial(
        Conv(5, padding=2, features=6), RELU, Pool(2, 2),
        Conv(5, features=16), RELU, Pool(2, 2),
        Dense(120, flatten=True), RELU, Dense(84), RELU, Dense(10),
    )  # fmt: skip


def resnet(width: int, stages: int, blocks: int) -> Serial:
    """ResNet for 32×32 images: no stem pool; ResNet-18 is 64 wide, 4 stages of 2 blocks."""
    parts, channels = unit(width), width
    for stage in range(stages):
        for block in range(blocks):
            features, strides = width * 2**stage, 2 if stage and not block else 1
            body = serial(
                Conv(3, strides, 1, features=features), Norm("batch"), RELU,
                Conv(3, padding=1, features=features), Norm("batch"),
            )  # fmt: skip
            changes = strides > 1 or features != channels
            shortcut = serial(Conv(1, strides, features=features), Norm("batch")) if changes else serial()
            parts += [Sum((body, shortcut)), RELU]
            channels = features
    return serial(*parts, GlobalAvgPool(), Dense(10))


def mobilenet(width: int, plan: tuple[tuple[int, int], ...]) -> Serial:
    """MobileNet v1's blocks, each (multiple of the width, stride)."""
    parts, channels = unit(width), width
    for multiple, strides in plan:
        parts += [*unit(channels, 3, strides, groups=channels), *unit(width * multiple, 1)]
        channels = width * multiple
    return serial(*parts, GlobalAvgPool(), Dense(10))


def generator(width: int, doublings: int) -> Serial:
    """DCGAN's generator: 4×4, then twice the size and half the channels each time."""
    parts: list[specs.Spec] = [
        Dense(16 * width * 2**doublings, to=(4, 4, width * 2**doublings)), Norm("batch"), RELU,
    ]  # fmt: skip
    for i in reversed(range(1, doublings)):
        parts += [ConvTranspose(4, 2, 1, features=width * 2**i), Norm("batch"), RELU]
    return serial(*parts, ConvTranspose(4, 2, 1, features=3), Function("tanh"))


def unet(width: int, depth: int) -> Serial:
    """Two convolutions per level, max pool down, 2×2 transposed up, the levels joined by channels."""

    def level(features: int, deeper: int) -> Serial:
        both = [*unit(features), *unit(features)]
        if not deeper:
            return serial(*both)
        down = level(2 * features, deeper - 1)
        inner = serial(Pool(2, 2), down, ConvTranspose(2, 2, features=features))
        return serial(*both, Skip(inner), *unit(features), *unit(features))

    return serial(level(width, depth), Conv(1, features=1))


def language(kind: str, vocabulary: int, features: int) -> Serial:
    """The next symbol from all before it."""
    return serial(Embedding(vocabulary, features // 2), Recurrent(kind, features), Dense(vocabulary))


def gpt(vocabulary: int, features: int, heads: int, depth: int) -> Serial:
    """The next symbol from all before it: blocks of attention and two dense layers, norms first."""

    def added(*parts: specs.Spec) -> Sum:
        return Sum((serial(Norm("layer"), *parts), serial()))

    blocks = [
        added(Dense(3 * features), Attention(heads, causal=True), Dense(features)),
        added(Dense(4 * features), Function("gelu"), Dense(features)),
    ]
    return serial(Embedding(vocabulary, features), *(depth * blocks), Norm("layer"), Dense(vocabulary))


def cnn(width: int) -> Serial:
    return serial(
        Conv(3, padding=1, features=width), RELU, Pool(2, 2),
        Conv(3, padding=1, features=2 * width), RELU, Pool(2, 2),
        Dense(10, flatten=True),
    )  # fmt: skip


MOBILE = ((2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (16, 2), (16, 1))
Size = Literal["tiny", "small", "real", "large"]
MADE: dict[Size, Callable[[], list[Net]]] = {
    "large": lambda: [large(net) for net in MADE["real"]()],
    "real": lambda: [
        Net("MLP 784-50-100-10", mlp(), (100, 784), 10),
        Net("LeNet", lenet(), (100, 28, 28, 1), 10),
        Net("ResNet-18", resnet(64, 4, 2), (32, 32, 32, 3), 10),
        Net("MobileNet", mobilenet(32, MOBILE), (32, 32, 32, 3), 10),
        Net("DCGAN generator", generator(32, 3), (32, 100), 0),
        Net("U-Net", unet(16, 3), (8, 64, 64, 3), 0),
        Net("LSTM language model", language("lstm", 1000, 256), (32, 64), 1000),
        Net("GRU language model", language("gru", 1000, 256), (32, 64), 1000),
        Net("GPT of 2 blocks", gpt(256, 256, 4, 2), (8, 256), 256),
        Net("ensemble of CNNs", cnn(8), (32, 28, 28, 1), 10, copies=16),
    ],
    "small": lambda: [
        Net("MLP 784-50-100-10", mlp(), (100, 784), 10),
        Net("LeNet", lenet(), (32, 28, 28, 1), 10),
        Net("ResNet, small", resnet(8, 2, 1), (16, 16, 16, 3), 10),
        Net("MobileNet, small", mobilenet(8, MOBILE[:3]), (16, 16, 16, 3), 10),
        Net("DCGAN generator, small", generator(8, 2), (16, 20), 0),
        Net("U-Net, small", unet(4, 2), (4, 16, 16, 3), 0),
        Net("LSTM language model, small", language("lstm", 100, 64), (16, 16), 100),
        Net("GRU language model, small", language("gru", 100, 64), (16, 16), 100),
        Net("GPT, small", gpt(100, 64, 2, 1), (8, 32), 100),
        Net("ensemble of CNNs, small", cnn(4), (8, 14, 14, 1), 10, copies=4),
    ],
    "tiny": lambda: [
        Net("MLP", mlp(), (4, 6), 10),
        Net("LeNet", lenet(), (2, 12, 12, 1), 10),
        Net("ResNet", resnet(2, 2, 1), (3, 4, 4, 3), 10),
        Net("MobileNet", mobilenet(2, MOBILE[:2]), (3, 4, 4, 3), 10),
        Net("generator", generator(2, 2), (3, 5), 0),
        Net("U-Net", unet(2, 1), (3, 4, 4, 3), 0),
        Net("LSTM language model", language("lstm", 11, 4), (2, 5), 11),
        Net("GRU language model", language("gru", 11, 4), (2, 5), 11),
        Net("GPT", gpt(11, 4, 2, 1), (2, 5), 11),
        Net("ensemble", cnn(2), (2, 4, 4, 1), 10, copies=3),
    ],
}


def select(size: Size, only: list[str]) -> list[Net]:
    """The nets of a size whose name holds one of the words; or all."""
    words = [word.lower() for word in only]
    return [net for net in MADE[size]() if not words or any(word in net.name.lower() for word in words)]
