"""`trace`: a function as a plain data structure; `view`: what of it is shown."""

import functools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigraph as mg
from minigraph.graph.trace import trace
from minigraph.graph.view import view
from models import airnet, cnn

ROOT = Path(__file__).parent.parent.parent
IMAGES = np.ones((2, 32, 32, 3), np.float32)


def scopes(graph):
    """[(operation, scope)]"""
    return [(v.title, ".".join(v.scope)) for v in graph.operations]


def traced_airnet(train=True):
    params, state = airnet.init(np.random.default_rng(0), widths=(8, 8, 8))
    return trace(functools.partial(airnet.apply, train=train), params, state, IMAGES)


def titles(graph, depth=None, fold=None):
    shown = view(graph, depth, fold)
    return [shown.boxes[i].title or shown.boxes[i].members[0].title for i in shown.shown()]


# ---------------------------------------------------------------- what a vertex says


def test_a_vertex_knows_its_operands_its_line_and_what_it_keeps():
    w, x = np.ones((3, 4), np.float32), np.ones((5, 3), np.float32)

    def f(w, x):
        return mg.tanh(mg.exp(x @ w))

    graph = trace(f, w, x)
    first, second, third = graph.operations
    assert [e.source for e in first.inputs] == [1, 0] and [e.role for e in second.inputs] == ["x"]
    file, line, function, text = first.call
    assert (file, function, text) == (__file__, "f", "return mg.tanh(mg.exp(x @ w))")
    assert line == f.__code__.co_firstlineno + 1
    assert first.flops == 2 * 5 * 3 * 4 and second.flops == 0
    # matmul keeps its operands, which come from outside; exp and tanh keep their results.
    assert (first.saved, second.saved, third.saved) == (0, 80, 80)
    assert repr(graph) == "Graph(2 inputs, 3 operations, 1 output)"
    assert [*trace(lambda p: p["w"] * 2, {"w": w}).parameters] == ["p.w"]


def test_an_array_that_several_operations_keep_counts_once():
    graph = trace(lambda x: mg.exp(x) * mg.exp(x).reshape(2, 5), np.ones((2, 5)))
    assert sum(v.saved for v in graph.operations) == 2 * 80

    def shared(x):
        y = mg.exp(x)
        return mg.sin(y) + mg.cos(y.reshape(10))[:5].sum()

    assert sum(v.saved for v in trace(shared, np.ones((2, 5))).operations) == 80


def test_the_backward_pass_is_told_from_the_forward_pass():
    def loss(params, x, y):
        return mg.cross_entropy(mg.relu(x @ params["w"]), y)

    inputs = {"w": np.ones((3, 4))}, np.ones((5, 3)), np.zeros(5, int)
    graph = trace(mg.value_and_grad(loss), *inputs)
    orders = {(v.title, v.order) for v in graph.operations}
    assert {("matmul", 0), ("relu", 0), ("cross_entropy", 0), ("matmul", 1), ("log_softmax", 1), ("exp", 1)} <= orders
    assert max(v.order for v in graph.operations) == 1  # the composite of cross_entropy belongs to its rule
    by_index = graph.vertices
    assert {by_index[v.of].title for v in graph.operations if v.order} == {"matmul", "relu", "cross_entropy"}
    assert [v.title for v in graph.vertices if v.kind == "output"] == ["output.0", "gradient of params.w"]
    twice = trace(mg.grad(lambda x: mg.grad(lambda x: mg.sum(mg.sin(x) * x))(x).sum()), np.ones(2))
    assert {v.order for v in twice.operations} == {1, 2}
    assert [v.title for v in twice.vertices if v.kind == "output"] == ["gradient of x"]


# ---------------------------------------------------------------- scopes


def test_scopes_follow_from_the_paths_of_parameters_and_from_functions():
    graph = traced_airnet()
    block = ["conv2d", "max_pool", "batch_norm", "silu", "conv2d", "batch_norm", "silu"]
    assert scopes(graph) == [
        ("conv2d", "whiten"), ("silu", "whiten"),
        *((op, f"block{i}") for i in (1, 2, 3) for op in block),
        ("max", ""), ("matmul", ""), ("multiply", ""),
    ]  # fmt: skip
    by_title = {v.title: v.scope for v in graph.vertices}
    assert by_title["state.whiten"] == ("whiten",) and by_title["params.block2.b1"] == ("block2",)


