"""`view`: what of a graph is shown, scopes collapsed and runs folded."""

import numpy as np
import pytest

import minigraph as mg
from minigraph.graph.trace import trace
from minigraph.graph.view import view
from tests.graph.nets import resnet, resnet50, traced_airnet


def titles(graph, depth=None, fold=None):
    shown = view(graph, depth, fold)
    return [shown.boxes[i].title or shown.boxes[i].members[0].title for i in shown.shown()]


def test_airnet_at_depth_one_is_at_most_twelve_boxes():
    for train in (True, False):
        found = titles(traced_airnet(train), depth=1)
        blocks = ["whiten", "block1", "block2", "block3"]
        assert found == ["params.head", "x", *blocks, "max", "matmul", "multiply", "output.0"]


def test_a_collapsed_scope_has_the_sums_of_its_members():
    graph = traced_airnet()
    boxes = {box.title: box for box in view(graph, 1).boxes}
    inside = [v for v in graph.vertices if v.scope[:1] == ("block2",)]
    assert boxes["block2"].total("size") == 2 * 9 * 8 * 8 + 2 * 8
    assert boxes["block2"].total("flops") == sum(v.flops for v in inside) > 0
    assert boxes["block2"].total("saved") == sum(v.saved for v in inside) > 0
    assert [boxes["block2"].inputs[0].source] == [view(graph, 1).boxes.index(boxes["block1"])]


def test_equal_blocks_of_a_deep_net_fold():
    graph = trace(resnet, resnet50(), np.ones((1, 4, 4, 3), np.float32))
    shown = view(graph, 1)
    runs = [([shown.boxes[shown.places[r.start + k]].title for k in range(r.period)], r.times) for r in shown.runs]
    assert runs == [
        (["stages.0.1"], 2), (["stages.1.1"], 3), (["stages.2.1"], 5), (["stages.3.1"], 2)
    ]  # fmt: skip
    assert len(shown.shown()) < 20


@pytest.mark.parametrize("per_line", [True, False])
def test_a_thousand_steps_of_a_recurrence_fold(per_line):
    def f(p, x):
        h = np.zeros((2, 4))
        for t in range(x.shape[1]):
            if per_line:
                h = mg.tanh(x[:, t] @ p["w"] + h @ p["u"])
            else:
                a = x[:, t] @ p["w"]
                b = h @ p["u"]
                h = mg.tanh(a + b)
        return h.sum()

    graph = trace(f, {"w": np.ones((3, 4)), "u": np.ones((4, 4))}, np.ones((2, 1000, 3)))
    (run,) = view(graph).runs
    assert run.period == 5 and run.times >= 998
    assert len(view(graph).shown()) < 25 < 5000 < len(view(graph, fold=False).shown())


def test_the_backward_pass_of_a_recurrence_folds():
    def f(p, x):
        h = np.zeros((2, 4))
        for t in range(x.shape[1]):
            h = mg.tanh(x[:, t] @ p["w"] + h @ p["u"])
        return h.sum()

    graph = trace(mg.grad(f), {"w": np.ones((3, 4)), "u": np.ones((4, 4))}, np.ones((2, 100, 3)))
    shown = view(graph)
    forward, backward = shown.runs
    assert (forward.period, backward.period) == (5, 11) and forward.times == 99 and backward.times >= 97
    assert {shown.boxes[i].order for i in shown.places[backward.start : backward.start + 11]} == {1}
    assert len(shown.shown()) < 60


def test_what_uses_the_periods_of_a_run_out_of_order_is_not_folded():
    def f(x):
        steps = [x]
        for _ in range(40):
            steps.append(mg.sin(steps[-1]))
        y = x
        for t in np.random.default_rng(0).permutation(40):
            y = y * steps[t]
        return y

    (run,) = view(trace(f, np.ones(3)), fold=True).runs
    assert run.times >= 37 and run.period == 1


def test_what_is_not_equal_is_not_folded():
    def f(x):
        for i in range(60):
            x = mg.sin(x) if i % 7 else mg.cos(x)
            x = x * i
        return x

    def different(x, y):
        for i in range(60):  # every second step takes another operand
            x = mg.maximum(x, y if i % 2 else x[::-1] * 1.0)
        return x

    assert view(trace(f, np.ones(3))).runs == []  # the factors differ
    (run,) = view(trace(different, np.ones(3), np.ones(3)), fold=True).runs
    assert run.period == 4 and run.times in (29, 30)
