from dataclasses import replace

import pytest

from benchmarks import charts, compare, record, report, schema, tables
from benchmarks.record import Row, Run

ENVIRONMENT = {
    "device": "Device 1", "platform": "cpu", "threads": 2, "system": "Linux", "python": "3.11",
    "versions": {"jax": "1"}, "date": "2026-01-02T03:04:05Z", "command": "python -m benchmarks.ops",
}  # fmt: skip


def row(contender="jaxnn", median=1.0, spread=0.01, case="a", **more):
    figures = {"q1": median - spread, "median": median, "q3": median + spread, "n": 9, "ratio": median}
    figures |= {"ratio_q1": median - spread, "ratio_q3": median + spread, "flops": 10**9, "bytes": 10**9}
    return Row("ops", "conv", case, contender, **({"mode": "both"} | figures | more))


def untimed(contender, status, note, case="a"):
    return Row("ops", "conv", case, contender, "both", status=status, note=note)


def run(*rows, date="2026-01-02T03:04:05Z", program="ops"):
    return Run(program, {**ENVIRONMENT, "date": date}, {}, rows)


def test_a_run_comes_back_as_it_was_saved(tmp_path):
    made = run(row(), row("lax", 2.0))
    path = made.save(tmp_path)
    assert path.name == "ops-device-1-20260102T030405Z.json"
    assert record.load(path) == made


def test_the_latest_run_of_each_program_is_taken(tmp_path):
    for date in ("2026-01-02T00:00:00Z", "2026-03-01T00:00:00Z", "2026-02-01T00:00:00Z"):
        run(row(), date=date).save(tmp_path)
    (found,) = record.latest(["ops"], tmp_path)
    assert found.environment["date"].startswith("2026-03")
    assert record.latest(["training"], tmp_path) == []


def test_the_table_gives_the_geometric_mean_and_the_range():
    made = run(row(), row("lax", 2.0), row(case="b"), row("lax", 8.0, case="b"), row("flax", 3.0, case="b"))
    text = report.markdown([made])
    assert "| conv, forward+backward | 2 | 4.00 (2.00 to 8.00) | 3.00 | – |" in text
    assert "medians of 9 to 9 rounds" in text


def test_where_jaxnn_is_behind_is_listed():
    made = run(row(), row("lax", 0.5), row(case="b"), row("lax", 2.0, case="b"), row("torch", 0.96, case="b"))
    text = report.markdown([made])
    assert "**Behind** in 1 of 3 comparisons:" in text
    assert "| lax | conv · a · forward+backward · float32 | 0.50 | 0.49 to 0.51 |  |" in text
    assert "| all | 2 | 1.00 (0.50 to 2.00) | 0.96 |" in text
    assert "Behind" not in report.markdown([run(row(), row("lax", 1.0))])


def test_in_brief_gradients_at_top_level_are_left_and_who_is_ahead_is_counted(tmp_path):
    forward = [row(mode="forward"), row("lax", 7.0, mode="forward")]
    scan = [row(place="scan"), row("lax", 0.7, place="scan")]
    both = [row(), row("lax", 3.0), row("torch", 0.5)]
    saved = [
        run(*forward, *scan, *both).save(tmp_path),
        run(row(mode="call"), program="overhead").save(tmp_path),
    ]
    text = report.main(["--brief", *map(str, saved)])
    assert "| all | 1 | 3.00 | 0.50 |" in text
    assert "**Behind** in 1 of 2 comparisons: torch 1." in text
    assert "Overhead" not in text


def test_only_some_rows(tmp_path):
    saved = run(row(), row("lax", 3.0), row(case="b"), row("lax", 7.0, case="b")).save(tmp_path)
    assert "| all | 1 | 7.00 |" in report.main(["--brief", str(saved), "--only", "CONV B", "pool"])
    with pytest.raises(SystemExit):
        report.main([str(saved), "--only", "attention"])


def test_what_was_not_timed_is_named_below_the_table():
    wrong = untimed("lax", "wrong", "error 2e-01")
    assert "Not timed: lax, conv · a · forward+backward · float32: wrong, error 2e-01." in report.markdown(
        [run(row(), wrong)]
    )


def test_a_terminal_table_says_who_is_wrong_and_who_is_absent():
    absent = untimed("haiku", "unsupported", "no groups")
    wrong = untimed("lax", "wrong", "error 2e-01")
    text = tables.terminal([row(median=0.00125), wrong, absent])
    assert "1.25 ms" in text
    assert "lax        wrong" in text
    assert "error 2e-01" in text
    assert "not: haiku (no groups)" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.0, "2.00 s"), (0.0234, "23.4 ms"), (5e-6, "5.00 µs"), (2e-8, "0.02 µs"), (None, "")],
)
def test_seconds(value, text):
    assert tables.seconds(value) == text


