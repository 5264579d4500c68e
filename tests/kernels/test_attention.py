"""The blocks of attention: any division of the work gives the same numbers, and memory grows with the length alone."""

import tracemalloc

import numpy as np
import pytest

from minigraph.kernels import attention as kernel


def plain(q, k, v, mask, causal, scale):
    s = scale * q @ k.swapaxes(1, 2)
    s = np.where(True if mask is None else mask, s, -np.inf)
    s = np.where(np.tri(*s.shape[1:], dtype=bool), s, -np.inf) if causal else s
    p = np.exp(s - s.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True) @ v, np.log(np.exp(s).sum(-1))


def drawn(B, L, S, E, F, dtype=np.float64):
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal(s).astype(dtype) for s in ((B, L, E), (B, S, E), (B, S, F)))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("rows", "size"), [(1, 1), (3, 500), (128, 1 << 21)])
def test_blocks(monkeypatch, causal, rows, size):
    monkeypatch.setattr(kernel, "ROWS", rows)
    monkeypatch.setattr(kernel, "BLOCK_BYTES", size)
    q, k, v = drawn(4, 7, 7, 3, 2)
    mask = np.random.default_rng(1).random((4, 7, 7)) < 0.7
    mask |= np.eye(7, dtype=bool)
    y, l = kernel.attention(q, k, v, mask, causal, 0.6)
    for got, expected in zip((y, l), plain(q, k, v, mask, causal, 0.6), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    g = np.cos(np.arange(y.size)).reshape(y.shape)
    grads = kernel.attention_grads(g, y, l, q, k, v, mask, causal, 0.6)
    monkeypatch.undo()
    for got, expected in zip(grads, kernel.attention_grads(g, y, l, q, k, v, mask, causal, 0.6), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)


def test_large_scores_do_not_overflow():
    q, k, v = drawn(1, 5, 5, 2, 2, np.float32)
    y, _ = kernel.attention(1e4 * q, 1e4 * k, v, None, False, 1.0)
    best = (q @ k.swapaxes(1, 2)).argmax(-1)
    np.testing.assert_allclose(y[0], v[0, best[0]], rtol=1e-6)


def test_memory_grows_with_the_length():
    """At 4,096 places one whole matrix of weights is 64 MiB."""
    q, k, v = drawn(1, 4096, 4096, 8, 8, np.float32)
    tracemalloc.start()
    y, l = kernel.attention(q, k, v, None, True, 0.3)
    kernel.attention_grads(y, y, l, q, k, v, None, True, 0.3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20
