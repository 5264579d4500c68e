"""Rounding, signs and remainders, elementwise.

Functions that are constant between their jumps have the derivative 0 everywhere, as in PyTorch: no gradient goes
through them. `mg.custom_vjp` gives one another, such as that of a straight-through estimator.
"""

from __future__ import annotations

import numpy as np

from ..kernels.precision import widened
from ..primitive import primitive
from ..tensor import ArrayLike, Tensor, value
from .elementwise import arrays, as_array, gate, subtract, where
from .numpy_api import implements

__all__ = [
    "ceil", "copysign", "divmod", "floor", "floor_divide", "fmod", "heaviside", "modf", "remainder", "rint", "round",
    "sign", "trunc",
]  # fmt: skip


def _constant(_g, _y, _x):
    return (None,)


@implements(np.sign)
@primitive
def sign(x: ArrayLike):
    """-1, 0 or 1. The derivative is 0, also at 0."""
    return np.sign(x)


sign.vjp(_constant)


@implements(np.floor)
@primitive
def floor(x: ArrayLike):
    """The largest whole number that is at most x. The derivative is 0."""
    return np.floor(x)


floor.vjp(_constant)


@implements(np.ceil)
@primitive
def ceil(x: ArrayLike):
    """The smallest whole number that is at least x. The derivative is 0."""
    return np.ceil(x)


ceil.vjp(_constant)


@implements(np.trunc, np.fix)
@primitive
def trunc(x: ArrayLike):
    """The whole number next to x towards 0. The derivative is 0."""
    return np.trunc(x)


trunc.vjp(_constant)


@implements(np.rint)
@primitive
def rint(x: ArrayLike):
    """The nearest whole number, the even one halfway between two. The derivative is 0."""
    return np.rint(x)


rint.vjp(_constant)


@implements(np.round, np.around)
@primitive
def round(x: ArrayLike, decimals: int = 0):
    """x with `decimals` digits after the point, halfway to the even one. The derivative is 0."""
    return np.round(x, decimals)


@round.vjp
def _(_g, _y, _x, decimals=0):
    return (None,)


@implements(np.floor_divide)
@primitive
def floor_divide(a: ArrayLike, b: ArrayLike):
    """a // b, the largest whole number that is at most a / b, for b != 0. Both derivatives are 0."""
    return np.floor_divide(a, b)


@floor_divide.vjp
def _(_g, _y, _a, _b):
    return None, None


@implements(np.angle)
def _angle(x: ArrayLike, deg: bool = False) -> Tensor:  # of a real number, so it is constant
    return Tensor(np.angle(value(as_array(x)), deg))


@implements(np.heaviside)
@primitive
def heaviside(x: ArrayLike, h: ArrayLike):
    """0 where x < 0, h where x = 0, 1 where x > 0. The derivative in x is 0 everywhere, the one in h is 1 at x = 0."""
    return np.heaviside(x, h)


@heaviside.vjp
def _(g, _y, x, _h):
    """x: 0
    h: g where x = 0
    """
    return None, lambda: gate(g, np.equal(value(x), 0))


@implements(np.copysign)
@primitive
def copysign(a: ArrayLike, b: ArrayLike):
    """|a| with the sign of b. At a = 0 the derivative is 0, as that of `abs`; in b it is 0 everywhere."""
    return np.copysign(a, b)


@copysign.vjp
def _(g, _y, a, b):
    """a: g * sign(a) * copysign(1, b)
    b: 0
    """
    return lambda: g * (np.sign(value(a)) * np.copysign(1.0, value(b))), None


@implements(np.remainder)
@primitive
def remainder(a: ArrayLike, b: ArrayLike):
    """a % b, with the sign of b, for b != 0.

    At multiples of b, where it jumps, the derivative is the one just after the jump.
    """
    return np.remainder(a, b)


@remainder.vjp
def _(g, _y, a, b):
    """a: g
    b: -g * (a // b)
    """
    # not floor(a / b), which may be another quotient: 1 // 0.1 is 9, floor(1 / 0.1) is 10
    a, b = arrays(value(a), value(b))
    if np.result_type(a, b).char == "e":  # the quotient may be too large for the dtype of the remainder
        a, b = (widened(np.asarray(v, np.float16)) for v in (a, b))
    return g, lambda: -g * np.floor_divide(a, b)


@implements(np.fmod)
@primitive
def fmod(a: ArrayLike, b: ArrayLike):
    """The remainder of a / b with the sign of a, for b != 0.

    At multiples of b the derivative is that of the side away from 0.
    """
    return np.fmod(a, b)


@fmod.vjp
def _(g, y, a, b):
    """a: g
    b: -g * trunc(a / b)
    """
    a, b = (widened(np.asarray(v)) for v in arrays(value(a), value(b)))
    return g, lambda: -g * np.rint((a - value(widened(y))) / b)  # a / b itself may round across a whole number


@implements(np.divmod)
def divmod(a: ArrayLike, b: ArrayLike) -> tuple[Tensor, Tensor]:
    """`floor_divide` and `remainder`."""
    return floor_divide(a, b), remainder(a, b)


@implements(np.modf)
def modf(x: ArrayLike) -> tuple[Tensor, Tensor]:
    """What stands after the point and what before it, `x - trunc(x)` and `trunc(x)`, both with the sign of x."""
    whole, finite = trunc(x), np.isfinite(value(as_array(x)))
    return subtract(where(finite, x, 0), where(finite, whole, 0)), whole
