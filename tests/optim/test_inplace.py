"""The contract of all optimizers that update in place: whose arrays they write to, resuming, and errors."""

import copy
import math

import numpy as np
import pytest

from minigraph import optim, tree
from minigraph.optim import SGD, Adam, AdamW, Muon
from minigraph.serialize import load, save

from .helpers import OPTIMIZERS, SHAPES, assert_same, draw, run

MATRICES = {"conv1": {"w": (3, 3, 2, 4)}, "scale": (1, 3), "head": [(5, 3), (0, 2), (2, 7)]}
CASES = {name: (make, SHAPES) for name, make in OPTIMIZERS.items()} | {
    "muon": (lambda lr=0.1: Muon(lr, weight_decay=0.02, renormalize=3), MATRICES)
}
each_optimizer = pytest.mark.parametrize(("make", "shapes"), CASES.values(), ids=CASES)


@each_optimizer
def test_caller_arrays_are_never_written_to(make, shapes):
    opt = make()
    params, gradients = draw(0, shapes), [draw(1, shapes), draw(2, shapes)]
    params["flat"] = np.arange(6.0).reshape(2, 3)  # a view of a 1-D base, as the optimizer's own
    for grads in gradients:
        grads["flat"] = np.ones((2, 3))
    state = opt.init(params)
    before = copy.deepcopy((params, gradients, state))
    run(opt, params, gradients, state)
    assert_same(before, (params, gradients, state))


def test_steps_update_what_a_step_returned_in_place():
    opt = SGD(0.1, momentum=0.9)
    params, state = run(opt, draw(0), [draw(1)])
    pointer = params["conv1"]["w"].ctypes.data
    assert tree.flat_view(params) is not None
    again, state_again = opt.step(params, draw(2), state)
    assert again["conv1"]["w"].ctypes.data == pointer
    assert state_again["velocity"]["scale"] is state["velocity"]["scale"]


@each_optimizer
def test_params_changed_between_steps(make, shapes):
    """A replaced leaf, another key order, a copy: each goes on as arrays of their own would."""
    gradients = [draw(i, shapes) for i in range(1, 5)]

    def changed(p, i):
        if i == 1:
            p["conv1"]["w"] = p["conv1"]["w"] * 2
        if i == 2:
            p = {"scale": p["scale"], "head": p["head"], "conv1": p["conv1"]}
        if i == 3:
            p = copy.deepcopy(p)
            p["head"][0] -= 1
        return p

    results = []
    for forget in (False, True):
        opt, params = make(), draw(0, shapes)
        state = opt.init(params)
        for i, grads in enumerate(gradients):
            params = changed(params, i)
            params, state = opt.step(params, grads, state)
            if forget:
                params, state, opt = copy.deepcopy(params), copy.deepcopy(state), make()
        results.append((params, state))
    assert_same(*results)


def test_one_optimizer_may_serve_two_models():
    opt = Adam(0.1)
    gradients = [draw(i) for i in range(5, 9)]
    alone = [run(Adam(0.1), draw(seed), gradients) for seed in (0, 1)]
    (p, s), (q, r) = [(draw(seed), opt.init(draw(seed))) for seed in (0, 1)]
    for grads in gradients:
        p, s = opt.step(p, grads, s)
        q, r = opt.step(q, grads, r)
    assert_same(alone, [(p, s), (q, r)])


@each_optimizer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_resumed_is_continued_bit_for_bit(make, shapes, dtype, tmp_path):
    lr = optim.cosine(0.1, 9, warmup=2)
    gradients = [draw(i, shapes, dtype) for i in range(1, 9)]
    continued = run(make(lr), draw(0, shapes, dtype), gradients)

    params, state = run(make(lr), draw(0, shapes, dtype), gradients[:4])
    save(tmp_path / "c", {"params": params, "state": state})
    loaded = load(tmp_path / "c")
    flat = [tree.flatten(grads)[1] for grads in gradients[4:]]
    resumed = run(make(lr), loaded["params"], flat, loaded["state"])
    assert_same(continued, resumed)


