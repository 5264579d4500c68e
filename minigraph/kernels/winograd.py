"""Winograd convolution: fewer multiplications, for stride 1 and kernels of 2 to 4 taps a side.

**One dimension.** A *tile* is m neighbouring outputs of a correlation with r weights:

    y[p] = sum over i < r of d[p + i] w[i]      for p < m

It depends on a = m + r - 1 inputs d, and takes m r multiplications if computed like this. The Cook-Toom algorithm needs
only a of them, each between a sum of inputs and a sum of weights. It is called F(m, r) (Winograd 1980; for networks
Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks"):

    y = A^T [(G w) * (B^T d)]      with matrices A (a, m), G (a, r), B (a, a), and * entry by entry

For example F(2, 3), with 4 multiplications instead of 6:

    m0 = (d2 - d0) (-w0)                        y0 = m0 + m1 + m2
    m1 = (d1 + d2) (w0 + w1 + w2) / 2           y1 = m1 - m2 + m3
    m2 = (d2 - d1) (w0 - w1 + w2) / 2
    m3 = (d3 - d1) w2

The weights are taken for the coefficients of a polynomial, and each of the a products belongs to a *point* at which
that polynomial is evaluated (see `cook_toom`). In the example the points are 0, 1, -1 and infinity.

**Two dimensions.** The same is done down and across. A tile of outputs Y comes from a x a inputs d, and there are a x a
points, each a pair z = (zh, zw) of a point down and a point across:

    Y = A^T [(G w G^T) * (B^T d B)] A

With C channels in and K channels out, the product at a point becomes a sum over the C channels. For all tiles together
it is then a matrix product, (tiles, C) @ (C, K), which BLAS computes. The more channels there are, the less the
transforms by A, B and G cost beside these products.

**A whole map.** The inputs of neighbouring tiles overlap by r - 1. In order not to copy them, the transforms take the
whole side of the map at once. With T tiles along a side (Th down, Tw across), their matrices have a rows for each of
the tiles t:

    P (T a, H)       B^T in the rows from t a and the columns from t m - padding
    S (T a, H')      A in the rows from t a and the columns from t m

Columns beyond the map are cut off: for P they would meet the zeros of the padding, for S they would be outputs that do
not exist. So neither the overlap, nor padding, nor a tile that the border cuts needs a copy of the map:

    V = P x P^T                the map at the points            (Th a, Tw a, C)
    U = G w G^T                the weights at the points        (a, a, C, K)
    M[z] = V[z] @ U[z]         for each point z                 (tiles, C) @ (C, K)
    y = S^T M S                the outputs                      (H', W', K)

Each step is linear, so the gradients are the transposed steps in reverse order. Both begin with Q:

    Q = S g S^T
    input:   D[z] = Q[z] @ U[z]^T,    gx = P^T D P
    weight:  gU[z] = V[z]^T @ Q[z],   gw = G^T gU G
    bias:    the sum of Q over the tiles, at the point where the forward adds the bias (POINT_ONE)

**How it is computed.**

- P and S are zero except near a diagonal. A *band* is a few neighbouring rows of such a matrix, with only the columns
  where they are not zero. The matrices are multiplied band by band, many bands in one call. That takes more
  multiplications than tile by tile, but BLAS does them in less time than NumPy needs to copy the tiles out of the map
  and back.
- A `Plan` has the tiles of a shape and their matrices, cut into bands. It is made once for each shape.
- The images are taken a *block* at a time, so that the arrays stay in cache. A block goes down first (P x, called
  `half` because half of the transform is done), for all rows of points. Then the points are taken a *slab* at a time, a
  few rows of them: across (half P^T), products, and back across (M S). At the end the block goes back down (S^T ...).
- All blocks of a shape use the same memory (`Workspace`), so the views for their products are made once and kept, as a
  list of `Step`.

**Errors.** The largest error over the largest value, with r = 3 and 64 channels in float32, is 7e-7 for m = 2, 3e-6 for
m = 3 and 4, and 1.2e-5 for m = 5 and 6 (im2col: 9e-7). In float64 it is less than 2.2e-14. An infinity or a NaN in the
map or the bias makes every output NaN that shares a band with it both down and across, because 0 times either is NaN.
One in g makes the gradient of the bias NaN in its channel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .blas import in_pieces, panels, panels_in_pieces, product
from .memory import Needs, Workspace, empty
from .window import Padding, Pair, Shape, output_size

if TYPE_CHECKING:
    from fractions import Fraction

Step = tuple[np.ufunc, np.ndarray, np.ndarray, np.ndarray]  # a call f(a, b, out), with its views ready
Matrix = list[list["Fraction"]]

# The points that F(m, r) evaluates at, apart from infinity: the first m + r - 2. Of the orders tried, this one has the
# least error.
POINTS = (0.0, 1.0, -1.0, 2.0, -0.5, -2.0, 0.5)
MAX_POINTS = len(POINTS) + 1  # the largest a = m + r - 1, with infinity
# The index of the point 1. There A is 1 for every output, so a bias that is added at the point (1, 1) is added to all
# outputs of the tile. (F(1, 2) has the points 0 and infinity only, but its A is 1 at both.)
POINT_ONE = POINTS.index(1.0)

# What a band and a call cost beside the entries of the bands, in units of one entry. They were found by trial on the
# training steps of two networks (W1 and W2 of docs/performance.md).
BAND_COST, CALL_COST = 64, 128
MAX_BANDS = 32  # in a call; without a limit, making a plan takes time that grows with the square of the map's side
SLAB_BYTES = 1 << 20  # of a slab of rows of points, which then stays in the second-level cache with its products
BLOCK_TILES = 128  # in a block of images; more do not stay in the second-level cache, fewer make BLAS slow


class BandCall(NamedTuple):
    """The bands of a matrix that one call of np.matmul takes together: bands of the same size at even distances."""

    rows: slice  # of the matrix: those of the first band, then those of the next, and so on
    first: int  # the first column of the first band
    step: int  # how many columns further to the right each next band begins
    bands: np.ndarray  # (count, height, width)


Bands = list[BandCall]  # a whole matrix; its entries outside all bands are zero


def cook_toom(m: int, r: int) -> tuple[Matrix, Matrix, Matrix]:
    """The exact A (a, m), B (a, a) and G (a, r) of F(m, r); a = m + r - 1 is at most MAX_POINTS.

    The product of two polynomials with m and r coefficients has a coefficients. To compute it, evaluate both at a
    points, multiply the values, and interpolate (Lagrange). One of the points is infinity, where the value of a
    polynomial is its leading coefficient. The matrices A and G evaluate, and B interpolates:

        coefficients of the product = B [(G w) * (A v)]

    For given w this is a linear map of v, and its transpose is the correlation with w: y = A^T [(G w) * (B^T d)].
    Lagrange's denominators are moved from B to G. Then all entries of A and B are integers over powers of 2, which
    floats hold exactly.
    """
    from fractions import Fraction  # here, since few programs that import minigraph come here

    a = m + r - 1
    points = tuple(map(Fraction, POINTS[: a - 1]))
    infinity = [Fraction(0)]
    A = [[point**p for p in range(m)] for point in points] + [infinity * (m - 1) + [Fraction(1)]]
    G = [[point**i for i in range(r)] for point in points] + [infinity * (r - 1) + [Fraction(1)]]
    columns = []
    for z, point in enumerate(points):
        others = points[:z] + points[z + 1 :]
        columns.append([*_from_roots(others), Fraction(0)])
        denominator = Fraction(1)
        for other in others:
            denominator *= point - other
        G[z] = [v / denominator for v in G[z]]
    columns.append(_from_roots(points))
    B = [list(row) for row in zip(*columns, strict=True)]
    return A, B, G


def _from_roots(roots: tuple[Fraction, ...]) -> list[Fraction]:
    """The coefficients of the product of all (x - root), lowest power first."""
    from fractions import Fraction

    c = [Fraction(1)]
    for root in roots:
        c = [low - root * high for low, high in zip([Fraction(0), *c], [*c, Fraction(0)], strict=True)]
    return c


class Plan:
    """The tiles of a map (H, W) and their matrices.

    Most attributes are pairs, for down and across: the `size` of the map, the numbers of its `outputs` and `tiles`, the
    number `a` of points of a tile, and the matrices P, P^T, S and S^T in bands. G is one matrix for both sides.
    """

    def __init__(self, size: Pair, kernel: Pair, padding: Padding, tile: Pair, dtype: np.dtype):
        self.size, self.dtype = size, dtype
        self.outputs = output_size(size, kernel, (1, 1), padding)
        self.tiles = tuple(-(-o // m) for o, m in zip(self.outputs, tile, strict=True))
        self.a = tuple(m + r - 1 for m, r in zip(tile, kernel, strict=True))
        sides = zip(size, self.outputs, padding, self.tiles, tile, kernel, strict=True)
        matrices = [_matrices(n, o, before, T, m, r, dtype) for n, o, (before, _), T, m, r in sides]
        self.P, self.Pt, self.S, self.St, G = zip(*matrices, strict=True)
        self.G = np.kron(*G).astype(dtype)  # vec(G w G^T) = kron(G, G) vec(w)

    def blocks(self, n: int, channels: int) -> list[tuple[slice, int, int]]:
        """Cut n images into blocks of about BLOCK_TILES tiles: first blocks of one size, then one of those left over.

        Each entry is (which images, how many in a block, how many rows of points in a slab). A slab of the larger
        blocks has about SLAB_BYTES. The smaller block has slabs of as many rows, and so it needs no more memory.
        """
        tiles = math.prod(self.tiles)
        size = -(-n // max(1, round(n * tiles / BLOCK_TILES)))
        row = size * tiles * self.a[1] * channels * self.dtype.itemsize
        rows = -(-self.a[0] // max(1, round(self.a[0] * row / SLAB_BYTES)))
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

    def slabs(self, rows: int) -> list[slice]:
        """The rows of points of a tile, `rows` at a time."""
        return [slice(i, min(i + rows, self.a[0])) for i in range(0, self.a[0], rows)]

    def half(self, n: int, W: int, C: int) -> Shape:
        """The shape of n maps transformed down only, (n, tiles down, a, W, C): [:, t, zh] is point zh of tile t."""
        return n, self.tiles[0], self.a[0], W, C

    def points(self, n: int, rows: int, C: int) -> Shape:
        """The shape of a slab, n maps of C channels at `rows` rows of points: (rows, tiles, a, C).

        The axis of tiles runs through all images, and in each down and across. In this order the entries of a point
        (zh, zw), [zh, :, zw], are evenly spaced in memory, and BLAS can take them as a matrix (tiles, C).
        """
        return rows, n * math.prod(self.tiles), self.a[1], C

    def down(self, x: np.ndarray, matrix: Bands, half: np.ndarray) -> list[Step]:
        """Steps for half = P x or S x, with x (blocks, n, H, W, C): run them with b[i] in place of b for block i."""
        n, Th, ah, W, C = half.shape
        return _transform(x.reshape(len(x), n, -1, W * C), matrix, half.reshape(n, Th * ah, W * C))

    def across(self, half: np.ndarray, matrix: Bands, rows: slice, V: np.ndarray) -> list[Step]:
        """Steps for V = half P^T or half S^T in the slab `rows`: half -> V (rows, tiles, a, C)."""
        n, Th, _, _, C = half.shape
        V = V.reshape(len(V), n, Th, -1, C).transpose(1, 2, 0, 3, 4)  # n Th rows (Tw aw) C
        return _transform(half, matrix, V, (slice(None), slice(None), rows))

    def across_adjoint(self, V: np.ndarray, matrix: Bands, rows: slice, half: np.ndarray) -> list[Step]:
        """Steps for half = V S or V P in the slab `rows`: V (rows, tiles, a, C) -> half."""
        n, Th, _, _, C = half.shape
        return _transform(V.reshape(len(V), n, Th, -1, C), matrix, half[:, :, rows].transpose(2, 0, 1, 3, 4))

    def down_adjoint(self, half: np.ndarray, matrix: Bands, y: np.ndarray) -> list[Step]:
        """Steps for y = S^T half or P^T half, with y (blocks, n, H, W, C): run them with out[i] for block i."""
        n, Th, ah, W, C = half.shape
        return _transform(half.reshape(n, Th * ah, W * C), matrix, y.reshape(len(y), n, -1, W * C))


plan = lru_cache(maxsize=256)(Plan)


@lru_cache(maxsize=256)
def _matrices(
    n: int, outputs: int, before: int, tiles: int, m: int, r: int, dtype: np.dtype
) -> tuple[Bands, Bands, Bands, Bands, np.ndarray]:
    """P, P^T, S, S^T and G of one side: n entries of the map, with `before` of padding in front of them."""
    A, B, G = (np.array(x, np.float64) for x in cook_toom(m, r))
    P, S = (B.T.astype(dtype), tiles, m, before, n), (A.astype(dtype), tiles, m, 0, outputs)
    return _bands(*P), _bands(*P, transposed=True), _bands(*S), _bands(*S, transposed=True), G


def _transform(x: np.ndarray, bands: Bands, out: np.ndarray, part: tuple[slice, ...] = ()) -> list[Step]:
    """Steps for out[...] = matrix @ x[part], for a matrix in bands and a contiguous x.

    x (..., columns, n) -> out (..., rows, n). `part` takes some of the leading axes.
    """
    *strides, line, entry = x.strides
    steps: list[Step] = []
    for rows, first, step, matrices in bands:
        count, height, width = matrices.shape
        # Each band multiplies a window of x, `width` of its lines. np.ndarray makes this view in a seventh of the time
        # that as_strided takes.
        shape = (*x.shape[:-2], count, width, x.shape[-1])
        windows = np.ndarray(shape, x.dtype, x, first * line, (*strides, step * line, line, entry))[part]
        target = out[..., rows, :].reshape(*out.shape[:-2], count, height, out.shape[-1])
        steps.append((np.matmul, *in_pieces(matrices, windows, target)))
    return steps


def _multiply(V: np.ndarray, U: np.ndarray, M: np.ndarray) -> Step:
    """The step M[zh, :, zw] = V[zh, :, zw] @ U[zh, zw] for each point of a slab.

    V (rows, tiles, a, C), U (rows, a, C, K) in panels, M (rows, tiles, a, K).
    """
    return (np.matmul, *panels_in_pieces(V.swapaxes(1, 2), U, M.swapaxes(1, 2)))


def _run(steps: Iterable[Step]) -> None:
    """Do the steps in their order."""
    for ufunc, a, b, out in steps:
        ufunc(a, b, out)


def _bands(
    tile_matrix: np.ndarray, tiles: int, step: int, before: int, size: int, transposed: bool = False
) -> Bands:
    """The matrix of a whole side, P or S or its transpose, cut into bands of the height whose products cost least.

    P and S have tiles * a rows and `size` columns. For each tile t, they have `tile_matrix` (a, b) in the rows from t a
    and the columns from t step - before. Columns outside the side are cut off. The matrix is never made as a whole, as
    its size grows with the square of the side.
    """
    n = size if transposed else tiles * len(tile_matrix)
    heights = range(min(n, 6), min(n, 16) + 1)
    cuts = (_bands_of_height(tile_matrix, tiles, step, before, size, transposed, height) for height in heights)
    return min(cuts, key=lambda bands: sum(_cost(*call.bands.shape) for call in bands))


def _cost(count: int, height: int, width: int) -> int:
    """What a call for `count` bands costs, in units of one entry of a band. BLAS takes eight rows at a time."""
    return CALL_COST + count * (BAND_COST + -(-height // 8) * 8 * width)


def _bands_of_height(
    tile_matrix: np.ndarray, tiles: int, step: int, before: int, size: int, transposed: bool, height: int
) -> Bands:
    """The matrix of `_bands` in bands of `height` rows, and a last one of the rows left over.

    A band joins the call of the bands above it if that costs no more than a call of its own.
    """
    a, b = tile_matrix.shape
    n, columns = (size, tiles * a) if transposed else (tiles * a, size)
    calls: list[list[tuple[int, np.ndarray]]] = []  # for each call its bands, as (first column, band)
    cost = 0  # of the last call
    for start in range(0, n, height):
        stop = min(start + height, n)
        if transposed:
            low, high = max(0, (start + before - b) // step + 1), min(tiles, (stop - 1 + before) // step + 1)
            part, left = _submatrix(tile_matrix, step, before, low, high, start, stop).T, low * a
        else:
            low, high = start // a, -(-stop // a)
            left, right = max(0, low * step - before), min(size, (high - 1) * step - before + b)
            part = _submatrix(tile_matrix, step, before, low, high, left, right)[start - low * a : stop - low * a]
        (used,) = np.nonzero(part.any(0))
        some = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 0)
        band = [(min(left, columns) + some.start, part[:, some])]
        if calls and len(calls[-1]) < MAX_BANDS and stop - start == height:
            joined = [*calls[-1], *band]
            if (together := _call_cost(joined, columns)) <= cost + _call_cost(band, columns):
                calls[-1], cost = joined, together
                continue
        calls.append(band)
        cost = _call_cost(band, columns)
    bands, start = [], 0
    for call in calls:  # lay its bands out at even distances
        first, apart, width = _spacing(call, columns)
        stack = np.zeros((len(call), len(call[0][1]), width), tile_matrix.dtype)
        for k, (left, part) in enumerate(call):
            at = left - first - k * apart
            stack[k, :, at : at + part.shape[1]] = part
        stop = min(start + len(call) * height, n)
        bands.append(BandCall(slice(start, stop), first, apart, stack))
        start = stop
    return bands


def _call_cost(call: list[tuple[int, np.ndarray]], columns: int) -> int:
    """`_cost` of a call for bands that are given as (first column, band)."""
    return _cost(len(call), len(call[0][1]), _spacing(call, columns)[2])


def _spacing(call: list[tuple[int, np.ndarray]], columns: int) -> tuple[int, int, int]:
    """(first, step, width): band k lies within `width` columns from first + k step on, for the smallest such width."""
    last = len(call) - 1
    ranges = []
    for step in range((call[-1][0] - call[0][0]) // max(1, last) + 2):
        first = min(left - k * step for k, (left, _) in enumerate(call))
        width = max(left + part.shape[1] - k * step for k, (left, part) in enumerate(call)) - first
        if first >= 0 and first + last * step + width <= columns:  # step 0 always passes
            ranges.append((width, first, step))
    width, first, step = min(ranges)
    return first, step, width


def _submatrix(
    tile_matrix: np.ndarray, step: int, before: int, first: int, last: int, left: int, right: int
) -> np.ndarray:
    """Of the matrix of `_bands`, the rows of the tiles from `first` to `last`, and the columns from `left` to `right`.

    `last` and `right` are the first ones left out.
    """
    a, b = tile_matrix.shape
    part = np.zeros((max(0, last - first), a, max(0, right - left)), tile_matrix.dtype)
    for t in range(first, last):
        for k in range(b):
            if left <= (column := t * step - before + k) < right:
                part[t - first, :, column - left] = tile_matrix[:, k]
    return part.reshape(len(part) * a, part.shape[2])


def forward(
    x: np.ndarray, w: np.ndarray, padding: Padding, tile: Pair, bias: np.ndarray | None = None
) -> np.ndarray:
    """conv2d with stride 1: x (N, H, W, C), w (rh, rw, C, K), bias (K,) -> (N, H', W', K).

    `tile` is (outputs down, outputs across), each m with m + r - 1 <= MAX_POINTS.
    """
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
    """The arrays of `forward` for a block of n images, and its steps between going down and going back down."""

    def __init__(self, p: Plan, n: int, rows: int, C: int, K: int, bias: bool):
        self.U, self.bias, self.half, self.half_y, room, room_y = _workspace.arrays(
            p.dtype, self.shapes(p, n, rows, C, K)
        )
        self.steps: list[Step] = []
        for slab in p.slabs(rows):
            height = slab.stop - slab.start
            V, M = room[:height], room_y[:height]
            self.steps += [*p.across(self.half, p.P[1], slab, V), _multiply(V, self.U[slab], M)]
            if bias and slab.start <= POINT_ONE < slab.stop:
                at_one = M[POINT_ONE - slab.start, :, POINT_ONE]
                self.steps.append((np.add, at_one, self.bias, at_one))
            self.steps += p.across_adjoint(M, p.St[1], slab, self.half_y)

    @staticmethod
    def shapes(p: Plan, n: int, rows: int, C: int, K: int) -> list[Shape]:
        """Those of the arrays.

        U and bias come first and so lie at the same place for every n: what is written there for the first block also
        serves a last block of fewer images.
        """
        half, half_y = p.half(n, p.size[1], C), p.half(n, p.outputs[1], K)
        return [(*p.a, *panels((C, K))), (K,), half, half_y, p.points(n, rows, C), p.points(n, rows, K)]


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
    """The gradients of `forward`, (gx, gw, gb): gx if w is given, gw if x is given, gb if `bias`, otherwise None.

    V is computed again for gw. Keeping it from the forward would take 2.25 times the memory of x (with m = 4).
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
    """The arrays of `gradients` for a block of n images, and its steps between going down and going back down.

    The gradient of the weights is a sum over images. The steps of the `first` block write it, those of `later` blocks
    add to it.
    """

    def __init__(self, p: Plan, n: int, rows: int, C: int, K: int, need_x: bool, need_w: bool, bias: bool):
        self.Ut, self.gU, self.gb, self.half, self.half_x, self.half_gx, room_Q, room, parts = _workspace.arrays(
            p.dtype, self.shapes(p, n, rows, C, K, need_x, need_w)
        )
        self.first: list[Step] = []
        self.later: list[Step] = []
        for slab in p.slabs(rows):
            height = slab.stop - slab.start
            Q = room_Q[:height]
            steps = p.across(self.half, p.S[1], slab, Q)
            if bias and slab.start <= POINT_ONE < slab.stop:
                at_one = Q[POINT_ONE - slab.start, :, POINT_ONE]
                steps.append((np.matmul, np.ones(len(at_one), p.dtype), at_one, self.gb))
            if need_x:
                D = room[:height]
                steps += [_multiply(Q, self.Ut[slab], D), *p.across_adjoint(D, p.Pt[1], slab, self.half_gx)]
            self.first += steps
            self.later += steps
            if need_w:
                V, part, gU = room[:height], parts[:height], self.gU[slab]  # D is no longer needed: V takes its memory
                to_V = p.across(self.half_x, p.P[1], slab, V)
                both = V.transpose(0, 2, 3, 1), Q.swapaxes(1, 2)  # (C, tiles) @ (tiles, K) for each point
                self.first += [*to_V, (np.matmul, *in_pieces(*both, gU))]
                self.later += [*to_V, (np.matmul, *in_pieces(*both, part)), (np.add, gU, part, gU)]

    @staticmethod
    def shapes(p: Plan, n: int, rows: int, C: int, K: int, need_x: bool, need_w: bool) -> list[Shape]:
        """Those of the arrays. Ut, gU and gb come first, as in `_Forward`."""
        half_x = p.half(n, p.size[1], C)
        none: Shape = (0,)
        return [
            (*p.a, *panels((K, C))) if need_x else none,
            (*p.a, C, K) if need_w else none,
            (K,),
            p.half(n, p.outputs[1], K),
            half_x if need_w else none,
            half_x if need_x else none,
            p.points(n, rows, K),
            p.points(n, rows, C),
            (rows, p.a[1], C, K) if need_w else none,
        ]


def needs(
    x_shape: Shape, w_shape: Shape, padding: Padding, tile: Pair, dtype: np.dtype, needed: Pair | None
) -> Needs:
    """The memory of `forward` or, where `needed` says whether x and w need a gradient, of `gradients`."""
    p = plan(x_shape[1:3], w_shape[:2], padding, tile, dtype)
    C, K = w_shape[2:]
    blocks = [(n, rows) for _, n, rows in p.blocks(x_shape[0], C + K)]
    if needed is None:
        shapes = [_Forward.shapes(p, *block, C, K) for block in blocks]
    else:
        shapes = [_Gradients.shapes(p, *block, C, K, *map(bool, needed)) for block in blocks]
    weights = math.prod(w_shape) * dtype.itemsize if needed is None or needed[0] else 0
    return Needs(recycled=(weights,), workspace=max((Workspace.starts(dtype, s)[-1] for s in shapes), default=0))


_workspace = Workspace()


def _in_blocks(x: np.ndarray, n: int) -> np.ndarray:
    """(N, H, W, C) -> (N / n, n, H, W, C)."""
    return x.reshape(len(x) // n, n, *x.shape[1:])
