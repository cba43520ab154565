"""A real photograph."""

from typing import Any

import jax
import jax.numpy as jnp
from sklearn.datasets import load_sample_image

import jaxnn as nn
from jaxnn.ops.checks import integer

NAMES = ("china.jpg", "flower.jpg")


def photograph(height: int = 320, name: str = "china.jpg") -> jax.Array:
    """A colour photograph of scikit-learn's, (1, height, W, 3) in 0..1, made smaller without aliasing.

    ``name`` is one of ``NAMES``.

    >>> photograph(64).shape
    (1, 64, 96, 3)
    """
    if name not in NAMES:
        raise ValueError(f"photograph: name must be one of {', '.join(NAMES)}, got {name!r}")
    height = integer("photograph", "height", height, least=1)
    pixels: Any = load_sample_image(name)
    x = jnp.asarray(pixels[None], jnp.float32) / 255
    width = round(height * x.shape[2] / x.shape[1])
    return jnp.clip(nn.ops.resize(x, (height, width), method="linear", antialias=True), 0, 1)
