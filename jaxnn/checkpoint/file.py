"""``save`` and ``load``, and the format between them.

A checkpoint is an uncompressed ``.npz`` archive, one member an array, named by its path in the tree::

    weights/conv_0/kernel.npy
    state/batch_norm_0/mean.npy
    jaxnn.json                   the format's version, the dtypes, and what the paths do not tell of the tree

so that ``numpy.load`` reads it without this library. Each member carries a checksum. It is made for what fits
into the memory of one host: for large runs over many hosts, saving in the background or a history of steps,
take Orbax.
"""

import errno
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import IO, Any, NamedTuple, TypeVar, overload

import jax
import numpy as np

from jaxnn.checkpoint.leaves import describe, dtype_name, place, plain, to_jax, typed
from jaxnn.checkpoint.paths import Root, flatten, nest, root_of
from jaxnn.checkpoint.replace import replacing

Tree = TypeVar("Tree")
FilePath = str | os.PathLike[str]

FORMAT = "jaxnn checkpoint"
VERSION = 1
HEADER = "jaxnn.json"  # arrays end in .npy, so no array can have this name
EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest date a zip can hold: the same tree gives the same bytes
LISTED = 5  # how many paths an error names before it counts the rest


def save(path: FilePath, params: Any) -> None:
    """Writes ``params``, or any pytree of arrays, to one file: all of it, or nothing.

    The bytes go to a temporary file beside ``path``, reach the disk, and only then take its name. A crash, a
    kill or a full disk at any moment leaves the file that was there before. A kill may also leave the
    temporary ``.<name>.<random>.tmp`` behind, which can be deleted. Missing folders are made.

    Args:
      path: the file's name, taken as it is: no ending is added.
      params: ``Params``, or any tree of dicts, tuples, lists and NamedTuples of JAX or NumPy arrays: numbers
        of every dtype, of any size (0 included), and typed PRNG keys. Sharded arrays are gathered.

    Raises:
      TypeError: a leaf is no array of numbers, or is traced (``save`` called under ``jit``).
      ValueError: two leaves have the same path, or an array lives partly on another host.

    >>> import tempfile, jax, jaxnn as nn
    >>> net = nn.dense(3)
    >>> params = net.init(jax.random.key(0), (1, 4))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     nn.checkpoint.save(f"{folder}/net.npz", params)
    ...     nn.checkpoint.load(f"{folder}/net.npz", like=params).weights["kernel"].shape
    (4, 3)
    """
    leaves, empty = flatten(params)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "root": root_of(params),
        "dtypes": {name: dtype_name(name, leaf) for name, leaf in leaves.items()},
        "empty": empty,
    }
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo(HEADER, EPOCH), json.dumps(header, indent=1))
        for name, leaf in leaves.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", EPOCH), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, plain(leaf), allow_pickle=False)


@overload
def load(path: FilePath, like: None = None) -> Any: ...
@overload
def load(path: FilePath, like: Tree) -> Tree: ...
def load(path: FilePath, like: Any = None) -> Any:
    """Reads what ``save`` wrote, as JAX arrays of the dtypes that were saved.

    Args:
      path: the file's name.
      like: a tree of arrays or of ``jax.ShapeDtypeStruct`` with the wanted structure, such as
        ``jax.eval_shape(net.init, key, x)``. The file must hold these paths, shapes and dtypes and no others.
        Each array goes to the devices to which that of ``like`` was put on purpose (its sharding). Without
        ``like``: nested dicts, within ``Params`` if that was saved; any other tuple or list comes back as a
        dict.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no checkpoint, is damaged, is from a newer version, or does not fit ``like``; or it
        holds 64-bit numbers while JAX is set to 32 bits.

    >>> import tempfile, jax.numpy as jnp, jaxnn as nn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     nn.checkpoint.save(f"{folder}/net.npz", nn.Params({"dense_0": {"bias": jnp.zeros(2)}}, {}))
    ...     nn.checkpoint.load(f"{folder}/net.npz")
    Params(weights={'dense_0': {'bias': Array([0., 0.], dtype=float32)}}, state={})
    """
    with open(path, "rb") as file:
        stored = _read(file, path)
    if like is None:
        arrays = {name: to_jax(name, leaf) for name, leaf in stored.leaves.items()}
        return nest(stored.root, arrays, stored.empty)
    expected, _ = flatten(like)
    _check_fit(path, stored.leaves, expected)
    placed = [place(to_jax(name, stored.leaves[name]), leaf) for name, leaf in expected.items()]
    return jax.tree.unflatten(jax.tree.structure(like), placed)


