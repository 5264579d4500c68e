"""The table of operations: for each how to draw valid inputs, and what its value should be, in plain NumPy or loops."""

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import minigraph as mg
from minigraph import ops, tree
from minigraph.testing import check_adjoint, check_vjp


class Draw:
    """A random array, drawn anew for each test."""

    def __init__(self, f):
        self.f = f


def normal(*shape):
    return Draw(lambda rng: rng.standard_normal(shape))


def positive(*shape):
    return Draw(lambda rng: rng.uniform(0.5, 2.0, shape))


def spaced(*shape, shift=0.0):
    """A permutation of numbers 0.4 apart around 0, none nearer to 0 than 0.1: no finite difference meets a kink."""
    n = math.prod(shape)
    return Draw(lambda rng: (0.4 * (rng.permutation(n) - n // 2 + 0.25) + shift).reshape(shape))


@dataclass(frozen=True)
class Case:
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def draw(self) -> list[Any]:
        rng = np.random.default_rng(0)

        def drawn(a):
            if isinstance(a, list):
                return [drawn(v) for v in a]
            return np.asarray(a.f(rng)) if isinstance(a, Draw) else a

        return [drawn(a) for a in self.args]


def case(*args, **kwargs):
    return Case(args, kwargs)


@dataclass(frozen=True)
class Row:
    name: str
    reference: Callable[..., Any]
    cases: tuple[Case, ...]
    op: Callable[..., Any]
    linear: bool = False  # or affine in each floating argument: the adjoint identity holds
    order: int = 2  # up to which derivatives are checked
    empty: tuple[Case, ...] = field(default=())  # cases of size 0

    def __repr__(self):
        return self.name

    def check(self, c):
        """The checks of the gradient: those that a broken rule has to fail."""

        if self.linear:
            check_adjoint(self.of(c), *c.draw())
        check_vjp(self.of(c), *c.draw(), order=self.order)

    def of(self, c):
        """The operation as a function of the drawn arguments alone."""
        return functools.partial(self.op, **c.kwargs)


def is_floating(x):
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def converted(args, convert):
    """The arguments with `convert` applied to every floating array, also in lists."""
    return [converted(a, convert) if isinstance(a, list) else convert(a) if is_floating(a) else a for a in args]


def tensors(args):
    return converted(args, lambda a: mg.Tensor(a, requires_grad=True))


def pulled(row, c, args):
    """The values, and the gradients of their sum weighted by numbers that are not alike, of all floating arguments."""
    inputs = tensors(args)
    outputs = tree.leaves(row.op(*inputs, **c.kwargs))
    for i, y in enumerate(outputs):
        if y.requires_grad:
            g = np.cos(np.arange(i, i + y.size)).astype(np.float16).reshape(y.shape)  # the same number in every dtype
            y.backward(g.astype(y.dtype), retain_graph=i < len(outputs) - 1)
    return outputs, [t.grad for t in tree.leaves(inputs) if isinstance(t, mg.Tensor)]


ROWS: list[Row] = []


def row(name, reference, *cases, op=None, **kwargs):
    ROWS.append(Row(name, reference, cases, op or getattr(ops, name, None) or mg.primitives()[name], **kwargs))


def linear(name, reference, *cases, **kwargs):
    row(name, reference, *cases, linear=True, **kwargs)


# ---------------------------------------------------------------- elementwise: one argument


def unary(name, reference, *draws, **kwargs):
    row(name, reference, *(case(d) for d in draws), empty=(case(normal(0, 2)),), **kwargs)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


erf = np.vectorize(math.erf, otypes=[float])

unary("identity", lambda x: x, normal(2, 3), linear=True)
unary("negative", np.negative, normal(2, 3), linear=True)
unary("abs", np.abs, spaced(2, 3))
unary("exp", np.exp, normal(2, 3), normal(), order=3)
unary("expm1", np.expm1, normal(2, 3), order=3)
unary("log", np.log, positive(2, 3), order=3)
unary("log1p", np.log1p, positive(2, 3), order=3)
unary("sqrt", np.sqrt, positive(2, 3), order=3)
unary("sin", np.sin, normal(2, 3), order=3)
unary("cos", np.cos, normal(2, 3), order=3)
unary("tanh", np.tanh, normal(2, 3), order=3)
unary("sigmoid", sigmoid, normal(2, 3), order=3)
unary("softplus", lambda x: np.log(1 + np.exp(x)), normal(2, 3), order=3)
unary("silu", lambda x: x * sigmoid(x), normal(2, 3), order=3)
unary("erf", erf, normal(2, 3), order=3)
unary("relu", lambda x: np.where(x > 0, x, 0), spaced(2, 3))
row(
    "leaky_relu", lambda x, slope=0.01: np.where(x > 0, x, slope * x), case(spaced(2, 3)),
    case(spaced(4), slope=0.3),
    empty=(case(normal(0, 2)),),
)  # fmt: skip
row(
    "elu", lambda x, alpha=1.0: np.where(x > 0, x, alpha * (np.exp(x) - 1)), case(spaced(2, 3)),
    case(spaced(4), alpha=0.7), order=3,
    empty=(case(normal(0, 2)),),
)  # fmt: skip
row(
    "gelu",
    lambda x, approximate=False: (
        0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
        if approximate
        else x * (1 + erf(x / np.sqrt(2))) / 2
    ),
    case(normal(2, 3)),
    case(normal(2, 3), approximate=True),
    order=3,
    empty=(case(normal(0, 2)),),
)
row("astype", np.ndarray.astype, case(normal(2, 3), np.float64), linear=True)
row(
    "clip", lambda x, low=None, high=None: np.clip(x, low, high), case(spaced(6), -0.42, 0.81),
    case(spaced(6), low=0.0), case(spaced(6), high=0.0), case(spaced(6), np.array(-0.42), np.array(0.81)),
    case(spaced(2, 3), np.full((2, 1), -0.42), np.full(3, 0.81)),
    empty=(case(normal(0, 2), -1, 1),),
)  # fmt: skip

# ---------------------------------------------------------------- elementwise: two arguments

BROADCAST = (((2, 3), (2, 3)), ((2, 1, 2), (3, 1)), ((), (3,)))


def binary(name, reference, a, b, *cases, **kwargs):
    row(
        name, reference, *(case(a(*s), b(*t)) for s, t in BROADCAST), *cases,
        empty=(case(a(0, 2), b(2)),), **kwargs,
    )  # fmt: skip


def shifted(*shape):
    return spaced(*shape, shift=0.13)


binary("add", np.add, normal, normal, case(normal(3), 2), case(2.5, normal(3)), linear=True)
binary("subtract", np.subtract, normal, normal, case(normal(3), 2), case(2.5, normal(3)), linear=True)
binary("multiply", np.multiply, normal, normal, case(normal(3), 2), case(np.arange(3), normal(3)), linear=True)
binary("divide", np.divide, normal, positive, case(normal(3), 2), case(2.5, positive(3)), order=3)
binary("maximum", np.maximum, spaced, shifted, case(spaced(4), 0))
binary("minimum", np.minimum, spaced, shifted, case(spaced(4), 0))
binary(
    "power", np.power, positive, normal, *(case(normal(3), n) for n in (0, 1, 2, 3.0, -1, np.array([0, 2, 3]))),
    case(positive(3), 0.5), case(2, normal(3)), order=3,
)  # fmt: skip
row(
    "remainder", np.remainder, case(np.array([0.7, 2.3, -1.6]), np.array([1.0, 0.8, 0.9])),
    case(np.array([0.7, -2.3]), -1.0), case(7, np.array([[1.1], [2.9]])),
    empty=(case(normal(0, 2), 1.0),),
)  # fmt: skip
row(
    "where", np.where, case(np.array([True, False, True]), normal(3), normal(3)),
    case(np.array([[True], [False]]), normal(2), normal(2, 1)), case(np.array([True, False]), normal(2), 0.0),
    linear=True,
    empty=(case(np.zeros((0, 2), bool), normal(2), normal(0, 1)),),
)  # fmt: skip
linear(
    "gate", lambda x, mask: np.where(mask, x, 0), case(normal(3), np.array([True, False, True])),
    case(normal(2, 3), np.array([[True], [False]])),
    empty=(case(normal(0, 2), np.zeros((0, 2), bool)),),
)  # fmt: skip

# ---------------------------------------------------------------- reductions

AXES = ({}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"axis": (0, 2)}, {"keepdims": True})


MASK = np.arange(12).reshape(2, 3, 2) % 3 != 1
WHERE = ({"where": MASK}, {"where": MASK, "axis": 1}, {"where": MASK, "axis": -1, "keepdims": True},
         {"where": np.array([[True], [False], [True]]), "axis": (0, 1)})  # fmt: skip
MEAN = (case(normal(2, 3), mean=[[0.3, 0.3, 0.3]], axis=0), case(normal(4), correction=1))


def masked(draw, **kwargs):
    """The cases of a reduction of some of the entries."""
    return [case(draw(2, 3, 2), **kw, **kwargs) for kw in WHERE]


def reduction(name, reference, draw, *cases, empty=(), **kwargs):
    row(name, reference, *(case(draw(2, 3, 2), **kw) for kw in AXES), case(draw()), *cases, empty=empty, **kwargs)


NOTHING = (case(normal(0, 2)), case(normal(0, 2), axis=0), case(normal(2, 0), axis=0))
NONE_LEFT = (case(normal(2, 0), axis=0), case(normal(2, 0), axis=0, keepdims=True))


def logsumexp(x, axis=None, keepdims=False):
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


def norm(x, ord=None, axis=None, keepdims=False):
    if ord not in (None, 2):
        return np.linalg.norm(x, ord, axis, keepdims)
    return np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims))


