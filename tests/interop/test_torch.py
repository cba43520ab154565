"""PyTorch's state dicts: what goes where, in wrappers and by order too, and what is wrong in a sentence.

That each kind of layer computes what PyTorch's does is in tests/models/test_known_answers.py.
"""

import re
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

import jaxnn as nn
from jaxnn.interop.torch import load_state_dict, match, to_state_dict
from tests.support import assert_close, random_params, rng_array

KEY = jax.random.key(0)
IMAGE = (1, 6, 5, 3)


def cnn():
    return nn.serial(
        nn.conv(4, 3, padding=1), nn.batch_norm(), nn.relu, nn.max_pool(2),
        nn.flatten, nn.dropout(0.5), nn.dense(7), nn.relu, head=nn.dense(2),
    )  # fmt: skip


def entries():
    """The state dict of the same net in PyTorch, a ``Sequential``."""
    shapes = {
        "0.weight": (4, 3, 3, 3), "0.bias": (4,),
        "1.weight": (4,), "1.bias": (4,), "1.running_mean": (4,), "1.running_var": (4,),
        "6.weight": (7, 24), "6.bias": (7,), "8.weight": (2, 7), "8.bias": (2,),
    }  # fmt: skip
    arrays = {name: rng_array(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}
    arrays["1.running_var"] = np.abs(arrays["1.running_var"]) + 0.5
    return arrays | {"1.num_batches_tracked": np.array(3)}


def specs(net, shape=IMAGE):
    return jax.eval_shape(net.init, KEY, jax.ShapeDtypeStruct(shape, jnp.float32))


def loaded(net, state_dict, like=IMAGE, **settings):
    return load_state_dict(net, specs(net, like), state_dict, **settings)


def test_layers_get_modules_by_order_and_shape():
    net = cnn()
    table = match(net, specs(net), entries())
    assert [(row.path, row.module, row.by) for row in table.rows] == [
        ("conv_0", "0", "order"),
        ("batch_norm_0", "1", "order"),
        ("dense_0", "6", "order"),
        ("head", "8", "order"),
    ]
    assert not table.problems
    assert str(table).splitlines()[2].split() == [
        "conv_0",
        "conv",
        "(3,",
        "3,",
        "3,",
        "4)",
        "0",
        "(4,",
        "3,",
        "3,",
        "3)",
        "order",
    ]
    assert "<table>" in table._repr_html_()
    params = loaded(net, entries())
    assert_close(params.state["batch_norm_0"]["var"], entries()["1.running_var"])
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, random_params(net, jnp.ones(IMAGE)))


def by_hand(state_dict, x):
    """The net on channels-first values, flattened as PyTorch does."""
    y = np.moveaxis(np.asarray(nn.ops.conv(x, np.moveaxis(state_dict["0.weight"], (0, 1), (-1, -2)),
                                           state_dict["0.bias"], padding=1)), -1, 1)  # fmt: skip
    mean, var, scale, bias = (
        state_dict[f"1.{name}"].reshape(-1, 1, 1)
        for name in ("running_mean", "running_var", "weight", "bias")
    )
    y = np.maximum((y - mean) / np.sqrt(var + 1e-5) * scale + bias, 0)
    y = y[:, :, :6, :4].reshape(len(y), 4, 3, 2, 2, 2).max((3, 5)).reshape(len(y), -1)
    y = np.maximum(y @ state_dict["6.weight"].T + state_dict["6.bias"], 0)
    return y @ state_dict["8.weight"].T + state_dict["8.bias"]


@pytest.mark.parametrize("shape", [None, IMAGE])
def test_a_dense_layer_behind_a_pool_and_flatten_gets_its_rows_in_our_order(shape):
    net, x = cnn(), rng_array(2, *IMAGE[1:])
    params = loaded(net, entries(), shape=shape)
    assert_close(net.apply(params, x), by_hand(entries(), x))


def test_flattening_inside_a_graph_is_followed_with_a_shape():
    parts = {
        "body": nn.conv(4, 3, padding=1),
        "norm": nn.batch_norm(),
        "hidden": nn.dense(7),
        "head": nn.dense(2),
    }

    def flow(f, x):
        y = jnp.reshape(nn.ops.max_pool(nn.relu(f.norm(f.body(x))), 2), (x.shape[0], -1))
        return f.head(nn.relu(f.hidden(y)))

    net, x = nn.graph(flow, **parts), rng_array(2, *IMAGE[1:])
    with pytest.raises(ValueError, match=r"hidden: the order of its inputs is not known.*give shape="):
        loaded(net, entries())
    assert_close(net.apply(loaded(net, entries(), shape=IMAGE), x), by_hand(entries(), x))


