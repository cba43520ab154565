"""Zip archives of uncompressed members: as much of the zip format as a checkpoint needs, and no more.

The members stand one after another from the first byte on, then the directory that lists them, then the end
record: every byte belongs to exactly one of them. ``Archive`` checks that before it reads any member, so that
nothing larger than the file is ever allocated, whatever sizes the file declares.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

LOCAL = struct.Struct("<4s5H3L2H")  # before each member
ENTRY = struct.Struct("<4s6H3L5H2L")  # one per member in the directory
END = struct.Struct("<4s4H2LH")  # the last bytes of the file
END64 = struct.Struct("<4sQ2H2L4Q")  # precedes it where its fields are too narrow,
LOCATOR = struct.Struct("<4sLQL")  # followed by its offset

VERSION = 45  # of the zip format: the first with 64-bit sizes
UTF8 = 0x800  # the flag that says how names are encoded
STORED = 0  # the method: not compressed
DATE = 33  # 1980-01-01, the oldest date a zip can hold: the same tree gives the same bytes
MODE = 0o600 << 16  # the permissions that an unpacking program gives a member
MAX32, MAX16 = 0xFFFFFFFF, 0xFFFF  # a field with this value refers to its 64-bit counterpart
LIMIT32, LIMIT16 = MAX32, MAX16  # where these are needed
NAME_LIMIT = 0xFFFF  # bytes of a member's name


class Fault(Exception):
    """What is wrong with a file, in a few words."""


class Writer:
    """Writes an archive to a file that is open at its first byte."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._position = 0
        self._directory: list[bytes] = []

    def add(self, name: str, head: bytes, body: bytes | memoryview = b"") -> None:
        """Adds a member: the bytes of ``head``, then those of ``body``."""
        encoded = name.encode()
        size = len(head) + memoryview(body).nbytes
        crc = zlib.crc32(body, zlib.crc32(head))
        long, far = size >= LIMIT32, self._position >= LIMIT32
        size32 = MAX32 if long else size
        wide = _wide([size, size] if long else [])
        common = (UTF8, STORED, 0, DATE, crc, size32, size32, len(encoded))
        local = LOCAL.pack(b"PK\3\4", VERSION, *common, len(wide))
        self._file.write(b"".join((local, encoded, wide, head)))
        self._file.write(body)
        extra = _wide(([size, size] if long else []) + ([self._position] if far else []))
        offset = MAX32 if far else self._position
        entry = ENTRY.pack(b"PK\1\2", VERSION, VERSION, *common, len(extra), 0, 0, 0, MODE, offset)
        self._directory.append(b"".join((entry, encoded, extra)))
        self._position += len(local) + len(encoded) + len(wide) + size

    def finish(self) -> None:
        """Writes the directory, after which nothing can be added."""
        count, size = len(self._directory), sum(map(len, self._directory))
        start, end = self._position, self._position + size
        self._file.writelines(self._directory)
        if count >= LIMIT16 or size >= LIMIT32 or start >= LIMIT32:
            self._file.write(
                END64.pack(b"PK\6\6", END64.size - 12, VERSION, VERSION, 0, 0, count, count, size, start)
            )
            self._file.write(LOCATOR.pack(b"PK\6\7", 0, end, 1))
        count = min(count, MAX16)
        self._file.write(END.pack(b"PK\5\6", 0, 0, count, count, min(size, MAX32), min(start, MAX32), 0))


def _wide(values: list[int]) -> bytes:
    """The extra field that holds the 64-bit values of fields that are too narrow."""
    return struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values) if values else b""


class Member(NamedTuple):
    """Where the bytes of a member are in the file, and their checksum."""

    start: int
    size: int
    crc: int


