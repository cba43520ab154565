"""What is timed, described once for all contenders: layers as data, channels last, weights as jaxnn has them.

Each leaf knows the shapes of its weights, of its output, and how many floating-point operations its forward
pass cannot avoid. ``Serial``, ``Sum`` and ``Skip`` make nets of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Spec:
    """One layer, as data."""

    def weights(self, shape: Shape) -> dict[str, Shape]:
        """The shape of each weight for an input of this shape."""
        return {}

    def out(self, shape: Shape) -> Shape:
        """The shape of the output."""
        return shape

    def flops(self, shape: Shape) -> int:
        """Operations of a forward pass; 0 where nothing but memory counts."""
        return 0


@dataclass(frozen=True)
class Dense(Spec):
    """An affine map of the last axis; ``flatten`` the example first, ``to`` an image afterwards."""

    features: int
    flatten: bool = False
    to: Shape = ()

    def rows(self, shape: Shape) -> Shape:
        return (shape[0], prod(shape[1:])) if self.flatten else shape

    def weights(self, shape: Shape) -> dict[str, Shape]:
        return {"kernel": (self.rows(shape)[-1], self.features), "bias": (self.features,)}

    def out(self, shape: Shape) -> Shape:
        return (shape[0], *self.to) if self.to else (*self.rows(shape)[:-1], self.features)

    def flops(self, shape: Shape) -> int:
        return 2 * prod(self.rows(shape)) * self.features


@dataclass(frozen=True)
class Windowed(Spec):
    """What slides a window over an image. ``padding`` zeros stand on each side of each axis."""

    window: int
    strides: int = 1
    padding: int = 0
    dilation: int = 1

    def space(self, shape: Shape) -> Shape:
        span = self.dilation * (self.window - 1) + 1
        return tuple((n + 2 * self.padding - span) // self.strides + 1 for n in shape[1:-1])

    def taps(self, shape: Shape) -> int:
        return int(self.window ** (len(shape) - 2))


@dataclass(frozen=True)
class Conv(Windowed):
    """A convolution without bias."""

    features: int = 1
    groups: int = 1

    def weights(self, shape: Shape) -> dict[str, Shape]:
        window = (self.window,) * (len(shape) - 2)
        return {"kernel": (*window, shape[-1] // self.groups, self.features)}

    def out(self, shape: Shape) -> Shape:
        return (shape[0], *self.space(shape), self.features)

    def flops(self, shape: Shape) -> int:
        return 2 * prod(self.out(shape)) * self.taps(shape) * shape[-1] // self.groups


@dataclass(frozen=True)
class ConvTranspose(Windowed):
    """A transposed convolution without bias; ``padding`` is cut off, as in PyTorch."""

    features: int = 1
    groups: int = 1
    output_padding: int = 0

    def weights(self, shape: Shape) -> dict[str, Shape]:
        window = (self.window,) * (len(shape) - 2)
        return {"kernel": (*window, shape[-1], self.features // self.groups)}

    def space(self, shape: Shape) -> Shape:
        more = self.window - 2 * self.padding + self.output_padding
        return tuple((n - 1) * self.strides + more for n in shape[1:-1])

    def out(self, shape: Shape) -> Shape:
        return (shape[0], *self.space(shape), self.features)

    def flops(self, shape: Shape) -> int:
        return 2 * prod(shape) * self.taps(shape) * self.features // self.groups


@dataclass(frozen=True)
class Pool(Windowed):
    """The window's largest value (``max``), or the average of its real ones (``avg``)."""

    kind: str = "max"

    def out(self, shape: Shape) -> Shape:
        return (shape[0], *self.space(shape), shape[-1])

    def flops(self, shape: Shape) -> int:
        return prod(self.out(shape)) * self.taps(shape)


@dataclass(frozen=True)
class GlobalAvgPool(Spec):
    """The mean over space."""

    def out(self, shape: Shape) -> Shape:
        return (shape[0], shape[-1])


@dataclass(frozen=True)
class Norm(Spec):
    """``batch`` (statistics of this batch), ``layer`` (over the channels), ``rms``, ``group``."""

    kind: str = "batch"
    groups: int = 1

    def weights(self, shape: Shape) -> dict[str, Shape]:
        both = {"scale": shape[-1:], "bias": shape[-1:]}
        return {"scale": shape[-1:]} if self.kind == "rms" else both


@dataclass(frozen=True)
class Resize(Spec):
    """Each spatial axis ``scale`` times as long, half-pixel centres; a fraction is cut off."""

    scale: float
    method: str = "nearest"

    def out(self, shape: Shape) -> Shape:
        return (shape[0], *(int(n * self.scale) for n in shape[1:-1]), shape[-1])


