"""The forms of a convolution against each other, and what the primitives promise JAX."""

from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jax import lax

import jaxnn as nn
from jaxnn.kernels.choice import always, choose
from jaxnn.kernels.convolution import lax as plain
from jaxnn.kernels.convolution import primitives as convolution
from jaxnn.kernels.convolution.cpu import batches, canonical, grouping, libraries, phases, unfolded, unfolding
from jaxnn.kernels.convolution.forms import FORMS
from jaxnn.kernels.convolution.problem import Settings
from jaxnn.kernels.lowering.primitive import KERNELS
from jaxnn.ops.conv import conv
from tests.collectives import check_only_sums
from tests.reference import conv as reference
from tests.support import assert_close, deep, on_cpu, rng_array

PASSES = ("forward", "input_gradient", "kernel_gradient")


def operands(s: Settings, c_in: int, c_out: int, n: int = 2):
    """The operands of each pass: (x, kernel), (kernel, y) and (x, y)."""
    x, kernel = rng_array(n, *s.space, c_in), rng_array(*s.window, c_in // s.groups, c_out, seed=1)
    y = rng_array(n, *s.out, c_out, seed=2)
    return dict(zip(PASSES, ((x, kernel), (kernel, y), (x, y)), strict=True))


def problem_of(which: str, a, b, s: Settings, dtype=jnp.float32, devices: int = 1):
    kernel = KERNELS[f"jaxnn_conv_{which}"]
    params = {"settings": s, "dtype": jnp.dtype(dtype)}
    return kernel.describe((jax.typeof(a), jax.typeof(b)), params, devices)


def form_of(which: str, s: Settings, c_in: int, c_out: int, n: int):
    """What names the chosen form of this problem, and of those that differ from it in the fields given."""
    problem = problem_of(which, *operands(s, c_in, c_out, n)[which], s)

    def form(**other):
        return choose(FORMS["cpu"][which], problem._replace(**other)).name

    return form


def every_form(which: str, a, b, s: Settings, dtype=jnp.float32):
    """By name the results of all forms that fit, whether they pay or not."""
    problem = problem_of(which, a, b, s, dtype)
    return {form.name: form.compute(problem, a, b) for form in FORMS["cpu"][which] if form.fits(problem)}


def check(s: Settings, c_in: int, c_out: int, n: int = 2):
    pairs = operands(s, c_in, c_out, n)
    run = jax.jit(lambda pairs: {which: every_form(which, *pair, s) for which, pair in pairs.items()})
    for results in run({which: tuple(map(jnp.asarray, pair)) for which, pair in pairs.items()}).values():
        plain = results.pop("lax")
        for name, result in results.items():
            try:
                assert_close(result, plain)
            except AssertionError as error:
                error.add_note(f"form {name}, {s}, {c_in} → {c_out} channels")
                raise


@st.composite
def settings(draw):
    rank = draw(st.integers(1, 2))
    axes = range(rank)
    ints = {"space": (3, 6), "window": (1, 4), "strides": (1, 4), "dilation": (1, 3)}
    chosen = {name: tuple(draw(st.integers(*ends)) for _ in axes) for name, ends in ints.items()}
    pairs = tuple((draw(st.integers(-2, 5)), draw(st.integers(-2, 5))) for _ in axes)
    return Settings(**chosen, padding=pairs, groups=draw(st.sampled_from((1, 1, 2, 3))))


@given(
    s=settings(),
    c_in=st.integers(1, 2),
    c_out=st.integers(1, 2),
    n=st.sampled_from((0, 1, 6)),
    chunks=st.booleans(),
)
def test_every_form_is_the_plain_one(s, c_in, c_out, n, chunks):
    assume(all(out > 0 for out in s.out))
    assume(n > 0 or s.groups == 1)
    with patch.object(batches, "FLOATS", 60 if chunks else 10**6):
        check(s, c_in * s.groups, c_out * s.groups, n)


def test_every_form_takes_an_empty_batch():
    check(Settings((3, 3), (1, 2), (1, 1), ((0, 0),) * 2, (1, 1)), 1, 1, n=0)
    check(Settings((5, 4), (3, 2), (2, 1), ((1, 1),) * 2, (1, 2)), 2, 3, n=0)


def test_every_form_of_three_axes():
    check(Settings((4, 3, 5), (2, 1, 3), (1, 2, 2), ((1, 0), (0, 0), (1, 2)), (1, 1, 2)), 2, 3)


#: Per pass, settings, channels and batch that are computed in each form.
CHOSEN = {
    "forward": {
        "unfolded": (Settings((8, 8), (2, 2), (2, 2), ((0, 0),) * 2, (1, 1)), 4, 5, 2),
        "depthwise": (Settings((5, 5), (3, 3), (1, 1), ((0, 0),) * 2, (1, 1), 4), 4, 8, 2),
        "grouped": (Settings((9, 9), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1), 2), 16, 32, 4),
        "pointwise": (Settings((5,), (1,), (1,), ((0, 0),), (1,)), 4, 32, 2),
        "banded": (Settings((28, 28), (5, 5), (1, 1), ((2, 2),) * 2, (1, 1)), 1, 6, 100),
        "blocked": (Settings((16, 16), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1)), 3, 8, 40),
        "canonical": (Settings((8, 8), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1)), 32, 32, 6),
    },
    "input_gradient": {
        "stamps": (Settings((6, 6), (2, 2), (2, 2), ((0, 0),) * 2, (1, 1)), 4, 8, 2),
        "dilated": (Settings((8, 8), (4, 4), (2, 2), ((1, 1),) * 2, (1, 1)), 3, 64, 2),
        "at_once": (Settings((8, 8), (4, 4), (2, 2), ((1, 1),) * 2, (1, 1)), 4, 8, 2),
        "unfolded": (Settings((8, 8), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1)), 4, 16, 2),
        "phases": (Settings((8, 8), (4, 4), (2, 2), ((1, 1),) * 2, (1, 1)), 64, 64, 2),
    },
    "kernel_gradient": {
        "zeros": (Settings((5,), (3,), (1,), ((0, 0),), (1,)), 2, 2, 0),
        "unfolded": (Settings((8, 8), (2, 2), (2, 2), ((0, 0),) * 2, (1, 1)), 4, 5, 2),
        "depthwise": (Settings((5, 5), (3, 3), (1, 1), ((0, 0),) * 2, (1, 1), 4), 4, 8, 8),
        "by_tap": (Settings((5, 5), (3, 3), (1, 1), ((0, 0),) * 2, (1, 1), 2), 4, 4, 2),
        "grouped": (Settings((9, 9), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1), 2), 4, 4, 4),
        "pointwise": (Settings((5,), (1,), (1,), ((0, 0),), (1,)), 4, 32, 2),
        "blocked": (Settings((16, 16), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1)), 1, 8, 20),
        "by_output": (Settings((8, 8), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1)), 32, 16, 6),
        "canonical": (Settings((8, 8), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1)), 8, 32, 12),
    },
}


