"""The member ``jaxnn.json``: the format's version, the dtypes, and what the paths do not say of the tree."""

import json
from typing import Any, NamedTuple, get_args

from jaxnn.checkpoint.archive import Fault, shown
from jaxnn.checkpoint.paths import Root, check_path, check_paths

NAME = "jaxnn.json"  # arrays end in .npy, so no array can have this name
FORMAT = "jaxnn checkpoint"
VERSION = 1
#: The largest header, since JSON takes up to 20 times its size in memory: room for empty branches, and per
#: byte of the archive's directory more than the escaped path and the dtype of a leaf take.
LIMIT, PER_BYTE = 2**24, 8


class Header(NamedTuple):
    """The kind of the tree's root; by path, the dtypes and the empty branches (``{}`` or ``None``)."""

    root: Root
    dtypes: dict[str, str]
    empty: dict[str, dict[str, Any] | None]


def dump(header: Header) -> bytes:
    """The header as the file holds it.

    Raises:
      ValueError: the empty branches take more room than ``load`` reads.
    """
    if sum(len(json.dumps(name)) + 8 for name in header.empty) > LIMIT // 2:
        raise ValueError(f"save: the paths of empty branches must take at most {LIMIT // 2} bytes, got more")
    return json.dumps({"format": FORMAT, "version": VERSION, **header._asdict()}, indent=1).encode()


def parse(data: bytes) -> Header:
    """The inverse of ``dump``; raises ``Fault`` for anything that ``dump`` doesn't write."""
    header = _json(data)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise Fault(f"its format, in {NAME}, isn't {FORMAT!r}")
    version = header.get("version")
    if type(version) is not int or version < 1:
        raise Fault(f"its version must be a positive integer, got {shown(str(version))}")
    if version > VERSION:
        raise Fault(f"it is of version {shown(str(version))} of the format, this jaxnn reads up to {VERSION}")
    if header.keys() != {"format", "version", *Header._fields}:
        raise Fault(
            f"{NAME} must have the entries format, version, {', '.join(Header._fields)} and no others"
        )
    root, dtypes, empty = (header[field] for field in Header._fields)
    if root not in get_args(Root):
        raise Fault(f"its root must be one of {', '.join(get_args(Root))}, got {shown(str(root))}")
    if not isinstance(dtypes, dict) or not all(isinstance(dtype, str) for dtype in dtypes.values()):
        raise Fault("its dtypes must be strings by path")
    if not isinstance(empty, dict) or not all(branch is None or branch == {} for branch in empty.values()):
        raise Fault("its empty branches must be {} or null by path")
    _check_tree(root, [*dtypes, *empty], bool(empty))
    return Header(root, dtypes, empty)


def _check_tree(root: Root, paths: list[str], empty: bool) -> None:
    """Raises unless the paths are those of one tree with that root."""
    try:
        if root == "array":
            if paths != [""] or empty:
                raise ValueError("with the root array it must hold one array, with the path ''")
        else:
            for path in paths:
                check_path(path)
            check_paths(paths)
    except ValueError as fault:
        raise Fault(str(fault).removeprefix("checkpoint: ")) from None
    if root == "Params" and {path.split("/", 1)[0] for path in paths} != {"weights", "state"}:
        raise Fault("with the root Params it must hold weights and state, and nothing else")


def _json(data: bytes) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) != len(pairs):
            raise ValueError("an entry stands twice")
        return found

    try:
        return json.loads(data.decode(), object_pairs_hook=once)
    except (ValueError, RecursionError) as fault:
        raise Fault(f"{NAME} must be JSON, got: {fault}") from None
