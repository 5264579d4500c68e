import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigraph.kernels.scatter import scatter

SHAPE = (4, 5, 3)
MASK = np.random.default_rng(0).random(SHAPE) < 0.5
ROWS = np.array([0, -1, 2, 2, 2])
COLUMNS = np.array([[4], [-5], [1]])

INDICES = [
    2,
    -1,
    (1, 2, -3),
    slice(None, None, -2),
    (slice(1, 3), None, ..., slice(0, 0)),
    ...,
    (),
    None,
    np.int64(3),
    np.array(1),
    True,
    False,
    MASK,
    MASK[:, :, 0],
    MASK[:, 0, 0],
    (slice(None), MASK[0]),
    (..., MASK[0, 0]),
    (1, MASK[1]),
    ROWS,
    [0, 0, 1],
    np.zeros((0, 2), int),
    np.zeros((3, 2), np.uint8),
    (ROWS, ROWS),
    (COLUMNS % 4, COLUMNS, [0, 0, 2]),
    (ROWS, slice(None), [0, 0, 1, 1, 1]),  # the broadcast axes come first
    (slice(None), ROWS, [0, 0, 1, 1, 1]),
    (slice(2), 3, np.array([0, 0, 1])),
    (None, ROWS, None),
    (..., np.array([2, 2])),
    (ROWS, ...),
    (ROWS, None, ..., slice(2)),
    (MASK[:, 0, 0], 1),
    (np.array([False, True, False, False]), ROWS),  # one true, so the integers may repeat entries
    (MASK[:, :, 0], np.zeros(MASK[:, :, 0].sum(), int)),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_is_add_at(index, dtype):
    where = np.zeros(SHAPE)[index].shape
    values = np.random.default_rng(1).normal(size=where).astype(dtype)
    expected = np.zeros(SHAPE, dtype)
    np.add.at(expected, index, values)
    out = scatter(values, index, SHAPE)
    assert out.dtype == dtype and out.shape == SHAPE
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("index", [ROWS, COLUMNS % 4, (ROWS, None), (None, ROWS), [1, 1]], ids=repr)
def test_is_add_at_for_vectors(index):
    values = np.random.default_rng(1).normal(size=np.zeros(4)[index].shape)
    expected = np.zeros(4)
    for place, value in zip(np.arange(4)[index].ravel(), values.ravel(), strict=True):
        expected[place] += value
    np.testing.assert_array_equal(scatter(values, index, (4,)), expected)


@st.composite
def indexed(draw):
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
    basic = hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True)
    integers = hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2, min_side=0))
    return shape, draw(st.one_of(basic, integers))


@given(indexed(), st.integers(0, 2**32 - 1))
def test_is_the_adjoint_of_indexing(case, seed):
    shape, index = case
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape)
    values = np.asarray(rng.normal(size=x[index].shape))
    left, right = np.vdot(values, x[index]), np.vdot(scatter(values, index, shape), x)
    assert abs(left - right) <= 1e-12 * (1 + abs(left))


def test_values_that_are_not_contiguous_and_not_changed():
    values = np.arange(12.0).reshape(3, 4).T
    before = values.copy()
    out = scatter(values, np.array([0, 1, 1, 0]), (2, 3))
    np.testing.assert_array_equal(out, [before[0] + before[3], before[1] + before[2]])
    np.testing.assert_array_equal(values, before)


def test_zero_dimensional_target():
    np.testing.assert_array_equal(scatter(np.array(3.0), (), ()), 3.0)
    np.testing.assert_array_equal(scatter(np.array([3.0]), None, ()), 3.0)


def test_the_order_of_summation_is_that_of_the_values():
    values = np.array([1e8, 1.0, -1e8, 1.0], np.float32)  # 1e8 + 1 is 1e8 in float32
    out = scatter(values, np.zeros(4, int), (1,))
    assert out[0] == 1
