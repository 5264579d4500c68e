"""Activations of neural networks, and the error function. The others that serve as such are `sigmoid` and `tanh`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..kernels import special
from ..kernels.memory import SMALL, Needs, empty, pop_unshared
from ..kernels.precision import widened
from ..modes import CHECK, flags
from ..primitive import primitive
from ..tape import new_node
from ..tensor import ArrayLike, Tensor, value
from .elementwise import clip, gate, minimum, recycled, where
from .exponential import exp, sigmoid
from .trigonometric import tanh

__all__ = ["elu", "erf", "gelu", "leaky_relu", "relu", "silu", "softplus"]


def relu(x: ArrayLike, *, inplace: bool = False) -> Tensor:
    """max(x, 0). At 0 and at NaN the derivative is 0. The result for -0.0 is 0.0 or -0.0.

    Args:
        inplace: write the result into x's own array, and let the Tensor x itself be the result. This saves memory where
            nothing else needs x, such as right after a convolution.

    Raises:
        TypeError: with inplace, x is no array and no Tensor, or it is a leaf. A leaf would get its gradient at a value
            that it no longer has.
        ValueError: inplace, and something else refers to x's array (a view, or a debugger's variable), or the array is
            not contiguous, or the rule of the operation that made x reads it.
    """
    if not inplace:
        return _relu(x)
    if type(x) is np.ndarray:
        return _relu(x, inplace=True)
    if type(x) is not Tensor:
        raise TypeError(f"relu: inplace=True needs an array or a Tensor, got {type(x).__name__}")
    if x.node is not None:
        if x.node.op is None:
            raise TypeError("relu: inplace=True needs the result of an operation, got a leaf")
        if x.node.y is not None:
            raise ValueError(f"relu: inplace=True would overwrite the value of {x.node.op.name}, its gradient needs it")
    if not x._array.flags.carray:
        raise ValueError(f"relu: inplace=True needs a contiguous array, got strides {x._array.strides}")
    if flags.get() & CHECK:  # the graph keeps x, so this computes out of place
        y = _relu(x)
        x._array, x.node = y._array, y.node
        return x
    if not pop_unshared({0: x._array}, 0, others=1)[1]:
        raise ValueError("relu: inplace=True needs an array that x alone has: there is another reference")
    x.node = _relu(x, inplace=True).node
    return x


@primitive
def _relu(x: ArrayLike, *, inplace: bool = False):
    x = np.asarray(x)
    if x.dtype not in (np.float32, np.float64) or (x.nbytes < SMALL and not inplace):
        return np.maximum(x, 0, out=x) if inplace else recycled(np.maximum, x, 0)
    out = x if inplace else empty(x.shape, x.dtype)
    return np.clip(x, 0, np.inf, out=out)  # takes a third of the time of np.maximum(x, 0)


_relu.writes = True  # into its own input, under inplace


@_relu.count_needs
def _(needed, x, **_options):
    return Needs(fresh=math.prod(x.shape) if needed else 0)  # the rule's mask


@_relu.vjp
def _(g, y, _x, *, inplace=False, out=None):
    """g where y > 0"""
    positive = value(y) > 0
    return gate(g, positive) if type(g) is Tensor else special.gate(g, positive, out)


@primitive
def leaky_relu(x: ArrayLike, slope: float = 0.01):
    """x where x > 0, slope * x elsewhere. At 0 the derivative is `slope`."""
    x = np.asarray(x)
    return np.where(x > 0, x, slope * x)


@leaky_relu.vjp
def _(g, _y, x, slope=0.01):
    """g where x > 0, slope * g elsewhere"""
    return gate(g, value(x) > 0) + slope * gate(g, ~(value(x) > 0))


@primitive
def elu(x: ArrayLike, alpha: float = 1.0):
    """x where x > 0, alpha (e ** x - 1) elsewhere (Clevert et al. 2015). At 0 the derivative is `alpha`."""
    x = np.asarray(x)
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


@elu.vjp
def _(g, _y, x, alpha=1.0):
    """g where x > 0, g * alpha * e^x elsewhere"""
    return g * where(value(x) > 0, 1.0, alpha * exp(minimum(widened(x), 0.0)))


@primitive
def softplus(x: ArrayLike):
    """log(1 + e ** x), without overflow."""
    return special.softplus(np.asarray(x))


@softplus.vjp
def _(g, _y, x):
    return g * sigmoid(widened(x))


@primitive
def silu(x: ArrayLike):
    """x sigmoid(x), also called swish (Hendrycks & Gimpel 2016; Ramachandran et al. 2017).

    With AVX-512 the error is a rounding error of x: in float32 silu(-16) = -1.8e-6 is off by 6%, and silu(-20) is 0.
    Elsewhere it is a rounding error of the result.
    """
    return special.silu(np.asarray(x))


silu.records_saved = True


@silu.vjp
def _(g, y, _x, *, saved):
    """g * (s + y * (1 - s)), with s = sigmoid(x)"""
    if type(g) is not Tensor:
        return special.silu_grad(g, y, saved)
    # The gradient will be differentiated in turn. For that, s is given a node that says: the sigmoid of x.
    s = Tensor.of(saved, new_node(sigmoid, saved, [_x], [_x], y=saved, call=y.node.call))
    return g * (s + y * (1 - s))


@primitive
def erf(x: ArrayLike):
    """The error function, 2 / sqrt(pi) times the integral of e ** -t**2 from 0 to x."""
    return special.erf(np.asarray(x))


@erf.vjp
def _(g, _y, x):
    """g * 2 / sqrt(pi) * e^(-x^2)"""
    x = _saturated(x)
    return g * (2 / math.sqrt(math.pi) * exp(-x * x))


def _saturated(x: Any) -> Any:
    """x, where erf and tanh are 1 to the last digit at most 100: the square of a large number would overflow."""
    return clip(widened(x), -100.0, 100.0)


_C = math.sqrt(2 / math.pi)


@primitive
def gelu(x: ArrayLike, approximate: bool = False):
    """x Phi(x), Phi the normal distribution function (Hendrycks & Gimpel 2016).

    With `approximate`, their tanh form: x (1 + tanh(u)) / 2 with u = sqrt(2/pi) (x + 0.044715 x^3).
    """
    return special.gelu(np.asarray(x), approximate)


@gelu.vjp
def _(g, _y, x, approximate=False):
    """g * (Phi(x) + x * phi(x)), with phi, the density of Phi
    approximate: g * ((1 + t) / 2 + x * (1 - t^2) * u' / 2), with t = tanh(u) and u' the derivative of u
    """
    x = _saturated(x)
    if approximate:
        t = tanh(_C * x * (1 + 0.044715 * x * x))
        du = _C * (1 + 3 * 0.044715 * x * x)
        return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * du)
    cdf = 0.5 * (1 + erf(x * math.sqrt(0.5)))
    pdf = exp(-0.5 * x * x) * (0.5 * _C)
    return g * (cdf + x * pdf)
