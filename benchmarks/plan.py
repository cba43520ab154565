"""What ``python -m benchmarks all`` measures, and in which order: the broadest view first.

A unit is the smallest thing that is measured, saved and never repeated: a case in one mode, place and dtype,
all contenders together. The units stand in stages; within a stage, programs and families take turns. So
whenever a run is stopped, by its budget or by hand, what has been measured covers as much as it could.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import Any

from benchmarks import cases, nets, ops, overhead, training
from benchmarks.cases import Case
from benchmarks.contenders import Contender
from benchmarks.energy import Meter
from benchmarks.record import Row


@dataclass(frozen=True)
class Effort:
    """How long to look at one unit.

    Attributes:
      rounds: of ``timing.alternate``.
      seconds: per contender, after which it leaves the rounds.
      meter: of energy, if that is asked for.
    """

    rounds: int = 9
    seconds: float = 0.3
    meter: Meter | None = None


Measure = Callable[[Sequence[Contender], Effort, Any], list[Row]]


@dataclass(frozen=True)
class Unit:
    """One group of rows.

    Attributes:
      group: the ``Row.group`` of its rows.
      measure: ``measure(contenders, effort, limits)`` gives them; None where the group says all.
    """

    group: tuple[str, ...]
    measure: Measure | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        return "/".join(self.group)

    @property
    def program(self) -> str:
        return self.group[0]

    @property
    def family(self) -> str:
        return self.group[1]


def units(platform: str, *, shapes: str = "all", only: Sequence[str] = ()) -> list[Unit]:
    """All that there is to measure, in order, each once.

    Small shapes come first on a CPU, which large ones would keep for hours. On an accelerator, where small
    ones show little but the dispatch of a call, large ones come first, then real ones.
    """
    sizes = ["small", "real"] if platform == "cpu" else ["large", "real", "small"]
    sizes = [shapes] if shapes != "all" else sizes
    words = list(only)
    order: dict[str, Unit] = {}
    for unit in chain.from_iterable(map(in_turn, stages(sizes, words))):
        order.setdefault(unit.name, unit)
    return list(order.values())


def stages(sizes: Sequence[str], words: list[str]) -> Iterator[list[list[Unit]]]:
    """Each stage as lists between which turns are taken."""
    first = sizes[0]
    depth = 2 if first == "tiny" else 10
    around = [] if words else [list(overheads(overhead.dense(depth), imports=True))]
    yield [*operations(one_per_family(sizes, words), "both"), list(steps(first, words)), *around]
    for size in sizes:
        chosen = cases.select(size, words)
        for dtype in ("float32", "bfloat16"):
            yield [*operations(chosen, "both", dtype=dtype), list(steps(size, words, dtype=dtype))]
            if dtype == "float32":
                yield operations(chosen, "forward")
    for size in sizes:
        chosen = cases.select(size, words)
        yield [*operations(chosen, "both", place="scan"), list(steps(size, words, place="epoch"))]
    if not words:
        more = [] if first == "tiny" else overhead.dense(100)
        yield [list(overheads([*more, *overhead.convolutional(first)]))]
    for size in sizes:
        chosen = cases.select(size, words)
        yield operations(chosen, "forward", dtype="bfloat16")
        yield operations(chosen, "forward", place="scan")
        for mode in ("both", "forward"):
            yield operations(chosen, mode, dtype="bfloat16", place="scan")


def one_per_family(sizes: Sequence[str], words: list[str]) -> list[Case]:
    """The first case of each family, of the first size that has one."""
    found: dict[str, Case] = {}
    for case in chain.from_iterable(cases.select(size, words) for size in sizes):
        found.setdefault(case.family, case)
    return list(found.values())


def operations(
    chosen: Iterable[Case], mode: str, *, dtype: str = "float32", place: str = "top"
) -> list[list[Unit]]:
    """A list per family."""
    families: dict[str, list[Unit]] = {}
    for case in chosen:

        def measure(
            entrants: Sequence[Contender], effort: Effort, limits: Any, case: Case = case
        ) -> list[Row]:
            return one(
                ops.measure(
                    [case], entrants, dtypes=[dtype], modes=[mode], places=[place],
                    rounds=effort.rounds, seconds=effort.seconds, limit=limits, meter=effort.meter,
                )
            )  # fmt: skip

        group = ("ops", case.family, case.title, mode, place, dtype)
        families.setdefault(case.family, []).append(Unit(group, measure))
    return list(families.values())


def steps(size: Any, words: list[str], *, dtype: str = "float32", place: str = "top") -> Iterator[Unit]:
    """Training steps of each net, or epochs as one scan."""
    count = 2 if size == "tiny" else training.STEPS
    for net in nets.select(size, words):

        def measure(entrants: Sequence[Contender], effort: Effort, limits: Any, net: Any = net) -> list[Row]:
            return one(
                training.measure(
                    [net], entrants, dtypes=[dtype], places=[place], steps=count,
                    rounds=effort.rounds, seconds=effort.seconds, limit=limits, meter=effort.meter,
                )
            )  # fmt: skip

        yield Unit(("training", net.name, net.title, "step", place, dtype), measure)


def overheads(chosen: Sequence[overhead.Case], *, imports: bool = False) -> Iterator[Unit]:
    """Import, and for each net init and the stages of ``jit``."""

    def unit(mode: str, those: Sequence[overhead.Case], family: str, title: str) -> Unit:
        def measure(entrants: Sequence[Contender], effort: Effort, limits: Any) -> list[Row]:
            rounds = min(effort.rounds, 3)
            return one(overhead.measure(entrants, those, modes=[mode], rounds=rounds))

        return Unit(("overhead", family, title, mode, "top", "float32"), measure)

    if imports:
        yield unit("import", [], "import", "beyond import jax")
    for mode in overhead.MODES[1:]:
        for case in chosen:
            yield unit(mode, [case], case.family, case.title)


def one(groups: Iterable[list[Row]]) -> list[Row]:
    """The rows of the only group."""
    return list(chain.from_iterable(groups))


def in_turn(lists: Sequence[Sequence[Unit]]) -> Iterator[Unit]:
    """The first of each list, then the second of each, …"""
    for turn in zip_longest(*lists):
        yield from (unit for unit in turn if unit is not None)