@pytest.mark.parametrize("make", [lambda: AdamW(0.5, weight_decay=0.5), lambda: Muon(0.5)], ids=["blocks", "matrices"])
@pytest.mark.parametrize("aliased", ["leaf by leaf", "flat"])
def test_gradients_that_lie_in_the_parameters(make, aliased):
    """The gradient of (a * b).sum() by a is b itself, which the step overwrites."""
    opt = make()
    params, state = run(opt, {"b": np.ones((3, 1)), "a": np.full((3, 1), 2.0)}, [])
    params, state = opt.step(params, tree.map(np.zeros_like, params), state)
    kept = copy.deepcopy(params)
    if aliased == "flat":
        grads, distinct = params, kept
    else:
        grads, distinct = [{"b": p["a"], "a": p["b"]} for p in (params, kept)]
    expected, _ = make().step(kept, distinct, copy.deepcopy(state))
    assert_same(expected, opt.step(params, grads, state)[0])


def test_gradients_of_any_layout():
    g = np.arange(1.0, 7.0).reshape(2, 3)
    layouts = [np.asfortranarray(g), np.repeat(g, 2, axis=1)[:, ::2], g[::-1][::-1]]
    for layout in layouts:
        params, _ = run(SGD(1.0), [np.zeros((2, 3))], [[layout]])
        assert_same([-g], params)
    params, _ = run(SGD(1.0), [np.zeros((2, 3))], [[np.broadcast_to(2.0, (2, 3))]])
    assert_same([np.full((2, 3), -2.0)], params)


def test_overflow_in_a_step_is_left_to_the_next_loss():
    with np.errstate(all="raise"):
        params, _ = run(SGD(1e30), [np.ones(2, np.float32)], [[np.full(2, 1e30, np.float32)]])
    assert np.isneginf(params[0]).all()


def _with(path, value):
    def change(t):
        *parents, last = path
        for key in parents:
            t = t[key]
        t[last] = value

    return change


@pytest.mark.parametrize(
    ("which", "change", "error", "message"),
    [
        (1, _with(["conv1", "w"], np.zeros((3, 3))), ValueError, r"grads at conv1.w: expected fl"),
        (1, _with(["scale"], np.zeros((), np.float32)), TypeError, "grads at scale: expected fl"),
        (1, _with(["scale"], 0.0), TypeError, "grads at scale: expected float64 .* a leaf .float"),
        (1, _with(["head"], None), ValueError, "grads: trees differ at head"),
        (1, lambda grads: grads.pop("scale"), ValueError, r"missing keys \['scale'\]"),
        (0, _with(["scale"], np.zeros((), int)), TypeError, "params at scale: .* got int"),
        (0, _with(["scale"], 1.0), TypeError, "params at scale: .* got float"),
        (0, lambda params: params.clear(), ValueError, "params: .* without a leaf"),
        (2, _with(["velocity", "scale"], np.zeros(2)), ValueError, r"state\['velocity'\] at scale"),
        (2, lambda state: state.pop("velocity"), ValueError, r"\['step', 'velocity'\], got \['st"),
        (2, _with(["step"], np.array(-1)), ValueError, r"state\['step'\]: expected an integer"),
        (2, _with(["step"], np.array(7)), ValueError, "SGD.step: lr at step 7: .* got nan"),
    ],
)
def test_a_step_that_raises_changes_nothing(which, change, error, message):
    opt = SGD(lambda step: math.nan if step == 7 else 0.1, momentum=0.9)
    params, state = run(opt, draw(0), [draw(1)])
    before = copy.deepcopy((params, state))
    arguments = [tree.map(lambda leaf: leaf, t) for t in (params, draw(2), state)]
    change(arguments[which])
    with pytest.raises(error, match=message):
        opt.step(*arguments)
    assert_same(before, (params, state))
    assert_same(run(SGD(0.1, 0.9), *before[:1], [draw(2)], before[1]), opt.step(params, draw(2), state))


def test_steps_call_the_schedule_with_the_steps_taken():
    calls = []
    opt = SGD(lambda step: calls.append(step) or np.float64(0.5))
    params, _ = run(opt, [np.zeros(1, np.float32)], [[np.ones(1, np.float32)]] * 3)
    assert calls == [0, 1, 2]
    assert params[0] == -1.5 and params[0].dtype == np.float32
