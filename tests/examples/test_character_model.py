import jax
import matplotlib
import numpy as np
import pytest

from examples import character_model as model
from examples.sequences import paragraphs, prose

matplotlib.use("Agg")


def test_the_script_at_a_small_size(tmp_path, capsys):
    with jax.numpy_dtype_promotion("standard"):  # optax's schedules mix floats and integers
        found = model.main(["--letters", "20000", "--size", "16", "--epochs", "1", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert list(found) == ["LSTM", "xz -9", "order 5"]
    assert "18,000 letters to learn from, 2,000 held out" in printed
    assert all(f"{name}  {value:.3f}" in printed for name, value in found.items())
    assert 1 < found["LSTM"] < np.log2(103)
    assert [path.name for path in tmp_path.iterdir()] == ["character_model.png"]


def test_each_paragraph_stands_once():
    """Less than the topics, which repeat passages of one another, and nothing else is lost."""
    text, topics = paragraphs(), prose()
    found = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    assert len(found) == len(set(found))
    assert 300_000 < len(text) < len(topics)
    assert set(found) == {" ".join(paragraph.split()) for paragraph in topics.split("\n\n")} - {""}


def test_the_order_model_gives_probabilities():
    """They sum to 1 over the alphabet, after any context, those that were never read included."""
    train = "the cat sat on the mat, and the dog sat on the log"
    for context in ("the c", "zzzzz", "on th"):
        alphabet = sorted(set(train + context))
        costs = [model.counted_bits(train, context + letter, order=2) for letter in alphabet]
        whole = [cost * (len(context) + 1) for cost in costs]
        base = model.counted_bits(train, context, order=2) * len(context)
        assert sum(2 ** -(cost - base) for cost in whole) == pytest.approx(1)


def test_longer_contexts_help_where_the_text_needs_them():
    assert model.counted_bits("ab" * 40 + "b" + "ab" * 40, "ab" * 20) < 0.2
    text = "aabb" * 50  # what follows a letter depends on the one before it
    assert (
        model.counted_bits(text, "aabb" * 10, order=2) < 0.2 < model.counted_bits(text, "aabb" * 10, order=1)
    )


def test_xz_copies_what_it_has_read():
    random = "".join(map(chr, np.random.default_rng(0).integers(97, 123, 2000)))
    assert model.xz_bits(random, random) < 0.5 < 4 < model.xz_bits(random[:1000], random[1000:])


def test_each_epoch_cuts_the_text_at_other_places_and_follows_it():
    ids = np.arange(1000)
    first, again, other = ([*model.batches(ids, 10, 8, epoch)] for epoch in (1, 1, 2))
    assert len(first) == len(other) == 12
    for (x, y), (same, _), (another, _) in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(y, x + 1)
        np.testing.assert_array_equal(x, same)
        assert x.shape == (8, 10)
        assert not np.array_equal(x, another)
