"""The gallery's page: one section per script, with its text, command, figures and facts, in Markdown."""

import re
import time
from pathlib import Path

import jax
import matplotlib
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.environment import processor
from examples.gallery.exhibit import Exhibit, load
from jaxnn.plots.style import STYLE, without_frames

#: The order in which the subject unfolds.
SCRIPTS = (
    "activations", "linear_stack", "dying_relu", "vanishing_gradients", "initialisation", "normalisation",
    "batch_norm", "optimisation", "backpropagation", "convolution", "pooling", "upsampling", "dense_network",
    "deep_network", "autoencoder", "generator", "memory", "character_model", "speech", "attention",
    "positions", "character_transformer", "image_transformer", "approximation", "ensembles", "sweeps",
)  # fmt: skip

HEAD = """# The gallery

Each script answers one question with figures, on real or exact data, and asserts every sentence that
stands under them. `make gallery` draws all of them anew; the command beside each draws one.
"""


def write(name: str, folder: Path, quick: bool = False) -> Exhibit:
    """Runs the script called ``name``; its figures and its section of ``README.md`` go into ``folder``."""
    text, draw = load(name)
    pictures = folder / "figures"
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob(f"{name}-*.png"):
        old.unlink()
    started = time.process_time()
    with matplotlib.rc_context(STYLE):  # for saving too: only then is "C0" looked up
        exhibit = draw(quick)
        seconds = time.process_time() - started
        for label, figure in exhibit.figures.items():
            save(figure, pictures / f"{name}-{label}.png")
    conditions = f"{seconds:.0f} s of processor time on {processor()}, JAX {jax.__version__}"
    page = folder / "README.md"
    found = sections(page.read_text(encoding="utf-8")) if page.exists() else {}
    found[name] = section(name, text, exhibit, conditions)
    whole = [HEAD, *(f"<!-- {name} -->\n{found[name]}" for name in SCRIPTS if name in found)]
    page.write_text("\n".join(whole), encoding="utf-8")
    return exhibit


def save(figure: Figure, path: Path) -> None:
    """A PNG of 256 colours: enough for figures, and a third of the size."""
    without_frames(figure).savefig(path)
    Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)


def section(name: str, text: str, exhibit: Exhibit, conditions: str) -> str:
    """One script's part of the page; the first line of its text is the title."""
    title, _, story = text.strip().partition("\n")
    images = [f"![{title} ({label})](figures/{name}-{label}.png)" for label in exhibit.figures]
    facts = "\n".join(f"- {sentence}" for sentence in exhibit.facts)
    command = f"`python -m examples.gallery {name}` ({conditions})"
    return "\n\n".join([f"## {title}", story.strip(), *images, facts, command]) + "\n"


def sections(page: str) -> dict[str, str]:
    r"""The sections of a page by the name of their script.

    >>> sections("# Title\n<!-- one -->\nfirst\n<!-- two -->\nsecond\n")
    {'one': 'first\n', 'two': 'second\n'}
    """
    parts = re.split(r"^<!-- (\w+) -->\n", page, flags=re.MULTILINE)
    return {name: text.strip() + "\n" for name, text in zip(parts[1::2], parts[2::2], strict=True)}
