"""Pooling over NHWC maps, and the linear maps that its gradients are.

`window` and `stride` are pairs, `padding` is `((top, bottom), (left, right))`; there is an output for each window that
fits the padded map. Position (i, j) of all windows, numbered k = i * kw + j, is a strided view of the map, so a kernel
is a loop over kh * kw positions, each step one ufunc over channel vectors: windows are not copied, nor is the map
padded. Where windows tile the map, all positions together are another view of it. The batch is walked in blocks that
stay in cache, the second or third level, between the steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from .memory import empty
from .special import gate

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
Places = list[tuple[tuple[slice, ...], tuple[slice, ...]]]

BLOCK = 1 << 22  # bytes of map in a block: shorter ones make threads wait for the interpreter more often


def max_pool(
    x: np.ndarray, window: Pair, stride: Pair, padding: Padding, indexed: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """Largest value in each window, (N, H, W, C) -> (N, H', W', C), and where it was if `indexed`, otherwise None.

    Padding never wins (it counts as -inf); a NaN in the window does. The index is the position in the window, one byte
    (windows up to 256): at ties the first in row-major order, and in a window with a NaN the first in the map.
    """
    y = empty(_output_shape(x.shape, window, stride, padding), x.dtype)
    places = _places((x.shape[1], x.shape[2]), window, stride, padding)
    index = empty(y.shape, np.min_scalar_type(len(places) - 1)) if indexed else None
    for n in _blocks(x):
        xn, yn = x[n], y[n]
        if _padded(padding):
            yn.fill(-np.inf)
        else:  # the first two positions at once: one pass less (a 1x1 window meets itself)
            _, first = places[0]
            _, second = places[min(1, len(places) - 1)]
            np.maximum(xn[first], xn[second], out=yn)
        for out, at in places if _padded(padding) else places[2:]:
            np.maximum(yn[out], xn[at], out=yn[out])
        if index is not None:
            _find(xn, yn, places, index[n], _padded(padding))
    return y, index


def _find(x: np.ndarray, y: np.ndarray, places: Places, index: np.ndarray, padded: bool) -> None:
    """index[...] = the position of each maximum y: how many positions lose before the first that does not.

    In Horner's form, l0 (1 + l1 (1 + l2)), where l_k says that position k is below the maximum (padding is).
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
    """Gradient of max_pool: each g whole to its window's maximum, overlaps add. (N, H', W', C) -> (N, *size, C)."""
    gx = _empty_or_zeros(g, size, window, stride, padding)
    if _tiles(window, stride, padding):  # all positions at once
        (kh, kw), (N, Ho, Wo, C) = window, g.shape
        inside = gx[:, : Ho * kh, : Wo * kw]
        targets = inside.reshape(N, Ho, kh, Wo, kw, C).transpose(2, 4, 0, 1, 3, 5)  # kh kw N Ho Wo C
        positions = np.arange(kh * kw, dtype=index.dtype).reshape(kh, kw, 1, 1, 1, 1)
        for n in _blocks(gx):
            mask = np.equal(index[n], positions, out=empty((kh, kw, *index[n].shape), np.bool_))
            gate(g[n], mask, out=targets[:, :, n])
        return gx
    places = _places(size, window, stride, padding)
    for n in _blocks(gx):
        for k, (out, at) in enumerate(places):
            target = gx[n][at]
            target += gate(g[n][out], index[n][out] == k)
    return gx


def max_pool_gather(t: np.ndarray, index: np.ndarray, window: Pair, stride: Pair, padding: Padding) -> np.ndarray:
    """The values of t at the maxima, (N, H, W, C) -> (N, H', W', C): the adjoint of max_pool_scatter."""
    y = np.zeros(index.shape, t.dtype)
    places = _places((t.shape[1], t.shape[2]), window, stride, padding)
    for k, (out, at) in enumerate(places):
        np.copyto(y[out], t[at], where=index[out] == k)
    return y


def avg_pool(x: np.ndarray, window: Pair, stride: Pair, padding: Padding) -> np.ndarray:
    """Mean of each window, (N, H, W, C) -> (N, H', W', C). Padding counts, as zeros: always divided by kh * kw."""
    y = np.zeros(_output_shape(x.shape, window, stride, padding), x.dtype)
    places = _places((x.shape[1], x.shape[2]), window, stride, padding)
    for n in _blocks(x):
        for out, at in places:
            target = y[n][out]
            target += x[n][at]
        y[n] *= 1 / len(places)
    return y


def avg_pool_adjoint(g: np.ndarray, size: Pair, window: Pair, stride: Pair, padding: Padding) -> np.ndarray:
    """Gradient of avg_pool: g / (kh * kw) to every place of its window. (N, H', W', C) -> (N, *size, C)."""
    places = _places(size, window, stride, padding)
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
    return gx


def _output_shape(shape: tuple[int, ...], window: Pair, stride: Pair, padding: Padding) -> tuple[int, ...]:
    sizes = (_outputs(*args) for args in zip(shape[1:3], window, stride, padding, strict=True))
    return (shape[0], *sizes, shape[3])


def _outputs(size: int, window: int, stride: int, padding: Pair) -> int:
    return (size + sum(padding) - window) // stride + 1


@lru_cache(maxsize=256)
def _places(size: Pair, window: Pair, stride: Pair, padding: Padding) -> Places:
    """For each window position, row-major: the outputs that have it inside the map, and where in the map it is."""
    rows, columns = (_axis(*args) for args in zip(size, window, stride, padding, strict=True))
    every = slice(None)
    return [((every, o, p), (every, i, j)) for o, i in rows for p, j in columns]


def _axis(size: int, window: int, stride: int, padding: Pair) -> list[tuple[slice, slice]]:
    pairs = []
    for offset in range(window):
        shift = offset - padding[0]  # output o meets the map at o * stride + shift, if 0 <= that < size
        first = max(0, -(shift // stride))  # ceil(-shift / stride)
        stop = min(_outputs(size, window, stride, padding), (size - 1 - shift) // stride + 1)
        stop = max(first, stop)
        start = first * stride + shift
        pairs.append((slice(first, stop), slice(start, start + (stop - first) * stride, stride)))
    return pairs


def _padded(padding: Padding) -> bool:
    return padding != ((0, 0), (0, 0))


def _tiles(window: Pair, stride: Pair, padding: Padding) -> bool:
    """Whether windows neither overlap nor leave gaps nor pass the border: a gradient is written once, not summed."""
    return window == stride and not _padded(padding)


def _empty_or_zeros(g: np.ndarray, size: Pair, window: Pair, stride: Pair, padding: Padding) -> np.ndarray:
    """A gradient of the map: zeros, or only the rows and columns that no window of a tiling reaches."""
    shape = (g.shape[0], *size, g.shape[3])
    if not _tiles(window, stride, padding):
        return np.zeros(shape, g.dtype)
    gx = empty(shape, g.dtype)
    gx[:, g.shape[1] * stride[0] :] = 0
    gx[:, :, g.shape[2] * stride[1] :] = 0
    return gx


def _blocks(x: np.ndarray) -> Iterator[slice]:
    """Slices of the batch, each of about BLOCK bytes."""
    step = max(1, BLOCK * len(x) // max(1, x.nbytes))
    return (slice(n, n + step) for n in range(0, len(x), step))
