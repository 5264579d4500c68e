"""Convolution of NHWC maps with HWIO weights, and its two gradients: the algorithms, and the rule that picks one.

    y[n, i, j, k] = sum over p, q, c of x[n, i*sh + p*dh - pt, j*sw + q*dw - pl, c] * w[p, q, c, k]

without a flip of the kernel; x is zero outside the map; with groups, c and k run over the channels of one group. The
map is bilinear in (x, w), and its gradients are the two adjoints.

"im2col" copies each window into a row of a matrix and multiplies: any case, at the speed of BLAS less the copies.
"winograd" trades multiplications for additions (winograd.py): stride 1, dilation 1, groups 1, kernels of 2 to 4 a side.
Left to itself (`algorithm=None`) a 3x3 kernel goes to Winograd from `FEW` channels on, on both sides. Nanoseconds an
output pixel on one core, forward + both gradients, 32 float32 maps of 16x16 (`benchmarks/algorithms.py`):

    channels     3->16    8->8  12->12  16->16  24->24  32->32   16->64   64->64
    im2col          66      87     137     156     289     351      373     1096
    winograd        76      74      80      87     156     148      170      393

Maps of 8x8 and of 32x32 cross over below 8 channels too (`--size`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import as_strided

from . import winograd
from .blas import product
from .memory import empty
from .norm import add_channels, column_sums

Pair = tuple[int, int]
Shape = tuple[int, ...]
Padding = tuple[Pair, Pair]

ALGORITHMS = ("im2col", "winograd")
NO_PADDING: Padding = ((0, 0), (0, 0))
BLOCK = 1 << 21  # bytes of columns in a block: shorter ones make threads wait for the interpreter more often
THIN = 16  # C * kw below which laying windows down as columns is faster: 24 against 36 ns a pixel at 9, the same at 24
FEW = 8  # channels below which Winograd's transforms cost more than they save


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
    bias: np.ndarray | None = None,
) -> np.ndarray:
    """x (N, H, W, C), w (kh, kw, C / groups, K), bias (K,) -> (N, H', W', K).

    Raises ValueError for an `algorithm` that is unknown or cannot do this case.
    """
    size = output_size(x.shape[1:3], w.shape[:2], stride, padding, dilation)
    tile = choose(x.dtype, w.shape, size, stride, dilation, groups, algorithm)
    if tile is not None and 0 not in x.shape[1:3]:
        return winograd.forward(x, w, padding, tile, bias)
    y = empty((x.shape[0], *size, w.shape[3]), x.dtype)
    wg = _group_weights(w, groups)
    ones = _thin(w.shape) and bias is not None
    if bias is not None and ones:
        wg = np.concatenate([wg, bias.reshape(groups, 1, -1)], axis=1)
    for n, cols in _columns(x, w.shape, size, stride, padding, dilation, groups, ones):
        product(cols, wg, out=_group_pixels(y[n], cols, groups))
        if bias is not None and not ones:
            add_channels(y[n], bias)  # while the block is in cache
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

    Also the forward of a transposed convolution. Raises ValueError for an `algorithm` that is unknown or cannot do it.
    """
    gx, _, _ = conv2d_grads(g, None, w, input_size, w.shape[:2], stride, padding, dilation, groups, algorithm)
    assert gx is not None
    return gx


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
    size = x.shape[1:3]
    _, gw, _ = conv2d_grads(g, x, None, size, kernel_size, stride, padding, dilation, groups, algorithm)
    assert gw is not None
    return gw


