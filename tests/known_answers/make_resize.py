"""Writes resize.npz: what PyTorch's interpolate and pixel_shuffle give, and their gradients.

    python tests/known_answers/make_resize.py

needs torch (2.13 made the committed file). An entry is called ``<case>/y`` or ``<case>/grad``; arrays are
channels last. The input and the output's cotangent are ``probe`` of their shapes; the settings of the cases
are in ``tests/ops/test_resize.py`` too.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

SPACES = {1: (7,), 2: (6, 5), 3: (4, 3, 5)}
SIZES = {
    "double": {1: (14,), 2: (12, 10), 3: (8, 6, 10)},
    "grow": {1: (10,), 2: (7, 13), 3: (5, 7, 6)},
    "shrink": {1: (3,), 2: (4, 2), 3: (3, 1, 4)},
}
WIDE = (20, 11), (3, 5)
MODES = {"linear": {1: "linear", 2: "bilinear", 3: "trilinear"}, "cubic": {2: "bicubic"}}


def probe(shape) -> np.ndarray:
    """Values without a pattern, the same wherever they are computed."""
    return np.sin(np.arange(1, np.prod(shape) + 1) ** 2.0).astype(np.float32).reshape(shape)


def channels_last(array: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(array.detach().movedim(1, -1).numpy())


def channels_first(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).movedim(-1, 1).contiguous()


def record(function, shape) -> dict[str, np.ndarray]:
    x = channels_first(probe(shape)).requires_grad_()
    y = function(x)
    (y * channels_first(probe(channels_last(y).shape))).sum().backward()
    return {"y": channels_last(y), "grad": channels_last(x.grad)}


def cases():
    """(name, spatial sizes, arguments of ``interpolate``)."""
    for which, sizes in SIZES.items():
        for rank, space in SPACES.items():
            yield f"nearest/{which}/{rank}", space, {"size": sizes[rank], "mode": "nearest-exact"}
            for method, modes in MODES.items():
                if rank in modes:
                    options = {"size": sizes[rank], "mode": modes[rank]}
                    yield f"{method}/{which}/{rank}", space, options
                    yield f"{method}-aligned/{which}/{rank}", space, options | {"align_corners": True}
    for method, modes in MODES.items():
        options = {"mode": modes[2], "antialias": True}
        yield f"{method}-antialias/shrink/2", SPACES[2], options | {"size": SIZES["shrink"][2]}
        yield f"{method}-antialias/wide/2", WIDE[0], options | {"size": WIDE[1]}
    for scale in (2.5, 0.7):
        options = {"scale_factor": scale, "recompute_scale_factor": True}
        yield f"upsample-nearest/{scale}/2", SPACES[2], options | {"mode": "nearest-exact"}
        yield f"upsample-linear/{scale}/2", SPACES[2], options | {"mode": "bilinear"}


def main() -> None:
    answers = {}
    for name, space, options in cases():
        entry = record(lambda x, options=options: functional.interpolate(x, **options), (1, *space, 2))
        answers |= {f"{name}/{array}": value for array, value in entry.items()}
    for name, function in (("shuffle", functional.pixel_shuffle), ("unshuffle", functional.pixel_unshuffle)):
        entry = record(lambda x, function=function: function(x, 2), (1, 4, 2, 8))
        answers |= {f"{name}/{array}": value for array, value in entry.items()}
    np.savez_compressed(Path(__file__).with_name("resize.npz"), **answers)


if __name__ == "__main__":
    main()
