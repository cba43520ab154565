"""Writes norm.npz: what torch's norms give, with their gradients, all channels last.

    python tests/known_answers/make_norm.py

needs torch (2.13 made the committed file). An entry is called ``<case>/<array>``. The ``grad/`` arrays are
the gradients of Σ y·sin(1, 2, 3, ...), the sine in y's channels-last order. ``momentum`` is the weight of the
old running value, one minus torch's.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

EPSILON, MOMENTUM = 1e-3, 0.9


def channels_last(array: torch.Tensor) -> torch.Tensor:
    return array.movedim(1, -1)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, requires_grad=True)


def record(case: str, y: torch.Tensor, x: torch.Tensor, **others: torch.Tensor) -> dict[str, np.ndarray]:
    """y, the inputs and the gradients; x and y are (N, C, *space) as torch has them."""
    last = channels_last(y)
    probe = torch.sin(torch.arange(last.numel()) + 1.0).reshape(last.shape)
    (last * probe).sum().backward()
    answers = {"y": last, "x": channels_last(x), "grad/x": channels_last(x.grad)}
    for name, array in others.items():
        answers[name] = array
        if array.grad is not None:
            answers[f"grad/{name}"] = array.grad
    return {f"{case}/{name}": array.detach().numpy().copy() for name, array in answers.items()}


def batch_norms() -> dict[str, np.ndarray]:
    answers = {}
    for rank, shape in enumerate([(5, 3), (4, 3, 5), (3, 3, 2, 4), (2, 3, 2, 2, 3)]):
        for mode in ("train", "eval"):
            x, scale, bias = draw(*shape), draw(3), draw(3)
            mean, var = torch.randn(3), torch.rand(3) + 0.5
            before = {"mean": mean.clone(), "var": var.clone()}
            y = functional.batch_norm(
                x, mean, var, scale, bias, training=mode == "train", momentum=1 - MOMENTUM, eps=EPSILON
            )
            after = {"mean_after": mean, "var_after": var}
            answers |= record(f"batch_norm/{mode}/{rank}", y, x, scale=scale, bias=bias, **before, **after)
    return answers


def other_norms() -> dict[str, np.ndarray]:
    answers = {}
    x, scale, bias = draw(3, 6), draw(6), draw(6)
    y = functional.layer_norm(x, (6,), scale, bias, EPSILON)
    answers |= record("layer_norm", y, x, scale=scale, bias=bias)

    x, scale = draw(3, 6), draw(6)
    y = functional.rms_norm(x, (6,), scale, EPSILON)
    answers |= record("rms_norm", y, x, scale=scale)

    for rank, shape in enumerate([(3, 6), (3, 6, 4), (2, 6, 3, 2), (2, 6, 2, 2, 2)]):
        x, scale, bias = draw(*shape), draw(6), draw(6)
        y = functional.group_norm(x, 3, scale, bias, EPSILON)
        answers |= record(f"group_norm/{rank}", y, x, scale=scale, bias=bias)
        if rank:
            x, scale, bias = draw(*shape), draw(6), draw(6)
            y = functional.instance_norm(x, weight=scale, bias=bias, eps=EPSILON)
            answers |= record(f"instance_norm/{rank}", y, x, scale=scale, bias=bias)
    return answers


if __name__ == "__main__":
    torch.manual_seed(0)
    settings = {"epsilon": np.float32(EPSILON), "momentum": np.float32(MOMENTUM)}
    np.savez_compressed(Path(__file__).with_name("norm.npz"), **settings, **batch_norms(), **other_norms())
