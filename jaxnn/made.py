"""How a layer was made: the constructor and its arguments, to print and to look up."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

#: A call that is longer than this is printed with one argument per line.
WIDTH = 88


@dataclass(frozen=True, repr=False)
class Made:
    """A constructor of a layer and what it was given; or a plain function that stands as a layer.

    Attributes:
      function: the constructor, or the plain function.
      args: the positional arguments, as they were given.
      kwargs: the keyword arguments, likewise.
      lifted: whether it is a plain function, which was not called.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] | None = None
    lifted: bool = False

    @property
    def name(self) -> str:
        return function_name(self.function)

    def settings(self) -> dict[str, Any]:
        """Every argument by name, defaults included."""
        bound = inspect.signature(self.function).bind(*self.args, **(self.kwargs or {}))
        bound.apply_defaults()
        return dict(bound.arguments)

    def arguments(self) -> list[tuple[str | None, Any]]:
        """What was given: (None, value) by position, (name, value) by name."""
        return [(None, arg) for arg in self.args] + list((self.kwargs or {}).items())

    def __repr__(self) -> str:
        return self.text()

    def text(self, indent: int = 0) -> str:
        """The call as code, on one line if it fits in ``WIDTH`` columns from ``indent`` on."""
        if self.lifted:
            return text(self.function)
        line = f"{self.name}({', '.join(self._argument(*argument, indent) for argument in self.arguments())})"
        if indent + len(line) <= WIDTH and "\n" not in line:
            return line
        inner = indent + 4
        rows = [f"{' ' * inner}{self._argument(*argument, inner)}," for argument in self.arguments()]
        return "\n".join([f"{self.name}(", *rows, f"{' ' * indent})"])

    @staticmethod
    def _argument(name: str | None, value: Any, indent: int) -> str:
        before, after = _keyword(name)
        return before + text(value, indent) + after


def treescope_rendering(layer: Any, path: str | None, render: Callable[..., Any]) -> Any:
    """The call that made ``layer`` as a tree for treescope, whose parts can be folded; see its handlers."""
    from treescope import rendering_parts as parts

    made: Made | None = layer.made
    if made is None or made.lifted:
        return parts.build_one_line_tree_node(repr(layer), path)
    children = []
    for name, value in made.arguments():
        shown = render(value) if isinstance(getattr(value, "made", None), Made) else text(value)
        before, after = _keyword(name)
        children.append(parts.siblings_with_annotations(before, shown, after))
    return parts.build_foldable_tree_node_from_children(
        prefix=f"{made.name}(", children=children, suffix=")", comma_separated=True, path=path
    )


def _keyword(name: str | None) -> tuple[str, str]:
    """What stands before and after the value of an argument, if its name is no Python word too."""
    if name is None:
        return "", ""
    return (f"{name}=", "") if name.isidentifier() else (f"**{{{name!r}: ", "}")


def text(value: Any, indent: int = 0) -> str:
    """``value`` as it would stand in a constructor's call: functions by name, arrays by dtype and shape."""
    made = getattr(value, "made", None)
    if isinstance(made, Made):
        return made.text(indent)
    if isinstance(value, partial):
        given = [
            text(value.func),
            *map(text, value.args),
            *(f"{k}={text(v)}" for k, v in value.keywords.items()),
        ]
        return f"partial({', '.join(given)})"
    if hasattr(value, "shape") and hasattr(value, "dtype") and value.shape:
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    if isinstance(value, type) or (callable(value) and hasattr(value, "__name__")):
        return function_name(value)
    return repr(value)


def function_name(function: Callable[..., Any]) -> str:
    """The name under which a function is known: ``relu``; ``normal(...)`` for what ``normal`` has made."""
    maker, inside, _ = getattr(function, "__qualname__", type(function).__name__).partition(".<locals>.")
    return f"{maker}(...)" if inside else str(getattr(function, "__name__", maker))
