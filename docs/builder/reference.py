"""The reference: one page per public name, and tables of them all."""

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jaxnn as nn
from benchmarks import form_table

ROOT = Path(__file__).parent.parent.parent
#: Where public names come from, in the order in which they are looked up: a name that two export belongs to
#: the first. The last ones need the libraries that they speak to.
MODULES = (
    "jaxnn", "jaxnn.ops", "jaxnn.training", "jaxnn.data", "jaxnn.checkpoint", "jaxnn.inspection",
    "jaxnn.plots", "jaxnn.distribution", "jaxnn.models", "jaxnn.kernels", "jaxnn.interop.torch",
    "jaxnn.interop.flax", "jaxnn.interop.equinox", "jaxnn.interop.haiku", "jaxnn.interop.onnx",
)  # fmt: skip
#: The section of ``docs/conventions.md`` about the operations of a file, which layers of it share.
CONVENTIONS = {
    "dense": "Layout and shapes", "reshaping": "Layout and shapes", "conv": "Convolution",
    "conv_general": "Convolution", "separable_conv": "Convolution", "patch_embedding": "Convolution",
    "conv_transpose": "Transposed convolution", "pool": "Pooling", "global_pool": "Pooling",
    "adaptive_pool": "Pooling",
    "attention_pool": "Pooling", "conv_lstm": "Recurrent",
    "lp_pool": "Pooling", "unpool": "Pooling", "resize": "Resizing",
    "pixel_shuffle": "Resizing", "norm": "Normalisation", "standardize": "Normalisation",
    "weight_norm": "Normalisation", "spectral_norm": "Normalisation", "recurrent": "Recurrent",
    "sequences": "Recurrent", "bidirectional": "Recurrent", "attention": "Attention",
    "positions": "Attention",
    "activation": "Activations, dropout, initialisers, embedding",
    "gated": "Activations, dropout, initialisers, embedding",
    "softmax": "Activations, dropout, initialisers, embedding",
    "maxout": "Activations, dropout, initialisers, embedding",
    "swiglu": "Activations, dropout, initialisers, embedding",
    "dropout": "Activations, dropout, initialisers, embedding",
    "embedding": "Activations, dropout, initialisers, embedding",
}  # fmt: skip
#: The operations of the lists of forms that an op is made of, by the file of the op, and the page on them.
FORMS = {
    "conv": (("conv ",), "convolution"), "conv_general": (("conv ",), "convolution"),
    "conv_transpose": (("conv ",), "convolution"), "dense": (("matrix gradient",), "products"),
    "pool": (("pool ",), "pooling"), "unpool": (("pool ",), "pooling"),
    "lp_pool": (("pool sums",), "pooling"),
    "adaptive_pool": (("pool ",), "pooling"), "global_pool": (("sum", "extreme"), "pooling"),
    "norm": (("moments", "sum"), "normalisation"), "resize": (("resampled", "copies"), "resampling"),
    "recurrent": (("recurrence",), "recurrence"), "attention": (("attention",), "attention"),
    "softmax": (("softmax values",), "activations"),
}  # fmt: skip
#: What the reference is divided into: title, module, which of its names.
GROUPS: tuple[tuple[str, str, Callable[[str, Any], bool]], ...] = (
    ("The contract", "jaxnn", lambda name, value: _file(value) in (
        "layer", "params", "lifting", "outputs", "sequences", "shapes")),
    ("Layers", "jaxnn", lambda name, value: name in nn.layers.__all__ or name in OF_LAYERS),
    ("Combinators", "jaxnn", lambda name, value: name in nn.combinators.__all__),
    ("Activations", "jaxnn", lambda name, value: getattr(nn.ops, name, None) is value),
    ("Training", "jaxnn", lambda name, value: name in nn.training.__all__),
    ("Inside and out", "jaxnn", lambda name, value: True),
    ("Operations on arrays", "jaxnn.ops", lambda name, value: True),
    ("More for training", "jaxnn.training", lambda name, value: True),
    ("Data", "jaxnn.data", lambda name, value: True),
    ("Checkpoints", "jaxnn.checkpoint", lambda name, value: True),
    ("Results of inspection", "jaxnn.inspection", lambda name, value: True),
    ("Figures", "jaxnn.plots", lambda name, value: True),
    ("Many devices", "jaxnn.distribution", lambda name, value: True),
    ("The zoo", "jaxnn.models", lambda name, value: True),
    ("Choice of forms", "jaxnn.kernels", lambda name, value: True),
    ("PyTorch", "jaxnn.interop.torch", lambda name, value: True),
    ("Flax", "jaxnn.interop.flax", lambda name, value: True),
    ("Equinox", "jaxnn.interop.equinox", lambda name, value: True),
    ("Haiku", "jaxnn.interop.haiku", lambda name, value: True),
    ("ONNX", "jaxnn.interop.onnx", lambda name, value: True),
)  # fmt: skip
#: Layers that are made of layers, and so stand in ``jaxnn.combinators``.
OF_LAYERS = ("maxout", "separable_conv", "patch_embedding", "swiglu")

