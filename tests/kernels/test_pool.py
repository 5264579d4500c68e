import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigraph.kernels import pool

NO_PADDING = ((0, 0), (0, 0))


@st.composite
def problems(draw):
    """(shape, window, stride, padding): any window that fits the padded map, zero-size batches and channels too."""
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    window, stride = draw(pair), draw(pair)
    padding = tuple((draw(st.integers(0, k - 1)), draw(st.integers(0, k - 1))) for k in window)
    size = [draw(st.integers(max(1, k - sum(p)), 7)) for k, p in zip(window, padding, strict=True)]
    return (draw(st.integers(0, 3)), *size, draw(st.integers(0, 3))), window, stride, padding


dtypes = st.sampled_from([np.float32, np.float64])
seeds = st.integers(0, 2**32 - 1)


def windows(shape, window, stride, padding):
    """((n, p, q, c), [places]) for each output: the window's places in the map, row-major, None in the padding."""
    n, h, w, c = shape
    (top, bottom), (left, right) = padding
    for p in range((h + top + bottom - window[0]) // stride[0] + 1):
        for q in range((w + left + right - window[1]) // stride[1] + 1):
            rows = [p * stride[0] - top + i for i in range(window[0])]
            columns = [q * stride[1] - left + j for j in range(window[1])]
            inside = [(r, s) if 0 <= r < h and 0 <= s < w else None for r in rows for s in columns]
            for b in range(n):
                for ch in range(c):
                    places = [None if at is None else (b, *at, ch) for at in inside]
                    yield (b, p, q, ch), places


def draw_array(seed, shape, dtype, *, levels=None, contiguous=True):
    """Normal numbers, or integers below `levels` (full of ties); every other row of another if not contiguous."""
    rng = np.random.default_rng(seed)
    if not contiguous:
        shape = (shape[0], 2 * shape[1], *shape[2:])
    a = rng.normal(size=shape) if levels is None else rng.integers(0, levels, shape)
    return a.astype(dtype)[:, :: 1 if contiguous else 2]


def check(array, shape, dtype):
    assert array.shape == shape and array.dtype == dtype


@given(problems(), dtypes, seeds, st.sampled_from([None, 3]), st.booleans())
def test_max_pool_and_its_gradient_are_the_naive_loops(problem, dtype, seed, levels, contiguous):
    shape, *geometry = problem
    x = draw_array(seed, shape, dtype, levels=levels, contiguous=contiguous)
    before = x.copy()
    y, index = pool.max_pool(x, *geometry, indexed=True)
    g = draw_array(seed + 1, y.shape, dtype)
    gx = pool.max_pool_scatter(g, index, shape[1:3], *geometry)
    gathered = pool.max_pool_gather(x, index, *geometry)

    expected_y, expected_index = np.empty(y.shape, dtype), np.empty(y.shape, int)
    expected_gx = np.zeros(shape)
    for out, places in windows(shape, *geometry):
        values = [-np.inf if p is None else x[p] for p in places]
        first = int(np.argmax(values))
        expected_y[out], expected_index[out] = values[first], first
        expected_gx[places[first]] += g[out]
    check(y, expected_y.shape, dtype)
    check(gx, shape, dtype)
    check(gathered, y.shape, dtype)
    np.testing.assert_array_equal(y, expected_y)
    np.testing.assert_array_equal(index, expected_index)
    np.testing.assert_array_equal(gathered, y)
    np.testing.assert_allclose(gx, expected_gx, rtol=1e-5 if dtype == np.float32 else 1e-13, atol=0)
    np.testing.assert_array_equal(x, before)


@given(problems(), dtypes, seeds, st.booleans())
def test_avg_pool_is_the_naive_loop_and_counts_padding(problem, dtype, seed, contiguous):
    shape, *geometry = problem
    x = draw_array(seed, shape, dtype, contiguous=contiguous)
    y = pool.avg_pool(x, *geometry)
    expected = np.empty(y.shape)
    for out, places in windows(shape, *geometry):
        expected[out] = np.mean([0 if p is None else float(x[p]) for p in places])
    check(y, expected.shape, dtype)
    np.testing.assert_allclose(y, expected, atol=1e-6 if dtype == np.float32 else 1e-14)


@given(problems(), seeds)
def test_adjoints(problem, seed):
    shape, *geometry = problem
    x, t = draw_array(seed, shape, float), draw_array(seed + 1, shape, float)
    y, index = pool.max_pool(x, *geometry, indexed=True)
    g = draw_array(seed + 2, y.shape, float)
    for forward, back in [
        (
            pool.max_pool_gather(t, index, *geometry),
            pool.max_pool_scatter(g, index, shape[1:3], *geometry),
        ),
        (pool.avg_pool(t, *geometry), pool.avg_pool_adjoint(g, shape[1:3], *geometry)),
    ]:
        left, right = np.vdot(g, forward), np.vdot(back, t)
        assert abs(left - right) <= 1e-12 * (1 + abs(left))


def test_ties_go_to_the_first_in_row_major_order():
    x = np.array([[1.0, 2.0], [2.0, 2.0]]).reshape(1, 2, 2, 1)
    _, index = pool.max_pool(x, (2, 2), (2, 2), NO_PADDING, indexed=True)
    gx = pool.max_pool_scatter(np.full((1, 1, 1, 1), 5.0), index, (2, 2), (2, 2), (2, 2), NO_PADDING)
    np.testing.assert_array_equal(gx[0, :, :, 0], [[0, 5], [0, 0]])


def test_overlapping_windows_add_their_gradients():
    x = np.zeros((1, 3, 3, 1), np.float32)
    x[0, 1, 1] = 1
    y, index = pool.max_pool(x, (2, 2), (1, 1), NO_PADDING, indexed=True)
    gx = pool.max_pool_scatter(np.ones_like(y), index, (3, 3), (2, 2), (1, 1), NO_PADDING)
    np.testing.assert_array_equal(gx, 4 * x)


def test_rows_and_columns_beyond_the_last_window_receive_zero():
    x = np.arange(25.0).reshape(1, 5, 5, 1)
    y, index = pool.max_pool(x, (2, 2), (2, 2), NO_PADDING, indexed=True)
    np.testing.assert_array_equal(y[0, :, :, 0], [[6, 8], [16, 18]])
    gx = pool.max_pool_scatter(np.ones_like(y), index, (5, 5), (2, 2), (2, 2), NO_PADDING)
    np.testing.assert_array_equal(np.flatnonzero(gx), [6, 8, 16, 18])


def test_padding_never_wins_and_infinities_pass():
    padding = ((1, 1), (1, 1))
    x = np.array([[-np.inf, -3.0], [-2.0, np.inf]]).reshape(1, 2, 2, 1)
    y, index = pool.max_pool(x, (2, 2), (2, 2), padding, indexed=True)
    np.testing.assert_array_equal(y, x)
    g = np.array([1.0, np.inf, -np.inf, 2.0]).reshape(1, 2, 2, 1)
    gx = pool.max_pool_scatter(g, index, (2, 2), (2, 2), (2, 2), padding)
    np.testing.assert_array_equal(gx, g)


def test_infinite_gradients_leave_exact_zeros_beside_them():
    x = np.array([[1.0, 2.0], [4.0, 3.0]], np.float32).reshape(1, 2, 2, 1)
    index = np.full((1, 1, 1, 1), 2, np.uint8)
    for g in (np.inf, np.nan):
        g = np.full((1, 1, 1, 1), g, np.float32)
        gx = pool.max_pool_scatter(g, index, (2, 2), (2, 2), (2, 2), NO_PADDING)
        np.testing.assert_array_equal(gx, np.where(x == 4, g, 0))


@pytest.mark.parametrize("padding", [NO_PADDING, ((1, 0), (1, 0))])
@pytest.mark.parametrize("position", range(4))
def test_nan_propagates_and_its_gradient_goes_to_the_first_place_in_the_map(position, padding):
    x = np.arange(4.0)
    x[position] = np.nan
    x = x.reshape(1, 2, 2, 1)
    geometry = (2, 2), (2, 2) if padding == NO_PADDING else (1, 1), padding
    y, index = pool.max_pool(x, *geometry, indexed=True)
    assert np.isnan(y[0, -1, -1, 0])
    g = np.zeros_like(y)
    g[0, -1, -1] = 3
    gx = pool.max_pool_scatter(g, index, (2, 2), *geometry)
    np.testing.assert_array_equal(gx.ravel(), [3, 0, 0, 0])


def test_a_window_of_the_whole_map_larger_than_a_byte_can_count():
    x = draw_array(0, (2, 17, 19, 3), np.float32)
    geometry = (17, 19), (17, 19), NO_PADDING
    y, index = pool.max_pool(x, *geometry, indexed=True)
    np.testing.assert_array_equal(y[:, 0, 0], x.max((1, 2)))
    np.testing.assert_array_equal(index[:, 0, 0], x.reshape(2, -1, 3).argmax(1))
    np.testing.assert_allclose(pool.avg_pool(x, *geometry)[:, 0, 0], x.mean((1, 2)), rtol=1e-4, atol=1e-6)


def test_batches_larger_than_a_block(monkeypatch):
    x = draw_array(0, (5, 6, 6, 2), np.float32)
    geometry = (2, 2), (2, 2), NO_PADDING

    def everything():
        y, index = pool.max_pool(x, *geometry, indexed=True)
        return (
            y,
            index,
            pool.max_pool_scatter(y, index, (6, 6), *geometry),
            pool.avg_pool(x, *geometry),
            pool.avg_pool_adjoint(y, (6, 6), *geometry),
        )

    whole = everything()
    monkeypatch.setattr(pool, "BLOCK_BYTES", 2 * x[0].nbytes)  # blocks of 2, 2 and 1 images
    for a, b in zip(whole, everything(), strict=True):
        np.testing.assert_array_equal(a, b)
