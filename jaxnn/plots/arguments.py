"""Checks of the arguments of figures, before anything is drawn."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes

from jaxnn.ops import checks
from jaxnn.ops.checks import refusal


def by_title(owner: str, name: str, value: Any, what: str) -> None:
    """Raises unless ``value`` is a mapping that holds at least one of ``what``, each under a string."""
    if not isinstance(value, Mapping) or not all(isinstance(title, str) for title in value):
        raise TypeError(refusal(owner, name, f"a dictionary, {what}s by title", value))
    if not value:
        raise ValueError(f"{owner}: {name} must hold at least one {what}, got none")


def numbers(owner: str, name: str, value: Any) -> np.ndarray:
    """``value`` as a NumPy array; raises unless it holds real numbers."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):  # lists of different lengths, or arrays that can't be read
        array = np.asarray(None)
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
        raise TypeError(refusal(owner, name, "an array of real numbers", value))
    return array


def limits(owner: str, name: str, value: Any) -> tuple[float, float]:
    """``value`` as two floats; raises unless it is a pair of finite numbers, the lower one first."""
    try:
        low, high = value
    except (TypeError, ValueError):
        raise TypeError(refusal(owner, name, "a pair of numbers", value)) from None
    low, high = checks.number(owner, name, low), checks.number(owner, name, high)
    if low >= high:
        raise ValueError(refusal(owner, name, "a range, the lower number first", value))
    return low, high


def axes(owner: str, value: Any) -> None:
    """Raises unless ``value`` is None or matplotlib axes."""
    if value is not None and not isinstance(value, Axes):
        raise TypeError(refusal(owner, "axes", "matplotlib Axes", value))
