"""Trigonometric and hyperbolic functions and their inverses, elementwise. Angles are in radians."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..kernels.precision import widened
from ..primitive import primitive
from ..tensor import ArrayLike, Tensor, value
from .elementwise import arrays, as_array, multiply, where
from .exponential import sqrt
from .numpy_api import implements

__all__ = [
    "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "cos", "cosh", "deg2rad", "hypot",
    "rad2deg", "sin", "sinc", "sinh", "tan", "tanh", "unwrap",
]  # fmt: skip


@implements(np.sin)
@primitive
def sin(x: ArrayLike):
    """sin(x), x in radians."""
    return np.sin(x)


@sin.vjp
def _(g, _y, x):
    return g * cos(x)


@implements(np.cos)
@primitive
def cos(x: ArrayLike):
    """cos(x), x in radians."""
    return np.cos(x)


@cos.vjp
def _(g, _y, x):
    return -g * sin(x)


@implements(np.tan)
@primitive
def tan(x: ArrayLike):
    """tan(x), x in radians, between the poles at odd multiples of pi/2."""
    return np.tan(x)


@tan.vjp
def _(g, y, _x):
    """g * (1 + y^2)"""
    y = widened(y)
    return g * (1 + y * y)


@implements(np.arcsin)
@primitive
def arcsin(x: ArrayLike):
    """The inverse sine, in [-pi/2, pi/2], for x in [-1, 1]. At the ends the derivative is infinite."""
    return np.arcsin(x)


@arcsin.vjp
def _(g, _y, x):
    """g / sqrt(1 - x^2)"""
    return g / _root_of_one_less_square(x)


@implements(np.arccos)
@primitive
def arccos(x: ArrayLike):
    """The inverse cosine, in [0, pi], for x in [-1, 1]. At the ends the derivative is infinite."""
    return np.arccos(x)


@arccos.vjp
def _(g, _y, x):
    """-g / sqrt(1 - x^2)"""
    return -g / _root_of_one_less_square(x)


def _root_of_one_less_square(x: Any) -> Any:
    """sqrt(1 - x^2), with all digits near the ends."""
    x = widened(x)
    return sqrt((1 - x) * (1 + x))


@implements(np.arctan)
@primitive
def arctan(x: ArrayLike):
    """The inverse tangent, in (-pi/2, pi/2)."""
    return np.arctan(x)


@arctan.vjp
def _(g, _y, x):
    """g / (1 + x^2)"""
    h = hypot(widened(x), 1.0)  # x^2 may overflow
    return g / h / h


@implements(np.arctan2)
@primitive
def arctan2(a: ArrayLike, b: ArrayLike):
    """The angle of the point (b, a), in [-pi, pi]; `a` is its height. At the origin both derivatives are taken as 0.

    Where a = 0 and b < 0 the angle jumps by 2 pi, which the derivatives do not see.
    """
    return np.arctan2(a, b)


@arctan2.vjp
def _(g, _y, a, b):
    """a: g * b / (a^2 + b^2)
    b: -g * a / (a^2 + b^2)
    """
    a, b = _wide(a, b)
    r = _not_zero(hypot(a, b))
    return lambda: g * (b / r) / r, lambda: -g * (a / r) / r


@implements(np.hypot)
@primitive
def hypot(a: ArrayLike, b: ArrayLike):
    """sqrt(a^2 + b^2), without overflow. Where it is 0 both derivatives are taken as 0, the smallest subgradient."""
    return np.hypot(a, b)


@hypot.vjp
def _(g, y, a, b):
    """a: g * a / y
    b: g * b / y
    """
    a, b = _wide(a, b)
    y = _not_zero(widened(y))
    return lambda: g * (a / y), lambda: g * (b / y)


def _wide(a: Any, b: Any) -> tuple[Any, Any]:
    """a and b as arrays, Tensors or numbers, float16 in float32."""
    a, b = arrays(a, b)
    return (widened(a) if hasattr(a, "dtype") else a), (widened(b) if hasattr(b, "dtype") else b)


def _not_zero(r: Any) -> Any:
    """r with 1 in the place of 0. What is divided by it is 0 there too."""
    zero = value(r) == 0
    return where(zero, 1, r) if np.any(zero) else r


@implements(np.sinc)
@primitive
def sinc(x: ArrayLike):
    """sin(pi x) / (pi x), and 1 at 0."""
    x = np.asarray(x)
    return np.sinc(widened(x)).astype(x.dtype, copy=False) if x.dtype.kind == "f" else np.sinc(x)


@sinc.vjp
def _(g, _y, x):
    """g * (cos(pi * x) - y) / x, and 0 at x = 0"""
    # This loses all digits near 0, where it is the sum over k of
    # (-1)^k 2k / (2k + 1)! pi (pi x)^(2k - 1). Up to pi |x| = 1 its first nine terms are exact to 1e-17.
    x = widened(x)
    near = np.abs(value(x)) < 1 / math.pi
    u = where(near, x, 0) * math.pi
    square, series = u * u, 0.0
    for k in range(9, 0, -1):
        series = series * square + (-1) ** k * 2 * k * math.pi / math.factorial(2 * k + 1)
    far = where(near, 1, x)
    return g * where(near, series * u, (cos(far * math.pi) - sinc(far)) / far)


@implements(np.deg2rad, np.radians)
def deg2rad(x: ArrayLike) -> Tensor:
    """Degrees in radians: x pi / 180."""
    return multiply(x, math.pi / 180)


@implements(np.rad2deg, np.degrees)
def rad2deg(x: ArrayLike) -> Tensor:
    """Radians in degrees: x 180 / pi."""
    return multiply(x, 180 / math.pi)


@implements(np.unwrap)
def unwrap(p: ArrayLike, discont: float | None = None, axis: int = -1, *, period: float = 2 * math.pi) -> Tensor:
    """p with multiples of `period` added along `axis`, so that neighbours are not more than half of it apart.

    The multiples are piecewise constant: the derivative in p is 1.
    """
    x = as_array(p)
    given = value(x)
    return x + (np.unwrap(given, discont, axis, period=float(period)) - given)


@implements(np.sinh)
@primitive
def sinh(x: ArrayLike):
    """The hyperbolic sine."""
    return np.sinh(x)


@sinh.vjp
def _(g, _y, x):
    return g * cosh(widened(x))


@implements(np.cosh)
@primitive
def cosh(x: ArrayLike):
    """The hyperbolic cosine."""
    return np.cosh(x)


@cosh.vjp
def _(g, _y, x):
    return g * sinh(widened(x))


@implements(np.tanh)
@primitive
def tanh(x: ArrayLike):
    """The hyperbolic tangent. The derivative 1 - y^2 is taken from the value, so it is 0 where that is rounded to 1."""
    return np.tanh(x)


@tanh.vjp
def _(g, y, _x):
    """g * (1 - y^2)"""
    y = widened(y)
    return g * (1 - y * y)


@implements(np.arcsinh)
@primitive
def arcsinh(x: ArrayLike):
    """The inverse hyperbolic sine."""
    return np.arcsinh(x)


@arcsinh.vjp
def _(g, _y, x):
    """g / sqrt(x^2 + 1)"""
    return g / hypot(widened(x), 1.0)


@implements(np.arccosh)
@primitive
def arccosh(x: ArrayLike):
    """The inverse hyperbolic cosine, for x >= 1. At 1 the derivative is infinite."""
    return np.arccosh(x)


@arccosh.vjp
def _(g, _y, x):
    """g / sqrt(x^2 - 1)"""
    x = widened(x)
    return g / (sqrt(x - 1) * sqrt(x + 1))


@implements(np.arctanh)
@primitive
def arctanh(x: ArrayLike):
    """The inverse hyperbolic tangent, for x in (-1, 1). At the ends the derivative is infinite."""
    return np.arctanh(x)


@arctanh.vjp
def _(g, _y, x):
    """g / (1 - x^2)"""
    x = widened(x)
    return g / ((1 - x) * (1 + x))
