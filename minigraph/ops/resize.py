"""Maps brought to a size that is asked for. All but the maximum are linear along each axis: they are two products."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels.window import Pair
from ..tensor import Tensor
from .elementwise import where
from .indexing import take
from .linalg import einsum
from .pool import avg_pool, max_pool
from .reduce import max as max_of
from .window import PairLike, check_map, pair

__all__ = ["adaptive_avg_pool", "adaptive_max_pool", "resize_bilinear"]


def adaptive_avg_pool(x: Any, size: PairLike) -> Tensor:
    """Average pooling to a size that is asked for: x (N, H, W, C) -> (N, *size, C).

    Of p outputs down, the i-th is the mean of the rows from floor(i H / p) to ceil((i + 1) H / p) - 1, and so across,
    as in PyTorch. Where the size divides that of the map it is `avg_pool`, elsewhere a product with a matrix along each
    axis. Raises ValueError for an x that is no map or has no pixels, and for a size that is not an int or a pair of
    ints, at least 1.
    """
    size, window = _sizes("adaptive_avg_pool", x, size)
    if window is not None:
        return avg_pool(x, window)
    return _along_both(x, *(_means(n, p) for n, p in zip(x.shape[1:3], size, strict=True)))


def adaptive_max_pool(x: Any, size: PairLike) -> Tensor:
    """The largest value in each window of `adaptive_avg_pool`: x (N, H, W, C) -> (N, *size, C).

    Where the size divides that of the map it is `max_pool`. Elsewhere it is `max` along one axis and then the other, so
    equal maxima share the gradient. The errors are those of `adaptive_avg_pool`.
    """
    size, window = _sizes("adaptive_max_pool", x, size)
    if window is not None:
        return max_pool(x, window)
    for axis, p in enumerate(size, 1):
        starts, stops = _windows(x.shape[axis], p)
        rows = starts[:, None] + np.arange((stops - starts).max())
        inside = (rows < stops[:, None]).reshape(*rows.shape, *(1,) * (x.ndim - axis - 1))
        x = max_of(where(inside, take(x, np.minimum(rows, x.shape[axis] - 1), axis), -np.inf), axis + 1)
    return x


def resize_bilinear(x: Any, size: PairLike) -> Tensor:
    """A map at another size, each pixel between its four neighbours: x (N, H, W, C) -> (N, *size, C).

    The centre of output row i lies at row (i + 1/2) H / p - 1/2 of the map, for p rows, and beyond the outermost
    centres the map goes on as it ends; so also across. It is PyTorch's interpolate with mode="bilinear" and
    align_corners=False. There is no filter: to make a map much smaller, `adaptive_avg_pool` is better. It is a product
    with a matrix along each axis. The errors are those of `adaptive_avg_pool`.
    """
    size, _ = _sizes("resize_bilinear", x, size)
    return _along_both(x, *(_between(n, p) for n, p in zip(x.shape[1:3], size, strict=True)))


def _sizes(name: str, x: Any, size: Any) -> tuple[Pair, Pair | None]:
    """The size as a pair, and the window that tiles the map if there is one."""
    check_map(name, x)
    (h, w), (p, q) = x.shape[1:3], pair(name, "size", size)
    if 0 in (h, w):
        raise ValueError(f"{name}: x has no pixels, shape {tuple(x.shape)}")
    return (p, q), (h // p, w // q) if h % p == w % q == 0 else None


def _along_both(x: Any, down: np.ndarray, across: np.ndarray) -> Tensor:
    return einsum("ph,qw,nhwc->npqc", down.astype(x.dtype), across.astype(x.dtype), x)


def _windows(n: int, p: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each of p windows begins and ends, of n places."""
    i = np.arange(p)
    return i * n // p, -(-(i + 1) * n // p)


def _means(n: int, p: int) -> np.ndarray:
    """(p, n): the weights of n places in each of p means."""
    starts, stops = _windows(n, p)
    places = np.arange(n)
    inside = (places >= starts[:, None]) & (places < stops[:, None])
    return inside / (stops - starts)[:, None]


def _between(n: int, p: int) -> np.ndarray:
    """(p, n): the weights of the two nearest of n places for each of p, in proportion."""
    at = np.clip((np.arange(p) + 0.5) * (n / p) - 0.5, 0, n - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(n)))
