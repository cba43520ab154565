"""What is common to these primitives: the type of a result, and what ``vmap`` makes of them."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive

from jaxnn.kernels.reduction.cuts import Axes


def type_of_reduced(x: Any, *, axes: Axes, **_: Any) -> Any:
    """The axes keep size 1."""
    return type_of_copies(x, axes=axes, sizes=[1] * len(axes), spec=[None] * len(axes))


def type_of_copies(x: Any, *, axes: Axes, sizes: Sequence[Any], spec: Sequence[Any]) -> Any:
    """The axes get these sizes, and these axes of the mesh."""
    shape, of_all = list(x.shape), list(x.sharding.spec)
    for axis, size, name in zip(axes, sizes, spec, strict=True):
        shape[axis], of_all[axis] = size, name
    return x.update(shape=tuple(shape), weak_type=False, sharding=x.sharding.update(spec=of_all))


def batch(which: Primitive, args: Sequence[jax.Array], dims: Sequence[int], **params: Any) -> Any:
    """The mapped axis comes first."""
    params["axes"] = tuple(axis + 1 for axis in params["axes"])
    if params.get("slices"):
        axis, count = params["slices"]
        params["slices"] = axis + 1, count
    return which.bind(jnp.moveaxis(args[0], dims[0], 0), **params), 0
