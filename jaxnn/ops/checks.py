"""Checks of the arguments of public functions, and the sentences that they raise.

A sentence reads ``<owner>: <name> must be <rule>, got <value>``, where the owner is the op or layer that was
called. A value of the wrong kind is a ``TypeError``, one out of range a ``ValueError``.

Settings are Python or NumPy scalars, or arrays without axes; their values must be known when a program is
traced. They come back as Python's own ``int``, ``float`` and ``bool``, which take part in no promotion of
dtypes. All of this runs at trace time, often for hundreds of layers, so the path without an error is short.
"""

from collections.abc import Sequence
from functools import cache
from inspect import isfunction
from math import inf
from numbers import Real
from operator import index
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

# --- settings ---


def integer(owner: str, name: str, value: Any, *, least: int | None = None, most: int | None = None) -> int:
    """``value`` as an int; raises unless it is a whole number, not below ``least``, not above ``most``."""
    number = whole(value)
    if number is None:
        raise wrong_kind(owner, name, "an integer", value)
    if (least is not None and number < least) or (most is not None and number > most):
        raise ValueError(refusal(owner, name, _range(least, most), value))
    return number


def number(
    owner: str,
    name: str,
    value: Any,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    finite: bool = True,
    rule: str | None = None,
) -> float:
    """``value`` as a float; raises unless it is a number within the bounds, and finite by default.

    Args:
      owner: the op or layer.
      name: the argument's name.
      value: its value.
      least: the smallest value that is allowed.
      most: the largest value that is allowed.
      above: a number that the value must exceed.
      finite: False lets ±∞ pass where the bounds allow it; NaN never passes.
      rule: the bounds in words, where these should say more.
    """
    plain = value if type(value) is float else _plain(value)
    if isinstance(plain, bool) or not isinstance(plain, Real):
        raise wrong_kind(owner, name, "a plain number", value)
    try:
        result = float(plain)
    except OverflowError:  # an int beyond the largest float
        result = inf
    if result != result or (finite and abs(result) == inf):
        raise ValueError(refusal(owner, name, rule or ("a finite number" if finite else "a number"), value))
    low = (least is not None and result < least) or (above is not None and result <= above)
    if low or (most is not None and result > most):
        raise ValueError(refusal(owner, name, rule or _range(least, most, above), value))
    return result


def scalar(owner: str, name: str, value: Any) -> bool | int | float | complex:
    """``value`` as Python's own bool, int, float or complex."""
    plain = _plain(value)
    if not isinstance(plain, bool | Real | complex):
        raise wrong_kind(owner, name, "a plain number", value)
    return plain  # type: ignore[return-value]


def flag(owner: str, name: str, value: Any) -> bool:
    """``value`` as a bool; raises unless it is one; 0, 1, None and strings are not."""
    plain = _plain(value)
    if not isinstance(plain, bool):
        raise wrong_kind(owner, name, "True or False", value)
    return plain


def flags(owner: str, **values: Any) -> None:
    """Raises unless all ``values``, by name, are bools."""
    for name, value in values.items():
        if value is not True and value is not False:
            flag(owner, name, value)


def choice(owner: str, name: str, value: Any, options: Sequence[str], otherwise: str = "") -> None:
    """Raises unless ``value`` is one of the strings ``options``; ``otherwise`` says what else it may be."""
    if not (isinstance(value, str) and value in options):
        *others, last = [*map(repr, options), *([otherwise] if otherwise else [])]
        rule = f"{', '.join(others)} or {last}" if others else last
        raise ValueError(refusal(owner, name, rule, value))


def text(owner: str, name: str, value: Any) -> None:
    """Raises unless ``value`` is a string."""
    if not isinstance(value, str):
        raise TypeError(refusal(owner, name, "a string", value))


def axis(owner: str, value: Any, shape: Sequence[Any], name: str = "axis") -> int:
    """``value`` counted from the front; raises unless it is an axis of an ``x`` of this shape."""
    place = integer(owner, name, value)
    if not -len(shape) <= place < len(shape):
        raise ValueError(refusal(owner, name, f"one of the axes of x {tuple(shape)}", value))
    return place % len(shape)


def axes(owner: str, value: Any, shape: Sequence[Any] | None = None, name: str = "axes") -> tuple[int, ...]:
    """``value``, an axis or several, counted from the front and in rising order.

    Raises unless they are different axes of an ``x`` of this shape. Without a shape (a layer does not know
    it when it is made) they are returned as they are.
    """
    given = integers(value)
    if given is None:
        raise wrong_kind(owner, name, "an integer or a tuple of integers", value)
    result = given
    if shape is not None:
        rank = len(shape)
        if not given or not all(-rank <= place < rank for place in given):
            raise ValueError(refusal(owner, name, f"among the axes of x {tuple(shape)}", value))
        result = tuple(sorted(place % rank for place in given))
    if not given or len(set(result)) != len(given):
        rule = "different from each other" if given else "at least one axis"
        where = "" if shape is None else f" for x {tuple(shape)}"
        raise ValueError(refusal(owner, name, rule, value) + where)
    return result


