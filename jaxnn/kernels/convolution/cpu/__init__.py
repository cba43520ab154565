"""The forms of a convolution that XLA compiles well for CPUs."""
