"""PyTorch: eager, with its channels last in memory, or compiled; on CUDA if JAX has a GPU and PyTorch too.

There it multiplies float32 as JAX is set: at full precision, or in TF32, which is JAX's default.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import specs, timing
from benchmarks.contenders.model import Unsupported, dense_kernel, first
from benchmarks.contenders.programs import OpTask, Program, StepTask
from benchmarks.environment import accelerator, threads

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
#: Values of ``jax_default_matmul_precision`` at which a GPU does not multiply in TF32.
FULL = ("highest", "float32", "f32_f32_f32")


def device() -> torch.device:
    """Where JAX computes, as far as PyTorch can reach it."""
    torch.set_num_threads(threads())
    if not accelerator():
        return torch.device("cpu")
    if torch.cuda.is_available():
        torch.backends.cudnn.benchmark = True  # as XLA does, it tries cuDNN's algorithms on the first call
        multiply_as(jax.config.jax_default_matmul_precision)
        return torch.device("cuda")
    raise Unsupported(f"no {jax.default_backend()} device")


def multiply_as(precision: str | None) -> None:
    """Products and convolutions on CUDA in TF32, unless JAX's precision is one of ``FULL``."""
    fewer = str(precision).lower() not in FULL
    torch.backends.cuda.matmul.allow_tf32 = fewer
    torch.backends.cudnn.allow_tf32 = fewer


class Leaf(nn.Module):
    """A module and how to call it."""

    def __init__(self, module: nn.Module | None, call: Callable[[Any, Any], Any] | None = None):
        super().__init__()
        self.module = module
        self.call = call or (lambda module, x: module(x))

    def forward(self, x: Any) -> Any:
        return self.call(self.module, x)


class Composite(nn.Module):
    """Serial, Sum or Skip."""

    def __init__(self, spec: specs.Spec, parts: list[nn.Module]):
        super().__init__()
        self.spec, self.parts = spec, nn.ModuleList(parts)

    def forward(self, x: Any) -> Any:
        match self.spec:
            case specs.Sum():
                return sum(part(x) for part in self.parts)
            case specs.Skip():
                return torch.cat([x, self.parts[0](x)], 1)
        for part in self.parts:
            x = part(x)
        return x


def module(spec: specs.Spec, shape: specs.Shape) -> nn.Module:
    """The net for an input of this shape (ours: channels last)."""
    parts = specs.children(spec, shape)
    if parts is not None:
        return Composite(spec, [module(part, at) for part, at in parts])
    channels = shape[-1] if len(shape) > 1 else 0
    match spec:
        case specs.Dense():
            return Leaf(nn.Linear(spec.rows(shape)[-1], spec.features), lambda m, x: _dense(spec, m, x))
        case specs.Conv():
            return Leaf(
                nn.Conv2d(
                    channels, spec.features, spec.window, spec.strides, spec.padding, spec.dilation,
                    spec.groups, bias=False,
                )
            )  # fmt: skip
        case specs.ConvTranspose():
            return Leaf(
                nn.ConvTranspose2d(
                    channels, spec.features, spec.window, spec.strides, spec.padding, spec.output_padding,
                    spec.groups, bias=False,
                )
            )  # fmt: skip
        case specs.Pool(kind="max"):
            return Leaf(nn.MaxPool2d(spec.window, spec.strides, spec.padding))
        case specs.Pool():
            return Leaf(nn.AvgPool2d(spec.window, spec.strides, spec.padding, count_include_pad=False))
        case specs.GlobalAvgPool():
            return Leaf(None, lambda _, x: x.mean((2, 3)))
        case specs.Norm():
            make = {"batch": nn.BatchNorm2d, "layer": nn.LayerNorm, "rms": nn.RMSNorm}
            if spec.kind == "group":
                return Leaf(nn.GroupNorm(spec.groups, channels))
            return Leaf(make[spec.kind](channels, eps=1e-5))
        case specs.Resize(method="nearest"):
            if spec.scale % 1:
                raise Unsupported("its nearest by a fraction takes other pixels")
            return Leaf(nn.Upsample(scale_factor=spec.scale, mode="nearest"))
        case specs.Resize():
            mode = {"linear": "bilinear", "cubic": "bicubic"}[spec.method]
            return Leaf(nn.Upsample(scale_factor=spec.scale, mode=mode, align_corners=False))
        case specs.PixelShuffle():
            return Leaf(nn.PixelShuffle(spec.scale))
        case specs.Function():
            return Leaf(None, FUNCTIONS[spec.name])
        case specs.Prelu():
            return Leaf(nn.PReLU(channels))
        case specs.Dropout():
            return Leaf(nn.Dropout(spec.rate))
        case specs.Embedding():
            return Leaf(nn.Embedding(spec.vocabulary, spec.features))
        case specs.Recurrent():
            make = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[spec.kind]
            return Leaf(make(channels, spec.features, batch_first=True), lambda m, x: m(x)[0])
        case specs.Attention():
            return Leaf(None, lambda _, x: _attention(spec, x))
    raise Unsupported(f"no {type(spec).__name__}")


FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "relu": lambda _, x: functional.relu(x),
    "leaky_relu": lambda _, x: functional.leaky_relu(x, 0.01),
    "gelu": lambda _, x: functional.gelu(x, approximate="tanh"),
    "silu": lambda _, x: functional.silu(x),
    "tanh": lambda _, x: torch.tanh(x),
    "softmax": lambda _, x: functional.softmax(x, -1),
}


def _attention(spec: specs.Attention, x: Any) -> Any:
    heads_first = (a.transpose(1, 2) for a in spec.parts(x.chunk(3, -1)))
    y = functional.scaled_dot_product_attention(*heads_first, is_causal=spec.causal)
    return spec.joined(y.transpose(1, 2))


def _dense(spec: specs.Dense, module: nn.Linear, x: Any) -> Any:
    y = module(x.flatten(1) if spec.flatten else x)
    return y.reshape(-1, spec.to[-1], *spec.to[:-1]) if spec.to else y


def pack(spec: specs.Spec, weights: Any, shape: specs.Shape, prefix: str = "") -> dict[str, Any]:
    """Our weights as PyTorch's parameters by name; in jnp, so that gradients can be taken back through it."""
    parts = specs.children(spec, shape)
    if parts is not None:
        found: dict[str, Any] = {}
        for i, ((part, at), w) in enumerate(zip(parts, weights, strict=True)):
            found |= pack(part, w, at, f"{prefix}parts.{i}.")
        return found
    named: dict[str, Any] = {}
    match spec:
        case specs.Dense():
            named["weight"], named["bias"] = dense_kernel(spec, weights["kernel"], weights["bias"], shape)
        case specs.Conv():
            named["weight"] = first(weights["kernel"])
        case specs.ConvTranspose():
            named["weight"] = jnp.moveaxis(weights["kernel"], (-2, -1), (0, 1))
        case specs.Norm():
            named = {"weight": weights["scale"]} | ({"bias": weights["bias"]} if "bias" in weights else {})
        case specs.Prelu():
            named["weight"] = weights["slope"]
        case specs.Embedding():
            named["weight"] = weights["table"]
        case specs.Recurrent():
            named["weight_ih_l0"] = weights["input_kernel"].T
            named["weight_hh_l0"] = weights["recurrent_kernel"].T
            named["bias_ih_l0"] = weights["bias"]
            named["bias_hh_l0"] = jnp.zeros_like(weights["bias"])
    return {f"{prefix}module.{name}": value for name, value in named.items()}


