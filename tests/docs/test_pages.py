"""The sources of the site: every public name has an entry, every link leads to a page or a file."""

import inspect
import re
from importlib import import_module

import pytest

import jaxnn as nn
from benchmarks import form_table
from docs.builder import assemble, reference, subject
from tests.test_places import PACKAGES

PAGES = reference.pages(subject.shown_in())


def test_every_public_name_has_an_entry():
    names = reference.by_name()
    for package in {*PACKAGES, "jaxnn.data"} - {"jaxnn.layers", "jaxnn.combinators", "jaxnn.ops.checks"}:
        if "kernels." in package or "receptive_field" in package:
            continue  # not public
        for name in import_module(package).__all__:
            value = getattr(import_module(package), name)
            if not inspect.ismodule(value):
                assert f"{package}.{name}".removeprefix("jaxnn.") in names
    for name in (*nn.layers.__all__, *nn.combinators.__all__):
        assert name in names, "layers are names of jaxnn itself"


def test_every_entry_has_a_page_that_differs_in_more_than_case():
    files = [f"reference/{entry.page}.rst".lower() for entry in reference.entries()]
    assert len(set(files)) == len(files)
    assert {f"reference/{entry.page}.rst" for entry in reference.entries()} <= PAGES.keys()


@pytest.mark.parametrize("entry", reference.entries(), ids=lambda entry: entry.name)
def test_an_entry_says_what_it_is(entry):
    assert entry.line
    assert f"jaxnn.{entry.name}" in PAGES[f"reference/{entry.page}.rst"]


@pytest.mark.parametrize("name", nn.ops.__all__)
def test_an_operation_stands_beside_other_libraries_and_has_its_forms(name):
    entry = reference.by_name()[f"ops.{name}"]
    page = PAGES[f"reference/{entry.page}.rst"]
    assert "Beside PyTorch, Flax and Keras" in page
    takes = "implementation" in inspect.signature(entry.value).parameters
    assert not takes or "\nForms\n" in page


@pytest.mark.parametrize("name", sorted({*nn.layers.__all__, "maxout", "separable_conv", "bidirectional"}))
def test_a_layer_stands_beside_other_libraries(name):
    assert "Beside PyTorch, Flax and Keras" in PAGES[f"reference/{reference.by_name()[name].page}.rst"]


def test_the_tables_name_the_sections_and_the_forms_that_there_are():
    assert set(reference.CONVENTIONS.values()) <= set(reference.conventions())
    operations = [row[2:] for row in form_table.table().splitlines()[2:]]
    for starts, page in reference.FORMS.values():
        assert all(any(row.startswith(start) for row in operations) for start in starts)
        assert (assemble.ROOT / "docs" / "kernels" / f"{page}.md").exists()


def test_every_name_is_in_one_group():
    grouped = [entry.name for members in reference.grouped().values() for entry in members]
    assert sorted(grouped) == sorted(entry.name for entry in reference.entries())
    assert all(reference.grouped().values()), "no group is empty"


def test_a_signature_is_written_as_in_the_source():
    from docs.builder import signatures

    arguments, result = signatures.written(nn.ops.conv)
    assert arguments.startswith(
        "(x: ArrayLike, kernel: ArrayLike, bias: ArrayLike | None=None, *, strides: Ints=1"
    )
    assert result == "jax.Array"
    assert signatures.written(nn.Params)[0].startswith("(weights")
    assert signatures.written(nn.relu) is not None, "of a function that JAX jits"


def test_the_course_has_every_script_in_order():
    made = subject.pages()
    assert list(made)[1:] == [f"subject/{name}.md" for name in subject.page.SCRIPTS]
    index = made["subject/index.md"]
    places = [index.index(f"({name}.md)") for name in subject.page.SCRIPTS]
    assert places == sorted(places)
    assert all(f"\n## {part}\n" in index for part in subject.PARTS.values())
    assert "reference/conv_transpose.rst" in made["subject/upsampling.md"]
    assert "upsampling" in subject.shown_in()["conv_transpose"]


def test_every_link_of_a_page_is_led_to_the_site():
    places, files = assemble.pages(), {}
    made = {
        site: assemble.led(text, origin, site, places, files)
        for origin, site, text in assemble.written(places)
    }
    assert {
        "index.md",
        "start.md",
        "kernels/index.md",
        "changelog.md",
        "benchmarks/results.md",
    } <= made.keys()
    known = made.keys() | subject.pages().keys() | files.keys()
    for site, text in made.items():
        folder = site.rpartition("/")[0]
        prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
        for link in filter(None, (match[2] for match in assemble.LINK.finditer(prose))):
            if re.match(r"[a-z]+:|#", link) or link.endswith(".png"):
                continue
            goal = assemble._normal(assemble.PurePosixPath(folder) / link.partition("#")[0])
            assert goal in known or goal.startswith("notebooks/"), f"{site}: {link}"


@pytest.mark.parametrize(
    ("link", "led"),
    [
        ("https://example.org/x", "https://example.org/x"),
        ("#here", "#here"),
        ("conventions.md#pooling", "conventions.md#pooling"),
        ("kernels/README.md", "kernels/index.md"),
        ("../CHANGELOG.md", "changelog.md"),
        ("../README.md", "index.md"),
        ("../examples/README.md", "subject/index.md"),
        ("../examples/README.md#a-stack-of-linear-layers-is-it-deep", "subject/linear_stack.md"),
        ("notebooks/digits.ipynb", "notebooks/digits.md"),
        ("../LICENSE", "files/LICENSE"),
    ],
)
def test_where_a_link_leads(link, led):
    assert assemble.target(link, "docs/a.md", "a.md", assemble.pages(), {}) == led
    assert assemble.target("../conventions.md", "docs/howto/b.md", "howto/b.md", assemble.pages(), {}) == (
        "../conventions.md"
    )


def test_a_link_that_leads_nowhere_is_refused():
    with pytest.raises(ValueError, match=r"docs/a\.md: lost\.md leads to a file that is not on the site"):
        assemble.target("lost.md", "docs/a.md", "a.md", assemble.pages(), {})
