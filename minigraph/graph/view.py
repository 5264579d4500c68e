"""What of a graph is shown: scopes collapsed to one box each, and runs of equal boxes folded to one of them."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from .trace import Edge, Graph, Scope, Vertex

_CANDIDATES = 24  # periods that are tried, the most frequent first
Step = tuple[int, int]  # of a box in a run: the place of its counterpart in the first period, and the number of its own


@dataclass(frozen=True)
class Link(Edge):
    """An edge between boxes. `source` is a place in `View.boxes`, `carries` are the vertices whose results go along."""

    carries: tuple[Vertex, ...] = ()


@dataclass
class Box:
    """A vertex, or all vertices of a collapsed scope.

    Attributes:
        members: the vertices. inputs: the edges from the boxes that it needs.
        scope: the groups it is drawn in, the outermost first.
    """

    members: list[Vertex]
    inputs: list[Link] = field(default_factory=list)
    scope: Scope = ()
    title: str | None = None

    @property
    def is_group(self) -> bool:
        return self.title is not None

    @property
    def operations(self) -> list[Vertex]:
        return [v for v in self.members if v.kind == "operation"]

    @property
    def computes(self) -> bool:
        """Whether it holds an operation, and is no array alone."""
        return any(v.kind == "operation" for v in self.members)

    @property
    def order(self) -> int:
        return max(v.order for v in self.members)

    def total(self, what: str) -> int:
        """The sum over the members of `saved` or `flops`, or of the `size` of parameters."""
        if what == "size":
            return sum(v.size for v in self.members if v.kind == "parameter")
        return sum(getattr(v, what) for v in self.members)


@dataclass
class Run:
    """Boxes that repeat: those from `start` on, `period` of them, `times` times one after the other."""

    start: int
    period: int
    times: int


@dataclass
class View:
    """The boxes, those that compute in the order of computation, and the runs among these.

    `places` are the indices of the boxes that compute; the numbers in `runs` count in it.
    """

    boxes: list[Box]
    places: list[int]
    runs: list[Run]

    def representative(self) -> dict[int, int]:
        """For each box of a run its counterpart in the first period, which stands for it."""
        found: dict[int, int] = {}
        for run in self.runs:
            for i in range(run.period, run.period * run.times):
                found[self.places[run.start + i]] = self.places[run.start + i % run.period]
        return found

    def shown(self) -> list[int]:
        """The boxes that are drawn: those that stand for themselves, and the arrays that these use."""
        hidden = self.representative()
        visible = [i for i in range(len(self.boxes)) if i not in hidden]
        used = {e.source for i in visible for e in self.boxes[i].inputs}
        return [i for i in visible if i in used or self.boxes[i].inputs or self.boxes[i].computes]


def view(graph: Graph, depth: int | None = None, fold: bool | None = None) -> View:
    """The boxes of a graph.

    Args:
        depth: collapse each scope of this depth, from 1, to one box. None shows every operation.
        fold: fold runs of equal boxes. None does so where scopes are collapsed, or above 100 operations.
    """
    boxes = _collapse(graph, depth)
    places = [i for i, box in enumerate(boxes) if box.computes]
    if fold is None:
        fold = depth is not None or len(places) > 100
    return View(boxes, places, _runs(boxes, places) if fold else [])


def _collapse(graph: Graph, depth: int | None) -> list[Box]:
    keys = [_key(v, depth) for v in graph.vertices]
    members: dict[Any, list[Vertex]] = {}
    for v, key in zip(graph.vertices, keys, strict=True):
        members.setdefault(key, []).append(v)

    def first(found: list[Vertex]) -> int:  # a box has the place of its first operation
        return min((v.index for v in found if v.kind == "operation"), default=found[0].index)

    order = sorted(members, key=lambda key: first(members[key]))
    number = {key: i for i, key in enumerate(order)}
    boxes = []
    for key in order:
        found = members[key]
        group = isinstance(key, tuple)
        scope = key[1][:-1] if isinstance(key, tuple) else found[0].scope
        edges: dict[Any, dict[int, Vertex]] = {}  # what is carried, by all that tells edges apart
        for v in found:
            for e in v.inputs:
                source = number[keys[e.source]]
                if source != number[key]:
                    mark = (source, "", e.gradient, 0) if group else (source, e.role, e.gradient, len(edges))
                    edges.setdefault(mark, {})[e.source] = graph.vertices[e.source]
        links = [Link(source, role, grad, (*carried.values(),)) for (source, role, grad, _), carried in edges.items()]
        boxes.append(Box(found, links, scope, key[1][-1] if isinstance(key, tuple) else None))
    return boxes


def _key(v: Vertex, depth: int | None) -> Any:
    """What the vertices of one box have in common: the pass and the scope, or the vertex alone."""
    if depth is None or len(v.scope) < depth:
        return v.index
    return v.order, v.scope[:depth]


# ---------------------------------------------------------------- runs


def _runs(boxes: list[Box], places: list[int]) -> list[Run]:
    """The runs that leave the fewest boxes, found greedily: the longest first, then on both sides of it.

    What is left is searched again until nothing is found, since boxes may be equal only now: those that use one period
    after the other of a run that has been found, as a backward pass uses its forward pass.
    """
    at = {place: i for i, place in enumerate(places)}
    looks = [_look(boxes[i]) for i in places]
    last: dict[Any, int] = {}
    distances: Counter[int] = Counter()
    for i, look in enumerate(looks):
        if look in last:
            distances[i - last[look]] += 1
        last[look] = i
    periods = sorted(p for p, _ in distances.most_common(_CANDIDATES))
    found: list[Run] = []
    steps: dict[int, Step] = {}
    left = [(0, len(places))]
    before = -1
    while before < len(found):
        before = len(found)
        equal = {p: [False] * len(places) for p in periods}
        for p, (begin, end) in itertools.product(periods, left):
            for i in range(begin, end - p):
                equal[p][i] = _equal(i, p, boxes, places, at, looks, steps)
        open_ranges, left = left, []
        while open_ranges:
            begin, end = open_ranges.pop()
            best = max(
                (run for p in periods for run in _stretches(equal[p], p, begin, end, boxes, places)),
                key=lambda run: (run.period * (run.times - 1), -run.period, -run.start),
                default=None,
            )
            if best is None:
                left.append((begin, end))
            else:
                best = _aligned(best, equal[best.period], end, boxes, places, at)
                found.append(best)
                open_ranges += [(begin, best.start), (best.start + best.period * best.times, end)]
        for run in found[before:]:
            for i in range(run.period * run.times):
                steps[places[run.start + i]] = (run.start + i % run.period, i // run.period)
    return sorted(found, key=lambda run: run.start)


def _aligned(
    run: Run, equal: list[bool], end: int, boxes: list[Box], places: list[int], at: dict[int, int]
) -> Run:
    """The run moved to where a loop most likely begins, at the cost of one period at most.

    There the fewest values go from one period to the next, and the source lines of a period follow each other.
    """

    def moved(k: int) -> Run:
        stop = run.start + k
        while stop < end - run.period and equal[stop]:
            stop += 1
        return Run(run.start + k, run.period, (stop - run.start - k) // run.period + 1)

    def carried(run: Run) -> int:
        inside = range(run.start + run.period, run.start + 2 * run.period)
        sources = {at[e.source] for i in inside for e in boxes[places[i]].inputs if e.source in at}
        return sum(run.start <= source < run.start + run.period for source in sources)

    def jumps(run: Run) -> int:  # from a line of source to an earlier one, as from the end of a loop to its start
        calls = [boxes[i].members[0].call for i in places[run.start : run.start + run.period]]
        lines = [call[1] for call in calls if call is not None]
        return sum(a > b for a, b in itertools.pairwise(lines))

    runs = [r for r in map(moved, range(run.period)) if r.times >= max(2, run.times - 1)]
    return min(runs, key=lambda r: (carried(r), jumps(r), -r.times, r.start))


def _look(box: Box) -> Any:
    """What equal boxes have in common, whatever they are connected to."""
    def of(v: Vertex) -> Any:
        if v.kind != "operation":
            return v.kind, v.shape, v.dtype
        note = re.sub(r"\d+", "#", v.note) if v.title == "getitem" else v.note  # step t reads entry t
        return v.title, note, v.shape, v.dtype, v.order

    return tuple(map(of, box.members))


def _equal(
    i: int, period: int, boxes: list[Box], places: list[int], at: dict[int, int], looks: list[Any],
    steps: dict[int, Step],
) -> bool:  # fmt: skip
    """Whether box i and the one a period later are equal, and their inputs too or the very same.

    Two inputs are also equal where they are the same box of a run that has been found, in neighbouring periods.
    """
    j = i + period
    if looks[i] != looks[j]:
        return False
    first, second = boxes[places[i]].inputs, boxes[places[j]].inputs
    if len(first) != len(second):
        return False
    for a, b in zip(first, second, strict=True):
        if (a.role, a.gradient) != (b.role, b.gradient):
            return False
        if a.source == b.source:
            continue
        if a.source in steps and b.source in steps:
            (one, n), (other, m) = steps[a.source], steps[b.source]
            if one == other and abs(n - m) == 1:
                continue
        if a.source in at and b.source in at:
            if at[b.source] - at[a.source] != period:
                return False
        elif a.source in at or b.source in at or _look(boxes[a.source]) != _look(boxes[b.source]):
            return False
    return True


def _stretches(equal: list[bool], period: int, begin: int, end: int, boxes: list[Box], places: list[int]) -> list[Run]:
    """The runs of this period between `begin` and `end`.

    Groups and long periods repeat at least twice, a few operations at least three times.
    """
    found = []
    start = begin
    while start < end - period:
        stop = start
        while stop < end - period and equal[stop]:
            stop += 1
        times = (stop - start) // period + 1
        least = 2 if period >= 5 or any(boxes[places[start + k]].is_group for k in range(period)) else 3
        if times >= least:
            found.append(Run(start, period, times))
        start = stop + 1
    return found
