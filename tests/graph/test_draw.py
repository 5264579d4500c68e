"""`draw`: what the picture says, told from its DOT text."""

import copy
import functools
import html
import pickle
import re
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import graphviz
import numpy as np
import pytest

import minigraph as mg
from minigraph.graph.draw import draw, save
from minigraph.primitive import identity
from models import airnet, cnn

PARAMETER, STATE, INPUT, OUTPUT, OTHER = "#fdf0d5", "#e8e4f0", "#dcebfa", "#dff3e4", None  # fill colours
CONSTANT, BACKWARD, TWICE = "#eceff2", "#d9f0ee", "#f8e1ea"


def nodes(picture):
    """{id: (text lines, fill colour)} of a picture."""
    found = {}
    for line in picture.body:
        if match := re.match(r"\t+(n\d+) \[label=<(.*)>( [^<>]*)?\]\n$", line):
            lines = tuple(html.unescape(re.sub("<[^>]*>", "", part)) for part in match[2].split("<br/>"))
            colour = re.search('fillcolor="(.*?)"', match[3] or "")
            found[match[1]] = lines, colour and colour[1]
    return found


def edges(picture):
    return re.findall(r"(n\d+) -> (n\d+)", picture.source)


def texts(picture):
    return [lines for lines, _ in nodes(picture).values()]


def test_exact_dot_of_a_tiny_graph():
    def f(x):
        return mg.tanh(x) * 2

    faint = '<font point-size="10" color="#52606d">'
    straight = "[weight=8]"
    line = f.__code__.co_firstlineno + 1
    tooltip = f'tooltip="test_draw.py, line {line}, in f: return mg.tanh(x) * 2"'
    expected = [
        f"\tn0 [label=<<b>x</b><br/>{faint}float64 (3,)</font>>"
        ' color="#86b3dd" fillcolor="#dcebfa" shape=ellipse style=filled]\n',
        f"\tn1 [label=<<b>tanh</b><br/>{faint}float64 (3,)</font>> {tooltip}]\n",
        f"\tn2 [label=<<b>multiply</b><br/>{faint}b=2</font><br/>{faint}float64 (3,)</font>> {tooltip}]\n",
        '\tn3 [label=<<b>output</b>> color="#7dbd91" fillcolor="#dff3e4" shape=ellipse style=filled]\n',
        f"\tn0 -> n1 {straight}\n",
        f"\tn1 -> n2 {straight}\n",
        f"\tn2 -> n3 {straight}\n",
    ]
    assert draw(f, np.ones(3)).body == expected
    assert draw(f, np.ones(3)).source == draw(f, np.zeros(3)).source


def test_names_kinds_shapes_and_dtypes_of_a_function_with_nested_inputs():
    params = {
        "hidden": {"w": np.ones((3, 5), np.float32), "b": np.ones(5, np.float32)},
        "heads": [np.ones((5, 2), np.float32), (np.ones((5, 4), np.float32), None)],
        "unused": np.ones(7),
    }
    labels = np.array([0, 1])

    def f(params, x, labels, scale):
        h = mg.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
        first = h @ params["heads"][0] * labels
        return {"first": first * scale, "second": h @ params["heads"][1][0], "count": 3}

    picture = draw(f, params, np.ones((2, 3), np.float32), labels, 0.5)
    assert nodes(picture) == {
        "n0": (("params.hidden.w", "float32 (3, 5)"), PARAMETER),
        "n1": (("params.hidden.b", "float32 (5,)"), PARAMETER),
        "n2": (("params.heads.0", "float32 (5, 2)"), PARAMETER),
        "n3": (("params.heads.1.0", "float32 (5, 4)"), PARAMETER),
        "n4": (("x", "float32 (2, 3)"), INPUT),
        "n5": (("matmul", "float32 (2, 5)"), OTHER),
        "n6": (("add", "float32 (2, 5)"), OTHER),
        "n7": (("relu", "float32 (2, 5)"), OTHER),
        "n8": (("matmul", "float32 (2, 2)"), OTHER),
        "n9": (("labels", "int64 (2,)"), INPUT),
        "n10": (("multiply", "float32 (2, 2)"), OTHER),
        "n11": (("multiply", "b=0.5", "float32 (2, 2)"), OTHER),
        "n12": (("matmul", "float32 (2, 4)"), OTHER),
        "n13": (("output.first",), OUTPUT),
        "n14": (("output.second",), OUTPUT),
    }
    assert ("n11", "n13") in edges(picture) and ("n12", "n14") in edges(picture)
    assert re.search("n9 -> n10 .*style=dashed", picture.source)


