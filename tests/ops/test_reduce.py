"""Reductions: every axis, ties, zeros and infinities, float16, bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigraph as mg
from minigraph.testing import check_vjp

from . import table
from .checks import MANY, check_at_a_kink, check_float16, gradient, same
from .strategies import arrays, axes, some_shapes

# ---------------------------------------------------------------- values and gradients for any shapes


@given(st.data(), st.booleans())
def test_reductions(data, keepdims):
    x = data.draw(arrays(away_from_kinks=True))
    axis = data.draw(axes(x.ndim))
    for name in ("sum", "prod"):
        f = getattr(mg, name)
        same(f(x, axis, keepdims), getattr(np, name)(x, axis=axis, keepdims=keepdims))
        check_vjp(lambda x, f=f: f(x, axis, keepdims), x, order=1)


@given(st.data(), st.booleans())
def test_reductions_of_at_least_one_entry(data, keepdims):
    x = data.draw(arrays(some_shapes, away_from_kinks=True))
    axis = data.draw(axes(x.ndim))
    for name in ("mean", "var", "std", "max", "min", "logsumexp", "norm"):
        f = getattr(mg, name)
        reference = getattr(table, name, None) or getattr(np, name)
        same(f(x, axis=axis, keepdims=keepdims), reference(x, axis=axis, keepdims=keepdims))
        check_vjp(lambda x, f=f: f(x, axis=axis, keepdims=keepdims), x, order=1)


# ---------------------------------------------------------------- where there is no derivative


@pytest.mark.parametrize(("f", "x", "expected"), [  # the gradient at x
    (mg.max, [3.0, 1.0, 3.0, 3.0], [1 / 3, 0, 1 / 3, 1 / 3]),
    (mg.min, [3.0, 1.0, 1.0], [0, 0.5, 0.5]),
    (lambda x: mg.max(x, 1), [[2.0, 2.0], [1.0, 2.0]], [[0.5, 0.5], [0, 1]]),
    (mg.norm, [0.0, 0.0], [0, 0]),
    (lambda x: mg.norm(x, axis=1), [[0.0, 0.0], [0.0, -4.0]], [[0, 0], [0, -1]]),
    (lambda x: mg.norm(x, 1), [0.0, -2.0], [0, -1]),
    (lambda x: mg.norm(x, np.inf), [-2.0, 1.0, 2.0], [-0.5, 0, 0.5]),
])  # fmt: skip
def test_at_a_kink(f, x, expected):
    check_at_a_kink(f, x, expected)


@pytest.mark.parametrize("f", [mg.norm, mg.std, mg.prod, mg.logsumexp])
def test_second_derivatives_are_finite_where_everything_is_zero(f):
    assert np.isfinite(mg.hessian(f)(np.zeros(3))).all()


@pytest.mark.parametrize("f", [mg.std, mg.norm])
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [(np.float32, 2.0**100), (np.float32, 2.0**-90), (np.float64, 2.0**800), (np.float64, 2.0**-800)],
)
def test_squares_neither_overflow_nor_vanish(f, dtype, scale):
    x = np.array([[1.0, 2.0], [4.0, 2.0], [3.0, 2.0]], dtype)
    weighted = mg.grad(lambda x: (f(x, axis=0) * np.array([1.0, 2.0], dtype)).sum())
    np.testing.assert_allclose(f(x * dtype(scale), axis=0), f(x, axis=0) * dtype(scale), rtol=1e-6)
    np.testing.assert_allclose(weighted(x * dtype(scale)), weighted(x), rtol=1e-6)


def test_the_norm_next_to_zero():
    """One step away from 0, where the gradient is 0, it is the unit vector."""
    for dtype in (np.float16, np.float32, np.float64):
        tiny = np.nextafter(dtype(0), dtype(1))
        assert mg.grad(mg.norm)(np.array([tiny, 0], dtype)).tolist() == [1, 0]
        assert mg.grad(mg.norm)(np.zeros(2, dtype)).tolist() == [0, 0]


def test_second_derivatives_where_the_first_is_a_convention():
    """As the docstrings say: 0, and right in the form that has no kink."""
    zero = np.zeros(2)
    np.testing.assert_array_equal(mg.hessian(lambda x: mg.norm(x) ** 2)(zero), np.zeros((2, 2)))
    np.testing.assert_array_equal(mg.hessian(lambda x: mg.sum(x * x))(zero), 2 * np.eye(2))
    np.testing.assert_array_equal(mg.hessian(lambda x: mg.std(x) ** 2)(zero + 0.1), np.zeros((2, 2)))
    np.testing.assert_allclose(mg.hessian(mg.var)(zero + 0.1), [[0.5, -0.5], [-0.5, 0.5]])


def test_entries_a_rounding_apart_do_not_tie():
    above = np.nextafter(1.0, 2)
    assert gradient(mg.max, [1.0, above, 1.0]) == [[0, 1, 0]]
    assert gradient(mg.min, [1.0, above, 1.0]) == [[0.5, 0, 0.5]]
    assert gradient(mg.maximum, [1.0], [above]) == [[0], [1]]


def test_logsumexp_of_minus_infinity():
    assert gradient(mg.logsumexp, [-np.inf, -np.inf]) == [[0, 0]]
    assert gradient(mg.logsumexp, [-np.inf, 0.0]) == [[0, 1]]
    assert mg.logsumexp(np.array([-np.inf, -np.inf])) == -np.inf


def test_a_product_with_zeros():
    assert gradient(mg.prod, [2.0, 0.0, 3.0]) == [[0, 6, 0]]
    assert gradient(mg.prod, [0.0, 0.0, 3.0]) == [[0, 0, 0]]


@pytest.mark.parametrize("f", [mg.max, mg.min])
def test_nan_wins(f):
    assert np.isnan(f(np.array([np.nan, 1.0]))).any()
    assert np.isnan(f(np.array([1.0, np.nan]))).any()


# ---------------------------------------------------------------- dtypes and bad input


@pytest.mark.parametrize(("f", "x"), [
    (mg.mean, MANY),
    (mg.var, MANY),
    (mg.std, MANY),
])  # fmt: skip
def test_float16_has_the_digits_of_float16(f, x):
    check_float16(f, x)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: mg.norm(np.ones((2, 5, 5, 3)), "fro"), ValueError, "norm: expected ord None or a number, got 'fro'"),
    (lambda: mg.norm(np.ones(3), mg.Tensor(2.0)), ValueError, "got a Tensor, by which norm is not differentiated"),
    (lambda: mg.sum(np.ones((2, 5, 5, 3)), 4), ValueError, r"sum\(float64 .*axis 4 is out of bounds"),
])  # fmt: skip
def test_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---------------------------------------------------------------- the axis, spelt in every way


REDUCTIONS = [mg.sum, mg.mean, mg.var, mg.std, mg.max, mg.min, mg.prod, mg.logsumexp, mg.norm]
AXES = [0, -1, 1, (0,), (0, -1), (1, 0), np.int64(1), np.array(0), (np.int8(-1),), None]


@pytest.mark.parametrize("f", REDUCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("axis", AXES, ids=repr)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)], ids=str)
def test_an_axis_that_the_forward_takes_the_backward_takes(f, axis, shape):
    x = np.linspace(0.5, 2.0, int(np.prod(shape))).reshape(shape)
    try:
        expected = f(x, axis=axis)
    except (TypeError, ValueError, IndexError):
        return  # refused before anything is recorded
    t = mg.Tensor(x, requires_grad=True)
    y = f(t, axis=axis)
    np.testing.assert_array_equal(y.data, expected)
    y.sum().backward()
    assert t.grad.shape == shape
    if f in (mg.sum, mg.mean):
        np.testing.assert_allclose(t.grad.data, np.full(shape, y.size / x.size if f is mg.mean else 1.0))


# ---------------------------------------------------------------- many entries of a narrow dtype

ONES = np.ones(70_000, np.float16)  # more than float16's largest number, 65,504


def test_counts_and_normalisers_of_float16_do_not_overflow():
    share = np.float16(1 / 70_000)
    for f in (mg.max, mg.min, mg.mean):
        np.testing.assert_array_equal(mg.grad(f)(ONES), np.full(70_000, share))
    np.testing.assert_allclose(float(mg.norm(ONES)), np.sqrt(70_000), rtol=1e-3)
    np.testing.assert_allclose(mg.grad(mg.norm)(ONES), 1 / np.sqrt(70_000), rtol=1e-3)
    np.testing.assert_allclose(float(mg.logsumexp(ONES)), 1 + np.log(70_000), rtol=1e-3)
    np.testing.assert_allclose(mg.softmax(ONES).astype(np.float64), 1 / 70_000, rtol=0.02)  # a subnormal number
    np.testing.assert_allclose(mg.log_softmax(ONES).astype(np.float64), -np.log(70_000), rtol=1e-3)
    np.testing.assert_allclose(float(mg.cross_entropy(ONES[None], [3])), np.log(70_000), rtol=1e-3)
    assert mg.var(ONES) == 0 and mg.std(ONES) == 0 and not mg.grad(mg.std)(ONES).any()
    image = ONES[:4096].reshape(1, 64, 64, 1)
    assert mg.avg_pool(image, 64).item() == 1 and mg.avg_pool(image, 64).dtype == np.float16
    assert (mg.layer_norm(ONES[None]) == 0).all()


# ---------------------------------------------------------------- conventions within rounding


def test_a_second_derivative_of_the_norm_at_zero_is_zero():
    np.testing.assert_array_equal(mg.hessian(lambda x: mg.norm(x) ** 2)(np.zeros(2)), np.zeros((2, 2)))
    np.testing.assert_allclose(mg.hessian(lambda x: (x * x).sum())(np.zeros(2)), 2 * np.eye(2))
