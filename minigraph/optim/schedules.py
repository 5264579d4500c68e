"""Learning-rate schedules: functions from the number of steps already taken, from 0, to the rate of the next step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from .checks import integer, not_negative

Schedule = Callable[[int], float]


class _Named:
    """A schedule that prints as the call that made it."""

    def __init__(self, name: str, rate: Schedule) -> None:
        self._name, self._rate = name, rate

    def __call__(self, step: int) -> float:
        return self._rate(step)

    def __repr__(self) -> str:
        return self._name


def constant(lr: float) -> Schedule:
    """The same rate at every step."""
    lr = not_negative(lr, "constant: lr")
    return _Named(repr(lr), lambda step: lr)


def step_decay(lr: float, boundaries: Iterable[int], factor: float = 0.1) -> Schedule:
    """`lr`, multiplied by `factor` at each of `boundaries`, which are increasing step numbers from 1.

    `boundaries=range(k, steps, k)` multiplies every k steps.
    """
    lr = not_negative(lr, "step_decay: lr")
    factor = not_negative(factor, "step_decay: factor")
    at = [integer(boundary, 1, "step_decay: boundaries") for boundary in boundaries]
    if any(a >= b for a, b in itertools.pairwise(at)):
        raise ValueError(f"step_decay: expected increasing boundaries, got {at}")
    name = f"step_decay({lr}, {at}, factor={factor})"
    return _Named(name, lambda step: lr * factor ** sum(step >= boundary for boundary in at))


def piecewise_linear(rates: Mapping[int, float]) -> Schedule:
    """Straight lines between the given rates, each at its step; before the first and after the last, a constant rate.

    `piecewise_linear({0: 0.2 * lr, rise: lr, steps: 0.07 * lr})` rises from a fifth of lr, and ends above 0.
    """
    if not isinstance(rates, Mapping) or not rates:
        raise ValueError(f"piecewise_linear: expected a dict from step numbers to rates, got {rates!r}")
    at = [integer(step, 0, "piecewise_linear: step") for step in rates]
    values = [not_negative(rate, f"piecewise_linear: rate at step {step}") for step, rate in rates.items()]
    if any(a >= b for a, b in itertools.pairwise(at)):
        raise ValueError(f"piecewise_linear: expected increasing steps, got {at}")
    name = f"piecewise_linear({dict(zip(at, values, strict=True))})"
    return _Named(name, lambda step: float(np.interp(step, at, values)))


def linear(lr: float, steps: int, *, warmup: int = 0, final: float = 0.0) -> Schedule:
    """Rises in a straight line for `warmup` steps to `lr`, then falls in a straight line to `final` at step `steps`."""
    return _decay("linear", lambda x: x, lr, steps, warmup, final)


def cosine(lr: float, steps: int, *, warmup: int = 0, final: float = 0.0) -> Schedule:
    """Rises in a straight line for `warmup` steps to `lr`, then falls along half a cosine to `final` at step `steps`.

    Loshchilov & Hutter 2017 (arXiv 1608.03983), without restarts.
    """
    return _decay("cosine", lambda x: (1 - math.cos(math.pi * x)) / 2, lr, steps, warmup, final)


def _decay(name: str, curve: Callable[[float], float], lr: float, steps: int, warmup: int, final: float) -> Schedule:
    """Warm-up, then from `lr` to `final` along `curve`, which goes from 0 at 0 to 1 at 1."""
    lr = not_negative(lr, f"{name}: lr")
    final = not_negative(final, f"{name}: final")
    steps = integer(steps, 1, f"{name}: steps")
    warmup = integer(warmup, 0, f"{name}: warmup")
    if warmup >= steps:
        raise ValueError(f"{name}: expected warmup below steps = {steps}, got {warmup}")

    def rate(step: int) -> float:
        if step < warmup:
            return lr * (step + 1) / (warmup + 1)  # the line starts at 0 one step early: a step at rate 0 is wasted
        progress = min((step - warmup) / (steps - warmup), 1.0)
        return lr + (final - lr) * curve(progress)

    options = f", warmup={warmup}" * (warmup > 0) + f", final={final}" * (final > 0)
    return _Named(f"{name}({lr}, {steps}{options})", rate)
