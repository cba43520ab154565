import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn as nn
from tests.support import assert_close


def test_serial_names_its_parts(key):
    net = nn.serial(nn.dense(3), nn.relu, nn.dense(3), nn.named("stem", nn.dense(3)), head=nn.dense(2))
    assert set(net.init(key, (1, 4)).weights) == {"dense_0", "dense_1", "stem", "head"}


def test_serial_is_composition(key):
    net = nn.serial(nn.dense(3), jnp.tanh, nn.dense(2))
    params, x = net.init(key, (1, 4)), jnp.arange(8.0).reshape(2, 4)
    w = params.weights
    hidden = np.tanh(x @ w["dense_0"]["kernel"] + w["dense_0"]["bias"][None])
    expected = hidden @ w["dense_1"]["kernel"] + w["dense_1"]["bias"][None]
    assert_close(net.apply(params, x), expected)


def test_an_empty_serial_is_the_identity(key):
    net = nn.serial()
    params, x = net.init(key, (1, 4)), jnp.ones((2, 4))
    assert params == nn.Params({}, {})
    assert net.apply(params, x) is x
    assert net.train(params, x) == (x, {})


def test_two_layers_of_one_name():
    with pytest.raises(
        ValueError, match=r"serial: two layers are called 'dense_0'; each needs a name of its own"
    ):
        nn.serial(nn.dense(3), dense_0=nn.dense(2))


def test_residual_adds_its_input(key):
    net = nn.residual(nn.dense(4), nn.relu)
    params, x = net.init(key, (1, 4)), jnp.arange(8.0).reshape(2, 4)
    inner = nn.serial(nn.dense(4), nn.relu).apply(params, x)
    assert_close(net.apply(params, x), x + inner)


def test_residual_with_a_shortcut(key):
    net = nn.residual(nn.conv(8, 3, strides=2, padding="SAME"), shortcut=nn.conv(8, 1, strides=2))
    params = net.init(key, (1, 6, 6, 3))
    assert set(params.weights) == {"conv_0", "shortcut"}
    assert net.apply(params, jnp.ones((2, 6, 6, 3))).shape == (2, 3, 3, 8)


def test_residual_of_two_shapes(key):
    with pytest.raises(
        ValueError,
        match=r"residual: the layers give float32\[2,3\] but the shortcut float32\[2,4\].*shortcut= takes",
    ):
        nn.residual(nn.dense(3)).init(key, (2, 4))


@pytest.mark.parametrize(
    ("merge", "expected"),
    [
        (tuple, ((2, 3), (2, 3))),
        ("concat", (2, 6)),
        ("sum", (2, 3)),
        (lambda ys: ys[0] * ys[1], (2, 3)),
    ],
)
def test_parallel_merges(merge, expected, key):
    net = nn.parallel(nn.dense(3), other=nn.dense(3), merge=merge)
    params, x = net.init(key, (1, 4)), jnp.ones((2, 4))
    assert set(params.weights) == {"dense_0", "other"}
    assert nn.output_shape(net, (2, 4)) == expected
    branches = [
        nn.dense(3).apply(nn.Params(w, {}), x) for w in (params.weights["dense_0"], params.weights["other"])
    ]
    if merge == "sum":
        assert_close(net.apply(params, x), branches[0] + branches[1])
    if merge == "concat":
        assert_close(net.apply(params, x), np.concatenate(branches, -1))


def test_parallel_refuses_what_it_cannot_merge():
    with pytest.raises(
        ValueError, match=r"parallel: merge must be 'concat', 'sum' or a function.*got 'mean'"
    ):
        nn.parallel(nn.dense(3), merge="mean")
    with pytest.raises(ValueError, match=r"parallel: at least one layer is needed, got none"):
        nn.parallel()


def test_split_has_one_branch_an_element(key):
    net = nn.split(nn.dense(2), nn.relu)
    params = net.init(key, ((1, 4), (1, 3)))
    a, b = net.apply(params, (jnp.ones((5, 4)), -jnp.ones((5, 3))))
    assert a.shape == (5, 2)
    np.testing.assert_array_equal(b, jnp.zeros((5, 3)))


def test_split_of_another_number(key):
    net = nn.split(nn.dense(2), nn.relu)
    with pytest.raises(
        ValueError, match=r"split: the input must be a tuple of 2, one element per layer, got float32"
    ):
        jax.eval_shape(net.apply, nn.Params({}, {}), jnp.ones((5, 4)))
