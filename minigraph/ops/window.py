"""What convolution and pooling have in common: strides and paddings as the user gives them, and their checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from ..kernels.window import NO_PADDING, Padding, Pair, output_size

# What users may give for a stride and the like, and for a padding: see `pair` and `padding_pairs`.
PairLike = int | Sequence[int]
PaddingLike = Literal["same", "valid"] | int | Sequence[int] | Sequence[Sequence[int]]


def pair(name: str, what: str, given: Any, least: int = 1) -> Pair:
    """An int or a pair of ints, as a pair (vertical, horizontal).

    Raises ValueError for anything else and for an int below `least`; `name` is the caller's, `what` the argument's.
    """
    both = (given, given) if isinstance(given, (int, np.integer)) else given
    if (
        not isinstance(both, (tuple, list))
        or len(both) != 2
        or not all(isinstance(n, (int, np.integer)) and n >= least for n in both)
    ):
        raise ValueError(f"{name}: {what} should be an int or a pair of ints, at least {least}, got {given!r}")
    return int(both[0]), int(both[1])


def padding_pairs(name: str, given: Any, size: Pair, window: Pair, stride: Pair) -> Padding:
    """The padding as ((top, bottom), (left, right)), from any form that users may give.

    Args:
        name: the caller's, for errors.
        given: an int, a pair (vertical, horizontal), two pairs, "valid" (no padding) or "same". "same" pads so much
            that the output size is ceil(size / stride). Of an odd number, the bottom and the right get one more.
        size: (H, W) of the map.
        window: the extent of the window, dilation included.

    Raises:
        ValueError: given is none of these, or negative.
    """
    if isinstance(given, str):
        if given == "valid":
            return NO_PADDING
        if given != "same":
            raise ValueError(f"{name}: padding should be ints, 'same' or 'valid', got {given!r}")
        totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(size, window, stride, strict=True)]
        (top, left) = (t // 2 for t in totals)
        return (top, totals[0] - top), (left, totals[1] - left)
    if isinstance(given, (tuple, list)) and any(isinstance(p, (tuple, list)) for p in given):
        if len(given) != 2:
            raise ValueError(f"{name}: padding should be ((top, bottom), (left, right)), got {given!r}")
        return pair(name, "padding", given[0], 0), pair(name, "padding", given[1], 0)
    vertical, horizontal = pair(name, "padding", given, 0)
    return (vertical, vertical), (horizontal, horizontal)


def check_fits(name: str, size: Pair, window: Pair, stride: Pair, padding: Padding) -> None:
    """Raise ValueError if no window, of this extent, fits the padded map."""
    if 0 in output_size(size, window, stride, padding):
        padded = (size[0] + sum(padding[0]), size[1] + sum(padding[1]))
        raise ValueError(
            f"{name}: the window {window} is larger than the padded map {padded} (x is NHWC, weights are HWIO)"
        )


def check_map(name: str, x: Any) -> None:
    """Raise ValueError unless x is a floating array of four axes."""
    if not hasattr(x, "shape") or len(x.shape) != 4 or np.dtype(x.dtype).kind != "f":
        kind = f"{x.dtype} of shape {tuple(x.shape)}" if hasattr(x, "shape") else type(x).__name__
        raise ValueError(f"{name}: x should be floating, with axes (N, H, W, C), got {kind}")
