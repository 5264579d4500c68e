"""A suite over the table: float16 has float16's digits, also for more entries than it can count.

The numbers that float64 gives for the same inputs are the right ones.
"""

import numpy as np
import pytest

import minigraph as mg

from .table import converted, pulled
from .test_table import over

EPS = float(np.finfo(np.float16).eps)
N = 70_000  # float16 ends at 65,504, and a sum of ones in it at 2,048


def check(f, *args, rtol=4 * EPS, atol=0.0):
    """Values and gradients in float16, within `rtol` of the largest one, and `atol` for where 0 is right."""
    got = mg.vjp(f, *converted(args, lambda a: a.astype(np.float16)))
    expected = mg.vjp(f, *converted(args, lambda a: a.astype(np.float16).astype(np.float64)))
    g = np.ones(np.shape(got[0]))
    assert got[0].dtype == np.float16
    for a, b in zip([got[0], *got[1](g)], [expected[0], *expected[1](g)], strict=True):
        assert a.dtype == np.float16
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.abs(b).max(initial=0) + atol + 6e-8)


@over("cases")
def test_every_row_of_the_table(row, c):
    args = converted(c.draw(), lambda a: a.astype(np.float16))
    values, grads = pulled(row, c, args)
    exact_values, exact_grads = pulled(row, c, converted(args, lambda a: a.astype(np.float64)))
    for got, exact in zip([*values, *grads], [*exact_values, *exact_grads], strict=True):
        if exact is None:
            assert got is None
            continue
        assert got.dtype == (np.float64 if row.name == "astype" and got is values[0] else np.float16)
        np.testing.assert_allclose(got.data, exact.data, rtol=0, atol=16 * EPS * np.abs(exact.data).max(initial=0))


def rows(*shape):
    return np.random.default_rng(0).standard_normal(shape)