reduction(
    "sum", np.sum, normal, *masked(normal), case(normal(2, 3), axis=1, initial=2.5), linear=True,
    empty=(*NOTHING, case(normal(0, 2), axis=0, initial=2.0)),
)  # fmt: skip
reduction("mean", np.mean, normal, *masked(normal), linear=True, empty=NONE_LEFT)
reduction("var", np.var, normal, case(normal(4), ddof=1), *masked(normal), *MEAN, empty=NONE_LEFT)
row(
    "std", np.std, *(case(normal(2, 3, 2), **kw) for kw in AXES), case(normal(4), ddof=1), *masked(normal), *MEAN,
    empty=NONE_LEFT,
)  # fmt: skip
reduction(
    "max", np.max, spaced, *masked(spaced, initial=-0.45), case(spaced(2, 3), axis=0, initial=0.35),
    empty=(*NONE_LEFT, case(normal(0, 2), axis=0, initial=2.0), case(normal(0, 2), keepdims=True, initial=2.0)),
)  # fmt: skip
reduction(
    "min", np.min, spaced, *masked(spaced, initial=0.45), case(spaced(2, 3), axis=0, initial=0.35),
    empty=(*NONE_LEFT, case(normal(0, 2), axis=0, initial=2.0)),
)  # fmt: skip
reduction(
    "prod", np.prod, normal, case(np.array([2.0, 0.0, 3.0])), case(np.array([[0.0, 0.0, 3.0]]), axis=1),
    *masked(normal), case(normal(2, 3), initial=2.5, axis=0), order=3, empty=NOTHING,
)  # fmt: skip
reduction("logsumexp", logsumexp, normal, empty=NONE_LEFT)
row(
    "norm", norm, *(case(normal(2, 3, 2), **kw) for kw in AXES), case(normal(4), ord=2),
    case(spaced(2, 3), ord=1, axis=1), case(np.array([[0.5, -2.0], [1.5, 1.0]]), ord=np.inf, axis=0),
    *(case(spaced(2, 3), ord=p, axis=1) for p in (0, 3, -1, 2.5, -np.inf)),
    empty=NOTHING,
)  # fmt: skip
row(
    "cumsum", np.cumsum, case(normal(2, 3)), case(normal(2, 3), axis=0), case(normal(2, 3), axis=-1), linear=True,
    empty=(case(normal(0, 2)), case(normal(0, 2), axis=0)),
)  # fmt: skip

# ---------------------------------------------------------------- shapes


linear(
    "reshape", np.reshape, case(normal(2, 3), (3, 2)), case(normal(2, 3), -1), case(normal(2, 3), (1, -1, 2)),
    case(normal(2, 3, 2), (4, 3), order="F"), empty=(case(normal(0, 3), (3, 0)),),
)  # fmt: skip
linear(
    "transpose", np.transpose, case(normal(2, 3)), case(normal(2, 3, 2), (1, 2, 0)),
    case(normal(2, 3, 2), (-1, 0, -2)),
    empty=(case(normal(0, 3)),),
)  # fmt: skip
linear(
    "broadcast_to", np.broadcast_to, case(normal(3, 1), (2, 3, 2)), case(normal(), (2,)), case(normal(2), (2,)),
    empty=(case(normal(1, 2), (0, 2)),),
)  # fmt: skip
linear("expand_dims", np.expand_dims, case(normal(2, 3), 1), case(normal(2), (0, -1)), empty=(case(normal(0), 0),))
linear("squeeze", np.squeeze, case(normal(1, 3, 1)), case(normal(1, 3, 1), -1), empty=(case(normal(1, 0)),))
linear(
    "flip", np.flip, case(normal(2, 3)), case(normal(2, 3), 0), case(normal(2, 3), (0, -1)), empty=(case(normal(0, 3)),)
)
linear(
    "concatenate", np.concatenate, case([normal(2, 3), normal(1, 3)]), case([normal(2, 1), normal(2, 2)], axis=-1),
    case([normal(3)]), case([normal(2), normal(1, 2)], axis=None),
    empty=(case([normal(0, 3), normal(1, 3)]),),
)  # fmt: skip
linear(
    "stack", np.stack, case([normal(2, 3), normal(2, 3)]), case([normal(2), normal(2), normal(2)], axis=-1),
    empty=(case([normal(0), normal(0)]),),
)  # fmt: skip
linear(
    "split", lambda x, cuts, axis=0: np.split(x, cuts, axis), case(normal(4, 2), 2),
    case(normal(2, 5), [1, 3], axis=-1), case(normal(5), [-2]),
    empty=(case(normal(0, 2), 3),),
)  # fmt: skip


linear(
    "pad", np.pad, case(normal(2, 3), 1), case(normal(2, 3), ((0, 1), (2, 0))), case(normal(4), (2, 1), "reflect"),
    case(normal(2, 3), ((1, 0), (2, 2)), "reflect"), case(normal(2, 3), 1, constant_values=((1.0, 2.0), (3.0, 4.0))),
    case(normal(2, 3), {0: (1, 2), -1: (0, 1)}), case(normal(3), (7, 4), "reflect"),
    case(normal(3), (7, 4), "symmetric"),
    *(case(normal(2, 3), ((1, 0), (2, 2)), mode) for mode in ("edge", "symmetric", "wrap", "mean", "linear_ramp")),
    *(case(normal(3), (2, 7), mode, reflect_type="odd") for mode in ("reflect", "symmetric")),
    case(normal(2, 3), 2, "linear_ramp", end_values=(1.0, 2.0)),
    case(normal(2, 4), ((0, 0), (1, 2)), "mean", stat_length=2),
    empty=(case(normal(0, 2), ((1, 0), (0, 0))),),
)  # fmt: skip

INDICES = [
    0, -1, (1, 2), slice(None, None, -1), slice(1, None), (slice(None), 1), (Ellipsis, None, 0), None,
    np.array([0, 0, 2]), ([1, 1], [0, 0]), (slice(None, None, 2), np.array([[1, 0], [1, 1]])),
    (np.array([0, 1]), slice(None), ), np.arange(12).reshape(3, 4) % 3 == 0, np.array([True, False, True]),
    np.array([], int), slice(0, 0),
]  # fmt: skip


def scatter(values, index, shape):
    out = np.zeros(shape)
    np.add.at(out, index, values)
    return out


def scatter_add(x, index, values):
    out = x.copy()
    np.add.at(out, index, values)
    return out


linear(
    "getitem", lambda x, i: x[i], *(case(normal(3, 4), i) for i in INDICES),
    empty=(case(normal(0, 3), (slice(None), 1)),),
)  # fmt: skip
linear(
    "scatter", scatter, case(normal(3), np.array([0, 0, 2]), (4,)),
    case(normal(2, 2), (slice(None, None, 2), [1, 1]), (3, 2)),
    case(normal(3), np.array([True, False, True, True]), (4,)), case(normal(3), 1, (2, 3)),
    empty=(case(normal(0), np.array([], int), (4,)), case(normal(0, 2), slice(None), (0, 2))),
)  # fmt: skip
linear(
    "scatter_add", scatter_add, case(normal(4), np.array([0, 0, 2]), normal(3)),
    case(normal(3, 2), (slice(None), 1), normal(3)), case(normal(3, 2), np.array([1, 1]), normal(2)),
    case(normal(4), np.array([0, 0]), normal()),
    empty=(case(normal(4), np.array([], int), normal(0)),),
)  # fmt: skip
linear(
    "take", np.take, case(normal(3, 2), np.array([0, 0, 2]), axis=0),
    case(normal(2, 3), np.array([[1], [-1]]), axis=-1), case(normal(2, 3), [5, 0, 5]), case(normal(3), 1),
    case(normal(2, 3), [4, -5], axis=1, mode="wrap"), case(normal(3), [4, -5], mode="clip"),
    empty=(case(normal(3), np.array([], int)),),
)  # fmt: skip
linear(
    "take_along_axis", np.take_along_axis, case(normal(2, 3), np.array([[0, 0], [2, 1]]), 1),
    case(normal(2, 3), np.array([[1, 0, 1]]), 0),
    empty=(case(normal(0, 3), np.zeros((0, 1), int), 1),),
)  # fmt: skip

# ---------------------------------------------------------------- NumPy's elementwise functions


def within(low, high, *shape):
    return Draw(lambda rng: rng.uniform(low, high, shape))


def xlogy(a, b):
    return a * np.log(b)


