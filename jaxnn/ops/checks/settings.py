"""Checks of settings: numbers, flags, names, axes, functions, dtypes, keys.

Settings are Python or NumPy scalars, or arrays without axes; their values must be known when a program is
traced. They come back as Python's own ``int``, ``float`` and ``bool``, which take part in no promotion of
dtypes.
"""

from collections.abc import Sequence
from functools import cache
from math import inf
from numbers import Real
from operator import index
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.ops.checks.sentences import has_no_number, refusal, wrong_kind


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
    below: float | None = None,
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
      below: a number that must exceed the value.
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
    high = (most is not None and result > most) or (below is not None and result >= below)
    if low or high:
        raise ValueError(refusal(owner, name, rule or _range(least, most, above, below), value))
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
    if isinstance(value, np.generic | np.ndarray | jax.Array) and not has_no_number(value):
        return value.item()
    return value


def _range(
    least: float | None, most: float | None, above: float | None = None, below: float | None = None
) -> str:
    """The bounds in words."""
    if least is not None and most is not None:
        return f"in [{least}, {most}]"
    sides = []
    if least is not None:
        sides.append(f"at least {least}")
    if above is not None:
        sides.append("positive" if above == 0 else f"above {above}")
    if most is not None:
        sides.append(f"at most {most}")
    if below is not None:
        sides.append(f"below {below}")
    return " and ".join(sides)
