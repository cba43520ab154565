"""Activations with typical settings, for the properties that every op must have."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxnn.ops import activation
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
        Case(f"activation-{name}", getattr(activation, name), ((2, 5),), large=((4, 10_000),))
        for name in ELEMENTWISE
    ),
    Case("activation-gelu-exact", partial(activation.gelu, approximate=False), ((2, 5),)),
    Case("activation-step", activation.step, ((2, 5),), large=((4, 10_000),), smooth=False),
    Case("activation-threshold", partial(activation.threshold, threshold=0.3, value=-1.0), ((2, 5),)),
    Case("prelu-channels", activation.prelu, ((2, 3, 4), (4,)), large=((4, 2500, 4), (4,))),
    Case("prelu-shared", activation.prelu, ((2, 3, 4), ())),
    Case("maxout", partial(activation.maxout, pieces=3), ((2, 6),), large=((4, 12_000),)),
    Case("maxout-axis", partial(activation.maxout, pieces=2, axis=1), ((2, 4, 3),)),
    Case("glu", activation.glu, ((2, 6),)),
    Case("softmax", activation.softmax, ((2, 3, 4),), large=((4, 20, 500),)),
    Case("softmax-many-rows", activation.softmax, ((512, 8, 3),)),
    Case("softmax-masked", masked(activation.softmax), ((2, 5),)),
    Case("log-softmax", activation.log_softmax, ((2, 3, 4),), large=((4, 20, 500),)),
    Case("log-softmax-masked", masked(activation.log_softmax), ((2, 5),)),
    Case("softmin-axis", partial(activation.softmin, axis=1), ((2, 3, 4),)),
    Case("sparsemax", activation.sparsemax, ((3, 4),), large=((70, 500),)),
    Case("sparsemax-axis", partial(activation.sparsemax, axis=1), ((2, 5, 3),)),
]
