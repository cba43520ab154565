"""Builds the site: ``python -m docs.builder``.

``assemble`` lays out the sources, written and generated, with every link led to its place on the site;
``conf`` is Sphinx's configuration; ``check`` reads what was built, ``browse`` looks at it in a browser.
"""
