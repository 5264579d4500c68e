"""Gradients made to fit their inputs: dtype, broadcast axes, and shapes that fit neither input nor output."""

import numpy as np
import pytest

import minigraph as mg
from minigraph.fit import sum_to


def test_gradients_are_cast_unbroadcast_and_zero_for_none():
    @mg.custom_vjp
    def f(a, b, c):
        return a + b + c

    @f.vjp
    def _(g, _y, _a, _b, _c):
        return np.asarray(g, np.float64), g, None

    args = (np.ones((2, 1), np.float32), np.ones(3), np.ones(3))
    a, b, c = mg.grad(lambda *a: f(*a).sum(), (0, 1, 2))(*args)
    assert a.dtype == np.float32
    for got, expected in ((a, np.full((2, 1), 3.0)), (b, np.full(3, 2.0)), (c, np.zeros(3))):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("shape", "to"), [
    ((2, 3), (2, 3)), ((3,), (2, 3)), ((1, 3), (2, 3)), ((2, 1), (2, 3)), ((), (2, 3)), ((1, 1), (4, 1)),
    ((1, 0), (5, 0)), ((2, 1, 3), (4, 2, 5, 3)), ((1,), (0, 1)),
])  # fmt: skip
@pytest.mark.parametrize("wrap", [lambda g: g, mg.Tensor], ids=["array", "Tensor"])
def test_sum_to_is_the_adjoint_of_broadcasting(shape, to, wrap):
    rng = np.random.default_rng(0)
    v, g = rng.standard_normal(shape), rng.standard_normal(to)
    summed = sum_to(wrap(g), shape)
    assert isinstance(summed, mg.Tensor) == isinstance(wrap(g), mg.Tensor) and summed.shape == shape
    data = summed.data if isinstance(summed, mg.Tensor) else summed
    assert np.vdot(np.broadcast_to(v, to), g) == pytest.approx(np.vdot(v, data), rel=1e-12, abs=1e-12)