unary("exp2", np.exp2, normal(2, 3), order=3)
unary("log2", np.log2, positive(2, 3), order=3)
unary("log10", np.log10, positive(2, 3), order=3)
unary("cbrt", np.cbrt, positive(2, 3), Draw(lambda rng: -rng.uniform(0.5, 2.0, 3)), order=3)
unary("tan", np.tan, within(-1.1, 1.1, 2, 3), order=3)
unary("arcsin", np.arcsin, within(-0.9, 0.9, 2, 3), order=3)
unary("arccos", np.arccos, within(-0.9, 0.9, 2, 3), order=3)
unary("arctan", np.arctan, normal(2, 3), order=3)
unary("sinh", np.sinh, normal(2, 3), order=3)
unary("cosh", np.cosh, normal(2, 3), order=3)
unary("arcsinh", np.arcsinh, normal(2, 3), order=3)
unary("arccosh", np.arccosh, within(1.2, 3.0, 2, 3), order=3)
unary("arctanh", np.arctanh, within(-0.8, 0.8, 2, 3), order=3)
unary("sinc", np.sinc, normal(2, 3), within(-0.3, 0.3, 4), within(-4, 4, 4), order=3)
unary("deg2rad", np.deg2rad, normal(2, 3), linear=True)
unary("rad2deg", np.rad2deg, normal(2, 3), linear=True)
unary("square", np.square, normal(2, 3), order=3)
unary("reciprocal", np.reciprocal, positive(2, 3), order=3)
unary("positive", np.positive, normal(2, 3), linear=True)
row("nan_to_num", np.nan_to_num, case(normal(2, 3)), case(normal(3), nan=1.0), empty=(case(normal(0, 2)),))
row(
    "unwrap", np.unwrap, case(np.array([0.3, 6.0, 12.5, 12.0])),
    case(np.array([[0.3, 0.1], [2.1, 1.2]]), axis=0, period=1.5),
    empty=(case(normal(0, 2)),),
)  # fmt: skip
for piecewise_constant in ("sign", "floor", "ceil", "trunc", "rint"):
    unary(piecewise_constant, getattr(np, piecewise_constant), shifted(2, 3))
row("round", np.round, case(shifted(2, 3)), case(shifted(2, 3), 1), case(shifted(2, 3), decimals=-1),
    empty=(case(normal(0)),))
unary("modf", np.modf, spaced(2, 3))
binary("arctan2", np.arctan2, normal, normal, case(normal(3), 2), case(2.5, normal(3)), order=3)
binary("hypot", np.hypot, normal, positive, case(normal(3), 2), case(2.5, normal(3)), order=3)
binary("logaddexp", np.logaddexp, normal, normal, case(normal(3), 2), case(2.5, normal(3)), order=3)
binary("logaddexp2", np.logaddexp2, normal, normal, case(normal(3), 2), order=3)
binary("xlogy", xlogy, normal, positive, case(normal(3), 2), case(2.5, positive(3)), order=3)
row("ldexp", np.ldexp, case(normal(2, 3), np.array([1, -2, 3])), case(normal(2), 2), empty=(case(normal(0), 2),))
binary("fmax", np.fmax, spaced, shifted, case(spaced(4), 0))
binary("fmin", np.fmin, spaced, shifted, case(spaced(4), 0))
binary("copysign", np.copysign, spaced, shifted, case(spaced(3), -2))
row(
    "fmod", np.fmod, case(np.array([0.7, 2.3, -1.7]), np.array([1.0, 0.8, 0.9])), case(np.array([0.7, -2.3]), -1.0),
    case(7, np.array([[1.1], [2.9]])), empty=(case(normal(0, 2), 1.0),),
)  # fmt: skip
for quotient in ("floor_divide", "divmod"):
    row(
        quotient, getattr(np, quotient), case(np.array([0.7, 2.3, -1.7]), np.array([1.0, 0.8, 0.9])),
        case(np.array([0.7, -2.3]), -1.0), case(7, np.array([[1.1], [2.9]])), empty=(case(normal(0, 2), 1.0),),
    )  # fmt: skip
row(
    "heaviside", np.heaviside, case(np.array([-1, 0, 2, 0]), normal(4)), case(spaced(3), 0.5),
    case(np.array([[0], [1]]), normal(2)),
)  # fmt: skip

# ---------------------------------------------------------------- NumPy's running and other reductions

linear(
    "trace", np.trace, case(normal(3, 3)), case(normal(3, 4), 1), case(normal(2, 3, 2), -1, 0, 2),
    case(normal(2, 3), offset=5),
)  # fmt: skip
row(
    "cumprod", np.cumprod, case(normal(2, 3)), case(normal(2, 3), axis=0),
    case(np.array([2.0, 0.0, 3.0, 0.0]), axis=-1),
    order=3, empty=(case(normal(0, 2)), case(normal(0, 2), axis=0)),
)  # fmt: skip


def cumulative(f, start):
    def reference(x, axis=0, include_initial=False):
        y = f(x, axis)
        lengths = [1 if k == axis % x.ndim else n for k, n in enumerate(x.shape)]
        return np.concatenate([np.full(lengths, start), y], axis) if include_initial else y

    return reference


CUMULATIVE = (case(normal(3)), case(normal(2, 3), axis=-1), case(normal(2, 3), axis=0, include_initial=True))
row("cumulative_sum", cumulative(np.cumsum, 0.0), *CUMULATIVE, linear=True, empty=(case(normal(0)),))
row("cumulative_prod", cumulative(np.cumprod, 1.0), *CUMULATIVE, empty=(case(normal(0)),))
NAN = np.array([[0.5, np.nan, -1.2], [2.1, 0.3, np.nan]])


def with_nan(f):
    """f of an array with NaN at some places, which finite differences cannot be told of."""
    return lambda x, *args, **kwargs: f(mg.where(np.isnan(NAN), np.nan, x), *args, **kwargs)


def nan_row(name, *cases, **kwargs):
    reference = getattr(np, name)
    row(name, lambda x, *a, **kw: reference(np.where(np.isnan(NAN), np.nan, x), *a, **kw), *cases,
        op=with_nan(getattr(mg, name)), **kwargs)  # fmt: skip


NAN_CASES = (case(spaced(2, 3)), case(spaced(2, 3), axis=0), case(spaced(2, 3), axis=1, keepdims=True))
for without_nan in ("nansum", "nanprod", "nanmean", "nanvar", "nanstd", "nanmax", "nanmin"):
    nan_row(without_nan, *NAN_CASES[:: 2 if without_nan == "nanstd" else 1])
nan_row("nancumsum", case(spaced(2, 3)), case(spaced(2, 3), axis=1))
nan_row("nancumprod", case(spaced(2, 3)), case(spaced(2, 3), axis=1))

# ---------------------------------------------------------------- order and statistics

row("sort", np.sort, case(spaced(2, 3)), case(spaced(2, 3), 0), case(spaced(2, 3), axis=None),
    empty=(case(normal(0, 2)),))


def partition(a, kth, axis=-1):
    return np.take_along_axis(a, np.argpartition(a, kth, axis), axis)


row("partition", partition, case(spaced(5), 2), case(spaced(2, 3), 1, axis=0), case(spaced(6), (1, 3)))


def top_k(x, k, axis=-1, largest=True):
    y = np.sort(x, axis)
    return np.take(np.flip(y, axis) if largest else y, np.arange(k), axis)


row(
    "top_k", top_k, case(spaced(5), 2), case(spaced(2, 3), 2, axis=0), case(spaced(4), 3, largest=False),
    op=lambda x, k, axis=-1, **kw: mg.top_k(x, k, axis, **kw)[0], empty=(case(normal(0, 2), 1),),
)  # fmt: skip
row("unique", np.unique, case(spaced(2, 3)), case(spaced(3, 2), axis=0), empty=(case(normal(0)),))
row(
    "median", np.median, case(spaced(5)), case(spaced(2, 4), axis=1), case(spaced(2, 3, 2), axis=(0, 2), keepdims=True),
)  # fmt: skip
row(
    "quantile", np.quantile, case(spaced(5), 0.3), case(spaced(2, 4), [0.0, 0.5, 0.9], axis=1),
    *(case(spaced(6), 0.37, method=m) for m in (
        "inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf", "hazen", "weibull",
        "linear", "median_unbiased", "normal_unbiased", "lower", "higher", "midpoint", "nearest")),
    case(spaced(2, 3, 2), [[0.2], [0.7]], axis=(0, 2), keepdims=True),
)  # fmt: skip
row("percentile", np.percentile, case(spaced(5), 30), case(spaced(2, 4), [0, 50, 90.0], axis=1))
row("ptp", np.ptp, case(spaced(2, 3)), case(spaced(2, 3), axis=0), case(spaced(2, 3), axis=1, keepdims=True))
row(
    "average", np.average, case(normal(2, 3)), case(normal(2, 3), axis=0, weights=[0.3, 0.9]),
    case(normal(2, 3), None, positive(2, 3)), case(normal(2, 3), 1, positive(3)),
    case(normal(2, 3), (1, 0), positive(3, 2), returned=True), case(normal(2, 3), 1, positive(3), keepdims=True),
)  # fmt: skip
row(
    "cov", np.cov, case(normal(3, 4)), case(normal(4)), case(normal(2, 4), normal(4)), case(normal(4, 2), rowvar=False),
    case(normal(2, 4), bias=True), case(normal(2, 4), ddof=2),
    case(normal(2, 4), None, True, False, None, np.array([1, 2, 1, 3]), positive(4)),
    case(normal(2, 4), None, True, False, 0, None, positive(4)),
)  # fmt: skip
row("corrcoef", np.corrcoef, case(normal(3, 4)), case(normal(4), normal(4)), case(normal(4, 2), rowvar=False))

# ---------------------------------------------------------------- differences

linear(
    "diff", np.diff, case(normal(2, 4)), case(normal(4, 2), 2, 0), case(normal(2, 3), 1, -1, 0.5, normal(2, 2)),
    case(normal(3), 0), empty=(case(normal(0, 2), axis=0), case(normal(1))),
)  # fmt: skip
linear("ediff1d", np.ediff1d, case(normal(2, 3)), case(normal(3), normal(2), normal(1)), empty=(case(normal(1)),))
PLACES = np.array([0.0, 0.4, 1.5, 1.9])
row(
    "gradient", np.gradient, case(normal(4)), case(normal(3, 4)), case(normal(2, 4), 0.5, axis=1),
    case(normal(4), PLACES),
    case(normal(4), PLACES, edge_order=2), case(normal(3, 4), 0.5, PLACES, edge_order=2),
    case(normal(3, 3), axis=(1, 0)),
)  # fmt: skip
row(
    "trapezoid", np.trapezoid, case(normal(2, 3)), case(normal(3, 2), dx=0.5, axis=0), case(normal(2, 4), PLACES),
    case(normal(4, 2), PLACES, axis=0), case(normal(2, 3), normal(2, 3)), case(normal(3), normal(3)),
    empty=(case(normal(2, 0)),),
)  # fmt: skip

