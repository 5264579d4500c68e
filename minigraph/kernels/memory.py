"""Arrays in recycled memory: fresh memory costs more than the arithmetic done in it.

The C library maps a large block anew at each request and unmaps it when it is freed, so the system faults in and zeroes
every page of every large new array. Training asks for the same sizes at each step: `empty` keeps the blocks it hands
out and gives them again. A block whose only reference is the pool's is free; an array made in it, and any view of that,
holds another one, so nothing has to be returned. Each thread has its own pool, and no lock is needed.
"""

from __future__ import annotations

import math
import sys
import threading

import numpy as np
from numpy.typing import DTypeLike

SMALL = 1 << 16  # bytes below which malloc recycles well itself
IDLE = 10_000  # requests that a free block may sleep through before it goes back to the system


class _Pool(threading.local):
    def __init__(self) -> None:
        self.requests = 0
        self.blocks: dict[int, list[np.ndarray]] = {}  # by size in bytes
        self.used: dict[int, int] = {}  # the last request of that size


_pool = _Pool()


def empty(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
    """np.empty(shape, dtype), in memory used before where a block of that size is free."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    _pool.requests += 1
    _pool.used[size] = _pool.requests
    blocks = _pool.blocks.setdefault(size, [])
    for block in blocks:
        if sys.getrefcount(block) == FREE:
            break
    else:
        _forget()
        block = np.empty(size, np.uint8)
        blocks.append(block)
    return block.view(dtype).reshape(shape)


def _forget() -> None:
    """Drop the blocks of sizes that were not asked for lately (those in use live on with their arrays)."""
    for size, last in list(_pool.used.items()):
        if _pool.requests - last > IDLE:
            del _pool.used[size], _pool.blocks[size]


def _free_count() -> int:
    for block in [np.empty(1)]:
        return sys.getrefcount(block)
    raise AssertionError


FREE = _free_count()  # references to a block that only the pool holds, as the loop in `empty` counts them
