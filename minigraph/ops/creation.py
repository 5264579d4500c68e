"""Arrays made of other arrays and of numbers: nested lists, copies, ranges, grids."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..primitive import primitive
from ..tensor import ArrayLike, Tensor, value
from .elementwise import add, as_array, astype
from .exponential import power
from .joining import joined
from .numpy_api import implements
from .shape import broadcast_arrays, broadcast_to, moveaxis, reshape

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["array", "copy", "full_like", "linspace", "logspace", "meshgrid"]


def array(object: Any, dtype: DTypeLike | None = None) -> Tensor:
    """A new array of a nested list of Tensors, arrays and numbers: `mg.array([t, u, 3.0])`.

    All entries of a list have one shape. Numbers do not decide the dtype. A Tensor gives a copy. NumPy's own
    `np.array([t, u])` cannot be had: it makes an ndarray, which would lose the gradient.
    """
    made = joined(object, np.ndarray)
    if type(made) is not Tensor:
        return np.array(as_array(made), dtype)  # type: ignore[return-value]
    made = copy(made) if made is object else made
    return made if dtype is None else astype(made, dtype)


@primitive
def _copy(x: ArrayLike):
    """x in memory of its own."""
    return np.array(x)


@_copy.vjp
def _(g, _y, _x):
    return g


@implements(np.copy)
def copy(a: ArrayLike, order: str = "K") -> Tensor:
    """a in memory of its own. How it lies there says nothing about a Tensor, so `order` has no effect."""
    return _copy(a)


@implements(np.full_like)
def full_like(
    a: ArrayLike, fill_value: ArrayLike, dtype: DTypeLike | None = None, *, shape: int | Sequence[int] | None = None
) -> Tensor:
    """`fill_value`, a number or an array, broadcast to the shape and in the dtype of a. No gradient goes to a."""
    like = value(as_array(a))
    fill_value, dtype = joined(fill_value), like.dtype if dtype is None else np.dtype(dtype)
    if type(fill_value) is not Tensor:
        return np.full_like(like, fill_value, dtype, shape=shape)  # type: ignore[return-value]
    return copy(broadcast_to(astype(fill_value, dtype), like.shape if shape is None else shape))


@implements(np.linspace)
def linspace(
    start: ArrayLike, stop: ArrayLike, num: int = 50, endpoint: bool = True, retstep: bool = False,
    dtype: DTypeLike | None = None, axis: int = 0,
) -> Any:  # fmt: skip
    """`num` numbers at equal distances from `start` to `stop`, which is the last of them if `endpoint`.

    Where start and stop are arrays, the numbers lie along `axis`. With `retstep` the result is (numbers, distance).
    """
    num = operator.index(num)
    if num < 0:
        raise ValueError(f"linspace: expected num of at least 0, got {num}")
    kind = np.asarray(add(value(start), value(stop))).dtype  # that of a sum, in which numbers decide nothing
    start, stop = broadcast_arrays(start, stop)
    if kind.kind == "f":
        start, stop = astype(start, kind), astype(stop, kind)
    gaps = num - 1 if endpoint else num
    w = np.arange(num).reshape(num, *[1] * start.ndim) / (gaps or 1)
    w = w.astype(kind) if kind.kind == "f" else w
    y = moveaxis((1 - w) * start + w * stop, 0, axis)
    y = y if dtype is None else astype(y, dtype)
    return (y, (stop - start) / (gaps if gaps > 0 else np.nan)) if retstep else y


@implements(np.logspace)
def logspace(
    start: ArrayLike, stop: ArrayLike, num: int = 50, endpoint: bool = True, base: ArrayLike = 10.0,
    dtype: DTypeLike | None = None, axis: int = 0,
) -> Tensor:  # fmt: skip
    """base ** linspace(start, stop, num, endpoint); see `linspace`."""
    if np.ndim(value(base)):
        start, stop, base = broadcast_arrays(start, stop, base)
        base = moveaxis(reshape(base, (1, *base.shape)), 0, axis)
    y = power(base, linspace(start, stop, num, endpoint, axis=axis))
    return y if dtype is None else astype(y, dtype)


@implements(np.meshgrid)
def meshgrid(*xi: ArrayLike, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple[Tensor, ...]:
    """The coordinates of the points of a grid: for each vector one array, of the shape of the grid.

    With indexing "xy" the second vector runs along the first axis and the first along the second; with "ij" each along
    its own. A `sparse` grid has length 1 along the other axes. `copy` has no effect: a Tensor is not assigned to.
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: expected indexing 'xy' or 'ij', got {indexing!r}")
    n = len(xi)
    axes = [1, 0, *range(2, n)] if indexing == "xy" and n > 1 else [*range(n)]
    grid = tuple(reshape(x, (1,) * k + (-1,) + (1,) * (n - k - 1)) for x, k in zip(xi, axes, strict=True))
    return grid if sparse else broadcast_arrays(*grid)
