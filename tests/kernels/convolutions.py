"""Convolutions to test with: cases, arrays for them, and a naive loop to compare with."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from minigraph.kernels import conv, window

SAME = ((1, 1), (1, 1))


def case(N=2, size=(6, 5), C=2, K=3, kernel=(3, 3), stride=(1, 1), padding=SAME, dilation=(1, 1), groups=1):
    return dict(N=N, size=size, C=C, K=K, kernel=kernel, stride=stride, padding=padding,
                dilation=dilation, groups=groups)


def options(c):
    return {k: c[k] for k in ("stride", "padding", "dilation", "groups")}


def arrays(c, dtype=np.float64, seed=0):
    """x, w and a cotangent g of the output, standard normal."""
    rng = np.random.default_rng(seed)
    out = window.output_size(c["size"], c["kernel"], c["stride"], c["padding"], c["dilation"])
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
    for p, q, i, j in np.ndindex(*g.shape[1:3], *c["kernel"]):
        h, v = p * sh + i * dh - pt, q * sw + j * dw - pl
        if not (0 <= h < x.shape[1] and 0 <= v < x.shape[2]):
            continue
        for k in range(c["K"]):
            for a in range(Cg):
                ch = k // Kg * Cg + a
                y[:, p, q, k] += x[:, h, v, ch] * w[i, j, a, k]
                gx[:, h, v, ch] += g[:, p, q, k] * w[i, j, a, k]
                gw[i, j, a, k] += x[:, h, v, ch] @ g[:, p, q, k]
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
