"""Where things stand on a page: a graph as groups within groups, and the inside of each laid out by Graphviz alone.

A group is laid out with its own groups folded to boxes. Where a reader unfolds one, the page makes room for it: it
moves what is beside and below. So each state of a page has a layout, though there are too many to lay out each.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..blame import describe
from .dot import quantity, run_name
from .trace import Graph, Scope, Vertex
from .view import Box, Run, collapse, find_runs

_MANY = 100  # operations from which on runs of equal boxes are folded
_USES = 12  # of one value in a group, from which on dot lays out only the edge to the first
_INCH = 72
_LARGE, _SMALL = 13, 10.5  # sizes of letters, in points, as in page.css
_NARROW, _WIDE = set("iljtfrI.,:;'|!()[] "), set("mwMW@%—")
_CELLS = 132, 104  # the width of a box with a value and a gradient: as numbers, as small histograms


@dataclass(eq=False)
class Group:
    """A scope, or a run of equal boxes that stands for all its repetitions; the whole graph is the outermost group.

    Attributes:
        title: what it is called. scope: the groups it lies in, and itself. order: as of its vertices.
        times: how often a run repeats; 1 for a scope.
        members: all vertices that it stands for, also those of the repetitions that are not shown.
        children: the vertices and groups that are shown in it, in the order of computation.
    """

    title: str
    scope: Scope
    order: int
    times: int
    members: list[Vertex]
    children: list[Vertex | Group] = field(default_factory=list)
    index: int = 0

    @property
    def operations(self) -> list[Vertex]:
        return [v for v in self.members if v.kind == "operation"]

    def walk(self) -> Iterator[Vertex | Group]:
        """All that is shown in it, at any depth."""
        for child in self.children:
            yield child
            if isinstance(child, Group):
                yield from child.walk()

    def lines(self) -> list[str]:
        """What the box of the folded group says below its title."""
        operations = self.operations
        size = sum(v.size for v in self.members if v.kind == "parameter")
        flops, saved = sum(v.flops for v in operations), sum(v.saved for v in operations)
        lines = [describe(operations[-1]), f"{len(operations):,} operations"]
        lines += [f"{quantity(size, 'parameter')}s"] if size else []
        lines += [quantity(flops, "FLOP")] if flops else []
        return lines + ([f"{quantity(saved, 'B')} saved"] if saved else [])


class Tree:
    """The groups of a graph.

    Args:
        fold: show runs of equal boxes once. None does so where there are more than 100 operations.
        hidden: the kinds of vertices that are not shown.

    Attributes:
        root: the whole graph. groups: all groups, the root first; `index` is a group's place here.
        stands_for: for each vertex that is not shown, because another shows its run, that other one.
        parents: the group around each vertex that is shown, by its index, and around each group, by the group.
    """

    def __init__(self, graph: Graph, fold: bool | None = None, hidden: frozenset[str] = frozenset()):
        self.graph, self.hidden = graph, hidden
        self.fold = len(graph.operations) > _MANY if fold is None else fold
        self.stands_for: dict[int, int] = {}
        self._levels: dict[int, list[Box]] = {}
        self.root = Group("", (), 0, 1, graph.vertices)
        self.root.children = self._inside(self.root)
        self._drop_arrays()
        self.groups = [self.root, *(g for g in self.root.walk() if isinstance(g, Group))]
        self.parents: dict[Any, Group] = {}
        for n, group in enumerate(self.groups):
            group.index = n
            for child in group.children:
                self.parents[child if isinstance(child, Group) else child.index] = group

    def shown(self, index: int) -> int | None:
        """The vertex that shows the vertex of this index, itself where it is shown; None where none does."""
        while index in self.stands_for:
            index = self.stands_for[index]
        return index if index in self.parents else None

    def path(self, index: int) -> list[Group]:
        """The groups around a vertex that is shown, the outermost first."""
        found = [self.parents[index]]
        while found[-1] is not self.root:
            found.append(self.parents[found[-1]])
        return found[::-1]

    def _level(self, n: int) -> list[Box]:
        return self._levels.setdefault(n, collapse(self.graph, n))

    def _inside(self, group: Group) -> list[Vertex | Group]:
        """The children of a group, with the groups inside them."""
        n = len(group.scope)
        boxes = self._level(n + 1)
        mine = [
            i for i, box in enumerate(boxes)
            if group is self.root or (box.members[0].order, box.members[0].scope[:n]) == (group.order, group.scope)
        ]  # fmt: skip
        places = [i for i in mine if boxes[i].computes]
        runs = find_runs(boxes, places) if self.fold else []
        for run in runs:
            for k in range(run.period, run.period * run.times):
                box, like = (boxes[places[run.start + j]] for j in (k, k % run.period))
                pairs = zip(box.members, like.members, strict=True)
                self.stands_for.update((a.index, b.index) for a, b in pairs)
        return [*self._children(group, boxes, mine, places, runs)]

    def _children(
        self, group: Group, boxes: list[Box], mine: list[int], places: list[int], runs: list[Run]
    ) -> Iterator[Vertex | Group]:
        runs_of: dict[int, Run] = {}
        for r in runs:
            runs_of.update((places[r.start + k], r) for k in range(r.period * r.times))
        users: dict[int, set[int]] = {}  # of each array, the runs that use it, by their ids
        for i in places:
            for edge in boxes[i].inputs:
                users.setdefault(edge.source, set()).add(id(runs_of.get(i)))
        begun: dict[int, Group] = {}
        for i in mine:
            run = runs_of.get(i)
            if run is None and not boxes[i].computes:
                run = next((r for r in runs if users.get(i) == {id(r)}), None)
            if run is None:
                yield from self._child(group, boxes[i])
                continue
            if id(run) not in begun:
                all_of_it = [boxes[places[run.start + k]] for k in range(run.period * run.times)]
                name = run_name(all_of_it[: run.period], all_of_it[run.period : 2 * run.period])
                members = [v for box in all_of_it for v in box.members]
                begun[id(run)] = Group(name, group.scope, group.order, run.times, members)
                yield begun[id(run)]
            if boxes[i].members[0].index not in self.stands_for:
                begun[id(run)].children += self._child(group, boxes[i])
        for run_group in begun.values():
            if len(run_group.children) == 1 and isinstance(only := run_group.children[0], Group):
                run_group.children, run_group.scope = only.children, only.scope  # one frame instead of two

    def _child(self, parent: Group, box: Box) -> list[Vertex | Group]:
        """The vertex, or the group, of a box; a group around one operation alone would say nothing."""
        if not box.is_group:
            return [] if box.members[0].kind in self.hidden else [*box.members]
        members = sorted(box.members, key=lambda v: v.index)
        group = Group(str(box.title), (*box.scope, str(box.title)), box.order, 1, members)
        group.children = self._inside(group)
        return [group] if len(group.operations) > 1 else group.children

    def _drop_arrays(self) -> None:
        """Leave out the arrays that only repetitions use, such as the parameters of the second of ten blocks."""
        inside = {child.index for child in self.root.walk() if isinstance(child, Vertex)}

        def stands(index: int) -> int:
            while index in self.stands_for:
                index = self.stands_for[index]
            return index

        vertices = self.graph.vertices
        used = {edge.source for v in vertices if v.index in inside for edge in v.inputs}
        for v in vertices:
            if v.index in self.stands_for:
                for edge, like in zip(v.inputs, vertices[stands(v.index)].inputs, strict=True):
                    if edge.source not in used and vertices[edge.source].kind != "operation":
                        self.stands_for.setdefault(edge.source, like.source)
        for group in [self.root, *(g for g in self.root.walk() if isinstance(g, Group))]:
            group.children = [
                c for c in group.children
                if isinstance(c, Group) or c.kind in ("operation", "output") or c.index in used
            ]  # fmt: skip


# ---------------------------------------------------------------- sizes


def _width(text: str, size: float, bold: bool = False) -> float:
    """About how wide a text is in a sans-serif font, in points; somewhat too wide, since fonts differ."""
    units = sum(0.32 if c in _NARROW else 0.9 if c in _WIDE else 0.7 if c.isupper() else 0.58 for c in text)
    return units * size * (1.06 if bold else 1.0)


def size_of(title: str, lines: list[str], cell: int = 0) -> tuple[float, float]:
    """The width and height of a box, in points. `cell`: the height of a value and a gradient below its lines."""
    width = max([_width(title, _LARGE, bold=True), *(_width(line, _SMALL) for line in lines), 30.0]) + 22
    height = 11 + 17 * bool(title) + 14.5 * len(lines) + (cell + 6 if cell else 0)
    return round(max(width, _CELLS[0] if cell > 30 else _CELLS[1] if cell else 0)), max(round(height), 28)


# ---------------------------------------------------------------- dot


def layout(tree: Tree, sizes: dict[str, tuple[float, float]]) -> list[dict[str, Any]]:
    """The inside of each group of `tree.groups`, with its own groups folded.

    Args:
        sizes: the width and height of each vertex ("v" and its index) and of each folded group ("g" and its index).

    Returns for each group a dict, in points from its upper left corner:
        size: its width and height.
        at: the middle of each child and port, by its name. A port is where the value of a vertex comes in through the
            frame of the group ("i" and the index) or goes out ("o" and the index).
        edges: lists of the source's index, the names of the two ends, the points of a Bezier curve, and how it is drawn
            ("", "dashed" where no gradient flows, "dotted" where it leads to the next repetition of a run; and "loose"
            where dot has not laid it out, since its value has many uses in the group).

    Raises RuntimeError: the dot program is missing, or has failed.
    """
    if shutil.which("dot") is None:
        raise RuntimeError(
            "page: the dot program, which lays out the graph, is missing: install Graphviz (apt install graphviz, "
            "brew install graphviz, or conda install graphviz)"
        )
    edges = _edges(tree)
    source = "\n".join(_dot(tree, group, edges[group.index], sizes) for group in tree.groups)
    run = subprocess.run(["dot", "-Tjson"], input=source.encode(), capture_output=True)
    if run.returncode:
        why = run.stderr.decode(errors="replace").strip() or f"exit code {run.returncode}"
        raise RuntimeError(f"page: the dot program failed: {why}")
    decoder, text, position = json.JSONDecoder(), run.stdout.decode(), 0
    found = []
    for group in tree.groups:
        drawn, position = decoder.raw_decode(text, position + len(text[position:]) - len(text[position:].lstrip()))
        found.append(_read(drawn, edges[group.index], sizes))
    return found


Piece = tuple[int, str, str]  # the index of the source vertex, and the names of the ends


def _edges(tree: Tree) -> list[dict[Piece, str]]:
    """The edges inside of each group, and how each is drawn.

    An edge between vertices in different groups is cut into pieces: out of the frames around the one, across the
    innermost group that has both, and into the frames around the other.
    """
    pieces: list[dict[Piece, str]] = [{} for _ in tree.groups]
    for v in tree.graph.vertices:
        for edge in v.inputs:
            source, target = tree.shown(edge.source), tree.shown(v.index)
            if source is None or target is None or source == target:
                continue
            outward, inward = tree.path(source), tree.path(target)
            common = sum(a is b for a, b in zip(outward, inward, strict=False))
            ends = [*(f"g{g.index}" for g in outward[common:]), f"v{source}"]
            heads = [*(f"g{g.index}" for g in inward[common:]), f"v{target}"]
            style = "dotted" if source > target else "" if edge.gradient else "dashed"
            found = [(outward[common - 1], (source, ends[0], heads[0]))]
            found += [(g, (source, ends[k + 1], f"o{source}")) for k, g in enumerate(outward[common:])]
            found += [(g, (source, f"i{source}", heads[k + 1])) for k, g in enumerate(inward[common:])]
            for k, (group, piece) in enumerate(found):
                drawn = style if k == 0 or style == "dashed" else ""
                if pieces[group.index].setdefault(piece, drawn) == "dashed" and not drawn:
                    pieces[group.index][piece] = ""
    return pieces


def _dot(tree: Tree, group: Group, edges: dict[Piece, str], sizes: dict[str, tuple[float, float]]) -> str:
    kinds = {f"v{c.index}": c.kind for c in group.children if isinstance(c, Vertex)}
    beside: dict[str, str] = {}  # an array, and the first operation that uses it
    for _, tail, head in edges:
        if kinds.get(tail) in ("parameter", "state", "constant") and kinds.get(head) == "operation":
            beside.setdefault(tail, head)
    lines = [
        f"digraph g{group.index} {{",
        "nodesep=0.3 ranksep=0.36 margin=0",
        'node [shape=box fixedsize=true label=""] edge [arrowhead=none]',
    ]
    for child in group.children:
        name = f"g{child.index}" if isinstance(child, Group) else f"v{child.index}"
        width, height = sizes[name]
        # Operands stand from left to right. With arrays beside the operation, that makes detours.
        order = " ordering=in" if name not in beside.values() else ""
        lines.append(f"{name} [width={width / _INCH:.3f} height={height / _INCH:.3f}{order}]")
    for array, user in beside.items():
        lines.append(f"{{rank=same {array} {user}}}")
    for rank, ends in (("source", [tail for _, tail, _ in edges]), ("sink", [head for _, _, head in edges])):
        ports = dict.fromkeys(end for end in ends if end[0] == ("i" if rank == "source" else "o"))
        if ports:
            lines.append(f"{{rank={rank} node [shape=point width=0.02 height=0.02] {' '.join(ports)}}}")
    sides: Counter[str] = Counter()
    uses = Counter(tail for _, tail, _ in edges)
    begun: set[str] = set()
    for k, (piece, style) in enumerate(edges.items()):
        _, tail, head = piece
        if uses[tail] > _USES and tail in begun:  # long edges by the hundred take dot minutes
            continue
        begun.add(tail)
        options = f"k={k}"
        if beside.get(tail) == head:
            sides[head] += 1
            if sides[head] % 2 == 0:  # every other one stands to the right, where dot puts the heads of edges
                tail, head, options = head, tail, f"{options} turned=1"
        elif kinds.get(tail) in (None, "operation", "input"):
            options += " weight=8"
        options += " constraint=false" if style == "dotted" else ""
        lines.append(f"{tail} -> {head} [{options}]")
    return "\n".join([*lines, "}"])


def _read(drawn: dict[str, Any], edges: dict[Piece, str], sizes: dict[str, tuple[float, float]]) -> dict[str, Any]:
    """dot's JSON, whose y axis points upwards, and direct curves for the edges that dot has not laid out."""
    _, _, width, height = map(float, drawn["bb"].split(","))
    at = {}
    for node in drawn.get("objects", ()):
        if "pos" in node:
            x, y = map(float, node["pos"].split(","))
            at[node["name"]] = [round(x, 1), round(height - y, 1)]
    curves: dict[int, list[float]] = {}
    for edge in drawn.get("edges", ()):
        numbers = [float(n) for n in re.findall(r"-?[\d.]+(?:e[-+]?\d+)?", edge["pos"])]
        points = [(round(x, 1), round(height - y, 1)) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
        if "turned" in edge:
            points.reverse()
        curves[int(edge["k"])] = [n for point in points for n in point]
    loose = {k for k in range(len(edges)) if k not in curves}
    for k, (_, tail, head) in enumerate(edges):
        if k in loose:
            (x, y), (to_x, to_y) = at[tail], at[head]
            y, to_y = y + sizes.get(tail, (0, 0))[1] / 2, to_y - sizes.get(head, (0, 0))[1] / 2
            curves[k] = [x, y, x, y + 60, to_x, to_y - 60, to_x, to_y]
    return {
        "size": [round(width, 1), round(height, 1)],
        "at": at,
        "edges": [
            [*piece, curves[k], f"{style} loose".strip() if k in loose else style]
            for k, (piece, style) in enumerate(edges.items())
        ],
    }
