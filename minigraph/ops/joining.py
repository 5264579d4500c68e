"""Operations that join arrays, cut them, and repeat them. Where NumPy has the function, the signature is NumPy's."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import tree
from ..primitive import primitive
from ..tensor import ArrayLike, Tensor, value
from .elementwise import as_array, astype
from .indexing import getitem, take
from .numpy_api import implements
from .shape import atleast_1d, atleast_2d, atleast_3d, broadcast_to, expand_dims, moveaxis, reshape

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = [
    "append", "array_split", "block", "column_stack", "concatenate", "delete", "dsplit", "dstack", "hsplit", "hstack",
    "insert", "repeat", "roll", "split", "stack", "tile", "unstack", "vsplit", "vstack",
]  # fmt: skip


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
    """xs[i]: the part of g that stands where xs[i] does in the result"""
    axis = operator.index(_axis) % g.ndim
    lengths = [(x.shape if hasattr(x, "shape") else np.shape(x))[axis] for x in _xs]  # a constant may be a list
    ends = [*itertools.accumulate(lengths)]

    def piece(n: int, end: int) -> Any:
        return lambda: g[(slice(None),) * axis + (slice(end - n, end),)]

    return (None, *map(piece, lengths, ends))


@implements(np.concatenate)
def concatenate(arrays: Sequence[ArrayLike], axis: int | None = 0, *, dtype: DTypeLike | None = None) -> Tensor:
    """Join arrays along an existing axis; all other lengths must agree. With axis None they are flattened first."""
    arrays = _sequence("concatenate", arrays, dtype)
    if axis is None:
        arrays, axis = [_reshaped(reshape, a, -1) for a in arrays], 0
    return _concatenate(axis, *arrays)


@implements(np.stack)
def stack(arrays: Sequence[ArrayLike], axis: int = 0, *, dtype: DTypeLike | None = None) -> Tensor:
    """Arrays of one shape along a new axis."""
    arrays = _sequence("stack", arrays, dtype)
    shapes = {np.shape(value(a)) for a in arrays}
    if len(shapes) > 1:
        raise ValueError(f"stack: expected arrays of one shape, got {sorted(shapes)}")
    shape = shapes.pop()
    if not -len(shape) - 1 <= axis <= len(shape):
        raise ValueError(f"stack: axis {axis} is out of range for a new axis of arrays of shape {shape}")
    return _concatenate(axis, *(_reshaped(expand_dims, a, axis) for a in arrays))


@implements(np.vstack)
def vstack(tup: Sequence[ArrayLike], *, dtype: DTypeLike | None = None) -> Tensor:
    """Arrays one below the other, along their first axis; vectors are rows."""
    return concatenate([_reshaped(lambda a, _: atleast_2d(a), a) for a in _sequence("vstack", tup)], 0, dtype=dtype)


@implements(np.hstack)
def hstack(tup: Sequence[ArrayLike], *, dtype: DTypeLike | None = None) -> Tensor:
    """Arrays side by side, along their second axis; vectors along their only one."""
    arrays = [_reshaped(lambda a, _: atleast_1d(a), a) for a in _sequence("hstack", tup)]
    return concatenate(arrays, 0 if np.ndim(value(arrays[0])) == 1 else 1, dtype=dtype)


@implements(np.dstack)
def dstack(tup: Sequence[ArrayLike]) -> Tensor:
    """Arrays along their third axis; (n,) counts as (1, n, 1) and (n, m) as (n, m, 1)."""
    return concatenate([_reshaped(lambda a, _: atleast_3d(a), a) for a in _sequence("dstack", tup)], 2)


@implements(np.column_stack)
def column_stack(tup: Sequence[ArrayLike]) -> Tensor:
    """Arrays side by side, along their second axis; vectors are columns."""

    def column(a: Any, _: Any) -> Any:
        return reshape(a, (np.size(value(a)), 1)) if np.ndim(value(a)) < 2 else as_array(a)

    return concatenate([_reshaped(column, a) for a in _sequence("column_stack", tup)], 1)


@implements(np.block)
def block(arrays: Any) -> Tensor:
    """An array of blocks: the innermost lists are joined along the last axis, the next along the one before, and so on.

    Raises ValueError where the lists are not all nested as deep, or one is empty.
    """

    def depth_of(a: Any) -> int:
        if not isinstance(a, list):
            return 0
        found = {depth_of(b) for b in a}
        if len(found) != 1:
            raise ValueError("block: expected lists that are all nested as deep, and none empty")
        return 1 + found.pop()

    def joined(a: Any, depth: int) -> Any:
        if depth:
            return concatenate([joined(b, depth - 1) for b in a], -depth)
        return _reshaped(reshape, a, (1,) * (ndim - np.ndim(value(a))) + np.shape(value(a)))

    depth = depth_of(arrays)
    ndim = max(depth, *(np.ndim(value(a)) for a in tree.leaves([arrays, 0.0])))
    return joined(arrays, depth)


@implements(np.append)
def append(arr: ArrayLike, values: ArrayLike, axis: int | None = None) -> Tensor:
    """`values` after arr along `axis`; with axis None both are flattened first."""
    return concatenate([arr, values], axis)


def _reshaped(f: Callable[..., Any], a: Any, to: Any = None) -> Any:
    """f(a, to). A list stays one, since a list of numbers does not decide the dtype of a result."""
    return f(a, to) if hasattr(a, "shape") else f(a, to).tolist()


def joined(x: Any, *kinds: type) -> Any:
    """A nested list or tuple that holds Tensors, or arrays of other `kinds`, as one array; anything else as it is."""
    if type(x) in (list, tuple) and any(isinstance(leaf, (Tensor, *kinds)) for leaf in tree.leaves(x)):
        return stack([joined(entry, *kinds) for entry in x])
    return x


def _sequence(name: str, arrays: Any, dtype: DTypeLike | None = None) -> list[Any]:
    """The arrays of a list, a tuple, or along the first axis of an array, where `dtype` is given in that one."""
    if isinstance(arrays, (np.ndarray, Tensor)) and arrays.ndim:
        arrays = [*arrays]
    if not isinstance(arrays, (list, tuple)) or not arrays:
        raise TypeError(f"{name}: expected a list or tuple of at least one array, got {type(arrays).__name__}")
    arrays = [joined(a) for a in arrays]
    return arrays if dtype is None else [astype(a, dtype) for a in arrays]


# ---------------------------------------------------------------- cutting


@implements(np.split)
def split(x: ArrayLike, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """x cut along `axis` into a list: into so many equal parts, or before each of the given indices."""
    return _split("split", x, indices_or_sections, axis)


@implements(np.array_split)
def array_split(x: ArrayLike, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """x cut along `axis` into a list, as `split`; where the parts cannot be equal the first ones have one more."""
    return _split("array_split", x, indices_or_sections, axis, equal=False)


@implements(np.vsplit)
def vsplit(x: ArrayLike, indices_or_sections: int | Sequence[int]) -> list[Tensor]:
    """x cut along its first axis; it needs two."""
    return _split("vsplit", x, indices_or_sections, 0, least=2)


@implements(np.hsplit)
def hsplit(x: ArrayLike, indices_or_sections: int | Sequence[int]) -> list[Tensor]:
    """x cut along its second axis, or along its only one."""
    return _split("hsplit", x, indices_or_sections, 0 if np.ndim(value(x)) == 1 else 1)


@implements(np.dsplit)
def dsplit(x: ArrayLike, indices_or_sections: int | Sequence[int]) -> list[Tensor]:
    """x cut along its third axis."""
    return _split("dsplit", x, indices_or_sections, 2)


def unstack(x: ArrayLike, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The entries of x along `axis`, as a tuple: the inverse of `stack`."""
    t = as_array(x)
    if not t.ndim:
        raise ValueError("unstack: expected at least one axis, got shape ()")
    moved = moveaxis(t, axis, 0)
    return tuple(moved[i] for i in range(moved.shape[0]))


