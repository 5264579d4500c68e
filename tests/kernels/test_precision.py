"""Sums of float16: more entries than it has digits for."""

import numpy as np
import pytest

import minigraph as mg
from minigraph.kernels.precision import total, widened


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_total_is_the_sum_in_the_same_dtype(dtype):
    x = np.ones((5000, 2), dtype)
    for axis, keepdims in ((0, False), (None, True), ((0, 1), False), ((), False), (1, True)):
        got, expected = total(x, axis, keepdims), np.sum(x.astype(float), axis, keepdims=keepdims)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, expected)


def test_float16_alone_is_widened():
    x = np.ones(3, np.float16)
    assert widened(x).dtype == widened(mg.Tensor(x)).dtype == np.float32
    for other in (x.astype(np.float32), x.astype(int), mg.Tensor([1.0])):
        assert widened(other) is other
