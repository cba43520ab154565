"""Writes recurrent_variants.npz: torch's stacked bidirectional networks, projected too; a normalised LSTM.

    python tests/known_answers/make_recurrent_variants.py

needs torch (2.14 made the committed file). An entry is called ``<net>/<array>``. ``state/`` are torch's
entries, ``y`` the outputs of sequences of ``lengths``, and ``grad/`` the gradients of Σ y·sin(1, 2, 3, …) in
x and in these entries. ``layer_norm`` is written out by hand from torch's functions, with this library's
entries.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

N, T, F, H, P = 3, 4, 3, 4, 2
LENGTHS = [3, 4, 1]
NETS = {
    "lstm": (torch.nn.LSTM, {"proj_size": P}),
    "gru": (torch.nn.GRU, {}),
}


def loss(y: torch.Tensor) -> torch.Tensor:
    return (y * torch.sin(torch.arange(y.numel()) + 1.0).reshape(y.shape)).sum()


def record(net: torch.nn.RNNBase) -> dict[str, torch.Tensor]:
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.6)
    x = torch.randn(N, T, F, requires_grad=True)
    packed = pack_padded_sequence(x, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False)
    y, _ = pad_packed_sequence(net(packed)[0], batch_first=True, total_length=T)
    loss(y).backward()
    entries = dict(net.named_parameters())
    return {
        "x": x,
        "y": y,
        "grad/x": x.grad,
        **{f"state/{name}": entry for name, entry in entries.items()},
        **{f"grad/{name}": entry.grad for name, entry in entries.items()},
    }


def normalised() -> dict[str, torch.Tensor]:
    sizes = {
        "input_kernel": (F, 4 * H), "recurrent_kernel": (H, 4 * H), "bias": (4 * H,),
        "input_scale": (4 * H,), "recurrent_scale": (4 * H,), "cell_scale": (H,), "cell_bias": (H,),
    }  # fmt: skip
    own = {name: torch.randn(size, requires_grad=True) for name, size in sizes.items()}
    x = torch.randn(N, T, F, requires_grad=True)
    norm = torch.nn.functional.layer_norm
    h = c = torch.zeros(N, H)
    outputs = []
    for t in range(T):
        sums = norm(x[:, t] @ own["input_kernel"], (4 * H,), own["input_scale"], own["bias"])
        sums = sums + norm(h @ own["recurrent_kernel"], (4 * H,), own["recurrent_scale"])
        i, f, g, o = sums.chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(norm(c, (H,), own["cell_scale"], own["cell_bias"]))
        outputs.append(h)
    y = torch.stack(outputs, dim=1)
    loss(y).backward()
    return {
        "x": x,
        "y": y,
        "grad/x": x.grad,
        **{f"state/{name}": weight for name, weight in own.items()},
        **{f"grad/{name}": weight.grad for name, weight in own.items()},
    }


def main() -> None:
    torch.manual_seed(0)
    nets = {
        name: record(kind(F, H, num_layers=2, bidirectional=True, batch_first=True, **settings))
        for name, (kind, settings) in NETS.items()
    } | {"layer_norm": normalised()}
    answers = {
        f"{net}/{name}": array.detach().numpy()
        for net, arrays in nets.items()
        for name, array in arrays.items()
    }
    path = Path(__file__).with_name("recurrent_variants.npz")
    np.savez_compressed(path, lengths=np.array(LENGTHS, np.int32), **answers)


if __name__ == "__main__":
    main()
