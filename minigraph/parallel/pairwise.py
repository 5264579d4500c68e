"""Combining the results of many tasks in an order that does not depend on which of them is ready first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PairwiseTree(Generic[T]):
    """Combines n numbered values in a fixed binary tree over their numbers.

    The values are the nodes of level 0. At each level, node j combines the nodes 2j and 2j + 1 of the level below; a
    last node that has no sibling goes up unchanged. For five values:

        level 0      0   1   2   3   4
        level 1      0 1     2 3     4
        level 2      0 1 2 3         4
        level 3      0 1 2 3 4

    An aligned block of values (2^k of them, from a multiple of 2^k on) is therefore a tree of its own, which gives the
    same bits wherever it is computed.

    Neighbours are combined as soon as both are there. When the values come in order, at most one waits at each level.

    Args:
        n: the number of values, at least 1.
        combine: `combine(left, right)` gives the node above; it may write to the memory of left.
    """

    result: T  # once all n values have been added

    def __init__(self, n: int, combine: Callable[[T, T], T]) -> None:
        if n < 1:
            raise ValueError(f"PairwiseTree: n should be at least 1, got {n}")
        self._n = n
        self._combine = combine
        self._waiting: dict[tuple[int, int], T] = {}  # by level and number, the nodes whose sibling is not there yet
        self._lock = threading.Lock()

    def add(self, i: int, value: T, level: int = 0) -> bool:
        """Take in value number i and combine what is complete with it. Several threads may do so at the same time.

        With `level`, the value is node i of that level, which has been combined elsewhere. Returns whether all values
        are there now, which is true for the last one only.
        """
        width = -(-self._n >> level)  # rounded up
        while width > 1:
            sibling = i ^ 1
            if sibling < width:
                with self._lock:
                    if (level, sibling) not in self._waiting:
                        self._waiting[level, i] = value
                        return False
                    other = self._waiting.pop((level, sibling))
                value = self._combine(other, value) if sibling < i else self._combine(value, other)
            level, i, width = level + 1, i // 2, (width + 1) // 2
        self.result = value
        return True


def blocks(start: int, stop: int, n: int) -> list[tuple[int, int]]:
    """The nodes (level, number) of a tree of n values that make up the values from `start` to `stop`, as few as can be.

    These are the aligned blocks. There are at most two for each level.
    """
    found: list[tuple[int, int]] = []
    while start < stop:
        level = 0
        while start % (2 << level) == 0 and min(start + (2 << level), n) <= stop and 1 << level < n:
            level += 1
        found.append((level, start >> level))
        start = values(found[-1], n).stop
    return found


def values(block: tuple[int, int], n: int) -> range:
    """The values that a node (level, number) of a tree of n values combines."""
    level, number = block
    return range(number << level, min((number + 1) << level, n))
