"""Finds out whether a function acts value by value."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxnn.inspection.receptive_field.field import FREE, along
from jaxnn.inspection.receptive_field.run import run


def acts_by_value(function: Callable[..., Any], params: Any, x: Any) -> bool:
    """Whether each value of ``function(params, x)`` depends on that of x at the same place, and on no other.

    ``params`` and ``x`` may be specs. False where that is unknown.
    """
    program, result = jax.make_jaxpr(function, return_shape=True)(params, x)
    if getattr(result, "shape", None) != getattr(x, "shape", ()):
        return False
    own = []
    for axis, n in enumerate(x.shape):
        places = along(np.arange(n, dtype=np.int32), axis, len(x.shape))
        own += [places, -places]
    (field,) = run(program, [*[FREE] * len(jax.tree.leaves(params)), tuple(own)])
    return isinstance(field, tuple) and all(map(np.array_equal, field, own))
