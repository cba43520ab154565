"""XLA with oneDNN: plain convolutions and matrix products by Intel's library, where jaxlib holds it.

JAX 0.12's jaxlib for CPUs does, behind options that XLA calls experimental; JAX 0.10's ignores them.
"""

from functools import cache
from typing import Any

import jax

#: As ``jax.jit(compiler_options=...)``. YNN's fusions take the same operations first unless they are emptied.
OPTIONS: dict[str, Any] = {
    "xla_cpu_experimental_onednn_custom_call": True,
    "xla_cpu_experimental_ynn_fusion_type": "",
}


@cache
def found() -> bool:
    """Whether a matrix product goes to oneDNN under the options."""
    matrix = jax.ShapeDtypeStruct((64, 64), "float32")
    try:
        compiled = jax.jit(jax.numpy.dot, compiler_options=OPTIONS).lower(matrix, matrix).compile()
    except jax.errors.JaxRuntimeError:  # another platform, or a version that has no such option
        return False
    return "onednn" in (compiled.as_text() or "")
