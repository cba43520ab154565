"""The shapes that operations are timed at: those of nets that people train, at batches two cores can carry.

``small`` ones take milliseconds and stand for MNIST-size work; ``tiny`` ones only show that all runs.
``large`` ones are the real ones at batches that keep an accelerator busy. Those hold the same random examples
several times, so that the answer in float64, which the CPU finds, can be that of the real one.
"""

from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np

from benchmarks import specs
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
)  # fmt: skip

SIZES = ("tiny", "small", "real", "large")
#: How many times the real batch a large one is, unless that has so many examples already;
MORE, ENOUGH = 8, 512
#: of attention over so many steps, whose scores would not fit otherwise.
LONG, MORE_OF_LONG = 4096, 2
#: Of a scan, whose inputs are stacked in memory.
STEPS, STEPS_OF_LARGE = 4, 2


@dataclass(frozen=True)
class Case:
    """A layer at a shape.

    Attributes:
      family: what ``--only`` selects by, as well as by the name.
      name: what it is and where it comes from.
      spec, shape: the layer and its input.
      size: of ``SIZES``.
      repeats: how many times the batch holds the same examples, one batch after the other.
    """

    family: str
    name: str
    spec: specs.Spec
    shape: specs.Shape
    size: str = "real"
    repeats: int = 1

    @property
    def title(self) -> str:
        return f"{self.name}, {'×'.join(map(str, self.shape))}"

    @property
    def steps(self) -> int:
        """Of a scan."""
        return STEPS_OF_LARGE if self.size == "large" else STEPS

    def draw(self) -> tuple[np.ndarray, object, np.ndarray]:
        """Input, weights and cotangent: random, the same each time."""
        rng = np.random.default_rng(crc32(self.title.encode()))
        shape = self.shape[0] // self.repeats, *self.shape[1:]
        if isinstance(self.spec, Embedding):
            x = rng.integers(0, self.spec.vocabulary, shape).astype(np.int32)
        else:
            x = rng.standard_normal(shape).astype(np.float32)
        weights = specs.draw_weights(self.spec, shape, rng)
        cotangent = rng.standard_normal(self.spec.out(shape)).astype(np.float32)
        return repeated(x, self.repeats), weights, repeated(cotangent, self.repeats)


def repeated(array: np.ndarray, times: int, axis: int = 0) -> np.ndarray:
    """The same batch several times, one after the other."""
    return np.concatenate([array] * times, axis) if times > 1 else array


IMAGES = (32, 32, 32, 64)
ODD = ConvTranspose(3, 2, 1, features=64, output_padding=1)
GROUPED = ConvTranspose(4, 2, 1, features=64, groups=4)

