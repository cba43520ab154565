"""Nets in JAX's own primitives give the same; so do ONNX models, where jax2onnx is installed."""

import sys
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn as nn
from jaxnn.interop.onnx import to_onnx
from jaxnn.interop.plain import plain
from tests.support import assert_close, equations, plain_jit, random_params, rng_array

models = nn.models

NETS = {
    "lenet": (lambda: models.lenet(4), (2, 28, 28, 1)),
    "vgg": (lambda: models.vgg(((8, 1), (16, 2)), 4, hidden=8), (1, 32, 32, 3)),
    "resnet": (lambda: models.resnet((1, 1), 4, width=8), (1, 32, 32, 3)),
    "mobilenet": (
        lambda: models.mobilenet_v2(4, width_mult=0.25, stages=((1, 16, 1, 1), (6, 24, 2, 2))), (1, 32, 32, 3)
    ),
    "efficientnet": (
        lambda: models.efficientnet(((1, 3, 1, 8, 1), (4, 5, 2, 16, 2)), 4, stem=8), (1, 32, 32, 3)
    ),
    "convnext": (lambda: models.convnext(((8, 1), (16, 2)), 4), (1, 32, 32, 3)),
    "densenet": (lambda: models.densenet((2, 2), 4, growth=4, stem=8), (1, 32, 32, 3)),
    "unet": (lambda: models.unet(2, width=4, depth=2), (1, 16, 16, 3)),
    "generator": (lambda: models.dcgan_generator(width=4, doublings=2), (2, 6)),
    "discriminator": (lambda: models.dcgan_discriminator(width=4, halvings=2), (2, 16, 16, 3)),
    "tagger": (lambda: models.lstm_tagger(11, 3, features=4, hidden=5), (2, 6)),
    "lstm": (lambda: nn.lstm(4), (2, 5, 3)),
}  # fmt: skip
FEW = ("efficientnet", "generator", "tagger")


def made(name):
    make, shape = NETS[name]
    net = make()
    x = np.arange(12, dtype=np.int32).reshape(shape) % 11 if name == "tagger" else rng_array(*shape)
    return net, random_params(net, x), x


@pytest.mark.parametrize("name", FEW)
def test_the_plain_form_of_a_net_gives_the_same(name):
    net, params, x = made(name)
    function = plain(lambda x: net.apply(params, x), jax.ShapeDtypeStruct(x.shape, x.dtype))
    assert_close(plain_jit(function)(x), plain_jit(net.apply)(params, x))
    program = jax.make_jaxpr(function)(x)
    names = {eqn.primitive.name for eqn in equations(program.jaxpr)}
    assert not [
        primitive for primitive in names if "jaxnn" in primitive or primitive == "optimization_barrier"
    ]


def test_onnxruntime_gives_the_same_where_it_is_installed():
    for name in NETS if find_spec("jax2onnx") and find_spec("onnxruntime") else ():
        import onnxruntime

        net, params, x = made(name)
        session = onnxruntime.InferenceSession(to_onnx(net, params, jax.ShapeDtypeStruct(x.shape, x.dtype)))
        (y,) = session.run(None, {session.get_inputs()[0].name: x})
        assert_close(y, plain_jit(net.apply)(params, jnp.asarray(x)), dtype=jnp.float32, terms=4096)


def test_without_jax2onnx_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(
        ImportError, match=r"to_onnx: needs jax2onnx: pip install jax2onnx \(the extra 'onnx'\)"
    ):
        to_onnx(nn.relu, nn.Params({}, {}), (1, 3))
