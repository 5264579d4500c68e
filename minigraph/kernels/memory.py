"""Arrays in recycled memory: fresh memory costs more than the arithmetic done in it.

The C library maps a large block anew at each request and unmaps it when it is freed, so that every page of every large new
array is faulted in and zeroed by the kernel. Training asks for the same sizes at each step: `empty` keeps the blocks
it hands out and gives them again. A block whose only reference is the pool's is free; an array made in it, and any view
of that, holds the other one, so nothing has to be returned. Each thread has its own pool, and no lock is needed.
"""

from __future__ import annotations

import math
import sys
import threading

import numpy as np
from numpy.typing import DTypeLike

SMALL = 1 << 16  # bytes below which malloc recycles well itself
IDLE = 64  # requests of other sizes a block may sleep through before it is given back


class _Pool(threading.local):
    def __init__(self) -> None:
        self.blocks: dict[int, list[np.ndarray]] = {}


_pool = _Pool()


def empty(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
    """np.empty(shape, dtype), in memory used before where a block of that size is free."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    blocks = _pool.blocks.setdefault(size, [])
    for block in blocks:
        if sys.getrefcount(block) == FREE:
            break
    else:
        block = np.empty(size, np.uint8)
        blocks.append(block)
    return block.view(dtype).reshape(shape)


def _free_count() -> int:
    for block in [np.empty(1)]:
        return sys.getrefcount(block)
    raise AssertionError


FREE = _free_count()  # the list's reference, the loop variable's, and the call's own where the interpreter counts it
