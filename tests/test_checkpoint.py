"""Saving and loading: what comes back is what went in, and a broken or foreign file is never accepted."""

import errno
import io
import json
import os
import pickle
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import zipfile
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxnn.checkpoint import load, save
from jaxnn.params import Params

REAL = ["float8_e4m3fn", "float8_e5m2", "bfloat16", "float16", "float32"]
INTEGERS = ["int4", "uint4", "int8", "uint8", "int16", "uint16", "int32", "uint32"]


def example_params() -> Params:
    weights = {
        "conv_0": {"kernel": jnp.arange(12.0).reshape(3, 2, 2), "bias": jnp.ones(2, jnp.bfloat16)},
        "relu_0": {},
        "a/b~c": {"": jnp.float16(3), "ü": jnp.zeros((0, 3), jnp.int8)},
    }
    return Params(weights, {"batch_norm_0": {"mean": jnp.zeros(2), "count": jnp.int32(7)}})


def assert_same(actual, expected) -> None:
    chex.assert_trees_all_equal_structs(actual, expected)
    chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)
    chex.assert_trees_all_equal(actual, expected)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.npz"


def test_params_come_back(path):
    save(path, example_params())
    assert_same(load(path), example_params())
    assert_same(load(path, like=example_params()), example_params())


def test_like_may_be_shapes_alone(path):
    save(path, example_params())
    assert_same(load(path, like=jax.eval_shape(example_params)), example_params())


def test_parameters_without_arrays_come_back(path):
    for params in (Params({}, {}), Params({"relu_0": {}, "none": None}, {})):
        save(path, params)
        assert load(path) == params
        assert load(path, like=params) == params


def test_a_lone_array_comes_back(path):
    save(path, jnp.arange(3))
    assert_same(load(path), jnp.arange(3))
    save(path, {"": jnp.arange(3)})
    assert_same(load(path), {"": jnp.arange(3)})


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS, *REAL, "complex64"])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3)])
def test_every_dtype_and_size_comes_back(path, dtype, shape):
    array = jnp.asarray(np.arange(int(np.prod(shape))).reshape(shape) % 2, jnp.dtype(dtype))
    save(path, {"x": array})
    restored = load(path)["x"]
    assert restored.dtype == array.dtype
    assert restored.shape == shape
    assert np.asarray(restored).tobytes() == np.asarray(array).tobytes()


def test_not_a_number_and_the_sign_of_zero_come_back(path):
    odd = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 1e-45], np.float32)
    for dtype in (np.float32, jnp.bfloat16):
        save(path, {"x": odd.astype(dtype)})
        assert np.asarray(load(path)["x"]).tobytes() == odd.astype(dtype).tobytes()


@pytest.mark.parametrize("dtype", ["float64", "int64", "uint64", "complex128"])
def test_double_precision_comes_back_or_is_refused(path, dtype):
    tree = {"x": np.arange(3).astype(dtype)}
    save(path, tree)
    with jax.enable_x64(True):
        assert_same(load(path), jax.tree.map(jnp.asarray, tree))
    with pytest.raises(ValueError, match=rf"load: 64-bit numbers need .*jax_enable_x64.* got {dtype} at 'x'"):
        load(path)


def test_numpy_arrays_of_any_layout_come_back(path):
    array = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
    layouts = [array, array.T, array[:, ::2], np.asfortranarray(array), array.astype(">f4"), array[0, 0, 0]]
    save(path, layouts)
    for restored, layout in zip(load(path, like=[np.float32(0) + x for x in layouts]), layouts, strict=True):
        np.testing.assert_array_equal(restored, layout)


def test_typed_keys_come_back(path):
    keys = {
        "one": jax.random.key(3),
        "many": jax.random.split(jax.random.key(1), 4),
        "rbg": jax.random.key(5, impl="rbg"),
    }
    save(path, keys)
    restored = load(path, like=jax.eval_shape(lambda: keys))
    assert {name: x.dtype for name, x in restored.items()} == {name: x.dtype for name, x in keys.items()}
    assert_same(jax.tree.map(jax.random.key_data, restored), jax.tree.map(jax.random.key_data, keys))


class Pair(NamedTuple):
    left: object
    right: object