#: Passes for which unfolding is chosen since it writes little.
UNFOLDED = {
    "whole image": ("forward", Settings((4, 4), (4, 4), (1, 1), ((0, 0),) * 2, (1, 1)), 32, 64, 2),
    "few channels by rows": ("forward", Settings((8, 8), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1)), 16, 4, 2),
    "two outputs": ("forward", Settings((8, 8), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1)), 64, 2, 2),
    "few taps": ("forward", Settings((8, 8), (2, 2), (1, 1), ((0, 0),) * 2, (1, 1)), 8, 64, 4),
    "strides and dilation": ("forward", Settings((20, 20), (5, 5), (2, 2), ((4, 4),) * 2, (2, 2)), 4, 6, 6),
    "brief tiles": ("forward", Settings((8, 8), (2, 2), (2, 2), ((0, 0),) * 2, (1, 1)), 16, 64, 4),
    "brief, few taps": ("forward", Settings((8, 8), (2, 2), (2, 2), ((0, 1),) * 2, (1, 1)), 16, 64, 4),
    "few windows": ("forward", Settings((8, 8), (5, 5), (2, 2), ((2, 2),) * 2, (1, 1)), 4, 32, 1),
    "few channels of x": (
        "input_gradient",
        Settings((8, 8), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1)),
        32,
        9,
        2,
    ),
    "few floats": ("input_gradient", Settings((8, 8), (2, 2), (1, 1), ((0, 0),) * 2, (1, 1)), 64, 8, 2),
    "thin": ("input_gradient", Settings((64, 64), (4, 4), (1, 1), ((1, 1),) * 2, (1, 1)), 4, 8, 2),
    "both, backwards": ("input_gradient", Settings((9, 9), (3, 3), (2, 2), ((1, 1),) * 2, (2, 2)), 32, 16, 2),
    "tiles": ("kernel_gradient", Settings((8, 8), (4, 4), (4, 4), ((0, 0),) * 2, (1, 1)), 1, 64, 8),
    "strides": ("kernel_gradient", Settings((8, 8), (3, 3), (2, 2), ((1, 1),) * 2, (1, 1)), 4, 16, 7),
    "small window": ("kernel_gradient", Settings((8, 8), (2, 2), (1, 1), ((0, 0),) * 2, (1, 1)), 3, 64, 16),
    "few of a kernel": (
        "kernel_gradient",
        Settings((32, 13), (5, 5), (2, 2), ((2, 2),) * 2, (1, 1)),
        4,
        7,
        2,
    ),
    "few places": ("kernel_gradient", Settings((19, 19), (7, 7), (2, 2), ((0, 0),) * 2, (1, 1)), 8, 16, 4),
    "few examples": ("kernel_gradient", Settings((19, 19), (7, 7), (2, 2), ((3, 3),) * 2, (1, 1)), 8, 16, 3),
    "few inputs": ("kernel_gradient", Settings((16, 16), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1)), 8, 128, 4),
}


@pytest.mark.parametrize("kind", UNFOLDED)
def test_windows_are_unfolded_where_that_writes_little(kind):
    which, s, c_in, c_out, n = UNFOLDED[kind]
    problem = problem_of(which, *operands(s, c_in, c_out, n)[which], s)
    forms = FORMS["cpu"][which]
    assert choose(forms, problem).name == "unfolded"
    # Kernel gradients are summed over chunks of a large batch.
    large = {"batch": 10**6} if which != "kernel_gradient" or kind in {"few places", "few examples"} else {}
    for other in ({"devices": 2}, *filter(None, [large])):
        assert choose(forms, problem._replace(**other)).name != "unfolded", other


