"""Lays out the sources of the site in one folder: pages of the repository, and those that are generated.

A page is written where it is also read without the site, and its links lead to files of the repository; here
they are led to the pages that these files become.
"""

import re
import shutil
from pathlib import Path, PurePosixPath

from docs.builder import notebooks, reference, subject

ROOT = Path(__file__).parent.parent.parent
FENCE = re.compile(r"(^ *```.*?^ *```)", re.DOTALL | re.MULTILINE)
#: A link, or code, which may look like one: whichever begins first.
LINK = re.compile(r"`[^`\n]+`|(!?\[(?:[^\]\[]|\[[^\]]*\])*\]\()([^)\s]+)(\))")


def pages() -> dict[str, str]:
    """The pages of the repository, as its path → the path on the site."""
    found = {
        str(path.relative_to(ROOT)): path.relative_to(ROOT / "docs").as_posix()
        for path in sorted((ROOT / "docs").rglob("*.md"))
    }
    found["docs/kernels/README.md"] = "kernels/index.md"
    found |= {name: name.lower() for name in ("CHANGELOG.md", "CONTRIBUTING.md")}
    found |= {"README.md": "index.md", "examples/README.md": "subject/index.md"}
    found |= {"examples/data/README.md": "subject/data.md", "benchmarks/README.md": "benchmarks/index.md"}
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.md")):
        name = "results" if path.stem == "README" else path.stem
        found[str(path.relative_to(ROOT))] = f"benchmarks/{name}.md"
    return found


def assemble(folder: Path) -> None:
    """Writes all sources into ``folder``; what has not changed is left alone, so that Sphinx skips it."""
    places = pages()
    files: dict[str, Path] = {}
    made = {site: led(text, origin, site, places, files) for origin, site, text in written(places)}
    made = {site: prepared(text, site, places) for site, text in made.items()}
    for site, text in (reference.pages(subject.shown_in()) | subject.pages() | notebooks.pages()).items():
        made[site] = text
    files |= {f"subject/{path.relative_to(ROOT / 'examples')}": path for path in figures("examples/figures")}
    files |= {f"benchmarks/{path.name}": path for path in figures("benchmarks/results")}
    files |= {f"notebooks/{path.name}": path for path in notebooks.ALL}
    for old in [path for path in folder.rglob("*") if path.is_file()]:
        if old.relative_to(folder).as_posix() not in made.keys() | files.keys():
            old.unlink()
    for site, text in made.items():
        write(folder / site, text.encode())
    for site, path in files.items():
        write(folder / site, path.read_bytes())
    notebooks.pictures(folder / "notebooks")


def figures(folder: str) -> list[Path]:
    return sorted((ROOT / folder).glob("*.png"))


def written(places: dict[str, str]) -> list[tuple[str, str, str]]:
    """The pages that are written by hand: (path in the repository, path on the site, text)."""
    generated = ("README.md", "examples/README.md")
    return [
        (origin, site, (ROOT / origin).read_text(encoding="utf-8"))
        for origin, site in places.items()
        if origin not in generated
    ]


def prepared(text: str, site: str, places: dict[str, str]) -> str:
    """A page with what only the site needs: its place in the navigation, and names for its sections."""
    if site == "conventions.md":
        for title in reference.conventions():
            text = text.replace(f"\n## {title}\n", f"\n({reference.label(title)})=\n## {title}\n")
    folder, _, name = site.partition("/")
    if name == "index.md":
        others = [*places.values(), *(f"notebooks/{path.stem}.md" for path in notebooks.ALL)]
        inside = sorted(p.removesuffix(".md") for p in others if p.startswith(f"{folder}/") and p != site)
        tree = "\n".join(f"/{page}" for page in inside)
        text += f"\n```{{toctree}}\n:hidden:\n\n{tree}\n```\n"
    return text


def write(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def led(text: str, origin: str, site: str, places: dict[str, str], files: dict[str, Path]) -> str:
    """The text of a page with its links led to where their files are on the site.

    Raises:
      ValueError: a link to a file that the site doesn't have.
    """
    parts = FENCE.split(text)
    for i in range(0, len(parts), 2):  # the others are code
        parts[i] = LINK.sub(
            lambda m: m[1] + target(m[2], origin, site, places, files) + m[3] if m[1] else m[0], parts[i]
        )
    return "".join(parts)


def target(link: str, origin: str, site: str, places: dict[str, str], files: dict[str, Path]) -> str:
    """One link. Sections of the gallery are pages of the site."""
    if re.match(r"[a-z]+:", link) or link.startswith("#"):
        return link
    path, _, anchor = link.partition("#")
    goal = _normal(PurePosixPath(origin).parent / path)
    if goal in ("docs", "docs/kernels", "examples", "benchmarks", "benchmarks/results"):
        goal += "/README.md"
    if goal.startswith("examples/figures/"):
        place = goal.replace("examples/", "subject/", 1)
    elif goal.startswith("benchmarks/results/") and goal.endswith(".png"):
        place = f"benchmarks/{PurePosixPath(goal).name}"
    elif goal == "examples/README.md" and anchor:
        place, anchor = f"subject/{subject.by_anchor()[anchor]}.md", ""
    elif goal.startswith("docs/") and goal.endswith(".ipynb"):
        place = goal.removeprefix("docs/").replace(".ipynb", ".md")
    elif goal in places:
        place = places[goal]
    elif (ROOT / goal).is_file():  # a source file: to be downloaded
        place = f"files/{goal}"
        files[place] = ROOT / goal
    else:
        raise ValueError(f"{origin}: {link} leads to a file that is not on the site")
    return _relative(place, site) + (f"#{anchor}" if anchor else "")


def _normal(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _relative(place: str, site: str) -> str:
    depth = len(PurePosixPath(site).parts) - 1
    return "../" * depth + place


def clean(folder: Path) -> None:
    """Removes what was built before."""
    shutil.rmtree(folder, ignore_errors=True)
