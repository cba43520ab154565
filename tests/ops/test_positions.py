"""Positions: what their equations say, and what they are for."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn as nn
from jaxnn.ops import alibi_bias, attention, rotary, rotary_layout, sinusoidal_positions
from tests.support import assert_close, rng_array

X = rng_array(2, 5, 3, 8)


@pytest.mark.parametrize("layout", ["halves", "pairs"])
@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_rotary_is_the_rotation_of_complex_numbers(layout, fraction):
    size = int(8 * fraction)
    positions = np.array([[0, 1, 2, 3, 4], [7, 9, 100, 3, 0]])
    a, b = (
        (slice(0, size // 2), slice(size // 2, size))
        if layout == "halves"
        else (slice(0, size, 2), slice(1, size, 2))
    )
    turns = positions[..., None] * 500.0 ** (-np.arange(0, size, 2) / size)
    z = (X[..., a] + 1j * X[..., b]) * np.exp(1j * turns)[:, :, None]
    expected = X.astype(np.float64)
    expected[..., a], expected[..., b] = z.real, z.imag
    assert_close(rotary(X, positions, base=500.0, fraction=fraction, layout=layout), expected, roundings=64)


def test_rotated_products_depend_on_distances_alone():
    q, k = rotary(X, jnp.arange(5)), rotary(X[::-1], jnp.arange(5))
    later = rotary(X, jnp.arange(90, 95)), rotary(X[::-1], jnp.arange(90, 95))
    products = [np.einsum("nthd,nshd->nhts", *pair) for pair in ((q, k), later)]
    assert_close(*products, roundings=64)


def test_a_kernel_converted_to_the_other_layout_computes_the_same():
    x, kernels = rng_array(2, 5, 6), [rng_array(6, 24, seed=i) for i in (1, 2)]

    def scores(kernels, layout):
        q, k = (rotary((x @ kernel).reshape(2, 5, 3, 8), fraction=0.5, layout=layout) for kernel in kernels)
        return np.einsum("nthd,nshd->nhts", q, k)

    converted = [np.asarray(rotary_layout(kernel, 3, to="pairs", fraction=0.5)) for kernel in kernels]
    assert_close(scores(converted, "pairs"), scores(kernels, "halves"))
    for kernel, back in zip(kernels, converted, strict=True):
        np.testing.assert_array_equal(rotary_layout(back, 3, to="halves", fraction=0.5), kernel)


def test_sinusoidal_positions():
    positions = np.array([0, 3, 50])
    y = np.asarray(sinusoidal_positions(positions, 6))
    for i in range(3):
        angle = positions / 10_000 ** (2 * i / 6)
        assert_close(y[:, 2 * i], np.sin(angle))
        assert_close(y[:, 2 * i + 1], np.cos(angle))


@pytest.mark.parametrize("heads", [4, 6])
def test_alibi_is_the_bias_of_the_paper_up_to_what_the_softmax_does_not_see(heads):
    slopes = [2 ** (-2 * (h + 1)) for h in range(4)] + [2 ** (-1), 2 ** (-3)]
    distance = np.arange(5)[:, None] - np.arange(5)
    paper = -np.array(slopes[:heads], np.float32)[None, :, None, None] * distance.astype(np.float32)
    q, k, v = (rng_array(2, 5, heads, 4, seed=i) for i in range(3))
    assert_close(
        attention(q, k, v, causal=True, bias=alibi_bias(heads, 5)),
        attention(q, k, v, causal=True, bias=paper),
    )


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: rotary(X[..., :3]),
            "rotary: an even number of features must be rotated, got 3: fraction 1.0 of 3",
        ),
        (lambda: rotary(X[0]), "rotary: x must be (N, T, H, D), got shape (5, 3, 8)"),
        (
            lambda: rotary(X, np.arange(4)),
            "rotary: positions must be (T,) = (5,) or (N, T) = (2, 5), got shape (4,)",
        ),
        (lambda: rotary(X, np.ones(5)), "rotary: positions must be integers, got float32"),
        (lambda: rotary(X, layout="half"), "rotary: layout must be 'halves' or 'pairs', got 'half'"),
        (
            lambda: rotary_layout(np.ones((3, 7)), 2, to="pairs"),
            "rotary_layout: heads must divide the last axis of",
        ),
        (lambda: sinusoidal_positions(np.arange(3), 5), "sinusoidal_positions: features must be even, got 5"),
    ],
)
def test_errors(call, sentence):
    with pytest.raises((ValueError, TypeError), match=re.escape(sentence)):
        call()


def test_layers_have_the_same_names():
    assert nn.output_shape(nn.sinusoidal_positions(), (1, 5, 8)) == (1, 5, 8)
