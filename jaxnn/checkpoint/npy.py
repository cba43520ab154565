"""The head of a ``.npy`` file: dtype, order and shape, in the only form in which NumPy writes them."""

import functools
import math
import re
from typing import NamedTuple

import numpy as np

from jaxnn.checkpoint.archive import Archive, Fault, Member, shown

MAGIC = b"\x93NUMPY\1\0"  # and the version of the format
START = len(MAGIC) + 2  # then two bytes with the length of the text
TEXT = re.compile(
    r"\{'descr': '([<|][a-z][0-9]+)', 'fortran_order': (True|False), "
    r"'shape': \((|[0-9]+,|[0-9]+(?:, [0-9]+)+)\), \} *\n"
)
ALIGNED = 64  # NumPy makes each head a multiple of this
AXES = 32  # what every version of NumPy supports
LARGEST = 2**63  # an array has fewer bytes than this, even when axes of length 0 don't count


class Head(NamedTuple):
    """The contents of a head, and its own bytes."""

    dtype: str
    fortran: bool
    shape: tuple[int, ...]
    raw: bytes


@functools.lru_cache(4096)
def make(dtype: str, fortran: bool, shape: tuple[int, ...]) -> bytes:
    """The bytes before the data of an array."""
    text = f"{{'descr': '{dtype}', 'fortran_order': {fortran}, 'shape': {shape!r}, }}"
    text += " " * (-(START + len(text) + 1) % ALIGNED) + "\n"
    return MAGIC + len(text).to_bytes(2, "little") + text.encode("ascii")


def read(archive: Archive, name: str) -> Head:
    """The head of a member, whose data must have exactly the size that the head declares."""
    member = archive.members[name]
    raw = archive.first(member, START)
    if len(raw) < START or not raw.startswith(MAGIC):
        raise Fault(f"{shown(name)} isn't an array in NumPy's format 1.0")
    raw += archive.first(member, int.from_bytes(raw[len(MAGIC) :], "little"), skip=START)
    return _parse(raw, name, member)


def _parse(raw: bytes, name: str, member: Member) -> Head:
    try:
        head, size = _head(raw)
    except ValueError as fault:
        raise Fault(f"{shown(name)} {fault}") from None
    if member.size - len(raw) != size:
        raise Fault(
            f"{shown(name)} must have {size} bytes for shape {head.shape}, got {member.size - len(raw)}"
        )
    return head


@functools.lru_cache(4096)
def _head(raw: bytes) -> tuple[Head, int]:
    """The head, and how many bytes of data it declares."""
    if not (found := TEXT.fullmatch(raw[START:].decode("latin-1"))):
        raise ValueError("does not have the dtype, order and shape of an array of numbers")
    dtype, order, axes = found.groups()
    if len(axes) > 20 * AXES or axes.count(",") > AXES:
        raise ValueError("has too many axes, or longer ones than a computer can hold")
    shape = tuple(int(axis) for axis in axes.split(",") if axis)
    try:
        itemsize = np.dtype(dtype).itemsize
    except TypeError:
        raise ValueError(f"is of the unknown dtype {dtype}") from None
    if math.prod(axis or 1 for axis in shape) * itemsize >= LARGEST:
        raise ValueError("has more axes, or longer ones, than a computer can hold")
    return Head(dtype, order == "True", shape, raw), math.prod(shape) * itemsize
