"""A net as a list of its units: the layers that hold arrays, by path, whatever is wrapped around them.

Other libraries store the arrays of a unit together, in a module of their own, so that they are exchanged unit
by unit. Composites are followed by their parts, in the order in which they were given: no input is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn.layer import Layer
from jaxnn.lifting import as_layer
from jaxnn.params import Params


class Slots(NamedTuple):
    """The arrays of a layer; ``vectors`` are those that ``spectral_norm`` keeps for it."""

    weights: Any
    state: Any
    vectors: Any


@dataclass(frozen=True)
class Unit:
    """A layer that is not made of others, within a net.

    Attributes:
      path: the names that lead to it, joined by ``/``; the layer's own name if it is the whole net.
      kind: the name of its constructor; for a layer of one's own, its name.
      layer: the layer.
      slots: its arrays.
      settings: what its constructor was given, defaults included.
    """

    path: str
    kind: str
    layer: Layer
    slots: Slots
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_arrays(self) -> bool:
        return bool(jax.tree.leaves(self.slots))


Visit = Callable[[Unit], Slots]

#: Constructors that leave a layer's params as they are.
TRANSPARENT = ("named", "remat", "mixed_precision", "each_step")
#: Those of many copies side by side, with a leading axis in each array.
COPIES = ("repeat", "ensemble")


def units(net: Layer, params: Params) -> list[Unit]:
    """Every unit of ``net`` that holds arrays, in order."""
    found: list[Unit] = []

    def visit(unit: Unit) -> Slots:
        if unit.has_arrays:
            found.append(unit)
        return unit.slots

    rebuild(net, params, visit)
    return found


def rebuild(net: Layer, params: Params, visit: Visit) -> Params:
    """``params`` with the arrays that ``visit`` gives for each unit in place of the unit's own."""
    weights, state, _ = _rebuild(net, Slots(*params, {}), "", visit)
    return Params(weights, state)


def kind_of(layer: Layer) -> str:
    """The name of the layer's constructor; its own where it has none, and for a plain function."""
    if layer.made is None or layer.made.name in ("stateless", "stochastic"):
        return layer.name
    return layer.name if layer.made.lifted else layer.made.name


def _rebuild(layer: Layer, slots: Slots, path: str, visit: Visit) -> Slots:
    made = layer.made
    settings = {} if made is None or made.lifted else made.settings()
    kind = kind_of(layer)
    inner = partial(_rebuild, visit=visit)
    if kind in TRANSPARENT:
        return inner(as_layer(settings["layer"]), slots, path)
    if kind == "frozen":
        held = Slots(slots.state["weights"], slots.state["state"], slots.vectors)
        new = inner(as_layer(settings["layer"]), held, path)
        return Slots({}, {"weights": new.weights, "state": new.state}, new.vectors)
    if kind in COPIES:
        copies = [
            inner(as_layer(settings["layer"]), _member(slots, i), join(path, str(i)))
            for i in range(settings["n"])
        ]
        return jax.tree.map(_stacked, *copies)
    if kind == "weight_norm":
        return inner(as_layer(settings["layer"]), slots, path)
    if kind == "spectral_norm":
        held = Slots(slots.weights, slots.state["state"], slots.state["vectors"])
        new = inner(as_layer(settings["layer"]), held, path)
        return Slots(new.weights, {"state": new.state, "vectors": new.vectors}, slots.vectors)
    if layer.parts is not None:
        parts = {part: inner(own, _part(slots, part), join(path, part)) for part, own in layer.parts.items()}
        return Slots(
            *(_joined(old, [(part, new[i]) for part, new in parts.items()]) for i, old in enumerate(slots))
        )
    return visit(Unit(path or layer.name, kind, layer, slots, settings))


def join(path: str, part: str) -> str:
    """The path of ``part`` within what has this path."""
    return f"{path}/{part}" if path else part


def _part(slots: Slots, part: str) -> Slots:
    return Slots(*(tree.get(part, {}) for tree in slots))


def _joined(old: Any, parts: list[tuple[str, Any]]) -> Any:
    """The trees of the parts under their names, except for those without an entry before or now."""
    return {part: new for part, new in parts if part in old and not _is_nothing(new)}


def _is_nothing(tree: Any) -> bool:
    return isinstance(tree, dict) and not tree


def _member(slots: Slots, i: int) -> Slots:
    def member(leaf: Any) -> Any:
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)
        return leaf[i]

    return jax.tree.map(member, slots)


def _stacked(*leaves: Any) -> Any:
    if isinstance(leaves[0], jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct((len(leaves), *leaves[0].shape), leaves[0].dtype)
    return np.stack(leaves)
