"""Equations, which docstrings and pages write in Unicode, as MathML.

``find`` finds them in a line of prose: a left side, ``=`` or ``←``, and as much after it as the grammar
below takes. Browsers show MathML themselves, so a page needs no script and no font of its own::

    equation = names relation sum (relation sum)*
    sum      = [sign] term (operator term)*
    term     = prefix* atom (call | index | power)*
"""

import re
from collections.abc import Iterator
from html import escape
from typing import NamedTuple

SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿᵀᵗᵏ", "0123456789+−nTtk", strict=True))
SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋ₐₑₒₓₕₖₗₘₙₚₛₜᵢⱼᵣᵤᵥ", "0123456789+−aeoxhklmnpstijruv", strict=True))
#: A sum and the like, which takes what follows it.
BIG = "ΣΠ∏∫"
OPENS = {"(": ")", "[": "]", "{": "}", "⌊": "⌋", "⌈": "⌉", "‖": "‖", "|": "|"}
RELATIONS = ("=", "←", "+=", "≈", "≥", "≤", "<", ">", "∈", "→", "≠")
OPERATORS = ("+", "−", "-", "·", "/", "×", "∘", "⊙")
WORDS = {"else", "if", "over", "of"}
LETTER = rf"[^\W\d_{''.join(SUBSCRIPTS)}{''.join(SUPERSCRIPTS)}]"
TOKEN = re.compile(
    rf"""\s*(?:
      (?P<low>[{"".join(SUBSCRIPTS)}]+)
    | (?P<high>[{"".join(SUPERSCRIPTS)}]+|['′]+)
    | (?P<number>\d+(?:,\d{{3}})*(?:\.\d+)?(?:e[−-]?\d+)?|[½¼])
    | (?P<big>(?:[{BIG}]|max(?=_)|min(?=_))(?:_\w+)?)
    | (?P<name>{LETTER}+(?:_[^\W_]+)*|[°∞∅∂∇])
    | (?P<sign>\+=|[^\w\s])
    )""",
    re.VERBOSE,
)


PROSE = re.compile(r" [a-z]{2}")


class NoEquation(Exception):
    """What stands here is not an equation."""


class Token(NamedTuple):
    """``kind`` is the name of a group of ``TOKEN``."""

    kind: str
    text: str
    start: int
    end: int


