"""Reads CIFAR-10 from a folder, in the binary or the Python version of its authors.

The Python version is pickled. Of a pickle, this reads the containers, numbers and bytes that such a file
consists of. What rebuilds NumPy's arrays is replaced by stand-ins that only note what they are given, and any
other name ends the reading, so nothing that a file names is ever called.
"""

import pickle
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cifar.recipe import CLASSES, SIDE, Images

#: Of each file of the data set.
ROWS = 10_000
PIXELS = 3 * SIDE * SIDE
TRAINING = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST = "test_batch"


def read(folder: Path) -> Images:
    """The data set in ``folder``, or in the folder of its archive within; raises a sentence otherwise."""
    for name, suffix, parse in VERSIONS:
        for place in (folder, folder / name):
            if (place / f"{TEST}{suffix}").is_file():
                return _read(place, suffix, parse)
    names = " or ".join(name for name, *_ in VERSIONS)
    raise ValueError(f"{folder}: must hold CIFAR-10 as in {names}, there is no {TEST} or {TEST}.bin")


Parse = Callable[[bytes], tuple[np.ndarray, np.ndarray]]


def _read(folder: Path, suffix: str, parse: Parse) -> Images:
    parts = [_file(folder / f"{name}{suffix}", parse) for name in (*TRAINING, TEST)]
    x, y = (np.concatenate(arrays) for arrays in zip(*parts[:-1], strict=True))
    return Images(x, y, *parts[-1])


def _file(path: Path, parse: Parse) -> tuple[np.ndarray, np.ndarray]:
    """The images of a file, channels last, and their classes."""
    try:
        pixels, labels = parse(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if labels.max(initial=0) >= CLASSES or labels.min(initial=0) < 0:
        raise ValueError(f"{path}: classes must be from 0 to {CLASSES - 1}, got one that is not")
    x = pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(x), labels.astype(np.int32)


def binary(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Records of a byte for the class and one for each pixel."""
    size = ROWS * (1 + PIXELS)
    if len(content) != size:
        raise ValueError(f"must have {size:,} bytes ({ROWS:,} records), got {len(content):,}")
    records = np.frombuffer(content, np.uint8).reshape(ROWS, 1 + PIXELS)
    return records[:, 1:], records[:, 0]


def pickled(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """A pickled dict with an array ``data`` and a list ``labels``."""
    try:
        found = _Reader(content).load()
    except ValueError:
        raise
    except Exception as error:  # whatever a broken pickle leads to
        raise ValueError(f"not a whole pickle ({type(error).__name__}: {error})") from error
    if not isinstance(found, dict) or not {b"data", b"labels"} <= found.keys():
        raise ValueError("must hold a dict with data and labels, got something else")
    data, labels = found[b"data"], found[b"labels"]
    if not isinstance(data, _Array) or data.shape != (ROWS, PIXELS) or data.code not in (b"u1", "u1"):
        raise ValueError(f"data must be bytes of shape {(ROWS, PIXELS)}, got something else")
    if not isinstance(data.content, bytes) or len(data.content) != ROWS * PIXELS or data.by_columns:
        raise ValueError(f"data must be {ROWS * PIXELS:,} bytes row by row, got something else")
    if not isinstance(labels, list) or len(labels) != ROWS or not all(type(y) is int for y in labels):
        raise ValueError(f"labels must be a list of {ROWS:,} ints, got something else")
    return np.frombuffer(data.content, np.uint8), np.array(labels)


class _Array:
    """What a pickle says of an array."""

    shape: Any = None
    code: Any = None
    content: Any = None
    by_columns: Any = None

    def __setstate__(self, state: Any) -> None:
        _, self.shape, dtype, self.by_columns, self.content = state
        self.code = dtype.code if isinstance(dtype, _Dtype) else None


class _Dtype:
    """What a pickle says of a dtype; single bytes have no order, the only thing that its state would add."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code

    def __setstate__(self, state: Any) -> None:
        pass


def _array(*_: Any) -> _Array:
    return _Array()


#: By name of NumPy's the stand-in; the module of the first was renamed in NumPy 2.
STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
}


class _Reader(pickle.Unpickler):
    """Knows the names of ``STAND_INS``, none of which it imports."""

    def __init__(self, content: bytes) -> None:
        super().__init__(BytesIO(content), encoding="bytes")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise ValueError(f"a pickle of CIFAR-10 names nothing but NumPy's arrays, got {module}.{name}")
        return STAND_INS[module, name]


#: The folder of each archive, the suffix of its files, how they are read.
VERSIONS: tuple[tuple[str, str, Parse], ...] = (
    ("cifar-10-batches-bin", ".bin", binary),
    ("cifar-10-batches-py", "", pickled),
)
