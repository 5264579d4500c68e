"""Predict how training scales on ranks: a simulation of steps, with the seconds of this machine and a given network.

python benchmarks/scaling.py [--check FIGURES]

Strong scaling divides one batch among the ranks; weak scaling gives each rank the same. FIGURES are those of
`mpiexec -n 2 python benchmarks/mpi.py --json FIGURES`, whose steps are predicted as a check. A rank is a machine with a
network card of its own. docs/scaling.md says what the simulation knows and what it leaves out.
"""

import argparse
import heapq
import json
import math
import statistics
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import harness

if __name__ == "__main__":
    harness.clear_environment()  # before NumPy is loaded

import numpy as np
import systems

import minigraph as mg
from minigraph import data, optim, parallel
from minigraph.parallel.exchange import Layout
from minigraph.parallel.pairwise import blocks, values
from minigraph.transforms import pulled_back

RANKS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Network:
    """Seconds until a message arrives, seconds of the sender's core for each, bytes a second in each direction."""

    latency: float
    overhead: float
    bandwidth: float


NETWORKS = {
    "10 Gb": Network(latency=30e-6, overhead=5e-6, bandwidth=0.94 * 10e9 / 8),  # TCP over Ethernet
    "100 Gb": Network(latency=10e-6, overhead=3e-6, bandwidth=0.94 * 100e9 / 8),
}


@dataclass(frozen=True)
class Step:
    """A training step: seconds of a thread for a part of the batch, and of what every rank does alike.

    That is to `load` a part, for all parts since each rank makes the whole batch, and `serial`, the optimizer's step.
    `ready` lists (bytes, share of the part's seconds after which they are final) for each bucket of gradients.
    """

    part: float
    serial: float
    ready: list[tuple[float, float]]
    load: float = 0.0
    add: float = 5e9  # bytes a second of adding one array to another


def simulate(step, parts, ranks, threads, network):
    """Seconds of a step on so many ranks, of which each has so many threads and its share of the parts."""
    size, longer = divmod(parts, ranks)
    starts = [rank * size + min(rank, longer) for rank in range(ranks + 1)]
    compute = [step.part * math.ceil((stop - start) / threads) for start, stop in pairwise(starts)]
    alike = step.serial + step.load * parts
    if ranks == 1:
        return compute[0] + alike
    own = [blocks(start, stop, parts) for start, stop in pairwise(starts)]
    missing = [[sum(map(len, own))] * ranks for _ in step.ready]  # blocks, of each bucket at each rank
    ends, sent, received = [*compute], [0.0] * ranks, [0.0] * ranks
    events, count = [], 0

    def at(moment, *event):
        nonlocal count
        heapq.heappush(events, (moment, count := count + 1, *event))

    for rank, start in enumerate(starts[:-1]):
        for block in own[rank]:
            round = (values(block, parts)[-1] - start) // threads
            for b, (_, share) in enumerate(step.ready):
                at((round + share) * step.part, rank, b, "is final")
    while events:
        now, _, rank, b, what = heapq.heappop(events)
        chunk = step.ready[b][0] / ranks
        if what == "is final" or what == "is summed":
            for k in range(1, ranks):
                other = (rank + k) % ranks
                sent[rank] = max(now, sent[rank]) + network.overhead + chunk / network.bandwidth
                first = sent[rank] - chunk / network.bandwidth + network.latency
                received[other] = max(first, received[other]) + chunk / network.bandwidth
                at(received[other], other, b, "block came" if what == "is final" else "sum came")
            if what == "is final":
                at(now, rank, b, "block came")
        elif what == "block came":
            missing[b][rank] -= 1
            if not missing[b][rank]:
                at(now + chunk / step.add, rank, b, "is summed")
        ends[rank] = max(ends[rank], now)
    last = 2 * math.ceil(math.log2(ranks)) * (network.latency + network.overhead)  # that all have succeeded, and aux
    return max(ends) + last + alike


