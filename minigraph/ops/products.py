"""NumPy's other products. Each is a composition of reshapes and `matmul` or `einsum`, whose rules give its gradient."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tensor import Tensor
from .elementwise import alike, as_array, multiply
from .inverses import inv
from .linalg import einsum, matmul
from .numpy_api import implements
from .shape import axes_of, reshape, transpose

__all__ = [
    "cross", "dot", "inner", "kron", "matrix_power", "multi_dot", "outer", "tensordot", "vdot", "vecdot",
]  # fmt: skip


@implements(np.dot)
def dot(a: Any, b: Any) -> Tensor:
    """The sum over the last axis of a and the last axis but one of b, or its only one: all other axes of a, then of b.

    With an array of no axes it is the product of numbers. Up to two axes of b it is `matmul`. Raises ValueError where
    the two lengths differ.
    """
    a, b = alike(a, b)
    if not a.ndim or not b.ndim:
        return multiply(a, b)
    return matmul(a, b) if b.ndim <= 2 else tensordot(a, b, (-1, -2))


@implements(np.tensordot, np.linalg.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Tensor:
    """The sum over some axes of a and as many of b; the result has the other axes of a, then those of b.

    Args:
        axes: a number n, for the last n axes of a and the first n of b; or a pair, an axis of each or a list of them.

    Raises:
        ValueError: the axes are not as many of both, or their lengths differ.
    """
    a, b = alike(a, b)
    if np.ndim(axes) == 0 and not isinstance(axes, (tuple, list)):
        if not 0 <= axes <= min(a.ndim, b.ndim):
            raise ValueError(f"tensordot: {axes} axes, but a has the shape {a.shape} and b {b.shape}")
        axes = range(a.ndim - axes, a.ndim), range(axes)
    of_a, of_b = (axes_of(np.atleast_1d(np.asarray(of, int)), x.ndim) for of, x in zip(axes, (a, b), strict=True))
    lengths, others = [a.shape[i] for i in of_a], [b.shape[i] for i in of_b]
    if lengths != others:
        raise ValueError(
            f"tensordot: the axes {of_a} of a {a.shape} have the lengths {lengths}, {of_b} of b {b.shape} have {others}"
        )
    left = [i for i in range(a.ndim) if i not in of_a]
    right = [i for i in range(b.ndim) if i not in of_b]
    shape = [a.shape[i] for i in left], [b.shape[i] for i in right]
    n = math.prod(lengths)
    rows = reshape(transpose(a, (*left, *of_a)), (math.prod(shape[0]), n))
    columns = reshape(transpose(b, (*of_b, *right)), (n, math.prod(shape[1])))
    return reshape(matmul(rows, columns), (*shape[0], *shape[1]))


@implements(np.inner)
def inner(a: Any, b: Any) -> Tensor:
    """The sum over the last axis of both; of numbers their product. Raises ValueError where the lengths differ."""
    a, b = alike(a, b)
    return tensordot(a, b, (-1, -1)) if a.ndim and b.ndim else multiply(a, b)


@implements(np.outer, np.linalg.outer)
def outer(a: Any, b: Any) -> Tensor:
    """All products of an entry of a and an entry of b, both flattened: (a.size, b.size)."""
    a, b = alike(a, b)
    return multiply(reshape(a, (-1, 1)), reshape(b, (1, -1)))


@implements(np.vdot)
def vdot(a: Any, b: Any) -> Tensor:
    """The sum of the products of all entries, both flattened. Raises ValueError where the sizes differ."""
    a, b = alike(a, b)
    return matmul(reshape(a, -1), reshape(b, -1))


@implements(np.vecdot, np.linalg.vecdot)
def vecdot(a: Any, b: Any, axis: int = -1) -> Tensor:
    """The sum of a * b over `axis`, of each; the other axes broadcast. Raises ValueError where the lengths differ."""
    a, b = (_moved(x, axis, -1) for x in alike(a, b))
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(f"vecdot: along the axis {axis}, a has {a.shape[-1]} entries, b has {b.shape[-1]}")
    return einsum("...i,...i->...", a, b)


if hasattr(np, "matvec"):  # of NumPy 2.2

    @implements(np.matvec)
    def _matvec(a: Any, x: Any) -> Tensor:
        return einsum("...ij,...j->...i", a, x)

    @implements(np.vecmat)
    def _vecmat(x: Any, a: Any) -> Tensor:
        return einsum("...i,...ij->...j", x, a)


@implements(np.kron)
def kron(a: Any, b: Any) -> Tensor:
    """The Kronecker product, of the blocks a[i, j] * b; for any number of axes, the shorter shape with 1 in front."""
    a, b = alike(a, b)
    n = max(a.ndim, b.ndim)
    shapes = [(*(1,) * (n - x.ndim), *x.shape) for x in (a, b)]
    apart = [n for length in shapes[0] for n in (length, 1)]  # a0 1 a1 1 ...
    along = [n for length in shapes[1] for n in (1, length)]  # 1 b0 1 b1 ...
    lengths = [p * q for p, q in zip(*shapes, strict=True)]
    return reshape(multiply(reshape(a, apart), reshape(b, along)), lengths)


_LEVI_CIVITA = np.zeros((3, 3, 3), np.int8)  # ints decide no dtype
_LEVI_CIVITA[[0, 1, 2], [1, 2, 0], [2, 0, 1]] = 1
_LEVI_CIVITA[[0, 2, 1], [2, 1, 0], [1, 0, 2]] = -1


@implements(np.cross, np.linalg.cross)
def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Tensor:
    """The cross product of vectors of three entries; the other axes broadcast.

    Args:
        axisa, axisb, axisc: where the vectors are in a, in b and in the result. axis: all three of them.

    A third entry that is missing is 0, and of two such vectors the result is the third entry alone, without the axis.
    Raises ValueError for vectors of another length.
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = alike(a, b)
    a, b = _moved(a, axisa, -1), _moved(b, axisb, -1)
    n, m = a.shape[-1], b.shape[-1]
    if not {n, m} <= {2, 3}:
        raise ValueError(f"cross: expected vectors of 3 entries or 2, those of a have {n}, those of b {m}")
    signs = _LEVI_CIVITA[:, :n, :m]
    if n == m == 2:
        return einsum("jk,...j,...k->...", signs[2], a, b)
    return _moved(einsum("ijk,...j,...k->...i", signs, a, b), -1, axisc)


