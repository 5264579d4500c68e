"""From boxes to DOT: stable, with what was asked for beside the operations, and the way of the gradient."""

import functools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigraph as mg
from minigraph.graph.dot import run_name
from minigraph.graph.trace import trace
from minigraph.graph.view import Box
from models import cnn
from tests.graph.nets import IMAGES, resnet, resnet50

ROOT = Path(__file__).parent.parent.parent


def test_a_graph_does_not_depend_on_the_seed_of_hashes():
    code = (
        "import numpy as np, minigraph as mg; from tests.graph.nets import *; from models import cnn;"
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
        ({"show": "shape"}, "show should be a list of some of shape, flops, saved, line, time, .*, got 'shape'"),
        ({"show": ["size"]}, "show should be"),
        ({"show": 3}, "show should be"),
        ({"edges": ["flops"]}, r"edges should be a list of some of shape, values, gradient, got \['flops'\]"),
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


# ---------------------------------------------------------------- what a run has measured

SEED, RED = "#f2ad74", "#ff8a80"


def boxes(picture):
    """{title: (the lines below it, the fill colour)}, of the boxes with a title."""
    found = {}
    for line in picture.body:
        if match := re.match(r"\t+\w+ \[label=<<b>(.*?)</b>(.*)>( [^<>]*)?\]\n$", line):
            colour = re.search('fillcolor="(.*?)"', match[3] or "")
            found[match[1]] = re.findall(">([^<>]+)</font>", match[2]), colour and colour[1]
    return found


def chain(params, x):
    for w in params["w"]:
        x = x * w
    return mg.sum(x)


def test_gradients_colour_the_boxes():
    params = {"w": [np.full(4, 0.1), np.full(4, 0.01)]}
    found = boxes(mg.draw(chain, params, np.ones(4), show=["gradient"]))
    assert found["x"] == (["float64 (4,)", "gradient rms 0.001"], "#93c1ec")  # the lowest
    assert found["params.w.0"] == (["float64 (4,)", "gradient rms 0.01"], "#d6e7f6")
    assert found["sum"] == (["gradient 1"], SEED) and found["output"] == ([], "#f3f5f7")
    assert {name for name, (_, colour) in found.items() if ":" in (colour or "")} == set()

    backward = boxes(mg.draw(chain, params, np.ones(4), show=["gradient"], view="backward"))
    assert backward["1. sum"][1] == SEED and "gradient 1" in backward["1. sum"][0]
    assert backward["gradient of x"] == (["float64 (4,)", "gradient rms 0.001"], "#93c1ec")

    both = boxes(mg.draw(chain, params, np.ones(4), show=["gradient"], view="both"))
    assert both["sum"] == ([], "#f3f5f7") and both["1. sum"] == backward["1. sum"]
    assert both["params.w.0"] == found["params.w.0"]


def test_the_legend_stands_in_the_picture_of_a_scale_alone():
    for show, title in ((["gradient", "time"], "gradient, rms"), (["time"], "share of the time"), (["values"], None)):
        source = mg.draw(chain, {"w": [np.ones(2)]}, np.ones(2), show=show).source
        assert source.count("legend") == (title is not None) and (title is None or f"<b>{title}</b>" in source)


def test_what_is_not_finite_stands_out():
    def f(p, x):
        return mg.sum(mg.sqrt(x * p["w"])) + mg.sum(p["b"] * 2)

    params = {"w": np.array([0.0, 1.0]), "b": np.ones(2)}
    with np.errstate(divide="ignore", invalid="ignore"):
        picture = mg.draw(f, params, np.ones(2), show=["gradient"])
    found = boxes(picture)
    assert found["p.w"] == (["float64 (2,)", "gradient rms 0.5", "1 not finite in gradient"], RED)
    assert found["p.b"][1] != RED and found["sqrt"][1] != RED and ">not finite<" in picture.source
    values = boxes(mg.draw(lambda x: mg.sum(x * 2), np.array([np.inf, 1.0]), show=["values"]))
    assert values["multiply"] == (["b=2", "all 2", "1 not finite"], RED) and values["sum"] == (["= inf"], RED)


def test_times_and_values_stand_in_the_boxes(monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr("minigraph.graph.measure.perf_counter", lambda: next(ticks) * 1e-3)
    found = boxes(mg.draw(lambda x: mg.sum(mg.exp(x)), np.array([0.0, 1.0]), show=["time", "values"]))
    assert found["exp"] == (["1 ms + 1 ms backward (50%)", "mean 1.86, std 0.859", "1 to 2.72"], SEED)
    assert found["x"] == (["float64 (2,)", "mean 0.5, std 0.5", "0 to 1, 50% zeros"], "#f3f5f7")
    both = boxes(mg.draw(lambda x: mg.sum(mg.exp(x)), np.zeros(2), show=["time"], view="both"))
    assert both["exp"][0] == ["1 ms (25%)"] and "1 ms (25%)" in both["2. exp"][0]
    x = mg.Tensor([1.0], requires_grad=True)
    assert boxes(mg.draw(mg.exp(x), show=["time"]))["exp"][0] == ["1 ms backward (100%)"]


def test_a_group_and_a_run_have_all_times_and_the_range_of_gradients(monkeypatch):
    ticks = iter(range(100_000))
    monkeypatch.setattr("minigraph.graph.measure.perf_counter", lambda: next(ticks) * 1e-3)

    def block(p, x):
        return mg.sin(x * p["w"]) * 1e-3

    def blocks(params, x):
        for p in params["blocks"]:
            x = block(p, x)
        return mg.sum(x)

    params = {"blocks": [{"w": np.ones(2)} for _ in range(5)]}
    picture = mg.draw(blocks, params, np.ones(2) * 1e-9, show=["time", "gradient"], depth=1)
    lines, colour = boxes(picture)["blocks.1"]  # four blocks of three operations, of 16
    assert "12 ms + 12 ms backward (75%)" in lines
    assert "gradient rms 1e-12 to 1" in lines and colour == f"#b5d5f2:{SEED}"
    assert "gradient of parameters rms 1e-24" in lines


def test_each_rule_says_what_the_walk_still_holds():
    found = boxes(mg.draw(lambda x: mg.sum(mg.exp(mg.exp(x))), np.ones(10), view="backward"))
    assert [found[rule][0][-1] for rule in ("1. sum", "2. exp", "3. exp")] == [
        "160 B held", "frees 80 B of 160 B held", "frees 80 B of 80 B held",
    ]  # fmt: skip

    def repeated(x):
        for _ in range(200):
            x = mg.exp(-x)
        return x.sum()

    folded = boxes(mg.draw(repeated, np.ones(10), view="backward"))
    assert folded["2. exp"][0][-1] == "frees 80 B of 16 kB held"  # when the walk first comes to it


def test_edges_say_what_goes_along_them():
    def f(x, y):
        return mg.sum(x * y)

    def labels(**options):
        source = mg.draw(f, np.ones(3), np.full(3, 2.0), **options).source
        found = re.findall(r"(\w+) -> (\w+) \[label=<(.*?)>[ \]]", source)
        return {(a, b): text.replace("&#160;", "").split("<br/>") for a, b, text in found}

    assert labels() == {}
    forward = labels(edges=["shape", "values", "gradient"])
    assert forward["n0", "n2"] == ["float64 (3,)", "all 1", "gradient rms 2"]
    assert forward["n3", "n4"] == ["float64 ()", "= 6", "gradient 1"]
    backward = labels(edges=["values", "gradient"], view="backward")
    assert backward == {
        ("g4", "r3"): ["gradient 1"], ("r3", "r2"): ["gradient rms 1"], ("r2", "g0"): ["gradient rms 2"],
        ("r2", "g1"): ["gradient rms 1"],
    }  # fmt: skip
    both = labels(edges=["values", "gradient"], view="both")
    assert both["n2", "n3"] == ["all 2"] and both["r2", "r3"] == ["gradient rms 1"]


def test_a_run_shows_what_a_period_hands_to_the_next():
    def f(x):
        for _ in range(50):
            x = mg.sin(x) * 2
        return x

    for view, edge in (("forward", "n3 -> n2 [constraint=false style=dotted]"), ("backward", "r2 -> r3 [constraint")):
        assert edge in mg.draw(f, np.ones(3), fold=True, view=view).source


def test_rules_have_their_line_as_a_tooltip():
    source = mg.draw(lambda x: mg.sin(x), np.ones(2), view="backward").source
    assert re.search(r'r1 \[.*tooltip="test_dot.py, line \d+, in &lt;lambda&gt;', source)


def test_a_run_is_named_by_the_scope_that_repeats():
    def box(*scope, title=None):
        return Box([], scope=scope, title=title)

    first, second = ([box(f"block{i}", title="mlp"), box(f"block{i}")] for i in (1, 2))
    assert run_name(first, second) == "block"
    assert run_name([box(title="layer")], [box(title="layer 2")]) == "layer"
    assert run_name([box("rnn"), box("rnn")], [box("rnn"), box("rnn")]) == "2 boxes"
    assert run_name([box("net", "b1")], [box("net", "b2")]) == "b"
