"""Functions of functions: grad, vjp, jvp, jacobian, hessian, hvp.

Arrays go in and arrays come out. The inputs are nested dicts, lists or tuples of arrays, which are Tensors while `f`
runs. A transform inside a transformed function, or one that is given Tensors, records its own backward pass, so all
transforms nest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import numpy as np

from . import modes, tape, tree
from .blame import describe
from .kernels.memory import owned
from .modes import DIFFERENTIATED, RECORD, mode
from .primitive import identity
from .tensor import Tensor, value

P = ParamSpec("P")
Function = Callable[..., Any]


def vjp(f: Function, *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """`f(*primals)` and its pullback, the vector-Jacobian product.

    Returns:
        `(y, pullback)`, or `(y, pullback, aux)` with `has_aux`, where f returns `(y, aux)`. `pullback(g)`, with g a
        tree like y, gives a tuple: the gradient of sum(g * y) for each primal. It can be called any number of times.
        If the last call says `retain_graph=False`, memory is freed while it runs.

    Raises:
        TypeError: a primal is not a floating array, or an output is not an array.
        ValueError: g does not match y.
        BackwardError: raised by the pullback where f uses, by closure, a Tensor that requires a gradient. Outside of
            every transform the results are arrays, which would lose that gradient.
    """
    return pulled_back(f, primals, has_aux=has_aux)


def pulled_back(
    f: Function,
    primals: tuple[Any, ...],
    *,
    given: Any = None,
    has_aux: bool = False,
    closed: bool = True,
    own: bool = True,
    wide: bool = False,
) -> tuple[Any, ...]:
    """What `vjp` returns.

    Args:
        given: all arguments of the user's call, where these are more than the primals.
        closed: as in `tape.backprop`.
        own: make the gradients arrays that the caller may change. Otherwise they may share memory with one another and
            with what f was given, and are only to be read.
        wide: the pullback takes and gives gradients of float16 in float32, as the rule of an operation does.
    """
    outer = modes.flags.get()
    # Differentiable in turn: inside another transform, or when called with recorded Tensors.
    nested = bool(outer & RECORD) and (bool(outer & DIFFERENTIATED) or requires_grad((primals, given)))
    closed = closed and bool(outer & RECORD) and not nested
    inputs = tuple(traced(p, f"{name_of(f)}: argument {i}") for i, p in enumerate(primals))
    with mode(RECORD | DIFFERENTIATED):
        y = f(*inputs)
    aux = None
    if has_aux:
        if type(y) is not tuple or len(y) != 2:
            raise TypeError(f"{name_of(f)} should return (y, aux) under has_aux, got {describe(y)}")
        y, aux = y
    for path, leaf in tree.items(y):
        if not isinstance(leaf, (Tensor, np.ndarray, np.generic, float, int)):
            raise TypeError(f"{name_of(f)} should return arrays, got {describe(leaf)} at {path or 'the top'}")
    outputs = tree.leaves(y)
    leaves = [t for x in inputs for t in tree.leaves(x)]
    number = {t.node: k for k, t in enumerate(leaves)}
    targets = frozenset(number)

    def pullback(g: Any, *, retain_graph: bool = True, ready: Callable[[int, Any], None] | None = None) -> Any:
        cotangents = g if wide else tree.map(_cotangent, y, g)
        create = nested or requires_grad(cotangents)
        roots = [
            (t.node, _tensor(c) if create else _array(c))
            for t, c in zip(outputs, tree.leaves(cotangents), strict=True)
            if type(t) is Tensor and t.node is not None
        ]
        found = tape.backprop(
            roots, targets, closed=closed, retain_graph=retain_graph or create, create_graph=create, wide=wide,
            ready=None if ready is None else lambda node, g: ready(number[node], g),
        )  # fmt: skip
        grads = [found[t.node] if t.node in found else np.zeros(t.shape, t.dtype) for t in leaves]
        if create:
            grads = [*map(_tensor, grads)]
        elif own:
            grads = owned(grads, {id(c) for _, c in roots})
        return tree.unflatten(inputs, grads)

    out = tree.map(_tensor if nested else _array, y)
    if not has_aux:
        return out, pullback
    return out, pullback, aux if nested else tree.map(_array, aux)


def value_and_grad(
    f: Callable[P, Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[P, tuple[Any, Any]]:
    """A function that returns `(value, gradients)` of the scalar `f`, or `((value, aux), gradients)` with `has_aux`.

    Args:
        argnums: which positional arguments to differentiate; a tuple gives a tuple of gradients.
        has_aux: f returns `(value, aux)`; no gradient is taken of aux.

    The gradients are trees like the arguments: arrays of the arguments' shapes and dtypes, zero where f does not depend
    on them. TypeError is raised unless f returns one floating number.
    """
    numbers = tuple(argnums) if isinstance(argnums, (tuple, list)) else (argnums,)

    @functools.wraps(f)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Any:
        y, pullback, aux = _vjp_at(f, numbers, args, kwargs, has_aux=has_aux)
        one_number(name_of(f), y)
        grads = pullback(np.ones((), y.dtype), retain_graph=False)
        return ((y, aux) if has_aux else y), (grads if isinstance(argnums, (tuple, list)) else grads[0])

    return wrapped


def grad(f: Callable[P, Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable[P, Any]:
    """A function that returns the gradient of the scalar function `f`; with `has_aux`, `(gradient, aux)`.

    See `value_and_grad`.
    """
    both = value_and_grad(f, argnums, has_aux)

    @functools.wraps(f)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Any:
        value, grads = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return wrapped


def jvp(f: Function, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    """`f(*primals)` and the Jacobian-vector product, the derivative of f along `tangents`.

    The pullback g -> J^T g is linear, so its own pullback is v -> J v: two backward passes make a forward one.
    """
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise TypeError("jvp: primals and tangents should be tuples, of f's arguments and of a direction for each")
    if len(primals) != len(tangents):
        raise ValueError(f"jvp: {len(primals)} primals but {len(tangents)} tangents")
    y, pullback = vjp(f, *primals)
    for path, leaf in tree.items(y):
        if leaf.dtype.kind != "f":
            where = path or "the top"
            raise TypeError(f"jvp: {name_of(f)} should return floating arrays, got {describe(leaf)} at {where}")
    tangents = tree.map(lambda x, v: _cotangent(x, v, "jvp"), tree.map(_array, tuple(primals)), tuple(tangents))
    zeros = tree.map(lambda a: np.zeros(a.shape, a.dtype), y)
    # The pullback uses the primals, which come from outside of it: the walk may meet them.
    _, push = pulled_back(pullback, (zeros,), given=primals, closed=False)
    return y, push(tangents)[0]


def hvp(f: Function, x: Any, v: Any) -> Any:
    """The Hessian of the scalar function `f` at the tree `x`, times the tree `v`: the gradient of `<grad f(x), v>`."""
    try:
        _, pullback = vjp(grad(f), x)
    except (TypeError, AttributeError, ValueError) as error:
        if type(x) is tuple and len(x) == 1:
            raise TypeError(f"hvp: {name_of(f)} takes x as one argument: write hvp(f, x, v), not (x,)") from error
        raise
    return pullback(v)[0]  # the Hessian is symmetric, H^T v = H v


def jacobian(f: Callable[P, Any], argnums: int | tuple[int, ...] = 0) -> Callable[P, Any]:
    """A function that returns the Jacobian of `f`: for arrays, an array of shape `(*f(x).shape, *x.shape)`.

    For trees, a tree like f's result that holds at each leaf a tree like the argument. One backward pass for each entry
    of the result.
    """
    numbers = tuple(argnums) if isinstance(argnums, (tuple, list)) else (argnums,)

    @functools.wraps(f)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Any:
        y, pullback, _ = _vjp_at(f, numbers, args, kwargs)
        outputs = tree.leaves(y)
        chosen = tuple(args[n] for n in numbers)

        def rows(k: int) -> Any:
            """The gradients of every entry of output k, stacked."""
            pulled = []
            for i in range(outputs[k].size):
                cotangents = [np.zeros(a.shape, a.dtype) for a in outputs]
                cotangents[k].flat[i] = 1
                pulled.append(tree.leaves(pullback(tree.unflatten(y, cotangents))))
            shape = outputs[k].shape
            inputs = [np.asarray(_array(x)) for x in tree.leaves(chosen)]
            if pulled:
                columns = zip(inputs, zip(*pulled, strict=True), strict=True)
                stacked: list[Any] = [stack(column).reshape((*shape, *x.shape)) for x, column in columns]
            else:
                stacked = [np.zeros((*shape, *x.shape), x.dtype) for x in inputs]
            grads = tree.unflatten(chosen, stacked)
            return grads if isinstance(argnums, (tuple, list)) else grads[0]

        return tree.unflatten(y, [rows(k) for k in range(len(outputs))])

    return wrapped


def hessian(f: Callable[P, Any], argnums: int = 0) -> Callable[P, Any]:
    """A function that returns the matrix of second derivatives of the scalar function `f`: `(*x.shape, *x.shape)`."""
    return jacobian(grad(f, argnums), argnums)


# ---------------------------------------------------------------- helpers


def _vjp_at(f: Function, numbers: tuple[int, ...], args: Any, kwargs: Any, *, has_aux: bool = False) -> Any:
    """(y, pullback, aux) of f as a function of the positional arguments `numbers`."""
    if any(not isinstance(n, (int, np.integer)) for n in numbers):
        raise TypeError(f"{name_of(f)}: argnums should be the numbers of positional arguments, from 0, got {numbers}")
    if any(not -len(args) <= n < len(args) for n in numbers):
        by_name = f", and {', '.join(kwargs)} by name: give by position what is differentiated" if kwargs else ""
        raise ValueError(
            f"{name_of(f)}: argnums {numbers} is out of range, {len(args)} arguments came{by_name}"
        )
    if len({n % len(args) for n in numbers}) < len(numbers):
        raise ValueError(f"{name_of(f)}: argnums {numbers} names an argument twice")

    def of_chosen(*chosen: Any) -> Any:
        filled = list(args)
        for n, x in zip(numbers, chosen, strict=True):
            filled[n] = x
        return f(*filled, **kwargs)

    of_chosen.__name__ = name_of(f)
    chosen = tuple(args[n] for n in numbers)
    out = pulled_back(of_chosen, chosen, given=(args, kwargs), has_aux=has_aux)
    return out if has_aux else (*out, None)


def requires_grad(values: Any) -> bool:
    """Whether some leaf of a tree is a Tensor that requires a gradient."""
    return any(type(x) is Tensor and x.node is not None for x in tree.leaves(values))


def one_number(name: str, y: Any) -> None:
    """TypeError unless y, which the function `name` returned, is a floating array or Tensor of shape ()."""
    if not isinstance(y, (np.ndarray, Tensor)) or y.shape != () or y.dtype.kind != "f":
        hint = "; under has_aux=True it returns (number, aux)" if type(y) is tuple else ""
        raise TypeError(f"{name} should return one floating number, got {describe(y)}{hint}")


def traced(primal: Any, what: str) -> Any:
    """The tree with a Tensor at a new node for each leaf. The transform differentiates with respect to these nodes."""

    def leaf_of(leaf: Any) -> Tensor:
        array = value(leaf)
        if np.asarray(array).dtype.kind != "f":
            path = next(path for path, x in tree.items(primal) if x is leaf)
            where = f"{what}{' at ' + path if path else ''}"
            raise TypeError(f"{where} should be a floating array to be differentiated, got {describe(leaf)}")
        if type(leaf) is Tensor and leaf.node is not None:
            with mode(RECORD):
                return identity(leaf)
        return Tensor(array, requires_grad=True)

    return tree.map(leaf_of, primal)


def _cotangent(y: Any, g: Any, who: str = "pullback") -> Any:
    shape, dtype = np.shape(_array(y)), getattr(y, "dtype", None)
    if np.shape(_array(g)) != shape:
        raise ValueError(f"{who}: expected an array of shape {shape}, got {describe(g)}")
    if type(g) is Tensor:
        return g if g.dtype == dtype else g.astype(dtype)
    return np.asarray(g, dtype)


def _array(x: Any) -> Any:
    x = value(x)
    return np.asarray(x) if isinstance(x, (np.generic, float, int)) else x


def _tensor(x: Any) -> Any:
    return x if type(x) is Tensor else Tensor(x)


def name_of(f: Any) -> str:
    return getattr(f, "__name__", type(f).__name__)


from .ops import stack  # noqa: E402
