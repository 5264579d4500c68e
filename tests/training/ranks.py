"""`train_cifar.py` on a small data set, with a fault: `mpiexec -n 2 python -m tests.training.ranks FAULT RANK ...`.

The fault happens on one rank, in its third step; the options of the script follow.
"""

import os
import resource
import signal
import sys

import train_cifar
from minigraph import optim
from minigraph.parallel import mpi
from tests.killing import simplify

FAULT, RANK = sys.argv[1], int(sys.argv[2])


def at_step(n, fault):
    """`fault()` when an optimizer begins step n, counted from 0."""
    step = optim.SGD.step

    def faulty(self, params, grads, state):
        if state["step"] == n and mpi.launched() == RANK:
            fault()
        return step(self, params, grads, state)

    optim.SGD.step = faulty


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


FAULTS = {
    "none": lambda: None,
    "raise": lambda: at_step(2, fail),
    "raise in a part": lambda: at_step(1, fail_in_a_part),
    "kill": lambda: at_step(2, lambda: os.kill(os.getpid(), signal.SIGKILL)),
    "segmentation fault": lambda: at_step(2, lambda: os.kill(os.getpid(), signal.SIGSEGV)),
    "exit": lambda: at_step(2, lambda: sys.exit("I leave")),
    "full disk": lambda: at_step(2, fill_the_disk),
    "signal": lambda: at_step(2, lambda: os.kill(os.getpid(), signal.SIGTERM)),
}

if __name__ == "__main__":
    simplify()
    FAULTS[FAULT]()
    sys.exit(train_cifar.main(sys.argv[3:]))
