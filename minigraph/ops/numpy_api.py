"""What NumPy's own functions do when they are given a Tensor.

1. One that an operation stands for does what that operation does. The operation says so where it is defined:

    @implements(np.tanh)
    @primitive
    def tanh(x): ...

2. One whose result has no gradient, `CONSTANTS` and `PREDICATES`, reads the arrays and returns arrays.
3. Any other is NumPy's own on the arrays of Tensors that require no gradient, and what it returns in real numbers
   becomes Tensors. Of a Tensor that requires one it is a TypeError, which says why and what to write: `REFUSED`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from .. import tree
from ..tensor import Tensor, value

F = TypeVar("F", bound=Callable[..., Any])

# For each of NumPy's functions our own, and how many parameters have the same place in both.
_OURS: dict[Callable[..., Any], tuple[Callable[..., Any], int | None]] = {}


def implements(*functions: Callable[..., Any], positional: int | None = None) -> Callable[[F], F]:
    """Decorator: the operation is what these functions of NumPy do when they are given a Tensor.

    Args:
        positional: how many of NumPy's first parameters are in the places of ours. Those that are given by position
            behind them (dtype, out) are passed on by name.
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

# These return bools, ints, shapes, positions, text, arrays of one number or nothing, so no gradient is lost.
CONSTANTS = {
    np.all, np.allclose, np.any, np.argmax, np.argmin, np.argpartition, np.argsort, np.argwhere, np.array2string,
    np.array_equal, np.array_equiv, np.array_repr, np.array_str, np.can_cast, np.common_type, np.count_nonzero,
    np.diag_indices_from, np.digitize, np.einsum_path, np.empty_like, np.flatnonzero, np.isclose, np.iscomplex,
    np.iscomplexobj, np.isin, np.isneginf, np.isposinf, np.isreal, np.isrealobj, np.ix_, np.lexsort,
    np.linalg.matrix_rank, np.may_share_memory, np.min_scalar_type, np.nanargmax, np.nanargmin, np.ndim, np.nonzero,
    np.ones_like, np.ravel_multi_index, np.result_type, np.save, np.savetxt, np.savez, np.savez_compressed,
    np.searchsorted, np.shape, np.shares_memory, np.size,
    np.tril_indices_from, np.triu_indices_from, np.unravel_index, np.zeros_like,
}  # fmt: skip

# What a ufunc's reduce and accumulate are along an axis.
REDUCTIONS = {np.add: "sum", np.multiply: "prod", np.maximum: "max", np.minimum: "min", np.logaddexp: "logsumexp"}
ACCUMULATIONS = {np.add, np.multiply, np.maximum, np.minimum, np.fmax, np.fmin, np.logaddexp, np.logaddexp2}

_WRITES = "it writes into an array, and a Tensor is not assigned to in place: use "
_PICKS = "its result is a set of values without a fixed shape: use mg.unique, or an index, as in t[np.isin(t, u)]"
_CALLS = "it calls a function on slices, of which NumPy makes an ndarray: use "
_POLYNOMIAL = "polynomials are not among the operations: write a sum of powers, as in mg.sum(c * x[:, None] ** k, 1)"
_COUNTS = "counts are piecewise constant, and bins that depend on the data have no rule: use mg.scatter_add of weights"
_COMPLEX = "complex numbers come in or out, and Tensors hold real ones: use mg.rfft and mg.irfft"
_WINDOWS = "it is a view of memory: use an index, as in t[i[:, None] + np.arange(n)]"

IN_PLACE = ("copyto", "fill_diagonal", "place", "put", "put_along_axis", "putmask")

# Why a function is not defined on Tensors that require a gradient, and what to write instead, by its name.
REFUSED = {
    **dict.fromkeys(IN_PLACE, _WRITES + "mg.where, or mg.scatter_add"),
    **dict.fromkeys(("intersect1d", "setdiff1d", "setxor1d", "union1d", "unique_all", "unique_counts", "unique_inverse",
                     "unique_values"), _PICKS),
    **dict.fromkeys(("apply_along_axis", "apply_over_axes", "piecewise"), _CALLS + "mg.stack, mg.select or mg.where"),
    **dict.fromkeys(("poly", "polyadd", "polyder", "polydiv", "polyfit", "polyint", "polymul", "polysub", "polyval",
                     "roots", "vander"), _POLYNOMIAL),
    **dict.fromkeys(("bincount", "histogram", "histogram2d", "histogram_bin_edges", "histogramdd"), _COUNTS),
    **dict.fromkeys(("as_strided", "sliding_window_view"), _WINDOWS),
    **dict.fromkeys(("nanmedian", "nanpercentile", "nanquantile"),
                    "the number of entries differs from place to place: use mg.quantile of t[~np.isnan(t)]"),
    **dict.fromkeys(("nextafter", "spacing"), "it is about the grid of floating numbers: pass t.detach()"),
    **dict.fromkeys(("eig", "eigvals"),
                    "its result may be complex, and Tensors hold real numbers: use mg.eigh of a symmetric matrix, "
                    "mg.svdvals, or functions of a matrix, as mg.det, mg.trace and mg.expm"),
    **dict.fromkeys(("fft", "fft2", "fftn", "hfft", "ifft", "ifft2", "ifftn", "ihfft", "irfft", "irfft2", "irfftn",
                     "rfft", "rfft2", "rfftn"),
                    _COMPLEX),
    "frexp": "its exponent is an int: use mg.log2, or pass t.detach()",
    "geomspace": "its sign may turn on the way: use mg.exp of mg.linspace",
    "i0": "the Bessel function has no rule: define it with mg.primitive",
    "resize": "it repeats entries at will: use mg.tile, mg.pad or mg.reshape",
    "sort_complex": "its result is complex, and Tensors hold real numbers: use mg.sort",
    "trim_zeros": "its shape depends on the entries: use an index, as in t[first:last]",
}  # fmt: skip


