"""Rosenbrock's function of n variables (Rosenbrock 1960): gradient and Hessian against their closed forms."""

import numpy as np
import pytest

import minigraph as mg


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def hessian(x):
    h = np.zeros((x.size, x.size))
    for i in range(x.size - 1):
        h[i, i] += 1200 * x[i] ** 2 - 400 * x[i + 1] + 2
        h[i + 1, i + 1] += 200
        h[i, i + 1] = h[i + 1, i] = -400 * x[i]
    return h


@pytest.mark.parametrize("x", [np.ones(4), np.array([-1.2, 1.0]), np.array([-1.2, 1.0, 0.3, 2.0, -0.7])])
def test_the_hessian(x):
    np.testing.assert_allclose(mg.hessian(rosenbrock)(x), hessian(x), rtol=1e-13, atol=1e-12)
    v = np.cos(np.arange(x.size))
    np.testing.assert_allclose(mg.hvp(rosenbrock, x, v), hessian(x) @ v, rtol=1e-12)


def test_the_usual_start():
    """f(-1.2, 1) = 24.2 with the gradient (-215.6, -88), in many textbooks."""
    value, gradient = mg.value_and_grad(rosenbrock)(np.array([-1.2, 1.0]))
    np.testing.assert_allclose(value, 24.2, rtol=1e-14)
    np.testing.assert_allclose(gradient, [-215.6, -88.0], rtol=1e-14)


def test_newtons_method_finds_the_minimum():
    x = np.array([-1.2, 1.0])
    for _ in range(10):
        x = x - np.linalg.solve(mg.hessian(rosenbrock)(x), mg.grad(rosenbrock)(x))
    np.testing.assert_allclose(x, [1, 1], atol=1e-12)
