"""The peak of the memory of a forward and a backward pass, foreseen: what lives when, and what kernels take meanwhile.

The operations are walked in their order, and then their rules in the opposite order. A result lives until the last
operation that reads it has run, or, where a rule needs it, until that rule has. A gradient lives until the rule that it
goes into has run; those of parameters stay. Large arrays lie in recycled memory (`kernels.memory`), which its thread
never gives back, so the walk keeps a pool of sizes, by the same policy.
"""

from __future__ import annotations

import inspect
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import tree
from ..blame import describe
from ..kernels.memory import SMALL, SPARE, Needs, is_recycled
from ..primitive import Primitive
from ..tape import Node
from ..tensor import Tensor, value
from .trace import Builder, Tracer, build, owner_of, through

_HANDED_ON = {("add", 0), ("add", 1), ("subtract", 0)}  # the gradient of this operand is that of the result itself


@dataclass(frozen=True)
class Peak:
    """The peak of memory, in bytes, and what it consists of.

    Attributes:
        arrays: results, what is kept for the rules, and gradients. spare: recycled memory that no array lies in.
        kernels: what kernels take while they run, and their workspaces. at: the operation that runs then.
        backward: whether it is its rule that runs.
    """

    arrays: int
    spare: int
    kernels: int
    at: str
    backward: bool

    @property
    def nbytes(self) -> int:
        """All of it."""
        return self.arrays + self.spare + self.kernels


def foresee(
    f: Callable[..., Any],
    *inputs: Any,
    constants: Sequence[str] = ("state",),
    parts: int = 1,
    threads: int = 1,
    what: str = "foresee",
) -> Peak:
    """The peak of memory of `f` and its gradient, above what was there before. No backward pass is run.

    It is that of the first call of `mg.value_and_grad(f)` in a process, at all inputs at once. The gradients are those
    of the parameters; inputs get none, unless there are no parameters. With `parts`, it is that of
    `mg.parallel.value_and_grad(f)` for a batch of so many parts like these inputs:

        foresee(loss, params, x[:64], y[:64], parts=8, threads=2)

    What kernels take beside arguments and results is counted for convolutions and relu; others take little. A rule is
    taken to make one array for each gradient. What Python, imports and BLAS take is not counted, a few megabytes. Of
    several threads, the peaks are added, since each keeps the memory that it has taken.

    Args:
        inputs, constants, what: as in `trace`.
        parts: how many parts of the size of these inputs a batch has. threads: how many threads share them.

    Returns the peak; of several threads, `at` and `backward` are those of the first.

    Raises what `trace` raises, and ValueError where parts or threads is no whole number of at least 1.
    """
    for name, n in (("parts", parts), ("threads", threads)):
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"{what}: {name} should be a whole number of at least 1, got {describe(n)}")
    if not callable(f):
        raise TypeError(f"{what}: expected a function, got {type(f).__name__}")
    seen = _Seen()
    builder = build(seen, f, inputs, None, constants, what)
    arguments = _inputs(f, inputs) - {*constants}
    if arguments and builder.graph.parameters:
        seen = _Seen()
        builder = build(seen, f, inputs, None, (*constants, *sorted(arguments)), what)
    walks = [_Walk(builder, seen) for _ in range(min(threads, parts))]
    if parts == 1:
        # `value_and_grad` hands out arrays of their own: gradients in recycled memory are copied.
        walks[0].copy([g.nbytes for g in walks[0].run() if g.block is not None], recycled=False)
    else:
        _run_parts(walks, parts)
    peaks = [walk.peak for walk in walks]
    arrays, spare, kernels = (sum(getattr(p, name) for p in peaks) for name in ("arrays", "spare", "kernels"))
    return Peak(arrays, spare, kernels, peaks[0].at, peaks[0].backward)


