"""Elementwise operations. Shapes broadcast as in NumPy; the engine sums each gradient back to its input's shape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..kernels import special
from ..kernels.memory import SMALL, Needs, empty, pop_unshared
from ..kernels.precision import widened
from ..modes import CHECK, flags
from ..primitive import primitive
from ..tape import new_node
from ..tensor import MASKED, ArrayLike, Tensor, value
from .numpy_api import implements

__all__ = [
    "abs", "add", "astype", "clip", "cos", "divide", "elu", "erf", "exp", "expm1", "gelu", "leaky_relu", "log",
    "log1p", "maximum", "minimum", "multiply", "negative", "power", "relu", "remainder", "sigmoid", "silu", "sin",
    "softplus", "sqrt", "subtract", "tanh", "where",
]  # fmt: skip


def arrays(a: Any, b: Any) -> tuple[Any, Any]:
    """a and b, with lists turned into arrays. Rules need their shapes and compare their entries."""
    return np.asarray(a) if type(a) in (list, tuple) else a, np.asarray(b) if type(b) in (list, tuple) else b


def as_array(x: Any) -> Any:
    """x itself if it is a Tensor, otherwise x as an ndarray."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(MASKED)
    return x if type(x) is Tensor else np.asarray(x)


def recycled(ufunc: np.ufunc, a: Any, b: Any) -> Any:
    """ufunc(a, b), in recycled memory where a is a large array.

    Activations plus a bias are the common case. Fresh memory would cost more there than the addition: see
    `kernels.memory`.
    """
    if type(a) is np.ndarray and a.nbytes >= SMALL:
        out = empty(np.broadcast_shapes(a.shape, np.shape(b)), np.result_type(a, b))
        return ufunc(a, b, out=out)
    return ufunc(a, b)


# ---------------------------------------------------------------- arithmetic


@implements(np.add)
@primitive
def add(a: ArrayLike, b: ArrayLike):
    """a + b."""
    return recycled(np.add, a, b)


@add.vjp
def _(g, _y, _a, _b):
    return g, g


@implements(np.subtract)
@primitive
def subtract(a: ArrayLike, b: ArrayLike):
    """a - b."""
    return recycled(np.subtract, a, b)


@subtract.vjp
def _(g, _y, _a, _b):
    return g, lambda: -g


@implements(np.multiply)
@primitive
def multiply(a: ArrayLike, b: ArrayLike):
    """a * b."""
    return recycled(np.multiply, a, b)


@multiply.vjp
def _(g, _y, a, b):
    return lambda: g * b, lambda: g * a


@implements(np.divide)
@primitive
def divide(a: ArrayLike, b: ArrayLike):
    """a / b."""
    return np.divide(a, b)


@divide.vjp
def _(g, y, _a, b):  # d(a/b)/db = -a/b^2 = -y/b, where b^2 may overflow or vanish
    return lambda: g / b, lambda: -(g / b) * y


@implements(np.remainder)
@primitive
def remainder(a: ArrayLike, b: ArrayLike):
    """a % b, with the sign of b. At multiples of b, where it jumps, the derivative is the one just after the jump."""
    return np.remainder(a, b)


@remainder.vjp
def _(g, _y, a, b):  # a % b = a - b (a // b); floor(a / b) may be another quotient: 1 // 0.1 is 9, floor(1 / 0.1) is 10
    a, b = arrays(value(a), value(b))
    if np.result_type(a, b).char == "e":  # the quotient may be too large for the dtype of the remainder
        a, b = (widened(np.asarray(v, np.float16)) for v in (a, b))
    return g, lambda: -g * np.floor_divide(a, b)


@implements(np.power, np.float_power)
@primitive
def power(a: ArrayLike, b: ArrayLike):
    """a ** b. The derivative in a is 0 where b = 0; the derivative in b is 0 where a = 0, NaN where a < 0."""
    if isinstance(a, np.ndarray):
        return a**b  # the operator has short cuts for squares and roots
    return np.power(a, b)


@power.vjp
def _(g, y, a, b):
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


@implements(np.negative)
@primitive
def negative(x: ArrayLike):
    """-x."""
    return np.negative(x)


@negative.vjp
def _(g, _y, _x):
    return -g


