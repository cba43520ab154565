"""The other format of ``save`` and ``load``: ``.safetensors`` files, which many libraries read.

An array is named by its path in the tree, ``weights/conv_0/kernel``. The header of the other format, which
says what the paths do not say of the tree, stands in the file's metadata.
"""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checkpoint import header
from jaxnn.checkpoint.archive import Fault, shown
from jaxnn.checkpoint.leaves import KEY, dtype_name
from jaxnn.checkpoint.paths import flatten, root_of
from jaxnn.checkpoint.replace import FilePath, reading, replacing
from jaxnn.params import is_key

SUFFIX = ".safetensors"
METADATA = "jaxnn"  #: the name of the header in the file's metadata

#: What JAX computes with, by the format's names. It has no others.
DTYPES = {
    "BOOL": "bool", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
    "C64": "complex64",
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
}  # fmt: skip


def is_name(path: Any) -> bool:
    """Whether a path names such a file; what is not a path is refused where a file is opened."""
    return isinstance(path, str | os.PathLike) and str(os.fspath(path)).endswith(SUFFIX)


class Contents(NamedTuple):
    """The arrays of a file by name, as they are stored, and its header: None if another library wrote it."""

    arrays: dict[str, np.ndarray[Any, Any]]
    header: header.Header | None

    def leaves(self) -> dict[str, Any]:
        """The arrays, with typed keys among them."""
        return {name: self._leaf(name, array) for name, array in self.arrays.items()}

    def _leaf(self, name: str, array: np.ndarray[Any, Any]) -> Any:
        dtype = "" if self.header is None else self.header.dtypes[name]
        if not dtype.startswith(KEY):
            return array
        try:
            return jax.random.wrap_key_data(jnp.asarray(array), impl=dtype.removeprefix(KEY))
        except (TypeError, ValueError) as fault:
            raise Fault(f"{shown(name)} must hold keys of {dtype}: {fault}") from None


def write(path: FilePath, tree: Any) -> None:
    """Writes the tree to such a file, whole or not at all."""
    leaves, empty = flatten(tree)
    dtypes = {name: dtype_name(name, leaf) for name, leaf in leaves.items()}
    arrays = {
        name: np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf, order="C")
        for name, leaf in leaves.items()
    }
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES.values():
            rule = f"of a dtype that {SUFFIX} files have"
            raise TypeError(f"save: every leaf must be {rule}, got {array.dtype} at {shown(name)}")
    top = header.dump(header.Header(root_of(tree), dtypes, empty)).decode()
    data = _library("save", "numpy").save(arrays, {METADATA: top})
    with replacing(path) as file:
        file.write(data)


def read(path: FilePath) -> Contents:
    """What such a file holds; raises ``Fault`` if it isn't whole, or holds what JAX doesn't have."""
    library = _library("load")
    with reading(path) as file:
        data = file.read()
    try:
        entries = library.deserialize(data)
    except library.SafetensorError as fault:
        raise Fault(str(fault)) from None
    arrays = {}
    for name, entry in entries:
        if entry["dtype"] not in DTYPES:
            raise Fault(f"{shown(name)} is of dtype {entry['dtype']}, which JAX does not have")
        dtype = jnp.dtype(DTYPES[entry["dtype"]])
        arrays[name] = np.frombuffer(entry["data"], dtype).reshape(entry["shape"])
    # The library has checked these bytes, but gives no access to the metadata of what isn't a file.
    text = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {}).get(METADATA)
    if text is None:
        return Contents(arrays, None)
    top = header.parse(text.encode())
    stored = {name: "uint32" if dtype.startswith(KEY) else dtype for name, dtype in top.dtypes.items()}
    if {name: array.dtype.name for name, array in arrays.items()} != stored:
        raise Fault("its arrays are not those that its metadata list")
    return Contents({name: arrays[name] for name in stored}, top)


def _library(owner: str, part: str | None = None) -> Any:
    try:
        import safetensors
        import safetensors.numpy
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{owner}: a {SUFFIX} file needs safetensors: pip install 'jaxnn-functional[safetensors]'"
        ) from error
    return safetensors if part is None else getattr(safetensors, part)
