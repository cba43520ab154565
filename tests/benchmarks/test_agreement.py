import numpy as np
import pytest

from benchmarks.agreement import Answer, Wrong, check

ONE = np.array([1.0, -4.0])


def test_the_error_is_relative_to_the_largest_value():
    assert check([np.array([1.0, -4.00004])], Answer([ONE]), 1e-4) == pytest.approx(1e-5)


@pytest.mark.parametrize(
    ("results", "text"),
    [
        ([ONE * 1.01], "error 1.0e-02 of the largest value, 1e-04 is allowed"),
        ([ONE[:1]], r"shape \(1,\) instead of \(2,\)"),
        ([ONE, ONE], "2 arrays instead of 1"),
        ([ONE * np.nan], "not finite"),
    ],
)
def test_what_differs_is_wrong_and_says_how(results, text):
    with pytest.raises(Wrong, match=text):
        check(results, Answer([ONE]), 1e-4)


def test_an_answer_that_is_not_finite_agrees_with_nothing():
    with pytest.raises(Wrong, match="of the answer is not finite"):
        check([ONE], Answer([ONE * np.nan]), 1e-4)


def test_dropped_values_are_counted_and_the_rest_compared():
    rng = np.random.default_rng(0)
    whole = rng.standard_normal(10_000) + 5
    dropped = np.where(rng.random(10_000) < 0.3, 0, whole)
    assert check([dropped], Answer([whole], rate=0.3), 1e-4) == 0
    with pytest.raises(Wrong, match=r"of the values are dropped, at a rate of 0\.5"):
        check([dropped], Answer([whole], rate=0.5), 1e-4)
    with pytest.raises(Wrong, match="of the largest value"):
        check([dropped * 1.1], Answer([whole], rate=0.3), 1e-4)