CASES = [
    Case("dense", "MNIST 784 → 50", Dense(50), (100, 784), "small"),
    Case("dense", "transformer 768 → 3072", Dense(3072), (8, 128, 768)),
    Case("dense", "MLP 1024 → 1024", Dense(1024), (128, 1024)),
    Case("dense", "ResNet-50's head 2048 → 1000", Dense(1000), (64, 2048)),
    Case("dense", "a head of ten classes, 1024 → 10", Dense(10), (256, 1024)),
    Case("conv", "LeNet 5×5, 1 → 6", Conv(5, padding=2, features=6), (100, 28, 28, 1), "small"),
    Case("conv", "3×3, 16 → 16", Conv(3, padding=1, features=16), (32, 16, 16, 16), "small"),
    Case("conv", "ResNet stem 7×7 s2, 3 → 64", Conv(7, 2, 3, features=64), (8, 128, 128, 3)),
    Case("conv", "ResNet 3×3, 64 → 64", Conv(3, padding=1, features=64), IMAGES),
    Case("conv", "ResNet 3×3 s2, 64 → 128", Conv(3, 2, 1, features=128), IMAGES),
    Case("conv", "ResNet 3×3, 256 → 256", Conv(3, padding=1, features=256), (32, 8, 8, 256)),
    Case("conv", "ResNet 1×1, 256 → 64", Conv(1, features=64), (32, 14, 14, 256)),
    Case("conv", "ResNet 1×1 s2, 64 → 128", Conv(1, 2, features=128), IMAGES),
    Case("conv", "DeepLab 3×3 dilated 2, 64 → 64", Conv(3, 1, 2, 2, features=64), IMAGES),
    Case("grouped", "3×3, 4 groups, 16", Conv(3, padding=1, features=16, groups=4), (8, 16, 16, 16), "small"),
    Case("grouped", "3×3, 4 groups, 64 → 64", Conv(3, padding=1, features=64, groups=4), IMAGES),
    Case("grouped", "ResNeXt 3×3, 32 groups, 64 → 64", Conv(3, padding=1, features=64, groups=32), IMAGES),
    Case("depthwise", "3×3, 32", Conv(3, padding=1, features=32, groups=32), (16, 16, 16, 32), "small"),
    Case("depthwise", "MobileNet 3×3, 64", Conv(3, padding=1, features=64, groups=64), IMAGES),
    Case("depthwise", "MobileNet 3×3 s2, 64", Conv(3, 2, 1, features=64, groups=64), IMAGES),
    Case("depthwise", "MobileNet 3×3, 512", Conv(3, padding=1, features=512, groups=512), (32, 14, 14, 512)),
    Case("depthwise", "ConvNeXt 7×7, 96", Conv(7, padding=3, features=96, groups=96), (8, 32, 32, 96)),
    Case("transposed", "4×4 s2, 32 → 16", ConvTranspose(4, 2, 1, features=16), (32, 7, 7, 32), "small"),
    Case("transposed", "DCGAN 4×4 s2, 128 → 64", ConvTranspose(4, 2, 1, features=64), (32, 16, 16, 128)),
    Case("transposed", "U-Net 2×2 s2, 128 → 64", ConvTranspose(2, 2, features=64), (32, 16, 16, 128)),
    Case("transposed", "3×3 s2 +1, 128 → 64", ODD, (32, 16, 16, 128)),
    Case("transposed", "5×5 s2, 128 → 64", ConvTranspose(5, 2, 2, features=64), (32, 16, 16, 128)),
    Case("transposed", "2×2 s3, 128 → 64", ConvTranspose(2, 3, features=64), (32, 10, 10, 128)),
    Case("transposed", "4×4 s2, 4 groups, 128 → 64", GROUPED, (32, 16, 16, 128)),
    Case("pool", "LeNet max 2×2", Pool(2, 2), (100, 28, 28, 6), "small"),
    Case("pool", "VGG max 2×2", Pool(2, 2), IMAGES),
    Case("pool", "ResNet max 3×3 s2", Pool(3, 2, 1), IMAGES),
    Case("pool", "Inception max 3×3 s1", Pool(3, 1, 1), IMAGES),
    Case("pool", "LeNet average 2×2", Pool(2, 2, kind="avg"), (100, 28, 28, 6), "small"),
    Case("pool", "average 2×2", Pool(2, 2, kind="avg"), IMAGES),
    Case("pool", "Inception average 3×3 s1", Pool(3, 1, 1, kind="avg"), IMAGES),
    Case("pool", "global average", GlobalAvgPool(), (32, 8, 8, 512)),
    Case("norm", "batch norm 16", Norm("batch"), (32, 16, 16, 16), "small"),
    Case("norm", "batch norm 64", Norm("batch"), IMAGES),
    Case("norm", "layer norm 768", Norm("layer"), (8, 128, 768)),
    Case("norm", "layer norm 256", Norm("layer"), (32, 256, 256)),
    Case("norm", "RMS norm 768", Norm("rms"), (8, 128, 768)),
    Case("norm", "group norm 64 by 8", Norm("group", 8), IMAGES),
    Case("resize", "nearest ×2", Resize(2, "nearest"), (16, 16, 16, 16), "small"),
    Case("resize", "U-Net nearest ×2", Resize(2, "nearest"), (32, 16, 16, 64)),
    Case("resize", "U-Net linear ×2", Resize(2, "linear"), (32, 16, 16, 64)),
    Case("resize", "cubic ×2", Resize(2, "cubic"), (32, 16, 16, 64)),
    Case("resize", "sub-pixel ×2", PixelShuffle(2), (32, 16, 16, 256)),
    Case("recurrent", "LSTM of MNIST rows, H 64", Recurrent("lstm", 64), (32, 28, 28), "small"),
    Case("recurrent", "LSTM T 128, H 256", Recurrent("lstm", 256), (32, 128, 128)),
    Case("recurrent", "GRU of MNIST rows, H 64", Recurrent("gru", 64), (32, 28, 28), "small"),
    Case("recurrent", "GRU T 128, H 256", Recurrent("gru", 256), (32, 128, 128)),
    Case("recurrent", "RNN T 128, H 256", Recurrent("rnn", 256), (32, 128, 128)),
    Case("attention", "8 heads of 64", Attention(8), (4, 128, 1536), "small"),
    Case("attention", "causal, 8 heads of 64", Attention(8, causal=True), (4, 128, 1536), "small"),
    Case("attention", "8 heads of 64", Attention(8), (1, 1024, 1536)),
    Case("attention", "causal, 8 heads of 64", Attention(8, causal=True), (1, 1024, 1536)),
    Case("attention", "4 heads of 64", Attention(4), (1, 4096, 768)),
    Case("attention", "causal, 4 heads of 64", Attention(4, causal=True), (1, 4096, 768)),
    Case("embedding", "10,000 × 256", Embedding(10_000, 256), (32, 128)),
    Case("activation", "ReLU", Function("relu"), IMAGES),
    Case("activation", "GELU (tanh)", Function("gelu"), (8, 128, 3072)),
    Case("activation", "softmax 128", Function("softmax"), (96, 128, 128)),
    Case("activation", "softmax 1000", Function("softmax"), (512, 1000)),
    Case("activation", "PReLU", Prelu(), IMAGES),
    Case("activation", "maxout 4", Maxout(4), IMAGES),
    Case("activation", "maxout 4", Maxout(4), (100, 240), "small"),
    Case("dropout", "dropout 0.5", Dropout(0.5), IMAGES),
    Case("dropout", "dropout 0.5", Dropout(0.5), (100, 240), "small"),
]  # fmt: skip


