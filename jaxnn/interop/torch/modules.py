"""A state dict as PyTorch's modules: the entries that belong to one layer, by the name of its module."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.interop.torch.convert import RENAMED
from jaxnn.ops import checks

#: Endings of the names of entries. All else is a parameter without a module of its own.
ENTRY = re.compile(
    r"(?:(?P<module>.*)\.)?(?P<entry>weight|bias|running_mean|running_var|num_batches_tracked|weight_[guv]|"
    r"weight_orig|parametrizations\.weight\.(?:original[01]?|0\._[uv])|in_proj_weight|in_proj_bias|"
    r"[qkv]_proj_weight)"
)
#: ``lstm.weight_ih_l0_reverse``: one module holds all layers and directions; each counts as one here.
STACKED = re.compile(
    r"(?:(?P<module>.*)\.)?(?P<entry>weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)_(?P<part>l\d+(?:_reverse)?)"
)


@dataclass
class Module:
    """The entries of one layer.

    Attributes:
      name: of the module; ``lstm.l0_reverse`` for a part of a recurrent one.
      entries: the arrays by the last part of their names, in the current version's spelling.
      names: their full names in the state dict.
    """

    name: str
    entries: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def add(self, entry: str, name: str, array: Any) -> None:
        self.entries[entry], self.names[entry] = array, name


def modules(state_dict: Mapping[str, Any]) -> dict[str, Module]:
    """The modules of a state dict, in its order."""
    found: dict[str, Module] = {}
    for name, array in state_dict.items():
        owner, entry = _place(name, state_dict)
        found.setdefault(owner, Module(owner)).add(entry, name, array)
    for module in found.values():
        for mark, spelling in RENAMED.items():
            if mark in module.entries:
                module.entries = {spelling.get(entry, entry): a for entry, a in module.entries.items()}
                module.names = {spelling.get(entry, entry): n for entry, n in module.names.items()}
    return found


def _place(name: str, state_dict: Mapping[str, Any]) -> tuple[str, str]:
    """The module that an entry belongs to, and what it is called there."""
    if stacked := STACKED.fullmatch(name):
        return ".".join(filter(None, (stacked["module"], stacked["part"]))), stacked["entry"]
    if plain := ENTRY.fullmatch(name):
        module = plain["module"] or ""
        owner, _, last = module.rpartition(".")
        packed = (f"{owner}.{entry}".lstrip(".") for entry in ("in_proj_weight", "q_proj_weight"))
        if last == "out_proj" and any(name in state_dict for name in packed):
            return owner, f"out_proj.{plain['entry']}"
        return module, plain["entry"]
    return name, ""


def opened(owner: str, state_dict: Any) -> dict[str, Any]:
    """``state_dict``, a mapping or the name of a safetensors file, as NumPy arrays by name."""
    if isinstance(state_dict, str | os.PathLike):
        state_dict = _read(owner, os.fspath(state_dict))
    if not isinstance(state_dict, Mapping) or not all(isinstance(name, str) for name in state_dict):
        rule = "a mapping from names to arrays, or the name of a .safetensors file"
        raise TypeError(checks.refusal(owner, "state_dict", rule, state_dict))
    return {name: _array(owner, name, value) for name, value in state_dict.items()}


def _array(owner: str, name: str, value: Any) -> Any:
    if hasattr(value, "detach"):  # a tensor
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            return np.asarray(value.float().numpy(), jnp.bfloat16)
        value = value.numpy()
    if isinstance(value, np.ndarray | np.generic | jax.Array) and not isinstance(value, np.ma.MaskedArray):
        array = np.asarray(value)
        if array.dtype.kind in "fiubVc" and array.dtype.names is None:
            return array
    raise TypeError(f"{owner}: state_dict must hold arrays of numbers, got {checks.shown(value)} as {name!r}")


def _read(owner: str, path: str) -> dict[str, np.ndarray]:
    if path.endswith((".pt", ".pth", ".bin", ".ckpt", ".pkl")):
        raise ValueError(
            f"{owner}: state_dict must be a mapping or a .safetensors file, got {path!r}; a pickled file can "
            "run any code when it is opened: write it anew with safetensors.torch.save_file(state_dict, path)"
        )
    try:
        from safetensors import SafetensorError, deserialize
    except ImportError:
        raise ImportError(
            f"{owner}: a .safetensors file needs safetensors: pip install safetensors"
        ) from None
    try:
        with open(path, "rb") as file:
            tensors = deserialize(file.read())
    except SafetensorError as error:
        raise ValueError(
            f"{owner}: state_dict must be a whole .safetensors file, got {path!r}: {error}"
        ) from None
    # A file keeps its entries in an order of its own.
    return {name: _tensor(owner, name, tensor) for name, tensor in sorted(tensors, key=_natural)}


def _natural(entry: tuple[str, Any]) -> list[tuple[int, str]]:
    """Sorts by name, and numbers in it by their values: ``layer2`` before ``layer10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", entry[0])]


_DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32",
    "I32": "int32", "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32",
    "F64": "float64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "C64": "complex64",
}  # fmt: skip


def _tensor(owner: str, name: str, tensor: Mapping[str, Any]) -> np.ndarray:
    if tensor["dtype"] not in _DTYPES:
        raise ValueError(f"{owner}: state_dict must hold dtypes of JAX, got {tensor['dtype']} as {name!r}")
    dtype = jnp.dtype(_DTYPES[tensor["dtype"]])
    return np.frombuffer(tensor["data"], dtype).reshape(tensor["shape"])
