"""Checks of arguments that the modules of this package share. `what` begins the message: "SGD: lr"."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np

from .. import tree
from ..tree import Tree


def number(value: Any, low: float, high: float, what: str) -> float:
    """`value` as a float, if low <= value < high; else TypeError or ValueError."""
    if not isinstance(value, Real):
        raise TypeError(f"{what}: expected a number, got {value!r}")
    as_float = float(value)  # a float64 scalar of NumPy would turn float32 arithmetic into float64
    if not low <= as_float < high:
        expected = f"in [{low}, {high})" if high < math.inf else "finite and not negative"
        raise ValueError(f"{what}: expected a number {expected}, got {as_float}")
    return as_float


def not_negative(value: Any, what: str) -> float:
    """`value` as a float, if it is finite and not negative."""
    return number(value, 0, math.inf, what)


def integer(value: Any, low: int, what: str) -> int:
    """`value` as an int, if it is an integer of at least `low`; else ValueError."""
    if not isinstance(value, (int, np.integer)) or value < low:
        raise ValueError(f"{what}: expected an integer from {low}, got {value!r}")
    return int(value)


def floats(params: Tree, what: str) -> np.dtype[Any]:
    """The one dtype of the arrays in `params`, float32 or float64.

    Raises ValueError for a tree without a leaf, and TypeError for a leaf that is not such an array.
    """
    named = list(tree.items(params))
    if not named:
        raise ValueError(f"{what}: expected a tree of arrays, got one without a leaf")
    dtype = getattr(named[0][1], "dtype", None)
    expected = dtype if dtype in (np.float32, np.float64) else "float32 or float64"
    for path, leaf in named:
        if not tree.is_array(leaf) or leaf.dtype != expected:
            got = leaf.dtype if tree.is_array(leaf) else type(leaf).__name__
            raise TypeError(f"{what} at {path or 'the top'}: expected {expected}, got {got}")
    return np.dtype(dtype)


def step_count(state: Any, keys: set[str], what: str) -> int:
    """The number of steps taken, from a state that should have these keys and "step"."""
    keys = {"step", *keys}
    if not isinstance(state, dict) or state.keys() != keys:
        got = sorted(state) if isinstance(state, dict) else type(state).__name__
        raise ValueError(f"{what}: state: expected the keys {sorted(keys)}, got {got}")
    count = state["step"]
    if not tree.is_array(count) or count.shape != () or count.dtype.kind != "i" or count < 0:
        raise ValueError(f"{what}: state['step']: expected an integer from 0, got {count!r}")
    return int(count)