class Span(NamedTuple):
    """An equation within a text."""

    start: int
    end: int
    mathml: str


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a text. The middle dot counts as a letter in Python, but not here."""
    at = 0
    text = text.replace("·", "\N{DOT OPERATOR}")
    while match := TOKEN.match(text, at):
        kind = str(match.lastgroup)
        token = match[kind].replace("\N{DOT OPERATOR}", "·")
        yield Token(kind, token, match.start(kind), match.end())
        at = match.end()


class Parser:
    """Reads one equation from ``first`` on."""

    def __init__(self, found: list[Token], first: int) -> None:
        self.tokens, self.at = found, first

    def peek(self, *texts: str) -> bool:
        return self.at < len(self.tokens) and self.tokens[self.at].text in texts

    def kind(self) -> str:
        return self.tokens[self.at].kind if self.at < len(self.tokens) else "end"

    def take(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1].text

    def equation(self) -> str:
        """Names with commas between them, a relation, a sum, and further relations."""
        if self.kind() == "number":
            raise NoEquation
        left, listed = [self.term()], len(self.tokens[self.at - 1].text) == 1
        while self.peek(",") and listed:
            self.at += 1
            left.append(self.term())
        if not self.peek("=", "←", "+="):
            raise NoEquation
        parts = ["<mo>,</mo>".join(left)]
        while self.peek(*RELATIONS):
            before, sign = self.at, self.take()
            try:
                parts += [operator(sign), self.sum()]
            except NoEquation:
                if len(parts) < 3:
                    raise
                self.at = before
                del parts[-1:]
                break
        return "".join(parts)

    def sum(self) -> str:
        parts = [operator(self.take())] if self.peek("−", "-", "+", "±") else []
        parts.append(self.term())
        while self.peek(*OPERATORS) or self.beside():
            before, sign = self.at, self.take() if self.peek(*OPERATORS) else ""
            try:
                term = self.term()
            except NoEquation:
                self.at = before
                break
            parts += [operator(sign) if sign else "<mspace width='0.2em'/>", term]
        return "".join(parts)

    def beside(self) -> bool:
        """Whether two letters stand beside each other: W u. The letter a may be an article."""
        before, after = self.tokens[self.at - 1], self.tokens[min(self.at, len(self.tokens) - 1)]
        letters = before.kind in ("name", "high") and after.kind == "name" and after.text != "a"
        return letters and len(before.text) == len(after.text) == 1 and before.end < after.start

    def term(self) -> str:
        if self.kind() == "big" or self.peek("√"):
            return self.prefixed()
        return self.powers(self.atom())

    def prefixed(self) -> str:
        sign, _, below = self.take().partition("_")
        if sign == "√":
            return f"<msqrt>{self.term()}</msqrt>"
        base = operator(sign) if sign in BIG else f"<mo>{sign}</mo>"
        if below:
            base = f"<munder>{base}{name(below)}</munder>"
        elif self.kind() == "low":
            base = f"<munder>{base}<mrow>{low(self.take())}</mrow></munder>"
        return base + "<mspace width='0.17em'/>" + self.term()

    def atom(self) -> str:
        kind = self.kind()
        if kind == "number":
            return f"<mn>{self.take()}</mn>"
        if kind == "name":
            word = self.tokens[self.at].text
            if word in WORDS:
                raise NoEquation
            self.at += 1
            return name(word)
        if self.peek("…"):
            return operator(self.take())
        if self.peek(*OPENS):
            return self.fenced()
        raise NoEquation

    def fenced(self) -> str:
        """What stands in brackets: sums with commas, colons and relations between them."""
        opens = self.take()
        closes = OPENS[opens]
        parts = [operator(opens)]
        while not self.peek(closes):
            if self.peek(",", ":", ";", *RELATIONS):
                parts.append(operator(self.take()))
            else:
                parts.append(self.sum())
        self.at += 1
        return f"<mrow>{''.join(parts)}{operator(closes)}</mrow>"

    def powers(self, base: str) -> str:
        """Subscripts, powers, arguments and indices after an atom; these stand close to it."""
        while self.kind() in ("low", "high") or self.peek("(", "[", "^", "ᵀ", "*"):
            if self.tokens[self.at].start != self.tokens[self.at - 1].end:
                break
            if self.kind() == "low":
                base = f"<msub>{base}<mrow>{low(self.take())}</mrow></msub>"
            elif self.kind() == "high" and self.tokens[self.at].text[0] in "'′":
                prime = "′" * len(self.take())
                base = f"<mrow>{base}<mo lspace='0' rspace='0'>{prime}</mo></mrow>"
            elif self.kind() == "high":
                base = f"<msup>{base}<mrow>{high(self.take())}</mrow></msup>"
            elif self.peek("^"):
                self.at += 1
                power = operator(self.take()) if self.peek("−") else ""
                base = f"<msup>{base}<mrow>{power}{self.atom()}</mrow></msup>"
            elif self.peek("*"):
                break
            else:
                base += self.fenced()
        return base


def operator(sign: str) -> str:
    if sign in "‖|()[]{}⌊⌋⌈⌉":
        return f"<mo stretchy='false'>{escape(sign)}</mo>"
    if sign in ",:;":
        return f"<mo separator='true'>{sign}</mo>"
    return f"<mo>{escape(sign)}</mo>"


def name(word: str) -> str:
    """A letter is italic, a word upright; what follows ``_`` stands below."""
    base, _, below = word.partition("_")
    shown = f"<mi>{escape(base)}</mi>" if len(base) == 1 else f"<mi mathvariant='normal'>{escape(base)}</mi>"
    return f"<msub>{shown}{name(below)}</msub>" if below else shown


def low(signs: str) -> str:
    return _small("".join(SUBSCRIPTS[sign] for sign in signs))


def high(signs: str) -> str:
    return _small("".join(SUPERSCRIPTS[sign] for sign in signs))


def _small(text: str) -> str:
    return "".join(
        f"<mn>{part}</mn>" if part.isdigit() else name(part) if part.isalpha() else operator(part)
        for part in re.findall(r"\d+|\w|[+−]", text)
    )


def find(text: str) -> Iterator[Span]:
    """The equations of a text, in order."""
    found, first = list(tokens(text)), 0
    while first < len(found):
        parser = Parser(found, first)
        try:
            mathml = parser.equation()
        except (NoEquation, IndexError, KeyError):
            first += 1
            continue
        start, last = found[first].start, found[parser.at - 1].end
        if first and found[first - 1].end == start and found[first - 1].text not in ("(", "[", "—"):
            first += 1  # the rest of something else
            continue
        word = found[parser.at - 1]
        alone = word.kind == "name" and len(word.text) > 1 and found[parser.at - 2].text in RELATIONS
        if alone and PROSE.match(text, last):
            first += 1  # "y = layer with …" is a sentence
            continue
        yield Span(start, last, mathml)
        first = parser.at


def whole(text: str) -> str | None:
    """The MathML of a text that is one equation and nothing else, or None."""
    spans = list(find(text.strip()))
    if len(spans) == 1 and (spans[0].start, spans[0].end) == (0, len(text.strip())):
        return spans[0].mathml
    return None


def math(mathml: str, *, block: bool = False) -> str:
    """The element for a page."""
    display = ' display="block"' if block else ""
    return f'<math xmlns="http://www.w3.org/1998/Math/MathML"{display}><mrow>{mathml}</mrow></math>'
