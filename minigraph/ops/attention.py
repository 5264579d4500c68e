"""Attention, and the table of embeddings before it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..kernels import attention as kernel
from ..kernels.precision import widened
from ..primitive import primitive
from ..tensor import ArrayLike, Tensor, value
from .elementwise import as_array, where
from .indexing import take
from .linalg import swap
from .loss import softmax
from .shape import broadcast_to

__all__ = ["embedding", "scaled_dot_product_attention"]


def scaled_dot_product_attention(
    q: Any, k: Any, v: Any, *, mask: Any = None, causal: bool = False, scale: float | None = None
) -> Tensor:
    """softmax(scale q k^T) v (Vaswani et al. 2017): q (..., L, E), k (..., S, E), v (..., S, F) -> (..., L, F).

    The leading axes, of batches and heads, broadcast. The matrix of L x S weights is never there as a whole, so that
    memory grows with L + S; the gradient computes its blocks again. Derivatives of second order have the whole matrix.

    Args:
        mask: bools that broadcast to (..., L, S), true where a query may attend to a key. The result of a query that
            may attend to nothing is 0.
        causal: a query may attend to the keys up to its own place; L and S are then the same.
        scale: by default 1 / sqrt(E).

    Raises ValueError for arrays that are not floating or shapes that do not fit.
    """
    name = "scaled_dot_product_attention"
    q, k, v = (as_array(x) for x in (q, k, v))
    for what, x in (("q", q), ("k", k), ("v", v)):
        if x.ndim < 2 or x.dtype.kind != "f":
            raise ValueError(f"{name}: {what} should be floating, with two axes or more, got {x.dtype} {x.shape}")
    shapes = f"q {q.shape}, k {k.shape}, v {v.shape}"
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2] or not q.shape[-1]:
        raise ValueError(f"{name}: expected q (..., L, E), k (..., S, E) and v (..., S, F), got {shapes}")
    if causal and q.shape[-2] != k.shape[-2]:
        raise ValueError(f"{name}: causal attention needs as many keys as queries, got {shapes}")
    full = (q.shape[-2], k.shape[-2])
    try:
        leading = np.broadcast_shapes(*(x.shape[:-2] for x in (q, k, v)))
    except ValueError:
        raise ValueError(f"{name}: the leading axes do not broadcast, of {shapes}") from None
    if mask is not None:
        mask = np.asarray(value(mask))
        try:
            fits = np.broadcast_shapes(mask.shape, (*leading, *full)) == (*leading, *full)
        except ValueError:
            fits = False
        if mask.dtype != bool or not fits:
            raise ValueError(
                f"{name}: mask should be bools that fit {(*leading, *full)}, got {mask.dtype} {mask.shape}"
            )
    q, k, v = (x if x.shape[:-2] == leading else broadcast_to(x, (*leading, *x.shape[-2:])) for x in (q, k, v))
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    return _scaled_dot_product_attention(q, k, v, mask, causal=causal, scale=scale)


@primitive
def _scaled_dot_product_attention(q: Any, k: Any, v: Any, mask: Any, *, causal: bool, scale: float):
    y, l = kernel.attention(_flat(q), _flat(k), _flat(v), _rows(mask, q, k), causal, scale)
    return y.reshape(*q.shape[:-1], v.shape[-1]), l


@_scaled_dot_product_attention.count_flops
def _(_shape, q, k, v, _mask, *, causal, scale, saved=None):
    return 2 * math.prod(q.shape[:-1]) * k.shape[-2] * (q.shape[-1] + v.shape[-1])


@_scaled_dot_product_attention.vjp
def _(g, y, q, k, v, mask, *, causal, scale, saved):
    """q: scale * s k
    k: scale * s^T q
    v: p^T g
    with p = softmax(scale * q k^T) and s = p * (g v^T - the sum of g * y over the last axis)
    """
    inputs = _flat(q), _flat(k), _flat(v), _rows(mask, q, k)
    grads = kernel.attention_grads(_flat(g), _flat(y), saved, *inputs, causal, scale)  # derived beside the kernel
    return tuple(a.reshape(x.shape) for a, x in zip(grads, (q, k, v), strict=True))


@_scaled_dot_product_attention.define_composite
def _(q, k, v, mask, *, causal, scale):
    allowed = np.ones((q.shape[-2], k.shape[-2]), bool)
    allowed = np.tril(allowed) if causal else allowed
    allowed = np.asarray(allowed if mask is None else allowed & mask)
    nothing = ~allowed.any(-1, keepdims=True)
    wide = [widened(x) for x in (q, k, v)]
    p = softmax(where(allowed | nothing, (wide[0] * scale) @ swap(wide[1]), -np.inf))
    y = where(nothing, 0.0, p) @ wide[2]
    return y if wide[0] is q else y.astype(q.dtype)


def _flat(x: np.ndarray) -> np.ndarray:
    """(..., L, E) -> (B, L, E), widened."""
    return widened(x).reshape(math.prod(x.shape[:-2]), *x.shape[-2:])


def _rows(mask: np.ndarray | None, q: np.ndarray, k: np.ndarray) -> Any:
    """The mask for each of the B: as a view where it is the same for all of them."""
    if mask is None:
        return None
    shape = (*q.shape[:-1], k.shape[-2])
    if mask.ndim <= 2 or set(mask.shape[:-2]) <= {1}:
        return np.broadcast_to(mask.reshape(mask.shape[-2:]), (math.prod(shape[:-2]), *shape[-2:]))
    return np.broadcast_to(mask, shape).reshape(math.prod(shape[:-2]), *shape[-2:])


def embedding(table: ArrayLike, indices: ArrayLike) -> Tensor:
    """Rows of a table: table (V, C), indices (...) integers in [0, V) -> (..., C). Gradients of equal ones add up.

    It is `take` along the first axis, but negative indices are refused. Raises ValueError for another shape or dtype,
    IndexError for an index outside of the table.
    """
    rows, given = as_array(table), np.asarray(value(indices))
    if rows.ndim != 2 or given.dtype.kind not in "iu":
        raise ValueError(
            f"embedding: expected a table (V, C) and integers, got {rows.shape} and {given.dtype} {given.shape}"
        )
    if given.size and (given.min() < 0 or given.max() >= rows.shape[0]):
        raise IndexError(f"embedding: indices from {given.min()} to {given.max()} are not all in [0, {rows.shape[0]})")
    return take(rows, given, 0)
