"""Operations that move entries: shapes, joins, indices. Where NumPy has the function, the signature is NumPy's."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ..fit import sum_to
from ..kernels import scatter as kernel
from ..primitive import primitive
from ..tensor import ArrayLike, Tensor, value
from .elementwise import add
from .numpy_api import implements

__all__ = [
    "broadcast_to", "concatenate", "expand_dims", "flip", "getitem", "pad", "reshape", "scatter", "scatter_add",
    "split", "squeeze", "stack", "take", "take_along_axis", "transpose",
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
def reshape(x: ArrayLike, shape: Shape):
    """x in another shape with as many entries. One length may be -1, and follows from the others."""
    return np.reshape(x, shape)


def _why_not_reshaped(x: Any, shape: Any) -> str | None:
    lengths = (shape,) if np.ndim(shape) == 0 else tuple(shape)
    size, known = np.size(x), math.prod(n for n in lengths if n != -1)
    if lengths.count(-1) > 1:
        return f"one length may be -1, got {lengths}"
    if -1 in lengths:
        return f"x {np.shape(x)} has {size} entries, which do not divide by the {known} of {lengths}"
    return f"x {np.shape(x)} has {size} entries, {lengths} has {known}" if size != known else None


reshape.why = _why_not_reshaped


@reshape.vjp
def _(g, _y, _x, shape):
    return reshape(g, _x.shape)


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
    return g  # the engine sums over what was broadcast


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


@implements(np.ravel)
def _ravel(x: ArrayLike) -> Tensor:
    return reshape(x, -1)


@implements(np.swapaxes)
def _swapaxes(x: ArrayLike, axis1: int, axis2: int) -> Tensor:
    return transpose(x, _order(np.swapaxes, x, axis1, axis2))


@implements(np.moveaxis)
def _moveaxis(x: ArrayLike, source: Any, destination: Any) -> Tensor:
    return transpose(x, _order(np.moveaxis, x, source, destination))


def _order(f: Callable[..., Any], x: ArrayLike, *axes: Any) -> tuple[int, ...]:
    """The order in which `f`, one of NumPy's functions, puts the axes of x."""
    numbered = np.empty(range(np.ndim(value(x))))  # the shape (0, 1, 2, ...), which f puts in the new order
    return f(numbered, *axes).shape


# ---------------------------------------------------------------- joining and splitting


@primitive
def _concatenate(axis: int, *xs: Any):
    """The arrays one after another along `axis`."""
    return np.concatenate(xs, axis)


def _why_not_joined(axis: int, *xs: Any) -> str | None:
    shapes = [np.shape(x) for x in xs]
    if () in shapes:
        return f"array {shapes.index(())} has no axis to join along: use stack"
    first, axis = shapes[0], operator.index(axis)
    for i, shape in enumerate(shapes):
        if len(shape) != len(first):
            return f"array 0 {first} has {len(first)} axes, array {i} {shape} has {len(shape)}"
        if not -len(first) <= axis < len(first):
            return f"axis {axis} is out of range for arrays of {len(first)} axes"
        for k, (m, n) in enumerate(zip(first, shape, strict=True)):
            if m != n and k != axis % len(first):
                return f"along axis {axis}: array 0 {first} and array {i} {shape} differ on axis {k}, {m} and {n}"
    return None


_concatenate.why = _why_not_joined


@_concatenate.vjp
def _(g, _y, _axis, *_xs):
    axis = operator.index(_axis) % g.ndim
    lengths = [(x.shape if hasattr(x, "shape") else np.shape(x))[axis] for x in _xs]  # a constant may be a list
    ends = [*itertools.accumulate(lengths)]

    def piece(n: int, end: int) -> Any:
        return lambda: g[(slice(None),) * axis + (slice(end - n, end),)]

    return (None, *map(piece, lengths, ends))


@implements(np.concatenate)
def concatenate(arrays: Sequence[ArrayLike], axis: int | None = 0) -> Tensor:
    """Join arrays along an existing axis; all other lengths must agree. With axis None they are flattened first."""
    _check_sequence("concatenate", arrays)
    if axis is None:
        arrays, axis = [_reshaped(reshape, a, -1) for a in arrays], 0
    return _concatenate(axis, *arrays)


