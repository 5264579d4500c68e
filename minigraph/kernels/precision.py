"""The dtype to sum in. float16 has eleven binary digits, so a sum of ones stays at 2,048, and no number above 65,504.

Sums, counts and means of float16 are therefore computed in float32, and rounded once. Other dtypes stay as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

F16 = np.dtype(np.float16)


def widened(x: Any) -> Any:
    """x, an array or a Tensor, in float32 if it is float16. Otherwise it is x itself."""
    return x.astype(np.float32) if x.dtype.char == "e" else x


def total(x: np.ndarray, axis: Any = None, keepdims: bool = False) -> np.ndarray:
    """The sum over `axis`, as numpy.sum, in the dtype of x."""
    if x.dtype.char != "e":
        return np.sum(x, axis, keepdims=keepdims)
    return np.asarray(np.sum(x, axis, np.float32, keepdims=keepdims)).astype(x.dtype)