@implements(np.absolute, np.fabs)
@primitive
def abs(x: ArrayLike):
    """|x|. At 0 the derivative is 0, the middle of [-1, 1]."""
    return np.abs(x)


@abs.vjp
def _(g, _y, x):
    return g * np.sign(value(x))


@implements(np.positive)
def _positive(x: ArrayLike) -> Any:
    return x


@implements(np.square)
def _square(x: Any) -> Any:
    return x * x


@implements(np.reciprocal)
def _reciprocal(x: Any) -> Any:
    return 1 / x


# ---------------------------------------------------------------- exponentials


@implements(np.exp)
@primitive
def exp(x: ArrayLike):
    """e ** x."""
    return np.exp(x)


@exp.vjp
def _(g, y, _x):
    return g * y


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
    """The natural logarithm."""
    return np.log(x)


@log.vjp
def _(g, _y, x):
    return g / x


@implements(np.log1p)
@primitive
def log1p(x: ArrayLike):
    """log(1 + x), accurate near 0."""
    return np.log1p(x)


@log1p.vjp
def _(g, _y, x):
    return g / (1 + x)


@implements(np.sqrt)
@primitive
def sqrt(x: ArrayLike):
    """The square root. At 0 the derivative is infinite."""
    return np.sqrt(x)


@sqrt.vjp
def _(g, y, _x):
    return g / (2 * y)


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


# ---------------------------------------------------------------- activations


@implements(np.tanh)
@primitive
def tanh(x: ArrayLike):
    """The hyperbolic tangent. The derivative 1 - y^2 is taken from the value, so it is 0 where that is rounded to 1."""
    return np.tanh(x)


@tanh.vjp
def _(g, y, _x):  # 1 - tanh^2
    y = widened(y)
    return g * (1 - y * y)


@primitive
def sigmoid(x: ArrayLike):
    """s = 1 / (1 + e ** -x), without overflow. The derivative s (1 - s) is 0 where s is rounded to 1."""
    return special.sigmoid(np.asarray(x))


@sigmoid.vjp
def _(g, y, _x):  # s (1 - s)
    return g * (y * (1 - y))


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
    positive = value(y) > 0
    return gate(g, positive) if type(g) is Tensor else special.gate(g, positive, out)


@primitive
def leaky_relu(x: ArrayLike, slope: float = 0.01):
    """x where x > 0, slope * x elsewhere. At 0 the derivative is `slope`."""
    x = np.asarray(x)
    return np.where(x > 0, x, slope * x)


@leaky_relu.vjp
def _(g, _y, x, slope=0.01):
    return gate(g, value(x) > 0) + slope * gate(g, ~(value(x) > 0))


@primitive
def elu(x: ArrayLike, alpha: float = 1.0):
    """x where x > 0, alpha (e ** x - 1) elsewhere (Clevert et al. 2015). At 0 the derivative is `alpha`."""
    x = np.asarray(x)
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


