"""Decompositions: what comes back, where there is no gradient, and PyTorch beside minigraph."""

import numpy as np
import pytest

import minigraph as mg
from minigraph import BackwardError, Tensor
from minigraph.testing import check_vjp

from .checks import compare_with_torch

RNG = np.random.default_rng(0)
A = RNG.standard_normal((2, 3, 3))
S = A @ A.swapaxes(-1, -2) + np.diag([1.0, 2.0, 3.0])
WIDE, TALL = RNG.standard_normal((2, 3)), RNG.standard_normal((2, 4, 3))


def symmetric(a):
    return (a + mg.transpose(a, (0, 2, 1))) / 2


def weighted(x):
    """Numbers that are not alike, times the squares of x: signs do not matter."""
    return (x * x * np.cos(np.arange(x.size)).reshape(x.shape)).sum()


@pytest.mark.parametrize(("ours", "theirs", "a"), [
    (lambda a: mg.cholesky(symmetric(a)), lambda torch, a: torch.linalg.cholesky((a + a.mT) / 2), S),
    (lambda a: mg.eigvalsh(symmetric(a)), lambda torch, a: torch.linalg.eigvalsh((a + a.mT) / 2), S),
    (mg.svdvals, lambda torch, a: torch.linalg.svdvals(a), TALL),
    (lambda a: mg.matrix_norm(a, "nuc"), lambda torch, a: torch.linalg.matrix_norm(a, "nuc"), WIDE),
    (lambda a: mg.matrix_norm(a, 2), lambda torch, a: torch.linalg.matrix_norm(a, 2), TALL),
    (lambda a: mg.qr(a, "r") ** 2, lambda torch, a: torch.linalg.qr(a)[1] ** 2, TALL),
    (lambda a: mg.qr(a).Q ** 2, lambda torch, a: torch.linalg.qr(a)[0] ** 2, TALL),
])  # fmt: skip
def test_beside_torch(ours, theirs, a):
    compare_with_torch(ours, theirs, (a,))


