"""Sorting: ties, NaN, what else is asked for, bad input."""

import numpy as np
import pytest

import minigraph as mg

from .checks import gradient


def test_equal_entries_keep_a_gradient_each():
    weights = np.array([1.0, 2.0, 4.0])
    assert gradient(lambda x: mg.sort(x, stable=True) * weights, [1.0, 0.0, 1.0]) == [[2, 1, 4]]
    assert gradient(lambda x: mg.unique(x) * weights[:2], [1.0, 0.0, 1.0]) == [[2, 1, 0]]
    assert gradient(lambda x: mg.top_k(x, 2)[0] * weights[:2], [1.0, 0.0, 1.0]) == [[1, 0, 2]]


def test_nan_comes_last():
    x = np.array([np.nan, 2.0, 1.0])
    np.testing.assert_array_equal(mg.sort(x), [1, 2, np.nan])
    for largest, expected in ((True, [2, 1, np.nan]), (False, [1, 2, np.nan])):
        np.testing.assert_array_equal(mg.top_k(x, 3, largest=largest)[0], expected)


def test_top_k_gives_the_indices_too():
    x = mg.Tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0]], requires_grad=True)
    values, indices = mg.top_k(x, 2)
    assert values.data.tolist() == [[3, 2], [5, 4]] and indices.tolist() == [[0, 2], [1, 2]]
    with pytest.raises(ValueError, match=r"top_k: expected k in \[0, 3\], the length of axis -1, got 4"):
        mg.top_k(x, 4)


def test_unique_gives_all_that_numpy_gives():
    x = np.array([2.0, 1.0, 2.0, np.nan, np.nan])
    t = mg.Tensor(x, requires_grad=True)
    for kwargs in ({}, {"return_index": True}, {"return_inverse": True, "return_counts": True}, {"equal_nan": False}):
        got, expected = np.unique(t, **kwargs), np.unique(x, **kwargs)
        for g, e in zip(*((v if isinstance(v, tuple) else (v,)) for v in (got, expected)), strict=True):
            np.testing.assert_array_equal(g.data if isinstance(g, mg.Tensor) else g, e)


@pytest.mark.parametrize("f", [lambda x: mg.sort(x, 1), lambda x: mg.partition(x, 0, 1), lambda x: mg.top_k(x, 1, 1)])
def test_an_axis_out_of_range(f):
    with pytest.raises(ValueError, match=r": axis 1 is out of range for shape \(3,\)"):
        f(np.ones(3))
