"""Equations in Unicode become MathML; sentences don't."""

import ast
import inspect
import re
from xml.etree import ElementTree

import pytest

from docs.builder import equations, reference


def found(text):
    return [text[span.start : span.end] for span in equations.find(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("y = x · kernel + bias.", ["y = x · kernel + bias"]),
        ("With a = xₜ·W + b and u = hₜ₋₁·R, three gates", ["a = xₜ·W + b", "u = hₜ₋₁·R"]),
        ("i, f, g, o = xₜ·W + hₜ₋₁·R + b  (four gates", ["i, f, g, o = xₜ·W + hₜ₋₁·R + b"]),
        (
            "y = (x − E[x]) / √(Var[x] + ε) · scale + bias, with E",
            ["y = (x − E[x]) / √(Var[x] + ε) · scale + bias"],
        ),
        ("yᵢ = exp(xᵢ) / Σⱼ exp(xⱼ).", ["yᵢ = exp(xᵢ) / Σⱼ exp(xⱼ)"]),
        ("u ← Wᵀ W u / ‖Wᵀ W u‖, before u is used", ["u ← Wᵀ W u / ‖Wᵀ W u‖"]),
        ("on an axis out = ⌊(L − k') / s⌋ + 1 for", ["out = ⌊(L − k') / s⌋ + 1"]),
        ("y = x where x ≥ 0", ["y = x"]),
        ("No equation: f(x), a + b, (N, T, F) → (N, T, H).", []),
        ("y = layer with kernel / σ", []),
        ("an open bracket: y = (x", []),
        ("", []),
    ],
)
def test_what_is_an_equation(text, expected):
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("y = √(x)", ["<msqrt>"]),
        ("y = x²", ["<msup><mi>x</mi><mrow><mn>2</mn></mrow></msup>"]),
        ("hₜ = hₜ₋₁", ["<msub><mi>h</mi><mrow><mi>t</mi><mo>−</mo><mn>1</mn></mrow></msub>"]),
        ("y = Σ_j x[j]", ["<munder><mo>Σ</mo><mi>j</mi></munder>"]),
        ("y = 2^(−i)", ["<msup><mn>2</mn>"]),
        ("out = a_r", ["<mi mathvariant='normal'>out</mi>", "<msub><mi>a</mi><mi>r</mi></msub>"]),
    ],
)
def test_how_it_is_written(text, parts):
    mathml = equations.whole(text)
    assert all(part in mathml for part in parts), mathml
    ElementTree.fromstring(equations.math(mathml))


def test_the_whole_text_or_nothing():
    assert equations.whole(" y = x ") is not None
    assert equations.whole("y = x, of course") is None


def literal_blocks():
    for entry in reference.entries():
        text = inspect.getdoc(entry.value) or "" if callable(entry.value) else ""
        if getattr(entry.value, "__module__", "").startswith("jaxnn"):
            for block in re.findall(r"::\n\n((?:    .*\n|\n)+)", text + "\n"):
                yield entry.name, block


def test_a_literal_block_in_a_docstring_is_python_or_an_equation():
    blocks = dict(literal_blocks())
    assert "ops.conv" in blocks
    for name, block in blocks.items():
        try:
            ast.parse(inspect.cleandoc(block))
        except SyntaxError:
            assert equations.whole(" ".join(block.split())), f"{name}: {block}"
