"""A release says one version in all places, and what checks it runs what there is."""

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]


def test_the_version_is_one():
    changes = re.findall(r"^## \[(.+?)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    dates = dict(changes)
    assert changes[0][0] in (VERSION, "Unreleased")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", dates[VERSION])
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {VERSION}\n" in citation
    assert f"\ndate-released: {dates[VERSION]}\n" in citation


def test_the_policy_says_what_is_supported():
    page = (ROOT / "docs" / "policy.md").read_text()
    oldest = re.search(r"jax>=([\d.]+)", " ".join(PROJECT["dependencies"]))[1]
    python = PROJECT["requires-python"].removeprefix(">=")
    assert re.search(rf"^\| Python \| {re.escape(python)} \|", page, re.MULTILINE)
    assert re.search(rf"^\| JAX \| {re.escape(oldest)} \|", page, re.MULTILINE)


def test_workflows_and_scripts_run_targets_that_there_are():
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"test", "docs", "docs-check", "release-check"} <= targets
    for file in (*(ROOT / ".github" / "workflows").glob("*.yml"), ROOT / ".ci" / "run"):
        for line in re.findall(r"\bmake ((?:[a-z-]+ ?)+)", re.sub(r"#.*", "", file.read_text())):
            assert set(line.split()) <= targets, f"{file.name}: make {line}"
    for script in ("run", "release", "pythons"):
        subprocess.run(["bash", "-n", ROOT / ".ci" / script], check=True)


def test_an_issue_is_asked_for_what_it_needs():
    templates = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md"))
    assert [path.stem for path in templates] == ["missing", "slow", "wrong"]
    for path in templates:
        text = path.read_text()
        assert re.match(r"---\nname: .+\nabout: .+\n---\n", text)
        assert "```python" in text
