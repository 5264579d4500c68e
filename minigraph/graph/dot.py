"""From boxes to DOT, the language of Graphviz."""

from __future__ import annotations

import functools
import os
import re
from typing import TYPE_CHECKING, Any

from ..blame import describe
from .trace import Scope, Vertex, one_line
from .view import Box, Run, View

if TYPE_CHECKING:
    import graphviz

_GRAPH = {
    "rankdir": "TB", "nodesep": "0.3", "ranksep": "0.35", "ordering": "in", "bgcolor": "transparent",
    "fontname": "Helvetica,Arial,sans-serif", "fontsize": "12", "fontcolor": "#7b8794",
}  # fmt: skip
_NODE = {
    "fontname": "Helvetica,Arial,sans-serif", "fontsize": "13", "fontcolor": "#1f2933",
    "shape": "box", "style": "rounded,filled", "fillcolor": "#f3f5f7", "color": "#b4bec9",
    "margin": "0.16,0.08", "height": "0.3",
}  # fmt: skip
_EDGE = {"color": "#8794a3", "arrowsize": "0.6"}
_STRAIGHT = {"weight": "8"}  # keeps edges from inputs and operations straight, so parameters stand aside
_STYLES = {
    "operation": {},
    "parameter": {"style": "filled", "fillcolor": "#fdf0d5", "color": "#dcb768"},
    "state": {"style": "filled", "fillcolor": "#e8e4f0", "color": "#b0a5c8"},
    "input": {"shape": "ellipse", "style": "filled", "fillcolor": "#dcebfa", "color": "#86b3dd"},
    "output": {"shape": "ellipse", "style": "filled", "fillcolor": "#dff3e4", "color": "#7dbd91"},
    "constant": {"style": "filled", "fillcolor": "#eceff2", "color": "#eceff2", "margin": "0.08,0.04"},
}  # fmt: skip
_BACKWARD = [{"fillcolor": "#d9f0ee", "color": "#7fbdb6"}, {"fillcolor": "#f8e1ea", "color": "#d79ab4"}]
_GROUP = {"style": "rounded,filled,bold"}
_CLUSTER = {"style": "rounded", "color": "#b4bec9", "labeljust": "l", "margin": "10"}
_RUN = {"style": "rounded,dashed", "color": "#7b8794", "labeljust": "l", "margin": "10"}
_FAINT = "#66727f"


