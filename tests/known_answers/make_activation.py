"""Writes activation.npz: what torch's activations give, with their gradients.

    python tests/known_answers/make_activation.py

needs torch (2.13 made the committed file). ``x`` is what each element-wise ``<name>/y`` is of, and
``<name>/grad`` its derivative. ``rows`` is what the functions of whole rows are of; their ``grad`` is the
gradient of Σ y·sin(1, 2, 3, ...).
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

ELEMENTWISE = {
    "relu": functional.relu,
    "relu6": functional.relu6,
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "selu": functional.selu,
    "celu": functional.celu,
    "gelu": lambda x: functional.gelu(x, approximate="tanh"),
    "gelu_exact": functional.gelu,
    "silu": functional.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": functional.softplus,
    "soft_sign": functional.softsign,
    "hard_tanh": functional.hardtanh,
    "hard_sigmoid": functional.hardsigmoid,
    "hard_silu": functional.hardswish,
    "mish": functional.mish,
    "log_sigmoid": functional.logsigmoid,
    "arctan": torch.atan,
    "hard_shrink": functional.hardshrink,
    "soft_shrink": functional.softshrink,
    "tanh_shrink": functional.tanhshrink,
    "threshold": lambda x: functional.threshold(x, 0.5, -2.0),
}
ROWS = {
    "softmax": lambda x: functional.softmax(x, -1),
    "log_softmax": lambda x: functional.log_softmax(x, -1),
    "softmin": lambda x: functional.softmin(x, -1),
    "glu": functional.glu,
}
SLOPE = torch.tensor([0.25, -0.5, 1.5, 0.0])


def probe(array: torch.Tensor) -> torch.Tensor:
    return torch.sin(torch.arange(array.numel()) + 1.0).reshape(array.shape)


def differentiated(function, start: torch.Tensor, weighted: bool) -> tuple[torch.Tensor, torch.Tensor]:
    x = start.clone().requires_grad_()
    y = function(x)
    (y * probe(y) if weighted else y).sum().backward()
    return y.detach(), x.grad


if __name__ == "__main__":
    torch.manual_seed(0)
    # No kink of any of them is among these.
    x = torch.cat([torch.linspace(-7.97, 7.97, 40), torch.tensor([-90.0, -30.0, 19.0, 30.0, 90.0])])
    rows = 2 * torch.randn(5, 6)
    answers = {"x": x, "rows": rows, "prelu/x": torch.randn(5, 4), "prelu/slope": SLOPE}
    for name, function in ELEMENTWISE.items():
        answers[f"{name}/y"], answers[f"{name}/grad"] = differentiated(function, x, False)
    for name, function in ROWS.items():
        answers[f"{name}/y"], answers[f"{name}/grad"] = differentiated(function, rows, True)
    answers["prelu/y"], answers["prelu/grad"] = differentiated(
        lambda x: functional.prelu(x, SLOPE), answers["prelu/x"], True
    )
    _, answers["prelu/grad/slope"] = differentiated(
        lambda slope: functional.prelu(answers["prelu/x"], slope), SLOPE, True
    )
    arrays = {name: array.numpy() for name, array in answers.items()}
    np.savez_compressed(Path(__file__).with_name("activation.npz"), **arrays)
