"""State dicts drawn from the names of their entries: the same wherever they are drawn, so never stored."""

from math import prod
from zlib import crc32

import numpy as np


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The entry ``name``: values that keep activations near 1, in float64."""
    z = np.random.default_rng(crc32(name.encode())).standard_normal(shape)
    last = name.rpartition(".")[2]
    if last == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if last == "running_var":
        return 1 + 0.5 * np.tanh(z)
    if last == "layer_scale":
        return 0.5 + 0.2 * z
    if last == "_u":
        return z / np.linalg.norm(z)
    if last == "running_mean" or last.startswith("bias"):
        return 0.1 * z
    if len(shape) == 1:
        return 1 + 0.2 * z
    return z * (2 / prod(shape[1:])) ** 0.5


def draw_input(name: str, shape: tuple[int, ...], ids: int = 0) -> np.ndarray:
    """An input of the net ``name``; with ``ids``, integers below it."""
    rng = np.random.default_rng(crc32(name.encode()))
    return rng.integers(0, ids, shape) if ids else rng.standard_normal(shape)


def project(array: np.ndarray) -> np.ndarray:
    """Eight numbers instead of the whole array: the products of its eighths with a fixed vector."""
    eighths = np.pad(array.ravel(), (0, -array.size % 8)).reshape(8, -1)
    return eighths @ np.sin(np.arange(eighths.shape[1]) + 1.0)
