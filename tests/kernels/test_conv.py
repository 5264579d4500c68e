"""Every convolution algorithm against a naive loop, the gradients against the adjoint identity and against loops."""

from __future__ import annotations

import threading
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigraph.kernels import conv, memory, winograd

SAME = ((1, 1), (1, 1))


def case(N=2, size=(6, 5), C=2, K=3, kernel=(3, 3), stride=(1, 1), padding=SAME, dilation=(1, 1), groups=1):
    return dict(N=N, size=size, C=C, K=K, kernel=kernel, stride=stride, padding=padding,
                dilation=dilation, groups=groups)


def options(c):
    return {k: c[k] for k in ("stride", "padding", "dilation", "groups")}


def arrays(c, dtype=np.float64, seed=0):
    """x, w and a cotangent g of the output, standard normal."""
    rng = np.random.default_rng(seed)
    out = conv.output_size(c["size"], c["kernel"], c["stride"], c["padding"], c["dilation"])
    shapes = (
        (c["N"], *c["size"], c["C"]),
        (*c["kernel"], c["C"] // c["groups"], c["K"]),
        (c["N"], *out, c["K"]),
    )
    return tuple(rng.standard_normal(s).astype(dtype) for s in shapes)


def naive(x, w, g, c):
    """y, gx, gw by the definition, one multiplication at a time in its three roles; and the gradient of a bias."""
    (sh, sw), ((pt, _), (pl, _)), (dh, dw) = c["stride"], c["padding"], c["dilation"]
    Kg, Cg = c["K"] // c["groups"], c["C"] // c["groups"]
    y, gx, gw = np.zeros(g.shape), np.zeros(x.shape), np.zeros(w.shape)
    for i, j, p, q in np.ndindex(*g.shape[1:3], *c["kernel"]):
        h, v = i * sh + p * dh - pt, j * sw + q * dw - pl
        if not (0 <= h < x.shape[1] and 0 <= v < x.shape[2]):
            continue
        for k in range(c["K"]):
            for a in range(Cg):
                ch = k // Kg * Cg + a
                y[:, i, j, k] += x[:, h, v, ch] * w[p, q, a, k]
                gx[:, h, v, ch] += g[:, i, j, k] * w[p, q, a, k]
                gw[p, q, a, k] += x[:, h, v, ch] @ g[:, i, j, k]
    return y, gx, gw, g.sum((0, 1, 2))


def run(x, w, g, c, algorithm):
    o = {**options(c), "algorithm": algorithm}
    return (
        conv.conv2d(x, w, **o),
        conv.conv2d_input_grad(g, w, x.shape[1:3], **o),
        conv.conv2d_weight_grad(x, g, w.shape[:2], **o),
        conv.conv2d_grads(g, x, w, x.shape[1:3], w.shape[:2], **o, bias=True)[2],
    )


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
pads = st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2)


@st.composite
def cases(draw, winograd_only=False):
    groups = 1 if winograd_only else draw(st.integers(1, 3))
    kernel = (3, 3) if winograd_only else draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = (1, 1) if winograd_only else draw(pairs)
    dilation = (1, 1) if winograd_only else draw(pairs)
    padding = draw(pads)
    least = [max(1, d * (k - 1) + 1 - sum(p)) for k, d, p in zip(kernel, dilation, padding, strict=True)]
    size = tuple(draw(st.integers(n, n + 9)) for n in least)
    return case(
        N=draw(st.integers(0, 3)), size=size, C=groups * draw(st.integers(1, 3)),
        K=groups * draw(st.integers(1, 3)), kernel=kernel, stride=stride, padding=padding,
        dilation=dilation, groups=groups,
    )


@given(cases())
@settings(deadline=None, derandomize=True, max_examples=100)
def test_im2col_and_the_rule_are_the_definition(c):
    x, w, g = arrays(c)
    want = naive(x, w, g, c)
    for algorithm in ("im2col", None):
        for got, expected in zip(run(x, w, g, c, algorithm), want, strict=True):
            assert got.shape == expected.shape
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11)


@given(cases(winograd_only=True))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_winograd_is_the_definition(c):
    x, w, g = arrays(c)
    for got, expected in zip(run(x, w, g, c, "winograd"), naive(x, w, g, c), strict=True):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("algorithm", conv.ALGORITHMS)