# ---------------------------------------------------------------- NumPy's functions of shapes


def plain(name, *cases, reference=None, **kwargs):
    """A row of a linear function that has NumPy's name and arguments."""
    linear(name, reference or getattr(np, name), *cases, **kwargs)


plain("ravel", case(normal(2, 3)), case(normal(2, 3, 2), "F"), empty=(case(normal(0, 3)),))
plain("swapaxes", case(normal(2, 3), 0, 1), case(normal(2, 3, 2), axis1=-1, axis2=0), empty=(case(normal(0, 3), 0, 1),))
plain("moveaxis", case(normal(2, 3, 2), 0, -1), case(normal(2, 3, 2), source=(0, 1), destination=(2, 0)))
plain("rollaxis", case(normal(2, 3, 2), 2), case(normal(2, 3, 2), 0, start=2))
plain("matrix_transpose", case(normal(2, 3)), case(normal(2, 3, 2)), empty=(case(normal(0, 3)),))
plain("fliplr", case(normal(2, 3)), empty=(case(normal(0, 3)),))
plain("flipud", case(normal(2, 3)), empty=(case(normal(0, 3)),))
plain("rot90", *(case(normal(2, 3), k) for k in range(-1, 4)), case(normal(2, 3, 2), axes=(2, 1)))
plain("broadcast_arrays", case(normal(2, 1), normal(3)), case(normal(2)))
for least in ("atleast_1d", "atleast_2d", "atleast_3d"):
    plain(least, case(normal()), case(normal(3)), case(normal(), normal()), case(normal(1, 2, 2)))
plain("copy", case(normal(2, 3)), empty=(case(normal(0, 2)),))
plain("full_like", case(normal(2, 3), normal()), case(normal(2, 3), normal(3)),
    case(normal(2), normal(3, 1), shape=(3, 2)))
plain(
    "array", case([normal(2), normal(2)]), case([[normal(), 2.0], [1.0, normal()]]), case(normal(3)),
    case([1.0, normal()]),
)  # fmt: skip
plain(
    "linspace", case(normal(), normal(), 4), case(normal(2), normal(2, 1), num=3, endpoint=False, axis=-1),
    case(normal(), 2.0, 1), case(normal(2), 1, 3, retstep=True), empty=(case(normal(), normal(), 0),),
)  # fmt: skip
row(
    "logspace", np.logspace, case(normal(), normal(), 4), case(normal(), 1.5, num=3, endpoint=False, base=2.0),
    case(normal(), normal(), 3, True, positive()), case(normal(2), normal(2), 3, True, positive(2), None, -1),
)  # fmt: skip
plain(
    "meshgrid", case(normal(2), normal(3)), case(normal(2), normal(3), indexing="ij"),
    case(normal(2), normal(3), normal(2), sparse=True), case(normal(3)), empty=(case(normal(0), normal(2)),),
)  # fmt: skip
plain("vstack", case([normal(3), normal(2, 3)]), case([normal(2), normal(2)]), empty=(case([normal(0), normal(0)]),))
plain("hstack", case([normal(3), normal(2)]), case([normal(2, 1), normal(2, 2)]), case([normal(), normal()]))
plain("dstack", case([normal(3), normal(3)]), case([normal(2, 3), normal(2, 3, 1)]))
plain("column_stack", case([normal(3), normal(3)]), case([normal(3, 2), normal(3)]))
plain("block", case([[normal(2, 2), normal(2, 1)], [normal(1, 2), normal(1, 1)]]), case([normal(2), normal(3), 1.0]))
plain("append", case(normal(2, 3), normal(2)), case(normal(2, 3), normal(1, 3), axis=0), case([1.0, 2.0], normal()))
plain("unstack", case(normal(2, 3)),
    case(normal(2, 3), axis=-1), reference=lambda x, axis=0: tuple(np.moveaxis(x, axis, 0)))
plain("array_split", case(normal(5, 2), 3), case(normal(2, 5), [1, 3], axis=-1), empty=(case(normal(0), 2),))
plain("vsplit", case(normal(4, 2), 2), case(normal(3, 2), [1]))
plain("hsplit", case(normal(2, 4), 2), case(normal(4), [1, 3]))
plain("dsplit", case(normal(2, 1, 4), 2), case(normal(1, 2, 3), [1]))
plain("tile", case(normal(2, 3), 2), case(normal(2), (2, 1, 3)), case(normal(2, 1, 2), (2, 1)),
    empty=(case(normal(2), 0),))
plain(
    "repeat", case(normal(2, 3), 2), case(normal(2, 3), 2, axis=1), case(normal(2, 3), np.array([2, 0, 1]), axis=-1),
    empty=(case(normal(2, 3), 0, axis=0),),
)  # fmt: skip
plain(
    "roll", case(normal(2, 3), 2), case(normal(2, 3), -1, axis=1), case(normal(2, 3), (1, 4), axis=(0, -1)),
    case(normal(4), (1, 1), axis=0), empty=(case(normal(0, 2), 1),),
)  # fmt: skip
plain(
    "delete", case(normal(2, 3), 1), case(normal(3, 2), [0, -1], axis=0), case(normal(4), slice(None, None, 2)),
    case(normal(2, 3), np.array([True, False, True]), axis=1),
)  # fmt: skip
plain(
    "insert", case(normal(4), 1, normal()), case(normal(2, 3), 1, normal(2), axis=1),
    case(normal(4), [1, 3], normal(2)),
    case(normal(2, 3), [1], normal(2, 2), axis=1), case(normal(3), 0, normal(2)), case(normal(2, 3), 2, 5.0),
    case(normal(3), slice(0, 2), normal(2)), case(normal(3), np.array([True, False, True]), normal(2)),
)  # fmt: skip
plain("compress", case(np.array([True, False, True]), normal(3, 2), axis=0),
    case(np.array([True, False, True]), normal(2, 3)))
plain("extract", case(np.array([[True, False], [True, True]]), normal(2, 2)))
plain("diagonal", case(normal(3, 4)), case(normal(3, 4), -1), case(normal(2, 3, 3), 1, 1, 2),
    case(normal(2, 3, 2), 0, 0, 2),
      case(normal(3, 2), offset=4))  # fmt: skip
plain("diag", case(normal(3)), case(normal(2), 1), case(normal(2), k=-2), case(normal(3, 4), 1),
    empty=(case(normal(0)),))
plain("diagflat", case(normal(2, 2)), case(normal(3), k=-1))
plain("tril", case(normal(3, 3)), case(normal(2, 3, 2), 1), case(normal(3), -1), empty=(case(normal(0, 3)),))
plain("triu", case(normal(3, 3)), case(normal(2, 3, 2), -1), case(normal(3), k=1), empty=(case(normal(0, 3)),))
FIRST, SECOND = np.array([True, False, False, True]), np.array([True, True, False, False])
plain("select", case([FIRST, SECOND], [normal(4), normal(4)], default=0.5), case([SECOND], [normal()], normal(4)))
plain("choose", case(np.array([0, 2, 1]), [normal(3), normal(3), normal(3)]),
    case(np.array([[0], [1]]), [normal(2), 4.0]),
      case(np.array([-1, 4]), [normal(2), normal(2)], mode="wrap"))  # fmt: skip

# ---------------------------------------------------------------- linear algebra

linear("matmul", np.matmul,
       *(case(normal(*a), normal(*b)) for a, b in [
           ((2, 3), (3, 2)), ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((3,), (2, 3, 2)), ((2, 2, 3), (3,)),
           ((2, 2, 3), (3, 2)), ((2, 1, 2, 3), (2, 3, 1)), ((2, 3), (2, 3, 2)),
       ]),
       empty=(case(normal(0, 3), normal(3, 2)), case(normal(2, 0), normal(0, 3)), case(normal(0), normal(0)),
              case(normal(2, 0, 0), normal(0, 3))))  # fmt: skip
linear(
    "einsum", np.einsum, case("ij,jk->ik", normal(2, 3), normal(3, 2)),
    case("ij,jk->ik", normal(2, 3), normal(3, 2), optimize=False), case("ij,jk", normal(2, 3), normal(3, 2)),
    case("ii->i", normal(3, 3)), case("ii", normal(3, 3)), case("iij->ji", normal(2, 2, 3)),
    case("ij->", normal(2, 3)), case("ji", normal(2, 3)),
    case("i,i,i,i->i", normal(2), normal(2), normal(2), normal(2)),
    case("...i,ij->...j", normal(2, 2, 3), normal(3, 2)), case("bij,bjk->bik", normal(2, 2, 3), normal(2, 3, 2)),
    case("i,j->ij", normal(2), normal(3)), case("ij,kl->i", normal(2, 3), normal(2, 2)),
    case("...,...", normal(2, 1), normal(3)), case("ii,i", normal(2, 2), normal(2)),
    empty=(case("ij,jk->ik", normal(2, 0), normal(0, 3)), case("ii->", normal(0, 0))),
)  # fmt: skip

# ---------------------------------------------------------------- linear algebra: what is made of products