def test_other_trees_need_like_to_keep_their_kind(path):
    tree = Pair([jnp.ones(1), (jnp.zeros(2), None)], {3: jnp.int32(1)})
    save(path, tree)
    assert_same(load(path, like=tree), tree)
    dicts = {"left": {"0": jnp.ones(1), "1": {"0": jnp.zeros(2), "1": None}}, "right": {"3": jnp.int32(1)}}
    assert_same(load(path), dicts)


def test_an_optimiser_comes_back(path):
    weights = example_params().weights["conv_0"]
    state = optax.adam(optax.linear_schedule(1.0, 0.1, 10)).init(weights)
    save(path, (weights, state))
    assert_same(load(path, like=(weights, state)), (weights, state))


trees = st.recursive(
    st.sampled_from([np.ones(2, np.float32), np.int8(4), jnp.zeros((0, 2), jnp.bfloat16)]),
    lambda branch: st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0")), branch),
    max_leaves=5,
)


@given(tree=trees)
def test_any_tree_of_dicts_comes_back(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("trees") / "tree"
    save(path, tree)
    assert_same(load(path), jax.tree.map(jnp.asarray, tree))


def test_sharded_arrays_are_gathered_and_go_back_to_the_devices_of_like(path):
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = NamedSharding(mesh, P("data"))
    array = jax.device_put(jnp.arange(8.0), rows)
    save(path, {"x": array})
    assert_same(load(path), {"x": jnp.arange(8.0)})
    for like in (array, jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=rows)):
        restored = load(path, like={"x": like})["x"]
        assert restored.sharding == rows
        np.testing.assert_array_equal(restored, array)


def test_arrays_that_jax_placed_stay_free_to_move(path):
    save(path, {"x": jnp.ones(2)})
    assert not load(path, like={"x": jnp.ones(2)})["x"].committed


def test_numpy_reads_the_file_alone(path):
    save(path, example_params())
    with np.load(path) as archive:
        np.testing.assert_array_equal(
            archive["weights/conv_0/kernel"], np.arange(12.0, dtype=np.float32).reshape(3, 2, 2)
        )


def test_the_same_params_give_the_same_bytes(path):
    save(path, example_params())
    first = path.read_bytes()
    save(path, example_params())
    assert path.read_bytes() == first


def test_the_name_is_taken_as_it_is_and_folders_are_made(tmp_path):
    save(tmp_path / "new" / "folder" / "weights", example_params())
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()] == [
        "new/folder/weights"
    ]


def test_a_relative_name_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save("net.npz", example_params())
    assert_same(load("net.npz"), example_params())


def test_the_file_has_the_permissions_of_the_umask(path):
    before = os.umask(0o027)
    try:
        save(path, example_params())
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_symbolic_link_stays_one(tmp_path, path):
    save(path, {"x": jnp.ones(1)})
    link = tmp_path / "latest"
    link.symlink_to(path)
    save(link, example_params())
    assert link.is_symlink()
    assert_same(load(path), example_params())


def test_a_private_file_stays_private(path):
    for mode in (0o600, 0o604, 0o640):
        path.touch()
        path.chmod(mode)
        save(path, example_params())
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_the_owner_stays(path, monkeypatch):
    path.touch()
    path.chmod(0o660)
    changed = []
    monkeypatch.setattr(os, "chown", lambda name, user, group: changed.append((user, group)))
    save(path, example_params())
    assert changed == [(os.getuid(), -1), (-1, path.stat().st_gid)]


def test_what_the_old_group_might_do_another_may_not(path, monkeypatch):
    def refuse(name, user, group):
        raise PermissionError(1, "Operation not permitted")

    path.touch()
    path.chmod(0o664)
    monkeypatch.setattr(os, "chown", refuse)
    save(path, example_params())
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


def test_new_folders_reach_the_disk_up_to_the_first_that_existed(tmp_path, monkeypatch):
    synced = []
    real = os.fsync

    def fsync(descriptor):
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    save(tmp_path / "new" / "folder" / "net", example_params())
    save(tmp_path / "new" / "net", example_params())
    new, folder = tmp_path / "new", tmp_path / "new" / "folder"
    files = [(folder / "net").stat().st_ino, (new / "net").stat().st_ino]
    folders = [x.stat().st_ino for x in (folder, new, tmp_path, new)]
    assert synced == [files[0], *folders[:3], files[1], folders[3]]


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127 + "x", "n"])
def test_a_name_of_any_length_works(tmp_path, name):
    for _ in range(2):
        save(tmp_path / name, example_params())
    assert_same(load(tmp_path / name), example_params())
    assert [x.name for x in tmp_path.iterdir()] == [name]


