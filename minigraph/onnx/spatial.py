"""The operators of maps: convolution, pooling, resizing. They leave their results with the channels last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..tensor import value
from .build import UnsupportedError
from .operators import (
    Arguments,
    Function,
    Held,
    channels_last,
    integers,
    is_float,
    kernel_order,
    last,
    ndim_of,
    operator,
    ordered,
    plain,
    shape_of,
)

Pairs = list[tuple[int, int]]


class _Window:
    """The geometry of a convolution or a pooling."""

    def __init__(self, a: Arguments) -> None:
        self.strides, self.dilations = a.get("strides"), a.get("dilations")
        self.pads = a.get("pads") or []
        a.only("auto_pad", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
        self.auto = a.get("auto_pad", "NOTSET")
        if min(self.pads, default=0) < 0:
            raise UnsupportedError(f"pads={self.pads}")

    def of(self, window: Sequence[int], size: Sequence[int]) -> tuple[list[int], list[int], Pairs]:
        """Strides, dilations and padding, where a window goes over maps of a size."""
        n = len(size)
        if n not in (1, 2, 3):
            raise ValueError(f"expected one to three spatial axes, got {n}")
        strides, dilations = self.strides or [1] * n, self.dilations or [1] * n
        pads = self.pads or [0] * 2 * n
        pairs = [*zip(pads[:n], pads[n:], strict=True)]
        if self.auto.startswith("SAME"):
            extents = _extents(window, dilations)
            totals = [max((-(-m // s) - 1) * s + k - m, 0) for m, k, s in zip(size, extents, strides, strict=True)]
            pairs = [self.halves(t) for t in totals]
        return [*strides], [*dilations], pairs

    def halves(self, total: int) -> tuple[int, int]:
        """What of the padding stands before and what behind; the larger half before, unless it is SAME_UPPER."""
        before = total // 2 if self.auto == "SAME_UPPER" else total - total // 2
        return before, total - before


def _extents(window: Sequence[int], dilations: Sequence[int]) -> list[int]:
    return [d * (k - 1) + 1 for k, d in zip(window, dilations, strict=True)]


def _kernel(w: Any) -> Any:
    """A kernel (K, C, *window) of ONNX as (*window, C, K)."""
    return ordered(w, kernel_order(ndim_of(w)))


def _held(y: Any) -> Held:
    return Held(y, channels_last(y.ndim))


# ---------------------------------------------------------------- convolution


@operator("Conv")
def _(a: Arguments) -> Function:
    window, groups = _Window(a), a.get("group", 1)
    a.get("kernel_shape")

    def apply(x: Any, w: Any, b: Any = None) -> Any:
        x, w = last(x), _kernel(w)
        stride, dilation, pads = window.of(w.shape[:-2], x.shape[1:-1])
        if x.ndim == 3:
            y = ops.conv1d(x, w, b, stride=stride[0], padding=pads[0], dilation=dilation[0], groups=groups)
        else:
            conv = ops.conv2d if x.ndim == 4 else ops.conv3d
            y = conv(x, w, b, stride=tuple(stride), padding=tuple(pads), dilation=tuple(dilation), groups=groups)
        return _held(y)

    return apply


@operator("ConvTranspose")
def _(a: Arguments) -> Function:
    window, groups = _Window(a), a.get("group", 1)
    more, shape = a.get("output_padding"), a.get("output_shape")
    a.get("kernel_shape")

    def apply(x: Any, w: Any, b: Any = None) -> Any:
        x, w = last(x), _kernel(w)
        size, spatial = x.shape[1:-1], x.ndim - 2
        stride, dilation, pads = window.of(w.shape[:-2], size)
        extents = _extents(w.shape[:-2], dilation)
        whole = [(n - 1) * s + k for n, s, k in zip(size, stride, extents, strict=True)]
        extra = more or [0] * spatial
        target = [n * s for n, s in zip(size, stride, strict=True)] if window.auto.startswith("SAME") else None
        if shape is not None:
            target = shape[-spatial:]
        if target is None:
            target = [n + e - sum(pair) for n, e, pair in zip(whole, extra, pads, strict=True)]
        else:
            totals = [max(0, n + e - t) for n, e, t in zip(whole, extra, target, strict=True)]
            pads = [window.halves(total) for total in totals]
        behind = [n - before - t for n, (before, _), t in zip(whole, pads, target, strict=True)]
        crops = [(before, max(0, n)) for (before, _), n in zip(pads, behind, strict=True)]
        y = _transposed(x, w, stride, crops, dilation, groups)
        if min(behind) < 0:  # more rows than the convolution reaches
            y = ops.pad(y, [(0, 0), *((0, max(0, -n)) for n in behind), (0, 0)])
        return _held(y if b is None else y + b)

    return apply


def _transposed(
    x: Any, w: Any, stride: Sequence[int], pads: Sequence[tuple[int, int]], dilation: Sequence[int], groups: int
) -> Any:
    """Transposed convolution of one to three spatial axes."""
    spatial = x.ndim - 2
    if spatial == 1:
        x, w = ops.expand_dims(x, 1), ops.expand_dims(w, 0)
        return ops.squeeze(_transposed(x, w, [1, *stride], [(0, 0), *pads], [1, *dilation], groups), 1)
    (s, d, (front, back)), k, n = (stride[0], dilation[0], pads[0]), w.shape[0], x.shape[1]
    options: dict[str, Any] = {
        "stride": tuple(stride[-2:]), "padding": tuple(pads[-2:]), "dilation": tuple(dilation[-2:]), "groups": groups
    }  # fmt: skip
    if spatial == 2:
        return ops.conv_transpose2d(x, w, **options)
    depth = (n - 1) * s + d * (k - 1) + 1
    total: Any = None
    for i in range(k):  # the planes that one slice of the kernel makes stand s apart, from i d on
        y = ops.conv_transpose2d(ops.reshape(x, (-1, *x.shape[2:])), w[i], **options)
        y = ops.pad(ops.reshape(y, (len(x), n, 1, *y.shape[1:])), [(0, 0), (0, 0), (0, s - 1), *[(0, 0)] * 3])
        y = ops.reshape(y, (len(x), n * s, *y.shape[3:]))[:, : (n - 1) * s + 1]
        y = ops.pad(y, [(0, 0), (i * d, depth - i * d - (n - 1) * s - 1), *[(0, 0)] * 3])
        total = y if total is None else total + y
    return total[:, front : depth - back]


# ---------------------------------------------------------------- pooling


@operator("MaxPool", "AveragePool")
def _(a: Arguments) -> Function:
    window, shape = _Window(a), a.get("kernel_shape")
    ceil, included, is_max = bool(a.get("ceil_mode", 0)), bool(a.get("count_include_pad", 0)), a.op_type == "MaxPool"
    a.only("storage_order", 0)

    def apply(x: Any) -> Any:
        x = last(x)
        stride, dilation, pads = window.of(shape, x.shape[1:-1])
        if len(shape) == 2 and dilation == [1, 1]:
            options: dict[str, Any] = {"stride": tuple(stride), "padding": tuple(pads), "ceil_mode": ceil}
            if is_max:
                return _held(ops.max_pool(x, tuple(shape), **options))
            return _held(ops.avg_pool(x, tuple(shape), count_include_pad=included, **options))
        for axis, geometry in enumerate(zip(shape, stride, dilation, pads, strict=True), 1):
            taps = _taps(x.shape[axis], *geometry, ceil)
            x = _largest(x, axis, taps) if is_max else _mean(x, axis, taps, geometry[-1] if included else (0, 0))
        return _held(x)

    return apply


def _taps(n: int, window: int, stride: int, dilation: int, pads: tuple[int, int], ceil: bool) -> np.ndarray:
    """(outputs, window): the places on an axis of length n that each window has, which may lie outside."""
    before, after = pads
    rest = n + before + after - dilation * (window - 1) - 1
    count = (-(-rest // stride) if ceil else rest // stride) + 1
    count -= ceil and (count - 1) * stride >= n + before  # the last window begins in the map
    return np.arange(count)[:, None] * stride + np.arange(window) * dilation - before


def _largest(x: Any, axis: int, taps: np.ndarray) -> Any:
    n = x.shape[axis]
    inside = ((taps >= 0) & (taps < n)).reshape(*taps.shape, *(1,) * (x.ndim - axis - 1))
    return ops.max(ops.where(inside, ops.take(x, np.clip(taps, 0, n - 1), axis), -np.inf), axis + 1)


def _mean(x: Any, axis: int, taps: np.ndarray, pads: tuple[int, int]) -> Any:
    n, (before, after) = x.shape[axis], pads
    counted = ((taps >= -before) & (taps < n + after)).sum(1, keepdims=True)
    return _product((taps[..., None] == np.arange(n)).sum(1) / counted, x, axis)


def _product(matrix: np.ndarray, x: Any, axis: int) -> Any:
    """x with a matrix (p, n) multiplied onto one axis."""
    letters = "abcdefgh"[: x.ndim]
    return ops.einsum(
        f"z{letters[axis]},{letters}->{letters.replace(letters[axis], 'z')}", matrix.astype(x.dtype), x
    )


@operator("GlobalAveragePool", "GlobalMaxPool")
def _(a: Arguments) -> Function:
    f: Any = ops.mean if a.op_type == "GlobalAveragePool" else ops.max

    def apply(x: Any) -> Any:
        array = last(x)
        return _held(f(array, tuple(range(1, array.ndim - 1)), keepdims=True))

    return apply


# ---------------------------------------------------------------- resizing

_ROUNDING: dict[str, Function] = {
    "round_prefer_floor": lambda at: np.ceil(at - 0.5), "round_prefer_ceil": lambda at: np.floor(at + 0.5),
    "floor": np.floor, "ceil": np.ceil,
}  # fmt: skip
_COORDINATES = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize",
)  # fmt: skip


@operator("Resize", "Upsample")
def _(a: Arguments) -> Function:
    old = a.op_type == "Upsample" or a.opset < 11
    a.only("mode", "nearest", "linear", *(["bilinear"] if old else ["cubic"]))
    a.only("coordinate_transformation_mode", *_COORDINATES)
    a.only("nearest_mode", *_ROUNDING)
    a.only("keep_aspect_ratio_policy", "stretch", "not_larger", "not_smaller")
    mode, policy = a.get("mode", "nearest"), a.get("keep_aspect_ratio_policy", "stretch")
    coordinates = "asymmetric" if old else a.get("coordinate_transformation_mode", "half_pixel")
    rounding = "" if old else a.get("nearest_mode", "round_prefer_floor")
    cubic, antialias, exclude = a.get("cubic_coeff_a", -0.75), a.get("antialias", 0), a.get("exclude_outside", 0)
    beyond, fixed, chosen = a.get("extrapolation_value", 0.0), a.get("scales"), a.get("axes")

    def along(x: Any, place: int, p: int, scale: float, region: tuple[float, float]) -> Any:
        """x with p places in the place of an axis."""
        n = x.shape[place]
        at = _coordinates(coordinates, n, p, scale, region)
        if mode == "nearest":
            index = _ROUNDING[rounding or ("floor" if scale >= 1 else "ceil")](at)
            x = ops.take(x, np.clip(index, 0, n - 1).astype(np.int64), place)
        else:
            narrow = min(scale, 1.0) if antialias else 1.0
            x = _product(_weights(at, n, cubic if mode == "cubic" else None, narrow, exclude), x, place)
        if coordinates == "tf_crop_and_resize":
            inside = (at >= 0) & (at <= n - 1)
            x = ops.where(inside.reshape(-1, *(1,) * (x.ndim - place - 1)), x, np.asarray(beyond, x.dtype))
        return x

    def apply(x: Any, *inputs: Any) -> Any:
        roi, scales, sizes = (None, *inputs, None)[:3] if old else (*inputs, None, None, None)[:3]
        shape, order = shape_of(x), x.order if isinstance(x, Held) else tuple(range(ndim_of(x)))
        axes = [axis % len(shape) for axis in chosen or range(len(shape))]
        region = [0.0] * len(axes) + [1.0] * len(axes)
        if roi is not None and value(plain(roi)).size:
            region = [float(v) for v in value(plain(roi))]
        if sizes is not None and value(plain(sizes)).size:
            targets = integers(sizes)
            factors = [p / shape[axis] for p, axis in zip(targets, axes, strict=True)]
            if policy != "stretch":
                factors = [min(factors) if policy == "not_larger" else max(factors)] * len(axes)
                targets = [int(f * shape[axis] + 0.5) for f, axis in zip(factors, axes, strict=True)]
        else:
            factors = [float(s) for s in (fixed if scales is None else value(plain(scales)))]
            targets = []
            for i, axis in enumerate(axes):
                share = region[len(axes) + i] - region[i] if coordinates == "tf_crop_and_resize" else 1
                targets.append(math.floor(shape[axis] * share * factors[i]))
        y = x.array if isinstance(x, Held) else x
        if mode != "nearest" and not is_float(y):
            raise ValueError(f"mode={mode} of {y.dtype}")
        for i, axis in enumerate(axes):
            ends = region[i], region[len(axes) + i]
            if targets[i] != shape[axis] or factors[i] != 1 or coordinates == "tf_crop_and_resize":
                y = along(y, order.index(axis), targets[i], factors[i], ends)
        return Held(y, order) if isinstance(x, Held) else y

    return apply


def _coordinates(kind: str, n: int, p: int, scale: float, region: tuple[float, float]) -> np.ndarray:
    """Where each of p places lies among n, in single precision as other programs have it: ties are to fall alike."""
    i, s = np.arange(p, dtype=np.float32), np.float32(scale)
    if kind == "align_corners":
        return i * np.float32(n - 1) / np.float32(max(1, p - 1))
    if kind == "asymmetric":
        return i / s
    if kind == "tf_crop_and_resize":
        start, end = map(np.float32, region)
        if p == 1:
            return (i + start + end) / 2 * (n - 1)
        return i * ((end - start) * (n - 1) / np.float32(p - 1)) + start * (n - 1)
    if kind == "pytorch_half_pixel" and p == 1:
        return np.zeros(1, np.float32)
    at = (i + np.float32(0.5)) / s - np.float32(0.5)
    if kind == "half_pixel_symmetric":
        at = at + np.float32(n / 2 * (1 - p / (scale * n)))
    return at


def _weights(at: np.ndarray, n: int, cubic: float | None, narrow: float, exclude: bool) -> np.ndarray:
    """(p, n): the weights of n places in each of the p that lie `at` coordinates.

    By distance the weight falls linearly to 0 at 1, or as the cubic of Keys 1981 to 2. With `narrow` below 1 it reaches
    further by that factor, which averages where a map becomes smaller. Beyond the ends the map goes on as it ends, or
    with `exclude` the other weights are to have the sum 1.
    """
    reach = math.ceil((1 if cubic is None else 2) / narrow)
    at = at.astype(np.float64)
    places = np.floor(at).astype(np.int64)[:, None] + np.arange(-reach, reach + 2)
    d = np.abs(places - at[:, None]) * narrow
    if cubic is None:
        weights = np.maximum(0, 1 - d)
    else:
        near = ((cubic + 2) * d - (cubic + 3)) * d * d + 1
        weights = np.where(d <= 1, near, np.where(d < 2, (((d - 5) * d + 8) * d - 4) * cubic, 0))
    if exclude:
        weights = np.where((places >= 0) & (places < n), weights, 0)
    if exclude or narrow < 1:
        weights /= weights.sum(1, keepdims=True)
    found = np.zeros((len(at), n))
    np.add.at(found, (np.arange(len(at))[:, None], np.clip(places, 0, n - 1)), weights)
    return found


@operator("DepthToSpace", "SpaceToDepth")
def _(a: Arguments) -> Function:
    b, mode = a.get("blocksize"), a.get("mode", "DCR")
    a.only("mode", "DCR", "CRD")

    def to_space(x: Any) -> Any:
        n, c, h, w = plain(x).shape
        if mode == "DCR":
            x = ops.transpose(ops.reshape(plain(x), (n, b, b, c // b**2, h, w)), (0, 3, 4, 1, 5, 2))
        else:
            x = ops.transpose(ops.reshape(plain(x), (n, c // b**2, b, b, h, w)), (0, 1, 4, 2, 5, 3))
        return ops.reshape(x, (n, c // b**2, h * b, w * b))

    def to_depth(x: Any) -> Any:
        n, c, h, w = plain(x).shape
        x = ops.reshape(plain(x), (n, c, h // b, b, w // b, b))
        x = ops.transpose(x, (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4))
        return ops.reshape(x, (n, c * b**2, h // b, w // b))

    return to_space if a.op_type == "DepthToSpace" else to_depth
