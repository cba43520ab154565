"""Trains a convolutional net on real images and shows what it has learnt.

python -m examples.classify_images                        8×8 digits, embedded: a minute or two on two cores
python -m examples.classify_images --data fashion-mnist   28×28 clothes, 60,000 of them
python -m examples.classify_images --data fashion-mnist --checkpoint out/run
                                                          the same, and after a kill the same command goes on

Prints the net and the test accuracy with its confusion table; writes the weights, the learning curves, a grid
of predictions and the first layer's filters into out/.
"""

import argparse
import time
from pathlib import Path

import jax
import numpy as np
import optax

import jaxnn as nn
from examples.datasets import NAMES, Images, load
from jaxnn import plots

#: By data set: epochs, batch size, peak learning rate.
SETTINGS = {"digits": (30, 64, 0.05), "mnist": (8, 128, 0.05), "fashion-mnist": (12, 128, 0.05)}


def network(classes: int) -> nn.Layer:
    """Two blocks of two convolutions, then a dense head: (N, H, W, C) → (N, classes)."""

    def block(features: int) -> nn.Layer:
        return nn.serial(
            nn.conv(features, 3, padding="SAME", bias=False), nn.batch_norm(), nn.relu,
            nn.conv(features, 3, padding="SAME", bias=False), nn.batch_norm(), nn.relu,
            nn.max_pool(2), nn.dropout(0.2),
        )  # fmt: skip

    head = nn.serial(nn.flatten, nn.dense(128), nn.relu, nn.dropout(0.5), nn.dense(classes))
    return nn.serial(fine=block(32), coarse=block(64), head=head)


def train(
    data: Images,
    net: nn.Layer,
    key: jax.Array,
    epochs: int,
    batch_size: int,
    rate: float,
    checkpoint: Path | None = None,
) -> nn.Fit:
    """Stochastic gradient descent with momentum; the learning rate rises, then falls along a cosine.

    The test set is only watched: nothing is chosen by it.
    """
    steps = epochs * -(-len(data.train.labels) // batch_size)
    schedule = optax.warmup_cosine_decay_schedule(0.0, rate, steps // 10, steps)
    return nn.fit(
        net,
        optax.sgd(schedule, momentum=0.9, nesterov=True),
        optax.softmax_cross_entropy_with_integer_labels,
        data.train,
        key=key,
        epochs=epochs,
        batch_size=batch_size,
        validation=data.test,
        metrics={"accuracy": nn.accuracy},
        checkpoint=checkpoint and nn.training.Checkpoints(checkpoint, every=100),
    )


def confusion(labels: np.ndarray, predicted: np.ndarray, names: tuple[str, ...]) -> str:
    """A table: a row for each true class, a column for each predicted one."""
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (labels, predicted), 1)
    width = max(4, *(len(name) for name in names)) + 1
    head = " " * width + "".join(f"{name:>{width}}" for name in names)
    rows = [
        f"{name:>{width}}" + "".join(f"{count or '·':>{width}}" for count in row)
        for name, row in zip(names, counts, strict=True)
    ]
    return "\n".join([head, *rows])


def draw(data: Images, result: nn.Fit, predicted: np.ndarray, out: Path) -> list[Path]:
    """Learning curves, some predictions (mistakes first, framed), and the filters of the first layer."""
    x, y = data.test
    wrong = predicted != y
    shown = np.concatenate([np.flatnonzero(wrong)[:25], np.flatnonzero(~wrong)])[:50]
    titles = [
        data.names[p] if p == t else f"{data.names[p]}\nnot {data.names[t]}"
        for p, t in zip(predicted[shown], y[shown], strict=True)
    ]
    mistakes = "mistake" if wrong.sum() == 1 else "mistakes"
    heading = f"{wrong.sum():,} {mistakes} in {len(y):,} test images"
    if wrong.any():
        heading += "; those shown are framed"
    kernel = result.params.weights["fine"]["conv_0"]["kernel"]
    figures = {
        "learning_curves": plots.learning_curves(result.history),
        "predictions": plots.image_grid(x[shown], titles, marked=wrong[shown], heading=heading),
        "filters": plots.filters(kernel),
    }
    for name, figure in figures.items():
        figure.savefig(out / f"{name}.png", dpi=120)
    return [out / f"{name}.png" for name in figures]


def main(arguments: list[str] | None = None) -> float:
    """Trains, tests and draws; returns the test accuracy."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=NAMES, default="digits")
    parser.add_argument("--folder", help="where the IDX files of mnist or fashion-mnist lie")
    parser.add_argument("--epochs", type=int, help="how many, instead of what suits the data")
    parser.add_argument("--checkpoint", type=Path, help="where the run is saved, and gone on with")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the files go")
    options = parser.parse_args(arguments)
    if options.epochs is not None and options.epochs < 1:
        parser.error(f"--epochs must be at least 1, got {options.epochs}")

    data = load(options.data, options.folder)
    epochs, batch_size, rate = SETTINGS[options.data]
    shape = (1, *data.train.images.shape[1:])
    net = network(len(data.names))
    learn, test = len(data.train.labels), len(data.test.labels)
    print(f"{options.data}: {learn:,} images to learn from, {test:,} to test on\n")
    print(nn.summary(net, shape), "\n")

    started = time.perf_counter()
    key = jax.random.key(options.seed)
    result = train(data, net, key, options.epochs or epochs, batch_size, rate, options.checkpoint)
    seconds = time.perf_counter() - started

    accuracy = nn.evaluate(net, result.params, data.test, {"accuracy": nn.accuracy})["accuracy"]
    predicted = np.argmax(predict(net, result.params, data.test.images), axis=-1)
    print(
        f"\ntrue class (row), predicted class (column)\n{confusion(data.test.labels, predicted, data.names)}"
    )
    device = jax.devices()[0].device_kind
    print(
        f"\ntest accuracy {accuracy:.2%}, trained in {seconds:.0f} s on {device} with JAX {jax.__version__}"
    )

    options.out.mkdir(parents=True, exist_ok=True)
    weights = options.out / "weights.npz"
    nn.checkpoint.save(weights, result.params)
    loaded = nn.checkpoint.load(weights, like=result.params)
    again = nn.evaluate(net, loaded, data.test, {"accuracy": nn.accuracy})["accuracy"]
    if again != accuracy:
        raise RuntimeError(f"the loaded weights give {again:.2%}, not {accuracy:.2%}")
    print(f"saved {weights}, loaded it again: test accuracy {again:.2%}, unchanged")
    print("drawn", ", ".join(map(str, draw(data, result, predicted, options.out))))
    return accuracy


def predict(net: nn.Layer, params: nn.Params, images: np.ndarray, rows: int = 500) -> np.ndarray:
    """The logits of all images, some rows at a time."""
    apply = jax.jit(net.apply)
    return np.concatenate([apply(params, images[i : i + rows]) for i in range(0, len(images), rows)])


if __name__ == "__main__":
    main()
