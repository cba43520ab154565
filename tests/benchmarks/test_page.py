"""The page of results, read as text; ``python -m benchmarks.browser`` opens it in a real browser."""

import json
import re
from dataclasses import fields, replace
from html.parser import HTMLParser

import pytest

from benchmarks import browser, page, record, report, schema, svg, why
from benchmarks.html_tables import Number, Status, filtered
from benchmarks.race import SAME
from benchmarks.record import Row, Run
from benchmarks.svg import Line, Point, Scale
from tests.benchmarks.test_report import ENVIRONMENT, row, run, untimed

LIMITS = {"float32": {"flops": 1e11, "bytes": 1e10}, "dispatch": {"seconds": 1e-5}}
VOID = {"meta", "input", "br"}


class Reader(HTMLParser):
    """Checks that every tag is closed in order, and keeps ids, links and cells."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.cells, self.tags = [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.tags.append(tag)
        self.ids += [named["id"]] if "id" in named else []
        self.links += [named[name] for name in ("href", "src", "action") if name in named]
        assert not [name for name in named if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        pass  # closed in itself

    def handle_data(self, data):
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


def full(*rows):
    return Run(
        "all", {**ENVIRONMENT, "options": {"shapes": "<all>"}}, LIMITS, rows, {"planned": 5, "done": ["a"]}
    )


ROWS = (
    row(limit=0.9), row("lax", 2.0, limit=0.4), row("torch", 0.5, limit=0.95),
    row("flax", 2.0, case="<script>alert(1)</script> & \"b\"", dtype="bfloat16"),
    replace(row("lax", 1.5), program="training", family="LeNet", case="LeNet", mode="step", examples=8),
    untimed("haiku", "crashed", "died of SIGSEGV"),
    Row("conformance", "conv", "conv 2-d", "jaxnn", "value", status="right", error=0.5, tolerance=9.0),
    Row("conformance", "conv", "conv 2-d", "lax", "vmap", status="wrong", error=5e3, tolerance=9.0),
)  # fmt: skip


def test_the_page_is_whole_needs_nothing_and_shows_every_row():
    text = page.html([full(*ROWS)])
    found = Reader(text)
    assert found.links == []
    for outside in ("http:", "//cdn", "@import", "url(", "<link", "<iframe", "fetch(", "XMLHttpRequest"):
        assert outside not in text.replace("http://www.w3.org", ""), outside
    assert len(set(found.ids)) == len(found.ids)
    assert "<script>alert" not in text
    assert '<script>alert(1)</script> & "b"' in found.cells
    assert text.count("<script>") == 1
    assert "<dd>Device 1</dd>" in text
    for head in ("Conditions", "Measured limits", "Roofline, float32", "Beside jaxnn", "Behind, and why",
                 "Conformance", "Not right, or not finished", "Every row"):  # fmt: skip
        assert f"<h2>{head}</h2>" in text, head
    body = text[text.index('id="rows-0"') :]
    assert body[: body.index("</table>")].count("<tr>") == 1 + 6
    assert "1 of 5 units" in text
    assert "WRONG 5.0e+03" in found.cells
    assert "died of SIGSEGV" in found.cells


def test_a_page_of_two_runs_leads_to_both():
    text = page.html([full(*ROWS), full(row())])
    assert Reader(text).links == ["#run-0", "#run-1"]
    assert {"run-0", "run-1"} <= set(Reader(text).ids)


def test_a_page_of_nothing_measured_is_a_page():
    text = page.html([full()])
    assert "<h2>Every row</h2>" not in text
    Reader(text)


def test_csv_and_page_stand_beside_the_run(tmp_path):
    path = full(*ROWS).save(tmp_path)
    assert [made.suffix for made in page.beside(record.load(path), path)] == [".csv", ".html"]
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".csv", ".html", ".json"]


def test_the_script_and_the_check_in_a_browser_speak_of_the_same_things():
    text = page.html([full(*ROWS)])
    for name in ("table.sortable", 'data-for="', "aria-sort"):
        assert name in text or name in (page.HERE / "page.js").read_text()
        assert name.replace('="', "") in browser.AFTER
    assert text.count("<body>") == text.count("</body>") == 1


def test_a_missing_browser_is_named():
    with pytest.raises(SystemExit, match="--browser: none found, looked for no-such-browser"):
        browser.find("no-such-browser")


def test_cells_sort_by_their_values():
    text = filtered(
        "t", ["a", "b"], [["<x>", Number("1 ms", 0.001)], [Status("no", "too slow"), Number("", None)]], ["a"]
    )
    assert "<td>&lt;x&gt;</td>" in text
    assert '<td class="number" data-value="0.001">1 ms</td>' in text
    assert '<td class="number" data-value="NaN"></td>' in text
    assert '<td class="too-slow">no</td>' in text
    assert '<select data-column="0">' in text


def numbers(text, name):
    return [float(value) for value in re.findall(rf' {name}="([\d.-]+)"', text)]


def test_points_of_a_roofline_lie_below_the_roofs_they_are_below():
    roof = {"float32": {"flops": 1e11, "bytes": 1e10}}
    points = [Point(2.0, 2e10, "jaxnn", "at the slope"), Point(50.0, 1e11, "lax", "at the flat roof")]
    text = svg.roofline(points, roof)
    (path,) = re.findall(r'points="([^"]+)"', text)
    corners = [tuple(map(float, corner.split(","))) for corner in path.split()]
    (x1, x2), (y1, y2) = numbers(text, "cx"), numbers(text, "cy")
    (ax, ay), (bx, by), (cx, cy) = corners
    assert y2 == pytest.approx(by) == pytest.approx(cy)
    assert (y1 - ay) / (x1 - ax) == pytest.approx((by - ay) / (bx - ax), rel=1e-2)
    assert ax < x1 < bx < x2 < cx
    assert "at the flat roof" in text
    assert ">float32: 100 GFLOP/s<" in text


def test_ratios_stand_left_and_right_of_one_on_a_logarithmic_axis():
    lines = [Line("conv", {}), Line("a & b", {"lax": (4.0, 2.0, 8.0), "torch eager": (0.5, 0.25, 1.0)})]
    text = svg.ratios(lines, "label")
    shaded = re.search(r'class="behind" x="(\d+)" y="0" width="([\d.]+)"', text)
    one = float(shaded[1]) + float(shaded[2])
    right, left = numbers(text, "cx")
    assert left < one < right
    assert right - one == pytest.approx(2 * (one - left), rel=1e-2)
    assert "a &amp; b" in text
    assert 'class="of-torch"' in text


def test_a_scale_holds_all_values():
    scale = Scale.around([3.0, 4000.0], 0.0, 100.0)
    assert (scale(1.0), scale(10_000.0)) == (0.0, 100.0)
    assert [f"{tick:g}" for tick in scale.decades()] == ["1", "10", "100", "1000", "10000"]
    assert Scale.around([5.0], 0.0, 1.0)(5.0) >= 0


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"note": SAME}, SAME),
        ({"ratio_q3": 1.01}, "the quartiles of the ratio hold 1: within the noise"),
        ({"median": 2e-5}, "mostly dispatch: an empty call takes 10 µs of 40"),
        ({"limit": 0.95, "ours": 0.85}, "both near the limit of memory"),
        ({"limit": 0.4, "ours": 0.2}, "bound by memory: jaxnn reaches 20% of that limit, lax 40%"),
        (
            {"limit": 0.4, "ours": 0.2, "flops": 10**12},
            "bound by arithmetic: jaxnn reaches 20% of that limit, lax 40%",
        ),
        ({"limit": None}, ""),
    ],
)
def test_why_another_is_ahead(changed, reason):
    ours = row(limit=changed.pop("ours", 0.2), median=4e-5 if changed.get("median") else 1.0)
    theirs = row("lax", **({"median": 0.5, "ratio": 0.5, "limit": 0.4} | changed))
    (found,) = why.behind([ours, theirs], LIMITS)
    assert found == (theirs, reason)


def test_the_worst_is_first_and_ours_in_another_form_is_not_another():
    rows = [row(), row("lax", 0.9), row("torch", 0.3), row("jaxnn repeat", 0.1), row("flax", 0.97)]
    assert [found.contender for found, _ in why.behind(rows, {})] == ["torch", "lax"]


def dumped(made, tmp_path):
    return json.loads(made.save(tmp_path).read_text())


CONDITIONS = {**ENVIRONMENT, "devices": [{"id": 0, "kind": "x", "memory": None}], "options": {},
              "versions": {"jax": "1", "jaxlib": "1"}}  # fmt: skip


def test_a_file_of_an_older_version_is_said_to_be_older(tmp_path, capsys):
    path = tmp_path / "old.json"
    path.write_text('{"version": 2}')
    assert schema.main([str(path)]) == 1
    assert capsys.readouterr().out == (
        f"{path}: of version 2, which report and compare read; the schema is that of version 3\n"
    )


def test_what_is_saved_fits_the_schema(tmp_path):
    made = replace(full(*ROWS), environment=CONDITIONS)
    path = made.save(tmp_path)
    assert list(schema.problems(json.loads(path.read_text()))) == []
    assert schema.main([str(path)]) == 0
    path.write_text("{")
    assert schema.main([str(path)]) == 1


def test_the_schema_names_every_field_and_status():
    described = schema.SCHEMA["$defs"]["row"]
    assert list(described["properties"]) == described["required"] == [f.name for f in fields(Row)]
    assert set(schema.SCHEMA["properties"]) == {f.name for f in fields(Run)}
    assert tuple(described["properties"]["status"]["enum"]) == record.STATUSES
    assert schema.SCHEMA["properties"]["version"] == {"const": record.VERSION}


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (("version",), 1, "run.version must be 3, got 1"),
        (("rows", 0, "status"), "fine", "run.rows[0].status must be one of timed, right, "),
        (("rows", 0, "n"), True, "run.rows[0].n must be integer, got True"),
        (("rows", 0, "median"), float("nan"), "run.rows[0].median must be at least 0, got nan"),
        (("rows", 0, "flops"), 1.5, "run.rows[0].flops must be integer or null, got 1.5"),
        (("rows", 0, "colour"), "red", "run.rows[0] must not have 'colour'"),
        (("environment", "device"), "", "run.environment.device must have at least 1 characters, got ''"),
        (("limits",), {"float32": {"watts": 1}}, "run.limits.float32 must not have 'watts'"),
        (("rows",), {}, "run.rows must be array, got {}"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(place, value, sentence, tmp_path):
    found = dumped(replace(full(*ROWS), environment=CONDITIONS), tmp_path)
    at = found
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = value
    (problem,) = schema.problems(found)
    assert problem.startswith(sentence)


def test_a_row_that_lacks_a_field_is_named(tmp_path):
    found = dumped(replace(full(row()), environment=CONDITIONS), tmp_path)
    del found["rows"][0]["median"]
    assert list(schema.problems(found)) == ["run.rows[0] must have 'median'"]
    assert run(row()).progress == {}


def test_report_writes_the_page_of_named_files(tmp_path, capsys):
    path = full(*ROWS).save(tmp_path)
    report.main([str(path), "--html", str(tmp_path / "page.html")])
    assert (tmp_path / "page.html").read_text() == page.html([record.load(path)])
    assert "page.html" in capsys.readouterr().out