def conv2d_grads(
    g: np.ndarray,
    x: np.ndarray | None,
    w: np.ndarray | None,
    input_size: Pair,
    kernel_size: Pair,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
    algorithm: str | None = None,
    bias: bool = False,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """The gradients in one go, sharing what they can: (gx if w is given, gw if x is given, gb if `bias`), else None.

    Raises ValueError for an `algorithm` that is unknown or cannot do this case.
    """
    K = g.shape[3]
    if x is not None:
        C = x.shape[3]
    elif w is not None:
        C = w.shape[2] * groups
    else:
        return None, None, column_sums(g) if bias else None
    x_shape, w_shape = (g.shape[0], *input_size, C), (*kernel_size, C // groups, K)
    tile = choose(g.dtype, w_shape, g.shape[1:3], stride, dilation, groups, algorithm)
    if tile is not None and 0 not in input_size:
        return winograd.gradients(g, x, w, x_shape, w_shape, padding, tile, bias)
    gx = gw = gb = None
    if w is not None:
        gx = _input_grad(g, w, input_size, stride, padding, dilation, groups)
    if x is not None:
        gw, gb = _weight_grad(x, g, w_shape, stride, padding, dilation, groups, bias)
    return gx, gw, column_sums(g) if bias and gb is None else gb


def _input_grad(
    g: np.ndarray, w: np.ndarray, size: Pair, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> np.ndarray:
    kh, kw, Cg, K = w.shape
    N, Ho, Wo, _ = g.shape
    if stride == (1, 1):
        # gx is the convolution of g with the flipped kernel, in and out channels exchanged within each group:
        # a copy of windows of g costs a third of adding windows into gx.
        wt = w[::-1, ::-1].reshape(kh, kw, Cg, groups, K // groups).transpose(0, 1, 4, 3, 2)
        wt = wt.reshape(kh, kw, K // groups, groups * Cg)
        (top, bottom), (left, right) = (
            (d * (k - 1) - p, n + p - o)
            for n, o, k, (p, _), d in zip(size, (Ho, Wo), (kh, kw), padding, dilation, strict=True)
        )
        return conv2d(g, wt, (1, 1), ((top, bottom), (left, right)), dilation, groups, "im2col")
    (pt, pb), (pl, pr) = padding
    pad = np.zeros((N, size[0] + pt + pb, size[1] + pl + pr, groups, Cg), g.dtype)
    gg = np.ascontiguousarray(g).reshape(-1, groups, K // groups).swapaxes(0, 1)
    cols = np.matmul(gg, _group_weights(w, groups).swapaxes(1, 2))
    cols = cols.reshape(groups, N, Ho, Wo, kh, kw, Cg).transpose(4, 5, 1, 2, 3, 0, 6)  # kh kw N Ho Wo groups Cg
    for i in range(kh):
        for j in range(kw):
            top, left = i * dilation[0], j * dilation[1]
            rows = slice(top, top + stride[0] * (Ho - 1) + 1, stride[0])
            columns = slice(left, left + stride[1] * (Wo - 1) + 1, stride[1])
            pad[:, rows, columns] += cols[i, j]
    gx = pad[:, pt : pt + size[0], pl : pl + size[1]]
    return gx.reshape(N, *size, groups * Cg)


def _weight_grad(
    x: np.ndarray,
    g: np.ndarray,
    w_shape: Shape,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    bias: bool = False,
) -> tuple[np.ndarray, np.ndarray | None]:
    """gw, and where it takes nothing more, with `bias`, the gradient of the bias: that of the weight of a 1."""
    kh, kw, Cg, K = w_shape
    g = np.ascontiguousarray(g)
    ones = bias and _thin(w_shape) and g.dtype.itemsize >= 4  # a sum over the map needs more digits than float16's
    gw = np.zeros((groups, kh * kw * Cg + ones, K // groups), g.dtype)
    for n, cols in _columns(x, w_shape, g.shape[1:3], stride, padding, dilation, groups, ones):
        gw += np.matmul(cols.swapaxes(2, 3), _group_pixels(g[n], cols, groups)).sum(0)
    gb = gw[:, -1].reshape(K) if ones else None
    return gw[:, : kh * kw * Cg].swapaxes(0, 1).reshape(w_shape), gb


def _group_weights(w: np.ndarray, groups: int) -> np.ndarray:
    """(kh, kw, C / groups, K) -> (groups, kh * kw * C / groups, K / groups)."""
    return w.reshape(-1, groups, w.shape[3] // groups).swapaxes(0, 1)


def _group_pixels(y: np.ndarray, cols: np.ndarray, groups: int) -> np.ndarray:
    """A contiguous (n, H', W', K) as the view (parts, groups, pixels, K / groups) that goes with `cols`."""
    return y.reshape(cols.shape[0], -1, groups, y.shape[3] // groups).swapaxes(1, 2)


def _thin(w_shape: Shape) -> bool:
    """Whether the windows are laid down as columns."""
    kh, kw, Cg, _ = w_shape
    return Cg * kw < THIN and (kh, kw) != (1, 1)


def _columns(
    x: np.ndarray,
    w_shape: Shape,
    size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    ones: bool = False,
) -> Iterator[tuple[slice, np.ndarray]]:
    """The windows of x as rows: (slice of images, (parts, groups, pixels, kh * kw * C / groups)), block by block.

    A window's pixels are runs of C (with dilation 1: kw * C) adjacent numbers, and copied as such. With few channels
    such runs are too short: then the rows are laid down as columns, so that the runs are rows of the map, and each
    image is a part of its own. There `ones` adds a last entry of 1 to each window, for a bias among the weights.
    """
    N, _, _, C = x.shape
    (kh, kw, Cg, _), (Ho, Wo) = w_shape, size
    if 0 in (N, Ho, Wo):
        return
    thin = _thin(w_shape)
    step = max(1, BLOCK // max(1, Ho * Wo * kh * kw * C * x.itemsize))
    for start in range(0, N, step):
        n = slice(start, min(start + step, N))
        if (kh, kw) == stride == (1, 1) and groups == 1 and padding == NO_PADDING:  # the pixels are the windows
            yield n, x[n].reshape(1, 1, -1, C)
            continue
        pad = _padded(x[n], padding, thin)
        sn, sh, sw, sc = pad.strides
        windows = as_strided(  # n groups Ho Wo kh kw Cg
            pad,
            (len(pad), groups, Ho, Wo, kh, kw, Cg),
            (sn, sc * Cg, sh * stride[0], sw * stride[1], sh * dilation[0], sw * dilation[1], sc),
        )
        if thin:
            cols = empty((len(pad), groups, kh * kw * Cg + ones, Ho * Wo), x.dtype)
            cols[:, :, kh * kw * Cg :] = 1
            shape = (len(pad), groups, kh, kw, Cg, Ho, Wo)
            np.copyto(cols[:, :, : kh * kw * Cg].reshape(shape), windows.transpose(0, 1, 4, 5, 6, 2, 3))
            yield n, cols.swapaxes(2, 3)
        else:
            cols = empty((1, groups, len(pad) * Ho * Wo, kh * kw * Cg), x.dtype)
            shape = (groups, len(pad), Ho, Wo, kh, kw, Cg)
            np.copyto(cols.reshape(shape), windows.swapaxes(0, 1))
            yield n, cols


def _padded(x: np.ndarray, padding: Padding, planar: bool) -> np.ndarray:
    """x with zeros around it; negative padding cuts. Planar: one plane of memory a channel, with the same axes."""
    (pt, pb), (pl, pr) = padding
    if not planar and pt == pb == pl == pr == 0:
        return x
    n, H, W, C = x.shape
    h, w = H + pt + pb, W + pl + pr
    pad = empty((n, C, h, w), x.dtype).transpose(0, 2, 3, 1) if planar else empty((n, h, w, C), x.dtype)
    pad.fill(0)
    inside = pad[:, max(pt, 0) : h - max(pb, 0), max(pl, 0) : w - max(pr, 0)]
    inside[...] = x[:, max(-pt, 0) : H - max(-pb, 0), max(-pl, 0) : W - max(-pr, 0)]
    return pad


@lru_cache(maxsize=1024)
def choose(
    dtype: np.dtype, w_shape: Shape, size: Pair, stride: Pair, dilation: Pair, groups: int, algorithm: str | None
) -> Pair | None:
    """The sides of the Winograd tile for this convolution, or None for im2col. Its error is too large for float16."""
    if algorithm not in (None, *ALGORITHMS):
        raise ValueError(f"algorithm is one of {ALGORITHMS} or None, got {algorithm!r}")
    if algorithm == "im2col":
        return None
    kernel = w_shape[:2]
    able = True
    if stride != (1, 1) or dilation != (1, 1) or groups != 1:
        able, needs = False, f"stride 1, dilation 1 and groups 1, got {stride}, {dilation} and {groups}"
    elif not all(2 <= k <= 4 for k in kernel):
        able, needs = False, f"kernels of 2 to 4 a side, got {tuple(kernel)}"
    if algorithm == "winograd" and not able:
        raise ValueError(f"algorithm 'winograd' needs {needs}")
    pays = tuple(kernel) == (3, 3) and min(w_shape[2:]) >= FEW and dtype.itemsize >= 4
    if not able or 0 in size or (algorithm is None and not pays):
        return None
    th, tw = (_tile(n, k) for n, k in zip(size, kernel, strict=True))
    return th, tw


def _tile(n: int, r: int) -> int:
    """The tile side m that computes n outputs with the fewest multiplications; of equals, the smallest.

    The largest that winograd.py can do is left out: it was 2% faster at 6x6, not at 30x30, and has the largest error.
    """
    return min(range(r - 1, winograd.LARGEST - r + 1), key=lambda m: (-(-n // m) * (m + r - 1), m))
