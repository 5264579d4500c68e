"""Logistic regression: gradient X^T (p - y) and Hessian X^T diag(p (1 - p)) X, and Newton's method to the optimum."""

import numpy as np

import minigraph as mg

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 4))
Y = (RNG.random(40) < 1 / (1 + np.exp(-X @ [1.0, -2.0, 0.5, 0.0]))).astype(float)
W = np.array([0.3, -0.7, 1.1, 0.2])


def loss(w):
    return mg.binary_cross_entropy(X @ w, Y, reduction="sum")


def probabilities(w):
    return 1 / (1 + np.exp(-X @ w))


def test_gradient_and_hessian():
    p = probabilities(W)
    np.testing.assert_allclose(mg.grad(loss)(W), X.T @ (p - Y), rtol=1e-12)
    np.testing.assert_allclose(mg.hessian(loss)(W), X.T * (p * (1 - p)) @ X, rtol=1e-12)


def test_newtons_method_meets_the_conditions_of_the_optimum():
    w = np.zeros(4)
    for _ in range(10):
        w = w - np.linalg.solve(mg.hessian(loss)(w), mg.grad(loss)(w))
    np.testing.assert_allclose(X.T @ probabilities(w), X.T @ Y, atol=1e-12)


def test_the_same_as_cross_entropy_over_two_classes():
    def two_classes(w):
        logits = X @ w
        return mg.cross_entropy(mg.stack([0 * logits, logits], 1), Y.astype(int), reduction="sum")

    np.testing.assert_allclose(two_classes(W), loss(W), rtol=1e-13)
    np.testing.assert_allclose(mg.hessian(two_classes)(W), mg.hessian(loss)(W), rtol=1e-11)