def test_a_graph_that_flattens_nothing_needs_no_shape():
    net = nn.graph(lambda f, x: f.b(nn.global_avg_pool(f.a(x))), a=nn.conv(4, 3), b=nn.dense(2))
    weights = {
        "a.weight": rng_array(4, 3, 3, 3),
        "a.bias": rng_array(4),
        "b.weight": rng_array(2, 4),
        "b.bias": rng_array(2),
    }
    params = loaded(net, weights)
    assert_close(params.weights["b"]["kernel"], weights["b.weight"].T)


def rows(x):
    return x.reshape(len(x), -1)


HELPERS = {
    "function": lambda f, x: f.b(rows(f.a(x))),
    "jitted": lambda f, x: f.b(jax.jit(rows)(f.a(x))),
    "module": lambda f, x: f.b(sys.modules[__name__].rows(f.a(x))),
    "partial": partial(lambda g, f, x: f.b(g(f.a(x))), rows),
    "library": lambda f, x: f.b(nn.flatten(f.a(x))),
}


@pytest.mark.parametrize("name", HELPERS)
def test_a_graph_that_flattens_by_a_helper_asks_for_a_shape(name):
    net = nn.graph(HELPERS[name], a=nn.conv(4, 3), b=nn.dense(2))
    with pytest.raises(ValueError, match="b: the order of its inputs is not known"):
        to_state_dict(net, random_params(net, jnp.ones(IMAGE)))
    kernel = to_state_dict(net, random_params(net, jnp.ones(IMAGE)), shape=IMAGE)["b.weight"]
    assert_close(
        kernel.reshape(2, 4, 12)[:, 1], random_params(net, jnp.ones(IMAGE)).weights["b"]["kernel"][1::4].T
    )


def test_flatten_of_the_input_itself_needs_its_shape():
    net = nn.serial(nn.flatten, nn.dense(4))
    theirs = {"1.weight": rng_array(4, 12), "1.bias": rng_array(4)}
    image = (1, 2, 2, 3)
    with pytest.raises(ValueError, match="dense_0: the order of its inputs"):
        load_state_dict(net, specs(net, image), theirs)
    params = load_state_dict(net, specs(net, image), theirs, shape=image)
    x = rng_array(2, 2, 2, 3)
    assert_close(
        net.apply(params, x), np.moveaxis(x, -1, 1).reshape(2, -1) @ theirs["1.weight"].T + theirs["1.bias"]
    )


def test_a_mapping_decides_by_layer_and_by_prefix():
    net = nn.serial(a=nn.dense(3), b=nn.dense(3), tail=nn.serial(nn.dense(3)))
    theirs = {
        f"{module}.weight": rng_array(3, 3, seed=i) for i, module in enumerate(["x", "y", "net.last.dense_0"])
    }
    theirs |= {f"{module}.bias": rng_array(3) for module in ("x", "y", "net.last.dense_0")}
    params = loaded(net, theirs, (1, 3), mapping={"a": "y", "b": "x", "tail": "net.last"})
    assert_close(params.weights["a"]["kernel"], theirs["y.weight"].T)
    assert_close(params.weights["tail"]["dense_0"]["kernel"], theirs["net.last.dense_0.weight"].T)
    back = to_state_dict(net, params, {"a": "y", "b": "x", "tail": "net.last"})
    assert back.keys() == theirs.keys()
    deeper = {f"module.{name}": array for name, array in to_state_dict(net, params).items()}
    assert_close(loaded(net, deeper, (1, 3), mapping={"": "module"}), params)


def test_layers_of_one_shape_in_swapped_order_show_in_the_table():
    net = nn.serial(query=nn.dense(3), key=nn.dense(3))
    theirs = {
        "k_proj.weight": rng_array(3, 3),
        "k_proj.bias": rng_array(3),
        "q_proj.weight": rng_array(3, 3, seed=1),
    }
    theirs["q_proj.bias"] = rng_array(3)
    table = match(net, specs(net, (1, 3)), theirs)
    assert [(row.path, row.module) for row in table.rows] == [("query", "k_proj"), ("key", "q_proj")]
    table = match(net, specs(net, (1, 3)), theirs, {"query": "q_proj", "key": "k_proj"})
    assert [(row.path, row.module, row.by) for row in table.rows] == [
        ("query", "q_proj", "mapping"),
        ("key", "k_proj", "mapping"),
    ]


