"""What the tests of several families share: gradients as lists, kinks, dtypes, and PyTorch beside minigraph."""

import numpy as np
import pytest

import minigraph as mg
from minigraph.testing import KinkError, check_vjp


def gradient(f, *args):
    """The gradients of the sum of f in each argument, as lists."""
    tensors = [mg.Tensor(np.asarray(a, float), requires_grad=True) for a in args]
    mg.sum(f(*tensors)).backward()
    return [t.grad.data.tolist() for t in tensors]


def check_at_a_kink(f, x, expected):
    """The gradient of the sum of f at x is what the docstring promises there, and a subgradient."""
    assert gradient(f, x) == [expected]
    with pytest.raises(KinkError) as caught:  # it is one, and the convention is a subgradient
        check_vjp(f, np.asarray(x), order=1)
    assert caught.value.inside


def same(got, expected):
    """Shapes are equal, and values but for rounding in float64."""
    got = got.data if isinstance(got, mg.Tensor) else got
    assert got.shape == np.shape(expected)
    np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-11)


def check_dtypes(op, a, b):
    """The result's dtype is NumPy's, and each input's gradient has that input's dtype."""
    x, y = mg.Tensor(a, requires_grad=True), mg.Tensor(b, requires_grad=True)
    out = op(x, y)
    out.sum().backward()
    assert out.dtype == np.result_type(a.dtype, b.dtype)
    assert (x.grad.dtype, y.grad.dtype) == (a.dtype, b.dtype)


MANY = np.random.default_rng(0).normal(40, 20, 70_000).astype(np.float16)  # float16 counts to 65,504


def check_float16(f, x):
    """The value and the gradient in float16 are those of float64, to the digits that float16 has."""
    x = x.astype(np.float16)
    (y, g), (want, want_g) = mg.value_and_grad(f)(x), mg.value_and_grad(f)(x.astype(np.float64))
    assert y.dtype == g.dtype == np.float16
    np.testing.assert_allclose(y, want, rtol=3e-3, atol=1e-2)
    np.testing.assert_allclose(g, want_g, rtol=1e-2, atol=2e-3 * abs(want_g).max() + 1e-7)


def compare_with_torch(ours, theirs, args):
    """Both sides' values and gradients; `theirs` takes and returns torch tensors, channels first where x is 4-D."""
    torch = pytest.importorskip("torch")
    y, pullback = mg.vjp(ours, *args)
    g = np.random.default_rng(1).standard_normal(y.shape)
    grads = pullback(g)
    leaves = [torch.tensor(a, requires_grad=True) for a in args]
    out = theirs(torch, *leaves)
    out.backward(torch.tensor(g))
    np.testing.assert_allclose(y, out.detach().numpy(), rtol=1e-10, atol=1e-10)
    for grad, leaf in zip(grads, leaves, strict=True):
        np.testing.assert_allclose(grad, leaf.grad.numpy(), rtol=1e-9, atol=1e-9)


def first(x):
    """(N, H, W, C) -> (N, C, H, W)"""
    return x.permute(0, 3, 1, 2)


def last(x):
    """(N, C, H, W) -> (N, H, W, C)"""
    return x.permute(0, 2, 3, 1)
