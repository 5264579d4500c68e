"""The processes that train together under mpiexec: what each does, what they share, and how they end."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import pickle
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .. import parallel, tree
from ..parallel import mpi
from .errors import Stop

T = TypeVar("T")

GRACE = 2.0  # seconds that a rank which has failed waits for the others, which may have failed alike
ALIGNMENT = 64  # bytes: where arrays begin in shared memory


class Ranks:
    """The ranks of a training, or this process alone, for which each method does the plain thing.

    Its methods are collective: all ranks call them in the same order. Errors are too: what one rank raises in them, all
    raise.

    Attributes:
        rank, size: the number of this rank, and of all. Rank 0 alone prints, and writes the files of the run.

    Raises Stop where mpiexec has started this process, and mpi4py is missing or of another MPI.
    """

    def __init__(self) -> None:
        try:
            world = mpi.world()
        except (ImportError, RuntimeError) as error:
            raise Stop(str(error)) from error
        self._comm = None if world is None else world.Dup()
        self._end = None if world is None else world.Dup()  # apart, since other messages may be under way at the end
        self.rank: int = 0 if world is None else world.rank
        self.size: int = 1 if world is None else world.size

    def executor(self, threads: int | None = None) -> parallel.Executor:
        """What runs the parts of a batch: these ranks, with so many threads each; by default on all cores."""
        return parallel.Threads(threads) if self._comm is None else parallel.MPI(self._comm, threads)

    def lead(self, f: Callable[[], T]) -> T:
        """`f()`, called by rank 0 alone; the others get what it returns, pickled, or raise what it raises."""
        if self._comm is None:
            return f()
        return mpi.values_of(self._comm, mpi.outcome(f) if self.rank == 0 else mpi.Outcome())[0]

    def share(self, f: Callable[[], T]) -> T:
        """`f()`, called by one rank of each machine; its arrays are in memory that all ranks there share, read only.

        This is for data sets. The memory is that of a file in the folder for temporary files, which has no name any
        more, and goes when the last rank of the machine ends.
        """
        if self._comm is None:
            return f()
        from mpi4py.MPI import COMM_TYPE_SHARED

        node = self._comm.Split_type(COMM_TYPE_SHARED)
        made = mpi.outcome(lambda: _stored(f()) if node.rank == 0 else None)
        mpi.values_of(self._comm, mpi.Outcome(error=made.error))
        path, data, places = mpi.gather(node, made.value)[0]
        opened = mpi.outcome(lambda: _mapped(path, data, places))
        mpi.gather(node, None)  # all have opened it
        if node.rank == 0:
            Path(path).unlink()
        node.Free()
        mpi.values_of(self._comm, mpi.Outcome(error=opened.error))
        return opened.value

    def largest(self, number: int) -> int:
        """The largest of the numbers of all ranks."""
        return number if self._comm is None else max(mpi.gather(self._comm, number))

    def check_same(self, what: str, facts: Callable[[], Mapping[str, Any]]) -> None:
        """Raise Stop unless all ranks have the same `facts()`; `what` are they, in the message."""
        if self._comm is None:
            return
        every = mpi.values_of(self._comm, mpi.outcome(lambda: dict(facts())))
        for rank, theirs in enumerate(every):
            for name in {**every[0], **theirs}:
                here, there = (str(f.get(name, "missing")) for f in (every[0], theirs))
                if here != there:
                    raise Stop(f"the ranks differ in {what}: {name} is {here} on rank 0 and {there} on rank {rank}")

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """Inside it, only rank 0 prints."""
        with contextlib.ExitStack() as stack:
            if self.rank:
                stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
            yield

    def end(self, code: int, head: str, text: str, say: Callable[[str], None]) -> int:
        """End with an exit code, and where this rank failed with a message `head: text`. Returns the code of all ranks.

        If all ranks come to their end, rank 0 says the message of the lowest one that has failed. Where the others wait
        for this one, it says its own and ends the job.
        """

        def say_for(rank: int | None, head: str, text: str) -> None:
            say(": ".join(part for part in (head + ("" if rank is None else f" on rank {rank}"), text) if part))

        if self._end is None:
            if head:
                say_for(None, head, text)
            return code
        barrier = self._end.Ibarrier()
        late = time.monotonic() + GRACE
        while not barrier.Test():
            if code and time.monotonic() > late:
                say_for(self.rank, head, text)
                self._end.Abort(code)
            time.sleep(0.001)
        every = mpi.gather(self._end, (code, head, text))
        first = next((rank for rank, (number, *_) in enumerate(every) if number), 0)
        if self.rank == 0 and every[first][0]:
            alike = all(number == every[first][0] for number, *_ in every)
            say_for(None if alike else first, *every[first][1:])
        return every[first][0]


def _stored(value: Any) -> tuple[str, bytes, list[tuple[int, int]]]:
    """A new file with the arrays of `value`, the rest of it, and where each of the arrays lies in the file."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    places = []
    with tempfile.NamedTemporaryFile(prefix="minigraph-", delete=False) as file:
        try:
            for buffer in buffers:
                file.write(bytes(-file.tell() % ALIGNMENT))
                start = file.tell()
                file.write(buffer.raw())
                places.append((start, file.tell()))
            file.write(b"\0")  # an empty file cannot be mapped
        except BaseException:
            Path(file.name).unlink()
            raise
    return file.name, data, places


def _mapped(path: str, data: bytes, places: list[tuple[int, int]]) -> Any:
    with open(path, "rb") as file:
        memory = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return pickle.loads(data, buffers=[memory[start:stop] for start, stop in places])


def code() -> dict[str, Any]:
    """What has to be the same on all ranks: versions, arithmetic, and the source of the modules."""
    facts: dict[str, Any] = {"Python": platform.python_version(), "NumPy": np.__version__, "arithmetic": _arithmetic()}
    main = getattr(sys.modules["__main__"], "__file__", None)
    roots = [Path(__file__).resolve().parents[1], *([Path(main).resolve().parent] if main else [])]
    for module in list(sys.modules.values()):
        file = Path(getattr(module, "__file__", None) or "")
        root = next((root for root in roots if root in file.parents), None)
        if root and file.suffix == ".py" and "site-packages" not in file.relative_to(root).parts:
            facts[f"{file.relative_to(root.parent)}"] = hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest()
    return facts


def _arithmetic() -> str:
    """A hash of what some operations give. BLAS and NumPy choose their loops by the CPU, and so the last bits."""
    a = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    return parallel.Threads(1).run(lambda _: digest(a @ a, np.exp(a), np.tanh(a), a.sum(0), np.sqrt(a * a)), 1)[0]


def digest(*trees: Any) -> str:
    """A hash of the arrays and values of trees."""
    state = hashlib.blake2b(digest_size=8)
    for path, leaf in tree.items(trees):
        state.update(f"{path} {getattr(leaf, 'dtype', leaf)} {np.shape(leaf)}".encode())
        if tree.is_array(leaf):
            state.update(np.ascontiguousarray(leaf).data)
    return state.hexdigest()
