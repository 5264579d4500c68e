"""Activations: against PyTorch, and relu in place."""

import numpy as np
import pytest

import minigraph as mg

from .checks import compare_with_torch


@pytest.mark.parametrize("name", ["gelu", "silu", "softplus", "elu", "leaky_relu"])
def test_activations_against_torch(name):
    rng = np.random.default_rng(0)
    compare_with_torch(
        getattr(mg, name),
        lambda torch, x: getattr(torch.nn.functional, name)(x),
        (3 * rng.standard_normal((4, 5)),),
    )


def test_lists_are_arrays():
    assert mg.leaky_relu([-1.0]) == -0.01 and mg.elu([2.0]) == 2.0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_relu_of_large_arrays_too(dtype):
    """Which go another way: values, NaN and infinities, the gradient, and x as it was."""
    x = np.random.default_rng(0).standard_normal((300, 400)).astype(dtype)
    x[0, :5] = [np.nan, -np.nan, np.inf, -np.inf, 0]
    for a in (x, x.T, x[::-2, ::3], x[:2, :3]):
        before = a.copy()
        y, pullback = mg.vjp(mg.relu, a)
        np.testing.assert_array_equal(y, np.maximum(a, 0))
        np.testing.assert_array_equal(pullback(np.ones_like(a))[0], a > 0)
        np.testing.assert_array_equal(a, before)
        assert y.dtype == dtype


@pytest.mark.parametrize("n", [6, 100_000])
def test_relu_in_place(n):
    data = np.linspace(-1.0, 1.0, n)
    x = mg.Tensor(data, requires_grad=True)
    h = x * 2.0
    array = h.data
    with pytest.raises(ValueError, match="another reference"):
        mg.relu(h, inplace=True)
    del array
    y = mg.relu(h, inplace=True)
    assert y is h  # what is computed from either has the gradient of the result
    (y * 3.0 + h).sum().backward()
    np.testing.assert_array_equal(y.data, np.maximum(data * 2, 0))
    np.testing.assert_array_equal(x.grad.data, 8.0 * (data > 0))
    np.testing.assert_array_equal(data, np.linspace(-1.0, 1.0, n))
    array = np.linspace(-1.0, 1.0, n, dtype=np.float32)
    assert mg.relu(array, inplace=True) is array and array.min() == 0 and array.dtype == np.float32


def test_relu_in_place_of_what_is_needed():
    x = mg.Tensor([-1.0, 2.0], requires_grad=True)
    with pytest.raises(TypeError, match="a leaf"):
        mg.relu(x, inplace=True)
    with pytest.raises(TypeError, match="list"):
        mg.relu([-1.0, 2.0], inplace=True)
    with pytest.raises(ValueError, match="value of tanh"):
        mg.relu(mg.tanh(x), inplace=True)
    h = mg.transpose(mg.Tensor(np.ones((2, 3)), requires_grad=True)) * 2.0
    with pytest.raises(ValueError, match="a contiguous array"):
        mg.relu(h, inplace=True)
    h = x * 2.0
    square = h * h
    with pytest.raises(ValueError, match="another reference"):
        mg.relu(h, inplace=True)
    square.sum().backward()
    np.testing.assert_array_equal(x.grad.data, [-8.0, 16.0])
    h = x * 2.0
    view = h.reshape(1, 2)
    with pytest.raises(ValueError, match="another reference"):
        mg.relu(h, inplace=True)
    with pytest.raises(ValueError, match="another reference"):
        mg.relu(view, inplace=True)
