"""Values and gradients against implementations that share no code with ours: scipy.signal, PyTorch where installed."""

import numpy as np
import pytest
from scipy import signal

import minigraph as mg

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 7, 6, 4))  # (N, H, W, C)
W = RNG.standard_normal((3, 2, 4, 5))  # (kh, kw, C, K)


def correlate(x, w):
    """'valid' cross-correlation of (N, H, W, C) with (kh, kw, C, K), a plane at a time."""

    def plane(n, k):
        return sum(signal.correlate2d(n[..., c], w[..., c, k], "valid") for c in range(w.shape[2]))

    return np.stack([np.stack([plane(n, k) for k in range(w.shape[3])], -1) for n in x])


def test_conv2d_against_scipy():
    y, pullback = mg.vjp(mg.conv2d, X, W)
    np.testing.assert_allclose(y, correlate(X, W), atol=1e-12)
    g = RNG.standard_normal(y.shape)
    gx, gw = pullback(g)
    # gx: full convolution of g with w; gw: correlation of x with g, the batch as channels
    full = np.zeros_like(X)
    for n in range(len(X)):
        for c in range(4):
            full[n, ..., c] = sum(signal.convolve2d(g[n, ..., k], W[..., c, k], "full") for k in range(5))
    np.testing.assert_allclose(gx, full, atol=1e-12)
    as_filter = correlate(X.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3))  # (C, kh, kw, K)
    np.testing.assert_allclose(gw, as_filter.transpose(1, 2, 0, 3), atol=1e-12)


def pulled(f, *args):
    """f's value and the gradients of its product with fixed random numbers."""
    y, pullback = mg.vjp(f, *args)
    g = np.random.default_rng(1).standard_normal(y.shape)
    return y, g, pullback(g)


def compare(ours, theirs, args):
    """Both sides' values and gradients; `theirs` takes and returns torch tensors, channels first where x is 4-D."""
    torch = pytest.importorskip("torch")
    y, g, grads = pulled(ours, *args)
    leaves = [torch.tensor(a, requires_grad=True) for a in args]
    out = theirs(torch, *leaves)
    out.backward(torch.tensor(g))
    np.testing.assert_allclose(y, out.detach().numpy(), rtol=1e-10, atol=1e-10)
    for grad, leaf in zip(grads, leaves, strict=True):
        np.testing.assert_allclose(grad, leaf.grad.numpy(), rtol=1e-9, atol=1e-9)


def first(x):
    """(N, H, W, C) -> (N, C, H, W)"""
    return x.permute(0, 3, 1, 2)


def last(x):
    return x.permute(0, 2, 3, 1)


@pytest.mark.parametrize("stride", [1, 2, (2, 1)])
@pytest.mark.parametrize("padding", [0, 1, (2, 0)])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv2d_against_torch(stride, padding, dilation, groups):
    x = RNG.standard_normal((2, 8, 9, 4))
    w = RNG.standard_normal((3, 3, 4 // groups, 6))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    compare(
        lambda x, w: mg.conv2d(x, w, **options),
        lambda torch, x, w: last(torch.nn.functional.conv2d(first(x), w.permute(3, 2, 0, 1), **options)),
        (x, w),
    )


@pytest.mark.parametrize(("stride", "extra"), [(1, 0), (2, 0), (2, 1)])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv_transpose2d_against_torch(stride, extra, groups):
    x = RNG.standard_normal((2, 4, 5, 4))
    w = RNG.standard_normal((3, 3, 6 // groups, 4))  # torch: (C, K // groups, kh, kw)
    options = {"stride": stride, "padding": 1, "output_padding": extra, "groups": groups}
    compare(
        lambda x, w: mg.conv_transpose2d(x, w, **options),
        lambda torch, x, w: last(
            torch.nn.functional.conv_transpose2d(first(x), w.permute(3, 2, 0, 1), **options)
        ),
        (x, w),
    )


@pytest.mark.parametrize(("window", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 0), (2, 3, 0)])
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pooling_against_torch(kind, window, stride, padding):
    ours = mg.max_pool if kind == "max" else mg.avg_pool
    compare(
        lambda x: ours(x, window, stride=stride, padding=padding),
        lambda torch, x: last(
            getattr(torch.nn.functional, f"{kind}_pool2d")(first(x), window, stride, padding)
        ),
        (RNG.standard_normal((2, 7, 8, 3)),),
    )


def test_batch_norm_against_torch():
    mean, var = RNG.standard_normal(3), RNG.random(3) + 0.5
    args = RNG.standard_normal((4, 5, 5, 3)), RNG.standard_normal(3), RNG.standard_normal(3)
    for train in (True, False):

        def theirs(torch, x, scale, bias, train=train):
            running = torch.tensor(mean), torch.tensor(var)
            y = torch.nn.functional.batch_norm(first(x), *running, scale, bias, training=train, momentum=0.3)
            _, new_mean, new_var = mg.batch_norm(
                x.detach().numpy(), None, None, mean, var, train=train, momentum=0.3
            )
            np.testing.assert_allclose(new_mean, running[0].numpy(), rtol=1e-12)
            np.testing.assert_allclose(new_var, running[1].numpy(), rtol=1e-12)
            return last(y)

        compare(
            lambda x, s, b, train=train: mg.batch_norm(x, s, b, mean, var, train=train, momentum=0.3)[0],
            theirs,
            args,
        )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("soft", [False, True])
def test_cross_entropy_against_torch(smoothing, soft):
    logits = 5 * RNG.standard_normal((6, 4))
    labels = RNG.dirichlet(np.ones(4), 6) if soft else RNG.integers(0, 4, 6)
    compare(
        lambda x: mg.cross_entropy(x, labels, label_smoothing=smoothing),
        lambda torch, x: torch.nn.functional.cross_entropy(x, torch.tensor(labels), label_smoothing=smoothing),
        (logits,),
    )


@pytest.mark.parametrize("name", ["gelu", "silu", "softplus", "elu", "leaky_relu"])
def test_activations_against_torch(name):
    compare(
        getattr(mg, name),
        lambda torch, x: getattr(torch.nn.functional, name)(x),
        (3 * RNG.standard_normal((4, 5)),),
    )
