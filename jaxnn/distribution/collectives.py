"""What a compiled program sends between devices: ``collectives``."""

from __future__ import annotations

import re
from math import prod
from typing import Any, NamedTuple

from jaxnn.ops.checks import refusal

_KINDS = "all-gather|all-reduce|all-to-all|reduce-scatter|ragged-all-to-all|collective-permute"
_OPERATION = re.compile(rf" = (.*?) ({_KINDS}|collective-broadcast)(?:-start)?\(")
_ARRAY = re.compile(r"\b([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]")
_COMMENT = re.compile(r"/\*.*?\*/")
_BITS = re.compile(r"\d+")


class Sent(NamedTuple):
    """One collective operation of a program.

    Attributes:
      kind: as XLA calls it, such as ``"all-reduce"``.
      sizes: how many values each array has that a device gets from it.
      bytes: how many bytes these are.
    """

    kind: str
    sizes: tuple[int, ...]
    bytes: int


def collectives(compiled: Any) -> list[Sent]:
    """The operations by which the devices of a compiled program send each other arrays, in its order.

    One inside of a loop is there once, however often the loop goes round.

    Args:
      compiled: what ``jax.jit(f).lower(...).compile()`` gives; a step of ``make_step`` has ``lower`` too.

    Raises:
      TypeError: not a compiled program.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> nn.distribution.collectives(jax.jit(jnp.sin).lower(1.0).compile())
    []
    """
    if not hasattr(compiled, "as_text") or not hasattr(compiled, "memory_analysis"):
        rule = "a compiled program, as jax.jit(f).lower(...).compile() gives"
        raise TypeError(refusal("collectives", "compiled", rule, compiled))
    found = []
    for result, kind in _OPERATION.findall(_COMMENT.sub("", compiled.as_text())):
        arrays = [
            (dtype, prod(map(int, filter(None, axes.split(","))))) for dtype, axes in _ARRAY.findall(result)
        ]
        sizes = tuple(size for _, size in arrays)
        found.append(Sent(kind, sizes, sum(-(-size * _bits(dtype) // 8) for dtype, size in arrays)))
    return found


def _bits(dtype: str) -> int:
    """The bits of a value, of XLA's name of a dtype: f32, bf16, s8, pred, f8e4m3fn, c64."""
    bits = _BITS.search(dtype)
    return int(bits[0]) if bits else 8
