"""The losses of a run's first two steps in float64, by forms that share nothing with what is timed."""

from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.cifar.recipe import CLASSES, LOGITS, NORM_EPSILON, START, Recipe
from benchmarks.contenders.reference import in_float64


def first_losses(recipe: Recipe, params: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of a batch of normalised images, before and after the first step on it.

    The momentum has no past, so Nesterov's first step is (1 + momentum) times that of plain SGD.
    """

    def run(weights: Any, filters: Any, x: Any, y: Any) -> Any:
        def loss(weights: Any) -> Any:
            return _loss(recipe, weights, filters, x, y)

        before, grads = jax.value_and_grad(loss)(weights)
        moved = {}
        for name in weights:
            kind = {"shift": "shift", "batch": "bias"}.get(name.split("_")[0], "kernel")
            rate = START * recipe.peak(kind) * (1 + recipe.momentum)
            pull = recipe.pull(kind)
            moved[name] = jax.tree.map(
                lambda w, g, rate=rate, pull=pull: w - rate * (g + pull * w), weights[name], grads[name]
            )
        return jnp.stack([before, loss(moved)])

    filters = params.state["whiten"]["weights"]["kernel"]
    return in_float64(run, params.weights, filters, x, y)


def _loss(recipe: Recipe, weights: Any, filters: Any, x: Any, y: Any) -> Any:
    x = _gelu(_conv(x, filters, "VALID") + weights["shift"]["bias"])
    for i in range(6):
        x = _conv(x, weights[f"conv_{i}"]["kernel"], "SAME")
        x = _pool(x, 2) if i % 2 == 0 else x
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        x = _gelu((x - mean) / jnp.sqrt(var + NORM_EPSILON) + weights[f"batch_norm_{i}"]["bias"])
    logits = _pool(x, 3).reshape(len(x), -1) @ weights["head"]["kernel"] * LOGITS
    chance = jax.nn.log_softmax(logits)
    wanted = (1 - recipe.smoothing) * jax.nn.one_hot(y, CLASSES) + recipe.smoothing / CLASSES
    return -(wanted * chance).sum(-1).mean()


def _conv(x: Any, kernel: Any, padding: str) -> Any:
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _gelu(x: Any) -> Any:
    return x * (1 + lax.erf(x / 2**0.5)) / 2


def _pool(x: Any, side: int) -> Any:
    height, width = (size // side * side for size in x.shape[1:3])
    # The gradient of a maximum over axes divides by how often the maximum is found again: never, where it was
    # rounded otherwise before. That of a maximum of two does not divide.
    taps = [x[:, i:height:side, j:width:side] for i in range(side) for j in range(side)]
    return reduce(jnp.maximum, taps)
