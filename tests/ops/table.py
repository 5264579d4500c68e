"""The table of operations: for each how to draw valid inputs, and what its value should be, in plain NumPy or loops."""

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

        def f(*args):
            return self.op(*args, **c.kwargs)

        if self.linear:
            check_adjoint(f, *c.draw())
        check_vjp(f, *c.draw(), order=self.order)


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
            g = np.cos(np.arange(i, i + y.size, dtype=y.dtype)).reshape(y.shape)
            y.backward(g, retain_graph=i < len(outputs) - 1)
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


def reduction(name, reference, draw, *cases, empty=(), **kwargs):
    row(name, reference, *(case(draw(2, 3, 2), **kw) for kw in AXES), case(draw()), *cases, empty=empty, **kwargs)


NOTHING = (case(normal(0, 2)), case(normal(0, 2), axis=0), case(normal(2, 0), axis=0))
NONE_LEFT = (case(normal(2, 0), axis=0), case(normal(2, 0), axis=0, keepdims=True))


def logsumexp(x, axis=None, keepdims=False):
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


def norm(x, ord=None, axis=None, keepdims=False):
    if ord == 1:
        return np.sum(np.abs(x), axis=axis, keepdims=keepdims)
    if ord == np.inf:
        return np.max(np.abs(x), axis=axis, keepdims=keepdims)
    return np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims))


reduction("sum", np.sum, normal, linear=True, empty=NOTHING)
reduction("mean", np.mean, normal, linear=True, empty=NONE_LEFT)
reduction("var", np.var, normal, case(normal(4), ddof=1), empty=NONE_LEFT)
row("std", np.std, *(case(normal(2, 3, 2), **kw) for kw in AXES), case(normal(4), ddof=1), empty=NONE_LEFT)
reduction("max", np.max, spaced, empty=NONE_LEFT)
reduction("min", np.min, spaced, empty=NONE_LEFT)
reduction(
    "prod", np.prod, normal, case(np.array([2.0, 0.0, 3.0])), case(np.array([[0.0, 0.0, 3.0]]), axis=1), order=3,
    empty=NOTHING,
)  # fmt: skip
reduction("logsumexp", logsumexp, normal, empty=NONE_LEFT)
row(
    "norm", norm, *(case(normal(2, 3, 2), **kw) for kw in AXES), case(normal(4), ord=2),
    case(spaced(2, 3), ord=1, axis=1), case(np.array([[0.5, -2.0], [1.5, 1.0]]), ord=np.inf, axis=0),
    empty=NOTHING,
)  # fmt: skip
row(
    "cumsum", np.cumsum, case(normal(2, 3)), case(normal(2, 3), axis=0), case(normal(2, 3), axis=-1), linear=True,
    empty=(case(normal(0, 2)), case(normal(0, 2), axis=0)),
)  # fmt: skip

# ---------------------------------------------------------------- shapes


