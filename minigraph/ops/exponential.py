"""Exponentials, logarithms, powers and roots, elementwise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..kernels import special
from ..kernels.precision import widened
from ..primitive import primitive
from ..tensor import ArrayLike, Tensor, value
from .elementwise import arrays, where
from .numpy_api import implements

__all__ = [
    "cbrt",
    "exp",
    "exp2",
    "expm1",
    "ldexp",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logaddexp2",
    "power",
    "sigmoid",
    "sqrt",
    "xlogy",
]  # fmt: skip

LN2, LN10 = math.log(2), math.log(10)


@implements(np.exp)
@primitive
def exp(x: ArrayLike):
    """e ** x."""
    return np.exp(x)


@exp.vjp
def _(g, y, _x):
    return g * y


@implements(np.exp2)
@primitive
def exp2(x: ArrayLike):
    """2 ** x."""
    return np.exp2(x)


@exp2.vjp
def _(g, y, _x):
    """g * y * log(2)"""
    return g * (y * LN2)


@implements(np.expm1)
@primitive
def expm1(x: ArrayLike):
    """e ** x - 1, accurate near 0."""
    return np.expm1(x)


@expm1.vjp
def _(g, _y, x):  # not y + 1, which rounds to 0 far to the left
    return g * exp(x)


@implements(np.log)
@primitive
def log(x: ArrayLike):
    """The natural logarithm, for x > 0. At 0 it is -inf and the derivative infinite; below 0 its value is NaN."""
    return np.log(x)


@log.vjp
def _(g, _y, x):
    return g / x


@implements(np.log2)
@primitive
def log2(x: ArrayLike):
    """The logarithm to base 2, for x > 0. At 0 it is -inf and the derivative infinite; below 0 its value is NaN."""
    return np.log2(x)


@log2.vjp
def _(g, _y, x):
    """g / (x * log(2))"""
    return g / (widened(x) * LN2)


@implements(np.log10)
@primitive
def log10(x: ArrayLike):
    """The logarithm to base 10, for x > 0. At 0 it is -inf and the derivative infinite; below 0 its value is NaN."""
    return np.log10(x)


@log10.vjp
def _(g, _y, x):
    """g / (x * log(10))"""
    return g / (widened(x) * LN10)


@implements(np.log1p)
@primitive
def log1p(x: ArrayLike):
    """log(1 + x), accurate near 0, for x > -1. At -1 it is -inf, its derivative infinite; below, its value is NaN."""
    return np.log1p(x)


@log1p.vjp
def _(g, _y, x):
    return g / (1 + x)


@primitive
def sigmoid(x: ArrayLike):
    """s = 1 / (1 + e ** -x), without overflow. The derivative s (1 - s) is 0 where s is rounded to 1."""
    return special.sigmoid(np.asarray(x))


@sigmoid.vjp
def _(g, y, _x):
    return g * (y * (1 - y))


@implements(np.logaddexp)
@primitive
def logaddexp(a: ArrayLike, b: ArrayLike):
    """log(e ** a + e ** b), without overflow. Where both are the same infinity, each gets half of the gradient."""
    return np.logaddexp(a, b)


@logaddexp.vjp
def _(g, _y, a, b):
    """a: g * sigmoid(a - b), which is g * e^a / (e^a + e^b)
    b: g * sigmoid(b - a)
    """
    d = _difference(a, b)
    return lambda: g * sigmoid(d), lambda: g * sigmoid(-d)


@implements(np.logaddexp2)
@primitive
def logaddexp2(a: ArrayLike, b: ArrayLike):
    """log2(2 ** a + 2 ** b), without overflow. Where both are the same infinity, each gets half of the gradient."""
    return np.logaddexp2(a, b)


@logaddexp2.vjp
def _(g, _y, a, b):
    """a: g * sigmoid((a - b) * log(2)), which is g * 2^a / (2^a + 2^b)
    b: g * sigmoid((b - a) * log(2))
    """
    d = _difference(a, b) * LN2
    return lambda: g * sigmoid(d), lambda: g * sigmoid(-d)


def _difference(a: Any, b: Any) -> Any:
    """a - b, and 0 where both are the same infinity."""
    a, b = (widened(v) if hasattr(v, "dtype") else v for v in arrays(a, b))
    same = np.isinf(value(a)) & (value(a) == value(b))
    return where(same, 0, a) - where(same, 0, b) if same.any() else a - b


@primitive
def xlogy(a: ArrayLike, b: ArrayLike):
    """a log(b) for b > 0, and 0 where a = 0 unless b is NaN, as in entropies: xlogy(p, p).

    Where a = 0 and b <= 0 both derivatives are taken as 0.
    """
    a, b = np.asarray(a), np.asarray(b)
    zero = (a == 0) & ~np.isnan(b)
    return np.where(zero, 0, a * np.log(np.where(zero, 1, b)))


@xlogy.vjp
def _(g, _y, a, b):
    """a: g * log(b)
    b: g * a / b
    """
    a, b = arrays(a, b)
    safe = where((value(a) == 0) & (value(b) <= 0), 1, b)
    return lambda: g * log(safe), lambda: g * (a / safe)


@implements(np.ldexp)
@primitive
def ldexp(x: ArrayLike, n: Any):
    """x 2 ** n, for whole numbers n."""
    return np.ldexp(x, n)


@ldexp.vjp
def _(g, _y, _x, n):
    return ldexp(g, n), None


@implements(np.sqrt)
@primitive
def sqrt(x: ArrayLike):
    """The square root, for x >= 0. At 0 the derivative is infinite."""
    return np.sqrt(x)


@sqrt.vjp
def _(g, y, _x):
    return g / (2 * y)


@implements(np.power, np.float_power)
@primitive
def power(a: ArrayLike, b: ArrayLike):
    """a ** b, for a >= 0 or a whole number b.

    The derivative in a is 0 where b = 0, and infinite where a = 0 and b is between 0 and 1. The derivative in b is 0
    where a = 0, NaN where a < 0.
    """
    if isinstance(a, np.ndarray):
        return a**b  # the operator has short cuts for squares and roots
    return np.power(a, b)


@power.vjp
def _(g, y, a, b):
    """a: g * b * a^(b - 1)
    b: g * y * log(a)
    """
    a, b = (widened(v) if hasattr(v, "dtype") else v for v in arrays(a, b))

    def in_a():  # b a^(b-1). Where b = 0 it is 0 for every a, also where a^-1 is none
        if isinstance(b, (int, float)) and b < 0:
            return g * b * y / a  # a^(b-1) may overflow where a is small, though g is small too
        if isinstance(b, (int, float)):
            return g * (b * a ** (b - 1 if b else 0))
        zero = value(b) == 0
        if type(b) is not Tensor:
            return g * (b * a ** where(zero, 0, b - 1))
        return g * (b * where(zero & ~(np.abs(value(a)) > 0), 1, a) ** (b - 1))  # d/db of it is a^-1 where b = 0

    def in_b():  # a^b log a
        return g * where(value(a) == 0, 0, y * log(where(value(a) == 0, 1, a)))

    return in_a, in_b


@implements(np.cbrt)
@primitive
def cbrt(x: ArrayLike):
    """The cube root, also of negative numbers. At 0 the derivative is infinite."""
    return np.cbrt(x)


@cbrt.vjp
def _(g, y, _x):
    """g / (3 * y^2)"""
    y = widened(y)
    return g / (3 * y * y)
