"""Reports what looks wrong in the readings of a net, in sentences."""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite

from jaxnn.inspection.diagnosis import Reading, number, percent

#: Above these shares, dead units and saturated values are worth a sentence.
DEAD, SATURATED = 0.3, 0.5
#: The gradient vanishes if over the depth of the net it falls to less than this share, and explodes if it
#: grows by more than the inverse.
VANISHED = 1e-3
#: A step of a thousandth of the weights is usual; one that is a thousand times smaller or larger is not.
UPDATES = (1e-6, 1.0)


def sentences(
    rows: Sequence[Reading], loss: float, finite_input: bool, with_optimizer: bool
) -> tuple[str, ...]:
    """What looks wrong. If values are not finite, only that is reported: no other number means anything."""
    broken = tuple(_not_finite(rows, loss, finite_input))
    if broken:
        return broken
    found = [*_functions(rows), *_depth(rows), *_without_gradient(rows)]
    return (*found, *(_updates(rows) if with_optimizer else ()))


def _not_finite(rows: Sequence[Reading], loss: float, finite_input: bool) -> Iterator[str]:
    if not finite_input:
        yield "The input holds values that are not finite."
        return
    for row in rows:
        if row.weight is not None and not isfinite(row.weight):
            yield f"{row.path}: its weights hold values that are not finite."
            return
        if row.not_finite:
            yield f"{row.path}: {percent(row.not_finite)} of its values are not finite, the first in the net."
            return
    if not isfinite(loss):
        yield (
            f"The loss is {loss}, though the net gives finite values: the targets may hold NaN, or labels "
            "that are none of the classes."
        )
        return
    backwards = [row for row in reversed(rows) if not all(map(isfinite, _gradients(row)))]
    if backwards:
        yield f"{backwards[0].path}: its gradient is not finite; on the way back it is the first."


def _gradients(row: Reading) -> list[float]:
    return [g for g in (row.gradient, row.weight_gradient) if g is not None]


def _functions(rows: Sequence[Reading]) -> Iterator[str]:
    dead = {row.path: row.dead for row in rows if row.dead and row.dead > DEAD}
    if dead:
        yield f"{_shares(dead)} units are zero for every example."
    # A function that is flat because it returns 0, as ReLU for about half of its values, works as intended.
    flat = {
        row.path: row.saturated
        for row in rows
        if row.saturated is not None and row.zeros is not None and row.saturated - row.zeros > SATURATED
    }
    if flat:
        yield f"{_shares(flat)} values are saturated."


def _shares(found: Mapping[str, float]) -> str:
    if len(found) == 1:
        return "".join(f"{path}: {percent(share)} of its" for path, share in found.items())
    return (
        f"{_listed(list(found))}: {percent(min(found.values()))} to {percent(max(found.values()))} of their"
    )


def _depth(rows: Sequence[Reading]) -> Iterator[str]:
    reached = [row for row in rows if row.gradient]
    if not reached:
        return
    first, last = reached[0], reached[-1]
    assert first.gradient is not None
    assert last.gradient is not None
    share = first.gradient / last.gradient
    if VANISHED < share < 1 / VANISHED:
        return
    does = "vanishes" if share < 1 else "explodes"
    yield (
        f"The gradient {does} with depth: its norm is {number(last.gradient)} at {last.path} "
        f"and {number(first.gradient)} at {first.path}."
    )


def _without_gradient(rows: Sequence[Reading]) -> Iterator[str]:
    paths = [row.path for row in rows if row.weight_gradient == 0]
    if paths:
        their = "its weights get" if len(paths) == 1 else "their weights get"
        yield f"{_listed(paths)}: {their} no gradient."


def _updates(rows: Sequence[Reading]) -> Iterator[str]:
    low, high = UPDATES
    ratios = {row.path: row.update_ratio for row in rows if row.update_ratio}
    small = {path: ratio for path, ratio in ratios.items() if ratio < low}
    large = {path: ratio for path, ratio in ratios.items() if ratio > high}
    for found, what, worst in ((small, "small", min), (large, "large", max)):
        if found:
            share = number(worst(found.values()))
            yield f"{_listed(list(found))}: the update is too {what}, {share} of the weights."


def _listed(paths: Sequence[str]) -> str:
    most = 4
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return ", ".join(paths[:most]) + more
