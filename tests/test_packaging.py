"""The package as others get it: a wheel with what it must hold, which imports without any extra."""

import email
import re
import subprocess
import sys
import textwrap
import tomllib
import zipfile
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("jaxnn", "examples", "benchmarks", "docs")
EXTRAS = (
    "matplotlib",
    "sklearn",
    "tqdm",
    "chex",
    "hypothesis",
    "pytest",
    "torch",
    "flax",
    "safetensors",
    "jax2onnx",
)


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder, cwd=ROOT)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A folder into which the wheel alone was installed."""
    folder = tmp_path_factory.mktemp("site")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index")
    run(*pip, "--no-deps", "--target", folder, wheel, cwd=folder)
    return folder


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    inside = {name for name in names if ".dist-info/" not in name}
    assert inside == {
        str(path.relative_to(ROOT))
        for path in (ROOT / "jaxnn").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "jaxnn/py.typed" in inside
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.fixture(scope="module")
def metadata(wheel) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_the_distribution_has_a_name_of_its_own(wheel, metadata):
    """On PyPI ``jaxnn`` is an unrelated project, which an extra or a hint must not install."""
    name = metadata["Name"]
    assert name == "jaxnn-functional"
    assert wheel.name.startswith(name.replace("-", "_") + "-")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    own = [line for lines in extras.values() for line in lines if line.startswith("jaxnn")]
    assert own
    for line in own:
        named = re.fullmatch(rf"{name}\[([\w,]+)\]", line)
        assert named, line
        assert set(named[1].split(",")) <= set(metadata.get_all("Provides-Extra"))


def test_hints_name_this_distribution_and_an_extra_that_it_has(metadata):
    """``pip install 'name[extra]'`` adds to what is installed; another name would install another's."""
    files = [
        *ROOT.glob("*.md"),
        *(file for folder in SOURCES for file in (ROOT / folder).rglob("*.[pm][yd]")),
    ]
    known = {f"{metadata['Name']}[{extra}]" for extra in metadata.get_all("Provides-Extra")}
    for file in files:
        named = re.findall(r"pip install (?:-\S+ )*['\"]?(jaxnn[^\s'\"`)]*)", file.read_text())
        assert set(named) <= known, file


def test_the_core_depends_on_jax_and_optax_alone(metadata):
    core = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert sorted(line.split(">")[0] for line in core) == ["jax", "optax"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"


def test_the_source_archive_holds_what_the_checks_need(tmp_path):
    run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", tmp_path, cwd=ROOT)
    (path,) = tmp_path.glob("*.tar.gz")
    names = run("tar", "-tzf", path, cwd=tmp_path).splitlines()
    inside = {name.partition("/")[2] for name in names}
    assert {"pyproject.toml", "README.md", "LICENSE", "Makefile", "tests/conftest.py"} <= inside
    assert {"CITATION.cff", ".ci/run", ".github/workflows/checks.yml", "docs/builder/conf.py"} <= inside
    assert {"jaxnn/layer.py", "jaxnn/py.typed", "examples/datasets.py"} <= inside


def test_the_wheel_imports_and_runs_without_any_extra(installed, tmp_path):
    program = f"""
        import sys

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {EXTRAS!r}:
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

        sys.meta_path.insert(0, Absent())
        sys.path.insert(0, {str(installed)!r})
        import jax, jaxnn as nn

        assert nn.__file__.startswith({str(installed)!r}), nn.__file__
        net = nn.serial(nn.conv(2, 3), nn.batch_norm(), nn.relu, nn.flatten, nn.dense(3))
        params = net.init(jax.random.key(0), (1, 5, 5, 1))
        print(net.apply(params, jax.numpy.ones((2, 5, 5, 1))).shape)
    """
    assert run(sys.executable, "-c", textwrap.dedent(program), cwd=tmp_path) == "(2, 3)\n"


def test_importing_loads_no_more_than_it_needs(tmp_path):
    program = f"""
        import sys, jax
        before = set(sys.modules)
        import jaxnn
        new = {{name.partition(".")[0] for name in set(sys.modules) - before}}
        print(*sorted(new & {{"optax", *{EXTRAS!r}}}))
    """
    assert run(sys.executable, "-c", textwrap.dedent(program), cwd=tmp_path) == "\n"
