"""One leaf, between JAX and what an ``.npy`` file can hold."""

from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np


def dtype_name(name: str, leaf: Any) -> str:
    """The dtype as the file names it: ``float32``, ``bfloat16``, or ``key/threefry2x32`` for a typed key.

    Raises:
      TypeError: the leaf called ``name`` is traced, or no array of numbers.
      ValueError: part of it is on another host.
    """
    if isinstance(leaf, jax.core.Tracer):
        raise TypeError(f"save: must be called outside of jit, grad and vmap, got a traced {name!r}")
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
        raise TypeError(f"save: every leaf must be an array, got {type(leaf).__name__} at {name!r}")
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        raise ValueError(
            f"save: every array must be on this host as a whole, got one partly on another at {name!r}; "
            "gather it first, or save with Orbax"
        )
    if is_key(leaf):
        return f"key/{jax.random.key_impl(leaf)}"
    if not (leaf.dtype == bool or jnp.issubdtype(leaf.dtype, jnp.number)):
        raise TypeError(f"save: every leaf must hold numbers, got dtype {leaf.dtype} at {name!r}")
    return leaf.dtype.name


def plain(leaf: Any) -> np.ndarray[Any, Any]:
    """The leaf as an array of one of NumPy's own dtypes."""
    array = np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
    if array.dtype.isbuiltin == 2:  # not NumPy's: of bfloat16 and its kin .npy would keep nameless bytes
        return array.view(f"u{array.dtype.itemsize}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def typed(array: np.ndarray[Any, Any], dtype: str) -> Any:
    """The inverse of ``plain``: a NumPy array of that dtype, or a typed key."""
    if dtype.startswith("key/"):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=dtype.removeprefix("key/"))
    wanted = jnp.dtype(dtype)
    if array.dtype != plain(np.empty(0, wanted)).dtype:
        raise ValueError(f"an array of {array.dtype} that should hold {wanted}")
    return array.view(wanted)


def to_jax(name: str, leaf: Any) -> jax.Array:
    """The leaf as a JAX array of the same dtype.

    Raises:
      ValueError: JAX would cut its 64 bits down to 32.
    """
    array = jnp.asarray(leaf)
    if array.dtype != leaf.dtype:
        raise ValueError(
            f"load: 64-bit numbers need jax.config.update('jax_enable_x64', True), "
            f"got {leaf.dtype} at {name!r}"
        )
    return array


def place(array: jax.Array, like: Any) -> jax.Array:
    """The array on the devices to which ``like`` was put on purpose; elsewhere JAX is free to choose."""
    on_purpose = isinstance(like, jax.ShapeDtypeStruct) or getattr(like, "committed", False)
    sharding = like.sharding if on_purpose else None
    if sharding is None or isinstance(getattr(sharding, "mesh", None), jax.sharding.AbstractMesh):
        return array
    return jax.device_put(array, sharding)


def describe(name: str, leaf: Any) -> str:
    """Dtype and shape: ``float32[3,4]``."""
    if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
        raise TypeError(
            f"load: every leaf of like must have a shape and a dtype, got {type(leaf).__name__} at {name!r}"
        )
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def is_key(leaf: Any) -> TypeGuard[jax.Array]:
    """Whether the leaf is a typed PRNG key, which has no bytes of its own."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
