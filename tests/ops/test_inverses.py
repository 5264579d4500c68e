"""Inverses: identities, singular matrices, and PyTorch beside minigraph."""

import numpy as np
import pytest

import minigraph as mg
from minigraph import BackwardError, Tensor

from .checks import compare_with_torch

RNG = np.random.default_rng(0)
A = RNG.standard_normal((2, 3, 3)) + 2 * np.eye(3)
SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]])


@pytest.mark.parametrize(("ours", "theirs", "args"), [
    (mg.inv, lambda torch, a: torch.linalg.inv(a), (A,)),
    (mg.solve, lambda torch, a, b: torch.linalg.solve(a, b), (A, RNG.standard_normal((2, 3, 2)))),
    (mg.solve, lambda torch, a, b: torch.linalg.solve(a, b), (A[0], RNG.standard_normal(3))),
    (mg.det, lambda torch, a: torch.linalg.det(a), (A,)),
    (lambda a: mg.slogdet(a).logabsdet, lambda torch, a: torch.linalg.slogdet(a)[1], (A,)),
    (mg.expm, lambda torch, a: torch.linalg.matrix_exp(a), (A,)),
    (mg.expm, lambda torch, a: torch.linalg.matrix_exp(a), (-3 * A,)),
])  # fmt: skip
def test_beside_torch(ours, theirs, args):
    compare_with_torch(ours, theirs, args)


def test_the_result_of_slogdet_is_numpys():
    t = Tensor(np.diag([2.0, -3.0]), requires_grad=True)
    y = np.linalg.slogdet(t)
    assert type(y) is type(np.linalg.slogdet(np.eye(2)))
    assert y.sign.item() == -1 and y.logabsdet.item() == pytest.approx(np.log(6))
    (y.sign * mg.exp(y.logabsdet)).backward()
    np.testing.assert_allclose(t.grad.data, [[-3, 0], [0, 2]], atol=1e-15)  # as det has it


def test_a_solution_takes_gradients_to_both_sides():
    a, b = Tensor(A[0], requires_grad=True), Tensor(A[1], requires_grad=True)
    x = np.linalg.solve(a, b)
    x.sum().backward()
    gb = np.linalg.solve(A[0].T, np.ones((3, 3)))
    np.testing.assert_allclose(b.grad.data, gb)
    np.testing.assert_allclose(a.grad.data, -gb @ x.data.T)


@pytest.mark.parametrize("f", [mg.inv, lambda a: mg.solve(a, np.ones(2))])
def test_a_singular_matrix_has_no_inverse(f):
    with pytest.raises(np.linalg.LinAlgError, match=r"\(2, 2\).*: Singular matrix"):
        f(Tensor(SINGULAR))


@pytest.mark.parametrize(("f", "name"), [(mg.det, "det"), (lambda a: mg.slogdet(a).logabsdet, "slogdet")])
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_singular_matrix_has_a_determinant_without_gradient(f, name):
    y = f(Tensor(np.zeros((2, 2)), requires_grad=True))
    assert y.item() == (0 if name == "det" else -np.inf)
    with pytest.raises(BackwardError, match=rf"backward of {name}(?s:.*)LinAlgError: {name}: a is singular"):
        y.backward()


def test_inverses_of_tensors_undo_tensordot():
    a, x = RNG.standard_normal((2, 3, 6)), RNG.standard_normal(6)
    b = np.tensordot(a, x, 1)
    np.testing.assert_allclose(mg.tensorsolve(a, b), x)
    np.testing.assert_allclose(np.tensordot(mg.tensorinv(a), b), x)
    np.testing.assert_allclose(mg.tensorsolve(np.moveaxis(a, 2, 0), b, axes=0), x)


def test_expm_of_matrices_that_commute_with_their_derivative():
    """d expm(s A) / ds = A expm(s A); and the exponential of a rotation's generator is the rotation."""
    np.testing.assert_allclose(mg.jvp(lambda s: mg.expm(s * A[0]), (np.array(0.7),), (np.array(1.0),))[1],
                               A[0] @ mg.expm(0.7 * A[0]), rtol=1e-12)  # fmt: skip
    turn = mg.expm(30.0 * np.array([[0.0, -1.0], [1.0, 0.0]]))
    np.testing.assert_allclose(turn, [[np.cos(30), -np.sin(30)], [np.sin(30), np.cos(30)]], atol=1e-12)
    assert mg.expm(np.zeros((2, 2), int)).dtype == np.float64


@pytest.mark.parametrize(("call", "message"), [
    (lambda: mg.inv(np.ones((2, 3))), r"inv.*: a should be \(..., n, n\), got \(2, 3\)"),
    (lambda: mg.det(np.ones(3)), r"got \(3,\)"),
    (lambda: mg.slogdet(np.ones((2, 3))), r"slogdet.*got \(2, 3\)"),
    (lambda: mg.expm(np.ones((2, 3))), r"expm: a should be \(..., n, n\), got \(2, 3\)"),
    (lambda: mg.solve(np.ones((2, 3)), np.ones(2)), r"a should be \(..., n, n\), got \(2, 3\)"),
    (lambda: mg.solve(np.eye(2), np.ones(3)), r"b \(3,\) should have the 2 rows of a \(2, 2\)"),
    (lambda: mg.solve(np.eye(2), np.ones((3, 2))), r"b \(3, 2\) should have the 2 rows"),
    (lambda: mg.tensorinv(np.ones((2, 3)), 1), r"tensorinv: the 1 first axes of a \(2, 3\) should have as many"),
    (lambda: mg.tensorinv(np.eye(2), 0), "tensorinv: ind should be 1 or more, got 0"),
    (lambda: mg.tensorsolve(np.ones((2, 3)), np.ones(2)), r"tensorsolve: of a \(2, 3\), the axes behind those of b"),
])  # fmt: skip
def test_shapes_that_do_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()
