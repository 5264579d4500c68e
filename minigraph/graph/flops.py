"""How much arithmetic a function takes, counted by the definition of its operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tree import Tree
from .trace import trace


def flops(f: Callable[..., Any], params: Tree, *args: Any) -> int:
    """The floating-point operations of `f(params, *args)` and of its gradient in `params`.

    Convolutions and matrix products are counted, by their definition: a multiplication and an addition are two
    operations, and the gradient in an input takes as many as the result. What a kernel really does can be less
    (Winograd). Linear algebra is counted by the usual algorithms. Elementwise operations and sums, which are few beside
    these, are not counted, nor is what does not depend on `params`.

    Args:
        f: returns a Tensor, or a tuple or list whose first item is one. It is called once.
        params: a tree of arrays. args: what else f takes.

    Raises ValueError if the result depends on no array of `params`.
    """

    def result(params: Tree) -> Any:
        y = f(params, *args)
        return y[0] if isinstance(y, (tuple, list)) and y else y

    # Each operand of a product that needs a gradient is one more product.
    operations = trace(result, params, constants=(), what="flops").operations
    return sum(v.flops * (1 + sum(e.gradient for e in v.inputs[:2])) for v in operations)
