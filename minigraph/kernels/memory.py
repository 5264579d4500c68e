"""Recycled memory for large arrays, because fresh memory costs more than the arithmetic done in it.

For a large array the C library asks the operating system for new pages, and it gives them back when the array is freed.
The system clears each page at its first use, so every new array pays for its pages again. Training asks for the same
sizes at each step. `empty` therefore keeps the blocks of memory that it hands out, and uses a block again as soon as no
array lies in it.

The pool knows this from the number of references to the block's memory. The pool holds one. An array made in the block
holds another, and so does every view of that array. When the pool's reference is the only one, the block is free, so
nobody has to return anything. If several free blocks are large enough and not much too large, the pool takes the one
that was used most recently, because part of it may still be in the cache. Each thread has its own pool and needs no
lock. Blocks that nobody asks for any more go back to the system, and `empty_cache` gives all free ones back at once.

Where an array begins in memory matters too:

- It begins at a cache line. With AVX-512, a ufunc that writes to an array in the cache is twice as fast there as 16
  bytes off.
- Each block begins at another offset in its page (cache colouring, Bonwick 1994). The C library gives all large blocks
  the same offset. Entries of the same index in two arrays then compete for the same place in the cache. Some processors
  also compare only the low 12 bits of two addresses (4096 bytes, a page) when they decide whether a load has to wait
  for an earlier store. At equal offsets, a load from one array waits for a store to another without need. With equal
  offsets, a training step of the fast-CIFAR net (W2 in benchmarks/) took 3% longer.
"""

from __future__ import annotations

import itertools
import math
import threading
import weakref
from collections.abc import Callable, Sequence
from sys import getrefcount
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

SMALL = 1 << 16  # bytes; the C library recycles smaller arrays well by itself
SPARE = 2  # a block may be this many times as large as the array that it serves
IDLE = 10_000  # a block that has served none of the last IDLE requests, of all threads together, is dropped
LINE, PAGE = 64, 4096  # bytes of a cache line, and of a page of memory
COLOUR = 17 * LINE  # bytes from one block's offset in its page to the next one's; 17 is odd, so every line has its turn
_colours = itertools.count(step=COLOUR)
_requests = itertools.count(1)  # of all threads; next() is atomic


class _Memory(np.ndarray):
    """The bytes of a block.

    NumPy makes this the `base` of an array in the block. Because it has a type of its own, the base of a view of that
    array is the array itself. `pop_unshared` relies on this to see whether an array has views.
    """


class _Block:
    """Memory for one array at a time, of up to `size` bytes, which begins `start` bytes into `memory`."""

    __slots__ = ("memory", "size", "start", "taken")

    def __init__(self, size: int):
        self.size = size
        self.memory = _Memory(size + PAGE, np.uint8)
        self.start = (next(_colours) - self.memory.__array_interface__["data"][0]) % PAGE
        self.taken = 0  # the number of the last request that it served


class _Pool:
    """The blocks of one thread."""

    def __init__(self) -> None:
        self.blocks: list[_Block] = []
        self.fitting: dict[int, list[_Block]] = {}  # for each size asked for so far, what `fit` gave
        self.checked = 0  # the number of the request after which idle blocks were last looked for
        _pools.add(self)

    def fit(self, size: int) -> list[_Block]:
        """The blocks, free or not, that may serve a request for `size` bytes."""
        if len(self.fitting) > 1000:
            self.fitting = {}
        self.fitting[size] = [block for block in self.blocks if size <= block.size <= SPARE * size]
        return self.fitting[size]

    def add(self, size: int, now: int) -> _Block:
        """Make a block of `size` bytes, add it to the pool, and drop the blocks that it makes superfluous.

        The largest free block that is smaller, but not much smaller, is dropped: the new one serves the same requests.
        Otherwise an array that grows from step to step would leave a block of each of its sizes. Blocks that were not
        asked for lately are dropped as well. If one of them is in use, its memory lives on until its arrays are gone.
        """
        small = [b for b in self.blocks if b.size < size <= SPARE * b.size and getrefcount(b.memory) == FREE]
        replaced = max(small, key=lambda b: b.size, default=None)
        block = _Block(size)
        self.drop(lambda b: b is replaced or now - b.taken > IDLE)
        self.blocks.append(block)
        return block

    def drop(self, superfluous: Callable[[_Block], bool]) -> None:
        """Give the superfluous blocks back. Another thread may do so while the pool's own thread takes a block."""
        self.blocks = [b for b in self.blocks if not superfluous(b)]
        self.fitting = {}


_pools: weakref.WeakSet[_Pool] = weakref.WeakSet()  # of all threads that live


class _Local(threading.local):
    def __init__(self) -> None:
        self.pool = _Pool()


_local = _Local()