WRAPPED = {
    "frozen": lambda layer: nn.frozen(layer),
    "remat": nn.remat,
    "named": lambda layer: nn.named("own", layer),
    "mixed_precision": nn.mixed_precision,
    "frozen-remat": lambda layer: nn.frozen(nn.remat(layer)),
    "repeat": lambda layer: nn.repeat(layer, 2),
    "ensemble": lambda layer: nn.ensemble(layer, 2),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrapped_layers_are_found(name):
    net = nn.serial(part=WRAPPED[name](nn.serial(nn.dense(4), nn.batch_norm(), nn.relu)))
    params = random_params(net, jnp.ones((2, 4)))
    params = jax.tree.map(lambda leaf: leaf + jnp.asarray(rng_array(*leaf.shape), leaf.dtype), params)
    there = to_state_dict(net, params)
    copies = ["part.0.", "part.1."] if name in ("repeat", "ensemble") else ["part."]
    assert {f"{copy}dense_0.weight" for copy in copies} <= there.keys()
    assert_close(load_state_dict(net, jax.tree.map(jnp.zeros_like, params), there), params)


def test_reparametrised_layers_load_in_old_and_new_spelling():
    net = nn.serial(v=nn.weight_norm(nn.conv(4, 3)), u=nn.spectral_norm(nn.conv_transpose(2, 2)))
    params = random_params(net, jnp.ones(IMAGE))
    there = to_state_dict(net, params)
    assert there["v.parametrizations.weight.original0"].shape == (4, 1, 1, 1)
    spelling = {
        "v.parametrizations.weight.original0": "v.weight_g",
        "v.parametrizations.weight.original1": "v.weight_v",
        "u.parametrizations.weight.original": "u.weight_orig", "u.parametrizations.weight.0._u": "u.weight_u",
        "u.parametrizations.weight.0._v": "u.weight_v",
    }  # fmt: skip
    for state_dict in (there, {spelling.get(n, n): a for n, a in there.items()}):
        assert_close(load_state_dict(net, params, state_dict), params)


def test_entries_stand_in_the_order_of_pytorch():
    """A module's own parameters before those of its parametrisations; the projection after the biases."""

    def names(layer, x):
        return list(to_state_dict(nn.serial(m=layer), random_params(nn.serial(m=layer), x)))

    weight, row, steps = "m.parametrizations.weight", jnp.ones((2, 3)), jnp.ones((2, 5, 3))
    assert names(nn.dense(4), row) == ["m.weight", "m.bias"]
    assert names(nn.weight_norm(nn.dense(4)), row) == ["m.bias", f"{weight}.original0", f"{weight}.original1"]
    assert names(nn.spectral_norm(nn.dense(4)), row) == [
        "m.bias", f"{weight}.original", f"{weight}.0._u", f"{weight}.0._v",
    ]  # fmt: skip
    assert names(nn.lstm(4, projection=2), steps) == [
        f"m.{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    ]


def test_a_separable_convolution_is_two_modules():
    net = nn.separable_conv(5, 3)
    there = to_state_dict(net, random_params(net, jnp.ones(IMAGE)))
    assert {name: array.shape for name, array in there.items()} == {
        "depthwise.weight": (3, 1, 3, 3),
        "pointwise.weight": (5, 3, 1, 1),
        "pointwise.bias": (5,),
    }
    assert_close(loaded(net, there), random_params(net, jnp.ones(IMAGE)))


def test_layers_of_ones_own_are_bare_parameters():
    def init(key, x):
        return {"low": jnp.ones(x.shape[-1]), "high": jnp.ones(2)}

    two = nn.stateless("two", init, lambda weights, x: x * weights["low"].mean())
    one = nn.stateless(
        "one", lambda key, x: {"gain": jnp.ones(x.shape[-1])}, lambda weights, x: x * weights["gain"].mean()
    )
    net = nn.serial(one=one, two=two)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng_array(*leaf.shape)), random_params(net, jnp.ones((1, 3)))
    )
    there = to_state_dict(net, params)
    assert {name: array.shape for name, array in there.items()} == {
        "one": (3,),
        "two.high": (2,),
        "two.low": (3,),
    }
    assert_close(loaded(net, there, (1, 3)), params)
    wider = there | {"one": there["one"].reshape(1, 1, 3)}
    assert_close(loaded(net, wider, (1, 3)), params)


