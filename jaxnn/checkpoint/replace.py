"""Replaces a file atomically: at every moment the name leads to a complete file."""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

FilePath = str | os.PathLike[str]

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextlib.contextmanager
def replacing(path: FilePath) -> Iterator[IO[bytes]]:
    """A file to write, which takes the name ``path`` once it is complete and on the disk, or never.

    A symbolic link to a file is kept: the file that it leads to is replaced, and the new one has its
    permissions. Missing folders are created.

    Raises:
      ValueError: ``path`` leads to something other than a file.
      OSError: the system cannot write there, or stops writing.
    """
    name = checked("save", path)
    with sentences(f"save: path must lead to where a file can be written, got {name!r}"):
        old = _existing(name)
        target = Path(os.path.realpath(name))
        made = _make_folders(Path(name).parent)
        temporary = target.with_name(
            f".jaxnn.{secrets.token_hex(8)}.tmp"
        )  # so that even a name of the greatest length fits
        try:
            with open(temporary, "xb", opener=_private if old else None) as file:
                yield file
                if old:
                    _give_permissions(temporary, old)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        for folder in (target.parent, *made):
            _sync_folder(folder)


@contextlib.contextmanager
def reading(path: FilePath) -> Iterator[IO[bytes]]:
    """The file that ``path`` leads to, open for reading; its errors as those of ``replacing``."""
    name = checked("load", path)
    with sentences(f"load: path must lead to a file that can be read, got {name!r}"):
        check_regular("load", name, os.stat(name))  # before it is opened: opening a FIFO would block
        with open(name, "rb") as file:
            yield file


def checked(function: str, path: FilePath) -> str:
    """The path as text, checked for all that the system would not accept."""
    try:
        name = os.fspath(path)
    except TypeError:
        name = None
    if not isinstance(name, str):
        raise TypeError(f"{function}: path must be a str or os.PathLike[str], got {type(path).__name__}")
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        raise ValueError(f"{function}: path must be text that the system can encode, got {name!r}") from None
    if b"\0" in encoded:
        raise ValueError(f"{function}: path must not hold a NUL character, got {name!r}")
    return name


@contextlib.contextmanager
def sentences(beginning: str) -> Iterator[None]:
    """Prefixes the system's errors with what was attempted."""
    try:
        yield
    except OSError as fault:
        error = type(fault)(f"{beginning}: {fault.strerror or fault}")
        error.errno = fault.errno
        raise error from fault


def check_regular(function: str, name: str, status: os.stat_result) -> None:
    """Refuses folders, FIFOs, sockets and devices."""
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise ValueError(f"{function}: path must lead to a file, got {kind} at {name!r}")


def _existing(name: str) -> os.stat_result | None:
    """The status of what is at the path, links followed; None for nothing."""
    try:
        status = os.stat(name)
    except FileNotFoundError:
        if os.path.islink(name):
            raise ValueError(
                f"save: path must lead to a file, got a symbolic link to nothing at {name!r}"
            ) from None
        if not os.path.basename(name):
            raise ValueError(f"save: path must end in the name of a file, got {name!r}") from None
        return None
    check_regular("save", name, status)
    return status


def _make_folders(folder: Path) -> list[Path]:
    """Creates missing folders, and returns those that got a new entry."""
    missing = []
    above = folder
    while not os.path.lexists(above):
        missing.append(above)
        above = above.parent
    folder.mkdir(parents=True, exist_ok=True)
    return [new.parent for new in missing]


def _private(path: str, flags: int) -> int:
    """Opens a new file that nobody else can read before it has the permissions of the old one."""
    return os.open(path, flags, 0o600)


def _give_permissions(path: Path, old: os.stat_result) -> None:
    """Gives the file the mode of the old one, and its owner and group where this process may."""
    mode = stat.S_IMODE(old.st_mode)
    if hasattr(os, "chown"):
        for user, group in ((old.st_uid, -1), (-1, old.st_gid)):
            try:
                os.chown(path, user, group)
            except PermissionError:
                if group >= 0:  # the old group's permissions must not go to another group
                    mode &= ~stat.S_IRWXG
    os.chmod(path, mode)


def _sync_folder(folder: Path) -> None:
    """Writes the new name itself to the disk, where supported: not on Windows and some network disks."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
