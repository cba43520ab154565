"""Writes recurrent.npz: what torch's recurrent networks give, with their gradients and torch's weights.

    python tests/known_answers/make_recurrent.py

needs torch (2.13 made the committed file). An entry is called ``<net>/<shape>/<array>``. The weights are
torch's, side by side: ``weights_l0`` is ``[weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0]`` of shape
(gates·H, F + H + 2), and so are ``weights_l0_reverse`` and ``weights_l1``. ``carry`` and ``final`` are
(1, D, N, H), or (2, D, N, H) for the LSTM's h and c, where D counts layers and directions. The ``grad/``
arrays are the gradients of Σ y·probe(y) + Σ final·probe(final), with probe as below.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

N, T, F, H = 3, 5, 3, 4
LENGTHS = [3, 5, 1]

NETS = {
    "rnn_tanh": (torch.nn.RNN, {"nonlinearity": "tanh"}),
    "rnn_relu": (torch.nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (torch.nn.LSTM, {}),
    "gru": (torch.nn.GRU, {}),
}
SHAPES = {
    "single": {},
    "bidirectional": {"bidirectional": True},
    "stacked": {"num_layers": 2},
}


def probe(array: torch.Tensor) -> torch.Tensor:
    return torch.sin(torch.arange(array.numel()) + 1.0).reshape(array.shape)


def side_by_side(net: torch.nn.RNNBase, part: str, *, gradient: bool) -> torch.Tensor:
    """The four weights of one layer and direction, or their gradients, as the columns of one matrix."""
    names = [f"{name}_{part}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    arrays = [getattr(net, name).grad if gradient else getattr(net, name) for name in names]
    return torch.cat([array.reshape(len(array), -1) for array in arrays], dim=1)


def record(kind: type[torch.nn.RNNBase], settings: dict[str, object]) -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    net = kind(F, H, batch_first=True, **settings)
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.6)
    parts = ["l0"] + ["l0_reverse"] * net.bidirectional + ["l1"] * (net.num_layers - 1)
    x = torch.randn(N, T, F, requires_grad=True)
    carry = torch.randn(2 if kind is torch.nn.LSTM else 1, len(parts), N, H, requires_grad=True)
    packed = pack_padded_sequence(x, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False)
    y, final = net(packed, tuple(carry) if kind is torch.nn.LSTM else carry[0])
    y, _ = pad_packed_sequence(y, batch_first=True, total_length=T)
    final = torch.stack(final) if kind is torch.nn.LSTM else final[None]
    ((y * probe(y)).sum() + (final * probe(final)).sum()).backward()
    arrays = {"x": x, "carry": carry, "y": y, "final": final, "grad/x": x.grad, "grad/carry": carry.grad}
    for part in parts:
        arrays[f"weights_{part}"] = side_by_side(net, part, gradient=False)
        arrays[f"grad/weights_{part}"] = side_by_side(net, part, gradient=True)
    return {name: array.detach().numpy() for name, array in arrays.items()}


def main() -> None:
    answers = {"lengths": np.array(LENGTHS, np.int32)}
    for net, (kind, options) in NETS.items():
        for shape, settings in SHAPES.items():
            recorded = record(kind, {**options, **settings})
            answers |= {f"{net}/{shape}/{name}": array for name, array in recorded.items()}
    np.savez_compressed(Path(__file__).with_name("recurrent.npz"), **answers)


if __name__ == "__main__":
    main()
