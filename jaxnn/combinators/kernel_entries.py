"""The kernels in a tree of weights: what ``weight_norm`` and ``spectral_norm`` act on.

A kernel is an array called ``kernel`` (or ``input_kernel``, ``recurrent_kernel``, ...), at any depth. Its
last axis holds the output channels. Around ``repeat`` or ``ensemble`` the axis of the copies would count as
one of the other axes: put the wrapper inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jaxnn.layer import Layer


def at_kernels(
    selects: Callable[[str, Any], bool],
    function: Callable[..., Any],
    weights: Any,
    *others: Any,
    again: bool = False,
    owner: str = "",
) -> Any:
    """``weights`` with ``function(kernel, *those of others at the same place)`` in place of each kernel.

    Args:
      selects: ``selects(name, entry)``: whether an entry is a kernel, such as ``is_kernel``.
      function: what to do with each.
      weights: nested dicts.
      *others: nested dicts with an entry for each kernel.
      again: whether the direction of a kernel that another ``weight_norm`` has replaced counts as a kernel.
      owner: the name of the entry that ``weights`` are.
    """
    if not isinstance(weights, Mapping):
        return weights
    result = {}
    for name, entry in weights.items():
        called = owner if again and name == "direction" and owner.endswith("kernel") else name
        if selects(called, entry):
            result[name] = function(entry, *(other[name] for other in others))
        else:
            theirs = (other.get(name, {}) for other in others)
            result[name] = at_kernels(selects, function, entry, *theirs, again=again, owner=called)
    return result


def kernels(weights: Any) -> Any:
    """The kernels of ``weights`` and nothing else, in the same nested dicts."""
    if not isinstance(weights, Mapping):
        return {}
    found = {name: entry if is_kernel(name, entry) else kernels(entry) for name, entry in weights.items()}
    return {name: entry for name, entry in found.items() if not isinstance(entry, Mapping) or entry}


def is_kernel(name: str, entry: Any) -> bool:
    """Whether the entry is an array called a kernel."""
    return name.endswith("kernel") and not isinstance(entry, Mapping)


def require_kernels(wrapper: str, layer: Layer, weights: Any) -> None:
    """Raises where the weights of ``layer`` hold no kernel."""
    if not kernels(weights):
        names = ", ".join(weights) if isinstance(weights, Mapping) and weights else "none"
        raise ValueError(f"{wrapper}: the layer {layer.name!r} must have a kernel, its weights are: {names}")
