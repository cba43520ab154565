"""The lists of forms as a Markdown table.

``python -m benchmarks.forms --table`` prints it; docs/kernels/README.md and the reference show it.
"""

from collections.abc import Sequence

from jaxnn.kernels.choice import Form, always, never
from jaxnn.kernels.lowering.primitive import DEFAULT, KERNELS


def table() -> str:
    """All lists of forms, in the order in which they are tried, as Markdown."""
    lines = []
    for kernel in KERNELS.values():
        name = kernel.primitive.name.removeprefix("jaxnn_")
        if name.endswith("_transpose") or max(map(len, kernel.forms.values())) < 2:
            continue
        taken = {platform: taken_when(forms) for platform, forms in kernel.forms.items()}
        for form in kernel.forms["cpu"]:
            elsewhere = taken[DEFAULT].get(form.name, "–")
            on_cuda = taken.get("cuda", {}).get(form.name, elsewhere)
            elsewhere += "" if on_cuda == elsewhere else f"; on NVIDIA GPUs {on_cuda}"
            words = taken["cpu"][form.name], elsewhere
            lines.append(
                f"| {name.replace('_', ' ')} | `{form.name}` | {form.needs or '–'} | {' | '.join(words)} |"
            )
    head = ["| operation | form | fits | is taken on CPUs | elsewhere |", "|---|---|---|---|---|"]
    return "\n".join([*head, *lines])


def taken_when(forms: Sequence[Form]) -> dict[str, str]:
    """When each form of a list is taken, in words."""
    words, reached = {}, True
    for form in forms:
        usual = "always" if form is forms[0] else "otherwise"
        words[form.name] = form.when or usual if reached and form.pays is not never else "if asked for"
        # The forms of a convolution for one and for several groups leave nothing to the last if both pay.
        both = form.name == "canonical" and all(f.pays is always for f in forms if f.name == "grouped")
        everywhere = both or form.fits is always
        reached = reached and not (everywhere and form.pays is always)
    return words
