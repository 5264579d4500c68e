"""Reductions. As in NumPy, `axis` is an int, a tuple of ints, or None for all axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..kernels.precision import total, widened
from ..primitive import primitive
from ..tensor import ArrayLike, Tensor, value
from .elementwise import abs as absolute
from .elementwise import as_array, astype, exp, where
from .numpy_api import implements
from .shape import Axis, axes_of, broadcast_to, concatenate, flip, reshape, transpose

__all__ = ["cumsum", "logsumexp", "max", "mean", "min", "norm", "prod", "std", "sum", "var"]


def kept(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """`shape` with length 1 along the axes that are reduced."""
    axes = axes_of(axis, len(shape))
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def spread(g: Any, shape: tuple[int, ...], axis: Axis) -> Any:
    """g, the gradient of a sum over `axis`, repeated over the axes that were summed. It is the adjoint of that sum."""
    return broadcast_to(reshape(g, kept(shape, axis)), shape)


def count(shape: tuple[int, ...], axis: Axis) -> int:
    """How many entries of `shape` are reduced to one."""
    return math.prod(n for n, k in zip(shape, kept(shape, axis), strict=True) if k == 1)


@implements(np.sum, positional=2)
@primitive
def sum(x: ArrayLike, axis: Axis = None, keepdims: bool = False):
    """The sum over `axis`."""
    x = np.asarray(x)
    return total(x, axes_of(axis, x.ndim), keepdims)


@sum.vjp
def _(g, _y, _x, axis=None, keepdims=False):
    return spread(g, _x.shape, axis)


@implements(np.mean, positional=2)
@primitive
def mean(x: ArrayLike, axis: Axis = None, keepdims: bool = False):
    """The mean over `axis`. Raises ValueError where there is nothing to average."""
    x = np.asarray(x)
    _nonempty("mean", x, axis)
    return np.mean(x, axes_of(axis, x.ndim), keepdims=keepdims)  # NumPy adds float16 up in float32


@mean.vjp
def _(g, _y, _x, axis=None, keepdims=False):
    return spread(g * (1 / count(_x.shape, axis)), _x.shape, axis)


@implements(np.var, positional=2)
@primitive
def var(x: ArrayLike, axis: Axis = None, ddof: int = 0, keepdims: bool = False):
    """The variance over `axis`: the sum of squares divided by n - ddof. Raises ValueError unless n > ddof."""
    _nonempty("var", x, axis, ddof)
    return _squares(np.var, x, axis, ddof, keepdims)


@var.vjp
def _(g, y, x, axis=None, ddof=0, keepdims=False):  # 2 (x - mean) / (n - ddof)
    centred = _centred(widened(x), axis, np.sqrt(value(y)))
    return spread(g * (2 / (count(x.shape, axis) - ddof)), x.shape, axis) * centred


@implements(np.std, positional=2)
@primitive
def std(x: ArrayLike, axis: Axis = None, ddof: int = 0, keepdims: bool = False):
    """The standard deviation, which is the square root of `var`.

    Where it is 0, its derivative is taken as 0. Entries that are all equal have a deviation of exactly 0, however their
    mean is rounded. Second derivatives there are 0 too, also those of std(x) ** 2: write var(x) for it.
    """
    _nonempty("std", x, axis, ddof)
    return _squares(np.std, x, axis, ddof, keepdims)


@std.vjp
def _(g, y, x, axis=None, ddof=0, keepdims=False):  # (x - mean) / ((n - ddof) std)
    if x.dtype == np.float16:  # where it is tiny, y has few digits
        x = widened(x)
        y = std(x, axis, ddof, keepdims)
    flat = value(y) == 0
    unit = _centred(x, axis, value(y)) / spread(where(flat, 1, y), x.shape, axis)
    scale = where(flat, 0, g) * (1 / (count(x.shape, axis) - ddof))
    return spread(scale, x.shape, axis) * unit


@implements(np.max, positional=2)
@primitive
def max(x: ArrayLike, axis: Axis = None, keepdims: bool = False):
    """The maximum over `axis`, NaN where an entry is NaN. Entries equal to it, to the last bit, share the gradient."""
    return np.max(x, axes_of(axis, np.ndim(x)), keepdims=keepdims)


@max.vjp
def _(g, y, x, axis=None, keepdims=False):
    return spread(g, x.shape, axis) * _shares(value(x), value(y), axis)


@implements(np.min, positional=2)
@primitive
def min(x: ArrayLike, axis: Axis = None, keepdims: bool = False):
    """The minimum over `axis`, NaN where an entry is NaN. Entries equal to it, to the last bit, share the gradient."""
    return np.min(x, axes_of(axis, np.ndim(x)), keepdims=keepdims)


@min.vjp
def _(g, y, x, axis=None, keepdims=False):
    return spread(g, x.shape, axis) * _shares(value(x), value(y), axis)


def _shares(x: np.ndarray, y: np.ndarray, axis: Axis) -> np.ndarray:
    """1 / (number of entries equal to y) where x equals y, 0 elsewhere; a NaN counts as equal to NaN."""
    y = np.reshape(y, kept(x.shape, axis))
    equal = widened(((x == y) | (np.isnan(x) & np.isnan(y))).astype(x.dtype))
    return equal / np.sum(equal, axes_of(axis, x.ndim), keepdims=True)


@implements(np.prod, positional=2)
def prod(x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The product over `axis`. It is a tree of multiplications, so a zero among the factors needs no special case."""
    given, shape = as_array(x), np.shape(x)
    axes = axes_of(axis, len(shape))
    rest = [i for i in range(len(shape)) if i not in axes]
    left = tuple(shape[i] for i in rest)
    y = reshape(transpose(widened(given), (*rest, *axes)), (*left, count(shape, axis)))
    while (n := y.shape[-1]) > 1:
        half = n // 2
        pairs = y[..., :half] * y[..., half : 2 * half]
        y = concatenate([pairs, y[..., 2 * half :]], -1) if n % 2 else pairs
    if y.shape[-1] == 0:  # the empty product
        y = sum(y, -1, keepdims=True) + 1
    y = reshape(y, kept(shape, axis) if keepdims else left)
    return astype(y, np.float16) if given.dtype.char == "e" else y


