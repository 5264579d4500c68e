import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigraph.kernels import norm

dtypes = st.sampled_from([np.float32, np.float64])
seeds = st.integers(0, 2**32 - 1)
shapes = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)


def draw_array(seed, shape, dtype, contiguous=True, offset=0.0):
    a = np.random.default_rng(seed).normal(offset, size=(*shape[:-1], 2 * shape[-1])).astype(dtype)
    return np.ascontiguousarray(a[..., ::2]) if contiguous else a[..., ::2]


def rows(x):
    return x.reshape(-1, x.shape[-1]).astype(np.float64)


def normalise(x, mean, inv_std, scale, bias):
    y = (x - mean) * inv_std
    y = y if scale is None else y * scale
    return y if bias is None else y + bias


@given(shapes, dtypes, seeds, st.booleans(), st.sampled_from([0.0, 3.0, 50.0]))
def test_batch_stats(shape, dtype, seed, contiguous, offset):
    x = draw_array(seed, shape, dtype, contiguous, offset)
    before = x.copy()
    mean, var = norm.batch_stats(x)
    eps = np.finfo(dtype).eps
    assert mean.dtype == var.dtype == dtype and mean.shape == var.shape == shape[-1:]
    np.testing.assert_allclose(mean, rows(x).mean(0), rtol=0, atol=8 * eps * (1 + offset))
    # relative to the variance, or, where rows are few and the variance tiny, to the rounding of x about its mean
    np.testing.assert_allclose(var, rows(x).var(0), rtol=100 * eps, atol=(8 * eps * (1 + offset)) ** 2)
    assert (var >= 0).all()
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("offset", [0, 1, 3.9, 4.1, 30, 1e3, -1e3])
def test_variance_in_float32_survives_a_large_mean(offset):
    x = draw_array(0, (16, 15, 15, 24), np.float32, offset=offset)
    x[..., 0] -= np.float32(offset)  # one channel that needs no care beside those that do
    mean, var = norm.batch_stats(x)
    exact = rows(x)
    np.testing.assert_allclose(mean, exact.mean(0), atol=1e-6 * (1 + abs(offset)))
    np.testing.assert_allclose(var, exact.var(0), rtol=4e-6)


def test_stats_of_a_constant_and_of_nan():
    x = np.full((4, 3, 2), 7.3, np.float32)
    x[0, 0, 1] = np.nan
    mean, var = norm.batch_stats(x)
    np.testing.assert_allclose(mean, [7.3, np.nan], rtol=1e-6)
    assert 0 <= var[0] < 1e-12 and np.isnan(var[1])


@given(shapes, dtypes, seeds, st.booleans(), st.booleans(), st.booleans())
def test_batch_norm(shape, dtype, seed, contiguous, scaled, biased):
    x = draw_array(seed, shape, dtype, contiguous)
    mean, inv_std, scale, bias = draw_array(seed + 1, (4, *shape[-1:]), dtype)
    scale, bias = scale if scaled else None, bias if biased else None
    before = x.copy()
    y = norm.batch_norm(x, mean, inv_std, scale, bias)
    assert y.dtype == dtype and y.shape == shape
    np.testing.assert_allclose(y, normalise(x, mean, inv_std, scale, bias), atol=1e-4 if dtype == np.float32 else 1e-12)
    np.testing.assert_array_equal(x, before)


@given(shapes, dtypes, seeds, st.booleans(), st.booleans())
def test_batch_norm_grad_is_the_formula(shape, dtype, seed, contiguous, scaled):
    x, g = (draw_array(seed + i, shape, dtype, contiguous) for i in range(2))
    scale = draw_array(seed + 2, shape[-1:], dtype) if scaled else None
    mean, var = norm.batch_stats(x)
    inv_std = (1 / np.sqrt(var + 1e-2)).astype(dtype)
    before = g.copy()
    gx, g_scale, g_bias = norm.batch_norm_grad(g, x, mean, inv_std, scale)

    h = (rows(x) - mean) * inv_std
    a = inv_std if scale is None else inv_std * scale
    expected = a * (rows(g) - rows(g).mean(0) - h * (rows(g) * h).mean(0))
    assert gx.dtype == g_scale.dtype == g_bias.dtype == dtype
    assert gx.shape == shape and g_scale.shape == g_bias.shape == shape[-1:]
    tolerance = 2e-3 if dtype == np.float32 else 1e-11
    np.testing.assert_allclose(gx, expected.reshape(shape), atol=tolerance)
    np.testing.assert_allclose(g_scale, (rows(g) * h).sum(0), atol=tolerance)
    np.testing.assert_allclose(g_bias, rows(g).sum(0), atol=tolerance)
    np.testing.assert_array_equal(g, before)


def test_batch_norm_grad_is_the_slope_through_the_statistics():
    x = draw_array(0, (3, 4, 2, 5), np.float64, offset=2)
    g, direction = draw_array(1, (2, *x.shape), np.float64)
    scale, bias = draw_array(2, (2, 5), np.float64)

    def loss(x, scale, bias):
        mean, var = norm.batch_stats(x)
        return np.vdot(g, norm.batch_norm(x, mean, 1 / np.sqrt(var + 0.1), scale, bias))

    mean, var = norm.batch_stats(x)
    gx, g_scale, g_bias = norm.batch_norm_grad(g, x, mean, 1 / np.sqrt(var + 0.1), scale)
    h = 1e-5
    slope = (loss(x + h * direction, scale, bias) - loss(x - h * direction, scale, bias)) / (2 * h)
    np.testing.assert_allclose(np.vdot(gx, direction), slope, rtol=1e-8)
    for k in range(5):
        e = h * np.eye(5)[k]
        slope = (loss(x, scale + e, bias) - loss(x, scale - e, bias)) / (2 * h)
        np.testing.assert_allclose(g_scale[k], slope, rtol=1e-7, atol=1e-8)
        slope = (loss(x, scale, bias + e) - loss(x, scale, bias - e)) / (2 * h)
        np.testing.assert_allclose(g_bias[k], slope, rtol=1e-7, atol=1e-8)


