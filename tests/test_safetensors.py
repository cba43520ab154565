"""Weights as ``.safetensors`` files: the same tree comes back, and other libraries read and write them."""

import json
import os

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import jaxnn as nn
from jaxnn.checkpoint.safetensors import DTYPES

TREE = nn.Params(
    {"dense/0": {"kernel": jnp.arange(6.0).reshape(2, 3), "~": np.float16([1, 2])}, "none": {}},
    {
        "key": jax.random.key(3),
        "count": jnp.int32(4),
        "empty": jnp.zeros((0, 2)),
        "half": jnp.ones(3, jnp.bfloat16),
    },
)


def assert_same(one, other):
    def plain(tree):
        is_key = lambda leaf: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)  # noqa: E731
        return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, tree)

    chex.assert_trees_all_equal(plain(one), plain(other))
    chex.assert_trees_all_equal_dtypes(one, other)


def test_the_same_tree_comes_back(tmp_path):
    path = tmp_path / "net.safetensors"
    nn.checkpoint.save(path, TREE)
    assert_same(nn.checkpoint.load(path), jax.tree.map(jnp.asarray, TREE))
    found = nn.checkpoint.load(path, like=TREE)
    assert isinstance(found, nn.Params)
    assert_same(found, jax.tree.map(jnp.asarray, TREE))
    assert os.listdir(tmp_path) == ["net.safetensors"]
    mesh = jax.make_mesh((2,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.ShapeDtypeStruct((2, 3), jnp.float32, sharding=jax.NamedSharding(mesh, jax.P("i")))
    nn.checkpoint.save(path, {"kernel": TREE.weights["dense/0"]["kernel"]})
    assert nn.checkpoint.load(path, like={"kernel": spread})["kernel"].sharding == spread.sharding
    nn.checkpoint.save(path, jnp.float32(2))
    assert nn.checkpoint.load(path) == 2


def test_every_dtype_of_the_format(tmp_path):
    path = tmp_path / "all.safetensors"
    with jax.enable_x64(True):
        tree = {dtype: jnp.ones(3, dtype) for dtype in DTYPES.values()}
        nn.checkpoint.save(path, tree)
        assert_same(nn.checkpoint.load(path, like=tree), tree)
    with pytest.raises(
        ValueError, match=r"load: 64-bit numbers need jax.config.update\('jax_enable_x64', True\), got"
    ):
        nn.checkpoint.load(path)
    with pytest.raises(
        TypeError, match=r"save: every leaf must be of a dtype that .safetensors files have, got int4"
    ):
        nn.checkpoint.save(path, {"a": jnp.ones(2, jnp.int4)})


def test_other_libraries_read_it_and_write_for_it(tmp_path):
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    params = nn.dense(2).init(jax.random.key(0), (1, 3))
    nn.checkpoint.save(ours, params)
    chex.assert_trees_all_equal(load_file(ours)["weights/kernel"], np.asarray(params.weights["kernel"]))
    with safe_open(ours, "numpy") as file:
        assert json.loads(file.metadata()["jaxnn"])["root"] == "Params"
    arrays = {"layer.0~.weight": np.ones((2, 3), np.float32), "layer.1.bias": np.arange(2)}
    arrays["layer.1.bias"] = arrays["layer.1.bias"].astype(np.int32)
    save_file(arrays, theirs)
    found = nn.checkpoint.load(theirs)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert all(isinstance(array, jax.Array) for array in found.values())


def test_files_that_are_not_whole_or_do_not_fit(tmp_path):
    path = tmp_path / "net.safetensors"
    nn.checkpoint.save(path, TREE)
    whole = path.read_bytes()
    for damaged in (b"", whole[:7], whole[:-1], b"\xff" * 8 + whole[8:], b"PK" + whole, whole + b"more"):
        path.write_bytes(damaged)
        with pytest.raises(
            ValueError, match=r"^load: the file must be a whole .safetensors file, got '.*net.safeten"
        ):
            nn.checkpoint.load(path)
    for wrong in (
        whole.replace(b"threefry2x32", b"threefry2x33"),
        whole.replace(b"jaxnn checkpoint", b"jaxnn checkpoinT"),
    ):
        assert wrong != whole
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"^load: the file must be a whole .safetensors file"):
            nn.checkpoint.load(path)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=r"load: the file must fit like, got .*missing: 'other'"):
        nn.checkpoint.load(path, like={"other": jnp.ones(2)})
    with pytest.raises(FileNotFoundError):
        nn.checkpoint.load(tmp_path / "nowhere.safetensors")
