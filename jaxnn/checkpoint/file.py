"""``save`` and ``load``, and the format between them.

A checkpoint is an uncompressed ``.npz`` archive, one member per array, named by its path in the tree::

    weights/conv_0/kernel.npy
    state/batch_norm_0/mean.npy
    jaxnn.json                   the format's version, the dtypes, and what the paths do not say of the tree

so that ``numpy.load`` reads it without this library. Each member carries a checksum. The format is meant for
trees that fit into the memory of one host: for large runs over many hosts, saving in the background or a
history of steps, use Orbax.
"""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar, overload

import jax

from jaxnn.checkpoint import header, npy, safetensors
from jaxnn.checkpoint.archive import Archive, Fault, Writer, shown
from jaxnn.checkpoint.leaves import Stored, described, dtype_name, fits, placement, plain, stored
from jaxnn.checkpoint.paths import ENDING, flatten, nest, root_of
from jaxnn.checkpoint.placing import arrays_of
from jaxnn.checkpoint.replace import FilePath, checked, reading, replacing

Tree = TypeVar("Tree")

LISTED = 5  # the most paths that an error names; it counts the rest


def save(path: FilePath, params: Any) -> None:
    """Writes ``params``, or any pytree of arrays, to one file: all of it, or nothing.

    The bytes go to a temporary file beside ``path``, reach the disk, and only then take its name. A crash, a
    kill or a full disk at any moment leaves the file that was there before. A kill may also leave the
    temporary ``.jaxnn.<random>.tmp`` behind, which can be deleted. Missing folders are created.

    The new file has the permissions of the one that it replaces, and where possible its owner. A symbolic
    link to a file is kept: the file that it leads to is replaced. Other hard links to that file keep the old
    contents. Besides the tree itself ``save`` needs memory for at most its largest array, and for none where
    the arrays are contiguous and on CPUs.

    Args:
      path: the file's name, taken as it is: no ending is added. One that ends in ``.safetensors`` becomes
        such a file, for other libraries to read (by safetensors, an extra). That format lacks a few dtypes,
        and its bytes are all put together in memory first.
      params: ``Params``, or any tree of dicts, tuples, lists and NamedTuples of JAX or NumPy arrays: numbers
        of every dtype of JAX, of any size (0 included), and typed PRNG keys. Sharded arrays are gathered.

    Raises:
      TypeError: a leaf isn't a plain array of numbers (but a Python number, a masked array, text, ...), or is
        traced (``save`` called under ``jit``).
      ValueError: ``path`` leads to a folder, a FIFO, a socket or a device, or is a symbolic link to nothing;
        two leaves have the same path, or one has more than 65,531 bytes or 200 levels; an array lives partly
        on another host, or was donated.
      OSError: the file can't be written: its folder is read-only, the disk is full, ...

    >>> import tempfile, jax, jaxnn as nn
    >>> net = nn.dense(3)
    >>> params = net.init(jax.random.key(0), (1, 4))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     nn.checkpoint.save(f"{folder}/net.npz", params)
    ...     nn.checkpoint.load(f"{folder}/net.npz", like=params).weights["kernel"].shape
    (4, 3)
    """
    checked("save", path)
    if safetensors.is_name(path):
        return safetensors.write(path, params)
    leaves, empty = flatten(params)
    dtypes = {name: dtype_name(name, leaf) for name, leaf in leaves.items()}
    top = header.dump(header.Header(root_of(params), dtypes, empty))
    with replacing(path) as file:
        archive = Writer(file)
        for name, leaf in leaves.items():
            array = plain(leaf)
            fortran = not array.flags.c_contiguous
            head = npy.make(array.dtype.str, fortran, array.shape)
            archive.add(name + ENDING, head, (array.T if fortran else array).data)
        archive.add(header.NAME, top)  # last: what precedes the end record is never one of the user's names
        archive.finish()