@dataclass(frozen=True)
class PixelShuffle(Spec):
    """Channels to pixels."""

    scale: int

    def out(self, shape: Shape) -> Shape:
        n, *space, channels = shape
        return (n, *(size * self.scale for size in space), channels // self.scale ** len(space))


@dataclass(frozen=True)
class Function(Spec):
    """An activation by its name in ``jax.nn``."""

    name: str


@dataclass(frozen=True)
class Prelu(Spec):
    """A slope per channel."""

    def weights(self, shape: Shape) -> dict[str, Shape]:
        return {"slope": shape[-1:]}


@dataclass(frozen=True)
class Maxout(Spec):
    """The largest of ``pieces`` neighbouring channels."""

    pieces: int

    def out(self, shape: Shape) -> Shape:
        return (*shape[:-1], shape[-1] // self.pieces)


@dataclass(frozen=True)
class Dropout(Spec):
    """Zeros with probability ``rate``."""

    rate: float


@dataclass(frozen=True)
class Embedding(Spec):
    """Integers to rows of a table."""

    vocabulary: int
    features: int

    def weights(self, shape: Shape) -> dict[str, Shape]:
        return {"table": (self.vocabulary, self.features)}

    def out(self, shape: Shape) -> Shape:
        return (*shape, self.features)


@dataclass(frozen=True)
class Recurrent(Spec):
    """``lstm`` (gates i, f, g, o), ``gru`` (r, z, n; the reset after the product) or ``rnn`` (tanh)."""

    kind: str
    features: int

    @property
    def gates(self) -> int:
        return {"lstm": 4, "gru": 3, "rnn": 1}[self.kind]

    def weights(self, shape: Shape) -> dict[str, Shape]:
        columns = self.gates * self.features
        return {
            "input_kernel": (shape[-1], columns),
            "recurrent_kernel": (self.features, columns),
            "bias": (columns,),
        }

    def out(self, shape: Shape) -> Shape:
        return (*shape[:-1], self.features)

    def flops(self, shape: Shape) -> int:
        return 2 * prod(shape[:-1]) * self.gates * self.features * (shape[-1] + self.features)


@dataclass(frozen=True)
class Attention(Spec):
    """Self-attention of queries, keys and values that stand side by side, (N, T, 3 · heads · D)."""

    heads: int
    causal: bool = False

    def parts(self, thirds: Sequence[Any]) -> list[Any]:
        """Queries, keys and values, each (N, T, heads, D), of the thirds of x.

        x is cut with the framework's own split: its gradient joins three arrays, that of slices adds them up.
        """
        return [a.reshape(*a.shape[:2], self.heads, a.shape[2] // self.heads) for a in thirds]

    def joined(self, y: Any) -> Any:
        """The heads side by side: (N, T, heads · D)."""
        return y.reshape(*y.shape[:2], y.shape[2] * y.shape[3])

    def out(self, shape: Shape) -> Shape:
        return (*shape[:-1], shape[-1] // 3)

    def flops(self, shape: Shape) -> int:
        pairs = shape[1] * (shape[1] + 1) // 2 if self.causal else shape[1] ** 2
        return 4 * shape[0] * pairs * shape[-1] // 3


@dataclass(frozen=True)
class Serial(Spec):
    """One after the other."""

    parts: tuple[Spec, ...]

    def out(self, shape: Shape) -> Shape:
        for part in self.parts:
            shape = part.out(shape)
        return shape

    def flops(self, shape: Shape) -> int:
        total = 0
        for part in self.parts:
            total, shape = total + part.flops(shape), part.out(shape)
        return total


@dataclass(frozen=True)
class Sum(Spec):
    """All parts of the same x, summed. An empty ``Serial`` is x itself."""

    parts: tuple[Spec, ...]

    def out(self, shape: Shape) -> Shape:
        return self.parts[0].out(shape)

    def flops(self, shape: Shape) -> int:
        return sum(part.flops(shape) for part in self.parts)


@dataclass(frozen=True)
class Skip(Spec):
    """The channels of x, then those of body(x)."""

    body: Serial

    def out(self, shape: Shape) -> Shape:
        out = self.body.out(shape)
        return (*out[:-1], shape[-1] + out[-1])

    def flops(self, shape: Shape) -> int:
        return self.body.flops(shape)


def serial(*parts: Spec) -> Serial:
    """Parts in a row."""
    return Serial(parts)


def children(spec: Spec, shape: Shape) -> list[tuple[Spec, Shape]] | None:
    """The parts of a composite, each with the shape of its input; None for a leaf."""
    match spec:
        case Serial(parts):
            found = []
            for part in parts:
                found.append((part, shape))
                shape = part.out(shape)
            return found
        case Sum(parts):
            return [(part, shape) for part in parts]
        case Skip(body):
            return [(body, shape)]
    return None


def draw_weights(spec: Spec, shape: Shape, rng: np.random.Generator) -> Any:
    """Random weights: a dict for a leaf, a list for a composite. No zeros and no ones anywhere."""
    parts = children(spec, shape)
    if parts is not None:
        return [draw_weights(part, at, rng) for part, at in parts]
    return {name: _draw(name, sizes, rng) for name, sizes in spec.weights(shape).items()}


def _draw(name: str, sizes: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    values = rng.standard_normal(sizes)
    if name.endswith("kernel"):
        gain = 1 if name in ("input_kernel", "recurrent_kernel") else 2
        values *= (gain / prod(sizes[:-1])) ** 0.5
    elif name in ("scale", "bias", "slope"):
        values = 0.1 * values + (name == "scale")
    return values.astype(np.float32)


def contains(spec: Spec, shape: Shape, kind: type[Spec]) -> bool:
    """Whether a leaf of this kind is in ``spec``."""
    parts = children(spec, shape)
    if parts is None:
        return isinstance(spec, kind)
    return any(contains(part, at, kind) for part, at in parts)


def stack(trees: Sequence[Any]) -> Any:
    """Weights of several nets as those of one, with a leading axis."""
    if isinstance(trees[0], dict):
        return {name: np.stack([tree[name] for tree in trees]) for name in trees[0]}
    return [stack(parts) for parts in zip(*trees, strict=True)]
