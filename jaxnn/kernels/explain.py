"""Which form each operation of a function takes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
from jax.extend.backend import backends, get_default_device
from jax.extend.core import JaxprEqn, jaxprs_in_params

from jaxnn.kernels.lowering.preference import Choice, described
from jaxnn.kernels.lowering.primitive import KERNELS


def explain(
    function: Callable[..., Any], /, *args: Any, platform: str | None = None, devices: int = 1, **kwargs: Any
) -> list[Choice]:
    """Which form each operation of ``function(*args, **kwargs)`` takes. Nothing is computed.

    Operations that have no choice are left out; those in a loop's body are listed once.

    Args:
      function: of arrays; a gradient to see the forms of the gradients. If it is compiled by ``jax.jit``, its
        static arguments stay what they are.
      *args: arrays, or ``jax.ShapeDtypeStruct``.
      platform: what the program is for: ``"cpu"``, ``"cuda"``, ``"rocm"``, ``"tpu"``; None for the default
        backend's.
      devices: over how many devices the compiler may spread the arrays.
      **kwargs: as ``args``.

    Raises:
      TypeError: ``function`` can't be called.
      ValueError: ``platform`` is ``"gpu"``, for which no program is compiled.

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
    if platform == "gpu":
        raise ValueError("explain: platform must be 'cuda' or 'rocm' for a GPU, got 'gpu'")
    target = here() if platform is None else platform
    program = traced("explain", function, args, kwargs)
    return [choice(eqn, target, devices) for eqn in operations(program)]


def traced(owner: str, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The program of ``function(*args, **kwargs)``."""
    if not callable(function):
        raise TypeError(f"{owner}: function must be callable, got {function!r}")
    if isinstance(function, jax.stages.Wrapped):  # it knows which of its arguments are static
        return function.trace(*args, **kwargs).jaxpr.jaxpr
    return jax.make_jaxpr(function)(*args, **kwargs).jaxpr


def here() -> str:
    """The platform that JAX compiles for by default, as it is named there: ``"cuda"``, not ``"gpu"``."""
    client = get_default_device().client
    return next(name for name, known in backends().items() if known is client)


def choice(eqn: JaxprEqn, platform: str, devices: int = 1) -> Choice:
    """The form that the operation of an equation takes."""
    kernel, types = KERNELS[eqn.primitive.name], tuple[Any, ...](v.aval for v in eqn.invars)
    form, problem = kernel.chosen(platform, types, eqn.params, devices)
    forms = kernel.on(platform)
    others = tuple(other.name for other in forms if other.name != form.name and other.fits(problem))
    problem_in_words = described(eqn.primitive.name, types, eqn.params, platform, devices)
    return problem_in_words._replace(form=form.name, others=others)


def operations(jaxpr: Any) -> Iterator[JaxprEqn]:
    """The equations of a program that have a choice of forms, including those in loops and branches."""
    for eqn in jaxpr.eqns:
        kernel = KERNELS.get(eqn.primitive.name)
        if kernel is not None and any(len(forms) > 1 for forms in kernel.forms.values()):
            yield eqn
        for inner in jaxprs_in_params(eqn.params):
            yield from operations(inner)
