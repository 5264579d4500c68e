"""What convolution and pooling have in common: strides, paddings, and the sizes that follow from them."""

from __future__ import annotations

from typing import Any

import numpy as np

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]


def pair(name: str, what: str, given: Any, least: int = 1) -> Pair:
    """An int or a pair of ints, as a pair (vertical, horizontal)."""
    both = (given, given) if isinstance(given, (int, np.integer)) else given
    if (
        not isinstance(both, (tuple, list))
        or len(both) != 2
        or not all(isinstance(n, (int, np.integer)) and n >= least for n in both)
    ):
        raise ValueError(f"{name}: {what} should be an int or a pair of ints, at least {least}, got {given!r}")
    return int(both[0]), int(both[1])


def padding_pairs(name: str, given: Any, size: Pair, window: Pair, stride: Pair) -> Padding:
    """`((top, bottom), (left, right))` of any accepted form.

    Args:
        given: an int, a pair (vertical, horizontal), two pairs, "valid" (none) or "same": as much as makes the output
            ceil(size / stride), the odd one at the bottom and right.
        window: the extent of the window, dilation included.
    """
    if isinstance(given, str):
        if given == "valid":
            return (0, 0), (0, 0)
        if given != "same":
            raise ValueError(f"{name}: padding should be ints, 'same' or 'valid', got {given!r}")
        totals = [
            max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(size, window, stride, strict=True)
        ]
        (top, left) = (t // 2 for t in totals)
        return (top, totals[0] - top), (left, totals[1] - left)
    if isinstance(given, (tuple, list)) and any(isinstance(p, (tuple, list)) for p in given):
        if len(given) != 2:
            raise ValueError(f"{name}: padding should be ((top, bottom), (left, right)), got {given!r}")
        return pair(name, "padding", given[0], 0), pair(name, "padding", given[1], 0)
    vertical, horizontal = pair(name, "padding", given, 0)
    return (vertical, vertical), (horizontal, horizontal)


def output_size(name: str, size: Pair, window: Pair, stride: Pair, padding: Padding) -> Pair:
    """How many windows fit: floor((size + padding - window) / stride) + 1 each way; ValueError where none does."""
    padded = (size[0] + sum(padding[0]), size[1] + sum(padding[1]))
    if padded[0] < window[0] or padded[1] < window[1]:
        raise ValueError(f"{name}: the window {window} is larger than the padded map {padded}")
    return (padded[0] - window[0]) // stride[0] + 1, (padded[1] - window[1]) // stride[1] + 1


def check_map(name: str, x: Any) -> None:
    """Raise unless x is a floating array of four axes."""
    if not hasattr(x, "shape") or len(x.shape) != 4 or np.dtype(x.dtype).kind != "f":
        kind = f"{x.dtype} of shape {tuple(x.shape)}" if hasattr(x, "shape") else type(x).__name__
        raise ValueError(f"{name}: x should be floating, with axes (N, H, W, C), got {kind}")
