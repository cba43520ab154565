from functools import partial

from jaxnn.ops.pixel_shuffle import pixel_shuffle, pixel_unshuffle
from jaxnn.ops.resize import resize, upsample
from tests.ops.case import Case

SMALL, LARGE = ((2, 5, 4, 2),), ((4, 40, 50, 5),)

CASES = [
    Case("resize-nearest", partial(resize, size=(8, 3)), SMALL, ((4, 40, 30, 5),)),
    Case("resize-nearest-whole-factors", partial(resize, size=(15, 2)), SMALL, ((4, 30, 50, 6),)),
    Case("resize-linear", partial(resize, size=(8, 3), method="linear"), SMALL, LARGE),
    Case("resize-linear-3d", partial(resize, size=(4, 2, 3), method="linear"), ((2, 2, 3, 3, 1),)),
    Case("resize-linear-aligned", partial(resize, size=7, method="linear", align_corners=True), SMALL),
    Case(
        "resize-linear-antialias", partial(resize, size=(2, 6), method="linear", antialias=True), SMALL, LARGE
    ),
    Case("resize-cubic", partial(resize, size=(7, 3), method="cubic"), SMALL, LARGE),
    Case("upsample-linear-16", partial(upsample, scale=16, method="linear"), ((2, 3, 1),)),
    Case("upsample-cubic", partial(upsample, scale=(1.5, 3), method="cubic"), SMALL),
    Case("pixel-shuffle", partial(pixel_shuffle, scale=(2, 3)), ((2, 3, 2, 12),), ((4, 30, 30, 12),)),
    Case("pixel-shuffle-one-channel", partial(pixel_shuffle, scale=(2, 1)), ((2, 3, 4, 2),)),
    Case("pixel-unshuffle", partial(pixel_unshuffle, scale=(2, 3)), ((2, 4, 6, 1),), ((4, 40, 60, 5),)),
]
