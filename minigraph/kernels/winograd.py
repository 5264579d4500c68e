"""Winograd convolution: fewer multiplications, for stride 1 and kernels of 2 to 4 a side.

In one dimension, F(m, r) computes m outputs of a correlation with r weights from a = m + r - 1 inputs d with a
multiplications instead of m r (Winograd 1980; for networks Lavin & Gray, 2016):

    y = A^T [(G w) * (B^T d)],      A: (a, m)   G: (a, r)   B: (a, a)

In two dimensions each side gets its own: Y = A^T [(G w G^T) * (B^T d B)] A. The map is cut into tiles of m x m outputs,
whose inputs overlap by r - 1. With channels, the product at each of the a x a points is a sum over channels: one matrix
product for all tiles.

    V = B^T d B        (tiles, a*a, C)      "analysis" of the input
    U = G w G^T        (a*a, C, K)
    M[:, p] = V[:, p] @ U[p]                for each point p: (tiles, C) @ (C, K)
    Y = A^T M A        (tiles, m*m, K)

Every step is linear, so the gradients are the transposed steps in reverse order, and they share Q = A g A^T:

    input:   D[:, p] = Q[:, p] @ U[p]^T,    d = B D B^T, tiles added where they overlap
    weight:  dU[p] = V[:, p]^T @ Q[:, p],   dw = G^T dU G

A two-sided transform L X R^T of a small matrix is one product with the Kronecker product: kron(L, R) @ vec(X). For
a = 6 it is a (36, 36) @ (36, C) product a tile, faster in BLAS than the additions of the separable form are in NumPy.

The error, as the largest difference over the largest value, with r = 3 and 64 channels, in float32: 5e-7 for m = 2,
3e-6 for m = 3 and 4, 7e-6 for m = 5, 1e-5 for m = 6 (im2col: 4e-7); in float64 less than 2e-14.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np

from .memory import empty

Pair = tuple[int, int]
Shape = tuple[int, ...]
Padding = tuple[Pair, Pair]
Matrix = list[list[Fraction]]

POINTS = tuple(map(Fraction, ("0", "1", "-1", "2", "-1/2", "-2", "1/2")))  # of the orders tried, the least error
LARGEST = len(POINTS) + 1  # the largest a = m + r - 1: the points, and infinity
# Tiles in a block, as measured. V and M should stay near the second-level cache, yet a block should be long: threads
# that share an interpreter wait for it between any two calls. OpenBLAS multiplies matrices without packing them below
# 100^3 multiplications, at 140-150 against 80-110 GFLOP/s with 64 channels a side: so as many tiles as that allows.
UNPACKED = 100**3
TILES = 64, 128, 256  # fewer than the first are too thin: then the second; more than the third leave the cache


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


@cache
def _matrices(m: Pair, r: Pair, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """kron(A, A), kron(B, B), kron(G, G) for tiles of m[0] x m[1] and kernels of r[0] x r[1]."""
    (Ah, Bh, Gh), (Aw, Bw, Gw) = (
        [np.array(x, np.float64) for x in cook_toom(mi, ri)] for mi, ri in zip(m, r, strict=True)
    )
    A, B, G = (np.kron(h, w).astype(dtype) for h, w in ((Ah, Aw), (Bh, Bw), (Gh, Gw)))
    return A, B, G


class Plan:
    """The geometry of one convolution cut into tiles, and the four transforms of its data."""

    def __init__(self, x_shape: Shape, w_shape: Shape, padding: Padding, dtype: np.dtype, tile: Pair):
        N, H, W, self.C = x_shape
        rh, rw, _, self.K = w_shape
        (self.pt, pb), (self.pl, pr) = padding
        self.m = mh, mw = tile
        self.a = mh + rh - 1, mw + rw - 1
        Ho, Wo = H + self.pt + pb - rh + 1, W + self.pl + pr - rw + 1
        self.y_shape = N, Ho, Wo, self.K
        self.Th, self.Tw = -(-Ho // mh), -(-Wo // mw)  # tiles down and across
        self.Hp, self.Wp = self.Th * mh + rh - 1, self.Tw * mw + rw - 1  # the padded map that they cover
        self.covered = min(H, self.Hp - self.pt), min(W, self.Wp - self.pl)  # and what of x is in it
        self.A, self.B, self.G = _matrices(tile, (rh, rw), dtype)
        least, usual, most = TILES
        tiles = min(UNPACKED // max(1, self.C * self.K), most)
        n = max(1, (tiles if tiles >= least else usual) // max(1, self.Th * self.Tw))
        self.blocks = [slice(i, min(i + n, N)) for i in range(0, N, n)]

    def weights(self, w: np.ndarray) -> np.ndarray:
        """U = G w G^T: (rh, rw, C, K) -> (a*a, C, K)."""
        U = empty((len(self.G), *w.shape[2:]), w.dtype)
        np.matmul(self.G, w.reshape(self.G.shape[1], -1), out=U.reshape(len(U), -1))
        return U

    def analyse(self, x: np.ndarray) -> np.ndarray:
        """V = B^T d B of a block of images: (n, H, W, C) -> (tiles, a*a, C)."""
        n, h, w = len(x), *self.covered
        pad = empty((n, self.Hp, self.Wp, self.C), x.dtype)
        pad.fill(0)
        pad[:, self.pt : self.pt + h, self.pl : self.pl + w] = x[:, :h, :w]
        sn, sh, sw, sc = pad.strides
        (mh, mw), (ah, aw) = self.m, self.a
        d = empty((n, self.Th, self.Tw, ah, aw * self.C), x.dtype)
        d[...] = np.ndarray(d.shape, d.dtype, pad, strides=(sn, sh * mh, sw * mw, sh, sc))  # overlapping
        V = empty((n * self.Th * self.Tw, ah * aw, self.C), x.dtype)
        return np.matmul(self.B.T, d.reshape(V.shape), out=V)

    def overlap_add(self, D: np.ndarray, gx: np.ndarray) -> None:
        """The transpose of `analyse`: (tiles, a*a, C) -> gx (n, H, W, C)."""
        n, h, w = len(gx), *self.covered
        (mh, mw), Th, Tw = self.m, self.Th, self.Tw
        rh, rw = self.a[0] - mh, self.a[1] - mw  # the overlap
        d = np.matmul(self.B, D, out=empty(D.shape, D.dtype))
        d = d.reshape(n, Th, Tw, *self.a, self.C).swapaxes(2, 3)  # n Th ah Tw aw C
        pad = empty((n, Th + 1, mh, Tw + 1, mw, self.C), gx.dtype)  # the map cut into tiles that do not overlap
        pad[:, Th] = 0
        pad[:, :Th, :, Tw] = 0
        pad[:, :Th, :, :Tw] = d[:, :, :mh, :, :mw]
        pad[:, 1:, :rh, :Tw] += d[:, :, mh:, :, :mw]
        pad[:, :Th, :, 1:, :rw] += d[:, :, :mh, :, mw:]
        pad[:, 1:, :rh, 1:, :rw] += d[:, :, mh:, :, mw:]
        flat = pad.reshape(n, (Th + 1) * mh, (Tw + 1) * mw, self.C)
        gx[:, :h, :w] = flat[:, self.pt : self.pt + h, self.pl : self.pl + w]
        if (h, w) != gx.shape[1:3]:  # pixels that no window reaches
            gx[:, h:] = 0
            gx[:, :, w:] = 0

    def synthesise(self, M: np.ndarray, y: np.ndarray) -> None:
        """Y = A^T M A of a block: (tiles, a*a, K) -> y (n, Ho, Wo, K)."""
        Y = empty((len(M), self.m[0] * self.m[1], self.K), M.dtype)
        np.matmul(self.A.T, M, out=Y)
        for tiles, pixels in self._pixels(Y, y):
            pixels[...] = tiles

    def spread(self, g: np.ndarray) -> np.ndarray:
        """Q = A g A^T, the transpose of `synthesise`: (n, Ho, Wo, K) -> (tiles, a*a, K)."""
        Y = empty((len(g) * self.Th * self.Tw, self.m[0] * self.m[1], self.K), g.dtype)
        if Y.size > g.size:  # some tiles reach beyond the map
            Y.fill(0)
        for tiles, pixels in self._pixels(Y, g):
            tiles[...] = pixels
        return np.matmul(self.A, Y, out=empty((len(Y), len(self.A), self.K), g.dtype))

    def _pixels(self, Y: np.ndarray, y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Views that pair the pixels of tiles Y (tiles, m*m, K) with those of a map y (n, Ho, Wo, K).

        One pair for the whole tiles, and up to three for those that the lower or right edge of the map cuts.
        """
        n, Ho, Wo, K = y.shape
        Y = Y.reshape(n, self.Th, self.Tw, *self.m, K).swapaxes(2, 3)  # n Th mh Tw mw K
        return [
            (
                Y[:, rows, :h, columns, :w],
                y[:, top:, left:][:, : _count(rows) * h, : _count(columns) * w].reshape(
                    n, _count(rows), h, _count(columns), w, K
                ),
            )
            for top, rows, h in _spans(Ho, self.m[0])
            for left, columns, w in _spans(Wo, self.m[1])
        ]