def test_gradient_in_float32_with_a_mean_far_from_zero():
    x = draw_array(0, (16, 9, 9, 24), np.float32, offset=20)
    g = draw_array(1, x.shape, np.float32)
    mean, var = norm.batch_stats(x)
    gx, g_scale, _ = norm.batch_norm_grad(g, x, mean, 1 / np.sqrt(var), None)
    x, g = rows(x), rows(g)
    h = (x - x.mean(0)) / x.std(0)
    expected = (g - g.mean(0) - h * (g * h).mean(0)) / x.std(0)
    np.testing.assert_allclose(rows(gx), expected, atol=3e-5)
    np.testing.assert_allclose(g_scale, (g * h).sum(0), atol=1e-6 * np.abs(g).sum(0).max())


@pytest.mark.parametrize("offset", [3, 100, 1e4, 1e6, -1e6])
@pytest.mark.parametrize("channels", [4, 24])
def test_a_mean_far_from_zero_costs_no_digits(offset, channels):
    """Not those of the values, of the statistics or of the gradient. A mean that is rounded to float32 is no mean."""
    x, g = (draw_array(i, (64, channels), np.float32, offset=offset * (i == 0)) for i in range(2))
    x[:, 0] -= np.float32(offset)
    mean, var = norm.batch_stats(x)
    inv_std = 1 / np.sqrt(var)
    exact = rows(x)
    h = (exact - exact.mean(0)) / exact.std(0)
    np.testing.assert_allclose(var, exact.var(0), rtol=4e-6)
    np.testing.assert_allclose(norm.batch_norm(x, mean, inv_std, None, None), h, atol=4e-6)
    gx, *_ = norm.batch_norm_grad(g, x, mean, inv_std, None)
    np.testing.assert_allclose(gx, (g - g.mean(0) - h * (g * h).mean(0)) / exact.std(0), atol=4e-6)
    other = np.full(channels, offset, np.float32)  # another mean than that of x
    rounding = 4e-6 + 2e-7 * abs(offset)
    y = norm.batch_norm(x, other, inv_std, None, None)
    np.testing.assert_allclose(y, (exact - offset) * inv_std, 1e-6, rounding)

    x = draw_array(0, (64, channels), np.float32, offset=offset)
    exact = rows(x)
    h = (exact - exact.mean(1, keepdims=True)) / np.sqrt(exact.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(norm.layer_norm(x, 1e-5), h, atol=4e-6)


@pytest.mark.parametrize("value", [100.1, 1e6 + 0.1, 1e10])
def test_channels_of_one_number_become_zero(value):
    x = np.full((50, 4), value, np.float32)
    mean, var = norm.batch_stats(x)
    np.testing.assert_array_equal(norm.batch_norm(x, mean, 1 / np.sqrt(var + np.float32(1e-5)), None, None), 0)
    np.testing.assert_array_equal(norm.layer_norm(x, 1e-5), 0)


def test_more_rows_than_a_block(monkeypatch):
    x, g = draw_array(0, (2, 4, 5, 6, 3), np.float64, offset=10)
    mean, var = norm.batch_stats(x)
    whole = mean, var, norm.batch_norm(x, mean, var, None, None), *norm.batch_norm_grad(g, x, mean, var, None)
    monkeypatch.setattr(norm, "BLOCK_BYTES", 100)
    monkeypatch.setattr(norm, "WIDE", 4)
    parts = (
        *norm.batch_stats(x),
        norm.batch_norm(x, mean, var, None, None),
        *norm.batch_norm_grad(g, x, mean, var, None),
    )
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_a_prime_number_of_rows(monkeypatch):
    monkeypatch.setattr(norm, "SUM_ROWS", 8)
    x, g = draw_array(0, (2, 10007, 3), np.float32)
    exact, exact_g = x.astype(np.float64), g.astype(np.float64)
    mean, var = norm.batch_stats(x)
    np.testing.assert_allclose(mean, exact.mean(0), atol=1e-6)
    np.testing.assert_allclose(var, exact.var(0), rtol=1e-6)
    inv_std = 1 / np.sqrt(exact.var(0))
    h = (exact - exact.mean(0)) * inv_std
    np.testing.assert_allclose(norm.batch_norm(x, mean, inv_std.astype(x.dtype), None, None), h, atol=1e-5)
    gx, g_scale, g_bias = norm.batch_norm_grad(g, x, mean, inv_std.astype(x.dtype), None)
    np.testing.assert_allclose(g_bias, exact_g.sum(0), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(g_scale, (exact_g * h).sum(0), rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(gx, inv_std * (exact_g - exact_g.mean(0) - h * (exact_g * h).mean(0)), atol=1e-5)


@given(shapes, dtypes, seeds, st.booleans())
def test_layer_norm(shape, dtype, seed, contiguous):
    x = draw_array(seed, shape, dtype, contiguous, offset=5)
    before = x.copy()
    y = norm.layer_norm(x, 1e-3)
    exact = x.astype(np.float64)
    expected = (exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + 1e-3)
    assert y.dtype == dtype and y.shape == shape
    np.testing.assert_allclose(y, expected, atol=1e-4 if dtype == np.float32 else 1e-12)
    np.testing.assert_array_equal(x, before)