@elu.vjp
def _(g, _y, x, alpha=1.0):
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

    The error is a rounding error of x, not of the result: in float32 silu(-16) = -1.8e-6 is off by 6%, and silu(-20)
    is 0.
    """
    return special.silu(np.asarray(x))


silu.records_saved = True


@silu.vjp
def _(g, y, _x, *, saved):  # with the saved s = sigmoid(x):  d silu = s + x s (1 - s) = s + y (1 - s)
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
    x = _saturated(x)
    return g * (2 / math.sqrt(math.pi) * exp(-x * x))


def _saturated(x: Any) -> Any:
    """x, where erf and tanh are 1 to the last digit at most 100: the square of a large number would overflow."""
    return clip(widened(x), -100.0, 100.0)


_C = math.sqrt(2 / math.pi)


@primitive
def gelu(x: ArrayLike, approximate: bool = False):
    """x Phi(x), Phi the normal distribution function (Hendrycks & Gimpel 2016).

    With `approximate`, their tanh form: x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2.
    """
    return special.gelu(np.asarray(x), approximate)


@gelu.vjp
def _(g, _y, x, approximate=False):
    x = _saturated(x)
    if approximate:  # with t = tanh(u): (1 + t) / 2 + x (1 - t^2) u' / 2
        t = tanh(_C * x * (1 + 0.044715 * x * x))
        du = _C * (1 + 3 * 0.044715 * x * x)
        return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * du)
    cdf = 0.5 * (1 + erf(x * math.sqrt(0.5)))  # Phi + x phi
    pdf = exp(-0.5 * x * x) * (0.5 * _C)
    return g * (cdf + x * pdf)


# ---------------------------------------------------------------- choices


@implements(np.maximum)
@primitive
def maximum(a: ArrayLike, b: ArrayLike):
    """The larger of a and b, NaN where one is NaN. At ties each gets half of the gradient."""
    return np.maximum(a, b)


@maximum.vjp
def _(g, _y, a, b):
    a, b = value(a), value(b)
    return lambda: _share(g, a > b, a == b, np.isnan(a)), lambda: _share(g, b > a, a == b, np.isnan(b))


@implements(np.minimum)
@primitive
def minimum(a: ArrayLike, b: ArrayLike):
    """The smaller of a and b, NaN where one is NaN. At ties each gets half of the gradient."""
    return np.minimum(a, b)


@minimum.vjp
def _(g, _y, a, b):
    a, b = value(a), value(b)
    return lambda: _share(g, a < b, a == b, np.isnan(a)), lambda: _share(g, b < a, a == b, np.isnan(b))


def _share(g, ahead, tie, nan):
    """The gradient of one operand: all of g where it is ahead or NaN, half of g at a tie."""
    return g * np.asarray(np.where(tie, 0.5, ahead | nan), g.dtype)


@implements(np.where)
@primitive
def where(condition: ArrayLike, a: ArrayLike, b: ArrayLike):
    """a where `condition` is true, b elsewhere.

    `condition` is an array of bools and gets no gradient. The backward pass uses a copy of it, which takes 2% of the
    time of the forward, so that it may be changed in between.
    """
    return np.where(condition, a, b)


@where.vjp
def _(g, _y, condition, _a, _b):
    mask = np.asarray(value(condition)).astype(bool)
    return None, lambda: gate(g, mask), lambda: gate(g, ~mask)


@primitive
def gate(x: ArrayLike, mask: ArrayLike):
    """x where `mask` is true, 0 elsewhere. It is `where(mask, x, 0)`, ten times as fast. The mask gets no gradient."""
    return special.gate(np.asarray(x), np.asarray(mask, bool))


@gate.vjp
def _(g, _y, _x, mask):
    return gate(g, mask), None


@primitive
def clip(x: ArrayLike, low: ArrayLike | None = None, high: ArrayLike | None = None):
    """x limited to [low, high]. The gradient goes to x where x is inside or on a bound, and otherwise to the bound.

    Where low >= high the result is `high` for every x, and `high` gets all of the gradient. Where the result is NaN,
    the argument that is NaN gets it.
    """
    if low is None and high is None:
        raise TypeError("clip: give low, high, or both")
    return np.clip(x, low, high)


@clip.vjp
def _(g, _y, x, low=None, high=None):
    v, low, high = value(x), value(low), value(high)
    above: Any = False if high is None else np.greater(v, high) | np.isnan(high)
    below: Any = False if low is None else np.less(v, low) | np.isnan(low)
    if low is not None and high is not None:  # np.clip raises x to `low` first, so that `high` has the last word
        above = (above | np.greater_equal(low, high)) & ~(np.isnan(v) | np.isnan(low))
        below = below & ~above
    inside = np.logical_not(np.logical_or(below, above))
    return lambda: gate(g, inside), lambda: gate(g, below), lambda: gate(g, above)


@implements(np.clip)
def _clip(x: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Tensor:
    if (a_min is not None or a_max is not None) and (min is not None or max is not None):
        raise TypeError("np.clip: give a_min and a_max, or min and max")
    return clip(x, a_min if min is None else min, a_max if max is None else max)


@primitive
def astype(x: ArrayLike, dtype: DTypeLike):
    """x in another floating dtype. The gradient comes back in the dtype of x."""
    if np.dtype(dtype).kind != "f":
        raise TypeError(f"astype: a Tensor's gradient needs a floating dtype, got {np.dtype(dtype)}")
    return np.asarray(x).astype(dtype)


astype.narrows = False


@astype.vjp
def _(g, _y, _x, dtype):
    return g  # the engine casts
