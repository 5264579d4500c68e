"""Elementwise arithmetic and choices. Shapes broadcast as in NumPy; the engine sums each gradient to its input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels import special
from ..kernels.memory import SMALL, empty
from ..primitive import deciding, identity, primitive
from ..tensor import ArrayLike, Tensor, refuse_foreign, value
from .numpy_api import implements

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = [
    "abs", "add", "astype", "clip", "divide", "fmax", "fmin", "maximum", "minimum", "multiply", "nan_to_num",
    "negative", "positive", "reciprocal", "square", "subtract", "where",
]  # fmt: skip


def arrays(a: Any, b: Any) -> tuple[Any, Any]:
    """a and b, with lists turned into arrays. Rules need their shapes and compare their entries."""
    return np.asarray(a) if type(a) in (list, tuple) else a, np.asarray(b) if type(b) in (list, tuple) else b


def as_array(x: Any) -> Any:
    """x itself if it is a Tensor, otherwise x as an ndarray."""
    if type(x) is not Tensor and type(x) is not np.ndarray:
        refuse_foreign(x)
    return x if type(x) is Tensor else np.asarray(x)


def beside(v: Any, x: Any) -> Any:
    """v as an array; in the dtype of a floating x where v decides none, see `alike`. An array of bools stays one."""
    bools = getattr(v, "dtype", None) == np.bool_
    return as_array(v) if bools else alike(v, x)[0]


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
    """a / b. Where b = 0 it is infinite or NaN, as in NumPy, and so are the derivatives."""
    return np.divide(a, b)


@divide.vjp
def _(g, y, _a, b):  # not -g a / b^2, where b^2 may overflow or vanish
    return lambda: g / b, lambda: -(g / b) * y


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


@implements(np.imag)
def _imag(val: ArrayLike) -> Tensor:
    return Tensor(np.imag(value(as_array(val))))


@implements(np.positive, np.real, np.conjugate, np.real_if_close)
def positive(x: ArrayLike) -> Tensor:
    """+x, which is x."""
    return identity(as_array(x))


@implements(np.square)
def square(x: ArrayLike) -> Tensor:
    """x * x."""
    return multiply(x, x)


@implements(np.reciprocal)
def reciprocal(x: ArrayLike) -> Tensor:
    """1 / x."""
    return divide(1.0, x)

# ---------------------------------------------------------------- choices


@implements(np.maximum)
@primitive
def maximum(a: ArrayLike, b: ArrayLike):
    """The larger of a and b, NaN where one is NaN. At ties each gets half of the gradient."""
    return np.maximum(a, b)


@maximum.vjp
def _(g, _y, a, b):
    """a: g where a > b or a is NaN, g / 2 where a = b
    b: g where b > a or b is NaN, g / 2 where a = b
    """
    a, b = value(a), value(b)
    return lambda: _share(g, a > b, a == b, np.isnan(a)), lambda: _share(g, b > a, a == b, np.isnan(b))


@implements(np.minimum)
@primitive
def minimum(a: ArrayLike, b: ArrayLike):
    """The smaller of a and b, NaN where one is NaN. At ties each gets half of the gradient."""
    return np.minimum(a, b)


@minimum.vjp
def _(g, _y, a, b):
    """a: g where a < b or a is NaN, g / 2 where a = b
    b: g where b < a or b is NaN, g / 2 where a = b
    """
    a, b = value(a), value(b)
    return lambda: _share(g, a < b, a == b, np.isnan(a)), lambda: _share(g, b < a, a == b, np.isnan(b))


@implements(np.fmax)
@primitive
def fmax(a: ArrayLike, b: ArrayLike):
    """The larger of a and b; where one is NaN, the other. At ties each gets half of the gradient."""
    return np.fmax(a, b)


@fmax.vjp
def _(g, _y, a, b):
    """a: g where a > b or b is NaN, g / 2 where a = b
    b: g where b > a or a is NaN, g / 2 where a = b
    """
    a, b = value(a), value(b)
    return lambda: _share(g, a > b, a == b, np.isnan(b)), lambda: _share(g, b > a, a == b, np.isnan(a))


@implements(np.fmin)
@primitive
def fmin(a: ArrayLike, b: ArrayLike):
    """The smaller of a and b; where one is NaN, the other. At ties each gets half of the gradient."""
    return np.fmin(a, b)


@fmin.vjp
def _(g, _y, a, b):
    """a: g where a < b or b is NaN, g / 2 where a = b
    b: g where b < a or a is NaN, g / 2 where a = b
    """
    a, b = value(a), value(b)
    return lambda: _share(g, a < b, a == b, np.isnan(b)), lambda: _share(g, b < a, a == b, np.isnan(a))


def _share(g, ahead, tie, nan):
    """The gradient of one operand: all of g where it is ahead or `nan` says so, half of g at a tie."""
    return g * np.asarray(np.where(tie, 0.5, ahead | nan), g.dtype)


@primitive
def where(condition: ArrayLike, a: ArrayLike, b: ArrayLike):
    """a where `condition` is true, b elsewhere.

    `condition` is an array of bools, or of numbers of which all but 0 are true, and gets no gradient. The backward pass
    has a copy of it, so that it may be changed after the forward; the copy takes 2% of the forward's time.
    """
    return np.where(condition, a, b)


@where.vjp
def _(g, _y, condition, _a, _b):
    """a: g where condition
    b: g where not condition
    """
    mask = np.asarray(value(condition)).astype(bool)
    return None, lambda: gate(g, mask), lambda: gate(g, ~mask)


@implements(np.where)
def _where(condition: ArrayLike, *arrays: ArrayLike) -> Any:
    return where(condition, *arrays) if arrays else np.nonzero(value(condition))


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
    """x: g where low <= x <= high
    low: g where x < low
    high: g where x > high, and all of g wherever low >= high
    """
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


@implements(np.nan_to_num)
def nan_to_num(
    x: ArrayLike, copy: bool = True, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """x with numbers in the place of NaN and infinities, by default 0 and the ends of the dtype.

    It is a composition of `where`: the derivative is 1 where x is finite, and 0 elsewhere. The result is always a copy.
    """
    t = as_array(x)
    v, info = value(t), np.finfo(t.dtype if t.dtype.kind == "f" else np.float64)
    t = where(np.isnan(v), nan, t)
    t = where(np.isposinf(v), info.max if posinf is None else posinf, t)
    return where(np.isneginf(v), info.min if neginf is None else neginf, t)


@primitive
def astype(x: ArrayLike, dtype: DTypeLike):
    """x in another floating dtype. The gradient comes back in the dtype of x."""
    if np.dtype(dtype).kind != "f":
        raise TypeError(
            f"astype: a Tensor's gradient needs a floating dtype, got {np.dtype(dtype)}: use t.detach().astype(dtype)"
        )
    return np.asarray(x).astype(dtype)


astype.narrows = False
if hasattr(np, "astype"):  # since NumPy 2.1
    implements(np.astype)(astype)


@astype.vjp
def _(g, _y, _x, dtype):
    return g  # the engine casts


def alike(*values: Any) -> list[Any]:
    """The values as arrays or Tensors, and those that do not decide a dtype in the one that the others decide.

    Compositions call it where NumPy's operators would widen. A complex array stays: its operation refuses it.
    """
    decide = deciding(values)
    if not decide:
        return [*map(as_array, values)]
    widest = max((v.dtype for v in decide), key=lambda dtype: dtype.itemsize)

    def stays(v: Any) -> bool:
        return any(v is d for d in decide) or getattr(v, "dtype", widest).kind == "c"

    return [as_array(v) if stays(v) else astype(v, widest) for v in values]


def floats(x: Any) -> Any:
    """x as an array or Tensor of floats. Ints and bools become float64, as in NumPy's functions."""
    x = as_array(x)
    return x if x.dtype.kind == "f" else astype(x, np.float64)
