"""Known answers of pools from PyTorch: run this file with a Python that has it.

Writes ``pool.npz``: ``settings`` (one JSON text per case), and the outputs, gradients and indices of all
cases one after the other, channels last. The gradient is that of ⟨y, cotangent⟩ for
cotangent = cos(0, 1, 2, ...).
"""

import json
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

SPACES = {1: (9,), 2: (6, 7), 3: (4, 5, 3)}
generator = np.random.default_rng(0)
# Few different values, so that maxima are tied often.
inputs = {
    rank: generator.integers(-3, 4, (2, *space, 2)).astype(np.float32) for rank, space in SPACES.items()
}


def first(x):
    return torch.movedim(x, -1, 1)


def last(x):
    return torch.movedim(x, 1, -1).detach().numpy()


def pick(name, rank):
    return getattr(F, f"{name}{rank}d")


def max_pool(x, rank, window, strides, padding, dilation, ceil_mode):
    return pick("max_pool", rank)(
        x, window, strides, padding, dilation, ceil_mode=ceil_mode, return_indices=True
    )


def min_pool(x, rank, **settings):
    return -max_pool(-x, rank, **settings)[0], None


def avg_pool(x, rank, window, strides, padding, ceil_mode, count_include_pad):
    return pick("avg_pool", rank)(x, window, strides, padding, ceil_mode, count_include_pad), None


def lp_pool(x, rank, window, strides, p):
    return pick("lp_pool", rank)(x.abs() if p % 2 else x, p, window, strides), None


def adaptive_avg_pool(x, rank, output_size):
    return pick("adaptive_avg_pool", rank)(x, output_size), None


def adaptive_max_pool(x, rank, output_size):
    return pick("adaptive_max_pool", rank)(x, output_size, return_indices=True)


def max_unpool(x, rank, window, strides, output_size):
    y, indices = pick("max_pool", rank)(x, window, strides, return_indices=True)
    return pick("max_unpool", rank)(y, indices, window, strides, output_size=output_size), None


def cases():
    ceil = (False, True)
    for (k, s), p, c in product(((2, 3), (3, 2)), (0, 1), ceil):
        common = {"window": k, "strides": s, "padding": p, "ceil_mode": c}
        yield "max_pool", 2, {**common, "dilation": 1}
        for include in (False, True):
            yield "avg_pool", 2, {**common, "count_include_pad": include}
    for rank, c in product((1, 3), ceil):
        common = {"window": 2, "strides": 3, "padding": 1, "ceil_mode": c}
        for name in ("max_pool", "min_pool"):
            yield name, rank, {**common, "dilation": 1}
        yield "avg_pool", rank, {**common, "count_include_pad": c}
    for p, c in product((0, 1), ceil):
        yield "max_pool", 2, {"window": 3, "strides": 2, "padding": p, "dilation": 2, "ceil_mode": c}
    for rank, p in ((1, 1), (1, 2), (2, 3), (2, 4), (3, 2)):
        yield "lp_pool", rank, {"window": 2, "strides": 1 + p % 2, "p": p}
    for name, rank in product(("adaptive_avg_pool", "adaptive_max_pool"), (1, 2, 3)):
        for out in (1, 2, 5, 11) if rank == 2 else (2,):
            yield name, rank, {"output_size": out}
    for rank, space in SPACES.items():
        yield "max_unpool", rank, {"window": 2, "strides": 2, "output_size": space}


settings, outputs, gradients, positions = [], [], [], []
for name, rank, options in cases():
    x = torch.tensor(inputs[rank], requires_grad=True)
    y, indices = globals()[name](first(x), rank, **options)
    y = torch.movedim(y, 1, -1)
    cotangent = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).to(torch.float32).reshape(y.shape)
    (y * cotangent).sum().backward()
    outputs.append(y.detach().numpy().ravel())
    gradients.append(x.grad.numpy().ravel())
    if indices is not None:
        positions.append(last(indices).ravel().astype(np.int32))
    settings.append(
        json.dumps(
            {"op": name, "rank": rank, "options": options, "shape": y.shape, "indices": indices is not None}
        )
    )

np.savez_compressed(
    Path(__file__).parent / "pool.npz",
    settings=np.array(settings),
    y=np.concatenate(outputs),
    dx=np.concatenate(gradients),
    indices=np.concatenate(positions),
    **{f"x{rank}": x for rank, x in inputs.items()},
)
