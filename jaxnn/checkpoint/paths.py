"""A tree as a flat dict of leaves by path (``weights/conv_0/kernel``), and nested dicts from that."""

from collections.abc import Mapping
from typing import Any, Literal

import jax

from jaxnn.layer import Params

Root = Literal["Params", "dict", "array"]  #: what stands at the top of a tree: no path tells it


def root_of(tree: Any) -> Root:
    """The kind of the tree's root: ``Params``, a lone array, or any other branch."""
    if isinstance(tree, Params):
        return "Params"
    return "array" if jax.tree_util.all_leaves([tree]) else "dict"


def flatten(tree: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The leaves by path, in the tree's order; and the empty branches (``{}`` or ``None``) by theirs.

    Raises:
      ValueError: two leaves have the same path, such as those of the keys 1 and "1"; or a key holds a NUL.
    """

    def is_empty(node: Any) -> bool:
        return node is not tree and not jax.tree.leaves(node, is_leaf=lambda child: child is not node)

    leaves: dict[str, Any] = {}
    empty: dict[str, Any] = {}
    for path, node in jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_empty)[0]:
        name = "/".join(_escape(jax.tree_util.keystr((part,), simple=True)) for part in path)
        if name in leaves or name in empty:
            raise ValueError(f"checkpoint: the path of each leaf must be its own, got {name!r} twice")
        if is_empty(node):
            empty[name] = None if node is None else {}
        else:
            leaves[name] = node
    return leaves, empty


def nest(root: Root, leaves: Mapping[str, Any], empty: Mapping[str, Any]) -> Any:
    """The inverse of ``flatten`` for trees of dicts: every branch is a dict, save a root of ``Params``."""
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


def _escape(part: str) -> str:
    """A key as one part of a path, with the escapes of JSON pointers (RFC 6901)."""
    if "\0" in part:  # there a zip archive would cut the name off
        raise ValueError(f"checkpoint: a key must not hold a NUL character, got {part!r}")
    return part.replace("~", "~0").replace("/", "~1")


def _unescape(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
