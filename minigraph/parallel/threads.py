"""The executor of one process: threads, with BLAS at one thread each."""

from __future__ import annotations

import contextvars
import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .pairwise import PairwiseTree

T = TypeVar("T")


class Threads:
    """Runs tasks on threads of this process: the default `Executor`.

    The calling thread is one of them; the others are kept from call to call. Each runs in a copy of the caller's
    context (`no_grad`, `np.errstate`, ...), and BLAS is held to one thread. Since the number of BLAS's threads belongs
    to the whole process, calls from several threads of the user's run one after the other.

    Args:
        n: how many threads; by default `available_cores()`.

    Raises:
        ValueError: n is not an int of at least 1.
    """

    def __init__(self, n: int | None = None) -> None:
        if n is not None and (not isinstance(n, (int, np.integer)) or n < 1):
            raise ValueError(f"parallel.Threads: n should be an int of at least 1, got {n!r}")
        self.workers = int(n or available_cores())

    def __repr__(self) -> str:
        return f"Threads({self.workers})"

    def run(self, task: Callable[[int], T], n: int) -> list[T]:
        """`[task(0), ..., task(n - 1)]`; see `Executor.run`."""
        results: dict[int, T] = {}
        self._each(task, n, results.__setitem__)
        return [results[i] for i in range(n)]

    def reduce(self, task: Callable[[int], T], n: int, combine: Callable[[T, T], T]) -> T:
        """The results combined in a `PairwiseTree`: the same bits for any number of threads; see `Executor.reduce`."""
        tree = PairwiseTree(n, combine)
        self._each(task, n, tree.add)
        return tree.result

    def _each(self, task: Callable[[int], T], n: int, collect: Callable[[int, T], object]) -> None:
        """`collect(i, task(i))` for i = 0 ... n - 1, on the thread that ran the task.

        When a task raises, no task with a higher number starts, and the exception of the lowest number is raised here
        once every thread has finished its task.
        """
        from concurrent.futures import wait  # imported late to keep `import minigraph` cheap

        lock = threading.Lock()
        numbers = itertools.count()  # shared by the threads: its next() is atomic, with the GIL and without
        errors: dict[int, BaseException] = {}
        last = n - 1  # the last number that may start

        def work() -> None:
            nonlocal last
            for i in numbers:
                if i > last:
                    return
                try:
                    collect(i, task(i))
                except BaseException as error:
                    with lock:
                        errors[i] = error
                        last = min(last, i)
                    return

        with _one_blas_thread():
            if n == 1:  # nothing to hand to another thread: in a small step, the lines below take 15 us
                collect(0, contextvars.copy_context().run(task, 0))
                return
            contexts = [contextvars.copy_context() for _ in range(min(self.workers, n))]
            futures: list[Any] = []
            try:
                _submit([functools.partial(c.run, work) for c in contexts[1:]], futures)
                contexts[0].run(work)
                # Where this is itself a thread of the pool, the pool may have no thread left to start a future with.
                # There is nothing left to do for it, so it is cancelled instead of waited for.
                wait(f for f in futures if not f.cancel())
            except BaseException as error:  # Ctrl-C outside of a task
                with lock:
                    errors[-1], last = error, -1
                wait(f for f in futures if not f.cancel())
        if errors:
            raise errors[min(errors)]


class _State:
    """What the calls of this process share: the threads beside the calling ones, and whose turn it is."""

    def __init__(self) -> None:
        self.pool: Any = None
        self.size = 0  # the most threads that the pool may have
        self.pool_lock = threading.Lock()
        self.turn = threading.Lock()
        self.limit: Any = None  # what holds BLAS to one thread, while something does


_state = _State()
_inside: contextvars.ContextVar[bool] = contextvars.ContextVar("minigraph_parallel", default=False)


def _submit(tasks: list[Callable[[], None]], futures: list[Any]) -> None:
    """Start the tasks on threads of the pool, which is kept since starting threads takes longer than a small step.

    There is one pool. Where more threads are asked for than it has, a larger one takes its place, and the threads of
    the old one end. The `futures` are appended as they are made.
    """
    from concurrent.futures import ThreadPoolExecutor

    state = _state
    with state.pool_lock:  # a call from another thread must not replace the pool in between
        if len(tasks) > state.size:
            if state.pool is not None:
                state.pool.shutdown(wait=False)  # after what it has been given
            state.pool, state.size = ThreadPoolExecutor(len(tasks), thread_name_prefix="minigraph"), len(tasks)
        for task in tasks:
            futures.append(state.pool.submit(task))


def _after_fork() -> None:
    """Start afresh in a forked child, which has none of the pool's threads, and where a lock that was held stays so.

    If another thread of the parent held BLAS to one thread, the child frees it.
    """
    global _state
    limit, _state = _state.limit, _State()
    if limit is not None and not _inside.get():
        limit.restore_original_limits()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@functools.cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Hold BLAS to one thread. A call from another thread waits for its turn; one inside of this does not."""
    if _inside.get():
        yield
        return
    state = _state
    with state.turn, _blas().limit(limits=1, user_api="blas") as state.limit:
        token = _inside.set(True)
        try:
            yield
        finally:
            _inside.reset(token)
            state.limit = None


def available_cores() -> int:
    """How many cores this process may use, by its affinity and by the CPU quota of its container, if it has one."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # no affinity on this system
        cores = os.cpu_count() or 1
    for quota, period in _quotas():
        if quota > 0 and period > 0:
            cores = min(cores, max(1, -(-quota // period)))
    return cores


def _quotas(root: Path = Path("/")) -> Iterator[tuple[int, int]]:
    """The CPU quotas of Linux's control groups, version 2 and 1: (microseconds of CPU, in a period of microseconds).

    A process is in one group of each hierarchy, as /proc/self/cgroup says, and the quotas of all groups above it hold
    too. In a container the path may be that of the host, of which only the root can be seen.
    """
    groups = root / "sys/fs/cgroup"
    places = [(groups, "/"), (groups / "cpu", "/")]  # for a system that does not say
    with suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:  # version 2; the second place is that of a system with both
                places += [(groups, path), (groups / "unified", path)]
            elif "cpu" in controllers.split(","):
                places += [(groups / "cpu", path), (groups / controllers, path)]
    for folder in {base / above for base, path in places for above in _with_parents(path)}:
        with suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            if quota != "max":
                yield int(quota), int(period)
        with suppress(OSError, ValueError):
            yield int((folder / "cpu.cfs_quota_us").read_text()), int((folder / "cpu.cfs_period_us").read_text())


def _with_parents(path: str) -> list[str]:
    """`a/b`, `a` and `.` for the absolute path `/a/b`; the last alone for a path that leads out of the root."""
    parts = [part for part in path.split("/") if part]
    if ".." in parts:
        parts = []
    return ["/".join(parts[:n]) or "." for n in range(len(parts), -1, -1)]
