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
time, then back down. All blocks of a shape do the same products in the same memory, so their views are made once, as a
list of steps.

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
from .memory import Workspace, empty

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
        self.size, self.dtype = size, dtype
        self.outputs = tuple(n + sum(p) - r + 1 for n, p, r in zip(size, padding, kernel, strict=True))
        self.tiles = tuple(-(-o // m) for o, m in zip(self.outputs, tile, strict=True))
        self.a = tuple(m + r - 1 for m, r in zip(tile, kernel, strict=True))
        sides = zip(size, self.outputs, padding, self.tiles, tile, kernel, strict=True)
        matrices = [_matrices(n, o, before, T, m, r, dtype) for n, o, (before, _), T, m, r in sides]
        self.P, self.Pt, self.S, self.St, G = zip(*matrices, strict=True)
        self.G = np.kron(*G).astype(dtype)  # vec(G w G^T) = kron(G, G) vec(w)

    def blocks(self, n: int, channels: int) -> list[tuple[slice, int, int]]:
        """n images in blocks of about TILES tiles: those of one size, then the one left over.

        Each as (which images, how many a block, how many rows of points at a time: about GROUP bytes). The rows are the
        same for both, so that the smaller block needs no more memory.
        """
        tiles = math.prod(self.tiles)
        size = -(-n // max(1, round(n * tiles / TILES)))
        row = size * tiles * self.a[1] * channels * self.dtype.itemsize
        rows = -(-self.a[0] // max(1, round(self.a[0] * row / GROUP)))
        whole = n - n % max(1, size)
        runs = [(slice(0, whole), size, rows), (slice(whole, n), n - whole, rows)]
        return [run for run in runs if run[1]]

    def weights(self, w: np.ndarray, U: np.ndarray) -> None:
        """U[...] = G w G^T: (r, r, C, K) -> (a, a, C, K) in panels."""
        shape = panels(w.shape)
        rows = empty(shape, w.dtype)
        rows[...] = w.reshape(*w.shape[:-1], shape[-3], shape[-1]).swapaxes(-3, -2)
        product(self.G, rows.reshape(self.G.shape[1], -1), out=U.reshape(len(self.G), -1))

    def weights_adjoint(self, gU: np.ndarray, gw: np.ndarray) -> None:
        """gw[...] = G^T gU G: (a, a, C, K) -> (r, r, C, K)."""
        product(self.G.T, gU.reshape(len(self.G), -1), out=gw.reshape(self.G.shape[1], -1))

    def groups(self, rows: int) -> list[slice]:
        """The rows of points, `rows` at a time."""
        return [slice(i, min(i + rows, self.a[0])) for i in range(0, self.a[0], rows)]

    def half(self, n: int, W: int, C: int) -> Shape:
        """Of n maps (H, W, C) transformed down only: row i of tile t is [:, t, i]."""
        return n, self.tiles[0], self.a[0], W, C

    def points(self, n: int, rows: int, C: int) -> Shape:
        """Of n maps of C channels at `rows` rows of points: (rows, tiles, a, C).

        The tiles are along n, down and across. With row i of every tile together, those of a point (i, j) are evenly
        spaced: a matrix (tiles, C) to BLAS.
        """
        return rows, n * math.prod(self.tiles), self.a[1], C

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
    y = empty((len(x), *p.outputs, w.shape[3]), x.dtype)
    for images, n, rows in p.blocks(len(x), sum(w.shape[2:])):
        block = _workspace.prepared(_Forward, p, n, rows, *w.shape[2:], bias is not None)
        if not images.start:
            p.weights(w, block.U)
            if bias is not None:
                block.bias[...] = bias
        xs, ys = _in_blocks(x[images], n), _in_blocks(y[images], n)
        begin, end = p.down(xs, p.P[0], block.half), p.down_adjoint(block.half_y, p.St[0], ys)
        for i in range(len(xs)):
            _run((f, a, b[i], out) for f, a, b, out in begin)
            _run(block.steps)
            _run((f, a, b, out[i]) for f, a, b, out in end)
    return y


class _Forward:
    """What `forward` does to a block of n images between the way down and the way back, and where."""

    def __init__(self, p: Plan, n: int, rows: int, C: int, K: int, bias: bool):
        self.U, self.bias, self.half, self.half_y, room, room_y = _workspace.arrays(
            p.dtype,
            (*p.a, *panels((C, K))),  # the first two lie at one place for every n
            (K,),
            p.half(n, p.size[1], C),
            p.half(n, p.outputs[1], K),
            p.points(n, rows, C),
            p.points(n, rows, K),
        )
        self.steps: list[Step] = []
        for group in p.groups(rows):
            few = slice(group.stop - group.start)
            V, M = room[few], room_y[few]
            self.steps += [*p.across(self.half, p.P[1], group, V), _multiply(V, self.U[group], M)]
            if bias and group.start <= ONE < group.stop:
                at_one = M[ONE - group.start, :, ONE]
                self.steps.append((np.add, at_one, self.bias, at_one))
            self.steps += p.across_adjoint(M, p.St[1], group, self.half_y)


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
    x = None if x is None else np.ascontiguousarray(x)
    gx = None if w is None else empty(x_shape, g.dtype)
    gb = np.zeros(w_shape[3]) if bias else None
    gw = None if x is None else empty(w_shape, g.dtype)
    if gw is not None and not len(g):
        gw.fill(0)
    for images, n, rows in p.blocks(len(g), sum(w_shape[2:])):
        block = _workspace.prepared(_Gradients, p, n, rows, *w_shape[2:], w is not None, x is not None, bias)
        if w is not None and not images.start:
            p.weights(w.swapaxes(2, 3), block.Ut)
        begin, end = p.down(_in_blocks(g[images], n), p.S[0], block.half), []
        if x is not None:
            begin += p.down(_in_blocks(x[images], n), p.P[0], block.half_x)
        if gx is not None:
            end = p.down_adjoint(block.half_gx, p.Pt[0], _in_blocks(gx[images], n))
        for i in range((images.stop - images.start) // n):
            _run((f, a, b[i], out) for f, a, b, out in begin)
            _run(block.later if images.start or i else block.first)
            _run((f, a, b, out[i]) for f, a, b, out in end)
            if gb is not None:
                gb += block.gb
        if gw is not None and images.stop == len(g):
            p.weights_adjoint(block.gU, gw)
    return gx, gw, gb if gb is None else gb.astype(g.dtype)


class _Gradients:
    """What `gradients` does to a block of n images between the ways down and the way back, and where.

    The `first` block begins the sums over images that the `later` ones add to.
    """

    def __init__(self, p: Plan, n: int, rows: int, C: int, K: int, need_x: bool, need_w: bool, bias: bool):
        half_x = p.half(n, p.size[1], C)
        none: Shape = (0,)
        self.Ut, self.gU, self.gb, self.half, self.half_x, self.half_gx, room_Q, room, parts = _workspace.arrays(
            p.dtype,
            (*p.a, *panels((K, C))) if need_x else none,  # the first three lie at one place for every n
            (*p.a, C, K) if need_w else none,
            (K,),
            p.half(n, p.outputs[1], K),
            half_x if need_w else none,
            half_x if need_x else none,
            p.points(n, rows, K),
            p.points(n, rows, C),
            (rows, p.a[1], C, K) if need_w else none,
        )
        self.first: list[Step] = []
        self.later: list[Step] = []
        for group in p.groups(rows):
            few = slice(group.stop - group.start)
            Q = room_Q[few]
            steps = p.across(self.half, p.S[1], group, Q)
            if bias and group.start <= ONE < group.stop:
                at_one = Q[ONE - group.start, :, ONE]
                steps.append((np.matmul, np.ones(len(at_one), p.dtype), at_one, self.gb))
            if need_x:
                D = room[few]
                steps += [_multiply(Q, self.Ut[group], D), *p.across_adjoint(D, p.Pt[1], group, self.half_gx)]
            self.first += steps
            self.later += steps
            if need_w:
                V, part, gU = room[few], parts[few], self.gU[group]  # the gradient at the points has made way for x
                to_V = p.across(self.half_x, p.P[1], group, V)
                both = V.transpose(0, 2, 3, 1), Q.swapaxes(1, 2)  # (C, tiles) @ (tiles, K) a point
                self.first += [*to_V, (np.matmul, *pieces(*both, gU))]
                self.later += [*to_V, (np.matmul, *pieces(*both, part)), (np.add, gU, part, gU)]


_workspace = Workspace()


def _in_blocks(x: np.ndarray, n: int) -> np.ndarray:
    """(N, H, W, C) -> (N / n, n, H, W, C)."""
    return x.reshape(len(x) // n, n, *x.shape[1:])
