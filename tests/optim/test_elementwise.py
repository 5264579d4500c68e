"""SGD, Adam and AdamW against the formulas and PyTorch."""

import copy
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigraph import optim, tree
from minigraph.optim import SGD, Adam, AdamW, elementwise
from minigraph.serialize import load, save

from .helpers import assert_same, draw, run

OPTIMIZERS = {
    "sgd": lambda lr=0.1: SGD(lr),
    "sgd decay": lambda lr=0.1: SGD(lr, weight_decay=0.02),
    "momentum": lambda lr=0.1: SGD(lr, momentum=0.9, weight_decay=0.02),
    "nesterov": lambda lr=0.1: SGD(lr, momentum=0.9, nesterov=True, weight_decay=0.02),
    "adam": lambda lr=0.1: Adam(lr, betas=(0.8, 0.95), eps=1e-6),
    "adam decay": lambda lr=0.1: Adam(lr, weight_decay=0.02),
    "adamw": lambda lr=0.1: AdamW(lr, weight_decay=0.02),
}
each_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


def reference(opt, w, gradients):
    """One array through the steps, by the formulas of the docstrings."""
    v = m = np.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        lr = opt.lr(t - 1)
        if isinstance(opt, SGD):
            d = lr * (g + opt.weight_decay * w)
            v = opt.momentum * v - d
            w = w + (opt.momentum * v - d if opt.nesterov else v)
            continue
        beta1, beta2 = opt.betas
        if isinstance(opt, AdamW):
            w = w - lr * opt.weight_decay * w
        else:
            g = g + opt.weight_decay * w
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        w = w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + opt.eps)
    return w


@each_optimizer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("flat_grads", [True, False])
def test_steps_follow_the_formulas(make, dtype, flat_grads):
    opt = make(optim.cosine(0.1, 8))
    params, gradients = draw(0, dtype=dtype), [draw(i, dtype=dtype) for i in range(1, 6)]
    if flat_grads:
        gradients = [tree.flatten(grads)[1] for grads in gradients]
    expected = tree.map(lambda w, *gs: reference(opt, w, gs), params, *gradients)
    got, state = run(opt, params, gradients)
    rtol = 1e-5 if dtype == np.float32 else 1e-12
    tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol), got, expected)
    tree.check_like(params, got, "float32 stays float32")
    assert state["step"] == 5 and state["step"].dtype == np.int64 and state["step"].shape == ()


@settings(max_examples=50, deadline=None)
@given(
    name=st.sampled_from(sorted(OPTIMIZERS)),
    shapes=st.dictionaries(
        st.text("ab.", max_size=2),
        st.lists(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), max_size=3),
        max_size=3,
    ).filter(lambda shapes: any(shapes.values())),
    block=st.integers(1, 40),
    seed=st.integers(0, 9),
)
def test_any_tree_in_blocks_of_any_size(name, shapes, block, seed):
    opt = OPTIMIZERS[name]()
    params, gradients = draw(seed, shapes), [draw(seed + i, shapes) for i in (1, 2, 3)]
    expected = tree.map(lambda w, *gs: reference(opt, w, gs), params, *gradients)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elementwise, "BLOCK", block)
        got, _ = run(opt, params, gradients)
    tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), got, expected)


@pytest.mark.parametrize(
    ("make", "torch_name", "options"),
    [
        (SGD, "SGD", {"momentum": 0.9, "weight_decay": 0.02}),
        (SGD, "SGD", {"momentum": 0.9, "weight_decay": 0.02, "nesterov": True}),
        (SGD, "SGD", {"weight_decay": 0.02}),
        (Adam, "Adam", {"weight_decay": 0.02, "betas": (0.8, 0.95), "eps": 1e-6}),
        (AdamW, "AdamW", {"weight_decay": 0.02}),
        (AdamW, "AdamW", {}),
    ],
)
def test_pytorch_agrees_at_a_constant_lr(make, torch_name, options):
    torch = pytest.importorskip("torch")
    params, gradients = draw(0), [draw(i) for i in range(1, 8)]
    theirs = [torch.tensor(leaf, requires_grad=True) for leaf in tree.leaves(params)]
    torch_opt = getattr(torch.optim, torch_name)(theirs, lr=0.1, **options)
    for grads in gradients:
        for tensor, g in zip(theirs, tree.leaves(grads), strict=True):
            tensor.grad = torch.tensor(g)
        torch_opt.step()
    got, _ = run(make(0.1, **options), params, gradients)
    for a, b in zip(tree.leaves(got), theirs, strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-12, atol=1e-14)


def test_velocity_keeps_the_rate_its_steps_were_taken_with():
    lr = optim.step_decay(1.0, [1], 0.5)
    params, _ = run(SGD(lr, momentum=0.5), [np.zeros(1)], [[np.ones(1)], [np.ones(1)]])
    # v = -1, then 0.5 * -1 - 0.5 * 1 = -1. PyTorch: v = 1, then 1.5, times 0.5: w = -1.75.
    assert params[0] == -2.0


