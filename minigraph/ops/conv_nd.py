"""Convolution over one and over three axes. Both are made of `conv2d`, so they have its kernels, dtypes and rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tensor import Tensor, value
from .conv import check_channels, conv2d
from .elementwise import as_array, beside
from .padding import pad
from .shape import expand_dims, reshape, squeeze
from .window import padding_pairs, pair

__all__ = ["conv1d", "conv3d"]


def conv1d(
    x: Any, w: Any, b: Any = None, *, stride: int = 1, padding: Any = 0, dilation: int = 1, groups: int = 1
) -> Tensor:
    """1-D convolution: x (N, L, C), w (k, C // groups, K) -> (N, L', K). It is `conv2d` of maps of one row.

    Args:
        padding: zeros at the ends: an int, a pair (before, after), "valid" for none, or "same" for
            L' = ceil(L / stride).
        b, stride, dilation, groups: as of `conv2d`; stride and dilation are ints.

    Raises ValueError where `conv2d` does.
    """
    x, w = _checked("conv1d", x, w, "(N, L, C)", "(k, channels in, channels out)")
    if b is not None:
        b = beside(b, x)
    _groups("conv1d", groups)
    check_channels("conv1d", x, w, "(k, channels in, channels out)", groups, *([] if b is None else [b]))
    steps, dilations = pair("conv1d", "stride", (1, stride)), pair("conv1d", "dilation", (1, dilation))
    if not isinstance(padding, str):
        padding = ((0, 0), pair("conv1d", "padding", padding, 0))
    y = conv2d(
        expand_dims(x, 1), expand_dims(w, 0), b, stride=steps, padding=padding, dilation=dilations, groups=groups
    )
    return squeeze(y, 1)


def conv3d(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Any = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """3-D convolution: x (N, D, H, W, C), w (kd, kh, kw, C // groups, K) -> (N, D', H', W', K).

    It is the sum of kd 2-D convolutions, each of the slices along D that meet one slice of w.

    Args:
        stride, dilation: an int or a triple (D, H, W).
        padding: zeros around: an int, a triple of ints or of pairs (before, after), "valid" or "same".
        b, groups: as of `conv2d`.

    Raises ValueError where `conv2d` does.
    """
    name = "conv3d"
    layout = "(kd, kh, kw, channels in, channels out)"
    x, w = _checked(name, x, w, "(N, D, H, W, C)", layout)
    _groups(name, groups)
    check_channels(name, x, w, layout, groups, *([] if b is None else [as_array(b)]))
    step, steps = _parts(name, "stride", stride)
    spread, dilations = _parts(name, "dilation", dilation)
    (step, _), (spread, _) = pair(name, "stride", (step, 1)), pair(name, "dilation", (spread, 1))
    depth, plane = _parts(name, "padding", padding)
    extent = spread * (w.shape[0] - 1) + 1
    ends = depth if isinstance(depth, str) else (pair(name, "padding", depth, 0), (0, 0))
    (front, back), _ = padding_pairs(name, ends, (x.shape[1], 1), (extent, 1), (step, 1))
    count = (x.shape[1] + front + back - extent) // step + 1
    if count < 1:
        raise ValueError(
            f"{name}: the window is {extent} slices deep, x has {x.shape[1] + front + back} with its padding"
        )
    x = pad(x, [(0, 0), (front, back), *[(0, 0)] * 3]) if front or back else x
    y: Any = None
    for i in range(w.shape[0]):
        first = i * spread
        slices = x[:, first : first + step * (count - 1) + 1 : step]
        maps = reshape(slices, (len(x) * count, *x.shape[2:]))
        term = conv2d(maps, w[i], stride=steps, padding=plane, dilation=dilations, groups=groups)
        y = term if y is None else y + term
    y = reshape(y, (len(x), count, *y.shape[1:]))
    return y if b is None else y + beside(b, y)


def _parts(name: str, what: str, given: Any) -> tuple[Any, Any]:
    """What is given for three axes, as that for the first one and that for the two others."""
    if isinstance(given, (int, np.integer, str)):
        return given, given
    if not isinstance(given, (tuple, list)) or len(given) != 3:
        raise ValueError(f"{name}: {what} should be an int or a triple (D, H, W), got {given!r}")
    return given[0], tuple(given[1:])


def _checked(name: str, x: Any, w: Any, of_x: str, of_w: str) -> tuple[Any, Any]:
    x, axes = as_array(x), of_x.count(",") + 1
    w = as_array(w) if hasattr(w, "dtype") else np.asarray(w, x.dtype)
    for what, array, layout in (("x", x, of_x), ("w", w, of_w)):
        if array.ndim != axes or array.dtype.kind != "f" or 0 in (array.shape if what == "w" else ()):
            raise ValueError(f"{name}: {what} should be floating, {layout}, got {value(array).dtype} {array.shape}")
    return x, w


def _groups(name: str, groups: Any) -> None:
    if not isinstance(groups, (int, np.integer)) or groups < 1:
        raise ValueError(f"{name}: groups should be an int of at least 1, got {groups!r}")
