"""The choice of a form: an ordered list per operation and platform; the first that fits and pays is taken."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


def always(problem: Any) -> bool:
    """Everywhere."""
    return True


def never(problem: Any) -> bool:
    """Nowhere."""
    return False


class Form(NamedTuple):
    """One way to compute an operation.

    Attributes:
      name: the name it is asked for by, also used in tables.
      compute: ``compute(problem, *operands) -> result``.
      fits: where it is correct. Some form of a list fits everywhere.
      pays: where it is worth it; need not repeat what ``fits`` asks.
      needs: what ``fits`` asks for, in words.
      when: what ``pays`` asks for, in words; empty where nothing better stands further down.
      zeros: where it multiplies values that don't belong together by zeros of its own: these would turn NaN
        and ∞ into NaN elsewhere, and whoever takes the form must prevent that.
      transpose: of a form that is linear in its first operand, its transpose written out:
        ``transpose(problem, cotangent, *others)``; None where JAX derives it.
    """

    name: str
    compute: Callable[..., Any]
    fits: Callable[[Any], bool] = always
    pays: Callable[[Any], bool] = always
    needs: str = ""
    when: str = ""
    zeros: Callable[[Any], bool] = never
    transpose: Callable[..., Any] | None = None


def choose(forms: Sequence[Form], problem: Any, name: str | None = None) -> Form:
    """The form called ``name`` if it is in the list and fits; otherwise the first that fits and pays."""
    named = (form for form in forms if form.name == name and form.fits(problem))
    paying = (form for form in forms if form.fits(problem) and form.pays(problem))
    return next(named, None) or next(paying)


def check_name(owner: str, forms: Sequence[Form], problem: Any, name: Any) -> None:
    """Raises unless ``name`` is None or names a form in the list that fits."""
    if name is None:
        return
    form = next((form for form in forms if form.name == name), None)
    if form is None:
        names = ", ".join(repr(name) for name in dict.fromkeys(form.name for form in forms))
        raise ValueError(f"{owner}: implementation must be None or one of {names}, got {name!r}")
    if not form.fits(problem):
        raise ValueError(f"{owner}: implementation {name!r} needs {form.needs}")
