"""A dense network: how many images a second can a small net read, and does it read them alike in any batch?

The net is the 784-50-100-10 classifier of many a first course: three times y = activation(x·W + b). Its
images are scikit-learn's digits, scanned at 8 × 8 and enlarged here to 28 × 28 by linear interpolation: 784
numbers per image, but no more detail than 64 hold. A fifth of them is held out.

A matrix product takes a whole batch at once: (N, 784)·(784, 50). A call costs a fixed time (Python, dispatch,
fetching 45,360 weights) and some for each image; the more images share the first, the more are read a second,
until only arithmetic is left. The batch may change the speed and nothing else.

Softmax makes probabilities of the ten outputs z: pᵢ = exp(zᵢ) / Σⱼ exp(zⱼ). So written it overflows: float32
ends at 3.4·10³⁸, below exp(89). Only differences of z matter; `nn.softmax` subtracts the largest z first.
"""

import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

import jaxnn as nn
from examples.datasets import load
from examples.gallery.exhibit import Exhibit, fact, panels
from jaxnn import plots

NET = nn.serial(nn.flatten, nn.dense(50), nn.relu, nn.dense(100), nn.relu, head=nn.dense(10))
BATCHES = np.array([1, 3, 10, 30, 100, 300, 1000])


def seconds_a_call(params: nn.Params, images: jax.Array, calls: int) -> float:
    """The least time of a call: whatever else runs on the machine only ever adds to it."""
    apply = jax.jit(NET.apply)
    times = []
    for _ in range(calls + 1):  # the first compiles
        started = time.perf_counter()
        apply(params, images).block_until_ready()
        times.append(time.perf_counter() - started)
    return min(times)


def throughput(seconds: np.ndarray) -> Figure:
    figure, ((left, right),) = panels(1, 2, size=(8, 3.2))
    left.loglog(BATCHES, seconds * 1e6, "o-")
    left.set(ylabel="time of a call (µs)", title="The first images hardly add to a call …")
    right.loglog(BATCHES, BATCHES / seconds, "o-", color=plots.COLOURS[1])
    right.set(ylabel="images a second", title="… so in large batches they are cheap")
    for axes in (left, right):
        axes.set_xlabel("images in the batch")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 3)))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    return figure


def overflow(z: np.ndarray, written: np.ndarray, stable: np.ndarray) -> Figure:
    figure, ((axes,),) = panels(size=(6.4, 3.4))
    for i, name in enumerate(("z", "z − 1", "z − 2")):
        axes.semilogx(z, stable[:, i], label=f"nn.softmax, of {name}")
    axes.semilogx(z, written, "k.", markersize=3, label=["as written", None, None])
    axes.axvspan(z[np.isnan(written).any(-1)].min(), z.max(), color="0.9", label="as written: not a number")
    axes.set(xlabel="logit z", ylabel="probability", ylim=(0, 1), title="Softmax of z, z − 1 and z − 2")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def draw(quick: bool = False) -> Exhibit:
    data = load()
    train, test = (
        part._replace(images=np.asarray(nn.ops.resize(part.images, (28, 28), method="linear")))
        for part in (data.train, data.test)
    )
    params, history = nn.fit(
        NET, optax.adam(1e-3), optax.softmax_cross_entropy_with_integer_labels, train,
        key=jax.random.key(0), epochs=8 if quick else 40, batch_size=50, progress=False,
        validation=test, metrics={"accuracy": nn.accuracy},
    )  # fmt: skip
    logits, accuracy = NET.apply(params, test.images), history["val_accuracy"][-1]
    images = jnp.asarray(train.images[: BATCHES[-1]])
    seconds = np.array([seconds_a_call(params, images[:n], 20 if quick else 300) for n in BATCHES])
    one, thousand = BATCHES[[0, -1]] / seconds[[0, -1]]
    together, alone = NET.apply(params, images), jax.lax.map(lambda x: NET.apply(params, x[None])[0], images)
    apart = float(jnp.abs(alone - together).max() / jnp.abs(together).max())
    z = np.r_[2:100, np.geomspace(100, 1e4, 20).round()].astype(np.float32)
    three = z[:, None] - np.arange(3, dtype=np.float32)
    written = np.asarray(jnp.exp(three) / jnp.exp(three).sum(-1, keepdims=True))
    stable = np.asarray(nn.softmax(three))
    bad = [z[flags.any(-1)].min() for flags in (~(abs(written - stable) < 1e-3), np.isnan(written))]
    with tempfile.TemporaryDirectory() as folder:
        nn.checkpoint.save(Path(folder) / "digits.npz", params)
        loaded = nn.checkpoint.load(Path(folder) / "digits.npz", like=params)
    wrong = np.flatnonzero(logits.argmax(-1) != test.labels)[:10]
    titles = [f"{logits[i].argmax()}, not {test.labels[i]}" for i in wrong]
    mistakes = plots.image_grid(test.images[wrong], titles, columns=len(wrong))
    figures = {"learning": plots.learning_curves(history), "mistakes": mistakes}
    figures |= {"throughput": throughput(seconds), "softmax": overflow(z, written, stable)}
    facts = [
        fact(accuracy > 0.93, f"{accuracy:.1%} of the {len(logits)} held-out digits are read right."),
        fact(thousand > 3 * one, f"{thousand:,.0f} images a second, 1,000 at once; {one:,.0f} one by one."),
        fact(apart < 1e-4, f"Alone and in 1,000 an image's logits differ by {apart:.0e} of the largest."),
        fact(bad[1] < 100, "As written, softmax is wrong from z = {:.0f} on, NaN from {:.0f}.".format(*bad)),
        fact(np.ptp(stable, axis=0) < 1e-6, f"`nn.softmax` gives {stable[-1, 0]:.4f} to z = 2 and 10,000."),
        fact(NET.apply(loaded, test.images) == logits, "Saved and loaded weights give the same logits."),
    ]
    return Exhibit(figures, facts)
