"""What NumPy's own functions do when they are given a Tensor: the minigraph operation, or a TypeError that names it.

An operation says which of NumPy's functions it stands for where it is defined:

    @implements(np.tanh)
    @primitive
    def tanh(x): ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from .. import tree
from ..tensor import Tensor, value

F = TypeVar("F", bound=Callable[..., Any])

# For each of NumPy's functions our own, and how many arguments may be given to it by position.
_OURS: dict[Callable[..., Any], tuple[Callable[..., Any], int | None]] = {}


def implements(*functions: Callable[..., Any], positional: int | None = None) -> Callable[[F], F]:
    """Decorator: the operation is what these functions of NumPy do when they are given a Tensor.

    Args:
        positional: how many arguments may be given by position, where NumPy's next ones (dtype, out) are not ours.
    """

    def register(ours: F) -> F:
        for f in functions:
            _OURS[f] = ours, positional
        return ours

    return register


# These return bools, so no gradient is lost.
PREDICATES = {
    np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal, np.isfinite, np.isinf, np.isnan,
    np.signbit, np.logical_and, np.logical_or, np.logical_not, np.logical_xor,
}  # fmt: skip

REDUCTIONS = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min"}

# These return shapes, sizes or positions, so no gradient is lost.
CONSTANTS = {
    np.shape, np.ndim, np.size, np.argmax, np.argmin, np.argsort, np.zeros_like, np.ones_like, np.empty_like,
    np.isclose, np.allclose, np.array_equal, np.count_nonzero, np.nonzero, np.any, np.all,
    np.result_type, np.array_repr, np.array_str, np.array2string, np.argwhere, np.searchsorted, np.iscomplexobj,
}  # fmt: skip

# For the messages: what to write in place of functions of other names.
INSTEAD = {
    "concatenate": "append block column_stack dstack hstack vstack", "cumsum": "cumulative_sum",
    "einsum": "diagonal trace", "exp": "cosh sinh",
    "flip": "fliplr flipud", "log": "log2 log10", "logsumexp": "logaddexp", "max": "amax",
    "maximum": "fmax", "mean": "average", "min": "amin", "minimum": "fmin",
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
            f"np.{name}(..., out=array) and in-place operators put no Tensor into an array: write y = np.{name}(...), "
            f"or give it the Tensor's array, as in w.data -= lr * w.grad.data"
        )
    if ufunc in _OURS:
        if kwargs:
            raise TypeError(f"np.{name} on a Tensor takes no {', '.join(kwargs)}=: use mg.where, or astype")
        return _OURS[ufunc][0](*inputs)
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
    if f not in _OURS:
        raise TypeError(
            f"{name} is not defined on Tensors: use operations of minigraph ({_instead(f.__name__)}), or t.numpy() of "
            f"a Tensor outside the graph"
        )
    ours, positional = _OURS[f]
    if positional is not None and len(args) > positional:
        raise TypeError(f"{name} on a Tensor: give keepdims= and ddof= by name, dtype and out are not supported")
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
