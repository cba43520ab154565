"""Where in a net an error was raised: one exception note with the path of the layer and its input."""

from __future__ import annotations

from typing import Any

import jax

_NOTE = "in layer "


def add_location(error: Exception, owner: str, part: str, x: Any) -> None:
    """Adds a note to ``error``: it came from ``part`` of the composite ``owner``, which was given ``x``.

    The innermost composite writes the note; each composite around it puts its own name in front of the path.
    """
    notes: list[str] = getattr(error, "__notes__", [])
    for i, note in enumerate(notes):
        if note.startswith(_NOTE):
            # The path starts with the inner composite's own name; its parent knows it by the name `part`.
            _, slash, rest = note.removeprefix(_NOTE).partition("/")
            notes[i] = f"{_NOTE}{owner}/{part}{slash}{rest}"
            return
    error.add_note(f"{_NOTE}{owner}/{part}, given {describe(x)}")


def describe(x: Any) -> str:
    """Dtypes and shapes: ``float32[8,28,28,1]``, or a pytree of such."""
    return str(jax.tree.map(_Description, x)) if jax.tree.leaves(x) else repr(x)


class _Description:
    def __init__(self, leaf: Any):
        self.leaf = leaf

    def __repr__(self) -> str:
        if not hasattr(self.leaf, "shape"):
            return repr(self.leaf)
        return f"{self.leaf.dtype}[{','.join(map(str, self.leaf.shape))}]"
