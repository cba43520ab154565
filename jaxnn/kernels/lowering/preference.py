"""Which forms were found best, kept in a context by which ``jax.jit`` tells programs apart."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax


class Choice(NamedTuple):
    """An operation of a program and its form: texts and numbers, which JSON keeps.

    Attributes:
      operation: the name of the primitive.
      operands: their types.
      form: the name of the form that is taken.
      others: the names of the other forms that fit, in order.
      settings: the primitive's parameters.
      platform: what the program is for.
      devices: over how many devices the compiler may spread the arrays.
      seconds: what a call took, of ``form`` and then of each of ``others``, if that was measured: None for
        one that failed, or whose result was wrong.
    """

    operation: str
    operands: Sequence[str]
    form: str
    others: Sequence[str] = ()
    settings: str = ""
    platform: str = "cpu"
    devices: int = 1
    seconds: Sequence[float | None] = ()

    @property
    def problem(self) -> tuple[Any, ...]:
        """What the form is chosen for."""
        return self.operation, tuple(self.operands), self.settings, self.platform, self.devices


class Preferences:
    """The names of forms by problem. ``jax.jit`` hashes and compares them at each call."""

    __slots__ = ("_hash", "forms")

    def __init__(self, choices: Iterable[Choice], outer: "Preferences | None" = None):
        self.forms: dict[tuple[Any, ...], str] = dict(outer.forms) if outer else {}
        self.forms |= {choice.problem: choice.form for choice in choices}
        self._hash = hash(frozenset(self.forms.items()))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Preferences) and self.forms == other.forms)


#: Where a function lies in memory: in another process it lies elsewhere.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
preferences: Any = jax.make_user_context(default_value=None)


def described(
    operation: str, types: Sequence[Any], params: Mapping[str, Any], platform: str, devices: int
) -> Choice:
    """The problem in words, with no form."""
    operands = tuple(f"{t.dtype}[{','.join(map(str, t.shape))}]" for t in types)
    settings = ", ".join(f"{name}={value}" for name, value in sorted(params.items()))
    return Choice(operation, operands, "", (), _ADDRESS.sub("", settings), platform, devices)


def preferred(
    operation: str, types: Sequence[Any], params: Mapping[str, Any], platform: str, devices: int
) -> str | None:
    """The name of the form that is preferred for this problem, if one is."""
    found: Preferences | None = preferences.value
    return found.forms.get(described(operation, types, params, platform, devices).problem) if found else None
