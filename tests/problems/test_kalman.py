"""The likelihood of a linear Gaussian model by the Kalman filter, and by the joint density of all observations.

The two are equal (Kalman 1960; Schweppe 1965), and so are their gradients in every parameter of the model: one goes
through a recursion of solves and determinants, the other through one large matrix.
"""

import numpy as np

import minigraph as mg

STEPS = 6
RNG = np.random.default_rng(0)
Y = RNG.standard_normal((STEPS, 1))
MODEL = {
    "a": np.array([[0.9, 0.3], [-0.2, 0.8]]), "c": np.array([[1.0, 0.5]]),
    "q": np.array([[0.6, 0.0], [0.2, 0.5]]), "r": np.array([[0.7]]),  # the noise is q q^T and r r^T
}  # fmt: skip


def by_filter(model):
    a, c, q, r = model["a"], model["c"], model["q"] @ model["q"].T, model["r"] @ model["r"].T
    mean, cov, total = np.zeros(2), np.eye(2), 0.0
    for y in Y:
        miss, s = y - c @ mean, c @ cov @ c.T + r
        total = total - 0.5 * (miss @ mg.solve(s, miss) + mg.slogdet(s).logabsdet + np.log(2 * np.pi))
        gain = mg.solve(s, c @ cov).T
        mean, cov = a @ (mean + gain @ miss), a @ (cov - gain @ s @ gain.T) @ a.T + q
    return total


def by_joint_density(model):
    """The covariance of y_i and y_j is c a^(i-j) cov(x_j) c^T, for i >= j, and r more for i = j."""
    a, c, q, r = model["a"], model["c"], model["q"] @ model["q"].T, model["r"] @ model["r"].T
    cov, rows = np.eye(2), [[None] * STEPS for _ in range(STEPS)]
    for j in range(STEPS):
        for i in range(j, STEPS):
            rows[i][j] = rows[j][i] = c @ mg.matrix_power(a, i - j) @ cov @ c.T + (r if i == j else 0)
        cov = a @ cov @ a.T + q
    s = mg.concatenate([mg.concatenate(row, 1) for row in rows], 0)
    l, y = mg.cholesky(s), Y[:, 0]
    whitened = mg.solve(l, y)
    return -0.5 * (whitened @ whitened + STEPS * np.log(2 * np.pi)) - mg.log(mg.einsum("ii->i", l)).sum()


def test_the_likelihood_of_a_linear_gaussian_model():
    value, grads = mg.value_and_grad(by_filter)(MODEL)
    expected, expected_grads = mg.value_and_grad(by_joint_density)(MODEL)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    for name in MODEL:
        np.testing.assert_allclose(grads[name], expected_grads[name], rtol=1e-10, atol=1e-12)
