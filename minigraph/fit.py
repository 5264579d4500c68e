"""A gradient made to fit its input: summed where the input was broadcast, and in the input's dtype.

That of a float16 input is kept in float32 while the backward pass runs, and rounded at its end.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from .anomaly import AnomalyError, count, is_finite
from .blame import describe
from .kernels.norm import column_sums
from .kernels.precision import total

if TYPE_CHECKING:
    from .tape import Node


def fit(gradient: Any, node: Node, i: int) -> Any:
    """The gradient that the rule of `node` gave for argument `i`, in the shape and dtype of that input.

    For a float16 input it is float32. Raises TypeError where it is no array or Tensor, ValueError where its shape is
    that of neither input nor output.
    """
    if not hasattr(gradient, "dtype") or not hasattr(gradient, "shape"):
        got = type(gradient).__name__
        raise TypeError(f"a rule returns an array, a tuple of them, a thunk or None, got {got}")
    parent = node.parents[i]
    if gradient.shape != parent.shape:
        if gradient.shape != node.shape or not _broadcasts(parent.shape, node.shape):
            shapes = f"has shape {gradient.shape}, expected {parent.shape}"
            raise ValueError(f"the rule's gradient for argument {i} {shapes}")
        gradient = sum_to(gradient, parent.shape)
    dtype = np.float32 if parent.dtype.char == "e" else parent.dtype
    return gradient if gradient.dtype == dtype else gradient.astype(dtype)


def narrowed(g: Any, node: Node, anomaly: int) -> Any:
    """The gradient of a leaf or target in the dtype of its node. Under `anomaly` AnomalyError where that overflows."""
    with np.errstate(over="ignore") if anomaly else contextlib.nullcontext():
        narrow = g.astype(node.dtype)
    if anomaly and is_finite(g) and not is_finite(narrow):
        raise AnomalyError(f"{count(narrow)} in a gradient, {describe(node)}: it is too large for that dtype")
    return narrow


def sum_to(g: Any, shape: tuple[int, ...]) -> Any:
    """g, an array or Tensor, summed over the axes along which an array of `shape` was broadcast to the shape of g."""
    if g.shape == shape:
        return g
    extra = g.ndim - len(shape)
    axes = tuple(i for i, n in enumerate(g.shape) if i < extra or (shape[i - extra] == 1 and n != 1))
    if type(g) is np.ndarray and g.size and axes == tuple(range(g.ndim - 1)):
        return column_sums(g).reshape(shape)  # a bias's gradient: several times faster than ndarray.sum
    return (total(g, axes) if type(g) is np.ndarray else g.sum(axes)).reshape(shape)


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    extra = len(to) - len(shape)
    return extra >= 0 and all(n in (1, m) for n, m in zip(shape, to[extra:], strict=True))
