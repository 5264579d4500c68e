"""`checkpoint`: less memory for more arithmetic. The backward pass computes the inside of a function once more."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

from . import modes, ops, random, tree
from .anomaly import checksum
from .blame import describe
from .modes import ANOMALY, RECORD, WHOLE
from .primitive import Primitive
from .tensor import Tensor, value
from .transforms import name_of, pulled_back

P = ParamSpec("P")
R = TypeVar("R")


def checkpoint(f: Callable[P, R]) -> Callable[P, R]:
    """`f`, which keeps only its inputs for the backward pass and runs again there (Chen et al. 2016, arXiv 1604.06174).

    Every array that f depends on has to come in through its arguments, which are trees of arrays. `dropout` inside
    draws the same mask again, and so does any randomness whose generator comes from `mg.random.drawing_from`. If f
    gives another result when it runs again, because something that it reads has changed, the gradient is that of the
    other result. Under `detect_anomaly` this is a BackwardError.

    Raises TypeError where f uses, by closure, a Tensor that requires a gradient, or returns no floating array.
    """

    @functools.wraps(f)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Any:
        leaves = tree.leaves((args, kwargs))
        traced = [i for i, x in enumerate(leaves) if type(x) is Tensor and x.node is not None]
        if not traced or not modes.flags.get() & RECORD or modes.flags.get() & WHOLE:
            return f(*args, **kwargs)
        inputs = [leaves[i] for i in traced]
        # The node keeps `leaves`. If the inputs were in there, they would outlive the backward pass. A Tensor is taken
        # with the array that it has now, as by any other operation.
        leaves = [None if i in traced else x.detach() if type(x) is Tensor else x for i, x in enumerate(leaves)]
        structure = tree.map(lambda _: 0, (args, kwargs))

        def run(*tensors: Any) -> Any:
            """f of its traced leaves: the floating outputs joined into one flat array, and the outputs themselves."""
            filled = list(leaves)
            for i, t in zip(traced, tensors, strict=True):
                filled[i] = t
            again, named = tree.unflatten(structure, filled)
            like = f(*again, **named)
            floating = _floating(like)
            if not floating:
                raise TypeError(f"{name_of(f)} should return floating arrays, got {describe(like)}")
            if len(floating) == 1:
                return floating[0], like
            return ops.concatenate([t.reshape(-1) for t in floating]), like

        draws = random.Draws()
        outputs: list[Any] = []
        sums: list[int] = []  # under `detect_anomaly`, the checksum of the result

        def forward(*values: Any) -> Any:
            with draws.record():
                y, like = run(*(Tensor(v) for v in values))
            outputs.append(like)
            if modes.flags.get() & ANOMALY:
                sums.append(checksum(y._array))
            if y.node is not None:
                raise TypeError(
                    f"{name_of(f)} uses a Tensor that needs a gradient and is not among its arguments: pass it"
                )
            return y._array, [value(x) for x in leaves]  # so that `detect_anomaly` sees which arrays are kept

        def rule(g: Any, _y: Any, *xs: Any, saved: Any) -> Any:
            with draws.replay():
                y, pullback = pulled_back(lambda *tensors: run(*tensors)[0], xs, wide=True)
            if sums and checksum(value(y)) != sums[0]:
                raise RuntimeError(
                    "it gives another result when it runs again for the backward pass: an array or a variable that it "
                    "reads has changed, or it draws random numbers that are not minigraph's"
                )
            return pullback(g, retain_graph=False)

        op = Primitive(forward, f"checkpoint({name_of(f)})")
        op.records_saved = True  # the rule differentiates f itself
        op.vjp(rule)
        y = op(*inputs)
        like = outputs.pop()
        floating = _floating(like)
        if len(floating) == 1:
            parts = [y]
        else:
            ends = np.cumsum([0, *(t.size for t in floating)])
            parts = [
                y[a:b].reshape(t.shape).astype(t.dtype)
                for a, b, t in zip(ends[:-1], ends[1:], floating, strict=True)
            ]
        rest = iter(parts)
        return tree.map(
            lambda t: next(rest) if type(t) is Tensor and t.dtype.kind == "f" else t, like
        )

    return wrapped


def _floating(outputs: Any) -> list[Tensor]:
    return [t for t in tree.leaves(outputs) if type(t) is Tensor and t.dtype.kind == "f"]
