"""The pseudo-inverse, least squares, and the condition number, by which they magnify errors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.linalg import LinAlgError

from ..kernels.precision import widened
from ..primitive import primitive
from ..tensor import ArrayLike, Tensor, value
from .decompositions import matrix, matrix_norm, svd, svd_flops, svdvals
from .elementwise import alike, where
from .indexing import tril
from .inverses import inv
from .linalg import matmul, swap
from .numpy_api import implements
from .reduce import sum as sum_of
from .shape import expand_dims, reshape

__all__ = ["cond", "lstsq", "pinv"]


def pinv(a: ArrayLike, rcond: float | None = None) -> Tensor:
    """The pseudo-inverse (Moore & Penrose) of a (..., m, n): (..., n, m).

    Args:
        rcond: singular values below rcond times the largest one count as 0; by default max(m, n) eps.

    The gradient is that along matrices of the same rank, which near a matrix of full rank are all. Elsewhere the
    pseudo-inverse is not continuous. Raises LinAlgError where the iteration does not converge. The rule is that of
    Golub & Pereyra 1973, "The differentiation of pseudo-inverses and nonlinear least squares problems".

    Where rcond leaves out singular values that are more than rounding, it is a composition of `svd`, whose gradient
    needs values that differ.
    """
    a = matrix("pinv", a)
    cut, least = _rcond(a, rcond), _rcond(a, None)
    if cut > least:
        s = np.linalg.svd(widened(value(a)), compute_uv=False)
        largest = s.max(-1, keepdims=True, initial=0)
        kept = s > cut * largest
        if (~kept & (s > least * largest)).any():
            u, s, vh = svd(a, full_matrices=False)
            return swap(vh) @ (expand_dims(where(kept, 1 / where(kept, s, 1), 0), -1) * swap(u))
    return _pinv(a, rcond=cut)


@implements(np.linalg.pinv)
def _numpy_pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Tensor:
    """With `hermitian` only the lower triangle is read, and stands for the upper one too."""
    if hermitian:
        a = matrix("pinv", a, square=True)
        a = tril(a) + swap(tril(a, -1))
    return pinv(a, rcond if rtol is None else rtol)


def _rcond(a: Any, rcond: float | None) -> float:
    kind = np.float32 if a.dtype.char == "e" else a.dtype if a.dtype.kind == "f" else np.float64
    return max(a.shape[-2:]) * float(np.finfo(kind).eps) if rcond is None else float(rcond)


@primitive
def _pinv(a: Any, *, rcond: float):
    return np.linalg.pinv(widened(a), rcond)


_pinv.count_flops(svd_flops)


@_pinv.vjp
def _(g, y, a, *, rcond):
    """-y^T g y^T + (I - a y) g^T y y^T + y^T y g^T (I - y a)"""
    # dP = -P dA P + P P^T dA^T (I - A P) + (I - P A) dA^T P^T P
    a, p = widened(a), widened(y)
    pt, gt = swap(p), swap(g)
    first, second = gt @ p @ pt, pt @ p @ gt
    return -(pt @ g @ pt) + (first - a @ (p @ first)) + (second - (second @ p) @ a)


@implements(np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: float | None = None) -> tuple[Tensor, Tensor, int, Tensor]:
    """Least squares: the x (n,) or (n, k) for which |a x - b| is smallest, of a (m, n) and b (m,) or (m, k).

    Returns, as NumPy does, x; the sums of squares of a x - b, (1,) or (k,), and none of them, (0,), unless m > n and a
    has the rank n; the rank, an int; and the singular values of a. It is a composition of `pinv` and `svdvals`, and has
    their gradients: where the rank is less than n, those along matrices of the same rank.

    Raises LinAlgError for an a that is no matrix, or a b that does not have its rows.
    """
    a, b = alike(a, b)
    if a.ndim != 2 or b.ndim not in (1, 2) or b.shape[0] != a.shape[0]:
        raise LinAlgError(f"lstsq: a should be (m, n) and b (m,) or (m, k), got {a.shape} and {b.shape}")
    if rcond is not None and not 0 < rcond < 1:
        rcond = _rcond(a, None) / max(a.shape)  # eps, which is what LAPACK makes of it
    x = matmul(pinv(a, rcond), b)
    s = svdvals(a)
    rank = int((value(s) > _rcond(a, rcond) * value(s).max(initial=0)).sum())
    miss = matmul(a, x) - b
    squares = reshape(sum_of(miss * miss, 0), -1)
    m, n = a.shape
    return x, squares if rank == n < m else squares[:0], rank, s


@implements(np.linalg.cond)
def cond(x: Any, p: Any = None) -> Tensor:
    """The condition number of matrices (..., m, n): |x| |inv(x)| in a norm `p` of `matrix_norm`.

    By default, and for p = 2 and -2, it is the largest singular value over the smallest, or the reverse, of matrices of
    any shape. It is a composition of `svdvals`, or of norms and `inv`, with their conventions. Raises LinAlgError where
    the smallest singular value is exactly 0 or `inv` finds x singular, and for an x that is empty or, with another
    norm, not square.
    """
    x = matrix("cond", x, square=p not in (None, 2, -2))
    if not x.size:
        raise LinAlgError(f"cond: x is empty, of the shape {x.shape}")
    if p not in (None, 2, -2):
        return matrix_norm(x, p) * matrix_norm(inv(x), p)
    s = svdvals(x)
    if not value(s).all():
        raise LinAlgError("cond: x is singular, and its condition number infinite")
    return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