def test_padded_strided_windows_of_many_taps_are_unfolded_if_they_are_few_floats():
    s = Settings((16, 16), (4, 4), (2, 2), ((1, 1),) * 2, (1, 1))
    chosen = form_of("kernel_gradient", s, 16, 128, 4)
    assert chosen() == "unfolded"
    assert chosen(batch=8) == chosen(c_in=32) == "canonical"
    for window, padding in (((3, 3), (1, 1)), ((4, 4), (0, 0))):
        assert chosen(batch=8, settings=s._replace(window=window, padding=(padding,) * 2)) == "unfolded"
    # Of few taps more, unless there are few output channels too.
    short = s._replace(window=(3, 3))
    few = {"settings": short, "batch": 18, "c_in": 64}
    assert chosen(**few | {"c_out": 33}) == chosen(**few | {"c_out": 32, "batch": 13}) == "unfolded"
    assert chosen(**few | {"c_out": 32}) == "canonical"
    assert chosen(**few | {"c_out": 32, "settings": s._replace(window=(2, 2))}) == "unfolded"


def test_gradients_of_x_of_one_channel_of_y_in_many_places_are_blocks():
    s = Settings((32, 32), (5, 5), (1, 1), ((2, 2),) * 2, (1, 1))

    def form(c_x=8, c_y=1, n=8, settings=s):
        problem = problem_of("input_gradient", *operands(settings, c_x, c_y, n)["input_gradient"], settings)
        return choose(FORMS["cpu"]["input_gradient"], problem).name

    assert form() == form(c_x=16) == "phases"
    short = s._replace(space=(256, 16))
    four = s._replace(window=(2, 2), padding=((0, 1),) * 2)
    assert form(n=2) == form(c_x=17) == form(settings=short) == form(settings=four) == "unfolded"


def test_what_unfolding_writes_is_the_least_of_two_ways():
    s = Settings((8, 8), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1))
    assert unfolded.is_by_rows(s, 16, 16)
    assert unfolded.floats(s, 16, 16) == 64 * (3 * 16 + 3 * 16)
    assert not unfolded.is_by_rows(s, 3, 16)
    assert unfolded.floats(s, 3, 16) == 64 * 9 * 3
    assert not unfolded.is_by_rows(s._replace(strides=(2, 2)), 16, 16)
    # Of one line of outputs, three would be computed.
    assert not unfolded.is_by_rows(s._replace(space=(3, 8), padding=((0, 0), (1, 1))), 16, 16)


def test_an_image_smaller_than_the_window_is_padded_before_the_convolution():
    """XLA would swap the two, and take ten times as long."""
    s = Settings((4, 4), (5, 5), (1, 1), ((2, 3), (-1, 3)), (1, 1))
    kernel = rng_array(5, 5, 3, 4)
    for space, shape in ((4, "2x9x6x3"), (6, "2x6x8x3")):
        at = s._replace(space=(space, space))
        x = rng_array(2, space, space, 3)
        function = jax.jit(lambda x, k, at=at: canonical.forward(x, k, at))
        text = function.lower(x, kernel).as_text()
        (line,) = (line for line in text.splitlines() if "stablehlo.convolution" in line)
        assert f"(tensor<{shape}xf32>, " in line
        assert_close(function(x, kernel), plain.forward(x, kernel, at, jnp.float32))


#: Convolutions for which XLA is asked for a larger result up to JAX 0.10, so that Eigen computes it, or with
#: padding: settings, channels, batch and the size asked for.
LARGER = {
    "Eigen": (Settings((16, 16), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1)), 64, 64, 2, (17, 16)),
    "Eigen, by columns": (Settings((12, 40), (3, 3), (1, 1), ((0, 0),) * 2, (1, 1)), 32, 64, 8, (10, 41)),
    "padded": (Settings((40, 40), (3, 3), (1, 1), ((0, 0),) * 2, (1, 1)), 32, 8, 4, (39, 38)),
    "padded, strided": (Settings((41, 60), (4, 3), (3, 2), ((0, 0),) * 2, (1, 1)), 64, 8, 8, (13, 30)),
}
#: And others for which it is not: settings, channels and batch.
AS_LARGE = {
    "few channels": (Settings((64, 64), (5, 5), (1, 1), ((0, 0),) * 2, (1, 1)), 16, 16, 8),
    "padding": (Settings((40, 40), (3, 3), (1, 1), ((0, 0), (1, 1)), (1, 1)), 32, 8, 4),
    "little": (Settings((16, 16), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1)), 64, 56, 2),
    "little to pad": (Settings((20, 20), (3, 3), (1, 1), ((0, 0),) * 2, (1, 1)), 32, 8, 4),
    "few outputs": (Settings((64, 64), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1)), 64, 16, 8),
    "a large kernel": (Settings((32, 32), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1)), 128, 128, 8),
    "one axis": (Settings((4096,), (9,), (1,), ((0, 0),), (1,)), 64, 64, 8),
    "a larger result": (Settings((32, 32), (3, 3), (1, 1), ((2, 2),) * 2, (1, 1)), 64, 64, 8),
}


def asked_for(s: Settings, c_in: int, c_out: int, n: int) -> str:
    """The type of what XLA's convolution gives in the form ``canonical``."""
    shapes = (n, *s.space, c_in), (*s.window, c_in, c_out)
    x, kernel = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
    text = jax.jit(lambda x, kernel: canonical.forward(x, kernel, s)).lower(x, kernel).as_text()
    (line,) = (line for line in text.splitlines() if "stablehlo.convolution" in line)
    return line.rsplit("tensor<", 1)[1]


@pytest.mark.parametrize("which", LARGER)
def test_xla_is_asked_for_more_than_is_needed_where_its_library_is_slow(which):
    *problem, larger = LARGER[which]
    s, c_in, c_out, n = problem
    size = larger if jax.__version_info__ < (0, 11) else s.out
    assert asked_for(*problem) == f"{n}x{size[0]}x{size[1]}x{c_out}xf32>"
    x, kernel = operands(s, c_in, c_out, n)["forward"]
    result = jax.jit(lambda x, kernel: canonical.forward(x, kernel, s))(x, kernel)
    assert_close(result, plain.forward(x, kernel, s, jnp.float32))


