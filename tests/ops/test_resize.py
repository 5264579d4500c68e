"""Sizes that are asked for, beside PyTorch, and what is refused."""

import numpy as np
import pytest

import minigraph as mg

from .checks import compare_with_torch, first, gradient, last

X = np.random.default_rng(0).standard_normal((2, 7, 10, 3))


@pytest.mark.parametrize("size", [1, (2, 5), (3, 4), (7, 10), (9, 3), (14, 20)])
@pytest.mark.parametrize("kind", ["adaptive_avg_pool", "adaptive_max_pool", "resize_bilinear"])
def test_beside_torch(kind, size):
    def theirs(torch, x):
        if kind == "resize_bilinear":
            pair = (size, size) if isinstance(size, int) else size
            return last(torch.nn.functional.interpolate(first(x), pair, mode="bilinear"))
        return last(getattr(torch.nn.functional, f"{kind}2d")(first(x), size))

    compare_with_torch(lambda x: getattr(mg, kind)(x, size), theirs, (X,))


def test_equal_maxima_share_the_gradient():
    g = gradient(lambda x: mg.adaptive_max_pool(x, (1, 2)), np.ones((1, 1, 3, 1)))[0]
    assert np.ravel(g).tolist() == [0.5, 1.0, 0.5]  # the windows overlap: the middle one is in both


def test_the_same_size_is_the_same_map():
    np.testing.assert_array_equal(mg.resize_bilinear(X, (7, 10)), X)


@pytest.mark.parametrize("name", ["adaptive_avg_pool", "adaptive_max_pool", "resize_bilinear"])
@pytest.mark.parametrize(("args", "message"), [
    ((X[0], 2), r"x should be floating, with axes \(N, H, W, C\)"), ((X, 0), "size should be an int or a pair"),
    ((X[:, :0], 2), r"x has no pixels, shape \(2, 0, 10, 3\)"),
])  # fmt: skip
def test_what_is_refused(name, args, message):
    with pytest.raises(ValueError, match=f"{name}: {message}"):
        getattr(mg, name)(*args)