def test_a_shared_node_is_drawn_once_with_an_edge_for_each_use():
    x = mg.Tensor([1.0, 2.0], requires_grad=True)
    constant = np.ones(2)
    h = mg.exp(x)
    picture = draw(h * h + constant * x + constant)
    names = [lines[0] for lines in texts(picture)]
    assert names.count("exp") == 1 and names.count("float64 (2,)") == names.count("[1, 1] float64 (2,)") == 1
    by_name = {lines[0]: name for name, (lines, _) in nodes(picture).items()}
    into = [(a, b) for a, b in edges(picture) if a == by_name["exp"]]
    assert len(into) == 2 and into[0] == into[1]


def test_every_edge_leads_from_a_smaller_number_to_a_larger():
    def f(x):
        for _ in range(5):
            x = x * x + mg.sin(x)
        return x

    picture = draw(f, np.ones(2))
    assert [*nodes(picture)] == [f"n{i}" for i in range(17)]
    assert len(edges(picture)) == 5 * 5 + 1
    assert all(int(a[1:]) < int(b[1:]) for a, b in edges(picture))


def test_a_tensor_and_names():
    w = mg.Tensor(np.ones((3, 2)), requires_grad=True)
    unnamed = mg.Tensor(np.ones(2), requires_grad=True)
    x = np.ones((4, 3))
    h = x @ w
    picture = draw(mg.sum(h * unnamed), names={"net": {"w": w}, "x": x, "h": h})
    assert [*nodes(picture).values()] == [
        (("net.w", "float64 (3, 2)"), PARAMETER),
        (("float64 (2,)",), PARAMETER),
        (("x", "float64 (4, 3)"), CONSTANT),
        (("matmul", "h", "float64 (4, 2)"), OTHER),
        (("multiply", "float64 (4, 2)"), OTHER),
        (("sum", "float64 ()"), OTHER),
        (("output",), OUTPUT),
    ]


def test_the_graph_behind_an_input_is_cut_off():
    x = mg.exp(mg.Tensor([1.0], requires_grad=True))
    assert texts(draw(mg.sin, x)) == [("x", "float64 (1,)"), ("sin", "float64 (1,)"), ("output",)]


def test_draws_under_no_grad():
    with mg.no_grad():
        assert ("sin", "float64 (2,)") in texts(draw(mg.sin, np.ones(2)))


def test_the_graph_of_a_gradient():
    names = [lines[0] for lines in texts(draw(mg.grad(lambda x: mg.sum(mg.sin(x))), np.ones(2)))]
    assert "cos" in names and names[-1] == "gradient of x"


def test_an_input_handed_back_is_drawn_only_if_it_is_all_there_is():
    state = {"mean": np.ones(2)}
    names = [n[0] for n in texts(draw(lambda x, state: (mg.sin(x), state), np.ones(2), state))]
    assert names == ["x", "sin", "output.0"]
    assert texts(draw(lambda x: x, np.ones(2))) == [("x", "float64 (2,)"), ("output",)]


