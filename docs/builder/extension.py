"""What Sphinx is taught here: equations as MathML, signatures as written, names that lead to their pages."""

import ast
import re
from collections.abc import Callable
from typing import Any

import latex2mathml.converter
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

from docs.builder import equations, reference, signatures

#: Characters of an equation that stays in its line: what fits on a phone.
LONG = 36
#: What holds no prose.
NO_PROSE = (nodes.literal, nodes.literal_block, nodes.doctest_block, nodes.math, nodes.raw, nodes.title)


class Equations(SphinxTransform):
    """Equations in prose, and literal blocks that hold one and are not Python, become MathML."""

    default_priority = 500

    def apply(self, **kwargs: Any) -> None:
        for block in list(self.document.findall(nodes.literal_block)):
            text = block.astext()
            if not is_python(text) and (mathml := equations.whole(" ".join(text.split()))):
                block.replace_self(element(mathml, block=True))
        for text in list(self.document.findall(nodes.Text)):
            if not any(isinstance(parent, NO_PROSE) for parent in ancestors(text)):
                first = isinstance(text.parent, nodes.paragraph) and text.parent.index(text) == 0
                first = first and not isinstance(text.parent.parent, (nodes.entry, nodes.list_item))
                pieces = split(str(text), first)
                if any(isinstance(piece, nodes.raw) for piece in pieces):
                    text.parent.replace(text, pieces)


def ancestors(node: Any) -> list[Any]:
    found = []
    while node.parent is not None:
        node = node.parent
        found.append(node)
    return found


def split(text: str, first: bool = False) -> list[nodes.Node]:
    """A text as text and equations. What begins a paragraph or is long stands by itself."""
    pieces: list[nodes.Node] = []
    end = 0
    for span in equations.find(text):
        if span.start > end:
            pieces.append(nodes.Text(text[end : span.start]))
        alone = (first and span.start == 0) or span.end - span.start > LONG
        end = span.end
        mark = text[end] if alone and text[end : end + 1] in (",", ".", ";", ":") else ""
        pieces.append(element(span.mathml + (f"<mo>{mark}</mo>" if mark else ""), block=alone))
        end += len(mark)
    return [*pieces, nodes.Text(text[end:])] if text[end:] else pieces


def element(mathml: str, *, block: bool = False) -> nodes.raw:
    html = equations.math(mathml, block=block)
    return nodes.raw("", f'<span class="equation">{html}</span>' if block else html, format="html")


def is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def inline_math(self: Any, node: nodes.math) -> None:
    """LaTeX, which docstrings of JAX have."""
    self.body.append(latex2mathml.converter.convert(node.astext()))
    raise nodes.SkipNode


def block_math(self: Any, node: nodes.math_block) -> None:
    mathml = latex2mathml.converter.convert(node.astext(), display="block")
    self.body.append(f'<div class="equation">{mathml}</div>')
    raise nodes.SkipNode


def signature(app: Sphinx, what: str, name: str, value: Any, *_: Any) -> tuple[str, str] | None:
    if what in ("function", "method", "class"):
        return signatures.written(value)
    return None


def own(value: Any) -> bool:
    """Whether its docstring is written as this library's are."""
    return str(getattr(value, "__module__", "")).startswith("jaxnn")


def plain(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """In ``(N, *space, C)`` and |x|, stars and bars are what they look like."""
    if own(value):
        lines[:] = in_prose(lines, lambda text: STARS.sub(lambda m: m[1] or r"\*", text.replace("|", r"\|")))


#: Emphasis, which stays, or a star.
STARS = re.compile(r"((?<![\w*])\*\w[\w -]*\*(?!\w))|\*")


def linked(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """``conv`` and the like lead to their pages."""
    names = reference.by_name()
    inside = name.removeprefix("jaxnn.").rpartition(".")[0]

    def link(match: re.Match[str]) -> str:
        short = re.sub(r"^(nn|jaxnn)\.", "", match[1])
        for candidate in (f"{inside}.{short}" if inside else short, short):
            if candidate in names and names[candidate].value is not value:
                return f":doc:`{match[1]} </reference/{names[candidate].page}>`"
        return match[0]

    if own(value):
        lines[:] = in_prose(lines, lambda text: text, lambda code: CODE.sub(link, code))


CODE = re.compile(r"^``((?:nn\.|jaxnn\.)?[a-zA-Z][\w.]+)``$")


def in_prose(
    lines: list[str], prose: Callable[[str], str], code: Callable[[str], str] = lambda text: text
) -> list[str]:
    """The lines of a docstring; its prose and what stands in double backticks go through functions."""
    changed: list[str] = []
    chunk: list[str] = []

    def end() -> None:
        parts = re.split(r"(``[^`]+``|:\w+:`[^`]+`)", "\n".join(chunk))
        text = "".join(code(part) if i % 2 else prose(part) for i, part in enumerate(parts))
        changed.extend(text.split("\n") if chunk else [])
        chunk.clear()

    literal = False
    for line in lines:
        if line.strip() and not line.startswith("    "):
            literal = False
        if literal or line.lstrip().startswith((">>>", "...")):
            end()
            changed.append(line)
        else:
            literal = line.rstrip().endswith("::")
            chunk.append(line)
    end()
    return changed


def unsourced(app: Sphinx, module: str) -> tuple[str, dict[str, Any]] | None:
    """Only the sources of this library are shown."""
    return None if module.split(".")[0] == "jaxnn" else ("", {})


def back(app: Sphinx, page: str, template: str, context: dict[str, Any], document: Any) -> None:
    """From a source to the page of what it defines: two public modules may share one file."""
    if page.startswith("_modules/"):
        places = {entry.page: f"jaxnn.{entry.name}" for entry in reference.entries()}

        def corrected(match: re.Match[str]) -> str:
            place = places.get(match[2], match[3])
            return f"{match[1]}{match[2]}.html#{match[3] if match[3].startswith(place) else place}"

        context["body"] = re.sub(r"(reference/)([\w.-]+)\.html#([\w.]+)", corrected, context["body"])


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_transform(Equations)
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-process-docstring", plain, priority=100)
    app.connect("autodoc-process-docstring", linked, priority=900)
    app.connect("html-page-context", back)
    app.connect("viewcode-find-source", unsourced)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
