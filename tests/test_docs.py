"""The pages of docs/: their blocks run and print what is shown below them, and what they name exists."""

import re
from contextlib import nullcontext
from functools import cache, reduce
from pathlib import Path

import jax
import pytest

import jaxnn as nn
from tests.markdown import run_blocks
from tests.support import assert_close, deep, known_answers

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
#: All that a reader may open.
ALL_PAGES = [
    *sorted(ROOT.glob("*.md")),
    *(
        page
        for folder in ("docs", "benchmarks", "examples")
        for page in sorted((ROOT / folder).rglob("*.md"))
    ),
]


def path_of(page):
    return str(page.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", PAGES, ids=path_of)


def test_there_are_pages():
    assert {DOCS / "conventions.md", DOCS / "kernels" / "README.md"} <= set(PAGES)
    assert {ROOT / "README.md", ROOT / "benchmarks" / "results" / "README.md"} <= set(ALL_PAGES)


def without_blocks(page):
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page):
    """What the headings of a page are called in links to them."""
    titles = re.findall(r"^#+ (.*)$", without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", ALL_PAGES, ids=path_of)
def test_every_link_leads_somewhere(page):
    lost = []
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", without_blocks(page))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        if not goal.exists() or (anchor and anchor not in anchors(goal)):
            lost.append(target)
    assert not lost


def test_what_the_code_says_of_pages_is_true():
    for folder in ("jaxnn", "benchmarks", "examples", "tests"):
        for file in (ROOT / folder).rglob("*.py"):
            for name in re.findall(r"``(docs/[\w/.]+)``", file.read_text()):
                assert (ROOT / name).exists(), f"{file}: {name}"


def test_the_index_of_forms_names_every_page():
    index = DOCS / "kernels" / "README.md"
    assert {page.name for page in index.parent.glob("*.md")} - {"README.md"} <= set(
        re.findall(r"\]\((\w+\.md)\)", index.read_text())
    )


@cache
def names_of(page):
    """What the blocks of a page define."""
    # optax's Adam needs JAX's usual promotion of dtypes; pages without it run under the strict one.
    usual = jax.numpy_dtype_promotion("standard") if "optax.adam(" in page.read_text() else nullcontext()
    with usual:
        return run_blocks(page, rel=1e-3, abs=1e-3)


#: Its blocks convert other libraries' nets, as tests/interop does by default, and take as long as all others.
LONG = "docs/migrating.md"


@pytest.mark.parametrize(
    "page", [deep(page) if path_of(page) == LONG else page for page in PAGES], ids=path_of
)
def test_the_blocks_run_and_print_what_stands_below(page):
    names_of(page)


@every_page
def test_every_name_of_jaxnn_is_there(page):
    for name in re.findall(r"(?<![\w.])nn\.(\w+(?:\.\w+)*)", page.read_text()):
        reduce(getattr, name.split("."), nn)


@pytest.mark.parametrize("page", ALL_PAGES, ids=path_of)
def test_the_rows_of_a_table_have_as_many_cells_as_its_head(page):
    """And it has one: rows behind an empty line are not part of a table."""
    for table in re.findall(r"(?:^\|.*\|\n)+", page.read_text(), re.MULTILINE):
        rows = table.splitlines()
        assert {row.count("|") for row in rows} == {rows[0].count("|")}, rows[0]
        assert re.fullmatch(r"[|:-]+", "".join(rows[1:2])), rows[0]


@pytest.mark.parametrize(("net", "layer"), [("rnn_tanh", nn.rnn), ("lstm", nn.lstm), ("gru", nn.gru)])
def test_ported_recurrent_weights_give_what_pytorch_gives(net, layer):
    port = names_of(DOCS / "conventions.md")
    answers = known_answers("recurrent")
    x, side_by_side, y, carry = (
        answers[f"{net}/single/{part}"] for part in ("x", "weights_l0", "y", "carry")
    )
    features = x.shape[-1]
    theirs = (
        side_by_side[:, :features],
        side_by_side[:, features:-2],
        side_by_side[:, -2],
        side_by_side[:, -1],
    )
    weights = port["gru_weights" if net == "gru" else "lstm_weights"](*theirs)
    fresh = jax.eval_shape(layer(y.shape[-1]).init, jax.random.key(0), x).weights
    assert jax.tree.map(jax.numpy.shape, weights) == jax.tree.map(jax.numpy.shape, fresh)
    start = tuple(carry[:, 0]) if net == "lstm" else carry[0, 0]
    actual, _ = layer(y.shape[-1]).apply(nn.Params(weights, {}), nn.Sequences(x, answers["lengths"], start))
    assert_close(actual, y)
