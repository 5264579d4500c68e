"""SGD, Adam and AdamW against the formulas and PyTorch."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigraph import optim, tree
from minigraph.optim import SGD, Adam, AdamW, elementwise

from .helpers import OPTIMIZERS, draw, run

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
