"""Reductions. As in NumPy, `axis` is an int, a tuple of ints, or None for all axes."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ..primitive import primitive
from ..tensor import ArrayLike, Tensor, value
from .elementwise import abs as absolute
from .elementwise import exp, where
from .numpy_api import implements
from .shape import Axis, broadcast_to, concatenate, flip, reshape, transpose

__all__ = ["cumsum", "logsumexp", "max", "mean", "min", "norm", "prod", "std", "sum", "var"]


def reduced(shape: tuple[int, ...], axis: Axis) -> set[int]:
    """The numbers of the axes that a reduction over `axis` reduces, which is spelt in any way that NumPy takes."""
    if axis is None or not shape:  # NumPy reduces a 0-d array over axis 0 and -1 too
        return set(range(len(shape)))
    return {operator.index(a) % len(shape) for a in (axis if isinstance(axis, tuple) else (axis,))}


def kept(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """`shape` with length 1 along the axes that are reduced."""
    axes = reduced(shape, axis)
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def left(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """`shape` without the axes that are reduced."""
    axes = reduced(shape, axis)
    return tuple(n for i, n in enumerate(shape) if i not in axes)


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
    return np.sum(x, axis, keepdims=keepdims)


@sum.vjp
def _(g, _y, _x, axis=None, keepdims=False):
    return spread(g, _x.shape, axis)


@implements(np.mean, positional=2)
@primitive
def mean(x: ArrayLike, axis: Axis = None, keepdims: bool = False):
    """The mean over `axis`. Raises ValueError where there is nothing to average."""
    _nonempty("mean", x, axis)
    return np.mean(np.asarray(x), axis, keepdims=keepdims)


@mean.vjp
def _(g, _y, _x, axis=None, keepdims=False):
    return spread(g * (1 / count(_x.shape, axis)), _x.shape, axis)  # not g / n: n could overflow in float16


@implements(np.var, positional=2)
@primitive
def var(x: ArrayLike, axis: Axis = None, ddof: int = 0, keepdims: bool = False):
    """The variance over `axis`: the sum of squares divided by n - ddof. Raises ValueError unless n > ddof."""
    _nonempty("var", x, axis, ddof)
    return _squares(np.var, x, axis, ddof, keepdims)


@var.vjp
def _(g, _y, x, axis=None, ddof=0, keepdims=False):  # 2 (x - mean) / (n - ddof)
    centred = x - mean(x, axis, keepdims=True)
    return spread(g * (2 / (count(x.shape, axis) - ddof)), x.shape, axis) * centred


@implements(np.std, positional=2)
@primitive
def std(x: ArrayLike, axis: Axis = None, ddof: int = 0, keepdims: bool = False):
    """The standard deviation, which is the square root of `var`. Where it is 0, its derivative is taken as 0.

    Entries that are all equal count as such. Their mean is rounded, so their computed deviation may be a bit above 0.
    """
    _nonempty("std", x, axis, ddof)
    return _squares(np.std, x, axis, ddof, keepdims)


@std.vjp
def _(g, y, x, axis=None, ddof=0, keepdims=False):  # (x - mean) / ((n - ddof) std)
    v = value(x)
    flat = (np.max(v, axis, keepdims=keepdims) == np.min(v, axis, keepdims=keepdims)) | (value(y) == 0)
    scale = where(flat, 0, g / where(flat, 1, y)) * (1 / (count(x.shape, axis) - ddof))
    return spread(scale, x.shape, axis) * (x - mean(x, axis, keepdims=True))


@implements(np.max, positional=2)
@primitive
def max(x: ArrayLike, axis: Axis = None, keepdims: bool = False):
    """The maximum over `axis`, NaN where an entry is NaN. Entries that tie share the gradient equally."""
    return np.max(x, axis, keepdims=keepdims)


@max.vjp
def _(g, y, x, axis=None, keepdims=False):
    return spread(g, x.shape, axis) * _shares(value(x), value(y), axis)


@implements(np.min, positional=2)
@primitive
def min(x: ArrayLike, axis: Axis = None, keepdims: bool = False):
    """The minimum over `axis`, NaN where an entry is NaN. Entries that tie share the gradient equally."""
    return np.min(x, axis, keepdims=keepdims)


@min.vjp
def _(g, y, x, axis=None, keepdims=False):
    return spread(g, x.shape, axis) * _shares(value(x), value(y), axis)


def _shares(x: np.ndarray, y: np.ndarray, axis: Axis) -> np.ndarray:
    """1 / (number of entries equal to y) where x equals y, 0 elsewhere; a NaN counts as equal to NaN."""
    y = np.reshape(y, kept(x.shape, axis))
    equal = (x == y) | (np.isnan(x) & np.isnan(y))
    wide = np.result_type(x.dtype, np.float32)  # in float16 a count of ties could overflow
    return (equal / np.sum(equal, axis, keepdims=True, dtype=wide)).astype(x.dtype)


@implements(np.prod, positional=2)
def prod(x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The product over `axis`. It is a tree of multiplications, so a zero among the factors needs no special case."""
    shape = np.shape(x)
    axes = normalize_axis_tuple(range(len(shape)) if axis is None else axis, len(shape), "prod: axis")
    rest = [i for i in range(len(shape)) if i not in axes]
    left = tuple(shape[i] for i in rest)
    y = reshape(transpose(x, (*rest, *axes)), (*left, count(shape, axis)))
    while (n := y.shape[-1]) > 1:
        half = n // 2
        pairs = y[..., :half] * y[..., half : 2 * half]
        y = concatenate([pairs, y[..., 2 * half :]], -1) if n % 2 else pairs
    if y.shape[-1] == 0:  # the empty product
        y = sum(y, -1, keepdims=True) + 1
    return reshape(y, kept(shape, axis) if keepdims else left)