@pytest.mark.parametrize("case_", [{"C": 3, "K": 7}, {"C": 17, "K": 8}, {"C": 2, "K": 5, "kernel": (2, 2)}])
def test_the_bias_is_added_to_every_output(algorithm, case_):
    c = case(N=5, size=(9, 8), **case_)
    x, w, _ = arrays(c)
    b = np.arange(1.0, c["K"] + 1)
    got, plain = (conv.conv2d(x, w, **options(c), algorithm=algorithm, bias=v) for v in (b, None))
    np.testing.assert_allclose(got, plain + b, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    "case_",
    [
        {"C": 4, "K": 6, "groups": 2},
        {"C": 64, "K": 4, "groups": 2, "kernel": (1, 3)},
        {"C": 6, "K": 4, "kernel": (1, 1), "padding": ((0, 0), (0, 0))},
        {"C": 3, "K": 4, "stride": (2, 1), "dilation": (1, 2)},
    ],
)
def test_the_bias_with_groups_strides_and_single_pixels(case_):
    c = case(N=3, size=(9, 8), **case_)
    x, w, _ = arrays(c)
    b = np.arange(1.0, c["K"] + 1)
    got, plain = (conv.conv2d(x, w, **options(c), bias=v) for v in (b, None))
    np.testing.assert_allclose(got, plain + b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("algorithm", conv.ALGORITHMS)
@pytest.mark.parametrize("padding", [SAME, ((1, 0), (1, 0)), ((0, 0), (0, 0)), ((2, 2), (0, 2))])
@pytest.mark.parametrize("side", [3, 7, 8, 15])
def test_gradients_are_the_adjoints(algorithm, padding, side):
    """<g, conv(x, w)> = <gx, x> = <gw, w>, in shapes large enough for several blocks and cut tiles."""
    c = case(N=5, size=(side, side), C=17, K=19, padding=padding)
    x, w, g = arrays(c)
    y, gx, gw, _ = run(x, w, g, c, algorithm)
    np.testing.assert_allclose(np.vdot(gx, x), np.vdot(g, y), rtol=1e-10)
    np.testing.assert_allclose(np.vdot(gw, w), np.vdot(g, y), rtol=1e-10)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("algorithm", conv.ALGORITHMS)
@pytest.mark.parametrize("channels", [3, 17])
def test_one_call_gives_the_gradients_that_are_asked_for(channels, algorithm, bias):
    c = case(N=5, size=(9, 8), C=channels, K=8)
    x, w, g = arrays(c)
    _, *want = run(x, w, g, c, algorithm)
    for some in ((x, w), (x, None), (None, w), (None, None)):
        got = conv.conv2d_grads(g, *some, x.shape[1:3], w.shape[:2], padding=SAME, algorithm=algorithm, bias=bias)
        asked = (some[1] is not None, some[0] is not None, bias)
        assert [a is not None for a in got] == [*asked]
        for a, b, there in zip(got, want, asked, strict=True):
            if there:
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("block", [1, 1 << 12, 1 << 30])
@pytest.mark.parametrize("algorithm", conv.ALGORITHMS)
def test_results_do_not_depend_on_the_block(monkeypatch, algorithm, block):
    c = case(N=7, size=(9, 8), C=4, K=5)
    x, w, g = arrays(c)
    want = naive(x, w, g, c)
    monkeypatch.setattr(conv, "BLOCK", block)
    monkeypatch.setattr(winograd, "TILES", block)
    for got, expected in zip(run(x, w, g, c, algorithm), want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("group", [1, 1 << 15, 1 << 16, 1 << 20])
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_blocks_of_two_sizes_share_the_weights_and_their_gradient(monkeypatch, n, group):
    """The smaller one comes last: it should find them where the larger one had them, in memory that need not grow."""
    monkeypatch.setattr(winograd, "_workspace", memory.Workspace())
    monkeypatch.setattr(winograd, "GROUP", group)
    monkeypatch.setattr(winograd, "TILES", 8)
    c = case(N=n, size=(8, 7), C=16, K=32)
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


@pytest.mark.parametrize("algorithm", conv.ALGORITHMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_inputs_untouched_and_any_strides(algorithm, dtype):
    c = case(N=3, size=(8, 7), C=4, K=6)
    x, w, g = arrays(c, dtype)
    want = run(x, w, g, c, algorithm)
    strided = []
    for a in (x, w, g):
        wide = np.zeros((a.shape[3], a.shape[1], 2 * a.shape[0], a.shape[2]), dtype)
        view = wide.transpose(2, 1, 3, 0)[::-2]
        view[...] = a
        strided.append(view)
    before = [a.copy() for a in strided]
    for got, expected in zip(run(*strided, c, algorithm), want, strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 if dtype == np.float64 else 1e-4)
    for a, b in zip(strided, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_results_are_not_recycled_while_held():
    """The pool gives a block again only when no array uses it."""
    c = case(N=64, size=(16, 16), C=16, K=16)
    x, w, _ = arrays(c, np.float32)
    first = conv.conv2d(x, w, padding=SAME)
    kept = first.copy()
    second = conv.conv2d(2 * x, w, padding=SAME)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_allclose(second, 2 * kept, rtol=0, atol=1e-4)


def test_threads_do_not_share_scratch():
    c = case(N=16, size=(16, 16), C=24, K=24)
    x, w, g = arrays(c, np.float32)
    want = run(x, w, g, c, None)
    wrong = []

    def work():
        for _ in range(5):
            got = run(x, w, g, c, None)
            wrong.extend(not np.array_equal(a, b) for a, b in zip(got, want, strict=True))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == [False] * 60


@pytest.mark.parametrize("channels", [2, 16])
def test_no_outputs(channels):
    w = np.ones((3, 3, channels, channels))
    assert conv.conv2d(np.ones((2, 2, 5, channels)), w).shape == (2, 0, 3, channels)
    gx, gw, _ = conv.conv2d_grads(np.ones((2, 0, 3, channels)), np.ones((2, 2, 5, channels)), w, (2, 5), (3, 3))
    assert not gx.any() and not gw.any() and gx.shape == (2, 2, 5, channels) and gw.shape == w.shape


def test_long_sides_take_no_more_than_their_share():
    x, w = np.ones((1, 4, 50_000, 8), np.float32), np.ones((3, 3, 8, 8), np.float32)
    y = conv.conv2d(x, w, padding=SAME)
    np.testing.assert_allclose(y[0, 1:-1, 1:-1], 72, rtol=1e-5)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("n", "m", "before"), [(1, 2, 1), (5, 3, 0), (16, 4, 1), (31, 5, 9), (9, 4, 20), (61, 5, -2), (300, 4, 1)]
)
def test_bands_are_the_matrix(n, m, before, transposed):
    """Those of a matrix written entry by entry; of a long side they leave most zeros out."""
    rng = np.random.default_rng(0)
    a, tiles = m + 2, -(-n // m)
    block = rng.standard_normal((a, a))
    matrix = np.zeros((tiles * a, n))
    for t, i, q in np.ndindex(tiles, a, a):
        if 0 <= (column := t * m - before + q) < n:
            matrix[t * a + i, column] = block[i, q]
    matrix = matrix.T if transposed else matrix
    bands = winograd._bands(block, tiles, m, before, n, transposed)
    x = rng.standard_normal((2, matrix.shape[1], 3))
    out = np.full((2, len(matrix), 3), np.nan)
    winograd._run(winograd._transform(x, bands, out))
    np.testing.assert_allclose(out, matrix @ x, rtol=1e-12, atol=1e-12)
    if n > 50:
        assert sum(pieces.size for *_, pieces in bands) < 6 * np.count_nonzero(matrix)
        assert len(bands) < 10


def test_padding_wider_than_a_tile():
    c = case(N=1, size=(9, 9), C=8, K=8, padding=((20, 20), (9, 0)))
    x, w, g = arrays(c)
    for winograd_, im2col in zip(run(x, w, g, c, "winograd"), run(x, w, g, c, "im2col"), strict=True):
        np.testing.assert_allclose(winograd_, im2col, atol=1e-11)


def test_float16_has_the_error_of_float16():
    c = case(N=2, size=(15, 15), C=32, K=32)
    x, w, _ = arrays(c)
    want, got = conv.conv2d(x, w, padding=SAME), conv.conv2d(x.astype(np.float16), w.astype(np.float16), padding=SAME)
    assert np.abs(got - want).max() <= 2e-3 * np.abs(want).max()


def test_an_algorithm_that_cannot_do_it_says_why():
    x, w, _ = arrays(case(stride=(2, 1)))
    with pytest.raises(ValueError, match=r"'winograd' needs stride 1.*\(2, 1\)"):
        conv.conv2d(x, w, (2, 1), SAME, algorithm="winograd")
    x, w, _ = arrays(case(kernel=(1, 3)))
    with pytest.raises(ValueError, match=r"'winograd' needs kernels .*\(1, 3\)"):
        conv.conv2d(x, w, padding=SAME, algorithm="winograd")
    with pytest.raises(ValueError, match=r"one of .*'im2col'.* got 'fft'"):
        conv.conv2d(x, w, padding=SAME, algorithm="fft")


# Winograd's matrices

TILES = [(m, r) for r in (2, 3, 4, 5) for m in range(1, winograd.LARGEST - r + 2)]


@pytest.mark.parametrize(("m", "r"), TILES)
def test_cook_toom_is_an_identity(m, r):
    """y = A^T [(G w) * (B^T d)] is the correlation of d and w: exactly, for every pair of unit vectors."""
    A, B, G = winograd.cook_toom(m, r)
    a = m + r - 1
    for i in range(m):
        for d in range(a):
            for w in range(r):
                got = sum((A[p][i] * G[p][w] * B[d][p] for p in range(a)), Fraction(0))
                assert got == (d == i + w)


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


@pytest.mark.parametrize("channels", [3, 16])
def test_the_gradient_of_a_bias_adds_up_more_digits_than_float16_has(channels):
    g, x = np.full((500, 8, 8, 4), 0.01, np.float16), np.ones((500, 8, 8, channels), np.float16)
    gb = conv.conv2d_grads(g, x, None, (8, 8), (3, 3), padding=SAME, bias=True)[2]
    np.testing.assert_allclose(gb, 500 * 64 * float(g[0, 0, 0, 0]), rtol=1e-3)
