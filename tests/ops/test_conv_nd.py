"""Convolution over one and three axes, beside PyTorch, and what it refuses."""

import numpy as np
import pytest

import minigraph as mg

from .checks import compare_with_torch

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("options", [
    {}, {"stride": 2, "padding": 1}, {"dilation": 2}, {"padding": 2, "groups": 2}, {"padding": "same", "dilation": 2},
])  # fmt: skip
def test_conv1d_beside_torch(options):
    groups = options.get("groups", 1)
    compare_with_torch(
        lambda x, w, b: mg.conv1d(x, w, b, **options),
        lambda torch, x, w, b: torch.nn.functional.conv1d(x.mT, w.permute(2, 1, 0), b, **options).mT,
        (RNG.standard_normal((2, 9, 4)), RNG.standard_normal((3, 4 // groups, 6)), RNG.standard_normal(6)),
    )


@pytest.mark.parametrize("options", [
    {}, {"stride": (2, 1, 2), "padding": (1, 0, 2)}, {"dilation": (1, 2, 1)}, {"padding": 1, "groups": 2},
    {"padding": 1, "dilation": (2, 1, 1)},
])  # fmt: skip
def test_conv3d_beside_torch(options):
    groups = options.get("groups", 1)
    compare_with_torch(
        lambda x, w, b: mg.conv3d(x, w, b, **options),
        lambda torch, x, w, b: torch.nn.functional.conv3d(
            x.permute(0, 4, 1, 2, 3), w.permute(4, 3, 0, 1, 2), b, **options
        ).permute(0, 2, 3, 4, 1),
        (RNG.standard_normal((2, 5, 6, 5, 4)), RNG.standard_normal((3, 3, 2, 4 // groups, 2)), RNG.standard_normal(2)),
    )


X1, W1 = np.ones((2, 5, 3)), np.ones((3, 3, 2))
X3, W3 = np.ones((1, 3, 4, 4, 2)), np.ones((2, 3, 3, 2, 1))


@pytest.mark.parametrize(("call", "message"), [
    (lambda: mg.conv1d(X1[0], W1), r"conv1d: x should be floating, \(N, L, C\), got float64 \(5, 3\)"),
    (lambda: mg.conv1d(X1.astype(int), W1), "conv1d: x should be floating"),
    (lambda: mg.conv1d(X1, W1[0]), r"conv1d: w should be floating, \(k, channels in, channels out\)"),
    (lambda: mg.conv1d(X1, W1[:, :2]), "conv1d: x has 3 channels on its last axis, w expects 2"),
    (lambda: mg.conv1d(X1, W1[:, :1], groups=3), "conv1d: 2 filters .* do not divide by groups=3"),
    (lambda: mg.conv1d(X1, W1, np.ones(3)), r"conv1d: b should have shape \(2,\), one for each filter, got \(3,\)"),
    (lambda: mg.conv1d(X1, W1, stride=0), "conv1d: stride should be"),
    (lambda: mg.conv1d(X1, W1, padding=-1), "conv1d: padding should be an int or a pair"),
    (lambda: mg.conv1d(X1, np.ones((7, 3, 2))), r"the window \(1, 7\) is larger than the padded map \(1, 5\)"),
    (lambda: mg.conv1d(X1, W1, groups=0), "conv1d: groups should be an int of at least 1, got 0"),
    (lambda: mg.conv3d(X3[0], W3), r"conv3d: x should be floating, \(N, D, H, W, C\), got float64 \(3, 4, 4, 2\)"),
    (lambda: mg.conv3d(X3, W3[..., :1, :]), "conv3d: x has 2 channels on its last axis, w expects 1"),
    (lambda: mg.conv3d(X3, W3, stride=(1, 2)), r"conv3d: stride should be an int or a triple \(D, H, W\)"),
    (lambda: mg.conv3d(X3[:, :1], W3), "conv3d: the window is 2 slices deep, x has 1 with its padding"),
    (lambda: mg.conv3d(X3, W3, padding=(0, -1, 0)), "padding should be an int or a pair"),
])  # fmt: skip
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
