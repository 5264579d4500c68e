"""Convolutions: against loops, SciPy and PyTorch; dtypes, empty maps, bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal

import minigraph as mg
from minigraph.testing import check_adjoint

from . import table
from .checks import compare_with_torch, first, last, same
from .strategies import arrays, extents, fitting, paddings, pairs, sizes

X = np.ones((2, 5, 5, 3))
W = np.ones((3, 3, 3, 4))


# ---------------------------------------------------------------- values and gradients


@given(st.data(), pairs, paddings, pairs, pairs, st.integers(1, 2))
def test_conv2d(data, window, padding, stride, dilation, groups):
    size = data.draw(fitting(padding, extents(window, dilation)))
    n, c, k = data.draw(st.tuples(st.integers(0, 2), st.integers(1, 2), st.integers(1, 2)))
    x, w = data.draw(arrays((n, *size, c * groups))), data.draw(arrays((*window, c, k * groups)))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    same(mg.conv2d(x, w, **options), table.conv2d(x, w, **options))
    check_adjoint(lambda x, w: mg.conv2d(x, w, **options), x, w)


@given(st.data(), pairs, paddings, pairs, pairs, st.integers(1, 2))
def test_conv_transpose2d(data, window, padding, stride, dilation, groups):
    if padding == "same":
        least, extra = (1, 1), 0
    else:  # (n - 1) stride - pads + extent should be at least 1
        pads = table.pads_of(padding, None, None, None)
        least = [1 - (e - sum(p) - 1) // s for e, p, s in zip(extents(window, dilation), pads, stride, strict=True)]
        extra = tuple(data.draw(st.integers(0, s - 1)) for s in stride)
    size = data.draw(sizes(least))
    n, c, k = data.draw(st.tuples(st.integers(0, 2), st.integers(1, 2), st.integers(1, 2)))
    x, w = data.draw(arrays((n, *size, c * groups))), data.draw(arrays((*window, k, c * groups)))
    options = {"stride": stride, "padding": padding, "output_padding": extra, "dilation": dilation, "groups": groups}
    same(mg.conv_transpose2d(x, w, **options), table.conv_transpose2d(x, w, **options))
    check_adjoint(lambda x, w: mg.conv_transpose2d(x, w, **options), x, w)


def correlate(x, w):
    """'valid' cross-correlation of (N, H, W, C) with (kh, kw, C, K), a plane at a time."""

    def plane(n, k):
        return sum(signal.correlate2d(n[..., c], w[..., c, k], "valid") for c in range(w.shape[2]))

    return np.stack([np.stack([plane(n, k) for k in range(w.shape[3])], -1) for n in x])


def test_conv2d_against_scipy():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((3, 7, 6, 4)), rng.standard_normal((3, 2, 4, 5))  # (N, H, W, C), (kh, kw, C, K)
    y, pullback = mg.vjp(mg.conv2d, x, w)
    np.testing.assert_allclose(y, correlate(x, w), atol=1e-12)
    g = rng.standard_normal(y.shape)
    gx, gw = pullback(g)
    # gx: full convolution of g with w; gw: correlation of x with g, the batch as channels
    full = np.zeros_like(x)
    for n in range(len(x)):
        for c in range(4):
            full[n, ..., c] = sum(signal.convolve2d(g[n, ..., k], w[..., c, k], "full") for k in range(5))
    np.testing.assert_allclose(gx, full, atol=1e-12)
    as_filter = correlate(x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3))  # (C, kh, kw, K)
    np.testing.assert_allclose(gw, as_filter.transpose(1, 2, 0, 3), atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2, (2, 1)])
@pytest.mark.parametrize("padding", [0, 1, (2, 0)])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv2d_against_torch(stride, padding, dilation, groups):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 8, 9, 4))
    w = rng.standard_normal((3, 3, 4 // groups, 6))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    compare_with_torch(
        lambda x, w: mg.conv2d(x, w, **options),
        lambda torch, x, w: last(torch.nn.functional.conv2d(first(x), w.permute(3, 2, 0, 1), **options)),
        (x, w),
    )


@pytest.mark.parametrize(("stride", "extra"), [(1, 0), (2, 0), (2, 1)])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv_transpose2d_against_torch(stride, extra, groups):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 4, 5, 4))
    w = rng.standard_normal((3, 3, 6 // groups, 4))  # torch: (C, K // groups, kh, kw)
    options = {"stride": stride, "padding": 1, "output_padding": extra, "groups": groups}
    compare_with_torch(
        lambda x, w: mg.conv_transpose2d(x, w, **options),
        lambda torch, x, w: last(
            torch.nn.functional.conv_transpose2d(first(x), w.permute(3, 2, 0, 1), **options)
        ),
        (x, w),
    )


@pytest.mark.parametrize("algorithm", [None, "im2col", "winograd"])
def test_a_convolution_of_padding_alone(algorithm):
    y, pullback = mg.vjp(lambda x, w, b: mg.conv2d(x, w, b, padding=2, algorithm=algorithm),
                         np.ones((1, 0, 8, 8)), np.ones((3, 3, 8, 8)), np.arange(8.0))  # fmt: skip
    np.testing.assert_array_equal(y, np.broadcast_to(np.arange(8.0), (1, 2, 10, 8)))
    gx, gw, gb = pullback(np.ones_like(y))
    assert gx.shape == (1, 0, 8, 8) and not gw.any()
    np.testing.assert_array_equal(gb, np.full(8, 20.0))


# ---------------------------------------------------------------- dtypes and bad input


def test_lists_are_arrays():
    assert mg.conv2d(X.tolist(), W.tolist()).shape == (2, 3, 3, 4)


def test_a_list_of_weights_has_the_dtype_of_x_and_an_array_keeps_its_own():
    x, w = np.ones((1, 4, 4, 2), np.float32), np.ones((3, 3, 2, 3), np.float32)
    assert mg.conv2d(x, w, [0.5, 0.0, 1.0]).dtype == np.float32
    assert mg.conv2d(x, w, np.zeros(3)).dtype == np.float64


def test_the_wider_dtype_of_a_convolution_wins_and_gradients_keep_their_own():
    x = X.astype(np.float32)
    y, pullback = mg.vjp(mg.conv2d, x, W)
    assert y.dtype == np.float64
    assert [g.dtype for g in pullback(y)] == [np.float32, np.float64]


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: mg.conv2d(X, np.ones((3, 3, 4, 8))), ValueError, r"x has 3 channels .* w expects 4 \(w is HWIO: \(3"),
    (lambda: mg.conv2d(X, W.astype(int)), ValueError, "conv2d: w should be floating"),
    (lambda: mg.conv2d(X, W, np.ones(3)), ValueError, r"conv2d: b should have shape \(4,\), .* got \(3,\)"),
    (lambda: mg.conv2d(X, W, np.ones((1, 4))), ValueError, r"conv2d: b should have shape \(4,\), .* got \(1, 4\)"),
    (lambda: mg.conv2d(X, W, np.ones(4, int)), ValueError, "conv2d: b should be floating, got int64"),
    (lambda: mg.conv2d(X, W[0]), ValueError, r"conv2d: w should have axes \(kh, kw"),
    (lambda: mg.conv2d(X, W[..., :0]), ValueError, r"conv2d: w should have axes \(kh, kw"),
    (lambda: mg.conv2d(X, W, groups=2), ValueError, "conv2d: x has 3 channels"),
    (lambda: mg.conv2d(X, W, algorithm="fft"), ValueError, "algorithm"),
    (lambda: mg.conv2d(X, W, stride=2, algorithm="winograd"), ValueError, "algorithm='winograd'"),
    (lambda: mg.conv_transpose2d(X, W), ValueError, "conv_transpose2d: x has 3 channels .* w expects 4"),
    (lambda: mg.conv_transpose2d(X, W.swapaxes(2, 3), stride=2, padding="same", output_padding=1), ValueError,
     r"conv_transpose2d: padding 'same' sets the output size, output_padding \(1, 1\)"),
])  # fmt: skip
def test_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call()
