"""`check_vjp` compares a gradient with finite differences, `check_adjoint` by an identity of linear functions."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import tree
from ..blame import describe
from ..modes import CHECK, mode
from ..tensor import Tensor, value
from ..transforms import name_of, vjp
from .differences import EPS, STEP, Differences, Line, between, dot, flat
from .operations import at_fault

FULL = 64  # up to this many entries, every entry of the input (or of the result) is checked by itself
EACH = 4  # of larger inputs so many entries are checked, and so many random directions

Index = tuple[int, ...]


# ---------------------------------------------------------------- what a check says


@dataclass(frozen=True)
class InputReport:
    """What a check found for one input; `str` gives it in one line.

    Attributes:
        argument, shape: the input. order: the order of the derivative in it.
        verdict: "right"; "wrong"; "kink", if the result has a kink there, so that finite differences cannot tell; or
            "unsettled", if they do not converge, as right beside a kink.
        error: the largest relative difference between the rule and finite differences.
        sampled: what was compared, in words.
        detail: what is wrong, and where, in words; or how many entries of the result could not be judged, and that the
            gradient of the others is right. "" if all is right.
        entry, rule, slope: for a wrong one, the entry and its derivative by the rule and by finite differences.
    """

    argument: str
    shape: tuple[int, ...]
    order: int
    verdict: str
    error: float
    sampled: str
    detail: str = ""
    entry: Index = ()
    rule: float = np.nan
    slope: float = np.nan

    def __str__(self) -> str:
        found = self.detail or f"within {self.error:.0e}"
        return f"{self.verdict:9} {self.argument} {self.shape}: {found} ({self.sampled})"


@dataclass(frozen=True, repr=False)
class Passed:
    """The verdict of a check that passed. Its `repr` has a line for each input.

    Attributes:
        errors: for each order, the largest relative difference between the rule and finite differences.
        inputs: for each order and each input, what was compared. From order 2 on the inputs are those of the gradient,
            which are the function's and the cotangents.
        calls: how many times the function and its gradients were called.
    """

    errors: tuple[float, ...]
    inputs: tuple[InputReport, ...] = ()
    calls: int = 0

    @property
    def order(self) -> int:
        return len(self.errors)

    def __repr__(self) -> str:
        lines = [f"passed in {self.calls} calls"]
        for k, error in enumerate(self.errors, 1):
            lines.append(f"order {k}: right within {error:.0e}")
            lines += [f"  {report}" for report in self.inputs if report.order == k]
        return "\n".join(lines)


class GradientMismatch(AssertionError):
    """A rule and finite differences disagree. The message names the function and, where it can, a wrong composite.

    If there are several inputs, the message has a line for each.

    Attributes:
        argument, entry: the first input, and the entry of it, in which the derivative is wrong.
        order: the order of that derivative.
        rule, slope: the derivative that the rule gives, and the one that finite differences give.
        inputs: an `InputReport` for every input, right and wrong.
    """

    def __init__(
        self,
        message: str,
        argument: str,
        entry: Index,
        order: int,
        rule: float,
        slope: float,
        inputs: Sequence[InputReport] = (),
    ):
        super().__init__(_with_inputs(message, inputs))
        self.argument, self.entry, self.order, self.rule, self.slope = argument, entry, order, rule, slope
        self.inputs = tuple(inputs)


class KinkError(AssertionError):
    """The function has a kink at the input, so the check cannot decide. Give it another input.

    Attributes:
        argument, entry: the input, and the entry of it, along which the kink lies.
        output: the entry of the result that has the kink.
        order: the order of the derivative that was checked.
        slopes: the derivative from below and from above.
        rule: the derivative that the rule gives.
        inside: whether the rule's derivative lies between the two slopes, which makes it a subgradient.
        inputs: an `InputReport` for every input.
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
        inputs: Sequence[InputReport] = (),
    ):
        super().__init__(_with_inputs(message, inputs))
        self.argument, self.entry, self.output, self.order = argument, entry, output, order
        self.slopes, self.rule, self.inside = slopes, rule, between(rule, slopes)
        self.inputs = tuple(inputs)


def _with_inputs(message: str, inputs: Sequence[InputReport]) -> str:
    return "\n  ".join([message, *map(str, inputs)]) if len(inputs) > 1 else message


