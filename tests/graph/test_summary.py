"""`summary`: a function as a table."""

import functools
import re

import numpy as np
import pytest

import minigraph as mg
from models import airnet, cnn
from tests.graph.nets import IMAGES, resnet, resnet50

LABELS = np.array([3, 1])


def loss(params, state, x, y):
    return mg.cross_entropy(cnn.apply(params, state, x, train=True)[0], y)


@pytest.fixture(scope="module")
def inputs():
    return *cnn.init(np.random.default_rng(0), widths=(4, 8)), IMAGES, LABELS


def without_times(summary):
    """The lines of a table up to the times."""
    return [re.sub(r"( +[\d.]+ (ns|µs|ms|s)){0,2}$", "", line) for line in str(summary).splitlines()]


def test_the_table(inputs):
    lines = without_times(mg.summary(loss, *inputs))
    assert "\n".join(lines) == """\
               result                  parameters    FLOP     kept  forward  backward
conv1          float32 (2, 16, 16, 4)         112   442 k  34.8 kB
  conv2d       float32 (2, 32, 32, 4)         112   442 k
  relu         float32 (2, 32, 32, 4)                      32.8 kB
  max_pool     float32 (2, 16, 16, 4)                      2.05 kB
conv2          float32 (2, 8, 8, 8)           296   295 k  25.6 kB
  conv2d       float32 (2, 16, 16, 8)         296   295 k  8.19 kB
  relu         float32 (2, 16, 16, 8)                      16.4 kB
  max_pool     float32 (2, 8, 8, 8)                        1.02 kB
reshape        float32 (2, 512)
head           float32 (2, 10)              5,130  20.5 k   4.1 kB
  matmul       float32 (2, 10)              5,120  20.5 k   4.1 kB
  add          float32 (2, 10)                 10
cross_entropy  float32 ()                                    160 B
total          float32 ()                   5,538   758 k  64.7 kB"""


def test_depth_and_totals(inputs):
    whole, shallow = mg.summary(loss, *inputs), mg.summary(loss, *inputs, depth=1)
    assert [row.name for row in shallow.rows] == ["conv1", "conv2", "reshape", "head", "cross_entropy"]
    assert {row.level for row in shallow.rows} == {0}
    total = sum(leaf.size for leaf in mg.tree.leaves(inputs[0]))
    assert whole.total.parameters == shallow.total.parameters == total
    for rows, s in ((whole.rows, whole), (shallow.rows, shallow)):
        top = [row for row in rows if row.level == 0]
        for what in ("parameters", "flops", "kept"):
            assert sum(getattr(row, what) for row in top) == getattr(s.total, what)
        assert sum(row.seconds for row in top) == pytest.approx(s.total.seconds)
        assert all(row.seconds > 0 and row.backward_seconds > 0 for row in rows)
    assert whole.total.kept == sum(v.saved for v in whole.graph.operations)


def test_runs_of_equal_blocks_are_one():
    rows = mg.summary(resnet, resnet50(), np.ones((2, 8, 8, 3), np.float32)).rows
    found = {row.name: row for row in rows}
    assert found["5 times"].level == 0 and found["stages.2.1"].level == 1
    assert found["5 times"].parameters == 5 * found["stages.2.1"].parameters
    assert "stages.2.2" not in found  # it is one of the five
    assert len(rows) < 80


def test_scopes_and_the_backward_pass():
    def f(x):
        with mg.scope("part"):
            return mg.exp(x).sum()

    rows = mg.summary(mg.grad(f), np.ones(3)).rows
    assert [(row.level, row.name) for row in rows][:2] == [(0, "part"), (1, "exp")]
    assert "part, backward" in [row.name for row in rows]


def test_a_parameter_counts_once():
    def f(p, x):
        return mg.tanh(mg.tanh(x @ p["w"]) @ p["w"]).sum()

    s = mg.summary(f, {"w": np.ones((3, 3))}, np.ones((2, 3)))
    assert s.total.parameters == 9 and [row.parameters for row in s.rows if row.name == "matmul"] == [9, 0]


def test_memory(inputs):
    s = mg.summary(loss, *inputs, memory=True)
    assert s.peak.nbytes > s.total.kept
    last = str(s).splitlines()[-1]
    assert re.fullmatch(
        r"peak of memory, foreseen: \S+ [kM]B, in the backward of \w+: \S+ [kM]B of arrays, \S+ \w*B to be used again, "
        r"\S+ \w*B of kernels", last
    )  # fmt: skip
    assert mg.summary(loss, *inputs).peak is None


def test_in_a_notebook(inputs):
    page = mg.summary(loss, *inputs, memory=True)._repr_html_()
    assert page.count("<tr>") == 15 and "<p>peak of memory" in page
    escaped = mg.summary(lambda p: mg.exp(p["<b>"]["w"]).sum(), {"<b>": {"w": np.ones(2)}})._repr_html_()
    assert "<b>" not in escaped and "&lt;b&gt;" in escaped


def test_a_model_and_its_state():
    params, state = airnet.init(np.random.default_rng(0), widths=(8, 8, 8))
    s = mg.summary(functools.partial(airnet.apply, train=True), params, state, IMAGES, depth=1)
    assert [row.name for row in s.rows] == ["whiten", "block1", "block2", "block3", "max", "matmul", "multiply"]


def test_errors():
    with pytest.raises(TypeError, match="summary: expected a function, got Tensor"):
        mg.summary(mg.Tensor([1.0], requires_grad=True))
    with pytest.raises(ValueError, match="summary: depth should be a whole number from 1, or None, got 0"):
        mg.summary(mg.exp, np.ones(3), depth=0)
    with pytest.raises(TypeError, match="summary: the inputs do not fit"):
        mg.summary(lambda x: mg.exp(x))
    with pytest.raises(ValueError, match="summary: no graph was recorded"):
        mg.summary(lambda x: np.ones(3), np.ones(3))
