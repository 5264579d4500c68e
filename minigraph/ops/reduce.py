"""Reductions. As in NumPy, `axis` is an int, a tuple of ints, or None for all axes.

The keywords that most of them take are NumPy's too:

- `dtype`: the floating dtype to which the entries are converted first.
- `where`: an array of bools that broadcasts to x; entries where it is false are left out.
- `initial`: a number, which counts as one more entry.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels.precision import total, widened
from ..primitive import primitive
from ..tensor import ArrayLike, Tensor, value
from .elementwise import abs as absolute
from .elementwise import as_array, astype, beside, floats, gate, maximum, minimum
from .elementwise import where as choose
from .exponential import exp
from .indexing import diagonal
from .joining import concatenate
from .numpy_api import implements
from .shape import Axis, axes_of, broadcast_to, reshape, transpose

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["logsumexp", "max", "mean", "min", "norm", "prod", "sum", "trace"]


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
def sum(
    x: ArrayLike, axis: Axis = None, keepdims: bool = False, *, dtype: DTypeLike | None = None,
    initial: ArrayLike | None = None, where: ArrayLike | None = None,
) -> Tensor:  # fmt: skip
    """The sum over `axis`."""
    if dtype is None and initial is None and where is None:
        return _sum(x, axis, keepdims)
    x, mask = entries("sum", x, dtype, where)
    y = _sum(x if mask is None else gate(x, mask), axis, keepdims)
    return y if initial is None else y + initial


@primitive
def _sum(x: ArrayLike, axis: Axis = None, keepdims: bool = False):
    x = np.asarray(x)
    return total(x, axes_of(axis, x.ndim), keepdims)


@_sum.vjp
def _(g, _y, _x, axis=None, keepdims=False):
    """g, repeated over the axes that were summed"""
    return spread(g, _x.shape, axis)


@implements(np.mean, positional=2)
def mean(
    x: ArrayLike, axis: Axis = None, keepdims: bool = False, *, dtype: DTypeLike | None = None,
    where: ArrayLike | None = None,
) -> Tensor:  # fmt: skip
    """The mean over `axis`. Raises ValueError where there is nothing to average."""
    if dtype is None and where is None:
        return _mean(x, axis, keepdims)
    t, mask = entries("mean", x, dtype, where)
    if mask is None:
        return _mean(t, axis, keepdims)
    y = divided("mean", gate(widened(t), mask), mask, axis, keepdims)
    return astype(y, np.float16) if t.dtype.char == "e" else y


@primitive
def _mean(x: ArrayLike, axis: Axis = None, keepdims: bool = False):
    x = np.asarray(x)
    nonempty("mean", x, axis)
    return np.mean(x, axes_of(axis, x.ndim), keepdims=keepdims)  # NumPy adds float16 up in float32


@_mean.vjp
def _(g, _y, _x, axis=None, keepdims=False):
    """g / n, repeated over the axes of the n entries"""
    return spread(g * (1 / count(_x.shape, axis)), _x.shape, axis)


@implements(np.max, np.amax, positional=2)
def max(
    x: ArrayLike, axis: Axis = None, keepdims: bool = False, *, initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Tensor:  # fmt: skip
    """The maximum over `axis`, NaN where an entry is NaN. Entries equal to it, to the last bit, share the gradient.

    At a tie with `initial` that gets half of it. `where` needs `initial`, as in NumPy.
    """
    if initial is None and where is None:
        return _max(x, axis, keepdims)
    return _extreme(_max, maximum, -np.inf, x, axis, keepdims, initial, where)


@primitive
def _max(x: ArrayLike, axis: Axis = None, keepdims: bool = False):
    return np.max(x, axes_of(axis, np.ndim(x)), keepdims=keepdims)


@_max.vjp
def _(g, y, x, axis=None, keepdims=False):
    """g / k where x = y, with k the number of such entries; a NaN is equal to NaN"""
    return spread(g, x.shape, axis) * _shares(value(x), value(y), axis)


@implements(np.min, np.amin, positional=2)
def min(
    x: ArrayLike, axis: Axis = None, keepdims: bool = False, *, initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Tensor:  # fmt: skip
    """The minimum over `axis`, NaN where an entry is NaN. Entries equal to it, to the last bit, share the gradient.

    At a tie with `initial` that gets half of it. `where` needs `initial`, as in NumPy.
    """
    if initial is None and where is None:
        return _min(x, axis, keepdims)
    return _extreme(_min, minimum, np.inf, x, axis, keepdims, initial, where)


@primitive
def _min(x: ArrayLike, axis: Axis = None, keepdims: bool = False):
    return np.min(x, axes_of(axis, np.ndim(x)), keepdims=keepdims)


@_min.vjp
def _(g, y, x, axis=None, keepdims=False):
    """g / k where x = y, with k the number of such entries; a NaN is equal to NaN"""
    return spread(g, x.shape, axis) * _shares(value(x), value(y), axis)


def _extreme(
    reduction: Any, ufunc: Any, lowest: float, x: Any, axis: Axis, keepdims: bool, initial: Any, where: Any
) -> Any:
    """The maximum or minimum over `axis` with an initial value, of those entries where `where` is true."""
    x, mask = entries(reduction.name, x, None, where)
    if initial is None:
        raise ValueError(f"{reduction.name}: where= needs initial=, the result where no entry is left")
    if not count(x.shape, axis):
        return _sum(x, axis, keepdims) + initial  # the sum of nothing is 0
    return ufunc(reduction(x if mask is None else choose(mask, x, lowest), axis, keepdims), initial)


def _shares(x: np.ndarray, y: np.ndarray, axis: Axis) -> np.ndarray:
    """1 / (number of entries equal to y) where x equals y, 0 elsewhere; a NaN counts as equal to NaN."""
    y = np.reshape(y, kept(x.shape, axis))
    equal = widened(((x == y) | (np.isnan(x) & np.isnan(y))).astype(x.dtype))
    return equal / np.sum(equal, axes_of(axis, x.ndim), keepdims=True)


@implements(np.prod, positional=2)
def prod(
    x: ArrayLike, axis: Axis = None, keepdims: bool = False, *, dtype: DTypeLike | None = None,
    initial: ArrayLike | None = None, where: ArrayLike | None = None,
) -> Tensor:  # fmt: skip
    """The product over `axis`. It is a tree of multiplications, so a zero among the factors needs no special case."""
    given, mask = entries("prod", x, dtype, where)
    given = given if mask is None else choose(mask, given, 1)
    shape = given.shape
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
    y = astype(y, np.float16) if given.dtype.char == "e" else y
    return y if initial is None else y * initial


@implements(np.trace)
def trace(
    a: ArrayLike, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: DTypeLike | None = None
) -> Tensor:
    """The sum of a diagonal in two axes; see `diagonal`."""
    return sum(diagonal(a, offset, axis1, axis2), -1, dtype=dtype)


@implements(np.linalg.trace)
def _trace_of_matrices(x: ArrayLike, /, *, offset: int = 0, dtype: DTypeLike | None = None) -> Tensor:
    return trace(x, offset, -2, -1, dtype)


@primitive
def logsumexp(x: ArrayLike, axis: Axis = None, keepdims: bool = False):
    """log(sum(e ** x)), without overflow. Where every entry is -inf the result is -inf, with derivative 0."""
    x = np.asarray(floats(x))
    wide, axes = widened(x), axes_of(axis, x.ndim)
    top = np.max(wide, axes, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0).astype(wide.dtype)
    with np.errstate(divide="ignore"):
        y = np.log(np.sum(np.exp(wide - top), axes, keepdims=True)) + top
    return (y if keepdims else np.squeeze(y, axes)).astype(x.dtype, copy=False)


@logsumexp.vjp
def _(g, y, x, axis=None, keepdims=False):
    """g * e^(x - y), and 0 where y = -inf"""
    if x.dtype == np.float16:  # e^(x - y) needs more digits than y has
        x = widened(x)
        y = logsumexp(x, axis, keepdims)
    y = choose(np.isneginf(value(y)), 0, y)
    return spread(g, x.shape, axis) * exp(x - spread(y, x.shape, axis))


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
    x = floats(x)
    if ord in (None, 2):
        return _norm(x, axis, keepdims)
    if ord == 1:
        return sum(absolute(x), axis, keepdims)
    if np.isinf(ord):
        return (max if ord > 0 else min)(absolute(x), axis, keepdims)
    if ord == 0:
        return sum((value(x) != 0) + x * 0, axis, keepdims)
    total = sum(absolute(x) ** ord, axis, keepdims)
    zero = value(total) == 0
    return choose(zero, 0, choose(zero, 1, total) ** (1 / ord))


@primitive
def _norm(x: ArrayLike, axis: Axis = None, keepdims: bool = False):
    """The Euclidean norm. x is divided by its largest entry first, so that squares neither overflow nor vanish."""
    wide, dtype, axes = widened(np.asarray(x)), np.asarray(x).dtype, axes_of(axis, np.ndim(x))
    safe = _largest(wide, axes)
    y = safe * np.sqrt(np.sum(np.square(wide / safe), axes, keepdims=True))
    return (y if keepdims else np.squeeze(y, axes)).astype(dtype, copy=False)


@_norm.vjp
def _(g, y, x, axis=None, keepdims=False):
    """g * x / y, and 0 where y = 0"""
    if x.dtype == np.float16:  # where it is tiny, y has few digits
        x = widened(x)
        y = _norm(x, axis, keepdims)
    zero = value(y) == 0
    unit = x / spread(choose(zero, 1, y), x.shape, axis)  # g / y would overflow where y is tiny
    return spread(choose(zero, 0, g), x.shape, axis) * unit


def entries(name: str, x: Any, dtype: Any, where: Any) -> tuple[Any, np.ndarray | None]:
    """x in `dtype`, and `where` as a mask in the shape of x; None where all entries count."""
    x = as_array(x)
    x = x if dtype is None else astype(x, dtype)
    if where is None or where is True:
        return x, None
    mask = np.asarray(value(where))
    if mask.dtype != bool:
        raise TypeError(f"{name}: expected where= of bools, got {mask.dtype}")
    return x, np.array(np.broadcast_to(mask, x.shape))  # a copy, as the caller may change it before the backward pass


def divided(name: str, x: Any, mask: np.ndarray, axis: Axis, keepdims: bool, ddof: float = 0) -> Any:
    """The sum of x, which is 0 where `mask` is false, over n - ddof, for n true entries. ValueError unless n > ddof."""
    n = np.sum(mask, axes_of(axis, mask.ndim), keepdims=keepdims)
    if (n <= ddof).any():
        raise ValueError(f"{name}: {n.min()} entries are left along axis {axis}, needs more than {ddof}")
    return _sum(x, axis, keepdims) / (beside(n, x) - ddof)


def _largest(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The largest |x| over `axes`, with length 1 there; 1 where it is 0 or not finite. x may be divided by it."""
    top = np.max(np.abs(x), axes, keepdims=True, initial=0)
    return np.where((top > 0) & np.isfinite(top), top, 1).astype(x.dtype)


def nonempty(name: str, x: Any, axis: Axis, ddof: float = 0) -> None:
    n = count(np.shape(x), axis)
    if n <= ddof:
        raise ValueError(f"{name}: {n} entries along axis {axis} of shape {np.shape(x)}, needs more than {ddof}")