# What cannot be saved ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tree", "error", "sentence"),
    [
        ({"rate": 0.1}, TypeError, "save: every leaf must be an array, got float at 'rate'"),
        ({"a": {"f": len}}, TypeError, "save: every leaf must be an array, got builtin_.* at 'a/f'"),
        (
            {"s": np.array("text")},
            TypeError,
            "save: every leaf must hold numbers that JAX has, got dtype <U4 at 's'",
        ),
        (
            {"o": np.array([None])},
            TypeError,
            "save: every leaf must hold numbers that JAX has, got dtype object at 'o'",
        ),
        ({"a\0b": np.ones(1)}, ValueError, r"checkpoint: a key must not hold a NUL character, got 'a\\x00b'"),
        (
            Pair({1: np.ones(1), "1": np.ones(1)}, None),
            ValueError,
            "checkpoint: the path of each leaf must be its own, got 'left/1' twice",
        ),
    ],
)
def test_what_is_no_array_is_refused_and_the_old_file_stays(path, tree, error, sentence):
    if isinstance(tree, Pair):
        tree = {"left": MixedKeys(tree.left)}
    save(path, example_params())
    with pytest.raises(error, match=sentence):
        save(path, tree)
    assert_same(load(path), example_params())
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("leaf", "sentence"),
    [
        (np.ma.masked_array([1.0, 2.0], [False, True]), "every leaf must be a plain array, got MaskedArray"),
        (np.ma.masked, "every leaf must be a plain array, got MaskedConstant"),
        (np.ones((1, 1)).view(np.matrix), "every leaf must be a plain array, got matrix"),
        (np.rec.array([1.0]), "every leaf must be a plain array, got recarray"),
        (np.zeros(2, "i4,f4"), "every leaf must hold numbers that JAX has, got dtype "),
        (np.zeros(2, "m8[s]"), "every leaf must hold numbers that JAX has, got dtype timedelta64"),
        (np.zeros(2, "M8[s]"), "every leaf must hold numbers that JAX has, got dtype datetime64"),
        (np.zeros(2, "V4"), "every leaf must hold numbers that JAX has, got dtype"),
        (np.bytes_(b"text"), "every leaf must hold numbers that JAX has, got dtype"),
        (np.zeros(2, jax.dtypes.float0), "every leaf must hold numbers that JAX has, got dtype"),
        (np.zeros(2, np.longdouble), "every leaf must hold numbers that JAX has, got dtype float128"),
        *((value, "every leaf must be an array, got ") for value in (1, 1.0, True, 1j, "text", b"text", {1})),
    ],
)
def test_every_leaf_that_is_more_or_less_than_an_array_is_refused_by_name(path, leaf, sentence):
    with pytest.raises(TypeError, match=f"^save: {sentence}.* at 'part/x'"):
        save(path, {"part": {"x": leaf}})
    assert not path.exists()


def test_a_donated_array_is_refused(path):
    array = jnp.ones(2)
    array.delete()
    with pytest.raises(ValueError, match="save: every array must be alive, got one that was donated at 'x'"):
        save(path, {"x": array})


@pytest.mark.parametrize("dtype", ["float4_e2m1fn", "int2", "uint2", "float8_e8m0fnu", "float8_e4m3b11fnuz"])
def test_numbers_of_few_bits_come_back_in_any_layout(path, dtype):
    array = np.ones((2, 4), jnp.dtype(dtype))
    tree = {"plain": array, "part": array[:, ::2], "transposed": array.T}
    save(path, tree)
    assert_same(jax.tree.map(np.asarray, load(path)), tree)


def test_a_file_mapped_into_memory_comes_back(path, tmp_path):
    array = np.memmap(tmp_path / "mapped", np.float32, "w+", shape=(3, 2))
    array[:] = np.arange(6).reshape(3, 2)
    save(path, [array, array[:, 1]])
    restored = load(path)
    np.testing.assert_array_equal(restored["0"], array)
    np.testing.assert_array_equal(restored["1"], array[:, 1])