class Archive:
    """The members of an archive, read from a file of ``size`` bytes.

    Raises:
      Fault: the file isn't as ``Writer`` writes it.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        start, end, count = self._find_directory(size)
        self.directory_size = end - start
        entries = list(_entries(self._at(start, end - start)))
        if len(entries) != count:
            raise Fault(f"it is damaged: its directory lists {len(entries)} members, its end record {count}")
        self.members: dict[str, Member] = {}
        stops = [entry.offset for entry in entries[1:]] + [start]
        position = 0
        for (encoded, offset, length, crc), stop in zip(entries, stops, strict=True):
            name = _decode(encoded)
            if name in self.members:
                raise Fault(f"it holds {shown(name)} twice")
            if offset != position:
                raise Fault(f"it is damaged: {shown(name)} does not start where the member before it ends")
            first = self._local(offset, encoded, name)
            if first + length != stop:
                raise Fault(f"{shown(name)} must fill its {stop - first} bytes of the file, got {length}")
            self.members[name] = Member(first, length, crc)
            position = stop

    def first(self, member: Member, size: int, skip: int = 0) -> bytes:
        """The first bytes of a member after ``skip``: not compared with its checksum."""
        return self._at(member.start + skip, max(0, min(size, member.size - skip)))

    def read(self, name: str) -> bytes:
        """The whole member."""
        member = self.members[name]
        data = self._at(member.start, member.size)
        _compare(name, zlib.crc32(data), member)
        return data

    def read_into(self, name: str, head: bytes, body: Array) -> None:
        """Fills ``body``, bytes, with what follows ``head`` in a member."""
        member = self.members[name]
        self._file.seek(member.start + len(head))
        if self._file.readinto(body.data) != member.size - len(head):  # type: ignore[attr-defined]
            raise Fault("it became shorter while it was read")
        _compare(name, zlib.crc32(body.data, zlib.crc32(head)), member)

    def _at(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        data = self._file.read(size)
        if len(data) != size:
            raise Fault("it is damaged: it ends too early")
        return data

    def _find_directory(self, size: int) -> tuple[int, int, int]:
        """Where the directory starts and ends, and how many members it lists."""
        if size < END.size:
            raise Fault("it is damaged or something else: no zip archive is this short")
        end = size - END.size
        mark, _, _, _, count, length, start, comment = END.unpack(self._at(end, END.size))
        if mark != b"PK\5\6" or comment:
            raise Fault("it is damaged or something else: it does not end like a zip archive")
        if (place := end - LOCATOR.size - END64.size) >= 0:
            record = self._at(place, END64.size + LOCATOR.size)
            if record.startswith(b"PK\6\6") and record[END64.size :].startswith(b"PK\6\7"):
                end = place
                *_, count, length, start = END64.unpack(record[: END64.size])
        if start + length != end:
            raise Fault("it is damaged: its directory does not reach to its end record")
        return start, end, count

    def _local(self, offset: int, encoded: bytes, name: str) -> int:
        """Where the data of the member at ``offset`` start: after a record that repeats its name."""
        record = self._at(offset, LOCAL.size + len(encoded))
        mark, _, flags, method, *_, name_size, extra = LOCAL.unpack(record[: LOCAL.size])
        if mark != b"PK\3\4" or name_size != len(encoded) or record[LOCAL.size :] != encoded:
            raise Fault(f"it is damaged: {shown(name)} isn't where the directory says")
        _check_kind(name, flags, method)
        return offset + len(record) + int(extra)


class _Entry(NamedTuple):
    name: bytes
    offset: int
    size: int
    crc: int


def _entries(directory: bytes) -> Iterator[_Entry]:
    position = 0
    while position < len(directory):
        fixed = directory[position : position + ENTRY.size]
        if len(fixed) < ENTRY.size or not fixed.startswith(b"PK\1\2"):
            raise Fault("it is damaged: its directory is broken")
        (_, _, _, flags, method, _, _, crc, packed, size, name_size, extra_size, comment, _, _, _, offset) = (
            ENTRY.unpack(fixed)
        )
        after = position + ENTRY.size + name_size
        name, extra = directory[after - name_size : after], directory[after : after + extra_size]
        position = after + extra_size + comment
        if position > len(directory):
            raise Fault("it is damaged: its directory is broken")
        _check_kind(name.decode("ascii", "replace"), flags, method)
        fields = [size, packed, offset]
        if MAX32 in fields:
            wide = [field for field in fields if field == MAX32]
            if len(extra) != 4 + 8 * len(wide) or extra[:4] != struct.pack("<HH", 1, 8 * len(wide)):
                raise Fault("it is damaged: its directory is broken")
            twins = iter(struct.unpack(f"<{len(wide)}Q", extra[4:]))
            size, packed, offset = (next(twins) if field == MAX32 else field for field in fields)
        if packed != size:
            raise Fault("it is damaged: a member that isn't compressed has two sizes")
        yield _Entry(name, offset, size, crc)


def _check_kind(name: str, flags: int, method: int) -> None:
    if method != STORED or flags & ~UTF8:
        raise Fault(f"its member {shown(name)} must be neither compressed nor encrypted")


def _decode(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise Fault("it is damaged: the name of a member isn't UTF-8") from None


def _compare(name: str, crc: int, member: Member) -> None:
    if crc != member.crc:
        raise Fault(f"it is damaged: {shown(name)} does not have the checksum that was saved with it")


def shown(name: str, most: int = 80) -> str:
    """A name in quotes, truncated so that a sentence stays readable."""
    return repr(name) if len(name) <= most else f"{name[:most]!r}... ({len(name)} characters)"
