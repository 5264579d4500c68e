"""Winograd convolution: fewer multiplications, for stride 1 and kernels of 2 to 4 a side.

In one dimension, F(m, r) computes m outputs of a correlation with r weights from a = m + r - 1 inputs d with a
multiplications instead of m r (Winograd 1980; for networks Lavin & Gray, 2016):

    y = A^T [(G w) * (B^T d)],      A: (a, m)   G: (a, r)   B: (a, a)

In two dimensions each side gets its own: Y = A^T [(G w G^T) * (B^T d B)] A. A map is cut into tiles of m x m outputs,
whose inputs overlap by r - 1. With channels, the product at each of the a x a points is a sum over channels: one matrix
product for all tiles.

For the T tiles of a whole side together, B^T and A become matrices with a block of a rows for each tile, set where the
tile lies on the map:

    P: (T a, H)     B^T at rows t a, columns t m - padding; columns beside the map meet zeros only, and are dropped
    S: (T a, Ho)    A   at rows t a, columns t m;           columns beside the map are outputs that nobody wants

so neither the overlap of tiles, nor padding, nor a tile that the border cuts takes a copy of the map:

    V = P x P^T             the map at the points      (Th a, Tw a, C)
    U = G w G^T                                        (a, a, C, K)
    M[p] = V[p] @ U[p]      for each point p: (tiles, C) @ (C, K)
    y = S^T M S             back to a map              (Ho, Wo, K)

Every step is linear, so the gradients are the transposed steps in reverse order, and they share Q:

    Q = S g S^T
    input:   D[p] = Q[p] @ U[p]^T,    gx = P^T D P
    weight:  gU[p] = V[p]^T @ Q[p],   gw = G^T gU G
    bias:    the sum of Q over the tiles, at the point where the forward adds it (ONE)

P and S are banded, and multiplied band by band, all bands of a height in one call: more multiplications than tile by
tile, but in products that BLAS does faster than NumPy could copy the tiles out of the map and back. The images are
taken a block at a time: down (P x) for all rows of points, then across, multiplied and back across for a few rows at a
time, then back down. All blocks of a call do the same products, so their views are made once, as a list of steps.

The error, as the largest difference over the largest value, with r = 3 and 64 channels, in float32: 7e-7 for m = 2,
3e-6 for m = 3 and 4, 1.2e-5 for m = 5 and 6 (im2col: 9e-7); in float64 less than 2.2e-14. An infinity or a NaN in the
map or the bias makes NaN of every output that shares a band with it, in both directions; one in g, of its channel of
the gradient of the bias.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache

import numpy as np

from .blas import panel_pieces, panels, pieces, product
from .memory import empty

Pair = tuple[int, int]
Shape = tuple[int, ...]
Padding = tuple[Pair, Pair]
Step = tuple[np.ufunc, np.ndarray, np.ndarray, np.ndarray]  # f(a, b, out)
Matrix = list[list[Fraction]]
# Rows of a banded matrix, as bands that one product takes together: which rows; the first column of the first band, and
# how many columns further right each next one begins; the bands (count, height, width). Other entries are zero.
Bands = list[tuple[slice, int, int, np.ndarray]]

POINTS = tuple(map(Fraction, ("0", "1", "-1", "2", "-1/2", "-2", "1/2")))  # of the orders tried, the least error
ONE = POINTS.index(Fraction(1))  # there A is 1 for every output: what is added at this point is added to all of them
# (F(1, 2) has no such point, but its row 1, infinity, is 1 as well)
LARGEST = len(POINTS) + 1  # the largest a = m + r - 1: the points, and infinity
PIECE, CALL = 64, 128  # what a product and a call cost beside it, in entries of a band: from trials of W1 and W2
MOST = 32  # bands in a call, so that a plan's time grows with the side of the map, not with its square
GROUP = 1 << 21  # bytes at the points that are taken together: most of them stay in the second-level cache
TILES = 128  # in a block of images: more leave the second-level cache, fewer are thin products


def cook_toom(m: int, r: int) -> tuple[Matrix, Matrix, Matrix]:
    """A (a, m), B (a, a) and G (a, r) of F(m, r), a = m + r - 1 <= LARGEST, exactly.

    Multiplying a polynomial of degree < m by one of degree < r is multiplying their values at a points, one of them
    infinity (the leading coefficient), and interpolating (Lagrange). A and G evaluate; the transpose of this bilinear
    map is the correlation, and turns the interpolation into B. Lagrange's denominators go into G: then A and B hold
    dyadic fractions only, which floats hold exactly.
    """
    a = m + r - 1
    points = POINTS[: a - 1]
    infinity = [Fraction(0)]
    A = [[p**i for i in range(m)] for p in points] + [infinity * (m - 1) + [Fraction(1)]]
    G = [[p**i for i in range(r)] for p in points] + [infinity * (r - 1) + [Fraction(1)]]
    columns = []
    for k, p in enumerate(points):
        others = points[:k] + points[k + 1 :]
        columns.append([*_from_roots(others), Fraction(0)])
        denominator = Fraction(1)
        for q in others:
            denominator *= p - q
        G[k] = [v / denominator for v in G[k]]
    columns.append(_from_roots(points))
    B = [list(row) for row in zip(*columns, strict=True)]
    return A, B, G


def _from_roots(roots: tuple[Fraction, ...]) -> list[Fraction]:
    """Coefficients of prod (x - root), lowest first."""
    c = [Fraction(1)]
    for root in roots:
        c = [low - root * high for low, high in zip([Fraction(0), *c], [*c, Fraction(0)], strict=True)]
    return c


class Plan:
    """The tiles of a map (H, W) and their matrices; those of its two sides come in pairs."""

    def __init__(self, size: Pair, kernel: Pair, padding: Padding, tile: Pair, dtype: np.dtype):
        self.outputs = tuple(n + sum(p) - r + 1 for n, p, r in zip(size, padding, kernel, strict=True))
        self.tiles = tuple(-(-o // m) for o, m in zip(self.outputs, tile, strict=True))
        self.a = tuple(m + r - 1 for m, r in zip(tile, kernel, strict=True))
        sides = zip(size, self.outputs, padding, self.tiles, tile, kernel, strict=True)
        matrices = [_matrices(n, o, before, T, m, r, dtype) for n, o, (before, _), T, m, r in sides]
        self.P, self.Pt, self.S, self.St, G = zip(*matrices, strict=True)
        self.G = np.kron(*G).astype(dtype)  # vec(G w G^T) = kron(G, G) vec(w)

    def blocks(self, n: int) -> list[tuple[slice, int]]:
        """n images in blocks of about TILES tiles: (those in blocks of one size, that size), and the one left over."""
        size = -(-n // max(1, round(n * math.prod(self.tiles) / TILES)))
        whole = n - n % max(1, size)
        runs = [(slice(0, whole), size), (slice(whole, n), n - whole)]
        return [(images, count) for images, count in runs if images.start < images.stop]

    def weights(self, w: np.ndarray) -> np.ndarray:
        """U = G w G^T: (r, r, C, K) -> (a, a, C, K) in panels."""
        shape = panels(w.shape)
        rows = empty(shape, w.dtype)
        rows[...] = w.reshape(*w.shape[:-1], shape[-3], shape[-1]).swapaxes(-3, -2)
        U = empty((*self.a, *shape[2:]), w.dtype)
        product(self.G, rows.reshape(self.G.shape[1], -1), out=U.reshape(len(self.G), -1))
        return U

    def weights_adjoint(self, gU: np.ndarray, gw: np.ndarray) -> None:
        """gw[...] = G^T gU G: (a, a, C, K) -> (r, r, C, K)."""
        product(self.G.T, gU.reshape(len(self.G), -1), out=gw.reshape(self.G.shape[1], -1))

    def groups(self, n: int, channels: int, itemsize: int) -> list[slice]:
        """The rows of points that are taken together: as many as have about GROUP bytes at the points of n images."""
        row = n * math.prod(self.tiles) * self.a[1] * channels * itemsize
        count = max(1, round(self.a[0] * row / GROUP))
        step = -(-self.a[0] // count)
        return [slice(i, min(i + step, self.a[0])) for i in range(0, self.a[0], step)]

    def half(self, x: np.ndarray) -> np.ndarray:
        """Room for a block of a map x (blocks, n, H, W, C) transformed down only: row i of tile t as [:, t, i]."""
        _, n, _, W, C = x.shape
        return empty((n, self.tiles[0], self.a[0], W, C), x.dtype)

    def points(self, x: np.ndarray, rows: int) -> np.ndarray:
        """Room for a block of a map x (blocks, n, H, W, C) at `rows` rows of points: (rows, tiles, a, C).

        The tiles are along n, down and across. With row i of every tile together, those of a point (i, j) are evenly
        spaced: a matrix (tiles, C) to BLAS.
        """
        _, n, _, _, C = x.shape
        return empty((rows, n * math.prod(self.tiles), self.a[1], C), x.dtype)

    def down(self, x: np.ndarray, matrix: Bands, half: np.ndarray) -> list[Step]:
        """P x or S x: x (blocks, n, H, W, C) -> half, step by step with b[i] for block i."""
        n, Th, ah, W, C = half.shape
        return _transform(x.reshape(len(x), n, -1, W * C), matrix, half.reshape(n, Th * ah, W * C))

    def across(self, half: np.ndarray, matrix: Bands, rows: slice, V: np.ndarray) -> list[Step]:
        """half P^T or half S^T at some rows of points: half -> V (rows, tiles, a, C)."""
        n, Th, _, _, C = half.shape
        V = V.reshape(len(V), n, Th, -1, C).transpose(1, 2, 0, 3, 4)  # n Th rows (Tw aw) C
        return _transform(half, matrix, V, (slice(None), slice(None), rows))

    def across_adjoint(self, V: np.ndarray, matrix: Bands, rows: slice, half: np.ndarray) -> list[Step]:
        """V S or V P at some rows of points: V (rows, tiles, a, C) -> half."""
        n, Th, _, _, C = half.shape
        return _transform(V.reshape(len(V), n, Th, -1, C), matrix, half[:, :, rows].transpose(2, 0, 1, 3, 4))

    def down_adjoint(self, half: np.ndarray, matrix: Bands, y: np.ndarray) -> list[Step]:
        """S^T half or P^T half: half -> y (blocks, n, H, W, C), step by step with out[i] for block i."""
        n, Th, ah, W, C = half.shape
        return _transform(half.reshape(n, Th * ah, W * C), matrix, y.reshape(len(y), n, -1, W * C))


plan = lru_cache(maxsize=256)(Plan)


@lru_cache(maxsize=256)
def _matrices(
    n: int, outputs: int, before: int, tiles: int, m: int, r: int, dtype: np.dtype
) -> tuple[Bands, Bands, Bands, Bands, np.ndarray]:
    """P, P^T, S, S^T and G of one side, n long with `before` of padding."""
    A, B, G = (np.array(x, np.float64) for x in cook_toom(m, r))
    P, S = (B.T.astype(dtype), tiles, m, before, n), (A.astype(dtype), tiles, m, 0, outputs)
    return _bands(*P), _bands(*P, transposed=True), _bands(*S), _bands(*S, transposed=True), G


def _transform(x: np.ndarray, bands: Bands, out: np.ndarray, part: tuple[slice, ...] = ()) -> list[Step]:
    """out[...] = matrix @ x[part] for a matrix in bands: x contiguous, (..., columns, n) -> (..., rows, n)."""
    *strides, line, entry = x.strides
    steps: list[Step] = []
    for rows, first, step, matrices in bands:
        count, height, width = matrices.shape
        # What each band multiplies is a window of x. np.ndarray makes the view in a seventh of as_strided's time.
        shape = (*x.shape[:-2], count, width, x.shape[-1])
        windows = np.ndarray(shape, x.dtype, x, first * line, (*strides, step * line, line, entry))[part]
        target = out[..., rows, :].reshape(*out.shape[:-2], count, height, out.shape[-1])
        steps.append((np.matmul, *pieces(matrices, windows, target)))
    return steps


def _multiply(V: np.ndarray, U: np.ndarray, M: np.ndarray) -> Step:
    """M[i, :, j] = V[i, :, j] @ U[i, j] for each point: (rows, tiles, a, C), (rows, a, C, K) in panels."""
    return (np.matmul, *panel_pieces(V.swapaxes(1, 2), U, M.swapaxes(1, 2)))


def _run(steps: Iterable[Step]) -> None:
    for ufunc, a, b, out in steps:
        ufunc(a, b, out)


def _bands(block: np.ndarray, tiles: int, step: int, before: int, size: int, transposed: bool = False) -> Bands:
    """The matrix (tiles a, size) with `block` (a, b) at row t a and column t step - before for each tile t, in bands.

    Or its transpose. It is never made as a whole: that would take the square of a long side. Of the heights that bands
    may have, the one whose products cost least is taken.
    """
    n = size if transposed else tiles * len(block)
    heights = range(min(n, 6), min(n, 16) + 1)
    cuts = (_cut(block, tiles, step, before, size, transposed, height) for height in heights)
    return min(cuts, key=lambda bands: sum(_cost(*pieces.shape) for *_, pieces in bands))


def _cost(count: int, height: int, width: int) -> int:
    """Of a call for `count` bands, in entries of their matrices; BLAS takes eight rows at a time."""
    return CALL + count * (PIECE + -(-height // 8) * 8 * width)


def _cut(
    block: np.ndarray, tiles: int, step: int, before: int, size: int, transposed: bool, height: int
) -> Bands:
    """Bands of `height` rows and the rows left over; neighbours share a call where that costs less: see `Bands`."""
    a, b = block.shape
    n, m = (size, tiles * a) if transposed else (tiles * a, size)
    groups: list[list[tuple[int, np.ndarray]]] = []  # of (first column, band)
    cost = 0  # of the last group
    for start in range(0, n, height):
        stop = min(start + height, n)
        if transposed:
            low, high = max(0, (start + before - b) // step + 1), min(tiles, (stop - 1 + before) // step + 1)
            piece, left = _piece(block, step, before, low, high, start, stop).T, low * a
        else:
            low, high = start // a, -(-stop // a)
            left, right = max(0, low * step - before), min(size, (high - 1) * step - before + b)
            piece = _piece(block, step, before, low, high, left, right)[start - low * a : stop - low * a]
        (used,) = np.nonzero(piece.any(0))
        some = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 0)
        band = [(min(left, m) + some.start, piece[:, some])]
        if groups and len(groups[-1]) < MOST and stop - start == height:
            joined = [*groups[-1], *band]
            if (together := _group_cost(joined, m)) <= cost + _group_cost(band, m):
                groups[-1], cost = joined, together
                continue
        groups.append(band)
        cost = _group_cost(band, m)
    bands, start = [], 0
    for group in groups:
        first, apart, width = _spacing(group, m)
        stack = np.zeros((len(group), len(group[0][1]), width), block.dtype)
        for k, (left, piece) in enumerate(group):
            at = left - first - k * apart
            stack[k, :, at : at + piece.shape[1]] = piece
        stop = min(start + len(group) * height, n)
        bands.append((slice(start, stop), first, apart, stack))
        start = stop
    return bands


def _group_cost(group: list[tuple[int, np.ndarray]], size: int) -> int:
    return _cost(len(group), len(group[0][1]), _spacing(group, size)[2])


def _spacing(group: list[tuple[int, np.ndarray]], size: int) -> tuple[int, int, int]:
    """(first, step, width) of the narrowest evenly spaced ranges of columns, one around each band."""
    last = len(group) - 1
    ranges = []
    for step in range((group[-1][0] - group[0][0]) // max(1, last) + 2):
        first = min(left - k * step for k, (left, _) in enumerate(group))
        width = max(left + piece.shape[1] - k * step for k, (left, piece) in enumerate(group)) - first
        if first >= 0 and first + last * step + width <= size:  # as for step 0 it is
            ranges.append((width, first, step))
    width, first, step = min(ranges)
    return first, step, width


def _piece(block: np.ndarray, step: int, before: int, first: int, last: int, left: int, right: int) -> np.ndarray:
    """The rows of the tiles from `first` up to `last` and the columns from `left` up to `right` of that matrix."""
    a, b = block.shape
    piece = np.zeros((max(0, last - first), a, max(0, right - left)), block.dtype)
    for t in range(first, last):
        for q in range(b):
            if left <= (column := t * step - before + q) < right:
                piece[t - first, :, column - left] = block[:, q]
    return piece.reshape(len(piece) * a, piece.shape[2])


def forward(
    x: np.ndarray, w: np.ndarray, padding: Padding, tile: Pair, bias: np.ndarray | None = None
) -> np.ndarray:
    """conv2d with stride 1: x (N, H, W, C), w (rh, rw, C, K), bias (K,) -> (N, Ho, Wo, K)."""
    x = np.ascontiguousarray(x)
    p = plan(x.shape[1:3], w.shape[:2], padding, tile, x.dtype)
    U = p.weights(w)
    y = empty((len(x), *p.outputs, w.shape[3]), x.dtype)
    for images, n in p.blocks(len(x)):
        xs, ys = _in_blocks(x[images], n), _in_blocks(y[images], n)
        half, half_y = p.half(xs), p.half(ys)
        groups = p.groups(n, sum(w.shape[2:]), x.itemsize)
        rooms = p.points(xs, groups[0].stop), p.points(ys, groups[0].stop)
        begin, steps, end = p.down(xs, p.P[0], half), [], p.down_adjoint(half_y, p.St[0], ys)
        for rows in groups:
            V, M = (room[: rows.stop - rows.start] for room in rooms)
            steps += p.across(half, p.P[1], rows, V)
            steps.append(_multiply(V, U[rows], M))
            if bias is not None and rows.start <= ONE < rows.stop:
                at_one = M[ONE - rows.start, :, ONE]
                steps.append((np.add, at_one, bias, at_one))
            steps += p.across_adjoint(M, p.St[1], rows, half_y)
        for i in range(len(xs)):
            _run((f, a, b[i], out) for f, a, b, out in begin)
            _run(steps)
            _run((f, a, b, out[i]) for f, a, b, out in end)
    return y


def gradients(
    g: np.ndarray,
    x: np.ndarray | None,
    w: np.ndarray | None,
    x_shape: Shape,
    w_shape: Shape,
    padding: Padding,
    tile: Pair,
    bias: bool = False,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """The gradients of `forward`: (gx if w is given, gw if x is given, gb if `bias`), else None.

    V is computed again: to keep it from the forward takes 2.25 times the memory of x (m = 4).
    """
    g = np.ascontiguousarray(g)
    p = plan(x_shape[1:3], w_shape[:2], padding, tile, g.dtype)
    gx = gw = gb = None
    if w is not None:
        Ut = p.weights(w.swapaxes(2, 3))
        gx = empty(x_shape, g.dtype)
    if x is not None:
        x = np.ascontiguousarray(x)
        gw = empty(w_shape, g.dtype)
        gU = empty((*p.a, *w_shape[2:]), g.dtype)
        if not len(g):
            gU.fill(0)
    if bias:
        gb = np.zeros(w_shape[3])
        sums = np.empty(w_shape[3], g.dtype)
    for images, n in p.blocks(len(g)):
        gs = _in_blocks(g[images], n)
        groups = p.groups(n, sum(w_shape[2:]), g.itemsize)
        most = groups[0].stop
        half_g, room_Q = p.half(gs), p.points(gs, most)
        begin, first, later, end = p.down(gs, p.S[0], half_g), [], [], []
        if gx is not None:
            gxs = _in_blocks(gx[images], n)
            half_gx, room = p.half(gxs), p.points(gxs, most)
            end = p.down_adjoint(half_gx, p.Pt[0], gxs)
        if x is not None:
            xs = _in_blocks(x[images], n)
            half_x, parts = p.half(xs), empty((most, *gU.shape[1:]), g.dtype)
            room = p.points(xs, most) if gx is None else room  # the gradient at the points makes way for x there
            begin += p.down(xs, p.P[0], half_x)
        for rows in groups:
            few = slice(rows.stop - rows.start)
            Q = room_Q[few]
            steps = p.across(half_g, p.S[1], rows, Q)
            if gb is not None and rows.start <= ONE < rows.stop:
                at_one = Q[ONE - rows.start, :, ONE]
                steps += [(np.matmul, np.ones(len(at_one), g.dtype), at_one, sums), (np.add, gb, sums, gb)]
            if gx is not None:
                D = room[few]
                steps += [_multiply(Q, Ut[rows], D), *p.across_adjoint(D, p.Pt[1], rows, half_gx)]
            first += steps
            later += steps
            if x is not None:
                V, part = room[few], parts[few]
                to_V = p.across(half_x, p.P[1], rows, V)
                both = V.transpose(0, 2, 3, 1), Q.swapaxes(1, 2)  # (C, tiles) @ (tiles, K) a point
                first += [*to_V, (np.matmul, *pieces(*both, gU[rows]))]
                later += [*to_V, (np.matmul, *pieces(*both, part)), (np.add, gU[rows], part, gU[rows])]
        for i in range(len(gs)):
            _run((f, a, b[i], out) for f, a, b, out in begin)
            _run(later if images.start or i else first)
            _run((f, a, b, out[i]) for f, a, b, out in end)
    if gw is not None:
        p.weights_adjoint(gU, gw)
    return gx, gw, gb if gb is None else gb.astype(g.dtype)


def _in_blocks(x: np.ndarray, n: int) -> np.ndarray:
    """(N, H, W, C) -> (N / n, n, H, W, C)."""
    return x.reshape(len(x) // n, n, *x.shape[1:])
