"""Convolution of NHWC maps with HWIO weights, and its two gradients: two algorithms, and the rule that picks one.

    y[n, p, q, k] = sum over i, j, c of x[n, p*sh + i*dh - pt, q*sw + j*dw - pl, c] * w[i, j, c, k]

(p, q) is the output pixel and (i, j) the tap of the kernel. (sh, sw) is the stride, (dh, dw) the dilation, (pt, pl) the
padding at the top and at the left, and x is zero outside the map. The kernel is not flipped. With groups, c and k run
over the channels of one group. y is linear in x and linear in w, and the two gradients are the adjoints of these two
linear maps.

The algorithms:

- "im2col" copies each window of the map into a row of a matrix, and multiplies that matrix by the weights. It takes
  every case, and runs at the speed of BLAS less the time of the copies.
- "winograd" (winograd.py) trades multiplications for additions. It needs stride 1, dilation 1, groups 1, and kernels of
  2 to 4 taps a side.

Without a choice by the caller (`algorithm=None`), a 3x3 kernel goes to Winograd if it has at least `WINOGRAD_CHANNELS`
channels in and out; all other cases go to im2col. The table has nanoseconds an output pixel on one core, for the
forward and both gradients of 32 float32 maps of 16x16 (`benchmarks/algorithms.py`):

    channels     3->16    8->8  12->12  16->16  24->24  32->32   16->64   64->64
    im2col          66      87     137     156     289     351      373     1096
    winograd        76      74      80      87     156     148      170      393

On maps of 8x8 and of 32x32 (`--size`), too, Winograd is the faster one from fewer than 8 channels on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import as_strided

from . import winograd
from .blas import product
from .memory import Needs, empty
from .norm import add_channels, column_sums
from .precision import widened
from .window import NO_PADDING, Padding, Pair, Shape, output_size

ALGORITHMS = ("im2col", "winograd")
BLOCK_BYTES = 1 << 21  # of windows in a block; with smaller blocks, threads wait more often for Python's global lock
# If kw * C / groups is below this, windows are stored as columns, see `_im2col`. At 9 this took 24 ns a pixel, where
# rows took 36; at 24 both took the same.
SHORT_RUN = 16
WINOGRAD_CHANNELS = 8  # with fewer, Winograd's transforms cost more than its products save


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
    """The convolution: x (N, H, W, C), w (kh, kw, C / groups, K), bias (K,) -> (N, H', W', K).

    Raises ValueError if the `algorithm` is unknown or cannot do this case.
    """
    if "e" in (x.dtype.char, w.dtype.char):
        dtype, bias = np.result_type(x, w), None if bias is None else widened(bias)
        y = conv2d(widened(x), widened(w), stride, padding, dilation, groups, algorithm, bias)
        return y.astype(dtype, copy=False)
    size = output_size(x.shape[1:3], w.shape[:2], stride, padding, dilation)
    tile = choose(w.shape, size, stride, dilation, groups, algorithm)
    if tile is not None and 0 not in x.shape[1:3]:
        return winograd.forward(x, w, padding, tile, bias)
    y = empty((x.shape[0], *size, w.shape[3]), x.dtype)
    wg = _group_weights(w, groups)
    ones = _short_runs(w.shape) and bias is not None
    if bias is not None and ones:
        wg = np.concatenate([wg, bias.reshape(groups, 1, -1)], axis=1)
    for n, cols in _im2col(x, w.shape, size, stride, padding, dilation, groups, ones):
        product(cols, wg, out=_group_pixels(y[n], cols, groups))
        if bias is not None and not ones:
            add_channels(y[n], bias)  # now, while the block is still in cache
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

    This is also the forward of a transposed convolution. Raises ValueError if the `algorithm` is unknown or cannot do
    this case.
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

    Raises ValueError if the `algorithm` is unknown or cannot do this case.
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
    """The gradients in one call, so that they share what they can: (gx, gw, gb), those of the input, weight and bias.

    gx needs w, gw needs x, and gb is computed if `bias`. A gradient that is not computed is None. float16 beside
    float32 gives float32. Raises ValueError if the `algorithm` is unknown or cannot do this case.
    """
    given = [a for a in (g, x, w) if a is not None]
    if any(a.dtype.char == "e" for a in given):
        x, w = None if x is None else widened(x), None if w is None else widened(w)
        geometry = (input_size, kernel_size, stride, padding, dilation, groups)
        grads = conv2d_grads(widened(g), x, w, *geometry, algorithm, bias)
        gx, gw, gb = (None if a is None else a.astype(np.result_type(*given), copy=False) for a in grads)
        return gx, gw, gb
    K = g.shape[3]
    if x is not None:
        C = x.shape[3]
    elif w is not None:
        C = w.shape[2] * groups
    else:
        return None, None, column_sums(g) if bias else None
    x_shape, w_shape = (g.shape[0], *input_size, C), (*kernel_size, C // groups, K)
    tile = choose(w_shape, g.shape[1:3], stride, dilation, groups, algorithm)
    if tile is not None and 0 not in input_size:
        return winograd.gradients(g, x, w, x_shape, w_shape, padding, tile, bias)
    gx = gw = gb = None
    if w is not None:
        gx = _input_grad(g, w, input_size, stride, padding, dilation, groups)
    if x is not None:
        gw, gb = _weight_grad(x, g, w_shape, stride, padding, dilation, groups, bias)
    return gx, gw, column_sums(g) if bias and gb is None else gb


def needs(
    x_shape: Shape,
    w_shape: Shape,
    dtype: np.dtype,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
    algorithm: str | None = None,
    needed: Pair | None = None,
) -> Needs:
    """The memory of conv2d or, where `needed` says whether x and w need a gradient, of `conv2d_grads`."""
    (N, H, W, C), (kh, kw, _, K) = x_shape, w_shape
    size = output_size((H, W), (kh, kw), stride, padding, dilation)
    wide = np.result_type(dtype, np.float32)
    copies = 0 if wide == dtype else N * (H * W * C + math.prod(size) * K) * wide.itemsize
    tile = choose(w_shape, size, stride, dilation, groups, algorithm)
    if tile is not None:
        return winograd.needs(x_shape, w_shape, padding, tile, wide, needed)._replace(fresh=copies)
    if 0 in (N, H, W, *size):
        return Needs()

    def block(channels: int, pixels: int, map_size: Pair) -> list[int]:  # of `_im2col`: the windows, the padded map
        windows = pixels * kh * kw * channels * wide.itemsize
        images = min(N, max(1, BLOCK_BYTES // windows))
        padded = math.prod(n + sum(p) for n, p in zip(map_size, padding, strict=True)) * channels * wide.itemsize
        return [images * windows, images * padded]

    if (kh, kw) == stride == (1, 1) and groups == 1 and padding == NO_PADDING:
        return Needs(fresh=copies)
    recycled: list[int] = []
    if needed is None or needed[1]:
        recycled += block(C, math.prod(size), (H, W))
    if needed is not None and needed[0]:
        if stride == (1, 1):
            recycled += block(K, H * W, size)
        else:
            copies += N * (math.prod(size) * kh * kw * C + H * W * C) * wide.itemsize
    return Needs(tuple(recycled), copies)


def _input_grad(
    g: np.ndarray, w: np.ndarray, size: Pair, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> np.ndarray:
    """gx by im2col: with stride 1 as a convolution of g, otherwise as the sum of the gradients of all windows."""
    kh, kw, Cg, K = w.shape
    N, Ho, Wo, _ = g.shape
    if stride == (1, 1):
        # gx is the convolution of g with the flipped kernel, whose channels in and out change places in each group.
        # Copying windows out of g takes a third of the time of adding windows into gx.
        wt = w[::-1, ::-1].reshape(kh, kw, Cg, groups, K // groups).transpose(0, 1, 4, 3, 2)
        wt = wt.reshape(kh, kw, K // groups, groups * Cg)
        (top, bottom), (left, right) = (
            (d * (k - 1) - before, n + before - o)
            for n, o, k, (before, _), d in zip(size, (Ho, Wo), (kh, kw), padding, dilation, strict=True)
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
    """gw by im2col and, with `bias`, the gradient of the bias if it costs nothing more, else None.

    It costs nothing more where `_im2col` adds an entry of 1 to each window: it is the gradient of that entry's weight.
    """
    kh, kw, Cg, K = w_shape
    g = np.ascontiguousarray(g)
    ones = bias and _short_runs(w_shape)
    gw = np.zeros((groups, kh * kw * Cg + ones, K // groups), g.dtype)
    for n, cols in _im2col(x, w_shape, g.shape[1:3], stride, padding, dilation, groups, ones):
        gw += np.matmul(cols.swapaxes(2, 3), _group_pixels(g[n], cols, groups)).sum(0)
    gb = gw[:, -1].reshape(K) if ones else None
    return gw[:, : kh * kw * Cg].swapaxes(0, 1).reshape(w_shape), gb


def _group_weights(w: np.ndarray, groups: int) -> np.ndarray:
    """(kh, kw, C / groups, K) -> (groups, kh * kw * C / groups, K / groups)."""
    return w.reshape(-1, groups, w.shape[3] // groups).swapaxes(0, 1)


def _group_pixels(y: np.ndarray, cols: np.ndarray, groups: int) -> np.ndarray:
    """The view of a contiguous y (n, H', W', K) that goes with `cols`: (parts, groups, pixels, K / groups)."""
    return y.reshape(cols.shape[0], -1, groups, y.shape[3] // groups).swapaxes(1, 2)


def _short_runs(w_shape: Shape) -> bool:
    """Whether the windows are stored as columns, see `_im2col`."""
    kh, kw, Cg, _ = w_shape
    return Cg * kw < SHORT_RUN and (kh, kw) != (1, 1)


def _im2col(
    x: np.ndarray,
    w_shape: Shape,
    size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    ones: bool = False,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Copy the windows of x, one block of images after the other.

    Yields (slice of images, cols), with cols (parts, groups, pixels, kh * kw * C / groups): a window is a row of cols.

    A window consists of runs of C adjacent numbers (kw * C with dilation 1), and NumPy copies run by run. With few
    channels the runs are so short that the copy is slow. Then windows are stored as columns: a run is now a row of the
    map, taken at one tap and channel. cols is a transposed view of that, with a part for each image (otherwise there
    is one part). In this layout `ones` adds a last entry of 1 to each window, so that a bias can be one of the weights.
    """
    N, _, _, C = x.shape
    (kh, kw, Cg, _), (Ho, Wo) = w_shape, size
    if 0 in (N, Ho, Wo):
        return
    short_runs = _short_runs(w_shape)
    step = max(1, BLOCK_BYTES // max(1, Ho * Wo * kh * kw * C * x.itemsize))
    for start in range(0, N, step):
        n = slice(start, min(start + step, N))
        if (kh, kw) == stride == (1, 1) and groups == 1 and padding == NO_PADDING:  # a window is a pixel
            yield n, x[n].reshape(1, 1, -1, C)
            continue
        pad = _pad(x[n], padding, short_runs)
        sn, sh, sw, sc = pad.strides
        windows = as_strided(  # n groups Ho Wo kh kw Cg
            pad,
            (len(pad), groups, Ho, Wo, kh, kw, Cg),
            (sn, sc * Cg, sh * stride[0], sw * stride[1], sh * dilation[0], sw * dilation[1], sc),
        )
        if short_runs:
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


def _pad(x: np.ndarray, padding: Padding, planar: bool) -> np.ndarray:
    """x with zeros around it; where padding is negative, x is cropped.

    With `planar`, each channel of an image is stored as a plane of its own. The order of the axes stays.
    """
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
    w_shape: Shape, size: Pair, stride: Pair, dilation: Pair, groups: int, algorithm: str | None
) -> Pair | None:
    """The tile (outputs down, outputs across) if this convolution goes to Winograd, None if it goes to im2col.

    w_shape is (kh, kw, C / groups, K) and size (H', W'). Raises ValueError if the
    `algorithm` is unknown or cannot do this case.
    """
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
    pays = tuple(kernel) == (3, 3) and min(w_shape[2:]) >= WINOGRAD_CHANNELS
    if not able or 0 in size or (algorithm is None and not pays):
        return None
    th, tw = (_tile(n, k) for n, k in zip(size, kernel, strict=True))
    return th, tw


def _tile(n: int, r: int) -> int:
    """The side m of a tile for n outputs and r weights: the one with the fewest multiplications, then the smallest.

    The largest that winograd.py can do is left out. It was 2% faster on maps of 6x6, not faster on 30x30, and has the
    largest error.
    """
    return min(range(r - 1, winograd.MAX_POINTS - r + 1), key=lambda m: (-(-n // m) * (m + r - 1), m))
