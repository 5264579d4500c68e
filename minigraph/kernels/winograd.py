"""Winograd convolution: fewer multiplications, for stride 1 and kernels of 2 to 5.

In one dimension, F(m, r) computes m outputs of a correlation with r weights from a = m + r - 1 inputs d with a
multiplications instead of m r (Winograd 1980; for networks Lavin & Gray, 2016):

    y = A^T [(G w) * (B^T d)],      A: (a, m)   G: (a, r)   B: (a, a)

In two dimensions each side gets its own: Y = A^T [(G w G^T) * (B^T d B)] A. The map is cut into tiles of m x m outputs,
whose inputs overlap by r - 1. With channels, the elementwise product at each of the a x a points is a sum over channels,
that is, one matrix product for all tiles:

    V = B^T d B        (tiles, a*a, C)      "analysis" of the input
    U = G w G^T        (a*a, C, K)
    M[:, p] = V[:, p] @ U[p]                for each point p: (tiles, C) @ (C, K)
    Y = A^T M A        (tiles, m*m, K)

Every step is linear, so the gradients are the transposed steps in reverse order, and they share Q = A g A^T:

    input:   D[:, p] = Q[:, p] @ U[p]^T,    d = B D B^T, tiles added where they overlap
    weight:  dU[p] = V[:, p]^T @ Q[:, p],   dw = G^T dU G

A two-sided transform L X R^T of a small matrix is one product with the Kronecker product: kron(L, R) @ vec(X). For a = 6
it is a (36, 36) @ (36, C) product a tile, which BLAS does faster than NumPy does the additions of the separable form.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .memory import empty

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
Matrix = list[list[Fraction]]

POINTS = tuple(map(Fraction, ("0", "1", "-1", "1/2", "-2", "2", "-1/2")))
LARGEST = len(POINTS) + 1  # the largest a = m + r - 1: the points, and infinity
BLOCK = 1 << 21  # bytes of V and M in a block


def cook_toom(m: int, r: int) -> tuple[Matrix, Matrix, Matrix]:
    """A (a, m), B (a, a) and G (a, r) of F(m, r), a = m + r - 1 <= LARGEST, exactly.

    Multiplying a polynomial of degree < m by one of degree < r is multiplying their values at a points, one of them
    infinity (the leading coefficient), and interpolating (Lagrange). A and G evaluate; the transpose of this bilinear map
    is the correlation, and turns the interpolation into B. Lagrange's denominators go into G: then A and B hold dyadic
    fractions only, which floats hold exactly.
    """
    a = m + r - 1
    points = POINTS[: a - 1]
    infinity = [Fraction(0)]
    A = [[p**i for i in range(m)] for p in points] + [infinity * (m - 1) + [Fraction(1)]]
    G = [[p**i for i in range(r)] for p in points] + [infinity * (r - 1) + [Fraction(1)]]
    columns = []
    for k, p in enumerate(points):
        others = points[:k] + points[k + 1 :]
        columns.append(_from_roots(others) + [Fraction(0)])
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
    """The geometry of one convolution cut into tiles."""

    def __init__(self, x_shape, w_shape, padding: Padding, dtype, tile: Pair):
        self.N, self.H, self.W, self.C = x_shape
        *r, _, self.K = w_shape
        (self.pt, pb), (self.pl, pr) = padding
        self.r = rh, rw = r[0], r[1]
        self.m = mh, mw = tile
        self.ah, self.aw = mh + rh - 1, mw + rw - 1
        self.Ho, self.Wo = self.H + self.pt + pb - rh + 1, self.W + self.pl + pr - rw + 1
        self.Th, self.Tw = -(-self.Ho // mh), -(-self.Wo // mw)  # tiles down and across
        self.Hp, self.Wp = self.Th * mh + rh - 1, self.Tw * mw + rw - 1  # the padded map they cover
        self.p = self.ah * self.aw
        self.dtype = np.dtype(dtype)
        self.A, self.B, self.G = _matrices(self.m, self.r, self.dtype)
        per_image = self.Th * self.Tw * self.p * (self.C + self.K) * self.dtype.itemsize
        tiles = self.Th * self.Tw
        n = max(BLOCK // per_image, -(-64 // tiles), 1)
        self.blocks = [slice(i, min(i + n, self.N)) for i in range(0, self.N, n)]

    def weights(self, w: np.ndarray) -> np.ndarray:
        """U = G w G^T: (rh, rw, C, K) -> (p, C, K)."""
        rh, rw, C, K = w.shape
        U = empty((self.p, C, K), w.dtype)
        np.matmul(self.G, w.reshape(rh * rw, C * K), out=U.reshape(self.p, C * K))
        return U

    def analyse(self, x: np.ndarray) -> np.ndarray:
        """V = B^T d B of a block of the map: (n, H, W, C) -> (tiles, p, C)."""
        n = len(x)
        C = self.C
        pad = empty((n, self.Hp, self.Wp, C), x.dtype)
        pad.fill(0)
        h, w = min(self.H, self.Hp - self.pt), min(self.W, self.Wp - self.pl)
        pad[:, self.pt : self.pt + h, self.pl : self.pl + w] = x[:, :h, :w]
        sn, sh, sw, sc = pad.strides
        view = as_strided(
            pad,
            (n, self.Th, self.Tw, self.ah, self.aw * C),
            (sn, sh * self.m[0], sw * self.m[1], sh, sc),
        )
        d = empty(view.shape, x.dtype)
        np.copyto(d, view)
        V = empty((n * self.Th * self.Tw, self.p, C), x.dtype)
        return np.matmul(self.B.T, d.reshape(-1, self.p, C), out=V)

    def overlap_add(self, D: np.ndarray, gx: np.ndarray) -> None:
        """The transpose of `analyse`: (tiles, p, C) -> gx (n, H, W, C)."""
        n = len(gx)
        (mh, mw), (rh, rw), C = self.m, self.r, self.C
        Th, Tw = self.Th, self.Tw
        d = np.matmul(self.B, D, out=empty(D.shape, D.dtype)).reshape(n, Th, Tw, self.ah, self.aw, C)
        d = d.transpose(0, 1, 3, 2, 4, 5)  # n Th ah Tw aw C
        pad = empty((n, self.Hp, self.Wp, C), gx.dtype)
        pad[:, Th * mh :] = 0
        pad[:, :, Tw * mw :] = 0
        for top, i in ((0, slice(0, mh)), (mh, slice(mh, None))):
            for left, j in ((0, slice(0, mw)), (mw, slice(mw, None))):
                ni = mh if top == 0 else rh - 1
                nj = mw if left == 0 else rw - 1
                sn, sh, sw, sc = pad.strides
                at = as_strided(
                    pad[:, top:, left:],
                    (n, Th, ni, Tw, nj, C),
                    (sn, sh * mh, sh, sw * mw, sw, sc),
                )
                if top or left:
                    at += d[:, :, i, :, j]
                else:
                    at[...] = d[:, :, i, :, j]
        h, w = min(self.H, self.Hp - self.pt), min(self.W, self.Wp - self.pl)
        gx[:, :h, :w] = pad[:, self.pt : self.pt + h, self.pl : self.pl + w]
        gx[:, h:] = 0
        gx[:, :, w:] = 0

    def synthesise(self, M: np.ndarray, y: np.ndarray) -> None:
        """Y = A^T M A of a block: (tiles, p, K) -> y (n, Ho, Wo, K)."""
        Y = empty((len(M), self.m[0] * self.m[1], self.K), M.dtype)
        np.matmul(self.A.T, M, out=Y)
        tiles, pixels = self._tiled(Y, y)
        for t, p in zip(tiles, pixels, strict=True):
            p[...] = t

    def spread(self, g: np.ndarray) -> np.ndarray:
        """Q = A g A^T, the transpose of `synthesise`: (n, Ho, Wo, K) -> (tiles, p, K)."""
        shape = (len(g) * self.Th * self.Tw, self.m[0] * self.m[1], self.K)
        exact = self.Th * self.m[0] == self.Ho and self.Tw * self.m[1] == self.Wo
        t = empty(shape, g.dtype)
        if not exact:
            t.fill(0)
        tiles, pixels = self._tiled(t, g)
        for a, b in zip(tiles, pixels, strict=True):
            a[...] = b
        return np.matmul(self.A, t, out=empty((len(t), self.p, self.K), g.dtype))

    def _tiled(self, Y, y):
        """Views that pair the pixels of tiles (tiles, m*m, K) with those of a map (n, Ho, Wo, K).

        Whole tiles in one view; those cut by the lower or right edge of the map in up to three more.
        """
        n, K = len(y), self.K
        (mh, mw), Th, Tw = self.m, self.Th, self.Tw
        Y = Y.reshape(n, Th, Tw, mh, mw, K).transpose(0, 1, 3, 2, 4, 5)  # n Th mh Tw mw K
        tiles, pixels = [], []
        for h, th, ih in _spans(self.Ho, mh):
            for w, tw, iw in _spans(self.Wo, mw):
                part = y[:, h, w]
                tiles.append(Y[:, th, :ih, tw, :iw])
                pixels.append(part.reshape(n, part.shape[1] // ih, ih, part.shape[2] // iw, iw, K))
        return tiles, pixels


def _spans(size: int, m: int):
    """Cut `size` pixels in tiles of m: (pixels, tiles, pixels a tile) of the whole ones, then of the cut one."""
    whole = size // m
    spans = [(slice(0, whole * m), slice(0, whole), m)] if whole else []
    if size % m:
        spans.append((slice(whole * m, size), slice(whole, whole + 1), size % m))
    return spans


def _points_first(a: np.ndarray) -> np.ndarray:
    return a.swapaxes(0, 1)  # (tiles, p, C) -> (p, tiles, C)


def forward(x: np.ndarray, w: np.ndarray, padding: Padding, tile: Pair) -> np.ndarray:
    """conv2d with stride 1: x (N, H, W, C), w (rh, rw, C, K) -> (N, Ho, Wo, K)."""
    plan = Plan(x.shape, w.shape, padding, x.dtype, tile)
    U = plan.weights(w)
    y = empty((plan.N, plan.Ho, plan.Wo, plan.K), x.dtype)
    for n in plan.blocks:
        V = plan.analyse(x[n])
        M = empty((len(V), plan.p, plan.K), x.dtype)
        np.matmul(_points_first(V), U, out=_points_first(M))
        plan.synthesise(M, y[n])
    return y


def gradients(
    g: np.ndarray, x: np.ndarray | None, w: np.ndarray | None,
    x_shape, w_shape, padding: Padding, tile: Pair,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(gx if w is given, gw if x is given) of `forward`."""
    plan = Plan(x_shape, w_shape, padding, g.dtype, tile)
    gx = gU = None
    if w is not None:
        U = plan.weights(w)
        Ut = U.swapaxes(1, 2)
        gx = empty(x_shape, g.dtype)
    for n in plan.blocks:
        Q = plan.spread(g[n])
        if w is not None:
            D = empty((len(Q), plan.p, plan.C), g.dtype)
            np.matmul(_points_first(Q), Ut, out=_points_first(D))
            plan.overlap_add(D, gx[n])
        if x is not None:
            V = plan.analyse(x[n])
            part = empty((plan.p, plan.C, plan.K), g.dtype)
            np.matmul(V.transpose(1, 2, 0), _points_first(Q), out=part)
            if gU is None:
                gU = part
            else:
                gU += part
    gw = None
    if x is not None:
        if gU is None:
            gU = np.zeros((plan.p, plan.C, plan.K), g.dtype)
        gw = (plan.G.T @ gU.reshape(plan.p, -1)).reshape(w_shape)
    return gx, gw
