"""A small problem that the tests of this folder share."""

import numpy as np

import minigraph as mg
from minigraph import tree


def rng():
    return np.random.default_rng(0)


def problem(n=10, dtype=np.float32):
    """Parameters of two layers, and a batch of n."""
    r = rng()
    params = {"w1": r.standard_normal((3, 4)), "b1": r.standard_normal(4), "w2": r.standard_normal((4, 2))}
    return tree.map(lambda a: a.astype(dtype), params), r.standard_normal((n, 3)).astype(dtype), r.integers(0, 2, n)


def loss_fn(params, x, y):
    return mg.cross_entropy(mg.tanh(x @ params["w1"] + params["b1"]) @ params["w2"], y)


def bits(result):
    return [np.asarray(a).tobytes() for a in tree.leaves(result)]


def assert_close(a, b, tolerance=1e-12):
    tree.map(lambda u, v: np.testing.assert_allclose(u, v, tolerance, tolerance), a, b)
