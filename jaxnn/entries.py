"""The entries that a layer's params must have by its settings, with their shapes.

A layer declares its entries once, as a table, and all of its functions check them before they compute:
params of a layer with other settings have the same names, and would give a wrong result or an error from deep
inside.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

#: A number, or the name of a size of the input, which the op compares.
Size = int | str
Shape = tuple[Size, ...]
#: The shape of an entry; or a function that gives it from the number of axes; or the shape of each entry of a
#: dict; or None, where all of it is compared elsewhere.
Entry = Any
Entries = Mapping[str, Entry]


def repeated(size: int, *last: Size) -> Callable[[int], Shape]:
    """A shape with ``size`` on all axes but the last ones: a window that is an int, on any number of axes."""
    return lambda rank: (*(size,) * (rank - len(last)), *last)


def check_entries(owner: str, entries: Any) -> None:
    """Raises unless ``entries`` are None or a dict of shapes, of functions of a rank, or of such dicts."""
    if entries is not None and not _is_table(entries):
        rule = 'a dict from names to shapes, as in {"kernel": ("F", 3), "bias": (3,)}'
        raise TypeError(f"{owner}: entries must be {rule}, got {entries!r}")


def _is_table(entries: Any) -> bool:
    if not isinstance(entries, Mapping) or not all(isinstance(name, str) for name in entries):
        return False
    return all(map(_is_entry, entries.values()))


def _is_entry(entry: Any) -> bool:
    if isinstance(entry, tuple):
        return all(isinstance(size, str | int) and not isinstance(size, bool) for size in entry)
    return entry is None or callable(entry) or _is_table(entry)


def require_entries(name: str, entries: Entries, given: Any) -> None:
    """Raises unless ``given``, the weights or the state of the layer ``name``, agrees with ``entries``."""
    if given is None or (isinstance(given, tuple) and not given):
        given = {}
    if not isinstance(given, Mapping):
        raise ValueError(f"{name}: params of another net: a dict of arrays is wanted, got {_shown(given)}")
    if given.keys() != entries.keys():
        raise ValueError(f"{name}: params of another net: {_difference(entries, given)}")
    for entry, shape in entries.items():
        if isinstance(shape, Mapping):
            require_entries(name, shape, given[entry])
        elif shape is not None:
            _require_shape(name, entry, shape, given[entry])


def _require_shape(name: str, entry: str, shape: Shape | Callable[[int], Shape], given: Any) -> None:
    got = getattr(given, "shape", None)
    if got is None and not isinstance(given, Mapping):
        got = np.shape(given)
    expected = shape(len(got or ())) if callable(shape) else shape
    if got is None or not (got == expected or _fits(got, expected)):
        sizes = f"({', '.join(map(str, expected))}{',' * (len(expected) == 1)})"
        raise ValueError(
            f"{name}: params of another net: {entry} must have shape {sizes}, got {_shown(given)}"
        )


def _fits(got: tuple[Any, ...], expected: Shape) -> bool:
    sizes = zip(got, expected, strict=False)
    return len(got) == len(expected) and all(isinstance(e, str) or e == g for g, e in sizes)


def _difference(entries: Entries, given: Mapping[str, Any]) -> str:
    if missing := [entry for entry in entries if entry not in given]:
        return f"they have no entry {missing[0]!r}, only {sorted(given)}"
    here = f"only {sorted(entries)}" if entries else "none"
    return f"they have an entry {sorted(given.keys() - entries.keys())[0]!r}, where this layer has {here}"


def _shown(given: Any) -> str:
    if isinstance(given, Mapping):
        return f"a dict of {sorted(given)}"
    return f"shape {given.shape}" if hasattr(given, "shape") else repr(given)
