"""The flags that the programs share."""

import argparse
from pathlib import Path
from typing import Any

from benchmarks import contenders, record

DTYPES = ("float32", "bfloat16")


def bare(description: str | None) -> argparse.ArgumentParser:
    """A parser of what to look at and where to write.

    Flags have no short forms: what a file says of the command leaves out folders by the names of flags.
    """
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    made.add_argument("--only", nargs="+", default=[], metavar="WORD", help="cases with one of these words")
    made.add_argument("--out", type=Path, default=record.RESULTS, help="where the JSON goes")
    return made


def parser(description: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """A parser with what every program takes that times contenders."""
    made = bare(description)
    made.add_argument(
        "--contenders", nargs="+", metavar="NAME", choices=contenders.NAMES,
        help=f"of {', '.join(map(repr, contenders.NAMES))}; by default all that are installed, "
        f"but for {', '.join(map(repr, contenders.EXTRA))}",
    )  # fmt: skip
    made.add_argument("--repeats", type=positive, default=20, help="rounds (default: %(default)s)")
    made.add_argument(
        "--seconds", type=duration, default=2.0,
        help="a contender is not timed further in a case after this many seconds (default: %(default)s)",
    )  # fmt: skip
    made.set_defaults(**defaults)
    return made


def positive(text: str) -> int:
    """An int of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def duration(text: str) -> float:
    """A number above 0; ``inf`` too."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value