def function(owner: str, name: str, value: Any, rule: str = "a function") -> None:
    """Raises unless ``value`` can be called; ``rule`` says as what."""
    if not callable(value):
        raise TypeError(refusal(owner, name, rule, value))


def initialisers(owner: str, **values: Any) -> None:
    """Raises unless all ``values``, by name, are functions."""
    for name, value in values.items():
        if not callable(value):
            rule = "a function of (key, shape, dtype), such as jax.nn.initializers.he_normal()"
            raise TypeError(refusal(owner, name, rule, value))


def floating_type(owner: str, name: str, value: Any) -> np.dtype:
    """``value`` as a dtype; raises unless it is, or names, a real floating-point dtype."""
    try:
        dtype = None if value is None else jnp.dtype(value)
    except TypeError:
        dtype = None
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(refusal(owner, name, "a floating-point dtype", value))
    return dtype


def key(owner: str, value: Any) -> None:
    """Raises unless ``value`` is one key: of the new kind, or raw ``uint32`` words as from ``PRNGKey``."""
    if isinstance(value, jax.Array | np.ndarray):
        typed = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
        if value.shape == () if typed else value.dtype == np.uint32 and value.shape == _raw_key():
            return
    raise TypeError(refusal(owner, "key", "one JAX key, such as jax.random.key(0)", value))


def optional_key(owner: str, value: Any) -> None:
    """Like ``key``, but None is allowed."""
    if value is not None:
        key(owner, value)


def _raw_key() -> tuple[int, ...]:
    return _raw_key_of(jax.config.jax_default_prng_impl)  # type: ignore[attr-defined]


@cache
def _raw_key_of(implementation: str) -> tuple[int, ...]:
    """The shape of a raw key."""
    words = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0, impl=implementation)))
    shape: tuple[int, ...] = words.shape
    return shape


def whole(value: Any) -> int | None:
    """``value`` as an int, if it is a whole number whose value is known, and not a bool; else None."""
    if type(value) is int:
        return value
    plain = _plain(value)
    if isinstance(plain, bool | jax.core.Tracer | np.ndarray):
        return None
    try:
        return index(plain)
    except TypeError:
        return None


def integers(value: Any) -> tuple[int, ...] | None:
    """``value``, one whole number or a sequence of them, as ints; None if it is neither."""
    entries = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    numbers = tuple(number for entry in entries if (number := whole(entry)) is not None)
    return numbers if len(numbers) == len(entries) else None


def _plain(value: Any) -> Any:
    """A NumPy scalar, or an array without axes, as Python's own number; all else as it is."""
    if isinstance(value, np.generic | np.ndarray | jax.Array) and not _described(value):
        return value.item()
    return value


def _range(least: float | None, most: float | None, above: float | None = None) -> str:
    """The bounds in words."""
    if above is not None:
        low = "positive" if above == 0 else f"above {above}"
        return low if most is None else f"{low} and at most {most}"
    if least is not None and most is not None:
        return f"in [{least}, {most}]"
    return f"at least {least}" if most is None else f"at most {most}"


def refusal(owner: str, name: str, rule: str, value: Any) -> str:
    """The sentence: ``<owner>: <name> must be <rule>, got <value>``."""
    return f"{owner}: {name} must be {rule}, got {shown(value)}"


def wrong_kind(owner: str, name: str, rule: str, value: Any) -> TypeError:
    """The error for a setting that breaks ``rule``, perhaps only because its value is traced."""
    known = " whose value is known when the program is traced" if isinstance(value, jax.core.Tracer) else ""
    return TypeError(refusal(owner, name, rule + known, value))


def shown(value: Any) -> str:
    """``value`` as a sentence shows it: short, whatever it is."""
    if isinstance(value, np.ndarray | jax.Array) and _described(value):
        kind = "a traced" if isinstance(value, jax.core.Tracer) else "an array"
        return f"{kind} {value.dtype}[{','.join(map(str, value.shape))}]"
    text = f"the function {value.__name__}" if isfunction(value) else " ".join(repr(value).split())
    return text if len(text) <= 120 else f"{text[:117]}..."


def _described(value: np.generic | np.ndarray | jax.Array) -> bool:
    """Whether an array has no single number to show: it has axes, is traced, or holds a key."""
    traced = isinstance(value, jax.core.Tracer)
    return traced or value.ndim > 0 or jnp.issubdtype(value.dtype, jax.dtypes.extended)


# --- arrays ---


