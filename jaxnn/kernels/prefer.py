"""Takes forms that were found best instead of those of the lists."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from jaxnn.kernels.lowering.preference import Choice, Preferences, preferences
from jaxnn.kernels.lowering.primitive import KERNELS


@contextmanager
def prefer(choices: Iterable[Choice]) -> Iterator[None]:
    """Programs compiled within this context take the form of each choice for the same operation.

    The same means operands of the same types, the same settings, platform and number of devices; all other
    operations choose as ever, and one that was asked for a form by ``implementation`` takes that. Results
    may differ in the last bits. As other contexts of JAX, this one is of its thread, and ``jax.jit`` compiles
    a function again when it is called within; within another, both hold, and this one where they differ.

    Forms are chosen when a whole program is lowered: enter the context around the call of a compiled
    function, or around ``lower``. Inside of a function that ``jax.jit`` traces it changes nothing.

    Args:
      choices: from ``tune``, from ``explain``, or ``Choice(*fields)`` for each that was read from a file.

    Raises:
      TypeError: something other than choices, or one with fields of other types.
      ValueError: no operation is called so, or it has no form of that name.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> x, kernel = jnp.ones((100, 28, 28, 1)), jnp.ones((5, 5, 1, 6))
    >>> (choice,) = nn.kernels.explain(nn.ops.conv, x, kernel, platform="cpu")
    >>> choice.form, choice.others
    ('banded', ('unfolded', 'blocked', 'canonical', 'lax'))
    >>> with nn.kernels.prefer([choice._replace(form="lax")]):
    ...     print(nn.kernels.explain(nn.ops.conv, x, kernel, platform="cpu")[0].form)
    lax
    """
    if isinstance(choices, Choice | str) or not isinstance(choices, Iterable):
        raise TypeError(f"prefer: choices must be a sequence of kernels.Choice, got {choices!r}")
    found = list(choices)
    for choice in found:
        _check(choice)
    with preferences(Preferences(found, preferences.value)):
        yield


def _check(choice: object) -> None:
    if not isinstance(choice, Choice):
        raise TypeError(
            f"prefer: each of choices must be a kernels.Choice, got {choice!r}; what was read from a file "
            "becomes one by Choice(*fields)"
        )
    operands, texts = choice.operands, [choice.operation, choice.form, choice.settings, choice.platform]
    described = isinstance(operands, list | tuple) and all(isinstance(t, str) for t in (*texts, *operands))
    if not (described and isinstance(choice.devices, int)):
        raise TypeError(f"prefer: a choice must hold texts and a number of devices, got {choice!r}")
    kernel = KERNELS.get(choice.operation)
    if kernel is None:
        raise ValueError(f"prefer: no operation is called {choice.operation!r}")
    names = [form.name for form in kernel.on(choice.platform)]
    if choice.form not in names:
        known = ", ".join(map(repr, names))
        raise ValueError(
            f"prefer: form of {choice.operation} on {choice.platform!r} must be one of {known}, "
            f"got {choice.form!r}"
        )
