"""`train_cifar.py` on a small data set, with a fault: `mpiexec -n 2 python -m tests.training.ranks FAULT RANK ...`.

The fault happens on one rank, in its third step; the options of the script follow.
"""

import os
import resource
import signal
import sys
from pathlib import Path

import numpy as np

import train_cifar
from minigraph import optim, training, tree
from minigraph.parallel import mpi
from tests.killing import simplify

FAULT, RANK = sys.argv[1], int(sys.argv[2])


def at_step(n, fault):
    """`fault()` when an optimizer begins step n, counted from 0."""
    step = optim.Groups.step

    def faulty(self, params, grads, state):
        if state["step"] == n and mpi.launched() == RANK:
            fault()
        return step(self, params, grads, state)

    optim.Groups.step = faulty


def fail():
    raise MemoryError("there is no more")


def fail_in_a_part():
    cross_entropy = train_cifar.mg.cross_entropy

    def faulty(*args, **options):
        fail()
        return cross_entropy(*args, **options)

    train_cifar.mg.cross_entropy = faulty


def fill_the_disk():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))


def begin(**options):
    """Other options of the script on the rank."""
    if mpi.launched() == RANK:
        sys.argv += [f"--{name}={value}" for name, value in options.items()]


def differ(module, name, change):
    """Another result of a function on the rank."""
    function = getattr(module, name)
    setattr(module, name, lambda *args: change(function(*args)) if mpi.launched() == RANK else function(*args))


def other_labels(shared):
    return ((shared[0][0], 9 - shared[0][1]), shared[1]) if isinstance(shared, tuple) else shared


def larger(step):
    return tree.map(lambda a: a * np.float32(1.001), step[0]), step[1]


def methods():
    """What Ranks does that no training shows."""
    ranks = training.ranks.Ranks()
    value = ranks.share(lambda: [np.full(1000, ranks.rank), "text"])
    assert value[0].tolist() == [0] * 1000 and value[1] == "text" and not value[0].flags.writeable
    mapped = Path("/proc/self/maps").read_text().splitlines()
    assert sum("/minigraph-" in line and "(deleted)" in line for line in mapped) == 1
    assert ranks.lead(lambda: ranks.rank + 10) == 10
    assert ranks.largest(ranks.rank) == ranks.size - 1
    for collective in (ranks.lead, ranks.share):
        try:
            collective(lambda: Path("/no/such/file").read_text())
        except FileNotFoundError as error:
            assert error.filename == "/no/such/file" and error.rank == 0
        else:
            raise AssertionError("nothing was raised")
    ranks.check_same("this", lambda: {"a": 1})
    try:
        ranks.check_same("that", lambda: {"a": 1, **({"b": 2} if ranks.rank == 1 else {})})
    except training.Stop as error:
        assert str(error) == "the ranks differ in that: b is missing on rank 0 and 2 on rank 1"
    print(f"rank {ranks.rank} is done")
    sys.exit()


FAULTS = {
    "none": lambda: None,
    "methods": methods,
    "raise": lambda: at_step(2, fail),
    "raise in a part": lambda: at_step(1, fail_in_a_part),
    "full disk": lambda: at_step(2, fill_the_disk),
    "kill": lambda: at_step(2, lambda: os.kill(os.getpid(), signal.SIGKILL)),
    "SIGTERM": lambda: at_step(2, lambda: os.kill(os.getpid(), signal.SIGTERM)),
    "another seed": lambda: begin(seed=1),
    "other labels": lambda: differ(training.ranks.Ranks, "share", other_labels),
    "other code": lambda: differ(training.run, "code", lambda facts: {**facts, "minigraph/tape.py": "other"}),
    "other arithmetic": lambda: differ(training.ranks, "_arithmetic", lambda digest: "other"),
    "drift": lambda: differ(optim.Groups, "step", larger),
}

if __name__ == "__main__":
    simplify()
    FAULTS[FAULT]()
    sys.exit(train_cifar.main(sys.argv[3:]))
