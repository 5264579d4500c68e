"""Convolution (cross-correlation, as the field has it) over (N, H, W, C) maps.

    y[n, p, q, k] = sum over i, j, c of x[n, p s + i d - pad, q s + j d - pad, c] w[i, j, c, k]

is linear in x and in w. So are its two gradients, in (g, w) and in (x, g), and each of the three is an adjoint of the
others: three primitives, closed under differentiation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels import conv as kernel
from ..primitive import primitive
from ..tensor import Tensor
from .elementwise import as_array, astype
from .window import Padding, Pair, check_map, output_size, padding_pairs, pair

__all__ = ["conv2d", "conv_transpose2d"]


def conv2d(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    algorithm: str | None = None,
) -> Any:
    """2-D convolution: x (N, H, W, C), w (kh, kw, C // groups, K) -> (N, H', W', K).

    H' = floor((H + pads - dilation (kh - 1) - 1) / stride) + 1, and W' likewise.

    Args:
        b: a bias (K,) to add; None for none. The result has the widest dtype of x, w and b.
        stride, dilation: an int or a pair (vertical, horizontal).
        padding: zeros around the map: an int, a pair, ((top, bottom), (left, right)), "valid" (none) or "same"
            (H' = ceil(H / stride)).
        groups: the channels are cut into this many groups, each convolved with its own K // groups filters.
        algorithm: "im2col", "winograd", or None, the faster of them for the shape: see `minigraph.kernels.conv`.
            Winograd has a larger error, in float32 up to 1.2e-5 of the largest output where im2col has 1e-6, and a NaN
            or an infinity in the map spreads to outputs near it.

    Raises:
        ValueError: x that is not floating (N, H, W, C), shapes or channels that do not fit, a window larger than the
            padded map, negative padding, weights that are not floating, an algorithm that cannot.
    """
    x, w, *bias = _same_dtype("conv2d", x, w, *([] if b is None else [b]))
    geometry = _geometry("conv2d", x, w, stride, padding, dilation, groups)
    size, window = (x.shape[1], x.shape[2]), _extent(w, geometry["dilation"])
    output_size("conv2d", size, window, geometry["stride"], geometry["padding"])
    if x.shape[3] != w.shape[2] * groups:
        raise ValueError(
            f"conv2d: x has {x.shape[3]} channels on its last axis, w expects {w.shape[2] * groups} "
            f"(w is HWIO: {tuple(w.shape)}, groups={groups})"
        )
    if w.shape[3] % groups:
        raise ValueError(f"conv2d: {w.shape[3]} filters (w is HWIO: {tuple(w.shape)}) do not divide by groups={groups}")
    for v in bias:
        if tuple(v.shape) != tuple(w.shape[3:]):
            raise ValueError(f"conv2d: b should have shape {w.shape[3:]}, one for each filter, got {tuple(v.shape)}")
    return _conv2d(x, w, *bias, **geometry, algorithm=algorithm)


@primitive
def _conv2d(x, w, b=None, **geometry):
    return kernel.conv2d(x, w, **geometry, bias=b)


@_conv2d.vjp
def _(g, _y, x, w, _b=None, **geometry):
    size, window = x.shape[1:3], w.shape[:2]
    if type(g) is Tensor:  # to be differentiated in turn
        return (
            lambda: _conv2d_input_grad(g, w, input_size=size, **geometry),
            lambda: _conv2d_weight_grad(x, g, kernel_size=window, **geometry),
            g,  # the engine sums it over the axes along which b was broadcast
        )
    return lambda needed: kernel.conv2d_grads(  # what is done to g is done once for all
        g, x if needed[1] else None, w if needed[0] else None, size, window, **geometry, bias=any(needed[2:])
    )


@primitive
def _conv2d_input_grad(g, w, *, input_size, **geometry):
    """The gradient in x: g (N, H', W', K), w (kh, kw, C // groups, K) -> (N, *input_size, C)."""
    return kernel.conv2d_input_grad(g, w, input_size=input_size, **geometry)


@_conv2d_input_grad.vjp
def _(t, _y, g, w, *, input_size, **geometry):
    return (
        lambda: _conv2d(t, w, **geometry),
        lambda: _conv2d_weight_grad(t, g, kernel_size=w.shape[:2], **geometry),
    )


@primitive
def _conv2d_weight_grad(x, g, *, kernel_size, **geometry):
    """The gradient in w: x (N, H, W, C), g (N, H', W', K) -> (*kernel_size, C // groups, K)."""
    return kernel.conv2d_weight_grad(x, g, kernel_size=kernel_size, **geometry)


@_conv2d_weight_grad.vjp
def _(t, _y, x, g, *, kernel_size, **geometry):
    return (
        lambda: _conv2d_input_grad(g, t, input_size=x.shape[1:3], **geometry),
        lambda: _conv2d(x, t, **geometry),
    )


def conv_transpose2d(
    x: Any,
    w: Any,
    *,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """The adjoint of a convolution, or deconvolution: x (N, H, W, C), w (kh, kw, K // groups, C) -> (N, H', W', K).

    w is that of the convolution (N, H', W', K) -> (N, H, W, C) whose gradient this is.
    H' = (H - 1) stride - pads + dilation (kh - 1) + 1 + output_padding; with padding="same", H stride.

    Args:
        output_padding: rows and columns more at the bottom and right, fewer than the stride: a convolution with a
            stride has the same output size for several input sizes, and this says which. None with padding="same".
        stride, padding, dilation, groups: those of the convolution; see `conv2d`.

    Raises:
        ValueError: shapes or channels that do not fit, or a result of no size.
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
    stride, dilation = geometry["stride"][axis], geometry["dilation"][axis]
    return (n - 1) * stride + dilation * (k - 1) + 1 - sum(geometry["padding"][axis])


def _extent(w: Any, dilation: Pair) -> Pair:
    """The size of the window in the map: dilation (k - 1) + 1."""
    return dilation[0] * (w.shape[0] - 1) + 1, dilation[1] * (w.shape[1] - 1) + 1


def _same_dtype(name: str, x: Any, *weights: Any) -> list[Any]:
    """x and the weights, checked and in the widest of their floating dtypes; lists of numbers are taken in x's."""
    x = as_array(x)
    arrays = [x, *(as_array(v) if hasattr(v, "dtype") else np.asarray(v, x.dtype) for v in weights)]
    check_map(name, arrays[0])
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
    if len(w.shape) != 4 or 0 in w.shape:
        raise ValueError(f"{name}: w should have axes (kh, kw, channels in, channels out), got shape {tuple(w.shape)}")
    if not isinstance(groups, (int, np.integer)) or groups < 1:
        raise ValueError(f"{name}: groups should be an int of at least 1, got {groups!r}")
    strides, dilations = pair(name, "stride", stride), pair(name, "dilation", dilation)
    pads: Padding = padding_pairs(
        name, padding, size or (x.shape[1], x.shape[2]), _extent(w, dilations), strides
    )
    return {"stride": strides, "padding": pads, "dilation": dilations, "groups": int(groups)}