@pytest.mark.parametrize("which", AS_LARGE)
def test_xla_is_asked_for_what_is_needed_elsewhere(which):
    s, c_in, c_out, n = AS_LARGE[which]
    assert asked_for(s, c_in, c_out, n) == "x".join(map(str, (n, *s.out, c_out))) + "xf32>"


def test_a_kernel_gradient_of_which_xla_is_asked_for_more():
    s = Settings((30, 30), (5, 5), (1, 1), ((0, 0),) * 2, (1, 1))
    x, y = operands(s, 20, 17, 8)["kernel_gradient"]
    for function in (canonical.kernel_gradient, canonical.kernel_gradient_by_output):
        with patch.object(libraries, "beyond", wraps=libraries.beyond) as asked:
            result = jax.jit(lambda x, y, f=function: f(x, y, s))(x, y)
        assert asked.called
        assert_close(result, plain.kernel_gradient(x, y, s, jnp.float32))


def test_the_kernel_gradient_of_more_outputs_than_inputs():
    """y is the window there, and larger than the image."""
    check(Settings((4, 5), (3, 2), (1, 1), ((2, 2), (3, 1)), (1, 2)), 3, 4)
    check(Settings((3, 3), (3, 3), (1, 1), ((3, 2), (1, 3)), (1, 1)), 5, 8)
    check(Settings((3, 4), (2, 3), (1, 1), ((2, 3), (5, 5)), (1, 1)), 3, 2)


def test_one_window_is_one_product():
    s = Settings((4, 4), (4, 4), (1, 1), ((0, 0),) * 2, (1, 1))
    for which in PASSES:
        a, b = operands(s, 32, 64, 2)[which]
        problem = problem_of(which, a, b, s)
        form = choose(FORMS["cpu"][which], problem)
        assert form.name == ("stamps" if which == "input_gradient" else "unfolded")
        text = jax.jit(lambda a, b, form=form, p=problem: form.compute(p, a, b)).lower(a, b).as_text()
        assert "stablehlo.convolution" not in text
        assert "stablehlo.dot_general" in text


@pytest.mark.parametrize("which", PASSES)
def test_many_channels_are_unfolded_where_xla_leaves_cores_idle(which):
    # Without strides Eigen is asked instead, and with them kernel gradients are unfolded anyway.
    strides = (1, 1) if which == "kernel_gradient" else (2, 2)
    s = Settings((32, 32), (3, 3), strides, ((1, 1),) * 2, (1, 1))
    problem = problem_of(which, *operands(s, 64, 64, 64)[which], s)
    before = jax.__version_info__ < (0, 11)
    assert (choose(FORMS["cpu"][which], problem).name == "unfolded") == before
    other_strides = {"settings": s._replace(strides=(1, 1))} if which != "kernel_gradient" else {}
    for other in (
        {"c_out": 256},
        {"c_out": 16},
        {"c_in": 16},
        {"devices": 2},
        *filter(None, [other_strides]),
    ):
        assert choose(FORMS["cpu"][which], problem._replace(**other)).name != "unfolded", other


@pytest.mark.parametrize(
    ("which", "name"), [(which, name) for which, names in CHOSEN.items() for name in names]
)
def test_which_form_is_chosen(which, name):
    s, c_in, c_out, n = CHOSEN[which][name]
    (operation,) = nn.kernels.explain(
        lambda a, b: getattr(convolution, which)(a, b, s, jnp.float32),
        *operands(s, c_in, c_out, n)[which],
        platform="cpu",
    )
    assert operation.form == name
    assert "lax" in (name, *operation.others)
    assert operation.operation == f"jaxnn_conv_{which}"


def test_lists_end_with_a_form_that_fits_everywhere_and_names_are_unique():
    for lists in FORMS.values():
        for forms in lists.values():
            names = [form.name for form in forms]
            assert len(set(names)) == len(names)
            assert all(form.needs for form in forms if form.fits is not always)
    assert all(forms[-1].name == "lax" for forms in FORMS["cpu"].values())
    assert all(forms[0].name == "lax" for forms in FORMS["default"].values())


def test_a_form_by_name():
    x, kernel = rng_array(2, 8, 10, 4), rng_array(3, 3, 4, 4, seed=1)
    plain = conv(x, kernel, implementation="lax")
    for name in ("banded", "blocked", "unfolded", "canonical"):
        named = jax.jit(lambda x, k, name=name: conv(x, k, implementation=name))
        assert_close(named(x, kernel), plain)
        assert nn.kernels.explain(named, x, kernel, platform="cpu")[0].form == name
        assert nn.kernels.explain(named, x, kernel, platform="cuda")[0].form == name


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("winograd", r"conv: implementation must be None or one of 'unfolded', .* 'lax', got 'winograd'"),
        ("depthwise", "conv: implementation 'depthwise' needs groups of one input channel"),
        (3, "conv: implementation must be None or one of"),
    ],
)
def test_a_form_that_is_not_there_or_does_not_fit(name, sentence):
    with pytest.raises(ValueError, match=sentence):
        conv(jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 4, 4)), implementation=name)


