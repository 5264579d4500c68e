"""Groups within groups: what stands for what, which edges go through which frames, and where dot puts it all."""

import subprocess

import numpy as np
import pytest

import minigraph as mg
from minigraph.graph.nested import Group, Tree, layout, size_of
from minigraph.graph.trace import trace
from tests.graph.nets import IMAGES, resnet, resnet50, traced_airnet


def sizes(tree):
    names = [*(f"v{v.index}" for v in tree.graph.vertices), *(f"g{g.index}" for g in tree.groups)]
    return dict.fromkeys(names, (100.0, 40.0))


def two_scopes(w, x):
    with mg.scope("first"):
        h = mg.tanh(mg.exp(x * w))
    with mg.scope("second"):
        return mg.sum(mg.tanh(h) + h * w)


def traced():
    return trace(two_scopes, np.ones(3), np.ones(3))


def recurrence(p, x):
    h = np.zeros((2, 4))
    for t in range(30):
        h = mg.tanh(x[:, t] @ p["w"] + h @ p["u"])
    return h.sum()


def traced_recurrence():
    return trace(recurrence, {"w": np.ones((3, 4)), "u": np.ones((4, 4))}, np.ones((2, 30, 3)))


def titles(group):
    return [child.title for child in group.children]


def test_each_vertex_is_shown_once_or_has_one_that_stands_for_it():
    for graph in (traced_airnet(), traced_recurrence(), trace(resnet, resnet50(), IMAGES[:, :8, :8])):
        for fold in (True, False):
            tree = Tree(graph, fold)
            shown = [child.index for child in tree.root.walk() if not isinstance(child, Group)]
            assert len(set(shown)) == len(shown)
            assert {tree.shown(v.index) for v in graph.vertices} == {*shown}
            assert all(tree.shown(i) == i for i in shown)
            assert fold or not tree.stands_for


def test_groups_are_the_scopes_and_a_group_around_one_operation_is_none():
    tree = Tree(traced())
    assert titles(tree.root) == ["w", "x", "first", "second", "output"]
    first, second = tree.root.children[2:4]
    assert titles(first) == ["multiply", "exp", "tanh"] and titles(second) == ["tanh", "multiply", "add", "sum"]

    def single(x):
        with mg.scope("one"):
            return mg.exp(x)

    assert titles(Tree(trace(single, np.ones(3))).root) == ["x", "exp", "output"]


def test_a_run_stands_for_all_its_repetitions():
    tree = Tree(traced_recurrence())
    run = next(child for child in tree.root.children if isinstance(child, Group))
    assert run.times == 29 and len(run.operations) == 29 * 5 and len(run.children) == 5
    assert run.lines()[1] == "145 operations"
    middle = tree.graph.operations[75]
    assert tree.shown(middle.index) != middle.index and tree.parents[tree.shown(middle.index)] is run


def test_a_run_of_one_group_is_one_frame():
    tree = Tree(trace(resnet, resnet50(), IMAGES[:, :8, :8]))
    run = next(g for g in tree.groups if g.times == 5)
    assert run.title == "stages.2" and all(not isinstance(child, Group) for child in run.children)
    assert sum(v.kind == "parameter" for v in run.children) == 3
    assert sum(v.kind == "parameter" for v in run.members) == 15


def test_an_edge_is_cut_at_the_frames_that_it_goes_through():
    tree = Tree(traced())
    root, first, second = layout(tree, sizes(tree))
    w, x, multiply, exp, tanh = (v.index for v in tree.graph.vertices[:5])
    names = {tuple(edge[:3]) for edge in root["edges"]}
    assert (x, f"v{x}", "g1") in names and (w, f"v{w}", "g2") in names and (tanh, "g1", "g2") in names
    inside = {tuple(edge[:3]) for edge in first["edges"]}
    assert inside == {
        (x, f"i{x}", f"v{multiply}"), (w, f"i{w}", f"v{multiply}"), (multiply, f"v{multiply}", f"v{exp}"),
        (exp, f"v{exp}", f"v{tanh}"), (tanh, f"v{tanh}", f"o{tanh}"),
    }  # fmt: skip
    assert [edge[1] for edge in second["edges"]].count(f"i{tanh}") == 2  # h is used twice


