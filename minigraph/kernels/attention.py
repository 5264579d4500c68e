"""Scaled dot-product attention, in blocks of queries, so that its memory grows with the length and not with its square.

    p[i, j] = exp(s[i, j] - l[i]),  s = scale q k^T,  l[i] = log of the sum over j of exp(s[i, j]),  y = p v

The arrays are q (B, L, E), k (B, S, E) and v (B, S, F), one attention for each of B. Only a block of s exists at a
time. The forward returns l, from which the gradient computes the same block again, as FlashAttention does (Dao et al.
2022).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .memory import empty

BLOCK_BYTES = 1 << 21  # of s
ROWS = 128  # at most, of queries in a block; with `causal`, what lies behind the diagonal of a block is wasted


def attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | None, causal: bool, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """(y, l): y (B, L, F) and l (B, L). A query that may attend to nothing has y = 0 and l = inf.

    mask (B, L, S), bools, says which keys a query may attend to; `causal` that no key is later than the query.
    """
    y, l = empty((*q.shape[:2], v.shape[2]), q.dtype), np.empty(q.shape[:2], q.dtype)
    for b, rows, keys in _blocks(q, k, causal):
        s = _scores(q, k, mask, causal, scale, b, rows, keys)
        top = s.max(-1, keepdims=True, initial=-np.inf)
        top[np.isneginf(top)] = 0
        np.exp(np.subtract(s, top, out=s), out=s)
        total = s.sum(-1, keepdims=True)
        alone = total == 0
        total[alone] = 1
        y[b, rows] = np.matmul(s, v[b, keys]) / total
        l[b, rows] = np.where(alone, np.inf, top + np.log(total))[..., 0]
    return y, l


def attention_grads(
    g: np.ndarray,
    y: np.ndarray,
    l: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    mask: np.ndarray | None,
    causal: bool,
    scale: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradients of q, k and v, where g (B, L, F) is that of y.

    dy = dp v + p dv with dp = p (ds - sum of p ds), so g_v = p^T g, and the gradient of s is p (g v^T - sum of g y).
    """
    gq, gk, gv = np.empty_like(q), np.zeros_like(k), np.zeros_like(v)
    inner = (g * y).sum(-1, keepdims=True)
    for b, rows, keys in _blocks(q, k, causal):
        p = _scores(q, k, mask, causal, scale, b, rows, keys)
        np.exp(np.subtract(p, l[b, rows, None], out=p), out=p)
        gv[b, keys] += np.matmul(p.swapaxes(1, 2), g[b, rows])
        gs = np.matmul(g[b, rows], v[b, keys].swapaxes(1, 2))
        gs -= inner[b, rows]
        gs *= p
        gs *= scale
        gq[b, rows] = np.matmul(gs, k[b, keys])
        gk[b, keys] += np.matmul(gs.swapaxes(1, 2), q[b, rows])
    return gq, gk, gv


def _scores(
    q: np.ndarray,
    k: np.ndarray,
    mask: np.ndarray | None,
    causal: bool,
    scale: float,
    b: slice,
    rows: slice,
    keys: slice,
) -> np.ndarray:
    """A block of s, with -inf where a query may not attend."""
    s = np.matmul(q[b, rows] * np.asarray(scale, q.dtype), k[b, keys].swapaxes(1, 2))
    if mask is not None:
        np.copyto(s, -np.inf, where=~mask[b, rows, keys])
    if causal:
        later = np.arange(keys.stop) > np.arange(rows.start, rows.stop)[:, None]
        np.copyto(s, -np.inf, where=later)
    return s


def _blocks(q: np.ndarray, k: np.ndarray, causal: bool) -> Iterator[tuple[slice, slice, slice]]:
    """Which of the B, of the queries and of the keys a block takes."""
    (B, L, _), S = q.shape, k.shape[1]
    height = min(ROWS, max(1, L))
    together = max(1, BLOCK_BYTES // max(1, height * S * q.itemsize))
    for start in range(0, B, together):
        for row in range(0, L, height):
            stop = min(row + height, L)
            yield slice(start, min(start + together, B)), slice(row, stop), slice(0, stop if causal else S)