def _moved(x: Any, source: int, destination: int) -> Any:
    """x with one axis in another place."""
    if not x.ndim:
        raise ValueError("expected an array of at least one axis, got one of none")
    axes = np.moveaxis(np.empty(range(x.ndim)), source, destination).shape
    return x if axes == tuple(range(x.ndim)) else transpose(x, axes)


@implements(np.linalg.matrix_power)
def matrix_power(a: Any, n: int) -> Tensor:
    """The product of n times a (..., k, k), by repeated squares; the identity for n = 0, of `inv(a)` for n < 0.

    Raises ValueError for an a that is not square, TypeError for an n that is no int.
    """
    a = as_array(a)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError(f"matrix_power: a should be (..., k, k), got {a.shape}")
    if not isinstance(n, (int, np.integer)):
        raise TypeError(f"matrix_power: n should be an int, got {type(n).__name__}")
    if n == 0:
        return as_array(a * 0 + np.eye(a.shape[-1], dtype=a.dtype))
    y: Any = None
    square, n = (inv(a) if n < 0 else a), abs(int(n))
    while True:
        if n & 1:
            y = square if y is None else matmul(y, square)
        n >>= 1
        if not n:
            return y
        square = matmul(square, square)


@implements(np.linalg.multi_dot)
def multi_dot(arrays: Sequence[Any]) -> Tensor:
    """The product of two or more matrices, in the order that takes the fewest multiplications.

    The first may be a vector, taken for a row, and the last one, for a column. Raises ValueError for fewer than two
    arrays, for another number of axes, and for shapes that do not fit.
    """
    xs = [as_array(x) for x in arrays]
    if len(xs) < 2:
        raise ValueError(f"multi_dot: expected at least two arrays, got {len(xs)}")
    for i, x in enumerate(xs):
        if x.ndim != 2 and not (x.ndim == 1 and i in (0, len(xs) - 1)):
            raise ValueError(f"multi_dot: array {i} should be a matrix, got the shape {x.shape}")
    sizes = [1 if xs[0].ndim == 1 else xs[0].shape[0], *(x.shape[0] for x in xs[1:])]
    sizes.append(1 if xs[-1].ndim == 1 else xs[-1].shape[1])

    @functools.cache
    def best(i: int, j: int) -> tuple[int, int]:
        """The multiplications that the arrays i to j take, and after which of them to cut."""
        if i == j:
            return 0, i
        return min((best(i, k)[0] + best(k + 1, j)[0] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j))

    def product(i: int, j: int) -> Any:
        if i == j:
            return xs[i]
        k = best(i, j)[1]
        return matmul(product(i, k), product(k + 1, j))

    return product(0, len(xs) - 1)
