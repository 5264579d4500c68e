"""`summary`: a function as a table of its operations, by scope, with what each takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..blame import describe
from .dot import named, quantity
from .measure import measure
from .peak import Peak, foresee
from .scale import duration
from .table import table
from .trace import Graph, Vertex, common
from .view import View, view

_COLUMNS = ("", "result", "parameters", "FLOP", "kept", "forward", "backward")
_REPEAT = 3  # runs, of whose times the medians count


@dataclass
class Row:
    """An operation, or all operations of a scope or of a run of equal ones.

    Attributes:
        name: the operation, the scope, or how often it repeats. level: how deep it lies. result: dtype and shape of the
            last result. parameters: the numbers in those that are first used here. flops: of the forward, by
            definition. kept: bytes for the backward pass. seconds, backward_seconds: of the operations and their rules.
    """

    name: str
    level: int = 0
    result: str = ""
    parameters: int = 0
    flops: int = 0
    kept: int = 0
    seconds: float = 0.0
    backward_seconds: float = 0.0

    def add(self, other: Row) -> None:
        self.result = other.result
        for what in ("parameters", "flops", "kept", "seconds", "backward_seconds"):
            setattr(self, what, getattr(self, what) + getattr(other, what))

    def cells(self) -> list[str]:
        counts = [f"{self.parameters:,}" if self.parameters else ""]
        counts += [quantity(n, unit) if n else "" for n, unit in ((self.flops, ""), (self.kept, "B"))]
        times = [duration(t) if t else "" for t in (self.seconds, self.backward_seconds)]
        return ["  " * self.level + self.name, self.result, *(text.strip() for text in counts), *times]


@dataclass(frozen=True)
class Summary:
    """What `summary` returns: it prints as a table, and a notebook shows it as one.

    Attributes:
        graph: what was measured. rows: the lines of the table, each scope before what lies in it. total: of all
            operations. peak: of the memory, if that was asked for.
    """

    graph: Graph
    rows: list[Row]
    total: Row
    peak: Peak | None

    def __str__(self) -> str:
        text = table([_COLUMNS, *(row.cells() for row in (*self.rows, self.total))], right=range(2, len(_COLUMNS)))
        return f"{text}\n\n{self._memory()}" if self.peak else text

    __repr__ = __str__

    def _repr_html_(self) -> str:
        import html  # its table of entities takes a while to load

        def line(cells: Sequence[str], tag: str = "td") -> str:
            out = []
            for i, cell in enumerate(cells):
                style = f"text-align: {'left' if i < 2 else 'right'}; white-space: pre"
                out.append(f'<{tag} style="{style}">{html.escape(cell)}</{tag}>')
            return f"<tr>{''.join(out)}</tr>"

        rows = [line(_COLUMNS, "th"), *(line(row.cells()) for row in self.rows), line(self.total.cells(), "th")]
        memory = f"<p>{html.escape(self._memory())}</p>" if self.peak else ""
        return f"<table>{''.join(rows)}</table>{memory}"

    def _memory(self) -> str:
        assert self.peak is not None
        p = self.peak
        where = f"in the {'backward' if p.backward else 'forward'} of {p.at}"
        arrays, spare, kernels = (quantity(n, "B") for n in (p.arrays, p.spare, p.kernels))
        return (
            f"peak of memory, foreseen: {quantity(p.nbytes, 'B')}, {where}: {arrays} of arrays, {spare} to be used "
            f"again, {kernels} of kernels"
        )


def summary(
    f: Callable[..., Any],
    *inputs: Any,
    depth: int | None = None,
    constants: Sequence[str] = ("state",),
    memory: bool = False,
) -> Summary:
    """The operations of a function of arrays as a table, by scope, with what each takes.

        print(mg.summary(loss, params, x, y))

    A row has the dtype and shape of the result, the number of parameters (with the first operation that uses them), the
    floating-point operations of the forward by definition, the bytes that are kept for the backward pass, and the times
    of the operation and of its rule: medians of three runs of the function and its backward pass. A scope's row has the
    sums, and the last result in it. The scopes are those of `mg.draw`: of `mg.scope`, or else by the paths of the
    parameters. Runs of equal rows are shown once, below a row that says how often.

    Args:
        inputs: nested dicts, lists or tuples of arrays, one for each positional argument of f, as `mg.draw` takes them.
        depth: the scopes of this depth, from 1, are a row each. None shows every operation.
        constants: the names of arguments that no gradient goes to.
        memory: also foresee the peak of memory of forward and backward; `graph.peak.foresee` says what that counts.

    Raises:
        TypeError: f is no function, or the inputs do not fit it.
        ValueError: no operation was recorded; or there is no argument of a name in `constants`, or depth is no whole
            number from 1.
        BackwardError: a rule failed.
    """
    if not callable(f):
        raise TypeError(f"summary: expected a function, got {type(f).__name__}")
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 1):
        raise ValueError(f"summary: depth should be a whole number from 1, or None, got {describe(depth)}")
    graph = measure(f, *inputs, constants=constants, repeat=_REPEAT, what="summary")
    peak = foresee(f, *inputs, constants=constants, what="summary") if memory else None
    top = _tree(graph, view(graph, depth))
    total = top.row
    total.name = "total"
    return Summary(graph, top.below(), total, peak)


class _Branch:
    """A row, and those that lie in it by a key. A row has the sums of all that is added at it or below."""

    def __init__(self, name: str, level: int):
        self.row = Row(name, level)
        self.branches: dict[Any, _Branch] = {}

    def add(self, row: Row, path: Sequence[tuple[Any, str]]) -> None:
        """Add a row at the end of a path of keys and names."""
        self.row.add(row)
        if path:
            (key, name), *rest = path
            self.branches.setdefault(key, _Branch(name, self.row.level + 1)).add(row, rest)

    def below(self) -> list[Row]:
        return [row for branch in self.branches.values() for row in (branch.row, *branch.below())]


def _tree(graph: Graph, shown: View) -> _Branch:
    """The rows of the boxes of a view in their scopes, all below one."""
    first: dict[int, int] = {}  # for each parameter the operation that uses it first
    for v in graph.operations:
        for edge in v.inputs:
            if graph.vertices[edge.source].kind == "parameter":
                first.setdefault(edge.source, v.index)
    parameters: dict[int, int] = {}
    for source, user in first.items():
        parameters[user] = parameters.get(user, 0) + graph.vertices[source].size
    runs = {run.start + i: (n, i) for n, run in enumerate(shown.runs) for i in range(run.period * run.times)}
    top = _Branch("", -1)
    for place, i in enumerate(shown.places):
        box = shown.boxes[i]
        operations = box.operations
        last = operations[-1]
        row = Row(
            "", 0, describe(last), sum(parameters.get(v.index, 0) for v in operations), box.total("flops"),
            box.total("saved"), *_seconds(operations),
        )  # fmt: skip
        scope = box.scope if box.title is None else (*box.scope, box.title)
        path: list[Any] = [((box.order, scope[:n]), named(scope[n - 1], box.order)) for n in range(1, len(scope) + 1)]
        if box.title is None:
            path.append((last.index, named(last.title or "", 0 if scope else box.order)))
        if place in runs:  # the first of the boxes that repeat is shown, below a row that says how often
            number, offset = runs[place]
            run = shown.runs[number]
            repeated = shown.places[run.start : run.start + run.period * run.times]
            around = common([shown.boxes[p].scope for p in repeated])
            path.insert(len(around), (("run", number), f"{run.times} times"))
            if offset >= run.period:
                del path[len(around) + 1 :]
        top.add(row, path)
    return top


def _seconds(operations: list[Vertex]) -> tuple[float, float]:
    """The time of the operations, and of their rules."""
    measured = [v.measured for v in operations if v.measured is not None]
    return sum(m.seconds or 0.0 for m in measured), sum(m.backward_seconds or 0.0 for m in measured)
