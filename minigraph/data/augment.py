"""What the loader does to a batch of images. The random numbers are drawn by the caller, one for each image."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def reflect_pad(x: np.ndarray, p: int) -> np.ndarray:
    """`np.pad(x, ((0, 0), (p, p), (p, p), ...), "reflect")` for p >= 1, which is several times slower."""
    n, height, width, *rest = x.shape
    out = np.empty((n, height + 2 * p, width + 2 * p, *rest), x.dtype)
    out[:, p:-p, p:-p] = x
    out[:, p:-p, :p] = x[:, :, p:0:-1]
    out[:, p:-p, -p:] = x[:, :, -2 : -p - 2 : -1]
    out[:, :p] = out[:, 2 * p : p : -1]
    out[:, -p:] = out[:, -p - 2 : -2 * p - 2 : -1]
    return out


def crop(x: np.ndarray, height: int, width: int, top: np.ndarray, left: np.ndarray) -> np.ndarray:
    """`(B, H, W)` -> `(B, height, width)`: of each image the window that begins at its `top` and `left`, `(B,)`."""
    windows = sliding_window_view(x, (height, width), axis=(1, 2))  # (B, H-height+1, W-width+1, height, width)
    return windows[np.arange(len(x)), top, left]


def cutout(x: np.ndarray, size: int, top: np.ndarray, left: np.ndarray) -> None:
    """Set to 0 a square of each image of x `(B, H, W, C)`: `size` pixels wide, its corner at `top`, `left`, `(B,)`."""
    squares = sliding_window_view(x, (size, size), axis=(1, 2), writeable=True)
    squares[np.arange(len(x)), top, left] = 0


def resize(x: np.ndarray, size: int) -> np.ndarray:
    """Bilinear interpolation without antialiasing: float32 `(B, H, W, C)` -> `(B, size, size, C)`.

    It is that of `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`.
    """
    n, height, width, channels = x.shape
    out = np.empty((n, size, size, channels), x.dtype)
    for start in range(0, n, 64):  # so few that they stay in the cache
        part = x[start : start + 64]
        rows = _interpolate(part.reshape(len(part), height, -1), size)
        columns = _interpolate(rows.reshape(len(part) * size, width, channels), size)
        out[start : start + 64] = columns.reshape(len(part), size, size, channels)
    return out


def _interpolate(x: np.ndarray, size: int) -> np.ndarray:
    """Linear interpolation along the middle axis: `(A, N, B)` -> `(A, size * B)`.

    The N items are cells side by side, and so are the new ones. The middle of new cell i is (i + 1/2) N / size - 1/2 in
    steps from the middle of the first old one. Beyond the middle of the outermost cells the values stay constant.
    """
    a, n, b = x.shape
    middle = np.clip((np.arange(size) + 0.5) * (n / size) - 0.5, 0, n - 1)
    below = middle.astype(int)
    out = x.take(below, axis=1).reshape(a, size * b)
    step = x.take(np.minimum(below + 1, n - 1), axis=1).reshape(a, size * b)
    step -= out
    step *= np.repeat(middle - below, b).astype(x.dtype)  # NumPy is slow at broadcasting over so short an axis
    out += step
    return out
