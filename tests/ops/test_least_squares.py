"""The pseudo-inverse, least squares, condition numbers: closed forms, ranks, PyTorch beside minigraph."""

import numpy as np
import pytest

import minigraph as mg
from minigraph import Tensor
from minigraph.testing import check_vjp

from .checks import compare_with_torch

RNG = np.random.default_rng(0)
TALL, WIDE, B = RNG.standard_normal((5, 3)), RNG.standard_normal((2, 4)), RNG.standard_normal((5, 2))


@pytest.mark.parametrize("a", [TALL, WIDE, TALL[:3]])
def test_beside_torch(a):
    compare_with_torch(mg.pinv, lambda torch, a: torch.linalg.pinv(a), (a,))
    b = RNG.standard_normal((len(a), 2))
    if a.shape[0] >= a.shape[1]:
        compare_with_torch(lambda a, b: mg.lstsq(a, b)[0], lambda torch, a, b: torch.linalg.lstsq(a, b)[0], (a, b))


def test_the_normal_equations_have_the_same_gradients():
    def normal(a, b):
        return mg.solve(a.T @ a, a.T @ b)

    weights = RNG.standard_normal((3, 2))
    ours, theirs = (
        mg.grad(lambda a, b, f=f: (f(a, b) * weights).sum(), (0, 1))(TALL, B)
        for f in (lambda a, b: mg.lstsq(a, b)[0], normal)
    )
    for g, e in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-10)


def test_along_matrices_of_the_same_rank():
    """a = u v^T has the rank 1 for all u and v, and its pseudo-inverse v u^T / (|u|^2 |v|^2) a gradient in both."""
    check_vjp(lambda u, v: mg.pinv(mg.outer(u, v), 1e-10), RNG.standard_normal(3), RNG.standard_normal(2), order=1)


def test_singular_values_that_are_cut_off_are_no_constants():
    """Of diag(3, 1), cut at 1.5, the pseudo-inverse is diag(1/3, 0): to turn the matrix is to turn that too.

    With J = [[0, -1], [1, 0]], diag(3, 1) turns by J A - A J = [[0, 2], [2, 0]], and diag(1/3, 0) by a sixth of it.
    """
    a, direction = np.diag([3.0, 1.0]), np.array([[0.0, 2.0], [2.0, 0.0]])
    turned = mg.jvp(lambda a: mg.pinv(a, 0.5), (a,), (direction,))[1]
    np.testing.assert_allclose(turned, direction / 6)
    check_vjp(lambda a, b: mg.lstsq(a, b, 0.5)[0], TALL @ np.diag([4.0, 1.0, 0.5]), RNG.standard_normal(5))


def test_a_condition_number_is_infinite_where_there_is_no_inverse():
    a = Tensor(np.diag([1.0, 0.0]), requires_grad=True)
    for p in (None, -2, 1, "fro"):
        with pytest.raises(np.linalg.LinAlgError, match=r"[Ss]ingular"):
            np.linalg.cond(a, p)
    assert np.linalg.cond(a.detach()).item() == np.inf  # NumPy's own
    assert mg.cond(np.diag([4.0, -2.0])) == 2 and mg.cond(np.diag([4.0, -2.0]), -2) == 0.5


@pytest.mark.parametrize("a", [TALL, WIDE, TALL * [1.0, 1.0, 0.0]])
def test_all_four_results_are_numpys(a):
    b = RNG.standard_normal((len(a), 2))
    for got, e in zip(np.linalg.lstsq(Tensor(a, requires_grad=True), b), np.linalg.lstsq(a, b), strict=True):
        assert np.shape(got) == np.shape(e)
        np.testing.assert_allclose(mg.tree.map(lambda v: getattr(v, "data", v), got), e, rtol=1e-10, atol=1e-12)


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"lstsq: a should be \(m, n\) and b \(m,\) or \(m, k\), got \(5, 3\) and"):
        mg.lstsq(TALL, np.ones(3))
    with pytest.raises(ValueError, match=r"pinv: a should be \(..., m, n\), got \(3,\)"):
        mg.pinv(np.ones(3))
    with pytest.raises(ValueError, match=r"cond: a should be \(..., n, n\), got \(5, 3\)"):
        mg.cond(TALL, 1)
    with pytest.raises(ValueError, match=r"cond: x is empty, of the shape \(0, 2\)"):
        mg.cond(np.ones((0, 2)))
