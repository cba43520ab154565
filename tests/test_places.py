"""Operations and layers stand in all the places that CONTRIBUTING names: a new one can't be left out of any.

A public name is written once in each package that exports it.
"""

import ast
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import jaxnn as nn
from tests.layers.catalogue import ENTRIES
from tests.ops.test_properties import CASES
from tests.test_doors import DOORS, ELSEWHERE

ROOT = Path(__file__).parent.parent
PACKAGES = [
    file.parent.relative_to(ROOT).as_posix().replace("/", ".")
    for file in sorted((ROOT / "jaxnn").rglob("__init__.py"))
    if "public(" in file.read_text()
]
#: Ops without a case: one is exactly lax's and has tests of its own, one is computed outside of any net.
NO_CASE = {"conv_general_dilated", "feature_statistics"}
#: Layers without an entry in the catalogue; ``tests/layers/test_catalogue.py`` says why.
NO_ENTRY = {"attend", "split", "ensemble", "mixed_precision"}


def text(pattern):
    return "\n".join(file.read_text() for file in sorted(ROOT.glob(pattern)))


def imported(file):
    """The names that an ``__init__`` imports, as often as it does."""
    return re.findall(r"^from \S+ import (\w+) as \1$", (ROOT / file).read_text(), re.MULTILINE)


TESTS, LAYERS = text("tests/ops/test_*.py"), (ROOT / "docs" / "layers.md").read_text()
CASED = text("tests/ops/cases_*.py")
ENTERED = {name for entry in ENTRIES for name in entry.make.__code__.co_names}
#: By place, as CONTRIBUTING calls it: whether an op, or a layer, of that name stands there.
OF_AN_OP = {
    "jaxnn/ops/__init__.py": lambda name: imported("jaxnn/ops/__init__.py").count(name) == 1,
    "tests/ops/test_<family>.py": lambda name: bool(re.search(rf"\b{name}\b", TESTS)),
    "tests/ops/cases_<family>.py": lambda name: name in NO_CASE or bool(re.search(rf"\b{name}\b", CASED)),
    "tests/test_doors.py": lambda name: f"ops.{name}" in DOORS.keys() | ELSEWHERE.keys(),
}
OF_A_LAYER = {
    "jaxnn/layers/__init__.py": lambda name: (
        [*imported("jaxnn/layers/__init__.py"), *imported("jaxnn/combinators/__init__.py")].count(name) == 1
    ),
    "jaxnn/__init__.py": lambda name: imported("jaxnn/__init__.py").count(name) == 1,
    "tests/layers/catalogue.py": lambda name: name in NO_ENTRY or name in ENTERED,
    "docs/layers.md": lambda name: bool(re.search(rf"`{name}[(`]", LAYERS)),
    "tests/test_doors.py": lambda name: (
        f"layers.{name}" in DOORS.keys() | ELSEWHERE.keys() or f"ops.{name}" in DOORS
    ),
}


def missing(name, places):
    return [place for place, has in places.items() if not has(name)]


@pytest.mark.parametrize("name", [n for n in nn.ops.__all__ if getattr(nn.ops, n).__module__[:5] == "jaxnn"])
def test_every_op_has_its_places(name):
    function = getattr(nn.ops, name)
    assert function.__module__.startswith("jaxnn.ops.")
    assert ">>>" in function.__doc__, "a docstring has an example"
    assert not missing(name, OF_AN_OP)


@pytest.mark.parametrize("name", [*nn.layers.__all__, *nn.combinators.__all__])
def test_every_layer_has_its_places(name):
    assert ">>>" in getattr(nn, name).__doc__, "a docstring has an example"
    assert not missing(name, OF_A_LAYER)


@pytest.mark.parametrize("name", nn.ops.__all__)
def test_every_activation_without_weights_is_a_layer(name):
    function = getattr(nn.ops, name)
    if function.__module__.startswith("jax.") or function.__module__ in (
        "jaxnn.ops.activation", "jaxnn.ops.gated", "jaxnn.ops.softmax",
    ):  # fmt: skip
        assert name == "prelu" or getattr(nn, name) is function


def test_a_new_one_is_missed_in_every_place():
    assert missing("brand_new", OF_AN_OP) == list(OF_AN_OP)
    assert missing("brand_new", OF_A_LAYER) == list(OF_A_LAYER)


@pytest.mark.parametrize(("title", "places"), [("operation", OF_AN_OP), ("layer", OF_A_LAYER)])
def test_contributing_names_the_places(title, places):
    page = (ROOT / "CONTRIBUTING.md").read_text()
    section = page.partition("## Adding an operation or a layer\n")[2].partition("\n## ")[0]
    part = section.partition(f"**{title}**")[2].partition("**layer**")[0]
    named = re.findall(r"`([\w<>/]+\.\w+)`", part)
    assert set(places) <= set(named)
    for name in named:
        assert list(ROOT.glob(name.replace("<family>", "*"))), f"{name} does not exist"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_exports_what_it_imports_and_each_name_once(package):
    module = import_module(package)
    body = ast.parse(Path(module.__file__).read_text()).body
    names = []
    for node in body[1:-1]:
        assert isinstance(node, ast.ImportFrom), ast.unparse(node)
        names += [a.asname for a in node.names]
        assert all(a.name == a.asname or a.name == "public" for a in node.names), ast.unparse(node)
    names.remove(None)  # public itself
    assert len(set(names)) == len(names)
    assert sorted(names) == module.__all__
    assert all(hasattr(module, name) for name in names)


def test_internal_modules_are_not_exported():
    modules = {name for name in nn.__all__ if isinstance(getattr(nn, name), ModuleType)}
    assert modules >= {"kernels", "ops", "layers", "combinators", "training", "checkpoint"}
    assert not modules & {"entries", "exports", "draft", "layer", "lifting", "params", "shapes"}


def test_names_of_cases_say_what_they_are():
    assert all(re.fullmatch(r"[a-z0-9_.+-]+", case.name) for case in CASES)


def test_a_file_imports_only_what_is_above_it():
    """CONTRIBUTING's table is in the order of imports; files that it leaves out are part of the contract."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    cells = re.findall(r"^\| (`jaxnn/[^|]+) \|", page, re.MULTILINE)
    contract = next(place for place, cell in enumerate(cells) if "layer.py" in cell)
    named = {
        name: place
        for place, cell in enumerate(cells)
        for name in re.findall(r"`(?:jaxnn/)?(\w+)(?:/|\.py)`", cell)
    }
    assert named.keys() >= {folder.name for folder in (ROOT / "jaxnn").iterdir() if folder.is_dir()} - {
        "__pycache__"
    }
    for file in sorted((ROOT / "jaxnn").glob("*[!_].py")) + sorted((ROOT / "jaxnn").glob("*/**/*.py")):
        own = file.relative_to(ROOT / "jaxnn").parts[0].removesuffix(".py")
        for other in re.findall(r"^from jaxnn\.(\w+)", file.read_text(), re.MULTILINE):
            assert other == "exports" or named.get(other, contract) <= named.get(own, contract), (file, other)
