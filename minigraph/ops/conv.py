"""Convolution over (N, H, W, C) maps; in mathematics it is called cross-correlation, as the kernel is not flipped.

    y[n, p, q, k] = sum over i, j, c of x[n, p s + i d - pad, q s + j d - pad, c] w[i, j, c, k]

(p, q) is the output pixel, (i, j) the tap of the kernel, s the stride and d the dilation. The function is linear in x
and linear in w. Its two gradients are linear too, the one in g and w, the other in g and x, and the adjoints of each of
the three functions are the other two. So three primitives whose rules call one another give derivatives of all orders.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from ..kernels import conv as kernel
from ..kernels.window import NO_PADDING, Padding, Pair
from ..primitive import primitive
from ..tensor import Tensor
from .elementwise import as_array, astype
from .window import PaddingLike, PairLike, check_fits, check_map, padding_pairs, pair

__all__ = ["conv2d", "conv_transpose2d"]


def conv2d(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    stride: PairLike = 1,
    padding: PaddingLike = 0,
    dilation: PairLike = 1,
    groups: int = 1,
    algorithm: Literal["im2col", "winograd"] | None = None,
) -> Tensor:
    """2-D convolution: x (N, H, W, C), w (kh, kw, C // groups, K) -> (N, H', W', K).

    H' = floor((H + pads - dilation (kh - 1) - 1) / stride) + 1, and W' likewise.

    Args:
        x, w: floating maps and weights. The result has the widest dtype of x, w and b.
        b: a bias (K,) to add, or None.
        stride, dilation: an int or a pair (vertical, horizontal).
        padding: zeros around the map: an int, a pair (vertical, horizontal), ((top, bottom), (left, right)), "valid"
            for none, or "same" for H' = ceil(H / stride).
        groups: the channels are cut into this many groups. Each group has K // groups filters of its own.
        algorithm: "im2col", "winograd", or None for the faster of them for the shape, see `minigraph.kernels.conv`.
            Winograd has a larger error: in float32 up to 1.2e-5 of the largest output, where im2col has 1e-6. It also
            spreads a NaN or an infinity in the map to outputs near it.

    Raises:
        ValueError: x is not floating or has not the axes (N, H, W, C); w or b is not floating, or their shapes do not
            fit; the window is larger than the padded map; an option has no such value; or the algorithm cannot do this
            case.
    """
    x, w, *bias = _same_dtype("conv2d", x, w, *([] if b is None else [b]))
    geometry = _geometry("conv2d", x, w, stride, padding, dilation, groups)
    size, window = (x.shape[1], x.shape[2]), _extent(w, geometry["dilation"])
    check_fits("conv2d", size, window, geometry["stride"], geometry["padding"])
    check_channels("conv2d", x, w, "HWIO", groups, *bias)
    return _conv2d(x, w, *bias, **geometry, algorithm=algorithm)


@primitive
def _conv2d(
    x, w, b=None, *, stride=(1, 1), padding=NO_PADDING, dilation=(1, 1), groups=1, algorithm=None
):
    return kernel.conv2d(x, w, stride, padding, dilation, groups, algorithm, b)


@_conv2d.count_flops
def _(shape, x, w, *_, **_options):  # for each result, a product and a sum for each weight of its filter
    return 2 * math.prod(shape) * math.prod(w.shape[:3])


@_conv2d.count_needs
def _(needed, x, w, *_, **options):
    return kernel.needs(x.shape, w.shape, x.dtype, **options, needed=needed and needed[:2])


@_conv2d.vjp
def _(g, _y, x, w, _b=None, *, needed, **geometry):
    """x: conv2d_input_grad(g, w)
    w: conv2d_weight_grad(x, g)
    b: the sum of g over all axes but the last
    """
    size, window = x.shape[1:3], w.shape[:2]
    if type(g) is Tensor:  # the gradients will be differentiated in turn
        return (
            lambda: _conv2d_input_grad(g, w, input_size=size, **geometry),
            lambda: _conv2d_weight_grad(x, g, kernel_size=window, **geometry),
            g,  # the engine sums it over the axes along which b was broadcast
        )
    return kernel.conv2d_grads(  # all of them in one call, which transforms g once
        g, x if needed[1] else None, w if needed[0] else None, size, window, **geometry, bias=any(needed[2:])
    )


@primitive
def _conv2d_input_grad(
    g, w, *, input_size, stride=(1, 1), padding=NO_PADDING, dilation=(1, 1), groups=1, algorithm=None
):
    """The gradient of `conv2d` in x: g (N, H', W', K), w (kh, kw, C // groups, K) -> (N, *input_size, C).

    Each g[n, p, q, k] w[i, j, c, k] is added to the entry of x that it was a factor of.
    """
    return kernel.conv2d_input_grad(g, w, input_size, stride, padding, dilation, groups, algorithm)


@_conv2d_input_grad.count_flops
def _(_shape, g, w, **_options):
    return 2 * math.prod(g.shape) * math.prod(w.shape[:3])


@_conv2d_input_grad.vjp
def _(t, _y, g, w, *, input_size, **geometry):
    """g: conv2d(t, w)
    w: conv2d_weight_grad(t, g)
    """
    return (
        lambda: _conv2d(t, w, **geometry),
        lambda: _conv2d_weight_grad(t, g, kernel_size=w.shape[:2], **geometry),
    )


@primitive
def _conv2d_weight_grad(
    x, g, *, kernel_size, stride=(1, 1), padding=NO_PADDING, dilation=(1, 1), groups=1, algorithm=None
):
    """The gradient of `conv2d` in w: x (N, H, W, C), g (N, H', W', K) -> (*kernel_size, C // groups, K).

    It is the sum over n, p, q of g[n, p, q, k] and the entry of x that w[i, j, c, k] was multiplied by.
    """
    return kernel.conv2d_weight_grad(x, g, kernel_size, stride, padding, dilation, groups, algorithm)


@_conv2d_weight_grad.count_flops
def _(shape, _x, g, **_options):
    return 2 * math.prod(g.shape) * math.prod(shape[:3])


@_conv2d_weight_grad.vjp
def _(t, _y, x, g, *, kernel_size, **geometry):
    """x: conv2d_input_grad(g, t)
    g: conv2d(x, t)
    """
    return (
        lambda: _conv2d_input_grad(g, t, input_size=x.shape[1:3], **geometry),
        lambda: _conv2d(x, t, **geometry),
    )


def conv_transpose2d(
    x: Any,
    w: Any,
    *,
    stride: PairLike = 1,
    padding: PaddingLike = 0,
    output_padding: PairLike = 0,
    dilation: PairLike = 1,
    groups: int = 1,
) -> Tensor:
    """Transposed convolution: x (N, H, W, C), w (kh, kw, K // groups, C) -> (N, H', W', K).

    It is the adjoint of the convolution by w that takes (N, H', W', K) to (N, H, W, C), in other words that
    convolution's gradient in its input. H' = (H - 1) stride - pads + dilation (kh - 1) + 1 + output_padding, or
    H' = H stride with padding="same"; W' likewise.

    Args:
        output_padding: how many more rows and columns the result has at the bottom and at the right. A convolution with
            a stride has the same output size for several input sizes; this says which of them is meant. It is smaller
            than the stride, and 0 with padding="same".
        stride, padding, dilation, groups: those of the convolution; see `conv2d`.

    Raises:
        ValueError: x or w is no such array, shapes or channels do not fit, an option has no such value, output_padding
            is not smaller than the stride, or the result would have no pixels.
    """
    name = "conv_transpose2d"
    x, w = _same_dtype(name, x, w)
    strides, extra = pair(name, "stride", stride), pair(name, "output_padding", output_padding, 0)
    if any(e >= s for e, s in zip(extra, strides, strict=True)):
        raise ValueError(f"{name}: output_padding {extra} should be smaller than the stride {strides}")
    if padding == "same":
        if any(extra):
            raise ValueError(f"{name}: padding 'same' sets the output size, output_padding {extra} should be 0")
        target: Pair | None = (x.shape[1] * strides[0], x.shape[2] * strides[1])
    else:
        target = None
    geometry = _geometry(name, x, w, stride, padding, dilation, groups, target)
    if x.shape[3] != w.shape[3]:
        raise ValueError(
            f"{name}: x has {x.shape[3]} channels on its last axis, w expects {w.shape[3]} "
            f"(w is (kh, kw, K // groups, C): {tuple(w.shape)})"
        )
    if x.shape[3] % groups:
        raise ValueError(f"{name}: {x.shape[3]} channels do not divide by groups={groups}")
    if target is None:
        target = (
            _transposed_size(x.shape[1], w.shape[0], 0, geometry) + extra[0],
            _transposed_size(x.shape[2], w.shape[1], 1, geometry) + extra[1],
        )
    if min(target) < 1:
        raise ValueError(f"{name}: padding {padding} leaves no output, the size would be {target}")
    return _conv2d_input_grad(x, w, input_size=target, **geometry, algorithm=None)


def _transposed_size(n: int, k: int, axis: int, geometry: dict[str, Any]) -> int:
    """The smallest size of a map from which a convolution with k taps makes n outputs, on one axis."""
    stride, dilation, pads = (geometry[option][axis] for option in ("stride", "dilation", "padding"))
    return int((n - 1) * stride + dilation * (k - 1) + 1 - sum(pads))


def _extent(w: Any, dilation: Pair) -> Pair:
    """The size of the window in the map, dilation (k - 1) + 1 each way."""
    return dilation[0] * (w.shape[0] - 1) + 1, dilation[1] * (w.shape[1] - 1) + 1


def check_channels(name: str, x: Any, w: Any, layout: str, groups: int, *bias: Any) -> None:
    """Raise ValueError where the channels of x, w and bias, on their last axes, do not fit; `layout` is that of w."""
    (needed, filters), shape = w.shape[-2:], tuple(w.shape)
    if x.shape[-1] != needed * groups:
        raise ValueError(
            f"{name}: x has {x.shape[-1]} channels on its last axis, w expects {needed * groups} "
            f"(w is {layout}: {shape}, groups={groups})"
        )
    if filters % groups:
        raise ValueError(f"{name}: {filters} filters (w is {layout}: {shape}) do not divide by groups={groups}")
    for v in bias:
        if tuple(v.shape) != (filters,):
            raise ValueError(f"{name}: b should have shape {(filters,)}, one for each filter, got {tuple(v.shape)}")


def _same_dtype(name: str, x: Any, *weights: Any) -> list[Any]:
    """x and the weights as arrays of one dtype, the widest of theirs. Weights without a dtype, like lists, take x's.

    Raises ValueError for an x that is no map, and for weights that are not floating.
    """
    x = as_array(x)
    check_map(name, x)
    arrays = [x, *(as_array(v) if hasattr(v, "dtype") else np.asarray(v, x.dtype) for v in weights)]
    for what, v in zip("wb", arrays[1:], strict=False):
        if v.dtype.kind != "f":
            raise ValueError(f"{name}: {what} should be floating, got {v.dtype}")
    if all(a.dtype == arrays[0].dtype for a in arrays):
        return arrays
    wider = np.result_type(*(a.dtype for a in arrays))
    return [a if a.dtype == wider else astype(a, wider) for a in arrays]


def _geometry(
    name: str, x: Any, w: Any, stride: Any, padding: Any, dilation: Any, groups: Any, size: Pair | None = None
) -> dict[str, Any]:
    """The options of a convolution by w as its kernels take them, checked. `size` is that of its input, or else x's."""
    if len(w.shape) != 4 or 0 in w.shape:
        raise ValueError(f"{name}: w should have axes (kh, kw, channels in, channels out), got shape {tuple(w.shape)}")
    if not isinstance(groups, (int, np.integer)) or groups < 1:
        raise ValueError(f"{name}: groups should be an int of at least 1, got {groups!r}")
    strides, dilations = pair(name, "stride", stride), pair(name, "dilation", dilation)
    pads: Padding = padding_pairs(name, padding, size or (x.shape[1], x.shape[2]), _extent(w, dilations), strides)
    return {"stride": strides, "padding": pads, "dilation": dilations, "groups": int(groups)}
