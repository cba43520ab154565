"""Trains a net to guess the next letter of a text, and holds it against a compressor and a table of letters.

python -m examples.character_model                         minutes on two cores
python -m examples.character_model --checkpoint out/text   the same, and after a kill the same command goes on

The text is Python's help topics, each paragraph once; the last tenth is held out. What a model needs for it
is counted in bits per letter, −log₂ p(next letter): a coder would spend as many (Shannon, 1948). So the net
stands beside ``xz -9`` and an order-5 model of counted letters, which both have the other nine tenths too.

Prints the three and some text that the net writes; draws the learning curve into out/.
"""

from __future__ import annotations

import argparse
import lzma
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnn as nn
from examples.sequences import paragraphs
from jaxnn import plots


class Corpus(NamedTuple):
    """A text in two parts, and all letters in it."""

    train: str
    test: str
    alphabet: np.ndarray

    def ids(self, text: str) -> np.ndarray:
        """The letters as their places in the alphabet, (T,) int32."""
        return np.searchsorted(self.alphabet, list(text)).astype(np.int32)


def corpus(letters: int | None = None) -> Corpus:
    """The help topics, or their first letters; the last tenth is held out."""
    text = paragraphs()[:letters]
    cut = len(text) * 9 // 10
    return Corpus(text[:cut], text[cut:], np.array(sorted(set(text))))


def xz_bits(train: str, test: str) -> float:
    """By how many bits per letter the file that ``xz -9e`` makes grows with ``test`` behind ``train``.

    Its window is larger than the text, so that it copies from all of it.
    """
    short, long = (
        len(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)) for text in (train, train + test)
    )
    return 8 * (long - short) / len(test)


def counted_bits(train: str, test: str, order: int = 5, discount: float = 0.75) -> float:
    """Bits per letter of ``test`` by the letters that followed the same ``order`` letters in ``train``.

    p(letter | h) = max(n(h letter) − D, 0) / n(h) + D · kinds(h) / n(h) · p(letter | h without its first),
    interpolated Kneser-Ney: a shorter context counts before how many different letters it stood, not how
    often (Kneser and Ney, Improved Backing-off for M-gram Language Modeling, 1995).

    >>> round(counted_bits("abcabcabcabcabc", "abcabc"), 1)
    0.1
    """
    counts = [Counter(train[i : i + order + 1] for i in range(len(train) - order))]
    for _ in range(order):
        counts.append(Counter(seen[1:] for seen in counts[-1]))
    tables = []
    for seen in reversed(counts):  # from no context to the longest
        total, kinds = Counter[str](), Counter[str]()
        for letters, count in seen.items():
            total[letters[:-1]] += count
            kinds[letters[:-1]] += 1
        tables.append((seen, total, kinds))
    text, start = train[-order:] + test, 1 / len(set(train + test))
    bits = 0.0
    for i in range(order, len(text)):
        p = start
        for length, (seen, total, kinds) in enumerate(tables):
            context = text[i - length : i]
            if context not in total:
                break
            p = max(seen[context + text[i]] - discount, 0) / total[context] + (
                discount * kinds[context] / total[context] * p
            )
        bits -= np.log2(p)
    return float(bits / len(test))


def network(letters: int, size: int = 256) -> nn.Layer:
    """Letters (N, T) → logits of the next letter (N, T, letters)."""
    return nn.serial(
        nn.embedding(letters, 64), nn.dropout(0.1), nn.lstm(size), nn.dropout(0.3), head=nn.dense(letters)
    )


def bits(logits: jax.Array, letters: jax.Array) -> jax.Array:
    """What each letter costs."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, letters) / jnp.log(2)


def pieces(ids: np.ndarray, length: int, start: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The letters cut to a length from ``start`` on, and those that follow each: twice (N, length)."""
    whole = (len(ids) - 1 - start) // length * length
    read, following = ids[start : start + whole], ids[start + 1 : start + whole + 1]
    return read.reshape(-1, length), following.reshape(-1, length)


def batches(ids: np.ndarray, length: int, rows: int, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Those of an epoch: each cuts the text at other places, drawn by its number."""
    random = np.random.default_rng(epoch)
    x, y = pieces(ids, length, int(random.integers(length)))
    order = random.permutation(len(x))
    for start in range(0, len(x) - rows + 1, rows):
        chosen = order[start : start + rows]
        yield x[chosen], y[chosen]


def train(
    text: Corpus,
    net: nn.Layer,
    key: jax.Array,
    epochs: int,
    rows: int = 16,
    length: int = 64,
    rate: float = 4e-3,
    checkpoint: Path | None = None,
) -> nn.Fit:
    """Adam, its rate falling along a cosine, the gradient clipped. The held-out part is only watched."""
    ids = text.ids(text.train)
    steps = ((len(ids) - 1 - length) // length) // rows
    schedule = optax.warmup_cosine_decay_schedule(0.0, rate, epochs * steps // 20, epochs * steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=1e-3))
    held_out = pieces(text.ids(text.train[-1:] + text.test), min(1024, len(text.test) // 4))
    return nn.fit(
        net,
        optimizer,
        bits,
        lambda epoch: batches(ids, length, rows, epoch),
        key=key,
        epochs=epochs,
        steps_per_epoch=steps,
        validation=held_out,
        checkpoint=checkpoint and nn.training.Checkpoints(checkpoint, every=200),
    )


def written(net: nn.Layer, params: nn.Params, text: Corpus, letters: int = 300) -> str:
    """How the training text might go on: letters drawn at a temperature of 0.7."""
    prompt = text.ids(text.train[-200:])[None]
    found = nn.generate(net, params, prompt, steps=letters, key=jax.random.key(1), temperature=0.7)
    return "".join(text.alphabet[np.asarray(found)[0, -letters:]])


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Trains, compares and writes; returns the bits per letter of the held-out part, by model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--letters", type=int, help="of the text, from its start, instead of all")
    parser.add_argument("--size", type=int, default=256, help="of the LSTM's state")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, help="where the run is saved, and gone on with")
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the figure goes")
    options = parser.parse_args(arguments)

    text = corpus(options.letters)
    net = network(len(text.alphabet), options.size)
    print(
        f"{len(text.train):,} letters to learn from, {len(text.test):,} held out, {len(text.alphabet)} kinds"
    )
    others = {"xz -9": xz_bits(text.train, text.test), "order 5": counted_bits(text.train, text.test)}

    started = time.process_time()
    key = jax.random.key(options.seed)
    result = train(text, net, key, options.epochs, checkpoint=options.checkpoint)
    seconds = time.process_time() - started
    found = {"LSTM": result.history["val_loss"][-1], **others}

    print("\nbits per letter of the part held out")
    for name, value in found.items():
        print(f"{name:>8}  {value:.3f}")
    device = jax.devices()[0].device_kind
    print(f"\ntrained in {seconds:.0f} s of processor time on {device} with JAX {jax.__version__}")
    print(f"\n{written(net, result.params, text)}\n")

    options.out.mkdir(parents=True, exist_ok=True)
    figure = plots.learning_curves(
        {name.replace("loss", "bits per letter"): row for name, row in result.history.items()}
    )
    for (name, value), style in zip(others.items(), ("--", ":"), strict=True):
        figure.axes[0].axhline(value, color="0.4", ls=style, lw=1.2, label=name)
    figure.axes[0].legend()
    figure.savefig(options.out / "character_model.png", dpi=120)
    print("drawn", options.out / "character_model.png")
    return found


if __name__ == "__main__":
    main()