linear(
    "dot", np.dot, *(case(normal(*a), normal(*b)) for a, b in [
        ((2, 3), (3, 2)), ((3,), (2, 3, 2)), ((2, 3), (2, 3, 2)), ((), (2,)), ((2, 2, 3), (3,)),
    ]),
    empty=(case(normal(2, 0), normal(0, 3)),),
)  # fmt: skip
linear("inner", np.inner, case(normal(2, 3), normal(4, 3)), case(normal(3), normal(3)), case(normal(3), normal()),
       empty=(case(normal(2, 0), normal(3, 0)),))  # fmt: skip
linear("outer", np.outer, case(normal(2, 2), normal(3)), empty=(case(normal(0), normal(2)),))
linear(
    "tensordot", np.tensordot, case(normal(2, 3, 2), normal(3, 2, 2)), case(normal(2, 3), normal(2), 0),
    case(normal(2, 3), normal(3, 2), (1, 0)), case(normal(2, 3, 2), normal(2, 3), [[1, 0], [-1, 0]]),
    empty=(case(normal(2, 0), normal(0, 3), 1),),
)  # fmt: skip
linear("vdot", np.vdot, case(normal(2, 3), normal(3, 2)), empty=(case(normal(0, 2), normal(2, 0)),))
linear(
    "vecdot", lambda a, b, axis=-1: (a * b).sum(axis), case(normal(2, 3), normal(3)),
    case(normal(3, 2), normal(3, 2), axis=0),
    empty=(case(normal(0, 2), normal(2)),),
)  # fmt: skip
linear("kron", np.kron, case(normal(2, 3), normal(3, 2)), case(normal(2), normal(2, 1, 3)),
       empty=(case(normal(0, 2), normal(1, 2)),))  # fmt: skip
linear(
    "cross", np.cross, case(normal(2, 3), normal(3)), case(normal(3, 2), normal(2, 3), 0, 1, 0),
    case(normal(3, 2), normal(3, 2), axis=0),
    empty=(case(normal(0, 3), normal(3)),),
)  # fmt: skip
row("matrix_power", np.linalg.matrix_power, *(case(normal(2, 2, 2), n) for n in (0, 1, 2, 5, -2)), order=3,
    empty=(case(normal(0, 2, 2), 3), case(normal(0, 0), -1)))  # fmt: skip
row("multi_dot", np.linalg.multi_dot, case([normal(2, 3), normal(3, 1), normal(1, 2)]),
    case([normal(2), normal(2, 3), normal(3, 1), normal(1)]), empty=(case([normal(0, 3), normal(3, 2)]),),
)  # fmt: skip

# ---------------------------------------------------------------- linear algebra: inverses and decompositions


def near_one(*shape):
    """Matrices that are not near a singular one."""
    return Draw(lambda rng: np.eye(*shape[-2:]) * 2 + 0.5 * rng.standard_normal(shape))


def grid(draw, *shape):
    """What is drawn, in another shape."""
    return Draw(lambda rng: draw.f(rng).reshape(shape))


def definite(*shape):
    """Symmetric, with the eigenvalues near 1, 2, 3, ..."""

    def drawn(rng):
        s = 0.1 * rng.standard_normal(shape)
        return np.diag(np.arange(1.0, shape[-1] + 1)) + s + s.swapaxes(-1, -2)

    return Draw(drawn)


def mixed(n):
    """Symmetric, with the eigenvalues near -1, 2, -3, ..."""
    return Draw(lambda rng: definite(n, n).f(rng) * (-1.0) ** np.arange(1, n + 1))


def apart(*shape):
    """Singular values near 1, 2, 3, ..."""
    ladder = np.eye(*shape[-2:]) * np.arange(1, shape[-1] + 1)
    return Draw(lambda rng: ladder + 0.1 * rng.standard_normal(shape))


def determinant(a):
    """By Leibniz: the sum over all permutations."""
    n = a.shape[-1]
    signs = {p: round(np.linalg.det(np.eye(n)[list(p)])) for p in itertools.permutations(range(n))}
    return sum(sign * np.prod([a[..., i, j] for i, j in enumerate(p)], axis=0) for p, sign in signs.items())


def exponential(a):
    """By its series."""
    term, y = np.eye(a.shape[-1]) + 0 * a, np.eye(a.shape[-1]) + 0 * a
    for n in range(1, 80):
        term = term @ a / n
        y = y + term
    return y


def lstsq(a, b, rcond=None):
    """Without the rank, an int."""
    x, squares, _, s = np.linalg.lstsq(a, b, rcond)
    return x, squares, s


def lstsq_op(a, b):
    x, squares, _, s = mg.lstsq(a, b)
    return x, squares, s


row("inv", np.linalg.inv, case(near_one(2, 2, 2)), case(near_one(3, 3)), order=3, empty=(case(normal(0, 0)),))
row(
    "solve", np.linalg.solve, case(near_one(3, 3), normal(3)), case(near_one(2, 2, 2), normal(2)),
    case(near_one(2, 2), normal(2, 2, 3)), case(near_one(2, 1, 2, 2), normal(3, 2, 1)), order=3,
    empty=(case(normal(0, 0), normal(0, 2)), case(near_one(2, 2), normal(2, 0))),
)  # fmt: skip
row("det", determinant, case(near_one(2, 2, 2)), case(normal(3, 3)), order=3, empty=(case(normal(0, 2, 2)),))
row("slogdet", lambda a: (np.sign(determinant(a)), np.log(np.abs(determinant(a)))), case(near_one(2, 2, 2)),
    case(normal(3, 3)), order=3, empty=(case(normal(0, 2, 2)),))  # fmt: skip
row("tensorinv", np.linalg.tensorinv, case(near_one(4, 4), 1), case(grid(near_one(4, 4), 2, 2, 4)),
    case(grid(near_one(6, 6), 6, 3, 2), ind=1), order=3)  # fmt: skip
row(
    "tensorsolve", np.linalg.tensorsolve, case(near_one(3, 3), normal(3)),
    case(grid(near_one(4, 4), 2, 2, 4), normal(2, 2)), case(grid(near_one(6, 6), 3, 6, 2), normal(6), axes=(0,)),
)  # fmt: skip
row("expm", exponential, case(normal(2, 2, 2)), case(Draw(lambda rng: 4 * rng.standard_normal((2, 2)))),
    empty=(case(normal(0, 0)), case(normal(0, 2, 2))))  # fmt: skip
row("cholesky", np.linalg.cholesky, case(definite(2, 2, 2)), case(definite(3, 3)), order=3,
    empty=(case(normal(0, 0)),))  # fmt: skip
row("eigh", np.linalg.eigh, case(definite(2, 2, 2)), case(definite(3, 3)), case(near_one(2, 2), "U"), order=3,
    empty=(case(normal(0, 2, 2)),))  # fmt: skip
row("eigvalsh", np.linalg.eigvalsh, case(definite(2, 2, 2)), case(definite(3, 3)), order=3,
    empty=(case(normal(0, 2, 2)),))  # fmt: skip
MATRICES = (2, 2, 2), (3, 2), (2, 3), (3, 1)
row("qr", lambda a, mode="reduced": np.linalg.qr(a, mode), *(case(apart(*s)) for s in MATRICES),
    case(apart(2, 3), mode="r"), empty=(case(normal(0, 3, 2)), case(normal(2, 0))))  # fmt: skip
row("svd", np.linalg.svd, *(case(apart(*s), full_matrices=False) for s in MATRICES), case(apart(2, 2)),
    case(apart(3, 2), compute_uv=False), case(mixed(3), hermitian=True), order=3,
    empty=(case(normal(0, 3, 2), full_matrices=False), case(normal(2, 0), full_matrices=False)))  # fmt: skip
row("svdvals", lambda a: np.linalg.svd(a, compute_uv=False), *(case(apart(*s)) for s in MATRICES), order=3,
    empty=(case(normal(2, 0)),))  # fmt: skip
row("pinv", np.linalg.pinv, *(case(apart(*s)) for s in MATRICES), case(apart(2, 2), rcond=1e-3),
    case(apart(3, 2), rcond=0.9), order=3, empty=(case(normal(0, 3, 2)), case(normal(2, 0))))  # fmt: skip
row("lstsq", lstsq, case(apart(3, 2), normal(3)), case(apart(2, 3), normal(2, 2)), op=lstsq_op)


def matrix_norm(x, ord="fro", axis=(-2, -1), keepdims=False):
    return np.linalg.norm(x, ord, axis, keepdims)


row(
    "matrix_norm", matrix_norm, *(case(apart(2, 3), ord) for ord in ("fro", "nuc", 2, -2, 1, -1, np.inf, -np.inf)),
    *(case(apart(2, 2, 3), ord, (2, 0)) for ord in (2, -1, np.inf)),
    *(case(apart(2, 3, 2), ord, keepdims=True) for ord in ("nuc", -2, 1, -np.inf)),
    empty=(case(normal(0, 2, 2)),),
)  # fmt: skip
row("cond", np.linalg.cond, *(case(apart(*s)) for s in MATRICES[:3]), case(apart(3, 2), -2),
    *(case(apart(2, 2, 2), p) for p in ("fro", "nuc", 1, -1, np.inf)))  # fmt: skip

# ---------------------------------------------------------------- sequences


def rfft(x, n=None, axis=-1, norm=None):
    y = np.fft.rfft(x, n, axis, norm)
    return y.real, y.imag


def irfft(re, im, n=None, axis=-1, norm=None):
    return np.fft.irfft(re + 1j * im, n, axis, norm)


