"""Averages, quantiles, covariances, and reductions that leave NaN out. All are compositions of operations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..tensor import ArrayLike, Tensor, value
from .elementwise import alike, as_array, astype, gate, where
from .exponential import sqrt
from .indexing import diagonal, take
from .joining import concatenate, joined
from .numpy_api import implements
from .order import sort
from .reduce import count, kept, max, mean, min, prod, sum
from .shape import Axis, atleast_2d, axes_of, broadcast_to, expand_dims, moveaxis, reshape, squeeze, transpose
from .variance import std, var

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = [
    "average", "corrcoef", "cov", "median", "nanmax", "nanmean", "nanmin", "nanprod", "nanstd", "nansum", "nanvar",
    "percentile", "ptp", "quantile",
]  # fmt: skip


@implements(np.average)
def average(
    a: ArrayLike, axis: Axis = None, weights: ArrayLike | None = None, returned: bool = False, *, keepdims: bool = False
) -> Any:
    """The mean over `axis` with `weights`, which have the shape of a, or that of the axes in the order they are named.

    With `returned` the result is (average, sum of the weights). Raises ZeroDivisionError where the weights sum to 0.
    """
    if weights is None:
        x, y = as_array(a), mean(a, axis, keepdims)
        return (y, np.full(y.shape, count(x.shape, axis), y.dtype)) if returned else y
    x, w = alike(a, joined(weights))
    axes = axes_of(axis, x.ndim)
    if w.shape != x.shape:
        if axis is None or w.shape != tuple(x.shape[k] for k in axes):
            raise ValueError(f"average: expected weights in the shape of a {x.shape} or of axis {axis}, got {w.shape}")
        w = transpose(w, np.argsort(axes).tolist())
        w = broadcast_to(reshape(w, [n if k in axes else 1 for k, n in enumerate(x.shape)]), x.shape)
    weight = sum(w, axis, keepdims)
    if np.any(value(weight) == 0):
        raise ZeroDivisionError("average: weights sum to 0")
    y = sum(x * w, axis, keepdims) / weight
    return (y, weight) if returned else y


@implements(np.ptp, positional=2)
def ptp(a: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The range of values over `axis`: `max` less `min`."""
    return max(a, axis, keepdims) - min(a, axis, keepdims)


# ---------------------------------------------------------------- quantiles