def test_the_state_dict_holds_contiguous_arrays_of_its_own():
    net = nn.serial(nn.conv(4, 3))
    there = to_state_dict(net, random_params(net, jnp.ones(IMAGE)))
    assert all(array.flags.c_contiguous for array in there.values())


def test_a_safetensors_file_loads(tmp_path):
    net = cnn()
    path = tmp_path / "net.safetensors"
    save_file({name: np.ascontiguousarray(array) for name, array in entries().items()}, path)
    assert_close(load_state_dict(net, specs(net), path), loaded(net, entries()))


def test_a_file_in_half_precision_loads_into_such_params(tmp_path):
    net = nn.dense(2)
    weights = {"weight": rng_array(2, 3).astype(jnp.bfloat16), "bias": rng_array(2).astype(jnp.bfloat16)}
    half = jax.eval_shape(net.init, KEY, jax.ShapeDtypeStruct((1, 3), jnp.bfloat16))
    params = load_state_dict(net, half, weights)
    assert params.weights["kernel"].dtype == jnp.bfloat16


# --- what is wrong, in a sentence ---


def changed(**changes):
    """The state dict with some entries replaced; None takes one away."""
    both = entries() | {name.replace("__", "."): array for name, array in changes.items()}
    return {name: array for name, array in both.items() if array is not None}


nan = entries()["0.weight"].copy()
nan[0, 0, 0, :2] = np.nan

