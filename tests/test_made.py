"""A layer prints as the call that made it, and knows its settings."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import treescope
from rich.pretty import pretty_repr

import jaxnn as nn
from jaxnn.lifting import as_layer
from tests.layers.catalogue import every_layer


@every_layer
def test_what_is_printed_makes_the_layer_again(entry):
    layer = as_layer(entry.make())
    assert layer.made is not None, "its constructor must be marked with @constructor"
    if "<lambda>" in repr(layer):
        return
    again = as_layer(eval(repr(layer), vars(jax.nn.initializers) | vars(nn)))
    assert repr(again) == repr(layer)
    x = jax.ShapeDtypeStruct(entry.shape, jnp.int32 if entry.integers else jnp.float32)
    shapes = [jax.eval_shape(made.init, jax.random.key(0), x) for made in (layer, again)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.conv(8, (3, 5), padding="SAME"), "conv(8, (3, 5), padding='SAME')"),
        (nn.dense(3, kernel_init=jax.nn.initializers.normal(1.0)), "dense(3, kernel_init=normal(...))"),
        (nn.serial(partial(nn.gelu, approximate=False)), "serial(partial(gelu, approximate=False))"),
        (nn.serial(head=nn.dense(1), **{"0": nn.dense(2)}), "serial(head=dense(1), **{'0': dense(2)})"),
        (nn.named("stem", nn.dense(1)), "named('stem', dense(1))"),
        (nn.mixed_precision(nn.dense(1), jnp.float16), "mixed_precision(dense(1), float16)"),
        (nn.parallel(nn.dense(1), merge=lambda ys: ys[0]), "parallel(dense(1), merge=<lambda>)"),
        (nn.models.resnet50(10), "resnet50(10)"),
        (replace(nn.dense(1), made=None), "Layer('dense')"),
    ],
    ids=str,
)  # fmt: skip
def test_layers_print_as_code(layer, text):
    assert repr(layer) == text


def test_arrays_print_as_dtype_and_shape():
    assert repr(nn.standardize(np.ones((3, 2)))) == "standardize(float64[3,2])"


def test_a_long_call_has_one_argument_per_line():
    block = nn.residual(
        nn.conv(64, 3, padding="SAME"), nn.batch_norm(momentum=0.99), nn.relu, shortcut=nn.conv(64, 1)
    )
    assert repr(nn.serial(nn.dense(1), nn.frozen(block))) == "\n".join([
        "serial(",
        "    dense(1),",
        "    frozen(",
        "        residual(",
        "            conv(64, 3, padding='SAME'),",
        "            batch_norm(momentum=0.99),",
        "            relu,",
        "            shortcut=conv(64, 1),",
        "        ),",
        "    ),",
        ")",
    ])  # fmt: skip


# treescope asks NumPy for a class that the newest versions deprecate
@pytest.mark.filterwarnings("ignore:The chararray class is deprecated:DeprecationWarning")
def test_treescope_and_rich_show_the_call_too():
    short = nn.serial(nn.conv(8, 3), nn.relu, head=nn.dense(3), **{"0": nn.frozen(nn.dense(2))})
    as_tree = "".join(treescope.render_to_text(short).split())
    assert as_tree.replace(",)", ")") == "".join(repr(short).split()).replace(",)", ")")
    assert pretty_repr(short) == repr(short)
    assert "kernel" in pretty_repr(short.init(jax.random.key(0), (1, 4, 4, 1)))


def test_settings_are_known_by_name_with_their_defaults():
    settings = nn.named("stem", nn.batch_norm(momentum=0.5)).made.settings()["layer"].made.settings()
    assert settings["momentum"] == 0.5
    assert settings["epsilon"] == 1e-5


def test_a_layer_is_equal_and_hashed_as_before():
    layer = nn.serial(nn.dense(1))
    assert layer == replace(layer)
    assert hash(layer) == hash(replace(layer, made=None, parts=None))
    assert layer != nn.serial(nn.dense(1))


def test_a_composite_knows_its_parts():
    net = nn.residual(nn.conv(8, 3), nn.relu, shortcut=nn.conv(8, 1))
    assert list(net.parts) == ["conv_0", "relu_0", "shortcut"]
    assert nn.dense(1).parts is None
