"""What convolution and pooling have in common: a window that moves over a map."""

from __future__ import annotations

Pair = tuple[int, int]  # (vertical, horizontal)
Shape = tuple[int, ...]
Padding = tuple[Pair, Pair]  # ((top, bottom), (left, right))

NO_PADDING: Padding = ((0, 0), (0, 0))


def output_size(size: Pair, window: Pair, stride: Pair, padding: Padding, dilation: Pair = (1, 1)) -> Pair:
    """(H', W'): how many positions of the window fit the padded map, down and across; 0 where none does.

    floor((size + padding - dilation (window - 1) - 1) / stride) + 1 each way.
    """
    h, w = (
        (n + sum(pad) - d * (k - 1) - 1) // s + 1
        for n, k, s, pad, d in zip(size, window, stride, padding, dilation, strict=True)
    )
    return max(h, 0), max(w, 0)