def test_another_platform_may_take_the_forms_for_cpus():
    x, kernel = np.ones((2, 8, 8, 4), np.float32), np.ones((3, 3, 1, 4), np.float32)
    gradient = jax.grad(lambda *a: jnp.sum(conv(*a, groups=4)))

    def text():
        return jax.jit(gradient).trace(x, kernel).lower(lowering_platforms=("tpu",)).as_text()

    assert "stablehlo.convolution" in text()
    try:
        nn.kernels.use("tpu", forms="cpu")
        jax.clear_caches()
        assert "stablehlo.convolution" not in text()
        assert {choice.form for choice in nn.kernels.explain(gradient, x, kernel, platform="tpu")} != {"lax"}
    finally:
        nn.kernels.use("tpu", forms="default")
        jax.clear_caches()
    with pytest.raises(ValueError, match="use: platform must be one that JAX knows here"):
        nn.kernels.use("abacus", forms="cpu")
    with pytest.raises(ValueError, match="use: forms must be one of 'cpu', 'cuda', 'default', got 'METAL'"):
        nn.kernels.use("tpu", forms="METAL")


def kernel_gradient_of_tiles(x, kernel):
    """The gradient of a kernel whose windows are written out in chunks of the batch if it is large."""
    return jax.grad(lambda kernel: jnp.sum(jnp.sin(conv(x, kernel, strides=2))))(kernel)


def test_a_batch_is_cut_into_chunks_only_on_one_device():
    x, kernel = jnp.asarray(rng_array(40, 8, 8, 20)), jnp.asarray(rng_array(2, 2, 20, 24, seed=1))
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.device_put(x, jax.NamedSharding(mesh, jax.P("batch")))
    with patch.object(batches, "FLOATS", x.size // 2), patch.object(unfolding, "CHUNK_FLOATS", x.size // 4):
        alone, apart = (jax.jit(kernel_gradient_of_tiles).lower(a, kernel) for a in (x, spread))
    assert alone.as_text().count("stablehlo.while") == 1
    assert apart.as_text().count("stablehlo.while") == 0
    assert_close(apart.compile()(spread, kernel), alone.compile()(x, kernel), terms=40 * 16)


def test_an_empty_batch_of_tiles():
    x, kernel = jnp.ones((0, 8, 8, 4)), jnp.ones((2, 2, 4, 6))
    assert (jax.jit(kernel_gradient_of_tiles)(x, kernel) == 0).all()


def test_a_prime_number_of_small_images_is_not_cut():
    x, kernel = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((127, 32, 32, 20), (2, 2, 20, 24)))
    assert "stablehlo.while" not in jax.jit(kernel_gradient_of_tiles).lower(x, kernel).as_text()


@on_cpu
def test_the_gradient_of_several_outputs_per_channel_is_made_of_shifted_products():
    s = Settings((9, 9), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1), 4)
    pairs = operands(s, 4, 8)
    text = jax.jit(lambda *pair: convolution.input_gradient(*pair, s, jnp.float32)).lower(
        *pairs["input_gradient"]
    )
    assert "convolution" not in text.as_text()


def test_thin_groups_are_shifted_products_of_up_to_128_terms():
    s = Settings((16, 16), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1), 4)
    form = form_of("forward", s, 4 * 14, 4, 8)
    assert form() == form(c_in=1, settings=s._replace(window=(11, 11))) == "depthwise"
    assert form(c_in=15) == form(c_in=1, settings=s._replace(window=(12, 12))) == "grouped"
    assert form(c_in=1, c_out=32) == "depthwise" != form(c_in=1, c_out=36)


def test_grouped_kernel_gradients_of_few_places_are_taken_tap_by_tap():
    s = Settings((10, 10), (2, 2), (1, 1), ((0, 0),) * 2, (1, 1), 8)
    form = form_of("kernel_gradient", s, 32, 48, 2)
    assert form() == "by_tap" != form(batch=3) == "grouped"
    # A few large groups are as fast as dense convolutions.
    assert form(settings=s._replace(groups=4)) == "grouped" != form(batch=1, settings=s._replace(groups=4))
    # Many taps, unless there are hardly any places.
    many = s._replace(window=(3, 9), padding=((0, 0), (4, 3)))
    assert form(settings=many) == "grouped" != form(batch=1, settings=many._replace(space=(5, 9))) == "by_tap"


def test_groups_are_taken_together_where_starting_takes_longer_than_multiplying():
    s = Settings((16, 16), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1), 8)
    problem = problem_of("forward", *operands(s, 8 * 16, 8 * 4, 2)["forward"], s)

    def together(**other):
        return grouping.together(problem._replace(**other))

    # Sixteen outputs are computed side by side.
    assert together() == together(batch=64) == 4
    assert together(c_out=8 * 16) == together(batch=64, c_out=8 * 16) == 1
    # Of one tap there is little to multiply.
    assert together(settings=s._replace(window=(1, 1), padding=((0, 0),) * 2)) == 8
    # Two input channels of a group take as long as eight.
    assert together(c_in=2, c_out=8 * 16, batch=16) == 4 != together(c_in=8, c_out=8 * 16, batch=16) == 1
    # No more than 32 convolutions are started.
    assert together(batch=10**6, settings=s._replace(groups=64), c_out=64 * 16) == 2


def test_depthwise_kernel_gradients_of_few_values_are_taken_tap_by_tap():
    s = Settings((8, 8), (3, 3), (3, 3), ((0, 0),) * 2, (2, 2), 8)
    form = form_of("kernel_gradient", s, 8, 16, 6)
    assert form() == "by_tap"
    thin = {"batch": 26, "c_out": 2, "settings": s._replace(groups=2)}
    for other in ({"batch": 7}, {"c_out": 24}, thin):
        assert form(**other) == "depthwise", other