INDEX = """# Reference

Every public name, with its signature, shapes, equation, errors and an example that is tested. `nn` is
`jaxnn`. What holds for an operation on arrays (`nn.ops.conv`) holds for its layer (`nn.conv`).

In signatures, `ArrayLike` is what JAX takes for an array; `Ints` an int for all spatial axes, or one
per axis; `Padding` a name such as `"SAME"`, an int, one int per axis, or a (low, high) pair per axis;
`LayerLike` a `Layer` or a plain function of one array; `Spec` a shape, a `jax.ShapeDtypeStruct` or an
array, or a pytree of them; `Initializer` a function of (key, shape, dtype), such as those of
`jax.nn.initializers`; `Key` a key of `jax.random`.
"""


class Entry(NamedTuple):
    """A public name: ``name`` without ``jaxnn.``, where it stands first; the other names it has."""

    name: str
    value: Any
    module: str
    others: tuple[str, ...]

    @property
    def page(self) -> str:
        """The file of its page. Names that differ in case alone need files that differ in more."""
        return self.name + ("-class" if inspect.isclass(self.value) else "")

    @property
    def line(self) -> str:
        """What it is, in the first line of its docstring."""
        text = inspect.getdoc(self.value) if callable(self.value) else comment(self)
        first = " ".join((text or "").partition("\n\n")[0].split())
        first = first.partition(" :")[0] if "::" in first else first
        return re.split(r"(?<=\w)\.(?: |$)|: ", first)[0].replace("|", "\\|").replace(":math:", "")


def _file(value: Any) -> str:
    """The name of the file that defines it."""
    return str(getattr(value, "__module__", None) or "").rpartition(".")[2]


def exported(module: str) -> list[str]:
    """The public names of a module that are not modules."""
    namespace = importlib.import_module(module)
    return [n for n in sorted(namespace.__all__) if not isinstance(getattr(namespace, n), ModuleType)]


@cache
def entries() -> tuple[Entry, ...]:
    """All public names, each object once."""
    found: dict[int, Entry] = {}
    for module in MODULES:
        for name in exported(module):
            value = getattr(importlib.import_module(module), name)
            whole = f"{module}.{name}".removeprefix("jaxnn.")
            old = found.get(id(value))
            if old is None:
                found[id(value)] = Entry(whole, value, module, ())
            else:
                found[id(value)] = old._replace(others=(*old.others, whole))
    return tuple(found.values())


@cache
def by_name() -> dict[str, Entry]:
    """Every public name, aliases too."""
    return {name: entry for entry in entries() for name in (entry.name, *entry.others)}


