"""Picking entries and putting them: values and gradients for any index, modes, bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigraph as mg
from minigraph.testing import check_adjoint

from . import table
from .checks import same
from .strategies import arrays


@st.composite
def indices(draw, shape):
    """An index expression for `shape`: basic, or with integer arrays (repeated entries too), or a mask."""
    kinds = [hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True)]
    if shape and 0 not in shape:
        results = hnp.array_shapes(min_dims=1, max_dims=2, max_side=3)
        kinds.append(hnp.integer_array_indices(shape, result_shape=results))
        kinds.append(hnp.arrays(bool, shape[: draw(st.integers(1, len(shape)))]))
        kinds.append(
            st.tuples(
                st.sampled_from([slice(None), slice(None, None, -1), slice(None, None, 2), Ellipsis]),
                hnp.arrays(int, st.integers(0, 4), elements=st.integers(-shape[-1], shape[-1] - 1)),
            ).map(lambda t: t if t[0] is Ellipsis or len(shape) == 2 else (Ellipsis, t[1]))
        )
    return draw(st.one_of(kinds))


@given(st.data())
def test_indexing(data):
    x = data.draw(arrays())
    index = data.draw(indices(x.shape))
    same(mg.Tensor(x)[index], x[index])
    check_adjoint(lambda x: x[index], x)
    values = data.draw(arrays(np.shape(x[index])))
    same(mg.scatter(values, index, x.shape), table.scatter(values, index, x.shape))
    same(mg.scatter_add(x, index, values), table.scatter_add(x, index, values))
    check_adjoint(lambda x, v: mg.scatter_add(x, index, v), x, values)


@given(st.data())
def test_taking_along_one_axis(data):
    x = data.draw(arrays(hnp.array_shapes(min_dims=1, max_dims=3, max_side=3)))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    order = np.argsort(x, axis)
    same(mg.take_along_axis(x, order, axis), np.sort(x, axis))
    check_adjoint(lambda x: mg.take_along_axis(x, order, axis), x)
    indices = data.draw(hnp.arrays(int, hnp.array_shapes(min_dims=0, max_dims=2, max_side=3),
                                   elements=st.integers(-x.shape[axis], x.shape[axis] - 1)))  # fmt: skip
    same(mg.take(x, indices, axis), np.take(x, indices, axis))
    check_adjoint(lambda x: mg.take(x, indices, axis), x)


INTS = np.array([0, 2])
BOOLS = np.array([True, False, True])


@pytest.mark.parametrize(("index", "f"), [
    (INTS, lambda x, i: x[i]), (INTS, lambda x, i: x[None][(0, i)]), (BOOLS, lambda x, i: x[i]),
    (INTS, lambda x, i: mg.take(x, i)), (INTS, lambda x, i: mg.take_along_axis(x, i, 0)),
    (INTS, lambda x, i: mg.scatter_add(x, i, np.ones(2)) * x), (INTS, lambda x, i: x[mg.Tensor(i)]),
])  # fmt: skip
def test_an_index_may_be_changed_before_the_backward_pass(index, f):
    grads = []
    for change in (False, True):
        x, i = mg.Tensor([1.0, 2.0, 4.0], requires_grad=True), index.copy()
        y = (f(x, i) * 3).sum()
        if change:
            i[...] = i[::-1] if i.dtype == bool else 1
            i[0] = not i[0] if i.dtype == bool else 1
        y.backward()
        grads.append(x.grad.data)
    np.testing.assert_array_equal(*grads)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: mg.take(x, [0], mode="round"), ValueError, "take: expected mode 'raise', 'wrap' or 'clip', got 'round'"),
    (lambda x: mg.compress([[True]], x), ValueError, r"compress: expected a condition of one axis, got shape \(1, 1\)"),
    (lambda x: mg.diag(x[:, None, None]), ValueError, r"diag: expected one or two axes, got shape \(3, 1, 1\)"),
    (lambda x: mg.select([], []), ValueError, "select: expected a choice for each condition, got 0 and 0"),
    (lambda x: mg.select([x > 0], [x, x]), ValueError, "select: expected a choice for each condition, got 1 and 2"),
    (lambda x: mg.select([[1, 0, 1]], [x]), TypeError, "select: expected conditions that are bools, got int64"),
    (lambda x: mg.choose([0, 2, 0], [x, x]), ValueError, r"choose: expected integers in \[0, 2\), got 0 to 2"),
    (lambda x: mg.choose([0.5, 1, 0], [x, x]), TypeError, "choose: expected integer indices, got float64"),
    (lambda x: mg.choose([0, 1, 0], [x, x], mode="x"), ValueError, "choose: expected mode 'raise'"),
    (lambda x: mg.diagonal(x), ValueError, "axis|source"),
])  # fmt: skip
def test_bad_input(call, error, message):
    for x in (np.ones(3), mg.Tensor(np.ones(3), requires_grad=True)):
        with pytest.raises(error, match=message):
            call(x)


def test_the_diagonal_of_any_matrix():
    for shape in [(3, 3), (2, 4), (4, 2), (0, 2), (2, 0), (1, 1)]:
        x = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
        for k in range(-5, 6):
            same(mg.diagonal(x, k), np.diagonal(x, k))
            check_adjoint(lambda x, k=k: mg.diagonal(x, k), x) if x.size else None
            same(mg.tril(x, k), np.tril(x, k))
            same(mg.triu(x, k), np.triu(x, k))


def test_numbers_among_the_choices_do_not_widen():
    x = np.ones(2, np.float32)
    assert mg.select([x > 0], [x], 0.5).dtype == mg.choose([0, 1], [0.5, x]).dtype == np.float32
