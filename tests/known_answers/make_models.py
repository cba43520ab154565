"""Writes models.npz: what the nets of the zoo give in PyTorch, in small forms, with their gradients.

    python tests/known_answers/make_models.py           writes the file
    python tests/known_answers/make_models.py --check   compares the full nets with jaxnn's, in float64

needs torch and torchvision (2.14 and 0.29 made the committed file); ``--check`` jaxnn too. Inputs and state
dicts are drawn by ``drawing.py``. An entry is called ``<net>/<array>``: ``shapes``, the state dict's as JSON;
``x``, the shape of the input, channels last; for each mode, ``apply`` and ``train``, ``y``, channels last,
and, projected, the gradients of Σ y·sin(1, 2, 3, …) for the input and for each weight; in training also
the new running statistics.
"""

import argparse
import json
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.densenet import DenseNet
from torchvision.models.efficientnet import EfficientNet, MBConvConfig
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.vgg import VGG, make_layers
from torchvision.models.vision_transformer import VisionTransformer

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.known_answers.drawing import draw_input, drawn, project

CLASSES = 4


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.c3 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.f5, self.f6, self.output = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, CLASSES)

    def forward(self, x):
        pool = nn.functional.avg_pool2d
        x = pool(torch.tanh(self.c3(pool(torch.tanh(self.c1(x)), 2))), 2)
        return self.output(torch.tanh(self.f6(torch.tanh(self.f5(torch.flatten(x, 1))))))


class Pair(nn.Module):
    def __init__(self, channels, features):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x):
        return torch.relu(self.conv2(torch.relu(self.conv1(x))))


class Inner(nn.Module):
    def __init__(self, features, deeper):
        super().__init__()
        self.level = Level(features, 2 * features, deeper)
        self.upsample = nn.ConvTranspose2d(2 * features, features, 2, stride=2)

    def forward(self, x):
        return self.upsample(self.level(nn.functional.max_pool2d(x, 2)))


class Level(nn.Module):
    def __new__(cls, channels, features, deeper):
        return super().__new__(cls) if deeper else Pair(channels, features)

    def __init__(self, channels, features, deeper):
        super().__init__()
        self.down = Pair(channels, features)
        self.inner = Inner(features, deeper - 1)
        self.up = Pair(2 * features, features)

    def forward(self, x):
        y = self.down(x)
        return self.up(torch.cat([y, self.inner(y)], dim=1))


class UNet(nn.Module):
    def __init__(self, channels, classes, width, depth):
        super().__init__()
        self.levels, self.head = Level(channels, width, depth), nn.Conv2d(width, classes, 1)

    def forward(self, x):
        return self.head(self.levels(x))


