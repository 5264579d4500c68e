"""Every convolution algorithm against a naive loop, the gradients against the adjoint identity and against loops."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from convolutions import SAME, arrays, case, cases, naive, options, run
from hypothesis import given, settings

from minigraph.kernels import conv, winograd


@given(cases())
@settings(deadline=None, derandomize=True, max_examples=100)
def test_im2col_and_the_rule_are_the_definition(c):
    x, w, g = arrays(c)
    want = naive(x, w, g, c)
    for algorithm in ("im2col", None):
        for got, expected in zip(run(x, w, g, c, algorithm), want, strict=True):
            assert got.shape == expected.shape
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11)


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
    monkeypatch.setattr(conv, "BLOCK_BYTES", block)
    monkeypatch.setattr(winograd, "BLOCK_TILES", block)
    for got, expected in zip(run(x, w, g, c, algorithm), want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11)


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


@pytest.mark.parametrize("channels", [3, 16])
def test_the_gradient_of_a_bias_adds_up_more_digits_than_float16_has(channels):
    g, x = np.full((500, 8, 8, 4), 0.01, np.float16), np.ones((500, 8, 8, channels), np.float16)
    gb = conv.conv2d_grads(g, x, None, (8, 8), (3, 3), padding=SAME, bias=True)[2]
    np.testing.assert_allclose(gb, 500 * 64 * float(g[0, 0, 0, 0]), rtol=1e-3)


def test_the_memory_that_is_foreseen_is_what_a_call_takes(monkeypatch):
    asked = []
    monkeypatch.setattr(conv, "empty", lambda shape, dtype: asked.append(np.empty(shape, dtype)) or asked[-1])
    few, strided = ((3, 3, 3, 8), (1, 1), ((1, 1), (1, 1))), ((3, 3, 8, 8), (2, 2), ((0, 1), (0, 1)))
    for w_shape, stride, padding in (few, strided):
        x, w = np.ones((40, 32, 32, w_shape[2]), np.float32), np.ones(w_shape, np.float32)
        asked.clear()
        y = conv.conv2d(x, w, stride, padding)
        needs = conv.needs(x.shape, w.shape, x.dtype, stride, padding)
        largest = max(a.nbytes for a in asked if a.shape != y.shape)
        assert largest == needs.recycled[0] and needs.workspace == 0
