"""The programs by name; without one, or with flags alone, ``all``.

python -m benchmarks                              what ``make bench`` runs: five minutes, into out/benchmarks
python -m benchmarks all --out results/mine --minutes 30
python -m benchmarks conformance | sweep | report | compare | ops | training | overhead | forms | …
"""

import sys
from collections.abc import Sequence
from importlib import import_module

TIMED = ("fit", "forms", "generation", "inference", "ops", "overhead", "scaling", "speedrun", "training")
#: By name the module.
PROGRAMS = {
    "all": "everything",
    **{name: name for name in ("machine", "conformance", "sweep", "report", "compare", *TIMED)},
}


def main(arguments: Sequence[str]) -> object:
    """The program; returns what the one that was named returns."""
    first = arguments[0] if arguments else "all"
    if first.startswith("-"):
        return import_module("benchmarks.everything").main(arguments)
    if first not in PROGRAMS:
        raise SystemExit(
            f"python -m benchmarks: the program must be one of {', '.join(PROGRAMS)}, got {first}"
        )
    return import_module(f"benchmarks.{PROGRAMS[first]}").main(arguments[1:])


if __name__ == "__main__":
    result = main(sys.argv[1:])
    sys.exit(result if isinstance(result, int) else 0)
