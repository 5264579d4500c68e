"""Softmax and losses: against formulas and PyTorch; classes ruled out, float16, bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigraph as mg
from minigraph.testing import check_vjp

from . import table
from .checks import MANY, check_float16, compare_with_torch, same
from .strategies import arrays

# ---------------------------------------------------------------- values and gradients


@given(st.data())
def test_softmax_along_any_axis(data):
    x = data.draw(arrays(hnp.array_shapes(min_dims=1, max_dims=3, max_side=3)))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    same(mg.softmax(x, axis), table.softmax(x, axis))
    check_vjp(lambda x: mg.softmax(x, axis), x)
    same(mg.log_softmax(x, axis), np.log(table.softmax(x, axis)))
    check_vjp(lambda x: mg.log_softmax(x, axis), x)


@given(st.data(), st.floats(0, 1), st.booleans())
def test_cross_entropy(data, smoothing, soft):
    logits = data.draw(arrays(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4)))
    *places, k = logits.shape
    labels = data.draw(arrays((*places, k)) if soft else hnp.arrays(int, tuple(places), elements=st.integers(0, k - 1)))
    same(mg.cross_entropy(logits, labels, label_smoothing=smoothing), table.cross_entropy(logits, labels, smoothing))
    check_vjp(lambda x, q: mg.cross_entropy(x, q, label_smoothing=smoothing), logits, labels)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("soft", [False, True])
def test_cross_entropy_against_torch(smoothing, soft):
    rng = np.random.default_rng(0)
    logits = 5 * rng.standard_normal((6, 4))
    labels = rng.dirichlet(np.ones(4), 6) if soft else rng.integers(0, 4, 6)
    compare_with_torch(
        lambda x: mg.cross_entropy(x, labels, label_smoothing=smoothing),
        lambda torch, x: torch.nn.functional.cross_entropy(x, torch.tensor(labels), label_smoothing=smoothing),
        (logits,),
    )


def test_a_class_that_is_ruled_out_costs_nothing():
    def loss(x):
        return mg.cross_entropy(mg.concatenate([x, np.array([[-np.inf]])], 1), [0])

    x = np.array([[1.0, 2.0]])
    two = mg.grad(lambda x: mg.cross_entropy(x, [0]))
    np.testing.assert_allclose(loss(x), mg.cross_entropy(x, [0]))
    np.testing.assert_allclose(mg.grad(loss)(x), two(x))
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(mg.hessian(loss)(x), mg.jacobian(two)(x))


# ---------------------------------------------------------------- dtypes and bad input


def test_lists_are_arrays():
    assert mg.cross_entropy([[1.0, 2.0]], [0]) == mg.cross_entropy(np.array([[1.0, 2.0]]), [0])
    assert mg.mse([1.0, 3.0], [1.0, 1.0]) == 2.0


@pytest.mark.parametrize(("f", "x"), [
    (lambda x: mg.mse(x, 0 * x), MANY / 40),
    (lambda x: mg.cross_entropy(x, np.zeros(len(x), int)), (MANY / 40).reshape(-1, 1) * np.arange(2)),
])  # fmt: skip
def test_float16_has_the_digits_of_float16(f, x):
    check_float16(f, x)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: mg.cross_entropy(np.ones((2, 3)), [0, 3]), ValueError, r"label 3 of example 1 is outside \[0, 3\)"),
    (lambda: mg.cross_entropy(np.ones((2, 3)), [0]), ValueError, r"labels of logits \(2, 3\) should have shape \(2,\)"),
    (lambda: mg.cross_entropy(np.ones((2, 2, 3)), [[0, 1], [2, 5]]), ValueError, r"label 5 of example 1, 1 is outside"),
    (lambda: mg.cross_entropy(np.ones(3), 3), ValueError, r"label 3 is outside \[0, 3\)"),
    (lambda: mg.cross_entropy(np.ones((2, 0, 3)), np.ones((2, 0), int)), ValueError, "at least one example"),
    (lambda: mg.cross_entropy(1.0, 0), ValueError, r"logits should be \(..., K\)"),
    (lambda: mg.cross_entropy(np.ones((2, 3)), [0.0, 1.0]), ValueError, "labels should be"),
    (lambda: mg.cross_entropy(np.ones((2, 3)), [0, 1], label_smoothing=2), ValueError, "label_smoothing"),
    (lambda: mg.mse(np.ones(3), np.ones(2)), ValueError, r"mse: prediction has shape \(3,\), target \(2,\)"),
])  # fmt: skip
def test_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---------------------------------------------------------------- weights, ignored examples, reductions


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", [
    {}, {"weight": [0.5, 2.0, 1.0, 3.0]}, {"ignore_index": -100}, {"weight": [0.5, 2.0, 1.0, 0.0], "ignore_index": 3},
    {"label_smoothing": 0.2, "weight": [0.5, 2.0, 1.0, 3.0], "ignore_index": 2},
])  # fmt: skip
@pytest.mark.parametrize("soft", [False, True])
def test_options_of_cross_entropy_against_torch(options, reduction, soft):
    rng = np.random.default_rng(0)
    options = {k: v for k, v in options.items() if not (soft and k == "ignore_index")}
    labels = rng.dirichlet(np.ones(4), 6) if soft else rng.integers(0, 4, 6)
    if options.get("ignore_index") == -100:
        labels[[1, 4]] = -100

    def theirs(torch, x):
        given = {k: torch.tensor(v, dtype=x.dtype) if k == "weight" else v for k, v in options.items()}
        return torch.nn.functional.cross_entropy(x, torch.tensor(labels), reduction=reduction, **given)

    compare_with_torch(
        lambda x: mg.cross_entropy(x, labels, reduction=reduction, **options), theirs, (rng.standard_normal((6, 4)),)
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_binary_cross_entropy_and_huber_against_torch(reduction):
    rng = np.random.default_rng(0)
    x, t, far = 30 * rng.standard_normal((4, 5)), rng.random((4, 5)), 3 * rng.standard_normal((4, 5))
    compare_with_torch(
        lambda x, t: mg.binary_cross_entropy(x, t, reduction=reduction),
        lambda torch, x, t: torch.nn.functional.binary_cross_entropy_with_logits(x, t, reduction=reduction), (x, t),
    )  # fmt: skip
    compare_with_torch(
        lambda x, t: mg.huber(x, t, delta=1.5, reduction=reduction),
        lambda torch, x, t: torch.nn.functional.huber_loss(x, t, delta=1.5, reduction=reduction), (far, t),
    )  # fmt: skip


def test_huber_where_its_pieces_meet():
    d = np.array([-1.0, 0.0, 1.0])
    g = mg.grad(lambda d: mg.huber(d, np.zeros(3), reduction="sum"))
    assert g(d).tolist() == [-1, 0, 1]
    assert np.diag(mg.jacobian(g)(d)).tolist() == [1, 1, 1]


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"reduction": "max"}, ValueError, "reduction should be 'mean', 'sum' or 'none', got 'max'"),
    ({"weight": [1.0, 2.0]}, ValueError, r"weight should be \(3,\) numbers of at least 0, got \(2,\)"),
    ({"weight": [1.0, -1.0, 2.0]}, ValueError, "numbers of at least 0"),
    ({"weight": mg.Tensor(np.ones(3), requires_grad=True)}, TypeError, r"pass weight\.detach\(\)"),
    ({"ignore_index": 1}, ValueError, "the 2 examples have the weight 0 together, there is no mean"),
    ({"ignore_index": 5}, None, ""),
])  # fmt: skip
def test_options_that_do_not_fit(options, error, message):
    if error is None:  # an index that no label has changes nothing
        assert mg.cross_entropy(np.eye(2, 3), [1, 1], **options) == mg.cross_entropy(np.eye(2, 3), [1, 1])
        return
    with pytest.raises(error, match=f"cross_entropy: .*{message}"):
        mg.cross_entropy(np.eye(2, 3), [1, 1], **options)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: mg.cross_entropy(np.eye(2), np.eye(2), ignore_index=0), "ignore_index goes with labels that are integers"),
    (lambda: mg.binary_cross_entropy(np.ones(2), np.array([0.5, 2.0])), r"targets should be in \[0, 1\]"),
    (lambda: mg.binary_cross_entropy(np.ones(2), np.ones(3)), r"logits has shape \(2,\), targets \(3,\)"),
    (lambda: mg.huber(np.ones(2), np.ones(2), delta=0), "huber: delta should be above 0, got 0"),
    (lambda: mg.huber(np.ones(2), np.ones(3)), r"huber: prediction has shape \(2,\), target \(3,\)"),
])  # fmt: skip
def test_losses_that_do_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()
