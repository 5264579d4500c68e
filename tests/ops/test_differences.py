"""Differences and what is made of them: gradients through the places of the samples, bad input."""

import numpy as np
import pytest

import minigraph as mg
from minigraph.testing import check_vjp


@pytest.mark.parametrize("edge_order", [1, 2])
@pytest.mark.parametrize("n", [3, 4, 7])
def test_the_derivative_of_a_parabola_is_exact(n, edge_order):
    """Inside, and with edge_order 2 at the edges; the places get a gradient too."""
    x = np.sort(np.random.default_rng(0).uniform(0, 3, n))
    got = mg.gradient(x * x, x, edge_order=edge_order)
    inside = slice(1, -1) if edge_order == 1 else slice(None)
    np.testing.assert_allclose(got[inside], 2 * x[inside], rtol=1e-12)
    np.testing.assert_allclose(got, np.gradient(x * x, x, edge_order=edge_order), rtol=1e-12)
    check_vjp(lambda f, x: mg.gradient(f, x, edge_order=edge_order), np.sin(x), x)
    check_vjp(lambda f, h: mg.gradient(f, h, edge_order=edge_order), np.sin(x), np.array(0.3))


def test_places_that_are_numbers_do_not_widen():
    x = np.ones((3, 3), np.float32)
    for y in (mg.gradient(x)[0], mg.gradient(x, 0.5, axis=0), mg.gradient(x, [0.0, 1.0, 3.0], axis=0),
              mg.trapezoid(x, [0.0, 1.0, 3.0]), mg.diff(x, prepend=0.5), mg.ediff1d(x, to_end=[1.0])):  # fmt: skip
        assert y.dtype == np.float32


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: mg.diff(x, -1), ValueError, r"diff: expected n of at least 0 and an axis, got n -1"),
    (lambda x: mg.diff(x[0]), ValueError, r"diff: expected n of at least 0 and an axis"),
    (lambda x: mg.gradient(x, 1.0, 2.0), TypeError, "gradient: expected one distance or 1, for each axis one, got 2"),
    (lambda x: mg.gradient(x, [0.0, 1.0]), ValueError, r"gradient: expected 3 places along axis 0, got shape \(2,\)"),
    (lambda x: mg.gradient(x, edge_order=3), ValueError, "gradient: expected edge_order 1 or 2, got 3"),
    (lambda x: mg.gradient(x[:2], edge_order=2), ValueError, "gradient: needs more than 2 entries along axis 0"),
    (lambda x: mg.trapezoid(x, axis=1), ValueError, "axis 1 is out of bounds"),
])  # fmt: skip
def test_bad_input(call, error, message):
    for x in (np.ones(3), mg.Tensor(np.ones(3), requires_grad=True)):
        with pytest.raises(error, match=message):
            call(x)
