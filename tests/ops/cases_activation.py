"""Activations with typical settings, for the properties that every op must have."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxnn import ops
from tests.ops.case import Case

ELEMENTWISE = [
    "arctan",
    "elu",
    "gelu",
    "hard_shrink",
    "hard_silu",
    "linear",
    "log_sigmoid",
    "mish",
    "selu",
    "silu",
    "soft_shrink",
    "soft_sign",
    "softplus",
    "tanh_shrink",
]


def masked(function):
    """``function`` with every third place left out."""

    def op(x: jax.Array) -> jax.Array:
        where = jnp.arange(x.shape[-1]) % 3 != 1
        return jnp.where(where[None], function(x, where=where[None]), jnp.zeros_like(x))

    return op


CASES = [
    *(
        Case(f"activation-{name}", getattr(ops, name), ((2, 5),), large=((4, 10_000),))
        for name in ELEMENTWISE
    ),
    Case("activation-gelu-exact", partial(ops.gelu, approximate=False), ((2, 5),)),
    Case("activation-step", ops.step, ((2, 5),), large=((4, 10_000),), smooth=False),
    Case("activation-threshold", partial(ops.threshold, threshold=0.3, value=-1.0), ((2, 5),)),
    Case("prelu-channels", ops.prelu, ((2, 3, 4), (4,)), large=((4, 2500, 4), (4,))),
    Case("prelu-shared", ops.prelu, ((2, 3, 4), ())),
    Case("maxout", partial(ops.maxout, pieces=3), ((2, 6),), large=((4, 12_000),)),
    Case("maxout-axis", partial(ops.maxout, pieces=2, axis=1), ((2, 4, 3),)),
    Case("glu", ops.glu, ((2, 6),)),
    Case("softmax", ops.softmax, ((2, 3, 4),), large=((4, 20, 500),)),
    Case("softmax-many-rows", ops.softmax, ((512, 8, 3),)),
    Case("softmax-masked", masked(ops.softmax), ((2, 5),)),
    Case("log-softmax", ops.log_softmax, ((2, 3, 4),), large=((4, 20, 500),)),
    Case("log-softmax-masked", masked(ops.log_softmax), ((2, 5),)),
    Case("softmin-axis", partial(ops.softmin, axis=1), ((2, 3, 4),)),
    Case("sparsemax", ops.sparsemax, ((3, 4),), large=((70, 500),)),
    Case("sparsemax-axis", partial(ops.sparsemax, axis=1), ((2, 5, 3),)),
]