linear(
    "rfft", rfft, case(normal(4)), case(normal(2, 5)), case(normal(3, 2), axis=0), case(normal(4), 6, norm="ortho"),
    case(normal(4), 3, norm="forward"), case(normal(1)),
    empty=(case(normal(0, 3)),),
)  # fmt: skip
linear(
    "irfft", irfft, case(normal(3), normal(3)), case(normal(2, 3), normal(2, 3), 5),
    case(normal(3, 2), normal(3, 2), axis=0), case(normal(3), normal(3), 6, norm="ortho"),
    case(normal(3), normal(3), 3, norm="forward"), case(normal(1), normal(1), 1),
    empty=(case(normal(0, 3), normal(0, 3)),),
)  # fmt: skip
for name, reference in (("fftshift", np.fft.fftshift), ("ifftshift", np.fft.ifftshift)):
    linear(name, reference, case(normal(5)), case(normal(2, 3)), case(normal(3, 4), axes=0),
           case(normal(2, 3), axes=(1, 0)), empty=(case(normal(0, 3)),))  # fmt: skip
linear("correlate", np.correlate, *(case(normal(n), normal(m), mode) for n, m in ((5, 3), (2, 5))
                                    for mode in ("valid", "same", "full")))  # fmt: skip
linear("convolve", np.convolve, *(case(normal(n), normal(m), mode) for n, m in ((5, 4), (2, 5))
                                  for mode in ("valid", "same", "full")))  # fmt: skip
POINTS = np.array([-0.9, 0.05, 0.95])
row("interp", np.interp, case(np.array([[-2.0, -0.5], [0.3, 3.0]]), POINTS, normal(3)),
    case(np.array([-2.0, 0.5, 3.0]), POINTS, normal(3), left=7.0, right=-5.0), case(np.array(0.5), [1.0], normal(1)),
    case(np.array([[-2.0, -0.5], [0.3, 3.1]]), POINTS[[2, 0, 1]], normal(3), period=-2.1),
    empty=(case(normal(0), POINTS, normal(3)),))  # fmt: skip

# ---------------------------------------------------------------- convolution: loops