def test_the_graph_of_a_gradient_has_no_boxes_that_only_hand_on():
    def loss(params, state, x, y):
        return mg.cross_entropy(cnn.apply(params, state, x, train=True)[0], y)

    params, state = cnn.init(np.random.default_rng(0), image=(8, 8, 3), widths=(2, 3))
    inputs = params, state, np.ones((2, 8, 8, 3), np.float32), np.array([1, 2])
    picture = draw(mg.grad(loss), *inputs)
    title = {name: lines[0] for name, (lines, _) in nodes(picture).items()}
    joined = {(title[a], title[b]) for a, b in edges(picture)}
    assert "identity" not in title.values()
    assert {("params.conv1.w", "conv2d"), ("params.head.b", "add"), ("x", "conv2d_weight_grad")} <= joined
    assert {name for edge in edges(picture) for name in edge} == {*nodes(picture)}  # every edge leads to a box
    results = {lines[0] for lines, colour in nodes(picture).values() if colour == OUTPUT}
    assert results == {f"gradient of params.{path}" for path, _ in mg.tree.items(params)}

    twice = draw(mg.grad(lambda x: mg.grad(lambda x: mg.sum(mg.softplus(x)))(x).sum()), np.ones(2))
    assert not {"identity"} & {lines[0] for lines in texts(twice)}


def test_a_result_that_is_handed_on_is_the_input():
    x = np.ones(2)
    assert texts(draw(lambda x: identity(identity(x)), x)) == [("x", "float64 (2,)"), ("output",)]
    names = [lines[0] for lines in texts(draw(lambda x, y: (mg.sin(y), identity(x)), x, x))]
    assert names == ["y", "sin", "output.0"]


# ---------------------------------------------------------------- state


@pytest.mark.parametrize("train", [True, False])
def test_the_state_of_a_model_is_not_traced(train):
    params, state = airnet.init(np.random.default_rng(0), widths=(4, 5, 6))
    picture = draw(functools.partial(airnet.apply, train=train), params, state, np.ones((2, 32, 32, 3), np.float32))
    assert {lines[0]: colour for lines, colour in nodes(picture).values()}["state.whiten"] == STATE
    parameters = {lines[0] for lines, colour in nodes(picture).values() if colour == PARAMETER}
    assert parameters == {f"params.{path}" for path, _ in mg.tree.items(params)}


@pytest.mark.parametrize(("train", "boxes"), [(True, 43), (False, 55)])  # in evaluation the statistics are inputs
def test_a_batch_normalisation_is_one_box(train, boxes):
    params, state = airnet.init(np.random.default_rng(0))
    picture = draw(functools.partial(airnet.apply, train=train), params, state, np.ones((2, 32, 32, 3), np.float32))
    assert len(nodes(picture)) == boxes and [lines[0] for lines in texts(picture)].count("batch_norm") == 6


def normalised(p, state, x):
    return p["w"] * (x - state["mean"]) * state["count"]


@pytest.mark.parametrize("kind", [np.asarray, mg.Tensor, functools.partial(mg.Tensor, requires_grad=True)])
def test_state_has_a_look_of_its_own_whatever_holds_it(kind):
    inputs = {"w": np.ones(3)}, {"mean": kind(np.zeros(3)), "count": 2.0, "unused": kind(np.ones(7))}, np.ones((4, 3))
    expected = [
        (("p.w", "float64 (3,)"), PARAMETER),
        (("x", "float64 (4, 3)"), INPUT),
        (("state.mean", "float64 (3,)"), STATE),
        (("subtract", "float64 (4, 3)"), OTHER),
        (("multiply", "float64 (4, 3)"), OTHER),
        (("multiply", "b=2", "float64 (4, 3)"), OTHER),
        (("output",), OUTPUT),
    ]
    picture = draw(normalised, *inputs)
    assert [*nodes(picture).values()] == expected
    assert re.search("n2 -> n3 .*style=dashed", picture.source)
    gradient = [*nodes(draw(mg.grad(lambda p, state, x: normalised(p, state, x).sum()), *inputs)).values()]
    assert (("state.mean", "float64 (3,)"), STATE) in gradient
    assert (("state.mean", "float64 (3,)"), PARAMETER) in nodes(draw(normalised, *inputs, constants=())).values()


