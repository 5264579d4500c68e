"""The tape: nodes that link to their inputs, and the one backward pass that walks them.

There is no global tape. An operation on Tensors makes a `Node`, which knows its primitive, what its rule needs, and the
nodes of its inputs. When the last Tensor of a graph is dropped, the graph is freed. Ids grow with time, so the inputs
of a node have smaller ids than the node, and a walk by falling id meets every node after all of its uses.

`docs/how-it-works.md` has the backward pass in ten lines. `backprop` is the same loop with its checks around it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from heapq import heappop, heappush
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from . import freeing, watch
from .anomaly import AnomalyError, MutationError, check_gradient
from .blame import OUTSIDE, BackwardError, blame, describe
from .fit import fit, narrowed
from .kernels.memory import pop_unshared, tick
from .kernels.precision import F16, widened
from .modes import ANOMALY, CHECK, DIFFERENTIATED, RECORD, flags, mode

if TYPE_CHECKING:
    from .primitive import Primitive


class Node:
    """One recorded operation, or (`op is None`) a leaf whose gradient is wanted.

    Attributes:
        op: the primitive. parents: the nodes of the inputs, None for an input that needs no gradient.
        args: for each positional argument the array, if the rule reads it, otherwise the input's node, which knows its
            shape and dtype. None once a backward pass has freed the node.
        kwargs: the keyword arguments or None, with `saved` among them where the forward kept something.
        y: the output array, or None where the rule does not read it.
        shape, dtype: those of the output. call: the user's call, as (code, instruction).
        leaf: of a leaf only, a weak reference to its Tensor. sums: under `detect_anomaly`, checksums of what is kept.
        inputs: in `check_graph` only, all input arrays, where `args` does not have them all.
    """

    __slots__ = ("args", "call", "dtype", "id", "inputs", "kwargs", "leaf", "op", "parents", "shape", "sums", "y")
    id: int
    op: Primitive[Any] | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    kwargs: dict[str, Any] | None
    args: Any
    call: Any
    inputs: Any
    leaf: Any
    parents: Any
    sums: Any
    y: Any

    if freeing.RECURSES:
        __del__ = freeing.release

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def __reduce__(self) -> Any:
        raise TypeError("a Node belongs to the graph of one process and is neither copied nor pickled")

    def __repr__(self) -> str:
        return f"<{self.op.name if self.op else 'leaf'} {describe(self)}>"


_DIFFERENTIABLE = RECORD | DIFFERENTIATED
_new = object.__new__
_next_id = itertools.count(1).__next__  # atomic, so any number of threads may record


def new_node(
    op: Primitive[Any] | None, array: Any, parents: Any = (), args: Any = (), kwargs: Any = None, y: Any = None,
    call: Any = None,
) -> Node:  # fmt: skip
    """Make the node of `array`. `op` is the primitive that computed it, or None for a leaf; see Node for the rest.

    It fills the slots one by one, since a class with an `__init__` takes a third longer to make.
    """
    node: Node = _new(Node)
    node.id = _next_id()
    node.op = op
    node.shape = array.shape
    node.dtype = array.dtype
    node.parents = parents
    node.args = args
    node.kwargs = kwargs
    node.y = y
    node.call = call
    return node


def ancestors(roots: Iterable[Node], oldest: int = 0) -> list[Node]:
    """The roots and everything they were computed from, inputs first. Nodes with an id below `oldest` are left out."""
    seen = set(roots)
    stack = list(seen)
    while stack:
        for parent in stack.pop().parents:
            if parent is not None and parent.id >= oldest and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=lambda node: node.id)


# ---------------------------------------------------------------- the backward pass


def backprop(
    roots: Iterable[tuple[Node, Any]],
    targets: frozenset[Node] | None = None,
    *,
    closed: bool = False,
    retain_graph: bool = False,
    create_graph: bool = False,
    wide: bool = False,
) -> dict[Node, Any]:
    """Pull the gradients of the root nodes back to the leaves and to `targets`.

    Args:
        roots: `(node, gradient)` pairs; the gradients are ndarrays, or Tensors under `create_graph`.
        targets: nodes whose gradients are wanted. The walk ends at them. It does not visit nodes that are older than
            all of them, which cannot depend on one.
        closed: raise where the walk would reach such an older node. It belongs to a Tensor from outside of the
            transformed function, and its part in the gradient would be lost.
        retain_graph: keep what the rules need, for another pass. Otherwise each node is freed when it is done.
        create_graph: run the rules on Tensors, so that the gradients can be differentiated in turn.
        wide: leave the gradients of float16 nodes in float32, since they are on their way in another pass.

    Gradients of float16 are computed and summed in float32, from the roots on, and rounded once, at the end. A float16
    sum of many uses would stop growing at 2,048 times the next one, and products would overflow on the way.

    Returns the gradient of each target and leaf that the walk has met, in its node's shape and dtype. Raises
    BackwardError, which names the operation and the user's line; under `detect_anomaly` also its two errors.
    """
    tick()
    with mode(_DIFFERENTIABLE if create_graph else 0, off=_DIFFERENTIABLE):
        walk = Walk(roots, targets or frozenset(), closed, create_graph)
        grads, heap, ends, oldest, needed = walk.grads, walk.heap, walk.ends, walk.oldest, walk.needed
        anomaly = flags.get() & ANOMALY
        careful = bool(create_graph or flags.get() & (ANOMALY | CHECK))
        watcher = watch.current()
        try:
            while heap:
                node = heappop(heap)[1]  # the youngest, so every use of it has been met
                op: Any = node.op
                kwargs = node.kwargs
                if careful or not op.asks:
                    g = grads.pop(node)
                else:
                    g = pulled = gradient = None  # of the last node: a reference left makes this array look shared
                    g, unshared = pop_unshared(grads, node)
                    kwargs = op.keywords(node, oldest, out=g if unshared else None)
                if watcher is not None:
                    watcher.rule_begins(node, g)
                if careful:
                    pulled = op.pull_carefully(node, g, oldest, create_graph)
                else:
                    y = node if node.y is None else node.y
                    pulled = op.rule(g, y, *node.args, **kwargs) if kwargs else op.rule(g, y, *node.args)
                if type(pulled) is not tuple:
                    pulled = (pulled,) if pulled is not None else _nothing()
                for i, parent in enumerate(node.parents):
                    if parent is None:
                        continue
                    if parent.id < oldest or (needed is not None and parent not in needed):
                        if closed:
                            raise TypeError(OUTSIDE)
                        continue
                    try:
                        gradient = pulled[i]
                    except IndexError:
                        raise _too_few(pulled, i) from None
                    if type(gradient) is FunctionType:  # a thunk, called only where its result is needed
                        gradient = gradient()
                    if gradient is None:  # None stands for zero
                        continue
                    try:
                        fits = gradient.shape == parent.shape and gradient.dtype is parent.dtype is not F16
                    except AttributeError:
                        fits = False
                    if not fits:
                        gradient = fit(gradient, node, i)
                    if parent in grads:
                        gradient = grads[parent] + gradient
                    elif parent.op is not None and parent not in ends:
                        heappush(heap, (-parent.id, parent))
                    grads[parent] = gradient
                    if anomaly:
                        check_gradient(node, i, g, gradient)
                if watcher is not None:
                    watcher.rule_ends(node)
                if not retain_graph:
                    node.args = node.y = node.kwargs = None
                    node.parents = ()
        except (AnomalyError, MutationError):
            raise
        except Exception as error:
            raise blame(error, node) from error
        if not wide:
            for node, g in grads.items():  # targets and leaves: every other node was popped
                if g.dtype is not node.dtype:
                    grads[node] = narrowed(g, node, anomaly)
    return grads


class Walk:
    """Where a backward pass begins, where it ends, and what it leaves out.

    Attributes:
        grads: the gradients collected so far. heap: the nodes whose turn is to come, youngest first.
        ends: the targets. oldest: the smallest of their ids; an older node cannot depend on any of them.
        needed: None, or the nodes that depend on a target. Inside another transform the walk also meets nodes younger
            than the targets that depend on the outer inputs alone, and skips them.
    """

    def __init__(self, roots: Iterable[tuple[Node, Any]], ends: frozenset[Node], closed: bool, create_graph: bool):
        self.ends = ends
        self.oldest = min((end.id for end in ends), default=0)
        self.grads: dict[Node, Any] = {}
        for node, g in roots:
            if node.id >= self.oldest:
                g = widened(g)
                self.grads[node] = self.grads[node] + g if node in self.grads else g
            elif closed:
                raise BackwardError(f"backward of a result, {describe(node)}\nTypeError: {OUTSIDE}")
        self.heap = sorted((-node.id, node) for node in self.grads if node.op is not None and node not in ends)
        self.needed = None
        if ends and create_graph and not closed:
            self.needed = set(ends)
            for node in ancestors(self.grads, self.oldest):
                if node.args is None or not self.needed.isdisjoint(node.parents):  # a freed one: the walk reports it
                    self.needed.add(node)


def _nothing() -> Any:
    raise TypeError("the rule returned nothing; if the gradient is zero, return (None,)")


def _too_few(pulled: tuple[Any, ...], i: int) -> TypeError:
    return TypeError(f"the rule gave {len(pulled)} gradients, none for argument {i}; None stands for zero")
