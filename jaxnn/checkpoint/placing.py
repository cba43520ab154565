"""Reading arrays from a file and putting them on devices, with little memory and few calls."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxnn.checkpoint.archive import Archive, Array, Fault, shown
from jaxnn.checkpoint.leaves import Stored
from jaxnn.checkpoint.paths import ENDING

BATCH = 2**22  # bytes of small arrays that go to JAX in one call
LARGE = 2**16  # bytes from which on an array is aligned so that JAX on CPUs can use it without a copy:
ALIGNMENT = 64  # at a multiple of this


def arrays_of(
    archive: Archive, leaves: Mapping[str, Stored], shardings: Mapping[str, Any]
) -> dict[str, jax.Array]:
    """The arrays, each on the devices of its sharding, or where JAX chooses if that is None.

    This function never holds more than one of them, or a batch of small ones, in memory of its own.
    """
    arrays: dict[str, jax.Array] = {}
    batch: dict[str, Array] = {}
    size = 0
    for name, leaf in leaves.items():
        if batch and size + leaf.size > BATCH:
            arrays |= _put(batch, leaves, shardings)
            batch, size = {}, 0
        batch[name] = _read(archive, name, leaf)
        size += leaf.size
    return arrays | _put(batch, leaves, shardings)


def _put(
    batch: Mapping[str, Array], leaves: Mapping[str, Stored], shardings: Mapping[str, Any]
) -> dict[str, jax.Array]:
    """The arrays of a batch on their devices; the transfer is complete on return."""
    free = [name for name in batch if shardings[name] is None or leaves[name].key]
    fixed = [name for name in batch if not (shardings[name] is None or leaves[name].key)]
    placed = dict(zip(free, jax.device_put([batch[name] for name in free]), strict=True))
    arrays = jax.device_put([batch[name] for name in fixed], [shardings[name] for name in fixed])
    placed |= zip(fixed, arrays, strict=True)
    for name in batch:
        if implementation := leaves[name].key:
            key = jax.random.wrap_key_data(placed[name], impl=implementation)
            placed[name] = key if shardings[name] is None else jax.device_put(key, shardings[name])
    jax.block_until_ready(list(placed.values()))
    return {name: placed[name] for name in batch}


def _read(archive: Archive, name: str, leaf: Stored) -> Array:
    try:
        data = _empty(leaf.size)
    except MemoryError:  # the file may be sparse, and take no room on the disk
        raise Fault(f"{shown(name)} needs {leaf.size} bytes of memory, more than there are") from None
    archive.read_into(name + ENDING, leaf.head.raw, data)
    if leaf.dtype == bool and data.size and data.max() > 1:
        raise Fault(f"{shown(name)} must hold 0 or 1 for False or True, got {data.max()}")
    native = leaf.bytes_dtype.newbyteorder("=")
    array: Array = data.view(leaf.bytes_dtype).astype(native, copy=False)
    if not leaf.key:
        array = array.view(leaf.dtype)
    shape = leaf.head.shape
    return array.reshape(shape[::-1]).T if leaf.head.fortran else array.reshape(shape)


def _empty(size: int) -> Array:
    """Bytes to write to, aligned for JAX if they are many."""
    if size < LARGE:
        return np.empty(size, np.uint8)
    whole = np.empty(size + ALIGNMENT, np.uint8)
    start = -whole.ctypes.data % ALIGNMENT
    return whole[start : start + size]
