import jax
import matplotlib
import numpy as np
import pytest

import jaxnn as nn
from examples import classify_images
from examples.photograph import photograph

matplotlib.use("Agg")


def test_the_main_job_at_a_small_size(tmp_path, capsys):
    with jax.numpy_dtype_promotion("standard"):  # optax's schedules mix floats and integers
        accuracy = classify_images.main(["--epochs", "3", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert accuracy > 0.8
    assert "1,437 images to learn from, 360 to test on" in printed
    assert f"test accuracy {accuracy:.2%}, unchanged" in printed
    assert {path.name for path in tmp_path.iterdir()} == {
        "weights.npz", "learning_curves.png", "predictions.png", "filters.png",
    }  # fmt: skip


def test_the_net_fits_both_sizes():
    net = classify_images.network(10)
    assert nn.output_shape(net, (1, 8, 8, 1)) == nn.output_shape(net, (1, 28, 28, 1)) == (1, 10)


def test_the_confusion_table():
    table = classify_images.confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), ("cat", "dog"))
    assert [line.split() for line in table.splitlines()] == [
        ["cat", "dog"],
        ["cat", "1", "1"],
        ["dog", "·", "1"],
    ]


def test_an_unknown_data_set(capsys):
    with pytest.raises(SystemExit):
        classify_images.main(["--data", "cifar"])
    assert "invalid choice: 'cifar'" in capsys.readouterr().err


@pytest.mark.parametrize("epochs", ["0", "-1"])
def test_no_epochs(epochs, capsys):
    with pytest.raises(SystemExit):
        classify_images.main(["--epochs", epochs])
    assert f"--epochs must be at least 1, got {epochs}" in capsys.readouterr().err


def test_a_photograph_that_is_not_there():
    with pytest.raises(
        ValueError, match=r"photograph: name must be one of china.jpg, flower.jpg, got 'x.jpg'"
    ):
        photograph(64, "x.jpg")
    with pytest.raises(ValueError, match=r"photograph: height must be at least 1, got 0"):
        photograph(0)
