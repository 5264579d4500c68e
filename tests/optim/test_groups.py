"""Parameters in groups by their paths: who updates what, what is frozen, and what the state holds."""

import copy
import math

import numpy as np
import pytest

from minigraph import tree
from minigraph.optim import SGD, Adam, AdamW, Groups, Muon

from .helpers import assert_same, draw, run

SHAPES = {
    "stem": {"w": (3, 2), "bias": (2,)},
    "blocks": [{"w": (4,), "bias": ()}, {"w": (2, 2), "bias": (3,)}],
    "b": (2,),
}


def params(seed=0):
    return draw(seed, SHAPES)


def test_each_group_is_as_if_it_were_alone():
    gradients = [params(i) for i in range(1, 5)]
    opt = Groups({"*.bias": SGD(0.2, momentum=0.5), "stem.*": AdamW(0.1), "*": Adam(0.01)})
    got, state = run(opt, params(), gradients)

    def alone(optimizer, pick):
        return run(optimizer, pick(params()), [pick(g) for g in gradients])[0]

    bias = alone(SGD(0.2, momentum=0.5), lambda p: [p["stem"]["bias"], *(b["bias"] for b in p["blocks"])])
    stem = alone(AdamW(0.1), lambda p: p["stem"]["w"])
    rest = alone(Adam(0.01), lambda p: [*(b["w"] for b in p["blocks"]), p["b"]])
    want = {
        "stem": {"w": stem, "bias": bias[0]},
        "blocks": [{"w": rest[0], "bias": bias[1]}, {"w": rest[1], "bias": bias[2]}],
        "b": rest[2],
    }
    assert_same(want, got)
    assert state["step"] == 4


def test_the_first_match_wins_and_case_counts():
    moved = run(Groups({"a": SGD(1.0), "[ab]": SGD(10.0), "*": SGD(100.0)}), *_ones("a", "b", "A"))[0]
    assert {name: float(w) for name, w in moved.items()} == {"a": -1, "b": -10, "A": -100}


def _ones(*names):
    return {name: np.zeros(()) for name in names}, [{name: np.ones(()) for name in names}]


def test_arrays_of_2_dimensions_and_more_are_a_group():
    """Muon for matrices, and no weight decay for biases."""
    opt = Groups({"stem.*": SGD(0.3), "ndim >= 2": Muon(0.1, weight_decay=0.5), "*": SGD(0.2)})
    got, state = run(opt, params(), [params(1)])
    muon, _ = run(Muon(0.1, weight_decay=0.5), [params()["blocks"][1]["w"]], [[params(1)["blocks"][1]["w"]]])
    want = tree.map(lambda w, g: w - 0.2 * g, params(), params(1))
    want["stem"] = tree.map(lambda w, g: w - 0.3 * g, params()["stem"], params(1)["stem"])
    want["blocks"][1]["w"] = muon[0]
    assert_same(want, got)
    assert [path for path, _ in tree.items(state["groups"]["ndim >= 2"]["momentum"])] == ["blocks.1.w"]


def test_a_tree_without_its_frozen_part():
    frozen, trained = tree.partition(params(), "stem.*", "*.0.w")
    opt = Groups({"*.bias": SGD(0.2), "*": Adam(0.1)})
    got, _ = run(opt, trained, [tree.partition(params(1), "stem.*", "*.0.w")[1]])
    want, _ = run(Groups({"stem.*": None, "*.0.w": None, "*.bias": SGD(0.2), "*": Adam(0.1)}), params(), [params(1)])
    assert_same(want, tree.merge(frozen, got))


def test_frozen_parameters_come_back_as_they_came():
    start = params()
    opt = Groups({"stem.*": None, "*": SGD(0.1, momentum=0.9)})
    state = opt.init(start)
    assert [*state["groups"]] == ["*"]
    assert len(tree.leaves(state["groups"]["*"]["velocity"])) == 5
    new, _ = opt.step(start, params(1), state)
    assert new["stem"]["w"] is start["stem"]["w"] and new["stem"]["bias"] is start["stem"]["bias"]
    assert all((a != b).all() for a, b in zip(tree.leaves(new["blocks"]), tree.leaves(start["blocks"]), strict=True))


def test_all_frozen():
    start = params()
    new, state = run(Groups({"*": None}), start, [params(1)])
    assert all(a is b for a, b in zip(tree.leaves(new), tree.leaves(start), strict=True))
    assert state["step"] == 1


def test_frozen_parameters_may_have_any_dtype():
    start = {"table": np.arange(3), "w": np.ones(2)}
    new, _ = run(Groups({"table": None, "w": SGD(1.0)}), start, [start])
    assert_same({"table": np.arange(3), "w": np.zeros(2)}, new)


