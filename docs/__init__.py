"""The pages of the site, and in ``builder`` what makes the site of them: ``make docs``."""
