"""Averages of the weights over the steps of training, which often score better than the last weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import tree
from ..tree import Tree
from .checks import integer, number, step_count
from .protocol import State


class _Average:
    """What `EMA` and `Lookahead` share."""

    def __init__(self, decay: float | Callable[[int], float], every: int) -> None:
        self._name = type(self).__name__
        self.decay = decay if callable(decay) else number(decay, 0, 1, f"{self._name}: decay")
        self.every = integer(every, 1, f"{self._name}: every")

    def __repr__(self) -> str:
        return f"{self._name}({getattr(self.decay, '__name__', self.decay)}, every={self.every})"

    def init(self, weights: Tree) -> State:
        """The state before the first step: a copy of the weights. Raises TypeError for a leaf that is not an array."""
        for path, leaf in tree.items(weights):
            if not tree.is_array(leaf):
                at = path or "the top"
                raise TypeError(f"{self._name}.init: weights at {at}: expected an array, got {type(leaf).__name__}")
        return {"step": np.array(0, np.int64), "weights": tree.map(np.array, weights)}

    def _step(self, weights: Tree, state: State) -> tuple[State, bool]:
        """The state after one more step, and whether the average moved."""
        where = f"{self._name}.step"
        count = step_count(state, {"weights"}, where) + 1
        average, moves = state["weights"], count % self.every == 0
        weights = tree.check_like(average, weights, f"{where}: weights")
        if moves:
            decay = self.decay
            if callable(decay):
                decay = number(decay(count), 0, 1, f"{where}: decay at step {count}")
            with np.errstate(all="ignore"):  # weights that are not finite show in the next loss
                average = tree.map(lambda a, w: _mixed(a, w, decay), average, weights)
        return {"step": np.array(count, np.int64), "weights": average}, moves


class EMA(_Average):
    """The exponential moving average of weights: average = d average + (1 - d) weights.

        ema = optim.EMA(0.99)
        average = ema.init(params)
        ...
        average = ema.step(params, average)         # after each step of the optimizer
        ...
        params = average["weights"]                 # at the end

    The weights are any tree of arrays. Put a model's running statistics beside its parameters, as in `{"params":
    params, "state": state}`, for those of the last weights do not fit the average. Arrays that are not floating, such
    as counts, are not averaged: the newest are kept.

    The average begins as a copy of the weights that `init` is given, so its first values need no correction. Each step
    makes new arrays and writes to none that it was given.

    Args:
        decay: d, in [0, 1). Or a function from the number of the step, counted from 1, to d.
        every: the average moves in the steps whose number is divisible by this.

    The state has the keys "step" (the number of steps) and "weights" (the average).
    """

    def __init__(self, decay: float | Callable[[int], float], every: int = 1) -> None:
        super().__init__(decay, every)

    def step(self, weights: Tree, state: State) -> State:
        """The state after one more step.

        Raises ValueError or TypeError where `state` is not one of this average, `weights` are not like those in it, or
        d is not a number in [0, 1).
        """
        return self._step(weights, state)[0]


class Lookahead(_Average):
    """Slow weights that follow those of an optimizer and lead them back (Zhang et al. 2019, arXiv 1907.08610).

        lookahead = optim.Lookahead(0.5, every=5)
        slow = lookahead.init(params)
        ...
        params, slow = lookahead.step(params, slow)     # after each step of the optimizer
        ...
        params = slow["weights"]                        # at the end

    In every fifth step, slow = d slow + (1 - d) weights, and then weights = slow. Weights, arguments and state are
    those of `EMA`, with the slow weights as the average.
    """

    def __init__(self, decay: float | Callable[[int], float], every: int = 5) -> None:
        super().__init__(decay, every)

    def step(self, weights: Tree, state: State) -> tuple[Tree, State]:
        """The weights to go on with, and the state after one more step; raises as `EMA.step` does.

        Where the weights are led back, they are the arrays of the state itself: do not write to them. An optimizer
        copies them in its next step, as it does with all arrays that are not its own.
        """
        state, moved = self._step(weights, state)
        return (state["weights"] if moved else weights), state


def _mixed(a: np.ndarray, w: np.ndarray, d: float) -> np.ndarray:
    """d a + (1 - d) w; exactly w where d = 0, and exactly a where a and w are equal, as frozen weights are."""
    if w.dtype.kind not in "fc":
        return np.array(w)
    return np.asarray(w + (a - w) * d if d < 0.5 else a + (w - a) * (1 - d))
