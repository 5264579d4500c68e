"""Batch and layer normalisation, and the sums over rows that they need.

Channels are the last axis; all other axes together are the rows. BLAS computes the sums over rows. Everything else is
done in place, on blocks of rows that stay in the cache from one step to the next. NumPy is slow at broadcasting a
vector along short rows, so the kernels look at the array as a "wide" one: k rows side by side count as one row, and a
vector of channels is repeated k times to match. The rows that are left over, fewer than k, are one wide row more.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from .memory import empty
from .precision import widened

WIDE = 1024  # entries that a wide row has at most, unless there are more channels
BLOCK_BYTES = 1 << 21
SUM_ROWS = 256  # this many rows are summed in the array's own dtype, and their sums then in float64


def column_sums(x: np.ndarray) -> np.ndarray:
    """The sum over all axes but the last: (..., C) -> (C,)."""
    rows = x.reshape(-1, x.shape[-1])
    if len(rows) <= SUM_ROWS:  # one call does what `_sums` would do in a quarter of its time
        rows = widened(rows)
        return (np.ones(len(rows), rows.dtype) @ rows).astype(x.dtype, copy=False)
    return _sums(x).astype(x.dtype)


def add_channels(y: np.ndarray, bias: np.ndarray) -> None:
    """y += bias in place, for a contiguous y (..., W, C) and bias (C,). The bias is repeated to rows of W C entries."""
    rows = y.reshape(-1, y.shape[-2] * y.shape[-1])
    rows += _repeat(bias, rows)


def batch_stats(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and (biased) variance over all axes but the last: x (..., C) -> (C,), (C,), in float32 if x is float16.

    x has at least one row. The variance is E[x^2] - mean^2, from the sums of x and x^2. This difference multiplies
    rounding errors by 1 + mean^2 / variance. If that factor is more than 17 in any channel, the variance is computed
    again in a second pass, from d = x - mean, as E[d^2] - E[d]^2: the mean that is subtracted is a rounded one.
    """
    n = x.size // x.shape[-1]
    mean = _sums(x) / n
    var = _sums(x, x) / n - mean * mean
    if not ((mean * mean <= 16 * var) & (var < np.inf)).all():  # with `not` and <=, a NaN goes to the second pass too
        d = empty(x.shape, x.dtype)
        for wide, out in zip(_wide(x), _wide(d), strict=True):
            np.subtract(wide, _repeat(mean.astype(x.dtype), wide), out=out)
        rest = _sums(d) / n
        mean, var = mean.astype(x.dtype) + rest, np.maximum(_sums(d, d) / n - rest * rest, 0)
    dtype = np.result_type(x, np.float32)
    return mean.astype(dtype), var.astype(dtype)


def batch_norm(
    x: np.ndarray,
    mean: np.ndarray,
    inv_std: np.ndarray,
    scale: np.ndarray | None,
    bias: np.ndarray | None,
    *,
    own: bool = True,
) -> np.ndarray:
    """scale (x - mean) inv_std + bias, computed as a x + b; x (..., C), the others (C,) -> (..., C).

    None stands for a scale of 1 or a bias of 0. `own` says that the mean is that of x itself.
    """
    a = inv_std if scale is None else inv_std * scale
    centred, mean = _centred(widened(x), mean, inv_std, own)
    b = -mean * a if bias is None else bias - mean * a
    y = empty(x.shape, centred.dtype)
    for wide, out in zip(_wide(centred), _wide(y), strict=True):
        wide_a, wide_b = _repeat(a, wide), _repeat(b, wide)
        for block in _blocks(wide):
            np.multiply(wide[block], wide_a, out=out[block])
            out[block] += wide_b
    return y.astype(x.dtype, copy=False)


