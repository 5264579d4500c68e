"""How much arithmetic a function takes, counted by the definition of its operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import tree
from ..modes import RECORD, mode
from ..tape import ancestors
from ..tensor import Tensor
from ..tree import Tree


def flops(f: Callable[..., Any], params: Tree, *args: Any) -> int:
    """The floating-point operations of `f(params, *args)` and of its gradient in `params`.

    Convolutions and matrix products are counted, by their definition: a multiplication and an addition are two
    operations, and the gradient in an input takes as many as the result. What a kernel really does can be less
    (Winograd). Elementwise operations and sums, which are few beside these, are not counted, nor is what does not
    depend on `params`.

    Args:
        f: returns a Tensor, or a tuple or list whose first item is one. It is called once.
        params: a tree of arrays. args: what else f takes.
    """
    traced = tree.map(
        lambda p: Tensor(np.asarray(p), requires_grad=True) if np.asarray(p).dtype.kind == "f" else p, params
    )
    with mode(RECORD):
        y = f(traced, *args)
    y = y[0] if isinstance(y, (tuple, list)) else y
    if not isinstance(y, Tensor) or y.node is None:
        raise TypeError("flops: f should return a Tensor that depends on params, or a tuple that begins with one")
    total = 0
    for node in ancestors([y.node]):
        if node.op is not None and node.op.flops is not None:
            # Each operand of a product that needs a gradient is one more product.
            products = 1 + sum(parent is not None for parent in node.parents[:2])
            total += products * node.op.flops(node.shape, *node.args, **(node.kwargs or {}))
    return total
