"""A suite over the operations: gradients that float16 and float32 can hold, where plain formulas overflow or vanish.

The numbers that float64 gives for the same inputs are the right ones. pytest makes errors of NumPy's warnings.
"""

import numpy as np
import pytest

import minigraph as mg

ZERO, ONE = np.zeros(2), np.ones(2)


def train(x):
    return mg.batch_norm(x, None, None, ZERO, ONE, train=True, eps=0.0)[0]


def evaluate(x, mean, var):
    return mg.batch_norm(x, None, None, mean, var, train=False, eps=0.0)[0]


def dropped(x):
    return mg.dropout(x, 1 - 1e-5, rng=np.random.default_rng(17171))


# For each case the function, its inputs, and the gradient of its result. float16 ends at 65,504 and at 6e-8.
HALF = {
    "many uses": (lambda x: sum(x for _ in range(5000)), [[3e-4]], 1.0),
    "many broadcast uses": (lambda x: sum(x * ONE.astype(x.dtype) for _ in range(5000)), [3e-4], 1.0),
    "uses that cancel": (lambda x: x * 6e4 + x * 6e4 - x * 6e4, [[0.1]], 1.0),
    "a chain that leaves the range": (lambda x: x * 1e-3 * 1e3, [[0.1, 6e4]], 6e4),
    "a chain that vanishes": (lambda x: x * 1e3 * 1e-3 * 1e-3, [[0.1]], 0.6),
    "a product with a broadcast number": (lambda x: x * np.array([6e4, -5e4]).astype(x.dtype), [0.1], 3.0),
    "small products, summed": (lambda x: x * np.full(70_000, 1e-4, x.dtype), [1.0], 1e-4),
    "divide by a large number": (mg.divide, [[6e4], [300.0]], 3e4),
    "divide by a small number": (mg.divide, [[1e-4], [2e-3]], 1e-2),
    "divide tiny numbers": (mg.divide, [[3e-7], [6e-7]], 1e-2),
    "remainder": (mg.remainder, [[6e4], [1e-2]], 1e-3),
    "remainder of a number": (lambda b: mg.remainder(6e4, b), [[1e-2]], 1e-3),
    "a reciprocal": (lambda x: x**-1.0, [[1e-3, -1e-3]], 1e-3),
    "a reciprocal of whole numbers": (lambda x: x**-2, [[300.0]], 6e4),
    "a cube of a small number": (lambda x: x**3, [[1e-3]], 1e4),
    "a large exponent": (mg.power, [[1.01], [1000.0]], 1e-3),
    "a number to a power": (lambda x: 1e-3**x, [[-1.6, 2.2]], 1e-2),
    "sqrt": (mg.sqrt, [[6e-8, 6e4]], 1.0),
    "log": (mg.log, [[6e-8, 6e4]], 1e-3),
    "log1p": (mg.log1p, [[6.5e4, 1e-7]], 6e4),
    "exp": (mg.exp, [[11.0, -9.0]], 1.0),
    "expm1": (mg.expm1, [[11.0, 1e-4]], 1.0),
    "tanh": (mg.tanh, [[2.0, 1e-4, 300.0]], 6e4),
    "sigmoid": (mg.sigmoid, [[-9.0, 1e-4]], 6e4),
    "softplus": (mg.softplus, [[-15.0, 6e4]], 6e4),
    "silu": (mg.silu, [[-3.0, 300.0]], 6e4),
    "elu": (mg.elu, [[-12.0, 6e4]], 6e4),
    "leaky_relu": (lambda x: mg.leaky_relu(x, 1e-3), [[-6e4]], 0.1),
    "erf": (mg.erf, [[3.5, 6e4, 1e-7]], 5e4),
    "gelu": (mg.gelu, [[-3.5, 6e4, -6e4]], 6e4),
    "gelu, tanh form": (lambda x: mg.gelu(x, True), [[-3.5, 6e4, -6e4]], 6e4),
    "maximum": (mg.maximum, [[6e4, 1.0], [6e4, 6e4]], 6e4),
    "sum": (mg.sum, [[6e4, -6e4, 1.0]], 6e4),
    "mean": (mg.mean, [[6e4, 6e4]], 6e4),
    "var": (mg.var, [[-200.0, 200.0]], 100.0),
    "std": (mg.std, [[-3e4, 3e4]], 6e4),
    "norm": (mg.norm, [[3e4, -4e4]], 6e4),
    "norm of tiny numbers": (mg.norm, [[3e-7, -4e-7]], 1e-3),
    "logsumexp": (mg.logsumexp, [[6e4, 6e4, -6e4]], 6e4),
    "prod": (mg.prod, [[1e3, 1e-3, 1e3, 1e-3]], 1.0),
    "cumsum": (lambda x: mg.cumsum(x) * np.array([1, -1, 1], x.dtype), [[1.0, 2.0, 3.0]], 6e4),
    "softmax": (mg.softmax, [[6e4, 6e4, -6e4]], [6e4, -6e4, 6e4]),
    "log_softmax": (mg.log_softmax, [[6e4, 6e4]], [6e4, 5e4]),
    "cross_entropy": (lambda x: mg.cross_entropy(x, [1]), [[[3e4, 0.0]]], 1e3),
    "cross_entropy of distributions": (mg.cross_entropy, [[[100.0, 0.0]], [[0.25, 0.75]]], 10.0),
    "mse": (mg.mse, [[3e2, -100.0], [1.0, 6e-8]], 50.0),
    "layer_norm": (mg.layer_norm, [[[-3e4, 3e4, 1.0]]], [6e4, 6e4, 6e3]),
    "batch_norm in training": (
        train, [[[3e4, 1e-6], [-3e4, 3e-6], [1e4, 0.0]]], [[6e4, 1e-3], [6e3, 6e-3], [3.0, 0.0]],
    ),
    "batch_norm in evaluation": (evaluate, [[[6e4, 1e-3]], [-6e4, 2e-3], [6e4, 1e-4]], 100.0),
    "matmul": (mg.matmul, [[[300.0, 6e4]], [[1.0, -0.5], [1e-3, 1e-3]]], [[1.0, -0.9]]),
    "matmul with sums that cancel": (lambda x: x @ np.array([[300.0, -299.0]]).astype(x.dtype), [[[1.0]]], 6e4),
    "einsum of three": (lambda *xs: mg.einsum("i,i,i->", *xs), [[1e3], [1e3], [1e-3]], 1e-2),
    "einsum with sums that cancel": (lambda x: mg.einsum("i,j->ij", x, np.array([6e4, -5e4], x.dtype)), [[1.0]], 5.0),
    "conv2d": (
        lambda x: mg.conv2d(x, np.array([300.0, -299.0], x.dtype).reshape(1, 1, 1, 2)), [np.ones((1, 1, 1, 1))], 6e4,
    ),
    "avg_pool": (lambda x: mg.avg_pool(x, (1, 2), stride=1), [[[[[6e4], [6e4], [6e4]]]]], 6e4),
    "repeated indices": (lambda x: x[[0, 0, 0]] * np.array([1, 1, -1], x.dtype), [[6e4]], 6e4),
    "broadcast_to": (lambda x: mg.broadcast_to(x, (3,)) * np.array([1, 1, -1], x.dtype), [[1.0]], 6e4),
    "dropout": (dropped, [np.full(100_000, 1e-3)], 1e-3),
    "checkpoint": (mg.checkpoint(lambda x: x * 1e-3), [[1e-3]], 6e4),
    "checkpoints": (lambda x: mg.checkpoint(lambda x: x * 1e3)(mg.checkpoint(lambda x: x * 1e-3)(x)), [[0.1]], 6e4),
}  # fmt: skip
SINGLE = {
    "divide by a large number": (mg.divide, [[1e38], [1e25]], 1e20),
    "divide by a small number": (mg.divide, [[1e-30], [1e-25]], 1e-20),
    "a reciprocal": (lambda x: x**-1.0, [[1e-25, -1e-25]], 1e-20),
    "a reciprocal root": (lambda x: x**-0.5, [[1e-30, 1e30]], 1e-10),
    "erf": (mg.erf, [[1e25, -1e-25]], 1.0),
    "gelu": (mg.gelu, [[1e25, -1e25, 1e-25]], 1.0),
    "gelu, tanh form": (lambda x: mg.gelu(x, True), [[1e25, -1e25, 1e-25]], 1.0),
    "softplus": (mg.softplus, [[1e25, -1e25, -80.0]], 1e20),
    "std": (mg.std, [[1e25, -1e25, 3e24]], 1.0),
    "std of tiny numbers": (lambda x: mg.std(x, 0), [[[1e-25, 1.0], [-1e-25, 2.0], [3e-26, 5.0]]], 1.0),
    "norm": (mg.norm, [[1e25, -1e25]], 1e10),
    "norm of tiny numbers": (mg.norm, [[1e-25, -1e-25]], 1e10),
    "logsumexp": (mg.logsumexp, [[1e38, 1e38]], 1e20),
    "batch_norm of a large mean": (
        train, [1e19 + 7e17 * np.array([[0.0, 1.0], [3.0, 2.0]] * 150)], np.eye(300, 2) * 1e10,
    ),
}  # fmt: skip


def pulled(f, args, g, dtype):
    y, pullback = mg.vjp(f, *args)
    assert y.dtype == dtype and np.isfinite(y).all()
    grads = pullback(np.broadcast_to(np.asarray(g), y.shape))
    assert all(a.dtype == dtype for a in grads)
    return grads


@pytest.mark.parametrize(
    ("dtype", "case"),
    [pytest.param(t, c, id=f"{t.__name__} {name}") for t, cases in ((np.float16, HALF), (np.float32, SINGLE))
     for name, c in cases.items()],
)  # fmt: skip
def test_a_gradient_that_can_be_held_is_right(dtype, case):
    f, args, g = case
    info = np.finfo(dtype)
    rounded, g = [np.asarray(a, dtype) for a in args], np.asarray(g, dtype)
    with np.errstate(under="ignore"):
        exact = pulled(f, [a.astype(np.float64) for a in rounded], g.astype(np.float64), np.float64)
    for got, want in zip(pulled(f, rounded, g, dtype), exact, strict=True):
        assert (np.abs(want) <= info.max).all()  # or the case says nothing
        np.testing.assert_allclose(got, want, rtol=16 * info.eps, atol=info.eps * np.abs(want).max())
        assert (np.abs(want) > info.tiny).any()
