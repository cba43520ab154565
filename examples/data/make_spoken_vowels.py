"""Packs the Japanese Vowels data: python examples/data/make_spoken_vowels.py FOLDER

FOLDER holds JapaneseVowels_TRAIN.ts and JapaneseVowels_TEST.ts, as the package aeon ships them: one line per
utterance, its 12 series between colons, then the speaker, 1 to 9.
"""

import sys
from pathlib import Path

import numpy as np


def utterances(path: Path) -> tuple[list[np.ndarray], list[int]]:
    """Utterances of shape (T, 12) and their speakers, 0 to 8."""
    series, speakers = [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and line[0] not in "@#":
            *features, speaker = line.split(":")
            series.append(np.array([feature.split(",") for feature in features], np.float32).T)
            speakers.append(int(speaker) - 1)
    return series, speakers


def main(folder: Path) -> None:
    arrays = {}
    for part in ("train", "test"):
        series, speakers = utterances(folder / f"JapaneseVowels_{part.upper()}.ts")
        arrays[f"{part}_frames"] = np.concatenate(series)
        arrays[f"{part}_lengths"] = np.array([len(x) for x in series], np.int32)
        arrays[f"{part}_speakers"] = np.array(speakers, np.int32)
    np.savez_compressed(Path(__file__).parent / "spoken_vowels.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
