"""PyTorch: channels last, autocast to bfloat16, fused SGD; a run reads only its result from the device."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.cifar import recipe as numbers
from benchmarks.cifar.recipe import CLASSES, SIDE, Images, Recipe
from benchmarks.contenders.pytorch import DTYPES, device


class Shift(nn.Module):
    """Adds a bias to each channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.bias.to(x.dtype)


class Scaled(nn.Module):
    """The logits, scaled down."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * numbers.LOGITS


def net(recipe: Recipe) -> nn.Sequential:
    """Whitening, three blocks, and the head."""
    filters = 2 * 3 * numbers.PATCH**2
    layers: list[nn.Module] = [nn.Conv2d(3, filters, numbers.PATCH, bias=False), Shift(filters), nn.GELU()]
    layers[0].requires_grad_(False)
    channels = filters
    for width in recipe.widths:
        layers += [_conv(channels, width), nn.MaxPool2d(2), _norm(width), nn.GELU()]
        layers += [_conv(width, width), _norm(width), nn.GELU()]
        channels = width
    return nn.Sequential(
        *layers, nn.MaxPool2d(3), nn.Flatten(), nn.Linear(channels, CLASSES, bias=False), Scaled()
    )


def _conv(channels: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(channels, width, 3, padding=1, bias=False)


def _norm(width: int) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(width, eps=numbers.NORM_EPSILON, momentum=1 - numbers.STATISTICS)
    made.weight.requires_grad_(False)
    return made


@torch.no_grad()
def initialised(model: nn.Sequential, images: torch.Tensor) -> None:
    """Fresh weights in place, the first filters from normalised images."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)):
            module.reset_parameters()
        if isinstance(module, nn.Conv2d):
            nn.init.dirac_(module.weight[: module.in_channels])
        if isinstance(module, Shift):
            module.bias.zero_()
    model[0].weight.copy_(whitening(images))


def whitening(images: torch.Tensor) -> torch.Tensor:
    """The eigenvectors of patches, divided by the deviation along each, and the same with the other sign."""
    side = numbers.PATCH
    patches = (
        images[: numbers.WHITENED].float().unfold(1, side, 1).unfold(2, side, 1).reshape(-1, 3 * side**2)
    )
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / torch.sqrt(values + numbers.EPSILON)).T.reshape(-1, 3, side, side)
    return torch.cat([filters, -filters])


class Training:
    """A net with its optimiser, Lookahead and the number of steps made.

    Args:
      recipe: the settings.
      examples: of an epoch, which the schedules depend on.
      compiled: whether the net goes through ``torch.compile``.
    """

    def __init__(self, recipe: Recipe, examples: int, *, compiled: bool = False):
        self.recipe, self.examples, self.at = recipe, examples, device()
        # In the order of the layers; the identity of their memory does not change.
        self.model = net(recipe).to(self.at, memory_format=torch.channels_last)
        self.run = torch.compile(self.model) if compiled else self.model
        self.floats = [t for t in self.model.state_dict().values() if t.is_floating_point()]
        self.begin()

    def begin(self, step: int = 0) -> None:
        """Before the first step of a run, or as if at another step."""
        self.step = step
        self.slow = [t.clone() for t in self.floats]
        kinds = {Shift: "shift", nn.BatchNorm2d: "bias"}
        groups: dict[str, list[Any]] = {"kernel": [], "bias": [], "shift": []}
        for module in self.model:
            kind = kinds.get(type(module), "kernel")
            groups[kind] += [p for p in module.parameters() if p.requires_grad or kind == "shift"]
        self.optimizer = torch.optim.SGD(
            [
                {"params": members, "kind": kind, "weight_decay": self.recipe.pull(kind)}
                for kind, members in groups.items()
            ],
            lr=0.1, momentum=self.recipe.momentum, nesterov=True, fused=True,
        )  # fmt: skip

    def make_step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """A step; gives the loss before it."""
        height = float(np.interp(self.step, *self.recipe.triangle(self.examples)))
        for group in self.optimizer.param_groups:
            group["lr"] = height * self.recipe.peak(group["kind"])
            if group["kind"] == "shift":
                fixed = self.step >= self.recipe.fixed_from(self.examples)
                group["params"][0].requires_grad_(not fixed)
        with self.precision():
            logits = self.run(x)
            loss = functional.cross_entropy(logits, y, label_smoothing=self.recipe.smoothing)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if self.step % numbers.EVERY == 0:
            self.lookahead()
        return loss.detach()

    @torch.no_grad()
    def lookahead(self) -> None:
        """The slow weights come nearer to the fast ones, which go on from there."""
        kept = numbers.KEPT * min(self.step / self.recipe.steps(self.examples), 1.0) ** 3
        torch._foreach_lerp_(self.slow, self.floats, 1 - kept)
        torch._foreach_copy_(self.floats, self.slow)

    def precision(self) -> Any:
        narrow = self.recipe.dtype != "float32"
        return torch.autocast(self.at.type, DTYPES[self.recipe.dtype] if narrow else torch.bfloat16, narrow)

    def wait(self) -> None:
        if self.at.type == "cuda":
            torch.cuda.synchronize()


def normalised(images: np.ndarray, recipe: Recipe, at: torch.device) -> torch.Tensor:
    """All images in the dtype of the run, (N, H, W, 3): once, since memory is plenty."""
    mean, deviation = (torch.tensor(255 * a, device=at) for a in (numbers.MEAN, numbers.DEVIATION))
    parts = torch.tensor(images, device=at).split(10_000)
    return torch.cat([((part.float() - mean) / deviation).to(DTYPES[recipe.dtype]) for part in parts])


