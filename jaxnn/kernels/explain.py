"""Which form each operation of a function takes."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
from jax.extend.core import JaxprEqn, jaxprs_in_params

from jaxnn.kernels.lowering.primitive import KERNELS


class Choice(NamedTuple):
    """An operation of a program and its form.

    Attributes:
      operation: the name of the primitive.
      operands: their types.
      form: the name of the form that is taken.
      others: the names of the other forms that fit, in order.
    """

    operation: str
    operands: tuple[str, ...]
    form: str
    others: tuple[str, ...]


def explain(
    function: Callable[..., Any], /, *args: Any, platform: str | None = None, devices: int = 1, **kwargs: Any
) -> list[Choice]:
    """Which form each operation of ``function(*args, **kwargs)`` takes. Nothing is computed.

    Operations that have no choice are left out; those in a loop's body are listed once.

    Args:
      function: of arrays; a gradient to see the forms of the gradients.
      *args: arrays, or ``jax.ShapeDtypeStruct``.
      platform: what the program is for: ``"cpu"``, ``"cuda"``, ``"rocm"``, ``"tpu"``; None for the default
        backend's.
      devices: over how many devices the compiler may spread the arrays.
      **kwargs: as ``args``.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> x, kernel = jnp.ones((100, 28, 28, 1)), jnp.ones((5, 5, 1, 6))
    >>> loss = lambda x, kernel: nn.ops.conv(x, kernel).sum()
    >>> for choice in nn.kernels.explain(jax.grad(loss, 1), x, kernel, platform="cpu"):
    ...     print(choice.operation, choice.form)
    jaxnn_conv_forward banded
    jaxnn_conv_kernel_gradient canonical
    >>> [choice.form for choice in nn.kernels.explain(loss, x, kernel, platform="cuda")]
    ['lax']
    """
    target = jax.default_backend() if platform is None else platform
    program = jax.make_jaxpr(function)(*args, **kwargs)
    return [_choice(eqn, target, devices) for eqn in operations(program.jaxpr)]


def _choice(eqn: JaxprEqn, platform: str, devices: int) -> Choice:
    kernel, types = KERNELS[eqn.primitive.name], tuple[Any, ...](v.aval for v in eqn.invars)
    forms = kernel.on(platform)
    form, problem = kernel.chosen(forms, types, eqn.params, devices)
    others = (other.name for other in forms if other.name != form.name and other.fits(problem))
    shown = tuple(f"{aval.dtype}[{','.join(map(str, aval.shape))}]" for aval in types)
    return Choice(eqn.primitive.name, shown, form.name, tuple(others))


def operations(jaxpr: Any) -> Iterator[JaxprEqn]:
    """The equations of a program that have a choice of forms, including those in loops and branches."""
    for eqn in jaxpr.eqns:
        kernel = KERNELS.get(eqn.primitive.name)
        if kernel is not None and any(len(forms) > 1 for forms in kernel.forms.values()):
            yield eqn
        for inner in jaxprs_in_params(eqn.params):
            yield from operations(inner)
