# mypy: disable-error-code="has-type"
# (the tables below name the operations while their import cycle with Tensor is still open)
"""What NumPy's own functions do when they are given a Tensor: the minigraph operation, or a TypeError that names it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import tree
from ..tensor import Tensor, value
from . import elementwise as ew
from . import linalg, reduce, shape

UFUNCS: dict[np.ufunc, Callable[..., Any]] = {
    np.add: ew.add, np.subtract: ew.subtract, np.multiply: ew.multiply, np.divide: ew.divide,
    np.remainder: ew.remainder, np.power: ew.power, np.float_power: ew.power, np.negative: ew.negative,
    np.positive: lambda x: x, np.absolute: ew.abs, np.fabs: ew.abs, np.square: lambda x: x * x,
    np.reciprocal: lambda x: 1 / x, np.exp: ew.exp, np.expm1: ew.expm1, np.log: ew.log, np.log1p: ew.log1p,
    np.sqrt: ew.sqrt, np.sin: ew.sin, np.cos: ew.cos, np.tanh: ew.tanh, np.maximum: ew.maximum,
    np.minimum: ew.minimum, np.matmul: linalg.matmul,
}  # fmt: skip

# These give bools: there is no gradient to lose.
PREDICATES = {
    np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal, np.isfinite, np.isinf, np.isnan,
    np.signbit, np.logical_and, np.logical_or, np.logical_not, np.logical_xor,
}  # fmt: skip

REDUCTIONS = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min"}

# NumPy's next positional arguments are dtype= and out=, not ours.
TO_AXIS = {
    np.sum: reduce.sum, np.mean: reduce.mean, np.var: reduce.var, np.std: reduce.std, np.max: reduce.max,
    np.min: reduce.min, np.prod: reduce.prod,
}  # fmt: skip

FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    np.cumsum: reduce.cumsum,
    np.linalg.norm: lambda x, ord=None, axis=None, keepdims=False: _norm(x, ord, axis, keepdims),
    np.reshape: shape.reshape, np.transpose: shape.transpose, np.broadcast_to: shape.broadcast_to,
    np.expand_dims: shape.expand_dims, np.squeeze: shape.squeeze, np.flip: shape.flip,
    np.concatenate: shape.concatenate, np.stack: shape.stack, np.split: shape.split, np.take: shape.take,
    np.take_along_axis: shape.take_along_axis, np.where: ew.where, np.einsum: linalg.einsum,
    np.ravel: lambda x: shape.reshape(x, -1), np.swapaxes: lambda x, *axes: _permuted(np.swapaxes, x, axes),
    np.moveaxis: lambda x, *axes: _permuted(np.moveaxis, x, axes), np.dot: lambda a, b: _dot(a, b),
    np.clip: lambda x, a_min=None, a_max=None, *, min=None, max=None: _clip(x, a_min, a_max, min, max),
}  # fmt: skip

# Shapes, sizes and positions: read off the arrays, no gradient to lose.
CONSTANTS = {
    np.shape, np.ndim, np.size, np.argmax, np.argmin, np.argsort, np.zeros_like, np.ones_like, np.empty_like,
    np.isclose, np.allclose, np.array_equal, np.count_nonzero, np.nonzero, np.any, np.all,
    np.result_type, np.array_repr, np.array_str, np.array2string, np.argwhere, np.searchsorted, np.iscomplexobj,
}  # fmt: skip

# For the messages: what to write in place of functions of other names.
INSTEAD = {
    "concatenate": "append block column_stack dstack hstack vstack", "cumsum": "cumulative_sum",
    "einsum": "diagonal inner kron multi_dot outer tensordot trace vdot vecdot", "exp": "cosh sinh",
    "flip": "fliplr flipud", "log": "log2 log10", "logsumexp": "logaddexp", "matmul": "matvec vecmat", "max": "amax",
    "maximum": "fmax", "mean": "average", "min": "amin", "minimum": "fmin", "norm": "vector_norm",
    "power": "cbrt exp2", "split": "array_split dsplit hsplit unstack vsplit", "take": "repeat roll",
    "transpose": "matrix_transpose",
}  # fmt: skip


def numpy_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Tensor.__array_ufunc__."""
    name = ufunc.__name__
    if method != "__call__":
        instead = REDUCTIONS.get(name) if method == "reduce" else None
        hint = f"use mg.{instead}" if instead else "use operations of minigraph"
        raise TypeError(f"np.{name}.{method} is not defined on Tensors: {hint}")
    if "out" in kwargs:
        raise TypeError(
            f"np.{name}(..., out=array) and in-place operators put no Tensor into an array: write y = np.{name}(...)"
        )
    f = UFUNCS.get(ufunc)
    if f is not None:
        if kwargs:
            raise TypeError(f"np.{name} on a Tensor takes no {', '.join(kwargs)}=: use mg.where, or astype")
        return f(*inputs)
    if ufunc not in PREDICATES and any(type(x) is Tensor and x.requires_grad for x in inputs):
        raise TypeError(
            f"np.{name} has no rule for Tensors: use operations of minigraph ({_instead(name)}), define one with "
            f"mg.primitive, or apply it to t.detach() if no gradient should go through it"
        )
    out = ufunc(*(tree.map(value, x) for x in inputs), **kwargs)
    if ufunc in PREDICATES:
        return out
    return tuple(map(Tensor, out)) if type(out) is tuple else Tensor(out)


