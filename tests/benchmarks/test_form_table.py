"""The table of the lists of forms: it is the one that docs/kernels shows, and its words follow the lists."""

from pathlib import Path

from benchmarks import form_table, forms
from jaxnn.kernels.choice import Form, always, never

PAGE = Path(__file__).parent.parent.parent / "docs" / "kernels" / "README.md"


def test_the_page_on_kernels_shows_it(capsys):
    shown = PAGE.read_text().partition("<!-- forms:start -->\n")[2].partition("\n<!-- forms:end -->")[0]
    assert shown == form_table.table(), "python -m benchmarks.forms --table prints it"
    assert forms.main(["--table"]) is None
    assert capsys.readouterr().out == f"{shown}\n"


def sometimes(problem):
    return bool(problem)


def test_a_form_below_one_that_always_fits_and_pays_is_taken_only_if_asked_for():
    tried = [
        Form("first", print, fits=sometimes),
        Form("unwanted", print, fits=sometimes, pays=never),
        Form("worded", print, pays=sometimes, when="few values"),
        Form("usual", print),
        Form("last", print),
    ]
    assert form_table.taken_when(tried) == {
        "first": "always",
        "unwanted": "if asked for",
        "worded": "few values",
        "usual": "otherwise",
        "last": "if asked for",
    }


def test_the_canonical_form_leaves_nothing_to_the_last_where_that_of_groups_always_pays():
    def taken(pays):
        grouped = Form("grouped", print, fits=sometimes, pays=pays)
        canonical = Form("canonical", print, fits=sometimes)
        return form_table.taken_when([grouped, canonical, Form("lax", print)])["lax"]

    assert taken(always) == "if asked for"
    assert taken(sometimes) == "otherwise"
