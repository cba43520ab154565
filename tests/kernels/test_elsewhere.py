"""Programs for GPUs and TPUs: every windowed operation lowered for them here, value and derivatives.

GPU libraries have fast code for the gradient of a strided convolution's input, which is a convolution of a
dilated array with the kernel, as a transposed convolution is. They have none for other dilated inputs.
"""

import re

import jax
import jax.numpy as jnp
import pytest

from benchmarks import catalogue, conformance
from tests.support import deep

PLATFORMS = ("cuda", "tpu")
WINDOWED = [op.name for op in catalogue.OPS if op.family in ("conv", "transposed", "pool")]
FEW = ("conv strided", "conv_transpose 4×4 s2", "max_pool 3×3 s2")
DILATED = re.compile(r"lhs_dilate = \[[^\]]*[2-9][^\]]*\]")


def program(op, name):
    """The lowered text of a pass, of both platforms."""
    types = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in op.shapes]
    cotangent = jax.eval_shape(op.ours, *types)
    traced = jax.jit(conformance.function(op.ours, name, True)).trace(*types, cotangent, types[0])
    return traced.lower(lowering_platforms=PLATFORMS).as_text()


@pytest.mark.parametrize("name", [*FEW, *(deep(name) for name in WINDOWED if name not in FEW)])
def test_gradients_scatter_by_no_window_and_dilate_no_input_that_is_large(name):
    (op,) = (op for op in catalogue.OPS if op.name == name)
    passes = conformance.passes_of(op, "float32")
    texts = {one: program(op, one) for one in passes if one not in ("vmap", "scan")}
    assert not [one for one, text in texts.items() if "select_and_scatter" in text]
    # The value of a transposed convolution is the gradient of a convolution's input. Nothing else is dilated:
    # neither a kernel's gradient nor a second derivative.
    allowed = {"value"} if "transpose" in name or "dilated" in name else {"input gradient"}
    assert {one for one, text in texts.items() if DILATED.search(text)} <= allowed
