"""Winograd's algorithm: its matrices, its bands and blocks, its error, and the convolution against the definition."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from convolutions import SAME, arrays, case, cases, naive, run
from hypothesis import given, settings

from minigraph.kernels import blas, conv, memory, winograd

TILES = [(m, r) for r in (2, 3, 4, 5) for m in range(1, winograd.MAX_POINTS - r + 2)]


@pytest.mark.parametrize(("m", "r"), TILES)
def test_cook_toom_is_an_identity(m, r):
    """y = A^T [(G w) * (B^T d)] is the correlation of d and w: exactly, for every pair of unit vectors."""
    A, B, G = winograd.cook_toom(m, r)
    a = m + r - 1
    for p in range(m):
        for d in range(a):
            for i in range(r):
                got = sum((A[z][p] * G[z][i] * B[d][z] for z in range(a)), Fraction(0))
                assert got == (d == p + i)


@pytest.mark.parametrize(("m", "r"), TILES)
def test_data_matrices_are_exact_in_float32(m, r):
    for matrix in winograd.cook_toom(m, r)[:2]:
        for v in (v for row in matrix for v in row):
            assert Fraction(float(np.float32(float(v)))) == v


# Largest error over largest value, 64 channels, float32: three times what was measured on 30x30 maps (see winograd.py).
ERRORS = {2: 2e-6, 3: 7e-6, 4: 1e-5, 5: 3.6e-5, 6: 3.5e-5}


@pytest.mark.parametrize("m", ERRORS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_winograd_error(m, dtype):
    c = case(N=2, size=(12, 12), C=64, K=8)
    x, w, g = arrays(c)
    want = run(x, w, g, c, "im2col")[:3]
    x, w, g = (a.astype(dtype) for a in (x, w, g))
    y = winograd.forward(x, w, SAME, (m, m))
    gx, gw, _ = winograd.gradients(g, x, w, x.shape, w.shape, SAME, (m, m))
    scale = 1 if dtype == np.float32 else 2.0**-29
    for got, expected in zip((y, gx, gw), want, strict=True):
        assert np.abs(got - expected).max() <= ERRORS[m] * scale * np.abs(expected).max()


@given(cases(winograd_only=True))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_winograd_is_the_definition(c):
    x, w, g = arrays(c)
    for got, expected in zip(run(x, w, g, c, "winograd"), naive(x, w, g, c), strict=True):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("avx512", [True, False])
@pytest.mark.parametrize("slab", [1, 1 << 15, 1 << 16, 1 << 20])
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_blocks_of_two_sizes_share_the_weights_and_their_gradient(monkeypatch, n, slab, avx512):
    """The smaller one comes last: it should find them where the larger one had them, in memory that need not grow."""
    monkeypatch.setattr(winograd, "_workspace", memory.Workspace())
    monkeypatch.setattr(winograd, "SLAB_BYTES", slab)
    monkeypatch.setattr(blas, "avx512", lambda: avx512)
    monkeypatch.setattr(winograd, "BLOCK_TILES", 8)
    c = case(N=n, size=(8, 7), C=16, K=128)
    x, w, g = arrays(c)
    for got, expected in zip(run(x, w, g, c, "winograd"), run(x, w, g, c, "im2col"), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10)


def test_a_larger_call_between_two_of_one_shape(monkeypatch):
    monkeypatch.setattr(winograd, "_workspace", memory.Workspace())
    small, large = case(N=3, size=(6, 6), C=4, K=4), case(N=5, size=(12, 12), C=8, K=16)
    first = run(*arrays(small), small, "winograd")
    run(*arrays(large), large, "winograd")
    for a, b in zip(first, run(*arrays(small), small, "winograd"), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_long_sides_take_no_more_than_their_share():
    x, w = np.ones((1, 4, 1000, 8), np.float32), np.ones((3, 3, 8, 8), np.float32)
    tracemalloc.start()
    y = conv.conv2d(x, w, padding=SAME)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_allclose(y[0, 1:-1, 1:-1], 72, rtol=1e-5)
    assert peak < 4e6  # the matrix of the long side as a whole would have 6 MB


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("n", "m", "before"), [(1, 2, 1), (5, 3, 0), (16, 4, 1), (31, 5, 9), (9, 4, 20), (61, 5, -2), (300, 4, 1)]
)
def test_bands_are_the_matrix(n, m, before, transposed):
    """Those of a matrix written entry by entry; of a long side they leave most zeros out."""
    rng = np.random.default_rng(0)
    a, tiles = m + 2, -(-n // m)
    tile_matrix = rng.standard_normal((a, a))
    matrix = np.zeros((tiles * a, n))
    for t, row, k in np.ndindex(tiles, a, a):
        if 0 <= (column := t * m - before + k) < n:
            matrix[t * a + row, column] = tile_matrix[row, k]
    matrix = matrix.T if transposed else matrix
    bands = winograd._bands(tile_matrix, tiles, m, before, n, transposed)
    x = rng.standard_normal((2, matrix.shape[1], 3))
    out = np.full((2, len(matrix), 3), np.nan)
    winograd._run(winograd._transform(x, bands, out))
    np.testing.assert_allclose(out, matrix @ x, rtol=1e-12, atol=1e-12)
    if n > 50:
        assert sum(call.bands.size for call in bands) < 6 * np.count_nonzero(matrix)
        assert len(bands) < 10


def test_padding_wider_than_a_tile():
    c = case(N=1, size=(9, 9), C=8, K=8, padding=((20, 20), (9, 0)))
    x, w, g = arrays(c)
    for got, expected in zip(run(x, w, g, c, "winograd"), run(x, w, g, c, "im2col"), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-11)


def test_the_memory_that_is_foreseen_is_what_the_workspace_takes(monkeypatch):
    x, w = np.ones((5, 9, 9, 8), np.float32), np.ones((3, 3, 8, 16), np.float32)
    padding, tile = ((1, 1), (1, 1)), (4, 4)
    for needed in (None, (True, True), (False, True)):
        monkeypatch.setattr(winograd, "_workspace", memory.Workspace())
        if needed is None:
            winograd.forward(x, w, padding, tile)
        else:
            g = np.ones((5, 9, 9, 16), np.float32)
            given = x if needed[1] else None, w if needed[0] else None
            winograd.gradients(g, *given, x.shape, w.shape, padding, tile)
        foreseen = winograd.needs(x.shape, w.shape, padding, tile, x.dtype, needed)
        assert foreseen.workspace == winograd._workspace.own.memory.nbytes
