"""The zoo: as many parameters as published, and every size and mode that a net has."""

from math import prod

import jax
import jax.numpy as jnp
import pytest

import jaxnn as nn
from jaxnn.models.parts import divisible, layer_scale
from tests.support import assert_close, rng_array

models = nn.models
PHOTO = (1, 224, 224, 3)

#: A net, the shape of its input, its published number of weights. Where the source is a paper without the
#: number (U-Net, the tagger), it is that of the same net in PyTorch.
PUBLISHED = {
    "lenet": (models.lenet, (1, 28, 28, 1), 61_706),
    "alexnet": (models.alexnet, PHOTO, 61_100_840),
    "vgg11_bn": (models.vgg11_bn, PHOTO, 132_868_840),
    "resnet18": (models.resnet18, PHOTO, 11_689_512),
    "resnet50": (models.resnet50, PHOTO, 25_557_032),
    "mobilenet_v2": (models.mobilenet_v2, PHOTO, 3_504_872),
    "efficientnet_b0": (models.efficientnet_b0, PHOTO, 5_288_548),
    "convnext_tiny": (models.convnext_tiny, PHOTO, 28_589_128),
    "densenet121": (models.densenet121, PHOTO, 7_978_856),
    "gpt": (models.gpt, jax.ShapeDtypeStruct((1, 8), jnp.int32), 124_439_808),
    "vit": (models.vit, PHOTO, 86_567_656),
    # PyTorch's ``Transformer``, and the embedding.
    "transformer": (
        lambda: models.transformer(1000), (jax.ShapeDtypeStruct((1, 5), jnp.int32),) * 2, 44_140_544 + 512_000
    ),
    "unet": (models.unet, (1, 64, 64, 1), 31_030_658),
    "dcgan_generator": (models.dcgan_generator, (1, 100), 3_576_704),
    "dcgan_discriminator": (models.dcgan_discriminator, (1, 64, 64, 3), 2_765_568),
    "lstm_tagger": (
        lambda: models.lstm_tagger(1000, 17), jax.ShapeDtypeStruct((1, 5), jnp.int32), 735_153
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_as_many_weights_as_published(name):
    make, shape, expected = PUBLISHED[name]
    params = jax.eval_shape(lambda: make().init(jax.random.key(0), shape))
    weights = sum(prod(leaf.shape) for leaf in jax.tree.leaves(params.weights))
    # PyTorch's LSTMs have two biases each, which are added up here.
    biases = 4 * (4 * 128) if name == "lstm_tagger" else 0
    assert weights + biases == expected


def test_every_net_is_counted_or_is_the_general_form_of_one():
    general = {"vgg", "resnet", "efficientnet", "convnext", "densenet", "encoder_block", "decoder_block"}
    assert set(models.__all__) == PUBLISHED.keys() | general


def test_channels_are_rounded_as_torchvision_rounds_them():
    assert [divisible(channels) for channels in (1, 16, 22.4, 24, 28, 33.6)] == [8, 16, 24, 24, 32, 32]
    narrow = jax.eval_shape(lambda: models.mobilenet_v2(width_mult=0.35).init(jax.random.key(0), PHOTO))
    assert sum(prod(leaf.shape) for leaf in jax.tree.leaves(narrow.weights)) == 1_677_128


def test_without_a_rate_nothing_is_drawn():
    net = models.convnext(((8, 1),), 3)
    assert not net.draws
    x = jnp.ones((2, 8, 8, 3))
    assert jax.eval_shape(lambda: net.train(net.init(jax.random.key(0), x), x)[0]).shape == (2, 3)


def test_layer_scale_multiplies_the_channels():
    layer = layer_scale(0.5)
    x = jnp.asarray(rng_array(2, 3, 4))
    params = layer.init(jax.random.key(0), x)
    assert_close(layer.apply(params, x), x / 2)


def test_the_tagger_sees_nothing_past_the_end_of_a_sequence():
    net = models.lstm_tagger(11, 3, features=4, hidden=5)
    ids = jnp.arange(8, dtype=jnp.int32).reshape(2, 4)
    params = net.init(jax.random.key(0), ids)
    tag = jax.jit(net.apply)
    lengths = jnp.asarray([4, 2])
    y, other = (tag(params, (ids.at[1, 2:].set(end), lengths)) for end in (9, 10))
    assert y.shape == (2, 4, 3)
    assert_close(other[1, :2], y[1, :2])
    assert_close(tag(params, ids)[0], y[0])
