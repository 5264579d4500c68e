"""Inverses of matrices (..., n, n), one for each of the leading axes, and what goes with them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.linalg import LinAlgError

from ..fit import sum_to
from ..kernels.precision import widened
from ..primitive import primitive
from ..tensor import ArrayLike, Tensor, value
from .elementwise import as_array, astype
from .linalg import swap
from .numpy_api import implements
from .shape import axes_of, expand_dims, moveaxis, reshape

__all__ = ["det", "expm", "inv", "slogdet", "solve", "tensorinv", "tensorsolve"]

SlogdetResult: Any = type(np.linalg.slogdet(np.ones((1, 1))))


def _why_not_square(a: Any, *_: Any) -> str | None:
    shape = np.shape(a)
    return f"a should be (..., n, n), got {shape}" if len(shape) < 2 or shape[-1] != shape[-2] else None


@implements(np.linalg.inv)
@primitive
def inv(a: ArrayLike):
    """The inverse. Raises LinAlgError for an a that is singular or not square. `solve` is better where it serves."""
    return np.linalg.inv(widened(np.asarray(a)))


inv.why = _why_not_square


def cubes(a: Any) -> int:
    """n^3 for each matrix (n, n) of a. The algorithms take so many multiples of it (Golub & Van Loan 2013)."""
    return math.prod(a.shape) * int(a.shape[-1])


@inv.count_flops
def _(_shape, a):
    return 2 * cubes(a)


@inv.vjp
def _(g, y, _a):
    """-y^T g y^T"""
    return -(swap(y) @ g @ swap(y))


@implements(np.linalg.solve)
@primitive
def solve(a: ArrayLike, b: ArrayLike):
    """The x with a x = b: a (..., n, n) and b (..., n, k) or a vector (n,); the leading axes broadcast.

    Raises LinAlgError for an a that is singular or not square, ValueError for shapes that do not fit.
    """
    return np.linalg.solve(widened(np.asarray(a)), widened(np.asarray(b)))


def _why_not_solved(a: Any, b: Any) -> str | None:
    shape, rows = np.shape(a), np.shape(b)[-2:][:1]
    if _why_not_square(a) or rows == shape[-1:]:
        return _why_not_square(a)
    return f"b {np.shape(b)} should have the {shape[-1]} rows of a {shape}"


solve.why = _why_not_solved


@solve.count_flops
def _(shape, a, _b):
    return 2 * cubes(a) // 3 + 2 * math.prod(shape) * a.shape[-1]


@solve.vjp
def _(g, y, a, _b):
    """a: -(a^-T g) y^T
    b: a^-T g
    summed over the leading axes along which a or b was broadcast
    """
    a, shape = as_array(a), np.shape(_b)
    vector = len(shape) == 1

    def columns(v: Any) -> Any:
        return expand_dims(v, -1) if vector else v

    gb = solve(swap(a), columns(g))
    return (
        lambda: sum_to(-(gb @ swap(columns(y))), a.shape),
        lambda: sum_to(gb[..., 0] if vector else gb, shape),
    )


@implements(np.linalg.tensorinv)
def tensorinv(a: Any, ind: int = 2) -> Tensor:
    """The inverse of `tensordot` with a over its last axes: (*p, *q) -> (*q, *p), where p are the first `ind` axes.

    It is `inv` of the matrix of prod(p) rows and prod(q) columns. Raises LinAlgError where these differ or it is
    singular, ValueError for an ind below 1.
    """
    a = as_array(a)
    if ind < 1:
        raise ValueError(f"tensorinv: ind should be 1 or more, got {ind}")
    rows, columns = a.shape[:ind], a.shape[ind:]
    if math.prod(rows) != math.prod(columns):
        raise LinAlgError(f"tensorinv: the {ind} first axes of a {a.shape} should have as many entries as the others")
    return reshape(inv(reshape(a, (math.prod(rows), -1))), (*columns, *rows))


@implements(np.linalg.tensorsolve)
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Tensor:
    """The x with tensordot(a, x, x.ndim) = b: a (*b.shape, *x.shape), where both have as many entries.

    Args:
        axes: axes of a that are moved to its end first, in this order.

    It is `solve` with the matrix of b.size rows. Raises LinAlgError where that is not square or singular.
    """
    a, b = as_array(a), as_array(b)
    if axes is not None:
        moved = axes_of(axes, a.ndim)
        a = moveaxis(a, moved, range(a.ndim - len(moved), a.ndim))
    shape = a.shape[b.ndim :]
    if a.size != b.size**2 or math.prod(shape) != b.size:
        raise LinAlgError(f"tensorsolve: of a {a.shape}, the axes behind those of b {b.shape} should have its entries")
    return reshape(solve(reshape(a, (b.size, b.size)), reshape(b, -1)), shape)


@implements(np.linalg.det)
@primitive
def det(a: ArrayLike):
    """The determinant (...). Its gradient is det(a) a^-T: at a singular a it is LinAlgError."""
    return np.linalg.det(widened(np.asarray(a)))


det.why = _why_not_square


@det.count_flops
def _(_shape, a):
    return 2 * cubes(a) // 3


@det.vjp
def _(g, y, a):
    """g * y * a^-T"""
    return reshape(g * y, (*a.shape[:-2], 1, 1)) * swap(_inverse("det", a))


def _inverse(name: str, a: Any) -> Any:
    try:
        return inv(widened(a))
    except LinAlgError:
        raise LinAlgError(f"{name}: a is singular, and there the rule has no gradient") from None


@implements(np.linalg.slogdet)
def slogdet(a: ArrayLike) -> Any:
    """The sign (...) and the logarithm of |det(a)| (...): SlogdetResult.

    The sign is constant where it is not 0, and has the gradient 0. The gradient of the logarithm is a^-T. Of a singular
    a the values are 0 and -inf, and the gradient is LinAlgError.
    """
    packed = _slogdet(as_array(a))
    return SlogdetResult(packed[..., 0], packed[..., 1])


@primitive
def _slogdet(a: Any):
    return np.stack(np.linalg.slogdet(widened(a)), -1)


_slogdet.why = _why_not_square


@_slogdet.count_flops
def _(_shape, a):
    return 2 * cubes(a) // 3


@_slogdet.vjp
def _(g, _y, a):
    """g * a^-T, with the g of the logarithm"""
    return reshape(g[..., 1], (*a.shape[:-2], 1, 1)) * swap(_inverse("slogdet", a))


# ---------------------------------------------------------------- the exponential

# The coefficients of the Pade approximant of degree 13, and the 1-norm up to which it is exact to float64.
_PADE = [
    64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000, 10559470521600,
    670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1,
]  # fmt: skip
_THETA = 5.371920351148152


def expm(a: ArrayLike) -> Tensor:
    """The exponential of matrices (..., n, n), by scaling and squaring: Higham 2005, method of degree 13.

    It is a composition of products and one `solve`, so its gradient is that of the approximant. Raises LinAlgError for
    an a that is not square.
    """
    given = as_array(a)
    if _why_not_square(value(given)):
        raise LinAlgError(f"expm: {_why_not_square(value(given))}")
    a = widened(given) if given.dtype.kind == "f" else astype(given, np.float64)
    norm = float(np.abs(value(a)).sum(-2).max(initial=0))
    squarings = max(0, math.ceil(math.log2(norm / _THETA))) if norm > _THETA else 0
    a = a * 2.0**-squarings
    c = [n / _PADE[0] for n in _PADE]
    eye = np.eye(a.shape[-1], dtype=a.dtype)
    a2 = a @ a
    a4 = a2 @ a2
    a6 = a4 @ a2
    odd = a @ (a6 @ (a6 * c[13] + a4 * c[11] + a2 * c[9]) + a6 * c[7] + a4 * c[5] + a2 * c[3] + eye * c[1])
    even = a6 @ (a6 * c[12] + a4 * c[10] + a2 * c[8]) + a6 * c[6] + a4 * c[4] + a2 * c[2] + eye * c[0]
    y = solve(even - odd, even + odd)
    for _ in range(squarings):
        y = y @ y
    return astype(y, np.float16) if given.dtype.char == "e" else y
