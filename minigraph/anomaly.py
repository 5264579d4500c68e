"""What `detect_anomaly` checks: that values and gradients stay finite, and that what was saved is not changed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from . import tree
from .blame import describe, describe_call

if TYPE_CHECKING:
    from .tape import Node


class AnomalyError(FloatingPointError):
    """Under `detect_anomaly`: a value or a gradient became NaN or infinite."""


class MutationError(RuntimeError):
    """Under `detect_anomaly`: an array that was saved for the backward pass has been changed in place."""


def note_forward(node: Node, y: np.ndarray, recorded: bool) -> None:
    """Check a value that was just computed and, if it is recorded, keep checksums of the arrays that its rule reads.

    Raises AnomalyError where `y` is not finite although every number it was computed from is.
    """
    if 0 not in y.strides:  # a broadcast array is read-only in any case
        with contextlib.suppress(ValueError):  # its memory belongs to somebody who has it read-only
            y.flags.writeable = True  # as it would be, if it were not a view of an input that was made read-only
    numbers = [a for a in node.args if isinstance(a, (np.ndarray, np.generic, float))]
    if not is_finite(y) and all(map(is_finite, numbers)):
        raise AnomalyError(f"{count(y)} in the forward value of {describe_call(node)}")
    if recorded:
        node.sums = [checksum(a) for a in _saved_arrays(node)]


def read_only(values: list[Any]) -> list[Any]:
    """The values, with views in the place of arrays that a forward or a rule should not write into."""
    views = [v.view() if type(v) is np.ndarray else v for v in values]
    for view in views:
        if type(view) is np.ndarray:
            view.flags.writeable = False
    return views


def check_gradient(node: Node, i: int, g: Any, gradient: Any) -> None:
    """Raise AnomalyError where the gradient for argument `i` is not finite although `g`, the rule's input, is."""
    if is_finite(g) and not is_finite(gradient):
        raise AnomalyError(
            f"{count(gradient)} in the gradient for argument {i} in the backward of {describe_call(node)}"
        )


def check_unchanged(node: Node) -> None:
    """Raise MutationError where an array that the rule reads is not what it was when it was saved."""
    if not hasattr(node, "sums"):  # recorded outside of `detect_anomaly`
        return
    for array, was in zip(_saved_arrays(node), node.sums, strict=True):
        if checksum(array) != was:
            raise MutationError(
                f"an array ({describe(array)}) was changed in place after it was saved for the backward of "
                f"{describe_call(node)}"
            )


def _array(value: Any) -> np.ndarray:
    """The array of a Tensor, array or number. This module may not import Tensor, so it knows one by its `node`."""
    return np.asarray(value._array if hasattr(value, "node") else value)


def is_finite(value: Any) -> bool:
    array = _array(value)
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def count(value: Any) -> str:
    array = _array(value)
    nan, inf = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    return f"{nan} NaN and {inf} infinite of {array.size} entries"


def _saved_arrays(node: Node) -> list[np.ndarray]:
    """The arrays that the rule reads: in its arguments, in their indices, in the keywords, and the output."""
    assert node.op is not None
    read = [a for i, a in enumerate(node.args) if node.op.composite is not None or not node.op.ignores(i)]
    return [a for a in tree.leaves((read, node.kwargs, node.y)) if isinstance(a, np.ndarray)]


def checksum(array: np.ndarray) -> int:
    """A number that is another one, almost certainly, after some entry of the array has changed."""
    import zlib  # only under `detect_anomaly`

    return zlib.crc32(np.ascontiguousarray(array).data)