def _run_parts(walks: list[_Walk], parts: int) -> None:
    """The threads take the parts in turn. An even part's gradients are copied, and wait for their pair's: see
    `parallel.partial`, and `parallel.pairwise` for the tree in which pairs become one."""
    waiting: list[tuple[_Walk, _Array]] = []
    for i in range(parts):
        walk = walks[i % len(walks)]
        grads = walk.run()
        if i % 2 == 0:
            waiting.append((walk, walk.copy([sum(g.nbytes for g in grads)], recycled=True)[0]))
        for g in grads:
            walk.drop(g)
        while i & 3 == 3:  # the pair, or the block of pairs, is the right one of two, and is added to the left
            holder, array = waiting.pop()
            holder.drop(array)
            i //= 2


def _inputs(f: Callable[..., Any], inputs: tuple[Any, ...]) -> set[str]:
    """The names of the arguments that are an array each."""
    try:
        arguments = inspect.signature(f).bind(*inputs).arguments
    except (TypeError, ValueError):  # the trace says so
        return set()
    return {name for name, argument in arguments.items() if tree.is_array(value(argument))}


class _Seen(Tracer):
    """Also sees in which memory each result lies."""

    def __init__(self) -> None:
        super().__init__()
        # The identity of the owner, and whether it is recycled memory. Nobody saw a result that comes in by closure.
        self.memory: defaultdict[Node, tuple[int, bool]] = defaultdict(lambda: (0, False))

    def operation(self, op: Primitive[Any], run: Callable[[], Any]) -> Any:
        y = super().operation(op, run)
        if type(y) is Tensor and y.node is not None:
            owner = owner_of(y.data)
            self.memory[y.node] = id(owner), is_recycled(owner)
        return y


class _Array:
    """An array that lives while somebody holds it. `block` is its place in the pool; None where it has fresh memory."""

    def __init__(self, nbytes: int, block: _Block | None = None):
        self.nbytes, self.block, self.holders = nbytes, block, 1


class _Block:
    """Recycled memory of the pool. `taken` is the number of the last request that it served."""

    def __init__(self, size: int):
        self.size, self.taken, self.free = size, 0, False


