"""Error sentences: ``<owner>: <name> must be <rule>, got <value>``."""

from inspect import isfunction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def refusal(owner: str, name: str, rule: str, value: Any) -> str:
    """The sentence: ``<owner>: <name> must be <rule>, got <value>``."""
    return f"{owner}: {name} must be {rule}, got {shown(value)}"


def wrong_kind(owner: str, name: str, rule: str, value: Any) -> TypeError:
    """The error for a setting that breaks ``rule``, perhaps only because its value is traced."""
    known = " whose value is known when the program is traced" if isinstance(value, jax.core.Tracer) else ""
    return TypeError(refusal(owner, name, rule + known, value))


def shown(value: Any) -> str:
    """``value`` as a sentence shows it: short, whatever it is."""
    if isinstance(value, np.ndarray | jax.Array) and has_no_number(value):
        whole = "a masked array" if isinstance(value, np.ma.MaskedArray) else "an array"
        kind = "a traced" if isinstance(value, jax.core.Tracer) else whole
        return f"{kind} {value.dtype}[{','.join(map(str, value.shape))}]"
    text = f"the function {value.__name__}" if isfunction(value) else " ".join(repr(value).split())
    return text if len(text) <= 120 else f"{text[:117]}..."


def has_no_number(value: np.generic | np.ndarray | jax.Array) -> bool:
    """Whether an array has no single number to show: it has axes, is traced, or holds a key."""
    traced = isinstance(value, jax.core.Tracer)
    return traced or value.ndim > 0 or jnp.issubdtype(value.dtype, jax.dtypes.extended)


def described(value: Any) -> str:
    """What was passed instead of an array: kinds, dtypes and shapes rather than numbers."""
    if isinstance(value, tuple | list):
        few = ", ".join(map(described, value[:3])) + (", ..." if len(value) > 3 else "")
        return f"a {type(value).__name__} of {len(value)}" + (f" ({few})" if value else "")
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    return shown(value)