def moved(
    images: torch.Tensor, index: torch.Tensor, shifts: torch.Tensor, mirrored: torch.Tensor
) -> torch.Tensor:
    """Images shifted, with edges that reflect, in one gather; channels first, last in memory."""
    pixels = torch.arange(SIDE, device=images.device)
    columns = torch.where(mirrored[:, None], SIDE - 1 - pixels, pixels)
    rows, columns = reflected(pixels + shifts[:, :1]), reflected(columns + shifts[:, 1:])
    return images[index[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def reflected(pixels: torch.Tensor) -> torch.Tensor:
    return SIDE - 1 - (SIDE - 1 - pixels.abs()).abs()


def batches(
    recipe: Recipe, images: torch.Tensor, labels: torch.Tensor, steps: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """So many, moved as ``Recipe`` says: what one epoch mirrors is not mirrored in the next."""
    at, examples, most = images.device, len(images), recipe.translate
    each = recipe.steps_of_epoch(examples)
    first = torch.rand(examples, device=at) < 0.5 if recipe.mirror else None
    for i in range(steps):
        if i % each == 0:
            order = torch.randperm(examples, device=at)
            shifts = torch.randint(-most, most + 1, (examples, 2), device=at)
            mirrored = torch.zeros(examples, dtype=torch.bool, device=at)
            if first is not None:
                mirrored = first ^ bool(i // each % 2)
        index = order[i % each * recipe.batch :][: recipe.batch]
        yield moved(images, index, shifts[index], mirrored[index]), labels[index]


@torch.no_grad()
def right(training: Training, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The share of images whose class is found, by the mean logits of their views."""
    recipe, found = training.recipe, []
    mirrors: Sequence[bool] = (False, True) if recipe.views > 1 else (False,)
    training.model.eval()
    for rows in torch.arange(len(images), device=images.device).split(2000):
        total = torch.zeros(len(rows), CLASSES, device=images.device)
        for shift, weight in numbers.CROPS[recipe.views]:
            for mirrored in mirrors:
                shifts = torch.tensor(shift, device=images.device).expand(len(rows), 2)
                x = moved(images, rows, shifts, torch.full_like(rows, mirrored, dtype=torch.bool))
                with training.precision():
                    total += weight * training.run(x)
        found.append(total.argmax(-1))
    training.model.train()
    return (torch.cat(found) == labels).float().mean()


@torch.no_grad()
def load(model: nn.Sequential, params: Any) -> None:
    """Copies jaxnn's params."""

    def first(kernel: Any) -> torch.Tensor:
        return torch.tensor(np.moveaxis(np.asarray(kernel), (-1, -2), (0, 1)))

    weights, (whiten, *convs) = params.weights, [m for m in model if isinstance(m, nn.Conv2d)]
    whiten.weight.copy_(first(params.state["whiten"]["weights"]["kernel"]))
    for i, module in enumerate(convs):
        module.weight.copy_(first(weights[f"conv_{i}"]["kernel"]))
    for i, module in enumerate(m for m in model if isinstance(m, nn.BatchNorm2d)):
        module.bias.copy_(torch.tensor(np.asarray(weights[f"batch_norm_{i}"]["bias"])))
    for module in model:
        if isinstance(module, nn.Linear):
            module.weight.copy_(torch.tensor(np.asarray(weights["head"]["kernel"]).T))


def first_losses(
    recipe: Recipe, params: Any, x: np.ndarray, y: np.ndarray, examples: int, *, compiled: bool = False
) -> np.ndarray:
    """Of a batch of normalised images, before and after the first step on it."""
    training = Training(recipe, examples, compiled=compiled)
    load(training.model, params)
    training.begin()
    images = torch.tensor(x, device=training.at).to(DTYPES[recipe.dtype]).permute(0, 3, 1, 2)
    labels = torch.tensor(y, dtype=torch.int64, device=training.at)
    return np.array([float(training.make_step(images, labels)) for _ in range(2)])


def loop(recipe: Recipe, data: Images, steps: int, *, compiled: bool = False) -> Callable[[], Any]:
    """So many steps per call, of a run that goes on from where the biases of whitened patches are fixed."""
    training = _tuned(recipe, data, compiled)
    images, labels = _placed(recipe, data.x, data.y, training.at)
    initialised(training.model, images)
    training.begin(recipe.fixed_from(len(images)))

    def call() -> Any:
        losses = [training.make_step(x, y) for x, y in batches(recipe, images, labels, steps)]
        training.wait()
        return losses

    return call


def whole(recipe: Recipe, data: Images, *, compiled: bool = False) -> Callable[[int], float]:
    """A run by its seed: gives the accuracy on the test set."""
    training = _tuned(recipe, data, compiled)
    images, labels = _placed(recipe, data.x, data.y, training.at)
    test_images, test_labels = _placed(recipe, data.test_x, data.test_y, training.at)

    def run(seed: int, steps: int | None = None) -> float:
        torch.manual_seed(seed)
        initialised(training.model, images)
        training.begin()
        for x, y in batches(recipe, images, labels, steps or recipe.steps(len(images))):
            training.make_step(x, y)
        with torch.no_grad():
            for now, slow in zip(training.floats, training.slow, strict=True):
                now.copy_(slow)
        return float(right(training, test_images, test_labels))

    run(0, steps=numbers.EVERY)  # compiles, and chooses algorithms
    return run


def _tuned(recipe: Recipe, data: Images, compiled: bool) -> Training:
    """The batches have one size, so cuDNN is asked to try its algorithms."""
    torch.backends.cudnn.benchmark = True
    return Training(recipe, len(data.x), compiled=compiled)


def _placed(
    recipe: Recipe, x: np.ndarray, y: np.ndarray, at: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    return normalised(x, recipe, at), torch.tensor(y, dtype=torch.int64, device=at)
