"""Running sums, products and extremes: any axis, zeros, ties, NaN."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigraph as mg
from minigraph.testing import check_adjoint, check_vjp

from .checks import gradient, same
from .strategies import arrays


@given(st.data())
def test_cumsum_along_any_axis(data):
    x = data.draw(arrays(hnp.array_shapes(min_dims=1, max_dims=3, max_side=3)))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    same(mg.cumsum(x, axis), np.cumsum(x, axis))
    check_adjoint(lambda x: mg.cumsum(x, axis), x)


@given(st.data())
def test_running_products_and_extremes_along_any_axis(data):
    x = data.draw(arrays(hnp.array_shapes(min_dims=1, max_dims=2, max_side=5), away_from_kinks=True))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    same(mg.cumprod(x, axis), np.cumprod(x, axis))
    for ufunc in (np.maximum, np.minimum):
        t = mg.Tensor(x, requires_grad=True)
        same(ufunc.accumulate(t, axis), ufunc.accumulate(x, axis))
        check_vjp(lambda x, ufunc=ufunc: ufunc.accumulate(x, axis) * 1.0, x, order=1)


def test_a_product_with_zeros():
    assert gradient(mg.cumprod, [2.0, 0.0, 3.0]) == [[1, 2 + 2 * 3, 0]]


def test_nan_counts_as_nothing():
    assert gradient(mg.nancumsum, [1.0, np.nan, 2.0]) == [[3, 0, 1]]
    assert gradient(mg.nancumprod, [1.0, np.nan, 2.0]) == [[1 + 1 + 2, 0, 1]]


def test_bad_input():
    with pytest.raises(ValueError, match=r"cumulative_sum: expected axis= for an array of 2 axes"):
        mg.cumulative_sum(np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"cumprod: axis 1 is out of range for shape \(3,\)"):
        mg.cumprod(np.ones(3), 1)
