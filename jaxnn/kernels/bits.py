"""Random bits in any shape, compiled in the time of a row."""

from math import prod

import jax
import jax.numpy as jnp


def random_bits(
    key: jax.Array, shape: tuple[int, ...], sharding: jax.NamedSharding | None = None
) -> jax.Array:
    """32 bits each, those of ``jax.random.bits``.

    XLA takes over a second of processor time to compile bits of four axes, and 0.2 s for the same bits of
    two. The first axis stays, since a batch may be split along it.
    """
    if sharding is not None or len(shape) < 3:
        return jax.random.bits(key, shape, jnp.uint32, out_sharding=sharding)
    return jax.random.bits(key, (shape[0], prod(shape[1:])), jnp.uint32).reshape(shape)
