"""Pooling windows on each axis, their extremes, and sums of blocks."""
