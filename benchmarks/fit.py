"""Training as a whole: epochs of ``fit`` beside loops by hand, in JAX, Flax NNX and PyTorch.

python -m benchmarks.fit                    writes results/fit-….json; minutes
python -m benchmarks.fit --only LSTM        one net

A small MLP, CNN and LSTM are trained in three ways. Scanned: data on the device, many steps per dispatch.
Unscanned: rows of arrays of the host, for which loops by hand have one dispatch per step. Streamed: batches
from a generator. Each contender is compiled in two epochs that do not count; then all take turns, an epoch
each. At last a loop over ``nn.training.prefetch`` is fed by a host that keeps up and by one that takes twice
as long as a step, and the time waited is counted.
"""

import argparse
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import quantiles
from time import perf_counter

from benchmarks import environment, record
from benchmarks.loops import Data, Loop, Task, data, ours
from benchmarks.record import Row, Run

TASKS = (
    Task("MLP", "MLP 784-50-100-10, batch 100", (784,), 100, 200),
    Task("CNN", "CNN 8-16 channels of 14×14, batch 50", (14, 14, 1), 50, 60),
    Task("LSTM", "LSTM of 32 over 24 steps, batch 32", (24, 16), 32, 60),
)
#: By way to train, contenders: the module and the function that makes the loop. The first is ours.
WAYS = {
    "scanned": {
        "fit": "ours.scanned", "JAX by hand": "by_hand.scanned", "Flax NNX": "flax_nnx.scanned",
    },
    "unscanned": {
        "fit": "ours.unscanned", "JAX by hand": "by_hand.unscanned", "Flax NNX": "flax_nnx.unscanned",
        "PyTorch": "pytorch.resident",
    },
    "streamed": {
        "fit": "ours.streamed", "JAX by hand": "by_hand.unscanned", "Flax NNX": "flax_nnx.unscanned",
        "PyTorch": "pytorch.streamed",
    },
}  # fmt: skip
NEEDS = {"flax_nnx": "flax", "pytorch": "torch"}
SLOW = 2.0  #: the slow host's time for a batch, in steps


def loops(task: Task, arrays: Data, contenders: dict[str, str]) -> dict[str, Loop]:
    """Those that can be made here."""
    made = {}
    for name, place in contenders.items():
        module, function = place.split(".")
        if module not in NEEDS or find_spec(NEEDS[module]) is not None:
            made[name] = getattr(import_module(f"benchmarks.loops.{module}"), function)(task, arrays)
    return made


def alternated(contenders: dict[str, Loop], rounds: int) -> dict[str, list[float]]:
    """Seconds of an epoch, by contender, round by round, forwards and backwards (A B C, C B A, …).

    Two epochs before them compile and warm up. A run of ``fit`` can only stand still in a thread of its own,
    where memory comes from other pools than in the main thread; so every loop has one.
    """
    workers = {name: ThreadPoolExecutor(1) for name in contenders}
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(1, rounds + 3):
        for name in [*contenders][:: 1 if number % 2 else -1]:
            start = perf_counter()
            workers[name].submit(contenders[name], number).result()
            found[name].append(perf_counter() - start)
    for name, epoch in contenders.items():
        workers[name].shutdown()
        if isinstance(epoch, ours.Fit):
            epoch.close()
    return {name: seconds[2:] for name, seconds in found.items()}


def rows(task: Task, way: str, rounds: int) -> Iterable[Row]:
    """A row per contender: seconds per step, and over ours."""
    found = alternated(loops(task, data(task), WAYS[way]), rounds)
    first = next(iter(found.values()))
    for name, seconds in found.items():
        q1, median, q3 = quantiles([one / task.steps for one in seconds], n=4)
        low, ratio, high = quantiles([a / b for a, b in zip(seconds, first, strict=True)], n=4)
        yield Row(
            "fit", task.net, task.title, name, "step", way, n=rounds, median=median, q1=q1, q3=q3,
            ratio=ratio, ratio_q1=low, ratio_q3=high, examples=task.rows,
        )  # fmt: skip


def waiting(task: Task) -> Iterable[Row]:
    """Two rows per host: seconds per step, and seconds of them that the loop waited for a batch."""
    arrays = data(task)
    usual = ours.waited(task, arrays)
    for host, found in (("fast", usual), ("slow", ours.waited(task, arrays, SLOW * usual.step))):
        row = Row("fit", task.net, task.title, "prefetch", "step", f"{host} host", n=1, examples=task.rows)
        yield replace(row, median=found.step)
        yield replace(row, mode="waited", median=found.waited)


def table(found: Sequence[Row]) -> str:
    """Markdown: steps per second and, in brackets, the time over that of ``fit``; then what was waited."""
    names = ("fit", "JAX by hand", "Flax NNX", "PyTorch")
    lines = [f"| steps per second (time ÷ that of fit) | {' | '.join(names)} |", "|---|---:|---:|---:|---:|"]
    timed = {row.key: row for row in found}
    cases = dict.fromkeys((row.case, row.place) for row in found if row.contender in names)
    for case, place in cases:
        cells = []
        for name in names:
            row = next(
                (r for r in timed.values() if (r.case, r.place, r.contender) == (case, place, name)), None
            )
            if row is None or row.median is None or row.ratio is None:
                cells.append("")
            else:
                cells.append(f"{1 / row.median:,.0f}" + ("" if name == "fit" else f" ({row.ratio:.2f})"))
        lines.append(f"| {case}: {place} | {' | '.join(cells)} |")
    lines += ["", "| waiting for batches | steps per second | share of time waited |", "|---|---:|---:|"]
    for row in found:
        if row.mode == "waited":
            whole = timed[replace(row, mode="step").key]
            assert row.median is not None
            assert whole.median is not None
            share = row.median / whole.median
            lines.append(f"| {row.case}: {row.place} | {1 / whole.median:,.0f} | {share:.1%} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> Run:
    """The program; gives the run that it has written."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="nets whose name contains one")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, metavar="WAY")
    parser.add_argument("--rounds", type=int, default=15, help="epochs of each contender that count")
    parser.add_argument("--out", type=Path, default=record.RESULTS, help="the folder of the results")
    given = parser.parse_args(arguments)
    found: list[Row] = []
    for task in TASKS:
        if not given.only or any(word in task.title for word in given.only):
            for way in given.ways:
                found += rows(task, way, given.rounds)
            found += waiting(task)
    run = Run("fit", environment.describe(**vars(given)), rows=tuple(found))
    print(table(found), f"\n\nwritten: {run.save(given.out)}")
    return run


if __name__ == "__main__":
    main()