def deep_tree(depth):
    tree = np.ones(1, np.float32)
    for _ in range(depth):
        tree = {"a": tree}
    return tree


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        ({"\ud800": np.ones(1)}, r"a key must be text that UTF-8 can encode, got '\\ud800'"),
        ({"\ud800": {}}, r"a key must be text that UTF-8 can encode, got '\\ud800'"),
        ({"k" * 70_000: np.ones(1)}, r"a path must have at most 65531 bytes, got 70000 in 'k{80}'\.\.\."),
        ({"ü" * 40_000: np.ones(1)}, r"a path must have at most 65531 bytes, got 80000 in"),
        (deep_tree(201), "a tree must be at most 200 levels deep"),
        (deep_tree(100_000), "a tree must be at most 200 levels deep"),
        ({1: np.ones(1), "1": np.ones(1)}, "JAX must be able to flatten the tree, got: "),
    ],
)
def test_a_tree_whose_paths_no_file_can_hold_is_refused(path, tree, sentence):
    save(path, example_params())
    with pytest.raises(ValueError, match=f"^checkpoint: {sentence}"):
        save(path, tree)
    assert_same(load(path), example_params())
    assert list(path.parent.iterdir()) == [path]


def test_a_leaf_that_is_a_branch_too_is_refused(path):
    with pytest.raises(
        ValueError, match="checkpoint: a leaf must not be a branch as well, got 'x/1' as both"
    ):
        save(path, {"x": MixedKeys({1: np.ones(1), "1": {"y": np.ones(1)}})})


def test_the_longest_and_the_deepest_path_come_back(path):
    tree = {"k" * 65_531: jnp.ones(1), "deep": deep_tree(199)}
    save(path, tree)
    assert_same(load(path), jax.tree.map(jnp.asarray, tree))


def special_files(folder):
    """Everything that isn't a regular file, by its name in errors."""
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "loose").symlink_to(folder / "nowhere")
    (folder / "link").symlink_to(folder / "fifo")
    server = socket.socket(socket.AF_UNIX)
    server.bind(os.path.relpath(folder / "socket"))
    server.close()
    return {
        "folder": "a folder",
        "fifo": "a FIFO",
        "link": "a FIFO",
        "socket": "a socket",
        "/dev/null": "a device",
    }


def test_only_a_file_is_replaced_or_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, kind in special_files(tmp_path).items():
        before = os.stat(name)
        with pytest.raises(ValueError, match=rf"^save: path must lead to a file, got {kind} at '{name}'"):
            save(name, example_params())
        with pytest.raises(ValueError, match=rf"^load: path must lead to a file, got {kind} at '{name}'"):
            load(name)
        assert os.path.samestat(before, os.stat(name))
    with pytest.raises(ValueError, match=r"^save: path must lead to a file, got a symbolic link to nothing"):
        save("loose", example_params())
    with pytest.raises(
        FileNotFoundError, match=r"^load: path must lead to a file that can be read, got 'loose'"
    ):
        load("loose")
    assert sorted(x.name for x in tmp_path.iterdir()) == ["fifo", "folder", "link", "loose", "socket"]


