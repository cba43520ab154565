"""Convolution and its gradients, slow and obvious, in float64."""

import numpy as np

MODES = {"CIRCULAR": "wrap", "REFLECT": "reflect", "REPLICATE": "edge"}


def span(window, dilation):
    return [d * (k - 1) + 1 for k, d in zip(window, dilation, strict=True)]


def pads(padding, sizes, spans, strides):
    """(low, high) for each axis, from the definition of each form of padding."""
    rank = len(sizes)
    if padding == "VALID":
        return [(0, 0)] * rank
    if padding == "CAUSAL":
        return [(spans[0] - 1, 0)]
    if isinstance(padding, str):
        result = []
        for size, k, s in zip(sizes, spans, strides, strict=True):
            total = max((int(np.ceil(size / s)) - 1) * s + k - size, 0)
            less, more = total // 2, total - total // 2
            result.append((more, less) if padding == "SAME_LOWER" else (less, more))
        return result
    if isinstance(padding, int):
        return [(padding, padding)] * rank
    return [(p, p) if isinstance(p, int) else tuple(p) for p in padding]


def source(size, low, high, padding):
    """For each place of a padded axis, the index of the value it holds; −1 for a zero."""
    if padding in MODES:
        return np.pad(np.arange(size), (low, high), mode=MODES[padding])
    places = np.arange(-low, size + high)
    return np.where((places >= 0) & (places < size), places, -1)


def pad(x, pairs, padding):
    for axis, (low, high) in enumerate(pairs, start=1):
        index = source(x.shape[axis], low, high, padding)
        x = np.concatenate([x, np.zeros_like(np.take(x, [0], axis))], axis)  # the last one is the zero
        x = np.take(x, index, axis)
    return x


def unpad(y, sizes, pairs, padding):
    """The transpose of ``pad``: each place goes back to where its value came from."""
    for axis, (size, (low, high)) in enumerate(zip(sizes, pairs, strict=True), start=1):
        index = source(size, low, high, padding)
        moved = np.moveaxis(y, axis, 0)
        result = np.zeros((size, *moved.shape[1:]))
        for place, origin in enumerate(index):
            if origin >= 0:
                result[origin] += moved[place]
        y = np.moveaxis(result, 0, axis)
    return y


def windows(out, kernel_window, strides, dilation):
    """Each output position, with the slices of the padded input that its window sees."""
    for position in np.ndindex(*out):
        yield (
            position,
            tuple(
                slice(i * s, i * s + d * (k - 1) + 1, d)
                for i, s, d, k in zip(position, strides, dilation, kernel_window, strict=True)
            ),
        )


def blocks(channels, groups):
    size = channels // groups
    return [slice(g * size, (g + 1) * size) for g in range(groups)]


def conv(x, kernel, bias=None, *, strides, padding, dilation, groups):
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    *window, _, c_out = kernel.shape
    rank = len(window)
    spans = span(window, dilation)
    padded = pad(x, pads(padding, x.shape[1:-1], spans, strides), padding)
    out = [(n - k) // s + 1 for n, k, s in zip(padded.shape[1:-1], spans, strides, strict=True)]
    y = np.zeros((x.shape[0], *out, c_out))
    for position, place in windows(out, window, strides, dilation):
        for i, o in zip(blocks(x.shape[-1], groups), blocks(c_out, groups), strict=True):
            patch = padded[(slice(None), *place, i)]
            y[(slice(None), *position, o)] = np.tensordot(patch, kernel[..., o], rank + 1)
    return y if bias is None else y + np.asarray(bias, np.float64)


def conv_gradients(x, kernel, cotangent, *, strides, padding, dilation, groups):
    """The gradients of Σ conv(x, kernel, bias) · cotangent for x, kernel and bias."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    *window, _, c_out = kernel.shape
    spans = span(window, dilation)
    pairs = pads(padding, x.shape[1:-1], spans, strides)
    padded = pad(x, pairs, padding)
    padded_gradient, kernel_gradient = np.zeros_like(padded), np.zeros_like(kernel)
    for position, place in windows(cotangent.shape[1:-1], window, strides, dilation):
        for i, o in zip(blocks(x.shape[-1], groups), blocks(c_out, groups), strict=True):
            g = cotangent[(slice(None), *position, o)]
            patch = padded[(slice(None), *place, i)]
            kernel_gradient[..., o] += np.tensordot(patch, g, ((0,), (0,)))
            padded_gradient[(slice(None), *place, i)] += np.tensordot(g, kernel[..., o], ((1,), (-1,)))
    gradient = unpad(padded_gradient, x.shape[1:-1], pairs, padding)
    return gradient, kernel_gradient, cotangent.sum(tuple(range(cotangent.ndim - 1)))