def test_inserting_needs_the_markers(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("nothing")
    with pytest.raises(ValueError, match="must hold <!-- benchmarks:start -->"):
        report.insert(path, "text")


def test_charts_of_every_program(tmp_path):
    template = replace(row(median=2.0), program="overhead", mode="trace")
    deep = [
        replace(template, contender=contender, family=family, case=f"{depth} dense layers")
        for contender in ("jaxnn", "lax", "jaxnn repeat")
        for family in ("deep", "wide")
        for depth in (10, 100)
    ]
    drawn = charts.draw(run(row(), row("lax", 2.0)), tmp_path, "Operations, beside lax")
    drawn += charts.draw(run(*deep, program="overhead"), tmp_path, "Overhead")
    assert [path.name for path in drawn] == [
        "operations-beside-lax-both-top-float32-cpu.png",
        "overhead-trace-cpu.png",
    ]
    assert all(path.stat().st_size > 1000 for path in drawn)


@pytest.mark.parametrize(
    ("median", "spread", "verdict"),
    [
        (1.5, 0.01, "slower"),
        (1.5, 0.6, "same"),  # within the spread
        (1.05, 0.001, "same"),  # below the threshold
        (0.5, 0.01, "faster"),
    ],
)
def test_a_change_must_exceed_threshold_and_spread(median, spread, verdict):
    (change,) = compare.changes(run(row()), run(row(median=median, spread=spread)))
    assert change.verdict == verdict
    assert change.ratio == pytest.approx(median)


def test_ratios_to_another_contender_take_out_the_machines_drift():
    before = run(row(), row("lax", 2.0))
    after = run(row(median=3.0), row("lax", 6.0))
    assert [c.verdict for c in compare.changes(before, after)] == ["slower"]
    assert [c.verdict for c in compare.changes(before, after, against="lax")] == ["same"]


def test_comparing_prints_what_changed_and_fails_on_slower_or_broken_rows(tmp_path, capsys):
    before = run(row(), row(case="b"), row(case="c")).save(tmp_path)
    broken = untimed("jaxnn", "wrong", "error", "c")
    after = run(row(median=2.0), row(case="b", median=0.5), broken, date="2026-02-01").save(tmp_path)
    assert compare.main([str(before), str(after)]) == 1
    printed = capsys.readouterr().out
    assert "slower 2.00× (1.97 to 2.03)  conv · a" in printed
    assert "faster 0.50× (0.49 to 0.52)  conv · b" in printed
    assert "| ops, conv | 2 | 1.00 (0.50 to 2.00) | 1 | 1 |" in printed
    assert "wrong  conv · c" in printed
    assert "1 slower, 1 faster, 0 same of 2 rows in both" in printed
    assert compare.main([str(before), str(before)]) == 0


@pytest.mark.parametrize(
    ("fail", "statuses"),
    [("slower", [1, 1, 0]), ("broken", [0, 1, 0]), ("missing", [1, 1, 1]), ("never", [0, 0, 0])],
)
def test_what_ends_in_status_1_can_be_chosen(fail, statuses, tmp_path):
    before = run(row(), row(case="b")).save(tmp_path / "before")
    slower = run(row(median=2.0), row(case="b")).save(tmp_path / "slower")
    broken = run(row(), untimed("jaxnn", "crashed", "died", "b")).save(tmp_path / "broken")
    missing = run(row()).save(tmp_path / "missing")
    found = [compare.main([str(before), str(path), "--fail", fail]) for path in (slower, broken, missing)]
    assert found == statuses


def test_other_conditions_are_said_and_several_runs_compared_with_the_first(tmp_path, capsys):
    first = run(row()).save(tmp_path / "a")
    changed = {**ENVIRONMENT, "device": "Device 2", "versions": {"jax": "2", "numpy": "1"}}
    second = replace(run(row(median=4.0)), environment=changed).save(tmp_path / "b")
    assert compare.main([str(first), str(first), str(second), "--fail", "broken"]) == 0
    printed = capsys.readouterr().out
    assert f"== {first.name} → {second.name}" in printed
    for line in (
        "device: Device 1 before, Device 2 after",
        "jax: 1 before, 2 after",
        "numpy: none before, 1 after",
    ):
        assert f"beware: {line}" in printed
    assert printed.count("beware") == 3
    assert "slower 4.00×" in printed


def test_what_was_right_and_is_not_any_more_is_broken(tmp_path):
    right, wrong = (
        run(Row("conformance", "conv", "conv 2-d", "jaxnn", "value", status=status), program="conformance")
        for status in ("right", "wrong")
    )
    paths = right.save(tmp_path / "a"), wrong.save(tmp_path / "b")
    assert compare.main([str(paths[0]), str(paths[0])]) == 0
    assert compare.main([str(paths[0]), str(paths[1])]) == 1
    assert compare.main([str(paths[1]), str(paths[0])]) == 0


def test_a_file_that_cannot_be_compared_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        compare.main([str(tmp_path / "nothing.json")] * 2)
    assert "nothing.json" in capsys.readouterr().err


def test_runs_of_different_programs_cannot_be_compared(tmp_path, capsys):
    a, b = run(row()).save(tmp_path), run(row(), program="training").save(tmp_path)
    with pytest.raises(SystemExit):
        compare.main([str(a), str(b)])
    assert "must be of one program, got ops and training" in capsys.readouterr().err


def test_every_program_has_a_summary():
    cells = [
        Row("conformance", "conv", "conv 2-d", "jaxnn", mode, dtype="float32", status=status)
        for mode, status in (("value", "right"), ("value", "wrong"), ("vmap", "unsupported"))
    ]
    text = report.section(run(*cells, program="conformance"))
    assert "**Conformance, float32**" in text
    assert "| float32 | jaxnn | 1 of 2 | – |" in text
    loops = [
        Row("fit", "MLP", "MLP", name, "step", "scanned", median=median, ratio=median, n=1)
        for name, median in (("fit", 0.5), ("JAX by hand", 0.25))
    ]
    assert "| MLP: scanned | 2 | 4 (0.25) |  |  |" in report.section(run(*loops, program="fit"))
    ids = [
        Row("generation", "generation", "GPT", name, "id", median=0.25, ratio=1.0, n=1, examples=2)
        for name in ("jaxnn", "flax")
    ]
    assert "| net | jaxnn, ids/s | flax ÷ jaxnn |" in report.section(run(*ids, program="generation"))
    forms = [
        Row("forms", "sum", "a", name, "forward", ratio=ratio, regret=regret)
        for name, ratio, regret in (("plain", 1.0, 1.0), ("other", 0.5, None))
    ]
    assert "| sum | 1 | 100% | 100% |" in report.section(run(*forms, program="forms"))
    assert set(report.PROGRAMS) == set(schema.SCHEMA["properties"]["program"]["enum"]) - {"all"}


def test_a_title_says_how_forms_were_chosen():
    for tuned, words in (
        ("True", "Regret of the chosen forms, found by tuning"),
        ("False", "Regret of the chosen forms"),
    ):
        made = run(program="forms")
        made.environment["options"] = {"tuned": tuned}
        assert report.title(made) == words


def test_a_title_says_which_shapes_were_drawn():
    drawn = run(row(), row("lax", 2.0))
    options = {"random": "12", "seed": "5", "sets": "[]"}
    drawn = replace(drawn, environment={**drawn.environment, "options": options, "versions": {"jax": "0.12"}})
    assert report.title(drawn) == (
        "Operations, float32, 12 random shapes of each family, seed 5, JAX 0.12, beside lax"
    )
    options = {"random": "None", "sets": "['resnet', 'unet']"}
    drawn = replace(drawn, environment={**drawn.environment, "options": options})
    assert report.title(drawn) == "Operations, float32, layers of resnet, unet, JAX 0.12, beside lax"


def test_every_kept_run_has_a_title_of_its_own():
    kept = report.joined([record.load(path) for path in record.RESULTS.glob("*.json")])
    titles = [report.title(made) for made in kept]
    assert len(set(titles)) == len(titles), titles


def test_runs_of_overhead_under_one_condition_share_a_chart_of_all_depths(tmp_path):
    template = replace(row(), program="overhead", mode="trace", family="deep")
    shallow, deep = (
        run(replace(template, case=f"{depth} dense layers"), program="overhead") for depth in (10, 100)
    )
    (one,) = report.joined([deep, shallow])
    assert report.title(one) == "Overhead, float32, 10, 100 layers"
    other = replace(shallow, environment={**shallow.environment, "device": "another"})
    assert len(report.joined([deep, other])) == 2


def test_the_chart_by_family_has_a_line_per_family():
    rows = [row(), row("lax", 2.0), *(replace(r, family="pool") for r in (row(), row("lax", 0.5)))]
    (axes,) = charts.by_family(rows).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["conv (1)", "pool (1)"]
    (axes,) = charts.by_case([*rows, row(case="b"), row("lax", 3.0, case="b")]).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["conv", "a", "b", "pool", "a"]


def test_what_is_measured_is_saved_before_an_interruption(tmp_path, capsys):
    def groups():
        yield [row()]
        yield [row(case="b")]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tables.shown_and_saved("ops", ENVIRONMENT, {}, groups(), tmp_path)
    (path,) = tmp_path.iterdir()
    assert record.load(path).rows == (row(), row(case="b"))
