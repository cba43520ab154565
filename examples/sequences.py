"""Real sequences to train on: speech of many lengths, and English prose. Nothing is downloaded."""

import pydoc_data.topics
from pathlib import Path
from typing import NamedTuple

import numpy as np

SPOKEN_VOWELS = Path(__file__).parent / "data" / "spoken_vowels.npz"


class Speech(NamedTuple):
    """Utterances ``frames (N, T, F)``, zero from their ``lengths (N,)`` on; ``speakers (N,)`` said them."""

    frames: np.ndarray
    lengths: np.ndarray
    speakers: np.ndarray


def spoken_vowels() -> tuple[Speech, Speech]:
    """Japanese /ae/ of nine men: 270 utterances to train on, 370 to test on, of 7 to 29 frames.

    Source: ``examples/data/README.md``.

    >>> [speech.frames.shape for speech in spoken_vowels()]
    [(270, 29, 12), (370, 29, 12)]
    """
    with np.load(SPOKEN_VOWELS) as arrays:
        longest = max(arrays[f"{part}_lengths"].max() for part in ("train", "test"))
        train, test = (
            Speech(
                padded(arrays[f"{part}_frames"], arrays[f"{part}_lengths"], longest),
                arrays[f"{part}_lengths"],
                arrays[f"{part}_speakers"],
            )
            for part in ("train", "test")
        )
    return train, test


def padded(frames: np.ndarray, lengths: np.ndarray, longest: int) -> np.ndarray:
    """Sequences that lie one behind the other, (Σ T, F) → (N, longest, F), with zeros after each.

    >>> padded(np.array([[1.0], [2.0], [3.0]]), np.array([1, 2]), 3)[..., 0]
    array([[1., 0., 0.],
           [2., 3., 0.]])
    """
    out = np.zeros((len(lengths), longest, frames.shape[1]), frames.dtype)
    out[np.arange(longest) < lengths[:, None]] = frames
    return out


def prose() -> str:
    """The help topics of the Python that runs this: near half a million characters of technical English."""
    return "\n".join(pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics))


def paragraphs() -> str:
    """``prose`` with every paragraph once: the topics repeat whole passages of one another.

    What is held out of this text stands nowhere in the rest of it.
    """
    found = {" ".join(paragraph.split()): paragraph.strip("\n") for paragraph in prose().split("\n\n")}
    return "\n\n".join(paragraph for words, paragraph in found.items() if words)