def test_lists_of_blocks_are_scopes_in_each_other():
    def attention(p, x):
        return mg.softmax(x @ p["query"]) @ p["value"]

    def block(p, x):
        x = x + attention(p["attention"], x)
        return mg.relu(x @ p["mlp"]["w"])

    def f(params, x):
        for p in params["blocks"]:
            x = block(p, x)
        return x.sum()

    w = np.ones((3, 3))
    blocks = [{"attention": {"query": w.copy(), "value": w.copy()}, "mlp": {"w": w.copy()}} for _ in range(2)]
    found = scopes(trace(f, {"blocks": blocks}, w))
    inner = [("matmul", ".attention"), ("softmax", ".attention"), ("matmul", ".attention"), ("add", "")]
    inner += [("matmul", ".mlp"), ("relu", ".mlp")]
    assert found == [(op, f"blocks.{i}{scope}") for i in (0, 1) for op, scope in inner] + [("sum", "")]


def test_scopes_by_name_win_and_count_their_entries():
    @mg.scope("cell")
    def cell(params, h):
        with mg.scope("inner"):
            h = h @ params["a"]["w"]
        return mg.tanh(h)

    def f(params, h):
        for _ in range(3):
            h = cell(params, h)
        return h.sum()

    graph = trace(f, {"a": {"w": np.ones((2, 2))}}, np.ones((1, 2)))
    names = [("cell", "inner"), ("cell 2", "inner 2"), ("cell 3", "inner 3")]
    expected = [scope for outer, inner in names for scope in ((outer, inner), (outer,))]
    assert [v.scope for v in graph.operations] == [*expected, ()]
    gradient = trace(mg.grad(f), {"a": {"w": np.ones((2, 2))}}, np.ones((1, 2)))
    backward = [v for v in gradient.operations if v.order]
    assert {v.scope for v in backward} >= {*expected} and {v.order for v in backward} == {1}


def test_calls_are_scopes_where_nothing_else_is():
    def step(w, h):
        return mg.tanh(h @ w)

    def f(w, h):
        for _ in range(2):
            h = step(w, h)
        return h.sum()

    assert scopes(trace(f, np.ones((2, 2)), np.ones((1, 2)))) == [
        ("matmul", "step"), ("tanh", "step"), ("matmul", "step 2"), ("tanh", "step 2"), ("sum", ""),
    ]  # fmt: skip
    assert {s for _, s in scopes(trace(lambda w, h: step(w, h), np.ones((2, 2)), np.ones((1, 2))))} == {""}


def test_what_scope_refuses():
    with pytest.raises(TypeError, match="scope: expected a name, got 3"):
        mg.scope(3)
    with pytest.raises(ValueError, match="scope: expected a name, got an empty string"):
        mg.scope("")


# ---------------------------------------------------------------- collapsed and folded


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


def residual(p, x):
    h = mg.relu(mg.conv2d(x, p["a"]))
    h = mg.conv2d(mg.relu(mg.conv2d(h, p["b"], padding=1)), p["c"])
    return mg.relu((mg.conv2d(x, p["shortcut"]) if "shortcut" in p else x) + h)


def resnet(params, x):
    h = mg.conv2d(x, params["stem"], padding=1)
    for stage in params["stages"]:
        for p in stage:
            h = residual(p, h)
    return h.mean((1, 2)) @ params["head"]


def resnet50():
    """The parameters of 16 blocks of three convolutions, with few channels."""
    stages, before = [], 4
    for n, k in ((3, 4), (4, 8), (6, 16), (3, 32)):
        stages.append([])
        for _ in range(n):
            shapes = {"a": (1, 1, before, k), "b": (3, 3, k, k), "c": (1, 1, k, 2 * k)}
            shapes |= {"shortcut": (1, 1, before, 2 * k)} if before != 2 * k else {}
            before = 2 * k
            stages[-1].append({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    return {"stem": np.zeros((3, 3, 3, 4), np.float32), "stages": stages, "head": np.zeros((before, 10), np.float32)}


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


def test_a_graph_does_not_depend_on_the_seed_of_hashes():
    code = (
        "import numpy as np, minigraph as mg; from tests.graph.test_trace import *;"
        "print(mg.draw(resnet, resnet50(), np.ones((1, 4, 4, 3), np.float32), depth=1).source);"
        "p, s = cnn.init(np.random.default_rng(0));"
        "print(mg.draw(mg.grad(lambda p, s, x: cnn.apply(p, s, x, train=True)[0].sum()), p, s, IMAGES).source)"
    )
    sources = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("0", "1")
    }  # fmt: skip
    assert len(sources) == 1 and len(sources.pop()) > 5000


def test_the_picture_says_what_to_collapse():
    def f(params, x):
        for p in params["blocks"]:
            for w in p["w"]:
                x = mg.sin(x * w)
        return x

    blocks = [{"w": [np.ones(k) for _ in range(k)]} for k in range(1, 30)]

    def total(params, x):
        return mg.stack([mg.sum(f({"blocks": [p]}, x[:, : len(p["w"])])) for p in params["blocks"]])

    with pytest.warns(UserWarning, match=r"the picture has 1,\d\d\d boxes, .*; with depth=2 there are 119"):
        mg.draw(total, {"blocks": blocks}, np.ones((2, 30)), fold=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"view": "up"}, "view should be one of forward, backward, both, got 'up'"),
        ({"depth": 0}, "depth should be a whole number from 1, or None, got 0"),
        ({"depth": True}, "depth should be"),
        ({"parameters": "no"}, "parameters should be one of beside, label, hidden, got 'no'"),
        ({"show": "shape"}, "show should be a list of some of shape, flops, saved, line, got 'shape'"),
        ({"show": ["size"]}, "show should be"),
    ],
)
def test_options_of_draw_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        mg.draw(mg.sin, np.ones(2), **options)