class Generator(nn.Module):
    def __init__(self, noise, width, doublings):
        super().__init__()
        wide = width * 2 ** (doublings - 1)
        layers = [nn.ConvTranspose2d(noise, wide, 4, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
        for _ in range(doublings - 1):
            layers += [
                nn.ConvTranspose2d(wide, wide // 2, 4, 2, 1, bias=False),
                nn.BatchNorm2d(wide // 2),
                nn.ReLU(),
            ]
            wide //= 2
        self.main = nn.Sequential(*layers, nn.ConvTranspose2d(wide, 3, 4, 2, 1, bias=False), nn.Tanh())

    def forward(self, x):
        return self.main(x[:, :, None, None])


class Discriminator(nn.Module):
    def __init__(self, width, halvings):
        super().__init__()
        layers = [nn.Conv2d(3, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
        for _ in range(halvings - 1):
            layers += [
                nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False),
                nn.BatchNorm2d(2 * width),
                nn.LeakyReLU(0.2),
            ]
            width *= 2
        self.main = nn.Sequential(*layers, nn.Conv2d(width, 1, 4, bias=False))

    def forward(self, x):
        return self.main(x).ravel()


class Tagger(nn.Module):
    def __init__(self, vocabulary, tags, features, hidden):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, features)
        self.lstm = nn.LSTM(features, hidden, 2, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(2 * hidden, tags)

    def forward(self, x):
        return self.fc(self.lstm(self.embedding(x))[0])


class Kinds(nn.Sequential):
    """A layer of every kind that isn't in the others, and what is flattened."""

    def __init__(self):
        layers = {
            "conv": nn.Conv2d(4, 8, 3, padding=1, groups=2),
            "norm": nn.GroupNorm(2, 8),
            "prelu": nn.PReLU(8),
            "depthwise": nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
            "instance": nn.InstanceNorm2d(8, affine=True),
            "up": nn.ConvTranspose2d(8, 6, 3, 2, 1, 1, groups=2),
            "weight": nn.utils.parametrizations.weight_norm(nn.Conv2d(6, 5, 1)),
            "layer": nn.LayerNorm((5, 12, 8)),
            "pool": nn.MaxPool2d(2),
            "flatten": nn.Flatten(),
            "batch": nn.BatchNorm1d(120),
            "shared": nn.PReLU(),
            "spectral": nn.utils.parametrizations.spectral_norm(nn.Linear(120, 7)),
            "rms": nn.RMSNorm(7, eps=1e-5),
            "fc": nn.Linear(7, CLASSES),
        }
        super().__init__(OrderedDict(layers))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 3)
        self.gru = nn.GRU(3, 4, 2, batch_first=True, bidirectional=True)
        self.rnn = nn.RNN(8, 3, nonlinearity="relu", batch_first=True)
        self.lstm = nn.LSTM(3, 5, batch_first=True, bias=False)
        self.fc = nn.Linear(5, CLASSES)

    def forward(self, x):
        x = self.embedding(x)
        for layer in (self.gru, self.rnn, self.lstm):
            x, _ = layer(x)
        return self.fc(x)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.MultiheadAttention(6, 2, batch_first=True)
        self.norm, self.fc = nn.LayerNorm(6), nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.fc(self.norm(x + self.attn(x, x, x, need_weights=False)[0]))


def narrow(net: nn.Module, *sizes: int) -> nn.Module:
    """``net`` with hidden dense layers of 12, where torchvision has 4096."""
    dense = [i for i, layer in enumerate(net.classifier) if isinstance(layer, nn.Linear)]
    for i, (size, features) in zip(
        dense, zip((sizes[0], 12, 12), (12, 12, CLASSES), strict=True), strict=True
    ):
        net.classifier[i] = nn.Linear(size, features)
    return net


IMAGE = (2, 32, 32, 3)
MBCONV = (MBConvConfig(1, 3, 1, 16, 8, 1), MBConvConfig(4, 5, 2, 8, 16, 2))
CNBLOCK = (CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 2))

#: A net in a small form, and the shape of its input; models/test_known_answers.py has the same in jaxnn.
SMALL = {
    "lenet": lambda: (LeNet(), (2, 28, 28, 1)),
    "alexnet": lambda: (narrow(models.AlexNet(CLASSES, dropout=0), 9216), (2, 63, 63, 3)),
    "vgg": lambda: (
        narrow(VGG(make_layers([8, "M", 16, 16, "M"], True), CLASSES, dropout=0), 16 * 49), IMAGE
    ),
    "resnet": lambda: (ResNet(BasicBlock, [1, 1, 1, 1], CLASSES), (3, 40, 40, 3)),
    "resnet-bottleneck": lambda: (ResNet(Bottleneck, [1, 1, 1, 1], CLASSES), (3, 40, 40, 3)),
    "mobilenet_v2": lambda: (
        models.MobileNetV2(CLASSES, 0.25, [[1, 16, 1, 1], [6, 24, 2, 2]], dropout=0), IMAGE
    ),
    "efficientnet": lambda: (EfficientNet(MBCONV, 0, 0, CLASSES), IMAGE),
    "convnext": lambda: (ConvNeXt(CNBLOCK, num_classes=CLASSES), IMAGE),
    "densenet": lambda: (DenseNet(4, (2, 2), 8, 2, num_classes=CLASSES), IMAGE),
    "unet": lambda: (UNet(3, CLASSES, 4, 2), (2, 16, 16, 3)),
    "dcgan_generator": lambda: (Generator(6, 4, 2), (2, 6)),
    "dcgan_discriminator": lambda: (Discriminator(4, 2), (3, 16, 16, 3)),
    "lstm_tagger": lambda: (Tagger(11, CLASSES, 3, 5), (2, 6)),
    "kinds": lambda: (Kinds(), (3, 6, 4, 4)),
    "recurrent": lambda: (Recurrent(), (2, 6)),
    "attention": lambda: (Attention(), (2, 5, 6)),
    "vit": lambda: (VisionTransformer(16, 4, 2, 2, 8, 32, num_classes=CLASSES), (2, 16, 16, 3)),
}  # fmt: skip

PHOTO = (2, 64, 64, 3)
#: The nets in full, with nothing that is random, for ``--check``.
FULL = {
    "lenet": lambda: (LeNet(), (2, 28, 28, 1), {"classes": CLASSES}),
    "alexnet": lambda: (models.alexnet(dropout=0), PHOTO, {"dropout_rate": 0}),
    "vgg11_bn": lambda: (models.vgg11_bn(dropout=0), PHOTO, {"dropout_rate": 0}),
    "resnet18": lambda: (models.resnet18(), PHOTO, {}),
    "resnet50": lambda: (models.resnet50(), PHOTO, {}),
    "mobilenet_v2": lambda: (models.mobilenet_v2(dropout=0), PHOTO, {"dropout_rate": 0}),
    "efficientnet_b0": lambda: (
        models.efficientnet_b0(dropout=0, stochastic_depth_prob=0), PHOTO,
        {"dropout_rate": 0, "stochastic_depth_rate": 0},
    ),
    "convnext_tiny": lambda: (
        models.convnext_tiny(stochastic_depth_prob=0, layer_scale=0.5), PHOTO, {"stochastic_depth_rate": 0}
    ),
    "densenet121": lambda: (models.densenet121(), PHOTO, {}),
    "unet": lambda: (UNet(3, 2, 64, 4), (2, 32, 32, 3), {}),
    "dcgan_generator": lambda: (Generator(100, 64, 4), (2, 100), {}),
    "dcgan_discriminator": lambda: (Discriminator(64, 4), PHOTO, {}),
    "lstm_tagger": lambda: (Tagger(1000, 17, 100, 128), (2, 20), {"vocabulary": 1000, "tags": 17}),
}  # fmt: skip


def channels_last(array: torch.Tensor) -> torch.Tensor:
    return array.movedim(1, -1) if array.ndim == 4 else array


def fill(net: nn.Module) -> dict[str, tuple[int, ...]]:
    """Draws all of its entries, and gives their shapes."""
    shapes = {name: tuple(array.shape) for name, array in net.state_dict().items()}
    net.double().load_state_dict(
        {name: torch.from_numpy(drawn(name, shape)) for name, shape in shapes.items()}
    )
    for name, module in net.named_modules():
        if hasattr(module, "_v"):  # spectral norm: its second vector follows from the first
            matrix = net.get_parameter(name[:-1] + "original").detach()
            module._v.copy_(nn.functional.normalize(matrix.T @ module._u, dim=0))
    return shapes


def run(net: nn.Module, x: np.ndarray, mode: str) -> dict[str, np.ndarray]:
    """Outputs, gradients and new statistics in one mode; the old statistics are put back."""
    before = {name: array.clone() for name, array in net.state_dict().items()}
    net.train(mode == "train")
    net.zero_grad()
    image = torch.from_numpy(np.moveaxis(x, -1, 1) if x.ndim == 4 else x)
    floating = image.is_floating_point()
    image.requires_grad_(floating)
    y = net(image)
    last = channels_last(y)
    (last * torch.sin(torch.arange(last.numel(), dtype=y.dtype) + 1).reshape(last.shape)).sum().backward()
    arrays = {"y": last.detach().numpy().copy()}
    if floating:
        arrays["grad"] = project(channels_last(image.grad).numpy())
    arrays |= {f"grad/{name}": project(weight.grad.numpy()) for name, weight in net.named_parameters()}
    if mode == "train":
        after = {name: array for name, array in net.state_dict().items() if "running" in name}
        arrays |= {f"state/{name}": project(array.numpy()) for name, array in after.items()}
    net.load_state_dict(before)
    return arrays


def write() -> None:
    answers = {}
    for name, make in SMALL.items():
        net, shape = make()
        answers[f"{name}/shapes"] = np.array(json.dumps(fill(net)))
        answers[f"{name}/x"] = np.array(shape)
        x = draw_input(name, shape, ids=11 if name in ("lstm_tagger", "recurrent") else 0)
        for mode in ("apply", "train"):
            answers |= {f"{name}/{mode}/{part}": array for part, array in run(net, x, mode).items()}
    np.savez_compressed(Path(__file__).with_name("models.npz"), **answers)


def check(only: list[str]) -> None:
    """Compares the full nets: outputs, gradients and statistics of both modes, relative to the largest."""
    import jax

    import jaxnn
    from tests.models.exchanged import results

    jax.config.update("jax_enable_x64", True)
    for name in only or FULL:
        net, shape, settings = FULL[name]()
        shapes = fill(net)
        x = draw_input(name, shape, ids=1000 if name == "lstm_tagger" else 0)
        ours = getattr(jaxnn.models, name)(**settings)
        state_dict = {entry: drawn(entry, shape) for entry, shape in shapes.items()}
        for mode in ("apply", "train"):
            theirs = run(net, x, mode)
            found = results(ours, state_dict, x, mode)
            assert found.keys() <= theirs.keys(), found.keys() - theirs.keys()
            worst = max(
                np.abs(found[part] - theirs[part]).max() / np.abs(theirs[part]).max()
                for part in found if np.abs(theirs[part]).max() > 1e-9
            )  # fmt: skip
            print(f"{name} {mode}: {len(found)} arrays, largest relative difference {worst:.1e}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", nargs="*", metavar="NET")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    write() if arguments.check is None else check(arguments.check)