# ---------------------------------------------------------------- the checks


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

    If all inputs together have at most 64 entries, the whole Jacobian is compared. Otherwise four entries of each
    input and four random directions in it are, and fewer where there are more than 16 inputs. A direction takes from 4
    to 68 calls of f. What comes back says what was compared.

    Every input is compared, so that an error says which are right and which are wrong. On the first call, f and the
    rules get read-only arrays.

    Raises:
        GradientMismatch: a derivative is wrong. The message names the argument and the entry, and gives both numbers.
        KinkError: no derivative is wrong, but the function has a kink. The message gives the slopes on both sides.
        BackwardError: a rule fails, or writes into an array that it was given.
        TypeError: no argument is a floating array, or f returns something other than floating arrays.
        ValueError: an input or the result is not finite, f gives another result when it is called again, f writes into
            an array that it was given, finite differences do not converge, or `order` is less than 1.
    """
    if order < 1:
        raise ValueError(f"check_vjp: order should be at least 1, got {order}")
    who = f"check_vjp of {_name(f)}"
    g, xs, names = _of_leaves(who, f, args)
    inputs: list[InputReport] = []
    errors, calls = [], 0
    for check, reports in orders(who, g, xs, names, order, rtol, np.random.default_rng(seed)):
        check.raise_for(reports)
        inputs += reports
        errors.append(max(report.error for report in reports))
        calls += check.differences.calls
    return Passed(tuple(errors), tuple(inputs), calls)


def check_adjoint(f: Callable[..., Any], *args: Any, rtol: float = 1e-12, seed: int = 0) -> None:
    """Check the gradient of a linear or affine function by the identity `<w, f(v) - f(0)> = <pullback(w), v>`.

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
    who = f"check_adjoint of {_name(f)}"
    g, xs, names = _of_leaves(who, f, args)
    for i, name in enumerate(names):
        for _ in range(3):
            v = rng.standard_normal(xs[i].shape)
            at_zero = flat(g(*xs[:i], np.zeros_like(v), *xs[i + 1 :]))
            ys, pullback = vjp(g, *xs[:i], v, *xs[i + 1 :])
            ws = [rng.standard_normal(y.shape) for y in ys]
            forth = flat(ws) * (flat(ys) - at_zero)
            back = np.reshape(pullback(ws)[i] * v, -1)
            size = max(float(np.abs(flat(ws) * flat(ys)).sum()), float(np.abs(back).sum()))
            if not abs(forth.sum() - back.sum()) <= rtol * size:
                raise GradientMismatch(
                    f"{who}: {name}: <w, f(v) - f(0)> is {forth.sum():.15g}, "
                    f"<pullback(w), v> is {back.sum():.15g}",
                    name, (), 1, float(back.sum()), float(forth.sum()),
                )  # fmt: skip


# ---------------------------------------------------------------- functions of a list of float64 arrays


def _name(f: Any) -> str:
    """The name of f, and for a lambda where it stands."""
    while isinstance(f, functools.partial):
        f = f.func
    name, code = name_of(f), getattr(inspect.unwrap(f), "__code__", None)
    if name != "<lambda>" or code is None:
        return name
    return f"the lambda at {os.path.basename(code.co_filename)}:{code.co_firstlineno}"


def _of_leaves(who: str, f: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, list[np.ndarray], list[str]]:
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
            raise ValueError(f"{who}: {name} should be finite, got {describe(array)}")
        xs.append(np.array(array, np.float64))
        names.append(name)
        places.append(place)
    if not xs:
        raise TypeError(
            f"{who}: expected a floating array among the arguments, got {[describe(a) for a in args]}; "
            "a Python number is a constant, np.array(number) is not"
        )

    def of_leaves(*inputs: Any) -> list[Any]:
        filled = [*all_leaves]
        for place, x in zip(places, inputs, strict=True):
            filled[place] = x if type(x) is Tensor else Tensor(x)
        ys = tree.leaves(f(*tree.unflatten(args, filled)))
        for y in ys:
            if not isinstance(y, (Tensor, np.ndarray, np.generic)) or y.dtype.kind != "f":
                raise TypeError(f"{who}: f should return a floating array, got {describe(y)}")
        if not ys:
            raise TypeError(f"{who}: f should return a floating array, got nothing")
        return ys

    of_leaves.__name__ = getattr(f, "__name__", type(f).__name__)
    return of_leaves, xs, names


def _gradient(g: Callable[..., list[Any]], n: int) -> Callable[..., list[Any]]:
    """The gradient of `g`, a function of n arrays, as a function of these and of the cotangents."""

    def gradient(*inputs: Any) -> list[Any]:
        _, pullback = vjp(g, *inputs[:n])
        return [*pullback([*inputs[n:]])]

    return gradient


