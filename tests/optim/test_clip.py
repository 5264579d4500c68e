"""Gradients clipped by their common norm and by value."""

import copy
import math

import numpy as np
import pytest

from minigraph import optim, tree

from .helpers import assert_same


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clip_by_global_norm(dtype):
    grads = {"a": np.array([3.0, 0.0], dtype), "b": [np.array(4.0, dtype)]}
    before = copy.deepcopy(grads)
    same, norm = optim.clip_by_global_norm(grads, 5.0)
    assert norm == 5.0 and type(norm) is float
    assert_same(grads, same)
    clipped, norm = optim.clip_by_global_norm(grads, 2.5)
    assert norm == 5.0
    assert_same({"a": np.array([1.5, 0], dtype), "b": [np.array(2, dtype)]}, clipped)
    assert_same(before, grads)
    assert tree.flat_view(clipped) is not None


@pytest.mark.parametrize(
    ("dtype", "size"),
    [(np.float32, 1e30), (np.float32, 1e-30), (np.float32, 1e-44), (np.float64, 1e200), (np.float64, 1e-200)],
)
def test_clip_by_global_norm_where_the_squares_are_out_of_range(dtype, size):
    grads = [np.full(4, size, dtype)]
    clipped, norm = optim.clip_by_global_norm(grads, float(grads[0][0]) / 2)
    assert norm == pytest.approx(2 * float(grads[0][0]), rel=1e-6)
    np.testing.assert_allclose(clipped[0], grads[0] / 4, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_clip_returns_gradients_of_no_finite_norm_as_they_are(bad):
    grads = [np.array([1.0, bad], np.float32)]
    same, norm = optim.clip_by_global_norm(grads, 1.0)
    assert_same(grads, same)
    np.testing.assert_equal(norm, bad)


def test_clip_by_value():
    grads = {"a": np.array([-3.0, 0.5, np.inf], np.float32), "b": np.array(np.nan, np.float32)}
    clipped = optim.clip_by_value(grads, 2.0)
    assert_same({"a": np.array([-2, 0.5, 2], np.float32), "b": grads["b"]}, clipped)
    assert grads["a"][0] == -3


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: optim.clip_by_global_norm({}, 1), ValueError, "grads: .* without a leaf"),
        (lambda: optim.clip_by_global_norm([np.ones(1)], -1), ValueError, "max_norm"),
        (lambda: optim.clip_by_global_norm([np.arange(2)], 1), TypeError, "at 0: .* got int64"),
        (lambda: optim.clip_by_value([np.ones(1)], math.nan), ValueError, "clip_by_value: limit"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()
