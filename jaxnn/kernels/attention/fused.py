"""Attention by cuDNN, in one kernel that holds no scores: half precision on an NVIDIA GPU.

JAX asks the GPU for cuDNN's version when it lowers such a call, and promises nothing of what it writes. So
it is taken only where the program will run, not in one that is exported.
"""

from functools import cache, partial

import jax

from jaxnn.kernels.attention import blocked, plain
from jaxnn.kernels.attention.independent import guarded
from jaxnn.kernels.attention.problem import Problem
from jaxnn.kernels.choice import Form

#: What cuDNN computes: features in multiples of this, up to so many.
MULTIPLE, MOST_FEATURES = 8, 128
#: The oldest generation of GPUs that has such a kernel, Ampere.
OLDEST = 8.0
#: The fewest scores per example and head that are worth it.
FEWEST = 1 << 12

NEEDS = (
    f"one NVIDIA GPU from Ampere on, half precision, features in multiples of {MULTIPLE} up to "
    f"{MOST_FEATURES}, all keys or those up to the query's place, no bias, no mask, no lengths"
)
WHEN = f"at least {FEWEST:,} scores per example and head"


@cache
def _is_at_hand() -> bool:
    """Whether programs run on a GPU that has the kernel."""
    if jax.default_backend() != "gpu":
        return False
    return float(getattr(jax.local_devices()[0], "compute_capability", "0")) >= OLDEST


def _is_causal(p: Problem) -> bool:
    return p.settings.right == 0 and p.queries == p.keys


def _fits(p: Problem) -> bool:
    s = p.settings
    whole = s.left is None and not s.extras and (s.right is None or _is_causal(p))
    sizes = p.features % MULTIPLE == 0 and p.features <= MOST_FEATURES
    return p.half and whole and sizes and isinstance(p.scores, int) and p.devices == 1 and _is_at_hand()


def _pays(p: Problem) -> bool:
    return bool(p.scores >= FEWEST)


def _attention(p: Problem, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    return jax.nn.dot_product_attention(
        q,
        k,
        v,
        scale=p.settings.scale,
        is_causal=_is_causal(p) and p.settings.right == 0,
        implementation="cudnn",
    )


def _forward(p: Problem, q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
    def exact(p: Problem, *operands: jax.Array) -> jax.Array:
        return blocked.forward(p, *operands, exact=True)[0]

    y = guarded(p, _attention, exact, (q, k, v), ((1, None), (2, None)))
    # The gradient below doesn't read the logarithms: if nothing else does, XLA leaves them out.
    return y, plain.forward(p, q, k, v)[1]


def _gradient(p: Problem, q: jax.Array, k: jax.Array, v: jax.Array, *others: jax.Array) -> list[jax.Array]:
    def fast(p: Problem, *operands: jax.Array) -> list[jax.Array]:
        *inputs, _, _, d_y = operands
        return list(jax.vjp(partial(_attention, p), *inputs)[1](d_y))

    exact = partial(blocked.gradient, exact=True)
    tested = tuple((i, None) for i in (0, 1, 2, 5))
    return list(guarded(p, fast, exact, (q, k, v, *others), tested))


FORWARD = Form("fused", _forward, _fits, _pays, NEEDS, WHEN, portable=False)
GRADIENT = Form("fused", _gradient, _fits, _pays, NEEDS, WHEN, portable=False)
