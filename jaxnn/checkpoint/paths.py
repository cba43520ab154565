"""A tree as a flat dict of leaves by path (``weights/conv_0/kernel``), and nested dicts from that."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import jax
import numpy as np

from jaxnn.checkpoint.archive import NAME_LIMIT, shown
from jaxnn.params import Params

Root = Literal["Params", "dict", "array"]  #: the kind of a tree's root, which no path contains

ENDING = ".npy"
LONGEST = NAME_LIMIT - len(ENDING)  # bytes of a path
DEEPEST = 200  # parts of a path: far below where a tree exhausts the stack of Python or JAX
ESCAPED = re.compile("(?:[^~]|~[01])*")


def root_of(tree: Any) -> Root:
    """The kind of the tree's root: ``Params``, a lone array, or any other branch."""
    if isinstance(tree, Params):
        return "Params"
    return "array" if jax.tree_util.all_leaves([tree]) else "dict"


def flatten(tree: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The leaves by path, in the tree's order; and the empty branches (``{}`` or ``None``) by theirs.

    Raises:
      ValueError: the paths cannot be stored in a file (see ``check_path`` and ``check_paths``), or JAX cannot
        flatten the tree.
    """
    leaves: dict[str, Any] = {}
    empty: dict[str, Any] = {}
    for path, node in _with_paths(tree):
        name = "/".join([_part(entry) for entry in path])
        if name in leaves or name in empty:
            raise ValueError(f"checkpoint: the path of each leaf must be its own, got {shown(name)} twice")
        check_path(name)
        if node is not tree and _is_empty(node):
            empty[name] = None if node is None else {}
        else:
            leaves[name] = node
    check_paths([*leaves, *empty])
    return leaves, empty


def _with_paths(tree: Any) -> list[tuple[tuple[Any, ...], Any]]:
    _check_depth(tree)
    try:
        return jax.tree_util.tree_flatten_with_path(
            tree, is_leaf=lambda node: node is not tree and _is_empty(node)
        )[0]
    except ValueError as fault:  # keys that cannot be sorted
        raise ValueError(f"checkpoint: JAX must be able to flatten the tree, got: {fault}") from fault


def _check_depth(tree: Any) -> None:
    """Refuses trees that are too deep before JAX sees them: JAX stays broken once the stack was exhausted."""
    level = [tree]
    for _ in range(DEEPEST + 1):
        branches = [node for node in level if isinstance(node, (dict, list, tuple))]
        if not branches:
            return
        level = [child for node in branches for child in (node.values() if isinstance(node, dict) else node)]
    raise ValueError(f"checkpoint: a tree must be at most {DEEPEST} levels deep, got a deeper one")


def _is_empty(node: Any) -> bool:
    """Whether the node is a branch without children."""
    if node is None:
        return True
    if isinstance(node, (dict, list, tuple)):
        return not node
    if isinstance(node, (np.ndarray, jax.Array)):
        return False
    return not jax.tree.leaves(node, is_leaf=lambda child: child is not node)


def check_path(path: str) -> None:
    """Checks a single path.

    Raises:
      ValueError: it is too long or too deep, is escaped in another way than ``flatten`` does, or holds a NUL
        (there a zip archive would cut it off) or half of a surrogate pair, which UTF-8 cannot encode.
    """
    if "\0" in path:
        raise ValueError(f"checkpoint: a key must not hold a NUL character, got {shown(path)}")
    try:
        size = len(path) if path.isascii() else len(path.encode())
    except UnicodeEncodeError:
        raise ValueError(f"checkpoint: a key must be text that UTF-8 can encode, got {shown(path)}") from None
    if size > LONGEST:
        raise ValueError(f"checkpoint: a path must have at most {LONGEST} bytes, got {size} in {shown(path)}")
    if path.count("/") >= DEEPEST:
        raise ValueError(f"checkpoint: a tree must be at most {DEEPEST} levels deep, got {shown(path)}")
    if "~" in path and not ESCAPED.fullmatch(path):
        raise ValueError(f"checkpoint: in a path ~ must stand as ~0, got {shown(path)}")


def check_paths(paths: Iterable[str]) -> None:
    """Checks all paths of a tree together.

    Raises:
      ValueError: two leaves, or a leaf and a branch, have the same path.
    """
    known: set[str] = set()
    for path in paths:
        if path in known:
            raise ValueError(f"checkpoint: the path of each leaf must be its own, got {shown(path)} twice")
        known.add(path)
    branches: set[str] = set()
    for path in known:
        while "/" in path:
            path = path.rpartition("/")[0]
            if path in branches:
                break
            branches.add(path)
    for path in branches & known:
        raise ValueError(f"checkpoint: a leaf must not be a branch as well, got {shown(path)} as both")


def nest(root: Root, leaves: Mapping[str, Any], empty: Mapping[str, Any]) -> Any:
    """The inverse of ``flatten`` for trees of dicts: every branch is a dict, except a root of ``Params``."""
    if root == "array":
        return leaves[""]
    top: dict[str, Any] = {}
    for name, leaf in {**empty, **leaves}.items():
        *branches, last = map(_unescape, name.split("/"))
        node = top
        for branch in branches:
            node = node.setdefault(branch, {})
        node[last] = leaf
    return Params(**top) if root == "Params" else top


def _part(entry: Any) -> str:
    """A key as one part of a path, with the escapes of JSON pointers (RFC 6901)."""
    key = getattr(entry, "key", None)
    part = key if type(key) is str else jax.tree_util.keystr((entry,), simple=True)
    return part.replace("~", "~0").replace("/", "~1")


def _unescape(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
