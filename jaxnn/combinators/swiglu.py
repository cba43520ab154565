"""The gated dense block of transformers."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from jaxnn.combinators.graph import Parts, composite
from jaxnn.layer import Layer, constructor
from jaxnn.layers.dense import dense
from jaxnn.layers.initialisers import HE_NORMAL, ZEROS
from jaxnn.ops import checks
from jaxnn.ops.gated import silu
from jaxnn.sequences import over_steps


@constructor
def swiglu(
    features: int,
    hidden: int,
    *,
    bias: bool = False,
    kernel_init: Initializer = HE_NORMAL,
    bias_init: Initializer = ZEROS,
) -> Layer:
    """Dense layers with a gate between them: ``(..., F) → (..., features)``.

    y = (silu(x·W_gate) ∘ (x·W_up)) · W_down. Parts: ``gate`` and ``up``, dense layers of ``hidden`` features,
    and ``down``, one of ``features``.

    Args:
      features: the size of the last axis of the output.
      hidden: of the two in the middle. With 8/3 · F there are as many weights as with 4 · F and no gate.
      bias: whether to add biases.
      kernel_init: of the three kernels, any function of (key, shape, dtype).
      bias_init: the same for the biases.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.swiglu(64, 172), (1, 20, 64))
    (1, 20, 64)

    Shazeer, "GLU variants improve transformer", 2020 (arXiv:2002.05202).
    """
    features = checks.integer("swiglu", "features", features, least=1)
    hidden = checks.integer("swiglu", "hidden", hidden, least=1)
    checks.flags("swiglu", bias=bias)
    checks.initialisers("swiglu", kernel_init=kernel_init, bias_init=bias_init)
    settings: dict[str, Any] = {"bias": bias, "kernel_init": kernel_init, "bias_init": bias_init}

    def gated(f: Parts, x: Any) -> jax.Array:
        y: jax.Array = f.down(jnp.multiply(silu(f.gate(x)), f.up(x)))
        return y

    def flow(f: Parts, inputs: Any) -> Any:
        return over_steps("swiglu", partial(gated, f), inputs)

    parts = {"gate": dense(hidden, **settings), "up": dense(hidden, **settings)}
    return composite("swiglu", flow, parts | {"down": dense(features, **settings)})