def test_constants_are_the_arguments_by_their_names():
    def f(p, s, *rest):
        return p["w"] * s["mean"] * rest[0] * rest[1]

    inputs = {"w": np.ones(3)}, {"mean": np.ones(3)}, np.ones(3), np.ones(3)
    colours = {lines[0]: colour for lines, colour in nodes(draw(f, *inputs, constants=["s", "rest"])).values()}
    assert [colours[name] for name in ("p.w", "s.mean", "rest.0", "rest.1")] == [PARAMETER, STATE, STATE, STATE]
    with pytest.raises(ValueError, match="f has no argument 'mean', which constants names"):
        draw(f, *inputs, constants=["mean"])
    for wrong in ("s", None, [1]):
        with pytest.raises(TypeError, match="constants should be a list of the names of arguments"):
            draw(f, *inputs, constants=wrong)
    with pytest.raises(TypeError, match="constants go with a function"):
        draw(mg.Tensor([1.0], requires_grad=True) * 2, constants=["s"])


def test_a_constant_says_what_it_is():
    def constants(f, *inputs):
        return [lines for lines in texts(draw(f, *inputs)) if "constant" in lines[0]]

    x, logits, labels = np.ones((4, 3)), np.ones((8, 10), np.float32), np.arange(8)
    assert constants(lambda x: mg.cross_entropy(x, labels), logits) == [("q: constant float32 (8, 10)",)]
    named = draw(lambda x, labels: mg.cross_entropy(x, labels), logits, labels)
    assert ("labels, one-hot", "float32 (8, 10)") in texts(named)
    filters = np.ones((1, 1, 3, 2))
    assert constants(lambda x: mg.conv2d(x, filters), np.ones((1, 2, 2, 3))) == [("w: constant float64 (1, 1, 3, 2)",)]
    assert constants(lambda x: x * np.ones((2, 4, 3)), x) == [("constant float64 (2, 4, 3)",)]
    assert ("[1, 2.5, -3] float64 (3,)",) in texts(draw(lambda x: x * np.array([1, 2.5, -3]), x))  # a few values
    assert constants(lambda x: mg.concatenate([x, np.ones((1, 3))]), x) == []  # [[1, 1, 1]]
    square = np.ones((10, 10), np.float32)
    shared = constants(lambda x: mg.cross_entropy(x @ square, square), square)
    assert shared == [("constant float32 (10, 10)",)]  # b of matmul, q of cross_entropy


# ---------------------------------------------------------------- names


LONG = "a" * 20_000


@pytest.mark.parametrize(
    ("inputs", "names", "expected"),
    [
        ({"a.b": 1, "a": {"b": 2}}, {}, ["p['a.b']", "p['a']['b']"]),
        ({"a": {"b.c": 1}, "a.b": {"c": 2}, "d": 3}, {}, ["p['a']['b.c']", "p['a.b']['c']", "p.d"]),
        ({"1": 1, 1: 2}, {}, ["p['1']", "p[1]"]),
        ({"": 1, "''": 2}, {}, ["p['']", """p["''"]"""]),
        ([1, {"0": 2}, [3]], {}, ["p.0", "p.1.0", "p.2.0"]),
        ({"w": 1}, {"p": {"w": 2}}, ["p.w (2)", "p.w"]),
        ({}, {"a.b": 1, "a": {"b": 2}}, ["a.b", "a['b']"]),
        (
            {LONG + "1" + LONG: 1, LONG + "2" + LONG: 2},
            {},
            [f"p.{'a' * 46}...{end}" for end in ("a" * 48, "a" * 44 + " (2)")],
        ),
    ],
)
def test_no_two_inputs_have_the_same_name(inputs, names, expected):
    names = mg.tree.map(lambda n: mg.Tensor(np.full(n, 1.0), requires_grad=True), names)

    def f(p):
        return mg.stack([mg.sum(t) for t in (*mg.tree.leaves(p), *mg.tree.leaves(names))])

    picture = draw(f, mg.tree.map(lambda n: np.ones(n), inputs), names=names)
    assert sorted(lines[0] for lines, colour in nodes(picture).values() if colour == PARAMETER) == sorted(expected)


