"""The operations that a function records, each as a function of its own, and their composites beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import tree
from ..blame import describe, describe_call
from ..modes import CHECK, RECORD, mode
from ..tape import Node, ancestors
from ..tensor import Tensor, value
from ..transforms import vjp
from .differences import flat


def record(f: Callable[..., Any], args: tuple[Any, ...]) -> list[Node]:
    """The operations that f's result depends on, in the order of computation, with all of their inputs."""

    def traced(leaf: Any) -> Any:
        array = value(leaf)
        if not isinstance(array, (np.ndarray, np.floating)) or array.dtype.kind != "f":
            return leaf
        array = np.array(array)
        array.flags.writeable = False
        return Tensor(array, requires_grad=True)

    with mode(RECORD | CHECK):
        y = f(*tree.map(traced, args))
    roots = [t.node for t in tree.leaves(y) if type(t) is Tensor and t.node is not None]
    nodes = [node for node in ancestors(roots) if node.op is not None]
    if not nodes:
        raise TypeError(f"check_graph: f should return the result of an operation on its arguments, got {describe(y)}")
    return nodes


def of_inputs(node: Node) -> tuple[Any, Any, list[np.ndarray], list[str]]:
    """The operation and its composite or None, as functions of the inputs that need a gradient; these, their names."""
    op: Any = node.op
    args = [_widened(a) for a in getattr(node, "inputs", node.args)]
    kwargs = {k: _widened(v) for k, v in (node.kwargs or {}).items() if k != "saved"}
    places = [i for i, parent in enumerate(node.parents) if parent is not None]
    names = [op.parameters[i] if i < len(op.parameters) else f"argument {i}" for i in places]

    def as_function(function: Any) -> Any:
        def call(*inputs: Any) -> list[Any]:
            filled = [*args]
            for i, x in zip(places, inputs, strict=True):
                filled[i] = x if type(x) is Tensor else Tensor(x)
            return [function(*filled, **kwargs)]

        call.__name__ = op.name
        return call

    composite = op.composite and as_function(op.composite)
    return as_function(op), composite, [args[i] for i in places], names


def _widened(x: Any) -> Any:
    """Floating arrays in float64, and a floating dtype, such as that of astype, as float64."""
    if is_floating(x):
        return np.array(x, np.float64) if isinstance(x, np.ndarray) else np.float64(x)
    if isinstance(x, np.dtype) or (isinstance(x, type) and issubclass(x, np.generic)):
        return np.dtype(np.float64) if np.dtype(x).kind == "f" else x
    return x


def is_floating(x: Any) -> bool:
    return tree.is_array(x) and x.dtype.kind == "f"


def gradient_fault(call: Any, composite: Any, xs: list[np.ndarray], rng: np.random.Generator, rtol: float) -> str:
    """How the gradient of the composite differs from that of its primitive, in words; "" if it does not."""
    (ys, pullback), (_, pullback_of_composite) = vjp(call, *xs), vjp(composite, *xs)
    us = [rng.standard_normal(y.shape) for y in ys]
    largest = float(np.abs(flat(ys)).max(initial=0) * np.abs(flat(us)).max(initial=0))
    for x, g, h in zip(xs, pullback(us), pullback_of_composite(us), strict=True):
        # Terms of a gradient may cancel; each may be as large as this.
        term = largest / (float(np.abs(x).mean()) or 1.0) if x.size else 0.0
        if fault := difference("gradient", flat([g]), flat([h]), rtol, term):
            return fault
    return ""


def difference(what: str, a: np.ndarray, b: np.ndarray, rtol: float, term: float = 0.0) -> str:
    """How the numbers `b` of a composite differ from those of its primitive, in words; "" if they do not."""
    gap, size = np.abs(a - b).max(initial=0), np.abs(a).max(initial=0)
    if gap <= rtol * size + 1e-12 * term:
        return ""
    return f"its composite gives another {what}: they differ by {gap:.3g}, and are up to {size:.3g}"


def at_fault(f: Callable[..., Any], xs: list[np.ndarray], rtol: float) -> str:
    """Which composite makes a derivative of second or higher order wrong, in words.

    The gradient of f is right when it is computed from arrays. Under `create_graph` the operations that have a
    composite go through it, and the rules of the others get Tensors.
    """
    nodes = [node for node in record(f, tuple(xs)) if node.op is not None and node.op.composite is not None]
    rng = np.random.default_rng(0)
    for node in nodes:
        call, composite, inputs, _ = of_inputs(node)
        fault = difference("value", flat(call(*inputs)), flat(composite(*inputs)), rtol)
        fault = fault or gradient_fault(call, composite, inputs, rng, rtol)
        if fault:
            return f"the composite is at fault, not the rule, in {describe_call(node)}\n  {fault}"
    if nodes:
        names = ", ".join(sorted({node.op.name for node in nodes if node.op is not None}))
        return f"derivatives of this order go through the composite of {names}"
    return "no operation has a composite: a rule is at fault when it is given Tensors, as under create_graph"
