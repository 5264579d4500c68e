"""`measure`: what a run shows of each vertex."""

import functools
import math

import numpy as np
import pytest

import minigraph as mg
from minigraph.graph.measure import Statistics, measure
from minigraph.graph.trace import trace
from models import airnet
from tests.graph.nets import IMAGES


def by_title(graph):
    return {v.title: v.measured for v in graph.vertices}


# ---------------------------------------------------------------- statistics


def test_statistics_are_those_of_the_entries():
    x = np.random.default_rng(0).normal(2, 3, (40, 50))
    x[0, :10] = 0
    s = Statistics.of(x)
    assert (s.size, s.non_finite, s.min, s.max, s.zeros, s.value) == (2000, 0, x.min(), x.max(), 10 / 2000, None)
    expected = x.mean(), x.std(), np.linalg.norm(x), np.sqrt(np.mean(x * x))
    np.testing.assert_allclose((s.mean, s.std, s.norm, s.rms), expected, rtol=1e-14)
    counts, edges = np.histogram(x, 24)
    assert s.counts == (*counts,)
    np.testing.assert_allclose(s.edges, edges, rtol=1e-13)


@pytest.mark.parametrize(
    ("array", "non_finite", "least", "most", "norm"),
    [
        (np.array([3, -4]), 0, -4, 3, 5),
        (np.array([[True, False], [True, True]]), 0, 0, 1, math.sqrt(3)),
        (np.array([3, 4], np.uint8), 0, 3, 4, 5),
        (np.full(10_000, 60_000, np.float16), 0, 60_000, 60_000, 6_000_000),  # overflows in float16
        (np.array([1e200, -1e200]), 0, -1e200, 1e200, math.sqrt(2) * 1e200),  # its squares overflow
        (np.array([5e-324, 0]), 0, 0, 5e-324, 5e-324),
        (np.array([-1.7e308, 1.7e308, 0]), 0, -1.7e308, 1.7e308, math.inf),
        (np.array([1, 1 + 2**-52]), 0, 1, 1 + 2**-52, math.sqrt(2)),
        (np.array([np.inf, 3, np.nan, -np.inf, 4], np.float32), 3, 3, 4, 5),
        (np.array([7, 7, 7, 7.0]), 0, 7, 7, 14),
    ],
)
def test_statistics_of_unusual_arrays(array, non_finite, least, most, norm):
    s = Statistics.of(array)
    assert (s.size, s.non_finite, s.min, s.max) == (array.size, non_finite, least, most)
    assert s.norm == pytest.approx(norm, rel=1e-14) and least <= s.mean <= most and s.std <= most - least
    assert sum(s.counts) == array.size - non_finite and len(s.counts) == 24 and len(s.edges) == 25
    assert [*s.edges] == sorted(s.edges) and s.edges[0] <= least and s.edges[-1] >= most


@pytest.mark.parametrize("array", [np.zeros((0, 3)), np.zeros(0, bool), np.array([np.nan, np.inf]), np.array(np.nan)])
def test_statistics_of_nothing_finite(array):
    s = Statistics.of(array)
    assert (s.size, s.non_finite, s.norm, s.zeros, s.counts, s.edges) == (array.size, array.size, 0, 0, (), ())
    assert all(map(math.isnan, (s.min, s.max, s.mean, s.std, s.rms)))


def test_a_number_has_its_value():
    values = [Statistics.of(np.array(n)).value for n in (2.5, 3, True)]
    assert values == [2.5, 3, True] and [*map(type, values)] == [float, int, bool]
    assert Statistics.of(np.array([2.5])).value is None


# ---------------------------------------------------------------- a run


def test_a_scalar_graph_has_all_its_numbers():
    def f(a, b, c, g):
        return (a * b + c) * g

    graph = measure(f, *map(np.array, (2.0, -3.0, 10.0, -2.0)))
    numbers = [(v.title, v.measured.values.value, v.measured.gradient.value) for v in graph.vertices]
    assert sorted(numbers) == sorted([
        ("a", 2, 6), ("b", -3, -4), ("c", 10, -2), ("g", -2, 4),
        ("multiply", -6, -2), ("add", 4, -2), ("multiply", -8, 1), ("output", -8, 1),
    ])  # fmt: skip
    times = [(v.measured.seconds, v.measured.backward_seconds) for v in graph.operations]
    assert all(forward > 0 and backward > 0 for forward, backward in times)
    assert by_title(graph)["a"].seconds is None


def test_the_graph_is_the_traced_one_and_gradients_are_those_of_grad():
    params, state = airnet.init(np.random.default_rng(0), widths=(4, 4, 4))

    def loss(params, state, x):
        logits, _ = airnet.apply(params, state, x, train=True)
        return mg.cross_entropy(logits, np.array([1, 2])), logits

    x = np.random.default_rng(1).normal(size=IMAGES.shape).astype(np.float32)
    graph = measure(loss, params, state, x)
    plain = trace(loss, params, state, x)
    assert [(v.title, v.scope, v.shape, v.inputs) for v in graph.vertices] == [
        (v.title, v.scope, v.shape, v.inputs) for v in plain.vertices
    ]
    assert all(v.measured is None for v in plain.vertices)
    gradients = mg.grad(lambda params: loss(params, state, x)[0])(params)
    for path, gradient in mg.tree.items(gradients):
        assert graph.parameters[f"params.{path}"].measured.gradient == Statistics.of(gradient)
    assert by_title(graph)["state.whiten"].gradient is None and by_title(graph)["state.whiten"].values.size > 0
    # The loss is a single number, so the backward pass begins there alone.
    assert by_title(graph)["output.0"].gradient.value == 1 and by_title(graph)["output.1"].gradient is None


