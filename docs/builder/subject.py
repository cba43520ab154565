"""The gallery as a course: one page per script, in the order of reading."""

import re
from functools import cache
from pathlib import Path

from docs.builder import reference
from examples.gallery import page

ROOT = Path(__file__).parent.parent.parent
#: The first script of each part. A script belongs to the last part that has begun.
PARTS = {
    "activations": "What a unit does",
    "vanishing_gradients": "What depth does to signals",
    "optimisation": "How a net learns",
    "convolution": "Pictures",
    "dense_network": "Whole nets",
    "memory": "Sequences",
    "approximation": "Many nets, and what one can do",
}

INDEX = """# The subject, as a course

Each page answers one question with figures, on real or exact data, and every sentence under its figures
was asserted by the script that drew them. The pages build on each other: read them in order, an evening
for all, or look one up. `make gallery` draws everything anew.
"""


@cache
def sections() -> dict[str, str]:
    """The sections of the committed gallery by script, in reading order."""
    return page.sections((ROOT / "examples" / "README.md").read_text(encoding="utf-8"))


def title(name: str) -> str:
    """The short title: what stands before the question."""
    return heading(name).partition(": ")[0]


def heading(name: str) -> str:
    return sections()[name].partition("\n")[0].removeprefix("## ")


def by_anchor() -> dict[str, str]:
    """The script of each anchor that a heading of the gallery has on its page in the repository."""
    return {re.sub(r"[^\w\- ]", "", heading(name).lower()).replace(" ", "-"): name for name in sections()}


def source(name: str) -> str:
    return (ROOT / "examples" / "gallery" / f"{name}.py").read_text(encoding="utf-8")


def used(name: str) -> list[reference.Entry]:
    """The public names that a script uses."""
    found = re.findall(r"\bnn\.((?:\w+\.)*\w+)", source(name))
    entries = reference.by_name()
    return sorted({entries[n].name: entries[n] for n in found if n in entries}.values())


def shown_in() -> dict[str, list[str]]:
    """The scripts that use a public name, by its entry's name."""
    where: dict[str, list[str]] = {}
    for name in sections():
        for entry in used(name):
            where.setdefault(entry.name, []).append(name)
    return where


def pages() -> dict[str, str]:
    """The course's page and that of each script, by path on the site."""
    made = {"subject/index.md": index()}
    for name, text in sections().items():
        links = ", ".join(f"[`{e.name}`](../reference/{e.page}.rst)" for e in used(name))
        code = source(name).split('"""\n\n', 1)[1]  # without the text, which stands above
        made[f"subject/{name}.md"] = (
            f"{text.removeprefix('#')}\nUsed here: {links}.\n\n## The script\n\n```python\n{code}```\n"
        )
    return made


def index() -> str:
    lines = [INDEX]
    for i, name in enumerate(sections(), 1):
        if name in PARTS:
            lines += ["", f"## {PARTS[name]}", ""]
        lines.append(f"{i}. [{heading(name)}]({name}.md)")
    lines += ["", "[Where the data come from](data.md).", "", "```{toctree}", ":hidden:", ":maxdepth: 1", ""]
    lines += [f"{title(name)} <{name}>" for name in sections()]
    lines += ["data", "```", ""]
    return "\n".join(lines)