def numpy_function(f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Tensor.__array_function__."""
    name = f"{f.__module__.replace('numpy', 'np', 1)}.{f.__name__}"
    if f in CONSTANTS:
        return f(*(tree.map(value, a) for a in args), **{k: tree.map(value, v) for k, v in kwargs.items()})
    if f in TO_AXIS:
        if len(args) > 2:
            raise TypeError(f"{name} on a Tensor: give keepdims= and ddof= by name, dtype and out are not supported")
        ours = TO_AXIS[f]
    elif f in FUNCTIONS:
        ours = FUNCTIONS[f]
    else:
        raise TypeError(
            f"{name} is not defined on Tensors: use operations of minigraph ({_instead(f.__name__)}), or t.numpy() of "
            f"a Tensor outside the graph"
        )
    try:
        return ours(*args, **kwargs)
    except TypeError:
        try:
            inspect.signature(ours).bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{name} on a Tensor: {error}; it takes {inspect.signature(ours)}") from None
        raise


def _instead(name: str) -> str:
    """The operation of that name or in its place, to put into a message."""
    from .. import ops

    ours = name if name in ops.__all__ else next((k for k, names in INSTEAD.items() if name in names.split()), None)
    return f"perhaps mg.{ours}" if ours else "mg.primitives() lists them"


def _permuted(f: Callable[..., Any], x: Any, axes: tuple[Any, ...]) -> Any:
    order = f(np.empty(range(x.ndim)), *axes).shape  # an empty array whose lengths are the axes' numbers
    return shape.transpose(x, order)


def _norm(x: Any, ord: Any, axis: Any, keepdims: bool) -> Any:
    axes = range(x.ndim) if axis is None else np.atleast_1d(axis)
    if ord is not None and (len(axes) != 1 or ord not in (1, 2, np.inf)):
        raise TypeError(f"np.linalg.norm(ord={ord!r}) over {len(axes)} axes is not defined on Tensors; see mg.norm")
    return reduce.norm(x, ord, axis, keepdims)


def _clip(x: Any, a_min: Any, a_max: Any, low: Any, high: Any) -> Any:
    if (a_min is not None or a_max is not None) and (low is not None or high is not None):
        raise TypeError("np.clip: give a_min and a_max, or min and max")
    return ew.clip(x, a_min if low is None else low, a_max if high is None else high)


def _dot(a: Any, b: Any) -> Any:
    if np.ndim(tree.map(value, a)) > 2 or np.ndim(tree.map(value, b)) > 2:
        raise TypeError("np.dot on Tensors of more than two axes: use mg.matmul or mg.einsum")
    return linalg.matmul(a, b) if np.ndim(tree.map(value, a)) and np.ndim(tree.map(value, b)) else ew.multiply(a, b)
