"""Variances and standard deviations. The keywords `dtype` and `where` are those of `reduce`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels.precision import widened
from ..primitive import primitive
from ..tensor import ArrayLike, Tensor, value
from .elementwise import astype, beside, gate
from .elementwise import where as choose
from .exponential import sqrt
from .joining import joined
from .numpy_api import implements
from .reduce import count, divided, entries, nonempty, spread
from .reduce import mean as mean_of
from .shape import Axis, axes_of

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["std", "var"]


@implements(np.var, positional=2)
def var(
    x: ArrayLike, axis: Axis = None, ddof: float = 0, keepdims: bool = False, *, dtype: DTypeLike | None = None,
    where: ArrayLike | None = None, mean: ArrayLike | None = None, correction: float | None = None,
) -> Tensor:  # fmt: skip
    """The variance over `axis`: the sum of squares divided by n - ddof. Raises ValueError unless n > ddof.

    Args:
        mean: the mean to take, with length 1 along `axis`, instead of the one of the entries.
        correction: another name of ddof.
    """
    ddof = ddof if correction is None else correction
    if dtype is None and where is None and mean is None:
        return _var(x, axis, ddof, keepdims)
    t, mask = entries("var", x, dtype, where)
    if mask is None and mean is None:
        return _var(t, axis, ddof, keepdims)
    mask = np.ones(t.shape, bool) if mask is None else mask
    wide = widened(t)
    middle = mean_of(wide, axis, True, where=mask) if mean is None else beside(joined(mean), wide)
    centred = gate(wide - middle, mask)
    y = divided("var", centred * centred, mask, axis, keepdims, ddof)
    return astype(y, np.float16) if t.dtype.char == "e" else y


@primitive
def _var(x: ArrayLike, axis: Axis = None, ddof: float = 0, keepdims: bool = False):
    nonempty("var", x, axis, ddof)
    return _squares(np.var, x, axis, ddof, keepdims)


@_var.vjp
def _(g, y, x, axis=None, ddof=0, keepdims=False):
    """2 * g * (x - mean(x)) / (n - ddof)"""
    centred = _centred(widened(x), axis, np.sqrt(value(y)))
    return spread(g * (2 / (count(x.shape, axis) - ddof)), x.shape, axis) * centred


@implements(np.std, positional=2)
def std(
    x: ArrayLike, axis: Axis = None, ddof: float = 0, keepdims: bool = False, *, dtype: DTypeLike | None = None,
    where: ArrayLike | None = None, mean: ArrayLike | None = None, correction: float | None = None,
) -> Tensor:  # fmt: skip
    """The standard deviation, which is the square root of `var`.

    Where it is 0, its derivative is taken as 0. Entries that are all equal have a deviation of exactly 0, however their
    mean is rounded. Second derivatives there are 0 too, also those of std(x) ** 2: write var(x) for it.
    """
    ddof = ddof if correction is None else correction
    if dtype is not None:
        x = astype(x, dtype)
    if where is None and mean is None:
        return _std(x, axis, ddof, keepdims)
    y = var(x, axis, ddof, keepdims, where=where, mean=mean)
    flat = value(y) == 0
    return choose(flat, 0, sqrt(choose(flat, 1, y)))


@primitive
def _std(x: ArrayLike, axis: Axis = None, ddof: float = 0, keepdims: bool = False):
    nonempty("std", x, axis, ddof)
    return _squares(np.std, x, axis, ddof, keepdims)


@_std.vjp
def _(g, y, x, axis=None, ddof=0, keepdims=False):
    """g * (x - mean(x)) / ((n - ddof) * y), and 0 where y = 0"""
    if x.dtype == np.float16:  # where it is tiny, y has few digits
        x = widened(x)
        y = std(x, axis, ddof, keepdims)
    flat = value(y) == 0
    unit = _centred(x, axis, value(y)) / spread(choose(flat, 1, y), x.shape, axis)
    scale = choose(flat, 0, g) * (1 / (count(x.shape, axis) - ddof))
    return spread(scale, x.shape, axis) * unit


def _squares(f: Any, x: Any, axis: Axis, ddof: float, keepdims: bool) -> np.ndarray:
    """np.var or np.std, with exact zeros where all entries are equal; a deviation whose square is out of range too."""
    x = np.asarray(x)
    wide, axes = widened(x), axes_of(axis, x.ndim)
    mean = np.mean(wide, axes, keepdims=True)
    with np.errstate(over=None if f is np.var else "ignore"):  # None: as it is
        y = f(wide, axes, ddof=ddof, keepdims=keepdims, mean=mean)
        if _is_rounding(np.sqrt(y) if f is np.var else y, mean):
            y = f(wide - _first(wide, axes), axes, ddof=ddof, keepdims=keepdims)
        info = np.finfo(mean.dtype)
        if f is np.std and not ((y > np.sqrt(info.tiny / info.eps)) & (y < np.inf)).all():
            d = wide - _first(wide, axes)
            top = np.max(np.abs(d), axes, keepdims=True)
            safe = np.where((top > 0) & (top < np.inf), top, 1).astype(top.dtype)
            y = (f(d / safe, axes, ddof=ddof, keepdims=True) * safe).reshape(y.shape)
    return y.astype(x.dtype, copy=False) if x.dtype.kind == "f" else y


def _centred(x: Any, axis: Axis, std: np.ndarray) -> Any:
    """x less its mean over `axis`, so that its sum is 0 to the digits of its own, not of x."""
    m = mean_of(x, axis, keepdims=True)
    if not _is_rounding(std, value(m)):
        return x - m
    x = x - _first(value(x), axes_of(axis, x.ndim))
    return x - mean_of(x, axis, keepdims=True)


def _is_rounding(std: np.ndarray, mean: np.ndarray) -> bool:
    """Whether some deviation is so small that the rounding of its mean, which is about eps |mean|, shows in it.

    The limit is sqrt(eps) |mean|. Of numbers that are so close to one another, the differences are exact.
    """
    return bool((std.reshape(mean.shape) < np.sqrt(np.finfo(mean.dtype).eps) * np.abs(mean)).any())


def _first(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The first entry of x along `axes`, with length 1 there."""
    return x[tuple(slice(0, 1) if i in axes else slice(None) for i in range(x.ndim))]