def test_kernel_gradients_of_few_windows_are_unfolded_whatever_the_channels():
    s = Settings((8, 8), (3, 3), (1, 1), ((0, 0),) * 2, (1, 1))
    form = form_of("kernel_gradient", s, 32, 6, 2)
    assert form() == "unfolded" != form(c_in=128, c_out=32) == form(batch=12) == "by_output"


def test_wide_windows_in_short_lines_are_bands_and_not_unfolded():
    s = Settings((24, 8), (7, 7), (1, 1), ((3, 3),) * 2, (1, 1))
    form = form_of("forward", s, 8, 4, 3)
    assert form() == "banded"
    narrow = s._replace(window=(7, 3), padding=((3, 3), (1, 1)))
    longer = {"settings": s._replace(space=(24, 23)), "batch": 32}
    for other in ({"batch": 2}, {"settings": narrow}, longer, {"c_out": 8}):
        assert form(**other) == "unfolded", other
    assert form(c_out=8, batch=6) == form(**longer | {"c_in": 7}) == "banded"
    # Strided windows would not be unfolded.
    assert form(c_in=9, batch=32) == "banded" != form(c_in=9, batch=32, settings=s._replace(strides=(2, 2)))


def test_kernel_gradients_that_leave_xla_idle_are_unfolded():
    s = Settings((48, 48), (5, 5), (2, 2), ((2, 2),) * 2, (1, 1))
    form = form_of("kernel_gradient", s, 16, 24, 3)
    # Three examples are few input channels of XLA's convolution.
    assert form() == "unfolded" != form(batch=4) == "canonical"
    # Eight input channels are a small batch of it.
    plain = s._replace(strides=(1, 1))
    for settings in (s, plain):
        assert form(batch=16, settings=settings, c_in=8, c_out=100) == "unfolded"
        assert form(batch=16, settings=settings, c_in=9, c_out=100) == "canonical"
        assert form(batch=16, settings=settings, c_in=8, c_out=99) == "canonical"


@pytest.mark.parametrize("which", ["forward", "kernel_gradient"])
def test_more_windows_are_few_where_xla_starts_slower(which):
    s = Settings((8, 8), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1))
    problem = problem_of(which, *operands(s, 8, 32, 8)[which], s)
    for idle, name in ((True, "canonical"), (False, "unfolded")):
        with patch.object(libraries, "IDLE", idle):
            assert choose(FORMS["cpu"][which], problem).name == name


def test_xla_dilates_strided_input_gradients_of_which_little_is_read():
    s = Settings((16, 16), (4, 4), (2, 2), ((1, 1),) * 2, (1, 1))
    form = form_of("input_gradient", s, 32, 64, 2)
    assert form() == form(batch=12) == form(c_in=3) == "dilated"
    for other in ({"c_in": 63}, {"batch": 13}, {"settings": s._replace(window=(6, 6))}):
        assert form(**other) == "phases", other
    # Four channels of x are few, and 16 taps of them too many.
    assert form(c_in=4, c_out=64) == "at_once" != form(c_in=4, c_out=257) == "dilated"
    # Few channels of y leave it idle.
    assert form(c_in=4, c_out=8, settings=s._replace(window=(3, 3)), batch=12) == "dilated"
    assert form(c_in=28, c_out=9, batch=6) == "dilated" != form(c_in=28, c_out=8, batch=6) == "at_once"
    # It starts first.
    small = s._replace(space=(4, 4))
    assert form(c_in=4, c_out=11, batch=1, settings=small) == "dilated"
    assert form(c_in=4, c_out=12, batch=1, settings=small) == "at_once"
    # A quarter of the channels of y is few.
    assert form(c_in=63, c_out=252) == "dilated" != form(c_in=63, c_out=251) == "phases"
    assert form(c_in=40, settings=s._replace(window=(1, 1), padding=((0, 0),) * 2)) == "stamps"


def test_xla_dilates_no_image_of_fewer_places_than_the_window_has_taps():
    s = Settings((8, 8), (5, 5), (2, 2), ((2, 2),) * 2, (1, 1))
    form = form_of("input_gradient", s, 24, 48, 1)
    assert form() == "dilated" != form(batch=2) == "phases"
    assert form(batch=2, settings=s._replace(space=(9, 9))) == "dilated"


@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (1, 0), (0, -1), (-1, 0)])
def test_windows_side_by_side_are_stamps(padding):
    s = Settings((16, 14), (2, 2), (2, 2), (padding,) * 2, (1, 1))
    form = form_of("input_gradient", s, 5, 64, 3)
    assert form() == form(c_in=1) == form(c_out=3) == "stamps"
    # With gaps between them lines of whole pieces, on an image that isn't padded.
    apart = s._replace(strides=(3, 3))
    assert (form(c_in=6, settings=apart) == "stamps") == (padding == (0, 0))
    assert form(settings=apart, c_out=8, batch=1000) == "phases"
    assert form(settings=apart, c_in=3, c_out=12, batch=4000) == "phases"
    # The transposition is fused with cropping, and materialized before zeros are put where no window reads.
    kernel, y = operands(s, 5, 64, 3)["input_gradient"]
    stamps = str(jax.make_jaxpr(lambda *pair: phases.stamps(*pair, s))(kernel, y))
    assert stamps.count("materialized") == (padding not in {(0, 0), (1, 1)})


