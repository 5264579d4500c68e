"""Operations that pick entries by index, or put them there. Where NumPy has the function, the signature is NumPy's."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..fit import sum_to
from ..kernels import scatter as kernel
from ..primitive import primitive
from ..tensor import ArrayLike, Tensor, value
from .elementwise import add, as_array, where
from .numpy_api import implements
from .shape import broadcast_to, moveaxis, reshape

__all__ = [
    "choose", "compress", "diag", "diagflat", "diagonal", "extract", "getitem", "scatter", "scatter_add", "select",
    "take", "take_along_axis", "tril", "triu",
]  # fmt: skip


@primitive
def _getitem(x: Any, index: Any):
    return np.asarray(x)[index]


@_getitem.vjp
def _(g, _y, _x, index):
    return scatter(g, index, _x.shape)


@primitive
def scatter(values: Any, index: Any, shape: tuple[int, ...]):
    """Zeros of `shape` with `values` added at `index`, the adjoint of x[index].

    Repeated indices add up. `values` has the shape of x[index] or broadcasts to it, and the result has its dtype.
    """
    return kernel.scatter(values, index, shape)


def _why_not_scattered(values: Any, index: Any, shape: Any) -> str | None:
    picked = np.shape(np.broadcast_to(0, shape)[index])
    return f"values {np.shape(values)} do not broadcast to x[index], which has the shape {picked}"


scatter.why = _why_not_scattered


@scatter.vjp
def _(g, _y, _values, index, shape):
    """values: g[index], summed over the axes along which values was broadcast"""
    picked = getitem(g, index)
    if picked.shape == _values.shape:
        return picked
    broadcast = _values.shape[max(0, _values.ndim - picked.ndim) :]  # all but axes of length 1 in front
    return reshape(sum_to(picked, broadcast), _values.shape)


def getitem(x: ArrayLike, index: Any) -> Tensor:
    """x[index] as in NumPy: slices, ints, None, ..., masks, integer arrays. Gradients of repeated indices add up."""
    return _getitem(x, _index(index))


def scatter_add(x: Any, index: Any, values: ArrayLike) -> Tensor:
    """A copy of x with `values` added at `index`. Repeated indices add up, as in numpy.add.at."""
    shape = np.shape(value(x))
    index = _index(index)
    picked = np.shape(np.broadcast_to(0, shape)[index])
    if not hasattr(values, "shape") and hasattr(x, "dtype") and x.dtype.kind == "f":
        values = np.asarray(values, x.dtype)  # a list of numbers does not decide the dtype of the result
    try:
        added = broadcast_to(values, picked)
    except ValueError:
        given = np.shape(value(values))
        raise ValueError(f"scatter_add: values {given} do not broadcast to x[index], of shape {picked}") from None
    return add(x, scatter(added, index, shape))


@implements(np.take)
def take(x: ArrayLike, indices: ArrayLike, axis: int | None = None, *, mode: str = "raise") -> Tensor:
    """The entries at `indices` (integers) along `axis`, or of the flattened array.

    Args:
        mode: what indices out of range are: "raise", an IndexError; "wrap", counted around; "clip", the first or last.
    """
    indices = _integers("take", indices)
    if axis is None:
        x, axis = reshape(x, -1), 0
    shape = np.shape(value(x))
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"take: axis {axis} is out of range for {len(shape)} axes")
    if mode != "raise":
        indices = _in_range("take", indices, shape[axis], mode)
    try:
        return getitem(x, (slice(None),) * (axis % len(shape)) + (indices,))
    except IndexError:
        n, low, high = shape[axis], indices.min(), indices.max()
        raise IndexError(f"take: expected indices in [-{n}, {n}) along axis {axis}, got {low} to {high}") from None


def _in_range(name: str, indices: np.ndarray, n: int, mode: str) -> np.ndarray:
    """`indices` brought to [0, n) as `mode` says; as they are under "raise"."""
    if mode not in ("raise", "wrap", "clip"):
        raise ValueError(f"{name}: expected mode 'raise', 'wrap' or 'clip', got {mode!r}")
    return indices if mode == "raise" else indices % n if mode == "wrap" else np.clip(indices, 0, n - 1)


@implements(np.take_along_axis)
def take_along_axis(x: ArrayLike, indices: ArrayLike, axis: int | None = -1) -> Tensor:
    """For axis 1: y[i, k] = x[i, indices[i, k]]. On every other axis the indices have the length of x, or 1.

    Without an axis, x is flattened, and the indices have one axis.
    """
    indices = _integers("take_along_axis", indices)
    if axis is None:
        x, axis = reshape(x, -1), 0
    shape = np.shape(value(x))
    if len(shape) != indices.ndim or not -len(shape) <= axis < len(shape):
        raise ValueError(
            f"take_along_axis: indices of {indices.ndim} axes and axis {axis} do not fit x of shape {shape}"
        )
    axis %= len(shape)
    index = list(np.ogrid[tuple(slice(n) for n in shape)])
    index[axis] = indices
    return getitem(x, tuple(index))


@implements(np.compress)
def compress(condition: ArrayLike, a: ArrayLike, axis: int | None = None) -> Tensor:
    """The entries of a along `axis`, or of the flattened array, where `condition`, an array of one axis, is true."""
    condition = np.asarray(value(condition), bool)
    if condition.ndim != 1:
        raise ValueError(f"compress: expected a condition of one axis, got shape {condition.shape}")
    return take(a, np.flatnonzero(condition), axis)


@implements(np.extract)
def extract(condition: ArrayLike, arr: ArrayLike) -> Tensor:
    """The entries of the flattened arr where the flattened `condition` is true."""
    return take(arr, np.flatnonzero(value(condition)))


@implements(np.linalg.diagonal)
def _of_matrices(x: ArrayLike, /, *, offset: int = 0) -> Tensor:
    return diagonal(x, offset, -2, -1)


@implements(np.diagonal)
def diagonal(a: ArrayLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The diagonal in two axes, which become the last axis of the result; `offset` > 0 is above the main one.

    It is every (m + 1)-th entry of an (n, m) matrix, so a slice of the flattened one.
    """
    x = moveaxis(a, (axis1, axis2), (-2, -1))
    *rest, n, m = x.shape
    offset = operator.index(offset)
    count = min(n, m - offset) if offset >= 0 else min(n + offset, m)
    start = offset if offset >= 0 else -offset * m
    stop = start + max(count, 0) * (m + 1)
    return getitem(reshape(x, (*rest, n * m)), (..., slice(start, stop, m + 1)))


