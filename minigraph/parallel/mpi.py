"""The executor of many processes, on one machine or on several: the ranks of MPI, through mpi4py."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from .. import tree
from .exchange import GradientSum, Layout, Part, wait
from .pairwise import PairwiseTree, blocks, values
from .partial import GradientTask
from .threads import Threads, available_cores

T = TypeVar("T")

# What the launchers set for each process: MPICH and Intel MPI, Slurm (pmi2, pmix), Open MPI.
RANK_VARIABLES = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK")
SIZE_VARIABLES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")


class MPI:
    """Runs tasks on the ranks of an MPI communicator, and on the threads of each: an `Executor`.

        # mpiexec -n 4 python train.py
        from mpi4py.MPI import COMM_WORLD
        executor = mg.parallel.MPI(COMM_WORLD)
        step = mg.parallel.value_and_grad(loss_fn, executor=executor, microbatch=64)
        loss, grads = step(params, x, y)

    All ranks run the same program and call the function with the same arguments: the same params and the whole batch.
    Each computes its share of the parts, neighbouring ones, as many as the others have or one less. All ranks get the
    whole result. For a given microbatch it has the same bits for any number of ranks, and those of `Threads`.

    While the backward passes are going on, gradients are sent as soon as they are final (`exchange.GradientSum`).

    Where tasks of some ranks raise, all ranks raise the exception of the task with the lowest number, after all tasks
    are over. Its attribute `rank` is the rank that it comes from.

    Args:
        comm: the communicator, by default that of all ranks. It is duplicated, so making an executor is collective:
            each rank of `comm` does so.
        threads: how many threads each rank has; by default its share of the cores of its machine.

    Attributes:
        rank, size: the number of this rank, and of all ranks.

    Raises:
        ModuleNotFoundError: mpi4py is not installed (`pip install minigraph[mpi]`).
        ValueError: threads is not an int of at least 1.
    """

    def __init__(self, comm: Any = None, threads: int | None = None) -> None:
        if comm is None:
            from mpi4py.MPI import COMM_WORLD as comm
        self._threads = Threads(_share_of_cores(comm) if threads is None else threads)
        self._comm = comm.Dup()
        self.rank: int = comm.rank
        self.size: int = comm.size
        self.workers: int = sum(gather(self._comm, self._threads.workers))
        self._layouts: dict[Any, Layout] = {}  # by the shapes and dtypes of the parameters

    def __repr__(self) -> str:
        return f"MPI(rank {self.rank} of {self.size}, {self._threads})"

    def run(self, task: Callable[[int], T], n: int) -> list[T]:
        """`[task(0), ..., task(n - 1)]`, on every rank; see `Executor.run`. The results are pickled."""
        share = self._shares(n)[self.rank]
        return [x for part in self._of_all(lambda: self._each(task, share)) for x in part]

    def reduce(self, task: Callable[[int], T], n: int, combine: Callable[[T, T], T]) -> T:
        """The results combined in a `PairwiseTree`, on every rank; see `Executor.reduce`.

        The gradients of `value_and_grad` are sent as they are. All else is pickled, and goes from each rank to each.
        """
        if self.size == 1:
            return self._threads.reduce(task, n, combine)
        shares = self._shares(n)
        share = shares[self.rank]
        gradients = task if isinstance(task, GradientTask) else None
        total = GradientSum(self._comm, self._layout(gradients.params), shares) if gradients else None
        own = {block: PairwiseTree(len(values(block, n)), combine) for block in blocks(share.start, share.stop, n)}
        block_of = {i: block for block in own for i in values(block, n)}

        def run(i: int) -> None:
            result: Any
            if gradients is None or total is None:
                result = task(i)
            else:
                part = Part(total, i)
                result = gradients.part(i, part.add)
                part.finish(result.grads)
                result = replace(result, grads=())
            own[block_of[i]].add(i - values(block_of[i], n).start, result)

        def nodes() -> list[tuple[tuple[int, int], T]]:
            self._each(run, share)
            return [(block, part.result) for block, part in own.items()]

        every: PairwiseTree[Any] = PairwiseTree(n, combine)
        sums: list[np.ndarray] = []
        for part in self._of_all(nodes, lambda: sums.extend(total.finish()) if total else None):
            for (level, number), node in part:
                every.add(number, node, level)
        return replace(every.result, grads=tree.unflatten(gradients.params, sums)) if gradients else every.result

    # ------------------------------------------------------------------------------- the pieces

    def _shares(self, n: int) -> list[range]:
        """The tasks of each rank; the first ranks have one more than the others, if need be."""
        size, longer = divmod(n, self.size)
        starts = [rank * size + min(rank, longer) for rank in range(self.size + 1)]
        return [*map(range, starts, starts[1:])]

    def _each(self, task: Callable[[int], T], share: range) -> list[T]:
        return self._threads.run(lambda i: task(share[i]), len(share)) if share else []

    def _of_all(self, compute: Callable[[], T], finish: Callable[[], None] = lambda: None) -> list[T]:
        """`compute()` of each rank. If it raises on some, all raise the error of the lowest one, after `finish()`."""
        mine = outcome(compute)
        finish()
        return values_of(self._comm, mine)

    def _layout(self, params: Any) -> Layout:
        key = tuple((np.shape(x), getattr(x, "dtype", float)) for x in tree.leaves(params))
        if key not in self._layouts:
            self._layouts[key] = Layout(params)
        return self._layouts[key]


def launched() -> int | None:
    """The rank of this process, if a launcher of MPI has started it. This imports nothing."""
    return next((int(os.environ[name]) for name in RANK_VARIABLES if name in os.environ), None)


def world() -> Any:
    """The communicator of all ranks, or None where this process is alone.

    Raises:
        ModuleNotFoundError: a launcher has started this process, and mpi4py is not installed.
        RuntimeError: the launcher belongs to another MPI than mpi4py uses.
    """
    if launched() is None:
        return None
    try:
        from mpi4py.MPI import COMM_WORLD, Get_library_version
    except ModuleNotFoundError:
        raise ModuleNotFoundError("mpiexec needs mpi4py, which is missing: pip install 'minigraph[mpi]'") from None
    started = max(int(os.environ.get(name, 1)) for name in SIZE_VARIABLES)
    if COMM_WORLD.size == 1 and started > 1:
        version = Get_library_version().splitlines()[0]
        raise RuntimeError(
            f"the launcher has started {started} ranks, of which mpi4py sees one: it uses another MPI than the "
            f"launcher's ({version}); start the program by the mpiexec of that one"
        )
    return COMM_WORLD if COMM_WORLD.size > 1 else None


def gather(comm: Any, value: Any) -> list[Any]:
    """The values of all ranks, pickled on the way; collective. While a rank waits, it leaves its core to others."""
    data = pickle.dumps(value)
    sizes = np.empty(comm.size, np.int64)
    wait(comm.Iallgather(np.array([len(data)]), sizes).Test)
    received = np.empty(sizes.sum(), np.uint8)
    wait(comm.Iallgatherv(np.frombuffer(data, np.uint8), [received, sizes]).Test)
    return [pickle.loads(part.data) for part in np.split(received, sizes.cumsum()[:-1])]


class Outcome:
    """What a function has returned on one rank, or what it has raised: this can be pickled."""

    def __init__(self, value: Any = None, error: BaseException | None = None) -> None:
        self.value = value
        self.error = error

    def __getstate__(self) -> tuple[Any, ...]:
        if self.error is None:
            return self.value, None, ""
        error, text = self.error, "".join(traceback.format_exception(self.error))
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = RuntimeError(f"{type(error).__name__}: {error}")
        return None, error, text

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.value, self.error, self.text = state


def outcome(f: Callable[[], Any]) -> Outcome:
    """That of `f()` on this rank."""
    try:
        return Outcome(f())
    except BaseException as error:
        return Outcome(error=error)


def values_of(comm: Any, mine: Outcome) -> list[Any]:
    """The values of all ranks, of which this one has `mine`; collective. If some failed, all raise the lowest's error.

    The exception has an attribute `rank`, for where it comes from, and on the other ranks the traceback as a note.
    """
    every = gather(comm, mine)
    failed = next((rank for rank, theirs in enumerate(every) if theirs.error is not None), None)
    if failed is None:
        return [theirs.value for theirs in every]
    error: Any = mine.error
    if failed != comm.rank:
        error = every[failed].error
        error.add_note(f"on rank {failed} of {comm.size}:\n{every[failed].text}")
    error.rank = failed
    raise error


def _share_of_cores(comm: Any) -> int:
    """The cores of this machine that a rank may use, divided among the ranks here that may use the same ones."""
    from mpi4py.MPI import COMM_TYPE_SHARED

    node = comm.Split_type(COMM_TYPE_SHARED)
    allowed = gather(node, sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None)
    sharing = allowed.count(allowed[node.rank])
    node.Free()
    return max(1, available_cores() // sharing)
