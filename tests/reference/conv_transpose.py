"""Transposed convolution, stamp by stamp, in float64."""

import numpy as np

from tests.reference.conv import MODES, blocks, pads, span, unpad, windows


def conv_transpose(x, kernel, bias=None, *, strides, padding, output_padding, dilation, groups):
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    *window, c_in, block = kernel.shape
    spans = span(window, dilation)
    sizes = x.shape[1:-1]
    if padding in ("SAME", "SAME_LOWER", *MODES):
        out = [n * s for n, s in zip(sizes, strides, strict=True)]
        pairs = pads(padding, out, spans, strides)
    else:
        pairs = pads(padding, sizes, spans, strides)
        out = [
            (n - 1) * s + k - low - high + e
            for n, s, k, (low, high), e in zip(sizes, strides, spans, pairs, output_padding, strict=True)
        ]
    canvas = [m + low + high for m, (low, high) in zip(out, pairs, strict=True)]
    y = np.zeros((x.shape[0], *canvas, block * groups))
    for position, place in windows(sizes, window, strides, dilation):
        for i, o in zip(blocks(c_in, groups), blocks(block * groups, groups), strict=True):
            stamp = np.tensordot(x[(slice(None), *position, i)], kernel[..., i, :], ((1,), (-2,)))
            y[(slice(None), *place, o)] += stamp
    y = unpad(y, out, pairs, padding)
    return y if bias is None else y + np.asarray(bias, np.float64)
