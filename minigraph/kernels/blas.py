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


def product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """out[...] = a @ b, (..., m, l) @ (..., l, n) -> (..., m, n), in pieces where the whole is large."""
    m, inner = a.shape[-2:]
    n = b.shape[-1]
    if m * n * inner > UNPACKED:
        if m <= SHORT and inner <= SHORT:
            rows, columns = m, _divisor(n, UNPACKED // (m * inner))
        else:
            columns = _divisor(n, COLUMNS)
            rows = _divisor(m, min(ROWS, UNPACKED // (columns * inner)))
        a = a.reshape(*a.shape[:-2], m // rows, 1, rows, inner)
        b = b.reshape(*b.shape[:-2], 1, inner, n // columns, columns).swapaxes(-3, -2)
        out = out.reshape(*out.shape[:-2], m // rows, rows, n // columns, columns).swapaxes(-3, -2)
    np.matmul(a, b, out=out)


@lru_cache(maxsize=1024)
def _divisor(n: int, most: int) -> int:
    """The largest divisor of n up to `most`, or n itself where that is too small."""
    d = max(d for d in range(1, max(1, most) + 1) if n % d == 0)
    return d if d >= LEAST else n
