"""Writes multi_head_attention.npz: torch's MultiheadAttention and TransformerEncoderLayer, with gradients.

    python tests/known_answers/make_multi_head_attention.py

needs torch (2.14 made the committed file). An entry is called ``<case>/<array>``; weights have torch's names.
``grad/x`` (and ``grad/memory``) are the gradients of Σ y·probe(y) over the real steps, with probe as below.
"""

from pathlib import Path

import numpy as np
import torch

N, T, S, E, H = 2, 5, 6, 8, 2
LENGTHS = [5, 3]


def probe(array: torch.Tensor) -> torch.Tensor:
    return torch.sin(torch.arange(array.numel()) + 1.0).reshape(array.shape)


def recorded(module: torch.nn.Module, run: object, **inputs: torch.Tensor) -> dict[str, np.ndarray]:
    for weight in module.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    y = run(module, **inputs)
    (y * probe(y)).sum().backward()
    arrays = {**inputs, "y": y, **dict(module.named_parameters())}
    arrays |= {f"grad/{name}": a.grad for name, a in inputs.items() if a.requires_grad}
    return {name: a.detach().numpy() for name, a in arrays.items()}


def attend(
    module: torch.nn.Module, x: torch.Tensor, memory: torch.Tensor | None = None, **settings: object
) -> torch.Tensor:
    memory = x if memory is None else memory
    return module(x, memory, memory, need_weights=False, **settings)[0]


def main() -> None:
    torch.manual_seed(0)
    kinds = {"batch_first": True}
    x, memory = torch.randn(N, T, E, requires_grad=True), torch.randn(N, S, E, requires_grad=True)
    above = torch.triu(torch.ones(T, T, dtype=torch.bool), 1)
    past = torch.arange(T)[None] >= torch.tensor(LENGTHS)[:, None]

    def fresh(a: torch.Tensor) -> torch.Tensor:
        return a.detach().clone().requires_grad_()

    attention = torch.nn.MultiheadAttention(E, H, **kinds)
    answers = {
        "causal": recorded(attention, lambda m, x: attend(m, x, attn_mask=above), x=fresh(x)),
        "lengths": recorded(
            torch.nn.MultiheadAttention(E, H, bias=False, **kinds),
            lambda m, x: attend(m, x, key_padding_mask=past) * ~past[..., None],
            x=fresh(x),
        ),
        "memory": recorded(
            torch.nn.MultiheadAttention(E, H, **kinds), attend, x=fresh(x), memory=fresh(memory)
        ),
    }
    for order in ("post", "pre"):
        layer = torch.nn.TransformerEncoderLayer(E, H, 12, dropout=0.0, norm_first=order == "pre", **kinds)
        answers[f"{order}_norm"] = recorded(layer, lambda m, x: m(x), x=fresh(x))
    flat = {f"{case}/{name}": a for case, arrays in answers.items() for name, a in arrays.items()}
    np.savez_compressed(
        Path(__file__).with_name("multi_head_attention.npz"), lengths=np.array(LENGTHS), **flat
    )


if __name__ == "__main__":
    main()
