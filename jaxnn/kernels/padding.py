"""Padding of some axes of an array."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax import lax
from jax.typing import ArrayLike


def padded(x: jax.Array, pads: Mapping[int, Sequence[int]], fill: ArrayLike = 0) -> jax.Array:
    """``x`` with so many values ``fill`` on each of these axes: before, after and, if given, between its own.

    Negative numbers before and after crop.
    """
    config = [(0, 0, 0)] * x.ndim
    for axis, (low, high, *between) in pads.items():
        config[axis] = (low, high, between[0] if between else 0)
    return lax.pad(x, np.asarray(fill, x.dtype), config) if any(map(any, config)) else x
