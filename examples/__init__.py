"""Complete programs on real data. Run from the repository's root: ``python -m examples.classify_images``."""
