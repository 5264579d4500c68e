"""What the ranks of tests/parallel/test_mpi.py do: `mpiexec -n 3 python -m tests.parallel.ranks NAME`.

Each function is a program. A rank prints a line when its asserts have held.
"""

import sys

import numpy as np
from mpi4py.MPI import COMM_WORLD

import minigraph as mg
from minigraph import parallel, tree
from minigraph.parallel import MPI, Threads, exchange

from .problem import bits, loss_fn, problem

FROZEN = np.full(4, 0.1, np.float32)
RANK, SIZE = COMM_WORLD.rank, COMM_WORLD.size


def with_everything(params, x, y):
    """A loss with dropout, a parameter that it does not use, one that it uses twice, and aux of each kind."""
    loss = loss_fn(params, mg.dropout(x, 0.1), y) + (params["w1"] ** 2).sum()
    return loss, {"mean": x.mean(0), "count": (x > 0).sum(), "frozen": FROZEN}


def step(executor, params, *batch):
    mg.seed(0)
    return parallel.value_and_grad(with_everything, executor=executor, microbatch=3, has_aux=True)(params, *batch)


def same_bits():
    for bucket in (1, 40, 1 << 20):
        exchange.BUCKET = bucket
        executor = MPI(COMM_WORLD, threads=2)
        assert executor.workers == 2 * SIZE
        for n in range(1, 51, 3):
            params, x, y = problem(n)
            params["unused"] = np.ones(5, np.float32)
            params["none"] = None
            want, got = step(Threads(1), params, x, y), step(executor, params, x, y)
            assert bits(got) == bits(want), (bucket, n)
            assert SIZE == n == 1 or tree.flat_view(got[1]) is not None  # one part has its gradients as they come


def dtypes():
    exchange.BUCKET = 40
    executor = MPI(threads=1)
    for dtype in (np.float64, np.float16):
        params, x, y = problem(20)
        params["b1"] = params["b1"].astype(dtype)
        assert bits(step(executor, params, x, y)) == bits(step(Threads(1), params, x, y))


def pair(a, b):
    return f"({a} {b})"


def runs_and_reduces():
    executor = MPI(threads=2)
    for n in range(1, 12):
        assert executor.run(lambda i: i * i, n) == [i * i for i in range(n)]
        assert executor.reduce(str, n, pair) == Threads(1).reduce(str, n, pair)
    x = np.arange(20.0)
    np.testing.assert_array_equal(parallel.map(lambda x: 2 * x, x, executor=executor, microbatch=3), 2 * x)
    assert executor.run(lambda i: RANK, 5) == [r for r in range(SIZE) for _ in range(5 // SIZE + (r < 5 % SIZE))]


class Unpicklable(Exception):
    def __init__(self, first, second):
        super().__init__(first)


def errors():
    executor = MPI(threads=1)
    params, x, y = problem(20)
    for error in (ValueError("no"), Unpicklable("no", 2), SystemExit(3)):

        def fails(params, x, y, error=error):
            if RANK in (1, SIZE - 1):
                raise error
            return loss_fn(params, x, y)

        try:
            parallel.value_and_grad(fails, executor=executor, microbatch=3)(params, x, y)
        except BaseException as raised:
            assert raised.rank == 1
            if RANK == 1:
                assert raised is error
            else:
                assert type(raised) is (RuntimeError if type(error) is Unpicklable else type(error))
                assert f"on rank 1 of {SIZE}" in raised.__notes__[-1] and "in fails" in raised.__notes__[-1]
        else:
            raise AssertionError("nothing was raised")
    # The next step is as if nothing had been.
    assert bits(step(executor, params, x, y)) == bits(step(Threads(1), params, x, y))


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    print(f"rank {RANK} of {SIZE} is done")
