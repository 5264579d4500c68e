"""Matrix products cut to the size at which OpenBLAS is fastest."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

# OpenBLAS multiplies small matrices where they lie and copies the panels of larger ones first. At 64 to 256 rows, which
# is what a block of a convolution has, the copies cost more than they save: 100 to 115 GFLOP/s whole, 140 to 150 in
# pieces (on an Intel Xeon). They cost even more for a few long rows of short sums, as in Winograd's transforms: 40 to
# 120 whole, 160 to 195 in pieces (on an AMD EPYC).
UNPACKED = 100**3  # multiplications below which nothing is copied
ROWS, COLUMNS = 32, 64  # of a piece
SHORT = 64  # rows, and numbers in a sum, up to which the pieces are as long as may be
LEAST = 8  # rows or columns that are worth a piece

Product = tuple[np.ndarray, np.ndarray, np.ndarray]


def product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """out[...] = a @ b, (..., m, l) @ (..., l, n) -> (..., m, n), in pieces where the whole is large."""
    np.matmul(*pieces(a, b, out))


def pieces(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Product:
    """Views of the arrays for which np.matmul(a, b, out) does `product`, to be made once for many products."""
    m, inner = a.shape[-2:]
    n = b.shape[-1]
    if m * n * inner <= UNPACKED:
        return a, b, out
    if m <= SHORT and inner <= SHORT:
        rows, columns = m, _side(n, UNPACKED // (m * inner))
    else:
        columns = _side(n, COLUMNS)
        rows = _side(m, min(ROWS, UNPACKED // (columns * inner)))
    b = b.reshape(*b.shape[:-1], n // columns, columns).swapaxes(-3, -2)
    return _cut(a, b, out, rows)


def panels(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape (..., n / columns, l, columns) in which (..., l, n) has each piece's columns side by side in memory."""
    columns = _side(shape[-1], COLUMNS)
    return (*shape[:-2], shape[-1] // columns, shape[-2], columns)


def panel_pieces(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Product:
    """As `pieces`, with b in panels, a tenth faster where l and n are large."""
    rows = _side(a.shape[-2], UNPACKED // (b.shape[-2] * b.shape[-1]))
    return _cut(a, b, out, rows)


def _cut(a: np.ndarray, b: np.ndarray, out: np.ndarray, rows: int) -> Product:
    """(..., m, l), b in panels, (..., m, n) -> (..., m / rows, 1, rows, l), (..., 1, panels), (..., pieces of out)."""
    m, columns = a.shape[-2], b.shape[-1]
    a = a.reshape(*a.shape[:-2], m // rows, 1, rows, a.shape[-1])
    out = out.reshape(*out.shape[:-2], m // rows, rows, out.shape[-1] // columns, columns).swapaxes(-3, -2)
    return a, b[..., None, :, :, :], out


def _side(n: int, most: int) -> int:
    """The largest divisor of n up to `most`, or n itself where that is too small for a piece."""
    d = divisor(n, most)
    return d if d >= LEAST else n


@lru_cache(maxsize=1024)
def divisor(n: int, most: int) -> int:
    """The largest divisor of n up to `most`, at least 1."""
    return max(d for d in range(1, max(1, most) + 1) if n % d == 0)
