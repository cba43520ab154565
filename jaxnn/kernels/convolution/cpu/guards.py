"""Forms as they are handed out: in the dtype of their sums, and guarded against values that aren't finite."""

from collections.abc import Callable, Sequence
from functools import partial

import jax

from jaxnn.kernels.choice import Form, choose
from jaxnn.kernels.convolution.cpu.conditions import has_groups
from jaxnn.kernels.convolution.independent import independent
from jaxnn.kernels.convolution.problem import Problem, Settings
from jaxnn.kernels.dtypes import cast


def guarded(form: Form, exact: Callable[..., jax.Array], data: int = 0) -> Form:
    """The form in the dtype of its sums, with NaN and ∞ only where ``exact`` has them.

    ``data`` is the operand that is multiplied by the form's own zeros; the other is the kernel.
    """

    def compute(p: Problem, *operands: jax.Array) -> jax.Array:
        operands = tuple(cast(a, p.wide) for a in operands)
        if not form.zeros(p):
            return cast(form.compute(p, *operands), p.dtype)

        def of(bilinear: Callable[..., jax.Array]) -> Callable[[jax.Array], jax.Array]:
            return lambda a: bilinear(*operands[:data], a, *operands[data + 1 :])

        fast = of(partial(form.compute, p))
        right = of(partial(exact, s=p.settings, dtype=p.wide, devices=p.devices))
        # Groups may be the members of an ensemble, and NaN or ∞ in one must leave the others as they are.
        return cast(independent(fast, right, operands[data], bits=has_groups(p)), p.dtype)

    return form._replace(compute=compute)


def plain(function: Callable[..., jax.Array]) -> Form:
    """The form of lax, which needs no guard."""

    def compute(p: Problem, a: jax.Array, b: jax.Array) -> jax.Array:
        return function(a, b, p.settings, p.dtype, devices=p.devices)

    return Form("lax", compute)


def raw(forms: Sequence[Form], p: Problem, a: jax.Array, b: jax.Array, s: Settings) -> jax.Array:
    """A part of a problem by the form that suits it, not guarded against values that aren't finite."""
    part = p.of(s, b.shape[-2], b.shape[-1])
    return choose(forms, part).compute(part, a, b)
