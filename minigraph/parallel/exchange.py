"""The sum of the gradients of all ranks, which is formed while the backward passes are still going on."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import tree
from ..kernels import memory
from ..tensor import Tensor
from ..tree import Tree
from .pairwise import PairwiseTree, blocks, values

Flat = dict[np.dtype[Any], np.ndarray]  # the gradients of each dtype, side by side

PATIENCE = 0.01  # seconds of waiting in which a core is kept busy
BUCKET = 1 << 20  # bytes from which on a bucket is full; benchmarks/mpi.py measures it


@dataclass
class Bucket:
    """Gradients that are sent together: neighbours in the flat array of their dtype, from `start` to `stop`."""

    number: int
    dtype: np.dtype[Any]
    start: int
    stop: int
    leaves: list[int]

    def of(self, flat: Flat) -> np.ndarray:
        """This bucket of all gradients."""
        return flat[self.dtype][self.start : self.stop]

    def chunk(self, rank: int, ranks: int) -> slice:
        """The places of the bucket that `rank` adds up."""
        size = self.stop - self.start
        return slice(size * rank // ranks, size * (rank + 1) // ranks)


@dataclass
class Leaf:
    """A gradient: its shape and dtype, its place in the flat array of its dtype, and its bucket."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int
    stop: int
    bucket: Bucket

    def of(self, flat: Flat) -> np.ndarray:
        """This one of all gradients."""
        return flat[self.dtype][self.start : self.stop].reshape(self.shape)


class Layout:
    """Where the gradients of parameters lie: side by side in a flat array for each dtype, and in buckets.

    The buckets are filled from the last parameter to the first, since the backward pass comes to the last layers first.
    """

    def __init__(self, params: Tree) -> None:
        arrays = [x if isinstance(x, Tensor) else np.asarray(x) for x in tree.leaves(params)]
        self.sizes: dict[np.dtype[Any], int] = {}
        starts = []
        for a in arrays:
            starts.append(self.sizes.get(a.dtype, 0))
            self.sizes[a.dtype] = starts[-1] + a.size
        self.buckets: list[Bucket] = []
        self.leaves: list[Leaf] = []
        filling: dict[np.dtype[Any], Bucket] = {}
        for k, (a, start) in reversed([*enumerate(zip(arrays, starts, strict=True))]):
            bucket = filling.get(a.dtype)
            if bucket is None or (bucket.stop - bucket.start) * a.dtype.itemsize >= BUCKET:
                bucket = filling[a.dtype] = Bucket(len(self.buckets), a.dtype, start + a.size, start + a.size, [])
                self.buckets.append(bucket)
            bucket.start = start
            bucket.leaves.insert(0, k)
            self.leaves.insert(0, Leaf(a.shape, a.dtype, start, start + a.size, bucket))

    def empty(self) -> Flat:
        """Memory for all gradients."""
        return {dtype: memory.empty((size,), dtype) for dtype, size in self.sizes.items()}


class Part:
    """The gradients of one part of the batch, which come one by one and go on by the bucket.

    The gradients of a backward pass may share memory with one another. A part that is the left one of its pair, to
    which the other is added, copies them; so does one that is sent as it is.
    """

    def __init__(self, total: GradientSum, i: int) -> None:
        self._total = total
        self._i = i
        self._leaves = total.layout.leaves
        self._flat = total.layout.empty() if i % 2 == 0 or total.alone(i) else None
        self._grads: list[Any] = [None] * len(self._leaves)
        self._missing = [len(bucket.leaves) for bucket in total.layout.buckets]

    def add(self, k: int, g: np.ndarray) -> None:
        """Take in gradient k, which is final."""
        leaf = self._leaves[k]
        bucket = leaf.bucket
        if self._flat is not None:
            leaf.of(self._flat)[...] = g
        self._grads[k] = g
        self._missing[bucket.number] -= 1
        if not self._missing[bucket.number]:
            own = [self._grads[k] for k in bucket.leaves] if self._flat is None else bucket.of(self._flat)
            self._total.add(self._i, bucket, own)
        self._total.poll()

    def finish(self, grads: Tree) -> None:
        """Take in those of all gradients that have not come yet."""
        for k, g in enumerate(tree.leaves(grads)):
            if self._grads[k] is None:
                self.add(k, g)


