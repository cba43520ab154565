"""Sliding windows: settings per axis, padding as (low, high) pairs, output sizes.

The only module that knows what ``SAME`` and ``VALID`` mean. Convolutions and pools get pairs of integers from
it and never see a padding's name again.
"""

from collections.abc import Sequence
from typing import Any

from jaxnn.kernels.spans import Pair, Pairs
from jaxnn.ops import checks

Ints = int | Sequence[int]
Padding = str | int | Sequence[int] | Sequence[Pair]

#: Paddings that fill the border with values of the input, and what ``jnp.pad`` calls them.
VALUE_PADDINGS = {"CIRCULAR": "wrap", "REFLECT": "reflect", "REPLICATE": "edge"}
#: The forms of a padding without a name.
FORMS = "an integer, one integer per axis or one (low, high) pair per axis"
PADDING_NAMES = ("VALID", "SAME", "SAME_LOWER", "CAUSAL", *VALUE_PADDINGS)


def per_axis(op: str, name: str, value: Ints, rank: int, *, least: int = 1) -> tuple[int, ...]:
    """One integer for each of ``rank`` axes, from an int (the same for all) or one int per axis."""
    values = any_axes(op, name, value, least=least)
    if isinstance(values, int):
        return (values,) * rank
    if len(values) != rank:
        raise ValueError(f"{op}: {name} must be one integer or {rank} (one per spatial axis), got {value!r}")
    return values


def any_axes(op: str, name: str, value: Ints, *, least: int = 1) -> int | tuple[int, ...]:
    """Like ``per_axis`` before the rank is known: a checked int, or a tuple of them."""
    values = checks.integers(value)
    if not values:
        raise checks.wrong_kind(op, name, "an integer or one integer per axis", value)
    if any(v < least for v in values):
        raise ValueError(f"{op}: {name} must be at least {least}, got {value!r}")
    return values if isinstance(value, Sequence) else values[0]


def pairs(
    op: str, padding: Padding, sizes: Sequence[int], span: Sequence[int], strides: Sequence[int]
) -> Pairs:
    """Padding in any of its forms as one (low, high) pair per spatial axis.

    ``sizes`` are the input's, ``span`` the dilated window's. ``SAME`` pads max((⌈L/s⌉ − 1)·s + k' − L, 0) in
    all, an odd zero on the high side, ``SAME_LOWER`` on the low side; ``CAUSAL`` pads k' − 1 on the low side.
    The value paddings (``CIRCULAR``, ``REFLECT``, ``REPLICATE``) are as wide as ``SAME``.
    """
    if isinstance(padding, str):
        return _named_pairs(op, padding, sizes, span, strides)
    rank, found = len(sizes), _checked_entries(op, padding)
    if not isinstance(padding, Sequence):
        return found * rank
    if len(found) != rank:
        raise ValueError(
            f"{op}: padding must be one entry per spatial axis, {rank} in all, got {padding!r}"
            + (f"; did you mean ({padding!r},)?" if rank == 1 and _is_pair(padding) else "")
        )
    return found


def _checked_entries(op: str, padding: int | Sequence[int] | Sequence[Pair]) -> Pairs:
    found = entries(padding)
    if found is None:
        raise checks.wrong_kind(op, "padding", f"a name, {FORMS}", padding)
    return found


def entries(padding: Any) -> Pairs | None:
    """Each entry of ``padding`` as a (low, high) pair, an integer being one; None if it has no such form."""
    found = []
    for entry in padding if isinstance(padding, Sequence) else (padding,):
        values = checks.integers(entry)
        if values is None:
            return None
        pair = values if isinstance(entry, Sequence) else values * 2
        if len(pair) != 2:
            return None
        found.append((pair[0], pair[1]))
    return tuple(found) or None


def _is_pair(entry: Sequence[object]) -> bool:
    return len(entry) == 2 and not any(isinstance(value, Sequence) for value in entry)


def check_padding(op: str, padding: Padding) -> None:
    """Raises unless ``padding`` is in one of its forms; layers ask this before they have seen any input."""
    if isinstance(padding, str):
        check_name(op, padding)
    else:
        _checked_entries(op, padding)


def check_name(op: str, padding: Padding) -> None:
    """Raises if ``padding`` is an unknown name."""
    if isinstance(padding, str) and padding not in PADDING_NAMES:
        raise ValueError(
            f"{op}: unknown padding {padding!r}; the names are {', '.join(PADDING_NAMES)}, "
            "and integers or (low, high) pairs work too"
        )


def _named_pairs(
    op: str, padding: str, sizes: Sequence[int], span: Sequence[int], strides: Sequence[int]
) -> Pairs:
    check_name(op, padding)
    if padding == "VALID":
        return ((0, 0),) * len(sizes)
    if padding == "CAUSAL":
        if len(sizes) != 1:
            raise ValueError(
                f"{op}: padding 'CAUSAL' needs exactly one spatial axis (time), the input has {len(sizes)}"
            )
        return ((span[0] - 1, 0),)
    totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(sizes, span, strides, strict=True)]
    sides = [(t // 2, t - t // 2) for t in totals]
    return tuple((high, low) for low, high in sides) if padding == "SAME_LOWER" else tuple(sides)


def output_sizes(
    op: str,
    sizes: Sequence[int],
    span: Sequence[int],
    strides: Sequence[int],
    padding: Pairs,
    *,
    ceil_mode: bool = False,
) -> tuple[int, ...]:
    """How many windows fit on each axis: ⌊(L + low + high − k') / s⌋ + 1.

    ``ceil_mode`` rounds up instead, but drops a last window that would start in the high padding. A size
    below 1 raises: an empty output is never what was meant.
    """
    result = []
    for n, k, s, (low, high) in zip(sizes, span, strides, padding, strict=True):
        room = n + low + high - k
        if room < 0:
            padded = tuple(m + a + b for m, (a, b) in zip(sizes, padding, strict=True))
            raise ValueError(
                f"{op}: the window must fit into the padded input, got a window that spans {tuple(span)} and "
                f"an input of {tuple(sizes)} that padding {padding} makes {padded}"
            )
        count = (-(-room // s) if ceil_mode else room // s) + 1
        if ceil_mode and (count - 1) * s >= n + low:
            count -= 1
        result.append(count)
    return tuple(result)