linear(
    "reshape", np.reshape, case(normal(2, 3), (3, 2)), case(normal(2, 3), -1), case(normal(2, 3), (1, -1, 2)),
    empty=(case(normal(0, 3), (3, 0)),),
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


def pad(x, widths, mode="constant", value=0):
    return np.pad(x, widths, mode, **({"constant_values": value} if mode == "constant" else {}))


linear(
    "pad", pad, case(normal(2, 3), 1), case(normal(2, 3), ((0, 1), (2, 0))), case(normal(4), (2, 1), "reflect"),
    case(normal(2, 3), ((1, 0), (2, 2)), "reflect"),
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
    empty=(case(normal(3), np.array([], int)),),
)  # fmt: skip
linear(
    "take_along_axis", np.take_along_axis, case(normal(2, 3), np.array([[0, 0], [2, 1]]), 1),
    case(normal(2, 3), np.array([[1, 0, 1]]), 0),
    empty=(case(normal(0, 3), np.zeros((0, 1), int), 1),),
)  # fmt: skip

# ---------------------------------------------------------------- linear algebra

linear("matmul", np.matmul,
       *(case(normal(*a), normal(*b)) for a, b in [
           ((2, 3), (3, 2)), ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((3,), (2, 3, 2)), ((2, 2, 3), (3,)),
           ((2, 2, 3), (3, 2)), ((2, 1, 2, 3), (2, 3, 1)), ((2, 3), (2, 3, 2)),
       ]),
       empty=(case(normal(0, 3), normal(3, 2)), case(normal(2, 0), normal(0, 3)), case(normal(0), normal(0)),
              case(normal(2, 0, 0), normal(0, 3))))  # fmt: skip
linear(
    "einsum", np.einsum, case("ij,jk->ik", normal(2, 3), normal(3, 2)), case("ij,jk", normal(2, 3), normal(3, 2)),
    case("ii->i", normal(3, 3)), case("ii", normal(3, 3)), case("iij->ji", normal(2, 2, 3)),
    case("ij->", normal(2, 3)), case("ji", normal(2, 3)),
    case("i,i,i,i->i", normal(2), normal(2), normal(2), normal(2)),
    case("...i,ij->...j", normal(2, 2, 3), normal(3, 2)), case("bij,bjk->bik", normal(2, 2, 3), normal(2, 3, 2)),
    case("i,j->ij", normal(2), normal(3)), case("ij,kl->i", normal(2, 3), normal(2, 2)),
    case("...,...", normal(2, 1), normal(3)), case("ii,i", normal(2, 2), normal(2)),
    empty=(case("ij,jk->ik", normal(2, 0), normal(0, 3)), case("ii->", normal(0, 0))),
)  # fmt: skip

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


def windows(shape, window, stride, padding):
    """Every output place with the places of the map under its window, row by row; padding left out."""
    window, stride = _pair(window), _pair(window if stride is None else stride)
    pads = pads_of(padding, shape[1:3], window, stride)
    size = _sizes(shape[1:3], window, stride, pads)
    found = []
    for n, p, q, c in itertools.product(range(shape[0]), *map(range, size), range(shape[3])):
        rows = range(p * stride[0] - pads[0][0], p * stride[0] - pads[0][0] + window[0])
        columns = range(q * stride[1] - pads[1][0], q * stride[1] - pads[1][0] + window[1])
        inside = [(n, r, s, c) for r in rows for s in columns if 0 <= r < shape[1] and 0 <= s < shape[2]]
        found.append(((n, p, q, c), inside))
    return (shape[0], *size, shape[3]), found


def max_pool(x, window, *, stride=None, padding=0):
    shape, places = windows(x.shape, window, stride, padding)
    y = np.zeros(shape)
    for out, inside in places:
        y[out] = max(x[i] for i in inside)
    return y


def avg_pool(x, window, *, stride=None, padding=0):
    shape, places = windows(x.shape, window, stride, padding)
    y = np.zeros(shape)
    for out, inside in places:
        y[out] = sum(x[i] for i in inside) / math.prod(_pair(window))
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
row(
    "max_pool", max_pool, *(case(spaced(1, 4, 5, 2), window, **kw) for window, kw in POOLED),
    empty=(case(normal(0, 4, 4, 1), 2),),
)  # fmt: skip
linear(
    "avg_pool", avg_pool, *(case(normal(1, 4, 5, 1), window, **kw) for window, kw in POOLED),
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

# ---------------------------------------------------------------- normalisation


def normalised(x, axes, eps):
    centred = x - np.mean(x, axes, keepdims=True)
    return centred / np.sqrt(np.mean(centred**2, axes, keepdims=True) + eps)


def affine(h, scale, bias):
    return h * (1 if scale is None else scale) + (0 if bias is None else bias)


RUNNING = np.array([0.3, -0.2]), np.array([1.5, 0.7])


def batch_norm_y(x, scale, bias, **kwargs):
    mean, var = (a.astype(x.dtype) for a in RUNNING)
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
row("dropout",
    lambda x, rate, train=True: np.where(np.random.default_rng(5).random(x.shape, np.float32) < rate, 0, x / (1 - rate))
    if train else x,
    case(normal(3, 4), 0.4), case(normal(3), 0.0), case(normal(3), 0.5, train=False),
    op=lambda x, rate, **kw: mg.dropout(x, rate, rng=np.random.default_rng(5), **kw),
    linear=True, empty=(case(normal(0, 2), 0.5),))  # fmt: skip

# ---------------------------------------------------------------- losses


def softmax(x, axis=-1):
    return np.exp(x) / np.sum(np.exp(x), axis=axis, keepdims=True)


def cross_entropy(logits, labels, label_smoothing=0.0):
    total, k = 0.0, logits.shape[-1]
    examples = [*np.ndindex(logits.shape[:-1])]
    for i in examples:
        q = np.eye(k)[labels[i]] if labels.ndim < logits.ndim else labels[i]
        q = (1 - label_smoothing) * q + label_smoothing / k
        total -= sum(q[j] * math.log(softmax(logits[i])[j]) for j in range(k))
    return total / len(examples)


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
)  # fmt: skip
row("mse", lambda p, t: np.mean((p - t) ** 2), case(normal(2, 3), normal(2, 3)), case(normal(3), np.arange(3)))
