"""The result of a part of a batch, and how the results of two parts become that of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import tree
from ..blame import describe
from ..kernels import memory
from ..tree import Tree


@dataclass(slots=True)
class Partial:
    """What is known of one part of a batch, or of several neighbouring parts together.

    Attributes:
        share: the part of the batch's examples that these are, between 0 and 1.
        loss, aux: trees whose leaves are either `Unchanged`, or the sum of what the parts gave (floating arrays times
            the share of the part).
        grads: the gradients of the parts' losses, each times the share of its part, summed.
        several: whether these are several parts.
    """

    share: float
    loss: Tree
    aux: Tree
    grads: Tree
    several: bool = False

    @classmethod
    def of_part(cls, share: float, loss: Any, aux: Tree, grads: Tree, *, copied: bool) -> Partial:
        """The result of one part; `grads` are the gradients of share * loss, or a copy of them where others are added.

        The gradients may share memory with one another and with the arrays that the loss was computed from. A copy has
        its own, and frees that of the originals for the next part, however long it waits for its neighbour.
        """
        return cls(share, Unchanged(loss), tree.map(Unchanged, aux), _copy(grads) if copied else grads)

    def finish(self) -> tuple[Any, Tree, Tree]:
        """The loss, aux and gradients of the whole batch, once all parts are combined."""

        def value(x: Any) -> Any:
            if not isinstance(x, Unchanged):
                return np.asarray(x)
            # A single part may have handed back a count: it gets the dtype that a sum of counts has.
            count = not self.several and tree.is_array(x.value) and x.value.dtype.kind != "f"
            return _term(x, 1.0, "") if count else x.value

        return value(self.loss), tree.map(value, self.aux), self.grads


@dataclass(frozen=True, slots=True)
class GradientTask:
    """The tasks of `value_and_grad`, for an executor that wants the gradients before a task is over.

    Attributes:
        part: `part(i, ready)` computes part i. Meanwhile it calls `ready(k, g)` with the gradient of each leaf k of
            params, times the share of the part, as soon as it is final; a gradient that is known at the end only is not
            reported.
        params: what the gradients are like.
    """

    part: Callable[[int, Callable[[int, Any], None] | None], Partial]
    params: Tree

    def __call__(self, i: int) -> Partial:
        return self.part(i, None)


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A value that every part so far has handed back, such as frozen weights in a model's state."""

    value: Any


def combine(left: Partial, right: Partial) -> Partial:
    """The result of both: the average of losses and floating aux, the sum of other aux and of the gradients.

    The gradients of `right` are added to the arrays of `left`. The first part of `left` has to be an even one, as it
    always is in a `PairwiseTree`.

    Raises:
        ValueError: the aux of the two have different structures or shapes.
        TypeError: an aux that is not an array or a number, and not the same object in both.
    """
    shares = left.share, right.share
    try:
        theirs = tree.map(lambda _, y: y, left.aux, right.aux)
    except ValueError as error:
        raise ValueError(f"parallel.value_and_grad: aux should have one structure in all parts: {error}") from None
    pairs = zip(tree.items(left.aux), tree.leaves(theirs), strict=True)
    aux = tree.unflatten(left.aux, [_add(x, y, shares, path) for (path, x), y in pairs])
    loss = _add(left.loss, right.loss, shares, "")

    for total, g in zip(tree.leaves(left.grads), tree.leaves(right.grads), strict=True):
        total += g
    return Partial(sum(shares), loss, aux, left.grads, several=True)


def _add(x: Any, y: Any, shares: tuple[float, float], path: str) -> Any:
    """Two leaves of loss or aux, added; or still `Unchanged` where both are that and equal."""
    if isinstance(x, Unchanged) and isinstance(y, Unchanged) and _same(x.value, y.value):
        return x
    a, b = _term(x, shares[0], path), _term(y, shares[1], path)
    if a.shape != b.shape:
        at = f" at {path}" if path else ""
        raise ValueError(
            f"parallel.value_and_grad: aux should have one shape in all parts, got {sorted({a.shape, b.shape})}{at}"
        )
    return a + b


def _same(a: Any, b: Any) -> bool:
    """Whether the parts handed back one array.

    An array that came from another process is a copy, so equal floating arrays count as one as well: their average is
    the array itself. Equal counts do not, they are to be added.
    """
    if a is b:
        return True
    floating = tree.is_array(a) and tree.is_array(b) and a.dtype == b.dtype and a.dtype.kind == "f"
    return floating and a.shape == b.shape and a.tobytes() == b.tobytes()


def _term(x: Any, share: float, path: str) -> Any:
    """The summand for a leaf of loss or aux: a floating array times its share, a count as it is."""
    if not isinstance(x, Unchanged):
        return x
    a = x.value
    if not tree.is_array(a):
        at = f" at {path}" if path else ""
        raise TypeError(f"parallel.value_and_grad: aux should hold arrays and numbers, got {describe(a)}{at}")
    if a.dtype.kind == "f":
        return a * share
    return np.asarray(a.sum(axis=()))  # a sum over no axis: it only turns bool and small integers into int64


def _copy(grads: Tree) -> Tree:
    """The gradients in memory of their own, as views of one flat array where they have one dtype."""
    leaves = tree.leaves(grads)
    if len({g.dtype for g in leaves}) != 1:
        return tree.map(np.array, grads)
    flat = memory.empty((sum(g.size for g in leaves),), leaves[0].dtype)
    np.concatenate([g.reshape(-1) for g in leaves], out=flat)
    return tree.unravel(grads, flat)
