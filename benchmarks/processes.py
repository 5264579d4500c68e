"""What threads lose to the interpreter lock: a step on two threads, against two processes of one thread side by side.

python benchmarks/processes.py W1 [--rounds 5] [--isa avx2]

Images a second of one process alone, of two at once (each on its own core), and of one process with two threads. The
last line has the threads to the processes, in each round.
"""

import argparse
import multiprocessing
import statistics
import time

import harness
import isa
from harness import MODELS

SECONDS = 2  # that a turn lasts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=MODELS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--isa", choices=["avx2"], help="as in train_step.py")
    args = parser.parse_args()
    if len(harness.cores()) < 2:
        parser.error("two cores are needed")
    harness.clear_environment()
    if args.isa:
        print(f"held to {args.isa} ({isa.limit(args.isa)})", flush=True)
    first, second = harness.cores()[:2]
    workers = [start(args.work, cores) for cores in ([first], [second], [first, second])]
    turns = {"one process": [], "two processes": [], "two threads": []}
    for _ in range(args.rounds):
        for name, some in zip(turns, (workers[:1], workers[:2], workers[2:]), strict=True):
            for pipe in some:
                pipe.send(SECONDS)
            turns[name].append(sum(pipe.recv() for pipe in some))
    for pipe in workers:
        pipe.send(None)
    for name, rates in turns.items():
        rate, of_one = statistics.median(rates), ratio(rates, turns["one process"])
        print(f"{name:15}{rate:9,.0f} images/s   {of_one} times one process")
    print(f"two threads     {ratio(turns['two threads'], turns['two processes'])} times two processes")


def ratio(rates, others):
    low, median, high = harness.quartiles([r / other for r, other in zip(rates, others, strict=True)])
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


def start(work, cores):
    pipe, theirs = multiprocessing.get_context("spawn").Pipe()
    harness.start(serve, theirs, work, cores)
    return pipe


def serve(pipe, work, cores):
    """Answers a number of seconds with the images a second of steps that last as long."""
    import os

    os.sched_setaffinity(0, cores)
    import numpy as np
    import systems

    arguments = systems.arguments(work, np.random.default_rng(0))
    step, _ = systems.Minigraph(len(cores), 64).train(MODELS[work][0], **arguments)
    step()
    while (seconds := pipe.recv()) is not None:
        steps, clock = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - clock) < seconds:
            step()
            steps += 1
        pipe.send(steps * len(arguments["x"]) / elapsed)


if __name__ == "__main__":
    main()
