"""The script for many hosts, in one process; in several: tests/distribution/test_processes.py."""

import pytest

import jaxnn as nn
from examples import train_distributed


def test_it_trains_and_goes_on_where_it_was(tmp_path, capsys):
    file = tmp_path / "run.npz"
    for steps in ("2", "3"):
        train_distributed.main(["--steps", steps, "--every", "2", "--checkpoint", str(file)])
        assert int(nn.checkpoint.load(file)["step"]) == int(steps)
    said = capsys.readouterr().out
    assert said.count("8 devices in 1 processes") == 2
    assert "test accuracy" in said


def test_help_says_how_to_start_it(capsys):
    with pytest.raises(SystemExit):
        train_distributed.main(["--help"])
    assert "--coordinator" in capsys.readouterr().out
