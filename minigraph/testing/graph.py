"""`check_graph`: which operation of a function has a wrong gradient?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import tree
from ..blame import BackwardError, describe_call
from ..tape import Node
from .check import FULL, InputReport, orders
from .differences import flat
from .operations import difference, gradient_fault, is_floating, of_inputs, record

MOST = 100  # so many operations are checked
EACH = 2  # of each large input so many entries are compared, and so many directions
VERDICTS = ("wrong", "unsettled", "kink", "skipped", "right")  # the worst of an operation's inputs is its own


@dataclass(frozen=True)
class OperationReport:
    """What a check found for one operation.

    Attributes:
        name: the operation's.
        call: its shapes and dtypes, and the user's line that called it.
        verdict: "right"; "wrong"; "kink", if its inputs lie at a kink, so that finite differences cannot tell;
            "unsettled", if they do not converge there, as right beside a kink; "skipped", if they could not be
            computed.
        inputs: an `InputReport` for each input that needs a gradient.
        reason: why it is wrong or was skipped, where that is not said by the inputs.
    """

    name: str
    call: str
    verdict: str
    inputs: tuple[InputReport, ...] = ()
    reason: str = ""

    def __str__(self) -> str:
        lines = [f"{self.verdict}: {self.call}"]
        lines += [f"  {self.reason}"] if self.reason else []
        lines += [f"  {report}" for report in self.inputs if report.verdict != "right" or self.verdict == "wrong"]
        return "\n".join(lines)


@dataclass(frozen=True, repr=False)
class GraphReport:
    """What `check_graph` found. Its `repr` counts the verdicts and shows every operation that is not right.

    Attributes:
        operations: an `OperationReport` for each operation that was looked at, in the order of computation.
        left_out: how many were not looked at. unlike: how many of these have another primitive, shapes or options than
            all that were.
    """

    operations: tuple[OperationReport, ...]
    left_out: int = 0
    unlike: int = 0

    @property
    def wrong(self) -> tuple[OperationReport, ...]:
        return tuple(o for o in self.operations if o.verdict == "wrong")

    def __repr__(self) -> str:
        found = [(v, sum(o.verdict == v for o in self.operations)) for v in VERDICTS]
        counts = ", ".join(f"{n} {verdict}" for verdict, n in found if n)
        lines = [f"{len(self.operations) + self.left_out} operations: {counts}"]
        if self.left_out:
            lines[0] += f", {self.left_out} left out, {self.unlike or 'none'} of them unlike all that were checked"
        if any("directions" in report.sampled for o in self.operations for report in o.inputs):
            lines.append(f"of inputs with more than {FULL} entries, {EACH} entries and {EACH} directions were compared")
        lines += [str(o) for verdict in VERDICTS[:-1] for o in self.operations if o.verdict == verdict]
        return "\n".join(lines)


class GraphMismatch(AssertionError):
    """Some operation has a wrong gradient. The message names each, with its line; `report` is the `GraphReport`."""

    def __init__(self, report: GraphReport):
        super().__init__(f"check_graph: {report!r}")
        self.report = report


def check_graph(
    f: Callable[..., Any], *args: Any, order: int = 1, rtol: float = 1e-6, most: int = MOST, seed: int = 0
) -> GraphReport:
    """Find the operations in `f` whose gradient is wrong.

    f runs once. Then the rule of each recorded operation is compared with finite differences of the operation alone, at
    the inputs that it had in that run, in float64. A composite, which derivatives of higher order go through, has to
    give the value and the gradient of its primitive. A mistake that shows in float32 only is not found.

    Args:
        f: the function. It gets a Tensor, in the dtype that is given, in place of each floating array in `args`.
        args: arrays, trees of arrays, or anything else that f takes. Hide from it in a closure what f takes no
            gradient of: `check_graph(lambda params: loss(params, images, labels), params)`.
        order: the highest order of derivatives to check.
        rtol: the error allowed, relative to the largest derivative in the same input of the operation.
        most: how many operations are checked at most. Where there are more, those are left out first that have the
            primitive, shapes and options of another one.
        seed: the seed of the random cotangents and directions.

    The inputs of an operation that have at most 64 entries together are compared in every entry, larger ones in two
    entries and two random directions each. A direction takes from 4 to 68 calls of the operation, so a small batch is
    best. Where the inputs lie at a kink, the entries of the result that have none are compared, and the operation is
    reported as "kink", not as wrong.

    Raises:
        GraphMismatch: some gradient is wrong, or a rule fails. The message names the operations, with their lines.
        TypeError: nothing was recorded: f's result depends on no floating array in `args`.
        ValueError: an operation writes into its inputs; or `order` or `most` is less than 1.
    """
    for name, number in (("order", order), ("most", most)):
        if number < 1:
            raise ValueError(f"check_graph: {name} should be at least 1, got {number}")
    nodes = record(f, args)
    chosen, unlike = _sample(nodes, most)
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        operations = tuple(_check(node, order, rtol, rng) for node in chosen)
    report = GraphReport(operations, len(nodes) - len(chosen), unlike)
    if report.wrong:
        raise GraphMismatch(report)
    return report


def _sample(nodes: list[Node], most: int) -> tuple[list[Node], int]:
    """At most `most` of the nodes, and how many kinds of nodes have none among them.

    The first one of each kind is taken, then the second one of each, and so on.
    """
    seen: dict[Any, int] = {}
    turns = []
    for i, node in enumerate(nodes):
        kind = (node.op, describe_call(node).partition("\n")[0], tuple(p is None for p in node.parents))
        seen[kind] = seen.get(kind, 0) + 1
        turns.append((seen[kind], i))
    return [nodes[i] for i in sorted(i for _, i in sorted(turns)[:most])], max(0, len(seen) - most)


# ---------------------------------------------------------------- one operation


def _check(node: Node, order: int, rtol: float, rng: np.random.Generator) -> OperationReport:
    op: Any = node.op
    reports: list[InputReport] = []

    def found(verdict: str, reason: str = "") -> OperationReport:
        return OperationReport(op.name, describe_call(node), verdict, tuple(reports), reason)

    who = f"check_graph of {op.name}"
    call, composite, xs, names = of_inputs(node)
    if not all(np.isfinite(x).all() for x in xs):
        return found("skipped", "its inputs are not finite")
    try:
        [y] = call(*xs)
        if y.dtype != np.float64:
            return found("skipped", f"its result is {y.dtype} for inputs in float64: too coarse for finite differences")
        options: dict[str, Any] = {"each": EACH}
        if composite is not None:
            numbers = [
                a for k, v in (node.kwargs or {}).items() if k != "saved" for a in tree.leaves(v) if is_floating(a)
            ]
            rtol = max([rtol, *(min(0.1, 100 * float(np.finfo(a.dtype).eps)) for a in numbers)])
            if fault := difference("value", flat([y]), flat(composite(*xs)), rtol):
                return found("wrong", fault)
            if numbers:
                # A keyword such as the mean of x may depend on x, and the rule differentiates through it. The composite
                # computes it anew from the x that finite differences move.
                options["pulled"] = call
        f = composite if "pulled" in options else call
        for _, of_order in orders(who, f, xs, names, order, rtol, rng, **options):
            reports += of_order
            if any(report.verdict == "wrong" for report in of_order):
                return found("wrong")
        if composite is not None and (fault := gradient_fault(call, composite, xs, rng, rtol)):
            return found("wrong", fault)
    except (BackwardError, AssertionError) as error:  # a rule that fails, or one that differs under create_graph
        return found("wrong", str(error).removeprefix(f"{who}: "))
    except Exception as error:
        return found("skipped", f"{type(error).__name__}: {str(error).removeprefix(f'{who}: ')}")
    return found(min((report.verdict for report in reports), key=VERDICTS.index))
