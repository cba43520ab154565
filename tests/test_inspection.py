import re
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

import jaxnn as nn
from tests.support import assert_close


def test_rows_come_in_the_order_of_the_calls(key):
    net = nn.serial(nn.conv(4, 3), nn.residual(nn.relu, nn.conv(4, 1)), nn.repeat(nn.relu, 2), nn.flatten)
    table = nn.summary(net, (1, 5, 5, 2))
    assert [row.path for row in table.rows] == [
        "conv_0", "residual_0/relu_0", "residual_0/conv_0", "repeat_0/0", "repeat_0/1", "flatten_0",
    ]  # fmt: skip
    assert [row.output.shape for row in table.rows[-2:]] == [(1, 3, 3, 4), (1, 36)]
    assert (table.weights, table.state) == (4 * 18 + 4 + 16 + 4, 0)


def test_shared_weights_count_once_in_the_total():
    net = nn.graph(lambda f, x: f.half(f.half(x)), half=nn.dense(4))
    table = nn.summary(net, (1, 4))
    assert [(row.path, row.weights) for row in table.rows] == [("half", 20), ("half:1", 20)]
    assert table.weights == 20


def test_wrapped_nets_show_their_inside():
    inner = nn.serial(nn.dense(4), nn.batch_norm())
    for wrap in (nn.remat, nn.frozen, nn.mixed_precision, nn.weight_norm, nn.spectral_norm):
        rows = nn.summary(wrap(inner), (1, 4)).rows
        assert [row.path for row in rows] == ["dense_0", "batch_norm_0"]
    normed = nn.summary(nn.weight_norm(inner), (1, 4))
    assert (normed.rows[0].weights, normed.weights) == (4 * 4 + 4, 4 * 4 + 4 + 4 + 8)
    rows = nn.summary(nn.frozen(nn.serial(inner)), (1, 4)).rows
    assert [(row.path, row.weights, row.state) for row in rows] == [
        ("serial_0/dense_0", 0, 20), ("serial_0/batch_norm_0", 0, 16),
    ]  # fmt: skip
    rows = nn.summary(nn.ensemble(inner, 2), (1, 4)).rows
    assert [row.path for row in rows] == ["0/dense_0", "0/batch_norm_0", "1/dense_0", "1/batch_norm_0"]


def test_visiting_computes_what_apply_does(key):
    """``visit`` with a plain call is ``apply``, for each layer that has parts."""
    inner = nn.serial(nn.dense(4), nn.batch_norm(), jnp.tanh)
    x = jax.random.normal(key, (3, 4))
    for net in (
        inner, nn.remat(inner), nn.frozen(inner), nn.mixed_precision(inner), nn.repeat(inner, 3),
        nn.ensemble(inner, 2), nn.residual(inner), nn.parallel(inner, nn.dense(2)),
        nn.graph(lambda f, x: f.a(f.a(x)), a=inner), nn.frozen(nn.repeat(inner, 2)), nn.maxout(2, 3),
        nn.weight_norm(inner), nn.spectral_norm(inner),
    ):  # fmt: skip
        params = net.init(key, x)
        both = lambda params, x: (  # noqa: E731
            net.visit(params, x, lambda part, layer, params, x: layer.apply(params, x)),  # noqa: B023
            net.apply(params, x),  # noqa: B023
        )
        assert_close(*jax.jit(both)(params, x))


def test_several_outputs_and_single_layers():
    table = nn.summary(nn.parallel(nn.dense(2), nn.dense(3)), (1, 4))
    assert str(table).count("\n") == 5
    assert "dense" in str(nn.summary(nn.dense(2), (1, 4)))


def test_activations_are_what_the_layers_give(key):
    net = nn.serial(nn.dense(4), nn.residual(nn.dense(4), jnp.tanh), nn.repeat(nn.relu, 2), head=nn.dense(2))
    x = jax.random.normal(key, (3, 5))
    params = net.init(key, x)
    seen = nn.activations(net, params, x)
    assert list(seen) == [
        "dense_0", "residual_0/dense_0", "residual_0/tanh_0", "repeat_0/0", "repeat_0/1", "head",
    ]  # fmt: skip
    assert_close(seen["head"], net.apply(params, x))
    first = nn.dense(4).apply(nn.Params(params.weights["dense_0"], {}), x)
    assert_close(seen["dense_0"], first)
    jitted = jax.jit(lambda params, x: nn.activations(net, params, x))(params, x)
    assert_close(jitted, seen)


def test_activations_of_a_layer_called_twice(key):
    net = nn.graph(lambda f, x: f.half(f.half(x)), half=nn.dense(4))
    x = jnp.ones((1, 4))
    params = net.init(key, x)
    seen = nn.activations(net, params, x)
    assert list(seen) == ["half", "half:1"]
    np.testing.assert_array_equal(seen["half:1"], net.apply(params, x))


def test_a_table_in_a_notebook_is_html_that_names_cannot_break():
    html = nn.summary(nn.serial(nn.named("<b>&", nn.dense(4)), nn.relu), (1, 3))._repr_html_()
    assert html.count("<tr>") == 4
    assert "&lt;b&gt;&amp;" in html
    assert "<b>" not in html
    assert re.findall("<td[^>]*>([^<]*)</td>", html)[5:10] == ["relu_0", "(1, 4)", "0", "0", "4"]
    ElementTree.fromstring(html)


def test_a_batch_may_be_symbolic_or_empty():
    (n,) = export.symbolic_shape("n")
    net = nn.serial(nn.conv(2, 3), nn.flatten, nn.dense(3))
    table = nn.summary(net, jax.ShapeDtypeStruct((n, 5, 5, 1), "float32"))
    assert table.rows[-1].flops == n * (2 * 18 * 3 + 3)
    assert "111*n" in str(table)
    empty = nn.summary(net, (0, 5, 5, 1))
    assert [row.field for row in table.rows] == [row.field for row in empty.rows] == [(3, 3), (3, 3), (5, 5)]
    assert empty.flops == 0
