"""The zoo's nets in small forms give what torchvision's give, in both modes, with their state dicts."""

import json
from functools import cache

import jax
import numpy as np
import pytest

import jaxnn as nn
from tests.known_answers.drawing import draw_input, drawn
from tests.models.exchanged import results
from tests.support import assert_close, deep, known_answers

models, CLASSES = nn.models, 4

#: As ``SMALL`` in known_answers/make_models.py.
SMALL = {
    "lenet": lambda: models.lenet(CLASSES),
    "alexnet": lambda: models.alexnet(CLASSES, dropout_rate=0, hidden=12),
    "vgg": lambda: models.vgg(((8, 1), (16, 2)), CLASSES, dropout_rate=0, hidden=12),
    "resnet": lambda: models.resnet((1, 1, 1, 1), CLASSES),
    "resnet-bottleneck": lambda: models.resnet((1, 1, 1, 1), CLASSES, bottleneck=True),
    "mobilenet_v2": lambda: models.mobilenet_v2(
        CLASSES, width_mult=0.25, dropout_rate=0, stages=((1, 16, 1, 1), (6, 24, 2, 2))
    ),
    "efficientnet": lambda: models.efficientnet(
        ((1, 3, 1, 8, 1), (4, 5, 2, 16, 2)), CLASSES, stem=16, dropout_rate=0, stochastic_depth_rate=0
    ),
    "convnext": lambda: models.convnext(((8, 1), (16, 2)), CLASSES),
    "densenet": lambda: models.densenet((2, 2), CLASSES, growth=4, stem=8, bottleneck=2),
    "unet": lambda: models.unet(CLASSES, width=4, depth=2),
    "dcgan_generator": lambda: models.dcgan_generator(width=4, doublings=2),
    "dcgan_discriminator": lambda: models.dcgan_discriminator(width=4, halvings=2),
    "lstm_tagger": lambda: models.lstm_tagger(11, CLASSES, features=3, hidden=5),
    "kinds": lambda: nn.serial(
        conv=nn.conv(8, 3, padding=1, groups=2), norm=nn.group_norm(2), prelu=nn.prelu(),
        depthwise=nn.depthwise_conv(3, padding=1, bias=False), instance=nn.instance_norm(),
        up=nn.conv_transpose(6, 3, strides=2, padding=1, output_padding=1, groups=2),
        weight=nn.weight_norm(nn.conv(5, 1)), layer=nn.layer_norm(axes=(1, 2, 3)),
        pool=nn.max_pool(2), flatten=nn.flatten, batch=nn.batch_norm(), shared=nn.prelu(shared=True),
        spectral=nn.spectral_norm(nn.dense(7)), rms=nn.rms_norm(), fc=nn.dense(CLASSES),
    ),
    "recurrent": lambda: nn.serial(
        embedding=nn.embedding(11, 3),
        gru=nn.serial(l0=nn.bidirectional(nn.gru(4)), l1=nn.bidirectional(nn.gru(4))),
        rnn=nn.rnn(3, activation=nn.relu), lstm=nn.lstm(5, bias=False), fc=nn.dense(CLASSES),
    ),
    "attention": lambda: nn.graph(
        lambda f, x: f.fc(f.norm(x + f.attn(x))),
        attn=nn.multi_head_attention(6, 2), norm=nn.layer_norm(), fc=nn.dense(CLASSES),
    ),
    "vit": lambda: models.vit(CLASSES, features=8, heads=2, depth=2, window=4),
}  # fmt: skip

MAPPINGS = {"vit": nn.interop.torch.torchvision_vit(2)}
IDS = ("lstm_tagger", "recurrent")

answers = cache(known_answers)


def state_dict(name):
    shapes = json.loads(str(answers("models")[f"{name}/shapes"]))
    return {entry: drawn(entry, tuple(shape)) for entry, shape in shapes.items()}


#: What takes long to compile, and is made of what the others are made of.
LONG = (
    "alexnet",
    "vgg",
    "resnet-bottleneck",
    "efficientnet",
    "convnext",
    "densenet",
    "vit",
    "lstm_tagger",
    "mobilenet_v2",
    "dcgan_discriminator",
)
#: The net that runs in both modes by default; the others train alone.
BOTH = ("kinds",)


def case(name, mode):
    by_default = name not in LONG and (mode == "train" or name in BOTH)
    return (name, mode) if by_default else deep(name, mode)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("name", "mode"), [case(name, mode) for name in SMALL for mode in ("apply", "train")]
)
def test_values_gradients_and_statistics_are_those_of_pytorch(name, mode):
    known = answers("models")
    x = draw_input(name, tuple(known[f"{name}/x"]), ids=11 if name in IDS else 0)
    found = results(
        SMALL[name](),
        state_dict(name),
        x.astype(np.int32) if x.dtype.kind == "i" else x,
        mode,
        MAPPINGS.get(name),
    )
    theirs = {
        part.removeprefix(f"{name}/{mode}/"): a for part, a in known.items() if f"{name}/{mode}/" in part
    }
    assert {part for part in theirs if "bias_hh" not in part} == found.keys()
    for part, array in found.items():
        assert_close(array, theirs[part], terms=2**24, scale=max(1e-3, np.abs(theirs[part]).max()))


@pytest.mark.parametrize("name", ["resnet", "convnext", "lstm_tagger", "kinds", "recurrent"])
def test_a_state_dict_comes_back_as_it_was(name, x64):
    net, entries = SMALL[name](), state_dict(name)
    shape = tuple(answers("models")[f"{name}/x"])
    x = jax.ShapeDtypeStruct(shape, np.int32 if name in IDS else np.float64)
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, np.float64),
        jax.eval_shape(net.init, jax.random.key(0), x),
    )
    params = nn.interop.torch.load_state_dict(net, shapes, entries)
    back = nn.interop.torch.to_state_dict(net, params)
    assert back.keys() == entries.keys()
    for entry, array in entries.items():
        if "bias_ih" in entry and "gru" not in entry:
            assert_close(back[entry], array + entries[entry.replace("_ih_", "_hh_")])
        elif "bias_hh" in entry:
            assert "gru" in entry or not back[entry].any()
        elif "_v" in entry or "bias_ih" in entry:
            assert back[entry].shape == array.shape
        else:
            np.testing.assert_array_equal(back[entry], array)
