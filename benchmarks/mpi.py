"""What ranks cost: the all-reduce by its size, W2 on ranks against threads, and how much of the sum is hidden.

mpiexec -n 2 python benchmarks/mpi.py [--rounds 7] [--work W2] [--json FIGURES]

Ranks have one thread each, and are on one machine: the last part compares their clocks. One rank with as many threads
takes turns with them, within the same job.
"""

import argparse
import functools
import json
import os
import statistics
import time
from pathlib import Path

import harness
from harness import MODELS

if __name__ == "__main__":
    harness.clear_environment()  # before NumPy is loaded

import numpy as np
import systems
from mpi4py.MPI import COMM_WORLD

from minigraph.parallel import MPI, Threads, exchange, mpi

SIZES = [1 << k for k in (12, 16, 20, 23, 26)]  # bytes
BUCKETS = [1 << k for k in (18, 20, 21, 22, 24)]
SECONDS = 1.0  # that a turn lasts at least
RANK, RANKS = COMM_WORLD.rank, COMM_WORLD.size


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--work", choices=MODELS, default="W2")
    parser.add_argument("--json", type=Path, metavar="FIGURES", help="also a file with the figures, for scaling.py")
    args = parser.parse_args()
    comm = COMM_WORLD.Dup()
    for _ in range(2):  # the first time memory is fresh, as it is not in training
        reduces = {size: all_reduce(comm, size, args.rounds) for size in SIZES}
    work = Work(args.work)
    turns = work.turns(args.rounds)
    hidden = {bucket: work.hidden(bucket, args.rounds) for bucket in BUCKETS}
    if RANK:
        return
    if args.json:
        args.json.write_text(json.dumps({"work": args.work, "ranks": RANKS, "reduces": reduces, "turns": turns}))
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{RANKS} ranks on {harness.cpu_model()}{load}\n")
    print("all-reduce of gradients    minigraph              MPI's own Allreduce")
    for size, (own, theirs) in reduces.items():
        columns = [f"{t * 1e3:9.3f} ms {rate(size, t):6.2f} GB/s" for t in (own, theirs)]
        print(f"{size / 1e3:12,.0f} kB  {'   '.join(columns)}")
    print(f"\n{args.work}, images a second")
    for name, rates in turns.items():
        low, median, high = harness.quartiles([r / one for r, one in zip(rates, turns["threads"], strict=True)])
        print(f"{name:12}{statistics.median(rates):8,.0f}   {median:.3f} ({low:.3f} to {high:.3f}) times threads")
    print("\nms that all wait for the sum once the last rank has its gradients")
    for bucket, (sent_early, sent_late) in hidden.items():
        print(f"buckets of {bucket / 1e3:8,.0f} kB: {sent_early * 1e3:6.2f}, sent at the end {sent_late * 1e3:6.2f}")


def rate(size, seconds):
    """GB/s that a rank sends: of a sum over P ranks each sends at least 2 (P - 1) / P."""
    return 2 * (RANKS - 1) / RANKS * size / seconds / 1e9


def all_reduce(comm, size, rounds):
    """Seconds of an all-reduce of so many bytes, which each rank holds: minigraph's and MPI's. The median of rounds."""
    gradients = np.zeros(size // 4, np.float32)
    layout = exchange.Layout([gradients])
    shares = [range(rank, rank + 1) for rank in range(RANKS)]
    result = np.empty_like(gradients)

    def own():
        total = exchange.GradientSum(comm, layout, shares)
        total.add(RANK, layout.buckets[0], gradients)
        total.finish()

    times = [], []
    for _ in range(rounds + 1):
        for run, found in zip((own, lambda: comm.Allreduce(gradients, result)), times, strict=True):
            repeat = max(3, min(300, (1 << 24) // size))
            mpi.gather(comm, None)
            begin = time.perf_counter()
            for _ in range(repeat):
                run()
            found.append((time.perf_counter() - begin) / repeat)
    return [statistics.median(found[1:]) for found in times]


class Work:
    """A training step of the benchmarks, on ranks of one thread and on threads of rank 0."""

    def __init__(self, work):
        arguments = systems.arguments(work, np.random.default_rng(0))
        x, y = arguments.pop("x"), arguments.pop("y")
        self.batch = len(x)
        self.comm = COMM_WORLD.Dup()
        self.on_ranks = MPI(self.comm, threads=1)
        self.steps = {}
        for name, executor in (("one thread", Threads(1)), ("threads", Threads(RANKS)), ("ranks", self.on_ranks)):
            system = systems.Minigraph(1, 64)
            system.options["executor"] = executor
            self.steps[name] = functools.partial(system.trainer(MODELS[work][0], **arguments), x, y)

    def turns(self, rounds):
        """Images a second, by round."""
        found = {name: [] for name in self.steps}
        for round in range(rounds + 1):
            for name, step in self.steps.items():
                mpi.gather(self.comm, None)
                steps, begin, going = 0, time.perf_counter(), True
                while going and (RANK == 0 or name == "ranks"):
                    step()
                    steps += 1
                    going = time.perf_counter() - begin < SECONDS
                    if name == "ranks":
                        going = mpi.gather(self.comm, going)[0]
                elapsed = time.perf_counter() - begin
                mpi.gather(self.comm, None)
                if round:
                    found[name].append(steps * self.batch / elapsed)
        return found

    def hidden(self, bucket, rounds):
        """Seconds of waiting for the sum with a size of buckets: sent as soon as it is final, and sent at the end."""
        exchange.BUCKET = bucket
        self.on_ranks._layouts.clear()
        waits = {exchange.Part: [], Late: []}
        for part in [*waits] * (rounds + 1):
            mpi.Part = part
            with timed(exchange.GradientSum, "finish") as times:
                self.steps["ranks"]()
            begins, ends = zip(*mpi.gather(self.comm, times[0]), strict=True)
            waits[part].append(max(ends) - max(begins))
        mpi.Part, exchange.BUCKET = exchange.Part, 1 << 20
        return [statistics.median(found[1:]) for found in waits.values()]


class Late(exchange.Part):
    """A part whose gradients are sent when it is over."""

    over = False

    def add(self, k, g):
        if self.over:
            super().add(k, g)

    def finish(self, grads):
        self.over = True
        super().finish(grads)


class timed:
    """Inside it, a method notes when it begins and ends."""

    def __init__(self, owner, name):
        self.owner, self.name, self.method, self.times = owner, name, getattr(owner, name), []

    def __enter__(self):
        def method(*args):
            begin = time.perf_counter()
            result = self.method(*args)
            self.times.append((begin, time.perf_counter()))
            return result

        setattr(self.owner, self.name, method)
        return self.times

    def __exit__(self, *error):
        setattr(self.owner, self.name, self.method)


if __name__ == "__main__":
    main()