@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        (3, TypeError, "path must be a str or os.PathLike"),
        (None, TypeError, "path must be a str or os.PathLike"),
        (b"net", TypeError, "path must be a str or os.PathLike"),
        ("a\0b", ValueError, "path must not hold a NUL character"),
        ("\ud800", ValueError, "path must be text that the system can encode"),
        ("n" * 256, OSError, "path must lead to .*n': File name too long"),
        ("file/net", NotADirectoryError, "path must lead to .*: Not a directory"),
        ("circle", OSError, "path must lead to .*: Too many levels of symbolic links"),
    ],
)
def test_a_name_that_no_file_can_have_is_refused(tmp_path, monkeypatch, name, error, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    for call, function in (("save", lambda: save(name, {})), ("load", lambda: load(name))):
        with pytest.raises(error, match=f"^{call}: {sentence}"):
            function()
    assert sorted(x.name for x in tmp_path.iterdir()) == ["circle", "file"]
    with pytest.raises(TypeError, match=r"^save: path must be a str or os.PathLike.*, got dict"):
        save({}, "net.npz")  # in the wrong order


@pytest.mark.parametrize(
    ("call", "code"), [("open", errno.EACCES), ("open", errno.EROFS), ("fsync", errno.ENOSPC)]
)
def test_the_system_s_reason_stands_in_the_sentence(path, monkeypatch, call, code):
    save(path, example_params())
    fault = OSError(code, os.strerror(code))

    def fail(*args):
        raise fault

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(
            type(fault), match=rf"^save: path must lead .* '.*net\.npz': {fault.strerror}"
        ) as got:
            save(path, {"x": jnp.ones(3)})
    assert got.value.errno == code
    assert_same(load(path), example_params())
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_is_named_and_leaves_the_old_file(path):
    """A limit on the size of files that the process may write simulates the full disk."""
    save(path, example_params())
    program = """
    import resource, signal, sys
    import numpy as np
    from jaxnn.checkpoint import save
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        save(sys.argv[1], {"x": np.ones(50_000)})
    except OSError as fault:
        print(fault)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(path)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == (
        f"save: path must lead to where a file can be written, got {str(path)!r}: File too large\n"
    )
    assert_same(load(path), example_params())
    assert list(path.parent.iterdir()) == [path]


@jax.tree_util.register_pytree_with_keys_class
class MixedKeys(dict):
    """A dict that may have keys of several types, which JAX cannot sort."""

    def tree_flatten_with_keys(self):
        return [(jax.tree_util.DictKey(key), value) for key, value in self.items()], tuple(self)

    def tree_flatten(self):
        return tuple(self.values()), tuple(self)

    @classmethod
    def tree_unflatten(cls, keys, values):
        return cls(zip(keys, values, strict=True))


def test_saving_under_jit_is_refused(path):
    with pytest.raises(
        TypeError, match="save: must be called outside of jit, grad and vmap, got a traced 'x'"
    ):
        jax.jit(lambda x: save(path, {"x": x}))(jnp.ones(2))


def test_an_array_that_is_partly_on_another_host_is_refused(path, monkeypatch):
    array = jnp.ones(2)
    for where in ("is_fully_addressable", "is_fully_replicated"):
        monkeypatch.setattr(type(array), where, False)
    with pytest.raises(
        ValueError, match=r"save: every array must be on this host as a whole, .* at 'x'; gather"
    ):
        save(path, {"x": array})
    assert not path.exists()


# A save that does not end --------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
import numpy as np
from jaxnn.checkpoint import save

target = {module}
real = target.{function}
calls = 0

def kill(*args, **kwargs):
    global calls
    calls += 1
    if calls == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)

target.{function} = kill
save(sys.argv[1], {{name: np.full(100_000, 2.0, np.float32) for name in "abc"}})
"""


@pytest.mark.parametrize(
    ("module", "function", "call"),
    [("sys.modules['jaxnn.checkpoint.archive'].Writer", "add", 2), ("os", "fsync", 1), ("os", "replace", 1)],
)
def test_a_kill_in_the_middle_leaves_the_old_file_whole(path, module, function, call):
    old = {name: jnp.ones(100_000) for name in "abc"}
    save(path, old)
    program = textwrap.dedent(KILLED.format(module=module, function=function, call=call))
    killed = subprocess.run([sys.executable, "-c", program, str(path)], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert_same(load(path, like=old), old)
    new = {name: jnp.zeros(3) for name in "abc"}
    save(path, new)
    assert_same(load(path), new)


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_in_the_middle_leaves_the_old_file_and_no_other(path, monkeypatch, failure):
    def fail(descriptor):
        raise failure

    save(path, example_params())
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(failure)):
        save(path, {"x": jnp.ones(3)})
    assert_same(load(path), example_params())
    assert list(path.parent.iterdir()) == [path]


# Files that are not what they should be ------------------------------------------------------------------


def test_a_missing_file_is_reported_as_missing(path):
    with pytest.raises(FileNotFoundError, match=r"net\.npz"):
        load(path)


def test_every_truncation_is_noticed(path):
    save(path, {"x": jnp.arange(5.0)})
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(
            ValueError, match=r"load: the file must be a whole checkpoint of jaxnn, got '.*net\.npz"
        ):
            load(path)


def test_every_flipped_bit_is_noticed_or_harmless(path):
    tree = {"x": jnp.arange(5.0), "y": jnp.ones(2, jnp.bfloat16)}
    save(path, tree)
    whole = path.read_bytes()
    noticed = 0
    for index in range(len(whole)):
        damaged = bytearray(whole)
        damaged[index] ^= 1 << index % 8
        path.write_bytes(damaged)
        try:
            restored = load(path)
        except ValueError:
            noticed += 1
        else:
            assert_same(restored, tree)
    assert noticed > len(whole) / 2


def foreign_files():
    pickled = pickle.dumps({"x": np.ones(3)})
    npy, npz, npz_of_objects, later = (io.BytesIO() for _ in range(4))
    np.save(npy, np.ones(3))
    np.savez(npz, x=np.ones(3))
    np.savez(npz_of_objects, x=np.array([{}], dtype=object))
    with zipfile.ZipFile(later, "w") as archive:
        archive.writestr("jaxnn.json", '{"format": "jaxnn checkpoint", "version": 99}')
    damaged = "must be a whole checkpoint of jaxnn, got '.*': it is damaged or something else: "
    foreign = r"must be a whole checkpoint of jaxnn, got '.*': it is a zip archive without jaxnn\.json"
    return {
        "empty": (b"", damaged),
        "text": (b"not a checkpoint\n" * 99, damaged),
        "pickle": (pickled, damaged),
        "npy": (npy.getvalue(), damaged),
        "npz": (npz.getvalue(), foreign),
        "npz of objects": (npz_of_objects.getvalue(), foreign),
        "later": (later.getvalue(), "it is of version '99' of the format, this jaxnn reads up to 1"),
    }


@pytest.mark.parametrize("kind", foreign_files())
def test_a_foreign_file_is_named_as_such(path, kind):
    content, sentence = foreign_files()[kind]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"load: .*{sentence}"):
        load(path)


