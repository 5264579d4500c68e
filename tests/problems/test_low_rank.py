"""A loss by singular values: the distance to the nearest matrix of rank r (Eckart & Young 1936), and its gradients."""

import numpy as np
import pytest

import minigraph as mg

A = np.random.default_rng(0).standard_normal((5, 4))


def truncated(a, r):
    u, s, vh = mg.svd(a, full_matrices=False)
    return (u[:, :r] * s[:r]) @ vh[:r]


@pytest.mark.parametrize("r", [1, 2, 3])
def test_the_distance_to_the_nearest_matrix_of_rank_r(r):
    """It is the sum of the squares of the other singular values. Its gradient is 2 (A - A_r): by the theorem of the
    envelope, as if the nearest matrix stood still."""
    by_values = mg.value_and_grad(lambda a: (mg.svdvals(a)[r:] ** 2).sum())
    by_vectors = mg.value_and_grad(lambda a: ((a - truncated(a, r)) ** 2).sum())
    for value, gradient in (by_values(A), by_vectors(A)):
        np.testing.assert_allclose(value, (np.linalg.svd(A, compute_uv=False)[r:] ** 2).sum(), rtol=1e-12)
        np.testing.assert_allclose(gradient, 2 * (A - truncated(A, r)), rtol=1e-9, atol=1e-11)


def test_the_projection_onto_rank_r_beside_torch():
    torch = pytest.importorskip("torch")
    weights = np.cos(np.arange(20)).reshape(5, 4)
    a = torch.tensor(A, requires_grad=True)
    u, s, vh = torch.linalg.svd(a, full_matrices=False)
    (((u[:, :2] * s[:2]) @ vh[:2]) * torch.tensor(weights)).sum().backward()
    got = mg.grad(lambda a: (truncated(a, 2) * weights).sum())(A)
    np.testing.assert_allclose(got, a.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_the_nuclear_norm_of_a_factored_matrix():
    """Its gradient is U V^T (Watson 1992), and of x = p q^T, whose one singular value is |p| |q|, q |p| / |q| in q."""
    u, _, vh = np.linalg.svd(A, full_matrices=False)
    np.testing.assert_allclose(mg.grad(lambda a: mg.matrix_norm(a, "nuc"))(A), u @ vh, rtol=1e-10, atol=1e-12)
    p, q = A[:, 0], A[0]
    _, gq = mg.grad(lambda p, q: mg.svdvals(mg.outer(p, q))[0], (0, 1))(p, q)
    np.testing.assert_allclose(gq, q * np.linalg.norm(p) / np.linalg.norm(q), rtol=1e-10)
