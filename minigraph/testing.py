"""Checks of gradients: `check_vjp` by finite differences, `check_adjoint` by an identity of linear functions.

All computation is in float64. The derivative along a direction comes from central differences at smaller and smaller
steps, each half of the one before. They are extrapolated to step 0, and how far the extrapolations differ estimates
the error (Ridders 1982, Adv. Eng. Software 4:75). At a kink, the slopes from below and from above converge to two
different values. Finite differences can neither confirm nor refute a rule there, and the check reports the kink.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from . import tree
from .blame import describe
from .tensor import Tensor, value
from .transforms import vjp

__all__ = ["GradientMismatch", "KinkError", "Passed", "check_adjoint", "check_vjp"]

STEP = 2.0**-7  # the first step, as a fraction of the mean absolute entry of the array that is moved
HALVINGS = 24  # how many times the step is halved at most
FULL = 64  # up to this many entries, every entry of the input (or of the result) is checked by itself
EPS = float(np.finfo(np.float64).eps)

Index = tuple[int, ...]


@dataclass(frozen=True)
class Passed:
    """The verdict of a check that passed.

    Attributes:
        errors: for each order, the largest relative difference between the rule and finite differences.
    """

    errors: tuple[float, ...]

    @property
    def order(self) -> int:
        return len(self.errors)


class GradientMismatch(AssertionError):
    """A rule and finite differences disagree.

    Attributes:
        argument, entry: the input, and the entry of it, in which the derivative is wrong.
        order: the order of that derivative.
        rule, slope: the derivative that the rule gives, and the one that finite differences give.
    """

    def __init__(self, message: str, argument: str, entry: Index, order: int, rule: float, slope: float):
        super().__init__(message)
        self.argument, self.entry, self.order, self.rule, self.slope = argument, entry, order, rule, slope


class KinkError(AssertionError):
    """The function has a kink at the input, so the check cannot decide. Give it another input.

    Attributes:
        argument, entry: the input, and the entry of it, along which the kink lies.
        output: the entry of the result that has the kink.
        order: the order of the derivative that was checked.
        slopes: the derivative from below and from above.
        rule: the derivative that the rule gives.
        inside: whether the rule's derivative lies between the two slopes, which makes it a subgradient.
    """

    def __init__(
        self,
        message: str,
        argument: str,
        entry: Index,
        output: Index,
        order: int,
        slopes: tuple[float, float],
        rule: float,
    ):
        super().__init__(message)
        self.argument, self.entry, self.output, self.order = argument, entry, output, order
        self.slopes, self.rule, self.inside = slopes, rule, _between(rule, slopes)


def check_vjp(f: Callable[..., Any], *args: Any, order: int = 2, rtol: float = 1e-6, seed: int = 0) -> Passed:
    """Check the gradient of `f` at `args` against finite differences.

    Args:
        f: the function. It is given a Tensor in place of each floating array in `args`, and returns a floating array or
            a tree of them, of any shapes.
        args: arrays, trees of arrays, or anything else that f takes. Every floating array is differentiated, in
            float64. A Python float is a constant.
        order: the highest order of derivatives to check. Order 2 checks the derivatives of the gradient, which is a
            function of the input and of the cotangent, and checks that create_graph does not change the gradient.
            Order 3 checks the derivatives of those derivatives, and so on.
        rtol: the error allowed, relative to the largest derivative of the same argument.
        seed: the seed of the random cotangents and directions.

    If all inputs together have at most 64 entries, the whole Jacobian is compared, otherwise random projections of it.

    Raises:
        GradientMismatch: a derivative is wrong. The message names the argument and the entry, and gives both numbers.
        KinkError: no derivative is wrong, but the function has a kink. The message gives the slopes on both sides.
        TypeError: no argument is a floating array, or f returns something other than floating arrays.
        ValueError: an input or the result is not finite, f gives another result when it is called again, finite
            differences do not converge, or `order` is less than 1.
    """
    if order < 1:
        raise ValueError(f"check_vjp: order should be at least 1, got {order}")
    rng = np.random.default_rng(seed)
    g, xs, names = _of_leaves("check_vjp", f, args)
    errors, floor = [], 0.0
    for k in range(1, order + 1):
        with np.errstate(all="ignore"):
            check = _Check(g, xs, names, k, rtol, rng, floor)
            errors.append(check.run())
        # Terms of the derivative may cancel. They may have been as large as the value divided by the input, and the
        # rounding error of the next order is relative to that.
        floor = check.largest(check.value) / max(1.0, *check.size)
        g = _gradient(g, len(xs))
        xs = xs + [rng.standard_normal(y.shape) for y in check.outputs]
        names = names + [f"cotangent {k}" + (f".{i}" if i else "") for i in range(len(check.outputs))]
    return Passed(tuple(errors))


def check_adjoint(f: Callable[..., Any], *args: Any, rtol: float = 1e-12, seed: int = 0) -> None:
    """Check the gradient of a linear or affine function by the identity <w, f(v) - f(0)> = <pullback(w), v>.

    It holds up to rounding, so this check is far more exact than finite differences.

    Args:
        f, args: as for `check_vjp`. f must be linear or affine in each floating array of `args` alone, the others held
            fixed. The random v takes the place of one of them at a time.
        rtol: the error allowed, relative to the sum of the absolute products.
        seed: the seed of the random v and w.

    Raises:
        GradientMismatch: the two sides differ for an argument.
        TypeError, ValueError: as `check_vjp` does.
    """
    rng = np.random.default_rng(seed)
    g, xs, names = _of_leaves("check_adjoint", f, args)
    for i, name in enumerate(names):
        for _ in range(3):
            v = rng.standard_normal(xs[i].shape)
            at_zero = _flat(g(*xs[:i], np.zeros_like(v), *xs[i + 1 :]))
            ys, pullback = vjp(g, *xs[:i], v, *xs[i + 1 :])
            ws = [rng.standard_normal(y.shape) for y in ys]
            forth = _flat(ws) * (_flat(ys) - at_zero)
            back = np.reshape(pullback(ws)[i] * v, -1)
            size = max(float(np.abs(_flat(ws) * _flat(ys)).sum()), float(np.abs(back).sum()))
            if not abs(forth.sum() - back.sum()) <= rtol * size:
                raise GradientMismatch(
                    f"check_adjoint: {name}: <w, f(v) - f(0)> is {forth.sum():.15g}, "
                    f"<pullback(w), v> is {back.sum():.15g}",
                    name, (), 1, float(back.sum()), float(forth.sum()),
                )  # fmt: skip


# ---------------------------------------------------------------- functions of a list of float64 arrays


def _of_leaves(what: str, f: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, list[np.ndarray], list[str]]:
    """f as a function from its floating leaves to a list of arrays, these leaves in float64, and their names."""
    all_leaves = tree.leaves(args)
    xs, names, places = [], [], []
    for place, (path, leaf) in enumerate(tree.items(args)):
        array = value(leaf)
        if not isinstance(array, (np.ndarray, np.floating)) or array.dtype.kind != "f":
            continue
        number, _, rest = path.partition(".")
        name = f"argument {number}" + (f" at {rest}" if rest else "")
        if not np.all(np.isfinite(array)):
            raise ValueError(f"{what}: {name} should be finite, got {describe(array)}")
        xs.append(np.array(array, np.float64))
        names.append(name)
        places.append(place)
    if not xs:
        raise TypeError(f"{what}: expected a floating array among the arguments, got {[describe(a) for a in args]}")

    def of_leaves(*inputs: Any) -> list[Any]:
        filled = [*all_leaves]
        for place, x in zip(places, inputs, strict=True):
            filled[place] = x if type(x) is Tensor else Tensor(x)
        ys = tree.leaves(f(*tree.unflatten(args, filled)))
        for y in ys:
            if not isinstance(y, (Tensor, np.ndarray, np.generic)) or y.dtype.kind != "f":
                raise TypeError(f"{what}: f should return a floating array, got {describe(y)}")
        if not ys:
            raise TypeError(f"{what}: f should return a floating array, got nothing")
        return ys

    of_leaves.__name__ = getattr(f, "__name__", type(f).__name__)
    return of_leaves, xs, names


def _gradient(g: Callable[..., list[Any]], n: int) -> Callable[..., list[Any]]:
    """The gradient of `g`, a function of n arrays, as a function of these and of the cotangents."""

    def gradient(*inputs: Any) -> list[Any]:
        _, pullback = vjp(g, *inputs[:n])
        return [*pullback([*inputs[n:]])]

    return gradient


def _flat(arrays: Sequence[Any]) -> np.ndarray:
    """The entries of all arrays end to end."""
    return np.concatenate([np.asarray(value(a)).reshape(-1) for a in arrays])


def _dot(gradient: np.ndarray, direction: np.ndarray) -> float:
    """<gradient, direction>. A NaN in an entry of the gradient counts only if the direction is not 0 there."""
    along = np.flatnonzero(direction)
    return float(gradient[along] @ direction[along])


def _between(x: float, ends: tuple[float, float]) -> bool:
    slack = 1e-5 * max(abs(ends[0]), abs(ends[1]))
    return min(ends) - slack <= x <= max(ends) + slack


# ---------------------------------------------------------------- one order of derivative


@dataclass
class _Line:
    """What finite differences say about one direction. Arrays have an entry for each entry of the result, flat."""

    leaf: int  # which input is moved
    direction: np.ndarray  # along what, flat
    slope: np.ndarray
    error: np.ndarray  # the estimated error of `slope`
    noise: float  # how much of the error rounding alone may cause
    secant: np.ndarray  # the absolute slope over the first step: a scale for slopes that happen to be near 0
    kinks: dict[int, tuple[float, float]]  # entry of the result -> slope from below, slope from above


class _Check:
    """The gradient of `g` at `xs` against finite differences of `g`."""

    def __init__(
        self,
        g: Callable[..., list[Any]],
        xs: list[np.ndarray],
        names: list[str],
        order: int,
        rtol: float,
        rng: np.random.Generator,
        floor: float,
    ):
        self.g, self.xs, self.names, self.order, self.rtol, self.rng = g, xs, names, order, rtol, rng
        self.floor = floor  # rounding errors are taken relative to numbers of at least this size
        self.size = [float(np.abs(x).mean()) or 1.0 if x.size else 1.0 for x in xs]
        self.outputs, self.pullback = vjp(g, *(x.copy() for x in xs))
        self.value = _flat(self.outputs)
        if not np.isfinite(self.value).all():
            raise ValueError(f"check_vjp: f gives a value that is not finite{self._of_order()} at the arguments given")
        self._check_repeats()

    def run(self) -> float:
        """The largest relative error. Raises GradientMismatch, KinkError or ValueError as `check_vjp` does."""
        small = sum(x.size for x in self.xs) <= FULL
        lines = []
        for leaf, x in enumerate(self.xs):
            entries = range(x.size) if small else self.rng.choice(x.size, min(4, x.size), replace=False)
            for i in entries:
                direction = np.zeros(x.size)
                direction[i] = self.size[leaf]
                lines.append(self._line(leaf, direction))
            for _ in range(0 if small or not x.size else 4):
                signs = self.rng.choice([-1.0, 1.0], x.size)
                lines.append(self._line(leaf, self.size[leaf] * signs * self.rng.uniform(0.5, 1.0, x.size)))
        m = self.value.size
        cotangents = [*self.rng.standard_normal((3, m))]
        if self.order == 1 and m <= FULL:
            cotangents = [*np.eye(m), *cotangents]
        worst = max((self._compare(lines, u) for u in cotangents), default=0.0)
        for line in lines:
            if line.kinks:
                raise self._kink(line)
        return worst

    # ------------------------------------------------------------ the two sides

    def _along(self, leaf: int, direction: np.ndarray, t: float) -> np.ndarray:
        """The value, flat, with one input moved by t along `direction`."""
        inputs = [*self.xs]
        inputs[leaf] = inputs[leaf] + (t * direction).reshape(inputs[leaf].shape)
        return _flat(self.g(*inputs))

    def largest(self, *values: np.ndarray) -> float:
        """The largest finite absolute value, at least the floor."""
        return max(self.floor, *(float(np.abs(v).max(initial=0, where=np.isfinite(v))) for v in values))

    def _pull(self, u: np.ndarray) -> list[np.ndarray]:
        """The gradient of <u, g> in each input, flat."""
        ends = np.cumsum([y.size for y in self.outputs])[:-1]
        parts = [p.reshape(y.shape) for p, y in zip(np.split(u, ends), self.outputs, strict=True)]
        return [np.reshape(p, -1) for p in self.pullback(parts)]

    def _line(self, leaf: int, direction: np.ndarray, first: float = STEP) -> _Line:
        """The slopes along a direction, by extrapolation. The steps shrink from `first` until the error is small."""
        y = self.value
        slope, error = np.full(y.shape, np.nan), np.full(y.shape, np.inf)
        row: list[np.ndarray] = []  # the central difference at step h, then extrapolations without its h^2, h^4, ...
        jump, suspect, noise, secant = None, np.zeros(y.shape, bool), 0.0, np.zeros(y.shape)
        for k in range(HALVINGS + 1):
            h = first * 0.5**k
            above, below = self._along(leaf, direction, h), self._along(leaf, direction, -h)
            noise = 64 * EPS / h * self.largest(y, above, below)
            sides = (np.abs(above - y) + np.abs(y - below)) / h
            new = [(above - below) / (2 * h)]
            for j, old in enumerate(row):
                new.append(new[j] + (new[j] - old) / (4.0 ** (j + 1) - 1))
                off = np.maximum(np.abs(new[-1] - new[j]), np.abs(new[-1] - old)) + noise
                better = off < error
                slope[better], error[better] = new[-1][better], off[better]
            # The slopes from above and below differ by h f'' + O(h^3), which halves with h. At a kink they differ by a
            # constant.
            last, jump = jump, (above - 2 * y + below) / h
            if last is None:
                secant = np.nan_to_num(sides, nan=0, posinf=0)
            else:
                suspect = ~(np.abs(2 * jump - last) <= 1e-5 * sides + 8 * noise)
            row = new
            if k and (error <= 1e-3 * self.rtol * np.abs(slope) + 2 * noise).all():
                break
        suspect |= ~(error <= self.rtol * np.abs(slope) + 10 * noise)
        kinks = self._kinks(leaf, direction, np.flatnonzero(suspect)) if suspect.any() else {}
        return _Line(leaf, direction, slope, error, noise, secant, kinks)

    def _kinks(self, leaf: int, direction: np.ndarray, suspects: np.ndarray) -> dict[int, tuple[float, float]]:
        """The slopes from below and above at those of `suspects`, entries of the result, that have a kink.

        The steps shrink by 8 each time. The two slopes of a smooth function then come 8 times closer to each other, as
        soon as the step is below the function's radius of curvature. At a kink their difference stays the same, until
        rounding hides it.
        """
        y, noise_unit = self.value[suspects], 16 * EPS * self.largest(self.value)
        slopes = []
        for k in range(9):
            h = STEP * 8.0**-k
            above, below = (self._along(leaf, direction, t)[suspects] for t in (h, -h))
            slopes.append(((y - below) / h, (above - y) / h, noise_unit / h))
        found = {}
        for i, entry in enumerate(suspects.tolist()):
            seen = [(float(b[i]), float(a[i])) for b, a, noise in slopes if noise < 0.02 * abs(a[i] - b[i])][-3:]
            gaps = [a - b for b, a in seen]
            # If a slope itself keeps changing, this is a jump or a cusp and no kink.
            if len(gaps) == 3 and all(
                abs(was - now) < 0.1 * abs(gaps[2])
                for was, now in [*pairwise(gaps), *zip(seen[1], seen[2], strict=True)]
            ):
                found[entry] = seen[-1]
        return found

    # ------------------------------------------------------------ the verdicts

    def _check_repeats(self) -> None:
        again = _flat(self.g(*(x.copy() for x in self.xs)))
        off = np.abs(again - self.value)
        if not off.size or off.max() <= 1e-9 * np.abs(self.value).max():
            return
        i = int(off.argmax())
        if self.order == 1:
            raise ValueError(
                f"check_vjp: f gave {self.value[i]} and then {again[i]}; seed its random numbers on every call"
            )
        name, entry = self._output(i)
        raise GradientMismatch(
            f"check_vjp: order {self.order - 1}: {name} at {entry} is {self.value[i]} under create_graph, "
            f"{again[i]} without",
            name, entry, self.order, float(self.value[i]), float(again[i]),
        )  # fmt: skip

    def _compare(self, lines: list[_Line], u: np.ndarray) -> float:
        """The largest relative error of the gradient of <u, g>. Raises GradientMismatch for one that is too large."""
        pulled, used = self._pull(u), np.flatnonzero(u)
        v, size, worst, rough = u[used], np.abs(u[used]), 0.0, None
        for leaf, gradient in enumerate(pulled):
            mine = [line for line in lines if line.leaf == leaf and not line.kinks]
            slopes = [float(line.slope[used] @ v) for line in mine]
            errors = [float(line.error[used] @ size) for line in mine]
            sizes = [max(abs(s), float(line.secant[used] @ size)) for line, s in zip(mine, slopes, strict=True)]
            scale = max((s for s, e in zip(sizes, errors, strict=True) if np.isfinite(e)), default=0.0)
            bad: list[tuple[float, _Line]] = []
            for line, slope, error in zip(mine, slopes, errors, strict=True):
                if not error <= self.rtol * scale + 10 * line.noise * size.sum():
                    rough = rough or line
                    continue
                gap = abs(_dot(gradient, line.direction) - slope)
                if not gap <= self.rtol * scale + error:  # or NaN
                    bad.append((np.inf if np.isnan(gap) else gap, line))
                elif error < self.rtol * scale:
                    worst = max(worst, gap / scale)
            for _, line in sorted(bad, key=lambda pair: -pair[0]):
                if not self._agrees_nearer(line, u, gradient, scale):
                    raise self._mismatch(line, u, gradient)
        if rough is not None:
            entry = self._entry(rough, lambda line: float(line.error.max()))[1]
            raise ValueError(
                f"check_vjp: finite differences do not settle along {self.names[rough.leaf]} at {entry}"
                f"{self._of_order()}: f is not finite, not continuous or too rough there"
            )
        return worst

    def _agrees_nearer(self, line: _Line, u: np.ndarray, pulled: np.ndarray, scale: float) -> bool:
        """Whether smaller steps confirm the rule: the first ones may have crossed a kink, and agreed by chance."""
        for smaller in (2.0**-6, 2.0**-12):
            near = self._line(line.leaf, line.direction, STEP * smaller)
            error = _dot(near.error, np.abs(u))
            settled = error <= self.rtol * scale + 10 * near.noise * float(np.abs(u).sum())
            if settled and abs(_dot(pulled, near.direction) - _dot(near.slope, u)) <= self.rtol * scale + error:
                return True
        return False

    def _mismatch(self, line: _Line, u: np.ndarray, pulled: np.ndarray) -> GradientMismatch:
        def gap(part: _Line) -> float:
            return abs(_dot(pulled, part.direction) - _dot(part.slope, u))

        line, entry = self._entry(line, gap)
        length = float(line.direction.sum())  # the direction has one entry that is not 0
        rule, slope = _dot(pulled, line.direction) / length, _dot(line.slope, u) / length
        outputs = np.flatnonzero(u)
        of = "a random cotangent"
        if outputs.size == 1 and u.size > 1:
            of = "{} at {}".format(*self._output(int(outputs[0])))
        name, error = self.names[line.leaf], _dot(line.error, np.abs(u)) / abs(length)
        return GradientMismatch(
            f"check_vjp: order {self.order}: the derivative in {name} at {entry}, for {of}, "
            f"is {rule:.10g} by the rule, {slope:.10g} by finite differences (within {error:.1g})",
            name, entry, self.order, rule, slope,
        )  # fmt: skip

    def _kink(self, line: _Line) -> KinkError:
        line, entry = self._entry(line, lambda part: max((abs(a - b) for b, a in part.kinks.values()), default=0.0))
        length = float(line.direction.sum())
        i, (below, above) = max(line.kinks.items(), key=lambda item: abs(item[1][1] - item[1][0]))
        slopes = (below / length, above / length)
        u = np.zeros(self.value.size)
        u[i] = 1
        rule = _dot(self._pull(u)[line.leaf], line.direction) / length
        where = "between" if _between(rule, slopes) else "outside"
        name, (of, output) = self.names[line.leaf], self._output(i)
        return KinkError(
            f"check_vjp: order {self.order}: {of} at {output} has a kink in {name} at {entry}: its slope is "
            f"{slopes[0]:.6g} from below and {slopes[1]:.6g} from above; the rule's {rule:.6g} lies {where} them",
            name, entry, output, self.order, slopes, rule,
        )  # fmt: skip

    def _entry(self, line: _Line, score: Callable[[_Line], float]) -> tuple[_Line, Index]:
        """The entry that contributes most to the score of `line`, found by halving the direction, and its own line."""
        support = np.flatnonzero(line.direction)
        direction = np.abs(line.direction)
        while support.size > 1:
            parts = []
            for half in np.array_split(support, 2):
                part = np.zeros_like(direction)
                part[half] = direction[half]
                parts.append((half, self._line(line.leaf, part)))
            support, line = max(parts, key=lambda p: np.nan_to_num(score(p[1]), nan=np.inf))
        return line, tuple(map(int, np.unravel_index(support[0], self.xs[line.leaf].shape)))

    def _output(self, i: int) -> tuple[str, Index]:
        """In words, where the i-th number of the flat result is: which array, and the index in it."""
        for k, y in enumerate(self.outputs):
            if i < y.size:
                name = "the result" if self.order == 1 else f"the gradient for {self.names[k]}"
                if self.order == 1 and len(self.outputs) > 1:
                    name = f"result {k}"
                return name, tuple(map(int, np.unravel_index(i, y.shape)))
            i -= y.size
        raise IndexError(i)

    def _of_order(self) -> str:
        return "" if self.order == 1 else f" (in the derivative of order {self.order - 1})"