if hasattr(np, "unstack"):  # since NumPy 2.1
    implements(np.unstack)(unstack)


def _split(name: str, x: Any, sections: Any, axis: int, equal: bool = True, least: int = 1) -> list[Tensor]:
    shape = np.shape(value(x))
    if not -len(shape) <= axis < len(shape) or len(shape) < least:
        raise ValueError(f"{name}: axis {axis} is out of range for shape {shape}")
    axis, n = axis % len(shape), shape[axis]
    if np.ndim(sections):
        cuts = [operator.index(i) for i in sections]
    else:
        parts = operator.index(sections)
        if parts < 1 or (equal and n % parts):
            raise ValueError(f"{name}: {n} entries along axis {axis} do not divide into {parts} parts")
        cuts = [i * (n // parts) + min(i, n % parts) for i in range(1, parts)]
    return [
        getitem(x, (slice(None),) * axis + (slice(a, b),))
        for a, b in zip([0, *cuts], [*cuts, n], strict=True)
    ]


# ---------------------------------------------------------------- repeating, moving, leaving out


@implements(np.tile)
def tile(A: ArrayLike, reps: int | Sequence[int]) -> Tensor:
    """A repeated as a whole, `reps` times along each axis."""
    x, counts = as_array(A), [*np.atleast_1d(reps).tolist()]
    ndim = max(x.ndim, len(counts))
    counts = [1] * (ndim - len(counts)) + counts
    shape = (1,) * (ndim - x.ndim) + x.shape
    pairs = [length for pair in zip(counts, shape, strict=True) for length in pair]  # (r0, n0, r1, n1, ...)
    x = reshape(x, [length for n in shape for length in (1, n)])
    return reshape(broadcast_to(x, pairs), [r * n for r, n in zip(counts, shape, strict=True)])


@implements(np.repeat)
def repeat(a: ArrayLike, repeats: Any, axis: int | None = None) -> Tensor:
    """Each entry along `axis`, or of the flattened array, so often as `repeats` says: an int, or one for each entry."""
    x = as_array(a)
    if axis is None:
        x, axis = reshape(x, -1), 0
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"repeat: axis {axis} is out of range for shape {x.shape}")
    axis, counts = axis % x.ndim, np.asarray(value(repeats))
    if counts.size != 1:
        return take(x, np.repeat(np.arange(x.shape[axis]), counts), axis)
    times = operator.index(counts.item())
    if times < 0:
        raise ValueError(f"repeat: expected counts of at least 0, got {times}")
    before, n, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    return reshape(broadcast_to(expand_dims(x, axis + 1), (*before, n, times, *after)), (*before, n * times, *after))


@implements(np.roll)
def roll(a: ArrayLike, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Tensor:
    """a moved by `shift` entries along `axis`, around the end; with axis None as one flat array."""
    x = as_array(a)
    if axis is None:
        return reshape(roll(reshape(x, -1), shift, 0), x.shape)
    for by, k in np.broadcast(shift, axis):
        if not -x.ndim <= k < x.ndim:
            raise ValueError(f"roll: axis {k} is out of range for shape {x.shape}")
        n = x.shape[k]
        if n and by % n:
            cut = n - int(by) % n
            x = concatenate([*reversed(split(x, [cut], int(k)))], int(k))
    return x


@implements(np.delete)
def delete(arr: ArrayLike, obj: Any, axis: int | None = None) -> Tensor:
    """arr without the entries obj (an int, ints, a slice or a mask) along `axis`, or of the flattened array."""
    if axis is None:
        arr, axis = reshape(arr, -1), 0
    return take(arr, np.delete(np.arange(np.shape(value(arr))[axis]), value(obj)), axis)


@implements(np.insert)
def insert(arr: ArrayLike, obj: Any, values: ArrayLike, axis: int | None = None) -> Tensor:
    """`values` before the places obj (an int, ints, a slice or a mask) of arr along `axis`, or of the flattened array.

    As in NumPy: they broadcast to as many entries along `axis` as obj names. Where obj is one place, they may be
    several; where it is an int, their first axis runs along `axis`.
    """
    x, v = as_array(arr), as_array(joined(values))
    if axis is None:
        x, axis = reshape(x, -1), 0
    n = x.shape[axis]
    places = np.arange(n)[obj] if isinstance(obj, slice) else np.asarray(value(obj))
    if places.dtype == bool:
        places = np.flatnonzero(places)
    v = reshape(v, (1,) * (x.ndim - v.ndim) + v.shape)
    if not places.ndim:
        v = moveaxis(v, 0, axis)
    count = v.shape[axis] if places.size == 1 else places.size
    lengths = [count if k == axis % x.ndim else length for k, length in enumerate(x.shape)]
    order = np.insert(np.arange(n), places, n + np.arange(count))
    v = broadcast_to(v if x.dtype.kind != "f" else astype(v, x.dtype), lengths)
    return take(concatenate([x, v], axis), order, axis)
