import math

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigraph.kernels import special

FUNCTIONS = {
    "sigmoid": special.sigmoid,
    "silu": lambda x: special.silu(x)[0],
    "silu_grad": lambda x: special.silu_grad(np.ones_like(x), *special.silu(x)),
    "softplus": special.softplus,
    "gelu": special.gelu,
    "gelu_tanh": lambda x: special.gelu(x, approximate=True),
    "erf": special.erf,
}
GRID = np.concatenate([np.linspace(-40, 40, 4001), np.linspace(-1, 1, 1001)])
LARGE = {np.float32: 3e38, np.float64: 1.7e308}


def slope_of_silu(x):
    s = scipy.special.expit(x)
    return s + x * s * (1 - s)


REFERENCES = {
    "sigmoid": scipy.special.expit,
    "silu": lambda x: x * scipy.special.expit(x),
    "silu_grad": slope_of_silu,
    "softplus": lambda x: np.logaddexp(0, x),
    "gelu": lambda x: x * scipy.special.ndtr(x),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "erf": scipy.special.erf,
}


@pytest.fixture(scope="module", params=[True, False], ids=["avx512", "other"], autouse=True)
def machine(request):
    """silu has a way for machines with AVX-512 and one for others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(special, "avx512", lambda: request.param)
        yield


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_value(name, dtype):
    x = GRID.astype(dtype)
    before = x.copy()
    y = FUNCTIONS[name](x)
    expected = REFERENCES[name](x.astype(np.float64))
    assert y.dtype == dtype
    error = np.abs(y - expected) / np.maximum(1, np.abs(x))
    assert error.max() <= 2 * np.finfo(dtype).eps
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_extreme_finite_values_give_the_limits_without_a_warning(name, dtype):
    tiny = np.finfo(dtype).tiny
    x = np.array([-1, -1e-2, -1e-20, -tiny, -0.0, 0.0, tiny, 1e-20, 1e-2, 1], dtype) * LARGE[dtype]
    x = np.concatenate([x, np.array([-1000, -100, 100, 1000, -tiny, tiny], dtype)])
    y = FUNCTIONS[name](x)
    assert np.isfinite(y).all()
    left, right = x < -50, x > 50
    limit = {"sigmoid": 1, "silu_grad": 1, "erf": 1}.get(name, x[right])
    np.testing.assert_array_equal(y[right], limit)
    assert np.abs(y[left] - (-1 if name == "erf" else 0)).max() < 1e-20


@pytest.mark.parametrize("name", FUNCTIONS)
@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        elements=st.floats(-8, 8, width=32),
    )
)
def test_any_shape_and_layout(name, x):
    f = FUNCTIONS[name]
    expected = np.array([f(np.array([v]))[0] for v in x.ravel()], x.dtype).reshape(x.shape)
    for a, e in ((x, expected), (x.T, expected.T), (x[..., ::-1], expected[..., ::-1])) if x.ndim else ((x, expected),):
        y = f(a)
        assert type(y) is np.ndarray and y.dtype == x.dtype and y.shape == a.shape
        # not bit for bit: a vectorised exp may round the last entries of an array in another way
        np.testing.assert_allclose(y, e, rtol=4 * np.finfo(x.dtype).eps, atol=1e-6 if x.dtype == np.float32 else 1e-14)


def test_arrays_longer_than_a_chunk():
    x = np.linspace(-5, 5, 3 * special.CHUNK_BYTES // 8 + 5)
    np.testing.assert_allclose(special.sigmoid(x), scipy.special.expit(x), rtol=1e-15)
    np.testing.assert_allclose(special.erf(x), scipy.special.erf(x), rtol=1e-15)


def test_erf_accuracy():
    x = np.concatenate([np.linspace(-7, 7, 100_001), np.geomspace(1e-300, 1, 2001)])
    exact = np.array([math.erf(v) for v in x])
    error = np.abs(special.erf(x) - exact)
    assert error.max() <= 4e-16
    assert (error <= 1e-15 * np.abs(exact)).all()

    x = x[np.abs(x) > 1e-30].astype(np.float32)
    exact = np.array([math.erf(v) for v in x])
    error = np.abs(special.erf(x) - exact)
    assert error.max() <= 1e-7
    assert (error <= 2.5e-7 * np.abs(exact)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_erf_at_infinities_nan_and_signed_zeros(dtype):
    y = special.erf(np.array([np.inf, -np.inf, np.nan, 0.0, -0.0], dtype))
    np.testing.assert_array_equal(y, [1, -1, np.nan, 0, 0])
    np.testing.assert_array_equal(np.signbit(y[3:]), [False, True])


def test_erf_is_odd_and_reaches_one():
    x = np.linspace(0, 10, 1001)
    y = special.erf(x)
    np.testing.assert_array_equal(special.erf(-x), -y)
    assert (np.diff(y) >= -2e-16).all() and (y[x >= 6] == 1).all() and y.max() == 1


def test_sigmoid_and_softplus_keep_relative_accuracy_far_to_the_left():
    x = np.linspace(-700, 0, 1001)
    np.testing.assert_allclose(special.sigmoid(x), scipy.special.expit(x), rtol=1e-15)
    np.testing.assert_allclose(special.softplus(x[x < -40]), np.exp(x[x < -40]), rtol=1e-14)


def test_silu_grad_is_the_slope_times_g():
    x, g = np.random.default_rng(0).normal(size=(2, 50))
    h = 1e-5
    slope = (special.silu(x + h)[0] - special.silu(x - h)[0]) / (2 * h)
    np.testing.assert_allclose(special.silu_grad(g, *special.silu(x)), g * slope, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_a_gate_that_is_shut_gives_zero_whatever_comes(shape, dtype):
    for entry in (2.0, -np.inf, np.nan):
        x = np.full(shape, entry, dtype)
        for opened in (True, False):
            y = special.gate(x, np.full(shape, opened))
            np.testing.assert_array_equal(y, x if opened else np.zeros(shape, dtype), strict=True)