def pages(shown_in: Mapping[str, list[str]]) -> dict[str, str]:
    """The sources of all pages by their path on the site; ``shown_in`` has the gallery's scripts by name."""
    made = {f"reference/{e.page}.rst": page(e, shown_in.get(e.name, ())) for e in entries()}
    groups = grouped()
    for title, members in groups.items():
        made[f"reference/{slug(title)}.md"] = listing(title, members)
    return made | {"reference/index.md": index(groups)}


def slug(title: str) -> str:
    return "group-" + title.lower().replace(" ", "-")


def grouped() -> dict[str, list[Entry]]:
    """The entries by the title of their group, in order."""
    left = list(entries())
    groups: dict[str, list[Entry]] = {}
    for title, module, belongs in GROUPS:
        members = [e for e in left if e.module == module and belongs(e.name.rpartition(".")[2], e.value)]
        left = [e for e in left if e not in members]
        groups[title] = members
    assert not left, left
    return groups


def listing(title: str, members: list[Entry]) -> str:
    """The page of a group: each name with what it is."""
    module = members[0].module
    text = inspect.getdoc(importlib.import_module(module)) or ""
    about = "" if module == "jaxnn" else " ".join(text.partition(">>>")[0].split()).replace("``", "`")
    rows = [f"| [`{prefix(e)}`]({e.page}.rst) | {e.line.replace('``', '`')} |" for e in members]
    tree = [
        "```{toctree}",
        ":hidden:",
        "",
        *(f"{e.name.rpartition('.')[2]} <{e.page}>" for e in members),
        "```",
    ]
    return "\n".join(
        [f"# {title}", "", about, "", "| name | what it is |", "|---|---|", *rows, "", *tree, ""]
    )


def prefix(entry: Entry) -> str:
    return f"nn.{entry.name}" if entry.module != "jaxnn.plots" else entry.name


def index(groups: Mapping[str, list[Entry]]) -> str:
    """The reference's front page: all names at a glance."""
    lines = [INDEX]
    for title, members in groups.items():
        links = " · ".join(f"[`{e.name.rpartition('.')[2]}`]({e.page}.rst)" for e in members)
        lines += [f"**[{title}]({slug(title)}.md)**: {links}", ""]
    tree = ["```{toctree}", ":hidden:", "", *(slug(title) for title in groups), "```", ""]
    return "\n".join(lines + tree)


def page(entry: Entry, scripts: Any) -> str:
    """The page of one name, in reStructuredText, since its docstring is."""
    title = prefix(entry)
    lines = [title, "=" * len(title), ""]
    whole = f"jaxnn.{entry.name}"
    if inspect.isclass(entry.value):
        lines += [f".. autoclass:: {whole}", *members(entry.value)]
    elif callable(entry.value):
        lines += [f".. autofunction:: {whole}"]
    else:
        lines += [f".. py:data:: {whole}", "", f"   {comment(entry)}"]
    lines.append("")
    if entry.others:
        names = ", ".join(f"``nn.{name}``" for name in entry.others)
        lines += [f"Also {names}: the same function.", ""]
    if other := counterpart(entry):
        kind = "The layer" if other.module == "jaxnn" else "The operation on arrays"
        lines += [f"{kind}: :doc:`{prefix(other)} <{other.page}>`.", ""]
    if scripts:
        links = ", ".join(f":doc:`/subject/{name}`" for name in scripts)
        lines += [f"In the course: {links}.", ""]
    lines += [*beside_others(entry), *its_forms(entry)]
    return "\n".join(lines)


def comment(entry: Entry) -> str:
    """What the ``#:`` comment above a constant says."""
    name = entry.name.rpartition(".")[2]
    folder = Path(str(importlib.import_module(entry.module).__file__)).parent
    for file in sorted(folder.glob("*.py")):
        if found := re.search(rf"((?:^#: .*\n)+){name}\b", file.read_text(encoding="utf-8"), re.MULTILINE):
            return " ".join(line.removeprefix("#: ") for line in found[1].splitlines())
    raise LookupError(f"{entry.name} has no comment that begins with #:")


