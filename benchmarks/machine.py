"""Everything about a machine in one command: what it reaches, what it computes, whether the choices hold.

python -m benchmarks machine --out results/mine --platform cuda --minutes 20

Runs, each in a process of its own and with the same budget: ``all`` (limits, operations, training steps,
overhead, in float32 and bfloat16), ``conformance`` (every operation, dtype and pass against float64), and
``sweep --random --regret`` (every form beside the chosen one). All write into the same folder, and a program
that fails does not keep the others from running. The same command again goes on with the first two where they
stopped; the third begins anew. Exits with 1 if one failed, or if anything of jaxnn's is not right.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import options
from benchmarks.everything import OUT

Run = Callable[[Sequence[str]], int]


def commands(given: argparse.Namespace) -> list[list[str]]:
    """The programs with their flags, in order."""
    shared = ["--out", str(given.out), "--minutes", str(given.minutes)]
    shared += ["--platform", given.platform] if given.platform else []
    measured = ["all", *shared, *(["--contenders", *given.contenders] if given.contenders else [])]
    measured += ["--energy"] if given.energy else []
    measured += ["--isolate"] if given.isolate else []
    sweep = ["sweep", "--random", str(given.random), "--seed", str(given.seed), "--regret", *shared]
    return [measured, ["conformance", *shared], sweep]


def started(arguments: Sequence[str]) -> int:
    """The exit status of a program."""
    return subprocess.run([sys.executable, "-m", "benchmarks", *arguments], check=False).returncode


def main(arguments: Sequence[str] | None = None, run: Run = started) -> int:
    """The program; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks machine", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=OUT, help="where the results go")
    parser.add_argument(
        "--minutes", type=options.duration, default=10.0, help="of each program (default: %(default)s)"
    )
    parser.add_argument("--platform", help="a PJRT platform (default: JAX's choice)")
    parser.add_argument("--contenders", nargs="+", metavar="NAME", help="by default all that are installed")
    parser.add_argument("--isolate", action="store_true", help="each contender in a process of its own")
    parser.add_argument("--energy", action="store_true", help="joules per call, where NVML has a counter")
    parser.add_argument(
        "--random", type=options.positive, default=20, metavar="N", help="random shapes of each family"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random shapes")
    statuses = []
    for command in commands(parser.parse_args(arguments)):
        print(f"\n== python -m benchmarks {' '.join(command)}", flush=True)
        statuses.append(run(command))
    return int(any(statuses))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