@pytest.mark.parametrize(("mine", "name", "parts"), [
    (lambda a: mg.eigh(symmetric(a)), "eigh", ["eigenvalues", "eigenvectors"]),
    (lambda a: mg.svd(a, full_matrices=False), "svd", ["U", "S", "Vh"]),
])  # fmt: skip
def test_vectors_beside_torch(mine, name, parts):
    torch = pytest.importorskip("torch")
    x = torch.tensor(S, requires_grad=True)
    theirs = torch.linalg.eigh((x + x.mT) / 2) if name == "eigh" else torch.linalg.svd(x, full_matrices=False)
    total = sum((t * t * torch.cos(torch.arange(t.numel(), dtype=t.dtype)).reshape(t.shape)).sum() for t in theirs)
    total.backward()
    y = mine(Tensor(S))
    assert y._fields == tuple(parts)
    got = mg.grad(lambda a: sum(weighted(part) for part in mine(a)))(S)
    np.testing.assert_allclose(got, x.grad.numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("f", [
    np.linalg.eigh, np.linalg.qr, lambda a: np.linalg.svd(a, full_matrices=False), np.linalg.svd,
    lambda a: np.linalg.svd(a, compute_uv=False), np.linalg.cholesky,
])  # fmt: skip
def test_the_results_are_numpys(f):
    expected, got = f(S), f(Tensor(S, requires_grad=True))
    if isinstance(expected, tuple):
        assert type(got) is type(expected)
    for e, g in zip(mg.tree.leaves(expected), mg.tree.leaves(got), strict=True):
        assert isinstance(g, Tensor) and g.requires_grad
        np.testing.assert_allclose(g.data, e, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("f", [mg.cholesky, mg.eigvalsh])
def test_only_the_lower_triangle_is_read(f):
    """So the gradient is lower triangular. That of the symmetric part is symmetric, and has the same sum."""
    above = S[0] + np.triu(np.ones((3, 3)), 1)
    np.testing.assert_allclose(f(above), f(S[0]))
    g = mg.grad(lambda a: weighted(f(a)))(S[0])
    assert (np.triu(g, 1) == 0).all()
    both = mg.grad(lambda a: weighted(f((a + a.T) / 2)))(S[0])
    np.testing.assert_allclose(both, (g + g.T) / 2, rtol=1e-12)


@pytest.mark.parametrize("f", [
    lambda a: np.linalg.cholesky(a, upper=True), lambda a: mg.eigvalsh(a, "U"), lambda a: np.linalg.eigh(a, "U")[0],
])  # fmt: skip
def test_or_only_the_upper_one(f):
    below = Tensor(S[0] + np.tril(np.ones((3, 3)), -1), requires_grad=True)
    np.testing.assert_allclose(f(below).data, f(Tensor(S[0])).data)
    weighted(f(below)).backward()
    g = below.grad.data
    assert (np.tril(g, -1) == 0).all() and (np.diag(g) != 0).all()


def test_a_symmetric_svd_is_of_the_lower_triangle():
    """Its values are those of the symmetric matrix, of which one here belongs to a negative eigenvalue."""
    a = np.array([[1.0, 5.0], [2.0, 1.0]])
    u, s, vh = np.linalg.svd(Tensor(a, requires_grad=True), hermitian=True)
    assert s.data.tolist() == pytest.approx([3, 1])
    np.testing.assert_allclose(((u * s) @ vh).data, [[1, 2], [2, 1]], atol=1e-15)
    g = mg.grad(lambda a: mg.svd(a, compute_uv=False, hermitian=True).sum())(a)
    np.testing.assert_allclose(g, [[0, 0], [2, 0]], atol=1e-15)  # 3 + 1 = (b + 1) + (b - 1) for the entry b


# ---------------------------------------------------------------- where vectors are arbitrary


EQUAL = np.diag([1.0, 2.0, 2.0])


def test_equal_eigenvalues_have_the_gradients_of_functions_that_treat_them_alike():
    """The trace of A^3 is the sum of the cubes: its gradient is 3 A^2, here for every entry of the lower triangle."""
    np.testing.assert_allclose(mg.grad(lambda a: (mg.eigvalsh(a) ** 3).sum())(EQUAL), 3 * EQUAL @ EQUAL, atol=1e-12)
    turned = np.linalg.qr(A[0]).Q
    np.testing.assert_allclose(mg.grad(lambda a: mg.svdvals(a).sum())(turned), turned, atol=1e-12)


@pytest.mark.parametrize(("f", "message"), [
    (lambda a: weighted(mg.eigh(a).eigenvectors), r"eigh: the eigenvalues 1 and 2 are equal"),
    (lambda a: weighted(mg.svd(a).U), r"svd: the singular values 0 and 1 are equal"),
    (lambda a: weighted(mg.svd(a).Vh), r"svd: the singular values 0 and 1 are equal"),
    (lambda a: weighted(mg.svd(a[:, :2] * [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]], full_matrices=False).U),
     "svd: a singular value is 0"),
    (lambda a: weighted(mg.qr(a * [[1.0, 0.0, 0.0]]).Q), "qr: the columns of a are dependent"),
])  # fmt: skip
def test_vectors_that_are_arbitrary_have_no_gradient(f, message):
    with pytest.raises(BackwardError, match=message) as caught:
        mg.grad(f)(EQUAL)
    assert isinstance(caught.value.__cause__, np.linalg.LinAlgError)


def test_a_forward_derivative_through_arbitrary_vectors_is_refused_too():
    """jvp pulls zeros back first, which must not pass for a gradient that has nothing of the vectors in it."""
    with pytest.raises(BackwardError, match="are equal"):
        mg.jvp(lambda a: mg.eigh(a).eigenvectors, (EQUAL,), (EQUAL,))
    _, tangent = mg.jvp(lambda a: mg.eigh(a).eigenvectors, (S[0],), (S[1],))
    shift = 1e-6
    above, below = (np.linalg.eigh(S[0] + s * S[1]).eigenvectors for s in (shift, -shift))
    np.testing.assert_allclose(tangent, (above - below) / (2 * shift), atol=1e-8)


def test_near_equal_values_still_have_vectors():
    check_vjp(lambda a: mg.eigh(a).eigenvectors, np.diag([1.0, 1.01]) + 0.001, order=1)


# ---------------------------------------------------------------- norms and errors


@pytest.mark.parametrize("ord", [None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [(0, 1), (2, 0), (-1, 1)])
def test_norms_of_matrices_are_numpys(ord, keepdims, axis):
    got = np.linalg.norm(Tensor(TALL), ord, axis, keepdims)
    expected = np.linalg.norm(TALL, ord, axis, keepdims)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got.data, expected, rtol=1e-12)


@pytest.mark.parametrize("ord", [None, 0, 1, 2, 3, -1, -2.5, np.inf, -np.inf])
def test_norms_of_vectors_are_numpys(ord):
    for axis in (0, -1, (1,)):
        got = np.linalg.norm(Tensor(TALL), ord, axis)
        np.testing.assert_allclose(got.data, np.linalg.norm(TALL, ord, axis), rtol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(Tensor(TALL[0, 0]), ord).data, np.linalg.norm(TALL[0, 0], ord))
    np.testing.assert_allclose(np.linalg.vector_norm(Tensor(WIDE), ord=ord or 2).data,
                               np.linalg.vector_norm(WIDE, ord=ord or 2))  # fmt: skip


@pytest.mark.parametrize(("call", "message"), [
    (lambda: mg.eigh(np.ones((2, 3))), r"eigh: a should be \(..., n, n\), got \(2, 3\)"),
    (lambda: mg.svd(np.ones(3), full_matrices=False), r"svd: a should be \(..., m, n\), got \(3,\)"),
    (lambda: mg.svd(np.ones((2, 3))), r"svd: a is \(2, 3\).* pass full_matrices=False"),
    (lambda: mg.qr(np.ones((3, 2)), "complete"), "qr: expected mode 'reduced' or 'r', got 'complete'"),
    (lambda: mg.qr(np.ones((2, 3)), "raw"), "qr: expected mode 'reduced' or 'r', got 'raw'"),
    (lambda: mg.eigh(np.eye(2), "D"), "eigh: UPLO should be 'L' or 'U', got 'D'"),
    (lambda: mg.cholesky(-np.eye(2)), "not positive definite"),
    (lambda: mg.matrix_norm(np.ones((2, 2)), 3), "matrix_norm: expected ord 'fro'.*got 3"),
    (lambda: mg.matrix_norm(np.ones(2)), r"of two or more axes and two of them, got \(2,\)"),
    (lambda: np.linalg.norm(Tensor(TALL), 2), r"expected one axis or two, got \(0, 1, 2\)"),
    (lambda: mg.norm(np.ones(2), "nuc"), "ord None or a number, got 'nuc'; matrix_norm"),
])  # fmt: skip
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
