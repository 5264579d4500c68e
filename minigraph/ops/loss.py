"""Softmax and the losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from ..kernels.precision import widened
from ..primitive import primitive
from ..tensor import ArrayLike, Tensor, value
from ..watch import derived
from .activations import softplus
from .elementwise import alike, as_array, astype, clip, floats, where
from .exponential import exp
from .reduce import mean, sum
from .shape import Axis, axes_of

__all__ = ["binary_cross_entropy", "cross_entropy", "huber", "log_softmax", "mse", "softmax"]

Reduction = Literal["mean", "sum", "none"]


@primitive
def softmax(x: ArrayLike, axis: Axis = -1):
    """e ** x divided by its sum over `axis`, without overflow."""
    x = np.asarray(floats(x))
    wide, axes = widened(x), axes_of(axis, x.ndim)
    y = np.exp(wide - np.max(wide, axes, keepdims=True))
    y /= np.sum(y, axes, keepdims=True)
    return y.astype(np.float16) if x.dtype == np.float16 else y


@softmax.vjp
def _(g, y, _x, axis=-1):
    """y * (g - the sum of g * y over axis)"""
    y = widened(y)
    return y * (g - sum(g * y, axis, keepdims=True))


@primitive
def log_softmax(x: ArrayLike, axis: Axis = -1):
    """The logarithm of softmax, without overflow: x minus its `logsumexp` over `axis`."""
    x = np.asarray(floats(x))
    wide, axes = widened(x), axes_of(axis, x.ndim)
    y = wide - np.max(wide, axes, keepdims=True)
    y -= np.log(np.sum(np.exp(y), axes, keepdims=True))
    return y.astype(np.float16) if x.dtype == np.float16 else y


@log_softmax.vjp
def _(g, y, _x, axis=-1):
    """g - softmax(x) * the sum of g over axis"""
    return g - exp(widened(y)) * sum(g, axis, keepdims=True)


def cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    label_smoothing: float = 0.0,
    weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """The mean over all examples of -sum over k of q_k log softmax(logits)_k: logits (..., K) -> a scalar.

    Each row of the last axis is an example: of a batch (N, K) every image, of (N, T, K) every place of every text.

    Args:
        labels: (...) integers, the classes; or (..., K) floats, the distributions q (a gradient goes to them too).
        label_smoothing: a number e in [0, 1]; q becomes (1 - e) q + e / K (Szegedy et al. 2016).
        weight: (K,) numbers of at least 0, no Tensor that requires a gradient. The term of class k is multiplied by
            weight[k], and the mean over integers is divided by the sum of the weights of their classes.
        ignore_index: an integer that is no class: examples with this label count for nothing, also not in the mean.
        reduction: "mean", "sum", or "none" for the losses (...) of all examples.

    Raises:
        ValueError: shapes that do not fit, an empty batch, a label outside [0, K), e outside [0, 1], a negative weight,
            ignore_index with distributions, nothing to take the mean of, or another reduction.
        TypeError: weight requires a gradient.
    """
    _check_reduction("cross_entropy", reduction)
    x = floats(logits)
    shape, given = x.shape, np.asarray(value(labels))
    if not shape or 0 in shape:
        raise ValueError(f"cross_entropy: logits should be (..., K) with at least one example, got shape {shape}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing should be in [0, 1], got {label_smoothing}")
    weights = None if weight is None else _class_weights(weight, shape[-1])
    kept: Any = None  # which examples count
    counted: Any = None  # the weight of each example in the mean, where they are not all 1
    if given.dtype.kind in "iu":
        classes = given
        if ignore_index is not None:
            counted = kept = given != ignore_index
            classes = np.where(kept, given, 0)
        q: Any = widened(one_hot(classes, shape, x.dtype))
        if weights is not None:
            counted = weights[classes] * (1 if kept is None else kept)
        how = "one-hot" if ignore_index is None else "one-hot or ignored"
    elif given.dtype.kind == "f" and given.shape == shape:
        if ignore_index is not None:
            raise ValueError("cross_entropy: ignore_index goes with labels that are integers, not with distributions")
        q = widened(as_array(labels))
        how = ""
    else:
        raise ValueError(
            f"cross_entropy: labels should be {shape[:-1]} integers or {shape} floats, got {given.dtype} {given.shape}"
        )
    if label_smoothing:
        q = (1 - label_smoothing) * q + label_smoothing / shape[-1]
    if kept is not None:
        q = q * kept[..., None]
    if weights is not None:
        q = q * weights.astype(q.dtype)
    q = derived(q, labels, how)
    if reduction == "mean" and counted is None:
        return _cross_entropy(x, q)
    rows = _cross_entropy(x, q, mean=False)
    if reduction == "none":
        return rows
    if counted is None or reduction == "sum":
        return sum(rows)
    total = float(np.sum(counted))
    if not total > 0:
        raise ValueError(f"cross_entropy: the {given.size} examples have the weight 0 together, there is no mean")
    return sum(rows) * (1 / total)


def _class_weights(weight: Any, classes: int) -> np.ndarray:
    if type(weight) is Tensor and weight.requires_grad:
        raise TypeError("cross_entropy: no gradient goes to weight=: pass weight.detach()")
    weights = np.asarray(value(weight), np.float64)
    if weights.shape != (classes,) or not (weights >= 0).all():
        raise ValueError(f"cross_entropy: weight should be ({classes},) numbers of at least 0, got {weights.shape}")
    return weights


def _check_reduction(name: str, reduction: Any) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{name}: reduction should be 'mean', 'sum' or 'none', got {reduction!r}")


def _reduced(losses: Any, reduction: Reduction) -> Any:
    return losses if reduction == "none" else sum(losses) if reduction == "sum" else mean(losses)


@primitive
def _cross_entropy(x: ArrayLike, q: ArrayLike, *, mean: bool = True):
    """sum_k q_k (logsumexp(x) - x_k) of each row or, with `mean`, the mean of all: x and q (..., K).

    A class with q = 0 costs nothing, also where x is -inf. The softmax is saved for the rule.
    """
    dtype, x, q = np.asarray(x).dtype, widened(np.asarray(x)), np.asarray(q)
    shifted = x - np.max(x, -1, keepdims=True)
    p = np.exp(shifted)
    total = np.sum(p, -1, keepdims=True)
    p /= total
    surprise = np.where(q == 0, 0, np.log(total) - shifted)  # a class with logit -inf costs nothing where q = 0
    loss = np.sum(q * surprise, -1)
    return np.asarray(np.mean(loss) if mean else loss, dtype), p


@_cross_entropy.vjp
def _(g, _y, x, q, *, mean=True, saved):
    """x: g / N * (softmax(x) * sum_k q_k - q)
    q: -g / N * log_softmax(x)
    with N the number of rows, or 1 without mean
    """
    g = g * (x.shape[-1] / x.size) if mean else g[..., None]
    return (
        lambda: g * (saved * np.sum(q, -1, keepdims=True) - q),
        lambda: -g * log_softmax(widened(x)),
    )


@_cross_entropy.define_composite
def _(x, q, *, mean=True):
    log_p = log_softmax(widened(x))
    losses = -sum(q * where((value(q) == 0) & np.isneginf(value(log_p)), 0, log_p), -1)
    return sum(losses) / math.prod(x.shape[:-1]) if mean else losses


def one_hot(labels: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """The classes (...) as one-hot rows (..., K). Raises ValueError for another shape or a class outside [0, K)."""
    labels = np.asarray(value(labels))
    if labels.shape != shape[:-1]:
        raise ValueError(
            f"cross_entropy: the labels of logits {shape} should have shape {shape[:-1]}, got {labels.shape}"
        )
    bad = (labels < 0) | (labels >= shape[-1])
    if bad.any():
        at = tuple(np.argwhere(bad)[0])
        example = f" of example {', '.join(map(str, at))}" if at else ""
        raise ValueError(f"cross_entropy: label {labels[at]}{example} is outside [0, {shape[-1]}), the classes")
    q = np.zeros(shape, dtype)
    q.reshape(-1, shape[-1])[np.arange(labels.size), labels.reshape(-1)] = 1
    return q


def binary_cross_entropy(logits: ArrayLike, targets: ArrayLike, *, reduction: Reduction = "mean") -> Tensor:
    """The cross-entropy of the sigmoid, -t log s(x) - (1 - t) log(1 - s(x)), of logits x and targets t in [0, 1].

    It is the composition softplus(x) - t x, which does not overflow. Gradients go to both.

    Args:
        reduction: "mean" or "sum" over all entries, or "none" for all of them.

    Raises ValueError unless both have the same shape and targets are in [0, 1], or for another reduction.
    """
    _check_reduction("binary_cross_entropy", reduction)
    x, t, narrow = _pair("binary_cross_entropy", "logits", logits, "targets", targets)
    if not ((value(t) >= 0) & (value(t) <= 1)).all():
        raise ValueError("binary_cross_entropy: targets should be in [0, 1]")
    return narrow(_reduced(softplus(x) - t * x, reduction))


def huber(
    prediction: ArrayLike, target: ArrayLike, *, delta: float = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """Huber's loss: d^2 / 2 where |d| is at most delta, delta (|d| - delta / 2) elsewhere; d is prediction - target.

    It is the composition c (d - c / 2), with c the d clipped to [-delta, delta]. The derivative is c, continuous
    everywhere; that of second order, which jumps at |d| = delta, is 1 there.

    Args:
        reduction: "mean" or "sum" over all entries, or "none" for all of them.

    Raises ValueError unless both have the same shape and delta is above 0, or for another reduction.
    """
    _check_reduction("huber", reduction)
    if not delta > 0:
        raise ValueError(f"huber: delta should be above 0, got {delta}")
    p, t, narrow = _pair("huber", "prediction", prediction, "target", target)
    d = p - t
    c = clip(d, -delta, delta)
    return narrow(_reduced(c * (d - c * 0.5), reduction))


def mse(prediction: ArrayLike, target: ArrayLike) -> Tensor:
    """The mean of (prediction - target)^2 over all entries. Raises ValueError unless both have the same shape."""
    p, t, narrow = _pair("mse", "prediction", prediction, "target", target)
    difference = p - t
    return narrow(mean(difference * difference))


def _pair(name: str, first: str, a: Any, second: str, b: Any) -> tuple[Any, Any, Callable[[Any], Any]]:
    """Both as arrays, float16 in float32, and what brings a result back. Raises ValueError for different shapes."""
    a, b = alike(a, b)
    if a.shape != b.shape:
        raise ValueError(f"{name}: {first} has shape {a.shape}, {second} {b.shape}; they should be the same")
    half = {"e"} == {x.dtype.char for x in (a, b) if x.dtype.kind == "f"}
    return widened(a), widened(b), lambda y: astype(y, np.float16) if half else y
