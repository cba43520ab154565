"""Padding that is materialized is padding all the same."""

import numpy as np
import pytest

from jaxnn.kernels.padding import padded, padded_copy
from tests.support import plain_jit, rng_array


@pytest.mark.parametrize(
    "pads",
    [
        {},
        {1: (1, 2), 2: (3, 0)},
        {2: (1, 1)},
        {1: (-1, 1), 2: (0, -2)},
        {0: (0, 0), 3: (1, 0)},
        {1: (2, 2), 3: (0, 1)},
    ],
    ids=str,
)
def test_a_padded_copy_holds_what_padding_gives(pads):
    x = rng_array(2, 3, 4, 5)
    assert np.array_equal(plain_jit(lambda x: padded_copy(x, pads))(x), padded(x, pads))


def test_axes_without_padding_are_merged_but_for_the_first():
    text = plain_jit(lambda x: padded_copy(x, {1: (1, 1), 2: (1, 0)})).lower(rng_array(2, 3, 4, 5)).as_text()
    assert "tensor<2x5x25xf32>" in text  # the padded array as it is written
