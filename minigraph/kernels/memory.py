"""Arrays in recycled memory: fresh memory costs more than the arithmetic done in it.

The C library maps a large block anew at each request and unmaps it when it is freed, so that every page of every large
new array is faulted in and zeroed by the kernel. Training asks for the same sizes at each step: `empty` keeps the
blocks it hands out and gives them again. A block whose only references are the pool's is free; an array made in it, and
any view of that, holds another one, so nothing has to be returned. Of the free blocks that hold an array and are not
much too large it takes the one used last, which may still be in cache. Each thread has its own pool: no lock is needed.

Blocks begin at a cache line: with AVX-512 a ufunc that writes into the cache is twice as fast there as 16 bytes beside.
And each begins at another place in its page (cache colouring, Bonwick 1994). The C library has all large blocks begin
at the same, where they compete for the same sets of the cache, and where a processor that compares only the low 12 bits
of addresses has a load wait for a store to another array: without this, W2 of the benchmarks took 3% longer.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable
from sys import getrefcount
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

SMALL = 1 << 16  # bytes below which malloc recycles well itself
SPARE = 2  # times the size asked for that a block may have
IDLE = 10_000  # requests that a free block may sleep through; then the next new block drives it out
LINE, PAGE = 64, 4096  # bytes of a cache line, and of a page of memory
COLOUR = 17 * LINE  # from one block's place in its page to the next one's: all of its lines have their turn
_colours = itertools.count(step=COLOUR)


class _Memory(np.ndarray):
    """The bytes of a block: the base of the arrays in it but, as a type of its own, not that of their views."""


class _Block:
    __slots__ = ("memory", "size", "start", "taken")

    def __init__(self, size: int):
        self.size = size
        self.memory = _Memory(size + PAGE, np.uint8)
        self.start = (next(_colours) - self.memory.__array_interface__["data"][0]) % PAGE
        self.taken = 0  # the last request that it served


class _Pool:
    def __init__(self) -> None:
        self.requests = 0
        self.blocks: list[_Block] = []
        self.fitting: dict[int, list[_Block]] = {}  # by the size asked for, while the blocks stay the same

    def fit(self, size: int) -> list[_Block]:
        """The blocks that may serve `size`."""
        if len(self.fitting) > 1000:
            self.fitting = {}
        self.fitting[size] = [block for block in self.blocks if size <= block.size <= SPARE * size]
        return self.fitting[size]

    def add(self, size: int) -> _Block:
        """A new block, which can do what the largest free one below its size did, if not much smaller: that one goes.

        So sizes that grow do not leave a block each. Those that nobody asked for lately go too (if in use, they live
        on with their arrays).
        """
        small = [b for b in self.blocks if b.size < size <= SPARE * b.size and getrefcount(b.memory) == FREE]
        replaced = max(small, key=lambda b: b.size, default=None)
        block = _Block(size)
        self.blocks = [b for b in self.blocks if b is not replaced and self.requests - b.taken <= IDLE] + [block]
        self.fitting = {}
        return block


class _Local(threading.local):
    def __init__(self) -> None:
        self.pool = _Pool()


_local = _Local()


def empty(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
    """np.empty(shape, dtype), in memory used before where a block is free."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    pool = _local.pool
    pool.requests += 1
    chosen, last = None, 0
    for block in pool.fitting.get(size) or pool.fit(size):
        if block.taken > last and getrefcount(block.memory) == FREE:
            chosen, last = block, block.taken
    if chosen is None:
        chosen = pool.add(size)
    chosen.taken = pool.requests
    return np.ndarray(shape, dtype, chosen.memory, chosen.start)


class Workspace(threading.local):
    """Memory for the intermediate arrays of a kernel, for each thread its own, and what was prepared in it.

    A view takes as long to make as a small product to compute. A kernel whose arrays lie in the same places at each
    call can make its views once and keep them. The memory grows to what the largest call needs.
    """

    def __init__(self) -> None:
        self.memory = np.empty(0, np.uint8)
        self.kept: dict[Any, Any] = {}

    def prepared(self, make: Callable[..., Any], *args: Any) -> Any:
        """make(*args), which takes its arrays from `arrays`: the same object each time, until the memory grows."""
        key = (make, *args)
        if key not in self.kept:
            made = make(*args)
            if len(self.kept) >= 256:
                self.kept = {}
            self.kept[key] = made
        return self.kept[key]

    def arrays(self, dtype: np.dtype, *shapes: tuple[int, ...]) -> list[np.ndarray]:
        """Arrays of these shapes one behind the other, in the memory that those handed out before are in too."""
        sizes = [math.prod(shape) * dtype.itemsize for shape in shapes]
        starts = [0, *itertools.accumulate(-(-size // PAGE) * PAGE + COLOUR for size in sizes)]
        if starts[-1] + PAGE > self.memory.size:
            self.memory, self.kept = np.empty(starts[-1] + PAGE, np.uint8), {}
        first = -self.memory.__array_interface__["data"][0] % PAGE
        return [
            np.ndarray(shape, dtype, self.memory, first + start)
            for shape, start in zip(shapes, starts, strict=False)
        ]


def take(arrays: dict[Any, np.ndarray], key: Any, others: int = 0) -> tuple[np.ndarray, bool]:
    """`arrays.pop(key)`, and whether what is computed from it may be written over it.

    That is so if nothing is left, but for `others` references, that refers to the array or shares its memory, and it is
    contiguous.
    """
    a, base, references, of_base = _pop(arrays, key)
    if references != ALONE + others or not a.flags.carray:
        return a, False
    return a, base is None or (type(base) is _Memory and of_base == ALONE_IN_BLOCK)


def owned(arrays: list[Any], shared: set[int] | None = None) -> list[np.ndarray]:
    """The arrays, each copied where its memory is not its own: what comes back is safe to change.

    Args:
        shared: the ids of arrays that somebody else refers to.
    """
    seen = shared or set()
    out = []
    for a in arrays:
        a = np.asarray(a)
        if a.base is not None or not a.flags.writeable or id(a) in seen:
            a = a.copy()
        seen.add(id(a))
        out.append(a)
    return out


def _pop(arrays: dict[Any, np.ndarray], key: Any) -> tuple[np.ndarray, Any, int, int]:
    a = arrays.pop(key)
    base = a.base
    return a, base, getrefcount(a), getrefcount(base)


# What `empty` and `_pop` count where nobody else holds a block, or an array in it; it depends on the interpreter.
_block = _Block(1)
FREE = getrefcount(_block.memory)
ALONE, ALONE_IN_BLOCK = _pop({0: np.ndarray(1, np.uint8, _block.memory)}, 0)[2:]
