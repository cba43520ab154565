"""Profiles show where in a net an operation comes from: its path is the scope of what it lowers to."""

import re

import jax
import jax.numpy as jnp
import pytest

import jaxnn as nn
from jaxnn.combinators.graph import Composite

KEY = jax.random.key(0)


def net():
    return nn.serial(
        nn.conv(4, 3, padding="SAME"),
        nn.residual(nn.conv(4, 3, padding="SAME"), nn.batch_norm(), nn.conv(4, 1)),
        nn.repeat(nn.serial(nn.conv(4, 1)), 2),
        nn.flatten,
        head=nn.dense(2),
    )


X = jnp.ones((2, 4, 4, 4))


def lowered(function):
    made = net()
    return jax.jit(lambda params, x: function(made, params, x)).lower(made.init(KEY, X), X)


USES = {
    "apply": lambda made, params, x: made.apply(params, x),
    "train": lambda made, params, x: made.train(params, x),
    "gradient": lambda made, params, x: jax.grad(
        lambda weights: jnp.sum(made.train(params._replace(weights=weights), x)[0])
    )(params.weights),
    "vmap": lambda made, params, x: jax.vmap(made.apply, in_axes=(None, 0))(params, x[None]),
}


@pytest.mark.parametrize("name", USES)
def test_the_path_of_a_layer_is_the_scope_of_its_operations(name):
    text = lowered(USES[name]).as_text(debug_info=True)
    for _ in range(2):  # a transformation stands around the first scope: transpose(jvp(serial))
        text = re.sub(r"(?:transpose|jvp|vmap)\((\w+)\)", r"\1", text)
    for path in ("serial/conv_0/", "serial/residual_0/conv_1/", "serial/repeat_0/", "serial/head/"):
        assert path in text, path
    assert "serial/serial" not in text
    assert "residual_0/residual" not in text


def test_compiled_programs_keep_the_path():
    assert re.search(
        r'op_name="jit\(\S+\)/serial/residual_0/conv_1/', lowered(USES["apply"]).compile().as_text()
    )


@pytest.mark.parametrize("name", USES)
def test_the_operations_are_the_same_as_without_names(name, monkeypatch):
    named = lowered(USES[name]).as_text()
    monkeypatch.setattr(Composite, "_named", Composite._run)
    assert lowered(USES[name]).as_text() == named


def test_an_error_leaves_no_scope_behind():
    broken = nn.serial(nn.serial(lambda x: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        broken.apply(nn.Params({}, {}), X)
    assert "serial/conv_0/" in lowered(USES["apply"]).as_text(debug_info=True)
