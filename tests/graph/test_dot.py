"""From boxes to DOT: stable, with what was asked for beside the operations, and the way of the gradient."""

import functools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigraph as mg
from minigraph.graph.trace import trace
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
