"""What the optimizers share that update parameters in place: the state, the checks, and whose arrays are whose."""

from __future__ import annotations

import inspect
import operator
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from .. import tree
from ..tree import Tree
from .checks import floats, not_negative, step_count
from .protocol import State
from .schedules import Schedule, constant


class InPlace(ABC):
    """The base of `SGD`, `Adam`, `AdamW` and `Muon`; see `Optimizer` for what they do.

    Parameters and gradients are trees of equal structure whose leaves share one dtype, float32 or float64; parameters
    keep it. The state holds, beside "step", buffers shaped like the parameters.

    The first `step` copies the parameters into one flat array and returns views of it. After that, **arrays that a step
    returned are updated in place by the next step**: copy what you want to keep. Arrays that the caller made and
    gradients are never written to.

    A subclass names its buffers in `_buffers`, and updates them and the parameters in `_apply`.
    """

    _buffers: tuple[str, ...] = ()

    def __init__(self, lr: float | Schedule, weight_decay: float) -> None:
        self._name = type(self).__name__
        self.lr: Schedule = lr if callable(lr) else constant(not_negative(lr, f"{self._name}: lr"))
        self.weight_decay = not_negative(weight_decay, f"{self._name}: weight_decay")
        # The flat parameters and buffers of the last step, and the views of them that it returned.
        self._flats: list[np.ndarray] = []
        self._leaves: list[np.ndarray] = []

    def __repr__(self) -> str:
        """The learning rate, and the options that differ from their defaults."""
        defaults = {name: p.default for name, p in inspect.signature(type(self)).parameters.items() if name != "lr"}
        options = {name: getattr(self, name) for name, default in defaults.items() if getattr(self, name) != default}
        lr = getattr(self.lr, "__name__", None) or repr(self.lr)
        return f"{self._name}({', '.join([f'lr={lr}', *(f'{name}={value!r}' for name, value in options.items())])})"

    def init(self, params: Tree) -> State:
        """The state before the first step: the number of steps and the buffers, all zero.

        Raises ValueError for a tree without a leaf, TypeError unless all leaves are arrays of one dtype, float32 or
        float64.
        """
        dtype = self._check(params, f"{self._name}.init: params")
        size = sum(leaf.size for leaf in tree.leaves(params))
        buffers = {name: tree.unravel(params, np.zeros(size, dtype)) for name in self._buffers}
        return {"step": np.array(0, np.int64), **buffers}

    def step(self, params: Tree, grads: Tree, state: State) -> tuple[Tree, State]:
        """One update. It returns the new parameters and state, which the next step updates in place.

        A schedule is called with the number of steps already taken, from 0. Raises ValueError or TypeError, with
        nothing changed, where `grads` or `state` does not fit `params` (the message names the path, as in `conv1.w`)
        or the schedule's value is negative or not finite.
        """
        where = f"{self._name}.step"
        count = step_count(state, {*self._buffers}, where)
        lr = not_negative(self.lr(count), f"{where}: lr at step {count}")

        trees = [params, *(state[name] for name in self._buffers)]
        leaves = tree.leaves(trees)
        ours = len(leaves) == len(self._leaves) and all(map(operator.is_, leaves, self._leaves))
        if leaves and ours:
            flats = self._flats
        else:
            self._check(params, f"{where}: params")
            for i, name in enumerate(self._buffers, start=1):
                trees[i] = tree.check_like(params, trees[i], f"{where}: state[{name!r}]")
            flats, trees = map(list, zip(*map(tree.flatten, trees), strict=True))
        grads = tree.check_like(trees[0], grads, f"{where}: grads")

        # An error halfway would leave some entries updated and others not, so nothing may raise here. An overflow shows
        # in the next loss.
        with np.errstate(all="ignore"):
            self._apply(trees, flats, grads, lr, count + 1)
        if flats is not self._flats:
            self._flats, self._leaves = flats, tree.leaves(trees)
        step = {"step": np.array(count + 1, np.int64)}
        return trees[0], step | dict(zip(self._buffers, trees[1:], strict=True))

    def _check(self, params: Tree, what: str) -> np.dtype[Any]:
        """The dtype of parameters that this optimizer can take; ValueError or TypeError for others."""
        return floats(params, what)

    @abstractmethod
    def _apply(self, trees: list[Tree], flats: list[np.ndarray], grads: Tree, lr: float, t: int) -> None:
        """Update the parameters and the buffers in place, in step `t`, counted from 1.

        `trees` are the parameters and each of the buffers, as trees like `grads`. Their leaves are views of `flats`.
        """


def apart(gradients: list[np.ndarray], writes: list[np.ndarray]) -> list[np.ndarray]:
    """The gradients, each copied where it may lie in memory that the step writes to.

    That happens: the gradient of (a * b).sum() by a is b itself.
    """
    return [g.copy() if any(np.may_share_memory(g, array) for array in writes) else g for g in gradients]
