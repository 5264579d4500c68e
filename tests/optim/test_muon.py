"""Muon against its formulas in float64, the matrices that it makes of arrays, and its errors."""

import math

import numpy as np
import pytest

from minigraph import optim, tree
from minigraph.optim import Muon
from minigraph.optim.muon import orthogonalize

from .helpers import assert_same, draw, run

SHAPES = {"conv": (3, 3, 4, 8), "wide": (3, 20), "square": [(6, 6), (1, 1)], "empty": [(0, 4), (4, 0)]}
CONVERGING = (15 / 8, -10 / 8, 3 / 8)


def newton_schulz(x, steps, a, b, c):
    """The steps as the paper writes them, on (out, in) with the shorter side first."""
    flip = x.shape[0] > x.shape[1]
    x = x.T if flip else x
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if flip else x


def reference(opt, w, gradients, renormalized):
    """One array through the steps, by the formulas of the docstring, as the matrix (out, in) of airbench."""
    shape = w.shape
    if not w.size:
        return w
    w = w.reshape(-1, shape[-1]).T.astype(np.float64)
    m = np.zeros_like(w)
    for t, g in enumerate(gradients):
        g = g.reshape(-1, shape[-1]).T
        m = opt.momentum * m + g
        x = g + opt.momentum * m if opt.nesterov else m
        if renormalized(t):
            w = w * len(w) ** 0.5 / max(np.linalg.norm(w), 1e-30)
        x = newton_schulz(x / (np.linalg.norm(x) + 1e-7), opt.ns_steps, *opt.ns_coefficients)
        w = (1 - opt.lr(t) * opt.weight_decay) * w - opt.lr(t) * x
    return w.T.reshape(shape)


@pytest.mark.parametrize(
    ("options", "renormalized"),
    [
        ({}, lambda t: False),
        ({"momentum": 0.9, "nesterov": False, "weight_decay": 0.1}, lambda t: False),
        ({"momentum": 0, "ns_steps": 2, "ns_coefficients": (3.4576, -4.7391, 2.0843)}, lambda t: False),
        ({"renormalize": True, "weight_decay": 0.1}, lambda t: True),
        ({"renormalize": 3}, lambda t: t in (0, 3, 6)),
        ({"renormalize": lambda step: step in (1, 4)}, lambda t: t in (1, 4)),
    ],
    ids=["default", "decay", "no momentum", "renormalized", "every third", "some"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_follow_the_formulas(options, renormalized, dtype):
    opt = Muon(optim.linear(0.1, 10), **options)
    params, gradients = draw(0, SHAPES, dtype), [draw(i, SHAPES, dtype) for i in range(1, 8)]
    expected = tree.map(lambda w, *gs: reference(opt, w, gs, renormalized), params, *gradients)
    got, state = run(opt, params, gradients)
    tolerance = 2e-5 if dtype == np.float32 else 1e-10
    tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), got, expected)
    tree.check_like(params, got, "params")
    assert state.keys() == {"step", "momentum"} and state["step"] == 7


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (20, 20)])
def test_orthogonalized_is_the_nearest_orthogonal_matrix_where_the_coefficients_converge(shape):
    """The polar factor U V^T of x = U S V^T."""
    x = np.random.default_rng(0).normal(size=shape) + 2 * np.eye(*shape)
    u, _, v = np.linalg.svd(x, full_matrices=False)
    got = orthogonalize(x / np.linalg.norm(x), 25, CONVERGING)
    np.testing.assert_allclose(got, u @ v, rtol=1e-12, atol=1e-12)


def test_singular_values_come_near_1():
    x = np.random.default_rng(0).normal(size=(200, 40)).astype(np.float32)
    before = np.linalg.svd(x / np.linalg.norm(x), compute_uv=False)
    after = np.linalg.svd(orthogonalize(x / np.linalg.norm(x), 3, Muon(0.1).ns_coefficients), compute_uv=False)
    assert before.max() < 0.3 and before.max() / before.min() > 2
    assert after.min() > 0.65 and after.max() < 1.25


@pytest.mark.parametrize("steps", range(1, 9))
def test_few_directions_in_float32(steps):
    """The Gram matrix of a matrix of rank 2 has eigenvalues that are rounding errors alone, which must not grow."""
    rng = np.random.default_rng(steps)
    x = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 100))
    x = (x / np.linalg.norm(x)).astype(np.float32)
    got = orthogonalize(x, steps, Muon(0.1).ns_coefficients)
    expected = newton_schulz(x.astype(np.float64), steps, *Muon(0.1).ns_coefficients)
    np.testing.assert_allclose(got, expected, atol=1e-3 * np.linalg.norm(expected, 2))