def _spans(size: int, m: int) -> list[tuple[int, slice, int]]:
    """`size` pixels in tiles of m: (first pixel, tiles, pixels of a tile) for the whole tiles, and for a cut one."""
    whole = size // m
    spans = [(0, slice(0, whole), m), (whole * m, slice(whole, whole + 1), size % m)]
    return [s for s in spans if _count(s[1]) and s[2]]


def _count(s: slice) -> int:
    return s.stop - s.start


def forward(x: np.ndarray, w: np.ndarray, padding: Padding, tile: Pair) -> np.ndarray:
    """conv2d with stride 1: x (N, H, W, C), w (rh, rw, C, K) -> (N, Ho, Wo, K)."""
    plan = Plan(x.shape, w.shape, padding, x.dtype, tile)
    U = plan.weights(w)
    y = empty(plan.y_shape, x.dtype)
    for n in plan.blocks:
        V = plan.analyse(x[n])
        plan.synthesise(_multiply(V, U), y[n])
    return y


def gradients(
    g: np.ndarray,
    x: np.ndarray | None,
    w: np.ndarray | None,
    x_shape: Shape,
    w_shape: Shape,
    padding: Padding,
    tile: Pair,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The gradients of `forward`: (gx if w is given, gw if x is given), else None.

    V is computed again: to keep it from the forward takes 2.25 times the memory of x (m = 4), and changed the time of
    forward and gradients by -3 to +7%, by the shape.
    """
    plan = Plan(x_shape, w_shape, padding, g.dtype, tile)
    gx = gw = None
    if w is not None:
        Ut = plan.weights(w.swapaxes(2, 3))
        gx = empty(x_shape, g.dtype)
    if x is not None:
        gU = np.zeros((len(plan.G), plan.C, plan.K), g.dtype)
        part = empty(gU.shape, g.dtype)
    for n in plan.blocks:
        Q = plan.spread(g[n])
        if gx is not None:
            plan.overlap_add(_multiply(Q, Ut), gx[n])
        if x is not None:
            V = plan.analyse(x[n])
            gU += np.matmul(V.transpose(1, 2, 0), Q.swapaxes(0, 1), out=part)
    if x is not None:
        gw = np.matmul(plan.G.T, gU.reshape(len(gU), -1)).reshape(w_shape)
    return gx, gw


def _multiply(V: np.ndarray, U: np.ndarray) -> np.ndarray:
    """V[:, p] @ U[p] for each point p: (tiles, a*a, C), (a*a, C, K) -> (tiles, a*a, K)."""
    M = empty((*V.shape[:2], U.shape[2]), V.dtype)
    np.matmul(V.swapaxes(0, 1), U, out=M.swapaxes(0, 1))
    return M
