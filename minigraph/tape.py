"""The tape: nodes that link to their inputs, and the one backward pass that walks them.

There is no global tape. An operation on tensors makes a `Node` that knows its primitive, what its rule needs, and the
nodes of its inputs; dropping the last tensor of a graph frees the graph. Ids grow with time, so a node's inputs
always have smaller ids, and walking by falling id meets every node after all of its uses.
"""

from __future__ import annotations

import itertools
import linecache
import os
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from heapq import heappop, heappush
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from . import tree
from .kernels.memory import pop_unshared
from .kernels.norm import column_sums

if TYPE_CHECKING:
    from .primitive import Primitive

# Context-local flags, so that threads and async tasks do not switch each other's recording off.
RECORD, ANOMALY, NESTED = 1, 2, 4
flags: ContextVar[int] = ContextVar("minigraph_flags", default=RECORD)
next_id = itertools.count(1).__next__  # atomic, so any number of threads may record

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class BackwardError(RuntimeError):
    """The backward pass failed in the rule of one primitive, or was asked of a graph that is freed."""


class AnomalyError(FloatingPointError):
    """Under `detect_anomaly`: a value or gradient turned NaN or infinite."""


class MutationError(RuntimeError):
    """Under `detect_anomaly`: an array saved for the backward pass was changed in place."""


_OUTSIDE = (
    "it uses a Tensor that requires a gradient and is not an argument of the transformed function, whose results are "
    "arrays and would lose that gradient: pass the Tensor as an argument, or use t.detach() or mg.no_grad()"
)


class Node:
    """One recorded operation, or (`op is None`) a leaf whose gradient is wanted.

    Attributes:
        op: the primitive; `parents`: the input nodes, None where an input needs no gradient.
        args: what the rule is handed for each positional argument: the array, or where the rule names the argument
            `_x`, the node that has its shape and dtype. None once the backward pass has freed it.
        kwargs: the keyword arguments, with `saved` among them where the forward kept something beside its value.
        y: the output array, or None where the rule names it `_y`.
        shape, dtype: of the output. call: the user's, as (code, instruction).
        grad: a leaf's accumulated gradient, a Tensor. sums: checksums of what is saved, under `detect_anomaly`.
    """

    __slots__ = ("args", "call", "dtype", "grad", "id", "kwargs", "op", "parents", "shape", "sums", "y")
    grad: Any  # of leaves: recorded nodes, which do not come through __init__, have none
    sums: Any  # set by `remember` only

    def __init__(
        self,
        op: Primitive | None,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        parents: Any = (),
        args: Any = (),
        kwargs: Any = None,
        y: Any = None,
        call: Any = (None, 0),
    ):
        self.id = next_id()
        self.op = op
        self.shape = shape
        self.dtype = dtype
        self.parents = parents
        self.args = args
        self.kwargs = kwargs
        self.y = y
        self.call = call
        self.grad = None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def __repr__(self) -> str:
        return f"<{self.op.name if self.op else 'leaf'} {describe(self)}>"


# ---------------------------------------------------------------- modes


@contextmanager
def mode(on: int, off: int = 0) -> Iterator[None]:
    """The flags `on` set and `off` cleared while inside."""
    token = flags.set((flags.get() | on) & ~off)
    try:
        yield
    finally:
        flags.reset(token)


def no_grad() -> Any:
    """Context manager (or decorator): operations inside are computed, not recorded. Local to the thread or task."""
    return mode(0, off=RECORD)


def records(x: Any) -> bool:
    """Whether an operation on x is recorded: x is a Tensor that requires a gradient, and recording is on."""
    return getattr(x, "node", None) is not None and bool(flags.get() & RECORD)


