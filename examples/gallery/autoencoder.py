"""Autoencoder and U-Net: how does a net repair a picture?

An *autoencoder* squeezes a picture through a waist and grows it again: here two strided convolutions down to
a third as many numbers, and two transposed ones (of size 4 and stride 2, see upsampling) back. What passes
the waist is what the pictures have in common; noise is not. Trained to give the clean picture for a noisy
one, the net takes the noise out, and with it the fine detail, which does not pass either. A *U-Net*
(Ronneberger, Fischer and Brox, 2015) is the same net with bridges: what each scale saw on the way down is
handed over to the same scale on the way up. In `nn.graph` a bridge is one `concatenate`.

The squares come from two photographs. A quarter, drawn by chance, is held out, and only these are measured
and shown: some rich in detail, and what goes through the U-Net's waist for the first. Beside the nets stands
the Gaussian blur that is best for the training squares. 3 dB more of −10·log₁₀ E[(y − x)²] is half the
error.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import jaxnn as nn
from examples.gallery.exhibit import Exhibit, fact, panels
from examples.photograph import photograph
from jaxnn import plots

SIDE, NOISE = 32, 0.15


def network(bridges: bool, features: int) -> nn.Layer:
    """(N, H, W, 3) → (N, H, W, 3), through a waist of (H / 4, W / 4, 16)."""

    def flow(f: Any, x: jax.Array) -> jax.Array:
        fine = f.fine(x)
        middle = f.middle(fine)
        y = f.grow_middle(f.waist(middle))
        y = f.grow_fine(jnp.concatenate([y, middle], axis=-1) if bridges else y)
        return f.last(jnp.concatenate([y, fine], axis=-1) if bridges else y)

    return nn.graph(
        flow,
        fine=nn.serial(nn.conv(features, 3, padding="SAME"), nn.relu),
        middle=nn.serial(nn.conv(2 * features, 3, strides=2, padding="SAME"), nn.relu),
        waist=nn.serial(nn.conv(16, 3, strides=2, padding="SAME"), nn.relu),
        grow_middle=nn.serial(nn.conv_transpose(2 * features, 4, strides=2, padding="SAME"), nn.relu),
        grow_fine=nn.serial(nn.conv_transpose(features, 4, strides=2, padding="SAME"), nn.relu),
        last=nn.conv(3, 3, padding="SAME"),
    )


def squares() -> tuple[np.ndarray, np.ndarray]:
    """Squares of both photographs, (N, SIDE, SIDE, 3) about 0: training set, and held out."""
    x = np.concatenate([photograph(427, name)[:, :416] for name in ("china.jpg", "flower.jpg")]) - 0.5
    x = x.reshape(-1, 416 // SIDE, SIDE, 640 // SIDE, SIDE, 3).swapaxes(2, 3).reshape(-1, SIDE, SIDE, 3)
    order = np.random.default_rng(0).permutation(len(x))
    return x[order[len(x) // 4 :]], x[order[: len(x) // 4]]


def blur(x: np.ndarray, deviation: float) -> jax.Array:
    """Each channel averaged with the weights of a bell."""
    bell = np.exp(-0.5 * np.square(np.arange(-5, 6) / deviation), dtype=np.float32)
    kernel = np.repeat(np.outer(bell, bell)[..., None, None] / bell.sum() ** 2, 3, axis=-1)
    return nn.ops.conv(x, kernel, padding="REFLECT", groups=3)


def decibels(y: Any, x: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(y - x).mean()))


def draw_repairs(x: np.ndarray, repaired: dict[str, np.ndarray], shown: np.ndarray) -> Figure:
    size = (0.9 * len(shown), 0.9 * len(repaired))
    figure, axes = panels(len(repaired), len(shown), size=size, subplot_kw={"xticks": [], "yticks": []})
    for row, (name, y) in zip(axes, repaired.items(), strict=True):
        row[0].set_ylabel(name if y is x else f"{name}\n{decibels(y, x):.1f} dB")
        for ax, picture in zip(row, y[shown], strict=True):
            ax.imshow(np.clip(picture + 0.5, 0, 1))
    return figure


def draw(quick: bool = False) -> Exhibit:
    random = np.random.default_rng(1)
    learn, test = squares()
    noisy_learn, noisy = (x + random.normal(0, NOISE, x.shape).astype(np.float32) for x in (learn, test))
    best = max((0.7, 1.0, 1.4), key=lambda deviation: decibels(blur(noisy_learn, deviation), learn))
    repaired = {"original": test, "noisy": noisy, "blurred": np.asarray(blur(noisy, best))}
    epochs, features = (10, 8) if quick else (40, 16)
    optimizer = optax.adam(optax.cosine_decay_schedule(5e-3, epochs * len(learn) // 5))
    run = {"key": jax.random.key(0), "epochs": epochs, "batch_size": 5, "progress": False}
    for name, bridges in (("autoencoder", False), ("U-Net", True)):
        net = network(bridges, features)
        params, _ = nn.fit(net, optimizer, optax.squared_error, (noisy_learn, learn), **run)
        seen = jax.jit(partial(nn.activations, net))(params, noisy)
        repaired[name] = np.asarray(seen["last"])
    waist = seen["waist/relu_0"]
    narrow = waist[0].size / test[0].size
    before, blurred, without, bridged = (decibels(y, test) for y in list(repaired.values())[1:])
    detailed = np.argsort(test.std(axis=(1, 2)).mean(axis=-1))[: -len(test) // 2 : -len(test) // 20]
    repairs, through = draw_repairs(test, repaired, detailed), plots.feature_maps(waist, example=detailed[0])
    facts = [
        fact(narrow < 0.34, f"The waist holds {narrow:.0%} as many numbers as a picture."),
        fact(without > before + 3, f"The autoencoder: from {before:.1f} to {without:.1f} dB on new squares."),
        fact(bridged > without + 1, f"The U-Net: to {bridged:.1f} dB, {bridged - without:.1f} dB more."),
        fact(bridged > blurred + 0.4, f"The best Gaussian blur, {best} pixels wide: to {blurred:.1f} dB."),
    ]
    return Exhibit({"repairs": repairs, "waist": through}, facts)
