"""Strides, paddings and windows that do not fit, in the words of the operation that is given them."""

import numpy as np
import pytest

import minigraph as mg

X = np.ones((2, 5, 5, 3))
W = np.ones((3, 3, 3, 4))


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: mg.conv2d(X, np.ones((6, 6, 3, 4))), ValueError, r"conv2d: the window \(6, 6\) is larger than"),
    (lambda: mg.conv2d(X[0], W), ValueError, r"conv2d: x should be floating, with axes \(N, H, W, C\)"),
    (lambda: mg.conv2d(X.astype(int), W), ValueError, "conv2d: x should be floating"),
    (lambda: mg.conv2d(X, W, stride=0), ValueError, "conv2d: stride should be an int or a pair"),
    (lambda: mg.conv2d(X, W, padding=-1), ValueError, "conv2d: padding should be"),
    (lambda: mg.conv2d(X, W, padding="full"), ValueError, "'same' or 'valid', got 'full'"),
    (lambda: mg.max_pool(X, 6), ValueError, r"max_pool: the window \(6, 6\) is larger"),
    (lambda: mg.avg_pool(X, (2, 2, 2)), ValueError, "avg_pool: window should be an int or a pair"),
])  # fmt: skip
def test_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call()
