"""A small version of all: operations, training, overhead; then tables and charts. A few minutes on two cores.

python -m benchmarks                         what ``make bench`` runs
python -m benchmarks --contenders jaxnn lax

Each part alone, and at the shapes of real nets: ``python -m benchmarks.ops``, ``.training``, ``.overhead``.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks import contenders, ops, overhead, record, report, training


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--contenders", nargs="+", metavar="NAME", choices=contenders.NAMES)
    parser.add_argument("--shapes", choices=("tiny", "small"), default="small")
    parser.add_argument("--out", type=Path, default=record.RESULTS, help="where the JSON and the charts go")
    given = parser.parse_args(arguments)
    common = ["--out", str(given.out), "--repeats", "9" if given.shapes == "small" else "2"]
    common += ["--contenders", *given.contenders] if given.contenders else []
    shapes = ["--shapes", given.shapes, "--seconds", "0.3"]
    runs = [
        ops.main([*shapes, *common, "--dtype", "float32"]),
        training.main([*shapes, *common]),
        overhead.main(
            [*common, "--repeats", "3", "--depth", *("10 100" if given.shapes == "small" else "2 3").split()]
        ),
    ]
    charts = given.out if find_spec("matplotlib") else None
    print(f"\n{report.markdown(runs, charts=charts, beside=Path.cwd())}")


if __name__ == "__main__":
    main(sys.argv[1:])
