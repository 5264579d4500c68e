"""Running sums, products and extremes along one axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels.precision import widened
from ..primitive import primitive
from ..tensor import ArrayLike, Tensor, value
from .elementwise import as_array, astype, gate, multiply, where
from .joining import concatenate
from .numpy_api import implements
from .shape import flip, reshape

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["cumprod", "cumsum", "cumulative_prod", "cumulative_sum", "nancumprod", "nancumsum"]


@implements(np.cumsum)
def cumsum(x: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None) -> Tensor:
    """The running sum along `axis` (an int), or over the flattened array."""
    return _cumsum(x if dtype is None else astype(x, dtype), axis)


@primitive
def _cumsum(x: ArrayLike, axis: int | None = None):
    x = np.asarray(x)
    return np.cumsum(widened(x), axis).astype(x.dtype, copy=False) if x.dtype.kind == "f" else np.cumsum(x, axis)


@_cumsum.vjp
def _(g, _y, _x, axis=None):
    """x[i]: the sum of g[j] over j >= i, which are the sums that x[i] is part of"""
    back = 0 if axis is None else axis
    return reshape(flip(_cumsum(flip(g, back), back), back), _x.shape)


@implements(np.cumprod)
def cumprod(x: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None) -> Tensor:
    """The running product along `axis` (an int), or over the flattened array.

    It is made of log2(n) multiplications of whole arrays, so a zero among the factors needs no special case.
    """
    x = as_array(x) if dtype is None else astype(x, dtype)
    y = running(multiply, widened(x), axis, "cumprod")
    return astype(y, np.float16) if x.dtype.char == "e" else y


def running(f: Callable[[Any, Any], Any], x: Any, axis: int | None, name: str) -> Any:
    """y with y[i] = f(... f(f(x[0], x[1]), x[2]) ..., x[i]) along `axis`, for an f that is associative and commutative.

    After step k each entry stands for the last 2^k up to its own (Hillis & Steele 1986).
    """
    x = as_array(x)
    if axis is None:
        x, axis = reshape(x, -1), 0
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"{name}: axis {axis} is out of range for shape {x.shape}")
    front, step = (slice(None),) * (axis % x.ndim), 1
    while step < x.shape[axis]:
        joined = f(x[(*front, slice(step, None))], x[(*front, slice(None, -step))])
        x = concatenate([x[(*front, slice(None, step))], joined], axis)
        step *= 2
    return x


def cumulative_sum(
    x: ArrayLike, /, *, axis: int | None = None, dtype: DTypeLike | None = None, include_initial: bool = False
) -> Tensor:
    """The running sum along `axis`, which may be left out for an array of one axis; see `cumsum`.

    With `include_initial` it begins with the 0 of no entries.
    """
    return _cumulative("cumulative_sum", cumsum, 0, x, axis, dtype, include_initial)


def cumulative_prod(
    x: ArrayLike, /, *, axis: int | None = None, dtype: DTypeLike | None = None, include_initial: bool = False
) -> Tensor:
    """The running product along `axis`, which may be left out for an array of one axis; see `cumprod`.

    With `include_initial` it begins with the 1 of no entries.
    """
    return _cumulative("cumulative_prod", cumprod, 1, x, axis, dtype, include_initial)


if hasattr(np, "cumulative_sum"):  # since NumPy 2.1
    implements(np.cumulative_sum)(cumulative_sum)
    implements(np.cumulative_prod)(cumulative_prod)


def _cumulative(name: str, f: Any, first: int, x: Any, axis: int | None, dtype: Any, include_initial: bool) -> Any:
    x = as_array(x)
    if axis is None and x.ndim != 1:
        raise ValueError(f"{name}: expected axis= for an array of {x.ndim} axes")
    axis = 0 if axis is None else axis
    y = f(x, axis, dtype)
    if not include_initial:
        return y
    lengths = [1 if k == axis % y.ndim else n for k, n in enumerate(y.shape)]
    return concatenate([np.full(lengths, first, y.dtype), y], axis)


@implements(np.nancumsum)
def nancumsum(x: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None) -> Tensor:
    """`cumsum` with 0 in the place of NaN, which gets no gradient."""
    return cumsum(gate(x, ~np.isnan(value(as_array(x)))), axis, dtype)


@implements(np.nancumprod)
def nancumprod(x: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None) -> Tensor:
    """`cumprod` with 1 in the place of NaN, which gets no gradient."""
    return cumprod(where(np.isnan(value(as_array(x))), 1, x), axis, dtype)
