"""Variances and deviations: equal entries, entries a rounding apart, keywords."""

import numpy as np
import pytest

import minigraph as mg

from .checks import check_at_a_kink, gradient

# Numbers whose mean is rounded, and others. A convention at exact values has to say what holds a rounding away.
CONSTANTS = [0.1, 1 / 3, -7.7, 1e15, 3e-39, 123456.789, 0.0]


@pytest.mark.parametrize(("f", "x", "expected"), [  # the gradient at x
    (mg.std, [1.5, 1.5, 1.5], [0, 0, 0]),
    (lambda x: mg.std(x, 1), [[1.5, 1.5], [1.0, 3.0]], [[0, 0], [-0.5, 0.5]]),
])  # fmt: skip
def test_at_a_kink(f, x, expected):
    check_at_a_kink(f, x, expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 6, 7, 100, 1000, 12_345])
def test_equal_entries_have_no_deviation(n, dtype):
    """The value and the gradient are exactly 0, also beside entries that differ."""
    for c in CONSTANTS:
        with np.errstate(over="ignore"):
            x = np.full(n, c, dtype)
        if np.isfinite(x).all():
            for f in (mg.std, mg.var):
                assert f(x) == 0
                assert not mg.grad(f)(x).any()
                both = np.stack([x, (np.arange(n) % 7).astype(dtype)], 1)
                grads = mg.grad(lambda x, f=f: mg.sum(f(x, 0)))(both)
                assert f(both, 0)[0] == 0 and not grads[:, 0].any()
                assert n == 1 or grads[:, 1].any()


@pytest.mark.parametrize("c", [0.1, -7.7, 1e15, 1000.0, 1.0])
@pytest.mark.parametrize("steps", [(0, 1), (0, 0, 1), (5, 3, 0, 1, 1), (0, 1, -1), (1000, 0, 30)])
def test_the_deviation_of_entries_that_differ_by_a_rounding(c, steps):
    """It has all its digits, and so has its gradient, whose sum is 0."""
    c = np.float32(c)
    x = c + np.array(steps, np.float32) * np.spacing(c)
    exact = x.astype(float) - x[0].astype(float)
    for f in (mg.std, mg.var):
        np.testing.assert_allclose(f(x), f(exact), rtol=1e-6)
        want = mg.grad(f)(exact)
        np.testing.assert_allclose(mg.grad(f)(x), want, rtol=0, atol=2e-6 * np.abs(want).max())


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e10 + 0.1, -7e-20, 1e-300, 0.0])
@pytest.mark.parametrize("n", [2, 3, 6, 7, 100])
def test_the_deviation_of_equal_numbers_has_no_derivative(value, n):
    x = np.full(n, value)
    assert mg.std(x) <= 4 * np.finfo(float).eps * abs(value)
    np.testing.assert_array_equal(mg.grad(mg.std)(x), np.zeros(n))
    np.testing.assert_array_equal(mg.grad(lambda x: mg.std(x, axis=0).sum())(np.stack([x, x]).T), np.zeros((n, 2)))
    if abs(value) > 1e-100:  # else the squares are 0
        x[0] *= 1 + 1e-10
        assert mg.grad(mg.std)(x)[0] != 0


def test_entries_left_out_get_nothing_even_where_they_are_not_finite():
    where = np.array([True, False, True, False])
    assert gradient(lambda x: mg.var(x, where=where), [1.0, np.nan, 3.0, np.inf]) == [[-1, 0, 1, 0]]
    assert gradient(lambda x: mg.std(x, where=where), [1.0, np.nan, 1.0, np.inf]) == [[0, 0, 0, 0]]


@pytest.mark.parametrize("f", [mg.var, mg.std])
def test_bad_input(f):
    with pytest.raises(ValueError, match=r"1 entries are left along axis 0, needs more than 1"):
        f(np.ones((3, 2)), 0, 1, where=np.eye(3, 2, dtype=bool))
    with pytest.raises(TypeError, match=r"var: expected where= of bools, got int64"):
        f(np.ones(3), where=np.ones(3, int))
