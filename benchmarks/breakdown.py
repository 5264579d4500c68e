"""Where a training step of minigraph spends its time: each operation by shape, forward and backward.

python benchmarks/breakdown.py W2 [--threads 2] [--microbatch 64] [--steps 5] [--fresh]

The times of all threads are added up; what is left of threads x step is the tape, Python, and waiting. Timing every
call costs some microseconds each.
"""

import argparse
import threading
import time
from collections import Counter
from types import FunctionType

import harness
from harness import MODELS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=MODELS)
    parser.add_argument("--threads", type=int, default=len(harness.cores()))
    parser.add_argument("--microbatch", type=int)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--fresh", action="store_true", help="memory from the C library instead of recycled")
    args = parser.parse_args()
    harness.clear_environment()
    harness.pin(args.threads)
    import numpy as np
    import systems

    import minigraph as mg
    from minigraph import fit
    from minigraph.kernels import memory, norm
    from minigraph.parallel import batch as parallel_batch

    if args.fresh:
        memory.SMALL = 1 << 60
    clock = Clock()
    for op in mg.primitives().values():
        op.forward, op.rule = clock.forward(op.name, op.forward), clock.backward(op.name, op.rule)
    norm.batch_stats = clock.timed("batch_norm: statistics", norm.batch_stats)
    fit.sum_to = clock.timed("sum over broadcast axes", fit.sum_to)
    parallel_batch.combine = clock.timed("sum of the parts' gradients", parallel_batch.combine)
    mg.optim.SGD.step = clock.timed("optimizer", mg.optim.SGD.step)

    arguments = systems.arguments(args.work, np.random.default_rng(0))
    step, _ = systems.Minigraph(args.threads, args.microbatch).train(MODELS[args.work][0], **arguments)
    step(), step()
    clock.seconds.clear(), clock.calls.clear()
    faults, start = harness._usage().ru_minflt, time.perf_counter()
    for _ in range(args.steps):
        step()
    total = (time.perf_counter() - start) / args.steps
    faults = (harness._usage().ru_minflt - faults) / args.steps
    print(f"{args.work}: {1e3 * total:.1f} ms a step, {args.threads} threads, {faults:.0f} page faults a step\n")
    available = args.threads * total
    for name, seconds in clock.seconds.most_common():
        print(line(name, seconds / args.steps, available, clock.calls[name] / args.steps))
    print(line("the tape, Python, waiting", available - clock.seconds.total() / args.steps, available, 0))


def line(name, seconds, available, calls):
    return f"{seconds / available:7.1%}{1e3 * seconds:9.2f} ms{calls:7.0f} calls  {name}"


class Clock:
    """Adds up the time of functions by name; that of a timed function inside another counts for the inner one only."""

    def __init__(self):
        self.seconds, self.calls = Counter(), Counter()
        self.lock = threading.Lock()
        self.local = threading.local()  # .inner: the time of timed functions inside the running one

    def timed(self, name, f, count=1):
        def wrapper(*args, **kwargs):
            label = name(*args) if callable(name) else name
            outer, self.local.inner = getattr(self.local, "inner", 0.0), 0.0
            start = time.perf_counter()
            try:
                return f(*args, **kwargs)
            finally:
                elapsed = time.perf_counter() - start
                with self.lock:
                    self.seconds[label] += elapsed - self.local.inner
                    self.calls[label] += count
                self.local.inner = outer + elapsed

        return wrapper

    def forward(self, name, f):
        return self.timed(lambda *args: f"{name} {shapes(args)}", f)

    def backward(self, name, rule):
        """The rule, and the functions of gradients that it may return."""
        labelled = self.timed(label := lambda g, y, *args: f"{name} {shapes(args)} backward", rule)

        def wrapper(g, y, *args, **kwargs):
            pulled = labelled(g, y, *args, **kwargs)
            title = label(g, y, *args)
            if type(pulled) is FunctionType:
                timed = self.timed(title, pulled, count=0)
                return (lambda needed: timed(needed)) if pulled.__code__.co_argcount else timed
            if type(pulled) is tuple:
                return tuple(self.timed(title, p, count=0) if type(p) is FunctionType else p for p in pulled)
            return pulled

        return wrapper


def shapes(args):
    return " ".join("x".join(map(str, a.shape[1:] if a.ndim > 2 else a.shape)) for a in args if hasattr(a, "shape"))


if __name__ == "__main__":
    main()
