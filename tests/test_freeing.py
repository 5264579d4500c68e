"""Freeing a graph takes no more stack the longer the graph is, on any Python."""

import subprocess
import sys

import pytest

DEEP = """
import sys, threading
import numpy as np, minigraph as mg
from minigraph import freeing, tape

if sys.argv[1] == "finalizer":  # what Python 3.13 needs, on the Python at hand
    tape.Node.__del__ = freeing.release

def chain(x, n):
    for _ in range(n // 2):
        x = x * 1.0 + 1.0
    return x

def work():
    n = 100_000
    x = mg.Tensor(np.ones(2), requires_grad=True)
    y = chain(x, n)
    del y                                                    # dropped without a backward pass
    y = chain(x, n).sum()
    y.backward(retain_graph=True)
    del y
    y = mg.concatenate([chain(x, 2000) for _ in range(5)])   # several chains at once
    del y
    y = chain(x, n)
    try:
        mg.matmul(y, np.ones(5))
    except ValueError:
        del y                                                # dropped by way of an exception
    x = mg.Tensor(np.ones(2), requires_grad=True)
    y = chain(x * x, 1000).sum()
    y.backward(create_graph=True)
    x.grad.sum().backward()
    del x, y
    assert sum(type(o) is tape.Node for o in __import__("gc").get_objects()) == 0
    print("done")

threading.stack_size(128 * 1024)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["as it is", "finalizer"])
def test_long_graphs_are_freed_on_a_small_stack(how):
    run = subprocess.run([sys.executable, "-c", DEEP, how], capture_output=True, text=True)
    assert (run.stdout, run.stderr, run.returncode) == ("done\n", "", 0)
