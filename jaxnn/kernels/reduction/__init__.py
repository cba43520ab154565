"""Sums and extremes over axes, and copies along them; on CPUs sums and extremes have forms of their own."""