WRONG = {
    "missing-entry": ({"6.bias": None}, "dense_0: the module '6' has no bias"),
    "missing-module": (
        {"8.weight": None, "8.bias": None},
        r"head: no module of the state dict fits; it needs weight \(2, 7\), bias \(2,\)",
    ),
    "extra-entry": ({"6.scale": np.ones(7, np.float32)}, "6.scale: the net has no place left for it"),
    "extra-module": (
        {"9.weight": rng_array(2, 2), "9.bias": rng_array(2)},
        "9.weight, 9.bias: the net has no place left for them",
    ),
    "permuted": (
        {"0.weight": rng_array(3, 3, 3, 4)},
        r"conv_0: the module '0' must have weight of shape \(4, 3, 3, 3\), got \(3, 3, 3, 4\)",
    ),
    "transposed": (
        {"8.weight": rng_array(7, 2)},
        r"head: the module '8' must have weight of shape \(2, 7\), got \(7, 2\), which is transposed",
    ),
    "dtype": (
        {"6.weight": entries()["6.weight"].astype(np.float16)},
        "dense_0: 6.weight must be float32, as the params are, got float16; cast one of them",
    ),
    "nan": ({"0.weight": nan}, "conv_0: 0.weight must be finite, got NaN or ∞ in 2 of its 108 values"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_state_dict_that_does_not_fit_is_told_in_a_sentence(name):
    changes, sentence = WRONG[name]
    net = cnn()
    table = match(net, specs(net), changed(**changes))
    assert any(re.fullmatch(sentence, problem) for problem in table.problems), table.problems
    with pytest.raises(
        ValueError, match=f"load_state_dict: both sides must fit, got [12] problem(.|\n)*{sentence}"
    ):
        loaded(net, changed(**changes))


def test_a_net_with_one_layer_more_names_that_layer_alone():
    net = nn.serial(nn.dense(3), nn.dense(4), nn.dense(5), nn.dense(2))
    fitting = nn.serial(nn.dense(3), nn.dense(4), nn.dense(5))
    names = {"dense_0": "a", "dense_1": "b", "dense_2": "c"}
    there = to_state_dict(fitting, random_params(fitting, jnp.ones((1, 3))), names)
    table = match(net, specs(net, (1, 3)), there)
    assert [row.module for row in table.rows] == ["a", "b", "c", ""]
    (problem,) = table.problems
    assert problem.startswith("dense_3: no module of the state dict fits")


def test_wrong_arguments_get_a_sentence(tmp_path):
    net = cnn()
    params = specs(net)
    with pytest.raises(
        TypeError, match="match: state_dict must be a mapping from names to arrays, or the name"
    ):
        match(net, params, 3)
    with pytest.raises(
        TypeError, match=r"match: state_dict must hold arrays of numbers, got 'a' as '0.weight'"
    ):
        match(net, params, {"0.weight": "a"})
    with pytest.raises(ValueError, match=r"got 'net.pth'; a pickled file can run any code"):
        match(net, params, "net.pth")
    with pytest.raises(FileNotFoundError):
        match(net, params, tmp_path / "absent.safetensors")
    with pytest.raises(TypeError, match="load_state_dict: params must be Params"):
        load_state_dict(net, {}, entries())
    with pytest.raises(
        TypeError, match="match: mapping must be a dict from paths of layers to names of modules"
    ):
        match(net, params, entries(), ["head"])
    with pytest.raises(
        ValueError, match="match: mapping must have paths of the net, got 'tail'; there are conv_0"
    ):
        match(net, params, entries(), {"tail": "8"})
    with pytest.raises(
        ValueError, match="match: mapping must lead to modules of the state dict, got '9' for 'head'"
    ):
        match(net, params, entries(), {"head": "9"})
    with pytest.raises(ValueError, match="a module of its own, got '8' for 'dense_0' and 'head'"):
        match(net, params, entries(), {"head": "8", "dense_0": "8"})


@pytest.mark.parametrize("size", [0, 5, 100, -1])
def test_a_truncated_file_gets_a_sentence(tmp_path, size):
    path = tmp_path / "net.safetensors"
    save_file({name: np.ascontiguousarray(array) for name, array in entries().items()}, path)
    path.write_bytes(path.read_bytes()[:size])
    net = cnn()
    with pytest.raises(
        ValueError, match=r"load_state_dict: state_dict must be a whole .safetensors file, got"
    ):
        load_state_dict(net, specs(net), path)


def test_without_safetensors_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    with pytest.raises(
        ImportError, match=r"match: a .safetensors file needs safetensors: pip install safetensors"
    ):
        match(cnn(), specs(cnn()), tmp_path / "net.safetensors")


@pytest.mark.parametrize("bias", [True, False])
def test_attention_is_packed_as_pytorch_packs_it(bias):
    net = nn.serial(attn=nn.multi_head_attention(6, 2, bias=bias), fc=nn.dense(2))
    params = random_params(net, jnp.ones((1, 4, 6)))
    there = to_state_dict(net, params)
    shapes = {"attn.in_proj_weight": (18, 6), "attn.out_proj.weight": (6, 6)}
    shapes |= {"attn.in_proj_bias": (18,), "attn.out_proj.bias": (6,)} if bias else {}
    assert {name: array.shape for name, array in there.items() if "attn" in name} == shapes
    assert_close(loaded(net, there, (1, 4, 6)), params)
    memory = jnp.ones((1, 5, 3))
    cross = nn.multi_head_attention(6, 2, bias=bias)
    params = random_params(cross, (jnp.ones((1, 4, 6)), memory))
    there = to_state_dict(cross, params, {"": ""})
    assert there["multi_head_attention.k_proj_weight"].shape == (6, 3)
    assert_close(load_state_dict(cross, params, there), params)


@pytest.mark.parametrize("settings", [{"qk_norm": True}, {"kv_heads": 1}])
def test_attention_that_pytorch_does_not_have_is_told(settings):
    net = nn.multi_head_attention(6, 2, **settings)
    with pytest.raises(ValueError, match=f"with {next(iter(settings))} has no counterpart in PyTorch"):
        to_state_dict(net, random_params(net, jnp.ones((1, 4, 6))))


def test_what_pytorch_has_no_counterpart_for_is_told():
    net = nn.serial(up=nn.weight_norm(nn.conv_transpose(2, 2)), rnn=nn.dense(2))
    params = random_params(net, jnp.ones(IMAGE))
    with pytest.raises(ValueError, match="up: weight_norm around conv_transpose has no counterpart"):
        to_state_dict(net, params)
    steps = nn.spectral_norm(nn.lstm(3))
    with pytest.raises(ValueError, match="around lstm has no counterpart in PyTorch"):
        to_state_dict(steps, random_params(steps, jnp.ones((1, 4, 2))))