@each_optimizer
def test_caller_arrays_are_never_written_to(make):
    opt = make()
    params, gradients = draw(0), [draw(1), draw(2)]
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
def test_params_changed_between_steps(make):
    """A replaced leaf, another key order, a copy: each goes on as arrays of their own would."""
    gradients = [draw(i) for i in range(1, 5)]

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
        opt, params = make(), draw(0)
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
def test_resumed_is_continued_bit_for_bit(make, dtype, tmp_path):
    lr = optim.cosine(0.1, 9, warmup=2)
    gradients = [draw(i, dtype=dtype) for i in range(1, 9)]
    continued = run(make(lr), draw(0, dtype=dtype), gradients)

    params, state = run(make(lr), draw(0, dtype=dtype), gradients[:4])
    save(tmp_path / "c", {"params": params, "state": state})
    loaded = load(tmp_path / "c")
    flat = [tree.flatten(grads)[1] for grads in gradients[4:]]
    resumed = run(make(lr), loaded["params"], flat, loaded["state"])
    assert_same(continued, resumed)


@pytest.mark.parametrize("aliased", ["leaf by leaf", "flat"])
def test_gradients_that_lie_in_the_parameters(aliased):
    """The gradient of (a * b).sum() by a is b itself, which the step overwrites."""
    opt = AdamW(0.5, weight_decay=0.5)
    params, state = run(opt, {"b": np.ones(3), "a": np.full(3, 2.0)}, [])
    params, state = opt.step(params, tree.map(np.zeros_like, params), state)
    kept = copy.deepcopy(params)
    if aliased == "flat":
        grads, distinct = params, kept
    else:
        grads, distinct = [{"b": p["a"], "a": p["b"]} for p in (params, kept)]
    expected, _ = AdamW(0.5, weight_decay=0.5).step(kept, distinct, copy.deepcopy(state))
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


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SGD(math.nan), ValueError, "SGD: lr: .* finite and not negative, got nan"),
        (lambda: SGD(math.inf), ValueError, "SGD: lr"),
        (lambda: Adam(-1), ValueError, "Adam: lr"),
        (lambda: SGD("0.1"), TypeError, "SGD: lr: expected a number, got '0.1'"),
        (lambda: SGD(0.1, momentum=1), ValueError, r"SGD: momentum: .* in \[0, 1\), got 1"),
        (lambda: SGD(0.1, momentum=-0.1), ValueError, "SGD: momentum"),
        (lambda: SGD(0.1, momentum=math.nan), ValueError, "SGD: momentum"),
        (lambda: SGD(0.1, nesterov=True), ValueError, "nesterov=True needs a momentum"),
        (lambda: SGD(0.1, weight_decay=-1), ValueError, "SGD: weight_decay"),
        (lambda: AdamW(weight_decay=math.inf), ValueError, "AdamW: weight_decay"),
        (lambda: Adam(betas=(0.9, 1.0)), ValueError, "Adam: betas"),
        (lambda: Adam(betas=0.9), ValueError, "Adam: betas: expected a pair"),
        (lambda: Adam(eps=0), ValueError, "Adam: eps: expected a number above 0"),
        (lambda: SGD(0.1).init({"w": np.arange(3)}), TypeError, "at w: expected float32 or float64"),
        (lambda: SGD(0.1).init({"w": 1.0}), TypeError, "SGD.init: params at w: .* got float"),
        (lambda: SGD(0.1).init({}), ValueError, "SGD.init: params: .* without a leaf"),
        (
            lambda: SGD(0.1).init([np.ones(1), np.ones(1, np.float32)]),
            TypeError,
            "at 1: expected float64, got float32",
        ),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


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


@pytest.mark.parametrize(
    ("opt", "text"),
    [
        (SGD(0.1), "SGD(lr=0.1)"),
        (SGD(0.1, momentum=0.9, nesterov=True), "SGD(lr=0.1, momentum=0.9, nesterov=True)"),
        (SGD(optim.cosine(0.1, 90, warmup=5)), "SGD(lr=cosine(0.1, 90, warmup=5))"),
        (Adam(), "Adam(lr=0.001)"),
        (Adam(betas=(0.8, 0.9)), "Adam(lr=0.001, betas=(0.8, 0.9))"),
        (Adam(betas=[0.9, 0.999]), "Adam(lr=0.001)"),
        (AdamW(), "AdamW(lr=0.001)"),
        (AdamW(weight_decay=0), "AdamW(lr=0.001, weight_decay=0.0)"),
        (SGD(math.sqrt), "SGD(lr=sqrt)"),
    ],
    ids=repr,
)
def test_repr(opt, text):
    assert repr(opt) == text