def orders(
    who: str,
    g: Callable[..., list[Any]],
    xs: list[np.ndarray],
    names: list[str],
    order: int,
    rtol: float,
    rng: np.random.Generator,
    **options: Any,
):
    """Yield, for the orders 1, 2, ... of derivatives, the `Check` of the function `g` and its reports.

    `who`, the check and the function that it is of, begins the messages.
    """
    floor = 0.0
    find_fault = functools.partial(at_fault, options.get("pulled", g), xs, rtol)
    for k in range(1, order + 1):
        with np.errstate(all="ignore"):
            check = Check(who, g, xs, names, k, rtol, rng, floor, find_fault, **options)
            reports = check.run()
        yield check, reports
        # Terms of the derivative may cancel. They may have been as large as the value divided by the input, and the
        # rounding error of the next order is relative to that.
        differences = check.differences
        floor = differences.largest(differences.value) / max(1.0, *differences.size)
        g = _gradient(g, len(xs))
        xs = xs + [rng.standard_normal(y.shape) for y in check.outputs]
        names = names + [f"cotangent {k}" + (f".{i}" if i else "") for i in range(len(check.outputs))]
        options = {key: option for key, option in options.items() if key != "pulled"}


# ---------------------------------------------------------------- one order of derivative


@dataclass
class _Wrong:
    """A line along which the gradient of <u, g> is wrong."""

    line: Line
    u: np.ndarray
    gradient: np.ndarray