@implements(np.quantile, positional=3)
def quantile(
    a: ArrayLike, q: Any, axis: Axis = None, *, overwrite_input: bool = False, method: str = "linear",
    keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """The q-th quantile over `axis`, for q in [0, 1], a number or an array of them, whose axes come first.

    The sorted entries are weighed as `method` says; these are NumPy's. NaN where an entry is NaN. At a tie each gets
    the gradient of its place in the order. No gradient goes to q. `overwrite_input` has no effect.
    """
    if type(q) is Tensor and q.requires_grad:
        raise TypeError("quantile: q takes no Tensor that requires a gradient, none goes through it; pass q.data")
    x, q = as_array(a), np.asarray(value(q), float)
    if not ((q >= 0) & (q <= 1)).all():
        raise ValueError(f"quantile: expected q in [0, 1], percentile in [0, 100], got {q}")
    axes, n = axes_of(axis, x.ndim), count(x.shape, axis)
    if not n:
        raise ValueError(f"quantile: no entries along axis {axis} of shape {x.shape}")
    rest = [k for k in range(x.ndim) if k not in axes]
    left = tuple(x.shape[k] for k in rest)
    ordered = sort(reshape(transpose(x, (*rest, *axes)), (*left, n)), -1)
    # Each method interpolates between neighbours in the order. Of 0, 1, 2, ... it makes the place where it does so.
    place: Any = np.quantile(np.arange(n, dtype=float), q.reshape(-1), method=method)  # type: ignore[call-overload]
    low = np.floor(place).astype(np.intp)
    w = (place - low).astype(x.dtype if x.dtype.kind == "f" else float)
    first, second = take(ordered, low, -1), take(ordered, np.minimum(low + 1, n - 1), -1)
    y = where(w == 0, first, (1 - w) * gate(first, w > 0) + w * gate(second, w > 0))  # 0 times infinity is NaN
    y = where(np.isnan(value(ordered)[..., -1:]), np.nan, y)
    return reshape(moveaxis(y, -1, 0), (*q.shape, *(kept(x.shape, axis) if keepdims else left)))


@implements(np.percentile, positional=3)
def percentile(
    a: ArrayLike, q: Any, axis: Axis = None, *, overwrite_input: bool = False, method: str = "linear",
    keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """The q-th percentile over `axis`, for q in [0, 100]: `quantile` of q / 100."""
    return quantile(a, q / 100 if type(q) is Tensor else np.true_divide(q, 100), axis, method=method, keepdims=keepdims)


@implements(np.median, positional=2)
def median(a: ArrayLike, axis: Axis = None, *, overwrite_input: bool = False, keepdims: bool = False) -> Tensor:
    """The middle of the sorted entries over `axis`, the mean of both where their number is even: `quantile` of 1/2."""
    return quantile(a, 0.5, axis, keepdims=keepdims)


# ---------------------------------------------------------------- covariances


@implements(np.cov)
def cov(
    m: ArrayLike, y: ArrayLike | None = None, rowvar: bool = True, bias: bool = False, ddof: int | None = None,
    fweights: Any = None, aweights: ArrayLike | None = None, *, dtype: DTypeLike | None = None,
) -> Tensor:  # fmt: skip
    """The covariance matrix of variables, which are the rows of m, or its columns without `rowvar`.

    Args:
        y: more variables. bias, ddof: the sum is divided by n - ddof; ddof is 0 with bias and 1 without, if not given.
        fweights: how often each observation counts, ints. aweights: how much it weighs.

    Raises ValueError where n is not larger than ddof.
    """

    def rows(v: Any) -> Any:
        v = atleast_2d(v)
        return transpose(v) if not rowvar and np.ndim(value(given)) != 1 else v

    parts = []
    for given in (m, y):
        if given is not None:
            if np.ndim(value(given)) > 2:
                raise ValueError(f"cov: expected at most two axes, got shape {np.shape(value(given))}")
            parts.append(rows(given if dtype is None else astype(given, dtype)))
    x = concatenate(parts, 0)
    if x.dtype.char == "e":  # products of small differences, to be divided: float16 has too few digits for them
        return astype(cov(astype(x, np.float32), None, True, bias, ddof, fweights, aweights), np.float16)
    ddof = int(not bias) if ddof is None else ddof
    w: Any = None
    weights = {k: joined(v) for k, v in (("fweights", fweights), ("aweights", aweights)) if v is not None}
    x, *arrays = alike(x, *weights.values())
    weights = dict(zip(weights, arrays, strict=True))
    for name, v in weights.items():
        if v.shape != x.shape[1:] or (value(v) < 0).any():
            raise ValueError(f"cov: expected {name} of at least 0 in the shape {x.shape[1:]}, got {v}")
        if name == "fweights" and v.dtype.kind not in "iu" and (value(v) != np.round(value(v))).any():
            raise TypeError("cov: expected whole numbers as fweights")
        w = v if w is None else w * v
    if w is None:
        size: Any = x.shape[1] - ddof
        centred = x - mean(x, 1, keepdims=True)
        right = centred
    else:
        size = sum(w)
        centred = x - sum(x * w, 1, keepdims=True) / size
        right = centred * w
        if ddof:
            size = size - (ddof if aweights is None else ddof * sum(w * weights["aweights"]) / size)
    if value(size) <= 0:
        raise ValueError(f"cov: needs more observations than ddof {ddof}, got {x.shape[1]}")
    return squeeze(centred @ transpose(right) / size)


@implements(np.corrcoef)
def corrcoef(
    x: ArrayLike, y: ArrayLike | None = None, rowvar: bool = True, *, dtype: DTypeLike | None = None
) -> Tensor:
    """The matrix of correlation coefficients of variables: the covariances over the deviations of both; see `cov`."""
    narrow = dtype is None and all(getattr(v, "dtype", None) == np.float16 for v in (x, y) if v is not None)
    c = cov(x, y, rowvar, dtype=np.float32 if narrow else dtype)
    if c.ndim:
        deviation = sqrt(diagonal(c))
        r = c / expand_dims(deviation, 1) / deviation
    else:
        r = c / c
    return astype(r, np.float16) if narrow else r


# ---------------------------------------------------------------- without NaN


@implements(np.nansum, positional=2)
def nansum(
    x: ArrayLike, axis: Axis = None, keepdims: bool = False, *,
    dtype: DTypeLike | None = None, initial: ArrayLike | None = None, where: ArrayLike | None = None,
) -> Tensor:  # fmt: skip
    """`sum` without NaN, which gets no gradient."""
    return sum(x, axis, keepdims, dtype=dtype, initial=initial, where=_not_nan(x, where))


@implements(np.nanprod, positional=2)
def nanprod(
    x: ArrayLike, axis: Axis = None, keepdims: bool = False, *,
    dtype: DTypeLike | None = None, initial: ArrayLike | None = None, where: ArrayLike | None = None,
) -> Tensor:  # fmt: skip
    """`prod` without NaN, which gets no gradient."""
    return prod(x, axis, keepdims, dtype=dtype, initial=initial, where=_not_nan(x, where))


@implements(np.nanmean, positional=2)
def nanmean(
    x: ArrayLike, axis: Axis = None, keepdims: bool = False, *,
    dtype: DTypeLike | None = None, where: ArrayLike | None = None,
) -> Tensor:  # fmt: skip
    """`mean` without NaN, which gets no gradient."""
    return mean(x, axis, keepdims, dtype=dtype, where=_not_nan(x, where))


@implements(np.nanvar, positional=2)
def nanvar(
    x: ArrayLike, axis: Axis = None, ddof: float = 0, keepdims: bool = False, *,
    dtype: DTypeLike | None = None, where: ArrayLike | None = None, mean: ArrayLike | None = None,
    correction: float | None = None,
) -> Tensor:  # fmt: skip
    """`var` without NaN, which gets no gradient."""
    return var(x, axis, ddof, keepdims, dtype=dtype, where=_not_nan(x, where), mean=mean, correction=correction)


@implements(np.nanstd, positional=2)
def nanstd(
    x: ArrayLike, axis: Axis = None, ddof: float = 0, keepdims: bool = False, *,
    dtype: DTypeLike | None = None, where: ArrayLike | None = None, mean: ArrayLike | None = None,
    correction: float | None = None,
) -> Tensor:  # fmt: skip
    """`std` without NaN, which gets no gradient."""
    return std(x, axis, ddof, keepdims, dtype=dtype, where=_not_nan(x, where), mean=mean, correction=correction)


@implements(np.nanmax, positional=2)
def nanmax(
    x: ArrayLike, axis: Axis = None, keepdims: bool = False, *,
    initial: ArrayLike | None = None, where: ArrayLike | None = None,
) -> Tensor:  # fmt: skip
    """`max` without NaN, which gets no gradient. Raises ValueError where nothing is left and there is no `initial`."""
    left = _not_nan(x, where)
    if initial is None:
        _some_left("nanmax", left, axis)
        initial = -math.inf
    return max(x, axis, keepdims, initial=initial, where=left)


@implements(np.nanmin, positional=2)
def nanmin(
    x: ArrayLike, axis: Axis = None, keepdims: bool = False, *,
    initial: ArrayLike | None = None, where: ArrayLike | None = None,
) -> Tensor:  # fmt: skip
    """`min` without NaN, which gets no gradient. Raises ValueError where nothing is left and there is no `initial`."""
    left = _not_nan(x, where)
    if initial is None:
        _some_left("nanmin", left, axis)
        initial = math.inf
    return min(x, axis, keepdims, initial=initial, where=left)


def _not_nan(x: Any, where: Any) -> np.ndarray:
    """`where` of a reduction, false at NaN too."""
    mask = ~np.isnan(value(as_array(x)))
    return mask if where is None else mask & np.asarray(value(where), bool)


def _some_left(name: str, mask: np.ndarray, axis: Axis) -> None:
    if not mask.any(axes_of(axis, mask.ndim)).all():
        raise ValueError(f"{name}: only NaN along axis {axis} of shape {mask.shape}; give initial=")
