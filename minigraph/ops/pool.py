"""Pooling over the two spatial axes of (N, H, W, C)."""

from __future__ import annotations

from typing import Any

from ..kernels import pool as kernel
from ..modes import records
from ..primitive import primitive
from .window import check_map, output_size, padding_pairs, pair

__all__ = ["avg_pool", "max_pool"]


def max_pool(x: Any, window: Any, *, stride: Any = None, padding: Any = 0) -> Any:
    """The largest value in each window: (N, H, W, C) -> (N, H', W', C), H' = floor((H + pads - window) / stride) + 1.

    Args:
        window, stride: an int or a pair; the stride is the window's size by default.
        padding: as conv2d takes it. Padding never is the maximum.

    At ties the first maximum, row by row, has the whole gradient. A NaN in the window wins, and the window's gradient
    goes to its first place in the map.

    Raises:
        ValueError: x is no floating (N, H, W, C) array or a map without pixels, the window is larger than the padded
            map, or padding reaches beyond the window, so that a window would hold nothing else.
    """
    return _max_pool(x, **_geometry("max_pool", x, window, stride, padding), indexed=records(x))


@primitive
def _max_pool(x, *, window, stride, padding, indexed):
    return kernel.max_pool(x, window, stride, padding, indexed)


@_max_pool.vjp
def _(g, _y, _x, *, window, stride, padding, indexed, saved):  # saved: where each maximum was
    return _max_pool_scatter(g, index=saved, size=_x.shape[1:3], window=window, stride=stride, padding=padding)


@primitive
def _max_pool_scatter(g, *, index, size, window, stride, padding):
    """Each g to the place its window's maximum came from: linear in g, so a gather is its adjoint and the reverse."""
    return kernel.max_pool_scatter(g, index, size, window, stride, padding)


@_max_pool_scatter.vjp
def _(t, _y, _g, *, index, size, window, stride, padding):
    return _max_pool_gather(t, index=index, window=window, stride=stride, padding=padding)


@primitive
def _max_pool_gather(t, *, index, window, stride, padding):
    """What t has at the place each window's maximum came from."""
    return kernel.max_pool_gather(t, index, window, stride, padding)


@_max_pool_gather.vjp
def _(g, _y, _t, *, index, window, stride, padding):
    return _max_pool_scatter(g, index=index, size=_t.shape[1:3], window=window, stride=stride, padding=padding)


def avg_pool(x: Any, window: Any, *, stride: Any = None, padding: Any = 0) -> Any:
    """The mean of each window, padding counted as zeros: (N, H, W, C) -> (N, H', W', C).

    Arguments and errors are those of `max_pool`; a window the size of the map is global average pooling.
    """
    return _avg_pool(x, **_geometry("avg_pool", x, window, stride, padding))


@primitive
def _avg_pool(x, *, window, stride, padding):
    return kernel.avg_pool(x, window, stride, padding)


@_avg_pool.vjp
def _(g, _y, _x, **geometry):
    return _avg_pool_adjoint(g, size=_x.shape[1:3], **geometry)


@primitive
def _avg_pool_adjoint(g, *, size, window, stride, padding):
    """g / (kh kw) to every place of its window."""
    return kernel.avg_pool_adjoint(g, size, window, stride, padding)


@_avg_pool_adjoint.vjp
def _(t, _y, _g, *, size, **geometry):
    return _avg_pool(t, **geometry)


def _geometry(name: str, x: Any, window: Any, stride: Any, padding: Any) -> dict[str, Any]:
    check_map(name, x)
    window = pair(name, "window", window)
    stride = window if stride is None else pair(name, "stride", stride)
    size = (x.shape[1], x.shape[2])
    if 0 in size:
        raise ValueError(f"{name}: x has no pixels, shape {tuple(x.shape)}")
    padding = padding_pairs(name, padding, size, window, stride)
    output_size(name, size, window, stride, padding)
    if any(max(p) >= k for p, k in zip(padding, window, strict=True)):
        raise ValueError(f"{name}: padding {padding} should be smaller than the window {window}")
    return {"window": window, "stride": stride, "padding": padding}
