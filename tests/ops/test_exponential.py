"""Exponentials, logarithms and powers: where a formula gives no derivative, and where it loses its digits."""

import numpy as np
import pytest

import minigraph as mg

from .checks import gradient


def test_power_at_zero():
    assert gradient(mg.power, [0.0, 0.0, 0.0], [0.0, 1.0, 2.0]) == [[0, 1, 0], [0, 0, 0]]
    assert gradient(lambda x: x**0, [0.0, 2.0]) == [[0, 0]]
    assert gradient(lambda x: x**1, [0.0]) == [[1]]
    assert gradient(lambda x: x**2.0, [0.0]) == [[0]]


@pytest.mark.parametrize("zero", [0, 0.0, np.zeros(5), np.zeros(5, np.uint8)])
def test_power_zero_is_constant(zero):
    bases = [-2.0, 0.0, 3.0, np.inf, np.nan]  # NumPy says 1 for all of them
    assert gradient(lambda x: x**zero, bases) == [[0] * 5]
    assert gradient(lambda x: mg.hvp(lambda x: (x**zero).sum(), x, np.ones(5)), bases) == [[0] * 5]


def test_mixed_second_derivatives_of_a_power_agree():
    """Both are a^(b - 1) (1 + b log a), which is 1 / a where b = 0."""
    for a, b in [(2.0, 0.0), (0.5, 0.0), (2.0, 1.0), (2.0, -1.5)]:
        in_b = mg.grad(lambda b, a=a: mg.grad(mg.power, 0)(a, b))(b)
        in_a = mg.grad(lambda a, b=b: mg.grad(mg.power, 1)(a, b))(a)
        np.testing.assert_allclose([in_a, in_b], a ** (b - 1) * (1 + b * np.log(a)), rtol=1e-14)
    both = mg.grad(lambda b: mg.grad(lambda a: mg.power(a, b).sum())(np.array([0.0, 2.0])).sum())(np.array([0.0, 0.0]))
    assert both[1] == 0.5


def test_power_of_a_negative_number():
    assert gradient(lambda x: x ** np.array([2.0, 3.0]), [-2.0, -2.0]) == [[-4, 12]]
    with np.errstate(invalid="ignore"):
        in_a, in_b = gradient(mg.power, [-2.0], [2.0])
    assert in_a == [-4]
    assert np.isnan(in_b).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_derivative_of_expm1_far_to_the_left(dtype):
    """It is e^x, which is a number where expm1 has long been rounded to -1."""
    x = np.array([-5.0, -17.0, -40.0, -80.0], dtype)
    for f in (mg.expm1, mg.elu):
        np.testing.assert_allclose(mg.grad(lambda x, f=f: f(x).sum())(x), np.exp(x), rtol=1e-6)


def test_infinite_derivatives():
    with np.errstate(divide="ignore"):
        assert gradient(mg.sqrt, [0.0]) == [[np.inf]]


def test_logaddexp_of_infinities():
    inf = np.inf
    for f in (mg.logaddexp, mg.logaddexp2):
        assert gradient(f, [-inf, -inf, 1.0], [-inf, 0.0, 2.0])[0][:2] == [0.5, 0]
        assert gradient(f, [inf, 1.0], [inf, inf]) == [[0.5, 0], [0.5, 1]]


def test_logaddexp_of_distant_numbers():
    assert gradient(mg.logaddexp, [0.0], [800.0]) == [[0], [1]]
    np.testing.assert_allclose(gradient(mg.logaddexp, [0.0], [40.0])[0], np.exp(-40.0), rtol=1e-12)


def test_xlogy_where_the_first_is_zero():
    assert gradient(mg.xlogy, [0.0, 0.0, 0.0], [0.0, -1.0, 2.0]) == [[0, 0, np.log(2)], [0, 0, 0]]
    assert mg.xlogy(np.zeros(2), np.array([0.0, 1.0])).tolist() == [0, 0] and np.isnan(mg.xlogy(0.0, np.nan))
    entropy = mg.grad(lambda p: -mg.xlogy(p, p).sum())(np.array([0.0, 1.0]))
    assert entropy.tolist() == [0, -1]
    assert mg.grad(lambda b: mg.grad(mg.xlogy)(0.0, b))(2.0) == 0.5  # the mixed derivative is 1 / b also at a = 0


def test_roots_at_zero():
    with np.errstate(divide="ignore"):
        assert gradient(mg.cbrt, [0.0, -8.0]) == [[np.inf, 1 / 12]]
