"""Convolution of NHWC maps with HWIO weights, and its two gradients: the algorithms, and the rule that picks one.

y[n, i, j, k] = sum over p, q, c of x[n, i*sh + p*dh - pt, j*sw + q*dw - pl, c] * w[p, q, c, k]

(no kernel flip; x is zero outside the map; with groups, the channels c and k are those of one group). The map is
bilinear in (x, w): its gradients are the two adjoints.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import as_strided

from . import winograd

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]

ALGORITHMS = ("im2col", "winograd")
NO_PADDING: Padding = ((0, 0), (0, 0))
BLOCK = 1 << 20  # bytes of columns in a block


def output_size(size: Pair, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair) -> Pair:
    """(H', W') of a convolution: the positions at which the dilated kernel fits the padded map."""
    h, w = (
        (n + sum(p) - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    )
    return max(h, 0), max(w, 0)


def conv2d(
    x: np.ndarray,
    w: np.ndarray,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
    algorithm: str | None = None,
) -> np.ndarray:
    """x (N, H, W, C), w (kh, kw, C / groups, K) -> (N, H', W', K).

    Raises ValueError for an `algorithm` that is unknown or cannot do this case.
    """
    size = output_size(x.shape[1:3], w.shape[:2], stride, padding, dilation)
    tile = choose(x.shape, w.shape, size, stride, dilation, groups, algorithm)
    if tile is not None:
        return winograd.forward(x, np.ascontiguousarray(w), padding, tile)
    kh, kw, _, K = w.shape
    y = np.empty((x.shape[0], *size, K), x.dtype)
    wg = _group_weights(w, groups)
    for n, cols in _columns(x, (kh, kw), size, stride, padding, dilation, groups):
        out = y[n].reshape(-1, groups, K // groups).swapaxes(0, 1)
        np.matmul(cols, wg, out=out)
    return y


def conv2d_input_grad(
    g: np.ndarray,
    w: np.ndarray,
    input_size: Pair,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
    algorithm: str | None = None,
) -> np.ndarray:
    """The adjoint of conv2d in x: g (N, H', W', K), w (kh, kw, C / groups, K) -> (N, H, W, C).

    Also the forward of a transposed convolution. Raises ValueError for an `algorithm` that is unknown or cannot do this.
    """
    return conv2d_grads(g, None, w, input_size, None, stride, padding, dilation, groups, algorithm)[0]


def conv2d_weight_grad(
    x: np.ndarray,
    g: np.ndarray,
    kernel_size: Pair,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
    algorithm: str | None = None,
) -> np.ndarray:
    """The adjoint of conv2d in w: x (N, H, W, C), g (N, H', W', K) -> (kh, kw, C / groups, K).

    Raises ValueError for an `algorithm` that is unknown or cannot do this case.
    """
    return conv2d_grads(g, x, None, None, kernel_size, stride, padding, dilation, groups, algorithm)[1]


def conv2d_grads(g, x, w, input_size=None, kernel_size=None, stride=(1, 1), padding=NO_PADDING,
                 dilation=(1, 1), groups=1, algorithm=None):
    """Both gradients at once, sharing what they can: (gx if w is given else None, gw if x is given else None)."""
    input_size = x.shape[1:3] if x is not None else input_size
    kernel_size = w.shape[:2] if w is not None else kernel_size
    C = x.shape[3] if x is not None else w.shape[2] * groups
    N, *size, K = g.shape
    x_shape = (N, *input_size, C)
    w_shape = (*kernel_size, C // groups, K)
    tile = choose(x_shape, w_shape, size, stride, dilation, groups, algorithm)
    if tile is not None:
        w = None if w is None else np.ascontiguousarray(w)
        return winograd.gradients(g, x, w, x_shape, w_shape, padding, tile)
    gx = gw = None
    if w is not None:
        gx = _input_grad(g, w, x_shape, stride, padding, dilation, groups)
    if x is not None:
        gw = _weight_grad(x, g, w_shape, stride, padding, dilation, groups)
    return gx, gw


def _input_grad(g, w, x_shape, stride, padding, dilation, groups):
    kh, kw, Cg, K = w.shape
    Kg = K // groups
    N, H, W, C = x_shape
    if stride == (1, 1):
        # gx is the correlation of g with the flipped kernel, in and out channels exchanged within each group
        wt = w[::-1, ::-1].reshape(kh, kw, Cg, groups, Kg).transpose(0, 1, 4, 3, 2).reshape(kh, kw, Kg, C)
        full = tuple(
            (d * (k - 1) - p[0], n + p[0] - o)
            for n, o, k, p, d in zip((H, W), g.shape[1:3], (kh, kw), padding, dilation, strict=True)
        )
        return conv2d(g, wt, (1, 1), full, dilation, groups, "im2col")
    (pt, pb), (pl, pr) = padding
    Ho, Wo = g.shape[1:3]
    pad = np.zeros((N, H + pt + pb, W + pl + pr, C), g.dtype)
    wg = _group_weights(w, groups).swapaxes(1, 2)  # groups, Kg, kh*kw*Cg
    dcols = np.matmul(g.reshape(-1, groups, Kg).swapaxes(0, 1), wg)
    dcols = dcols.reshape(groups, N, Ho, Wo, kh, kw, Cg)
    padg = pad.reshape(*pad.shape[:3], groups, Cg)
    for i in range(kh):
        for j in range(kw):
            top, left = i * dilation[0], j * dilation[1]
            rows = slice(top, top + stride[0] * (Ho - 1) + 1, stride[0])
            columns = slice(left, left + stride[1] * (Wo - 1) + 1, stride[1])
            padg[:, rows, columns] += dcols[..., i, j, :].transpose(1, 2, 3, 0, 4)
    return pad[:, pt : pt + H, pl : pl + W]


def _weight_grad(x, g, w_shape, stride, padding, dilation, groups):
    kh, kw, Cg, K = w_shape
    gw = np.zeros((groups, kh * kw * Cg, K // groups), g.dtype)
    for n, cols in _columns(x, (kh, kw), g.shape[1:3], stride, padding, dilation, groups):
        gn = g[n].reshape(-1, groups, K // groups).swapaxes(0, 1)
        gw += np.matmul(cols.swapaxes(1, 2), gn)
    return np.ascontiguousarray(gw.reshape(groups, kh, kw, Cg, K // groups).transpose(1, 2, 3, 0, 4)).reshape(w_shape)


def _group_weights(w: np.ndarray, groups: int) -> np.ndarray:
    """(kh, kw, C / groups, K) -> (groups, kh * kw * C / groups, K / groups)"""
    return w.reshape(-1, groups, w.shape[3] // groups).swapaxes(0, 1)


def _columns(x, kernel, size, stride, padding, dilation, groups) -> Iterator[tuple[slice, np.ndarray]]:
    """The windows of x as rows, a block of images at a time: (slice, (groups, n * H' * W', kh * kw * C / groups))."""
    N, H, W, C = x.shape
    kh, kw = kernel
    Ho, Wo = size
    if not N or not Ho or not Wo:
        return
    (pt, pb), (pl, pr) = padding
    cut = max(-pt, 0), max(-pl, 0)
    per_image = Ho * Wo * kh * kw * C * x.itemsize
    step = max(1, BLOCK // max(per_image, 1))
    for i in range(0, N, step):
        n = slice(i, min(i + step, N))
        if pt == pb == pl == pr == 0:
            pad = x[n]
        else:
            pad = np.zeros((len(x[n]), H + pt + pb, W + pl + pr, C), x.dtype)
            h = pad[:, max(pt, 0) : pad.shape[1] - max(pb, 0), max(pl, 0) : pad.shape[2] - max(pr, 0)]
            h[...] = x[n, cut[0] : cut[0] + h.shape[1], cut[1] : cut[1] + h.shape[2]]
        sn, sh, sw, sc = pad.strides
        Cg = C // groups
        view = as_strided(
            pad,
            (groups, len(pad), Ho, Wo, kh, kw, Cg),
            (sc * Cg, sn, sh * stride[0], sw * stride[1], sh * dilation[0], sw * dilation[1], sc),
            writeable=False,
        )
        yield n, view.reshape(groups, len(pad) * Ho * Wo, kh * kw * Cg)


def choose(x_shape, w_shape, size, stride, dilation, groups, algorithm) -> Pair | None:
    """The Winograd tile for this convolution, or None for im2col."""
    if algorithm not in (None, *ALGORITHMS):
        raise ValueError(f"algorithm is one of {ALGORITHMS} or None, got {algorithm!r}")
    if algorithm == "im2col":
        return None
    kernel = w_shape[:2]
    why = None
    if stride != (1, 1) or dilation != (1, 1) or groups != 1:
        why = f"stride 1, dilation 1 and groups 1, got {stride}, {dilation} and {groups}"
    elif not all(2 <= k <= 4 for k in kernel):
        why = f"kernels of 2 to 4 a side, got {kernel}"
    if why:
        if algorithm == "winograd":
            raise ValueError(f"algorithm='winograd' needs {why}")
        return None
    if algorithm is None and (kernel != (3, 3) or x_shape[3] < 16 or w_shape[3] < 16):
        return None
    tiles = tuple(_tile(n, k) for n, k in zip(size, kernel, strict=True))
    return tiles


def _tile(n: int, r: int) -> int:
    """The tile side with fewest multiplications; at equal cost the smaller"""
    best = min(range(r - 1, 7), key=lambda m: (-(-n // m) * (m + r - 1), m))
    return min(best, winograd.LARGEST - r + 1)
