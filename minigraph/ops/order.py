"""Sorting, and what is found by it. The order is constant almost everywhere, so a gradient goes where its entry was."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tensor import ArrayLike, Tensor, value
from .elementwise import as_array
from .indexing import take, take_along_axis
from .numpy_api import implements
from .shape import reshape

__all__ = ["partition", "sort", "top_k", "unique"]


@implements(np.sort)
def sort(a: ArrayLike, axis: int | None = -1, kind: Any = None, *, stable: bool | None = None) -> Tensor:
    """a in ascending order along `axis`, or flattened with axis None. NaN comes last.

    It is `take_along_axis` of the order that NumPy finds, so entries that are equal keep a gradient each.
    """
    a, axis = _along("sort", a, axis)
    return take_along_axis(a, np.argsort(value(a), axis, kind=kind, stable=stable), axis)


@implements(np.partition)
def partition(a: ArrayLike, kth: int | Sequence[int], axis: int | None = -1, kind: Any = "introselect") -> Tensor:
    """a with the kth entry along `axis` at its place in the order, smaller ones before and larger ones after it."""
    a, axis = _along("partition", a, axis)
    return take_along_axis(a, np.argpartition(value(a), kth, axis, kind), axis)


def top_k(x: ArrayLike, k: int, axis: int = -1, *, largest: bool = True) -> tuple[Tensor, np.ndarray]:
    """The k largest entries along `axis`, or the smallest, from the outermost on; and their indices, as an ndarray.

    Of equal entries the first come first. Raises ValueError unless 0 <= k <= the length of the axis.
    """
    t, axis = _along("top_k", x, axis)
    k, n = operator.index(k), t.shape[axis]
    if not 0 <= k <= n:
        raise ValueError(f"top_k: expected k in [0, {n}], the length of axis {axis}, got {k}")
    v = value(t)
    found = np.argsort(-v if largest else v, axis, kind="stable")  # NaN last in both orders
    found = np.take(found, np.arange(k), axis)
    return take_along_axis(t, found, axis), found


@implements(np.unique)
def unique(
    ar: ArrayLike, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False,
    axis: int | None = None, *, equal_nan: bool = True, sorted: bool = True,
) -> Any:  # fmt: skip
    """The different entries in ascending order, or slices along `axis`, as numpy.unique.

    The gradient goes to the first of those that are equal. Indices, inverse and counts are ndarrays.
    """
    x = as_array(ar)
    options: Any = {"axis": axis, "equal_nan": equal_nan, **({} if sorted else {"sorted": False})}
    options |= {"return_index": True, "return_inverse": return_inverse, "return_counts": return_counts}
    found = np.unique(value(x), **options)
    values = take(reshape(x, -1) if axis is None else x, found[1], 0 if axis is None else axis)
    rest = found[1:] if return_index else found[2:]
    return (values, *rest) if rest else values


def _along(name: str, a: Any, axis: int | None) -> tuple[Any, int]:
    """a and its axis; with axis None the flattened array."""
    a = as_array(a)
    if axis is None:
        return reshape(a, -1), 0
    if not -a.ndim <= axis < a.ndim:
        raise ValueError(f"{name}: axis {axis} is out of range for shape {a.shape}")
    return a, operator.index(axis)
