"""A CIFAR-10 speedrun in the spirit of airbench: 94 % in ten epochs, the whole run on the device.

python -m benchmarks speedrun --platform cuda --dtype bfloat16 --steps 100      steps per second; a minute
python -m benchmarks speedrun --platform cuda --dtype bfloat16 --data FOLDER --runs 5     whole runs
python -m benchmarks.speedrun --shapes tiny                                     seconds on a CPU

Without ``--data`` images and classes are random and of the shapes of CIFAR-10: contenders take turns, each
call makes ``--steps`` steps with their augmentation. Compared first: the losses of the first two steps on one
batch that is not augmented, from the same weights, with those in float64. With ``--data`` every run begins
with fresh weights and ends with the accuracy on the test set; its seconds, without those of compilation, and
the accuracy are reported. FOLDER holds cifar-10-batches-bin or cifar-10-batches-py, or is one of them.

In bfloat16 the weights are float32 and the net computes in bfloat16, for all contenders. The recipe stands in
``benchmarks/cifar/recipe.py``.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import groupby
from math import inf
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxnn as nn
from benchmarks import agreement, environment, limits, options, record, tables, timing, training
from benchmarks.agreement import Answer
from benchmarks.cifar import folder, ours, recipe, reference
from benchmarks.cifar.recipe import CLASSES, SIDE, Images, Recipe
from benchmarks.contenders import Program, Unsupported
from benchmarks.race import OURS, first_line, race
from benchmarks.record import Row

#: By contender its module, what must be installed for it, and its options.
CONTENDERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    OURS: ("ours", "jax", {}),
    "torch channels_last": ("pytorch", "torch", {}),
    "torch compile": ("pytorch", "torch", {"compiled": True}),
}
EXTRA = ("torch compile",)
#: By size: the recipe, and how many images the training set and the test set hold.
SIZES = {
    "real": (Recipe(), 50_000, 10_000),
    "tiny": (Recipe(batch=16, epochs=2, widths=(4, 8, 8)), 64, 20),
}
#: Images in the batch that is compared: in float64 on two cores they take seconds.
COMPARED = 128
STEPS = {"cpu": 2, "accelerator": 100}


@dataclass(frozen=True)
class Entrant:
    """A contender's three functions; see ``benchmarks.cifar``."""

    name: str

    def get(self, function: str) -> Callable[..., Any]:
        module, package, settings = CONTENDERS[self.name]
        if find_spec(package) is None:
            raise Unsupported("not installed")
        return partial(getattr(import_module(f"benchmarks.cifar.{module}"), function), **settings)


@dataclass(frozen=True)
class Loop(Program):
    """A program whose comparison is a function of its own."""

    first_losses: Callable[[], np.ndarray] | None = None


def noise(examples: int, tests: int) -> Images:
    """Random images and classes."""
    random = np.random.default_rng(0)

    def some(n: int) -> tuple[np.ndarray, np.ndarray]:
        images = random.integers(0, 256, (n, SIDE, SIDE, 3), np.uint8)
        return images, random.integers(0, CLASSES, n).astype(np.int32)

    return Images(*some(examples), *some(tests))


def measure(
    made: Recipe,
    data: Images,
    entrants: Sequence[Entrant],
    *,
    steps: int,
    rounds: int,
    seconds: float,
    limit: Mapping[str, Mapping[str, float]] | None = None,
) -> list[Row]:
    """A row per contender: seconds per step."""
    examples, n = len(data.x), min(COMPARED, made.batch)
    x = np.array((data.x[:n] / np.float32(255) - recipe.MEAN) / recipe.DEVIATION, np.float32)
    params = jax.jit(partial(ours.init, made))(jax.random.key(0), data.x[: recipe.WHITENED])
    params = jax.tree.map(np.asarray, params)

    def make(entrant: Entrant) -> Loop:
        first = partial(entrant.get("first_losses"), made, params, x, data.y[:n], examples)
        call = entrant.get("loop")(made, data, steps)
        call()  # compiles and warms up, which is not timed
        return Loop(call, lambda losses: [np.array(losses)], first_losses=first)

    platform = jax.default_backend()
    template = Row(
        "speedrun", "speedrun", made.title, "", "step", "loop", made.dtype,
        examples=made.batch, flops=flops(made),
        tolerance=max(training.TOLERANCES[made.dtype], agreement.tolerance(made.dtype, platform)),
    )  # fmt: skip
    answer = Answer([reference.first_losses(made, params, x, data.y[:n])])
    return race(
        template, entrants, make, answer, probe=lambda program: [program.first_losses()], calls=steps,
        rounds=rounds, seconds=seconds, limit=(limit or {}).get(made.dtype),
    )  # fmt: skip


def flops(made: Recipe) -> int | None:
    """Operations of a step, as ``nn.cost`` counts them."""
    cost = nn.cost(ours.net(made), (made.batch, SIDE, SIDE, 3))
    return None if cost.forward is None or cost.backward is None else cost.forward + cost.backward