@primitive
def logsumexp(x: ArrayLike, axis: Axis = None, keepdims: bool = False):
    """log(sum(e ** x)), without overflow. Where every entry is -inf the result is -inf, with derivative 0."""
    top = np.max(x, axis, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0).astype(np.asarray(x).dtype)
    total = wide_sum(np.exp(x - top), axis)
    with np.errstate(divide="ignore"):
        y = (np.log(total) + top).astype(top.dtype, copy=False)
    return y if keepdims else y.reshape(left(np.shape(x), axis))


@logsumexp.vjp
def _(g, y, x, axis=None, keepdims=False):  # e^x / sum e^x
    y = where(np.isneginf(value(y)), 0, y)
    return spread(g, x.shape, axis) * exp(x - spread(y, x.shape, axis))


@implements(np.cumsum)
@primitive
def cumsum(x: ArrayLike, axis: int | None = None):
    """The running sum along `axis` (an int), or over the flattened array."""
    return np.cumsum(np.asarray(x), axis)


@cumsum.vjp
def _(g, _y, _x, axis=None):  # x_i is part of the sums from i on
    back = 0 if axis is None else axis
    return reshape(flip(cumsum(flip(g, back), back), back), _x.shape)


def norm(x: ArrayLike, ord: float | None = None, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The vector norm over `axis` (all entries by default).

    Args:
        ord: None or 2 for the Euclidean norm (of a matrix: Frobenius), 1 for the sum of |x|, inf for the largest |x|.

    Where the Euclidean norm is 0, its derivative is taken as 0, the smallest subgradient. The second derivative is then
    0 too, also that of norm(x) ** 2, which in truth is 2: write (x * x).sum() for it. The other norms follow `abs` and
    `max`. Raises ValueError for another ord.
    """
    if ord in (None, 2):
        return _norm(x, axis, keepdims)
    if ord == 1:
        return sum(absolute(x), axis, keepdims)
    if ord == np.inf:
        return max(absolute(x), axis, keepdims)
    raise ValueError(f"norm: expected ord None, 1, 2 or inf, got {ord}")


@implements(np.linalg.norm)
def _numpy_norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    axes = range(x.ndim) if axis is None else np.atleast_1d(axis)
    if ord is not None and (len(axes) != 1 or ord not in (1, 2, np.inf)):
        raise TypeError(f"np.linalg.norm(ord={ord!r}) over {len(axes)} axes is not defined on Tensors; see mg.norm")
    return norm(x, ord, axis, keepdims)


@primitive
def _norm(x: ArrayLike, axis: Axis = None, keepdims: bool = False):
    """The Euclidean norm. x is divided by its largest entry first, so that squares neither overflow nor vanish."""
    top = np.max(np.abs(x), axis, keepdims=True, initial=0)
    safe = np.where((top > 0) & np.isfinite(top), top, 1).astype(np.asarray(x).dtype)
    y = (safe * np.sqrt(wide_sum(np.square(x / safe), axis))).astype(safe.dtype, copy=False)
    return y if keepdims else y.reshape(left(np.shape(x), axis))


@_norm.vjp
def _(g, y, x, axis=None, keepdims=False):  # x / |x|
    zero = value(y) == 0
    return spread(where(zero, 0, g / where(zero, 1, y)), x.shape, axis) * x


def wide_sum(x: np.ndarray, axis: Axis) -> Any:
    """The sum over `axis`, kept as length 1; of float16 in float32, where it neither overflows nor loses its digits."""
    return np.sum(x, axis, keepdims=True, dtype=np.float32 if x.dtype == np.float16 else None)


def _squares(f, x, axis, ddof, keepdims):
    """np.var or np.std. float16 is computed in float32, where the squares do not overflow."""
    x = np.asarray(x)
    y = f(x, axis, ddof=ddof, keepdims=keepdims, dtype=np.float32 if x.dtype == np.float16 else None)
    return y.astype(np.float16) if x.dtype == np.float16 else y


def _nonempty(name: str, x: Any, axis: Axis, ddof: int = 0) -> None:
    n = count(np.shape(x), axis)
    if n <= ddof:
        raise ValueError(f"{name}: {n} entries along axis {axis} of shape {np.shape(x)}, needs more than {ddof}")


