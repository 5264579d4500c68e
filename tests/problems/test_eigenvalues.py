"""The sensitivity of eigenvalues and eigenvectors, by perturbation theory, and of a vibrating chain."""

import numpy as np

import minigraph as mg


def chain(springs):
    """The stiffness of masses between two walls, with a spring before the first and after each."""
    n = springs.shape[0] - 1
    apart = np.diff(np.eye(n), axis=0, prepend=0, append=0)  # of mass i from mass i - 1: (n + 1, n)
    return apart.T @ (springs.reshape(-1, 1) * apart)


SPRINGS = np.array([1.0, 1.3, 0.8, 1.1, 0.9])


def test_equal_springs_have_frequencies_of_a_closed_form():
    """w_k^2 = 2 - 2 cos(k pi / (n + 1)), and as they are homogeneous in the springs, Euler's sum gives them back."""
    n = 4
    expected = 2 - 2 * np.cos(np.arange(1, n + 1) * np.pi / (n + 1))
    jacobian = mg.jacobian(lambda k: mg.eigvalsh(chain(k)))(np.ones(n + 1))
    np.testing.assert_allclose(mg.eigvalsh(chain(np.ones(n + 1))), expected, rtol=1e-12)
    np.testing.assert_allclose(jacobian.sum(1), expected, rtol=1e-10)


def test_first_order_is_that_of_rayleigh():
    """d w_k^2 / d spring_i is the square of how far mode k stretches the spring (Rayleigh's quotient)."""
    modes = np.linalg.eigh(chain(SPRINGS)).eigenvectors
    stretch = np.diff(modes, axis=0, prepend=0, append=0)
    np.testing.assert_allclose(mg.jacobian(lambda k: mg.eigvalsh(chain(k)))(SPRINGS), (stretch**2).T, rtol=1e-10)


def test_second_order_is_that_of_perturbation_theory():
    """d^2 w_k / dt^2 = 2 sum over j != k of (v_j . B v_k)^2 / (w_k - w_j), of A + t B at t = 0."""
    a, b = (m + m.T for m in np.random.default_rng(0).standard_normal((2, 4, 4)))
    w, v = np.linalg.eigh(a)
    coupling = (v.T @ b @ v) ** 2
    gaps = w[None, :] - w[:, None]
    expected = 2 * np.sum(np.divide(coupling, gaps, out=np.zeros((4, 4)), where=gaps != 0), 0)
    for k in range(4):
        second = mg.grad(mg.grad(lambda t, k=k: mg.eigvalsh(a + t * b)[k]))(np.array(0.0))
        np.testing.assert_allclose(second, expected[k], rtol=1e-10)


def test_eigenvectors_turn_by_first_order_perturbation():
    """d v_k / dt = sum over j != k of v_j (v_j . B v_k) / (w_k - w_j)."""
    a, b = (m + m.T for m in np.random.default_rng(1).standard_normal((2, 4, 4)))
    w, v = np.linalg.eigh(a)
    gaps = w[None, :] - w[:, None]
    mixed = np.divide(v.T @ b @ v, gaps, out=np.zeros((4, 4)), where=gaps != 0)
    _, turned = mg.jvp(lambda t: mg.eigh(a + t * b).eigenvectors, (np.array(0.0),), (np.array(1.0),))
    np.testing.assert_allclose(turned, v @ mixed, rtol=1e-10, atol=1e-12)
