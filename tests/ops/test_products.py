"""The products that are made of matmul and einsum: NumPy's values for every shape, and what they refuse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigraph as mg
from minigraph.testing import check_adjoint

from .checks import same
from .strategies import arrays

SIDES = st.integers(0, 3)


@given(st.data())
def test_tensordot(data):
    """Any axes of both, in any order."""
    n, left, right = (data.draw(st.integers(0, 2)) for _ in range(3))
    lengths = [data.draw(SIDES) for _ in range(n)]
    shape_a, shape_b = lengths + [data.draw(SIDES) for _ in range(left)], lengths + [2] * right
    order_a, order_b = (data.draw(st.permutations(range(len(s)))) for s in (shape_a, shape_b))
    a, b = data.draw(arrays(tuple(shape_a[i] for i in order_a))), data.draw(arrays(tuple(shape_b[i] for i in order_b)))
    axes = [order_a.index(i) for i in range(n)], [order_b.index(i) for i in range(n)]
    same(mg.tensordot(a, b, axes), np.tensordot(a, b, axes))
    check_adjoint(lambda a, b: mg.tensordot(a, b, axes), a, b)


@given(st.data())
def test_kron_and_outer(data):
    a, b = (data.draw(arrays(tuple(data.draw(st.lists(st.integers(1, 3), max_size=3))))) for _ in range(2))
    same(mg.kron(a, b), np.kron(a, b))
    same(mg.outer(a, b), np.outer(a, b))
    check_adjoint(mg.kron, a, b)


@pytest.mark.parametrize("shapes", [
    ((2,), (2,)), ((2,), (2, 3)), ((3, 2), (2,)), ((3, 5), (5, 2)), ((2,), (2, 3), (3,)), ((4, 1), (1, 4), (4, 1)),
    ((2, 3), (3, 4), (4, 1), (1, 5), (5, 2)),
])  # fmt: skip
def test_multi_dot(shapes):
    rng = np.random.default_rng(0)
    xs = [rng.standard_normal(s) for s in shapes]
    same(mg.multi_dot(xs), np.linalg.multi_dot(xs))


def test_multi_dot_takes_the_cheapest_order():
    """(4, 1) (1, 4) (4, 1): the last two first, 8 multiplications, where the other order takes 32."""
    xs = [mg.Tensor(np.ones(s), requires_grad=True) for s in ((4, 1), (1, 4), (4, 1))]
    assert [p.shape for p in mg.multi_dot(xs).node.parents] == [(4, 1), (1, 1)]


@pytest.mark.parametrize("axes", [{}, {"axis": 0}, {"axisa": 0, "axisb": 1}, {"axisc": 0}])
def test_cross_is_at_right_angles_to_both(axes):
    a, b = np.random.default_rng(0).standard_normal((2, 3, 3))
    y = mg.cross(a, b, **axes)
    same(y, np.cross(a, b, **axes))
    y = np.moveaxis(y, axes.get("axis", axes.get("axisc", -1)), -1)
    np.testing.assert_allclose((y * np.moveaxis(a, axes.get("axis", axes.get("axisa", -1)), -1)).sum(-1), 0, atol=1e-14)


def test_cross_of_vectors_in_the_plane():
    a, b = np.random.default_rng(0).standard_normal((2, 4, 3))
    same(mg.cross(a[:, :2], b[:, :2]), np.cross(a, b * [1, 1, 0])[:, 2])
    same(mg.cross(a[:, :2], b), np.cross(a * [1, 1, 0], b))


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 8, -1, -3])
def test_matrix_power(n):
    a = np.random.default_rng(0).standard_normal((2, 3, 3)) / 2 + np.eye(3)
    np.testing.assert_allclose(mg.matrix_power(a, n), np.linalg.matrix_power(a, n), rtol=1e-10)


@pytest.mark.skipif(not hasattr(np, "matvec"), reason="NumPy 2.2 has these ufuncs first")
def test_the_ufuncs_of_vectors_and_matrices():
    rng = np.random.default_rng(0)
    a, x, y = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 4)), rng.standard_normal((2, 3))
    same(np.matvec(mg.Tensor(a), x), np.matvec(a, x))
    same(np.vecmat(y, mg.Tensor(a)), np.vecmat(y, a))


def test_lists_of_numbers_are_taken_as_in_numpy():
    t = mg.Tensor([1.0, 2.0], requires_grad=True)
    assert np.outer([1, 2], t).data.tolist() == [[1, 2], [2, 4]]
    assert np.inner([1, 2], t).item() == np.dot([1, 2], t).item() == 5


@pytest.mark.parametrize(("call", "message"), [
    (lambda t: mg.tensordot(t, t, 1), r"the axes \(1,\) of a \(2, 3\) have the lengths \[3\], \(0,\) of b \(2, 3\)"),
    (lambda t: mg.tensordot(t, t, 3), r"3 axes, but a has the shape \(2, 3\)"),
    (lambda t: mg.inner(t, np.ones((2, 2))), "have the lengths"),
    (lambda t: mg.vecdot(t, np.ones(2)), "along the axis -1, a has 3 entries, b has 2"),
    (lambda t: mg.cross(t, np.ones(4)), "expected vectors of 3 entries or 2, those of a have 3, those of b 4"),
    (lambda t: mg.cross(t, 2.0), "at least one axis"),
    (lambda t: mg.matrix_power(t, 2), r"a should be \(..., k, k\), got \(2, 3\)"),
    (lambda t: mg.multi_dot([t]), "at least two arrays, got 1"),
    (lambda t: mg.multi_dot([t, t[0], t]), r"array 1 should be a matrix, got the shape \(3,\)"),
    (lambda t: mg.vdot(t, np.ones(2)), "6 columns, b .* has 2 rows"),
])  # fmt: skip
def test_shapes_that_do_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call(mg.Tensor(np.ones((2, 3)), requires_grad=True))


def test_a_power_that_is_no_int():
    with pytest.raises(TypeError, match="n should be an int, got float"):
        mg.matrix_power(np.eye(2), 2.0)
