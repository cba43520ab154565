"""Recurrent networks in float64, one sequence, one step and one gate at a time."""

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def rnn_step(h: Array, x: Array, weights: dict[str, Array], activation: Callable[[Array], Array]) -> Array:
    return activation(x @ weights["input_kernel"] + h @ weights["recurrent_kernel"] + weights["bias"])


def lstm_step(carry: tuple[Array, Array], x: Array, weights: dict[str, Array]) -> tuple[Array, Array]:
    h, c = carry
    size = len(c)
    from_x, from_h = x @ weights["input_kernel"], h @ weights["recurrent_kernel"]
    if "cell_scale" in weights:
        from_x, from_h = norm(from_x) * weights["input_scale"], norm(from_h) * weights["recurrent_scale"]

    def gate(index: int) -> Array:
        columns = slice(index * size, (index + 1) * size)
        return from_x[columns] + from_h[columns] + weights["bias"][columns]

    into, forget, new, out = sigmoid(gate(0)), sigmoid(gate(1)), np.tanh(gate(2)), sigmoid(gate(3))
    c = forget * c + into * new
    shown = norm(c) * weights["cell_scale"] + weights["cell_bias"] if "cell_scale" in weights else c
    h = out * np.tanh(shown)
    return h @ weights["projection_kernel"] if "projection_kernel" in weights else h, c


def norm(x: Array) -> Array:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5)


def gru_step(h: Array, x: Array, weights: dict[str, Array]) -> Array:
    size = len(h)

    def shares(index: int) -> tuple[Array, Array]:
        columns = slice(index * size, (index + 1) * size)
        from_x = x @ weights["input_kernel"][:, columns] + weights["bias"][columns]
        return from_x, h @ weights["recurrent_kernel"][:, columns]

    reset, update = sigmoid(sum(shares(0))), sigmoid(sum(shares(1)))
    from_x, from_h = shares(2)
    candidate = np.tanh(from_x + reset * (from_h + weights["recurrent_bias"]))
    return (1 - update) * candidate + update * h


def over_time(
    step: Callable[..., Any], x: Array, carry: Any, lengths: list[int], reverse: bool
) -> tuple[Array, Any]:
    """Outputs (N, T, H), zero past the end, and the final carry; ``step(carry, x) -> carry``."""
    outputs, finals = [], []
    for n in range(len(x)):
        now = tuple(part[n] for part in carry) if isinstance(carry, tuple) else carry[n]
        hidden = now[0] if isinstance(carry, tuple) else now
        rows = np.zeros((x.shape[1], len(hidden)))
        times = range(max(0, min(lengths[n], x.shape[1])))
        for t in reversed(times) if reverse else times:
            now = step(now, x[n, t])
            rows[t] = now[0] if isinstance(carry, tuple) else now
        outputs.append(rows)
        finals.append(now)
    final = tuple(map(np.stack, zip(*finals, strict=True))) if isinstance(carry, tuple) else np.stack(finals)
    return np.stack(outputs), final


def reverse_sequences(x: Array, lengths: list[int]) -> Array:
    y = x.copy()
    for n, length in enumerate(lengths):
        real = max(0, min(length, x.shape[1]))
        for t in range(real):
            y[n, t] = x[n, real - 1 - t]
    return y
