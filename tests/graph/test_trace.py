"""`trace`: a function as a plain data structure."""

import numpy as np
import pytest

import minigraph as mg
from minigraph.graph.trace import trace
from models import airnet
from tests.graph.nets import IMAGES, traced_airnet


def scopes(graph):
    """[(operation, scope)]"""
    return [(v.title, ".".join(v.scope)) for v in graph.operations]


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


def test_a_vertex_has_its_value_or_the_call_that_made_it():
    x, w, table = np.ones((2, 3)), np.full((3, 2), 2.0), np.arange(2.0)

    def f(x, params):
        return mg.clip(mg.concatenate([x @ params["w"], table[None]]), 0, high=5)[1:]

    graph = trace(f, x, {"w": w})
    values = {v.title: v.value for v in graph.vertices if v.kind != "operation"}
    assert values["output"] is None
    np.testing.assert_array_equal(values["x"], x)
    np.testing.assert_array_equal(values["params.w"], w)
    matmul, joined, clip, item = graph.operations
    assert [v.primitive for v in (matmul, clip)] == [mg.matmul, mg.clip]
    assert (matmul.args, matmul.kwargs) == (matmul.inputs, {})
    assert (clip.args, clip.kwargs) == ((*clip.inputs, 0), {"high": 5})
    assert joined.args == (0, *joined.inputs) and joined.inputs[1].gradient is False
    np.testing.assert_array_equal(graph.vertices[joined.inputs[1].source].value, table[None])
    assert item.args == (*item.inputs, slice(1, None))
    pooled = trace(lambda x: mg.max_pool(x, 2), np.ones((1, 2, 2, 1))).operations[0]
    assert pooled.kwargs.keys() == {"window", "stride", "padding", "indexed"}  # not where the maxima are


@pytest.mark.parametrize(
    ("pick", "places"),
    [
        (lambda table, i: table[i], np.array([1, 1, 0])),
        (lambda table, i: table[:, i], np.array([1, 0])),
        (lambda table, i: mg.take(table, i, axis=0), np.array([[1], [0]])),
        (lambda table, i: mg.take_along_axis(table, i, axis=1), np.array([[1], [0]])),
        (lambda table, i: mg.where(i, table, 0.0), np.array([True, False])),
    ],
    ids=["index", "in a tuple", "take", "take_along_axis", "condition"],
)
def test_an_input_that_picks_entries_is_a_vertex_in_both_passes(pick, places):
    """A node keeps a copy of an index, since its caller may change the array. The copy is drawn as the input."""
    graph = trace(mg.grad(lambda table, i: mg.sum(pick(table, i) ** 2)), np.ones((2, 2)), places)
    (vertex,) = [v for v in graph.vertices if v.title == "i"]
    assert vertex.kind == "input" and vertex.value is places
    users = {v.title for v in graph.operations if vertex.index in {e.source for e in v.inputs if not e.gradient}}
    assert users in ({"getitem", "scatter"}, {"where"})


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