class GradientSum:
    """The sum of the gradients of the n parts of a batch, of which each rank computes some neighbouring ones.

    The sum is the pairwise tree over the numbers of the parts, for any number of ranks, so that its bits are those of
    one process. Each rank sums up what is an aligned block of parts, which is a node of that tree. Then each rank
    collects its chunk of all nodes, combines them as the tree does, and sends the result to the others. In the terms of
    MPI this is a reduce-scatter and an all-gather (R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of Collective
    Communication Operations in MPICH", 2005), and where each rank holds one node it sends 2 (P - 1) / P times the
    gradients, the least that is possible.

    All of this is done by the bucket. A bucket is sent when its gradients are final in the last part of a block.
    Messages advance when `add` or `poll` is called, which costs no thread and no core.

    Args:
        comm: a communicator of MPI that nobody else uses.
        layout: that of the gradients.
        shares: the parts of each rank.
    """

    def __init__(self, comm: Any, layout: Layout, shares: Sequence[range]) -> None:
        self.layout = layout
        self._comm = comm
        self._n = shares[-1].stop
        self._blocks = [blocks(share.start, share.stop, self._n) for share in shares]
        self._tags = 1 + max(map(len, self._blocks))  # of each bucket: one a block of the sender, and one for the sum
        self._block_of = {i: block for block in self._blocks[comm.rank] for i in values(block, self._n)}
        self._own = {
            (block, bucket.number): PairwiseTree(len(values(block, self._n)), _add)
            for block in self._blocks[comm.rank]
            for bucket in layout.buckets
        }
        self._all = [PairwiseTree(self._n, _add) for _ in layout.buckets]
        self._sum = layout.empty()
        self._lock = threading.Lock()
        self._sends: list[Any] = []
        self._receives: list[Any] = []
        self._then: list[Callable[[], None]] = []  # what is to be done once each of them is there
        self._open = 0  # receives that are not there yet
        self._receive_all()

    def alone(self, i: int) -> bool:
        """Whether part i is a block by itself."""
        return len(values(self._block_of[i], self._n)) == 1

    def add(self, i: int, bucket: Bucket, value: Any) -> None:
        """Add a bucket of part i: a flat array, or a list of arrays where the part is not the left one of its pair."""
        block = self._block_of[i]
        own = self._own[block, bucket.number]
        if own.add(i - values(block, self._n).start, value):
            with self._lock:
                self._send(block, bucket, own.result)

    def poll(self) -> bool:
        """Let messages advance, unless another thread is doing it. Returns whether some have come."""
        if not self._open or not self._lock.acquire(blocking=False):
            return False
        try:
            come = self._receives[0].Testsome(self._receives) or ()
            for k in come:
                self._open -= 1
                self._then[k]()
            return len(come) > 0
        finally:
            self._lock.release()

    def finish(self) -> list[np.ndarray]:
        """The sum for each leaf of the parameters, once it is there.

        A rank whose parts have failed sends zeros in their place, because the others wait for it.
        """
        for block in self._blocks[self._comm.rank]:
            for bucket in self.layout.buckets:
                if not hasattr(self._own[block, bucket.number], "result"):
                    self._send(block, bucket, np.zeros(bucket.stop - bucket.start, bucket.dtype))
        while self._open:
            wait(self.poll)
        if self._sends:
            wait(lambda: self._sends[0].Testall(self._sends))
        return [leaf.of(self._sum) for leaf in self.layout.leaves]

    # ------------------------------------------------------------------------------- the messages

    def _receive_all(self) -> None:
        """Ask for all messages of this step: my chunk of each block of the others, and their chunks of the sum."""
        me, ranks = self._comm.rank, self._comm.size
        for bucket in self.layout.buckets:
            total, own = bucket.of(self._sum), bucket.chunk(me, ranks)
            for rank in range(ranks):
                if rank == me:
                    continue
                for tag, block in enumerate(self._blocks[rank]):
                    chunk = memory.empty((own.stop - own.start,), bucket.dtype)
                    self._receive(rank, bucket, tag, chunk, functools.partial(self._combine, block, bucket, chunk))
                self._receive(rank, bucket, self._tags - 1, total[bucket.chunk(rank, ranks)], lambda: None)

    def _send(self, block: tuple[int, int], bucket: Bucket, total: np.ndarray) -> None:
        """Send the sum of a block's parts, a bucket of it: to each rank its chunk."""
        tag = self._blocks[self._comm.rank].index(block)
        self._send_each(bucket, tag, lambda rank: total[bucket.chunk(rank, self._comm.size)])
        self._combine(block, bucket, total[bucket.chunk(self._comm.rank, self._comm.size)])

    def _combine(self, block: tuple[int, int], bucket: Bucket, chunk: np.ndarray) -> None:
        """Add my chunk of a block to the others, and send the sum of all blocks once it is complete."""
        level, number = block
        every = self._all[bucket.number]
        if every.add(number, chunk, level):
            mine = bucket.of(self._sum)[bucket.chunk(self._comm.rank, self._comm.size)]
            mine[...] = every.result
            self._send_each(bucket, self._tags - 1, lambda rank: mine)

    def _receive(self, rank: int, bucket: Bucket, tag: int, array: np.ndarray, then: Callable[[], None]) -> None:
        if array.size:
            self._receives.append(self._comm.Irecv(array.view(np.uint8), rank, bucket.number * self._tags + tag))
            self._then.append(then)
            self._open += 1

    def _send_each(self, bucket: Bucket, tag: int, array_for: Callable[[int], np.ndarray]) -> None:
        """Send an array to each of the other ranks; the next one first, so that not all begin with rank 0."""
        me, ranks = self._comm.rank, self._comm.size
        for rank in [*range(me + 1, ranks), *range(me)]:
            array = array_for(rank)
            if array.size:
                message = array.view(np.uint8)
                self._sends.append(self._comm.Isend(message, rank, bucket.number * self._tags + tag))


def wait(done: Callable[[], Any]) -> None:
    """Return once `done()` is true.

    At first the core is kept busy, as MPI's own waiting does: a long message advances a little with each call, and who
    sleeps may get the core back late. Where the others take longer, it is left to who needs it, and Ctrl-C is answered.
    """
    soon = time.monotonic() + PATIENCE
    while True:
        for _ in range(20):
            if done():
                return
        if time.monotonic() > soon:
            time.sleep(1e-4)


def _add(left: np.ndarray, right: Any) -> np.ndarray:
    """`left`, to which `right` has been added: a flat array, or its pieces one after the other."""
    if type(right) is not list:
        left += right
        return left
    stop = 0
    for g in right:
        start, stop = stop, stop + g.size
        part = left[start:stop].reshape(g.shape)
        part += g
    return left