@contextmanager
def detect_anomaly() -> Iterator[None]:
    """Context manager that finds the operation that went wrong. Slow: for debugging.

    Inside it, the first forward value or gradient that turns NaN or infinite although all it was computed from is
    finite raises `AnomalyError`, and an array that an operation saved and that was changed in place before the backward
    pass raises `MutationError`; both name the primitive, its shapes and dtypes, and the line of the user's call.
    NumPy's floating-point warnings, which would come first and say less, are off inside. Local to the thread or task.
    """
    with mode(ANOMALY), np.errstate(all="ignore"):
        yield


# ---------------------------------------------------------------- the backward pass


def backprop(
    roots: Iterable[tuple[Node, Any]],
    targets: frozenset[Node] | None = None,
    *,
    closed: bool = False,
    retain_graph: bool = False,
    create_graph: bool = False,
) -> dict[Node, Any]:
    """Pull the gradients of the root nodes back to the leaves, or to `targets`.

    Args:
        roots: `(node, gradient)` pairs. Gradients are ndarrays, or Tensors under `create_graph`.
        targets: the nodes whose gradients are wanted; the walk stops at them. None: every leaf.
        closed: raise where the walk meets a node older than every target: a Tensor from outside, whose part in the
            gradients would be lost.
        retain_graph: keep what the rules need, for another pass; otherwise nodes are freed as they are met.
        create_graph: run the rules on Tensors, so that the gradients are differentiable in turn.

    Returns:
        the gradient of each target or leaf that the roots depend on, in its node's shape and dtype.
    """
    # Nodes older than every target cannot depend on one: their gradients are not needed.
    oldest = min((t.id for t in targets), default=0) if targets is not None else 0
    stop = targets or frozenset()
    given, roots = roots, []
    for node, g in given:
        if node.id >= oldest:
            roots.append((node, g))
        elif closed:
            raise BackwardError(f"backward of a result, {describe(node)}\nTypeError: {_OUTSIDE}")
    # A transform in another one may also meet younger nodes that depend on the outer's inputs alone.
    needed = None
    if targets and create_graph and not closed:
        needed = _leading_to(targets, (node for node, _ in roots), oldest)
    grads: dict[Node, Any] = {}
    on = RECORD | NESTED if create_graph else 0
    token = flags.set((flags.get() & ~(RECORD | NESTED)) | on)
    anomaly = flags.get() & ANOMALY
    direct = not (create_graph or anomaly)  # the gradients are arrays that nobody looks at again
    try:
        for node, g in roots:
            grads[node] = grads[node] + g if node in grads else g
        found = [node for node in grads if node.op is None or node in stop]
        heap = sorted((-node.id, node) for node in grads.keys() - found)
        while heap:
            node = heappop(heap)[1]
            op: Any = node.op
            kwargs = node.kwargs
            if op.overwrites and direct:
                g = pulled = gp = total = None  # of the last node: they may refer to this one's gradient
                g, alone = pop_unshared(grads, node)
                if alone:
                    kwargs = {**(kwargs or {}), "out": g}
            else:
                g = grads.pop(node)
            try:
                if node.args is None:
                    raise BackwardError(
                        "the graph was freed by an earlier backward pass; to go through it again, "
                        "call the first one with retain_graph=True"
                    )
                if anomaly:
                    check_unchanged(node)
                if create_graph:
                    pulled = op.pull_tensors(node, g)
                else:
                    y = node if node.y is None else node.y
                    pulled = op.rule(g, y, *node.args, **kwargs) if kwargs else op.rule(g, y, *node.args)
                if type(pulled) is not tuple:
                    if type(pulled) is FunctionType and pulled.__code__.co_argcount:  # gradients that share work
                        pulled = pulled([p is not None and p.id >= oldest for p in node.parents])
                    else:
                        pulled = (pulled,)
                for i, parent in enumerate(node.parents):
                    if parent is None:
                        continue
                    if parent.id < oldest:
                        if closed:
                            raise TypeError(_OUTSIDE)
                        continue
                    if needed is not None and parent not in needed:
                        continue
                    try:
                        gp = pulled[i]
                    except IndexError:
                        raise TypeError(
                            f"the rule gave {len(pulled)} gradients, none for argument {i}; None stands for zero"
                        ) from None
                    if type(gp) is FunctionType:  # a thunk: computed only here, where it is needed
                        gp = gp()
                    if gp is None:
                        continue
                    try:
                        shape = gp.shape
                    except AttributeError:
                        raise TypeError(
                            f"a rule returns an array, a tuple of them, a thunk or None, got {type(gp).__name__}"
                        ) from None
                    if shape != parent.shape:
                        gp = unbroadcast(gp, node, parent, i)
                    if gp.dtype is not parent.dtype:
                        gp = gp.astype(parent.dtype)
                    if anomaly:
                        check_gradient(node, i, g, gp)
                    if parent in grads:
                        grads[parent] = total = grads[parent] + gp
                        if anomaly:
                            check_gradient(node, i, g, total)
                    else:
                        grads[parent] = gp
                        if parent.op is None or parent in stop:
                            found.append(parent)
                        else:
                            heappush(heap, (-parent.id, parent))
            except (AnomalyError, MutationError):
                raise
            except Exception as error:
                raise blame(error, node) from error
            if not retain_graph:
                node.args = node.y = node.kwargs = None
                node.parents = ()
    finally:
        flags.reset(token)
    return {node: grads[node] for node in found if targets is None or node in stop}


