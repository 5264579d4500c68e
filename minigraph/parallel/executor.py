"""What `value_and_grad` and `map` ask of the thing that runs the parts of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

T = TypeVar("T")


@runtime_checkable
class Executor(Protocol):
    """Runs the tasks 0 to n - 1, each once, in any order and any number at the same time.

    `Threads` is the executor of one process, `MPI` that of several. Another one needs these three members and no base
    class. When a task raises, the exception of the failing task with the lowest number should be raised,
    after all tasks that had begun are over.
    """

    @property
    def workers(self) -> int:
        """How many tasks can run at the same time; only the default size of a micro-batch depends on it."""
        ...

    def run(self, task: Callable[[int], T], n: int) -> list[T]:
        """`[task(0), ..., task(n - 1)]`."""
        ...

    def reduce(self, task: Callable[[int], T], n: int, combine: Callable[[T, T], T]) -> T:
        """All results combined into one, as `PairwiseTree` defines it; n is at least 1.

        The shape of the tree matters because `combine` is a sum of floating-point numbers: its last bits depend on the
        order. `combine(left, right)` may write to the memory of left, so that neither is to be used again.

        An executor of several processes can give each neighbouring tasks, let it reduce the aligned blocks among them
        (2^k tasks, from a multiple of 2^k on), which are nodes of the tree, and combine these. The bits are then those
        of one process; `MPI` does so. The results of `value_and_grad`'s tasks can be pickled.
        """
        ...