def whole_runs(made: Recipe, data: Images, entrants: Sequence[Entrant], *, runs: int) -> list[Row]:
    """A row per contender: seconds per run, and in the note the accuracies."""
    template = Row("speedrun", "speedrun", made.title, "", "run", "top", made.dtype, examples=len(data.x))
    rows, programs = {}, {}
    for entrant in entrants:
        rows[entrant.name] = replace(template, contender=entrant.name)
        try:
            programs[entrant.name] = entrant.get("whole")(made, data)
        except Unsupported as reason:
            rows[entrant.name] = replace(rows[entrant.name], status="unsupported", note=str(reason))
        except Exception as reason:  # a peer that breaks must not end the run
            rows[entrant.name] = replace(rows[entrant.name], status="failed", note=first_line(reason))
    accuracies: dict[str, list[float]] = {name: [] for name in programs}

    def clock(name: str) -> float:
        start = time.perf_counter()
        accuracies[name].append(programs[name](1 + len(accuracies[name])))
        return time.perf_counter() - start

    samples = timing.alternate_clocks({name: partial(clock, name) for name in programs}, rounds=runs)
    for name, sample in samples.items():
        q1, median, q3 = sample.quartiles()
        found = replace(rows[name], n=sample.n, q1=q1, median=median, q3=q3, note=accuracy(accuracies[name]))
        if OURS in samples:
            low, ratio, high = timing.ratio(sample, samples[OURS])
            found = replace(found, ratio_q1=low, ratio=ratio, ratio_q3=high)
        rows[name] = found
    return list(rows.values())


def accuracy(found: Sequence[float]) -> str:
    """In words.

    >>> accuracy([0.94, 0.942])
    'test accuracy 94.10 %, 94.00 to 94.20 % in 2 runs'
    >>> accuracy([0.94])
    'test accuracy 94.00 % in 1 run'
    """
    mean, low, high = (100 * float(f(found)) for f in (np.mean, min, max))
    if len(found) == 1:
        return f"test accuracy {mean:.2f} % in 1 run"
    return f"test accuracy {mean:.2f} %, {low:.2f} to {high:.2f} % in {len(found)} runs"


def table(rows: Sequence[Row]) -> str:
    """Markdown: steps per second or seconds per run, and the time over jaxnn's."""
    lines = []
    for _, group in groupby(rows, key=lambda row: row.group):
        for row in group:
            if row.median is None:
                continue
            speed = f"{1 / row.median:,.1f} steps/s" if row.mode == "step" else f"{row.median:.2f} s per run"
            ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
            lines.append([f"{row.case}, {row.dtype}", row.contender, speed, ratio, row.note])
    return tables.markdown(["what", "contender", "speed", "time ÷ jaxnn's", ""], lines)


def main(arguments: Sequence[str] | None = None) -> record.Run:
    """The program; returns what it wrote."""
    parser = options.parser(__doc__, repeats=9, seconds=5.0)
    parser.prog = "python -m benchmarks.speedrun"
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="with CIFAR-10: whole runs")
    parser.add_argument("--runs", type=options.positive, default=5, help="whole runs of each (default: 5)")
    parser.add_argument("--epochs", type=options.duration, help="of a run (default: 9.9)")
    parser.add_argument("--views", type=int, choices=recipe.CROPS, default=6,
                        help="of a test image: 2 mirrored too, 6 shifted too (default: 6)")  # fmt: skip
    parser.add_argument("--steps", type=options.positive,
                        help="per call, without --data (default: 100, on a CPU 2)")  # fmt: skip
    parser.add_argument("--batch", type=options.positive, help="examples per step (default: 1024)")
    parser.add_argument("--dtype", nargs="+", choices=options.DTYPES, default=["float32"])
    parser.add_argument("--shapes", choices=list(SIZES), default="real")
    parser.add_argument("--platform", help="a PJRT platform (default: JAX's choice)")
    given = parser.parse_args(arguments)
    made, examples, tests = SIZES[given.shapes]
    changed = {name: value for name in ("batch", "epochs") if (value := getattr(given, name)) is not None}
    made = replace(made, views=given.views, **changed)
    if others := set(given.contenders or ()) - set(CONTENDERS):
        parser.error(f"--contenders: here of {', '.join(CONTENDERS)}, got {', '.join(sorted(others))}")
    entrants = [Entrant(name) for name in _names(given.contenders)]
    if made.epochs == inf:
        parser.error("--epochs: must be finite, got inf")
    try:
        data = folder.read(given.data) if given.data else noise(examples, tests)
    except ValueError as error:
        parser.error(f"--data: {error}")
    if made.batch > len(data.x):
        parser.error(f"--batch: must be from 1 to the {len(data.x):,} examples, got {made.batch:,}")
    environment.select(given.platform)
    conditions = described(given)
    print(environment.heading(conditions))
    recipes = [replace(made, dtype=dtype) for dtype in given.dtype]
    limit: dict[str, dict[str, float]] = {}
    if given.data:
        groups = (whole_runs(now, data, entrants, runs=given.runs) for now in recipes)
    else:
        limit = limits.of(given.dtype, given.shapes)
        print("\n".join(limits.text(limit)), flush=True)
        steps = given.steps or STEPS["accelerator" if environment.accelerator() else "cpu"]
        settings = {"steps": steps, "rounds": given.repeats, "seconds": given.seconds, "limit": limit}
        groups = (measure(now, data, entrants, **settings) for now in recipes)
    run = tables.shown_and_saved("speedrun", conditions, limit, groups, given.out)
    print(f"\n{table(run.rows)}")
    return run


def described(given: argparse.Namespace) -> dict[str, Any]:
    """The conditions; the folder of the data says nothing about the figures, and may be private."""
    found = environment.describe(**{**vars(given), "data": "FOLDER" if given.data else None})
    if given.data:
        found["command"] = environment.command({"--data": "FOLDER"})
    return found


def _names(wanted: Sequence[str] | None) -> list[str]:
    """Those asked for, or all that are installed but ``EXTRA``."""
    if wanted is not None:
        return [name for name in CONTENDERS if name in wanted]
    return [name for name, (_, package, _) in CONTENDERS.items() if name not in EXTRA and find_spec(package)]


if __name__ == "__main__":
    main(sys.argv[1:])