@implements(np.stack)
def stack(arrays: Sequence[ArrayLike], axis: int = 0) -> Tensor:
    """Arrays of one shape along a new axis."""
    _check_sequence("stack", arrays)
    shapes = {np.shape(value(a)) for a in arrays}
    if len(shapes) > 1:
        raise ValueError(f"stack: expected arrays of one shape, got {sorted(shapes)}")
    shape = shapes.pop()
    if not -len(shape) - 1 <= axis <= len(shape):
        raise ValueError(f"stack: axis {axis} is out of range for a new axis of arrays of shape {shape}")
    return _concatenate(axis, *(_reshaped(expand_dims, a, axis) for a in arrays))


def _reshaped(f: Callable[..., Any], a: Any, to: Any) -> Any:
    """f(a, to). A list stays one, since a list of numbers does not decide the dtype of a result."""
    return f(a, to) if hasattr(a, "shape") else f(a, to).tolist()


@implements(np.split)
def split(x: ArrayLike, sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """x cut along `axis` into a list: into `sections` equal parts, or before each of the given indices."""
    shape = np.shape(value(x))
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"split: axis {axis} is out of range for shape {shape}")
    axis, n = axis % len(shape), shape[axis]
    if isinstance(sections, (int, np.integer)):
        if sections < 1 or n % sections:
            raise ValueError(f"split: {n} entries along axis {axis} do not divide into {sections} parts")
        cuts = [i * (n // int(sections)) for i in range(1, int(sections))]
    else:
        cuts = [int(i) for i in sections]
    return [
        getitem(x, (slice(None),) * axis + (slice(a, b),))
        for a, b in zip([0, *cuts], [*cuts, n], strict=True)
    ]


def _check_sequence(name: str, arrays: Any) -> None:
    if not isinstance(arrays, (list, tuple)) or not arrays:
        raise TypeError(f"{name}: expected a list or tuple of at least one array, got {type(arrays).__name__}")


# ---------------------------------------------------------------- padding


def pad(x: ArrayLike, widths: Any, mode: str = "constant", value: float = 0) -> Tensor:
    """x with `widths` more entries on each side of each axis.

    Args:
        widths: a `(before, after)` pair for each axis, or as numpy.pad takes it: one int or one pair for all.
        mode: "constant" (filled with `value`) or "reflect" (mirrored without repeating the edge).

    Raises:
        ValueError: widths that are no such ints or negative, another mode, or reflect wider than the axis less one.
    """
    shape = np.shape(x)
    try:
        given = np.broadcast_to(np.asarray(widths), (len(shape), 2))
    except ValueError:  # ragged, or for another number of axes
        given = None
    if given is None or given.dtype.kind not in "iu" or (given < 0).any():
        raise ValueError(
            f"pad: expected widths of at least 0, an int, a pair, or a pair for each of {len(shape)} axes, got {widths}"
        )
    pairs = given.tolist()
    if mode == "constant":
        return _pad(x, tuple((a, b) for a, b in pairs), value)
    if mode != "reflect":
        raise ValueError(f"pad: expected mode 'constant' or 'reflect', got {mode!r}")
    padded: Any = x
    for axis, (n, (before, after)) in enumerate(zip(shape, pairs, strict=True)):
        if before or after:
            if max(before, after) >= n:
                raise ValueError(f"pad: reflect by {(before, after)} needs more than {n} entries along axis {axis}")
            padded = take(padded, np.pad(np.arange(n), (before, after), "reflect"), axis)
    return padded


@primitive
def _pad(x: ArrayLike, widths: Any, value: float):
    """x inside a larger array filled with `value`."""
    return np.pad(x, widths, constant_values=value)


@_pad.vjp
def _(g, _y, _x, widths, value):
    return g[tuple(slice(a, a + n) for (a, _), n in zip(widths, _x.shape, strict=True))]


# ---------------------------------------------------------------- indexing


@primitive
def _getitem(x: Any, index: Any):
    return np.asarray(x)[index]


@_getitem.vjp
def _(g, _y, _x, index):
    return scatter(g, index, _x.shape)


@primitive
def scatter(values: Any, index: Any, shape: tuple[int, ...]):
    """Zeros of `shape` with `values` added at `index`, the adjoint of x[index].

    Repeated indices add up. `values` has the shape of x[index] or broadcasts to it, and the result has its dtype.
    """
    return kernel.scatter(values, index, shape)


def _why_not_scattered(values: Any, index: Any, shape: Any) -> str | None:
    picked = np.shape(np.broadcast_to(0, shape)[index])
    return f"values {np.shape(values)} do not broadcast to x[index], which has the shape {picked}"


scatter.why = _why_not_scattered


@scatter.vjp
def _(g, _y, _values, index, shape):
    picked = getitem(g, index)
    if picked.shape == _values.shape:
        return picked
    broadcast = _values.shape[max(0, _values.ndim - picked.ndim) :]  # all but axes of length 1 in front
    return reshape(sum_to(picked, broadcast), _values.shape)


def getitem(x: ArrayLike, index: Any) -> Tensor:
    """x[index] as in NumPy: slices, ints, None, ..., masks, integer arrays. Gradients of repeated indices add up."""
    return _getitem(x, _index(index))


def scatter_add(x: Any, index: Any, values: ArrayLike) -> Tensor:
    """A copy of x with `values` added at `index`. Repeated indices add up, as in numpy.add.at."""
    shape = np.shape(value(x))
    index = _index(index)
    where = np.shape(np.broadcast_to(0, shape)[index])
    if not hasattr(values, "shape") and hasattr(x, "dtype") and x.dtype.kind == "f":
        values = np.asarray(values, x.dtype)  # a list of numbers does not decide the dtype of the result
    try:
        added = broadcast_to(values, where)
    except ValueError:
        given = np.shape(value(values))
        raise ValueError(f"scatter_add: values {given} do not broadcast to x[index], of shape {where}") from None
    return add(x, scatter(added, index, shape))


@implements(np.take)
def take(x: ArrayLike, indices: ArrayLike, axis: int | None = None) -> Tensor:
    """The entries at `indices` (integers) along `axis`, or of the flattened array."""
    indices = _integers("take", indices)
    if axis is None:
        x, axis = reshape(x, -1), 0
    shape = np.shape(value(x))
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"take: axis {axis} is out of range for {len(shape)} axes")
    try:
        return getitem(x, (slice(None),) * (axis % len(shape)) + (indices,))
    except IndexError:
        n, low, high = shape[axis], indices.min(), indices.max()
        raise IndexError(f"take: expected indices in [-{n}, {n}) along axis {axis}, got {low} to {high}") from None


@implements(np.take_along_axis)
def take_along_axis(x: ArrayLike, indices: ArrayLike, axis: int) -> Tensor:
    """For axis 1: y[i, k] = x[i, indices[i, k]]. On every other axis the indices have the length of x."""
    indices = _integers("take_along_axis", indices)
    shape = np.shape(value(x))
    if len(shape) != indices.ndim or not -len(shape) <= axis < len(shape):
        raise ValueError(
            f"take_along_axis: indices of {indices.ndim} axes and axis {axis} do not fit x of shape {shape}"
        )
    axis %= len(shape)
    index = list(np.ogrid[tuple(slice(n) for n in shape)])
    index[axis] = indices
    return getitem(x, tuple(index))


def _index(index: Any) -> Any:
    """`index` with arrays in the place of Tensors and lists."""
    if type(index) is tuple:
        return tuple(_index(i) for i in index)
    if type(index) is list:
        return np.asarray(index) if index else np.zeros(0, np.intp)
    return value(index)


def _integers(name: str, indices: Any) -> np.ndarray:
    indices = np.asarray(value(indices))
    if indices.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integer indices, got {indices.dtype}")
    return indices


