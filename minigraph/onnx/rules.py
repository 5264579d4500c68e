"""How each primitive is written in ONNX: one table, by the primitive's name.

    @rule("tanh")
    def _(b, y, x): ...

A rule takes the Builder, the result (a Value without a name yet), and the arguments of the primitive's own forward, in
which a Value stands for each array. It returns the order of axes in which it leaves the result, and the tensor's name.
A primitive of which no rule can be given stands in REFUSED, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ops.shape import axes_of
from .build import Builder, Length, Order, UnsupportedError, Value, channels_first, fixed, onnx_type, plain

Result = tuple[Order, str]

RULES: dict[str, Callable[..., Result]] = {}

REFUSED = {
    "batch_norm": "it normalises by the batch itself, as in training: export the model with train=False",
    "conv2d_weight_grad": "it belongs to a backward pass, and ONNX has no operator for it: export the forward",
    "max_pool_scatter": "it belongs to a backward pass, and needs the places of the maxima: export the forward",
    "max_pool_gather": "it belongs to a backward pass, and needs the places of the maxima: export the forward",
    "avg_pool_adjoint": "it belongs to a backward pass, and ONNX has no operator for it: export the forward",
    **dict.fromkeys(
        ("inv", "solve", "det", "slogdet", "cholesky", "eigh", "qr", "svd", "pinv"),
        "ONNX has no operator of linear algebra but the matrix product",
    ),
    **dict.fromkeys(("rfft", "irfft"), "ONNX keeps a spectrum in another form than minigraph"),
}


def rule(*names: str) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    def register(f: Callable[..., Result]) -> Callable[..., Result]:
        RULES.update(dict.fromkeys(names, f))
        return f

    return register


# ---------------------------------------------------------------- elementwise


def _unary(name: str, op_type: str) -> None:
    @rule(name)
    def _(b: Builder, y: Value, x: Any, **_options: Any) -> Result:
        return _of_entries(b, y, x)(op_type)


def _of_entries(b: Builder, y: Value, x: Any) -> Callable[..., Result]:
    """A function that applies an operator to x, in whatever order its axes are."""
    x = b.operand(x, y.dtype)

    def apply(op_type: str, *more: str, **attributes: Any) -> Result:
        return x.order, b.node(op_type, b.name(x, x.order), *more, **attributes)

    return apply


for _name, _op_type in {
    "identity": "Identity", "negative": "Neg", "abs": "Abs", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "sin": "Sin",
    "cos": "Cos", "tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu", "softplus": "Softplus", "erf": "Erf",
    "tan": "Tan", "arcsin": "Asin", "arccos": "Acos", "arctan": "Atan", "sinh": "Sinh", "cosh": "Cosh",
    "arcsinh": "Asinh", "arccosh": "Acosh", "arctanh": "Atanh", "sign": "Sign", "floor": "Floor", "ceil": "Ceil",
    "rint": "Round", "copy": "Identity",
}.items():  # fmt: skip
    _unary(_name, _op_type)


def _binary(name: str, op_type: str) -> None:
    @rule(name)
    def _(b: Builder, y: Value, a: Any, c: Any) -> Result:
        order, names = b.aligned(y.ndim, b.operand(a, y.dtype), b.operand(c, y.dtype))
        return order, b.node(op_type, *names)


for _name, _op_type in {
    "add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "power": "Pow", "maximum": "Max",
    "minimum": "Min",
}.items():  # fmt: skip
    _binary(_name, _op_type)


@rule("remainder")
def _remainder(b: Builder, y: Value, a: Any, c: Any) -> Result:
    # C's fmod has the sign of a. Where that is not the sign of c, c is added, as NumPy does it.
    order, (p, q) = b.aligned(y.ndim, b.operand(a, y.dtype), b.operand(c, y.dtype))
    r = b.node("Mod", p, q, fmod=1)
    other = b.node("Less", b.node("Mul", r, q), _number(b, y, 0))
    return order, b.node("Where", other, b.node("Add", r, q), r)


@rule("expm1")
def _expm1(b: Builder, y: Value, x: Any) -> Result:
    # tanh(x/2) = (e^x - 1) / (e^x + 1) has its full accuracy near 0, which e^x - 1 has not
    apply = _of_entries(b, y, x)
    order, exp = apply("Exp")
    _, half = apply("Mul", _number(b, y, 0.5))
    return order, b.node("Mul", b.node("Tanh", half), b.node("Add", exp, _number(b, y, 1)))


@rule("log1p")
def _log1p(b: Builder, y: Value, x: Any) -> Result:
    # log(1 + x) = 2 atanh(x / (2 + x)), which has its full accuracy near 0
    apply = _of_entries(b, y, x)
    order, log = apply("Add", _number(b, y, 1))
    _, shifted = apply("Add", _number(b, y, 2))
    _, ratio = apply("Div", shifted)
    near = b.node("Mul", b.node("Atanh", ratio), _number(b, y, 2))
    _, size = apply("Abs")
    return order, b.node("Where", b.node("Less", size, _number(b, y, 0.5)), near, b.node("Log", log))


@rule("exp2")
def _exp2(b: Builder, y: Value, x: Any) -> Result:
    order, name = _of_entries(b, y, x)("Identity")
    return order, b.node("Pow", _number(b, y, 2), name)


def _logarithm(name: str, base: float) -> None:
    @rule(name)
    def _(b: Builder, y: Value, x: Any) -> Result:
        order, log = _of_entries(b, y, x)("Log")
        return order, b.node("Mul", log, _number(b, y, 1 / math.log(base)))


_logarithm("log2", 2)
_logarithm("log10", 10)


def _sum_of_powers(name: str, base: float) -> None:
    @rule(name)
    def _(b: Builder, y: Value, a: Any, c: Any) -> Result:
        # log(e^a + e^c) = max(a, c) + log(1 + e^-|a - c|)
        order, (p, q) = b.aligned(y.ndim, b.operand(a, y.dtype), b.operand(c, y.dtype))
        gap = b.node("Mul", b.node("Abs", b.node("Sub", p, q)), _number(b, y, -math.log(base)))
        more = b.node("Mul", b.node("Softplus", gap), _number(b, y, 1 / math.log(base)))
        return order, b.node("Add", b.node("Max", p, q), more)


_sum_of_powers("logaddexp", math.e)
_sum_of_powers("logaddexp2", 2)


@rule("xlogy")
def _xlogy(b: Builder, y: Value, a: Any, c: Any) -> Result:
    order, (p, q) = b.aligned(y.ndim, b.operand(a, y.dtype), b.operand(c, y.dtype))
    zero = b.node("And", b.node("Equal", p, _number(b, y, 0)), b.node("Not", b.node("IsNaN", q)))
    return order, b.node("Where", zero, _number(b, y, 0), b.node("Mul", p, b.node("Log", q)))


@rule("ldexp")
def _ldexp(b: Builder, y: Value, x: Any, n: Any) -> Result:
    order, (p, q) = b.aligned(y.ndim, b.operand(x, y.dtype), b.operand(n, y.dtype))
    return order, b.node("Mul", p, b.node("Pow", _number(b, y, 2), q))


@rule("cbrt")
def _cbrt(b: Builder, y: Value, x: Any) -> Result:
    apply = _of_entries(b, y, x)
    order, size = apply("Abs")
    return order, b.node("Mul", apply("Sign")[1], b.node("Pow", size, _number(b, y, 1 / 3)))


def _of_the_one_that_is_a_number(name: str, op_type: str) -> None:
    @rule(name)
    def _(b: Builder, y: Value, a: Any, c: Any) -> Result:
        order, (p, q) = b.aligned(y.ndim, b.operand(a, y.dtype), b.operand(c, y.dtype))
        chosen = b.node("Where", b.node("IsNaN", q), p, b.node(op_type, p, q))
        return order, b.node("Where", b.node("IsNaN", p), q, chosen)


_of_the_one_that_is_a_number("fmax", "Max")
_of_the_one_that_is_a_number("fmin", "Min")


@rule("arctan2")
def _arctan2(b: Builder, y: Value, a: Any, c: Any) -> Result:
    # the arctangent of a / c, half a turn further where c is negative; 0 at the origin
    order, (p, q) = b.aligned(y.ndim, b.operand(a, y.dtype), b.operand(c, y.dtype))
    zero = _number(b, y, 0)
    turn = b.node("Where", b.node("Less", p, zero), _number(b, y, -math.pi), _number(b, y, math.pi))
    origin = b.node("And", b.node("Equal", p, zero), b.node("Equal", q, zero))
    angle = b.node("Atan", b.node("Where", origin, zero, b.node("Div", p, q)))
    return order, b.node("Add", angle, b.node("Where", b.node("Less", q, zero), turn, zero))


@rule("hypot")
def _hypot(b: Builder, y: Value, a: Any, c: Any) -> Result:
    # the larger one is taken out, so that squares do not overflow
    order, (p, q) = b.aligned(y.ndim, b.operand(a, y.dtype), b.operand(c, y.dtype))
    top = b.node("Max", b.node("Abs", p), b.node("Abs", q))
    safe = b.node("Where", b.node("Equal", top, _number(b, y, 0)), _number(b, y, 1), top)
    squares = [b.node("Mul", v, v) for v in (b.node("Div", p, safe), b.node("Div", q, safe))]
    return order, b.node("Mul", top, b.node("Sqrt", b.node("Add", *squares)))


@rule("sinc")
def _sinc(b: Builder, y: Value, x: Any) -> Result:
    order, u = _of_entries(b, y, x)("Mul", _number(b, y, math.pi))
    zero = b.node("Equal", u, _number(b, y, 0))
    u = b.node("Where", zero, _number(b, y, 1), u)
    return order, b.node("Where", zero, _number(b, y, 1), b.node("Div", b.node("Sin", u), u))


@rule("trunc")
def _trunc(b: Builder, y: Value, x: Any) -> Result:
    apply = _of_entries(b, y, x)
    order, size = apply("Abs")
    return order, b.node("Mul", apply("Sign")[1], b.node("Floor", size))


@rule("round")
def _round(b: Builder, y: Value, x: Any, decimals: int = 0) -> Result:
    if not decimals:
        return _of_entries(b, y, x)("Round")
    order, scaled = _of_entries(b, y, x)("Mul", _number(b, y, 10.0**decimals))
    return order, b.node("Div", b.node("Round", scaled), _number(b, y, 10.0**decimals))


@rule("fmod")
def _fmod(b: Builder, y: Value, a: Any, c: Any) -> Result:
    order, names = b.aligned(y.ndim, b.operand(a, y.dtype), b.operand(c, y.dtype))
    return order, b.node("Mod", *names, fmod=1)


@rule("floor_divide")
def _floor_divide(b: Builder, y: Value, a: Any, c: Any) -> Result:
    # (a - a % c) / c is whole but for rounding, where floor(a / c) may be another quotient
    order, rest = _remainder(b, y, a, c)
    _, (p, q) = b.aligned(y.ndim, b.operand(a, y.dtype), b.operand(c, y.dtype))
    return order, b.node("Round", b.node("Div", b.node("Sub", p, rest), q))


@rule("heaviside")
def _heaviside(b: Builder, y: Value, x: Any, h: Any) -> Result:
    order, (p, q) = b.aligned(y.ndim, b.operand(x, y.dtype), b.operand(h, y.dtype))
    zero, one = _number(b, y, 0), _number(b, y, 1)
    at_zero = b.node("Where", b.node("Equal", p, zero), q, p)  # NaN stays
    below = b.node("Where", b.node("Less", p, zero), zero, at_zero)
    return order, b.node("Where", b.node("Greater", p, zero), one, below)


@rule("copysign")
def _copysign(b: Builder, y: Value, a: Any, c: Any) -> Result:
    order, (p, q) = b.aligned(y.ndim, b.operand(a, y.dtype), b.operand(c, y.dtype))
    zero, one = _number(b, y, 0), _number(b, y, 1)
    negative = b.node("Or", b.node("Less", q, zero), b.node("Less", b.node("Div", one, q), zero))  # the second: -0.0
    return order, b.node("Mul", b.node("Abs", p), b.node("Where", negative, _number(b, y, -1), one))


@rule("leaky_relu")
def _leaky_relu(b: Builder, y: Value, x: Any, slope: float = 0.01) -> Result:
    return _of_entries(b, y, x)("LeakyRelu", alpha=_static(slope, "slope"))


@rule("elu")
def _elu(b: Builder, y: Value, x: Any, alpha: float = 1.0) -> Result:
    return _of_entries(b, y, x)("Elu", alpha=_static(alpha, "alpha"))


@rule("silu")
def _silu(b: Builder, y: Value, x: Any) -> Result:
    apply = _of_entries(b, y, x)
    _, sigmoid = apply("Sigmoid")
    return apply("Mul", sigmoid)


@rule("gelu")
def _gelu(b: Builder, y: Value, x: Any, approximate: bool = False) -> Result:
    return _of_entries(b, y, x)("Gelu", approximate="tanh" if approximate else "none")


@rule("where")
def _where(b: Builder, y: Value, condition: Any, a: Any, c: Any) -> Result:
    operands = b.operand(condition, bool), b.operand(a, y.dtype), b.operand(c, y.dtype)
    order, names = b.aligned(y.ndim, *operands)
    return order, b.node("Where", *names)


@rule("gate")
def _gate(b: Builder, y: Value, x: Any, mask: Any) -> Result:
    return _where(b, y, mask, x, 0)


@rule("clip")
def _clip(b: Builder, y: Value, x: Any, low: Any = None, high: Any = None) -> Result:
    order, name = plain(y.ndim), ""
    x = b.operand(x, y.dtype)
    for op_type, bound in (("Max", low), ("Min", high)):  # in NumPy's order, which decides where low > high
        if bound is not None:
            order, names = b.aligned(y.ndim, x, b.operand(bound, y.dtype))
            name = b.node(op_type, *names)
            x = Value(y.shape, y.dtype, {order: name})
    return order, name


@rule("astype")
def _astype(b: Builder, y: Value, x: Value, dtype: Any) -> Result:
    return x.order, b.node("Cast", b.name(x, x.order), to=onnx_type(y.dtype))


def _number(b: Builder, y: Value, number: float) -> str:
    return b.constant(np.array(number, y.dtype))


def _static(number: Any, what: str) -> float:
    """A number that is an attribute in ONNX."""
    if isinstance(number, Value) or np.ndim(number):
        raise UnsupportedError(f"its {what} should be one number that does not depend on the inputs")
    return float(number)


# ---------------------------------------------------------------- reductions


def _reduction(name: str, op_type: str) -> None:
    @rule(name)
    def _(b: Builder, y: Value, x: Any, axis: Any = None, keepdims: bool = False) -> Result:
        return _reduced(b, b.operand(x, y.dtype), op_type, axis, keepdims)


for _name, _op_type in {
    "sum": "ReduceSum", "mean": "ReduceMean", "max": "ReduceMax", "min": "ReduceMin", "logsumexp": "ReduceLogSumExp",
    "norm": "ReduceL2",
}.items():  # fmt: skip
    _reduction(_name, _op_type)


def _reduced(b: Builder, x: Value, op_type: str, axis: Any, keepdims: bool) -> Result:
    """x reduced over `axis`, in the order in which it is, unless the axes that are left would be out of order."""
    axes = axes_of(axis, x.ndim)
    if not axes:  # ONNX takes no axes for all axes: here it is an axis of length 1
        wide = b.node("Unsqueeze", b.name(x, x.order), b.integers([x.ndim]))
        return x.order, b.node(op_type, wide, b.integers([x.ndim]), keepdims=0)
    order = x.order
    left = [a for a in order if a not in axes]
    if not keepdims and left != sorted(left):
        order = plain(x.ndim)
    places = b.integers(sorted(order.index(a) for a in axes))
    name = b.node(op_type, b.name(x, order), places, keepdims=int(keepdims))
    return order if keepdims else plain(x.ndim - len(axes)), name


@rule("var")
def _var(b: Builder, y: Value, x: Any, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Result:
    x = b.operand(x, y.dtype)
    order, mean = _reduced(b, x, "ReduceMean", axis, True)
    d = b.node("Sub", b.name(x, order), mean)
    order, var = _reduced(b, Value(x.shape, x.dtype, {order: b.node("Mul", d, d)}), "ReduceMean", axis, keepdims)
    if ddof:
        n = math.prod(fixed([x.shape[a] for a in axes_of(axis, x.ndim)]))
        var = b.node("Mul", var, _number(b, y, n / (n - ddof)))
    return order, var


@rule("std")
def _std(b: Builder, y: Value, x: Any, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Result:
    order, var = _var(b, y, x, axis, ddof, keepdims)
    return order, b.node("Sqrt", var)


@rule("cumsum")
def _cumsum(b: Builder, y: Value, x: Value, axis: int | None = None) -> Result:
    name = b.name(x)
    if axis is None:
        name, axis = b.reshape(name, y.shape), 0
    return plain(y.ndim), b.node("CumSum", name, b.constant(np.array(axis, np.int64)))


@rule("softmax")
def _softmax(b: Builder, y: Value, x: Value, axis: Any = -1) -> Result:
    axes = axes_of(axis, x.ndim)
    if len(axes) == 1:
        return x.order, b.node("Softmax", b.name(x, x.order), axis=x.order.index(axes[0]))
    order, top = _reduced(b, x, "ReduceMax", axis, True)
    exp = b.node("Exp", b.node("Sub", b.name(x, order), top))
    order, total = _reduced(b, Value(x.shape, x.dtype, {order: exp}), "ReduceSum", axis, True)
    return order, b.node("Div", exp, total)


@rule("log_softmax")
def _log_softmax(b: Builder, y: Value, x: Value, axis: Any = -1) -> Result:
    axes = axes_of(axis, x.ndim)
    if len(axes) == 1:
        return x.order, b.node("LogSoftmax", b.name(x, x.order), axis=x.order.index(axes[0]))
    order, total = _reduced(b, x, "ReduceLogSumExp", axis, True)
    return order, b.node("Sub", b.name(x, order), total)


@rule("cross_entropy")
def _cross_entropy(b: Builder, y: Value, x: Any, q: Any, *, mean: bool = True) -> Result:
    x, q = b.operand(x, y.dtype), b.operand(q, y.dtype)
    p, zero = b.name(q), _number(b, y, 0)
    product = b.node("Mul", p, b.node("LogSoftmax", b.name(x), axis=-1))  # 0 where q is 0, also for a logit of -inf
    cost = b.node("Where", b.node("Equal", p, zero), zero, product)
    rows = b.node("ReduceSum", cost, b.integers([-1]), keepdims=0)
    if not mean:
        return tuple(range(x.ndim - 1)), b.node("Neg", rows)
    return (), b.node("Neg", b.node("ReduceMean", rows, b.integers(range(x.ndim - 1)), keepdims=0))


@rule("scaled_dot_product_attention")
def _attention(
    b: Builder, y: Value, q: Any, k: Any, v: Any, mask: Any = None, *, causal: bool, scale: float
) -> Result:
    q, k, v = (b.operand(x, y.dtype) for x in (q, k, v))
    swapped = (*plain(q.ndim)[:-2], q.ndim - 1, q.ndim - 2)
    scores = b.node("MatMul", b.node("Mul", b.name(q), _number(b, y, scale)), b.name(k, swapped))
    allowed = None if mask is None else b.name(b.operand(mask, bool))
    if causal:
        past = b.constant(np.tri(*fixed(k.shape[-2:-1] * 2), dtype=bool))
        allowed = past if allowed is None else b.node("And", allowed, past)
    if allowed is not None:
        scores = b.node("Where", allowed, scores, _number(b, y, float(np.finfo(y.dtype).min)))
    p = b.node("Softmax", scores, axis=-1)
    if mask is not None and allowed is not None:  # the result of a query that may attend to nothing is 0
        p = b.node("Where", allowed, p, _number(b, y, 0))
    return plain(y.ndim), b.node("MatMul", p, b.name(v))


# ---------------------------------------------------------------- shapes


@rule("reshape")
def _reshape(b: Builder, y: Value, x: Value, _shape: Any, order: str = "C") -> Result:
    if order == "C":
        return plain(y.ndim), b.reshape(b.name(x), y.shape)
    # Fortran's order of the entries is that of C with the axes reversed, before and after
    return tuple(reversed(plain(y.ndim))), b.reshape(b.name(x, tuple(reversed(plain(x.ndim)))), y.shape[::-1])


@rule("transpose")
def _transpose(b: Builder, y: Value, x: Value, axes: Any = None) -> Result:
    # The entries stay where they are, and the order of the result says what they are called.
    axes = tuple(reversed(range(x.ndim))) if axes is None else axes_of(axes, x.ndim)
    order = tuple(axes.index(a) for a in x.order)
    return order, b.name(x, x.order)


@rule("broadcast_to")
def _broadcast_to(b: Builder, y: Value, x: Any, _shape: Any) -> Result:
    x = b.operand(x, y.dtype)
    own = (*[1] * (y.ndim - x.ndim), *x.shape)
    wanted = [1 if n == m else n for n, m in zip(y.shape, own, strict=True)]  # Expand leaves what is longer than 1
    return plain(y.ndim), b.node("Expand", b.name(x), b.integers(wanted))


@rule("expand_dims")
def _expand_dims(b: Builder, y: Value, x: Any, axis: Any) -> Result:
    x = b.operand(x, y.dtype)
    return plain(y.ndim), b.node("Unsqueeze", b.name(x), b.integers(sorted(axes_of(axis, y.ndim))))


@rule("squeeze")
def _squeeze(b: Builder, y: Value, x: Value, axis: Any = None) -> Result:
    axes = [a for a in axes_of(axis, x.ndim) if axis is not None or x.shape[a] == 1]
    name = b.node("Squeeze", b.name(x), b.integers(axes)) if axes else b.node("Identity", b.name(x))
    return plain(y.ndim), name


@rule("flip")
def _flip(b: Builder, y: Value, x: Value, axis: Any = None) -> Result:
    axes = axes_of(axis, x.ndim)
    return x.order, _slice(b, b.name(x, x.order), {x.order.index(a): slice(None, None, -1) for a in axes})


@rule("concatenate")
def _concatenate(b: Builder, y: Value, axis: int, *xs: Any) -> Result:
    order, names = b.aligned(y.ndim, *(b.operand(x, y.dtype) for x in xs))
    return order, b.node("Concat", *names, axis=order.index(axis % y.ndim))


@rule("pad")
def _pad(b: Builder, y: Value, x: Value, widths: Any, constant_values: Any = 0) -> Result:
    if isinstance(constant_values, Value):
        raise UnsupportedError("its constant_values should not depend on the inputs")
    if not y.ndim:
        return x.order, b.name(x)
    sides = [(a, side) for a in range(y.ndim) for side in (0, 1)]
    fills = np.broadcast_to(constant_values, (y.ndim, 2))
    groups = [sides] if (fills == fills.flat[0]).all() else [[each] for each in sides]  # in turn, as in NumPy's corners
    name = b.name(x, x.order)
    for group in groups:
        lengths = b.integers([widths[a][side] if (a, side) in group else 0 for side in (0, 1) for a in x.order])
        name = b.node("Pad", name, lengths, _number(b, y, fills[group[0]]), mode="constant")
    return x.order, name


@rule("getitem")
def _getitem(b: Builder, y: Value, x: Value, index: Any) -> Result:
    items = _items(x, index)
    slices = {a: i for a, i in items if a is not None and isinstance(i, slice) and i != slice(None)}
    if all(isinstance(i, slice) for _, i in items):
        return x.order, _slice(b, b.name(x, x.order), {x.order.index(a): i for a, i in slices.items()})
    name = _slice(b, b.name(x), slices)
    arrays = {a: i for a, i in items if a is not None and not isinstance(i, (slice, int, np.integer))}
    whole = {a: int(i) for a, i in items if a is not None and isinstance(i, (int, np.integer))}
    if len(arrays) + (len(whole) if arrays else 0) > 1:
        name, size = _gather_nd(b, name, items, x.ndim)
        joined = _are_joined(items)
    else:
        joined, size = True, 0
        for a in sorted(whole, reverse=True):
            name = b.node("Gather", name, b.constant(np.array(whole[a], np.int64)), axis=a)
        for a, i in arrays.items():
            name = b.node("Gather", name, _places(b, i), axis=a)
            size = i.ndim
    return plain(y.ndim), _unsqueezed(b, name, items, joined, size, bool(arrays))


def _items(x: Value, index: Any) -> list[tuple[int | None, Any]]:
    """The index, one item for each axis with its number, and None for each new axis."""
    given: list[Any] = []
    for i in index if isinstance(index, tuple) else (index,):
        i = i.array if isinstance(i, Value) and i.array is not None else i
        i = np.asarray(i) if isinstance(i, list) else i
        if isinstance(i, (bool, np.bool_)) or (isinstance(i, np.ndarray) and i.dtype == bool and not i.ndim):
            raise UnsupportedError("its index has a single bool, which ONNX has no word for")
        given += np.nonzero(i) if isinstance(i, np.ndarray) and i.dtype == bool else [i]
    used = sum(i is not None and i is not Ellipsis for i in given)
    if not any(i is Ellipsis for i in given):
        given.append(Ellipsis)
    items: list[tuple[int | None, Any]] = []
    axis = 0
    for i in given:
        for each in [slice(None)] * (x.ndim - used) if i is Ellipsis else [i]:
            items.append((None if each is None else axis, each))
            axis += each is not None
    return items


def _are_joined(items: list[tuple[int | None, Any]]) -> bool:
    """Whether all integers and arrays of the index stand side by side, so that their axes stay in their place."""
    found = [n for n, (a, i) in enumerate(items) if a is not None and not isinstance(i, slice)]
    return found == [*range(found[0], found[-1] + 1)]


def _gather_nd(b: Builder, name: str, items: list[tuple[int | None, Any]], ndim: int) -> tuple[str, int]:
    """The entries at several arrays of integers together, with their common axes where NumPy has them."""
    picked = {a: i for a, i in items if a is not None and not isinstance(i, slice)}
    if any(isinstance(i, (Value, Length)) for i in picked.values()):
        raise UnsupportedError("an input of integers can be an index by itself only, not together with others")
    arrays = np.broadcast_arrays(*picked.values())
    rest = [a for a in range(ndim) if a not in picked]
    if [*picked, *rest] != [*range(ndim)]:
        name = b.node("Transpose", name, perm=[*picked, *rest])
    name = b.node("GatherND", name, b.constant(np.stack(arrays, -1).astype(np.int64)))
    size, first = arrays[0].ndim, min(picked)
    if _are_joined(items) and first:
        axes = [*range(size + len(rest))]
        name = b.node("Transpose", name, perm=[*axes[size : size + first], *axes[:size], *axes[size + first :]])
    return name, size


def _unsqueezed(b: Builder, name: str, items: list[Any], joined: bool, size: int, has_arrays: bool) -> str:
    """With the new axes of the index, where `size` axes stand for all of its arrays."""
    axes: list[bool] = []  # of the result: whether each is new
    placed = not has_arrays
    if not joined:
        axes, placed = [False] * size, True
    for axis, i in items:
        if axis is None:
            axes.append(True)
        elif isinstance(i, slice):
            axes.append(False)
        elif not placed:
            axes += [False] * size
            placed = True
    new = [n for n, is_new in enumerate(axes) if is_new]
    return b.node("Unsqueeze", name, b.integers(new)) if new else name


def _places(b: Builder, i: Any) -> str:
    """An index as a tensor."""
    if isinstance(i, Value):
        return b.name(b.operand(i, np.int64))
    return b.constant(np.asarray(i, np.int64))


def _slice(b: Builder, name: str, slices: dict[int, slice]) -> str:
    """The tensor sliced along axes; an end that is left open is as far as an int64 goes."""
    if not slices:
        return name
    far = np.iinfo(np.int64).max
    steps = [1 if s.step is None else s.step for s in slices.values()]
    open_ends = [(0, far) if k > 0 else (far, -far) for k in steps]
    starts = [a if s.start is None else s.start for s, (a, _) in zip(slices.values(), open_ends, strict=True)]
    ends = [z if s.stop is None else s.stop for s, (_, z) in zip(slices.values(), open_ends, strict=True)]
    return b.node("Slice", name, *(b.integers(v) for v in (starts, ends, [*slices], steps)))


@rule("scatter")
def _scatter(b: Builder, y: Value, values: Value, index: Any, _shape: Any) -> Result:
    # Every place of the result has a number, and those at the index are the places of the values.
    items = index if isinstance(index, tuple) else (index,)
    items = tuple(i.array if isinstance(i, Value) and i.array is not None else i for i in items)
    shape = fixed(y.shape)
    if any(isinstance(i, Value) for i in items):
        raise UnsupportedError("its index should not depend on the inputs")
    places = np.arange(math.prod(shape)).reshape(shape)[items]
    flat = b.constant(places.reshape(-1).astype(np.int64))
    updates = b.reshape(b.name(values), [-1])
    name = b.node("ScatterElements", b.ones(math.prod(shape), y.dtype, 0), flat, updates, axis=0, reduction="add")
    return plain(y.ndim), b.reshape(name, y.shape)


# ---------------------------------------------------------------- linear algebra


@rule("matmul")
def _matmul(b: Builder, y: Value, a: Any, c: Any) -> Result:
    return plain(y.ndim), b.node("MatMul", *(b.name(b.operand(v, y.dtype)) for v in (a, c)))


@rule("einsum")
def _einsum(b: Builder, y: Value, subscripts: str, *operands: Any, **_options: Any) -> Result:
    inputs, output = subscripts.split("->")
    terms, values = inputs.split(","), [b.operand(v, y.dtype) for v in operands]
    long = {c for term, v in zip(terms, values, strict=True) for c, n in zip(term, v.shape, strict=True) if n != 1}
    names = []
    for i, v in enumerate(values):  # where NumPy stretches a length of 1 to that of another operand, ONNX does not
        axes = [a for a, n in enumerate(v.shape) if n == 1 and terms[i][a] in long]
        names.append(b.node("Squeeze", b.name(v), b.integers(axes)) if axes else b.name(v))
        terms[i] = "".join(c for a, c in enumerate(terms[i]) if a not in axes)
    return plain(y.ndim), b.node("Einsum", *names, equation=f"{','.join(terms)}->{output}")


# ---------------------------------------------------------------- convolution, pooling, normalisation


@rule("conv2d")
def _conv2d(b: Builder, y: Value, x: Value, w: Value, *bias: Value, algorithm: Any = None, **geometry: Any) -> Result:
    names = b.name(x, channels_first(4)), b.name(w, (3, 2, 0, 1)), *map(b.name, bias)
    return channels_first(4), b.node("Conv", *names, **_convolution(w, **geometry))


@rule("conv2d_input_grad")
def _conv_transpose(
    b: Builder, y: Value, g: Value, w: Value, *, input_size: Any, algorithm: Any = None, **geometry: Any
) -> Result:
    sizes, window = fixed(g.shape[1:3]), fixed(w.shape[:2])
    more = []  # rows and columns beyond the smallest map that has such a result
    for axis in (0, 1):
        s, pads, d = (geometry[option][axis] for option in ("stride", "padding", "dilation"))
        more.append(input_size[axis] - ((sizes[axis] - 1) * s - sum(pads) + d * (window[axis] - 1) + 1))
    names = b.name(g, channels_first(4)), b.name(w, (3, 2, 0, 1))
    return channels_first(4), b.node("ConvTranspose", *names, output_padding=more, **_convolution(w, **geometry))


def _convolution(w: Value, stride: Any, padding: Any, dilation: Any, groups: int) -> dict[str, Any]:
    window = fixed(w.shape[:2])
    return {
        "kernel_shape": window, "strides": stride, "pads": _pads(padding), "dilations": dilation, "group": groups
    }  # fmt: skip


@rule("max_pool")
def _max_pool(
    b: Builder, y: Value, x: Value, *, window: Any, stride: Any, padding: Any, indexed: bool = True
) -> Result:
    options = {"kernel_shape": window, "strides": stride, "pads": _pads(padding)}
    return channels_first(4), b.node("MaxPool", b.name(x, channels_first(4)), **options)


@rule("avg_pool")
def _avg_pool(b: Builder, y: Value, x: Value, *, window: Any, stride: Any, padding: Any) -> Result:
    name = b.name(x, channels_first(4))
    if tuple(window) == x.shape[1:3] and not any(_pads(padding)):
        return channels_first(4), b.node("GlobalAveragePool", name)
    options = {"kernel_shape": window, "strides": stride, "pads": _pads(padding), "count_include_pad": 1}
    return channels_first(4), b.node("AveragePool", name, **options)


def _pads(padding: Any) -> list[int]:
    (top, bottom), (left, right) = padding
    return [top, left, bottom, right]


@rule("batch_norm_eval")
def _batch_norm(
    b: Builder, y: Value, x: Value, scale: Any, bias: Any, mean: Value, var: Value, *, eps: float = 1e-5
) -> Result:
    n = x.shape[-1]
    vectors = [
        b.ones(n, y.dtype, filler) if v is None else b.name(b.operand(v, y.dtype))
        for v, filler in ((scale, 1), (bias, 0), (mean, 0), (var, 1))
    ]
    if x.ndim == 1:  # ONNX wants a batch
        row = b.reshape(b.name(x), [1, *x.shape])
        return (0,), b.reshape(b.node("BatchNormalization", row, *vectors, epsilon=eps), x.shape)
    order = channels_first(x.ndim)
    return order, b.node("BatchNormalization", b.name(x, order), *vectors, epsilon=eps)


@rule("layer_norm")
def _layer_norm(b: Builder, y: Value, x: Value, *, eps: float = 1e-5, scale: Any = None, bias: Any = None) -> Result:
    """`scale` and `bias` are those of a multiplication and an addition behind it, which the writer has taken in."""
    vectors = [b.ones(x.shape[-1], y.dtype) if scale is None else b.name(scale)]
    vectors += [] if bias is None else [b.name(bias)]
    return plain(y.ndim), b.node("LayerNormalization", b.name(x), *vectors, axis=-1, epsilon=eps)


