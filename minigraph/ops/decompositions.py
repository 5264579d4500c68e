"""Decompositions of matrices (..., m, n), one for each of the leading axes.

A primitive has one result. A decomposition has several, so its primitive returns them flattened and joined along one
axis, and the parts are slices of that. Their gradients thus come to one rule, together.

Rules need numbers that differ, where the factors are not functions of the matrix otherwise: eigenvectors of equal
eigenvalues turn into each other at will. What the rules assume is said in each docstring, and a gradient that does not
exist is numpy.linalg.LinAlgError.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.linalg import LinAlgError

from ..kernels.precision import widened
from ..primitive import primitive
from ..tensor import ArrayLike, Tensor, value
from .elementwise import abs as absolute
from .elementwise import as_array
from .indexing import take_along_axis
from .inverses import cubes, solve
from .joining import concatenate
from .linalg import swap
from .numpy_api import implements
from .reduce import max as max_of
from .reduce import min as min_of
from .reduce import norm
from .reduce import sum as sum_of
from .shape import axes_of, expand_dims, reshape, squeeze, transpose

__all__ = ["cholesky", "eigh", "eigvalsh", "matrix_norm", "qr", "svd", "svdvals"]

# NumPy's named tuples
EighResult: Any = type(np.linalg.eigh(np.ones((1, 1))))
QRResult: Any = type(np.linalg.qr(np.ones((1, 1))))
SVDResult: Any = type(np.linalg.svd(np.ones((1, 1))))

Shapes = tuple[tuple[int, ...], ...]  # of the parts, without the leading axes


def pack(parts: Any, shapes: Shapes) -> np.ndarray:
    """The parts (*leading, *shape), each flattened behind the leading axes, one after another: (*leading, n)."""
    flat = []
    for part, shape in zip(parts, shapes, strict=True):
        leading = part.shape[: part.ndim - len(shape)]
        flat.append(part.reshape(*leading, math.prod(shape)))
    return np.concatenate(flat, -1)


def unpack(packed: Any, shapes: Shapes) -> list[Any]:
    """The parts that were packed, of an array or a Tensor."""
    parts, start = [], 0
    for shape in shapes:
        stop = start + math.prod(shape)
        parts.append(reshape(packed[..., start:stop], (*packed.shape[:-1], *shape)))
        start = stop
    return parts


def matrix(name: str, a: Any, square: bool = False) -> Any:
    """a as an array (..., m, n). Raises LinAlgError where it is none, or has to be square and is not."""
    a = as_array(a)
    if a.ndim < 2 or (square and a.shape[-1] != a.shape[-2]):
        raise LinAlgError(f"{name}: a should be {'(..., n, n)' if square else '(..., m, n)'}, got {a.shape}")
    return a


def _lower(s: Any) -> Any:
    """Where only the lower triangle of a symmetric matrix is read, its gradient: s_ij + s_ji below the diagonal."""
    n = s.shape[-1]
    both = s + swap(s)
    return both * np.tril(np.ones((n, n), s.dtype)) - s * np.eye(n, dtype=s.dtype)


# ---------------------------------------------------------------- Cholesky


@primitive
def cholesky(a: ArrayLike):
    """The lower triangular L with L L^T = a, of symmetric positive definite matrices (..., n, n).

    As in NumPy only the lower triangle of a is read, and so the gradient is lower triangular: that of an entry below
    the diagonal counts its mirror image too. Write `cholesky((a + a.mT) / 2)` for a symmetric one. Raises LinAlgError
    for an a that is not positive definite. The rule is that of Murray 2016, "Differentiation of the Cholesky
    decomposition".
    """
    return np.linalg.cholesky(widened(np.asarray(a)))


@cholesky.count_flops
def _(_shape, a):
    return cubes(a) // 3


@cholesky.vjp
def _(g, y, _a):
    """the lower triangle of S + S^T with half of its diagonal, where S = y^-T P y^-1,
    and P is the lower triangle of y^T g with half of its diagonal
    """
    # dL = L P(L^-1 dA L^-T), where P takes the lower triangle and half of the diagonal, and is its own adjoint
    y = widened(y)
    n = _a.shape[-1]
    half = np.tril(np.ones((n, n), y.dtype)) - np.eye(n, dtype=y.dtype) / 2
    t = swap(y)
    s = swap(solve(t, swap(solve(t, (t @ g) * half))))
    return _lower((s + swap(s)) / 2)


@implements(np.linalg.cholesky)
def _numpy_cholesky(a: Any, /, *, upper: bool = False) -> Tensor:
    """With `upper`, the U with U^T U = a: from the upper triangle, which is the lower one of the transpose."""
    return swap(cholesky(swap(matrix("cholesky", a, square=True)))) if upper else cholesky(a)


# ---------------------------------------------------------------- symmetric eigenvalues


@implements(np.linalg.eigh)
def eigh(a: Any, UPLO: str = "L") -> Any:
    """Eigenvalues, rising, and eigenvectors of symmetric matrices (..., n, n): EighResult of (..., n) and (..., n, n).

    a = V diag(w) V^T; the columns of V are the eigenvectors. As in NumPy only the lower triangle is read, with UPLO "U"
    the upper one, and the gradient is triangular too, see `cholesky`.

    A gradient that comes through the eigenvectors needs eigenvalues that differ, and otherwise is LinAlgError. The sign
    of an eigenvector is arbitrary, so use what does not depend on it. Eigenvalues have gradients everywhere: where
    several are equal, these are right for functions that treat them alike. Derivatives of second order need eigenvalues
    that differ. Raises LinAlgError for an a that is not square, or where the iteration does not converge, ValueError
    for another UPLO. The rule is that of Giles 2008, "An extended collection of matrix derivative results", 3.1.
    """
    a = matrix("eigh", a, square=True)
    if UPLO not in ("L", "U", "l", "u"):
        raise ValueError(f"eigh: UPLO should be 'L' or 'U', got {UPLO!r}")
    return EighResult(*unpack(_eigh(a, UPLO=UPLO.upper()), _eigh_shapes(a)))


def _eigh_shapes(a: Any) -> Shapes:
    n = a.shape[-1]
    return (n,), (n, n)


@primitive
def _eigh(a: Any, *, UPLO: Any = "L"):
    return pack(np.linalg.eigh(widened(a), UPLO), _eigh_shapes(a))


@_eigh.count_flops
def _(_shape, a, **_options):
    return 9 * cubes(a)


@_eigh.vjp
def _(g, y, _a, *, UPLO="L"):
    """the triangle that is read, of S + S^T with half of its diagonal, where S = V (diag(g_w) + F * V^T g_V) V^T
    and F_ij = 1 / (w_j - w_i) off the diagonal, 0 on it
    """
    # dw = diag(V^T dA V) and dV = V (F * V^T dA V)
    y = widened(y)
    (w, v), (gw, gv) = unpack(y, _eigh_shapes(_a)), unpack(g, _eigh_shapes(_a))
    inside = _diagonal(gw)
    if type(g) is Tensor or value(gv).any():
        gaps = expand_dims(w, -2) - expand_dims(w, -1)  # gaps[i, j] = w_j - w_i
        inside = inside + (swap(v) @ gv) * _reciprocal("eigh", "eigenvalues", gaps, value(w))
    s = v @ inside @ swap(v)
    lower = _lower((s + swap(s)) / 2)
    return lower if UPLO == "L" else swap(lower)


def _diagonal(x: Any) -> Any:
    """(..., n) -> (..., n, n)."""
    return expand_dims(x, -1) * np.eye(x.shape[-1], dtype=x.dtype)


def _reciprocal(name: str, what: str, gaps: Any, w: np.ndarray) -> Any:
    """1 / gaps, with 0 on the diagonal. Raises LinAlgError where two of the w are equal, but for rounding."""
    n = w.shape[-1]
    size = np.abs(w).max(-1, initial=0)[..., None, None]
    close = np.abs(w[..., None, :] - w[..., :, None]) <= n * np.finfo(w.dtype).eps * size
    close &= ~np.eye(n, dtype=bool)
    if close.any():
        i, j = sorted(np.argwhere(close)[0][-2:].tolist())
        raise LinAlgError(f"{name}: the {what} {i} and {j} are equal, so their vectors have no gradient")
    eye = np.eye(n, dtype=w.dtype)
    return (1 - eye) / (gaps + eye)


@implements(np.linalg.eigvalsh)
def eigvalsh(a: Any, UPLO: str = "L") -> Tensor:
    """The eigenvalues of symmetric matrices (..., n, n), rising, as `eigh` has them, with gradients as said there."""
    return eigh(a, UPLO).eigenvalues


# ---------------------------------------------------------------- QR


@implements(np.linalg.qr)
def qr(a: Any, mode: str = "reduced") -> Any:
    """a = Q R with k = min(m, n) orthonormal columns in Q (..., m, k), and R (..., k, n) upper triangular: QRResult.

    With mode "r" it is R alone. The gradient needs an a whose first k columns are independent, and otherwise is
    LinAlgError. Raises ValueError for NumPy's other modes: the further columns of a complete Q are arbitrary, and so
    have no gradient. Where m <= n there are none, and "complete" is the same as "reduced". The rule is that of Walter
    & Lehmann 2010, "Algorithmic differentiation of linear algebra functions"; where m < n, that of Roberts & Roberts
    2020, "QR and LQ decomposition matrix backpropagation algorithms".
    """
    a = matrix("qr", a)
    if mode not in ("reduced", "r") and not (mode == "complete" and a.shape[-2] <= a.shape[-1]):
        raise ValueError(f"qr: expected mode 'reduced' or 'r', got {mode!r}: of other modes there is no gradient")
    q, r = unpack(_qr(a), _qr_shapes(a))
    return r if mode == "r" else QRResult(q, r)


def _qr_shapes(a: Any) -> Shapes:
    m, n = a.shape[-2:]
    return (m, min(m, n)), (min(m, n), n)


@primitive
def _qr(a: Any):
    return pack(np.linalg.qr(widened(a)), _qr_shapes(a))


@_qr.count_flops
def _(_shape, a):
    return 4 * math.prod(a.shape) * min(a.shape[-2:])


@_qr.vjp
def _(g, y, _a):
    """m >= n: (g_Q + Q M) R^-T, where M is R g_R^T - g_Q^T Q with the lower triangle mirrored to the upper
    m < n: that of the first m columns X of a = [X | Z], where g_Q has Z g_W^T added; and Q g_W of Z, with R = [U | W]
    """
    # For m < n let A = [X | Z] with X square. Then X = Q U, and Z = Q W, so that W = Q^T Z: the gradient of Z is Q G_W,
    # and Z G_W^T adds to that of Q.
    y = widened(y)
    (q, r), (gq, gr) = unpack(y, _qr_shapes(_a)), unpack(g, _qr_shapes(_a))
    m, n = _a.shape[-2:]
    if m >= n:
        return _qr_tall(q, r, gq, gr)
    gw = gr[..., m:]
    gx = _qr_tall(q, r[..., :m], gq + q @ r[..., m:] @ swap(gw), gr[..., :m])
    return concatenate([gx, q @ gw], -1)


def _qr_tall(q: Any, r: Any, gq: Any, gr: Any) -> Any:
    _check_rank("qr", value(r))
    m = r @ swap(gr) - swap(gq) @ q
    below = np.tril(np.ones(r.shape[-2:], r.dtype), -1)
    mirrored = m * below + swap(m * below) + m * np.eye(r.shape[-1], dtype=r.dtype)
    return swap(solve(r, swap(gq + q @ mirrored)))


def _check_rank(name: str, r: np.ndarray) -> None:
    diagonal = np.abs(np.diagonal(r, axis1=-2, axis2=-1))
    if (diagonal <= r.shape[-1] * np.finfo(r.dtype).eps * diagonal.max(-1, keepdims=True, initial=0)).any():
        raise LinAlgError(f"{name}: the columns of a are dependent, so Q and R have no gradient")


# ---------------------------------------------------------------- singular values


@implements(np.linalg.svd)
def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    """a = U diag(S) Vh: SVDResult of U (..., m, k), S (..., k), falling, and Vh (..., k, n), with k = min(m, n).

    Args:
        full_matrices: as in NumPy it is true by default, and means square U and Vh. The further vectors are arbitrary
            and have no gradient, so it has to be false unless m = n.
        compute_uv: if it is false, the result is S alone.
        hermitian: a is symmetric, and only its lower triangle is read: S is |w| and U is V of `eigh`, in another order.

    A gradient that comes through U or Vh needs singular values that differ and, unless m = n, are not 0. Otherwise it
    is LinAlgError. The signs of the vectors are arbitrary, so use what does not depend on them. S has gradients
    everywhere: where several are equal, these are right for functions that treat them alike. Derivatives of second
    order need values that differ. Raises ValueError for full_matrices of an a that is not square, LinAlgError where the
    iteration does not converge. The rule is that of Townsend 2016, "Differentiating the singular value decomposition".
    """
    a = matrix("svd", a)
    if hermitian:
        return _svd_symmetric(a, compute_uv)
    if compute_uv and full_matrices and a.shape[-1] != a.shape[-2]:
        raise ValueError(
            f"svd: a is {a.shape}, and of the further vectors of full matrices there is no gradient: pass "
            f"full_matrices=False"
        )
    u, s, vh = unpack(_svd(a), _svd_shapes(a))
    return SVDResult(u, s, vh) if compute_uv else s


def _svd_symmetric(a: Any, compute_uv: bool) -> Any:
    w, v = eigh(a)
    order = np.argsort(np.abs(value(w)))[..., ::-1]
    w = take_along_axis(w, order, -1)
    if not compute_uv:
        return absolute(w)
    u = take_along_axis(v, order[..., None, :], -1)
    return SVDResult(u, absolute(w), swap(u * expand_dims(np.sign(value(w)), -2)))


def _svd_shapes(a: Any) -> Shapes:
    m, n = a.shape[-2:]
    return (m, min(m, n)), (min(m, n),), (min(m, n), n)


@primitive
def _svd(a: Any):
    return pack(np.linalg.svd(widened(a), full_matrices=False), _svd_shapes(a))


@_svd.count_flops
def svd_flops(_shape, a, **_options):
    k = min(a.shape[-2:])
    return (14 * math.prod(a.shape) + 8 * math.prod(a.shape[:-2]) * k * k) * k


@_svd.vjp
def _(g, y, _a):
    """U (diag(g_S) + (F * skew(U^T g_U)) S + S (F * skew(V^T g_V))) V^T
      + (I - U U^T) g_U S^-1 V^T + U S^-1 g_V^T (I - V V^T)
    with skew(X) = X - X^T and F_ij = 1 / (s_j^2 - s_i^2) off the diagonal, 0 on it
    """
    y = widened(y)
    (u, s, vh), (gu, gs, gvh) = unpack(y, _svd_shapes(_a)), unpack(g, _svd_shapes(_a))
    (m, n), v, gv = _a.shape[-2:], swap(vh), swap(gvh)
    inside = _diagonal(gs)
    if type(g) is not Tensor and not value(gu).any() and not value(gv).any():
        return u @ inside @ vh
    row, column = expand_dims(s, -2), expand_dims(s, -1)
    f = _reciprocal("svd", "singular values", (row - column) * (row + column), value(s))
    inside = inside + _skew(swap(u) @ gu) * f * row + column * _skew(swap(v) @ gv) * f
    y = u @ inside @ vh
    if m == n:
        return y
    if not value(s).all():
        raise LinAlgError("svd: a singular value is 0, so its vectors have no gradient")
    if m > n:
        return y + ((gu - u @ (swap(u) @ gu)) / row) @ vh
    return y + u @ swap((gv - v @ (vh @ gv)) / row)


def _skew(x: Any) -> Any:
    return x - swap(x)


@implements(np.linalg.svdvals)
def svdvals(a: ArrayLike) -> Tensor:
    """The singular values of matrices (..., m, n), falling, as `svd` has them, with gradients as said there."""
    return svd(a, compute_uv=False)


def matrix_norm(
    x: Any, ord: Any = "fro", axis: tuple[int, int] = (-2, -1), keepdims: bool = False
) -> Tensor:
    """The norm of the matrices along two axes, a composition of sums, `max` and `svdvals`, with their conventions.

    Args:
        ord: "fro" (the square root of the sum of squares), "nuc" (the sum of the singular values), 2 and -2 (the
            largest and the smallest of them), 1 and -1 (the largest and smallest sum of |x| over a column), inf and
            -inf (over a row).

    Raises ValueError for another ord, or an x without these axes.
    """
    x = as_array(x)
    if x.ndim < 2 or len(axes := axes_of(tuple(axis), x.ndim)) != 2:
        raise ValueError(f"matrix_norm: expected an array of two or more axes and two of them, got {x.shape}, {axis}")
    if ord == "fro":
        return norm(x, None, axes, keepdims)
    if ord in (1, -1, np.inf, -np.inf):
        summed, picked = axes if abs(ord) == 1 else axes[::-1]
        y = (max_of if ord > 0 else min_of)(sum_of(absolute(x), summed, keepdims=True), picked, keepdims=True)
        return y if keepdims else squeeze(y, axes)
    if ord not in ("nuc", 2, -2):
        raise ValueError(f"matrix_norm: expected ord 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, got {ord!r}")
    s = svdvals(transpose(x, (*(i for i in range(x.ndim) if i not in axes), *axes)))
    y = sum_of(s, -1) if ord == "nuc" else s[..., 0] if ord == 2 else s[..., -1]
    return expand_dims(y, tuple(sorted(axes))) if keepdims else y


@implements(np.linalg.matrix_norm)
def _numpy_matrix_norm(x: Any, *, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    return matrix_norm(x, ord, keepdims=keepdims)


@implements(np.linalg.vector_norm)
def _numpy_vector_norm(x: Any, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Tensor:
    return norm(x, ord, axis, keepdims)


@implements(np.linalg.norm)
def _numpy_norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """NumPy's one function for both: over one axis it is a norm of vectors, over two of matrices."""
    x = as_array(x)
    axes = tuple(range(x.ndim)) if axis is None else (axis,) if np.ndim(axis) == 0 else tuple(axis)
    if ord is None or len(axes) == 1:
        return norm(x, ord, axes, keepdims)
    if len(axes) != 2:
        raise ValueError(f"np.linalg.norm(ord={ord!r}): expected one axis or two, got {axes}")
    return matrix_norm(x, ord, axes, keepdims)