class _Walk:
    """Walks the graph of a builder forwards and backwards, and notes the peak."""

    def __init__(self, builder: Builder, seen: _Seen):
        self.nodes = [node for node in builder.nodes if node.op is not None]
        self.seen, self.results = seen, builder.results
        self.outside = {id(owner_of(value(leaf))) for _, leaf in builder.traced if tree.is_array(value(leaf))}
        self.blocks: list[_Block] = []
        self.requests = self.live = self.fresh = self.workspace = 0
        self.peak = Peak(0, 0, 0, "", False)
        self.arrays: dict[Node, _Array] = {}
        self.kept: dict[Node, list[_Array]] = {}

    def run(self) -> list[_Array]:
        """Walk forwards and backwards; the gradients of the parameters."""
        self._forward()
        grads = self._backward()
        for node in {*self.results}:
            self.drop(self.arrays[node])
        return grads

    def copy(self, sizes: list[int], recycled: bool) -> list[_Array]:
        """Copies of gradients."""
        copies = [self._new(size, recycled) for size in sizes]
        self._note(self.nodes[0], [])
        return copies

    # ------------------------------------------------------------ the two passes

    def _forward(self) -> None:
        readers = Counter(through(p) for node in self.nodes for p in node.parents if p is not None)
        readers.update({*self.results})  # by the caller
        for node in self.nodes:
            owner, recycled = self.seen.memory[node]
            parents = [through(p) for p in node.parents if p is not None]
            shared = [p for p in parents if owner and p in self.arrays and self.seen.memory[p][0] == owner]
            if shared:  # a view, or computed in place
                result = self._hold(self.arrays[shared[0]])
            else:
                result = self._new(0 if owner in self.outside else _nbytes(node), recycled)
            self.arrays[node] = result
            self.kept[node] = self._keep(node, owner, parents, recycled)
            self._note(node, None)
            for p in parents:
                readers[p] -= 1
                if not readers[p] and p in self.arrays:
                    self.drop(self.arrays[p])

    def _keep(self, node: Node, owner: int, parents: list[Node], recycled: bool) -> list[_Array]:
        """What the node keeps for its rule, apart from what comes from outside."""
        found = {self.seen.memory[p][0]: self.arrays[p] for p in parents if p in self.arrays}
        found[owner] = self.arrays[node]
        kept = []
        saved = tree.leaves((node.kwargs or {}).get("saved"))
        for a in [node.y, *saved, *node.args]:
            if not isinstance(a, np.ndarray) or id(owner_of(a)) in self.outside:
                continue
            memory = owner_of(a)
            if id(memory) in found:
                kept.append(self._hold(found[id(memory)]))
            else:
                found[id(memory)] = array = self._new(a.nbytes, is_recycled(memory))
                kept.append(array)
        return kept

    def _backward(self) -> list[_Array]:
        grads: dict[Node, _Array] = {}
        starts = [node for node in self.results if node.shape == ()] or self.results
        for node in dict.fromkeys(starts):
            grads[node] = self._new(_nbytes(node), recycled=False)
        for node in reversed(self.nodes):
            g = grads.pop(node, None)
            if g is not None:
                for i, parent in enumerate(node.parents):
                    if parent is not None:
                        self._add(grads, node, i, through(parent), g)
                self._note(node, [parent is not None for parent in node.parents])
                self.drop(g)
            for array in self.kept[node]:
                self.drop(array)
        return [*grads.values()]

    def _add(self, grads: dict[Node, _Array], node: Node, i: int, parent: Node, g: _Array) -> None:
        """The gradient of an operand: `g` itself, an array in its memory, or a new one; and the sum with an earlier."""
        assert node.op is not None
        recycled = self.seen.memory[node][1]
        same = parent.shape == node.shape and (node.op.name, i) in _HANDED_ON
        view = parent.size == node.size and self.arrays.get(parent) is self.arrays[node]
        if same or view or ("out" in node.op.asks and g.holders == 1):
            gradient = self._hold(g)
        else:
            gradient = self._new(_nbytes(parent), recycled)
        if parent in grads:
            total = self._new(_nbytes(parent), recycled=False)
            self._note(node, [])
            self.drop(gradient)
            self.drop(grads[parent])
            gradient = total
        grads[parent] = gradient

    # ------------------------------------------------------------ memory

    def _new(self, nbytes: int, recycled: bool) -> _Array:
        self.live += nbytes
        if not recycled or nbytes < SMALL:
            self.fresh += nbytes
            return _Array(nbytes)
        return _Array(nbytes, self._take(nbytes))

    def _take(self, size: int) -> _Block:
        """The block that `kernels.memory.empty` would choose, or make."""
        self.requests += 1
        fitting = [b for b in self.blocks if b.free and size <= b.size <= SPARE * size]
        block = max(fitting, key=lambda b: b.taken, default=None)
        if block is None:
            small = [b for b in self.blocks if b.free and b.size < size <= SPARE * b.size]
            if small:
                self.blocks.remove(max(small, key=lambda b: b.size))
            block = _Block(size)
            self.blocks.append(block)
        block.taken, block.free = self.requests, False
        return block

    def _hold(self, array: _Array) -> _Array:
        array.holders += 1
        return array

    def drop(self, array: _Array) -> None:
        array.holders -= 1
        if array.holders == 0:
            self.live -= array.nbytes
            if array.block is None:
                self.fresh -= array.nbytes
            else:
                array.block.free = True

    def _note(self, node: Node, needed: list[bool] | None) -> None:
        """The memory while the forward of the node runs (`needed` is None) or its rule."""
        assert node.op is not None
        needs = Needs()
        if node.op.needs is not None and needed != []:
            needs = node.op.needs(needed, *node.args, **(node.kwargs or {}))
        self.workspace = max(self.workspace, needs.workspace)
        taken = [self._take(size) for size in needs.recycled if size >= SMALL]
        total = self.fresh + sum(b.size for b in self.blocks) + needs.fresh + self.workspace
        if total > self.peak.nbytes:
            kernels = sum(b.size for b in taken) + needs.fresh + self.workspace
            self.peak = Peak(self.live, total - self.live - kernels, kernels, node.op.name, needed is not None)
        for block in taken:
            block.free = True


def _nbytes(node: Node) -> int:
    return node.size * node.dtype.itemsize
