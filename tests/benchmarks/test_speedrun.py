"""The CIFAR-10 speedrun at a tiny size: it computes what it says, trains, and reads the data set."""

import argparse
import json
import pickle
import sys
from dataclasses import replace
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn as nn
from benchmarks import report, schema, speedrun
from benchmarks.cifar import folder, ours, recipe
from benchmarks.cifar.recipe import CLASSES, SIDE, Images, Recipe
from tests.support import deep

TINY = ["--shapes", "tiny", "--steps", "3", "--repeats", "2", "--seconds", "0.05"]
torch = pytest.mark.skipif(find_spec("torch") is None, reason="needs PyTorch")


def test_losses_are_compared_and_steps_are_timed(tmp_path, capsys):
    run = speedrun.main([*TINY, "--contenders", "jaxnn", "--out", str(tmp_path)])
    (row,) = run.rows
    assert (row.status, row.contender, row.mode, row.place) == ("timed", "jaxnn", "step", "loop")
    assert row.error < 1e-5
    assert row.examples == 16
    assert row.flops > 0
    (path,) = tmp_path.glob("*.json")
    assert list(schema.problems(json.loads(path.read_text()))) == []
    printed = capsys.readouterr().out
    assert "steps/s" in printed
    assert "a training step · of many in one call" in printed
    assert "steps/s" in report.section(run)


@torch
def test_pytorch_takes_the_same_steps(tmp_path):
    names = ["--contenders", "jaxnn", "torch channels_last", "--dtype", "float32", "bfloat16"]
    run = speedrun.main([*TINY, *names, "--out", str(tmp_path)])
    assert [(row.status, row.dtype) for row in run.rows] == [
        ("timed", dtype) for dtype in ("float32", "float32", "bfloat16", "bfloat16")
    ]
    assert all(row.error < (1e-5 if row.dtype == "float32" else 2e-2) for row in run.rows)


def test_a_contender_that_makes_another_step_is_not_timed(monkeypatch, tmp_path):
    monkeypatch.setattr(ours, "loss", lambda recipe, logits, labels: 1.1 * logits.sum(-1))
    run = speedrun.main([*TINY, "--contenders", "jaxnn", "--out", str(tmp_path)])
    assert [row.status for row in run.rows] == ["wrong"]