@primitive
def logsumexp(x: ArrayLike, axis: Axis = None, keepdims: bool = False):
    """log(sum(e ** x)), without overflow. Where every entry is -inf the result is -inf, with derivative 0."""
    wide, dtype, axes = widened(np.asarray(x)), np.asarray(x).dtype, axes_of(axis, np.ndim(x))
    top = np.max(wide, axes, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0).astype(wide.dtype)
    with np.errstate(divide="ignore"):
        y = np.log(np.sum(np.exp(wide - top), axes, keepdims=True)) + top
    return (y if keepdims else np.squeeze(y, axes)).astype(dtype, copy=False)


@logsumexp.vjp
def _(g, y, x, axis=None, keepdims=False):  # e^x / sum e^x
    if x.dtype == np.float16:  # e^(x - y) needs more digits than y has
        x = widened(x)
        y = logsumexp(x, axis, keepdims)
    y = where(np.isneginf(value(y)), 0, y)
    return spread(g, x.shape, axis) * exp(x - spread(y, x.shape, axis))


@implements(np.cumsum)
@primitive
def cumsum(x: ArrayLike, axis: int | None = None):
    """The running sum along `axis` (an int), or over the flattened array."""
    x = np.asarray(x)
    return np.cumsum(widened(x), axis).astype(x.dtype, copy=False) if x.dtype.kind == "f" else np.cumsum(x, axis)


@cumsum.vjp
def _(g, _y, _x, axis=None):  # x_i is part of the sums from i on
    back = 0 if axis is None else axis
    return reshape(flip(cumsum(flip(g, back), back), back), _x.shape)