def empty(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
    """np.empty(shape, dtype), where possible in memory that an earlier array has left free."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    pool, now = _local.pool, next(_requests)
    chosen, last = None, 0
    for block in pool.fitting.get(size) or pool.fit(size):
        if block.taken > last and getrefcount(block.memory) == FREE:
            chosen, last = block, block.taken
    if chosen is None:
        chosen = pool.add(size, now)
    chosen.taken = now
    return np.ndarray(shape, dtype, chosen.memory, chosen.start)


def is_recycled(a: np.ndarray) -> bool:
    """Whether `a`, which is no view of another array that one can see, lies in a block of a pool."""
    return type(a) is _Memory


def tick() -> None:
    """Count as a request, and now and then look for idle blocks, of all threads.

    Each backward pass calls it, so that a large step's blocks go back even if the steps after it ask for none.
    """
    now, own = next(_requests), _local.pool
    if now - own.checked > IDLE:
        own.checked = now
        for pool in list(_pools):
            pool.drop(lambda block: now - block.taken > IDLE)


def memory_stats() -> dict[str, int]:
    """The bytes that minigraph keeps to use again, in all threads.

    Returns:
        "recycled", the blocks for large arrays; "in_use", those of them in which an array lies now; "workspaces", the
        kernels' own memory for intermediate arrays.
    """
    blocks = [block for pool in list(_pools) for block in pool.blocks]
    return {
        "recycled": sum(b.size for b in blocks),
        "in_use": sum(b.size for b in blocks if getrefcount(b.memory) != FREE),
        "workspaces": sum(space.memory.size for space in list(_spaces)),
    }


def empty_cache() -> None:
    """Give back to the system what is kept to be used again, in all threads, but for the memory of arrays in use.

    The next step takes longer, since it has to ask the system for its memory.
    """
    for pool in list(_pools):
        pool.drop(lambda block: getrefcount(block.memory) == FREE)
    for space in list(_spaces):
        space.renew(0)


class _Space:
    """The workspace of one thread."""

    def __init__(self) -> None:
        self.renew(0)
        _spaces.add(self)

    def renew(self, size: int) -> np.ndarray:
        """New memory of `size` bytes. Everything that was prepared in the old one is forgotten."""
        self.memory: np.ndarray = np.empty(size, np.uint8)
        self.kept: dict[Any, Any] = {}
        return self.memory


_spaces: weakref.WeakSet[_Space] = weakref.WeakSet()  # of all threads that live


class Workspace(threading.local):
    """Memory for the intermediate arrays of a kernel, and the views that the kernel has made of it.

    Making a view takes as long as computing a small product. If a kernel's arrays lie in the same place at each call,
    it can make its views once and keep them. All calls use the same memory, which grows to what the largest one needs.
    Each thread has its own.
    """

    def __init__(self) -> None:
        self.own = _Space()

    def prepared(self, make: Callable[..., Any], *args: Any) -> Any:
        """make(*args), computed once and kept until the memory grows. `make` gets its arrays from `arrays`."""
        key, own = (make, *args), self.own
        made = own.kept.get(key)
        if made is None:
            made = make(*args)
            if len(own.kept) >= 256:
                own.kept = {}
            own.kept[key] = made
        return made

    @staticmethod
    def starts(dtype: np.dtype, shapes: Sequence[tuple[int, ...]]) -> list[int]:
        """Where arrays of these shapes begin, in bytes from the first on, and last what is needed for all of them."""
        sizes = [math.prod(shape) * dtype.itemsize for shape in shapes]
        *starts, end = 0, *itertools.accumulate(-(-size // PAGE) * PAGE + COLOUR for size in sizes)
        return [*starts, end + PAGE]

    def arrays(self, dtype: np.dtype, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
        """Arrays of these shapes, one behind the other, in the same memory as all arrays handed out before.

        If the memory has to grow for them, everything that was prepared in the old memory is forgotten.
        """
        *starts, size = self.starts(dtype, shapes)
        memory = self.own.memory
        if size > memory.size:
            memory = self.own.renew(size)
        first = -memory.__array_interface__["data"][0] % PAGE
        return [
            np.ndarray(shape, dtype, memory, first + start)
            for shape, start in zip(shapes, starts, strict=True)
        ]


class Needs(NamedTuple):
    """The bytes that a call of a kernel takes beside its arguments and results.

    Attributes:
        recycled: for each array from `empty` its bytes. fresh: of other arrays. workspace: of a `Workspace`.
    """

    recycled: tuple[int, ...] = ()
    fresh: int = 0
    workspace: int = 0


def pop_unshared(arrays: dict[Any, np.ndarray], key: Any, others: int = 0) -> tuple[np.ndarray, bool]:
    """`arrays.pop(key)`, and whether the caller may write over that array.

    The caller may if the array is contiguous, and nothing else refers to it or shares its memory. `others` is how many
    other references the caller knows of and allows.
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
    seen = set(shared or ())
    out = []
    for a in arrays:
        a = np.asarray(a)
        if a.base is not None or not a.flags.writeable or id(a) in seen:
            a = a.copy()
        seen.add(id(a))
        out.append(a)
    return out


def _pop(arrays: dict[Any, np.ndarray], key: Any) -> tuple[np.ndarray, Any, int, int]:
    """`arrays.pop(key)`, its base, and how many references getrefcount sees to the two of them."""
    a = arrays.pop(key)
    base = a.base
    return a, base, getrefcount(a), getrefcount(base)


# getrefcount also counts references that the interpreter holds during the call, and how many these are depends on its
# version. So the counts without any other holder are measured here: FREE is that of a block in the loop of `empty`,
# ALONE that of an array in `_pop`, and ALONE_IN_BLOCK that of the memory of the array's block.
_block = _Block(1)
FREE = getrefcount(_block.memory)
ALONE, ALONE_IN_BLOCK = _pop({0: np.ndarray(1, np.uint8, _block.memory)}, 0)[2:]
