"""How far a window reaches, and how wide its padding is, axis by axis."""

from collections.abc import Sequence

Pair = tuple[int, int]
Pairs = tuple[Pair, ...]


def dilated(window: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """The span d·(k − 1) + 1 that a window of k taps covers when they stand d apart."""
    return tuple(d * (k - 1) + 1 for k, d in zip(window, dilation, strict=True))