def norm(x: Any, ord: float | None = None, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The vector norm over `axis` (all entries by default).

    Args:
        ord: None or 2 for the Euclidean norm (of a matrix: Frobenius), 1 for the sum of |x|, inf and -inf for the
            largest and the smallest |x|, 0 for the number of entries that are not 0, another p for
            (sum of |x|^p)^(1/p).

    Where the Euclidean norm is 0, its derivative is taken as 0, the smallest subgradient. Second derivatives there are
    0 too, also those of norm(x) ** 2, whose Hessian in truth is 2 I: write sum(x * x) for it. So it is with the norms
    of other p; those of 1 and inf follow `abs`, `max` and `min`. Raises ValueError for an ord that is no number, also
    for a Tensor, by which the norm is not differentiated.
    """
    if isinstance(ord, Tensor):
        raise ValueError("norm: expected ord None or a number, got a Tensor, by which norm is not differentiated")
    if ord is not None and not isinstance(ord, (int, float, np.integer, np.floating)):
        raise ValueError(f"norm: expected ord None or a number, got {ord!r}; matrix_norm has those of matrices")
    if ord in (None, 2):
        return _norm(x, axis, keepdims)
    if ord == 1:
        return sum(absolute(x), axis, keepdims)
    if np.isinf(ord):
        return (max if ord > 0 else min)(absolute(x), axis, keepdims)
    x = as_array(x)
    if ord == 0:
        return sum((value(x) != 0) + x * 0, axis, keepdims)
    total = sum(absolute(x) ** ord, axis, keepdims)
    zero = value(total) == 0
    return where(zero, 0, where(zero, 1, total) ** (1 / ord))


@primitive
def _norm(x: ArrayLike, axis: Axis = None, keepdims: bool = False):
    """The Euclidean norm. x is divided by its largest entry first, so that squares neither overflow nor vanish."""
    wide, dtype, axes = widened(np.asarray(x)), np.asarray(x).dtype, axes_of(axis, np.ndim(x))
    safe = _largest(wide, axes)
    y = safe * np.sqrt(np.sum(np.square(wide / safe), axes, keepdims=True))
    return (y if keepdims else np.squeeze(y, axes)).astype(dtype, copy=False)


@_norm.vjp
def _(g, y, x, axis=None, keepdims=False):  # x / |x|
    if x.dtype == np.float16:  # where it is tiny, y has few digits
        x = widened(x)
        y = _norm(x, axis, keepdims)
    zero = value(y) == 0
    unit = x / spread(where(zero, 1, y), x.shape, axis)  # g / y would overflow where y is tiny
    return spread(where(zero, 0, g), x.shape, axis) * unit


def _squares(f: Any, x: Any, axis: Axis, ddof: int, keepdims: bool) -> np.ndarray:
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
    m = mean(x, axis, keepdims=True)
    if not _is_rounding(std, value(m)):
        return x - m
    x = x - _first(value(x), axes_of(axis, x.ndim))
    return x - mean(x, axis, keepdims=True)


def _is_rounding(std: np.ndarray, mean: np.ndarray) -> bool:
    """Whether some deviation is so small that the rounding of its mean, which is about eps |mean|, shows in it.

    The limit is sqrt(eps) |mean|. Of numbers that are so close to one another, the differences are exact.
    """
    return bool((std.reshape(mean.shape) < np.sqrt(np.finfo(mean.dtype).eps) * np.abs(mean)).any())


def _largest(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The largest |x| over `axes`, with length 1 there; 1 where it is 0 or not finite. x may be divided by it."""
    top = np.max(np.abs(x), axes, keepdims=True, initial=0)
    return np.where((top > 0) & np.isfinite(top), top, 1).astype(x.dtype)


def _first(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The first entry of x along `axes`, with length 1 there."""
    return x[tuple(slice(0, 1) if i in axes else slice(None) for i in range(x.ndim))]


def _nonempty(name: str, x: Any, axis: Axis, ddof: int = 0) -> None:
    n = count(np.shape(x), axis)
    if n <= ddof:
        raise ValueError(f"{name}: {n} entries along axis {axis} of shape {np.shape(x)}, needs more than {ddof}")