def numpy_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Tensor.__array_ufunc__."""
    out = kwargs.get("out")
    kwargs = {k: v for k, v in kwargs.items() if v is not None or k not in ("out", "dtype")}
    if ufunc in PREDICATES and out is None:
        return getattr(ufunc, method)(*map(_arrays, inputs), **_arrays(kwargs))
    refusal: Exception | None = None
    if out is not None:
        if any(type(array) is Tensor for array in out):
            raise TypeError(f"np.{ufunc.__name__}: out= takes no Tensor, which is not assigned to in place")
    elif ufunc in _OURS:
        call = _METHODS.get(method)
        try:
            if call is not None:
                return call(ufunc, *inputs, **kwargs)
        except (TypeError, ValueError) as error:
            refusal = error
    if _traced((inputs, kwargs)):
        raise refusal or TypeError(_why_not(ufunc, method, kwargs))
    return _numpys_own(getattr(ufunc, method), inputs, kwargs, refusal)


def _call(ufunc: np.ufunc, *inputs: Any, dtype: Any = None, **kwargs: Any) -> Any:
    ours = _OURS[ufunc][0]
    if not kwargs and dtype is None:
        return ours(*inputs)
    if kwargs:
        _drop(kwargs, _OF_UFUNCS)
        unknown = [k for k in kwargs if k not in inspect.signature(ours).parameters]
        if unknown:
            why = ": what it leaves out would have no value. Use mg.where" if "where" in unknown else ""
            raise TypeError(f"np.{ufunc.__name__} on a Tensor takes no {', '.join(unknown)}={why}")
    from .. import ops

    return ours(*(inputs if dtype is None else [ops.astype(x, dtype) for x in inputs]), **kwargs)


def _reduce(
    ufunc: np.ufunc, x: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False, **kwargs: Any
) -> Any:
    if ufunc not in REDUCTIONS or out is not None:
        raise TypeError(_why_not(ufunc, "reduce", kwargs))
    from .. import ops

    kwargs = {k: v for k, v in kwargs.items() if v is not np._NoValue and not (k == "where" and v is True)}
    if dtype is not None:
        x = ops.astype(x, dtype)
    return getattr(ops, REDUCTIONS[ufunc])(x, axis, keepdims, **kwargs)


def _accumulate(ufunc: np.ufunc, x: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
    if ufunc not in ACCUMULATIONS or out is not None:
        raise TypeError(_why_not(ufunc, "accumulate", {}))
    from .. import ops

    x, name = ops.astype(x, dtype) if dtype is not None else x, f"np.{ufunc.__name__}.accumulate"
    if ufunc is np.add:
        return ops.cumsum(x, axis)
    return ops.cumprod(x, axis) if ufunc is np.multiply else ops.cumulative.running(_OURS[ufunc][0], x, axis, name)


def _outer(ufunc: np.ufunc, a: Any, b: Any, **kwargs: Any) -> Any:
    from .. import ops

    shape = (*np.shape(_arrays(a)), *[1] * np.ndim(_arrays(b)))
    return _call(ufunc, ops.reshape(a, shape), b, **kwargs)


_METHODS: dict[str, Callable[..., Any]] = {
    "__call__": _call, "reduce": _reduce, "accumulate": _accumulate, "outer": _outer,
}  # fmt: skip


def _why_not(ufunc: np.ufunc, method: str, kwargs: dict[str, Any]) -> str:
    name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
    if "out" in kwargs:
        return (
            f"np.{name}(..., out=array) and in-place operators put no Tensor into an array: write y = np.{name}(...), "
            f"or give it the Tensor's array, as in w.data -= lr * w.grad.data"
        )
    if method != "__call__":
        use = {"at": "mg.scatter_add", "reduceat": "reductions of slices, as t[i:j].sum()"}
        return (
            f"np.{name} is not defined on Tensors that require a gradient: "
            f"use {use.get(method, f'np.{ufunc.__name__} of slices, or another operation of minigraph')}"
        )
    return (
        f"np.{name} has no rule for Tensors: {REFUSED.get(name, 'it is not among the operations of minigraph')}. "
        f"Define one with mg.primitive, or apply it to t.detach() if no gradient should go through it"
    )


def numpy_function(f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Tensor.__array_function__."""
    if f in CONSTANTS:
        return f(*_unwritten(f, args, kwargs), **_arrays(kwargs))
    traced = _traced((args, kwargs))
    refusal: Exception | None = None
    if f in _OURS:
        try:
            return _called(f, args, kwargs)
        except (TypeError, ValueError) as error:
            if traced:
                raise
            refusal = error
    elif f.__name__ in IN_PLACE and any(type(x) is Tensor and (x.requires_grad or i == 0) for i, x in enumerate(args)):
        raise TypeError(f"{_name(f)} on a Tensor: {REFUSED[f.__name__]}, or write into its array, t.data")
    elif traced:
        why = REFUSED.get(f.__name__, "it is not among the operations of minigraph")
        if f.__module__.endswith("scimath"):
            why = f"its result may be complex, and Tensors hold real numbers: use np.{f.__name__}"
        raise TypeError(
            f"{_name(f)} is not defined on Tensors that require a gradient: {why}. Without one, apply it to t.detach()"
        )
    return _numpys_own(f, _unwritten(f, args, kwargs), kwargs, refusal)


