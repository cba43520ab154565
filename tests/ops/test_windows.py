import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from jaxnn.kernels.spans import dilated
from jaxnn.ops import windows

SIZES = st.integers(1, 20)


def one_axis(padding, size=5, span=3, stride=1):
    return windows.pairs("op", padding, (size,), (span,), (stride,))


def test_an_int_is_the_same_on_every_axis():
    assert windows.per_axis("op", "strides", 2, 3) == (2, 2, 2)


def test_a_sequence_is_one_an_axis():
    assert windows.per_axis("op", "strides", [1, 2], 2) == (1, 2)


def test_any_axes_keeps_the_form():
    assert windows.any_axes("op", "window", 3) == 3
    assert windows.any_axes("op", "window", [3, 2]) == (3, 2)


@pytest.mark.parametrize(
    ("value", "error", "sentence"),
    [
        (0, ValueError, "op: strides must be at least 1, got 0"),
        ((1, -1), ValueError, r"op: strides must be at least 1, got \(1, -1\)"),
        (
            (1, 2, 3),
            ValueError,
            r"op: strides must be one integer or 2 \(one per spatial axis\), got \(1, 2, 3\)",
        ),
        (1.5, TypeError, "op: strides must be an integer or one integer per axis, got 1.5"),
        ("2", TypeError, "op: strides must be an integer or one integer per axis, got '2'"),
        (None, TypeError, "op: strides must be an integer or one integer per axis, got None"),
    ],
)
def test_a_bad_setting_raises_a_sentence(value, error, sentence):
    with pytest.raises(error, match=sentence):
        windows.per_axis("op", "strides", value, 2)


def test_a_dilated_window_spans_d_times_k_minus_1_plus_1():
    assert dilated((3, 1, 4), (2, 5, 1)) == (5, 1, 4)


@given(size=SIZES, span=SIZES, stride=st.integers(1, 6))
def test_same_is_as_lax(size, span, stride):
    for name in ("SAME", "SAME_LOWER"):
        assert list(one_axis(name, size, span, stride)) == lax.padtype_to_pads(
            (size,), (span,), (stride,), name
        )


@given(size=SIZES, span=SIZES, stride=st.integers(1, 6))
def test_same_gives_size_over_stride_rounded_up(size, span, stride):
    for name in ("SAME", "SAME_LOWER", "CIRCULAR", "REFLECT", "REPLICATE"):
        pairs = one_axis(name, size, span, stride)
        assert windows.output_sizes("op", (size,), (span,), (stride,), pairs) == (-(-size // stride),)


def test_same_puts_the_odd_one_high_and_same_lower_low():
    assert one_axis("SAME", span=4) == ((1, 2),)
    assert one_axis("SAME_LOWER", span=4) == ((2, 1),)


def test_causal_pads_the_low_side_only():
    assert one_axis("CAUSAL", span=5) == ((4, 0),)


@pytest.mark.parametrize(
    ("padding", "pairs"),
    [
        ("VALID", ((0, 0), (0, 0))),
        (1, ((1, 1), (1, 1))),
        (-1, ((-1, -1), (-1, -1))),
        ((1, 2), ((1, 1), (2, 2))),
        ([(1, 0), (-2, 3)], ((1, 0), (-2, 3))),
        ((1, (0, 2)), ((1, 1), (0, 2))),
    ],
)
def test_every_form_of_padding_is_pairs(padding, pairs):
    assert windows.pairs("op", padding, (5, 5), (3, 3), (1, 1)) == pairs


@pytest.mark.parametrize(
    ("padding", "error", "sentence"),
    [
        ("same", ValueError, "op: unknown padding 'same'; the names are VALID, SAME, SAME_LOWER, CAUSAL"),
        ("CAUSAL", ValueError, "op: padding 'CAUSAL' needs exactly one spatial axis .* the input has 2"),
        (
            (1, 2, 3),
            ValueError,
            r"op: padding must be one entry per spatial axis, 2 in all, got \(1, 2, 3\)$",
        ),
        (((1, 2, 3), 1), TypeError, "op: padding must be a name, an integer, one integer per axis or"),
        (None, TypeError, "op: padding must be a name, .* got None"),
        (1.0, TypeError, "op: padding must be a name, .* got 1.0"),
        ((1, "SAME"), TypeError, "op: padding must be a name, .* got"),
    ],
)
def test_bad_padding_raises_a_sentence(padding, error, sentence):
    with pytest.raises(error, match=sentence):
        windows.pairs("op", padding, (5, 5), (3, 3), (1, 1))


def test_a_bare_pair_on_one_axis_says_what_was_meant():
    with pytest.raises(ValueError, match=r"got \(1, 2\); did you mean \(\(1, 2\),\)\?"):
        one_axis((1, 2))
    with pytest.raises(ValueError, match=r"1 in all, got \(\(1, 2\), \(1, 2\)\)$"):
        one_axis(((1, 2), (1, 2)))


@given(
    size=SIZES,
    span=st.integers(1, 6),
    stride=st.integers(1, 4),
    low=st.integers(0, 5),
    high=st.integers(0, 5),
)
def test_output_sizes_count_the_windows_that_fit(size, span, stride, low, high):
    padded = low + size + high
    starts = [start for start in range(0, padded, stride) if start + span <= padded]
    # Rounded up: a window may hang over the end, if it starts before the high padding.
    overhanging = [start for start in range(0, low + size, stride) if start - stride + span < padded]
    if not starts:
        with pytest.raises(ValueError, match="op: the window must fit into the padded input"):
            windows.output_sizes("op", (size,), (span,), (stride,), ((low, high),))
        return
    assert windows.output_sizes("op", (size,), (span,), (stride,), ((low, high),)) == (len(starts),)
    if max(low, high) <= span // 2:
        ceiled = windows.output_sizes("op", (size,), (span,), (stride,), ((low, high),), ceil_mode=True)
        assert ceiled == (len(overhanging),)


def test_a_window_larger_than_the_padded_input_raises_a_sentence():
    sentence = (
        r"op: the window must fit into the padded input, got a window that spans \(7, 1\) and an input of "
        r"\(4, 4\) that padding \(\(1, 1\), \(0, 0\)\) makes \(6, 4\)"
    )
    with pytest.raises(ValueError, match=sentence):
        windows.output_sizes("op", (4, 4), (7, 1), (1, 1), ((1, 1), (0, 0)))