def measured(batch, microbatch=64):
    """A step of W2's network, its optimizer that of training (Muon, beside SGD), its loader that of training.

    Times are those of the thread and not of the clock, so that another program takes as little as can be from them.
    """
    rng = np.random.default_rng(0)
    module = systems.model_module("airnet")
    params, state = module.init(rng)
    x, y = rng.standard_normal((microbatch, 32, 32, 3), np.float32), rng.integers(0, 10, microbatch)
    buckets = Layout(params).buckets
    bucket_of = {k: bucket for bucket in buckets for k in bucket.leaves}

    def loss_fn(params):
        return mg.cross_entropy(module.apply(params, state, x, train=True)[0], y)

    def part(_):
        finals = [0.0] * len(buckets)

        def ready(k, g):
            finals[bucket_of[k].number] = time.thread_time() - begin  # the last of a bucket stays

        begin = time.thread_time()
        _, pullback = pulled_back(loss_fn, (params,), own=False)
        (grads,) = pullback(np.ones((), np.float32), retain_graph=False, ready=ready)
        seconds = time.thread_time() - begin
        return seconds, [final / seconds for final in finals], grads

    runs = parallel.Threads(1).run(part, 8)[1:]
    shares = np.median([shares for _, shares, _ in runs], 0).tolist()
    sizes = [(bucket.stop - bucket.start) * bucket.dtype.itemsize for bucket in buckets]
    opt = optim.Groups({"ndim >= 2": optim.Muon(0.1), "*": optim.SGD(0.1, momentum=0.9)})
    before = opt.init(params)
    images = rng.integers(0, 256, (2 * batch, 32, 32, 3)).astype(np.uint8)
    loader = data.Loader(images, np.zeros(len(images), int), batch, shuffle=True, padding=2, flip=True)
    part = statistics.median(seconds for seconds, *_ in runs)
    serial = clock(lambda: opt.step(params, runs[0][2], before))
    load = clock(lambda: [*loader]) / len(loader) / (batch / microbatch)
    return Step(part, serial, [*zip(sizes, shares, strict=True)], load)


def clock(f, repeat=5):
    """The median of seconds of this thread that f() takes."""

    def once(_):
        begin = time.thread_time()
        f()
        return time.thread_time() - begin

    return statistics.median(parallel.Threads(1).run(once, repeat))


def transformer(flops):
    """GPT-2 small (124 million parameters, 1,024 tokens, tied embeddings), on a thread of so many FLOP/s.

    A part is a sequence: 6 operations a token and parameter, of which the forward pass is a third. The gradients of a
    layer are final one after the other; those of the embeddings, which are used first and last, at the very end. Adam
    reads and writes seven arrays of the size of the parameters, at 20 GB/s. To load a text costs nothing.
    """
    layers, layer, embedding = 12, 7_087_872, 39_385_344
    size = layers * layer + embedding
    part = 6 * size * 1024 / flops
    ready = [(4.0 * layer, 1 / 3 + 2 / 3 * (k + 1) / (layers + 1)) for k in range(layers)]
    return Step(part, 7 * 4 * size / 20e9, [*ready, (4.0 * embedding, 1.0)])


def table(title, step, parts, threads):
    """Strong scaling of so many parts, and weak scaling of as many on each rank."""
    parts_take = f"a part takes {step.part:.3f} s, to load it {step.load * 1e3:.2f} ms"
    print(f"\n{title}; {parts_take}, the optimizer {step.serial:.3f} s")
    print("ranks" + "".join(f"{kind}, {name}".rjust(25) for kind in ("strong", "weak") for name in NETWORKS))
    one = simulate(step, parts, 1, threads, None)
    for ranks in RANKS:
        cells = []
        for times in (1, ranks):
            for network in NETWORKS.values():
                seconds = simulate(step, parts * times, ranks, threads, network)
                speed = times * one / seconds
                cells.append(f"{seconds:8.3f} s {speed:5.1f}x {speed / ranks:4.0%}".rjust(25))
        print(f"{ranks:5}" + "".join(cells))


def check(figures, step):
    """Predict the steps of benchmarks/mpi.py, with the network that its all-reduces show."""
    ranks = figures["ranks"]
    reduces = {int(size): own for size, (own, _) in figures["reduces"].items()}
    small, large = min(reduces), 1 << 23
    latency = reduces[small] / 4  # of four messages one after the other: the sums, and that all have succeeded
    bandwidth = 2 * (ranks - 1) / ranks * large / max(reduces[large] - reduces[small], 1e-9)
    network = Network(latency, 0.0, bandwidth)
    batch = harness.MODELS[figures["work"]][1]
    part = batch / statistics.median(figures["turns"]["one thread"]) / 8
    predicted = batch / simulate(replace(step, part=part, serial=0.0, load=0.0), 8, ranks, 1, network)
    found = statistics.median(figures["turns"]["ranks"])
    print(f"check, {figures['work']} on {ranks} ranks: predicted {predicted:,.0f} images/s, measured {found:,.0f}")
    print(f"(all-reduces show {latency * 1e6:,.0f} us and {bandwidth / 1e9:.1f} GB/s)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", type=Path, metavar="FIGURES")
    parser.add_argument("--part", type=float, metavar="SECONDS", help="of W2's part, from a quieter moment")
    args = parser.parse_args()
    step = measured(1536)
    step = replace(step, part=args.part or step.part)
    print(f"{harness.cpu_model()}; W2's buckets are final at {[round(share, 2) for _, share in step.ready]} of a part")
    if args.check:
        check(json.loads(args.check.read_text()), step)
    table("W2, batch 1,536 in parts of 64, two threads a rank", step, 24, 2)
    table("GPT-2 small, 64 sequences, a rank of 0.4 TFLOP/s", transformer(4e11), 64, 1)
    table("GPT-2 small, 64 sequences, a rank of 4 TFLOP/s", transformer(4e12), 64, 1)


if __name__ == "__main__":
    main()
