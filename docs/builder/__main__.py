"""Builds the site into ``out/docs``, and checks what was built: every link, every anchor, every file."""

import argparse
import sys
import time
from pathlib import Path
from zlib import crc32

from sphinx.cmd.build import build_main

from docs.builder import check
from docs.builder.assemble import assemble, clean


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m docs.builder", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/docs"), help="where the site goes")
    parser.add_argument("--jobs", default="1", help="processes that build pages: forks, which JAX warns of")
    parser.add_argument("--fresh", action="store_true", help="build every page anew")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    work = options.out.with_name(options.out.name + "-sources")
    if options.fresh:
        clean(options.out)
        clean(work)
    stamp, rules = work / "built-by", fingerprint()
    if not stamp.exists() or stamp.read_text() != rules:  # by other rules, or not to its end
        clean(options.out)
        clean(work)
    stamp.unlink(missing_ok=True)
    assemble(work / "pages")
    sphinx = [
        "--quiet",
        "--fail-on-warning",
        "--keep-going",
        "-j",
        options.jobs,
        "-c",
        str(Path(__file__).parent),
    ]
    status = build_main([*sphinx, "-d", str(work / "doctrees"), str(work / "pages"), str(options.out)])
    if status:
        return status
    stamp.write_text(rules)
    faults = check.faults(options.out)
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        seconds = time.monotonic() - started
        print(f"{options.out / 'index.html'}: built in {seconds:.0f} s, every link leads somewhere")
    return int(bool(faults))


def fingerprint() -> str:
    """Of the files that make the site."""
    files = [path for path in sorted(Path(__file__).parent.rglob("*")) if path.suffix in (".py", ".css")]
    return f"{crc32(b''.join(path.read_bytes() for path in files)):x}"


if __name__ == "__main__":
    sys.exit(main())
