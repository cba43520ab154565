"""Sphinx's configuration. Warnings are errors; nothing is fetched, when it is built or when it is read."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
project = "jaxnn"
author = "the authors of jaxnn"
copyright = "the authors of jaxnn, Apache-2.0"
release = version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_parser",
    "docs.builder.extension",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
suppress_warnings = ["ref.python"]  # two classes called Row, which signatures name
root_doc = "index"
myst_heading_anchors = 4
html_math_renderer = "mathml"

napoleon_use_ivar = True
napoleon_custom_sections = ["Source"]
autodoc_typehints = "signature"
python_maximum_signature_line_length = 90
python_display_short_literal_types = True
python_use_unqualified_type_names = True
viewcode_line_numbers = False
highlight_language = "text"

html_theme = "furo"
html_title = f"jaxnn {release}"
html_static_path = [str(Path(__file__).parent / "static")]
html_css_files = ["site.css"]
html_copy_source = False
html_show_search_summary = False  # it would be fetched, which browsers refuse for files
html_theme_options = {
    "top_of_page_buttons": [],
    "light_css_variables": {"color-brand-primary": "#1a5fb4", "color-brand-content": "#1a5fb4"},
    "dark_css_variables": {"color-brand-primary": "#8ab4f8", "color-brand-content": "#8ab4f8"},
}
pygments_style = "friendly"
pygments_dark_style = "monokai"