@overload
def load(path: FilePath, like: None = None) -> Any: ...
@overload
def load(path: FilePath, like: Tree) -> Tree: ...
def load(path: FilePath, like: Any = None) -> Any:
    """Reads what ``save`` wrote, as JAX arrays of the dtypes that were saved.

    A file from elsewhere is safe to open: nothing in it is executed, and whatever it declares, nothing larger
    than the file itself is allocated. Besides the tree that it returns, ``load`` needs memory for at most the
    largest array (or 4 MiB), and for none where JAX computes on CPUs.

    Args:
      path: the file's name. One that ends in ``.safetensors`` is read as such, by safetensors (an extra),
        whoever wrote it; without ``like`` what another library wrote is a flat dict by the names in the file.
      like: a tree of arrays or of ``jax.ShapeDtypeStruct`` with the expected structure, such as
        ``jax.eval_shape(net.init, key, x)``. The file must hold these paths, shapes and dtypes and no others.
        Each array goes to the devices on which that of ``like`` was explicitly placed (its sharding). Without
        ``like``: nested dicts, within ``Params`` if that was saved; any other tuple or list is returned as a
        dict.

    Raises:
      FileNotFoundError: there is no such file. Other kinds of ``OSError``: it can't be read.
      ValueError: it isn't a checkpoint, is damaged, is from a newer version, or does not fit ``like``; or it
        holds 64-bit numbers while JAX is set to 32 bits; or ``path`` leads to a folder, a FIFO, a socket or a
        device.

    >>> import tempfile, jax.numpy as jnp, jaxnn as nn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     nn.checkpoint.save(f"{folder}/net.npz", nn.Params({"dense_0": {"bias": jnp.zeros(2)}}, {}))
    ...     nn.checkpoint.load(f"{folder}/net.npz")
    Params(weights={'dense_0': {'bias': Array([0., 0.], dtype=float32)}}, state={})
    """
    if safetensors.is_name(path):
        return _load_safetensors(path, like)
    with reading(path) as file:
        try:
            contents = _contents(Archive(file, os.fstat(file.fileno()).st_size))
            if like is None:
                shardings = dict.fromkeys(contents.leaves)
            else:
                wanted, _ = flatten(like)
                _check_fit(path, contents.leaves, wanted)
                shardings = {name: placement(leaf) for name, leaf in wanted.items()}
            _check_bits(contents.leaves)
            arrays = arrays_of(contents.archive, contents.leaves, shardings)
        except Fault as fault:
            raise ValueError(
                f"load: the file must be a whole checkpoint of jaxnn, got {os.fspath(path)!r}: {fault}"
            ) from None
    if like is None:
        return nest(contents.header.root, arrays, contents.header.empty)
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in wanted])


def _load_safetensors(path: FilePath, like: Any) -> Any:
    try:
        contents = safetensors.read(path)
        leaves = contents.leaves()
    except Fault as fault:
        raise ValueError(
            f"load: the file must be a whole {safetensors.SUFFIX} file, got {os.fspath(path)!r}: {fault}"
        ) from None
    _check_bits(leaves)
    if like is not None:
        wanted, _ = flatten(like)
        _check_fit(path, leaves, wanted)
        arrays = [jax.device_put(leaves[name], placement(leaf)) for name, leaf in wanted.items()]
        return jax.tree.unflatten(jax.tree.structure(like), arrays)
    arrays = jax.device_put(leaves)
    top = contents.header
    return arrays if top is None else nest(top.root, arrays, top.empty)


class _Contents(NamedTuple):
    """The contents of a file, all checked except the arrays' values, which aren't read yet."""

    archive: Archive
    header: header.Header
    leaves: dict[str, Stored]


def _contents(archive: Archive) -> _Contents:
    if header.NAME not in archive.members:
        raise Fault(f"it is a zip archive without {header.NAME}")
    if archive.members[header.NAME].size > header.LIMIT + header.PER_BYTE * archive.directory_size:
        raise Fault(f"its {header.NAME} is larger than that of so few arrays can be")
    top = header.parse(archive.read(header.NAME))
    if archive.members.keys() != {header.NAME, *(name + ENDING for name in top.dtypes)}:
        raise Fault(f"its arrays are not those that {header.NAME} lists")
    leaves = {}
    for name, dtype in top.dtypes.items():
        try:
            leaves[name] = stored(dtype, npy.read(archive, name + ENDING))
        except ValueError as fault:
            raise Fault(f"{shown(name)} {fault}") from None
    return _Contents(archive, top, leaves)


def _check_fit(path: FilePath, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raises unless the file holds exactly what ``like`` asks for, in the same shapes and dtypes."""
    for name, leaf in expected.items():
        if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
            raise TypeError(
                "load: every leaf of like must have a shape and a dtype, "
                f"got {type(leaf).__name__} at {shown(name)}"
            )
    faults = {
        "missing": [shown(name) for name in expected if name not in found],
        "not in like": [shown(name) for name in found if name not in expected],
        "different": [
            f"{shown(name)} is {described(held)}, like has {described(leaf)}"
            for name, leaf in expected.items()
            if (held := found.get(name)) is not None
            and (held.shape != tuple(leaf.shape) or held.dtype != leaf.dtype)
        ],
    }
    if any(faults.values()):
        got = "; ".join(f"{fault}: {_shorten(names)}" for fault, names in faults.items() if names)
        raise ValueError(f"load: the file must fit like, got {os.fspath(path)!r} with {got}")


def _shorten(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _check_bits(leaves: Mapping[str, Any]) -> None:
    """Raises if JAX would truncate 64-bit numbers to 32 bits."""
    known: dict[Any, bool] = {}
    for name, leaf in leaves.items():
        if leaf.dtype not in known:
            known[leaf.dtype] = fits(leaf.dtype)
        if not known[leaf.dtype]:
            raise ValueError(
                f"load: 64-bit numbers need jax.config.update('jax_enable_x64', True), "
                f"got {leaf.dtype} at {shown(name)}"
            )