def batch_norm_grad(
    g: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    inv_std: np.ndarray,
    scale: np.ndarray | None,
    need_x: bool = True,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """The gradients of batch_norm, where mean and inv_std are those of the batch itself.

    g and x (..., C), the others (C,) -> (gx (..., C), or None unless `need_x`; g_scale (C,); g_bias (C,)), all in the
    dtype of g, which may be wider than that of x.
    With h = (x - mean) inv_std, y = scale h + bias and n rows:
        g_bias = sum g,   g_scale = sum g h = inv_std (sum g x - mean sum g),
        gx = scale inv_std (g - g_bias / n - h g_scale / n),   as mean and inv_std depend on x,
           = a (g + r x + s),   r = -inv_std g_scale / n,   s = -g_bias / n - r mean.
    x and its mean are those of `_centred`.
    """
    dtype = g.dtype
    g = widened(g)
    x, mean = _centred(widened(x), mean, inv_std, own=True)
    n = x.size // x.shape[-1]
    g_bias = _sums(g)
    g_scale = inv_std * (_sums(g, x) - mean * g_bias)
    r = -inv_std * g_scale / n
    s = -g_bias / n - r * mean
    if not need_x:
        return None, g_scale.astype(dtype), g_bias.astype(dtype)
    a = inv_std if scale is None else inv_std * scale
    gx = empty(x.shape, x.dtype)
    for wide, wide_g, wide_gx in zip(_wide(x), _wide(g), _wide(gx), strict=True):
        wide_a, wide_r, wide_s = (_repeat(v.astype(x.dtype), wide) for v in (a, r, s))
        for block in _blocks(wide):
            out = wide_gx[block]
            np.multiply(wide[block], wide_r, out=out)
            out += wide_s
            out += wide_g[block]
            out *= wide_a
    return gx.astype(dtype, copy=False), g_scale.astype(dtype), g_bias.astype(dtype)


def _centred(x: np.ndarray, mean: np.ndarray, inv_std: np.ndarray, own: bool) -> tuple[np.ndarray, np.ndarray]:
    """x and `mean`. If that is more than 4 standard deviations in any channel, x - mean and 0: a x + b would be a
    difference of two large numbers.

    If the mean is x's own, the mean of x - mean is a rounding of `mean`, and comes back in the place of 0. In float32,
    numbers around 10^6 have a mean that is rounded by up to 0.03.
    """
    if not (np.abs(mean) * inv_std > 4).any():
        return x, mean
    x = x - mean
    if not own:
        return x, np.zeros_like(mean)
    rest = _sums(x) / (x.size // x.shape[-1])
    is_rounding = np.abs(rest) <= np.finfo(mean.dtype).eps * np.abs(mean)
    return x, np.where(is_rounding, rest, 0).astype(mean.dtype)


def layer_norm(x: np.ndarray, eps: float) -> np.ndarray:
    """(x - mean) / sqrt(variance + eps), with the mean and the variance of each row: (..., C) -> (..., C)."""
    wide = widened(x)
    mean = wide.mean(-1, keepdims=True)
    y: np.ndarray = wide - mean
    var = np.einsum("...c,...c->...", y, y)[..., None] / x.shape[-1]
    if (mean * mean > 16 * var).any():  # then the rounding error of the mean, which is still in y, may show in it
        y -= y.mean(-1, keepdims=True)
        var = np.einsum("...c,...c->...", y, y)[..., None] / x.shape[-1]
    y *= 1 / np.sqrt(var + eps)
    return y.astype(x.dtype, copy=False)


def _wide(x: np.ndarray) -> list[np.ndarray]:
    """x (..., C) as wide rows (n, k C), and what is left of it as one (1, r C) with r < k; neither where it is empty.

    They are views of x if x is contiguous.
    """
    rows = np.ascontiguousarray(x).reshape(-1, x.shape[-1])
    k = max(1, WIDE // x.shape[-1])
    whole = len(rows) // k * k
    wide = rows[:whole].reshape(-1, k * x.shape[-1]), rows[whole:].reshape(1, -1)
    return [part for part in wide if part.size]


def _repeat(v: np.ndarray, wide: np.ndarray) -> np.ndarray:
    """Copies of v (C,), one behind the other, to match the wide rows; in a fifth of the time of np.tile."""
    out = np.empty((wide.shape[1] // len(v), len(v)), v.dtype)
    out[...] = v
    return out.reshape(-1)


def _sums(x: np.ndarray, factor: np.ndarray | None = None) -> np.ndarray:
    """The sum over all axes but the last of x (..., C), or of x times `factor`, entry by entry: (C,) in float64.

    At most SUM_ROWS wide rows at a time are summed in the array's own dtype. BLAS does this several times faster than
    np.sum(axis=0). With a factor, einsum does it in one pass, without an array for the products.
    """
    total = np.zeros(x.shape[-1])
    factors = itertools.repeat(None) if factor is None else _wide(factor)
    for wide, f in zip(_wide(x), factors, strict=False):
        whole = len(wide) // SUM_ROWS * SUM_ROWS
        for begin, end, length in ((0, whole, SUM_ROWS), (whole, len(wide), len(wide) - whole)):
            if begin < end:
                a = widened(wide[begin:end]).reshape(-1, length, wide.shape[1])
                sums: np.ndarray = (
                    np.ones(length, a.dtype) @ a
                    if f is None
                    else np.einsum(
                        "bnc,bnc->bc", a, f[begin:end].reshape(a.shape), dtype=a.dtype.newbyteorder("=")
                    )
                )
                total += sums.reshape(-1, len(total)).sum(0, dtype=np.float64)
    return total


def _blocks(wide: np.ndarray) -> Iterator[slice]:
    """Slices of the wide rows, each of about BLOCK_BYTES."""
    step = max(1, BLOCK_BYTES // (wide.shape[1] * wide.itemsize))
    return (slice(i, i + step) for i in range(0, len(wide), step))
