"""Rounding and remainders: at jumps, and beside them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigraph as mg

from .checks import gradient

DTYPES = [np.float16, np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("step", [0.1, -0.1, 0.3, 1.7, np.inf, -np.inf])
def test_the_quotient_of_remainder_is_that_of_its_value(dtype, step):
    """a % b = a - b q: the gradient in b is -q, also where a / b is rounded up to q + 1."""
    a = (np.arange(-40, 40) * 0.1).astype(dtype)
    b = np.full(80, step, dtype)
    y, pullback = mg.vjp(mg.remainder, a, b)
    to_a, to_b = pullback(np.ones_like(y))
    np.testing.assert_array_equal(to_a, 1)
    np.testing.assert_array_equal(to_b, -(a // b))
    if np.isfinite(step):
        np.testing.assert_allclose(y, a + b * to_b, atol=8 * np.finfo(dtype).eps)
    assert mg.grad(lambda b: mg.remainder(1.0, b))(0.1) == -9


def test_remainder_at_a_jump_is_that_of_the_branch_above():
    assert gradient(mg.remainder, [3.0, -3.0], [1.5, 1.5]) == [[1, 1], [-2, 2]]


@given(st.floats(-100, 100), st.floats(0.01, 10), st.booleans(), st.integers(-20, 20), st.booleans())
def test_remainders_quotient_is_the_one_that_the_remainder_belongs_to(a, b, negative, k, multiple):
    b = -b if negative else b
    a = k * b if multiple else a  # near a jump, where a / b may round across it
    y, (da, db) = mg.value_and_grad(mg.remainder, (0, 1))(np.float64(a), np.float64(b))
    assert da == 1 and db == np.round(db)
    assert abs(a + db * b - y) <= 4e-14 * (abs(a) + abs(b))  # a - q b is the remainder, and q = -db


def test_remainder_at_a_quotient_that_rounds_up():
    assert mg.grad(lambda b: mg.remainder(1.0, b))(0.1) == -9.0  # 1.0 / 0.1 rounds to 10, but 0.1 fits 9 times
    assert np.floor_divide(1.0, 0.1) == 9.0


ROUNDED = [mg.sign, mg.floor, mg.ceil, mg.trunc, mg.rint, mg.round, lambda x: mg.floor_divide(x, 0.5),
           lambda x: x // 1, lambda x: mg.heaviside(x, 0.5), lambda x: mg.copysign(2.0, x)]  # fmt: skip


@pytest.mark.parametrize("f", ROUNDED)
def test_no_gradient_goes_through_what_is_constant_between_jumps(f):
    x = np.array([-1.0, 0.0, 0.5, 3.2])
    np.testing.assert_array_equal(mg.grad(lambda x: f(x).sum())(x), np.zeros(4))
    np.testing.assert_array_equal(mg.hessian(lambda x: (f(x) * x[:3].sum()).sum())(x[:3]), np.zeros((3, 3)))
    t = mg.Tensor(x, requires_grad=True)
    (f(t).sum() + t.sum()).backward()
    assert t.grad.data.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("step", [0.1, -0.1, 0.3, 1.7, np.inf])
def test_the_quotient_of_fmod_is_that_of_its_value(dtype, step):
    a, b = (np.arange(-40, 40) * 0.1).astype(dtype), np.full(80, step, dtype)
    y, pullback = mg.vjp(mg.fmod, a, b)
    to_a, to_b = pullback(np.ones_like(y))
    np.testing.assert_array_equal(to_a, 1)
    np.testing.assert_array_equal(to_b, np.round(to_b))
    if np.isfinite(step):
        np.testing.assert_allclose(y.astype(float), a.astype(float) + b.astype(float) * to_b, atol=4e-3)


def test_copysign_and_heaviside_at_zero():
    assert gradient(lambda x: mg.copysign(x, [1.0, -1.0, -0.0]), [0.0, 2.0, -2.0]) == [[0, -1, 1]]
    x, h = mg.Tensor([-1.0, 0.0, 1.0], requires_grad=True), mg.Tensor([5.0, 5.0, 5.0], requires_grad=True)
    mg.heaviside(x, h).sum().backward()
    assert x.grad is None and h.grad.data.tolist() == [0, 1, 0]


def test_modf_of_infinities():
    part, whole = mg.modf(np.array([np.inf, -np.inf, 2.5]))
    assert part.tolist() == [0, 0, 0.5] and whole.tolist() == [np.inf, -np.inf, 2]


def test_round_takes_digits():
    assert round(mg.Tensor([1.26], requires_grad=True), 1).data.tolist() == [1.3]
    assert mg.round(np.array([1250.0]), -2).tolist() == [1200]
