"""`foresee`: the peak of memory, beside what runs measure."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigraph as mg
from minigraph.graph.peak import foresee
from models import airnet, cnn

ROOT = Path(__file__).parent.parent.parent
IMAGES = 64
N = 1 << 20  # entries of an array of 4 MiB

# What a process of its own takes for the first step: on the whole batch, or on its parts, on one thread.
MEASURE = """
import sys
import numpy as np, minigraph as mg
from tests.graph.test_peak import batch, loss_of, resident
name, images, parts = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
params, loss = loss_of(name)
if parts > 1:
    value_and_grad = mg.parallel.value_and_grad(
        loss, executor=mg.parallel.Threads(1), microbatch=images // parts, has_aux=True
    )
else:
    value_and_grad = mg.value_and_grad(loss, has_aux=True)
batch = batch(images)
before = resident("VmRSS")
value_and_grad(params, *batch)
print(resident("VmHWM") - before)
"""


def loss_of(name):
    """(params, loss) of a work of benchmarks/train_step.py."""
    module = {"W1": cnn, "W2": airnet}[name]
    params, state = module.init(np.random.default_rng(0))

    def loss(params, x, y):
        logits, new = module.apply(params, state, x, train=True)
        return mg.cross_entropy(logits, y), new

    return params, loss


def batch(images):
    rng = np.random.default_rng(0)
    return rng.standard_normal((images, 32, 32, 3), np.float32), rng.integers(0, 10, images)


def resident(which):
    """The memory of this process that is in use (VmRSS), or that was at its peak (VmHWM), in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(which))


def foreseen(name, images, parts=1):
    params, loss = loss_of(name)
    return foresee(lambda params, x, y: loss(params, x, y)[0], params, *batch(images // parts), parts=parts)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a process is read there")
@pytest.mark.parametrize(("name", "images", "parts"), [("W1", 128, 1), ("W1", 128, 2), ("W2", 128, 1), ("W2", 256, 4)])
def test_it_is_what_a_process_measures(name, images, parts):
    command = [sys.executable, "-c", MEASURE, name, str(images), str(parts)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert foreseen(name, images, parts).nbytes == pytest.approx(int(run.stdout), rel=0.15)


def test_what_lives_when():
    x = np.ones(N, np.float32)
    # exp keeps its result, y, and its rule makes a gradient from that of y, which sum's rule has made.
    p = foresee(lambda x: mg.exp(x).sum(), x)
    assert (p.at, p.backward) == ("exp", True)
    assert p.arrays == 3 * 4 * N + 4 and p.nbytes == p.arrays and not p.kernels

    def chain(x):  # of the three results only that of sin is kept, by cos
        return mg.cos(mg.sin(mg.negative(-x))).sum()

    p = foresee(chain, x)
    # Before sin's rule: its operand, which the forward keeps, its result's gradient and that of its operand.
    assert p.arrays == pytest.approx(4 * 4 * N, abs=100)


def test_a_value_that_a_later_operation_still_reads_lives():
    x = np.ones(N, np.float32)
    far = foresee(lambda x: ((h := x + 1) + (x + 2) + (x + 3) + h)[:1].sum(), x)
    near = foresee(lambda x: ((x + 1) + (x + 2) + (x + 3) + (x + 4))[:1].sum(), x)
    assert near.arrays < far.arrays + 4 * N  # and both count


def test_inputs_get_no_gradient_beside_parameters():
    w, x = np.ones((1024, 1), np.float32), np.ones((1024, 1024), np.float32)
    with_gradient = foresee(lambda w, x: (x @ w).sum(), w, x)
    without = foresee(lambda params, x: (x @ params["w"]).sum(), {"w": w}, x)
    assert with_gradient.nbytes - without.nbytes == x.nbytes


def test_parts_hold_gradients_that_wait():
    params = {"w": np.ones((1024, 1024), np.float32)}

    def f(params, x):
        return (x @ params["w"]).sum()

    x = np.ones((2, 1024), np.float32)
    one, two, eight = (foresee(f, params, x, parts=n).nbytes for n in (1, 2, 8))
    size = params["w"].nbytes
    # Part 1 and the copy of part 0's; part 7 beside the copies of parts 0 to 3, of 4 and 5, and of 6.
    assert two == pytest.approx(2 * size, rel=0.05) and eight == pytest.approx(4 * size, rel=0.05)
    assert one == pytest.approx(size, rel=0.05)
    assert foresee(f, params, x, parts=8, threads=2).nbytes > eight


def test_a_graph_that_comes_in_by_closure():
    outer = mg.exp(mg.Tensor(np.ones(N, np.float32), requires_grad=True))
    assert foresee(lambda x: (outer * x).sum(), np.ones(N, np.float32)).nbytes > 8 * N


def test_errors():
    with pytest.raises(ValueError, match="foresee: parts should be a whole number of at least 1, got 0"):
        foresee(mg.exp, np.ones(3), parts=0)
    with pytest.raises(ValueError, match=r"foresee: threads should be a whole number of at least 1, got 1\.5"):
        foresee(mg.exp, np.ones(3), threads=1.5)
    with pytest.raises(TypeError, match="foresee: expected a function, got Tensor"):
        foresee(mg.exp(mg.Tensor([1.0], requires_grad=True)))
    with pytest.raises(TypeError, match="foresee: the inputs do not fit"):
        foresee(lambda x: mg.exp(x))
