"""Pooling over the two spatial axes of (N, H, W, C)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels import pool as kernel
from ..kernels.window import NO_PADDING, Pair
from ..modes import records
from ..primitive import primitive
from ..tensor import Tensor
from .window import PaddingLike, PairLike, check_fits, check_map, padding_pairs, pair

__all__ = ["avg_pool", "max_pool"]


def max_pool(
    x: Any, window: PairLike, *, stride: PairLike | None = None, padding: PaddingLike = 0, ceil_mode: bool = False
) -> Tensor:
    """The largest value in each window: x (N, H, W, C) -> (N, H', W', C).

    H' = floor((H + pads - window) / stride) + 1, and W' likewise. If several entries of a window have the largest
    value, the first of them, row by row, gets all of the gradient. If a window has a NaN, its value is NaN, and its
    gradient goes to its first entry in the map.

    Args:
        window, stride: an int or a pair (vertical, horizontal). The stride is the window's size if it is not given.
        padding: as `conv2d` takes it, smaller than the window. Padding never is the maximum.
        ceil_mode: H' is rounded up, so that the rest of the map at the bottom and at the right has windows too, of what
            is left of it. No window begins beyond the map.

    Raises:
        ValueError: x is not floating, has not the axes (N, H, W, C) or has no pixels; the window is larger than the
            padded map; or padding is as large as the window, so that a window could hold nothing else.
    """
    return _max_pool(x, **_geometry("max_pool", x, window, stride, padding, ceil_mode), indexed=records(x))


@primitive
def _max_pool(x, *, window, stride=(1, 1), padding=NO_PADDING, indexed=True):
    return kernel.max_pool(x, window, stride, padding, indexed)


@_max_pool.vjp
def _(g, _y, _x, *, indexed=True, saved, **geometry):
    """max_pool_scatter(g): each entry of g goes to the maximum of its window"""
    return _max_pool_scatter(g, index=saved, size=_x.shape[1:3], **geometry)  # `saved`: where each maximum is


@primitive
def _max_pool_scatter(g, *, index, size, window, stride=(1, 1), padding=NO_PADDING):
    """Add each g where its window has the maximum. This is linear in g, and `max_pool_gather` is its adjoint."""
    return kernel.max_pool_scatter(g, index, size, window, stride, padding)


@_max_pool_scatter.vjp
def _(t, _y, _g, *, index, size, **geometry):
    """max_pool_gather(t)"""
    return _max_pool_gather(t, index=index, **geometry)


@primitive
def _max_pool_gather(t, *, index, window, stride=(1, 1), padding=NO_PADDING):
    """The value of t where each window has its maximum."""
    return kernel.max_pool_gather(t, index, window, stride, padding)


@_max_pool_gather.vjp
def _(g, _y, _t, *, index, **geometry):
    """max_pool_scatter(g)"""
    return _max_pool_scatter(g, index=index, size=_t.shape[1:3], **geometry)


def avg_pool(
    x: Any,
    window: PairLike,
    *,
    stride: PairLike | None = None,
    padding: PaddingLike = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window: x (N, H, W, C) -> (N, H', W', C).

    The other arguments and errors are those of `max_pool`. With a window of the size of the map this is global average
    pooling.

    Args:
        count_include_pad: padding counts as zeros. If it is false, the mean is that of the pixels of the map. What
            `ceil_mode` adds to the last windows never counts.
    """
    geometry = _geometry("avg_pool", x, window, stride, padding, ceil_mode)
    y = _avg_pool(x, **geometry)
    size = (x.shape[1], x.shape[2])
    given = padding_pairs("avg_pool", padding, size, geometry["window"], geometry["stride"])
    if given == geometry["padding"] and (count_include_pad or given == NO_PADDING):
        return y
    counted = np.zeros((1, *(n + sum(p) for n, p in zip(size, geometry["padding"], strict=True)), 1))
    (top, _), (left, _) = geometry["padding"]
    if count_include_pad:
        counted[:, : size[0] + sum(given[0]), : size[1] + sum(given[1])] = 1
    else:
        counted[:, top : top + size[0], left : left + size[1]] = 1
    share = kernel.avg_pool(counted, geometry["window"], geometry["stride"], NO_PADDING)
    return y * (1 / share).astype(x.dtype)


@primitive
def _avg_pool(x, *, window, stride=(1, 1), padding=NO_PADDING):
    """The mean of each window of kh x kw entries, with padding as zeros: x (N, H, W, C) -> (N, H', W', C)."""
    return kernel.avg_pool(x, window, stride, padding)


@_avg_pool.vjp
def _(g, _y, _x, **geometry):
    """avg_pool_adjoint(g): each entry of g / (kh kw) goes to all entries of its window"""
    return _avg_pool_adjoint(g, size=_x.shape[1:3], **geometry)


@primitive
def _avg_pool_adjoint(g, *, size, window, stride=(1, 1), padding=NO_PADDING):
    """Add each g / (kh kw) to all entries of its window."""
    return kernel.avg_pool_adjoint(g, size, window, stride, padding)


@_avg_pool_adjoint.vjp
def _(t, _y, _g, *, size, **geometry):
    """avg_pool(t)"""
    return _avg_pool(t, **geometry)


def _geometry(name: str, x: Any, window: Any, stride: Any, padding: Any, ceil_mode: bool) -> dict[str, Any]:
    """The options of pooling as its kernels take them, checked."""
    check_map(name, x)
    window = pair(name, "window", window)
    stride = window if stride is None else pair(name, "stride", stride)
    size = (x.shape[1], x.shape[2])
    if 0 in size:
        raise ValueError(f"{name}: x has no pixels, shape {tuple(x.shape)}")
    padding = padding_pairs(name, padding, size, window, stride)
    check_fits(name, size, window, stride, padding)
    if any(max(p) >= k for p, k in zip(padding, window, strict=True)):
        raise ValueError(f"{name}: padding {padding} should be smaller than the window {window}")
    if ceil_mode:
        down, across = (_rounded_up(*axis) for axis in zip(size, window, stride, padding, strict=True))
        padding = down, across
    return {"window": window, "stride": stride, "padding": padding}


def _rounded_up(n: int, window: int, stride: int, padding: Pair) -> Pair:
    """The padding of an axis that makes room for a last window of the rest of the map, if there is a rest."""
    before, after = padding
    last = -(-(n + before + after - window) // stride) * stride  # where the last window begins, with the padding before
    if last >= n + before:  # beyond the map
        last -= stride
    return before, max(after, last + window - n - before)
