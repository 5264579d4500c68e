"""Differences between neighbours, and derivatives and integrals made of them. All are compositions of operations."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ..tensor import ArrayLike, Tensor, value
from .elementwise import alike, as_array, beside
from .joining import concatenate, joined
from .numpy_api import implements
from .reduce import sum
from .shape import Axis, axes_of, broadcast_to, flip, moveaxis, ravel, reshape

__all__ = ["diff", "ediff1d", "gradient", "trapezoid"]


@implements(np.diff)
def diff(
    a: ArrayLike, n: int = 1, axis: int = -1, prepend: ArrayLike | None = None, append: ArrayLike | None = None
) -> Tensor:
    """The differences of neighbours along `axis`, n times over.

    `prepend` and `append`, arrays or numbers, are put before and after a along `axis` first.
    """
    x = as_array(a)
    if operator.index(n) < 0 or not x.ndim:
        raise ValueError(f"diff: expected n of at least 0 and an axis, got n {n}, {x.dtype} {x.shape}")
    axis = axes_of(operator.index(axis), x.ndim)[0]

    def end(v: Any) -> Any:
        v = beside(joined(v), x)
        return broadcast_to(v, [1 if k == axis else m for k, m in enumerate(x.shape)]) if not v.ndim else v

    parts = [*([] if prepend is None else [end(prepend)]), x, *([] if append is None else [end(append)])]
    x = concatenate(parts, axis) if len(parts) > 1 else x
    if x.dtype == bool:  # whether neighbours differ, as in NumPy
        return np.diff(value(x), n, axis)
    front = (slice(None),) * axis
    for _ in range(n):
        x = x[(*front, slice(1, None))] - x[(*front, slice(None, -1))]
    return x


@implements(np.ediff1d)
def ediff1d(ary: ArrayLike, to_end: ArrayLike | None = None, to_begin: ArrayLike | None = None) -> Tensor:
    """The differences of neighbours of the flattened array, between the entries of `to_begin` and of `to_end`."""
    x = ravel(as_array(ary))
    ends = [None if v is None else ravel(beside(joined(v), x)) for v in (to_begin, to_end)]
    parts = [ends[0], diff(x), ends[1]]
    return concatenate([p for p in parts if p is not None])


@implements(np.gradient)
def gradient(f: ArrayLike, *varargs: ArrayLike, axis: Axis = None, edge_order: int = 1) -> Any:
    """The derivative of sampled values by central differences, along each axis or those of `axis`, as numpy.gradient.

    Args:
        varargs: nothing, for samples 1 apart; one distance for all axes; or for each axis a distance or the places of
            the samples, which may differ and may be Tensors.
        edge_order: 1 or 2, the order of the one-sided differences at the edges.

    One axis gives one array, several a tuple. Inside, the error is of second order also where distances differ
    (Quarteroni, Sacco & Saleri, Numerical Mathematics, 2007, section 10.10).
    """
    x = as_array(f)
    axes = axes_of(axis, x.ndim)
    if edge_order not in (1, 2):
        raise ValueError(f"gradient: expected edge_order 1 or 2, got {edge_order}")
    spacings: Any = varargs or (1.0,)
    if len(spacings) == 1 and not np.ndim(value(spacings[0])):
        spacings *= len(axes)
    if len(spacings) != len(axes):
        raise TypeError(f"gradient: expected one distance or {len(axes)}, for each axis one, got {len(spacings)}")
    x, *spacings = alike(x, *map(joined, spacings))
    results = tuple(_derivative(x, k, h, edge_order) for k, h in zip(axes, spacings, strict=True))
    return results[0] if len(results) == 1 else results


def _derivative(f: Any, axis: int, spacing: Any, edge_order: int) -> Any:
    n = f.shape[axis]
    if n <= edge_order:
        raise ValueError(f"gradient: needs more than {edge_order} entries along axis {axis} of shape {f.shape}")
    if spacing.ndim and spacing.shape != (n,):
        raise ValueError(f"gradient: expected {n} places along axis {axis}, got shape {spacing.shape}")
    f = moveaxis(f, axis, 0)
    h = diff(spacing) if spacing.ndim else broadcast_to(spacing, (n - 1,))
    h = reshape(h, (n - 1, *[1] * (f.ndim - 1)))
    left, right = h[:-1], h[1:]
    # the derivative in the middle of the parabola through three samples
    inner = (right * (f[1:-1] - f[:-2]) / left + left * (f[2:] - f[1:-1]) / right) / (left + right)
    first, last = _at_edge(f, h, edge_order), -_at_edge(flip(f, 0), flip(h, 0), edge_order)
    return moveaxis(concatenate([first, inner, last], 0), 0, axis)


def _at_edge(f: Any, h: Any, edge_order: int) -> Any:
    """The derivative at the first sample: of the line through two, or of the parabola through three."""
    slope = (f[1:2] - f[:1]) / h[:1]
    if edge_order == 1:
        return slope
    return slope - h[:1] * ((f[2:3] - f[1:2]) / h[1:2] - slope) / (h[:1] + h[1:2])


@implements(np.trapezoid)
def trapezoid(y: ArrayLike, x: ArrayLike | None = None, dx: ArrayLike = 1.0, axis: int = -1) -> Tensor:
    """The integral of samples along `axis` by the trapezoidal rule: at the places x, or dx apart."""
    v = as_array(y)
    axis = axes_of(operator.index(axis), v.ndim)[0]
    width: Any = dx
    if x is not None:
        places = beside(joined(x), v)
        v = beside(v, places)
        width = diff(places, axis=axis if places.ndim > 1 else 0)
        width = reshape(width, (-1, *[1] * (v.ndim - axis - 1))) if width.ndim == 1 else width
    front = (slice(None),) * axis
    return sum(width * (v[(*front, slice(1, None))] + v[(*front, slice(None, -1))]) / 2, axis)
