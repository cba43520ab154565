"""Settings of a convolution for hypothesis to draw."""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

NAMES = ("VALID", "SAME", "SAME_LOWER", "CIRCULAR", "REFLECT", "REPLICATE")


@dataclass(frozen=True)
class Drawn:
    """The shapes and settings of ``conv``; for a transpose, ``x`` and ``kernel`` are its own."""

    x: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    padding: Any
    dilation: tuple[int, ...]
    groups: int

    @property
    def settings(self):
        return {
            "strides": self.strides,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }


@st.composite
def drawn(draw, transposed=False):
    rank = draw(st.integers(1, 3))
    axes = range(rank)
    most = (6, 5, 4)[rank - 1]
    window = tuple(draw(st.integers(1, 3)) for _ in axes)
    strides = tuple(draw(st.integers(1, 3)) for _ in axes)
    dilation = tuple(draw(st.integers(1, 2)) for _ in axes)
    pad = st.integers(-1, 2)
    padding = draw(
        st.one_of(
            st.sampled_from(NAMES + (("CAUSAL",) if rank == 1 else ())),
            pad,
            st.tuples(*(pad for _ in axes)),
            st.tuples(*(st.tuples(pad, pad) for _ in axes)),
        )
    )
    groups, c_in, c_out = (draw(st.integers(1, 2)) for _ in range(3))
    x = (draw(st.integers(1, 2)), *(draw(st.integers(1, most)) for _ in axes), c_in * groups)
    channels = (c_in * groups, c_out) if transposed else (c_in, c_out * groups)
    return Drawn(x, (*window, *channels), strides, padding, dilation, groups)
