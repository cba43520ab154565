"""The checkers that every op and layer uses for its settings: what passes, as what, and what they raise."""

from fractions import Fraction
from math import inf, nan

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import checks

TRACED = object()  #: stands for a traced number, which only exists while a program is traced


def raised(check, value, dtype=jnp.float32):
    """What ``check(value)`` raises."""
    call = jax.eval_shape if value is TRACED else lambda check, value: check(value)
    with pytest.raises((TypeError, ValueError)) as caught:
        call(lambda v: check(v), jax.ShapeDtypeStruct((), dtype) if value is TRACED else value)
    return f"{caught.type.__name__} {caught.value}"


@pytest.mark.parametrize("value", [3, np.int8(3), np.array(3), jnp.array(3), np.uint64(3)])
def test_an_integer_comes_back_as_pythons(value):
    result = checks.integer("op", "n", value, least=3, most=3)
    assert type(result) is int
    assert result == 3


@pytest.mark.parametrize(
    "value", [True, np.True_, jnp.array(True), 3.0, np.float64(3), "3", None, [3], np.array([3]), 1j]
)
def test_what_is_not_an_integer(value):
    assert raised(lambda v: checks.integer("op", "n", v), value).startswith(
        "TypeError op: n must be an integer, got "
    )


def test_integers_out_of_range():
    assert raised(lambda v: checks.integer("op", "n", v, least=1), 0) == (
        "ValueError op: n must be at least 1, got 0"
    )
    assert raised(lambda v: checks.integer("op", "n", v, least=1, most=4), np.int64(5)) == (
        "ValueError op: n must be in [1, 4], got np.int64(5)"
    )


@pytest.mark.parametrize(
    "value", [0.5, np.float32(0.5), np.array(0.5), jnp.array(0.5), jnp.bfloat16(0.5), Fraction(1, 2)]
)
def test_a_number_comes_back_as_pythons(value):
    result = checks.number("op", "rate", value, least=0.5, most=0.5)
    assert type(result) is float
    assert result == 0.5


@pytest.mark.parametrize("value", [True, np.False_, "0.5", None, [0.5], np.array([0.5]), 1j, jnp.array(1j)])
def test_what_is_not_a_number(value):
    assert raised(lambda v: checks.number("op", "rate", v), value).startswith(
        "TypeError op: rate must be a plain number, got "
    )


@pytest.mark.parametrize("value", [nan, inf, -inf, np.float32(nan), jnp.array(inf), 10**400])
def test_a_number_is_finite_unless_said_otherwise(value):
    assert raised(lambda v: checks.number("op", "rate", v), value).startswith(
        "ValueError op: rate must be a finite number, got "
    )


def test_infinite_numbers_may_be_allowed_and_nan_is_not():
    assert checks.number("op", "level", -inf, finite=False) == -inf
    assert raised(lambda v: checks.number("op", "level", v, finite=False), nan) == (
        "ValueError op: level must be a number, got nan"
    )


@pytest.mark.parametrize(
    ("bounds", "value", "sentence"),
    [
        ({"above": 0}, 0, "positive, got 0"),
        ({"above": 0}, np.float64(-1), r"positive, got np.float64(-1.0)"),
        ({"above": 0}, jnp.float32(0), r"positive, got Array(0., dtype=float32)"),
        ({"above": 0, "most": 1}, 2, "positive and at most 1, got 2"),
        ({"above": 1}, 1, "above 1, got 1"),
        ({"least": 0}, -1, "at least 0, got -1"),
        ({"most": 2}, 3, "at most 2, got 3"),
        ({"least": 0, "most": 1}, 1.5, "in [0, 1], got 1.5"),
        ({"least": 0, "most": 1, "rule": "a share"}, 1.5, "a share, got 1.5"),
        ({"least": 0, "most": 1, "rule": "a share"}, nan, "a share, got nan"),
    ],
)
def test_numbers_out_of_range(bounds, value, sentence):
    message = raised(lambda v: checks.number("op", "x", v, **bounds), value)
    assert message == f"ValueError op: x must be {sentence}"


@pytest.mark.parametrize(
    ("check", "rule"),
    [
        (lambda v: checks.integer("op", "n", v), "an integer"),
        (lambda v: checks.number("op", "n", v), "a plain number"),
        (lambda v: checks.flag("op", "n", v), "True or False"),
        (lambda v: checks.axes("op", v, (2, 3), "n"), "an integer or a tuple of integers"),
    ],
)
def test_of_a_traced_setting_the_value_is_missing(check, rule):
    assert raised(check, TRACED, jnp.int32) == (
        f"TypeError op: n must be {rule} whose value is known when the program is traced, "
        "got a traced int32[]"
    )


@pytest.mark.parametrize("value", [True, np.True_, jnp.array(True)])
def test_a_flag_comes_back_as_pythons(value):
    assert checks.flag("op", "bias", value) is True


@pytest.mark.parametrize("value", [0, 1, None, "True", [], np.array([True])])
def test_what_is_no_flag(value):
    assert raised(lambda v: checks.flag("op", "bias", v), value).startswith(
        "TypeError op: bias must be True or False, got "
    )
    with pytest.raises(TypeError, match="op: bias must be True or False"):
        checks.flags("op", scale=True, bias=value)


@pytest.mark.parametrize("value", ["linaer", None, 3, ["a"], np.array(["a", "b"])])
def test_choices(value):
    checks.choice("op", "method", "b", ("a", "b", "c"))
    assert raised(lambda v: checks.choice("op", "method", v, ("a", "b", "c")), value).startswith(
        "ValueError op: method must be 'a', 'b' or 'c', got "
    )


