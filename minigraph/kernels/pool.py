"""Pooling over NHWC maps, and the linear maps that are its gradients.

`window` and `stride` are pairs, `padding` is `((top, bottom), (left, right))`. There is an output pixel (p, q) for each
window that fits the padded map. For one position (i, j) in the window, numbered k = i * kw + j, the entries that all
windows have there are a strided view of the map. So a kernel is a loop over the kh * kw positions, and each step of it
is one ufunc on whole views: neither windows nor padding are copied. Where windows tile the map, all positions together
are one view. The batch is taken in blocks of images that stay in the second- or third-level cache from one step to the
next.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from .memory import empty
from .precision import widened
from .special import gate
from .window import NO_PADDING, Padding, Pair, Shape, output_size

# For each position in the window: an index of output pixels, and an index of the map's entries that they have there.
Places = list[tuple[tuple[slice, ...], tuple[slice, ...]]]

BLOCK_BYTES = 1 << 22  # of the map; with smaller blocks, threads wait more often for Python's global lock


def max_pool(
    x: np.ndarray, window: Pair, stride: Pair, padding: Padding, indexed: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """(y, index): the largest value in each window and, if `indexed`, where it is, else None.

    x (N, H, W, C) -> y and index (N, H', W', C). Padding counts as -inf and never is the maximum. If the window has a
    NaN, that is the maximum. The index is the number k of the position in the window, as one byte if the window has at
    most 256. If several positions have the maximum, it is the first of them; in a window with a NaN it is the first
    position that lies in the map.
    """
    y = empty(_output_shape(x.shape, window, stride, padding), x.dtype)
    places = _places((x.shape[1], x.shape[2]), window, stride, padding)
    padded = padding != NO_PADDING
    index = empty(y.shape, np.min_scalar_type(len(places) - 1)) if indexed else None
    for n in _blocks(x):
        xn, yn = x[n], y[n]
        if padded:
            yn.fill(-np.inf)
        else:  # take the first two positions together, which saves a pass; a 1x1 window has its one position twice
            _, first = places[0]
            _, second = places[min(1, len(places) - 1)]
            np.maximum(xn[first], xn[second], out=yn)
        for out, at in places if padded else places[2:]:
            np.maximum(yn[out], xn[at], out=yn[out])
        if index is not None:
            _find(xn, yn, places, index[n], padded)
    return y, index


def _find(x: np.ndarray, y: np.ndarray, places: Places, index: np.ndarray, padded: bool) -> None:
    """index[...] = the position of each maximum y in its window.

    It is the number of positions before the first one that has the maximum. Let l_k be 1 if position k is below the
    maximum, as padding is, and else 0. Then the index is l_0 + l_0 l_1 + l_0 l_1 l_2 + ..., up to the last position but
    one, and Horner's scheme computes it from the end: l_0 (1 + l_1 (1 + l_2)).
    """
    if padded or len(places) == 1:
        index.fill(len(places) > 1)
    for k, (out, at) in enumerate(reversed(places[:-1])):
        below = np.less(x[at], y[out], out=empty(y[out].shape, np.bool_))
        if k:
            index += 1
            index[out] *= below.view(np.uint8)
        else:
            index[out] = below


def max_pool_scatter(
    g: np.ndarray, index: np.ndarray, size: Pair, window: Pair, stride: Pair, padding: Padding
) -> np.ndarray:
    """The gradient of max_pool: g (N, H', W', C) -> (N, *size, C).

    Each entry of g is added where its window has the maximum, according to `index`.
    """
    gx = _empty_or_zeros(g, size, window, stride, padding)
    if _tiles(window, stride, padding):  # then one view has all positions
        (kh, kw), (N, Ho, Wo, C) = window, g.shape
        inside = gx[:, : Ho * kh, : Wo * kw]
        targets = inside.reshape(N, Ho, kh, Wo, kw, C).transpose(2, 4, 0, 1, 3, 5)  # kh kw N Ho Wo C
        positions = np.arange(kh * kw, dtype=index.dtype).reshape(kh, kw, 1, 1, 1, 1)
        for n in _blocks(gx):
            mask = np.equal(index[n], positions, out=empty((kh, kw, *index[n].shape), np.bool_))
            gate(g[n], mask, out=targets[:, :, n])
        return gx
    dtype, g, gx = gx.dtype, widened(g), widened(gx)
    places = _places(size, window, stride, padding)
    for n in _blocks(gx):
        for k, (out, at) in enumerate(places):
            target = gx[n][at]
            target += gate(g[n][out], index[n][out] == k)
    return gx.astype(dtype, copy=False)


def max_pool_gather(t: np.ndarray, index: np.ndarray, window: Pair, stride: Pair, padding: Padding) -> np.ndarray:
    """The adjoint of max_pool_scatter: the values of t at the maxima, t (N, H, W, C) -> (N, H', W', C)."""
    y = np.zeros(index.shape, t.dtype)
    places = _places((t.shape[1], t.shape[2]), window, stride, padding)
    for k, (out, at) in enumerate(places):
        np.copyto(y[out], t[at], where=index[out] == k)
    return y


def avg_pool(x: np.ndarray, window: Pair, stride: Pair, padding: Padding) -> np.ndarray:
    """The mean of each window, x (N, H, W, C) -> (N, H', W', C). Padding counts as zeros: the divisor is kh * kw."""
    y = widened(np.zeros(_output_shape(x.shape, window, stride, padding), x.dtype))
    places = _places((x.shape[1], x.shape[2]), window, stride, padding)
    for n in _blocks(x):
        for out, at in places:
            target = y[n][out]
            target += x[n][at]
        y[n] *= 1 / len(places)
    return y.astype(x.dtype, copy=False)


def avg_pool_adjoint(g: np.ndarray, size: Pair, window: Pair, stride: Pair, padding: Padding) -> np.ndarray:
    """The gradient of avg_pool: g (N, H', W', C) -> (N, *size, C).

    Each entry of g, divided by kh * kw, is added everywhere in its window.
    """
    places = _places(size, window, stride, padding)
    dtype, g = g.dtype, widened(g)
    gx = _empty_or_zeros(g, size, window, stride, padding)
    tiles = _tiles(window, stride, padding)
    share = g * np.asarray(1 / len(places), g.dtype)
    for n in _blocks(gx):
        for out, at in places:
            target = gx[n][at]
            if tiles:
                target[...] = share[n][out]
            else:
                target += share[n][out]
    return gx.astype(dtype, copy=False)


def _output_shape(shape: Shape, window: Pair, stride: Pair, padding: Padding) -> Shape:
    return (shape[0], *output_size((shape[1], shape[2]), window, stride, padding), shape[3])


@lru_cache(maxsize=256)
def _places(size: Pair, window: Pair, stride: Pair, padding: Padding) -> Places:
    """For each position in the window, row by row: the output pixels that have it inside the map, and where it is."""
    outputs = output_size(size, window, stride, padding)
    down, across = (_axis(*args) for args in zip(size, window, stride, padding, outputs, strict=True))
    every = slice(None)
    return [((every, p, q), (every, y, x)) for p, y in down for q, x in across]


def _axis(size: int, window: int, stride: int, padding: Pair, outputs: int) -> list[tuple[slice, slice]]:
    """`_places` of one axis."""
    pairs = []
    for i in range(window):
        shift = i - padding[0]  # output p has this position at p * stride + shift, if that is from 0 to size - 1
        first = max(0, -(shift // stride))  # ceil(-shift / stride)
        stop = min(outputs, (size - 1 - shift) // stride + 1)
        stop = max(first, stop)
        start = first * stride + shift
        pairs.append((slice(first, stop), slice(start, start + (stop - first) * stride, stride)))
    return pairs


def _tiles(window: Pair, stride: Pair, padding: Padding) -> bool:
    """Whether windows tile the map: they neither overlap, nor leave gaps between them, nor reach into padding.

    Then each entry of the map is in one window at most, and a gradient is written once instead of summed.
    """
    return window == stride and padding == NO_PADDING


def _empty_or_zeros(g: np.ndarray, size: Pair, window: Pair, stride: Pair, padding: Padding) -> np.ndarray:
    """An array for the gradient of the map, (N, *size, C), with zeros where nothing else will write.

    Where windows tile the map, these are the rows and columns beyond the last window; otherwise it is all of the array.
    """
    shape = (g.shape[0], *size, g.shape[3])
    if not _tiles(window, stride, padding):
        return np.zeros(shape, g.dtype)
    gx = empty(shape, g.dtype)
    gx[:, g.shape[1] * stride[0] :] = 0
    gx[:, :, g.shape[2] * stride[1] :] = 0
    return gx


def _blocks(x: np.ndarray) -> Iterator[slice]:
    """Slices of the batch, each of about BLOCK_BYTES."""
    step = max(1, BLOCK_BYTES * len(x) // max(1, x.nbytes))
    return (slice(n, n + step) for n in range(0, len(x), step))