def test_no_two_results_have_the_same_name():
    picture = draw(lambda x: {"a.b": mg.sin(x), "a": {"b": mg.cos(x)}, "": mg.tanh(x)}, np.ones(2))
    assert texts(picture)[-3:] == [("output['a.b']",), ("output['a']['b']",), ("output.''",)]


def test_one_array_with_several_names_has_them_all():
    w, labels = mg.Tensor(np.ones(3), requires_grad=True), np.arange(3)
    assert ("a, b.0", "float64 (3,)") in texts(draw(w * 2, names={"a": w, "b": [w]}))
    assert ("y, z", "int64 (3,)") in texts(
        draw(lambda x, y, z: x * y * z, np.ones(3), labels, labels, names={"y": labels})
    )


@pytest.mark.parametrize("name", ["", " ", LONG, "<" * 20_000, "\0" * 20_000, "\\N" * 10_000])
def test_no_name_breaks_the_drawing(name):
    @mg.custom_vjp
    def operation(x, static):
        return x

    operation.name = name
    t = mg.Tensor(np.ones(2), requires_grad=True)
    picture = draw(lambda p: {name: operation(p[name] * t, name)}, {name: np.ones(2)}, names={name: t})
    for lines in texts(picture):
        assert all(line.strip() for line in lines)
    assert max(map(len, picture.body)) < 2000
    if shutil.which("dot"):
        assert b"</svg>" in picture.pipe(format="svg")
    assert len(texts(picture)) == 5


def test_arguments_are_short_and_only_those_not_at_their_defaults():
    def shown(f, *inputs):
        return texts(draw(f, *inputs))[-2][1:-1]

    x = np.ones((2, 6, 6, 3), np.float32)
    w = np.ones((3, 3, 3, 4), np.float32)
    assert shown(lambda x: mg.sum(x), x) == ()
    assert shown(lambda x: mg.sum(x, axis=(1, 2), keepdims=True), x) == ("axis=(1, 2), keepdims=True",)
    assert shown(lambda x: x[0, 1:3, ..., ::2], x) == ("index=(0, 1:3, ..., ::2)",)
    assert shown(lambda x: x[:, [0, 1], 0], x) == ("index=(:, int64 (2,), 0)",)
    assert shown(lambda x: x.reshape(2, -1), x) == ("shape=(2, -1)",)
    assert shown(lambda x: x.reshape(-1), x) == ("shape=-1",)
    assert shown(lambda x: x.astype(np.float64), x) == ("dtype=float64",)
    assert shown(lambda x: x * np.float32(1 / 3), x) == ("b=0.333333",)
    assert shown(lambda x: x * np.asarray(2.5), x) == ("b=2.5",)
    assert shown(lambda x, w: mg.conv2d(x, w), x, w) == ()
    assert shown(lambda x, w: mg.conv2d(x, w, stride=2, padding=1), x, w) == ("stride=2, padding=1",)
    assert shown(lambda x: mg.batch_norm(x, None, None, np.ones(3), np.ones(3), train=True)[0], x) == ()
    assert shown(lambda x: mg.max_pool(x, 2, stride=(1, 2)), x) == ("window=2, stride=(1, 2)",)


def test_labels_hold_no_arrays_and_no_long_values():
    @mg.custom_vjp
    def odd(x, static, *, other):
        return x

    static = tuple(range(1000)), np.arange(1000)
    label = texts(draw(lambda x: odd(x, static, other=object()), np.ones(1000)))[1]
    assert label == ("odd", "static=((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1..., other=object", "float64 (1000,)")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ('a "b" -> c;', 'p.a "b" -> c;'),
        ("<b>&amp;", "p.<b>&amp;"),
        ("\\N\\", "p.\\N\\"),
        ("größe", "p.größe"),
        ("a\nb\0", r"'p.a\nb\x00'"),
    ],
)
def test_odd_names_are_quoted(name, shown):
    picture = draw(lambda p: mg.sin(p[name]), {name: np.ones(2)})
    label = re.search("label=<(.*)> color", picture.body[0])[1]
    text = ElementTree.fromstring(f"<label>{label}</label>").find("b").text
    assert text == shown.replace("\\", 2 * "\\")  # \N alone is the node's id to Graphviz


