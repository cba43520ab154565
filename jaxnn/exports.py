"""What a package exports: the names that its ``__init__`` imports, each written there once."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any


def public(namespace: Mapping[str, Any], *modules: ModuleType) -> list[str]:
    """The ``__all__`` of a package, from its ``globals()``: public names, and of its modules the given ones.

    To be called last in an ``__init__`` that imports each name as ``from … import name as name``, by which
    type checkers know that it is exported.

    >>> import collections, math
    >>> public({"one": 1, "_two": 2, "collections": collections, "math": math}, math)
    ['math', 'one']
    """
    names = [name for name, value in namespace.items() if not isinstance(value, ModuleType)]
    names += [module.__name__.rpartition(".")[2] for module in modules]
    return sorted(name for name in names if not name.startswith("_") and namespace.get(name) is not public)
