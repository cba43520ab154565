"""The operations that ``summary`` counts, against counts by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxnn as nn

X = (3, 8, 8, 4)
KERNEL = np.ones((3, 3, 4, 6), np.float32)


def flops(layer, shape=X):
    return nn.summary(layer, shape).flops


@pytest.mark.parametrize(
    ("layer", "shape", "count"),
    [
        (nn.dense(5, bias=False), (2, 7), 2 * 2 * 7 * 5),
        (nn.dense(5), (2, 7), 2 * 2 * 7 * 5 + 2 * 5),
        (nn.conv(6, 3, bias=False), X, 2 * (3 * 6 * 6 * 6) * 9 * 4),
        (nn.conv(6, 3, padding="SAME", bias=False), X, 2 * (3 * 8 * 8 * 6) * 9 * 4),
        (nn.conv(8, 3, strides=2, groups=2, padding=1, bias=False), X, 2 * (3 * 4 * 4 * 8) * 9 * 2),
        (nn.depthwise_conv(3, bias=False), X, 2 * (3 * 6 * 6 * 4) * 9),
        (nn.conv_transpose(6, 4, strides=2, bias=False), X, 2 * (3 * 8 * 8 * 4) * 16 * 6),
        (nn.relu, X, 3 * 8 * 8 * 4),
        (jnp.tanh, X, 3 * 8 * 8 * 4),
        (nn.flatten, X, 0),
        (nn.dropout(0.5), X, 0),
        (nn.upsample(2), X, 0),
        (nn.pad(1), X, 0),
        (nn.max_pool(2), X, 3 * (3 * 4 * 4 * 4)),
        (lambda x: jnp.sum(x, axis=(1, 2)), X, 3 * 8 * 8 * 4),
        (lambda x: jnp.arange(4) * 2 + 1, X, 0),
        (lambda x: x.astype(jnp.bfloat16), X, 0),
        (lambda x: lax.conv(x, KERNEL.T, (1, 1), "VALID"), (2, 4, 8, 8), 2 * (2 * 6 * 6 * 6) * 9 * 4),
        (lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 2), (1, 2), "VALID"), (3, 8), 2 * 3 * 4),
        (lambda x: lax.scan(lambda c, _: (jnp.sin(c) * c, None), x, length=7)[0], X, 7 * 2 * 3 * 8 * 8 * 4),
        (lambda x: lax.cond(x[0, 0, 0, 0] > 0, jnp.sin, lambda x: x * x + x, x), X, 1 + 2 * 3 * 8 * 8 * 4),
        (jax.checkpoint(lambda x: x + x), X, 3 * 8 * 8 * 4),
        (jax.jit(lambda x: x + x), X, 3 * 8 * 8 * 4),
    ],
)  # fmt: skip
def test_counts(layer, shape, count):
    assert flops(layer, shape) == count


@pytest.mark.parametrize("settings", [{}, {"strides": 2, "padding": "SAME"}, {"dilation": 2}])
def test_our_convolutions_count_as_those_of_lax(settings):
    def plain(x):
        return lax.conv_general_dilated(
            x, KERNEL, 2 * (settings.get("strides", 1),), settings.get("padding", "VALID"),
            rhs_dilation=2 * (settings.get("dilation", 1),), dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip

    assert flops(lambda x: nn.ops.conv(x, KERNEL, **settings)) == flops(plain)


def test_the_zeros_of_a_transposed_convolution_do_not_count():
    kernel = np.ones((4, 4, 4, 6), np.float32)

    def plain(x):
        return lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            ((3, 3), (3, 3)),
            lhs_dilation=(2, 2),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    # On each axis 18 windows of 4 places, of which every second is one of the zeros.
    assert flops(plain) == 2 * 3 * (18 * 2) ** 2 * 4 * 6
    assert flops(lambda x: nn.ops.conv_transpose(x, kernel, strides=2)) == 2 * 3 * (8 * 4) ** 2 * 4 * 6


def test_a_loop_of_unknown_length_is_not_counted():
    def halved(x):
        return lax.while_loop(lambda x: jnp.max(x) > 1, lambda x: x / 2, x)

    table = nn.summary(nn.serial(nn.relu, halved), (2, 3))
    assert [row.flops for row in table.rows] == [6, None]
    assert table.flops is None
    assert str(table).splitlines()[-1].split() == ["total", "0", "0", "—"]


def test_the_total_has_what_stands_between_the_layers():
    table = nn.summary(nn.residual(nn.relu), (2, 3))
    assert [row.flops for row in table.rows] == [6]
    assert table.flops == 12
