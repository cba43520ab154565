"""The paths of the arrays of a tree, such as ``encoder/conv_0/kernel``, and patterns that match them."""

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax


def paths(tree: Any) -> list[str]:
    """The path of every leaf, joined by ``/``."""
    return [joined(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their paths."""
    return {joined(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def by_path(function: Callable[[str, Any], Any], tree: Any) -> Any:
    """The tree of ``function(path, leaf)``."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: function(joined(path), leaf), tree)


def matching(path: str, patterns: Iterable[str]) -> str | None:
    """The first pattern that the path matches, if any does."""
    return next((pattern for pattern in patterns if fnmatchcase(path, pattern)), None)


def require_used(owner: str, patterns: Iterable[str], known: Sequence[str]) -> None:
    """Raises unless each pattern matches one of the ``known`` paths, if there are any."""
    for pattern in patterns:
        if known and not any(fnmatchcase(path, pattern) for path in known):
            some = ", ".join(known[:6]) + (", …" if len(known) > 6 else "")
            raise ValueError(f"{owner}: {pattern!r} must match the path of an array, got the paths {some}")


def joined(path: tuple[Any, ...]) -> str:
    """A path as JAX gives it, joined by ``/``."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
