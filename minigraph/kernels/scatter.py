"""Scatter-add: the adjoint of x[index], for every index that NumPy takes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .precision import widened


def scatter(values: np.ndarray, index: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Zeros of `shape`, with `values` added at `index`. For an x of that shape, `values` broadcasts to x[index].

    If the index names an entry several times, its values are summed in their order and in their dtype, float16 in
    float32.
    """
    entries = index if isinstance(index, tuple) else (index,)
    kinds = [_kind(entry) for entry in entries]
    dtype, values = values.dtype, widened(values) if "i" in kinds else values
    out = np.zeros(shape, values.dtype)
    if "i" not in kinds:  # slices, ints and masks name each entry once at most
        out[index] = values
        return out
    if len(shape) == 1:
        np.add.at(out, index, values)
        return out.astype(dtype, copy=False)
    # np.add.at is fast for flat arrays only, so this computes where each value goes in the flat result. The index
    # reaches the leading axes only and takes the others whole: it picks rows of `columns` entries. To find which rows
    # it picks, it is applied to an array of the rows' numbers.
    reached = sum({"b": np.ndim(e), "n": 0}.get(k, 1) for e, k in zip(entries, kinds, strict=True))
    if "." in kinds:
        reached = len(shape)
    columns = math.prod(shape[reached:])
    rows = np.arange(math.prod(shape[:reached])).reshape(shape[:reached])[index]
    positions = rows.reshape(-1, 1) * columns + np.arange(columns)
    values = np.broadcast_to(values, (*rows.shape, *shape[reached:]))
    np.add.at(out.reshape(-1), positions.reshape(-1), values.reshape(-1))
    return out.astype(dtype, copy=False)


def _kind(entry: Any) -> str:
    """What an entry of an index is: "i" an integer array, "b" a mask, "n" None, "." an ellipsis, "s" a slice or int."""
    if entry is None:
        return "n"
    if entry is Ellipsis:
        return "."
    if isinstance(entry, slice):
        return "s"
    array = np.asarray(entry)
    if array.dtype == bool:
        return "b"
    return "i" if array.ndim else "s"
