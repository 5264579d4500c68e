"""`primitive`: a function on arrays, and beside it the rule of its vector-Jacobian product.

    @primitive
    def tanh(x):
        return np.tanh(x)

    @tanh.vjp
    def _(g, y, _x):              # d tanh = 1 - tanh^2
        return g * (1 - y * y)

A rule takes the gradient `g` of the output, the output `y`, and the forward's own arguments, and returns the gradient
of each positional argument: an array, a thunk (run only if that gradient is needed), or None for zero; one alone, or a
tuple. It is written in operators and minigraph's own functions: handed arrays it computes, handed Tensors it records,
so one rule serves every order of derivative. An argument (or `y`) that the rule names with a leading underscore is not
kept for the backward pass: the rule gets a stand-in that has only its shape and dtype.

Gradients that share work can come as one function instead of a tuple: it takes a list of bools, which of them are
needed, and returns the tuple.

A rule with a keyword argument `out=None` gets g itself as `out` where nothing else needs g, and may write its result
over it: no memory is fresher in the cache.

A forward that returns `(value, saved)` hands `saved` to its rule as the keyword argument `saved`. Since nothing can be
differentiated through `saved`, such a primitive may name a `composite`: the same function in other operations, which
derivatives of higher order go through.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np

from . import tape
from .tape import ANOMALY, RECORD, Node, next_id, user_frame
from .tensor import Tensor

_REGISTRY: dict[str, Primitive] = {}
_new = object.__new__
_mode = tape.flags.get
_F64 = np.dtype(np.float64)
_F32 = np.dtype(np.float32)
_NUMPY_ERRORS = (TypeError, ValueError, IndexError)  # for operands that do not fit


class Primitive:
    """A differentiable function; call it with arrays (arrays come back) or Tensors (a recorded Tensor comes back)."""

    def __init__(self, forward: Callable[..., Any], name: str | None = None):
        if not isinstance(forward, FunctionType):
            raise TypeError(f"primitive: expected a Python function (def), got {forward!r}")
        self.forward = forward
        self.name = name or forward.__name__.lstrip("_")  # _pad is what the public pad calls
        self.__name__ = self.name
        self.__doc__ = forward.__doc__
        self.__module__ = forward.__module__
        self.__wrapped__ = forward  # what inspect.signature reads
        code = forward.__code__
        self.names = code.co_varnames[: code.co_argcount]  # of the positional arguments
        self.rule: Callable[..., Any] = self._no_rule
        self.dropped: tuple[int, ...] = ()  # positional arguments whose arrays the rule does not need
        self.drops_rest = False  # the same for *args
        self.drops = False  # either, and no composite that would need all of them
        self.keeps_y = True
        self.overwrites = False  # the rule can write over its g
        self.narrows = True  # results are held to the width of the inputs, see _narrow
        self.composite: Callable[..., Any] | None = None

    def vjp(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Decorator: register `rule(g, y, *args, **kwargs)`. Raises TypeError where it does not mirror the forward."""
        code, forward = rule.__code__, self.forward.__code__
        names = code.co_varnames[: code.co_argcount]
        args, wanted = names[2:], self.names
        same = tuple(n.removeprefix("_") for n in args) == wanted
        same &= bool(code.co_flags & 4) == bool(forward.co_flags & 4)  # *args in both or neither
        same &= rule.__defaults__ == self.forward.__defaults__
        given, asked = _keywords(self.forward), _keywords(rule)
        own = {"saved", "out"} & (asked.keys() - given.keys())  # of the rule alone
        if not (code.co_flags | forward.co_flags) & 8:  # neither has **kwargs
            same &= {n: default for n, default in asked.items() if n not in own} == given
        if not same:
            raise TypeError(
                f"the rule of {self.name} should take (g, y) and then the forward's own arguments with their defaults, "
                f"{inspect.signature(self.forward)}, got {inspect.signature(rule)}"
            )
        self.rule = rule
        self.keeps_y = not names[1].startswith("_")
        self.overwrites = "out" in own
        self.dropped = tuple(i for i, n in enumerate(args) if n.startswith("_"))
        if code.co_flags & 4:
            self.drops_rest = code.co_varnames[code.co_argcount + code.co_kwonlyargcount][0] == "_"
        self.drops = bool(self.dropped or self.drops_rest) and self.composite is None
        return rule

    def define_composite(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """Decorator: register the same function as a composite of other operations, for higher orders."""
        self.composite = f
        self.drops = False
        return f

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._apply(*args, **kwargs)

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        """The call itself. Operators of Tensor come here directly; `user_frame` skips them as it does `__call__`."""
        values: list[Any] = []
        parents: list[Node | None] = []
        tensors = traced = False
        for a in args:
            if type(a) is Tensor:
                node = a.node
                tensors = True
                if node is not None:
                    traced = True
                values.append(a.data)
                parents.append(node)
            else:
                values.append(a)
                parents.append(None)
        if kwargs:
            for v in kwargs.values():
                if type(v) is Tensor:
                    return self(*self._positional(args, kwargs), **kwargs)
        try:
            y = self.forward(*values, **kwargs) if kwargs else self.forward(*values)
        except _NUMPY_ERRORS as error:
            if type(error).__module__.partition(".")[0] not in ("builtins", "numpy"):
                raise  # the user's own type
            raise self._forward_error(error, values, kwargs) from error
        if type(y) is not np.ndarray:
            if type(y) is tuple:
                if len(y) != 2:
                    raise TypeError(f"{self.name}: expected an array or (array, saved), got {len(y)} values")
                y, kwargs["saved"] = y
            if not isinstance(y, (np.ndarray, np.generic)):
                y = np.asarray(y)
        dtype = y.dtype
        if dtype is _F64 and self.narrows:
            y = _narrow(y, values)
            dtype = y.dtype
        elif dtype is not _F32 and dtype.kind != "f" and (traced or dtype.kind not in "iub"):
            raise TypeError(f"{self._shown(values, kwargs)}: the result would be {dtype}, which has no gradient")
        if not tensors:
            return y
        if type(y) is not np.ndarray:
            y = np.asarray(y)
        out = _new(Tensor)
        out.data = y
        out.node = None
        mode = _mode()
        if traced and mode & RECORD:
            out.node = node = _new(Node)  # slot by slot: in half the time of Node(...)
            node.id = next_id()
            node.op = self
            node.shape = y.shape
            node.dtype = dtype
            node.parents = parents
            node.args = values
            node.kwargs = kwargs or None
            node.y = y if self.keeps_y else None
            node.call = user_frame()
            if mode & ANOMALY:
                tape.check_forward(node, y, values)
            if self.drops:
                self._drop(values, parents)
            if mode & ANOMALY:
                tape.remember(node)
        elif mode & ANOMALY:
            node = Node(self, y.shape, dtype, parents, values, kwargs, None, user_frame())
            tape.check_forward(node, y, values)
        return out

    def _drop(self, values: list[Any], parents: list[Node | None]) -> None:
        """Put nodes in the place of arrays that the rule does not need."""
        for i in self.dropped:
            if i < len(values) and parents[i] is not None:
                values[i] = parents[i]
        if self.drops_rest:
            for i in range(len(self.names), len(values)):
                if parents[i] is not None:
                    values[i] = parents[i]

    def pull_tensors(self, node: Node, g: Any) -> Any:
        """The rule on Tensors that know where they come from, so that its result is differentiable in turn."""
        args = [
            Tensor.of(a, p) if p is not None and not isinstance(a, Node) else a
            for a, p in zip(node.args, node.parents, strict=True)
        ]
        if self.composite is not None:
            kwargs = {k: v for k, v in (node.kwargs or {}).items() if k != "saved"}
            # Fresh nodes, so that the walk through the composite ends at its own inputs.
            inputs = [
                identity(a) if p is not None else a for a, p in zip(args, node.parents, strict=True)
            ]
            y = self.composite(*inputs, **kwargs)
            targets = [a.node if p else None for a, p in zip(inputs, node.parents, strict=True)]
            wanted = frozenset(t for t in targets if t is not None)
            grads = tape.backprop([(y.node, g)], wanted, retain_graph=True, create_graph=True)
            return tuple(grads.get(t) if t is not None else None for t in targets)
        y = node if node.y is None else Tensor.of(node.y, node)
        return self.rule(g, y, *args, **(node.kwargs or {}))

    def _positional(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """`args` and the keyword arguments that can be positional, in order; the latter leave `kwargs`."""
        defaults = dict(zip(reversed(self.names), reversed(self.forward.__defaults__ or ()), strict=False))
        bound = list(args)
        last = max((i for i, n in enumerate(self.names) if n in kwargs), default=-1)
        for name in self.names[len(args) : last + 1]:
            if name not in kwargs and name not in defaults:
                raise TypeError(f"{self.name}: argument {name!r} is missing")
            bound.append(kwargs.pop(name) if name in kwargs else defaults[name])
        for name, v in kwargs.items():
            if type(v) is Tensor:
                raise TypeError(
                    f"{self.name}: {name}= takes no Tensor, no gradient goes through it; pass {name}.data if none is to"
                )
        return bound

    def _forward_error(self, error: Exception, values: list[Any], kwargs: Any) -> Exception:
        kind = next(k for k in _NUMPY_ERRORS if isinstance(error, k))
        return kind(f"{self._shown(values, kwargs)}: {str(error).removeprefix(self.name + ': ')}")

    def _shown(self, values: list[Any], kwargs: Any) -> str:
        shown = [tape.describe(v) for v in values]
        shown += [f"{k}={tape.describe(v)}" for k, v in kwargs.items()]
        return f"{self.name}({', '.join(shown)})"

    def _no_rule(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"{self.name} has no rule; register one with @{self.name}.vjp")

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"


def primitive(forward: Callable[..., Any]) -> Primitive:
    """Decorator: make `forward(*arrays, **static)` a primitive and register it; give its rule with `.vjp`.

    `forward` is handed ndarrays (and whatever else its caller passed: axes, strides) and returns an ndarray, or
    `(ndarray, saved)`. Raises ValueError for a name that another module's primitive has.
    """
    new = Primitive(forward)
    old = _REGISTRY.get(new.name)
    if old is not None and old.__module__ != new.__module__:
        raise ValueError(f"a primitive named {new.name!r} exists already, in {old.__module__}")
    _REGISTRY[new.name] = new
    return new


def primitives() -> dict[str, Primitive]:
    """Every registered primitive by name, in order of definition."""
    return dict(_REGISTRY)


def custom_vjp(f: Callable[..., Any]) -> Primitive:
    """Decorator: a function with a hand-given gradient, as a primitive is but not registered.

        @mg.custom_vjp
        def clip_gradient(x):
            return x

        @clip_gradient.vjp
        def _(g, _y, _x):
            return mg.clip(g, -1, 1)
    """
    return Primitive(f)


def _keywords(f: Callable[..., Any]) -> dict[str, Any]:
    """The keyword-only arguments and their defaults."""
    code, defaults = f.__code__, f.__kwdefaults__ or {}
    names = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    return {n: defaults.get(n, inspect.Parameter.empty) for n in names}


def _narrow(y: Any, values: list[Any]) -> Any:
    """A float64 result cast to its widest floating input: counts and numbers do not make float32 float64.

    Arrays with axes decide; where there are none, 0-d arrays do; Python and NumPy scalars never.
    """
    arrays = [v for v in values if isinstance(v, np.ndarray) and v.dtype.kind == "f"]
    deciding = [v.dtype for v in arrays if v.ndim] or [v.dtype for v in arrays]
    return y if not deciding or _F64 in deciding else y.astype(np.result_type(*deciding))


@primitive
def identity(x):
    """x itself, as a new node of the graph: any shape -> same shape."""
    return x


@identity.vjp
def _(g, _y, _x):
    return g
