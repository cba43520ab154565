import inspect

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxnn.ops.conv_general import conv_general_dilated
from tests.support import assert_close, on_cpu, rng_array


def test_has_the_signature_of_lax():
    def arguments(function):
        return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]

    assert arguments(conv_general_dilated) == arguments(lax.conv_general_dilated)


LAST = ("NHWC", "HWIO", "NHWC")
#: Shapes, settings, and whether jaxnn has a kernel for them.
SETTINGS = {
    "channels-first": (((2, 3, 6), (4, 3, 2)), {"window_strides": (2,), "padding": "SAME"}, True),
    "numbers-out-of-order": (
        ((5, 3, 2, 6), (4, 3, 2, 3)),
        {"window_strides": (2, 1), "padding": "SAME_LOWER", "dimension_numbers": ("HCNW", "OHWI", "CWHN")},
        True,
    ),
    "grouped": (
        ((2, 5, 6, 4), (3, 2, 2, 6)),
        {
            "window_strides": (1, 2),
            "padding": ((1, -1), (2, 0)),
            "rhs_dilation": (1, 2),
            "dimension_numbers": LAST,
            "feature_group_count": 2,
            "precision": "highest",
        },
        True,
    ),
    "dilated-input": (
        ((2, 5, 4, 4), (3, 2, 2, 6)),
        {
            "window_strides": (1, 1),
            "padding": ((1, 2), (3, -1)),
            "lhs_dilation": (2, 3),
            "rhs_dilation": (1, 2),
            "dimension_numbers": LAST,
            "feature_group_count": 2,
        },
        True,
    ),
    "dilated-input-with-strides": (
        ((2, 5, 4, 2), (3, 2, 2, 3)),
        {
            "window_strides": (1, 2),
            "padding": ((1, 2), (3, -1)),
            "lhs_dilation": (2, 1),
            "dimension_numbers": LAST,
        },
        False,
    ),
    "batch-groups": (
        ((4, 2, 5), (6, 2, 3)),
        {"window_strides": (1,), "padding": "VALID", "batch_group_count": 2},
        False,
    ),
    "no-spatial-axis": (((2, 3), (4, 3)), {"window_strides": (), "padding": ()}, False),
    "empty-output": (((2, 3, 2), (4, 3, 3)), {"window_strides": (1,), "padding": "VALID"}, False),
}


@pytest.mark.parametrize(("shapes", "settings", "ours"), SETTINGS.values(), ids=SETTINGS)
def test_is_that_of_lax_with_its_gradients(shapes, settings, ours):
    def both(convolution):
        y, pull = jax.vjp(lambda *a: convolution(*a, **settings), lhs, rhs)
        return y, pull(jnp.asarray(rng_array(*y.shape, seed=2)))

    lhs, rhs = rng_array(*shapes[0]), rng_array(*shapes[1], seed=1)
    assert_close(both(conv_general_dilated), both(lax.conv_general_dilated))
    jaxpr = str(jax.make_jaxpr(lambda *a: conv_general_dilated(*a, **settings))(lhs, rhs))
    assert ("jaxnn_conv" in jaxpr) == ours


@pytest.mark.parametrize("wanted", [None, jnp.float32])
def test_passes_the_element_type_on(wanted):
    lhs, rhs = jnp.ones((1, 1, 3), jnp.bfloat16), jnp.ones((1, 1, 2), jnp.bfloat16)
    y = conv_general_dilated(lhs, rhs, (1,), "VALID", preferred_element_type=wanted)
    assert y.dtype == (wanted or jnp.bfloat16)
    assert y.ravel().tolist() == [2, 2]


@on_cpu
def test_integers_and_complex_numbers_are_those_of_lax():
    for dtype in (jnp.int32, jnp.complex64):
        lhs, rhs = jnp.arange(5).astype(dtype).reshape(1, 1, 5), jnp.ones((1, 1, 2), dtype)
        y = conv_general_dilated(lhs, rhs, (1,), "VALID")
        assert y.dtype == dtype
        assert y.ravel().tolist() == [1, 3, 5, 7]


def test_errors_are_those_of_lax():
    with pytest.raises(ValueError, match="conv_general_dilated lhs feature dimension"):
        conv_general_dilated(jnp.ones((1, 2, 5)), jnp.ones((1, 3, 2)), (1,), "VALID")


ODD = (None, 0, -1, 2, 2.5, True, "abc", (1,), (0,), (2.5,), (1, 1, 1), ((0, 0),), ((1, 2), (1, 2)), ())


@pytest.mark.parametrize("argument", list(inspect.signature(lax.conv_general_dilated).parameters)[2:])
def test_wrong_settings_do_what_they_do_in_lax(argument):
    good = {"lhs": jnp.ones((1, 2, 5)), "rhs": jnp.ones((2, 2, 3)), "window_strides": (1,), "padding": "SAME"}

    def outcome(function, value):
        try:
            return jax.eval_shape(lambda: function(**{**good, argument: value})).shape
        except Exception as error:
            return type(error), str(error)

    for value in ODD:
        assert outcome(conv_general_dilated, value) == outcome(lax.conv_general_dilated, value), value


class LibraryConv:
    """A layer of a library that lets its user name the convolution, as Flax does."""

    def __init__(self, kernel, conv_general_dilated=lax.conv_general_dilated):
        self.kernel, self.convolve = kernel, conv_general_dilated

    def __call__(self, x):
        numbers = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
        return self.convolve(
            x,
            self.kernel,
            (2, 2),
            "SAME",
            lhs_dilation=(1, 1),
            rhs_dilation=(1, 1),
            dimension_numbers=numbers,
            feature_group_count=4,
            precision=None,
        )


def test_drops_in_to_a_library_that_takes_a_convolution():
    x, kernel = rng_array(2, 7, 6, 4), jnp.asarray(rng_array(3, 3, 1, 8))

    def loss(kernel, *convolution):
        return jnp.sum(jnp.square(LibraryConv(kernel, *convolution)(x)))

    theirs, ours = jax.jit(jax.grad(loss)), jax.jit(jax.grad(lambda k: loss(k, conv_general_dilated)))
    assert_close(ours(kernel), theirs(kernel))