def test_the_scale_of_a_gradient_does_not_matter():
    params, grads = draw(0, SHAPES), draw(1, SHAPES)
    moved, _ = run(Muon(0.1), params, [grads])
    for factor in (1e-3, 1e6):
        other, _ = run(Muon(0.1), params, [tree.map(lambda g, f=factor: f * g, grads)])
        tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-4), moved, other)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zero_gradients_and_zero_weights(dtype):
    params = draw(0, SHAPES, dtype)
    zero = tree.map(np.zeros_like, params)
    assert_same(params, run(Muon(0.1), params, [zero, zero])[0])
    assert_same(zero, run(Muon(0.1, renormalize=True), zero, [zero])[0])


def test_renormalized_weights_have_the_norm_of_as_many_unit_columns():
    params, _ = run(Muon(0.0, renormalize=True), draw(0, SHAPES), [draw(1, SHAPES)])
    for w in tree.leaves(params):
        if w.size:
            assert np.linalg.norm(w) == pytest.approx(w.shape[-1] ** 0.5)


def test_the_bits_do_not_depend_on_the_threads():
    shapes = [(3, 3, 32, 64), (500, 130), (3, 3, 64, 64), (64, 10)]
    params, gradients = draw(0, shapes, np.float32), [draw(i, shapes, np.float32) for i in (1, 2)]
    first, *others = [run(Muon(0.1, renormalize=2, threads=n), params, gradients) for n in (1, 2, 3)]
    for other in others:
        assert_same(first, other)


def test_what_is_not_finite_shows():
    bad = [np.array([[1.0, 2.0], [np.nan, 1.0]])]
    with np.errstate(all="raise"):
        params, _ = run(Muon(0.1), [np.ones((2, 2))], [bad])
    assert np.isnan(params[0]).all()


def test_a_function_that_raises_changes_nothing():
    def renormalize(step):
        return 1 // (1 - step)

    opt = Muon(0.1, renormalize=renormalize)
    params, state = run(opt, draw(0, SHAPES), [draw(1, SHAPES)])
    before = tree.map(np.copy, (params, state))
    with pytest.raises(ZeroDivisionError):
        opt.step(params, draw(2, SHAPES), state)
    assert_same(before, (params, state))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Muon(-1), ValueError, "Muon: lr: .* finite and not negative, got -1"),
        (lambda: Muon(0.1, momentum=1), ValueError, r"Muon: momentum: .* in \[0, 1\), got 1"),
        (lambda: Muon(0.1, weight_decay=math.inf), ValueError, "Muon: weight_decay"),
        (lambda: Muon(0.1, ns_steps=0), ValueError, "Muon: ns_steps: expected an integer from 1, got 0"),
        (lambda: Muon(0.1, ns_coefficients=(1, 2)), ValueError, "Muon: ns_coefficients: expected three numbers"),
        (lambda: Muon(0.1, ns_coefficients=3), ValueError, "Muon: ns_coefficients: expected three numbers, got 3"),
        (lambda: Muon(0.1, ns_coefficients=(1, 2, "3")), TypeError, "ns_coefficients: expected a number, got '3'"),
        (lambda: Muon(0.1, ns_coefficients=(1, 2, math.nan)), ValueError, "ns_coefficients: expected .* got nan"),
        (lambda: Muon(0.1, renormalize=-1), ValueError, "Muon: renormalize: expected an integer from 0, got -1"),
        (lambda: Muon(0.1, renormalize=0.5), ValueError, "Muon: renormalize: expected an integer from 0, got 0.5"),
        (lambda: Muon(0.1, threads=0), ValueError, "n should be an int of at least 1, got 0"),
        (lambda: Muon(0.1).init({}), ValueError, "Muon.init: params: .* without a leaf"),
        (lambda: Muon(0.1).init([np.ones((2, 2), int)]), TypeError, "Muon.init: params at 0: .* got int64"),
        (lambda: Muon(0.1).init([1.0]), TypeError, "Muon.init: params at 0: .* got float"),
        (
            lambda: Muon(0.1).init({"conv": {"b": np.ones(4)}}),
            ValueError,
            r"Muon.init: params at conv.b: expected an array of at least 2 dimensions, got shape \(4,\); optim.Groups",
        ),
        (
            lambda: Muon(0.1).step([np.ones(4)], [np.ones(4)], {"step": np.array(0), "momentum": [np.ones(4)]}),
            ValueError,
            r"Muon.step: params at 0: expected an array of at least 2 dimensions, got shape \(4,\)",
        ),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_repr():
    assert repr(Muon(0.1)) == "Muon(lr=0.1)"
    text = "Muon(lr=linear(0.24, 200), momentum=0.5, renormalize=True)"
    assert repr(Muon(optim.linear(0.24, 200), momentum=0.5, renormalize=True)) == text