def terms(x_shape, w_shape, size, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
    """The index triples (y, x, w) of y[n, p, q, k] = sum of x[n, r, s, c] w[i, j, c, k]."""
    (n, h, w, _), (kh, kw, cg, k) = x_shape, w_shape
    for b, p, q, o, i, j, c in itertools.product(*map(range, (n, *size, k, kh, kw, cg))):
        r = p * stride[0] + i * dilation[0] - padding[0][0]
        s = q * stride[1] + j * dilation[1] - padding[1][0]
        if 0 <= r < h and 0 <= s < w:
            yield (b, p, q, o), (b, r, s, o // (k // groups) * cg + c), (i, j, c, o)


def _pair(v):
    return (v, v) if isinstance(v, int) else v


def pads_of(padding, size, window, stride):
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        pads = []
        for n, k, s in zip(size, window, stride, strict=True):
            t = max((math.ceil(n / s) - 1) * s + k - n, 0)
            pads.append((t // 2, t - t // 2))
        return tuple(pads)
    return tuple(_pair(p) for p in _pair(padding))


def _sizes(size, window, stride, pads):
    return tuple((n + sum(p) - k) // s + 1 for n, k, s, p in zip(size, window, stride, pads, strict=True))


def conv2d(x, w, b=0, *, stride=1, padding=0, dilation=1, groups=1, algorithm=None):
    stride, dilation = _pair(stride), _pair(dilation)
    window = tuple(d * (k - 1) + 1 for d, k in zip(dilation, w.shape, strict=False))
    pads = pads_of(padding, x.shape[1:3], window, stride)
    size = _sizes(x.shape[1:3], window, stride, pads)
    y = np.zeros((x.shape[0], *size, w.shape[3]))
    for iy, ix, iw in terms(x.shape, w.shape, size, stride, pads, dilation, groups):
        y[iy] += x[ix] * w[iw]
    return y + b


def conv2d_input_grad(g, w, *, input_size, groups=1, algorithm=None, **geometry):
    gx = np.zeros((g.shape[0], *input_size, w.shape[2] * groups))
    for iy, ix, iw in terms(gx.shape, w.shape, g.shape[1:3], groups=groups, **geometry):
        gx[ix] += g[iy] * w[iw]
    return gx


def conv2d_weight_grad(x, g, *, kernel_size, groups=1, algorithm=None, **geometry):
    gw = np.zeros((*kernel_size, x.shape[3] // groups, g.shape[3]))
    for iy, ix, iw in terms(x.shape, gw.shape, g.shape[1:3], groups=groups, **geometry):
        gw[iw] += x[ix] * g[iy]
    return gw


def conv_transpose2d(x, w, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    stride, dilation, extra = _pair(stride), _pair(dilation), _pair(output_padding)
    window = tuple(d * (k - 1) + 1 for d, k in zip(dilation, w.shape, strict=False))
    if padding == "same":
        size = tuple(n * s for n, s in zip(x.shape[1:3], stride, strict=True))
        pads = pads_of(padding, size, window, stride)
    else:
        pads = pads_of(padding, None, None, None)
        size = tuple(
            (n - 1) * s - sum(p) + k + e
            for n, s, p, k, e in zip(x.shape[1:3], stride, pads, window, extra, strict=True)
        )
    return conv2d_input_grad(x, w, input_size=size, stride=stride, padding=pads, dilation=dilation, groups=groups)


linear(
    "conv2d", conv2d, case(normal(1, 3, 3, 2), normal(2, 2, 2, 2)),
    case(normal(2, 3, 2, 1), normal(3, 3, 1, 2), padding=1),
    case(normal(1, 4, 5, 1), normal(3, 2, 1, 1), stride=(2, 1), padding=((0, 1), (2, 0)), dilation=(1, 2)),
    case(normal(1, 3, 3, 4), normal(2, 2, 2, 2), groups=2),
    case(normal(1, 4, 3, 1), normal(3, 3, 1, 1), padding="same", stride=2),
    case(normal(1, 2, 2, 2), normal(1, 1, 2, 3), padding="valid"),
    case(normal(1, 3, 3, 2), normal(2, 3, 1, 4), groups=2, padding=(1, 0)),
    case(normal(1, 5, 5, 2), normal(3, 3, 2, 2), padding=1, algorithm="winograd"),
    case(normal(1, 3, 3, 2), normal(2, 2, 2, 3), normal(3)),
    case(normal(2, 5, 4, 1), normal(3, 3, 1, 2), normal(2), padding=1, algorithm="winograd"),
    empty=(case(normal(0, 3, 3, 2), normal(2, 2, 2, 1)),),
)  # fmt: skip

PLAIN = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1, "algorithm": None}
BENT = {"stride": (2, 1), "padding": ((0, 1), (1, 0)), "dilation": (1, 2), "groups": 2, "algorithm": None}
linear(
    "conv2d_input_grad", conv2d_input_grad,
    case(normal(1, 2, 2, 2), normal(2, 2, 2, 2), input_size=(3, 3), **PLAIN),
    case(normal(1, 2, 2, 2), normal(2, 2, 1, 2), input_size=(4, 3), **BENT),
)  # fmt: skip
linear(
    "conv2d_weight_grad", conv2d_weight_grad,
    case(normal(1, 3, 3, 2), normal(1, 2, 2, 2), kernel_size=(2, 2), **PLAIN),
    case(normal(1, 4, 3, 2), normal(1, 2, 2, 2), kernel_size=(2, 2), **BENT),
)  # fmt: skip
linear(
    "conv_transpose2d", conv_transpose2d, case(normal(1, 2, 2, 2), normal(2, 2, 1, 2)),
    case(normal(1, 2, 2, 2), normal(3, 3, 1, 2), stride=2, padding=1, output_padding=1),
    case(normal(1, 2, 2, 2), normal(2, 3, 1, 2), stride=(1, 2), dilation=(2, 1), groups=2),
    case(normal(1, 2, 3, 1), normal(3, 3, 2, 1), stride=2, padding="same"),
    empty=(case(normal(0, 3, 3, 2), normal(2, 2, 1, 2)),),
)  # fmt: skip

# ---------------------------------------------------------------- pooling: loops


def windows(shape, window, stride, padding, ceil_mode=False):
    """Every output place with the places of the map under its window, row by row; padding left out."""
    window, stride = _pair(window), _pair(window if stride is None else stride)
    pads = pads_of(padding, shape[1:3], window, stride)
    size = _sizes(shape[1:3], window, stride, pads)
    if ceil_mode:  # one more window where it would begin in the map and end beyond it
        size = tuple(
            m + ((m - 1) * s + k < n + sum(p) and m * s < n + p[0])
            for m, n, k, s, p in zip(size, shape[1:3], window, stride, pads, strict=True)
        )
    found = []
    for n, p, q, c in itertools.product(range(shape[0]), *map(range, size), range(shape[3])):
        rows = range(p * stride[0] - pads[0][0], p * stride[0] - pads[0][0] + window[0])
        columns = range(q * stride[1] - pads[1][0], q * stride[1] - pads[1][0] + window[1])
        inside = [(n, r, s, c) for r in rows for s in columns if 0 <= r < shape[1] and 0 <= s < shape[2]]
        found.append(((n, p, q, c), inside))
    return (shape[0], *size, shape[3]), found


def max_pool(x, window, *, stride=None, padding=0, ceil_mode=False):
    shape, places = windows(x.shape, window, stride, padding, ceil_mode)
    y = np.zeros(shape)
    for out, inside in places:
        y[out] = max(x[i] for i in inside)
    return y


def avg_pool(x, window, *, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    shape, places = windows(x.shape, window, stride, padding, ceil_mode)
    pads = pads_of(padding, x.shape[1:3], _pair(window), _pair(window if stride is None else stride))
    y = np.zeros(shape)
    for (n, p, q, c), inside in places:
        counted = [
            min(i * s - before + k, size + after) - (i * s - before)  # the window, as far as the padding goes
            for i, s, k, size, (before, after) in zip(
                (p, q), _pair(window if stride is None else stride), _pair(window), x.shape[1:3], pads, strict=True
            )
        ]
        y[n, p, q, c] = sum(x[i] for i in inside) / (math.prod(counted) if count_include_pad else len(inside))
    return y


def avg_pool_adjoint(g, *, size, window, stride, padding):
    t = np.zeros((g.shape[0], *size, g.shape[3]))
    for out, inside in windows(t.shape, window, stride, padding)[1]:
        for i in inside:
            t[i] += g[out] / math.prod(window)
    return t


def _chosen(index, size, window, stride, padding):
    """(output place, map place) for the window position `index` of each output."""
    for n, p, q, c in np.ndindex(index.shape):
        i, j = divmod(int(index[n, p, q, c]), window[1])
        r, s = p * stride[0] + i - padding[0][0], q * stride[1] + j - padding[1][0]
        assert 0 <= r < size[0] and 0 <= s < size[1]
        yield (n, p, q, c), (n, r, s, c)


def max_pool_scatter(g, *, index, size, **geometry):
    t = np.zeros((g.shape[0], *size, g.shape[3]))
    for out, at in _chosen(index, size, **geometry):
        t[at] += g[out]
    return t


def max_pool_gather(t, *, index, **geometry):
    y = np.zeros(index.shape)
    for out, at in _chosen(index, t.shape[1:3], **geometry):
        y[out] = t[at]
    return y


POOLED = ((2, {}), ((2, 1), {}), (2, {"stride": 1}), (3, {"stride": 2, "padding": 1}), (2, {"padding": "same"}),
          (2, {"stride": 3, "padding": ((0, 1), (1, 0))}))  # fmt: skip
ROUNDED = (3, {}), (2, {"stride": 3}), (3, {"stride": 2, "padding": 1}), (2, {"stride": (1, 4), "padding": (1, 0)})
row(
    "max_pool", max_pool, *(case(spaced(1, 4, 5, 2), window, **kw) for window, kw in POOLED),
    *(case(spaced(1, 4, 5, 1), window, ceil_mode=True, **kw) for window, kw in ROUNDED),
    empty=(case(normal(0, 4, 4, 1), 2),),
)  # fmt: skip
linear(
    "avg_pool", avg_pool, *(case(normal(1, 4, 5, 1), window, **kw) for window, kw in POOLED),
    *(case(normal(1, 4, 5, 1), window, count_include_pad=False, **kw) for window, kw in POOLED[3:]),
    *(case(normal(1, 4, 5, 1), window, ceil_mode=True, count_include_pad=counted, **kw)
      for counted in (True, False) for window, kw in ROUNDED),
    empty=(case(normal(0, 4, 4, 1), 2),),
)  # fmt: skip

OVERLAP = {"window": (2, 2), "stride": (1, 1), "padding": ((0, 0), (0, 0))}
TILES = {"window": (2, 2), "stride": (2, 2), "padding": ((0, 0), (0, 0))}
# windows of overlapping 2x2 on 3x3: three of the four take the middle
MIDDLE = np.array([3, 2, 1, 3], np.uint8).reshape(1, 2, 2, 1)
linear(
    "max_pool_scatter", max_pool_scatter, case(normal(1, 2, 2, 1), index=MIDDLE, size=(3, 3), **OVERLAP),
    case(normal(1, 2, 2, 1), index=MIDDLE, size=(4, 5), **TILES),
)  # fmt: skip
linear(
    "max_pool_gather", max_pool_gather, case(normal(1, 3, 3, 1), index=MIDDLE, **OVERLAP),
    case(normal(1, 4, 5, 1), index=MIDDLE, **TILES),
)  # fmt: skip
linear(
    "avg_pool_adjoint", avg_pool_adjoint, case(normal(1, 2, 2, 1), size=(3, 3), **OVERLAP),
    case(normal(1, 2, 2, 1), size=(4, 5), **TILES),
)  # fmt: skip

# ---------------------------------------------------------------- convolution over one and three axes, sizes: loops


def conv1d(x, w, b=0, stride=1, padding=0, dilation=1, groups=1):
    pads = padding if isinstance(padding, str) else ((0, 0), _pair(padding))
    pads = pads_of(pads, (1, x.shape[1]), (1, dilation * (len(w) - 1) + 1), (1, stride))
    y = conv2d(x[:, None], w[None], b, stride=(1, stride), padding=pads, dilation=(1, dilation), groups=groups)
    return y[:, 0]


def _triple(v):
    return (v, v, v) if isinstance(v, int) else v


def conv3d(x, w, b=0, stride=1, padding=0, dilation=1, groups=1):
    stride, dilation, size = _triple(stride), _triple(dilation), x.shape[1:4]
    window = tuple(d * (k - 1) + 1 for d, k in zip(dilation, w.shape, strict=False))
    if padding == "same":
        totals = [max((math.ceil(n / s) - 1) * s + k - n, 0) for n, k, s in zip(size, window, stride, strict=True)]
        pads = [(t // 2, t - t // 2) for t in totals]
    else:
        pads = [_pair(p) for p in _triple(0 if padding == "valid" else padding)]
    x = np.pad(x, [(0, 0), *pads, (0, 0)])
    out = _sizes(size, window, stride, pads)
    y = np.zeros((len(x), *out, w.shape[4]))
    each = w.shape[4] // groups
    for at in np.ndindex(*out):
        for tap in np.ndindex(*w.shape[:3]):
            place = tuple(p * s + i * d for p, s, i, d in zip(at, stride, tap, dilation, strict=True))
            for k in range(w.shape[4]):
                channels = slice(k // each * w.shape[3], (k // each + 1) * w.shape[3])
                y[(slice(None), *at, k)] += x[(slice(None), *place, channels)] @ w[(*tap, slice(None), k)]
    return y + b


linear(
    "conv1d", conv1d, case(normal(2, 5, 2), normal(3, 2, 2), normal(2)),
    case(normal(1, 6, 2), normal(2, 1, 4), stride=2, padding=(0, 1), dilation=2, groups=2),
    case(normal(1, 5, 1), normal(3, 1, 1), padding="same"), case(normal(1, 4, 1), normal(2, 1, 1), padding=1),
    empty=(case(normal(0, 5, 2), normal(3, 2, 1)),),
)  # fmt: skip
linear(
    "conv3d", conv3d, case(normal(1, 3, 3, 2, 2), normal(2, 2, 2, 2, 1), normal(1)),
    case(normal(1, 4, 3, 3, 2), normal(2, 1, 2, 1, 2), stride=(2, 1, 2), padding=1, dilation=(1, 1, 2), groups=2),
    case(normal(1, 3, 2, 2, 1), normal(3, 2, 2, 1, 1), padding="same", stride=2),
    case(normal(1, 2, 2, 2, 1), normal(1, 2, 2, 1, 1), padding=((1, 0), (0, 1), (1, 0)), dilation=1),
    case(normal(2, 2, 2, 2, 1), normal(2, 1, 1, 1, 1), padding="valid"),
    empty=(case(normal(0, 2, 2, 2, 1), normal(1, 2, 2, 1, 1)),),
)  # fmt: skip


def adaptive(x, size, f):
    p, q = _pair(size)
    y = np.zeros((len(x), p, q, x.shape[3]))
    for i, j in np.ndindex(p, q):
        rows = slice(i * x.shape[1] // p, math.ceil((i + 1) * x.shape[1] / p))
        columns = slice(j * x.shape[2] // q, math.ceil((j + 1) * x.shape[2] / q))
        y[:, i, j] = f(x[:, rows, columns], axis=(1, 2))
    return y


def bilinear(x, size):
    y = np.zeros((len(x), *_pair(size), x.shape[3]))
    for i, j in np.ndindex(*_pair(size)):
        (r0, r1, u), (c0, c1, v) = (
            (int(a), min(int(a) + 1, n - 1), a - int(a))
            for k, n, p in zip((i, j), x.shape[1:3], _pair(size), strict=True)
            for a in [min(max((k + 0.5) * n / p - 0.5, 0), n - 1)]
        )
        upper, lower = ((1 - v) * x[:, r, c0] + v * x[:, r, c1] for r in (r0, r1))
        y[:, i, j] = (1 - u) * upper + u * lower
    return y


SIZES = 2, (3, 2), (1, 5), (5, 3)
linear("adaptive_avg_pool", lambda x, size: adaptive(x, size, np.mean), *(case(normal(1, 4, 5, 1), s) for s in SIZES),
       case(normal(1, 4, 6, 2), (2, 3)), empty=(case(normal(0, 4, 4, 1), 3),))  # fmt: skip
row("adaptive_max_pool", lambda x, size: adaptive(x, size, np.max), *(case(spaced(1, 4, 5, 1), s) for s in SIZES),
    case(spaced(1, 4, 6, 2), (2, 3)), empty=(case(normal(0, 4, 4, 1), 3),))  # fmt: skip
linear("resize_bilinear", bilinear, *(case(normal(1, 4, 5, 1), s) for s in SIZES), case(normal(1, 2, 3, 2), (7, 6)),
       empty=(case(normal(0, 4, 4, 1), 3),))  # fmt: skip

# ---------------------------------------------------------------- normalisation


def normalised(x, axes, eps):
    centred = x - np.mean(x, axes, keepdims=True)
    return centred / np.sqrt(np.mean(centred**2, axes, keepdims=True) + eps)


def affine(h, scale, bias):
    return h * (1 if scale is None else scale) + (0 if bias is None else bias)


RUNNING = np.array([0.3, -0.2]), np.array([1.5, 0.7])


def batch_norm_y(x, scale, bias, **kwargs):
    mean, var = (a.astype(getattr(x, "dtype", float)) for a in RUNNING)
    return mg.batch_norm(x, scale, bias, mean, var, **kwargs)[0]


def batch_norm(x, scale, bias, train, eps=1e-5):
    if train:
        return affine(normalised(x, tuple(range(x.ndim - 1)), eps), scale, bias)
    return affine((x - RUNNING[0]) / np.sqrt(RUNNING[1] + eps), scale, bias)


row(
    "batch_norm", batch_norm, case(normal(3, 2), normal(2), normal(2), train=True),
    case(normal(3, 2), None, None, train=True), case(normal(2, 1, 2, 2), normal(2), None, train=True, eps=0.1),
    case(normal(3, 2), None, normal(2), train=True), case(normal(3, 2), normal(2), normal(2), train=False),
    case(normal(3, 2), None, None, train=False),
    op=batch_norm_y, empty=(case(normal(0, 2), normal(2), normal(2), train=False),),
)  # fmt: skip
def evaluated(x, scale, bias, mean, var, eps=1e-5):
    return affine((x - mean) / np.sqrt(var + eps), scale, bias)


row(
    "batch_norm_eval", evaluated, case(normal(3, 2), normal(2), normal(2), normal(2), positive(2)),
    case(normal(3, 2), None, None, normal(2), positive(2), eps=0.1),
    case(normal(2, 1, 2, 2), normal(2), None, normal(2), positive(2)),
    case(normal(2), None, normal(2), normal(2), positive(2)),
    order=3, empty=(case(normal(0, 2), normal(2), normal(2), normal(2), positive(2)),),
)  # fmt: skip
row(
    "layer_norm", lambda x, scale=None, bias=None, eps=1e-5: affine(normalised(x, -1, eps), scale, bias),
    case(normal(2, 3)), case(normal(2, 3), normal(3), normal(3)), case(normal(4), eps=0.1),
    case(normal(2, 1, 3), None, normal(3)),
    empty=(case(normal(0, 2)),),
)  # fmt: skip
def group_norm(x, groups, scale=None, bias=None, eps=1e-5):
    parts = np.split(x, groups, -1)
    axes = tuple(range(1, x.ndim))
    return affine(np.concatenate([normalised(p, axes, eps) for p in parts], -1), scale, bias)


row("group_norm", group_norm, case(normal(2, 3, 4), 2), case(normal(2, 2, 1, 2), 1, normal(2), normal(2)),
    case(normal(2, 6), 2, None, normal(6), eps=0.1), empty=(case(normal(0, 2, 4), 2),))  # fmt: skip
row("rms_norm",
    lambda x, scale=None, eps=1e-5: affine(x / np.sqrt(np.mean(x**2, -1, keepdims=True) + eps), scale, None),
    case(normal(2, 3)), case(normal(2, 1, 3), normal(3), eps=0.1), order=3, empty=(case(normal(0, 2)),))  # fmt: skip
row("dropout",
    lambda x, rate, train=True: np.where(np.random.default_rng(5).random(x.shape, np.float32) < rate, 0, x / (1 - rate))
    if train else x,
    case(normal(3, 4), 0.4), case(normal(3), 0.0), case(normal(3), 0.5, train=False),
    op=lambda x, rate, **kw: mg.dropout(x, rate, rng=np.random.default_rng(5), **kw),
    linear=True, empty=(case(normal(0, 2), 0.5),))  # fmt: skip

# ---------------------------------------------------------------- losses


def softmax(x, axis=-1):
    return np.exp(x) / np.sum(np.exp(x), axis=axis, keepdims=True)


def cross_entropy(logits, labels, label_smoothing=0.0, weight=None, ignore_index=None, reduction="mean"):
    losses, k = np.zeros(logits.shape[:-1]), logits.shape[-1]
    counted = np.ones(losses.shape)
    classes = labels.ndim < logits.ndim
    for i in np.ndindex(losses.shape):
        if classes and labels[i] == ignore_index:
            counted[i] = 0
            continue
        q = np.eye(k)[labels[i]] if classes else labels[i]
        q = (1 - label_smoothing) * q + label_smoothing / k
        if weight is not None:
            q = q * weight
            counted[i] = weight[labels[i]] if classes else 1
        losses[i] = -sum(q[j] * math.log(softmax(logits[i])[j]) for j in range(k))
    return losses if reduction == "none" else losses.sum() / (1 if reduction == "sum" else counted.sum())


def reduced(losses, reduction):
    return {"none": lambda x: x, "sum": np.sum, "mean": np.mean}[reduction](losses)


def binary_cross_entropy(x, t, reduction="mean"):
    return reduced(-t * np.log(sigmoid(x)) - (1 - t) * np.log(1 - sigmoid(x)), reduction)


def huber(p, t, delta=1.0, reduction="mean"):
    d = np.abs(p - t)
    return reduced(np.where(d <= delta, d * d / 2, delta * (d - delta / 2)), reduction)


row("softmax", softmax, case(normal(2, 3)), case(normal(2, 3), axis=0), order=3, empty=(case(normal(0, 3)),))
row(
    "log_softmax", lambda x, axis=-1: np.log(softmax(x, axis)), case(normal(2, 3)), case(normal(2, 3), axis=0),
    order=3,
    empty=(case(normal(0, 3)),),
)  # fmt: skip
row(
    "cross_entropy", cross_entropy, case(normal(3, 4), np.array([0, 3, 3])),
    case(normal(3, 4), np.array([1, 0, 2]), label_smoothing=0.1), case(normal(2, 3), positive(2, 3)),
    case(normal(2, 3), positive(2, 3), label_smoothing=0.2), case(normal(2, 2, 3), np.array([[0, 2], [1, 0]])),
    *(case(normal(3, 4), np.array([0, -1, 3]), ignore_index=-1, reduction=r) for r in ("mean", "sum", "none")),
    case(normal(2, 3), np.array([2, 0]), weight=[0.5, 2.0, 3.0]), case(normal(2, 3), positive(2, 3), reduction="none"),
    case(normal(2, 2, 3), np.array([[0, 2], [9, 0]]), weight=[0.5, 2.0, 3.0], ignore_index=9, label_smoothing=0.1),
    case(normal(2, 3), positive(2, 3), weight=[0.5, 2.0, 3.0], reduction="sum"),
)  # fmt: skip
PROBABILITIES = Draw(lambda rng: rng.uniform(0.1, 0.9, (2, 3)))
row("binary_cross_entropy", binary_cross_entropy,
    *(case(normal(2, 3), PROBABILITIES, reduction=r) for r in ("mean", "sum", "none")),
    case(normal(3), np.array([1, 0, 1])), empty=(case(normal(0, 2), normal(0, 2), reduction="sum"),))  # fmt: skip
row("huber", huber, *(case(2 * np.arange(3.0), spaced(3), reduction=r) for r in ("mean", "sum", "none")),
    case(spaced(2, 3), np.zeros((2, 3)), delta=0.6), empty=(case(normal(0, 2), normal(0, 2), reduction="none"),),
)  # fmt: skip
row("mse", lambda p, t: np.mean((p - t) ** 2), case(normal(2, 3), normal(2, 3)), case(normal(3), np.arange(3)))

# ---------------------------------------------------------------- attention: loops


def attention(q, k, v, mask=True, causal=False, scale=None):
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    leading = np.broadcast_shapes(*(x.shape[:-2] for x in (q, k, v)))
    q, k, v = (np.broadcast_to(x, (*leading, *x.shape[-2:])) for x in (q, k, v))
    mask = np.broadcast_to(mask, (*leading, q.shape[-2], k.shape[-2]))
    y = np.zeros((*q.shape[:-1], v.shape[-1]))
    for at in np.ndindex(y.shape[:-1]):
        keys = [j for j in range(k.shape[-2]) if mask[(*at, j)] and not (causal and j > at[-1])]
        weights = [math.exp(scale * (q[at] @ k[(*at[:-1], j)])) for j in keys]
        for j, w in zip(keys, weights, strict=True):
            y[at] += w / sum(weights) * v[(*at[:-1], j)]
    return y


MAY = np.array([[True, False, True], [False, False, False]])
row(
    "scaled_dot_product_attention", attention, case(normal(2, 2, 3), normal(2, 3, 3), normal(2, 3, 2)),
    case(normal(3, 2), normal(3, 2), normal(3, 2), causal=True, scale=0.7),
    case(normal(2, 2), normal(3, 2), normal(3, 1), mask=MAY),
    case(normal(2, 1, 2, 2), normal(3, 3, 2), normal(1, 3, 1), mask=np.array([[[MAY[0]]], [[~MAY[1]]]])),
    empty=(case(normal(0, 2, 2), normal(0, 3, 2), normal(0, 3, 1)), case(normal(0, 2), normal(3, 2), normal(3, 1))),
)  # fmt: skip
linear("embedding", lambda table, i: table[i], case(normal(3, 2), np.array([[0, 2], [0, 1]])), case(normal(3, 2), 1),
       empty=(case(normal(3, 2), np.zeros((0, 2), int)),))  # fmt: skip
