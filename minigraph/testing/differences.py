"""Derivatives by finite differences, with an estimate of their error, and the search for kinks.

The derivative along a direction comes from central differences at smaller and smaller steps, each half of the one
before. They are extrapolated to step 0, and how far the extrapolations differ estimates the error (Ridders 1982, Adv.
Eng. Software 4:75). At a kink, the slopes from below and from above converge to two different values. Finite
differences can neither confirm nor refute a rule there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..tensor import value

STEP = 2.0**-7  # the first step, as a fraction of the mean absolute entry of the array that is moved
HALVINGS = 24  # how many times the step is halved at most
EPS = float(np.finfo(np.float64).eps)


@dataclass
class Line:
    """What finite differences say about one direction. Arrays have an entry for each entry of the result, flat."""

    leaf: int  # which input is moved
    direction: np.ndarray  # along what, flat
    slope: np.ndarray
    error: np.ndarray  # the estimated error of `slope`
    noise: float  # how much of the error rounding alone may cause
    secant: np.ndarray  # the absolute slope over the first step: a scale for slopes that happen to be near 0
    kinked: np.ndarray  # the entries of the result that have a kink
    sides: np.ndarray  # (2, kinked): their slopes from below and from above

    def usable(self, u: np.ndarray) -> bool:
        """Whether <u, result> has no kink along the direction."""
        return not u[self.kinked].any()


class Differences:
    """Slopes of the function `g` of a list of float64 arrays, at `xs`.

    Args:
        value: g at xs, its results end to end.
        floor: rounding errors are taken relative to numbers of at least this size.
        rtol: how exact the slopes should be at least.

    Attributes:
        size: for each of xs the mean absolute entry, or 1 if that is 0. calls: how many times g was called.
    """

    def __init__(
        self, g: Callable[..., Sequence[Any]], xs: list[np.ndarray], value: np.ndarray, floor: float, rtol: float
    ):
        self.g, self.xs, self.value, self.floor, self.rtol = g, xs, value, floor, rtol
        self.size = [float(np.abs(x).mean()) or 1.0 if x.size else 1.0 for x in xs]
        self.calls = 0

    def call(self, *inputs: np.ndarray) -> np.ndarray:
        """The value of g, flat."""
        self.calls += 1
        return flat(self.g(*inputs))

    def largest(self, *values: np.ndarray) -> float:
        """The largest finite absolute value, at least the floor."""
        return max(self.floor, *(float(np.abs(v).max(initial=0, where=np.isfinite(v))) for v in values))

    def line(self, leaf: int, direction: np.ndarray, first: float = STEP) -> Line:
        """The slopes along a direction, by extrapolation. The steps shrink from `first` until the error is small."""
        y = self.value
        slope, error = np.full(y.shape, np.nan), np.full(y.shape, np.inf)
        chosen = np.zeros(y.shape, int)  # the step at which `slope` was found
        suspect, torn = np.zeros(y.shape, bool), np.zeros(y.shape, bool)  # there was a bend there, a large one
        row: list[np.ndarray] = []  # the central difference at step h, then extrapolations without its h^2, h^4, ...
        jump: np.ndarray | None = None
        noise, secant = 0.0, np.zeros(y.shape)
        for k in range(HALVINGS + 1):
            h = first * 0.5**k
            above, below = self._along(leaf, direction, h), self._along(leaf, direction, -h)
            noise = 64 * EPS / h * self.largest(y, above, below)
            sides = (np.abs(above - y) + np.abs(y - below)) / h
            new = [(above - below) / (2 * h)]
            # The slopes from above and below differ by h f'' + O(h^3), which halves with h. At a kink they differ by a
            # constant.
            last, jump = jump, (above - 2 * y + below) / h
            if last is None:
                secant = np.nan_to_num(sides, nan=0, posinf=0)
                bend = np.zeros(y.shape)
            else:
                bend = np.maximum(np.abs(2 * jump - last) - 8 * noise, 0)
            straight = bend <= 0.02 * sides
            # Beside a kink, the steps that cross it agree on a mean of its two slopes, with a bend each. The first step
            # that does not reach it is straight. If it gives another slope, the search begins anew.
            differs = np.abs(new[0] - slope) > 0.02 * sides + 4 * noise
            error[(k > chosen + 1) & differs] = np.inf
            torn &= differs | ~straight
            for j, old in enumerate(row):
                new.append(new[j] + (new[j] - old) / (4.0 ** (j + 1) - 1))
                off = np.maximum(np.abs(new[-1] - new[j]), np.abs(new[-1] - old)) + noise
                better = off < error
                slope[better], error[better] = new[-1][better], off[better]
                chosen[better] = k
                suspect[better] = ~(bend <= 1e-5 * sides)[better]
                torn[better] = ~straight[better]
            row = new
            if k and (straight & (error <= 1e-3 * self.rtol * np.abs(slope) + 2 * noise)).all():
                break
        suspect |= ~(error <= self.rtol * np.abs(slope) + 10 * noise)
        kinked, sides = self._kinks(leaf, direction, np.flatnonzero(suspect))
        error[torn] = np.inf  # a mean of two slopes, at or beside a kink
        return Line(leaf, direction, slope, error, noise, secant, kinked, sides)

    def _along(self, leaf: int, direction: np.ndarray, t: float) -> np.ndarray:
        """The value with one input moved by t along `direction`."""
        inputs = [*self.xs]
        inputs[leaf] = inputs[leaf] + (t * direction).reshape(inputs[leaf].shape)
        return self.call(*inputs)

    def _kinks(self, leaf: int, direction: np.ndarray, suspects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those of `suspects`, entries of the result, that have a kink; and (2, kinks), the slopes below and above.

        The steps shrink by 8 each time. The two slopes of a smooth function then come 8 times closer to each other, as
        soon as the step is below the function's radius of curvature. At a kink their difference stays the same, until
        rounding hides it.
        """
        if not suspects.size:
            return suspects, np.empty((2, 0))
        y, noise_unit = self.value[suspects], 16 * EPS * self.largest(self.value)
        below, above, clear = [], [], []
        for k in range(9):
            h = STEP * 8.0**-k
            over, under = (self._along(leaf, direction, t)[suspects] for t in (h, -h))
            below.append((y - under) / h)
            above.append((over - y) / h)
            clear.append(noise_unit / h < 0.02 * np.abs(above[-1] - below[-1]))
        # The last three steps at which the difference stands out from the rounding error; False sorts before True.
        last = np.argsort(clear, axis=0, kind="stable")[-3:]
        b, a = np.take_along_axis(np.array(below), last, 0), np.take_along_axis(np.array(above), last, 0)
        gaps = a - b
        near = 0.1 * np.abs(gaps[2])
        kinked = np.sum(clear, axis=0) >= 3
        # If a slope itself keeps changing, this is a jump or a cusp and no kink.
        for was, now in ((gaps[0], gaps[1]), (gaps[1], gaps[2]), (b[1], b[2]), (a[1], a[2])):
            kinked &= np.abs(was - now) < near
        return suspects[kinked], np.stack([b[2], a[2]])[:, kinked]


def flat(arrays: Sequence[Any]) -> np.ndarray:
    """The entries of all arrays end to end."""
    return np.concatenate([np.asarray(value(a)).reshape(-1) for a in arrays])


def dot(gradient: np.ndarray, direction: np.ndarray) -> float:
    """<gradient, direction>. A NaN in an entry of the gradient counts only if the direction is not 0 there."""
    along = np.flatnonzero(direction)
    return float(gradient[along] @ direction[along])


def between(x: float, ends: tuple[float, float]) -> bool:
    """Whether x lies between the two ends, or nearly."""
    slack = 1e-5 * max(abs(ends[0]), abs(ends[1]))
    return min(ends) - slack <= x <= max(ends) + slack
