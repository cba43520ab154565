"""Convolution and its two transposes: the primitives, and the forms that they are computed in."""