def test_groups_in_groups():
    inner = Groups({"stem.*": SGD(0.5), "*": SGD(0.1)})
    got, state = run(Groups({"b": None, "*": inner}), params(), [params(1)])
    want, _ = run(Groups({"b": None, "stem.*": SGD(0.5), "*": SGD(0.1)}), params(), [params(1)])
    assert_same(want, got)
    assert [*state["groups"]["*"]["groups"]] == ["stem.*", "*"]


def test_steps_update_in_place_what_a_step_returned():
    opt = Groups({"*.bias": SGD(0.1), "*": Adam(0.1)})
    now, state = run(opt, params(), [params(1)])
    pointers = [leaf.ctypes.data for leaf in tree.leaves(now)]
    now, _ = opt.step(now, params(2), state)
    assert [leaf.ctypes.data for leaf in tree.leaves(now)] == pointers


def test_repr():
    opt = Groups({"stem.*": None, "*": SGD(0.1, momentum=0.9)})
    assert repr(opt) == "Groups({'stem.*': None, '*': SGD(lr=0.1, momentum=0.9)})"


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        ({}, ValueError, "Groups: expected a dict from patterns to optimizers, got {}"),
        ([("*", None)], ValueError, "Groups: expected a dict from patterns to optimizers, got"),
        ({1: None}, TypeError, "Groups: expected a string as pattern, got 1"),
        ({"*": 0.1}, TypeError, "Groups: expected an optimizer or None for '.', got 0.1"),
        ({"*": SGD}, TypeError, "Groups: expected an optimizer or None for '.', got <class"),
    ],
)
def test_bad_groups(groups, error, message):
    with pytest.raises(error, match=message):
        Groups(groups)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"*.w": None, "*.bias": SGD(0.1)}, r"none of the patterns \['\*.w', '\*.bias'\] matches the parameter at b"),
        ({"*.wieght": None, "*": SGD(0.1)}, r"but \['\*.wieght'\] match none .* paths are \['stem.w', 'stem.bias'"),
        ({"*": SGD(0.1), "b": None}, r"but \['b'\] match none of those left to them"),
    ],
)
def test_patterns_that_do_not_fit_the_parameters(groups, message):
    with pytest.raises(ValueError, match=r"Groups\.init: .*" + message):
        Groups(groups).init(params())
    with pytest.raises(ValueError, match=r"Groups\.step: .*" + message):
        Groups(groups).step(params(), params(), {})


def _without(path):
    def change(t):
        *parents, last = path
        for key in parents:
            t = t[key]
        del t[last]

    return change


@pytest.mark.parametrize(
    ("which", "change", "error", "message"),
    [
        (0, lambda p: p.update(b=1.0), TypeError, "Groups.step: params at b: expected an array, got float"),
        (1, _without(["stem", "w"]), ValueError, "Groups.step: grads: trees differ at stem: missing keys"),
        (1, lambda g: g.update(b=np.ones(3)), ValueError, r"Groups.step: grads at b: expected float64 \(2,\)"),
        (2, _without(["groups"]), ValueError, r"Groups.step: state: expected the keys \['groups', 'step'\]"),
        (2, _without(["groups", "*"]), ValueError, r"state\['groups'\]: expected the keys .*'\*'\], got \['\*.bias'\]"),
        (2, lambda s: s.update(groups=3), ValueError, r"state\['groups'\]: expected the keys .*, got int"),
        (2, lambda s: s.update(step=np.array(-2)), ValueError, r"Groups.step: state\['step'\]: expected an integer"),
    ],
)
def test_a_step_on_what_does_not_fit_changes_nothing(which, change, error, message):
    opt = Groups({"*.bias": SGD(0.1, momentum=0.9), "*": Adam(0.1)})
    now, state = run(opt, params(), [params(1)])
    before = copy.deepcopy((now, state))
    arguments = [tree.map(lambda leaf: leaf, t) for t in (now, params(2), state)]
    change(arguments[which])
    with pytest.raises(error, match=message):
        opt.step(*arguments)
    assert_same(before, (now, state))


def test_errors_of_an_optimizer_name_the_path_in_the_whole_tree():
    mixed = params() | {"b": np.ones(2, np.float32)}
    with pytest.raises(TypeError, match=r"SGD.init: params at b: expected float64, got float32"):
        Groups({"stem.*": None, "*": SGD(0.1)}).init(mixed)
    with pytest.raises(ValueError, match=r"SGD.step: lr at step 0: .* got nan"):
        run(Groups({"*": SGD(lambda step: math.nan)}), params(), [params(1)])