FIRST = np.zeros(N, int)
SOFT = np.full((1, N), 1 / 8) * (np.arange(N) < 8)
LARGE = {
    "sum": (lambda x: mg.sum(x, 0), np.full((N, 2), 0.5)),
    "sum of all": (lambda x: mg.sum(x), np.full((N, 2), 1 / 4)),
    "mean": (lambda x: mg.mean(x, 0), np.full((N, 2), 3.0)),
    "scaled mean": (lambda x: mg.mean(x) * 1024.0, np.full(N, 3.0)),
    "mean where": (lambda x: mg.mean(x, 0, where=np.ones((N, 2), bool)), np.full((N, 2), 3.0)),
    "var where": (lambda x: mg.var(x, 0, where=np.ones((N, 2), bool)) * 1024.0, 2 * rows(N, 2)),
    "mean of more than 1 / n can tell": (lambda x: mg.mean(x) * 30000.0, np.full(4_000_000, 0.5)),
    "var": (lambda x: mg.var(x, 0) * 1024.0, 2 * rows(N, 2)),
    "var with a large mean": (lambda x: mg.var(x, 0) * 1024.0, 1000 + 2 * rows(N, 2)),
    "std": (lambda x: mg.std(x) * 64.0, 300 * rows(N)),
    "max": (lambda x: mg.max(x) * 30000.0, np.ones(N)),
    "min": (lambda x: mg.min(x, 0) * 30000.0, np.ones((N, 2))),
    "logsumexp": (lambda x: mg.logsumexp(x, 0) * 1024.0, np.zeros((N, 2))),
    "logsumexp of large numbers": (lambda x: mg.logsumexp(x) * 16.0, 1000 + np.zeros(N)),
    "norm": (lambda x: mg.norm(x), np.full(N, 100.0)),
    "norm of tiny numbers": (lambda x: mg.norm(x), np.full(9, 6e-8)),
    "norm, ord 1": (lambda x: mg.norm(x, 1, 0), np.full((N, 2), 0.5)),
    "cumsum": (lambda x: mg.cumsum(x) * 0.25, np.full(N // 8, 0.5)),
    "softmax": (lambda x: mg.softmax(x * 1.0, 0)[:3] * 1024.0, np.zeros((N, 2))),
    "log_softmax": (lambda x: mg.log_softmax(x)[:3], np.zeros(N)),
    "cross_entropy": (lambda x: mg.cross_entropy(x, FIRST) * 1024.0, rows(N, 3)),
    "cross_entropy of many classes": (lambda x: mg.cross_entropy(x, [5]), np.zeros((1, N))),
    "label smoothing": (lambda x: mg.cross_entropy(x, [5], label_smoothing=0.5) * 1024.0, rows(1, N)),
    "soft labels": (lambda x: mg.cross_entropy(x, SOFT.astype(x.dtype)), np.zeros((1, N))),
    "mse": (lambda x: mg.mse(x, 0 * x) / 1000.0, np.full(N, 0.01) + 3000 * (np.arange(N) < 9)),
    "matmul": (lambda x: x @ np.ones((N, 2), x.dtype), np.full((2, N), 0.25)),
    "the gradient of a matmul": (lambda x: np.full((N, 2), 0.25, x.dtype) @ x, np.ones((2, 2)) / 4),
    "einsum": (lambda x: mg.einsum("ij->j", x), np.full((N, 2), 0.25)),
    "einsum of two": (lambda x: mg.einsum("ij,ij->j", x, np.ones((N, 2), x.dtype)), np.full((N, 2), 0.25)),
    "the gradient of an einsum": (lambda x: mg.einsum("i,nj->nj", x, np.full((N, 2), 0.25, x.dtype)), np.ones(2) / 4),
    "a broadcast operand": (lambda x: x * np.full((N, 2), 0.25, x.dtype), np.ones((1, 2))),
    "a broadcast number": (lambda x: x * np.full((N, 2), 0.25, x.dtype), np.ones(())),
    "broadcast_to": (lambda x: mg.broadcast_to(x, (2, N // 2)) * 0.25, np.ones((2, 1))),
    "repeated indices": (lambda x: mg.take(x, FIRST) * 0.25, np.ones(3)),
    "repeated rows": (lambda x: x[FIRST] * 0.25, np.ones((3, 2))),
    "scatter": (lambda x: mg.scatter(x, FIRST, (2,)), np.full(N, 0.25)),
    "scattered rows": (lambda x: mg.scatter(x, FIRST, (2, 3)), np.full((N, 3), 0.25)),
    "scatter_add": (lambda x: mg.scatter_add(np.zeros(2, x.dtype), FIRST, x), np.full(N, 0.25)),
    "avg_pool": (lambda x: mg.avg_pool(x, 300), np.full((1, 300, 300, 2), 3.0)),
    "avg_pool of overlapping windows": (lambda x: mg.avg_pool(x, 60, stride=1), rows(1, 120, 120, 1) + 4),
    "max_pool of overlapping windows": (
        lambda x: mg.max_pool(x, 60, stride=1), rows(1, 119, 119, 1) + 9 * np.eye(119)[:, :, None],
    ),
    "conv2d": (lambda x: mg.conv2d(x, np.full((1, 1, 9000, 1), 1 / 4, x.dtype)), np.full((1, 2, 2, 9000), 0.5)),
    "the gradient of a kernel": (
        lambda w: mg.conv2d(np.ones((3000, 2, 2, 3), w.dtype), w, padding=1) / 4.0, np.ones((3, 3, 3, 1)) / 9,
    ),
    "the gradient of a bias": (
        lambda b: mg.conv2d(np.ones((3000, 3, 3, 1), b.dtype), np.ones((3, 3, 1, 2), b.dtype), b) / 4.0, np.ones(2),
    ),
    "layer_norm": (lambda x: mg.layer_norm(x)[:, :3] * 8.0, 300 * rows(2, N)),
    "batch_norm": (
        lambda x: mg.batch_norm(x, None, None, np.zeros(2), np.ones(2), train=True)[0][:9] * 8.0, 40 + 2 * rows(N, 2),
    ),
    "batch_norm with a large mean": (
        lambda x: mg.batch_norm(x, None, None, np.zeros(2), np.ones(2), train=True)[0][:9], 1000 + 2 * rows(N, 2),
    ),
    "batch_norm without training": (
        lambda x: mg.batch_norm(x, None, None, np.full(2, 1000.0, x.dtype), np.full(2, 4, x.dtype), train=False)[0],
        1000 + 2 * rows(9, 2),
    ),
    "gelu": (lambda x: mg.gelu(x, approximate=True), np.array([-3e4, -300.0, 300.0, 3e4])),
}  # fmt: skip


@pytest.mark.parametrize("name", LARGE)
def test_more_entries_than_float16_counts_to(name):
    f, x = LARGE[name]
    check(f, x)