def test_without_a_single_number_the_backward_pass_begins_with_ones():
    found = by_title(measure(lambda x: (x * 2, mg.exp(x)), np.zeros(3)))
    assert found["output.0"].gradient == found["output.1"].gradient == Statistics.of(np.ones(3))
    assert found["x"].gradient == Statistics.of(np.full(3, 3.0))


def test_an_array_that_is_written_over_later_is_seen_before():
    def f(x):
        return mg.relu(x * 2, inplace=True).sum()

    found = by_title(measure(f, np.array([-1.0, 2.0])))
    assert (found["multiply"].values.min, found["relu"].values.min) == (-2, 0)


def test_gradients_that_are_not_finite_are_counted():
    with np.errstate(divide="ignore"):
        found = by_title(measure(lambda x: mg.sum(mg.sqrt(x)), np.array([0.0, 1.0, 4.0])))
    assert found["x"].gradient.non_finite == 1 and found["x"].gradient.max == 0.5


def test_of_a_gradient_the_measured_backward_pass_is_the_outer_one():
    graph = measure(mg.grad(lambda x: mg.sum(x * x * x)), np.array([1.0, 2.0]))
    found = by_title(graph)
    assert found["x"].gradient == Statistics.of(np.array([6.0, 12.0]))
    assert all(v.measured.seconds > 0 for v in graph.operations)


def test_a_checkpoint_is_one_operation_whose_rule_is_timed_as_a_whole():
    block = mg.checkpoint(lambda x: mg.exp(mg.sin(x)))
    (first, last) = measure(lambda x: block(x).sum(), np.ones(4)).operations
    assert first.measured.backward_seconds > 0 and first.measured.gradient == Statistics.of(np.ones(4))
    assert last.title == "sum"


def test_a_tensor_has_what_the_tape_keeps_and_its_graph_remains():
    x = mg.Tensor(np.array([1.0, 2.0]), requires_grad=True)
    y = (mg.exp(x) * 3 + 1).sum()
    found = by_title(measure(y, names={"x": x}))
    assert x.grad is None
    assert found["exp"].seconds is None and found["exp"].backward_seconds > 0
    assert found["exp"].values == Statistics.of(np.exp(x.data)) and found["add"].values is None
    assert found["sum"].values.value == found["output"].values.value == y.item()
    assert found["x"].values == Statistics.of(x.data)
    y.backward()
    assert found["x"].gradient == Statistics.of(x.grad.data)


def test_repeated_runs_give_the_median_of_the_times(monkeypatch):
    runs = []

    def f(x):
        runs.append(len(runs))
        return mg.sum(mg.sin(x) * len(runs))

    ticks = iter(range(1_000_000))
    spans = {}

    def clock():  # the n-th run takes n times as long
        spans["now"] = spans.get("now", 0) + max(1, len(runs)) * (next(ticks) >= 0)
        return float(spans["now"])

    monkeypatch.setattr("minigraph.graph.measure.perf_counter", clock)
    found = by_title(measure(f, np.ones(3), repeat=3))
    assert runs == [0, 1, 2]
    assert (found["sin"].seconds, found["sum"].backward_seconds) == (2, 2)
    assert found["multiply"].values.max == np.sin(1)  # of the first run


def test_what_is_refused():
    for wrong, error, message in (
        (0, ValueError, "measure: repeat should be at least 1, got 0"),
        (2.0, TypeError, "measure: repeat should be a whole number, got 2.0"),
        (True, TypeError, "measure: repeat should be a whole number, got True"),
    ):
        with pytest.raises(error, match=message):
            measure(mg.sin, np.ones(2), repeat=wrong)
    with pytest.raises(TypeError, match="measure: expected a Tensor or a function, got int"):
        measure(3)
    operations = iter([mg.sin, mg.cos])
    with pytest.raises(ValueError, match="the function should run the same operations in each of its 2 runs"):
        measure(lambda x: next(operations)(x), np.ones(2), repeat=2)
    freed = mg.sum(mg.Tensor([1.0], requires_grad=True) * 2)
    freed.backward()
    with pytest.raises(RuntimeError, match="measure: a backward pass has freed the graph"):
        measure(freed)


def test_a_float16_gradient_is_measured_before_it_is_rounded_and_the_parameter_after():
    with np.errstate(over="ignore"):
        w = np.full(3, 0.01, np.float16)
        found = by_title(measure(lambda p: (p["w"] * np.float16(300)).sum() * 300.0, {"w": w}))
    assert found["multiply"].gradient.non_finite == 0
    assert found["p.w"].gradient.non_finite == 3  # 90,000 is beyond float16


def test_a_model_under_no_grad():
    params, state = airnet.init(np.random.default_rng(0), widths=(4, 4, 4))
    with mg.no_grad():
        graph = measure(functools.partial(airnet.apply, train=False), params, state, IMAGES)
    assert all(v.measured.backward_seconds for v in graph.operations)
