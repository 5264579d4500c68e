"""Operations that change the shape or the order of the axes. Where NumPy has the function, the signature is NumPy's."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ..primitive import primitive
from ..tensor import ArrayLike, Tensor, value
from .elementwise import as_array
from .numpy_api import implements

__all__ = [
    "atleast_1d", "atleast_2d", "atleast_3d", "broadcast_arrays", "broadcast_to", "expand_dims", "flip", "fliplr",
    "flipud", "matrix_transpose", "moveaxis", "ravel", "reshape", "rollaxis", "rot90", "squeeze", "swapaxes",
    "transpose",
]  # fmt: skip

Axis = int | tuple[int, ...] | None
Shape = int | Sequence[int]


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """The axes that `axis` names in an array of `ndim` axes, counted from 0: forwards and rules both read it so.

    `axis` is an int, of Python or NumPy or an array without axes, a sequence of them, or None for all axes. As in
    NumPy, 0 and -1 name no axis of an array that has none. Raises ValueError for an axis that is out of range or named
    twice, TypeError for one that is no int.
    """
    if axis is None:
        return tuple(range(ndim))
    if type(axis) is int and -ndim <= axis < ndim:
        return (axis % ndim,)
    if np.ndim(axis):
        return normalize_axis_tuple([operator.index(a) for a in axis], ndim)
    return () if not ndim and operator.index(axis) in (0, -1) else normalize_axis_tuple(operator.index(axis), ndim)


@implements(np.reshape)
@primitive
def reshape(x: ArrayLike, shape: Shape, order: Literal["C", "F"] = "C"):
    """x in another shape with as many entries. One length may be -1, and follows from the others.

    With order "C" the last index runs fastest, with "F" the first. "A" and "K" depend on how an array lies in memory,
    which says nothing about a Tensor: they are a ValueError.
    """
    if order not in ("C", "F"):
        raise ValueError(f"reshape: expected order 'C' or 'F', which do not depend on the memory, got {order!r}")
    return np.reshape(x, shape, order)


def _why_not_reshaped(x: Any, shape: Any, order: str = "C") -> str | None:
    if order not in ("C", "F"):
        return None
    lengths = (shape,) if np.ndim(shape) == 0 else tuple(shape)
    size, known = np.size(x), math.prod(n for n in lengths if n != -1)
    if lengths.count(-1) > 1:
        return f"one length may be -1, got {lengths}"
    if -1 in lengths:
        return f"x {np.shape(x)} has {size} entries, which do not divide by the {known} of {lengths}"
    return f"x {np.shape(x)} has {size} entries, {lengths} has {known}" if size != known else None


reshape.why = _why_not_reshaped


@reshape.vjp
def _(g, _y, _x, shape, order="C"):
    return reshape(g, _x.shape, order)


@implements(np.transpose)
@primitive
def transpose(x: ArrayLike, axes: Sequence[int] | None = None):
    """x with its axes in another order, by default reversed."""
    return np.transpose(x, axes)


def _why_not_transposed(x: Any, axes: Any = None) -> str | None:
    return f"axes should name each of the {np.ndim(x)} axes of x {np.shape(x)} once, got {axes}"


transpose.why = _why_not_transposed


@transpose.vjp
def _(g, _y, _x, axes=None):
    """transpose(g, argsort(axes)), the inverse order"""
    return transpose(g, None if axes is None else np.argsort(axes_of(axes, _x.ndim)).tolist())


@implements(np.broadcast_to)
@primitive
def broadcast_to(x: ArrayLike, shape: Shape):
    """x repeated along new axes and along axes of length 1, to `shape`."""
    return np.broadcast_to(x, shape)


def _why_not_broadcast_to(x: Any, shape: Any) -> str | None:
    shape = (shape,) if np.ndim(shape) == 0 else tuple(shape)
    return f"x {np.shape(x)} does not broadcast to {shape}: from the last axis on, a length should be 1 or the same"


broadcast_to.why = _why_not_broadcast_to


@broadcast_to.vjp
def _(g, _y, _x, shape):
    """the sum of g over the axes along which x was repeated"""
    return g  # the engine sums


@implements(np.expand_dims)
@primitive
def expand_dims(x: ArrayLike, axis: int | tuple[int, ...]):
    """New axes of length 1 at `axis` of the result."""
    return np.expand_dims(np.asarray(x), axis)


@expand_dims.vjp
def _(g, _y, _x, axis):
    return reshape(g, _x.shape)


@implements(np.squeeze)
@primitive
def squeeze(x: ArrayLike, axis: Axis = None):
    """x without its axes of length 1, or without those of `axis`."""
    return np.squeeze(x, axis)


def _why_not_squeezed(x: Any, axis: Any = None) -> str | None:
    long = [a for a in axes_of(axis, np.ndim(x)) if np.shape(x)[a] != 1]
    return f"x {np.shape(x)} has {np.shape(x)[long[0]]} entries along axis {long[0]}, not 1" if long else None


squeeze.why = _why_not_squeezed


@squeeze.vjp
def _(g, _y, _x, axis=None):
    return reshape(g, _x.shape)


@implements(np.flip)
@primitive
def flip(x: ArrayLike, axis: Axis = None):
    """x in reverse order along `axis`, by default along all axes."""
    return np.flip(x, axis)


@flip.vjp
def _(g, _y, _x, axis=None):
    return flip(g, axis)


@implements(np.flipud)
def flipud(m: ArrayLike) -> Tensor:
    """m in reverse order along its first axis."""
    return flip(m, 0)


@implements(np.fliplr)
def fliplr(m: ArrayLike) -> Tensor:
    """m in reverse order along its second axis."""
    return flip(m, 1)


@implements(np.rot90)
def rot90(m: ArrayLike, k: int = 1, axes: Sequence[int] = (0, 1)) -> Tensor:
    """m turned k times by 90 degrees in the plane of two axes, from the first towards the second."""
    x = as_array(m)
    first, second = axes_of(axes, x.ndim) if len(axes) == 2 else (0, 0)
    if first == second:
        raise ValueError(f"rot90: expected two different axes, got {axes}")
    if k % 2:
        x = swapaxes(x, first, second)
    turned = {0: (), 1: (first,), 2: (first, second), 3: (second,)}[k % 4]
    return flip(x, turned) if turned else x


@implements(np.ravel)
def ravel(x: ArrayLike, order: Literal["C", "F"] = "C") -> Tensor:
    """The entries of x in one axis; `order` as for `reshape`."""
    return reshape(x, -1, order)


@implements(np.swapaxes)
def swapaxes(x: ArrayLike, axis1: int, axis2: int) -> Tensor:
    """x with two of its axes exchanged."""
    return transpose(x, _order(np.swapaxes, x, axis1, axis2))


@implements(np.moveaxis)
def moveaxis(x: ArrayLike, source: Any, destination: Any) -> Tensor:
    """x with the axes `source` at the places `destination`, the others in their order."""
    return transpose(x, _order(np.moveaxis, x, source, destination))


@implements(np.rollaxis)
def rollaxis(x: ArrayLike, axis: int, start: int = 0) -> Tensor:
    """x with `axis` moved in front of the axis `start`."""
    return transpose(x, _order(np.rollaxis, x, axis, start))


@implements(np.matrix_transpose, np.linalg.matrix_transpose)
def matrix_transpose(x: ArrayLike) -> Tensor:
    """x with its last two axes exchanged: (..., n, m) -> (..., m, n)."""
    t = as_array(x)
    if t.ndim < 2:
        raise ValueError(f"matrix_transpose: expected at least two axes, got shape {t.shape}")
    return swapaxes(t, -1, -2)


def _order(f: Callable[..., Any], x: ArrayLike, *axes: Any) -> tuple[int, ...]:
    """The order in which `f`, one of NumPy's functions, puts the axes of x."""
    numbered = np.empty(range(np.ndim(value(x))))  # the shape (0, 1, 2, ...), which f puts in the new order
    return f(numbered, *axes).shape


