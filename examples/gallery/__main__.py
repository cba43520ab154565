"""Draws the gallery: all of it, or the scripts that are named."""

import argparse
from pathlib import Path

from examples.gallery import page


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.gallery", description=__doc__)
    parser.add_argument("scripts", nargs="*", metavar="script", help=f"some of {', '.join(page.SCRIPTS)}")
    parser.add_argument("--out", type=Path, default=Path("out/gallery"), help="where the page and figures go")
    parser.add_argument("--quick", action="store_true", help="smaller sizes: the same facts, cruder figures")
    options = parser.parse_args(arguments)
    for name in options.scripts:
        if name not in page.SCRIPTS:
            parser.error(f"no script is called {name!r}; there are {', '.join(page.SCRIPTS)}")
    for name in options.scripts or page.SCRIPTS:
        print(f"\n{name}")
        for sentence in page.write(name, options.out, options.quick).facts:
            print(f"  {sentence}", flush=True)
    print(f"\nread {options.out / 'README.md'}")


if __name__ == "__main__":
    main()
