import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxnn.kernels.resampling.taps import taps, transposed, without_zeros
from jaxnn.ops.resize import resize, upsample
from tests.reference import resize as reference
from tests.support import assert_close, known_answers, rng_array

ANSWERS = known_answers("resize")
SIZES = {
    "double": {"1": (14,), "2": (12, 10), "3": (8, 6, 10)},
    "grow": {"1": (10,), "2": (7, 13), "3": (5, 7, 6)},
    "shrink": {"1": (3,), "2": (4, 2), "3": (3, 1, 4)},
    "wide": {"2": (3, 5)},
}
SPACES = {"1": (7,), "2": (6, 5), "3": (4, 3, 5)}


def probe(shape):
    return np.sin(np.arange(1, np.prod(shape) + 1) ** 2.0).astype(np.float32).reshape(shape)


def check_known_answer(op, space, name):
    @jax.jit
    def both(x, cotangent):
        y, vjp = jax.vjp(op, x)
        return y, vjp(cotangent)[0]

    y, gradient = ANSWERS[f"{name}/y"], ANSWERS[f"{name}/grad"]
    assert_close(both(probe((1, *space, 2)), probe(y.shape)), (y, gradient))


def line(*values, dtype=np.float32):
    return np.asarray(values, dtype).reshape(1, -1, 1)


@st.composite
def settings_(draw):
    rank = draw(st.integers(1, 3))
    space = draw(st.tuples(*[st.integers(1, 6)] * rank))
    sizes = draw(st.tuples(*[st.integers(1, 7)] * rank))
    method = draw(st.sampled_from(["nearest", "linear", "cubic"]))
    options = {}
    if method != "nearest":
        option = draw(st.sampled_from(["plain", "align_corners", "antialias"]))
        options = {} if option == "plain" else {option: True}
    if method == "cubic":
        options["cubic_coefficient"] = draw(st.sampled_from([-0.75, -0.5, 0.0]))
    return space, sizes, method, options


@given(settings_())
def test_values_and_gradients_are_the_reference(drawn):
    space, sizes, method, options = drawn
    with jax.enable_x64(True):
        x = rng_array(2, *space, 2, dtype=np.float64)
        cotangent = rng_array(2, *sizes, 2, seed=1, dtype=np.float64)

        @jax.jit
        def both(x):
            y, vjp = jax.vjp(lambda x: resize(x, sizes, method=method, **options), x)
            return y, vjp(cotangent)[0]

        meant = {"a" if name == "cubic_coefficient" else name: value for name, value in options.items()}
        expected = reference.resize(x, sizes, method, **meant)
        gradient = reference.resize_gradient(cotangent, space, method, **meant)
        assert_close(both(x), (expected, gradient))


@pytest.mark.parametrize("name", sorted({n.rsplit("/", 1)[0] for n in ANSWERS if "shuffle" not in n}))
def test_known_answers(name):
    variant, which, rank = name.split("/")
    method, _, option = variant.partition("-")
    if method == "upsample":
        check_known_answer(lambda x: upsample(x, float(which), method=option), SPACES[rank], name)
        return
    options = {"aligned": {"align_corners": True}, "antialias": {"antialias": True}}.get(option, {})
    if variant == "cubic-antialias":
        options["cubic_coefficient"] = -0.5
    space = (20, 11) if which == "wide" else SPACES[rank]
    size = SIZES[which][rank]
    check_known_answer(lambda x: resize(x, size, method=method, **options), space, name)


# What conventions fix


def test_nearest_takes_the_pixel_under_the_half_pixel_centre():
    assert resize(line(0, 1, 2, 3, 4), 3).ravel().tolist() == [0, 2, 4]  # floor(i·L/o) would be 0, 1, 3
    assert resize(line(0, 1), 3).ravel().tolist() == [0, 1, 1]
    assert resize(line(0, 1, 2, 3), 2).ravel().tolist() == [1, 3]


@pytest.mark.parametrize("scale", [2, 3])
def test_nearest_by_a_whole_factor_repeats(scale):
    x = rng_array(2, 3, 4, 2)
    assert_close(upsample(x, scale), np.repeat(np.repeat(x, scale, 1), scale, 2))