@implements(np.broadcast_arrays)
def broadcast_arrays(*args: ArrayLike) -> tuple[Tensor, ...]:
    """Each of the arrays, broadcast to the shape of all."""
    shape = np.broadcast_shapes(*(np.shape(value(a)) for a in args))
    return tuple(broadcast_to(a, shape) for a in args)


@implements(np.atleast_1d)
def atleast_1d(*arys: ArrayLike) -> Any:
    """Each array with at least one axis. One argument gives one array, several give a tuple."""
    return _each(lambda x: reshape(x, 1) if x.ndim == 0 else x, arys)


@implements(np.atleast_2d)
def atleast_2d(*arys: ArrayLike) -> Any:
    """Each array with at least two axes: (n,) -> (1, n). One argument gives one array, several give a tuple."""
    return _each(lambda x: reshape(x, (1, x.size)) if x.ndim < 2 else x, arys)


@implements(np.atleast_3d)
def atleast_3d(*arys: ArrayLike) -> Any:
    """Each array with at least three axes: (n,) -> (1, n, 1), (n, m) -> (n, m, 1). Several arguments give a tuple."""

    def f(x: Any) -> Any:
        return expand_dims(x, -1) if x.ndim == 2 else reshape(x, (1, x.size, 1)) if x.ndim < 2 else x

    return _each(f, arys)


def _each(f: Callable[[Any], Any], arys: tuple[Any, ...]) -> Any:
    results = tuple(f(as_array(a)) for a in arys)
    return results[0] if len(results) == 1 else results
