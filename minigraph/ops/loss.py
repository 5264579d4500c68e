"""Softmax and the losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels.precision import widened
from ..primitive import primitive
from ..tensor import ArrayLike, Tensor, value
from ..watch import derived
from .elementwise import as_array, astype, where
from .exponential import exp
from .reduce import mean, sum
from .shape import Axis, axes_of

__all__ = ["cross_entropy", "log_softmax", "mse", "softmax"]


@primitive
def softmax(x: ArrayLike, axis: Axis = -1):
    """e ** x divided by its sum over `axis`, without overflow."""
    x = np.asarray(x)
    wide, axes = widened(x), axes_of(axis, x.ndim)
    y = np.exp(wide - np.max(wide, axes, keepdims=True))
    y /= np.sum(y, axes, keepdims=True)
    return y.astype(np.float16) if x.dtype == np.float16 else y


@softmax.vjp
def _(g, y, _x, axis=-1):  # dy_i/dx_j = y_i (delta_ij - y_j)
    y = widened(y)
    return y * (g - sum(g * y, axis, keepdims=True))


@primitive
def log_softmax(x: ArrayLike, axis: Axis = -1):
    """The logarithm of softmax, without overflow: x minus its `logsumexp` over `axis`."""
    x = np.asarray(x)
    wide, axes = widened(x), axes_of(axis, x.ndim)
    y = wide - np.max(wide, axes, keepdims=True)
    y -= np.log(np.sum(np.exp(y), axes, keepdims=True))
    return y.astype(np.float16) if x.dtype == np.float16 else y


@log_softmax.vjp
def _(g, y, _x, axis=-1):  # dy_i/dx_j = delta_ij - softmax_j
    return g - exp(widened(y)) * sum(g, axis, keepdims=True)


def cross_entropy(logits: ArrayLike, labels: ArrayLike, *, label_smoothing: float = 0.0) -> Tensor:
    """The mean over the batch of -sum over k of q_k log softmax(logits)_k: logits (N, K) -> a scalar.

    Args:
        labels: (N,) integers, the classes; or (N, K) floats, the distributions q (a gradient goes to them too).
        label_smoothing: a number e in [0, 1]; q becomes (1 - e) q + e / K (Szegedy et al. 2016).

    Raises:
        ValueError: shapes that do not fit, an empty batch, a label outside [0, K), or e outside [0, 1].
    """
    x = as_array(logits)
    shape, given = x.shape, np.asarray(value(labels))
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"cross_entropy: logits should be (N, K) with at least one example, got shape {shape}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing should be in [0, 1], got {label_smoothing}")
    if given.dtype.kind in "iu":
        q: Any = widened(one_hot(given, shape, x.dtype))
        how = "one-hot"
    elif given.dtype.kind == "f" and given.shape == shape:
        q = widened(as_array(labels))
        how = ""
    else:
        raise ValueError(
            f"cross_entropy: labels should be ({shape[0]},) integers or {shape} floats, got {given.dtype} {given.shape}"
        )
    if label_smoothing:
        q = (1 - label_smoothing) * q + label_smoothing / shape[1]
    return _cross_entropy(x, derived(q, labels, how))


@primitive
def _cross_entropy(x: ArrayLike, q: ArrayLike):
    """The mean over rows of sum_k q_k (logsumexp(x) - x_k). The softmax is saved for the rule."""
    dtype, x, q = np.asarray(x).dtype, widened(np.asarray(x)), np.asarray(q)
    shifted = x - np.max(x, 1, keepdims=True)
    p = np.exp(shifted)
    total = np.sum(p, 1, keepdims=True)
    p /= total
    surprise = np.where(q == 0, 0, np.log(total) - shifted)  # a class with logit -inf costs nothing where q = 0
    loss = np.mean(np.sum(q * surprise, 1))
    return np.asarray(loss, dtype), p


@_cross_entropy.vjp
def _(g, _y, x, q, *, saved):  # d/dx = (p sum_k q_k - q) / N
    g = g * (1 / len(x))
    return (
        lambda: g * (saved * np.sum(q, 1, keepdims=True) - q),
        lambda: -g * log_softmax(widened(x)),
    )


@_cross_entropy.define_composite
def _(x, q):
    log_p = log_softmax(widened(x))
    return -sum(q * where((value(q) == 0) & np.isneginf(value(log_p)), 0, log_p)) / len(x)


def one_hot(labels: Any, shape: tuple[int, int], dtype: Any) -> np.ndarray:
    """The classes (N,) as one-hot rows (N, K). Raises ValueError for another shape or a class outside [0, K)."""
    labels = np.asarray(value(labels))
    if labels.shape != shape[:1]:
        raise ValueError(f"cross_entropy: {shape[0]} labels should have shape ({shape[0]},), got {labels.shape}")
    bad = np.flatnonzero((labels < 0) | (labels >= shape[1]))
    if bad.size:
        raise ValueError(
            f"cross_entropy: label {labels[bad[0]]} of example {bad[0]} is outside [0, {shape[1]}), the classes"
        )
    q = np.zeros(shape, dtype)
    q[np.arange(len(labels)), labels] = 1
    return q


def mse(prediction: ArrayLike, target: ArrayLike) -> Tensor:
    """The mean of (prediction - target)^2 over all entries. Raises ValueError unless both have the same shape."""
    p, t = as_array(prediction), as_array(target)
    if p.shape != t.shape:
        raise ValueError(f"mse: prediction has shape {p.shape}, target {t.shape}; they should be the same")
    difference = widened(p) - widened(t)
    loss = mean(difference * difference)
    half = {"e"} == {a.dtype.char for a in (p, t) if a.dtype.kind == "f"}
    return astype(loss, np.float16) if half else loss
