"""Matrix products cut into pieces of the size at which OpenBLAS is fastest."""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np

# OpenBLAS first copies its matrices, panel by panel, into a layout that is faster to read. With AVX-512 it leaves small
# ones where they lie. At 64 to 256 rows, which is what a block of a convolution has, the copies cost more than they
# save: the whole product ran at 100 to 115 GFLOP/s, the same product in pieces at 140 to 150 (on an Intel Xeon). For
# few and long rows of short sums, as in Winograd's transforms, the copies cost even more: 40 to 120 GFLOP/s for the
# whole, 160 to 195 in pieces (on an AMD EPYC). The kernels for AVX2 copy the pieces as well: there the whole is faster,
# by 6 to 27% (the Xeon, held to AVX2).
AVX512 = {"SkylakeX", "Cooperlake", "SapphireRapids"}  # as OpenBLAS calls its kernels
MAX_PIECE = 100**3  # multiplications in a piece: OpenBLAS copies nothing up to this many
PIECE_ROWS, PIECE_COLUMNS = 32, 64  # at most, except where rows and sums are short
SHORT = 64  # if there are at most this many rows, and numbers in a sum, then a piece has as many columns as may be
MIN_SIDE = 8  # rows or columns; narrower pieces are not worth a call

Product = tuple[np.ndarray, np.ndarray, np.ndarray]  # (a, b, out), the arguments of np.matmul


@cache
def avx512() -> bool:
    """Whether the BLAS of NumPy is an OpenBLAS with AVX-512. It chooses its kernels by the processor, once."""
    from threadpoolctl import threadpool_info  # here, since few programs that import minigraph come here

    return any(library.get("architecture") in AVX512 for library in threadpool_info())


def product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """out[...] = a @ b, (..., m, l) @ (..., l, n) -> (..., m, n), in pieces where that is faster."""
    np.matmul(*in_pieces(a, b, out))


def in_pieces(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Product:
    """The views of a, b and out that `product` gives to np.matmul; a caller can keep them for many products."""
    m, inner = a.shape[-2:]
    n = b.shape[-1]
    if m * n * inner <= MAX_PIECE or not avx512():
        return a, b, out
    if m <= SHORT and inner <= SHORT:
        rows, columns = m, _side(n, MAX_PIECE // (m * inner))
    else:
        columns = _side(n, PIECE_COLUMNS)
        rows = _side(m, min(PIECE_ROWS, MAX_PIECE // (columns * inner)))
    b = b.reshape(*b.shape[:-1], n // columns, columns).swapaxes(-3, -2)
    return _piece_views(a, b, out, rows)


def panels(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape (..., panels, l, columns) of a matrix (..., l, n) whose columns are stored panel by panel.

    A panel holds the columns of one piece, side by side in memory.
    """
    columns = _side(shape[-1], PIECE_COLUMNS) if avx512() else shape[-1]
    return (*shape[:-2], shape[-1] // columns, shape[-2], columns)


def panels_in_pieces(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Product:
    """`in_pieces` for a matrix b that is stored in panels, which is a tenth faster where l and n are large."""
    if not avx512():  # there is one panel, of all columns
        return a, b[..., 0, :, :], out
    rows = _side(a.shape[-2], MAX_PIECE // (b.shape[-2] * b.shape[-1]))
    return _piece_views(a, b, out, rows)


def _piece_views(a: np.ndarray, b: np.ndarray, out: np.ndarray, rows: int) -> Product:
    """Views of which np.matmul broadcasts the first axes: it then multiplies each group of rows by each panel.

    a (..., m, l) -> (..., m / rows, 1, rows, l)
    b (..., panels, l, columns) -> (..., 1, panels, l, columns)
    out (..., m, n) -> (..., m / rows, panels, rows, columns)
    """
    m, columns = a.shape[-2], b.shape[-1]
    a = a.reshape(*a.shape[:-2], m // rows, 1, rows, a.shape[-1])
    out = out.reshape(*out.shape[:-2], m // rows, rows, out.shape[-1] // columns, columns).swapaxes(-3, -2)
    return a, b[..., None, :, :, :], out


def _side(n: int, most: int) -> int:
    """The side of a piece on an axis of length n: the largest divisor of n up to `most`, or n if that is too small."""
    d = divisor(n, most)
    return d if d >= MIN_SIDE else n


@lru_cache(maxsize=1024)
def divisor(n: int, most: int) -> int:
    """The largest divisor of n up to `most`, at least 1."""
    return max(d for d in range(1, max(1, most) + 1) if n % d == 0)
