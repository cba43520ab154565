"""The notebooks run, from their first cell to their last, and are stored without outputs."""

import json

import jax
import pytest
from matplotlib.figure import Figure

from docs.builder import notebooks
from tests.support import deep

every_notebook = pytest.mark.parametrize("path", notebooks.ALL, ids=lambda path: path.stem)


def test_there_are_three():
    assert [path.stem for path in notebooks.ALL] == ["digits", "own_layer", "sequence"]


@pytest.mark.parametrize(
    "path",  # the others take longer, and ``make docs`` runs all of them
    [path if path.stem == "own_layer" else deep(path) for path in notebooks.ALL],
    ids=lambda path: path.stem,
)
def test_it_runs_and_its_page_shows_what_it_gives(path):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # as readers have it
        page = notebooks.page(path)
    shown = notebooks.run(path)
    assert sum(bool(cell.figure) for cell in shown) >= 1
    assert page.count("```python") == sum(cell.kind == "code" for cell in shown)
    assert page.startswith("# ")
    assert f"]({path.name})" in page, "the notebook can be had from its page"


@every_notebook
def test_it_is_stored_without_outputs_in_a_format_that_jupyter_reads(path):
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert (stored["nbformat"], stored["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in stored["cells"]}) == len(stored["cells"])
    for cell in stored["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            assert not any(line.startswith(("%", "!")) for line in cell["source"]), "plain Python"


def test_what_a_cell_shows():
    names = {}
    assert notebooks.execute("a = 1\na + 1", "here", names) == 2
    assert notebooks.execute("b = a", "here", names) is None
    assert notebooks.result("b", "printed\n", 2).text == "printed\n2\n"
    assert notebooks.result("f", "", Figure()).figure.startswith(b"\x89PNG")
