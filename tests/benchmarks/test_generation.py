"""The benchmark of generation, as small as it gets."""

from benchmarks import generation


def test_it_compares_ids_and_times_steps(tmp_path, capsys):
    run = generation.main(
        [
            "--shapes",
            "tiny",
            "--repeats",
            "2",
            "--seconds",
            "0.05",
            "--contenders",
            "jaxnn",
            "--out",
            str(tmp_path),
        ]
    )
    (row,) = run.rows
    assert (row.status, row.error, row.contender) == ("timed", 0.0, "jaxnn")
    assert "one id" in capsys.readouterr().out
