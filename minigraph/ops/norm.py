"""Normalisation, and dropout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import random
from ..blame import describe
from ..kernels import norm as kernel
from ..kernels.precision import widened
from ..primitive import primitive
from ..tensor import Tensor, value
from .elementwise import add, as_array, astype, beside, multiply
from .exponential import sqrt
from .reduce import mean as mean_of
from .reduce import sum as sum_of
from .shape import reshape, transpose
from .variance import var as var_of

__all__ = ["batch_norm", "dropout", "group_norm", "layer_norm", "rms_norm"]


def batch_norm(
    x: Any,
    scale: Any,
    bias: Any,
    mean: Any,
    var: Any,
    *,
    train: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Tensor, Any, Any]:
    """Batch normalisation (Ioffe & Szegedy 2015) over all axes but the last: `(y, mean, var)`, x and y (..., C).

    y = scale (x - m) / sqrt(v + eps) + bias. In training, m and v are the mean and variance of the batch. Otherwise
    they are the running `mean` and `var`. y has the dtype of x. The running statistics keep their dtype; integers
    and lists get the dtype of x.

    Args:
        scale, bias: (C,), or None for 1 and 0.
        mean, var: (C,), the running statistics. Training returns (1 - momentum) old + momentum batch, with the
            variance of the batch divided by n - 1, as in PyTorch. No gradient goes through them. Without training they
            come back as they are.

    Raises:
        ValueError: a shape that does not fit, no channels, training on fewer than two values a channel, a bad eps or
            momentum.
        TypeError: training, and `mean` or `var` require a gradient.
    """
    if not (0 <= momentum <= 1 and 0 <= eps < math.inf):
        raise ValueError(f"batch_norm: momentum should be in [0, 1] and eps at least 0, got {momentum} and {eps}")
    if mean is None or var is None:
        raise ValueError("batch_norm: the running mean and var should be arrays (C,), got None")
    channels = _channels("batch_norm", x, (("scale", scale), ("bias", bias), ("mean", mean), ("var", var)))
    mean, var = beside(mean, x), beside(var, x)
    scale, bias = (v if v is None else beside(v, x) for v in (scale, bias))
    if not train:
        return _batch_norm_eval(x, scale, bias, mean, var, eps=eps), mean, var
    if any(type(v) is Tensor and v.requires_grad for v in (mean, var)):
        raise TypeError("batch_norm: no gradient goes through the running statistics in training: pass mean.detach()")
    n = value(x).size // channels
    if n < 2:
        raise ValueError(f"batch_norm: training needs two values a channel, x has shape {x.shape}")
    m, v = kernel.batch_stats(value(x))
    y = _batch_norm(x, scale, bias, mean=m, var=v, eps=eps)
    new_mean = (1 - momentum) * value(mean) + momentum * m
    new_var = (1 - momentum) * value(var) + (momentum * n / (n - 1)) * v
    return y, new_mean.astype(mean.dtype, copy=False), new_var.astype(var.dtype, copy=False)


@primitive
def _batch_norm(x: Any, scale: Any, bias: Any, *, mean: Any, var: Any, eps: float = 1e-5):
    """scale (x - mean) / sqrt(var + eps) + bias, with the mean and variance of x over all axes but the last.

    They are functions of x, and the rule differentiates through them.
    """
    return kernel.batch_norm(x, mean, 1 / np.sqrt(var + eps), scale, bias, own=True)


@_batch_norm.vjp
def _(g, _y, x, scale, _bias, *, mean, var, eps=1e-5, needed):
    """x: scale / s * (g - mean(g) - h * mean(g * h))
    scale: sum(g * h)
    bias: sum(g)
    with s = sqrt(var + eps) and h = (x - mean) / s; sums and means over all axes but the last
    """
    return kernel.batch_norm_grad(g, x, mean, 1 / np.sqrt(var + eps), scale, needed[0])


@_batch_norm.define_composite
def _(x, scale, bias, *, mean, var, eps):
    axes = tuple(range(x.ndim - 1))
    wide = widened(x)
    h = (wide - mean_of(wide, axes)) / sqrt(var_of(wide, axes) + eps)
    y = _affine(h, scale, bias)
    return y if wide is x else astype(y, x.dtype)


@primitive
def _batch_norm_eval(x: Any, scale: Any, bias: Any, mean: Any, var: Any, *, eps: float = 1e-5):
    """scale (x - mean) / sqrt(var + eps) + bias. The statistics are given, and gradients go to them too."""
    return kernel.batch_norm(x, mean, 1 / np.sqrt(widened(var) + eps), scale, bias, own=False)


_batch_norm_eval.name = "batch_norm"  # what errors and drawings call it, as in training


@_batch_norm_eval.vjp
def _(g, _y, x, scale, _bias, mean, var, *, eps=1e-5):
    """x: g * scale / s
    scale: sum(g * (x - mean)) / s
    bias: sum(g)
    mean: -sum(g) * scale / s
    var: -sum(g * (x - mean)) * scale / (2 * s^3)
    with s = sqrt(var + eps); sums over all axes but the last
    """
    # y = a (x - mean) + bias with a = scale r and r = 1 / s, where dr = -r^3 / 2 dvar
    axes = tuple(range(x.ndim - 1))
    r = 1 / sqrt(widened(var) + eps)
    a = r if scale is None else scale * r

    def moment():
        return sum_of(g * (widened(x) - mean), axes)

    return (
        lambda: g * a,
        lambda: moment() * r,
        lambda: sum_of(g, axes),
        lambda: -sum_of(g, axes) * a,
        lambda: moment() * a * r * r * -0.5,
    )


def layer_norm(x: Any, scale: Any = None, bias: Any = None, *, eps: float = 1e-5) -> Tensor:
    """Layer normalisation (Ba et al. 2016) over the last axis: scale (x - m) / sqrt(v + eps) + bias, x (..., C).

    scale and bias are (C,), or None for 1 and 0. Raises ValueError for a shape that does not fit.
    """
    _channels("layer_norm", x, (("scale", scale), ("bias", bias)))
    return _affine(_layer_norm(x, eps=eps), scale, bias)


@primitive
def _layer_norm(x: Any, *, eps: float = 1e-5):
    """(x - mean(x)) / sqrt(var(x) + eps), with the mean and variance over the last axis."""
    return kernel.layer_norm(x, eps)


@_layer_norm.vjp
def _(g, y, x, *, eps=1e-5):
    """(g - mean(g) - y * mean(g * y)) / sqrt(var(x) + eps), means and variance over the last axis"""
    y = widened(y)
    inv_std = 1 / sqrt(var_of(widened(x), -1, keepdims=True) + eps)
    return inv_std * (g - mean_of(g, -1, keepdims=True) - y * mean_of(g * y, -1, keepdims=True))


def group_norm(x: Any, groups: int, scale: Any = None, bias: Any = None, *, eps: float = 1e-5) -> Tensor:
    """Group normalisation (Wu & He 2018): each example's groups of channels are normalised, x (N, ..., C).

    The channels are cut into `groups` groups. Each is normalised over its channels and all axes but the first, as
    `layer_norm` does, of which this is a composition. scale and bias are (C,), or None for 1 and 0. Raises ValueError
    for a shape that does not fit, or groups that do not divide C.
    """
    channels = _channels("group_norm", x, (("scale", scale), ("bias", bias)))
    if not isinstance(groups, (int, np.integer)) or groups < 1 or channels % groups:
        raise ValueError(f"group_norm: {channels} channels do not divide by groups={groups}")
    if x.ndim < 2 or 0 in x.shape[1:]:
        raise ValueError(f"group_norm: x should be (N, ..., C), with no other axis of length 0, got {x.shape}")
    n, places, each = x.shape[0], math.prod(x.shape[1:-1]), channels // groups
    apart = transpose(reshape(x, (n, places, groups, each)), (0, 2, 1, 3))
    h = reshape(_layer_norm(reshape(apart, (n, groups, places * each)), eps=eps), apart.shape)
    return _affine(reshape(transpose(h, (0, 2, 1, 3)), x.shape), scale, bias)


def rms_norm(x: Any, scale: Any = None, *, eps: float = 1e-5) -> Tensor:
    """RMS normalisation (Zhang & Sennrich 2019) over the last axis: scale x / sqrt(mean(x^2) + eps), x (..., C).

    scale is (C,), or None for 1. It is a composition. Raises ValueError for a shape that does not fit.
    """
    _channels("rms_norm", x, (("scale", scale),))
    wide = widened(x)
    y = wide * (mean_of(wide * wide, -1, keepdims=True) + eps) ** -0.5
    return _affine(y if wide is x else astype(y, x.dtype), scale, None)


def _affine(h: Any, scale: Any, bias: Any) -> Any:
    h = h if scale is None else multiply(h, scale)  # no operators: NumPy's would widen for a list or ints
    return h if bias is None else add(h, bias)


def _channels(name: str, x: Any, vectors: tuple[tuple[str, Any], ...]) -> int:
    """C. Raises ValueError unless x is floating and every vector is (C,)."""
    if not hasattr(x, "shape") or not x.shape or not x.shape[-1] or x.dtype.kind != "f":
        raise ValueError(f"{name}: x should be a floating array (..., C), got {describe(x)}")
    for what, v in vectors:
        if v is not None and np.shape(value(v)) != x.shape[-1:]:
            raise ValueError(
                f"{name}: {what} should have shape {x.shape[-1:]} for x of shape {x.shape}, got {np.shape(value(v))}"
            )
    return x.shape[-1]


def dropout(
    x: Any, rate: float, *, train: bool = True, rng: np.random.Generator | None = None
) -> Tensor:
    """Inverted dropout (Srivastava et al. 2014): an entry becomes 0 with probability `rate`, else x / (1 - rate).

    Args:
        train: if it is false, the result is x itself.
        rng: draws the mask; by default the generator that `mg.seed` seeds.

    Raises:
        ValueError: a rate outside [0, 1). TypeError: x is not floating.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout: rate should be in [0, 1), got {rate}")
    if not train or rate == 0:
        return x
    x = as_array(x)
    data = value(x)
    if data.dtype.kind != "f":
        raise TypeError(f"dropout: x should be floating, got {data.dtype}")
    keep = random.drawing_from(rng).random(data.shape, np.float32) >= rate
    wide = widened(x)
    y = wide * (keep.astype(wide.dtype) * wide.dtype.type(1 / (1 - rate)))
    return y if wide is x else astype(y, x.dtype)