HEADER = {"format": "jaxnn checkpoint", "version": 1, "root": "dict", "empty": {}}


@pytest.mark.parametrize(
    "header",
    [
        [],
        {},
        {"format": "another"},
        HEADER,
        HEADER | {"dtypes": {"y": "float32"}},
        HEADER | {"dtypes": {"x": "int32"}},
        HEADER | {"dtypes": {"x": "bfloat16"}},
        HEADER | {"dtypes": {"x": "nothing"}},
    ],
)
def test_a_header_that_does_not_fit_its_arrays_is_refused(path, header):
    np.savez(path, x=np.ones(3, np.float32))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("jaxnn.json", json.dumps(header))
    with pytest.raises(ValueError, match=r"load: the file must be a whole checkpoint of jaxnn"):
        load(path)


def test_pickled_arrays_are_never_unpickled(path):
    np.savez(path, x=np.array([{}], dtype=object))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("jaxnn.json", json.dumps(HEADER | {"dtypes": {"x": "object"}}))
    with pytest.raises(ValueError, match="does not have the dtype, order and shape of an array of numbers"):
        load(path)


# Files that do not fit -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("like", "sentence"),
    [
        ({"a": np.ones(3)}, r"missing: 'a'; not in like: 'k', 'x/b'"),
        (
            {"k": jax.random.key(0), "x": {"b": np.ones((2, 4), np.float32)}},
            r"different: 'x/b' is float32\[2,3\], ",
        ),
        (
            {"k": jax.random.key(0), "x": {"b": np.ones((2, 3), np.int8)}},
            r"'x/b' is float32\[2,3\], like has int8",
        ),
        (
            {"k": np.ones(2, np.uint32), "x": {"b": np.ones((2, 3), np.float32)}},
            r"'k' is key<fry>\[\], like has",
        ),
    ],
)
def test_a_file_that_does_not_fit_says_where(path, like, sentence):
    save(path, {"k": jax.random.key(0), "x": {"b": jnp.ones((2, 3))}})
    with pytest.raises(
        ValueError, match=rf"load: the file must fit like, got '.*net\.npz' with .*{sentence}"
    ):
        load(path, like=like)


def test_a_long_list_of_faults_is_cut_short(path):
    save(path, {f"layer_{i}": jnp.ones(1) for i in range(9)})
    with pytest.raises(ValueError, match=r"not in like: 'layer_0', .*'layer_4' and 4 more$"):
        load(path, like={})


def test_like_must_hold_arrays(path):
    save(path, {"x": jnp.ones(1)})
    with pytest.raises(
        TypeError, match="load: every leaf of like must have a shape and a dtype, got float at 'x'"
    ):
        load(path, like={"x": 1.0})