def test_ports_lie_above_and_below_all_boxes():
    tree = Tree(traced())
    for place, group in zip(layout(tree, sizes(tree)), tree.groups, strict=True):
        ins = [y for name, (_, y) in place["at"].items() if name[0] == "i"]
        outs = [y for name, (_, y) in place["at"].items() if name[0] == "o"]
        inner = [y for name, (_, y) in place["at"].items() if name[0] in "gv"]
        assert all(y < min(inner) for y in ins) and all(y > max(inner) for y in outs)
        assert len(inner) == len(group.children)


def test_edges_begin_and_end_at_the_borders_of_their_boxes():
    tree = Tree(traced_airnet())
    for place in layout(tree, sizes(tree)):
        for _, tail, head, points, _ in place["edges"]:
            assert len(points) % 6 == 2  # a point, and three for each piece of the curve
            for name, (x, y) in ((tail, points[:2]), (head, points[-2:])):
                if name[0] in "gv":
                    dx, dy = abs(x - place["at"][name][0]), abs(y - place["at"][name][1])
                    assert abs(dx - 50) < 1.5 or abs(dy - 20) < 1.5


def test_where_no_gradient_flows_edges_are_dashed_and_to_the_next_repetition_dotted():
    tree = Tree(trace(lambda w: mg.sum(np.ones((2, 3)) @ w), np.ones((3, 1))))
    assert sorted(edge[-1] for edge in layout(tree, sizes(tree))[0]["edges"]) == ["", "", "", "dashed"]
    tree = Tree(traced_recurrence())
    assert [edge[-1] for edge in layout(tree, sizes(tree))[1]["edges"]].count("dotted") == 1


def test_hidden_kinds_have_no_boxes_and_no_edges():
    tree = Tree(traced_airnet(), hidden=frozenset({"parameter", "state", "constant"}))
    kinds = {child.kind for child in tree.root.walk() if not isinstance(child, Group)}
    assert kinds == {"operation", "input", "output"}
    layout(tree, sizes(tree))


def test_the_same_graph_has_the_same_places():
    first, second = (layout(tree, sizes(tree)) for tree in (Tree(traced_airnet()), Tree(traced_airnet())))
    assert first == second


def test_a_box_holds_its_texts():
    assert size_of("W" * 10, [])[0] > size_of("i" * 10, [])[0] > size_of("", [])[0]
    assert size_of("x", ["a line", "another"])[1] == size_of("x", [])[1] + 29
    assert size_of("x", [], cell=34)[1] > size_of("x", [], cell=18)[1] > size_of("x", [])[1]


def test_where_dot_fails_its_words_are_told(monkeypatch):
    def failed(*args, **kwargs):
        return subprocess.CompletedProcess(args, 1, b"", b"Error: out of colours\n")

    monkeypatch.setattr(subprocess, "run", failed)
    tree = Tree(traced())
    with pytest.raises(RuntimeError, match="page: the dot program failed: Error: out of colours"):
        layout(tree, sizes(tree))


def test_of_a_value_with_many_uses_dot_lays_out_the_first():
    """Or 300 operations in one group take it minutes."""
    tree = Tree(traced_recurrence(), fold=False)
    edges = layout(tree, sizes(tree))[0]["edges"]
    x = next(v.index for v in tree.graph.vertices if v.kind == "input")
    assert [edge[-1] for edge in edges if edge[0] == x] == ["", *["loose"] * 29]
    assert [edge[-1] for edge in edges if tree.graph.vertices[edge[0]].title == "tanh"] == [""] * 30
