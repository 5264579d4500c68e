"""Batch and layer normalisation: sums over rows by BLAS, the rest by in-place steps over blocks that stay in cache.

Channels are the last axis, all others are rows. Short rows are slow to broadcast along, so the kernels work on
a "wide" view of k rows side by side, with the vectors of channels repeated k times.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .blas import divisor
from .memory import empty

WIDTH = 1024  # entries of a wide row, about
BLOCK = 1 << 21  # bytes
CHAIN = 256  # rows summed in the array's own dtype before the sum moves to float64


def column_sums(x: np.ndarray) -> np.ndarray:
    """The sum over all axes but the last: (..., C) -> (C,)."""
    return _sums(_wide(x), x.shape[-1]).astype(x.dtype)


def add_channels(y: np.ndarray, bias: np.ndarray) -> None:
    """A contiguous y (..., W, C) += bias (C,), along rows of W C: short rows are slow to broadcast along."""
    rows = y.reshape(*y.shape[:-2], -1)
    rows += _repeat(bias, y.shape[-2])


def batch_stats(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and (biased) variance over all axes but the last, float32 for float16: (..., C) -> (C,), (C,).

    At least one row.

    The sums of x and x^2 give E[x^2] - mean^2, which multiplies rounding errors by 1 + mean^2 / variance: where that is
    more than 17 for any channel, a second pass sums (x - mean)^2.
    """
    wide = _wide(x)
    channels, n = x.shape[-1], x.size // x.shape[-1]
    mean = _sums(wide, channels) / n
    var = _sums(wide, channels, wide) / n - mean * mean
    if not (mean * mean <= 16 * var).all():  # not: a NaN takes the careful way too
        shift = _repeat(mean.astype(x.dtype), wide.shape[1] // channels)
        d = np.subtract(wide, shift, out=empty(wide.shape, x.dtype))
        var = _sums(d, channels, d) / n
    dtype = _at_least_float32(x.dtype)
    return mean.astype(dtype), var.astype(dtype)


def batch_norm(
    x: np.ndarray,
    mean: np.ndarray,
    inv_std: np.ndarray,
    scale: np.ndarray | None,
    bias: np.ndarray | None,
) -> np.ndarray:
    """scale (x - mean) inv_std + bias, x (..., C) and the others (C,), as one product and one sum: a x + b."""
    a = inv_std if scale is None else inv_std * scale
    b = -mean * a if bias is None else bias - mean * a
    wide = _wide(x)
    y = empty(wide.shape, x.dtype)
    k = wide.shape[1] // len(a)
    a, b = _repeat(a, k), _repeat(b, k)
    for block in _blocks(wide):
        np.multiply(wide[block], a, out=y[block])
        y[block] += b
    return y.reshape(x.shape)


def batch_norm_grad(
    g: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    inv_std: np.ndarray,
    scale: np.ndarray | None,
    need_x: bool = True,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Gradients of batch_norm at the batch's own mean and inv_std: (x's (..., C) if needed, scale's (C,), bias's (C,)).

    With h = (x - mean) inv_std, y = scale h + bias and n rows:
        g_bias = sum g,   g_scale = sum g h = inv_std (sum g x - mean sum g),
        gx = scale inv_std (g - g_bias / n - h g_scale / n),   as mean and inv_std depend on x,
           = a (g + r x + s),   r = -inv_std g_scale / n,   s = -g_bias / n - r mean.
    Where the mean is large beside the deviation, x - mean takes the place of x, and 0 that of the mean.
    """
    if (mean * mean * inv_std * inv_std > 16).any():
        x, mean = x - mean, np.zeros_like(mean)
    wide, wide_g = _wide(x), _wide(g)
    channels, n = x.shape[-1], x.size // x.shape[-1]
    g_bias = _sums(wide_g, channels)
    g_scale = inv_std * (_sums(wide_g, channels, wide) - mean * g_bias)
    r = -inv_std * g_scale / n
    s = -g_bias / n - r * mean
    if not need_x:
        return None, g_scale.astype(x.dtype), g_bias.astype(x.dtype)
    a = inv_std if scale is None else inv_std * scale
    dtype = _at_least_float32(x.dtype)
    a, r, s = (_repeat(v.astype(dtype), wide.shape[1] // channels) for v in (a, r, s))
    gx = empty(wide.shape, x.dtype)
    for block in _blocks(wide):
        out = gx[block]
        np.multiply(wide[block], r, out=out)
        out += s
        out += wide_g[block]
        out *= a
    return gx.reshape(x.shape), g_scale.astype(x.dtype), g_bias.astype(x.dtype)


def layer_norm(x: np.ndarray, eps: float) -> np.ndarray:
    """(x - mean) / sqrt(variance + eps), both of each row of the last axis: (..., C) -> (..., C)."""
    y = np.subtract(x, x.mean(-1, keepdims=True), dtype=_at_least_float32(x.dtype))
    var = np.einsum("...c,...c->...", y, y)[..., None] / x.shape[-1]
    y *= 1 / np.sqrt(var + eps)
    return y.astype(x.dtype, copy=False)


def _wide(x: np.ndarray) -> np.ndarray:
    """(..., C) as (rows / k, k C), k the largest divisor of the rows that `WIDTH` suggests."""
    channels = x.shape[-1]
    k = math.gcd(x.size // channels, max(1, WIDTH // channels))
    return np.ascontiguousarray(x).reshape(-1, k * channels)


def _repeat(v: np.ndarray, k: int) -> np.ndarray:
    """k copies of v in a row: np.tile in a fifth of its time."""
    out = np.empty((k, len(v)), v.dtype)
    out[...] = v
    return out.reshape(-1)


def _sums(wide: np.ndarray, channels: int, factor: np.ndarray | None = None) -> np.ndarray:
    """The columns of a wide view, or of its product with another, summed to channels, in float64: (C,).

    Up to CHAIN rows at a time are summed in the array's own dtype: by BLAS, several times faster than np.sum(axis=0),
    or in one pass by einsum, without an array of products.
    """
    length = divisor(len(wide), CHAIN)
    a = wide.reshape(-1, length, wide.shape[1]).astype(_at_least_float32(wide.dtype), copy=False)
    sums = (
        np.ones(length, a.dtype) @ a
        if factor is None
        else np.einsum("bnc,bnc->bc", a, factor.reshape(a.shape), dtype=a.dtype)
    )
    return sums.reshape(-1, channels).sum(0, dtype=np.float64)


def _at_least_float32(dtype: np.dtype) -> np.dtype:
    """float16 has too few digits, and too small a largest number, to sum in."""
    return np.result_type(dtype, np.float32)


def _blocks(wide: np.ndarray) -> Iterator[slice]:
    step = max(1, BLOCK // (wide.shape[1] * wide.itemsize))
    return (slice(i, i + step) for i in range(0, len(wide), step))
