"""Windows on each axis, and what is taken of them: extremes, sums of blocks."""
