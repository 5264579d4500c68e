"""Sequences: NumPy's transforms for every length, adjoints, theorems, and PyTorch beside minigraph."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigraph as mg
from minigraph import Tensor
from minigraph.testing import check_adjoint, check_vjp

from .checks import compare_with_torch, gradient, same
from .strategies import arrays

X = np.random.default_rng(0).standard_normal((3, 8))
NORMS = st.sampled_from([None, "backward", "ortho", "forward"])


@given(st.data(), st.integers(1, 7), st.none() | st.integers(1, 9), st.sampled_from([0, 1, -1]), NORMS)
def test_rfft(data, length, n, axis, norm):
    x = data.draw(arrays((length, length)))
    expected = np.fft.rfft(x, n, axis, norm)
    re, im = mg.rfft(x, n, axis, norm)
    same(re, expected.real)
    same(im, expected.imag)
    check_adjoint(lambda x: mg.rfft(x, n, axis, norm), x)


@given(st.data(), st.integers(2, 5), st.none() | st.integers(1, 9), st.sampled_from([0, 1, -1]), NORMS)
def test_irfft(data, length, n, axis, norm):
    re, im = (data.draw(arrays((length, length))) for _ in range(2))
    same(mg.irfft(re, im, n, axis, norm), np.fft.irfft(re + 1j * im, n, axis, norm))
    check_adjoint(lambda *parts: mg.irfft(*parts, n, axis, norm), re, im)


@pytest.mark.parametrize("n", [7, 8])
def test_there_and_back(n):
    """The identity, and so is its gradient; a spectrum's power is that of the sequence (Parseval)."""
    x = X[:, :n]
    np.testing.assert_allclose(mg.irfft(*mg.rfft(x), n), x, atol=1e-14)
    np.testing.assert_allclose(mg.jacobian(lambda x: mg.irfft(*mg.rfft(x), n))(x[0]), np.eye(n), atol=1e-14)
    weights = np.where((np.arange(n // 2 + 1) == 0) | (2 * np.arange(n // 2 + 1) == n), 1, 2) / n
    re, im = mg.rfft(x)
    np.testing.assert_allclose(((re**2 + im**2) * weights).sum(-1), (x * x).sum(-1))


def test_a_convolution_is_a_product_of_spectra():
    a, v = X[0], X[1, :3]
    n = len(a) + len(v) - 1

    def through_spectra(a, v):
        (p, q), (r, s) = mg.rfft(a, n), mg.rfft(v, n)
        return mg.irfft(p * r - q * s, p * s + q * r, n)

    np.testing.assert_allclose(through_spectra(a, v), mg.convolve(a, v), atol=1e-13)
    for f in (through_spectra, mg.convolve):
        grads = mg.grad(lambda a, v, f=f: (f(a, v) * np.cos(np.arange(n))).sum(), (0, 1))(a, v)
        np.testing.assert_allclose(grads[1], np.correlate(np.cos(np.arange(n)), a), atol=1e-13)


@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
def test_spectra_beside_torch(norm):
    compare_with_torch(
        lambda x: mg.stack(mg.rfft(x, norm=norm), -1),
        lambda torch, x: torch.view_as_real(torch.fft.rfft(x, norm=norm)), (X,),
    )  # fmt: skip
    compare_with_torch(
        lambda re, im: mg.irfft(re, im, 13, norm=norm),
        lambda torch, re, im: torch.fft.irfft(torch.complex(re, im), 13, norm=norm), (X[:, :7], X[:, 1:]),
    )  # fmt: skip


@given(st.data(), st.integers(1, 6), st.integers(1, 6), st.sampled_from(["full", "same", "valid"]))
def test_convolve_and_correlate(data, n, m, mode):
    a, v = data.draw(arrays((n,))), data.draw(arrays((m,)))
    same(mg.convolve(a, v, mode), np.convolve(a, v, mode))
    same(mg.correlate(a, v, mode), np.correlate(a, v, mode))
    check_adjoint(lambda a, v: mg.convolve(a, v, mode), a, v)


def test_integers_are_convolved_as_numbers():
    assert np.convolve([1, 2], Tensor([1.0, 1.0])).data.tolist() == [1, 3, 2]
    assert mg.convolve(np.array([1, 2], np.float32), np.array([1, 1])).dtype == np.float32


# ---------------------------------------------------------------- interpolation


def test_interpolation_and_its_three_gradients():
    x, xp, fp = np.array([-1.0, 0.25, 1.5, 9.0]), np.array([0.0, 1.0, 2.0]), np.array([5.0, 7.0, 4.0])
    same(mg.interp(x, xp, fp), np.interp(x, xp, fp))
    of_x, of_xp, of_fp = gradient(mg.interp, x, xp, fp)
    assert of_x == [0, 2, -3, 0]  # the slopes; beyond the points there is none
    assert of_fp == [1.75, 0.75, 1.5]
    assert of_xp == [-1.5, -0.5 + 1.5, 1.5]  # a point that moves to the right takes its value along
    check_vjp(mg.interp, x, xp, fp)


def test_the_slope_at_a_point_is_that_to_the_right():
    fp = np.array([5.0, 7.0, 4.0])
    assert gradient(lambda x: mg.interp(x, np.arange(3.0), fp), [0.0, 1.0, 2.0])[0] == [2, -3, -3]


def test_what_is_beyond_the_points():
    t = Tensor([-1.0, 3.0], requires_grad=True)
    y = np.interp(t, np.arange(3.0), np.ones(3), left=-2.0, right=8.0)
    assert y.data.tolist() == [-2, 8]
    y.sum().backward()
    assert t.grad.data.tolist() == [0, 0]


def test_points_that_repeat():
    """Two points at 1 and 4 of a period of 4: the line falls for 3 and rises for 1."""
    x, xp, fp = np.array([0.5, 2.5, -1.5, 9.0]), np.array([1.0, 4.0]), np.array([3.0, 0.0])
    same(mg.interp(x, xp, fp, period=4), np.interp(x, xp, fp, period=4))
    of_x, _, of_fp = gradient(lambda *a: mg.interp(*a, period=4), x, xp, fp)
    assert of_x == [3, -1, -1, -1] and sum(of_fp) == 4
    check_vjp(lambda *a: mg.interp(*a[:3], period=a[3]), x[:3], xp[:1] * [1, 2.9], fp, np.array(4.0))


@pytest.mark.parametrize("n", [4, 5])
def test_a_shift_and_its_inverse(n):
    shifted = mg.fftshift(np.fft.fftfreq(n))
    assert (np.diff(shifted) > 0).all()
    same(mg.ifftshift(shifted), np.fft.fftfreq(n))
    same(mg.fftshift(np.arange(n), axes=[0, 0]), np.fft.fftshift(np.arange(n), axes=[0, 0]))


@pytest.mark.parametrize(("call", "message"), [
    (lambda: mg.rfft(X, axis=2), r"rfft: axis 2 is out of range for an array of shape \(3, 8\)"),
    (lambda: mg.rfft(np.ones((2, 0))), "rfft: n should be an int of at least 1, got 0"),
    (lambda: mg.rfft(X, 2.0), "n should be an int of at least 1, got 2.0"),
    (lambda: mg.irfft(X, X, norm="none"), "irfft: norm should be 'backward', 'ortho' or 'forward', got 'none'"),
    (lambda: mg.irfft(X, X[:2]), r"the real part has the shape \(3, 8\), the imaginary part \(2, 8\)"),
    (lambda: mg.irfft(X[:, :1], X[:, :1]), "irfft: n should be an int of at least 1, got 0"),
    (lambda: mg.convolve(X, X[0]), r"convolve: expected two sequences \(n,\) of at least one entry, got"),
    (lambda: mg.correlate(X[0], np.ones(0)), r"correlate: expected two sequences .* got \(8,\) and \(0,\)"),
    (lambda: mg.correlate(X[0], X[1], "most"), "mode should be 'full', 'same' or 'valid', got 'most'"),
    (lambda: mg.interp(0.5, [0.0, 0.0], [1.0, 2.0]), "interp: the points xp should rise"),
    (lambda: mg.interp(0.5, [0.0, 2.0], [1.0, 2.0], period=2), "xp should differ by more than multiples of the period"),
    (lambda: mg.interp(0.5, [0.0, 1.0], [1.0, 2.0], period=0), "interp: period should be a number other than 0, got 0"),
    (lambda: mg.fftshift(X, 2), "axis 2 is out of bounds"),
    (lambda: mg.interp(0.5, [0.0, 1.0], [1.0]), r"xp and fp should be \(n,\) .* got \(2,\) and \(1,\)"),
])  # fmt: skip
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_numpys_own_transform_says_why_not():
    with pytest.raises(TypeError, match=r"np\.fft\.rfft is not defined on Tensors .*mg\.rfft"):
        np.fft.rfft(Tensor(X, requires_grad=True))