def test_the_kernel_gradient_of_few_outputs_has_x_for_its_window():
    s = Settings((16, 16), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1))
    form = form_of("kernel_gradient", s, 32, 16, 2)
    assert form() == form(devices=2) == "by_output"
    larger = s._replace(window=(6, 6), padding=((0, 0),) * 2)
    strided = s._replace(strides=(2, 2))
    for other in ({"c_out": 17}, {"settings": strided}, {"settings": larger}, {"batch": 25}):
        assert form(**other) != "by_output", other
    # Few taps are unfolded, unless they are many floats.
    small = s._replace(window=(2, 2))
    assert form(settings=small) == "unfolded" != form(settings=small, batch=63, c_out=4) == "by_output"


def test_xla_dilates_nothing_of_three_axes():
    s = Settings((6, 6, 6), (3, 3, 3), (2, 2, 2), ((1, 1),) * 3, (1, 1, 1))
    form = form_of("input_gradient", s, 2, 4, 2)
    for other in ({}, {"c_out": 65}, {"settings": s._replace(strides=(3, 3, 3))}):
        assert form(**other) != "dilated", other


def test_blocks_in_the_kernel_gradient_need_few_outputs_times_examples():
    s = Settings((24, 24), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1))
    form = form_of("kernel_gradient", s, 1, 16, 12)
    assert form() == "blocked"
    for other in ({"batch": 13}, {"c_out": 17}, {"devices": 2}, {"settings": s._replace(strides=(1, 2))}):
        assert form(**other) != "blocked", other


#: Groups and channels of each that make one dense convolution of one, of a few and of all groups; that make
#: shifted products, with one and with more outputs or inputs per group; and that have too many for these.
@pytest.mark.parametrize(
    ("groups", "c_in", "c_out"),
    [
        (3, 16, 2),
        (9, 2, 3),
        (5, 1, 3),
        (5, 3, 1),
        *(deep(*one) for one in ((6, 8, 1), (80, 2, 1), (5, 1, 1), (4, 1, 9), (3, 9, 1))),
    ],
)
def test_groups_of_every_size(groups, c_in, c_out):
    s = Settings((5, 4), (3, 2), (2, 1), ((1, 1), (0, 1)), (1, 2), groups)
    check(s, c_in * groups, c_out * groups)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_summed_in_float32_and_may_meet_a_float32(dtype):
    s = Settings((300,), (1,), (1,), ((0, 0),), (1,))
    ones, kernel = jnp.ones((1, 300, 2), dtype), jnp.ones((1, 2, 2), dtype)
    wide = ones.astype(jnp.float32)
    for sums in every_form("kernel_gradient", ones, wide, s).values():
        assert sums.dtype == jnp.float32
        assert (np.asarray(sums) == 300).all()
    assert {y.dtype for y in every_form("input_gradient", kernel, wide, s, dtype).values()} == {
        jnp.dtype(dtype)
    }
    assert {y.dtype for y in every_form("forward", ones, kernel, s, dtype).values()} == {jnp.dtype(dtype)}


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("mapped", [deep((0, None)), (None, 1), deep((2, 0)), (-1, -2)])
def test_vmap_over_any_axis(which, groups, mapped):
    s = Settings((5,), (3,), (2,), ((1, 1),), (1,), groups)
    function = getattr(convolution, which)
    pair = operands(s, 2 * groups, 3 * groups)[which]
    stacked = [
        np.stack([a, 2 - a, a * a], d) if d is not None else a for a, d in zip(pair, mapped, strict=True)
    ]
    result = jax.vmap(lambda a, b: function(a, b, s, jnp.float32), mapped)(*stacked)
    for i in range(3):
        row = (np.take(a, i, d) if d is not None else a for a, d in zip(stacked, mapped, strict=True))
        assert_close(result[i], function(*row, s, jnp.float32))


def test_an_ensemble_inside_a_scan_is_its_members_one_by_one():
    x, kernels = rng_array(4, 2, 6, 6, 3), jnp.asarray(rng_array(4, 3, 3, 3, 2, seed=1))

    def step(kernel, x):
        return kernel - 0.1 * jax.grad(lambda k: jnp.sum(jnp.square(conv(x, k, strides=2))))(kernel)

    def two_steps(kernels):
        return lax.scan(lambda k, _: (jax.vmap(step)(k, x), None), kernels, length=2)[0]

    members = jnp.stack([step(step(k, x[i]), x[i]) for i, k in enumerate(kernels)])
    assert_close(jax.jit(two_steps)(kernels), members)


def test_precision_is_that_of_where_it_is_traced():
    with jax.default_matmul_precision("highest"):
        traced = jax.jit(lambda x, k: conv(x, k)).trace(np.ones((1, 3, 1), "f4"), np.ones((2, 1, 1), "f4"))
    assert traced.lower(lowering_platforms=("cuda",)).as_text().count("HIGHEST") > 0


