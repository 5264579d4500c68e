"""Training steps on several cores: a batch split into micro-batches, one a thread at a time.

Each micro-batch goes through the whole forward and backward pass on one thread, with BLAS held to one thread, so that
every operation runs in parallel (NumPy leaves the interpreter lock in ufuncs, copies and products) and its arrays stay
small enough for the cache. Three pieces, kept apart: `split` the batch, an executor that runs the pieces, `Sum` their
results in order.
"""

from __future__ import annotations

import contextvars
import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from . import random, tape, tree
from .tensor import Tensor
from .transforms import _vjp, one_number


def value_and_grad(
    loss_fn: Callable[..., Any],
    *,
    threads: int | None = None,
    microbatch: int | None = None,
    has_aux: bool = False,
) -> Callable[..., Any]:
    """`minigraph.value_and_grad` of a mean over a batch, computed on several threads.

    Args:
        loss_fn: called as `loss_fn(params, *batch)` with a part of the batch; returns the mean loss of its examples,
            with `has_aux` `(loss, aux)`.
        threads: how many work at once; by default `available_cores()`.
        microbatch: examples in a part, the last one maybe fewer; by default 64, or the batch divided among the threads
            where that is less. The last bits of the result depend on it, and what batch normalisation does.
        has_aux: see `Sum` for how the aux of the parts become one.

    Returns:
        a function of `(params, *batch)`, batch being trees of arrays with one leading length, that returns
        `(loss, gradients)`, or `((loss, aux), gradients)`. The gradients are views of one flat array where params have
        one dtype, which an optimizer's step reads in one pass.

    The result is that of the unsplit batch to rounding, if loss_fn is a mean over its examples (batch normalisation is
    not: its statistics are then those of each part, "ghost batch norm", Hoffer et al. 2017). For a given micro-batch it
    is bitwise the same from run to run, whatever the number of threads: the parts are summed in their order, and random
    operations in part i draw from a generator seeded by i and one number drawn from the caller's generator. Calls from
    several threads of the user's run one after the other, since the threads of BLAS are a setting of the process.

    Raises:
        ValueError: threads or microbatch below 1, arrays of different lengths, an empty batch.
        TypeError: a loss that is not one floating number; inside another transform, or with Tensors that require a
            gradient: the result cannot be differentiated again.
        Exception: whatever the first failing part raises.
    """
    executor = _executor("value_and_grad", threads, microbatch)

    @functools.wraps(loss_fn)
    def step(params: Any, *batch: Any) -> Any:
        leaves = tree.leaves((params, batch))
        if tape.flags.get() & tape.NESTED or any(type(x) is Tensor and x.requires_grad for x in leaves):
            raise TypeError(
                "parallel.value_and_grad cannot be differentiated, inside a transform or through a Tensor that "
                "requires a gradient: use minigraph.value_and_grad"
            )
        n, size = _sizes("value_and_grad", batch, executor, microbatch)
        total = Sum()
        use_generator = _generators()

        def run(i: int) -> tuple[float, Any, Any, Any]:
            part = split(batch, i * size, (i + 1) * size)
            share = min(size, n - i * size) / n
            with use_generator(i):
                loss, pullback, *aux = _vjp(lambda p: loss_fn(p, *part), (params,), (), has_aux, own=False)
                one_number("loss_fn", loss)
                # The share of the examples goes in as the loss's gradient: what comes out needs only adding up.
                (grads,) = pullback(np.asarray(share, loss.dtype), retain_graph=False)
            return share, loss, aux[0] if aux else None, grads

        executor.run(run, -(-n // size), lambda part: total.add(*part))
        return ((total.loss, total.aux) if has_aux else total.loss), total.grads

    return step


def map(f: Callable[..., Any], *batch: Any, threads: int | None = None, microbatch: int | None = None) -> Any:
    """`f(*batch)` on several threads: calls f with parts of the batch and concatenates its results. For inference.

    Args:
        f: takes trees of arrays to a tree of arrays, one entry an example along every leading axis.
        batch, threads, microbatch: as in `value_and_grad`, random operations too.

    Raises:
        ValueError: as `value_and_grad`, or a result that has not the leading length of its part.
        Exception: whatever the first failing part raises.
    """
    executor = _executor("map", threads, microbatch)
    n, size = _sizes("map", batch, executor, microbatch)
    use_generator = _generators()
    parts: list[Any] = []

    def run(i: int) -> Any:
        with use_generator(i):
            result = f(*split(batch, i * size, (i + 1) * size))
        expected = min(size, n - i * size)
        for path, a in tree.items(result):
            if np.shape(a)[:1] != (expected,):
                at = f" at {path}" if path else ""
                raise ValueError(f"parallel.map: f gave {tape.describe(a)}{at} for a part of {expected} examples")
        return result

    executor.run(run, -(-n // size), parts.append)
    return tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def split(batch: tuple[Any, ...], start: int, stop: int) -> tuple[Any, ...]:
    """The examples from `start` to `stop` of every array of the batch, as views."""
    return tree.map(lambda a: a[start:stop], batch)


class Sum:
    """Adds up the results of the parts, which come in order.

    The loss and floating aux (batch-norm's running statistics, an accuracy) are averaged, each part weighing as many
    examples as it has; integer and bool aux (counts of correct answers) are summed. What every part hands back
    unchanged (frozen weights in a model's state: the same array) stays that array.
    """

    def __init__(self) -> None:
        self.losses: list[Any] = []
        self.auxes: list[Any] = []
        self.shares: list[float] = []
        self.grads: Any = None

    def add(self, share: float, loss: Any, aux: Any, grads: Any) -> None:
        """Take in one part: its share of the examples, loss, aux, and gradient of share * loss."""
        self.shares.append(share)
        self.losses.append(loss)
        self.auxes.append(aux)
        if self.grads is None:
            one_dtype = len({g.dtype for g in tree.leaves(grads)}) == 1
            self.grads = tree.flatten(grads)[1] if one_dtype else tree.map(np.array, grads)
            return
        for total, g in zip(tree.leaves(self.grads), tree.leaves(grads), strict=True):
            total += g

    @property
    def loss(self) -> Any:
        return self._merge(*self.losses)

    @property
    def aux(self) -> Any:
        return tree.map(self._merge, *self.auxes)

    def _merge(self, *parts: Any) -> Any:
        if len(parts) > 1 and all(p is parts[0] for p in parts):
            return parts[0]
        shapes = {np.shape(p) for p in parts}
        if len(shapes) > 1:
            raise ValueError(f"parallel.value_and_grad: aux should have one shape in all parts, got {sorted(shapes)}")
        arrays = np.stack(parts)
        if arrays.dtype.kind == "f":
            arrays *= np.asarray(self.shares, arrays.dtype).reshape(-1, *[1] * (arrays.ndim - 1))
        return np.asarray(arrays.sum(0))


class Threads:
    """Runs numbered tasks on a pool of threads, with BLAS at one thread each."""

    def __init__(self, threads: int):
        self.threads = threads

    def run(self, task: Callable[[int], Any], n: int, collect: Callable[[Any], None]) -> None:
        """`collect(task(i))` for i = 0 ... n - 1 in this order; the tasks themselves run in any.

        A thread that is ahead keeps its result until the ones before it are collected. When a task raises, no further
        one starts, and the exception of the lowest number is raised here, after every thread has finished its task.
        """
        from concurrent.futures import wait  # here, not above: `import minigraph` stays cheap

        lock = threading.Lock()
        numbers = itertools.count()  # shared by the threads: its next() is atomic, with the interpreter lock or without
        waiting: dict[int, Any] = {}
        errors: dict[int, BaseException] = {}
        stop = n - 1  # the last number to start with
        collected = 0

        def work() -> None:
            nonlocal collected, stop
            for i in numbers:
                if i > stop:
                    return
                try:
                    result = task(i)
                    with lock:
                        waiting[i] = result
                        while collected in waiting:
                            collect(waiting.pop(collected))
                            collected += 1
                except BaseException as error:
                    with lock:
                        errors[i] = error
                        stop = min(stop, i)
                    return

        with _one_blas_thread():
            contexts = [contextvars.copy_context() for _ in range(min(self.threads, n))]
            futures = [_pool(self.threads).submit(c.run, work) for c in contexts[1:]]
            try:
                contexts[0].run(work)
                # One not started yet has nothing left to do, and never starts if this is itself a thread of the pool.
                wait(f for f in futures if not f.cancel())
            except BaseException as error:  # Ctrl-C outside of a task
                with lock:
                    errors[-1], stop = error, -1
                wait(f for f in futures if not f.cancel())
        if errors:
            raise errors[min(errors)]


@functools.cache
def _pool(threads: int) -> Any:
    """The workers beside the calling thread; kept, since starting threads costs more than a small step."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="minigraph")


@functools.cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


_turn = threading.Lock()
_inside: contextvars.ContextVar[bool] = contextvars.ContextVar("minigraph_parallel", default=False)


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """BLAS at one thread: a setting of the process, so calls from several threads take turns at it."""
    if _inside.get():
        yield
        return
    with _turn, _blas().limit(limits=1, user_api="blas"):
        token = _inside.set(True)
        try:
            yield
        finally:
            _inside.reset(token)


def available_cores() -> int:
    """The cores this process may use: its affinity, and the CPU quota of its control group where there is one."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # no affinity on this system
        cores = os.cpu_count() or 1
    for quota, period in _quotas():
        if quota > 0 and period > 0:
            cores = min(cores, max(1, -(-quota // period)))
    return cores


def _quotas() -> Iterator[tuple[int, int]]:
    """(microseconds of CPU, period in microseconds) of control groups, version 2 and 1."""
    root = Path("/sys/fs/cgroup")
    try:
        quota, period = (root / "cpu.max").read_text().split()
        if quota != "max":
            yield int(quota), int(period)
    except (OSError, ValueError):
        pass
    with suppress(OSError, ValueError):
        yield (
            int((root / "cpu/cpu.cfs_quota_us").read_text()),
            int((root / "cpu/cpu.cfs_period_us").read_text()),
        )


def _executor(name: str, threads: int | None, microbatch: int | None) -> Threads:
    for what, n in (("threads", threads), ("microbatch", microbatch)):
        if n is not None and (not isinstance(n, (int, np.integer)) or n < 1):
            raise ValueError(f"parallel.{name}: {what} should be an int of at least 1, got {n!r}")
    return Threads(threads or available_cores())


def _generators() -> Callable[[int], Any]:
    """For each number a context in which random operations draw from a generator of its own."""
    seed = int(random.drawing_from(None).integers(1 << 63))
    return lambda i: random.use(np.random.default_rng([seed, i]))


def _sizes(name: str, batch: tuple[Any, ...], executor: Threads, microbatch: int | None) -> tuple[int, int]:
    """The common length of the batch's arrays, and that of its parts."""
    lengths = {path or "0": np.shape(a)[:1] for path, a in tree.items(batch)}
    sizes = set(lengths.values())
    if len(sizes) != 1 or sizes <= {(), (0,)}:
        got = {path: shape[0] if shape else "no axis" for path, shape in lengths.items()}
        raise ValueError(f"parallel.{name}: the batch's arrays should have one leading length of at least 1, got {got}")
    ((n,),) = sizes
    return n, microbatch or min(64, -(-n // executor.threads))