@pytest.mark.slow
def test_a_long_chain_is_drawn_without_recursion():
    x = mg.Tensor(np.ones(1), requires_grad=True)
    y = x
    for _ in range(100_000):
        y = -y
    with pytest.warns(UserWarning, match="the picture has 100,002 boxes.*name parts of the function by mg.scope"):
        assert len(draw(y, fold=False).body) == 2 * 100_000 + 4
    assert len(nodes(draw(y))) == 4  # the first step takes the input, the others the step before


def test_a_freed_graph_is_refused():
    x = mg.Tensor([1.0, 2.0], requires_grad=True)
    y = mg.sum(mg.sin(x))
    y.backward(retain_graph=True)
    assert ("sin", "float64 (2,)") in texts(draw(y))
    y.backward()
    with pytest.raises(RuntimeError, match=r"freed the graph \(at sum\); draw before backward\(\), or "):
        draw(y)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.ones(2),), TypeError, "expected a Tensor or a function, got ndarray"),
        ((mg.Tensor([1.0], requires_grad=True), np.ones(2)), TypeError, "inputs go with a function"),
        ((mg.Tensor([1.0]),), ValueError, "no graph was recorded"),
        ((lambda x: 3.0, np.ones(2)), ValueError, "no graph was recorded"),
        ((mg.sin,), TypeError, "the inputs do not fit sin: missing a required argument: 'x'"),
        ((mg.sin, np.ones(2), 1), TypeError, "the inputs do not fit sin: too many positional arguments"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        draw(*arguments)
    with pytest.raises(TypeError, match="names should be a dict"):
        draw(mg.sin, np.ones(2), names=["x"])


def test_a_partial_function():
    def f(x, *rest, train):
        return mg.sin(x) + rest[1] if train else x

    picture = draw(functools.partial(f, train=True), np.ones(2), 5, np.ones(2))
    assert ("rest.1", "float64 (2,)") in texts(picture)


def test_without_the_graphviz_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(ImportError, match=re.escape('pip install -e ".[draw]"')):
        draw(mg.sin, np.ones(2))


# ---------------------------------------------------------------- files, and the dot program


@pytest.fixture
def no_dot(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))


def test_without_the_dot_program_a_notebook_shows_what_to_do(no_dot):
    picture = draw(mg.sin, np.ones(2))
    shown = picture._repr_mimebundle_(include=None, exclude=None)
    assert [*shown] == ["text/plain"] and "apt install graphviz" in shown["text/plain"]


def test_with_the_dot_program_a_notebook_shows_the_picture(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(graphviz.Digraph, "pipe", lambda self, **kwargs: f"<svg/> as {kwargs['format']}")
    assert draw(mg.sin, np.ones(2))._repr_mimebundle_() == {"image/svg+xml": "<svg/> as svg"}


@pytest.mark.parametrize("call", ["render", "view", "pipe", "_repr_image_svg_xml"])
def test_without_the_dot_program_every_way_to_a_picture_says_what_to_do(call, no_dot, tmp_path):
    picture = draw(mg.sin, np.ones(2))
    old = tmp_path / "graph.svg"
    old.write_text("of another graph")
    where = {"filename": tmp_path / "graph"} if call in ("render", "view") else {}
    with pytest.raises(
        graphviz.ExecutableNotFound, match=r"the dot program, .* is missing: install .*apt install"
    ) as e:
        getattr(picture, call)(**where)
    assert e.value.__cause__ is e.value.__context__ is None
    assert [*tmp_path.iterdir()] == [old]  # no DOT file beside the picture of another graph


@pytest.mark.parametrize(
    "call", [save, lambda picture, path: picture.save(path), lambda picture, path: picture.render(path)]
)
@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("file/graph", "is a file, not a directory"),
        ("file/new/deeper/graph", "is a file, not a directory"),
        ("x" * 300, "File name too long"),
        ("x" * 300 + "/graph", "File name too long"),
    ],
)
def test_where_nothing_can_be_written_it_says_why(call, path, why, monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda name: name)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"^the drawing cannot be written to .*: .*" + why) as e:
        call(draw(mg.sin, np.ones(2)), tmp_path / path)
    assert e.value.__cause__ is None and e.value.__suppress_context__


