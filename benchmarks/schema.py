"""Whether a file of results has the form that ``schema.json`` describes.

python -m benchmarks.schema results/mine/all-*.json       says what is wrong and where; exits with 1 if
anything is

``schema.json`` is an ordinary JSON Schema; this file knows the few words of it that are used there, so that
nothing has to be installed.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

SCHEMA = json.loads((Path(__file__).parent / "schema.json").read_text(encoding="utf-8"))
TYPES = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "null": type(None),
}  # fmt: skip
#: What says nothing about a value.
TALK = {"$schema", "$defs", "title", "description"}


def problems(value: Any, schema: Mapping[str, Any] = SCHEMA, at: str = "run") -> Iterator[str]:
    """A sentence for everything that does not fit, with its place.

    >>> list(problems(-1, {"type": "integer", "minimum": 0}, at="rows[3].n"))
    ['rows[3].n must be at least 0, got -1']
    """
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    names = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", list(TYPES))
    # Python counts True among the integers, JSON does not.
    if isinstance(value, bool) or not any(isinstance(value, TYPES[name]) for name in names):
        yield f"{at} must be {' or '.join(names)}, got {_short(value)}"
        return
    for word, rule in schema.items():
        match word:
            case "const":
                if value != rule:
                    yield f"{at} must be {rule}, got {_short(value)}"
            case "enum":
                if value not in rule:
                    yield f"{at} must be one of {', '.join(rule)}, got {_short(value)}"
            case "minimum":
                if value is not None and not value >= rule:  # NaN is no number here
                    yield f"{at} must be at least {rule}, got {_short(value)}"
            case "minLength":
                if len(value) < rule:
                    yield f"{at} must have at least {rule} characters, got {_short(value)}"
            case "required":
                yield from (f"{at} must have {name!r}" for name in rule if name not in value)
            case "items":
                for i, entry in enumerate(value):
                    yield from problems(entry, rule, f"{at}[{i}]")
            case "properties":
                for name in rule.keys() & value.keys():
                    yield from problems(value[name], rule[name], f"{at}.{name}")
            case "additionalProperties":
                for name in value.keys() - schema.get("properties", {}).keys():
                    if rule is False:
                        yield f"{at} must not have {name!r}"
                    else:
                        yield from problems(value[name], rule, f"{at}.{name}")
            case _:
                assert word in TALK | {"type", "$ref"}, word


def of_version(run: Any) -> Iterator[str]:
    """``problems`` of a run of the schema's version; of an older one that it is older, which says enough."""
    now = SCHEMA["properties"]["version"]["const"]
    if isinstance(run, dict) and run.get("version") in range(1, now):
        older = f"of version {run['version']}, which report and compare read"
        yield f"{older}; the schema is that of version {now}"
    else:
        yield from problems(run)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    status = 0
    for path in parser.parse_args(arguments).files:
        try:
            found = list(of_version(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError) as error:
            found = [f"cannot be read: {error}"]
        print("\n".join(f"{path}: {problem}" for problem in found) if found else f"{path}: fits")
        status |= bool(found)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
