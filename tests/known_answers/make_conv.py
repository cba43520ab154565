"""Writes conv.npz beside this file: PyTorch's results for conv, conv_transpose and dense.

Run with a Python that has torch 2.13: ``python tests/known_answers/make_conv.py``. Arrays are stored channels
last; computed in float64 from float32 values, stored in float32.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

CONV = [F.conv1d, F.conv2d, F.conv3d]
CONV_TRANSPOSE = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d]

# (shape of x, window, output channels, settings of ours, padding mode of torch)
CONV_CASES = [
    ((2, 7, 3), (3,), 4, {}, None),
    ((2, 9, 2), (3,), 4, {"strides": 2, "padding": 2, "dilation": 2}, None),
    ((1, 6, 5, 3), (3, 3), 4, {"padding": 1}, None),
    ((2, 7, 6, 4), (3, 2), 6, {"strides": [2, 1], "padding": [1, 0], "dilation": [1, 2], "groups": 2}, None),
    ((1, 5, 5, 3), (3, 3), 6, {"padding": 1, "groups": 3}, None),
    ((1, 4, 5, 3, 2), (2, 3, 2), 2, {"strides": [1, 2, 1], "padding": [0, 1, 1]}, None),
    ((1, 5, 6, 2), (3, 3), 2, {"padding": "CIRCULAR"}, "circular"),
]
CONV_TRANSPOSE_CASES = [
    ((2, 4, 3), (3,), 2, {}),
    ((2, 4, 2), (4,), 3, {"strides": 2, "padding": 1}),
    ((1, 4, 3, 2), (3, 3), 3, {"strides": 2, "padding": 1, "output_padding": 1}),
    ((1, 3, 4, 2), (2, 2), 3, {"strides": 2}),
    (
        (2, 3, 4, 4),
        (3, 2),
        6,
        {"strides": [3, 2], "padding": [1, 0], "output_padding": [2, 0], "dilation": [2, 1], "groups": 2},
    ),
    (
        (1, 2, 3, 2, 2),
        (2, 3, 2),
        2,
        {"strides": [1, 2, 3], "padding": [0, 1, 0], "output_padding": [0, 1, 2]},
    ),
]


def channels_first(x):
    return x.moveaxis(-1, 1)


def torch_settings(settings):
    renamed = {"stride" if name == "strides" else name: value for name, value in settings.items()}
    return {name: tuple(v) if isinstance(v, list) else v for name, v in renamed.items()}


def conv(x, kernel, bias, settings, mode):
    """Ours from torch's: channels last around it, ``(*k, I // g, O)`` as ``(O, I // g, *k)``."""
    x, weight = channels_first(x), kernel.moveaxis((-1, -2), (0, 1))
    settings = torch_settings(settings)
    if mode is not None:
        del settings["padding"]
        x = F.pad(x, [n // 2 for n in reversed(weight.shape[2:]) for _ in range(2)], mode=mode)
    return CONV[kernel.ndim - 3](x, weight, bias, **settings).moveaxis(1, -1)


def conv_transpose(x, kernel, bias, settings):
    """``(*k, I, O // g)`` is torch's ``(I, O // g, *k)``."""
    x, weight = channels_first(x), kernel.moveaxis((-2, -1), (0, 1))
    return CONV_TRANSPOSE[kernel.ndim - 3](x, weight, bias, **torch_settings(settings)).moveaxis(1, -1)


def main():
    rng = np.random.default_rng(0)
    archive = {}

    def record(name, function, x_shape, kernel_shape, features):
        shapes = (x_shape, kernel_shape, (features,))
        inputs = [
            torch.tensor(rng.standard_normal(s).astype(np.float32), dtype=torch.float64, requires_grad=True)
            for s in shapes
        ]
        y = function(*inputs)
        cotangent = torch.tensor(rng.standard_normal(tuple(y.shape)).astype(np.float32), dtype=torch.float64)
        gradients = torch.autograd.grad(y, inputs, cotangent)
        names = ("x", "kernel", "bias", "y", "cotangent", "x_gradient", "kernel_gradient", "bias_gradient")
        for label, value in zip(names, (*inputs, y, cotangent, *gradients), strict=True):
            archive[f"{name}_{label}"] = value.detach().numpy().astype(np.float32)

    for number, (x, window, features, settings, mode) in enumerate(CONV_CASES):
        kernel = (*window, x[-1] // settings.get("groups", 1), features)
        record(f"conv_{number}", lambda *a, s=settings, m=mode: conv(*a, s, m), x, kernel, features)
    for number, (x, window, features, settings) in enumerate(CONV_TRANSPOSE_CASES):
        kernel = (*window, x[-1], features // settings.get("groups", 1))
        record(f"conv_transpose_{number}", lambda *a, s=settings: conv_transpose(*a, s), x, kernel, features)
    record("dense", lambda x, kernel, bias: F.linear(x, kernel.T, bias), (2, 3, 5), (5, 4), 4)
    archive["conv_settings"] = np.array(json.dumps([case[3] for case in CONV_CASES]))
    archive["conv_transpose_settings"] = np.array(json.dumps([case[3] for case in CONV_TRANSPOSE_CASES]))
    np.savez_compressed(Path(__file__).with_name("conv.npz"), **archive)


if __name__ == "__main__":
    main()
