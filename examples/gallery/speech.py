"""Speech: who is speaking, when every utterance has its own length?

Nine men say the Japanese vowels /ae/; each utterance is 7 to 29 frames of 12 numbers that describe the shape
of the spectrum (`examples/data/README.md`). An array has one length, so short utterances are filled up with
zeros, and `lengths` says how many frames are real. A bidirectional GRU (Schuster and Paliwal, 1997; Cho et
al., 2014) reads each utterance from its first frame to its last and from its last to its first: the backward
pass starts at the last *real* frame. A dense layer names the speaker from the two final states:

`nn.serial(nn.bidirectional(nn.gru(32, outputs="last")), nn.dropout(0.3), head=nn.dense(9))`

What stands in the padding must not matter. A net without the lengths takes zeros for speech.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import jaxnn as nn
from examples.gallery.exhibit import Exhibit, fact, panels
from examples.sequences import Speech, spoken_vowels
from jaxnn import plots

NET = nn.serial(nn.bidirectional(nn.gru(32, outputs="last")), nn.dropout(0.3), head=nn.dense(9))


def utterances(speech: Speech) -> Figure:
    """The first three utterances of three speakers, coefficient by frame; the padding is grey."""
    figure, axes = panels(3, 3, size=(8, 4.6), sharex=True, sharey=True)
    limit = np.abs(speech.frames).max()
    for row, speaker in zip(axes, (0, 4, 8), strict=True):
        for cell, i in zip(row, np.flatnonzero(speech.speakers == speaker), strict=False):
            frames = np.full(speech.frames.shape[1:], np.nan)  # matplotlib draws nothing there
            frames[: speech.lengths[i]] = speech.frames[i, : speech.lengths[i]]
            drawn = cell.imshow(frames.T, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
            cell.set_title(f"speaker {speaker + 1}, {speech.lengths[i]} frames")
            cell.grid(visible=False)
            cell.set_facecolor("0.8")
        row[0].set_ylabel("coefficient")
    for cell in axes[-1]:
        cell.set_xlabel("frame")
    figure.colorbar(drawn, ax=axes, label="value", shrink=0.8)
    return figure


def heard(accuracies: np.ndarray) -> Figure:
    figure, ((axes,),) = panels(size=(6.4, 3))
    axes.plot(range(1, len(accuracies) + 1), 100 * accuracies, ".-")
    axes.axhline(100 / 9, color="0.5", linestyle=":", label="by chance")
    axes.set(xlabel="frames heard", ylabel="speakers named right (%)", ylim=(0, 102))
    axes.set_title("The same net, given only the beginning of each utterance")
    axes.legend(loc="lower right")
    return figure


def draw(quick: bool = False) -> Exhibit:
    train, test = spoken_vowels()
    params, history = nn.fit(
        NET, optax.adam(3e-3), optax.softmax_cross_entropy_with_integer_labels,
        ((train.frames, train.lengths), train.speakers), key=jax.random.key(0), epochs=8 if quick else 60,
        batch_size=30, validation=((test.frames, test.lengths), test.speakers), progress=False,
        metrics={"accuracy": nn.accuracy},
    )  # fmt: skip

    @jax.jit
    def accuracy(frames: jax.Array, lengths: jax.Array) -> jax.Array:
        return nn.accuracy(NET.apply(params, (frames, lengths)), test.speakers).mean()

    apply = jax.jit(NET.apply)
    logits = apply(params, (test.frames, test.lengths))
    longest = test.frames.shape[1]
    padding = np.arange(longest) >= test.lengths[:, None]
    filled = np.where(padding[..., None], np.float32(1e6), test.frames)
    change = float(jnp.abs(apply(params, (filled, test.lengths)) - logits).max())
    whole = float(accuracy(test.frames, test.lengths))
    unmasked = float(accuracy(test.frames, np.full_like(test.lengths, longest)))
    cut = [accuracy(test.frames, np.minimum(test.lengths, n)) for n in range(1, longest + 1)]
    heights = np.array(cut)

    reading = (
        f"Of 370 utterances that the net has not learnt from, it names the speaker of {100 * whole:.1f} % "
        f"(chance: {100 / 9:.0f} %), having learnt from 270."
    )
    ignoring = (
        f"Filling the padding, {100 * padding.mean():.0f} % of the array, with 1,000,000 instead of zeros "
        f"changes the logits by {change:g}."
    )
    needing = f"Told that all {longest} frames are speech, the same net is right for {100 * unmasked:.1f} %."
    early = (
        f"The first 3 frames are enough for {100 * heights[2]:.0f} %, "
        f"the first 8 for {100 * heights[7]:.0f} %."
    )
    facts = [
        fact(whole > (0.8 if quick else 0.95), reading),
        fact(change == 0, ignoring),
        fact(unmasked < whole - 0.02, needing),
        fact(1.5 / 9 < heights[2] < heights[7] <= heights[-1] + 0.02, early),
    ]
    figures = {
        "utterances": utterances(train),
        "learning": plots.learning_curves(history),
        "frames-heard": heard(heights),
    }
    return Exhibit(figures, facts)
