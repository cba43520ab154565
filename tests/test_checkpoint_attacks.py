"""Files made to mislead: each is refused in one sentence, or holds exactly what was saved."""

import itertools
import json
import math
import re
import subprocess
import sys
import warnings
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.checkpoint import archive, load, save
from jaxnn.params import Params
from tests.support import KNOWN_ANSWERS

SENTENCE = re.compile(r"load: the file must be a whole checkpoint of jaxnn, got '.*net\.npz': [^\n]{1,600}")


def tree():
    return {"x": jnp.arange(5.0), "y": {"z": jnp.ones((2, 3), jnp.bfloat16), "none": None}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.npz"


def assert_refused(path, because="load"):
    with pytest.raises(ValueError, match=because) as got:
        load(path)
    assert SENTENCE.fullmatch(str(got.value)), str(got.value)


def assert_refused_or_same(path, expected):
    """True if the file was refused."""
    try:
        restored = load(path)
    except ValueError as refusal:
        sentence = str(refusal)
        restored = None
    if restored is None:
        assert SENTENCE.fullmatch(sentence), sentence
        return True
    assert jax.tree.structure(restored) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_array_equal(a, b)
    return False


def header(**fields):
    """A good header for ``write``'s array, with other fields; None in place of one leaves it out."""
    good = {
        "format": "jaxnn checkpoint",
        "version": 1,
        "root": "dict",
        "dtypes": {"x": "float32"},
        "empty": {},
    }
    return {name: value for name, value in (good | fields).items() if value is not None}


def npy(shape="(3,)", descr="'<f4'", order="False", data=bytes(12), version=b"\1\0"):
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode("latin-1")
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + data


def write(path, header, members=None, compression=zipfile.ZIP_STORED):
    """An archive whose checksums and sizes are right."""
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("jaxnn.json", header if isinstance(header, bytes | str) else json.dumps(header))
        for name, data in [("x.npy", npy())] if members is None else members:
            file.writestr(name, data)


def test_what_the_attacks_start_from_is_sound(path):
    write(path, header())
    assert load(path)["x"].tolist() == [0, 0, 0]


def test_version_1_as_it_was_first_written_comes_back():
    restored = load(KNOWN_ANSWERS / "checkpoint_version_1.npz")
    assert isinstance(restored, Params)
    weights, state = restored
    assert weights["relu_0"] == {}
    assert weights["none"] is None
    expected = {
        "weights/conv_0/kernel": (weights["conv_0"]["kernel"], np.arange(12.0).reshape(3, 2, 2), "float32"),
        "weights/conv_0/bias": (weights["conv_0"]["bias"], np.ones(2), "bfloat16"),
        "weights/a~1b~0c/": (weights["a/b~c"][""], np.array(3), "float16"),
        "weights/a~1b~0c/ü": (weights["a/b~c"]["ü"], np.zeros((0, 3)), "int8"),
        "weights/fortran": (weights["fortran"], np.arange(6).reshape(2, 3).T, "float32"),
        "weights/signs": (weights["signs"], np.array([-8, 7]), "int4"),
        "weights/mask": (weights["mask"], np.array([True, False]), "bool"),
        "state/mean": (state["batch_norm_0"]["mean"], np.zeros(2), "float32"),
        "state/count": (state["batch_norm_0"]["count"], np.array(7), "int32"),
        "state/e5m2": (state["e5m2"], np.ones(1), "float8_e5m2"),
        "state/z": (state["z"], np.array(1 - 2j), "complex64"),
    }
    for name, (array, values, dtype) in expected.items():
        assert array.dtype.name == dtype, name
        assert array.shape == values.shape, name
        np.testing.assert_array_equal(np.asarray(array).astype(values.dtype), values, err_msg=name)
    assert state["key"] == jax.random.key(3)


# Bytes ---------------------------------------------------------------------------------------------------


def test_no_cut_passes(path):
    save(path, tree())
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert_refused(path)
    for more in (b"\0", b"PK", whole):
        path.write_bytes(whole + more)
        assert_refused(path)
        path.write_bytes(more + whole)
        assert_refused(path)


def test_no_changed_byte_passes(path):
    save(path, tree())
    whole = path.read_bytes()
    refused = 0
    for index, value in itertools.product(range(len(whole)), (1, 0x80, 0xFF)):
        changed = bytearray(whole)
        changed[index] ^= value
        path.write_bytes(changed)
        refused += assert_refused_or_same(path, tree())
    assert refused > 0.8 * 3 * len(whole)


def test_no_bytes_in_another_place_pass(path):
    save(path, tree())
    whole = path.read_bytes()
    draw = np.random.default_rng(0)
    for _ in range(400):
        start, stop, to = sorted(draw.integers(0, len(whole), 3).tolist())
        for changed in (
            whole[:start] + whole[stop:],
            whole[:to] + whole[start:stop] + whole[to:],
            whole[:start] + bytes(stop - start) + whole[stop:],
        ):
            path.write_bytes(changed)
            assert_refused_or_same(path, tree())


@pytest.mark.parametrize("value", [0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF])
def test_no_size_or_place_in_the_directory_can_be_changed(path, value):
    save(path, tree())
    whole = path.read_bytes()
    records = [x.start() for x in re.finditer(b"PK\1\2|PK\3\4|PK\5\6", whole)]
    for start, offset in itertools.product(records, range(4, 46, 2)):
        for size in (2, 4):
            changed = bytearray(whole)
            changed[start + offset : start + offset + size] = value.to_bytes(8, "little")[:size]
            path.write_bytes(changed[: len(whole)])
            assert_refused_or_same(path, tree())


# Headers -------------------------------------------------------------------------------------------------

HEADERS = {
    "": "must be JSON",
    "{": "must be JSON",
    b"\xff": "must be JSON",
    "[" * 100_000: "must be JSON",
    '{"a":' * 100_000: "must be JSON",
    '{"format": "jaxnn checkpoint", "format": "jaxnn checkpoint"}': "an entry stands twice",
    '{"format": "jaxnn checkpoint", "version": ' + "9" * 5000 + "}": "must be JSON",
    "null": "its format",
    "[]": "its format",
    '"jaxnn checkpoint"': "its format",
    "{}": "its format",
    **{
        json.dumps(header(version=version)): "its version must be a positive integer"
        for version in (0, -1, 1.0, True, "1", [], {}, math.nan, math.inf)
    },
    json.dumps(header(version=None)): "its version must be a positive integer",
    json.dumps(header(version=2)): "it is of version '2' of the format, this jaxnn reads up to 1",
    json.dumps(header(extra=1)): "must have the entries",
    **{json.dumps(header(**{field: None})): "must have the entries" for field in ("root", "dtypes", "empty")},
    **{
        json.dumps(header(root=root)): "its root must be one of Params, dict, array"
        for root in ("list", "", 1, [], {}, ["dict"])
    },
    json.dumps(header(root="array")): "must hold one array, with the path ''",
    json.dumps(header(root="array", dtypes={})): "must hold one array, with the path ''",
    json.dumps(header(root="array", dtypes={"": "float32"}, empty={"a": {}})): "must hold one array",
    json.dumps(header(root="Params")): "must hold weights and state",
    json.dumps(header(root="Params", dtypes={}, empty={"weights": {}})): "must hold weights and state",
    json.dumps(header(root="Params", empty={"weights": {}, "state": {}})): "must hold weights and state",
    **{json.dumps(header(dtypes=dtypes)): "its dtypes must be" for dtypes in ([], "x", 1, {"x": 1})},
    **{
        json.dumps(header(empty=empty)): "its empty branches must be"
        for empty in ([], "x", 1, *({"e": branch} for branch in (0, [], {"a": 1}, False, "")))
    },
    json.dumps(header(dtypes={"x": "float32", "x/y": "float32"})): "a branch as well, got 'x' as both",
    json.dumps(header(empty={"x/y": None})): "be a branch as well, got 'x' as both",
    json.dumps(header(empty={"x": None})): "the path of each leaf must be its own, got 'x' twice",
    json.dumps(header(empty={"a~2": None})): "in a path ~ must stand as ~0",
    json.dumps(header(empty={"a\0": None})): "must not hold a NUL",
    json.dumps(header(empty={"\ud800": None})): "must be text that UTF-8 can encode",
    json.dumps(header(empty={"k" * 70_000: None})): "must have at most 65531 bytes",
    json.dumps(header(empty={"/" * 30_000: None})): "must be at most 200 levels deep",
    json.dumps(header(dtypes={})): r"its arrays are not those that jaxnn\.json lists",
    json.dumps(header(dtypes={"x": "float32", "y": "float32"})): "its arrays are not those",
    **{
        json.dumps(header(dtypes={"x": dtype})): "'x' is of the unknown dtype"
        for dtype in ("", "f4", "float", "float128", "object", "i4,i4", "timedelta64", "k" * 999)
    },
    json.dumps(header(dtypes={"x": "int32"})): "'x' is an array of <f4 that should hold int32",
    json.dumps(header(dtypes={"x": "bfloat16"})): "'x' is an array of <f4 that should hold bfloat16",
    json.dumps(header(dtypes={"x": "key/nothing"})): "'x' must hold keys of an implementation of JAX",
    json.dumps(header(dtypes={"x": "key/"})): "'x' must hold keys of an implementation of JAX",
    json.dumps(header(dtypes={"x": "key/threefry2x32"})): "'x' must hold keys of an implementation of JAX",
}  # fmt: skip


@pytest.mark.parametrize("text", HEADERS, ids=range(len(HEADERS)))
def test_every_fault_of_a_header_is_named(path, text):
    write(path, text)
    assert_refused(path, HEADERS[text])


FORM = "does not have the dtype, order and shape of an array"
ARRAYS = [
    (b"", "isn't an array in NumPy's format"),
    (b"\x93NUMPY", "isn't an array in NumPy's format"),
    (b"\x80\x04N.", "isn't an array in NumPy's format"),
    (npy(version=b"\2\0"), "isn't an array in NumPy's format"),
    (npy()[:9], "isn't an array in NumPy's format"),
    (npy()[:-1], r"must have 12 bytes for shape \(3,\), got 11"),
    (npy(data=bytes(13)), r"must have 12 bytes for shape \(3,\), got 13"),
    (npy("(1000000000000,)"), r"must have 4000000000000 bytes for shape \(1000000000000,\), got 12"),
    (npy("()"), r"must have 4 bytes for shape \(\), got 12"),
    (npy("(9223372036854775808,)"), "longer ones, than a computer can hold"),
    (npy("(0, 99999999999999999999)", data=b""), "longer ones, than a computer can hold"),
    (npy("(65536, 65536, 65536, 65536)"), "longer ones, than a computer can hold"),
    (npy("(" + "9" * 5000 + ",)"), "too many axes, or longer ones"),
    (npy("(" + ", ".join("1" * 60) + ")", data=bytes(4)), "too many axes, or longer ones"),
    *((npy(shape), FORM) for shape in ("(-3,)", "(True,)", "(3.0,)", "(3)", "3", "[3]", "(3,3,)", "(1e12,)")),
    *((npy(shape), FORM) for shape in ("(3L,)", "None", "(" * 500, "'3'", "(\xb3,)", "(0x3,)", "( 3,)")),
    *((npy(descr=descr), FORM) for descr in ("'|O'", "'>f4'", "'=f4'", "'f4'", "'<f'", "None", "1")),
    *((npy(descr=descr), FORM) for descr in ("[('a', '<f4')]", "('<f4', (1,))", "'<i4,<i4'")),
    *((npy(descr=descr), "is of the unknown dtype") for descr in ("'<f99'", "'<q4'")),
    *((npy(descr=descr), "should hold float32|must have") for descr in ("'<f8'", "'<f2'", "'<i4'", "'|u1'")),
    *((npy(descr=descr), FORM) for descr in ("'|V4'", "'|S4'", "'<U1'", "'<M8[s]'")),
    (npy(order="0"), FORM),
    (npy().replace(b"{'descr'", b"{'DESCR'"), FORM),
]


@pytest.mark.parametrize("number", range(len(ARRAYS)))
def test_every_fault_of_an_array_is_named(path, number):
    data, sentence = ARRAYS[number]
    write(path, header(), [("x.npy", data)])
    assert_refused(path, sentence)


def test_values_that_are_neither_true_nor_false_are_refused(path):
    write(path, header(dtypes={"x": "bool"}), [("x.npy", npy(descr="'|b1'", data=b"\0\1\2"))])
    assert_refused(path, "'x' must hold 0 or 1 for False or True, got 2")


def test_a_sparse_file_larger_than_the_memory_is_refused(path, monkeypatch):
    def refuse(size):
        raise MemoryError

    monkeypatch.setattr("jaxnn.checkpoint.placing._empty", refuse)
    write(path, header())
    assert_refused(path, "'x' needs 12 bytes of memory, more than there are")


def test_members_that_no_checkpoint_has_are_refused(path):
    for members in (
        [("x.npy", npy()), ("x.npy", npy())],
        [("x.npy", npy()), ("jaxnn.json", json.dumps(header()))],
        [("x.npy", npy()), ("y.npy", npy())],
        [("x.npy", npy()), ("x", b"")],
        [("x", npy())],
        [("X.npy", npy())],
        [("../x.npy", npy())],
        [],
    ):
        write(path, header(), members)
        assert_refused(path, "twice|its arrays are not those")


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members_are_never_unpacked(path, compression):
    write(path, header(), compression=compression)
    assert_refused(path, "its member .* must be neither compressed nor encrypted")


def test_a_header_out_of_all_proportion_is_not_parsed(path, monkeypatch):
    monkeypatch.setattr("jaxnn.checkpoint.header.LIMIT", 1000)
    write(path, header(empty={"e" * 3000: None}))
    assert_refused(path, r"its jaxnn\.json is larger than that of so few arrays can be")
    with pytest.raises(ValueError, match="save: the paths of empty branches must take at most 500 bytes"):
        save(path, {"e" * 3000: None})


# What is too large for the fields of 32 bits --------------------------------------------------------------


@pytest.mark.parametrize("limits", [{"LIMIT32": 140}, {"LIMIT32": 300}, {"LIMIT16": 1}, {"LIMIT32": 0}])
def test_wide_fields_are_read_by_us_and_by_others(path, monkeypatch, limits):
    with monkeypatch.context() as patched:
        for name, value in limits.items():
            patched.setattr(archive, name, value)
        save(path, tree())
    assert not assert_refused_or_same(path, tree())
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
    with np.load(path) as arrays:
        np.testing.assert_array_equal(arrays["x"], np.arange(5))


# Memory --------------------------------------------------------------------------------------------------

MEASURED = """
import resource, sys
import jax, numpy as np
from jaxnn.checkpoint import load, save

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

path, form = sys.argv[1:]
size = 64  # MiB
array = np.ones((size // 4, 2**20), np.float32)
tree = {
    "numpy": lambda: {"x": array},
    "jax": lambda: {"x": jax.device_put(array)},
    "bfloat16": lambda: {"x": jax.device_put(array.view(jax.numpy.bfloat16))},
    "transposed": lambda: {"x": array.T},
    "many": lambda: {str(i): row for i, row in enumerate(array)},
}[form]()
save(path, {"x": np.ones(2, np.float32)})
jax.block_until_ready(load(path))
jax.block_until_ready(tree)
before = peak()
save(path, tree)
saving = peak() - before
before = peak()
restored = load(path)
print(saving, peak() - before, size)
"""


@pytest.mark.parametrize("form", ["numpy", "jax", "bfloat16", "many"])
def test_no_second_copy_is_made(path, form):
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(path), form], check=True, capture_output=True, text=True
    )
    saving, loading, size = map(int, done.stdout.split())
    assert saving <= 0.2 * size
    assert loading <= 1.2 * size
