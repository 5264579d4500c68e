"""`draw`: what the picture says, told from its DOT text."""

import functools
import re
import sys
from xml.etree import ElementTree

import graphviz
import numpy as np
import pytest

import minigraph as mg
from minigraph.graph.draw import draw, save

PARAMETER, INPUT, OUTPUT, OTHER = "#fdf0d5", "#dcebfa", "#dff3e4", None  # fill colours


def nodes(picture):
    """{id: (text lines, fill colour)} of a picture."""
    found = {}
    for line in picture.body:
        if match := re.match(r"\t(n\d+) \[label=<(.*)>( [^<>]*)?\]\n$", line):
            lines = tuple(re.sub("<[^>]*>", "", part) for part in match[2].split("<br/>"))
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

    faint = '<font point-size="10" color="#66727f">'
    straight = "[weight=8]"
    expected = [
        f"\tn0 [label=<<b>x</b><br/>{faint}float64 (3,)</font>>"
        ' color="#86b3dd" fillcolor="#dcebfa" shape=ellipse style=filled]\n',
        f"\tn1 [label=<<b>tanh</b><br/>{faint}float64 (3,)</font>>]\n",
        f"\tn0 -> n1 {straight}\n",
        f"\tn2 [label=<<b>multiply</b><br/>{faint}b=2</font><br/>{faint}float64 (3,)</font>>]\n",
        f"\tn1 -> n2 {straight}\n",
        '\tn3 [label=<<b>output</b>> color="#7dbd91" fillcolor="#dff3e4" shape=ellipse style=filled]\n',
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
        "n9": (("labels", "int64 (2,)"), OTHER),
        "n10": (("multiply", "float32 (2, 2)"), OTHER),
        "n11": (("multiply", "b=0.5", "float32 (2, 2)"), OTHER),
        "n12": (("matmul", "float32 (2, 4)"), OTHER),
        "n13": (("output.first",), OUTPUT),
        "n14": (("output.second",), OUTPUT),
    }
    assert ("n11", "n13") in edges(picture) and ("n12", "n14") in edges(picture)
    assert "n9 -> n10 [style=dashed]" in picture.source


def test_a_shared_node_is_drawn_once_with_an_edge_for_each_use():
    x = mg.Tensor([1.0, 2.0], requires_grad=True)
    constant = np.ones(2)
    h = mg.exp(x)
    picture = draw(h * h + constant * x + constant)
    names = [lines[0] for lines in texts(picture)]
    assert names.count("exp") == 1 and names.count("float64 (2,)") == 2  # the leaf and the constant
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
        (("x", "float64 (4, 3)"), OTHER),
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
    assert "cos" in names and names[-1] == "output"


def test_an_input_handed_back_is_drawn_only_if_it_is_all_there_is():
    state = {"mean": np.ones(2)}
    names = [n[0] for n in texts(draw(lambda x, state: (mg.sin(x), state), np.ones(2), state))]
    assert names == ["x", "sin", "output.0"]
    assert texts(draw(lambda x: x, np.ones(2))) == [("x", "float64 (2,)"), ("output",)]


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
    assert len(draw(y).body) == 2 * 100_000 + 3


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
    with pytest.raises(ImportError, match=re.escape('pip install "minigraph[draw]"')):
        draw(mg.sin, np.ones(2))


# ---------------------------------------------------------------- save


def test_without_the_dot_program_the_dot_file_is_written(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    picture = draw(mg.sin, np.ones(2))
    with pytest.warns(UserWarning, match=r"graph\.dot is written, .*graph\.svg is not: .*apt install graphviz"):
        written = save(picture, tmp_path / "new" / "graph")
    assert written == [tmp_path / "new" / "graph.dot"]
    assert written[0].read_text() == picture.source
    assert [*(tmp_path / "new").iterdir()] == written


def test_a_dot_program_that_fails_loses_nothing(monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise graphviz.CalledProcessError(1, ["dot"], stderr=b"out of memory\n")

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