@pytest.mark.parametrize(
    ("s", "c_in", "c_out"),
    [
        (Settings((12, 12), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1)), 32, 8),
        (Settings((12, 12), (3, 3), (1, 1), ((0, 0),) * 2, (1, 1)), 3, 64),
        (Settings((12, 12), (4, 4), (2, 2), ((1, 1),) * 2, (1, 1)), 32, 8),
        (Settings((12, 12), (3, 3), (3, 3), ((0, 0),) * 2, (2, 2)), 4, 4),
        (Settings((4, 4), (4, 4), (1, 1), ((0, 0),) * 2, (1, 1)), 32, 16),
        (Settings((12, 12), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1), 4), 8, 4),
        (Settings((12, 12), (3, 3), (2, 2), ((1, 1),) * 2, (1, 1), 8), 8, 16),
    ],
)
def test_a_batch_of_symbolic_size(s, c_in, c_out):
    def gradients(x, kernel, y):
        function = lambda x, kernel: convolution.forward(x, kernel, s, jnp.float32)  # noqa: E731
        return jax.vjp(function, x, kernel)[1](y)

    x, kernel = operands(s, c_in, c_out, 3)["forward"]
    y = operands(s, c_in, c_out, 3)["kernel_gradient"][1]
    (n,) = jax.export.symbolic_shape("n")
    types = (
        jax.ShapeDtypeStruct((n, *a.shape[1:]) if a is not kernel else a.shape, a.dtype)
        for a in (x, kernel, y)
    )
    exported = jax.export.export(jax.jit(gradients))(*types)
    for actual, expected in zip(exported.call(x, kernel, y), gradients(x, kernel, y), strict=True):
        assert_close(actual, expected)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_lowers_for_every_platform(platform):
    x, kernel = np.ones((2, 8, 8, 4), np.float32), np.ones((3, 3, 1, 4), np.float32)
    gradients = jax.grad(lambda *a: jnp.sum(conv(*a, groups=4, strides=2, padding=2)), (0, 1))
    text = jax.jit(gradients).trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
    assert ("stablehlo.convolution" in text) == (platform != "cpu")


def test_explicit_sharding_of_anything_but_the_batch_raises():
    mesh = jax.make_mesh((2,), ("space",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        x = jax.device_put(np.ones((2, 4, 1), np.float32), jax.P(None, "space"))
        sentence = "conv: only the batch axis may be sharded explicitly, got .* with jax.sharding.reshard"
        with pytest.raises(ValueError, match=sentence):
            conv(x, jnp.ones((3, 1, 1)))
        assert conv(jax.sharding.reshard(x, jax.P()), jnp.ones((3, 1, 1))).shape == (2, 2, 1)


@pytest.mark.parametrize(("groups", "c_in", "c_out"), [(3, 2, 4), deep(4, 1, 1), deep(4, 1, 2)])
@pytest.mark.parametrize("name", [None, "lax"])
def test_grouped_ones_leave_a_batch_on_its_devices(name, groups, c_in, c_out):
    """Also in other platforms' forms: XLA splits programs among devices before it picks a platform's."""
    s = Settings((5, 4), (3, 2), (2, 1), ((1, 1), (-1, 2)), (1, 2), groups, implementation=name)
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    x, kernel, y = (
        jnp.asarray(rng_array(*shape))
        for shape in (
            (12, *s.space, groups * c_in),
            (*s.window, c_in, groups * c_out),
            (12, *s.out, groups * c_out),
        )
    )

    def passes(x, kernel, y):
        return (
            convolution.forward(x, kernel, s, jnp.float32),
            convolution.input_gradient(kernel, y, s, jnp.float32),
            convolution.kernel_gradient(x, y, s, jnp.float32),
        )

    expected = jax.jit(passes)(x, kernel, y)
    places = [jax.NamedSharding(mesh, spec) for spec in (jax.P("batch"), jax.P(), jax.P("batch"))]
    args = [jax.device_put(a, place) for a, place in zip((x, kernel, y), places, strict=True)]
    program = jax.jit(passes).lower(*args).compile()
    check_only_sums(program, kernel)
    assert_close(jax.device_get(program(*args)), jax.device_get(expected))


def test_half_precision_over_devices_are_summed_in_float32():
    s = Settings((300,), (300,), (1,), ((0, 0),), (1,), 2)
    ones, kernel = jnp.ones((2, 300, 4), "bfloat16"), jnp.ones((300, 2, 2), "bfloat16")
    assert (plain.forward(ones, kernel, s, jnp.dtype("float32"), devices=2) == 600).all()
    s, y = s._replace(space=(599,)), jnp.ones((2, 300, 2), "bfloat16")
    x = plain.input_gradient(kernel, y, s, jnp.dtype("float32"), devices=2)
    assert (x[:, 299] == 300).all()


@pytest.mark.parametrize("form", ["unfolded", "banded", "blocked", None])
def test_gradients_under_shard_map(form):
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    x, kernel = rng_array(8, 5, 9, 2), jnp.asarray(rng_array(3, 2, 2, 2, seed=1))

    def loss(kernel, x):
        return lax.pmean(jnp.sum(jnp.square(conv(x, kernel, implementation=form))), "batch")

    sharded = jax.shard_map(jax.grad(loss), mesh=mesh, in_specs=(jax.P(), jax.P("batch")), out_specs=jax.P())
    whole = jax.grad(lambda k: jnp.sum(jnp.square(conv(x, k))) / 4)(kernel)
    with patch.object(batches, "FLOATS", 50):
        assert_close(jax.jit(sharded)(kernel, x), whole)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("pairs", [((-1, 2), (5, -2)), ((-2, -1), (0, 6)), ((1, -1), (-1, 0))])
def test_lax_crops_and_pads_beyond_the_window(pairs, strides, dilation):
    """XLA's convolutions for CPUs read outside their operand where a padding is negative."""
    s = Settings((8, 8), (2, 2), (strides,) * 2, pairs, (dilation,) * 2)
    given = operands(s, 6, 6)
    settings = {"strides": s.strides, "padding": pairs, "dilation": s.dilation, "groups": 1}
    x, kernel = given["forward"]
    gradients = reference.conv_gradients(x, kernel, given["kernel_gradient"][1], **settings)
    exact = (reference.conv(x, kernel, **settings), *gradients[:2])
    for which, wanted in zip(PASSES, exact, strict=True):
        computed = jax.jit(getattr(plain, which), static_argnums=(2, 3))
        assert_close(computed(*given[which], s, jnp.dtype("float32")), wanted)
