"""Another executor than Threads takes its place, with the same bits."""

import numpy as np
import pytest

import minigraph as mg
from minigraph import parallel
from minigraph.parallel import Executor, Threads
from minigraph.parallel.pairwise import PairwiseTree

from .problem import bits, loss_fn, problem


class Blocks:
    """Gives aligned blocks of tasks to executors of their own, as several machines would be given them."""

    def __init__(self, size, workers=2):
        self.size, self.workers = size, workers

    def run(self, task, n):
        return [task(i) for i in range(n)]

    def reduce(self, task, n, combine):
        starts = range(0, n, self.size)
        top = PairwiseTree(len(starts), combine)
        for j, start in enumerate(starts):
            count = min(self.size, n - start)
            top.add(j, Threads(2).reduce(lambda i, start=start: task(start + i), count, combine))
        return top.result


def test_what_an_executor_is():
    assert isinstance(Threads(2), Executor) and isinstance(Blocks(1), Executor)
    assert not isinstance(map, Executor)


def with_everything(params, x, y):
    """A loss with dropout, and aux of each kind."""
    x = mg.dropout(x, 0.1)
    return loss_fn(params, x, y), {"mean": x.mean(0), "count": (x > 0).sum(), "frozen": FROZEN}


FROZEN = np.full(4, 0.1, np.float32)


@pytest.mark.parametrize("parts", range(1, 18))
def test_aligned_blocks_and_any_number_of_threads_give_the_same_bits(parts):
    params, x, y = problem(3 * parts - 1)

    def step(executor):
        mg.seed(0)
        return parallel.value_and_grad(with_everything, executor=executor, microbatch=3, has_aux=True)(params, x, y)

    want = step(Threads(1))
    assert want[0][1]["frozen"] is FROZEN
    for executor in (Threads(2), Threads(3), Threads(5), Blocks(1), Blocks(2), Blocks(4), Blocks(8)):
        assert bits(step(executor)) == bits(want)


def test_map_runs_on_it_too():
    x = np.arange(10.0)
    np.testing.assert_array_equal(parallel.map(lambda x: 2 * x, x, executor=Blocks(2), microbatch=3), 2 * x)


def test_workers_decide_the_default_size_of_a_part():
    seen = []
    parallel.map(lambda x: seen.append(len(x)) or x, np.ones(10), executor=Blocks(1, workers=5))
    assert seen == [2] * 5
