"""`primitive`: a function on arrays, and beside it the rule of its vector-Jacobian product.

    @primitive
    def tanh(x):
        return np.tanh(x)

    @tanh.vjp
    def _(g, y, _x):              # d tanh = 1 - tanh^2
        return g * (1 - y * y)

A rule takes the gradient `g` of the output, the output `y`, and the forward's own arguments. It returns the gradient of
each positional argument: an array, a thunk (a function of no argument, called only if that gradient is needed), or None
for zero. A single gradient may stand alone, several come as a tuple. The rule is written in operators and minigraph's
own functions: given arrays it computes, given Tensors it records, so one rule serves every order of derivative. Where
the output is float16, `g` is float32, see `tape.backprop`.

An argument (or `y`) that the rule names with a leading underscore is not kept for the backward pass. In its place the
rule gets a stand-in that has only its shape and dtype.

A rule can ask for more by keyword arguments of its own:

- `needed`: a list of bools, which says which gradients are needed. Rules whose gradients share work take it.
- `saved`: what the forward kept for it. Such a forward returns `(value, saved)`. Nothing can be differentiated through
  floating arrays in `saved`, so for derivatives of higher order the primitive defines a composite: the same function
  made of other operations.
- `out=None`: it is g itself where nothing else needs g, and the rule may write its result over it. That saves memory,
  and the array is still in the cache. A rule writes into nothing else that it is given.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np

from . import modes, tape, tree
from .anomaly import check_unchanged, note_forward, read_only
from .blame import describe, hint, user_frame
from .kernels.memory import Needs
from .modes import ANOMALY, CHECK, RECORD, WATCH
from .tape import Node, new_node
from .tensor import ArrayLike, Tensor, refuse_foreign
from .watch import watched

P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])

_REGISTRY: dict[str, Primitive[Any]] = {}
_new = object.__new__
_flags = modes.flags.get
_READ_ONLY = ANOMALY | CHECK
_MODES = RECORD | ANOMALY | CHECK | WATCH  # those that change what a call does
_PLAIN = frozenset({np.ndarray, float, int, bool, tuple, slice, type(None), np.float32, np.float64})
_F32 = np.dtype(np.float32)
_F64 = np.dtype(np.float64)
# Arguments of these names say where and how. A node keeps copies of them, since the caller may change a list or array.
_STATIC = frozenset({"axis", "axes", "shape", "index", "condition", "ddof"})
_NUMPY_ERRORS = (np.linalg.LinAlgError, TypeError, ValueError, IndexError)  # of operands that do not fit


class Primitive(Generic[P]):
    """A differentiable function: called with arrays it returns an array, called with Tensors a recorded Tensor.

    Attributes:
        forward: the function on arrays. rule: its vector-Jacobian product. composite: None, or the same function made
            of other operations. name: what errors and drawings call it.
        parameters: the names of the forward's positional parameters.
        keeps_y: the rule reads the output. unread: the positions of the arguments whose arrays the rule does not read.
        unread_rest: the rule does not read those of *args.
        static: the positions of the arguments that say where and how, of which a node keeps copies.
        asks: which of `needed`, `saved` and `out` the rule takes.
        records_saved: the rule itself records where `saved` comes from, so that no composite is needed.
        why: None, or a function of the arguments that says in words why they do not fit, or None if it does not know.
        narrows: a result that is wider than the floating inputs is cast to their width, see `_narrow`.
        writes: the forward writes into its arguments, as a caller may ask of relu.
    """

    def __init__(self, forward: Callable[P, Any], name: str | None = None):
        if not isinstance(forward, FunctionType):
            raise TypeError(f"primitive: expected a Python function (def), got {forward!r}")
        self.forward: Callable[..., Any] = forward
        self.name = name or forward.__name__.lstrip("_")  # the primitive _pad is what the public function pad calls
        self.__name__ = self.name
        self.__doc__ = forward.__doc__
        self.__module__ = forward.__module__
        self.__wrapped__ = forward  # inspect.signature reads it
        code = forward.__code__
        self.parameters = code.co_varnames[: code.co_argcount]
        self.rule: Callable[..., Any] = self._no_rule
        self.composite: Callable[..., Any] | None = None
        self.why: Callable[..., str | None] | None = None
        self.flops: Callable[..., int] | None = None
        self.needs: Callable[..., Needs] | None = None
        self.keeps_y = True
        self.unread: tuple[int, ...] = ()
        self.unread_rest = False
        self.asks: frozenset[str] = frozenset()
        self.records_saved = False
        self.narrows = True
        self.writes = False
        self.static = tuple(i for i, name in enumerate(self.parameters) if name in _STATIC)
        self._frees_inputs = False  # neither the rule nor a composite reads all of the arguments
        self._settles = bool(self.static)  # the arguments that the node keeps are not quite those of the call
        self._takes_saved = True  # or has no rule yet

    # ------------------------------------------------------------ definition

    def vjp(self, rule: F) -> F:
        """Decorator: register `rule(g, y, *args, **kwargs)`. Raises TypeError where it does not mirror the forward."""
        if not isinstance(rule, FunctionType):
            raise TypeError(f"{self.name}.vjp: expected a Python function (def), got {rule!r}")
        given, asked = _Parameters(self.forward), _Parameters(rule)
        own = frozenset({"needed", "saved", "out"} & (asked.keywords.keys() - given.keywords.keys()))
        mirrors = (
            len(asked.positional) >= 2
            and tuple(name.removeprefix("_") for name in asked.positional[2:]) == given.positional
            and bool(asked.rest) == bool(given.rest)
            and asked.defaults == given.defaults
        )
        if not (asked.any_keywords or given.any_keywords):
            mirrors &= {k: default for k, default in asked.keywords.items() if k not in own} == given.keywords
        if not mirrors:
            raise TypeError(
                f"the rule of {self.name} should take (g, y) and then the forward's own arguments with their defaults, "
                f"{inspect.signature(self.forward)}, got {inspect.signature(rule)}"
            )
        self.rule = rule
        self.keeps_y = not asked.positional[1].startswith("_")
        self.asks = own
        self._takes_saved = "saved" in own or asked.any_keywords
        self.unread = tuple(i for i, name in enumerate(asked.positional[2:]) if name.startswith("_"))
        self.unread_rest = asked.rest.startswith("_")
        self._frees_inputs = bool(self.unread or self.unread_rest) and self.composite is None
        self._settles = bool(self.static) or self._frees_inputs
        return rule

    def define_composite(self, f: F) -> F:
        """Decorator: register the same function made of other operations, for derivatives of higher order."""
        self.composite = f
        self._frees_inputs = False
        self._settles = bool(self.static)
        return f

    def count_flops(self, f: F) -> F:
        """Decorator: register the number of floating-point operations, `f(shape, *args, **kwargs)`.

        It is that of the forward by its definition, with a multiplication and an addition as two, whatever the kernel
        does. `shape` is that of the result; of the arguments that are arrays, f may read shape and dtype only.
        """
        self.flops = f
        return f

    def count_needs(self, f: F) -> F:
        """Decorator: register the memory that the forward and the rule take meanwhile, `f(needed, *args, **kwargs)`.

        It returns a `kernels.memory.Needs`: of the forward where `needed` is None, otherwise of the rule, where it
        says which arguments need a gradient. Of arguments that are arrays, f may read shape and dtype only.
        """
        self.needs = f
        return f

    def operations(self, node: Node) -> int:
        """The floating-point operations of the forward at this node, as `count_flops` counts them, or 0."""
        if self.flops is None:
            return 0
        args = [np.asarray(a) if type(a) is list else a for a in node.args]  # a constant may be a list
        return self.flops(node.shape, *args, **(node.kwargs or {}))

    def ignores(self, i: int) -> bool:
        """Whether the rule does not read the array of argument `i`."""
        return i in self.unread or (self.unread_rest and i >= len(self.parameters))

    # ------------------------------------------------------------ call

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        """The declared type, Tensor, is right inside a transform. If no argument is a Tensor, an ndarray comes back."""
        return self._apply(*args, **kwargs)

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        """The call. `__call__` and Tensor's operators call it, so `user_frame` may skip the two innermost frames."""
        flags = _flags()
        if flags & WATCH:
            return watched(self, args, kwargs)
        values: list[Any] = []
        parents: list[Node | None] = []
        tensors = False
        traced: Any = None  # the dtype of an input that requires a gradient
        for a in args:
            if type(a) is Tensor:
                node = a.node
                tensors = True
                if node is not None:
                    traced = node.dtype
                values.append(a._array)
                parents.append(node)
            elif type(a) is list:
                values.append(_own(a))
                parents.append(None)
            else:
                values.append(a if type(a) in _PLAIN else self._plain(a))
                parents.append(None)
        if kwargs:
            for k, v in kwargs.items():
                if type(v) is Tensor:
                    return self._apply(*self._positional(args, kwargs), **kwargs)
                if type(v) is list or k in _STATIC:
                    kwargs[k] = _own(v)
        if flags & _READ_ONLY and tensors and not self.writes:
            values = read_only(values)
        try:
            y = self.forward(*values, **kwargs) if kwargs else self.forward(*values)
        except _NUMPY_ERRORS as error:
            self._explain(error, values, kwargs)
            raise
        if type(y) is not np.ndarray:
            y = self._value(y, kwargs)
        # The width of an input that requires a gradient is right without a look at the others, but for float64. So is
        # float32 that was made of float32 alone.
        if (y.dtype is not traced or traced is _F64) and (
            y.dtype is not _F32 or len(values) != 1 or kwargs or getattr(values[0], "dtype", None) is not _F32
        ):
            y = self._narrowed(y, values, kwargs, traced is not None)
        if not tensors:
            return y
        if type(y) is not np.ndarray:
            y = np.asarray(y)
        out = _new(Tensor)
        out._array = y
        out.node = None
        recorded = traced is not None and flags & RECORD
        if recorded or flags & ANOMALY:
            kept = y if self.keeps_y else None
            node = new_node(self, y, parents, values, kwargs or None, kept, user_frame(2))
            if flags & ANOMALY:
                note_forward(node, y, bool(recorded))
            if self._settles:
                if flags & CHECK:
                    node.inputs = [*values]
                self._settle(values, parents)
            if recorded:
                out.node = node
        return out

    def _binary(self, a: Any, b: Any) -> Any:
        """`_apply(a, b)` for Tensor's operators: the common case in fewer steps. What is not common goes to `_apply`.

        On an Intel Xeon the tape's benchmark took 3.4 us an operation with it, forward and backward, and 3.75 without.
        """
        x, y, left, right = a, b, None, None
        if type(a) is Tensor:
            x, left = a._array, a.node
        elif type(a) not in _PLAIN:
            return self._apply(a, b)
        if type(b) is Tensor:
            y, right = b._array, b.node
        elif type(b) not in _PLAIN:
            return self._apply(a, b)
        traced = right or left
        if traced is None or _flags() & _MODES != RECORD or self.static or self._takes_saved:
            return self._apply(a, b)
        try:
            z = self.forward(x, y)
        except _NUMPY_ERRORS as error:
            self._explain(error, [x, y], {})
            raise
        if type(z) is np.float64 and traced.dtype is _F64:  # a number, made of a float64 array: it is not too wide
            z = np.asarray(z)
        else:
            if type(z) is not np.ndarray:
                z = self._value(z, {})
            if z.dtype is not traced.dtype or z.dtype is _F64:
                z = self._narrowed(z, [x, y], {}, True)
            if type(z) is not np.ndarray:
                z = np.asarray(z)
        if self._frees_inputs:
            if left is not None and 0 in self.unread:
                x = left
            if right is not None and 1 in self.unread:
                y = right
        out = _new(Tensor)
        out._array = z
        out.node = new_node(self, z, (left, right), (x, y), None, z if self.keeps_y else None, user_frame(2))
        return out

    def _plain(self, a: Any) -> Any:
        """The constant `a` as an ndarray where it is an array of another type.

        Rules use operators, which mean something else there: the `*` of a numpy.matrix is the matrix product.
        """
        refuse_foreign(a, f"{self.name}: ")
        return np.asarray(a) if hasattr(type(a), "__array__") and not isinstance(a, np.generic) else a

    def _value(self, y: Any, kwargs: dict[str, Any]) -> Any:
        """What the forward returned as an array. If it was `(value, saved)`, `saved` goes into `kwargs`."""
        if type(y) is tuple:
            if len(y) != 2:
                raise TypeError(f"{self.name}: expected an array or (array, saved), got {len(y)} values")
            if not self._takes_saved:
                raise TypeError(f"{self.name}: expected an array, got 2 values, and the rule takes no saved=")
            y, kwargs["saved"] = y
        return y if isinstance(y, (np.ndarray, np.generic)) else np.asarray(y)

    def _narrowed(self, y: Any, values: list[Any], kwargs: dict[str, Any], traced: bool) -> Any:
        """The result in the dtype that it should have; TypeError where that cannot be a Tensor's."""
        kind = y.dtype.kind
        if y.dtype is _F64 and not kwargs:
            for v in values:
                if type(v) is np.ndarray and v.dtype is not _F64:
                    break
            else:
                return y  # none of the inputs is narrower
        if kind == "f" and y.itemsize <= 8:
            inputs = [*values, *(v for k, v in kwargs.items() if k != "saved")]
            return _narrow(y, inputs) if self.narrows else y
        if kind == "f":
            raise TypeError(f"{self._shown(values, kwargs)}: the result would be {y.dtype}, numbers have up to 64 bits")
        if traced or kind not in "iub":
            raise TypeError(f"{self._shown(values, kwargs)}: the result would be {y.dtype}, which has no gradient")
        return y

    def _settle(self, values: list[Any], parents: list[Node | None]) -> None:
        """Put nodes in the place of the arrays that the rule does not read, and copies in that of static arguments."""
        if self.static:
            for i in self.static:
                if i < len(values) and parents[i] is None:
                    values[i] = _own(values[i])
            if not self._frees_inputs:
                return
        for i in self.unread:
            if i < len(values) and parents[i] is not None:
                values[i] = parents[i]
        if self.unread_rest:
            for i in range(len(self.parameters), len(values)):
                if parents[i] is not None:
                    values[i] = parents[i]

    def _positional(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """`args` and the keyword arguments that can be positional, in order; the latter leave `kwargs`."""
        names = self.parameters
        defaults = dict(zip(reversed(names), reversed(_Parameters(self.forward).defaults), strict=False))
        bound = list(args)
        last = max((i for i, n in enumerate(names) if n in kwargs), default=-1)
        for name in names[len(args) : last + 1]:
            if name not in kwargs and name not in defaults:
                raise TypeError(f"{self.name}: argument {name!r} is missing")
            bound.append(kwargs.pop(name) if name in kwargs else defaults[name])
        for name, v in kwargs.items():
            if type(v) is Tensor:
                raise TypeError(
                    f"{self.name}: {name}= takes no Tensor, no gradient goes through it; pass {name}.data if none is to"
                )
        return bound

    # ------------------------------------------------------------ the backward pass

    def keywords(self, node: Node, oldest: int, out: Any = None) -> dict[str, Any]:
        """The keyword arguments of the rule: the forward's, and those that the rule asks for beside them."""
        kwargs = dict(node.kwargs or {})
        if "needed" in self.asks:
            kwargs["needed"] = [parent is not None and parent.id >= oldest for parent in node.parents]
        if "out" in self.asks:
            kwargs["out"] = out
        return kwargs

    def pull_carefully(self, node: Node, g: Any, oldest: int, create_graph: bool) -> Any:
        """What the rule gives under `create_graph`, under `detect_anomaly` and in a check."""
        check_unchanged(node)
        if create_graph:
            pulled = self._pull_tensors(node, g, oldest)
        else:
            g, y, *args = read_only([g, node if node.y is None else node.y, *node.args])
            pulled = self.rule(g, y, *args, **self.keywords(node, oldest))
        most = max(len(node.parents), len(self.parameters))
        if type(pulled) is tuple and len(pulled) > most:
            raise TypeError(f"the rule gave {len(pulled)} gradients, and there are {most} arguments")
        return pulled

    def _pull_tensors(self, node: Node, g: Any, oldest: int) -> Any:
        """The rule on Tensors that know where they come from, so that its result is differentiable in turn."""
        args = [
            Tensor.of(a, p) if p is not None and not isinstance(a, Node) else a
            for a, p in zip(node.args, node.parents, strict=True)
        ]
        if self.composite is not None:
            return self._pull_composite(self.composite, node, args, g)
        kwargs = self.keywords(node, oldest)
        if "saved" in kwargs and not self.records_saved and any(map(_is_floating, tree.leaves(kwargs["saved"]))):
            raise TypeError(
                f"the gradient of {self.name} cannot be differentiated: its forward saves floating numbers, and no "
                f"gradient goes through them. Define the same function in other operations with "
                f"@{self.name}.define_composite"
            )
        y = node if node.y is None else Tensor.of(node.y, node)
        return self.rule(g, y, *args, **kwargs)

    def _pull_composite(self, composite: Callable[..., Any], node: Node, args: list[Any], g: Any) -> Any:
        """The gradients through the composite. Each input gets a new node, and the walk through it ends at these."""
        kwargs = {k: v for k, v in (node.kwargs or {}).items() if k != "saved"}
        inputs = [identity(a) if p is not None else a for a, p in zip(args, node.parents, strict=True)]
        y = composite(*inputs, **kwargs)
        if type(y) is not Tensor or y.node is None or y.shape != node.shape:
            raise TypeError(
                f"the composite of {self.name} should return a Tensor {node.shape}, made of its arguments by "
                f"operations, got {type(y).__name__} {describe(y)}"
            )
        targets = [a.node if p is not None else None for a, p in zip(inputs, node.parents, strict=True)]
        wanted = frozenset(t for t in targets if t is not None)
        grads = tape.backprop([(y.node, g)], wanted, retain_graph=True, create_graph=True, wide=True)
        return tuple(grads.get(t) if t is not None else None for t in targets)

    def _no_rule(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"{self.name} has no rule; register one with @{self.name}.vjp")

    # ------------------------------------------------------------ words

    def _explain(self, error: Exception, values: list[Any], kwargs: dict[str, Any]) -> None:
        """Raise `error` again with the call in its message, unless its type is the user's own."""
        if type(error).__module__.partition(".")[0] in ("builtins", "numpy"):
            kind = next(k for k in _NUMPY_ERRORS if isinstance(error, k))
            text = f"{str(error).removeprefix(self.name + ': ')}{hint(error)}"
            why = self.why or (_why_not_broadcast if "broadcast" in text else None)
            if why is not None and kind is not TypeError:
                with contextlib.suppress(Exception):  # of arguments that have no shape: NumPy's words have to do
                    text = why(*values, **kwargs) or text
            raise kind(f"{self._shown(values, kwargs)}: {text}") from error

    def _shown(self, values: list[Any], kwargs: dict[str, Any]) -> str:
        shown = [describe(v) for v in values]
        shown += [f"{k}={describe(v)}" for k, v in kwargs.items()]
        return f"{self.name}({', '.join(shown)})"

    def __repr__(self) -> str:
        signature = inspect.signature(self.forward)
        bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
        return f"<primitive {self.name}{signature.replace(parameters=bare, return_annotation=signature.empty)}>"


def primitive(forward: Callable[P, Any]) -> Primitive[P]:
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


def primitives() -> dict[str, Primitive[Any]]:
    """Every registered primitive by name, in order of definition."""
    return dict(_REGISTRY)


def custom_vjp(f: Callable[P, Any]) -> Primitive[P]:
    """Decorator: a function with a hand-given gradient. It is a primitive that is not registered.

        @mg.custom_vjp
        def clip_gradient(x):
            return x

        @clip_gradient.vjp
        def _(g, _y, _x):
            return mg.clip(g, -1, 1)
    """
    return Primitive(f)


class _Parameters:
    """The parameters of a function.

    Attributes:
        positional: their names. defaults: of the last of them. rest: the name of *args or "".
        keywords: the keyword-only ones with their defaults. any_keywords: whether there is **kwargs.
    """

    def __init__(self, f: Callable[..., Any]):
        code = f.__code__
        count, ends = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
        self.positional = code.co_varnames[:count]
        self.defaults = f.__defaults__ or ()
        self.rest = code.co_varnames[ends] if code.co_flags & inspect.CO_VARARGS else ""
        given = f.__kwdefaults__ or {}
        self.keywords = {name: given.get(name, inspect.Parameter.empty) for name in code.co_varnames[count:ends]}
        self.any_keywords = bool(code.co_flags & inspect.CO_VARKEYWORDS)


def _why_not_broadcast(*operands: Any, **_: Any) -> str | None:
    """Which lengths of the operands differ, and where."""
    shapes = [shape for shape in map(np.shape, operands) if shape]
    for axis in range(1, max(map(len, shapes)) + 1):
        lengths = {shape[-axis] for shape in shapes if len(shape) >= axis} - {1}
        if len(lengths) > 1:
            return (
                f"the shapes {', '.join(map(str, shapes))} do not broadcast: on axis -{axis} they have the lengths "
                f"{', '.join(map(str, sorted(lengths)))}"
            )
    return None


def _own(x: Any) -> Any:
    """x, or a copy of it where it is an array, or a list or tuple that may hold one."""
    if isinstance(x, np.ndarray):
        return x.copy()
    return type(x)(map(_own, x)) if type(x) in (list, tuple) else x


def _is_floating(x: Any) -> bool:
    return isinstance(x, float) or (tree.is_array(x) and x.dtype.kind == "f")


def deciding(inputs: Iterable[Any]) -> list[Any]:
    """The inputs that decide the dtype of a result: the widest of them has it.

    These are floating arrays and Tensors. Where one has axes, a float64 without axes does not decide: it is what a
    number becomes by itself. Python's and NumPy's scalars, lists, ints and bools never decide. `docs/how-it-works.md`
    has the rule as a table.
    """
    found = [v for v in inputs if isinstance(v, (np.ndarray, Tensor)) and v.dtype.kind == "f"]
    return [v for v in found if v.ndim or v.itemsize < 8] if any(v.ndim for v in found) else found


def _narrow(y: Any, inputs: list[Any]) -> Any:
    """y in the width that the inputs decide, if it is wider: NumPy widens for numbers and counts too."""
    width = max((v.itemsize for v in deciding(inputs)), default=8)
    return y if width >= y.itemsize else y.astype(f"f{width}")


@primitive
def identity(x: ArrayLike):
    """x itself, as a new node of the graph: any shape -> same shape."""
    return x


@identity.vjp
def _(g, _y, _x):
    return g