def test_where_parameters_are_drawn_and_what_is_said():
    params, state = cnn.init(np.random.default_rng(0))
    apply = functools.partial(cnn.apply, train=True)
    beside = mg.draw(apply, params, state, IMAGES).source
    label = mg.draw(apply, params, state, IMAGES, parameters="label", show=["flops", "saved", "line"]).source
    hidden = mg.draw(apply, params, state, IMAGES, parameters="hidden").source
    assert "<b>params.conv1.w</b>" in beside and "<b>params.conv1.w</b>" not in label
    assert "params.conv1.w float32 (3, 3, 3, 32)" in label and "params.conv1.w" not in hidden
    assert "3.54 MFLOP" in label and "saved" in label and "cnn.py, line" in label
    assert "cluster" in beside and "label=conv2" in beside
    collapsed = mg.draw(mg.grad(lambda p: apply(p, state, IMAGES)[0].sum()), params, depth=1).source
    assert "<b>conv2</b>" in collapsed and "<b>conv2, backward</b>" in collapsed and "18.5 k parameters" in collapsed


def test_the_way_of_the_gradient():
    params, state = cnn.init(np.random.default_rng(0))

    def loss(params, state, x, y):
        return mg.cross_entropy(cnn.apply(params, state, x, train=True)[0], y)

    inputs = params, state, IMAGES, np.array([1, 2])
    graph = trace(loss, *inputs)
    backward = mg.draw(loss, *inputs, view="backward").source
    rules = re.findall(r"<b>(\d+)\. (\w+)</b>", backward)
    expected = [v.title for v in reversed(graph.operations)]
    assert [name for _, name in sorted(rules, key=lambda rule: int(rule[0]))] == expected
    gradients = re.findall("<b>gradient of (.*?)</b>", backward)
    assert sorted(gradients) == sorted([*(f"params.{path}" for path, _ in mg.tree.items(params)), "x", "output"])
    frees = {v.title: v.saved for v in graph.operations if v.saved}
    assert f"frees {frees['cross_entropy']} B" in backward

    both = mg.draw(loss, *inputs, view="both").source
    number = {name: n for n, name in re.findall(r"(r\d+) \[label=<<b>(\d+\. \w+)</b>", both)}
    assert f"{number['1. cross_entropy']} -> {number['2. add']}" not in both  # upwards: drawn from the lower rank
    assert re.search(f"{number['2. add']} -> {number['1. cross_entropy']} .*dir=back", both)
    assert len(re.findall("arrowhead=none", both)) == len(graph.operations)
    folded = mg.draw(resnet, resnet50(), np.ones((1, 4, 4, 3), np.float32), view="both", depth=1).source
    assert len(re.findall(r"<b>\d+\. ", folded)) == len(re.findall("arrowhead=none", folded)) == 11


def test_saved_bytes_are_the_same_every_time():
    params, state = airnet.init(np.random.default_rng(0), widths=(8, 8, 8))

    def loss(params):
        return airnet.apply(params, state, IMAGES, train=True)[0].sum()

    for _ in range(2):  # kernels use memory again, whose blocks are larger than the arrays in them
        mg.grad(loss)(params)
    counts = {tuple(v.saved for v in trace(loss, params).operations) for _ in range(3)}
    assert len(counts) == 1
    first = trace(loss, params).operations[1]
    assert (first.title, first.saved) == ("silu", 2 * (2 * 31 * 31 * 24 * 4))  # its input, and what it saves