def larger(shape: specs.Shape, *, long: bool = False) -> specs.Shape:
    """A real input at the size ``large``.

    >>> larger((32, 14, 14, 256)), larger((512, 1000)), larger((1, 4096, 768), long=True)
    ((256, 14, 14, 256), (512, 1000), (2, 4096, 768))
    """
    many = 1 if shape[0] >= ENOUGH else MORE_OF_LONG if long else MORE
    return (many * shape[0], *shape[1:])


def large(case: Case) -> Case:
    """A real case at the size ``large``. Integers are drawn anew: it counts how often each stands there."""
    shape = larger(case.shape, long=isinstance(case.spec, Attention) and case.shape[1] >= LONG)
    repeats = 1 if isinstance(case.spec, Embedding) else shape[0] // case.shape[0]
    return replace(case, shape=shape, size="large", repeats=repeats)


LARGE = [large(case) for case in CASES if case.size == "real"]

TINY = [
    Case("dense", "dense", Dense(3), (2, 5), "tiny"),
    Case("conv", "convolution", Conv(3, 2, 1, features=4, groups=2), (2, 6, 6, 4), "tiny"),
    Case("transposed", "transposed", ConvTranspose(3, 2, 1, features=4), (2, 4, 4, 4), "tiny"),
    Case("pool", "max pool", Pool(3, 2, 1), (2, 6, 6, 2), "tiny"),
    Case("pool", "average pool", Pool(2, 2, kind="avg"), (2, 6, 6, 2), "tiny"),
    Case("pool", "global average", GlobalAvgPool(), (2, 3, 3, 2), "tiny"),
    Case("norm", "batch norm", Norm("batch"), (4, 3, 3, 2), "tiny"),
    Case("norm", "layer norm", Norm("layer"), (2, 3, 4), "tiny"),
    Case("norm", "RMS norm", Norm("rms"), (2, 3, 4), "tiny"),
    Case("norm", "group norm", Norm("group", 2), (2, 3, 3, 4), "tiny"),
    Case("resize", "nearest", Resize(2, "nearest"), (2, 3, 3, 2), "tiny"),
    Case("resize", "linear", Resize(2, "linear"), (2, 3, 3, 2), "tiny"),
    Case("resize", "cubic", Resize(2, "cubic"), (2, 4, 4, 2), "tiny"),
    Case("resize", "sub-pixel", PixelShuffle(2), (2, 3, 3, 8), "tiny"),
    Case("recurrent", "LSTM", Recurrent("lstm", 3), (2, 4, 2), "tiny"),
    Case("recurrent", "GRU", Recurrent("gru", 3), (2, 4, 2), "tiny"),
    Case("recurrent", "RNN", Recurrent("rnn", 3), (2, 4, 2), "tiny"),
    Case("attention", "causal attention", Attention(2, causal=True), (2, 5, 18), "tiny"),
    Case("embedding", "embedding", Embedding(7, 3), (2, 4), "tiny"),
    Case("activation", "GELU", Function("gelu"), (2, 5), "tiny"),
    Case("activation", "PReLU", Prelu(), (2, 3, 3, 2), "tiny"),
    Case("activation", "maxout", Maxout(2), (2, 6), "tiny"),
    Case("dropout", "dropout", Dropout(0.5), (20, 50), "tiny"),
]  # fmt: skip


def select(size: str, only: list[str]) -> list[Case]:
    """Cases of a size (``all``: small and real) whose family or name holds one of the words; or all."""
    others = {"tiny": TINY, "large": LARGE}
    chosen = others.get(size) or [case for case in CASES if size in ("all", case.size)]
    words = [word.lower() for word in only]
    return [
        case
        for case in chosen
        if not words or any(word in f"{case.family} {case.name}".lower() for word in words)
    ]