def _check_fit(path: FilePath, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """The file holds what ``like`` asks for, no less, no more, in the same shapes and dtypes."""
    wanted = {name: describe(name, leaf) for name, leaf in expected.items()}
    held = {name: describe(name, leaf) for name, leaf in found.items()}
    faults = {
        "missing": [repr(name) for name in wanted if name not in held],
        "not in like": [repr(name) for name in held if name not in wanted],
        "different": [
            f"{name!r} is {held[name]}, like has {wanted[name]}"
            for name in wanted
            if name in held and held[name] != wanted[name]
        ],
    }
    if any(faults.values()):
        got = "; ".join(f"{fault}: {_shorten(names)}" for fault, names in faults.items() if names)
        raise ValueError(f"load: the file must fit like, got {os.fspath(path)!r} with {got}")


def _shorten(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


class _Stored(NamedTuple):
    """What a file holds: NumPy arrays and typed keys by path, and what the paths do not tell of the tree."""

    leaves: dict[str, Any]
    root: Root
    empty: dict[str, Any]


class _Foreign(Exception):
    """A sound file that is not one of ours."""


# What zipfile, zlib, json and numpy raise on bytes that are not what they should be.
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError,
    KeyError, TypeError, AttributeError, ValueError,
)  # fmt: skip


def _read(file: IO[bytes], path: FilePath) -> _Stored:
    """The checked contents of a file: whatever is wrong with them becomes a sentence."""
    try:
        with zipfile.ZipFile(file) as archive:
            return _read_archive(archive)
    except _Foreign as fault:
        raise ValueError(
            f"load: the file must be a checkpoint of jaxnn, got {os.fspath(path)!r}: {fault}"
        ) from None
    except (OSError, *_DAMAGE) as fault:
        if isinstance(fault, OSError) and fault.errno != errno.EINVAL:  # EINVAL: an offset that leads nowhere
            raise
        raise ValueError(
            f"load: the file must be a whole checkpoint of jaxnn, got {os.fspath(path)!r}, "
            f"which is damaged or something else: {type(fault).__name__}: {fault}"
        ) from fault


def _read_archive(archive: zipfile.ZipFile) -> _Stored:
    names = archive.namelist()
    if HEADER not in names:
        raise _Foreign(f"a zip archive without {HEADER}")
    header = json.loads(archive.read(HEADER))
    if header["format"] != FORMAT:
        raise _Foreign(f"its format is {header['format']!r}")
    if header["version"] > VERSION:
        raise _Foreign(f"version {header['version']} of the format, this jaxnn reads up to {VERSION}")
    dtypes = header["dtypes"]
    if sorted(names) != sorted([HEADER, *(f"{name}.npy" for name in dtypes)]):
        raise ValueError(f"its arrays are not those that {HEADER} lists")
    leaves = {name: typed(_read_array(archive, name), dtype) for name, dtype in dtypes.items()}
    return _Stored(leaves, header["root"], header["empty"])


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray[Any, Any]:
    data = io.BytesIO(archive.read(f"{name}.npy"))  # the whole member, so that its checksum is compared
    array: np.ndarray[Any, Any] = np.lib.format.read_array(data, allow_pickle=False)
    return array
