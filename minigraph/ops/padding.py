"""`pad`: more entries on each side of an array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..primitive import primitive
from ..tensor import ArrayLike, Tensor
from .elementwise import as_array
from .indexing import take
from .joining import concatenate
from .numpy_api import implements
from .reduce import max, mean, min
from .shape import broadcast_to, flip, moveaxis, reshape
from .statistics import median

__all__ = ["pad"]

_COPIES = ("edge", "reflect", "symmetric", "wrap")  # each new entry is a copy of an old one
_STATISTICS: dict[str, Callable[..., Any]] = {"maximum": max, "mean": mean, "median": median, "minimum": min}


@implements(np.pad)
def pad(
    x: ArrayLike, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0, end_values: Any = 0,
    stat_length: Any = None, reflect_type: str = "even",
) -> Tensor:  # fmt: skip
    """x with `pad_width` more entries on each side of each axis, as numpy.pad.

    Args:
        pad_width: a `(before, after)` pair for each axis, one int or one pair for all, or a dict of them by axis.
        mode: what the new entries are.
            "constant": `constant_values`, a number, or a (before, after) pair for each axis or for all.
            "edge": the entry at the edge. "linear_ramp": a straight line from it to `end_values`.
            "reflect", "symmetric": mirrored at the edge, without or with the edge itself. With `reflect_type` "odd",
            twice the edge less the mirrored entry.
            "wrap": those of the other side.
            "maximum", "mean", "median", "minimum": that of the `stat_length` entries next to the edge, by default all.

    Raises:
        ValueError: widths that are no such ints or negative, another mode, or an empty axis from which to take entries.
        TypeError: constant_values or end_values is a Tensor. No gradient goes through them: use `concatenate`.
    """
    t = as_array(x)
    pairs = _pairs(pad_width, t.ndim)
    if type(constant_values) is Tensor or type(end_values) is Tensor:
        raise TypeError("pad: constant_values and end_values take no Tensor, no gradient goes through: use concatenate")
    if mode == "constant":
        return _pad(t, pairs, constant_values)
    modes = (*_COPIES, *_STATISTICS, "constant", "linear_ramp")
    if mode not in modes or reflect_type not in ("even", "odd"):
        expected = f"a mode of {', '.join(map(repr, sorted(modes)))}, and reflect_type 'even' or 'odd'"
        raise ValueError(f"pad: expected {expected}, got {mode!r} and {reflect_type!r}")
    ends, lengths = (np.broadcast_to(v, (t.ndim, 2)).tolist() for v in (end_values, stat_length))
    for axis, (before, after) in enumerate(pairs):
        n = t.shape[axis]
        if not before + after:
            continue
        if not n:
            raise ValueError(f"pad: mode {mode!r} finds no entries along axis {axis} of shape {t.shape}")
        if mode in _COPIES and reflect_type == "even":
            copies: Any = np.pad(np.arange(n), (before, after), mode)  # type: ignore[call-overload]
            t = take(t, copies, axis)
            continue
        t = moveaxis(t, axis, 0)
        if mode in _STATISTICS:
            first, last = lengths[axis]
            sides = [_statistic(mode, t, before, first), _statistic(mode, flip(t, 0), after, last)]
        elif mode == "linear_ramp":
            sides = [_ramp(t[0], before, ends[axis][0]), flip(_ramp(t[-1], after, ends[axis][1]), 0)]
        else:  # a linear function along the axis. NumPy makes its matrix of the unit vectors
            unit: Any = np.eye(n, dtype=t.dtype)
            matrix = np.pad(unit, ((before, after), (0, 0)), mode, reflect_type="odd")  # type: ignore[call-overload]
            columns = reshape(t, (n, -1))
            sides = [reshape(m @ columns, (len(m), *t.shape[1:])) for m in (matrix[:before], matrix[before + n :])]
        t = moveaxis(concatenate([sides[0], t, sides[1]], 0), 0, axis)
    return t


def _statistic(mode: str, x: Any, width: int, length: int | None) -> Any:
    """`width` times the statistic of the first `length` entries along axis 0."""
    return broadcast_to(_STATISTICS[mode](x[:length], 0), (width, *x.shape[1:]))


def _ramp(edge: Any, width: int, end: float) -> Any:
    """The straight line from `end` to `edge`, without the edge itself."""
    w = (np.arange(width) / (width or 1)).astype(edge.dtype).reshape(width, *[1] * edge.ndim)
    return end * (1 - w) + w * edge


def _pairs(pad_width: Any, ndim: int) -> tuple[tuple[int, int], ...]:
    """The pair of widths of each axis."""
    if isinstance(pad_width, dict):
        given = np.zeros((ndim, 2), int)
        for axis, pair in pad_width.items():
            given[axis] = pair
    else:
        try:
            given = np.broadcast_to(np.asarray(pad_width), (ndim, 2))
        except ValueError:  # ragged, or for another number of axes
            given = np.zeros((), float)
    if given.dtype.kind not in "iu" or (given < 0).any():
        raise ValueError(
            f"pad: expected widths of at least 0, an int, a pair, or a pair for each of {ndim} axes, got {pad_width}"
        )
    return tuple((a, b) for a, b in given.tolist())


@primitive
def _pad(x: ArrayLike, widths: Any, constant_values: Any):
    """x inside a larger array filled with `constant_values`."""
    return np.pad(x, widths, constant_values=constant_values)


@_pad.vjp
def _(g, _y, _x, widths, constant_values):
    """g without the entries that were added"""
    return g[tuple(slice(a, a + n) for (a, _), n in zip(widths, _x.shape, strict=True))]
