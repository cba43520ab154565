"""Every script of the gallery at a small size, and the committed page."""

import re
from pathlib import Path

import jax
import pytest

from examples.gallery import page
from examples.gallery.__main__ import main
from examples.gallery.exhibit import Exhibit, fact, panels
from tests.examples.legends import legends_over_data
from tests.support import deep

FOLDER = Path(page.__file__).parent
COMMITTED = FOLDER.parent
#: Scripts that run by default, the quickest; the others take up to a minute at their small size.
SHORT = {"linear_stack"}


@pytest.fixture
def as_users_have_it():
    """The scripts are users' programs: JAX promotes dtypes for them as it does by default."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
    jax.clear_caches()  # no other test needs these programs, and they are large


@pytest.mark.parametrize("name", [name if name in SHORT else deep(name) for name in page.SCRIPTS])
def test_its_facts_hold_at_a_small_size(name, tmp_path, as_users_have_it):
    exhibit = page.write(name, tmp_path, quick=True)
    assert exhibit.figures
    assert exhibit.facts
    hidden = {label: legends_over_data(figure) for label, figure in exhibit.figures.items()}
    assert not any(hidden.values()), f"legends lie over data: {hidden}"
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert all(sentence in text for sentence in exhibit.facts)
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert drawn == set(re.findall(r"\(figures/(.*?)\)", text))


@pytest.mark.parametrize("name", page.SCRIPTS)
def test_it_is_short_and_asks_a_question(name):
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert source.count("\n") <= 115
    assert re.match(r'r?"""[^\n]+: [^\n]+\?\n\n', source), "a docstring: 'Title: question?', then its story"


def test_every_script_has_its_place():
    frame = {"__init__", "__main__", "exhibit", "page"}
    assert {path.stem for path in FOLDER.glob("*.py")} - frame == set(page.SCRIPTS)


def test_the_committed_page_shows_every_script():
    text = (COMMITTED / "README.md").read_text(encoding="utf-8")
    assert tuple(page.sections(text)) == page.SCRIPTS
    shown = set(re.findall(r"\(figures/(.*?)\)", text))
    assert shown == {path.name for path in (COMMITTED / "figures").iterdir()}


def test_one_script_drawn_again_leaves_the_others(tmp_path, monkeypatch):
    figure, _ = panels(size=(2, 2))
    calls = iter(range(3))
    monkeypatch.setattr(
        page,
        "load",
        lambda name: (
            f"{name}: why?\n\nStory.",
            lambda quick: Exhibit({"a": figure}, [f"run {next(calls)}"]),
        ),
    )
    for name in ("dying_relu", "activations", "dying_relu"):
        page.write(name, tmp_path)
    found = page.sections((tmp_path / "README.md").read_text(encoding="utf-8"))
    assert list(found) == ["activations", "dying_relu"], "in the order of the page"
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "\n\n\n" not in text
    assert "- run 1\n" in found["activations"]
    assert "- run 2\n" in found["dying_relu"]


def test_a_fact_must_hold():
    assert fact(True, "it holds") == "it holds"
    with pytest.raises(AssertionError, match="measured otherwise: it holds"):
        fact(False, "it holds")


def test_an_unknown_script(capsys):
    with pytest.raises(SystemExit):
        main(["dead_relu"])
    assert "no script is called 'dead_relu'; there are activations, linear_stack" in capsys.readouterr().err