class Dot:
    """Writes the boxes of a view into an empty `graphviz.Digraph`; see `draw` for the arguments."""

    def __init__(self, dot: graphviz.Digraph, shown: View, direction: str, parameters: str, show: set[str]):
        self.dot, self.view, self.parameters, self.show = dot, shown, parameters, show
        dot.graph_attr.update(_GRAPH)
        dot.node_attr.update(_NODE)
        dot.edge_attr.update(_EDGE)
        self.stands_for = shown.representative()
        visible = [i for i in shown.shown() if parameters == "beside" or not self._is_aside(i)]
        self.names = {i: f"n{n}" for n, i in enumerate(visible)}
        self.rules = self._rules() if direction != "forward" else {}
        if direction == "backward":
            self._add_walk()
        else:
            self._add_frames(visible)
            for i in visible:
                self._add_edges(i)

    def _rules(self) -> dict[int, str]:
        """The labels of the rules of the boxes, numbered in the order in which the backward pass runs them."""
        labels = {}
        computing = [i for i in self.names if self.view.boxes[i].computes]
        for n, i in enumerate(reversed(computing), 1):
            box = self.view.boxes[i]
            result = max((v for v in box.members if v.kind == "operation"), key=lambda v: v.index)
            freed = box.total("saved")
            lines = [f"gradient {describe(result)}", f"frees {quantity(freed, 'B')}" if freed else None]
            labels[i] = _label(f"{n}. {box.title or result.title}", *lines)
        return labels

    def _add_rule(self, dot: graphviz.Digraph, i: int) -> None:
        dot.node(f"r{i}", self.rules[i], **_BACKWARD[0], **(_GROUP if self.view.boxes[i].is_group else {}))

    def _add_walk(self) -> None:
        """The rules from the results down to the arrays that get a gradient."""
        boxes = self.view.boxes
        for i in self.rules:
            self._add_rule(self.dot, i)
        for i in self.names:
            for source in self._gradients(i):
                if not boxes[i].computes:  # a result
                    self.dot.node(f"g{i}", _label(f"gradient of {boxes[i].members[0].title}"), **_STYLES["output"])
                    self.dot.edge(f"g{i}", f"r{source}", **_STRAIGHT)
                elif source in self.rules:
                    self.dot.edge(f"r{i}", f"r{source}", **_STRAIGHT)
                elif source in self.names:
                    leaf = boxes[source].members[0]
                    label = _label(f"gradient of {leaf.title}", describe(leaf))
                    self.dot.node(f"g{source}", label, **_STYLES[leaf.kind])
                    self.dot.edge(f"r{i}", f"g{source}")

    def _gradients(self, i: int) -> list[int]:
        """The boxes that get a gradient from this one, each once, but for those of the next period of a run."""
        edges = [edge for edge in self.view.boxes[i].inputs if edge.gradient]
        sources = dict.fromkeys(self.stands_for.get(edge.source, edge.source) for edge in edges)
        return [source for source in sources if source < i]

    def _is_aside(self, i: int) -> bool:
        """Whether the box is an array that `parameters` may leave out."""
        box = self.view.boxes[i]
        return not box.computes and box.members[0].kind in ("parameter", "state", "constant")

    def _add_frames(self, visible: list[int]) -> None:
        """The boxes, in frames for their scopes and runs. A frame is written where its first box is."""
        runs: dict[int, Run] = {}
        for run in self.view.runs:
            runs.update((self.view.places[run.start + k], run) for k in range(run.period))
        users: dict[int, list[int]] = {}
        for i in visible:
            for edge in self.view.boxes[i].inputs:
                users.setdefault(edge.source, []).append(i)
        for i in visible:  # an array that only boxes of one run use is drawn with them
            found = {id(runs.get(user)): runs.get(user) for user in users.get(i, [])}
            run_of_all = next(iter(found.values())) if len(found) == 1 else None
            if run_of_all is not None and not self.view.boxes[i].computes:
                runs[i] = run_of_all
        frames: dict[Any, Any] = {}
        tree: list[Any] = []  # (a box's number, or a frame's list)
        for i in visible:
            path: list[Any] = [runs[i]] if i in runs else [*self._scope(i)]
            children = tree
            for n in range(len(path)):
                order = self.view.boxes[i].order
                key = (id(path[n]),) if isinstance(path[n], Run) else (order, *path[: n + 1])
                if key not in frames:
                    name = path[n] if isinstance(path[n], Run) else _named(path[n], order)
                    frames[key] = (name, [])
                    children.append(frames[key])
                children = frames[key][1]
            children.append(i)
        self.clusters = 0
        self._write(self.dot, tree)

    @functools.cached_property
    def _first_user(self) -> dict[int, int]:
        """For each array that stands aside the first box that uses it."""
        found: dict[int, int] = {}
        for i in sorted(self.names):
            for edge in self.view.boxes[i].inputs:
                if self._is_aside(edge.source):
                    found.setdefault(edge.source, i)
        return found

    def _scope(self, i: int) -> Scope:
        """The frames around a box; a frame around one operation alone would say nothing."""
        scope = self.view.boxes[i].scope
        order = self.view.boxes[i].order
        for n in range(len(scope), 0, -1):
            if self._operations.get((order, scope[:n]), 0) > 1:
                return scope[:n]
        return ()

    @functools.cached_property
    def _operations(self) -> dict[Any, int]:
        found: dict[Any, int] = {}
        for box in self.view.boxes:
            for n in range(1, len(box.scope) + 1):
                key = box.order, box.scope[:n]
                found[key] = found.get(key, 0) + box.computes
        return found

    def _write(self, dot: graphviz.Digraph, items: list[Any]) -> None:
        beside: dict[int, list[str]] = {}  # the arrays that stand beside the first box that uses them, if it is here
        for item in items:
            if isinstance(item, int) and item in self._first_user:
                beside.setdefault(self._first_user[item], []).append(self.names[item])
        for item in items:
            if isinstance(item, int):
                label, style = self._box(item)
                dot.node(self.names[item], label, **style)
                row = [*beside.get(item, []), self.names[item]]
                if item in self.rules:
                    self._add_rule(dot, item)
                    row.append(f"r{item}")
                    dot.edge(self.names[item], f"r{item}", style="dashed", arrowhead="none", constraint="false")
                if len(row) > 1:
                    dot.body.append(f"\t{{rank=same {' '.join(row)}}}\n")
                continue
            what, inside = item
            self.clusters += 1
            with dot.subgraph(name=f"cluster{self.clusters}") as frame:
                label = f"{run_name(self._period(what))} \u00d7 {what.times}" if isinstance(what, Run) else what
                frame.attr(label=_escape(label), **(_RUN if isinstance(what, Run) else _CLUSTER))
                self._write(frame, inside)

    def _period(self, run: Run) -> list[Box]:
        return [self.view.boxes[self.view.places[run.start + k]] for k in range(run.period)]

    def _box(self, i: int) -> tuple[str, dict[str, str]]:
        box = self.view.boxes[i]
        if box.is_group:
            return self._group(box)
        v = box.members[0]
        style = dict(_STYLES[v.kind])
        if v.order and v.kind == "operation":
            style |= _BACKWARD[min(v.order, len(_BACKWARD)) - 1]
        if v.kind == "output":
            single = {"peripheries": "2"} if v.shape == () and v.dtype.kind == "f" and not v.order else {}
            return _label(v.title), style | single
        if v.kind != "operation":
            return _label(v.title, *([f"{v.note} {describe(v)}"] if v.note else [describe(v)])), style
        lines = [v.name, v.note]
        if self.parameters == "label":
            lines += [self._beside(e.source) for e in box.inputs if self._is_aside(e.source)]
        lines += [describe(v)] if "shape" in self.show else []
        lines += [quantity(v.flops, "FLOP")] if "flops" in self.show and v.flops else []
        lines += [f"{quantity(v.saved, 'B')} saved"] if "saved" in self.show and v.saved else []
        where = _where(v)
        if where:
            style["tooltip"] = _escape(where)
            lines += [where.partition(":")[0]] if "line" in self.show else []
        return _label(v.title, *lines), style

    def _beside(self, i: int) -> str:
        v = self.view.boxes[i].members[0]
        return f"{v.title or v.note} {describe(v)}"

    def _group(self, box: Box) -> tuple[str, dict[str, str]]:
        operations = [v for v in box.members if v.kind == "operation"]
        inside = {v.index for v in box.members}
        used = {e.source for other in self.view.boxes for v in other.members for e in v.inputs if v.index not in inside}
        last = [v for v in operations if v.index in used] or operations
        lines = [describe(last[-1])]
        results = sum(v.kind == "output" for v in box.members)
        size, flops, saved = (box.total(what) for what in ("size", "flops", "saved"))
        lines.append(f"{len(operations)} operation{'s' * (len(operations) > 1)}")
        lines += [f"{quantity(size, 'parameter')}s"] if size else []
        lines += [quantity(flops, "FLOP")] if flops else []
        lines += [f"{quantity(saved, 'B')} saved"] if saved else []
        lines += [f"{results} result{'s' * (results > 1)}"] if results else []
        style = _STYLES["operation"] | (_BACKWARD[min(box.order, len(_BACKWARD)) - 1] if box.order else {}) | _GROUP
        where = _where(operations[0])
        style |= {"tooltip": _escape(where)} if where else {}
        return _label(_named(box.title or "", box.order), *lines), style

    def _add_edges(self, i: int) -> None:
        for edge in self.view.boxes[i].inputs:
            source = self.stands_for.get(edge.source, edge.source)
            if source not in self.names:
                continue
            from_box = self.view.boxes[source]
            straight = _STRAIGHT if from_box.computes or from_box.members[0].kind == "input" else {}
            style = dict(straight) if edge.gradient else {"style": "dashed"}
            if source >= i:  # from one period of a run to the next
                style |= {"constraint": "false", "style": "dotted"}
            self.dot.edge(self.names[source], self.names[i], **style)
        if i in self.rules:  # upwards, against the ranks of the boxes
            for source in self._gradients(i):
                if source in self.rules:
                    self.dot.edge(f"r{source}", f"r{i}", dir="back", **_STRAIGHT)