class Check:
    """The gradient of `g` at `xs` against finite differences of `g`.

    Args:
        who: the check and the function that it is of, for messages.
        find_fault: says in words which operation makes a derivative of second or higher order wrong.
        each: how many entries and how many directions of a large input are compared.
        pulled: what the gradient is taken of, if not of g: another way to compute the same function.

    Raises what `check_vjp` does, but for GradientMismatch and KinkError, which `raise_for` raises.
    """

    def __init__(
        self,
        who: str,
        g: Callable[..., list[Any]],
        xs: list[np.ndarray],
        names: list[str],
        order: int,
        rtol: float,
        rng: np.random.Generator,
        floor: float,
        find_fault: Callable[[], str],
        each: int = EACH,
        pulled: Callable[..., list[Any]] | None = None,
    ):
        self.g, self.xs, self.names, self.order, self.rtol, self.rng = g, xs, names, order, rtol, rng
        self.who, self.find_fault = who, find_fault
        self.each = max(1, min(each, FULL // len(xs)))
        _call_read_only(pulled or g, xs)
        self.outputs, self.pullback = vjp(pulled or g, *(x.copy() for x in xs))
        self.value = flat(self.outputs) if pulled is None else flat(g(*xs))
        self.differences = Differences(g, xs, self.value, floor, rtol)
        if not np.isfinite(self.value).all():
            raise ValueError(f"{self.who}: f gives a value that is not finite{self._of_order()} at the arguments given")
        self._check_repeats()

    def run(self) -> list[InputReport]:
        """What was found for each input."""
        self.lines, sampled = self._lines()
        m = self.value.size
        cotangents = [*np.eye(m)] if self.order == 1 and m <= FULL else []
        # Where some entries of the result cannot be judged, the gradient of the others is compared as well.
        hidden = np.zeros(m, bool)
        for line in self.lines:
            hidden[line.kinked] = True
            hidden |= ~(line.error <= self.rtol * np.abs(line.slope).max(initial=0) + 10 * line.noise)
        self.hidden = int(hidden.sum())
        for u in self.rng.standard_normal((3, m)):
            cotangents += [u * ~hidden, u] if 0 < self.hidden < m else [u]
        self.wrong: dict[int, _Wrong] = {}
        self.rough: dict[int, Line] = {}
        self.worst = [0.0] * len(self.xs)
        for u in cotangents:
            self._compare(u)
        return [self._report(leaf, words) for leaf, words in enumerate(sampled)]

    def raise_for(self, reports: list[InputReport]) -> None:
        """Raise GradientMismatch, ValueError or KinkError unless all are right, in this order of urgency."""
        if any(report.verdict != "right" for report in reports):
            for _ in range(3):  # a few random bits, as dropout of small arrays draws, may have come out equal so far
                self._check_repeats()
        for report in reports:
            if report.verdict == "wrong":
                fault = f"\n{self.find_fault()}" if self.order > 1 else ""
                raise GradientMismatch(
                    f"{self.who}: order {self.order}: the derivative in {report.argument} {report.detail}{fault}",
                    report.argument, report.entry, self.order, report.rule, report.slope, reports,
                )  # fmt: skip
        with np.errstate(all="ignore"):
            for line in self.rough.values():
                entry = self._entry(line, lambda line: float(line.error.max()))[1]
                raise ValueError(
                    f"{self.who}: finite differences do not settle along {self.names[line.leaf]} at {entry}"
                    f"{self._of_order()}: f is not finite, not continuous or too rough there"
                )
            for line in self.lines:
                if line.kinked.size:
                    raise self._kink(line, reports)

    # ------------------------------------------------------------ the two sides

    def _lines(self) -> tuple[list[Line], list[str]]:
        """What finite differences say, and for each input which directions were taken, in words."""
        small = sum(x.size for x in self.xs) <= FULL
        lines, sampled = [], []
        for leaf, x in enumerate(self.xs):
            size = self.differences.size[leaf]
            some = min(self.each, x.size)
            for i in range(x.size) if small else self.rng.choice(x.size, some, replace=False):
                direction = np.zeros(x.size)
                direction[i] = size
                lines.append(self.differences.line(leaf, direction))
            for _ in range(0 if small or not x.size else self.each):
                signs = self.rng.choice([-1.0, 1.0], x.size)
                lines.append(self.differences.line(leaf, size * signs * self.rng.uniform(0.5, 1.0, x.size)))
            directions = f"{self.each} direction{'s' if self.each > 1 else ''}"
            sampled.append("every entry" if small or not x.size else f"{some} of {x.size} entries, {directions}")
        return lines, sampled

    def _pull(self, u: np.ndarray) -> list[np.ndarray]:
        """The gradient of <u, g> in each input, flat."""
        ends = np.cumsum([y.size for y in self.outputs])[:-1]
        parts = [p.reshape(y.shape) for p, y in zip(np.split(u, ends), self.outputs, strict=True)]
        return [np.reshape(p, -1) for p in self.pullback(parts)]

    # ------------------------------------------------------------ the verdicts

    def _check_repeats(self) -> None:
        again = self.differences.call(*(x.copy() for x in self.xs))
        off = np.abs(again - self.value)
        if not off.size or off.max() <= 1e-9 * np.abs(self.value).max():
            return
        i = int(off.argmax())
        if self.order == 1:
            raise ValueError(
                f"{self.who}: f gave {self.value[i]} and then {again[i]}; seed its random numbers on every call"
            )
        name, entry = self._output(i)
        raise GradientMismatch(
            f"{self.who}: order {self.order - 1}: {name} at {entry} is {self.value[i]} under create_graph, "
            f"{again[i]} without\n{self.find_fault()}",
            name, entry, self.order, float(self.value[i]), float(again[i]),
        )  # fmt: skip

    def _compare(self, u: np.ndarray) -> None:
        """Compare the gradient of <u, g>, and note which inputs are wrong, which are rough, and the largest errors."""
        pulled, used = self._pull(u), np.flatnonzero(u)
        v, size = u[used], np.abs(u[used])
        for leaf, gradient in enumerate(pulled):
            if leaf in self.wrong:
                continue
            mine = [line for line in self.lines if line.leaf == leaf and line.usable(u)]
            slopes = [float(line.slope[used] @ v) for line in mine]
            errors = [float(line.error[used] @ size) for line in mine]
            sizes = [max(abs(s), float(line.secant[used] @ size)) for line, s in zip(mine, slopes, strict=True)]
            scale = max((s for s, e in zip(sizes, errors, strict=True) if np.isfinite(e)), default=0.0)
            # Rounding may hide a slope altogether, such as that of a loss near 0, a difference of large numbers.
            hidden = 0.0 if scale else EPS * max(float(np.abs(x).max(initial=0)) for x in self.xs)
            bad: list[tuple[bool, float, Line]] = []
            for line, slope, error in zip(mine, slopes, errors, strict=True):
                if not error <= self.rtol * scale + 10 * line.noise * size.sum():
                    self.rough.setdefault(leaf, line)
                    continue
                gap = abs(dot(gradient, line.direction) - slope)
                if not gap <= self.rtol * scale + error + hidden:  # or NaN
                    one = np.count_nonzero(line.direction) == 1
                    bad.append((one, np.inf if np.isnan(gap) else gap, line))
                elif error < self.rtol * scale:
                    self.worst[leaf] = max(self.worst[leaf], gap / scale)
            # A direction with one entry first: it says at once which entry is wrong.
            for _, _, line in sorted(bad, key=lambda found: found[:2], reverse=True):
                if not self._agrees_nearer(line, u, gradient, scale):
                    self.wrong[leaf] = _Wrong(line, u, gradient)
                    break

    def _agrees_nearer(self, line: Line, u: np.ndarray, pulled: np.ndarray, scale: float) -> bool:
        """Whether smaller steps confirm the rule: the first ones may have crossed a kink, and agreed by chance."""
        for smaller in (2.0**-6, 2.0**-12):
            near = self.differences.line(line.leaf, line.direction, STEP * smaller)
            error = dot(near.error, np.abs(u))
            settled = error <= self.rtol * scale + 10 * near.noise * float(np.abs(u).sum())
            if settled and abs(dot(pulled, near.direction) - dot(near.slope, u)) <= self.rtol * scale + error:
                return True
        return False

    def _report(self, leaf: int, sampled: str) -> InputReport:
        name, shape, worst = self.names[leaf], self.xs[leaf].shape, self.worst[leaf]
        if leaf in self.wrong:
            detail, entry, rule, slope = self._mismatch(self.wrong[leaf])
            return InputReport(name, shape, self.order, "wrong", np.inf, sampled, detail, entry, rule, slope)
        verdict, detail = "right", ""
        if leaf in self.rough:
            verdict, detail = "unsettled", "finite differences do not converge"
        elif any(line.leaf == leaf and line.kinked.size for line in self.lines):
            verdict, detail = "kink", "the result has a kink"
        if detail:
            left = self.value.size - self.hidden
            detail += f" in {self.hidden} of {self.value.size} numbers"
            detail += f"; for the other {left} it is right within {worst:.0e}" if left else ""
        return InputReport(name, shape, self.order, verdict, worst, sampled, detail)

    def _mismatch(self, wrong: _Wrong) -> tuple[str, Index, float, float]:
        """What is wrong in words, the entry, and its derivative by the rule and by finite differences."""
        u, pulled = wrong.u, wrong.gradient

        def gap(part: Line) -> float:
            return abs(dot(pulled, part.direction) - dot(part.slope, u))

        line, entry = self._entry(wrong.line, gap)
        length = float(line.direction.sum())  # the direction has one entry that is not 0
        rule, slope = dot(pulled, line.direction) / length, dot(line.slope, u) / length
        outputs = np.flatnonzero(u)
        of = ", for a random cotangent,"
        if outputs.size == 1 and u[outputs[0]] == 1:
            of = ", for {} at {},".format(*self._output(int(outputs[0]))) if u.size > 1 else ""
        error = dot(line.error, np.abs(u)) / abs(length)
        words = f"at {entry}{of} is {rule:.10g} by the rule, {slope:.10g} by finite differences"
        return f"{words} (within {error:.1g})", entry, rule, slope

    def _kink(self, line: Line, reports: list[InputReport]) -> KinkError:
        def width(part: Line) -> float:
            return float(np.abs(part.sides[1] - part.sides[0]).max(initial=0))

        line, entry = self._entry(line, width)
        length = float(line.direction.sum())
        widest = int(np.abs(line.sides[1] - line.sides[0]).argmax())
        i = int(line.kinked[widest])
        below, above = line.sides[:, widest] / length
        slopes = (float(below), float(above))
        u = np.zeros(self.value.size)
        u[i] = 1
        rule = dot(self._pull(u)[line.leaf], line.direction) / length
        where = "between" if between(rule, slopes) else "outside"
        name, (of, output) = self.names[line.leaf], self._output(i)
        return KinkError(
            f"{self.who}: order {self.order}: {of} at {output} has a kink in {name} at {entry}: its slope is "
            f"{slopes[0]:.6g} from below and {slopes[1]:.6g} from above; the rule's {rule:.6g} lies {where} them",
            name, entry, output, self.order, slopes, rule, reports,
        )  # fmt: skip

    def _entry(self, line: Line, score: Callable[[Line], float]) -> tuple[Line, Index]:
        """The entry that contributes most to the score of `line`, found by halving the direction, and its own line."""
        support = np.flatnonzero(line.direction)
        direction = np.abs(line.direction)
        while support.size > 1:
            parts = []
            for half in np.array_split(support, 2):
                part = np.zeros_like(direction)
                part[half] = direction[half]
                parts.append((half, self.differences.line(line.leaf, part)))
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


def _call_read_only(f: Callable[..., list[Any]], xs: list[np.ndarray]) -> None:
    """Call f and its pullback once with arrays that nothing may write into.

    Only once, since a rule that may write over its g (`out=`) gets a g that it may not write over here.
    """
    inputs = [x.copy() for x in xs]
    for x in inputs:
        x.flags.writeable = False
    with mode(CHECK):
        try:
            ys, pullback = vjp(f, *inputs)
        except ValueError as error:
            if "read-only" not in str(error) or "it writes into" in str(error):
                raise
            raise ValueError(
                f"{f.__name__} writes into an array that it was given, which others need as it is: "
                f"compute a new array instead ({error})"
            ) from error
        pullback([np.ones(y.shape, y.dtype) for y in ys])
