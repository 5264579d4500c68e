"""Gradient clipping. The returned gradients are views of one flat array, which a step reads in one pass."""

from __future__ import annotations

import math

import numpy as np

from .. import tree
from ..tree import Tree
from .checks import floats, not_negative

_SMALLEST = 1e-15  # the square of a smaller norm has lost digits in float32


def clip_by_global_norm(grads: Tree, max_norm: float) -> tuple[Tree, float]:
    """Multiply all gradients by one factor, such that their Euclidean norm as one vector is at most `max_norm`.

    Returns the gradients, and their norm before (Pascanu et al. 2013, arXiv 1211.5063). Gradients whose norm is not
    finite are returned as they are.

    Raises:
        ValueError: max_norm is negative or not finite, or grads has no leaf.
        TypeError: grads does not hold arrays of one dtype, float32 or float64.
    """
    max_norm = not_negative(max_norm, "clip_by_global_norm: max_norm")
    flat, grads = _flat(grads, "clip_by_global_norm: grads")
    with np.errstate(all="ignore"):
        norm = math.sqrt(np.dot(flat, flat))
        if not _SMALLEST < norm < math.inf:  # the squares overflow or vanish, but perhaps the norm does not
            top = float(np.max(np.abs(flat), initial=0))
            if 0 < top < math.inf:
                scaled = flat.astype(np.float64) / top
                norm = math.sqrt(np.dot(scaled, scaled)) * top
    if max_norm < norm < math.inf:
        grads = tree.unravel(grads, flat * (max_norm / norm))
    return grads, norm


def clip_by_value(grads: Tree, limit: float) -> Tree:
    """Limit every entry of the gradients to [-limit, limit]; NaN stays NaN.

    Raises:
        ValueError: limit is negative or not finite, or grads has no leaf.
        TypeError: grads does not hold arrays of one dtype, float32 or float64.
    """
    limit = not_negative(limit, "clip_by_value: limit")
    flat, grads = _flat(grads, "clip_by_value: grads")
    return tree.unravel(grads, np.clip(flat, -limit, limit))


def _flat(grads: Tree, what: str) -> tuple[np.ndarray, Tree]:
    """The flat array under the gradients, and the tree of views of it; of a copy where they do not lie in one."""
    floats(grads, what)
    flat = tree.flat_view(grads)
    return tree.flatten(grads) if flat is None else (flat, grads)