# Keywords that say nothing at these values; of a ufunc there are more. Tensors have no subclasses.
_DEFAULTS: dict[str, tuple[Any, ...]] = {
    "out": (None,), "dtype": (None,), "casting": ("same_kind",), "subok": (True, False),
}  # fmt: skip
_OF_UFUNCS: dict[str, tuple[Any, ...]] = {**_DEFAULTS, "where": (True,), "order": ("K",)}


def _drop(kwargs: dict[str, Any], defaults: dict[str, tuple[Any, ...]]) -> None:
    for name, says_nothing in defaults.items():
        if type(kwargs.get(name, ...)) in (type(None), bool, str) and kwargs[name] in says_nothing:
            del kwargs[name]


def _called(f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What our function makes of the arguments of NumPy's."""
    ours, positional = _OURS[f]
    kwargs = {k: v for k, v in kwargs.items() if v is not np._NoValue}
    if positional is not None and len(args) > positional:
        kwargs.update(zip(_parameters(f)[positional:], args[positional:], strict=False))
        args = args[:positional]
    if kwargs:
        _drop(kwargs, _DEFAULTS)
        if "out" in kwargs:
            raise TypeError(
                f"{_name(f)}(..., out=array) puts no Tensor into an array, which would lose its gradient: write "
                f"y = {_name(f)}(...)"
            )
        known = inspect.signature(ours).parameters
        for name in _parameters(f)[len(args) :]:  # NumPy's names of what we call otherwise
            if name in known or name not in kwargs:
                break
            args = (*args, kwargs.pop(name))
    try:
        return ours(*args, **kwargs)
    except TypeError:
        try:
            inspect.signature(ours).bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{_name(f)} on a Tensor: {error}; it takes {inspect.signature(ours)}") from None
        raise


def _unwritten(f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The arguments as arrays. TypeError where the one into which f would write its result is a Tensor."""
    given = zip(args[1:], _parameters(f)[1:], strict=False) if any(type(x) is Tensor for x in args[1:]) else ()
    if type(kwargs.get("out")) is Tensor or any(type(x) is Tensor and name == "out" for x, name in given):
        raise TypeError(f"{_name(f)}: out= takes no Tensor, which is not assigned to in place")
    return _arrays(args)


def _parameters(f: Callable[..., Any]) -> list[str]:
    """The names of the parameters of NumPy's function; none where it is written in C and does not say."""
    try:
        return [*inspect.signature(f).parameters]
    except ValueError:
        return []


def _name(f: Callable[..., Any]) -> str:
    return f"{f.__module__.replace('numpy', 'np', 1)}.{f.__name__}"


def _arrays(x: Any) -> Any:
    """A nest of lists, tuples and dicts with arrays in the place of Tensors."""
    return tree.map(value, x)


def _traced(x: Any) -> bool:
    """Whether a Tensor in the nest requires a gradient."""
    return any(type(leaf) is Tensor and leaf.requires_grad for leaf in tree.leaves(x))


def _numpys_own(f: Callable[..., Any], args: Any, kwargs: dict[str, Any], refusal: Exception | None) -> Any:
    """f of the arrays, as Tensors. Where it fails too, our error says more about it."""
    try:
        y = f(*_arrays(args), **_arrays(kwargs))
    except (TypeError, ValueError) as error:
        raise refusal or error from None
    return y if "out" in kwargs else _wrapped(y)


def _wrapped(x: Any) -> Any:
    """The result with Tensors in the place of arrays of real numbers; bools, text and complex numbers as they are."""
    return tree.map(lambda v: Tensor(v) if _is_real(v) else v, x)


def _is_real(x: Any) -> bool:
    return isinstance(x, (np.ndarray, np.generic)) and x.dtype.kind in "fiu" and x.dtype.itemsize <= 8
