"""PyTorch, eager: the same nets and the loop of its tutorials."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.loops import CLASSES, MOMENTUM, RATE, Data, Loop, Task, batches, order


class LSTM(nn.Module):
    """The last output of an LSTM, and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.LSTM(16, 32, batch_first=True), nn.Linear(32, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x)[0][:, -1])


NETS: dict[str, Any] = {
    "MLP": lambda: nn.Sequential(
        nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 100), nn.ReLU(), nn.Linear(100, CLASSES)
    ),
    "CNN": lambda: nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(144, CLASSES),
    ),
    "LSTM": LSTM,
}  # fmt: skip


def resident(task: Task, arrays: Data) -> Loop:
    """Rows are taken from tensors that stand in memory."""
    x, y = tensors(task, arrays)
    step = training_step(task)

    def epoch(number: int) -> float:
        values = []
        for rows in torch.from_numpy(order(task, number)):
            values.append(step(x[rows], y[rows]))
        return float(torch.stack(values).mean())

    return epoch


def streamed(task: Task, arrays: Data) -> Loop:
    """Batches come from the host's generator."""
    step = training_step(task)

    def epoch(number: int) -> float:
        values = [step(*tensors(task, batch)) for batch in batches(task, arrays, number)]
        return float(torch.stack(values).mean())

    return epoch


def training_step(task: Task) -> Any:
    torch.manual_seed(0)
    net, loss = NETS[task.net](), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=MOMENTUM)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        value = loss(net(x), y)
        value.backward()
        optimizer.step()
        return value.detach()

    return step


def tensors(task: Task, batch: Data) -> tuple[torch.Tensor, torch.Tensor]:
    """The channels of images first, as PyTorch has them: a view, since there is one."""
    x = batch.x.reshape(len(batch.x), 1, *task.shape[:-1]) if task.net == "CNN" else batch.x
    return torch.from_numpy(x), torch.from_numpy(batch.y.astype(np.int64))
