"""Representative settings of conv, conv_transpose and dense for the properties that every op must have."""

from functools import partial

from jaxnn.ops.conv import conv
from jaxnn.ops.conv_transpose import conv_transpose
from jaxnn.ops.dense import dense
from tests.ops.case import Case

CASES = [
    Case("conv-1d", conv, ((2, 5, 2), (3, 2, 3), (3,)), large=((2, 2100, 8), (3, 8, 8), (8,))),
    Case(
        "conv-2d-same-strided",
        partial(conv, strides=2, padding="SAME"),
        ((2, 5, 4, 2), (3, 2, 2, 2), (2,)),
        large=((2, 65, 64, 8), (3, 3, 8, 8), (8,)),
    ),
    Case(
        "conv-2d-grouped-dilated",
        partial(conv, groups=2, dilation=(1, 2), padding=((1, -1), (0, 2))),
        ((2, 4, 4, 2), (2, 2, 1, 4), (4,)),
        large=((2, 64, 66, 8), (3, 3, 4, 8), (8,)),
    ),
    Case(
        "conv-2d-depthwise",
        partial(conv, groups=3, padding="SAME_LOWER"),
        ((2, 3, 4, 3), (2, 3, 1, 6)),
        large=((2, 80, 80, 3), (2, 3, 1, 6)),
    ),
    Case("conv-3d", partial(conv, padding=1, strides=(1, 2, 1)), ((1, 3, 3, 2, 2), (2, 2, 2, 2, 2), (2,))),
    Case(
        "conv-2d-padded-beforehand",
        partial(conv, strides=2, padding=((2, 1), (1, 1))),
        ((1, 3, 4, 1), (3, 2, 1, 1)),
    ),
    Case("conv-1d-causal", partial(conv, padding="CAUSAL", dilation=2), ((2, 5, 2), (3, 2, 2))),
    Case(
        "conv-2d-circular",
        partial(conv, padding="CIRCULAR"),
        ((2, 4, 3, 2), (3, 3, 2, 2), (2,)),
        large=((2, 64, 64, 8), (3, 3, 8, 8), (8,)),
    ),
    Case("conv-1d-reflect", partial(conv, padding="REFLECT", strides=2), ((2, 6, 1), (5, 1, 2))),
    Case("conv-1d-replicate", partial(conv, padding="REPLICATE"), ((2, 4, 1), (4, 1, 2))),
    Case(
        "conv-transpose-1d",
        partial(conv_transpose, strides=2),
        ((2, 4, 2), (3, 2, 3), (3,)),
        large=((2, 2100, 8), (3, 8, 8), (8,)),
    ),
    Case(
        "conv-transpose-2d-same",
        partial(conv_transpose, strides=2, padding="SAME"),
        ((2, 3, 2, 2), (4, 4, 2, 2), (2,)),
        large=((2, 48, 48, 8), (4, 4, 8, 8), (8,)),
    ),
    Case(
        "conv-transpose-2d-grouped-output-padding",
        partial(conv_transpose, strides=(2, 3), padding=1, output_padding=(1, 2), dilation=(2, 1), groups=2),
        ((2, 3, 2, 4), (2, 3, 4, 1), (2,)),
        large=((2, 48, 48, 8), (2, 3, 8, 2), (4,)),
    ),
    Case(
        "conv-transpose-2d-cropped-afterwards",
        partial(conv_transpose, strides=2, padding=((2, 1), (1, 1))),
        ((1, 2, 3, 1), (3, 2, 1, 1)),
    ),
    Case("conv-transpose-3d", partial(conv_transpose, strides=(1, 2, 1)), ((1, 2, 2, 2, 2), (2, 1, 3, 2, 2))),
    Case("conv-transpose-1d-circular", partial(conv_transpose, padding="CIRCULAR"), ((2, 4, 2), (3, 2, 2))),
    Case(
        "conv-transpose-1d-reflect",
        partial(conv_transpose, padding="REFLECT", strides=2),
        ((2, 3, 1), (5, 1, 2), (2,)),
    ),
    Case("dense", dense, ((3, 4), (4, 2), (2,)), large=((512, 128), (128, 64), (64,))),
    Case("dense-sequence", dense, ((2, 3, 4), (4, 2))),
]
