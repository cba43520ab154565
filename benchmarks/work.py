"""The operations and bytes that a layer cannot avoid, by formula."""

from math import prod

import jax.numpy as jnp

from benchmarks import specs

#: Their derivative does not depend on the input, which a backward pass need not read again.
LINEAR = (specs.GlobalAvgPool, specs.Resize, specs.PixelShuffle, specs.Dropout)


def flops(spec: specs.Spec, shape: specs.Shape, mode: str) -> int:
    """Operations: a backward pass takes as many again for the input, and for the weights if there are any."""
    forward = spec.flops(shape)
    if mode == "forward":
        return forward
    return forward * (3 if has_weights(spec, shape) else 2)


def moved(spec: specs.Spec, shape: specs.Shape, mode: str, dtype: str) -> int:
    """Bytes of a layer: every input read and every output written once in each pass that needs it."""
    weights = sum(map(prod, spec.weights(shape).values()))
    x, y = prod(shape), prod(spec.out(shape))
    if isinstance(spec, specs.Embedding):  # reads rows, not the table; integers have no gradient
        count = 2 * y if mode == "forward" else 3 * y + weights
    elif mode == "forward":
        count = x + weights + y
    else:
        linear = isinstance(spec, LINEAR) or (isinstance(spec, specs.Pool) and spec.kind == "avg")
        again = 0 if linear else x + weights
        count = (x + weights + y) + (again + y) + (x + weights)
    return count * jnp.dtype(dtype).itemsize


def has_weights(spec: specs.Spec, shape: specs.Shape) -> bool:
    """Whether any leaf has one."""
    parts = specs.children(spec, shape)
    if parts is None:
        return bool(spec.weights(shape))
    return any(has_weights(part, at) for part, at in parts)
