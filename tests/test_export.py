"""Exported nets give the same values, at any batch and length, for other platforms; and what cannot be."""

import sys

import jax
import jax.numpy as jnp
import pytest

import jaxnn as nn
from tests.support import assert_close, on_cpu, rng_array

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def cnn():
    net = nn.serial(
        nn.conv(4, 3, padding="SAME"), nn.batch_norm(), nn.relu, nn.max_pool(3, strides=1), nn.flatten,
        nn.dropout(0.5), nn.dense(3),
    )  # fmt: skip
    params = net.init(KEY, (1, 6, 6, 2))
    state = {"batch_norm_0": {"mean": jnp.asarray(rng_array(4)), "var": jnp.arange(1.0, 5.0)}}
    return net, params._replace(state=state)


def test_a_program_gives_what_the_net_gives_for_any_batch(cnn):
    net, params = cnn
    run = nn.load_exported(nn.export(net, params, ("batch", 6, 6, 2)))
    for n in (1, 3):
        x = rng_array(n, 6, 6, 2)
        assert_close(run(x), net.apply(params, x))
        assert_close(jax.jit(run)(x), net.apply(params, x))


@on_cpu
def test_lengths_may_have_names_and_inputs_may_be_several():
    net = nn.models.lstm_tagger(11, 3, features=4, hidden=5)
    spec = (jax.ShapeDtypeStruct(("n", "t"), jnp.int32), jax.ShapeDtypeStruct(("n",), jnp.int32))
    ids, lengths = jnp.arange(6, dtype=jnp.int32).reshape(2, 3), jnp.asarray([3, 1])
    params = net.init(KEY, (ids, lengths))
    run = nn.load_exported(nn.export(net, params, spec, platforms=("cpu",)))
    assert_close(run((ids, lengths)), net.apply(params, (ids, lengths)))
    with pytest.raises(
        ValueError, match=r"x must be \(int32\[n,t\], int32\[n\]\), got \(int32\[2,3\], int32\[3\]\)"
    ):
        run((ids, jnp.asarray([1, 2, 3])))


def test_other_platforms_get_their_own_forms_and_no_mark_for_cpus(cnn):
    net, params = cnn
    for platform in ("cpu", "cuda", "tpu"):
        text = nn.stablehlo(net, params, (2, 6, 6, 2), platform=platform)
        assert ("inlineable" in text) == ("inlineable" in nn.stablehlo(net, params, (2, 6, 6, 2))) * (
            platform == "cpu"
        )
    depthwise = nn.depthwise_conv(3)
    params = depthwise.init(KEY, (1, 8, 8, 4))
    elsewhere = nn.stablehlo(depthwise, params, (1, 8, 8, 4), platform="cuda")
    assert "feature_group_count = 4" in elsewhere
    assert elsewhere != nn.stablehlo(depthwise, params, (1, 8, 8, 4), platform="cpu")


def test_a_program_for_another_platform_alone_does_not_run_here(cnn):
    run = nn.load_exported(nn.export(*cnn, (1, 6, 6, 2), platforms=("tpu",)))
    with pytest.raises(ValueError, match="tpu"):
        run(jnp.ones((1, 6, 6, 2)))


def test_jax_itself_reads_the_bytes(cnn):
    net, params = cnn
    exported = jax.export.deserialize(bytearray(nn.export(net, params, (2, 6, 6, 2))))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    x = jnp.asarray(rng_array(2, 6, 6, 2))
    assert_close(exported.call(x), net.apply(params, x))


# --- what is wrong, in a sentence ---


@pytest.mark.parametrize("shape", [(2, 6, 6, 3), (2, 5, 6, 2), (6, 6, 2), (0, 6, 6, 2)])
def test_an_input_of_another_shape_gets_a_sentence(cnn, shape):
    run = nn.load_exported(nn.export(*cnn, ("n", 6, 6, 2), platforms=("cpu",)))
    got = ",".join(map(str, shape))
    with pytest.raises(
        ValueError, match=rf"load_exported: x must be float32\[n,6,6,2\], got float32\[{got}\]"
    ):
        run(jnp.ones(shape))


def test_a_size_that_the_net_cannot_leave_open_gets_a_sentence():
    net = nn.serial(lambda x: x.reshape(6, -1))
    with pytest.raises(
        ValueError, match=r"export: net must work for every size that shape gives a name, got \('n', 4"
    ):
        nn.export(net, nn.Params({}, {}), ("n", 4))
    with pytest.raises(ValueError, match="export: shape must be of integers and of names of sizes, such as"):
        nn.export(nn.relu, nn.Params({}, {}), ("2 apples", 4))


@pytest.mark.parametrize("name", ["debug", "io", "pure"])
def test_a_net_that_calls_python_gets_a_sentence(name):
    def printing(x):
        jax.debug.print("{}", x)
        return x

    calls = {
        "debug": printing,
        "io": lambda x: jax.experimental.io_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x),
        "pure": lambda x: jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x),
    }
    net = nn.serial(nn.dense(2), nn.repeat(calls[name], 2))
    with pytest.raises(
        ValueError, match="export: net must be a pure function, got one that runs Python code"
    ):
        nn.export(net, net.init(KEY, (1, 3)), (1, 3))


def test_wrong_arguments_get_a_sentence(cnn):
    net, params = cnn
    for platforms in ("cpu", (), ("gpu",), None):
        with pytest.raises(ValueError, match="export: platforms must be a sequence of some of 'cpu', 'cuda'"):
            nn.export(net, params, (1, 6, 6, 2), platforms=platforms)
    with pytest.raises(
        ValueError, match="stablehlo: platform must be 'cpu', 'cuda', 'rocm' or 'tpu', got 'gpu'"
    ):
        nn.stablehlo(net, params, (1, 6, 6, 2), platform="gpu")
    with pytest.raises(TypeError, match="load_exported: data must be bytes, as export gives them, got 3"):
        nn.load_exported(3)


def test_damaged_bytes_get_a_sentence(cnn):
    data = nn.export(*cnn, (1, 6, 6, 2), platforms=("cpu",))
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 1
    for wrong in (b"", b"abc", data[:100], data[:-1], data + b"\0", bytes(damaged)):
        with pytest.raises(
            ValueError, match="load_exported: data must be a whole program as export gives it, got"
        ):
            nn.load_exported(wrong)


def test_without_flatbuffers_a_sentence_says_what_to_install(cnn, monkeypatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    for call in (lambda: nn.export(*cnn, (1, 6, 6, 2)), lambda: nn.load_exported(b"")):
        with pytest.raises(ImportError, match="exported programs need flatbuffers: pip install flatbuffers"):
            call()