def members(value: type) -> list[str]:
    """The option that shows the methods a class documents itself."""
    own = [
        name
        for name, member in vars(value).items()
        if not name.startswith("_") and getattr(member, "__doc__", None) and not _is_field(member)
    ]
    return [f"   :members: {', '.join(own)}"] if own else []


def _is_field(member: Any) -> bool:
    """Fields of named tuples and attributes: the class's own text has them."""
    return not (inspect.isfunction(member) or isinstance(member, (classmethod, staticmethod, property)))


def counterpart(entry: Entry) -> Entry | None:
    """The layer of an operation, or the operation of a layer, if they differ."""
    names = by_name()
    if entry.module == "jaxnn.ops":
        other = names.get(entry.name.removeprefix("ops."))
    else:
        other = names.get(f"ops.{entry.name}") if entry.module == "jaxnn" else None
    return other if other and other is not entry else None


def of_operations(entry: Entry) -> bool:
    return entry.module in ("jaxnn", "jaxnn.ops") and not inspect.isclass(entry.value)


def beside_others(entry: Entry) -> list[str]:
    """The table of ``docs/conventions.md`` about this kind of operation."""
    title = convention(entry)
    if title is None:
        return []
    return [
        "Beside PyTorch, Flax and Keras",
        "------------------------------",
        "",
        f"From :ref:`the page on conventions <{label(title)}>`:",
        "",
        *grid(conventions()[title]),
    ]


def label(title: str) -> str:
    """What a section of the page on conventions is referred to by."""
    return "conventions-" + re.sub(r"\W+", "-", title.lower())


def convention(entry: Entry) -> str | None:
    """The section of the page on conventions that is about it."""
    if not of_operations(entry):
        return None
    if getattr(entry.value, "__module__", "").startswith("jax."):
        return "Activations, dropout, initialisers, embedding"
    inner = getattr(entry.value, "__module__", "")
    if not inner.startswith(("jaxnn.ops", "jaxnn.layers", "jaxnn.combinators")):
        return None
    return CONVENTIONS.get(_file(entry.value))


@cache
def conventions() -> dict[str, list[str]]:
    """The tables of ``docs/conventions.md``, as lines of Markdown, by the title of their section."""
    text = (ROOT / "docs" / "conventions.md").read_text(encoding="utf-8")
    found = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        if table := re.search(r"(?:^\|.*\|\n)+", body, re.MULTILINE):
            found[title] = table[0].splitlines()
    return found


def its_forms(entry: Entry) -> list[str]:
    """The lists of forms that its computation is chosen from."""
    name = entry.name.removeprefix("ops.")
    op = by_name().get(f"ops.{name}")
    file = _file(op.value) if op and of_operations(entry) else ""
    if file not in FORMS:
        return []
    starts, page = FORMS[file]
    head, rule, *rows = form_table.table().splitlines()
    rows = [row for row in rows if row[2:].startswith(starts)]
    return [
        "Forms",
        "-----",
        "",
        f"What it may be computed by, in the order in which CPUs try them; :doc:`/kernels/{page}` says why,",
        "and :doc:`kernels.explain` shows what a call takes.",
        "",
        *grid([head, rule, *rows]),
    ]


def grid(table: list[str]) -> list[str]:
    """A Markdown table as a list-table of reStructuredText."""
    rows = [split(row) for row in table if not re.fullmatch(r"[|\-: ]+", row)]
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        for i, cell in enumerate(row):
            text = re.sub(r"(?<!`)`([^`]+)`", r"``\1``", re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", cell))
            text = "".join(
                part if part.startswith("``") else part.replace("*", "\\*").replace("|", "\\|")
                for part in re.split(r"(``.*?``)", text)
            )
            lines.append(f"   {'*' if i == 0 else ' '} - {text}".rstrip())
    return [*lines, ""]


def split(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip())[1:-1]]