@pytest.mark.parametrize(("size", "out"), [(33331, 99991), (99991, 33331), (65537, 65536)])
def test_nearest_is_exact_on_long_axes(size, out):
    x = line(*range(size), dtype=np.int32)
    expected = [(2 * i + 1) * size // (2 * out) for i in range(out)]
    assert resize(x, out).ravel().tolist() == expected


def test_nearest_breaks_ties_upwards():
    # (i + ½)·3/1 = 1.5 and (i + ½)·2/1 = 1 lie on the boundary or the middle of a pixel.
    assert resize(line(0, 1, 2), 1).ravel().tolist() == [1]
    assert resize(line(0, 1), 1).ravel().tolist() == [1]
    assert resize(line(0, 1, 2, 3, 4, 5), 4).ravel().tolist() == [0, 2, 3, 5]


def test_linear_has_half_pixel_centres_and_clamped_edges():
    assert_close(resize(line(0, 4), 4, method="linear"), line(0, 1, 3, 4))


def test_linear_without_antialias_skips_pixels():
    assert_close(resize(line(0, 9, 1, 8, 7, 3), 2, method="linear"), line(9, 7))


def test_align_corners_keeps_the_corners():
    assert_close(resize(line(0, 3), 4, method="linear", align_corners=True), line(0, 1, 2, 3))
    assert_close(resize(line(5, 6, 7), 1, method="linear", align_corners=True), line(5))
    assert_close(resize(line(5), 3, method="cubic", align_corners=True), line(5, 5, 5))


def test_cubic_coefficient_is_minus_three_quarters():
    x = line(0, 0, 1, 0, 0)
    assert_close(resize(x, 10, method="cubic"), resize(x, 10, method="cubic", cubic_coefficient=-0.75))
    # At distance 1/4 the kernel is (a + 2)/64 − (a + 3)/16 + 1.
    assert_close(resize(x, 10, method="cubic")[0, 4, 0], np.float32(1.25 / 64 - 2.25 / 16 + 1))


@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_antialias_is_off_and_changes_shrinking_axes_only(method):
    x = rng_array(1, 6, 4, 2)
    plain = resize(x, (3, 9), method=method)
    smooth = resize(x, (3, 9), method=method, antialias=True)
    assert_close(resize(x, (3, 9), method=method, antialias=False), plain)
    assert np.abs(smooth - plain).max() > 0.01
    assert_close(resize(x, (6, 9), method=method, antialias=True), resize(x, (6, 9), method=method))


@pytest.mark.parametrize("method", ["nearest", "linear", "cubic"])
def test_shrinking_equals_jax_image(method):
    x = rng_array(2, 9, 7, 3)
    settings = {"antialias": True, "cubic_coefficient": -0.5} if method != "nearest" else {}
    expected = jax.image.resize(x, (2, 4, 5, 3), method)
    assert_close(resize(x, (4, 5), method=method, **settings), expected)


@pytest.mark.parametrize("method", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("size", [(5, 4), (13, 11)])
def test_a_constant_stays_constant(method, size):
    x = np.full((1, 9, 7, 1), 3.7, np.float32)
    options = {"antialias": True} if method != "nearest" else {}
    assert_close(resize(x, size, method=method, **options), np.full((1, *size, 1), 3.7, np.float32))


@pytest.mark.parametrize("method", ["nearest", "linear", "cubic"])
def test_the_same_size_is_the_identity(method):
    x = rng_array(1, 4, 3, 2)
    assert np.array_equal(resize(x, (4, 3), method=method), x)


def test_upsample_takes_the_floor_and_covers_the_whole_input():
    x = rng_array(1, 5, 7, 1)
    assert upsample(x, 1.5).shape == (1, 7, 10, 1)
    assert_close(upsample(x, (1.5, 0.5), method="linear"), resize(x, (7, 3), method="linear"))
    assert upsample(rng_array(1, 100, 1), 1.15).shape == (1, 114, 1)  # 114.999… in double precision


# dtypes


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
@pytest.mark.parametrize("size", [(6, 2), (2, 9), (5, 7)])
def test_nearest_keeps_integers(dtype, size):
    x = np.asarray([[3, 200, 7], [0, 1, 250], [9, 9, 0], [5, 0, 1]]).astype(dtype).reshape(1, 4, 3, 1)
    y = resize(x, size)
    assert y.dtype == dtype
    assert_close(y, reference.resize(x, size, "nearest").astype(dtype))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sums_are_taken_in_float32(dtype):
    x = jnp.full((1, 300, 1), 60000, dtype)
    for settings in ({"method": "linear"}, {"method": "cubic"}):
        y = resize(x, 1, antialias=True, **settings)
        assert y.dtype == x.dtype
        assert_close(y, jnp.full((1, 1, 1), 60000, dtype))
    grad = jax.grad(lambda x: resize(x, 4097).astype(jnp.float32).sum())(x[:, :1])
    assert_close(grad, jnp.full((1, 1, 1), 4097, dtype))


def test_nearest_passes_infinities_to_their_own_pixels_only():
    y = resize(line(1, np.inf, 2, np.nan), 7)
    np.testing.assert_array_equal(y.ravel(), [1, 1, np.inf, 2, 2, np.nan, np.nan])


# how it is computed


@pytest.mark.parametrize("method", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("size", [(12, 8), (9, 3)])
def test_the_derivative_has_no_scatter(method, size):
    grad = jax.grad(lambda x: jnp.sum(resize(x, size, method=method) ** 2))
    assert "scatter" not in jax.jit(grad).lower(rng_array(1, 6, 4, 2)).as_text()


def test_a_wide_band_becomes_a_loop():
    x = rng_array(2, 3, 1)
    shrunk = jax.jit(lambda x: resize(x, 2, method="linear", antialias=True))
    assert "stablehlo.while" in shrunk.lower(rng_array(2, 90, 1)).as_text()
    y, vjp = jax.vjp(lambda x: upsample(x, 40, method="linear"), x)
    assert_close(vjp(y)[0], reference.resize_gradient(y, (3,), "linear").astype(np.float32))


@pytest.mark.parametrize(
    ("size", "out", "settings"),
    [
        (6, 4, {"method": "nearest"}),
        (4, 8, {"method": "linear"}),
        (5, 9, {"method": "linear", "align_corners": True}),
        (5, 9, {"method": "cubic", "align_corners": True}),
        (9, 6, {"method": "cubic"}),
        (9, 4, {"method": "linear", "antialias": True}),
        (10, 5, {"method": "cubic", "antialias": True}),
        (90, 2, {"method": "linear", "antialias": True}),
        (3, 120, {"method": "linear"}),
    ],
)
def test_what_is_not_finite_reaches_what_has_a_weight_for_it(size, out, settings):
    weights = np.abs(reference.matrix(size, out, **settings)) > 1e-9

    @jax.jit
    def both(x, dy):
        y, back = jax.vjp(lambda x: resize(x, out, **settings), x)
        return y, back(dy)[0]

    x, dy = rng_array(2, size, 1), rng_array(2, out, 1, seed=1)
    clean = jax.tree.map(np.asarray, both(x, dy))
    for value in (np.nan, np.inf):
        for i in range(min(size, out)):
            bad_x, bad_dy = x.copy(), dy.copy()
            bad_x[:, i], bad_dy[:, i] = value, value
            bad = jax.tree.map(np.asarray, both(bad_x, bad_dy))
            for result, before, reached in zip(bad, clean, (weights[:, i], weights[i]), strict=True):
                assert not np.isfinite(result[:, reached]).any()
                np.testing.assert_array_equal(result[:, ~reached], before[:, ~reached])
                # Positions beyond an edge read the edge value, with weights of both signs in cubic resizing.
                edge = settings["method"] == "cubic" and i in (0, size - 1)
                assert np.isnan(value) or edge or np.isinf(result[:, reached]).all()


@pytest.mark.parametrize("channels", [2, 8])  # few and many of them take other loops
@pytest.mark.parametrize("settings", [{"method": "nearest"}, {"method": "linear"}, {"method": "cubic"}])
def test_what_is_not_finite_stays_in_its_rows_columns_and_channels(settings, channels):
    space, size = (6, 4), (9, 7)
    rows, columns = (
        np.abs(reference.matrix(n, out, **settings)) > 1e-9 for n, out in zip(space, size, strict=True)
    )

    @jax.jit
    def both(x, dy):
        y, back = jax.vjp(lambda x: resize(x, size, **settings), x)
        return y, back(dy)[0]

    x, dy = rng_array(2, *space, channels), rng_array(2, *size, channels, seed=1)
    clean = jax.tree.map(np.asarray, both(x, dy))
    for value in (np.nan, np.inf):
        bad_x, bad_dy = x.copy(), dy.copy()
        bad_x[1, 2, 1, -1] = bad_dy[1, 2, 1, -1] = value
        bad = both(bad_x, bad_dy)
        reached = np.outer(rows[:, 2], columns[:, 1]), np.outer(rows[2], columns[1])
        for result, before, pixels in zip(bad, clean, reached, strict=True):
            expected = np.isfinite(before)
            expected[1, ..., -1] = ~pixels
            np.testing.assert_array_equal(np.isfinite(result), expected)
            np.testing.assert_array_equal(np.asarray(result)[expected], before[expected])


@pytest.mark.parametrize(
    ("size", "out", "settings"),
    [(6, 9, {"method": "cubic"}), (9, 6, {"method": "cubic"}), (5, 15, {"method": "linear"})],
)
def test_weights_without_zeros_are_the_same_matrix(size, out, settings):
    table = taps(settings["method"], size, out, False, False, -0.75)
    for before in (table, transposed(table, size)):
        after = without_zeros(before)
        used = before.weight.any(axis=0)
        assert np.array_equal(after.weight.all(axis=0), used)
        for n in range(before.source.max() + 1):
            weights = (np.where(t.source == n, t.weight, 0).sum(axis=0) for t in (before, after))
            assert np.array_equal(*weights)


def test_few_loads_per_value_make_one_loop():
    def loops(channels, **settings):
        text = jax.jit(lambda x: resize(x, (9, 6), **settings)).lower(rng_array(1, 6, 4, channels)).as_text()
        return text.count("call @itself") - 1  # what each loop reads, and the result

    assert loops(2, method="nearest") == loops(2, method="linear") == loops(8, method="cubic") == 1
    assert loops(2, method="cubic") == 2


# bad input


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"method": "bilinear"}, "resize: method must be 'nearest', 'linear'.*'cubic', got 'bilinear'"),
        ({"align_corners": True}, "resize: align_corners must be False for method 'nearest', got True"),
        ({"antialias": True}, "resize: antialias must be False for method 'nearest', got True"),
        (
            {"method": "linear", "antialias": True, "align_corners": True},
            "resize: antialias and align_corners must not both be set",
        ),
        ({"size": 0}, "resize: size must be at least 1, got 0"),
        ({"size": (3, -1)}, "resize: size must be at least 1, got"),
        ({"size": (3,)}, "resize: size must be one integer or 2"),
        (
            {"method": "cubic", "cubic_coefficient": float("nan")},
            "resize: cubic_coefficient must be a finite",
        ),
    ],
)
def test_bad_settings_raise(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        resize(rng_array(1, 4, 4, 1), **{"size": 3, **arguments})


def test_bad_x_raises():
    with pytest.raises(ValueError, match=r"resize: x must be \(N, \*space, C\)"):
        resize(rng_array(4, 4), 3)
    with pytest.raises(ValueError, match="resize: x must have no spatial axis of size 0"):
        resize(np.zeros((1, 0, 4, 1), np.float32), 3)
    with pytest.raises(TypeError, match=r"resize: size must be an integer or one integer per axis, got 2\.5"):
        resize(rng_array(1, 4, 1), 2.5)


@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_integers_raise_where_they_would_be_rounded(method):
    x = np.ones((1, 4, 1), np.int32)
    with pytest.raises(TypeError, match=f"resize: x must be floating-point for method '{method}', got int32"):
        resize(x, 3, method=method)
    with pytest.raises(TypeError, match="upsample: x must be floating-point"):
        upsample(x, 2, method=method)


@pytest.mark.parametrize("scale", [0, -1.5, float("inf"), float("nan"), (2, 0)])
def test_bad_scales_raise(scale):
    with pytest.raises(ValueError, match="upsample: scale must be positive and finite, got"):
        upsample(rng_array(1, 4, 4, 1), scale)


def test_other_bad_scales_raise():
    x = rng_array(1, 4, 4, 1)
    with pytest.raises(ValueError, match="upsample: scale must leave at least one pixel on every axis, got"):
        upsample(x, 0.2)
    with pytest.raises(ValueError, match="upsample: scale must be one number or 2"):
        upsample(x, (2, 2, 2))
    with pytest.raises(TypeError, match="upsample: scale must be a number or one number per axis, got '2'"):
        upsample(x, "2")
    with pytest.raises(ValueError, match="upsample: method must be"):
        upsample(x, 2, method="area")
