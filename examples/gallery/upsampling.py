"""Upsampling: how does a small picture grow, and where do checkerboards come from?

To grow a picture, `upsample` reads it at finer places: the nearest pixel, or a line or a cubic through some.
A transposed convolution stamps its kernel on the large grid for every pixel of the small one, s places apart.
With a triangle for a kernel it *is* the line. Its weights can be learnt: here from one photograph, to be
judged on another by −10·log₁₀ E[(y − x)²] decibels; they learn to undo some of the shrinking's blur too.

The danger: stamps overlap. Unless the stride divides the kernel's size, some places get more of them than
others, and grey comes out as a **checkerboard** (Odena, Dumoulin and Olah, Distill 2016): the second figure
counts. The third has the other half, three random layers on grey: a size that the stride divides evens out
the *number* of stamps, but each place still has weights of its own, so the pattern is there before training
and must be unlearnt. Upsampling and then a convolution make no lines at ⅛, ¼, ⅜ and ½ cycles per pixel.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import jaxnn as nn
from examples.gallery.exhibit import Exhibit, fact, panels
from examples.photograph import photograph

S = 4
TRIANGLE = np.pad(np.array([1, 3, 5, 7, 7, 5, 3, 1], np.float32) / 8, 2)
KERNEL = np.outer(TRIANGLE, TRIANGLE)[..., None, None]
INNER = (slice(None), slice(2 * S, -2 * S), slice(2 * S, -2 * S))  # away from the border, which lacks stamps
DOUBLING = {f"stamps of size {k}": nn.conv_transpose(16, k, strides=2, padding="SAME") for k in (3, 4)}
DOUBLING["upsampling, then convolution"] = nn.serial(nn.upsample(2), nn.conv(16, 3, padding="SAME"))


def pairs(name: str, size: int) -> tuple[jax.Array, jax.Array]:
    """Squares cut from a photograph, small and large: (n, size / S, size / S, 1), (n, size, size, 1)."""
    x = photograph(427, name).mean(axis=-1)[0, :384] - 0.5
    x = x.reshape(384 // size, size, 640 // size, size, 1).swapaxes(1, 2).reshape(-1, size, size, 1)
    return nn.ops.resize(x, (size // S, size // S), method="linear", antialias=True), x


def draw_growing(epochs: int) -> tuple[Figure, list[float], float]:
    def error(y: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.square(y - x)[INNER]

    net = nn.conv_transpose(
        1, 12, strides=S, padding="SAME", bias=False, kernel_init=lambda *_: jnp.asarray(KERNEL)
    )
    optimizer = optax.adam(optax.cosine_decay_schedule(0.03, 12 * epochs))
    run = {"key": jax.random.key(0), "epochs": epochs, "batch_size": 5, "progress": False}
    params, _ = nn.fit(net, optimizer, error, pairs("china.jpg", 64), **run)
    x, large = pairs("flower.jpg", 128)
    grown = {name: nn.ops.upsample(x, S, method=name) for name in ("nearest", "linear", "cubic")}
    line = nn.ops.conv_transpose(x, KERNEL, strides=S, padding="SAME") - grown["linear"]
    grown["learnt stamps"] = net.apply(params, x)
    ratios = [float(-10 * jnp.log10(error(y, large).mean())) for y in grown.values()]
    figure, axes = panels(1, 5, size=(9.8, 2.4), subplot_kw={"xticks": [], "yticks": []})
    titles = ["photograph\n", *(f"{name}\n{ratio:.1f} dB" for name, ratio in zip(grown, ratios, strict=True))]
    for ax, title, y in zip(axes[0], titles, [large, *grown.values()], strict=True):
        ax.imshow(y[7, ..., 0], vmin=-0.5, vmax=0.5)
        ax.set_title(title)
    return figure, ratios, float(jnp.abs(line[INNER]).max())


def draw_overlap() -> tuple[Figure, list[float], list[float]]:
    """How unevenly stamps of size 1 to 12, one per channel, are: sizes the stride divides, and the others."""
    figure, axes = panels(size=(7, 2.8))
    sizes, even, uneven = np.arange(1, 13), [], []
    kernels = jnp.asarray(np.arange(12)[:, None, None] < sizes, jnp.float32)
    for s, mark in ((2, "o-"), (3, "s--"), (4, "D:")):
        stamps = nn.ops.conv_transpose(jnp.ones((1, 24, 1)), kernels, strides=s)[0, 12:24]
        uneven_by = np.asarray(jnp.ptp(stamps, axis=0) / stamps.mean(axis=0))
        axes[0, 0].plot(sizes, uneven_by, mark, markersize=4, label=f"stride {s}")
        even, uneven = [*even, *uneven_by[sizes % s == 0]], [*uneven, *uneven_by[sizes % s > 0]]
    axes[0, 0].set(xlabel="kernel size", ylabel="(most − fewest) / mean", xticks=sizes)
    axes[0, 0].legend()
    return figure, even, uneven


def draw_random(batch: int) -> tuple[Figure, list[float]]:
    """What three random layers make of grey with a little noise; the share of its power on the four lines."""
    figure, axes = panels(2, 3, size=(8.4, 5.2))
    x = np.random.default_rng(0).normal(1, 0.1, (batch, 16, 16, 16)).astype(np.float32)
    shares = []
    for column, (name, double) in zip(axes.T, DOUBLING.items(), strict=True):
        net = nn.serial(double, nn.relu, double, nn.relu, double)
        params = net.init(jax.random.key(2), x.shape)
        y = np.asarray(jax.jit(net.apply)(params, x))[:, 16:-16, 16:-16]
        power = (np.abs(np.fft.rfft(y - y.mean(axis=(1, 2), keepdims=True), axis=1)) ** 2).mean((0, 2, 3))
        shares.append(float(power[12::12].sum() / power.sum()))
        column[0].imshow(y[0, :48, :48, 0])
        column[0].set(title=name, xticks=[], yticks=[])
        column[1].semilogy(np.arange(len(power)) / 96, power / power.sum())
        column[1].set(xlabel="cycles per pixel", ylim=(1e-5, 1), xticks=np.arange(5) / 8)
    axes[1, 0].set_ylabel("share of the power")
    return figure, shares


def draw(quick: bool = False) -> Exhibit:
    growing, (nearest, linear, cubic, best), off = draw_growing(40 if quick else 150)
    overlap, even, uneven = draw_overlap()
    random, (three, four, none) = draw_random(2 if quick else 16)
    facts = [
        fact(
            off < 1e-5, f"Linear upsampling is a transposed convolution by a triangle, to within {off:.0e}."
        ),
        fact(
            nearest < linear < cubic < best - 0.1, f"Learnt stamps beat the cubic by {best - cubic:.1f} dB."
        ),
        fact(max(even) == 0, f"The {len(even)} kernels whose size the stride divides fall evenly."),
        fact(min(uneven) > 0.1, f"The {len(uneven)} others vary by at least {min(uneven):.0%} of the mean."),
        fact(three > 0.5, f"Random stamps of size 3 put {three:.0%} of their power on the four lines."),
        fact(four > 0.5, f"Random stamps of size 4, which 2 divides, put {four:.0%} of their power there."),
        fact(none < 0.05, f"Random upsampling and convolution puts {none:.1%} of its power there."),
    ]
    return Exhibit({"photograph": growing, "overlap": overlap, "random": random}, facts)