def _leading_to(targets: frozenset[Node], roots: Iterable[Node], oldest: int) -> set[Node]:
    """The nodes of the roots' graph that depend on a target, and the targets."""
    seen = set(roots)
    stack = list(seen)
    while stack:
        for parent in stack.pop().parents:
            if parent is not None and parent.id >= oldest and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    needed = set(targets)
    for node in sorted(seen, key=lambda n: n.id):
        if node.args is None or not needed.isdisjoint(node.parents):  # freed: the walk is to say so
            needed.add(node)
    return needed


def unbroadcast(g: Any, node: Node, parent: Node, i: int) -> Any:
    """Sum `g`, in the shape of the output, over the axes along which input `i` was broadcast to it."""
    shape, extra = parent.shape, node.ndim - parent.ndim
    if g.shape == node.shape and extra >= 0:
        axes = tuple(
            axis
            for axis, n in enumerate(node.shape)
            if axis < extra or (shape[axis - extra] == 1 and n != 1)
        )
        if all(axis in axes or shape[axis - extra] == n for axis, n in enumerate(node.shape)):
            if type(g) is np.ndarray and g.size and axes == tuple(range(g.ndim - 1)):
                return column_sums(g).reshape(shape)  # a bias's gradient: several times faster than ndarray.sum
            return g.sum(axes).reshape(shape)
    raise ValueError(f"the rule's gradient for argument {i} has shape {g.shape}, expected {shape}")


def owned(arrays: list[Any], shared: set[int] | None = None) -> list[np.ndarray]:
    """The gradients as arrays that nothing else shares, safe to change; `shared` has the ids of arrays that are not."""
    seen = shared or set()
    out = []
    for a in arrays:
        a = np.asarray(a)
        if a.base is not None or not a.flags.writeable or id(a) in seen:
            a = a.copy()
        seen.add(id(a))
        out.append(a)
    return out


# ---------------------------------------------------------------- blame: which call was it


_ours: dict[str, bool] = {}  # by file name: is the file one of this package


def user_frame() -> tuple[CodeType, int]:
    """The innermost frame outside this package, as (code, instruction): cheap to keep, holds no local variable."""
    try:
        frame: Any = sys._getframe(3)  # 1 is Primitive._apply, 2 its caller in this package
    except ValueError:  # which a thread or an exit handler called directly
        frame = sys._getframe(2)
    while True:
        code = frame.f_code
        ours = _ours.get(code.co_filename)
        if ours is None:
            ours = _ours[code.co_filename] = code.co_filename.startswith(_PACKAGE)
        if not ours or frame.f_back is None:
            return code, frame.f_lasti
        frame = frame.f_back


