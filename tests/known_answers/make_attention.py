"""Writes attention.npz: what torch's scaled_dot_product_attention gives, with its gradients.

    python tests/known_answers/make_attention.py

needs torch (2.14 made the committed file). An entry is called ``<case>/<array>``; q, k, v and y are
(N, T, heads, D), as in jaxnn. The ``grad/`` arrays are the gradients of Σ y·probe(y), with probe as below.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

N, T, S, H, D = 2, 5, 7, 4, 3

CASES = {
    "plain": {},
    "causal": {"is_causal": True},
    "scale": {"scale": 0.3},
    "mask": {"mask": (N, 1, T, S)},
    "bias": {"bias": (1, H, T, S)},
    "grouped": {"enable_gqa": True, "kv_heads": 2, "is_causal": True},
}


def probe(array: torch.Tensor) -> torch.Tensor:
    return torch.sin(torch.arange(array.numel()) + 1.0).reshape(array.shape)


def record(settings: dict[str, object]) -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    settings = dict(settings)
    kv_heads = settings.pop("kv_heads", H)
    q = torch.randn(N, T, H, D, requires_grad=True)
    k, v = (torch.randn(N, S, kv_heads, D, requires_grad=True) for _ in range(2))
    arrays = {"q": q, "k": k, "v": v}
    if shape := settings.pop("mask", None):
        mask = torch.rand(shape) < 0.6
        mask[..., 0] = True
        arrays["mask"] = settings["attn_mask"] = mask
    if shape := settings.pop("bias", None):
        arrays["bias"] = settings["attn_mask"] = torch.randn(shape, requires_grad=True)
    heads_first = (a.transpose(1, 2) for a in (q, k, v))
    y = scaled_dot_product_attention(*heads_first, **settings).transpose(1, 2)
    (y * probe(y)).sum().backward()
    gradients = {f"grad/{name}": a.grad for name, a in arrays.items() if a.requires_grad}
    return {name: a.detach().numpy() for name, a in {**arrays, "y": y, **gradients}.items()}


def main() -> None:
    answers = {f"{case}/{name}": a for case, s in CASES.items() for name, a in record(s).items()}
    np.savez_compressed(Path(__file__).with_name("attention.npz"), **answers)


if __name__ == "__main__":
    main()
