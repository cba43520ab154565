"""One leaf, between JAX and what a ``.npy`` file can hold."""

import contextlib
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checkpoint.archive import Array, shown
from jaxnn.checkpoint.npy import Head
from jaxnn.params import is_key, is_key_dtype

SMALL = 2**16  # bytes below which avoiding an array's cached copy isn't worthwhile
KEY = "key/"  # precedes the name of a typed key's implementation

#: What JAX computes with. Others (timedelta64 and float128 of NumPy, float6 of ml_dtypes) it could not load.
DTYPES = frozenset(
    ["bool", "float4_e2m1fn", "bfloat16", "float16", "float32", "float64", "complex64", "complex128"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (2, 4, 8, 16, 32, 64)]
    + [f"float8_{kind}" for kind in ("e3m4", "e4m3", "e4m3b11fnuz", "e4m3fn", "e4m3fnuz")]
    + [f"float8_{kind}" for kind in ("e5m2", "e5m2fnuz", "e8m0fnu")]
)


def dtype_name(name: str, leaf: Any) -> str:
    """The dtype as the file names it: ``float32``, ``bfloat16``, or ``key/threefry2x32`` for a typed key.

    Raises:
      TypeError: the leaf called ``name`` is traced, or isn't an array of numbers.
      ValueError: part of it is on another host, or it was donated.
    """
    if isinstance(leaf, jax.core.Tracer):
        raise TypeError(f"save: must be called outside of jit, grad and vmap, got a traced {shown(name)}")
    if isinstance(leaf, jax.Array):
        if leaf.is_deleted():
            raise ValueError(f"save: every array must be alive, got one that was donated at {shown(name)}")
        if not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            raise ValueError(
                "save: every array must be on this host as a whole, got one partly on another at "
                f"{shown(name)}; gather it first, or save with Orbax"
            )
        if is_key(leaf):
            implementation = jax.random.key_impl(leaf)
            if not isinstance(implementation, str):
                raise TypeError(
                    "save: a key must be of an implementation that jax.random.key knows by name, "
                    f"got {implementation!r} at {shown(name)}"
                )
            return KEY + implementation
    elif not isinstance(leaf, np.generic) and type(leaf) not in (np.ndarray, np.memmap):
        if isinstance(leaf, np.ndarray):  # it means more than its numbers: a mask, a unit, always two axes
            raise TypeError(
                f"save: every leaf must be a plain array, got {type(leaf).__name__} at {shown(name)}; "
                "save what numpy.asarray gives of it, and a mask as an array of its own"
            )
        raise TypeError(f"save: every leaf must be an array, got {type(leaf).__name__} at {shown(name)}")
    if (dtype := _name(leaf.dtype)) not in DTYPES:
        raise TypeError(
            f"save: every leaf must hold numbers that JAX has, got dtype {leaf.dtype} at {shown(name)}"
        )
    return dtype


@functools.lru_cache
def _name(dtype: np.dtype[Any]) -> str:
    return dtype.name  # NumPy builds this string anew each time


def plain(leaf: Any) -> Array:
    """The leaf as a C-contiguous or Fortran-contiguous array of the dtype ``stored_as``."""
    if is_key(leaf):
        leaf = jax.random.key_data(leaf)
    array = _on_host(leaf) if isinstance(leaf, jax.Array) else np.asarray(leaf)
    wanted = stored_as(array.dtype)
    if array.dtype != wanted:
        if array.dtype.isbuiltin == 2:
            array = array.view(wanted) if array.flags.forc else array.copy().view(wanted)
        else:
            array = array.astype(wanted)
    return array if array.flags.forc else array.copy()


@functools.lru_cache
def stored_as(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of NumPy's own that holds the bytes of ``dtype`` in a file, lowest byte first.

    A ``.npy`` file would store bfloat16 and the like, which aren't NumPy's, as bytes without a name.
    """
    return np.dtype(f"u{dtype.itemsize}" if dtype.isbuiltin == 2 else dtype).newbyteorder("<")


def _on_host(array: jax.Array) -> Array:
    """The values of an array on any devices: on CPUs without a copy where one device has all."""
    if array.nbytes < SMALL:
        return np.asarray(array)
    if array.is_fully_replicated:
        return _from_device(array.addressable_data(0))
    whole = np.empty(array.shape, array.dtype)
    for shard in array.addressable_shards:
        whole[shard.index] = _from_device(shard.data)
    return whole


def _from_device(array: jax.Array) -> Array:
    """An array on one device: by way of the CPU, since elsewhere it would keep the copy of ``np.asarray``."""
    (device,) = array.devices()
    if device.platform != "cpu":
        with contextlib.suppress(RuntimeError):  # JAX was told to start without its CPU device
            array = jax.device_put(array, jax.local_devices(backend="cpu")[0])
    return np.asarray(array)


class Stored(NamedTuple):
    """How a leaf is stored in a file: the head and the dtype of its bytes, and its own shape and dtype."""

    head: Head
    bytes_dtype: np.dtype[Any]
    size: int  #: in bytes
    shape: tuple[int, ...]
    dtype: Any
    key: str | None  #: the implementation, if it is a typed key


@functools.lru_cache(4096)
def stored(dtype: str, head: Head) -> Stored:
    """The leaf that a file describes by the dtype's name and the head of its member.

    Raises:
      ValueError: there is no such leaf.
    """
    shape: tuple[int, ...] = head.shape
    known: Any
    key = None
    if dtype.startswith(KEY):
        key = dtype.removeprefix(KEY)
        bytes_dtype = np.dtype("<u4")
        shape, known = _key(key, shape)
    elif dtype in DTYPES:
        known = _known(dtype)
        bytes_dtype = stored_as(known)
    else:
        raise ValueError(f"is of the unknown dtype {shown(dtype)}")
    if head.dtype != bytes_dtype.str:
        raise ValueError(f"is an array of {head.dtype} that should hold {dtype}")
    return Stored(head, bytes_dtype, math.prod(head.shape) * bytes_dtype.itemsize, shape, known, key)


def _known(dtype: str) -> np.dtype[Any]:
    try:
        return jnp.dtype(dtype)
    except TypeError:  # a newer JAX has it
        raise ValueError(f"is of dtype {dtype}, which this JAX does not have") from None


def _key(implementation: str, shape: tuple[int, ...]) -> tuple[tuple[int, ...], Any]:
    """Shape and dtype of the keys whose data have this shape."""
    data = jax.ShapeDtypeStruct(shape, np.uint32)
    try:
        key = jax.eval_shape(lambda data: jax.random.wrap_key_data(data, impl=implementation), data)
    except (TypeError, ValueError):
        raise ValueError(
            f"must hold keys of an implementation of JAX, got {shown(implementation)} for shape {shape}"
        ) from None
    return key.shape, key.dtype


def fits(dtype: Any) -> bool:
    """Whether JAX would keep this dtype as it is, rather than truncate its 64 bits to 32."""
    return is_key_dtype(dtype) or jax.dtypes.canonicalize_dtype(dtype) == dtype


def placement(like: Any) -> Any:
    """The sharding on which ``like`` was explicitly placed; None where JAX is free to choose."""
    on_purpose = isinstance(like, jax.ShapeDtypeStruct) or getattr(like, "committed", False)
    sharding = like.sharding if on_purpose else None
    return None if isinstance(getattr(sharding, "mesh", None), jax.sharding.AbstractMesh) else sharding


def described(leaf: Any) -> str:
    """Dtype and shape: ``float32[3,4]``."""
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