def array(owner: str, value: Any, name: str = "x") -> jax.Array:
    """``value`` as a JAX array; raises unless it is an array or a number.

    A list or a tuple is not: several arrays where one was meant would be stacked silently to a wrong shape.
    """
    if isinstance(value, jax.Array):
        return value
    if isinstance(value, tuple | list):
        raise TypeError(f"{owner}: {name} must be one array, got {described(value)}")
    try:
        if value is not None:
            return jnp.asarray(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise TypeError(refusal(owner, name, "an array", value)) from None


def arrays(owner: str, value: Any, name: str = "x") -> Any:
    """``value``, a pytree; raises unless its leaves are arrays or numbers, at least one."""
    leaves = [value] if isinstance(value, jax.Array) else jax.tree.leaves(value)
    for leaf in leaves or [value]:
        array(owner, leaf, name)
    return value


def one_shape(owner: str, spec: Any) -> Any:
    """``spec``, the shape and dtype of an input; raises unless it describes a single array."""
    if not hasattr(spec, "shape"):
        what = (
            f"a {type(spec).__name__} of {len(spec)}"
            if isinstance(spec, tuple | list | dict)
            else shown(spec)
        )
        raise TypeError(f"{owner}: shape must be that of one array, got {what}")
    return spec


def floating(op: str, x: ArrayLike, name: str = "x") -> jax.Array:
    """``x`` as a JAX array; raises unless its dtype is a real floating-point one."""
    result = x if isinstance(x, jax.Array) else array(op, x, name)
    floating_dtype(op, result.dtype, name)
    return result


def described(value: Any) -> str:
    """What was passed instead of an array: kinds, dtypes and shapes rather than numbers."""
    if isinstance(value, tuple | list):
        few = ", ".join(map(described, value[:3])) + (", ..." if len(value) > 3 else "")
        return f"a {type(value).__name__} of {len(value)}" + (f" ({few})" if value else "")
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    return shown(value)


def floating_dtype(op: str, dtype: jnp.dtype, name: str = "x") -> None:
    """Raises unless ``dtype`` is a real floating-point one."""
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"{op}: {name} must be floating-point, got {dtype}; cast it first, for example "
            f"{name}.astype(jnp.float32)"
        )


def same_dtype(op: str, x: jax.Array, **others: jax.Array | None) -> None:
    """Raises unless every array in ``others`` has the dtype of ``x``: nothing is cast silently."""
    for name, other in others.items():
        if other is not None and other.dtype != x.dtype:
            raise TypeError(
                f"{op}: {name} is {other.dtype} but x is {x.dtype}; cast one of them, or wrap the layer in "
                "mixed_precision"
            )


def operands(
    op: str, x: ArrayLike, kernel: ArrayLike, bias: ArrayLike | None
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """The three as floating-point arrays of one dtype; raises if the kernel has an axis of size 0."""
    x, kernel = floating(op, x), floating(op, kernel, "kernel")
    bias = None if bias is None else floating(op, bias, "bias")
    same_dtype(op, x, kernel=kernel, bias=bias)
    if 0 in kernel.shape:
        raise ValueError(f"{op}: kernel must have no axis of size 0, got shape {kernel.shape}")
    return x, kernel, bias


def groups_divide(op: str, groups: int, what: str, count: int) -> None:
    """Raises unless ``groups`` divides the ``count`` channels that ``what`` names."""
    if count % groups:
        raise ValueError(f"{op}: groups must divide the {what}, got groups={groups} and {count}")


def one_per_channel(op: str, name: str, value: jax.Array | None, channels: int) -> None:
    """Raises unless ``value`` is None or of shape ``(channels,)``."""
    if value is not None and value.shape != (channels,):
        raise ValueError(
            f"{op}: {name} must have shape ({channels},), one value per output channel, "
            f"got shape {value.shape}"
        )


def spatial(op: str, x: jax.Array, name: str = "x") -> tuple[int, ...]:
    """The sizes of the spatial axes of ``x: (N, *space, C)``; raises if there are none or one is empty."""
    if x.ndim < 3:
        raise ValueError(
            f"{op}: {name} must be (N, *space, C) with at least one spatial axis, got shape {x.shape}"
        )
    if any(isinstance(size, int) and size == 0 for size in x.shape[1:-1]):
        raise ValueError(f"{op}: {name} must have no spatial axis of size 0, got shape {x.shape}")
    return x.shape[1:-1]


def ordered(op: str, x: ArrayLike) -> jax.Array:
    """``x`` as a JAX array; raises unless its values have an order."""
    values = array(op, x)
    kinds = (jnp.floating, jnp.integer, jnp.bool_)
    if not any(jnp.issubdtype(values.dtype, kind) for kind in kinds):
        raise TypeError(f"{op}: x must be floating-point, integer or boolean, got {values.dtype}")
    return values