def location(code: CodeType, lasti: int) -> str:
    """`File "x.py", line 3, in f`, with the source line where it can be read."""
    line = next((n for lo, hi, n in code.co_lines() if lo <= lasti < hi and n), code.co_firstlineno)
    text = linecache.getline(code.co_filename, line).strip()
    where = f'File "{code.co_filename}", line {line}, in {code.co_name}'
    return f"{where}\n    {text}" if text else where


def describe(value: Any) -> str:
    """`float32 (2, 3)` for an array, tensor or node; the value itself otherwise."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} {tuple(value.shape)}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def describe_call(node: Node) -> str:
    """`matmul(float32 (2, 3), float32 (3, 4)) -> float32 (2, 4)`, and the user's line below it."""
    assert node.op is not None
    args = [describe(a) for a in node.args or ()]
    args += [f"{k}={describe(v)}" for k, v in (node.kwargs or {}).items() if k != "saved"]
    call = f"{node.op.name}({', '.join(args)}) -> {describe(node)}"
    return f"{call}\n  {location(*node.call)}"


def blame(error: Exception, node: Node) -> BackwardError:
    """`error`, raised while the gradient of `node` was computed, as an error that names the user's call."""
    kind = "" if isinstance(error, BackwardError) else f"{type(error).__name__}: "
    return BackwardError(f"backward of {describe_call(node)}\n{kind}{error}")


# ---------------------------------------------------------------- detect_anomaly


def _plain(value: Any) -> np.ndarray:
    """The array of a Tensor, array or number."""
    return np.asarray(value if isinstance(value, (np.ndarray, np.generic, float)) else value.data)


def is_finite(value: Any) -> bool:
    data = _plain(value)
    return data.dtype.kind != "f" or bool(np.isfinite(data).all())


def _count(value: Any) -> str:
    data = _plain(value)
    nan, inf = int(np.isnan(data).sum()), int(np.isinf(data).sum())
    return f"{nan} NaN and {inf} infinite of {data.size} entries"


def check_forward(node: Node, y: np.ndarray, values: Iterable[Any]) -> None:
    """Raise if `y` is not finite although every array it was computed from is."""
    numbers = (np.ndarray, np.generic, float)
    if not is_finite(y) and all(is_finite(v) for v in values if isinstance(v, numbers)):
        raise AnomalyError(f"{_count(y)} in the forward value of {describe_call(node)}")


def check_gradient(node: Node, i: int, g: Any, gp: Any) -> None:
    if is_finite(g) and not is_finite(gp):
        raise AnomalyError(
            f"{_count(gp)} in the gradient for argument {i} in the backward of {describe_call(node)}"
        )


def _saved_arrays(node: Node) -> list[np.ndarray]:
    """What the rule reads: arguments it does not drop, the arrays in indices and keywords too, and the output."""
    op: Any = node.op
    args = node.args[: len(op.names)] if op.drops_rest else node.args
    kept = [a for i, a in enumerate(args) if i not in op.dropped]
    return [a for a in tree.leaves((kept, node.kwargs, node.y)) if isinstance(a, np.ndarray)]


def _checksums(node: Node) -> list[int]:
    return [zlib.crc32(np.ascontiguousarray(a).data) for a in _saved_arrays(node)]


def remember(node: Node) -> None:
    node.sums = _checksums(node)


def check_unchanged(node: Node) -> None:
    if not hasattr(node, "sums"):  # recorded outside of `detect_anomaly`
        return
    for array, was, now in zip(_saved_arrays(node), node.sums, _checksums(node), strict=True):
        if was != now:
            raise MutationError(
                f"an array ({describe(array)}) was changed in place after it was saved for the backward of "
                f"{describe_call(node)}"
            )
