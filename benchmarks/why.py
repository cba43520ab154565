"""What a row in which another is ahead probably comes from: noise, dispatch, or the limit that binds."""

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.race import LEVEL, OURS, SAME
from benchmarks.record import Row

#: A call of fewer dispatches than this is mostly dispatch.
DISPATCHES = 5.0
#: Above this share of a limit there is little left to gain.
NEAR = 0.8

Limits = Mapping[str, Mapping[str, float]]


def behind(rows: Sequence[Row], limits: Limits) -> Iterator[tuple[Row, str]]:
    """The rows in which another is ahead by a twentieth or more, the worst first, each with its reason."""
    ours = {row.group: row for row in rows if row.contender == OURS}
    ahead = [row for row in rows if compared(row) and row.ratio is not None and row.ratio < LEVEL]
    for row in sorted(ahead, key=lambda row: row.ratio or 0.0):
        yield row, reason(row, ours[row.group], limits) if row.group in ours else ""


def compared(row: Row) -> bool:
    """Whether a row is another's beside jaxnn's; ``jaxnn repeat`` is jaxnn too."""
    return row.ratio is not None and row.contender.split()[0] != OURS


def reason(row: Row, ours: Row, limits: Limits) -> str:
    """Why another is ahead of jaxnn here, as far as the figures say."""
    if row.note == SAME:
        return SAME
    if row.ratio_q3 is not None and row.ratio_q3 >= 1:
        return "the quartiles of the ratio hold 1: within the noise"
    dispatch = limits.get("dispatch", {}).get("seconds")
    if (
        row.program == "ops"
        and row.place == "top"
        and dispatch
        and ours.median
        and ours.median < DISPATCHES * dispatch
    ):
        return f"mostly dispatch: an empty call takes {1e6 * dispatch:.0f} µs of {1e6 * ours.median:.0f}"
    bound = binding(row, limits.get(row.dtype))
    if bound is None or ours.limit is None or row.limit is None:
        return ""
    if row.limit >= NEAR and ours.limit >= NEAR:
        return f"both near the limit of {bound}"
    return f"bound by {bound}: jaxnn reaches {ours.limit:.0%} of that limit, {row.contender} {row.limit:.0%}"


def binding(row: Row, limits: Mapping[str, float] | None) -> str | None:
    """Which of the two measured rates a case cannot get around."""
    if not limits or not (row.flops or row.bytes):
        return None
    arithmetic, memory = (row.flops or 0) / limits["flops"], (row.bytes or 0) / limits["bytes"]
    return "arithmetic" if arithmetic >= memory else "memory"