def run_name(boxes: list[Box]) -> str:
    """What a run repeats: the scope of the boxes of a period, without its number, or so many boxes."""
    names = [box.title or (box.scope[-1] if box.scope else "") for box in boxes]
    if len(set(names)) == 1 and names[0]:
        return re.sub(r"[ .]?\d+$", "", names[0])
    return f"{len(boxes)} boxes" if len(boxes) > 1 else "1 box"


def _named(scope: str, order: int) -> str:
    """A scope, or what the backward pass does there."""
    return scope + (", backward" if order == 1 else f", backward {order}" if order else "")


def quantity(n: int, unit: str) -> str:
    """1234567 -> "1.23 M<unit>", with decimal prefixes."""
    for factor, prefix in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if n >= factor:
            return f"{n / factor:.3g} {prefix}{unit}" if len(unit) <= 4 else f"{n / factor:.3g} {prefix} {unit}"
    return f"{n} {unit}"


def _where(v: Vertex) -> str:
    """`airnet.py, line 98, in block: h = mg.silu(...)`; "" where it is not known."""
    if v.call is None:
        return ""
    file, line, function, text = v.call
    return f"{os.path.basename(file)}, line {line}, in {function}" + (f": {text}" if text else "")


def _label(title: str | None, *lines: str | None) -> str:
    """Graphviz's HTML: the title in bold, the lines below it small."""
    parts = [f"<b>{_escape(title)}</b>"] if title is not None else []
    parts += [f'<font point-size="10" color="{_FAINT}">{_escape(line)}</font>' for line in lines if line]
    return f"<{'<br/>'.join(parts)}>"


def _escape(text: str) -> str:
    import html  # its table of entities takes a while to load

    return html.escape(one_line(text)).replace("\\", "\\\\")  # Graphviz puts the node's id in place of \N