def test_axes_are_counted_from_the_front_and_sorted():
    assert checks.axes("op", -1, (2, 3, 4)) == (2,)
    assert checks.axes("op", [np.int64(2), 0], (2, 3, 4)) == (0, 2)
    assert checks.axes("op", (-1, 1)) == (-1, 1)
    assert checks.axis("op", -1, (2, 3)) == 1


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (None, "TypeError op: axes must be an integer or a tuple of integers, got None"),
        (True, "TypeError op: axes must be an integer or a tuple of integers, got True"),
        ("01", "TypeError op: axes must be an integer or a tuple of integers, got '01'"),
        ((0, None), "TypeError op: axes must be an integer or a tuple of integers, got (0, None)"),
        (2, "ValueError op: axes must be among the axes of x (2, 3), got 2"),
        ((), "ValueError op: axes must be among the axes of x (2, 3), got ()"),
        ((1, -1), "ValueError op: axes must be different from each other, got (1, -1) for x (2, 3)"),
    ],
)
def test_axes_that_are_none(value, sentence):
    assert raised(lambda v: checks.axes("op", v, (2, 3)), value) == sentence


def test_axes_of_an_input_that_is_not_known_yet():
    assert raised(lambda v: checks.axes("op", v), (1, 1)) == (
        "ValueError op: axes must be different from each other, got (1, 1)"
    )
    assert (
        raised(lambda v: checks.axes("op", v), ()) == "ValueError op: axes must be at least one axis, got ()"
    )
    assert raised(lambda v: checks.axis("op", v, (2, 3)), 2) == (
        "ValueError op: axis must be one of the axes of x (2, 3), got 2"
    )


def test_functions_and_initialisers():
    checks.function("op", "loss", abs)
    checks.initialisers("op", kernel_init=jax.nn.initializers.zeros)
    assert (
        raised(lambda v: checks.function("op", "loss", v), 3)
        == "TypeError op: loss must be a function, got 3"
    )
    assert raised(lambda v: checks.initialisers("op", kernel_init=v), "zeros") == (
        "TypeError op: kernel_init must be a function of (key, shape, dtype), such as "
        "jax.nn.initializers.he_normal(), got 'zeros'"
    )


@pytest.mark.parametrize("value", [jnp.float16, "bfloat16", np.dtype("float32")])
def test_floating_point_dtypes(value):
    assert checks.floating_type("op", "dtype", value) == jnp.dtype(value)


@pytest.mark.parametrize("value", [None, "half a dozen", 3, jnp.int32, jnp.complex64])
def test_what_is_no_floating_point_dtype(value):
    assert raised(lambda v: checks.floating_type("op", "dtype", v), value).startswith(
        "TypeError op: dtype must be a floating-point dtype, got "
    )


@pytest.mark.parametrize(
    "make",
    [
        jax.random.key,
        jax.random.PRNGKey,
        lambda seed: jax.random.key(seed, impl="rbg"),
    ],
)
def test_keys_of_every_kind_pass_known_traced_and_mapped(make):
    key = make(0)
    checks.key("op", key)
    jax.eval_shape(lambda key: checks.key("op", key), key)
    jax.eval_shape(jax.vmap(lambda key: checks.key("op", key)), jnp.stack([key, key]))
    with pytest.raises(TypeError, match=r"op: key must be one JAX key.* got a traced"):
        jax.eval_shape(lambda key: checks.key("op", key), jnp.stack([key, key]))


def test_raw_keys_are_those_of_the_default_kind():
    checks.key("op", np.zeros(2, np.uint32))
    with jax.default_prng_impl("rbg"):
        checks.key("op", jax.random.PRNGKey(0))
        with pytest.raises(TypeError, match=r"op: key must be one JAX key, .* got an array uint32\[2\]"):
            checks.key("op", np.zeros(2, np.uint32))


@pytest.mark.parametrize("value", [0, None, "key", jnp.zeros(2), np.zeros((3, 2), np.uint32), [0, 0]])
def test_what_is_no_key(value):
    assert raised(lambda v: checks.key("op", v), value).startswith(
        "TypeError op: key must be one JAX key, such as jax.random.key(0), got "
    )


@pytest.mark.parametrize("value", [2, 2.0, True, np.float32(2), np.array([2]), jnp.array([2.0])])
def test_arrays_and_numbers_are_arrays(value):
    assert isinstance(checks.array("op", value), jax.Array)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (None, "an array, got None"),
        ("abc", "an array, got 'abc'"),
        ({"x": 1}, "an array, got {'x': 1}"),
        (np.array([None]), "an array, got an array object[1]"),
        (np.array(["a", "b"]), "an array, got an array <U1[2]"),
        ([1.0, 2.0], "one array, got a list of 2 (1.0, 2.0)"),
        ((np.ones(2), np.ones(2)), "one array, got a tuple of 2 (float64[2], float64[2])"),
    ],
)
def test_what_is_no_array(value, sentence):
    assert raised(lambda v: checks.array("op", v), value) == f"TypeError op: x must be {sentence}"


def test_what_came_is_shown_in_short():
    assert checks.shown(list(range(1000))).endswith("...")
    assert len(checks.shown(list(range(1000)))) == 120
    assert checks.shown(np.zeros((1000, 2))) == "an array float64[1000,2]"
    assert checks.shown(jax.random.key(0)) == "an array key<fry>[]"
    assert checks.shown(raised) == "the function raised"
