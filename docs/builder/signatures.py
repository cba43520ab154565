"""Signatures as they are written in the source: ``ArrayLike``, and not the union that it stands for."""

import ast
import inspect
import textwrap
from typing import Any


def written(value: Any) -> tuple[str, str] | None:
    """The arguments, in parentheses, and the result; None where there is no source to read them from."""
    if inspect.isclass(value):
        return of_class(value)
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(value)))
    except (OSError, TypeError):
        return None
    node = ast.parse(source).body[0]
    if not isinstance(node, ast.FunctionDef):
        return None
    return f"({ast.unparse(node.args)})", ast.unparse(node.returns) if node.returns else ""


def of_class(value: type) -> tuple[str, str] | None:
    """A dataclass's or named tuple's fields, or the arguments of an own ``__init__``, without ``self``."""
    try:
        node = ast.parse(textwrap.dedent(inspect.getsource(value))).body[0]
    except (OSError, TypeError):
        return None
    assert isinstance(node, ast.ClassDef)
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
            inner.args.args.pop(0)
            return f"({ast.unparse(inner.args)})", ""
    fields = [
        ast.unparse(inner).replace(": ", ": ", 1)
        for inner in node.body
        if isinstance(inner, ast.AnnAssign) and not ast.unparse(inner.target).startswith("_")
    ]
    return (f"({', '.join(fields)})", "") if fields else None