def test_save_refuses_what_is_no_picture_and_no_name(tmp_path):
    with pytest.raises(TypeError, match="save: expected what draw returns, got Tensor"):
        save(mg.Tensor([1.0]), tmp_path / "graph")
    for path in ("", ".", "..", Path("/")):
        with pytest.raises(ValueError, match="save: expected a directory and a file name, got"):
            save(draw(mg.sin, np.ones(2)), path)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p)), lambda p: p.copy()]
)
def test_a_picture_can_be_copied(copied):
    picture = draw(mg.sin, np.ones(2))
    assert isinstance(copied(picture), graphviz.Digraph) and copied(picture).source == picture.source


def fail(*args, **kwargs):
    raise graphviz.CalledProcessError(1, ["dot"], stderr=b"out of memory\n")


def missing(*args, **kwargs):
    raise graphviz.ExecutableNotFound(["dot"])


def interrupted(*args, **kwargs):
    raise KeyboardInterrupt


@pytest.mark.parametrize("render", [fail, missing, interrupted])
def test_an_older_picture_does_not_stay_beside_a_newer_graph(render, monkeypatch, tmp_path):
    (tmp_path / "graph.svg").write_text("of another graph")
    monkeypatch.setattr(graphviz, "render", render)
    raises, warns = (
        pytest.raises(KeyboardInterrupt),
        pytest.warns(UserWarning, match=r"is not \(an older one is removed\):"),
    )
    with raises if render is interrupted else warns:
        save(draw(mg.sin, np.ones(2)), tmp_path / "graph")
    assert [*tmp_path.iterdir()] == [tmp_path / "graph.dot"]


def test_an_older_picture_that_stays_is_said(monkeypatch, tmp_path):
    def refuse(path):
        raise PermissionError(1, "Operation not permitted")

    (tmp_path / "graph.svg").write_text("of another graph")
    monkeypatch.setattr(graphviz, "render", missing)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.warns(
        UserWarning, match=r"the one there is of an older graph, and cannot be removed: Operation not permitted"
    ):
        save(draw(mg.sin, np.ones(2)), tmp_path / "graph")


def test_without_the_dot_program_the_dot_file_is_written(no_dot, tmp_path):
    picture = draw(mg.sin, np.ones(2))
    with pytest.warns(UserWarning, match=r"graph\.dot is written, .*graph\.svg is not: .*apt install graphviz"):
        written = save(picture, tmp_path / "new" / "graph")
    assert written == [tmp_path / "new" / "graph.dot"]
    assert written[0].read_text() == picture.source
    assert [*(tmp_path / "new").iterdir()] == written


def test_a_dot_program_that_fails_loses_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(graphviz, "render", fail)
    with pytest.warns(UserWarning, match="the dot program failed: out of memory"):
        written = save(draw(mg.sin, np.ones(2)), tmp_path / "graph.v2")
    assert written == [tmp_path / "graph.v2.dot"] and written[0].exists()


def test_dot_and_svg_are_written(monkeypatch, tmp_path):
    def render(engine, *, filepath, outfile, quiet):
        outfile.write_text(f"{engine} of {filepath.name}")

    monkeypatch.setattr(graphviz, "render", render)
    written = save(draw(mg.sin, np.ones(2)), str(tmp_path / "graph"))
    assert written == [tmp_path / "graph.dot", tmp_path / "graph.svg"]
    assert written[1].read_text() == "dot of graph.dot"
