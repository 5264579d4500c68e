"""Arrays in recycled memory: fresh memory costs more than the arithmetic done in it.

The C library maps a large block anew at each request and unmaps it when it is freed, so that every page of every large
new array is faulted in and zeroed by the kernel. Training asks for the same sizes at each step: `empty` keeps the
blocks it hands out and gives them again. A block whose only references are the pool's is free; an array made in it, and
any view of that, holds another one, so nothing has to be returned. Of the free blocks that hold an array and are not
much too large it takes the one used last, which may still be in cache. Each thread has its own pool: no lock is needed.

Blocks begin at a cache line: with AVX-512 a ufunc that writes into the cache is twice as fast there as 16 bytes beside.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left, bisect_right
from sys import getrefcount

import numpy as np
from numpy.typing import DTypeLike

SMALL = 1 << 16  # bytes below which malloc recycles well itself
SPARE = 2  # times the size asked for that a block may have
IDLE = 10_000  # requests that a free block may sleep through before it goes back to the system
LINE = 64  # bytes of a cache line


class _Pool(threading.local):
    """The blocks by rising size, and beside each where its first cache line is and the request that last took it."""

    def __init__(self) -> None:
        self.requests = 0
        self.sizes: list[int] = []
        self.blocks: list[np.ndarray] = []
        self.starts: list[int] = []
        self.taken: list[int] = []


_pool = _Pool()


def empty(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
    """np.empty(shape, dtype), in memory used before where a block is free."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    pool = _pool
    pool.requests += 1
    sizes, blocks, taken = pool.sizes, pool.blocks, pool.taken
    place, last = -1, 0
    for i in range(bisect_left(sizes, size), bisect_right(sizes, SPARE * size)):
        if taken[i] > last and getrefcount(blocks[i]) == FREE:
            place, last = i, taken[i]
    if place < 0:
        _forget(pool)
        place = _add(pool, size)
    taken[place] = pool.requests
    return np.ndarray(shape, dtype, blocks[place], pool.starts[place])


def _add(pool: _Pool, size: int) -> int:
    """A new block, and its place."""
    block = np.empty(size + LINE, np.uint8)
    i = bisect_left(pool.sizes, size)
    pool.sizes.insert(i, size)
    pool.blocks.insert(i, block)
    pool.starts.insert(i, -block.__array_interface__["data"][0] % LINE)
    pool.taken.insert(i, 0)
    return i


def _forget(pool: _Pool) -> None:
    """Drop the blocks that nobody asked for lately (those in use live on with their arrays)."""
    for i in reversed(range(len(pool.sizes))):
        if pool.requests - pool.taken[i] > IDLE:
            del pool.sizes[i], pool.blocks[i], pool.starts[i], pool.taken[i]


def _free_count() -> int:
    blocks = [np.empty(1)]
    for i in range(1):
        return getrefcount(blocks[i])
    raise AssertionError


FREE = _free_count()  # references to a block that only the pool holds, as the loop in `empty` counts them
