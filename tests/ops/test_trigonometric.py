"""Trigonometric and hyperbolic functions: the origin, the ends of domains, digits near zeros, large numbers."""

import math

import numpy as np
import pytest

import minigraph as mg

from .checks import gradient


def test_conventions_at_the_origin():
    assert gradient(mg.hypot, [0.0, 3.0], [0.0, 0.0]) == [[0, 1], [0, 0]]
    assert gradient(mg.arctan2, [0.0], [0.0]) == [[0], [0]]


def test_infinite_derivatives_at_the_ends():
    with np.errstate(divide="ignore"):
        assert gradient(mg.arcsin, [-1.0, 1.0]) == [[np.inf, np.inf]]
        assert gradient(mg.arccos, [1.0]) == [[-np.inf]]
        assert gradient(mg.arccosh, [1.0]) == [[np.inf]]
        assert gradient(mg.arctanh, [1.0]) == [[np.inf]]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_sinc_has_all_its_digits_near_zero(order):
    """Against the derivatives of its series, at places on both sides of the change of formula."""
    f = mg.sinc
    for _ in range(order):
        f = mg.grad(f)
    for x in (0.0, 1e-12, 1e-5, 0.01, 0.2, 0.318, 0.319, 0.4):
        terms = []
        for k in range((order + 1) // 2, 30):
            coefficient = (-1) ** k * math.pi ** (2 * k) / math.factorial(2 * k + 1)
            terms.append(coefficient * math.perm(2 * k, order) * x ** (2 * k - order))
        np.testing.assert_allclose(f(x), math.fsum(terms), rtol=1e-11, atol=1e-14)


def test_squares_of_large_numbers_do_not_overflow():
    big = np.array([1e200])
    for f in (mg.arctan, mg.arcsinh):
        assert np.isfinite(mg.grad(lambda x, f=f: f(x).sum())(big)).all()
    for g in mg.grad(lambda a, b: mg.arctan2(a, b).sum() + mg.hypot(a, b).sum(), (0, 1))(big, big):
        np.testing.assert_allclose(g, math.sqrt(0.5), rtol=1e-12)
    np.testing.assert_allclose(mg.grad(mg.arccosh)(1e200), 1e-200)


def test_digits_next_to_the_ends():
    x = 1 - 1e-12
    np.testing.assert_allclose(mg.grad(mg.arcsin)(x), 1 / math.sqrt((1 - x) * (1 + x)), rtol=1e-14)
    np.testing.assert_allclose(mg.grad(mg.arctanh)(x), 1 / ((1 - x) * (1 + x)), rtol=1e-14)


def test_unwrap_adds_constants():
    assert gradient(mg.unwrap, [0.0, 4.0, 8.0]) == [[1, 1, 1]]
    with pytest.raises(TypeError, match="gives no gradient"):
        mg.unwrap(mg.Tensor([0.0, 4.0]), period=mg.Tensor(6.0, requires_grad=True))