class Torch:
    """PyTorch in one of its ways: ``eager``, ``channels_last`` or ``compile``."""

    def __init__(self, way: str):
        self.way = way

    def op(self, task: OpTask) -> Program:
        """Forward, or forward and backward."""
        if task.place != "top":
            raise Unsupported("no scan")
        at, shape = device(), task.x.shape
        packed, transpose = jax.vjp(lambda weights: pack(task.spec, weights, shape), _float32(task.weights))
        net = self.place(module(task.spec, shape), packed, task.dtype, at)
        x, cotangent = self.array(task.x, task.dtype, at), self.array(task.cotangent, task.dtype, at)
        trained = {name: p for name, p in net.named_parameters() if p.requires_grad}
        x.requires_grad_(task.mode == "both" and x.is_floating_point())
        inputs = ([x] if x.requires_grad else []) + list(trained.values())
        net = torch.compile(net) if self.way == "compile" else net

        def start() -> Any:
            if task.mode == "forward":
                with torch.no_grad():
                    return (net(x),)
            y = net(x)
            return (y, *torch.autograd.grad(y, inputs, cotangent))

        def read(result: Any) -> list[np.ndarray]:
            y, *grads = result
            arrays = [_ours(y)]
            if grads:
                arrays += [_ours(grads.pop(0))] if x.requires_grad else []
                native = jax.tree.map(jnp.zeros_like, packed)
                native |= {name: jnp.asarray(_plain(g)) for name, g in zip(trained, grads, strict=True)}
                arrays += [np.asarray(g) for g in jax.tree.leaves(transpose(native)[0])]
            return arrays

        return Program(calling(start, at), read)

    def step(self, task: StepTask) -> Program:
        """A training step with ``torch.optim.SGD``; copies are trained under ``torch.func.vmap``."""
        if task.place != "top":
            raise Unsupported("no scan")
        at = device()
        packing = lambda weights: pack(task.spec, weights, task.shape)  # noqa: E731
        packed = (jax.vmap(packing) if task.copies else packing)(_float32(task.weights))
        one = {name: value[0] for name, value in packed.items()} if task.copies else packed
        net = self.place(module(task.spec, task.shape), one, task.dtype, at)
        x, y = self.array(task.x[0], task.dtype, at), self.array(task.y[0], task.dtype, at)
        apply: Callable[[Any], Any] = net
        params = [parameter for parameter in net.parameters() if parameter.requires_grad]
        if task.copies:
            stacked = {
                name: torch.tensor(np.asarray(value), dtype=DTYPES[task.dtype], device=at, requires_grad=True)
                for name, value in packed.items()
            }
            params = list(stacked.values())
            many = torch.func.vmap(lambda w, x: torch.func.functional_call(net, w, (x,)), (0, None))
            apply = lambda x: many(stacked, x)  # noqa: E731
        apply = torch.compile(apply) if self.way == "compile" else apply
        optimizer = torch.optim.SGD(params, task.rate, momentum=task.momentum)

        def start() -> Any:
            optimizer.zero_grad()
            out = apply(x)
            loss = torch.stack([_loss(o, y) for o in out]).sum() if task.copies else _loss(out, y)
            loss.backward()
            optimizer.step()
            return loss

        return Program(calling(start, at), lambda loss: [np.atleast_1d(_plain(loss)).astype(np.float64)])

    def place(self, net: nn.Module, packed: dict[str, Any], dtype: str, at: torch.device) -> nn.Module:
        """The net with our weights, in the dtype, on the device, in the layout."""
        net = net.to(at, DTYPES[dtype]).train()
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                parameter.copy_(torch.tensor(np.asarray(packed[name])))
                # The others have one bias; a GRU's second one is not a copy of the first.
                parameter.requires_grad_(not name.endswith("bias_hh_l0"))
        return net.to(memory_format=torch.channels_last) if self.way == "channels_last" else net

    def array(self, array: np.ndarray, dtype: str, at: torch.device) -> torch.Tensor:
        """An array of ours, images with channels first; integers as int64."""
        moved = np.moveaxis(array, -1, 1) if array.ndim == 4 else array
        kind = DTYPES[dtype] if np.issubdtype(array.dtype, np.floating) else torch.int64
        tensor = torch.tensor(np.ascontiguousarray(moved), device=at).to(kind)
        last = self.way == "channels_last" and array.ndim == 4
        return tensor.contiguous(memory_format=torch.channels_last) if last else tensor


def _loss(out: Any, y: Any) -> Any:
    if y.is_floating_point():
        return functional.mse_loss(out.float(), y.float())
    return functional.cross_entropy(out.float().flatten(0, -2), y.flatten())


def _float32(weights: Any) -> Any:
    return jax.tree.map(jnp.asarray, weights)


def _plain(tensor: Any) -> np.ndarray:
    return np.asarray(tensor.detach().float().cpu().numpy())


def _ours(tensor: Any) -> np.ndarray:
    array = _plain(tensor)
    return np.moveaxis(array, 1, -1) if array.ndim == 4 else array


def calling(start: Callable[[], Any], at: torch.device) -> Callable[[], Any]:
    """A call to time. Its allocator hands memory on in the order of the queue, which may be of any length."""

    def wait(_: Any) -> None:
        if at.type == "cuda":
            torch.cuda.synchronize()

    return timing.calling(start, wait, ahead=None)