@implements(np.diag)
def diag(v: ArrayLike, k: int = 0) -> Tensor:
    """The k-th diagonal of a matrix, or the matrix with the vector v on its k-th diagonal and zeros elsewhere."""
    x = as_array(v)
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise ValueError(f"diag: expected one or two axes, got shape {x.shape}")
    k = operator.index(k)
    n = x.size + abs(k)
    start = k if k >= 0 else -k * n
    return reshape(scatter(x, slice(start, start + x.size * (n + 1), n + 1), (n * n,)), (n, n))


@implements(np.diagflat)
def diagflat(v: ArrayLike, k: int = 0) -> Tensor:
    """The matrix with the flattened v on its k-th diagonal."""
    return diag(reshape(v, -1), k)


@implements(np.tril)
def tril(m: ArrayLike, k: int = 0) -> Tensor:
    """m on and below the k-th diagonal of its last two axes, 0 above it."""
    return where(_triangle(m, k), m, 0)


@implements(np.triu)
def triu(m: ArrayLike, k: int = 0) -> Tensor:
    """m on and above the k-th diagonal of its last two axes, 0 below it."""
    return where(~_triangle(m, k - 1), m, 0)


def _triangle(m: Any, k: int) -> np.ndarray:
    *_, rows, columns = (1, *np.shape(value(m))) if np.ndim(value(m)) != 1 else np.shape(value(m)) * 2
    return np.tri(rows, columns, k, bool)


@implements(np.select)
def select(condlist: Sequence[Any], choicelist: Sequence[ArrayLike], default: ArrayLike = 0) -> Tensor:
    """From the choice of the first condition that is true, entry by entry, or from `default`."""
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ValueError(f"select: expected a choice for each condition, got {len(condlist)} and {len(choicelist)}")
    given = [*choicelist, default]
    kind = np.result_type(np.bool_, *(c.dtype for c in given if hasattr(c, "dtype")))
    if kind.kind == "f":  # numbers and lists do not decide the dtype
        given = [c if hasattr(c, "dtype") else np.asarray(c, kind) for c in given]
    y: Any
    *choices, y = given
    for condition, choice in zip(reversed([*condlist]), reversed(choices), strict=True):
        if np.asarray(value(condition)).dtype != bool:
            raise TypeError(f"select: expected conditions that are bools, got {np.asarray(value(condition)).dtype}")
        y = where(condition, choice, y)
    return y


@implements(np.choose)
def choose(a: ArrayLike, choices: Sequence[ArrayLike], *, mode: str = "raise") -> Tensor:
    """choices[a[i]][i] for each place i; `a` holds integers, and all broadcast. `mode` is that of `take`."""
    a, n = _in_range("choose", _integers("choose", a), len(choices), mode), len(choices)
    if a.size and not 0 <= a.min() <= a.max() < n:
        raise ValueError(f"choose: expected integers in [0, {n}), got {a.min()} to {a.max()}")
    return select([a == i for i in range(n)], [*choices])


def _index(index: Any) -> Any:
    """`index` with arrays in the place of Tensors and lists."""
    if type(index) is tuple:
        return tuple(_index(i) for i in index)
    if type(index) is list:
        return np.asarray(index) if index else np.zeros(0, np.intp)
    return value(index)


def _integers(name: str, indices: Any) -> np.ndarray:
    indices = np.asarray(value(indices))
    if indices.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integer indices, got {indices.dtype}")
    return indices