def colours(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images with a disc whose colour is the class, anywhere, on a noisy background."""
    random = np.random.default_rng(seed)
    y = random.integers(0, CLASSES, n).astype(np.int32)
    x = random.integers(96, 160, (n, SIDE, SIDE, 3))
    middle = random.integers(8, 24, (2, n, 1, 1))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    inside = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 < 100
    palette = np.array([[255 * (i >> bit & 1) for bit in range(3)] for i in range(8)] + [[96] * 3, [160] * 3])
    x[inside] = np.broadcast_to(palette[y][:, None, None], x.shape)[inside]
    return x.astype(np.uint8), y


LEARNS = Recipe(batch=32, epochs=5, widths=(8, 8, 8), rate=60, views=2)


@pytest.fixture(scope="module")
def discs() -> Images:
    return Images(*colours(512, 0), *colours(200, 1))


@pytest.mark.parametrize("dtype", ["float32", deep("bfloat16")])
def test_a_whole_run_learns(discs, dtype):
    """A random guess is right for a tenth of them."""
    run = ours.whole(replace(LEARNS, dtype=dtype), discs)
    assert run(0) > 0.5


@torch
def test_pytorch_learns_too(discs):
    from benchmarks.cifar import pytorch

    assert pytorch.whole(LEARNS, discs)(0) > 0.5


def test_whole_runs_of_a_folder(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(folder, "ROWS", 40)
    written(tmp_path / "cifar-10-batches-bin")
    few = ["--shapes", "tiny", "--data", str(tmp_path), "--runs", "2", "--contenders", "jaxnn"]
    monkeypatch.setattr(sys, "argv", ["speedrun", *few])
    run = speedrun.main([*few, "--out", str(tmp_path / "out")])
    (row,) = run.rows
    assert (row.status, row.mode, row.n, row.examples) == ("timed", "run", 2, 200)
    assert row.note.startswith("test accuracy ")
    assert row.note.endswith(" in 2 runs")
    assert "s per run" in capsys.readouterr().out
    assert str(tmp_path) not in (tmp_path / "out" / f"{run.stem}.json").read_text()


@pytest.mark.parametrize("written", [["--data", "."], ["--data=."], ["--data", "./home//me/"]])
def test_the_folder_of_the_data_is_in_no_file(monkeypatch, written):
    monkeypatch.setattr(sys, "argv", ["speedrun", *written, "--epochs", "0.5"])
    found = speedrun.described(argparse.Namespace(data=Path(written[-1].removeprefix("--data="))))
    assert found["command"].split()[-3] in ("FOLDER", "--data=FOLDER")
    assert found["command"].endswith("--epochs 0.5")
    assert found["options"]["data"] == "FOLDER"


def test_flags_have_no_short_forms(capsys):
    with pytest.raises(SystemExit):
        speedrun.main(["--dat", "home"])
    assert "unrecognized arguments: --dat home" in capsys.readouterr().err


def test_moved_is_a_shift_with_reflected_edges():
    images = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)
    index, shifts = np.array([4, 0, 2]), np.array([(2, -1), (0, 0), (-2, 2)])
    mirrored = np.array([False, True, True])
    found = ours.moved(jnp.asarray(images), ours.Moves(*map(jnp.asarray, (index, shifts, mirrored))))
    for image, row, (down, right), mirror in zip(found, index, shifts, mirrored, strict=True):
        padded = np.pad(images[row], ((2, 2), (2, 2), (0, 0)), mode="reflect")
        wanted = padded[2 + down :, 2 + right :][:SIDE, :SIDE]
        np.testing.assert_array_equal(image, wanted[:, ::-1] if mirror else wanted)


def test_each_epoch_has_every_image_once_and_every_second_one_mirrors_it():
    made = Recipe(batch=8)
    moves = ours.drawn(made, jax.random.key(0), 32, 10)
    index, mirrored = np.asarray(moves.index), np.asarray(moves.mirrored)
    assert index.shape == (10, 8)
    for start in (0, 4):
        assert sorted(index[start : start + 4].ravel()) == list(range(32))
    first, second = (
        dict(zip(index[s].ravel(), mirrored[s].ravel(), strict=True)) for s in (slice(4), slice(4, 8))
    )
    assert all(first[i] != second[i] for i in range(32))
    assert 0 < mirrored.mean() < 1
    assert np.abs(moves.shifts).max() == made.translate


def test_whitened_patches_are_uncorrelated():
    images, _ = colours(64, 3)
    filters = ours.whitening(jnp.asarray(images))
    assert filters.shape == (2, 2, 3, 24)
    x = nn.ops.conv(ours.normalised(jnp.asarray(images)), filters[..., :12]).reshape(-1, 12)
    np.testing.assert_allclose(x.T @ x / len(x), np.eye(12), atol=0.02)
    np.testing.assert_array_equal(filters[..., 12:], -filters[..., :12])


def test_convolutions_begin_as_the_identity():
    kernel = ours.dirac(jax.random.key(0), (3, 3, 4, 6))
    x = jax.random.normal(jax.random.key(1), (1, 5, 5, 4))
    y = nn.ops.conv(x, kernel, padding="SAME")
    np.testing.assert_allclose(y[..., :4], x, rtol=1e-6)
    assert (jnp.abs(y[..., 4:]) > 0).any()
    assert ours.dirac(jax.random.key(0), (3, 3, 6, 4)).shape == (3, 3, 6, 4)


def test_lookahead_moves_the_slow_params_every_fifth_step_and_less_and_less():
    fast, slow = jnp.ones(2), jnp.zeros(2)
    unchanged = ours.lookahead(20, jnp.array(4), fast, slow)
    np.testing.assert_array_equal(unchanged, [fast, slow])
    early, late = (ours.lookahead(20, jnp.array(step), fast, slow) for step in (5, 20))
    np.testing.assert_allclose(early, np.full((2, 2), 1 - 0.95**5 / 64), rtol=1e-6)
    np.testing.assert_allclose(late, np.full((2, 2), 1 - 0.95**5), rtol=1e-6)


def start(made: Recipe, data: Images) -> nn.TrainState:
    params = ours.init(made, jax.random.key(0), jnp.asarray(data.x))
    return nn.init_state(ours.net(made), ours.optimizer(made, len(data.x)), jax.random.key(1), params=params)


def test_the_biases_of_whitened_patches_are_trained_at_first(discs):
    made = Recipe(batch=128, widths=(4, 4, 4), shift_epochs=0.5)
    x, y, begin = jnp.asarray(discs.x), jnp.asarray(discs.y), start(made, discs)

    def shift(steps: int) -> np.ndarray:
        state, _, losses = ours.trained(made, steps, begin, jax.random.key(2), x, y)
        assert losses.shape == (steps,)
        assert int(state.step) == steps
        return state.params.weights["shift"]["bias"]

    assert (shift(1) != 0).any()
    assert (shift(2) != shift(1)).any()
    np.testing.assert_array_equal(shift(3), shift(2))


def test_on_a_gpu_a_step_has_no_branch_and_scatters_nothing():
    made = Recipe(batch=16, widths=(4, 8, 8))
    data = speedrun.noise(64, 1)
    arrays = jax.eval_shape(
        lambda: (start(made, data), jax.random.key(0), jnp.zeros((64, SIDE, SIDE, 3), np.uint8))
    )
    traced = jax.jit(lambda *args: ours.trained(made, 20, *args)).trace(
        *arrays, jax.ShapeDtypeStruct((64,), np.int32)
    )
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.convolution" in text
    assert "stablehlo.while" in text
    for name in ("case", "if", "select_and_scatter", "scatter", "custom_call"):
        assert f"stablehlo.{name}" not in text


def test_the_rate_is_a_triangle_and_the_decay_is_independent_of_it():
    made = Recipe()
    assert made.steps(50_000) == 476
    assert made.peak("kernel") == pytest.approx(1.5)
    decays = [made.peak(kind) * made.pull(kind) for kind in ("kernel", "bias", "shift")]
    assert decays == pytest.approx([0.0153 / (1 + 1 / 0.15)] * 3)
    places, heights = made.triangle(50_000)
    assert (places[0], places[-1]) == (0, 476)
    assert (heights[0], heights[-1]) == (recipe.START, recipe.END)


# The data set


def rows(n: int, seed: int) -> tuple[np.ndarray, list[int]]:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (n, folder.PIXELS), np.uint8), random.integers(0, CLASSES, n).tolist()


def written(place, suffix: str = ".bin"):
    """Files of 40 rows; returns their pixels and classes."""
    place.mkdir(parents=True, exist_ok=True)
    found = [rows(40, seed) for seed in range(6)]
    for name, (pixels, labels) in zip((*folder.TRAINING, folder.TEST), found, strict=True):
        if suffix == ".bin":
            np.concatenate([np.array(labels, np.uint8)[:, None], pixels], 1).tofile(place / f"{name}.bin")
        else:
            (place / name).write_bytes(of_python_2(pixels, labels))
    return found


def of_python_2(pixels: np.ndarray, labels: list[int]) -> bytes:
    """A pickle as Python 2 wrote them for CIFAR-10, opcode by opcode."""
    text = lambda word: b"U" + bytes([len(word)]) + word  # noqa: E731
    number = lambda n: b"M" + n.to_bytes(2, "little")  # noqa: E731
    dtype = (
        b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
        + b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )  # fmt: skip
    raw = pixels.tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + b"K\x00\x85" + text(b"b") + b"\x87R"
        + b"(K\x01" + number(pixels.shape[0]) + number(pixels.shape[1]) + b"\x86" + dtype + b"\x89"
        + b"T" + len(raw).to_bytes(4, "little") + raw + b"tb"
    )  # fmt: skip
    listed = b"](" + b"".join(b"K" + bytes([y]) for y in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + listed + b"u."


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(folder, "ROWS", 40)


@pytest.mark.parametrize(("name", "suffix"), [("cifar-10-batches-bin", ".bin"), ("cifar-10-batches-py", "")])
@pytest.mark.parametrize("within", [True, False])
def test_both_versions_are_read(small, tmp_path, name, suffix, within):
    found = written(tmp_path / name, suffix)
    data = folder.read(tmp_path if within else tmp_path / name)
    assert (data.x.shape, data.test_x.shape) == ((200, SIDE, SIDE, 3), (40, SIDE, SIDE, 3))
    pixels, labels = found[1]
    np.testing.assert_array_equal(data.x[40, 3, 5], pixels[0].reshape(3, SIDE, SIDE)[:, 3, 5])
    np.testing.assert_array_equal(data.y[40:80], labels)
    np.testing.assert_array_equal(data.test_y, found[5][1])


def test_a_pickle_of_python_3_is_read(small):
    pixels, labels = rows(40, 0)
    # Protocol 3 is the first that has bytes, and NumPy writes arrays in it as it does for Python 2.
    content = pickle.dumps({b"data": pixels, b"labels": labels}, protocol=3)
    found = folder.pickled(content)
    np.testing.assert_array_equal(found[0].reshape(40, -1), pixels)
    np.testing.assert_array_equal(found[1], labels)


class Renamed(pickle.Unpickler):
    """Reads ``numpy.core`` under its new name: importing the old one warns, in other tests too."""

    def find_class(self, module, name):
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def test_the_pickle_by_hand_is_one_that_python_reads():
    """Otherwise the test above would prove little."""
    pixels, labels = rows(40, 0)
    found = Renamed(BytesIO(of_python_2(pixels, labels)), encoding="bytes").load()
    np.testing.assert_array_equal(found[b"data"], pixels)
    assert found[b"labels"] == labels


class Evil:
    def __reduce__(self):
        return print, ("called",)


def test_nothing_that_a_pickle_names_is_called(small, capsys):
    with pytest.raises(ValueError, match=r"names nothing but NumPy's arrays, got builtins\.print"):
        folder.pickled(pickle.dumps({b"data": Evil(), b"labels": []}, protocol=3))
    assert "called" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not a whole pickle"),
        (of_python_2(*rows(40, 0))[:-100], "not a whole pickle"),
        (pickle.dumps([1]), "must hold a dict with data and labels"),
        (of_python_2(*rows(39, 0)), r"data must be bytes of shape \(40, 3072\)"),
        (of_python_2(rows(40, 0)[0], [1] * 39), "labels must be a list of 40 ints"),
        (pickle.dumps({b"data": np.zeros((40, 3072)), b"labels": []}, 3), "data must be bytes of shape"),
        (pickle.dumps({b"data": [1], b"labels": []}, 3), "data must be bytes of shape"),
        (pickle.dumps({b"data": np.asfortranarray(rows(40, 0)[0]), b"labels": []}, 3), "row by row"),
    ],
)  # fmt: skip
def test_other_pickles_are_refused_in_a_sentence(small, content, sentence):
    with pytest.raises(ValueError, match=sentence):
        folder.pickled(content)


def test_what_is_missing_or_cut_off_is_named(small, tmp_path):
    with pytest.raises(
        ValueError, match="must hold CIFAR-10 as in cifar-10-batches-bin or cifar-10-batches-py"
    ):
        folder.read(tmp_path)
    place = tmp_path / "cifar-10-batches-bin"
    written(place)
    (place / "data_batch_3.bin").write_bytes((place / "data_batch_3.bin").read_bytes()[:-1])
    with pytest.raises(
        ValueError, match=r"data_batch_3\.bin: must have 122,920 bytes \(40 records\), got 122,919"
    ):
        folder.read(tmp_path)
    (place / "data_batch_3.bin").unlink()
    with pytest.raises(ValueError, match=r"data_batch_3\.bin: cannot be read \(No such file or directory\)"):
        folder.read(tmp_path)


def test_a_class_that_there_is_not_is_refused(small, tmp_path):
    place = tmp_path / "cifar-10-batches-bin"
    written(place)
    content = (place / "test_batch.bin").read_bytes()
    (place / "test_batch.bin").write_bytes(b"\x0a" + content[1:])
    with pytest.raises(ValueError, match=r"test_batch\.bin: classes must be from 0 to 9"):
        folder.read(tmp_path)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--data", "nowhere"], "--data: nowhere: must hold CIFAR-10"),
        (["--epochs", "inf"], "--epochs: must be finite, got inf"),
        (["--batch", "100"], "--batch: must be from 1 to the 64 examples, got 100"),
        (
            ["--contenders", "flax"],
            "--contenders: here of jaxnn, torch channels_last, torch compile, got flax",
        ),
        (
            ["--contenders", "jaxnn", "flax"],
            "--contenders: here of jaxnn, torch channels_last, torch compile, ",
        ),
        (["--seconds", "-1"], "argument --seconds: must be above 0, got -1"),
    ],
)
def test_flags_that_cannot_be_met_end_in_a_sentence(flags, sentence, capsys):
    with pytest.raises(SystemExit):
        speedrun.main(["--shapes", "tiny", *flags])
    assert sentence in capsys.readouterr().err
