"""From boxes to DOT, the language of Graphviz."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..blame import describe
from .measure import Statistics
from .scale import ALARM, Range, Scale, duration, gradient_lines, rms, value_lines
from .trace import Scope, Vertex, common, one_line
from .view import Box, Link, Run, View

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
_EDGE = {
    "color": "#8794a3", "arrowsize": "0.6", "fontname": "Helvetica,Arial,sans-serif", "fontsize": "10",
    "fontcolor": "#7b8794",
}  # fmt: skip
_STRAIGHT = {"weight": "8"}  # keeps edges from inputs and operations straight, so parameters stand aside
_CARRIED = {"constraint": "false", "style": "dotted"}
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
_FAINT = "#52606d"
_NEUTRAL = "#f3f5f7"  # of what has no place on the scale of colours


class Dot:
    """Writes the boxes of a view into an empty `graphviz.Digraph`; see `draw` for the arguments."""

    def __init__(
        self, dot: graphviz.Digraph, shown: View, direction: str, parameters: str, show: set[str], edges: set[str]
    ):
        self.dot, self.view, self.parameters, self.show, self.edges = dot, shown, parameters, show, edges
        self.direction = direction
        dot.graph_attr.update(_GRAPH)
        dot.node_attr.update(_NODE)
        dot.edge_attr.update(_EDGE)
        self.stands_for = shown.representative()
        visible = [i for i in shown.shown() if parameters == "beside" or not self._is_aside(i)]
        self.names = {i: f"n{n}" for n, i in enumerate(visible)}
        self._begin_scale()
        self.rules = self._rules() if direction != "forward" else {}
        if direction == "backward":
            self._add_walk()
        else:
            self._add_frames(visible)
            for i in visible:
                self._add_edges(i)

    def _rules(self) -> dict[int, str]:
        """The labels of the rules of the boxes, numbered in the order in which the backward pass runs them."""
        held = self._held()
        labels = {}
        computing = [i for i in self.names if self.view.boxes[i].computes]
        for n, i in enumerate(reversed(computing), 1):
            box = self.view.boxes[i]
            result = max(box.operations, key=lambda v: v.index)
            freed = box.total("saved")
            memory = f"frees {quantity(freed, 'B')} of {quantity(held[i], 'B')}" if freed else quantity(held[i], "B")
            lines = [f"gradient {describe(result)}", *self._measured(i, rule=True), f"{memory} held"]
            labels[i] = _label(f"{n}. {box.title or result.title}", *lines)
        return labels

    def _held(self) -> dict[int, int]:
        """The bytes that the graph keeps when the walk first comes to the rule of each box."""
        left = sum(box.total("saved") for box in self.view.boxes)
        held: dict[int, int] = {}
        for i in reversed(self.view.places):
            held.setdefault(self.stands_for.get(i, i), left)
            left -= self.view.boxes[i].total("saved")
        return held

    def _add_rule(self, dot: graphviz.Digraph, i: int) -> None:
        box = self.view.boxes[i]
        style = _BACKWARD[0] | (_GROUP if box.is_group else {})
        dot.node(f"r{i}", self.rules[i], **self._coloured(i, style, rule=True), **_tooltip(box.operations[0]))

    def _add_walk(self) -> None:
        """The rules from the results down to the arrays that get a gradient."""
        boxes = self.view.boxes
        for i in self.rules:
            self._add_rule(self.dot, i)
        for i in self.names:
            for source in self._carried(i):
                self.dot.edge(f"r{i}", f"r{source}", **_CARRIED)
            for source in self._gradients(i):
                if not boxes[i].computes:  # a result
                    self.dot.node(f"g{i}", _label(f"gradient of {boxes[i].members[0].title}"), **_STYLES["output"])
                    self.dot.edge(f"g{i}", f"r{source}", self._along(i, source, rule=True), **_STRAIGHT)
                elif source in self.rules:
                    self.dot.edge(f"r{i}", f"r{source}", self._along(i, source, rule=True), **_STRAIGHT)
                elif source in self.names:
                    leaf = boxes[source].members[0]
                    label = _label(f"gradient of {leaf.title}", describe(leaf), *self._measured(source, rule=True))
                    self.dot.node(f"g{source}", label, **self._coloured(source, _STYLES[leaf.kind], rule=True))
                    self.dot.edge(f"r{i}", f"g{source}", self._along(i, source, rule=True))

    def _gradients(self, i: int) -> list[int]:
        """The boxes that get a gradient from this one, each once."""
        edges = [edge for edge in self.view.boxes[i].inputs if edge.gradient]
        return [*dict.fromkeys(self.stands_for.get(edge.source, edge.source) for edge in edges)]

    @functools.cached_property
    def _runs(self) -> dict[int, Run]:
        """The run of each box of a first period."""
        return {self.view.places[run.start + k]: run for run in self.view.runs for k in range(run.period)}

    def _carried(self, i: int) -> list[int]:
        """The boxes of a run whose results go to this one of it in the next period."""
        run = self._runs.get(i)
        if run is None:
            return []
        places = self.view.places
        following = self.view.boxes[places[places.index(i, run.start) + run.period]]
        return [*dict.fromkeys(link.source for link in following.inputs if self._runs.get(link.source) is run)]

    def _is_aside(self, i: int) -> bool:
        """Whether the box is an array that `parameters` may leave out."""
        box = self.view.boxes[i]
        return not box.computes and box.members[0].kind in ("parameter", "state", "constant")

    def _add_frames(self, visible: list[int]) -> None:
        """The boxes, in frames for their scopes and runs. A frame is written where its first box is."""
        runs = dict(self._runs)
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
                    name = path[n] if isinstance(path[n], Run) else named(path[n], order)
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
                label = self._run(what) if isinstance(what, Run) else what
                frame.attr(label=_escape(label), **(_RUN if isinstance(what, Run) else _CLUSTER))
                self._write(frame, inside)

    def _run(self, run: Run) -> str:
        return f"{run_name(self._period(run, 0), self._period(run, 1))} \u00d7 {run.times}"

    def _period(self, run: Run, n: int) -> list[Box]:
        """The boxes of period n of a run."""
        start = run.start + n * run.period
        return [self.view.boxes[i] for i in self.view.places[start : start + run.period]]

    def _box(self, i: int) -> tuple[str, dict[str, str]]:
        box = self.view.boxes[i]
        if box.is_group:
            return self._group(i)
        v = box.members[0]
        style = dict(_STYLES[v.kind])
        if v.order and v.kind == "operation":
            style |= _BACKWARD[min(v.order, len(_BACKWARD)) - 1]
        style = self._coloured(i, style)
        measured = self._measured(i)
        if v.kind == "output":
            single = {"peripheries": "2"} if v.shape == () and v.dtype.kind == "f" and not v.order else {}
            return _label(v.title, *measured), style | single
        if v.kind != "operation":
            return _label(v.title, f"{v.note} {describe(v)}" if v.note else describe(v), *measured), style
        lines = [v.name, v.note]
        if self.parameters == "label":
            lines += [self._beside(e.source) for e in box.inputs if self._is_aside(e.source)]
        lines += [describe(v)] if "shape" in self.show else []
        lines += [quantity(v.flops, "FLOP")] if "flops" in self.show and v.flops else []
        lines += [f"{quantity(v.saved, 'B')} saved"] if "saved" in self.show and v.saved else []
        lines += [*measured, _where(v).partition(":")[0] if "line" in self.show else None]
        return _label(v.title, *lines), style | _tooltip(v)

    def _beside(self, i: int) -> str:
        v = self.view.boxes[i].members[0]
        return ", ".join([f"{v.title or v.note} {describe(v)}", *self._measured(i)])

    def _group(self, i: int) -> tuple[str, dict[str, str]]:
        box = self.view.boxes[i]
        operations = box.operations
        lines = [describe(self._result(box))]
        results = sum(v.kind == "output" for v in box.members)
        size, flops, saved = (box.total(what) for what in ("size", "flops", "saved"))
        lines.append(f"{len(operations)} operation{'s' * (len(operations) > 1)}")
        lines += [f"{quantity(size, 'parameter')}s"] if size else []
        lines += [quantity(flops, "FLOP")] if flops else []
        lines += [f"{quantity(saved, 'B')} saved"] if saved else []
        lines += [f"{results} result{'s' * (results > 1)}"] if results else []
        lines += self._measured(i)
        style = _STYLES["operation"] | (_BACKWARD[min(box.order, len(_BACKWARD)) - 1] if box.order else {}) | _GROUP
        return _label(named(box.title or "", box.order), *lines), self._coloured(i, style) | _tooltip(operations[0])

    def _result(self, box: Box) -> Vertex:
        """The last of its vertices that something outside uses."""
        operations = box.operations or box.members
        return next((v for v in reversed(operations) if v.index in self._used_outside), operations[-1])

    @functools.cached_property
    def _used_outside(self) -> set[int]:
        return {v.index for box in self.view.boxes for link in box.inputs for v in link.carries}

    def _add_edges(self, i: int) -> None:
        for edge in self.view.boxes[i].inputs:
            source = self.stands_for.get(edge.source, edge.source)
            if source not in self.names:
                continue
            from_box = self.view.boxes[source]
            straight = _STRAIGHT if from_box.computes or from_box.members[0].kind == "input" else {}
            style = dict(straight) if edge.gradient else {"style": "dashed"}
            # Between boxes of one rank, as from a parameter to its operation, labels make some versions of dot crash.
            text = None if self._is_aside(source) else self._text(edge)
            self.dot.edge(self.names[source], self.names[i], text, **style)
        for source in self._carried(i):
            self.dot.edge(self.names[source], self.names[i], **_CARRIED)
            if i in self.rules:
                self.dot.edge(f"r{source}", f"r{i}", dir="back", **_CARRIED)
        if i in self.rules:  # upwards, against the ranks of the boxes
            for source in self._gradients(i):
                if source in self.rules:
                    text = self._along(i, source, rule=True)
                    self.dot.edge(f"r{source}", f"r{i}", text, dir="back", **_STRAIGHT)


    # ------------------------------------------------------------ what a run has measured

    def _begin_scale(self) -> None:
        """Make the scale of colours, if there is one, and put its legend into the picture."""
        self.behind = {i: [i] for i in range(len(self.view.boxes))}  # each box with those that it stands for
        for hidden, i in self.stands_for.items():
            self.behind[i].append(hidden)
        self.scale: Scale | None = None
        title = {"gradient": "gradient, rms", "time": "share of the time"}.get(self._scaled)
        if title is None:
            return
        sides = {"forward": (False,), "backward": (True,), "both": (False, True)}[self.direction]
        drawn = [(i, rule) for i in self.names for rule in sides]
        self.whole_time = sum(sum(self._times(i, rule)) for i, rule in drawn)
        found = [numbers for i, rule in drawn if (numbers := self._number(i, rule)) is not None]
        self.scale = Scale(title, found, logarithmic=self._scaled == "gradient")
        alarm = any(self._has_non_finite(i, rule) for i, rule in drawn)
        self.dot.node("legend", self.scale.legend(alarm), shape="box", style="filled", margin="0.05", fontsize="10")

    @property
    def _scaled(self) -> str:
        """What the colours tell: gradients, or else times."""
        return next((what for what in ("gradient", "time") if what in self.show), "")

    def _number(self, i: int, rule: bool) -> Range | None:
        """The place of a box on the scale of colours."""
        if self._scaled == "gradient":
            return rms(self._gradients_at(i, rule))
        time = sum(self._times(i, rule))
        return (time / self.whole_time,) * 2 if time else None

    def _coloured(self, i: int, style: dict[str, str], rule: bool = False) -> dict[str, str]:
        """The style with the colour that the numbers of a box give it."""
        if self._has_non_finite(i, rule):
            return style | ALARM
        if self.scale is None:
            return style
        numbers = self._number(i, rule)
        return style | {"fillcolor": self.scale.fill(numbers) if numbers is not None else _NEUTRAL}

    def _measured(self, i: int, rule: bool = False) -> list[str]:
        """What a run has shown of a box, or of its rule."""
        lines = []
        forward, backward = self._times(i, rule)
        if "time" in self.show and forward + backward:
            parts = [duration(forward)] if forward else []
            parts += [duration(backward) + ("" if rule else " backward")] if backward else []
            share = (forward + backward) / self.whole_time
            lines.append(" + ".join(parts) + (f" ({share:.0%})" if share >= 0.01 else ""))
        if "values" in self.show and not rule:
            lines += value_lines(self._values(i))
        if "gradient" in self.show:
            lines += gradient_lines(self._gradients_at(i, rule))
            lines += gradient_lines(self._gradients_inside(i, rule), "gradient of parameters")
        return lines

    def _times(self, i: int, rule: bool) -> tuple[float, float]:
        """The time of the operations and of their rules, 0 for what is not known or stands in another box.

        Where the rules have no boxes of their own, their time stands in those of the operations.
        """
        measured = [v.measured for n in self.behind[i] for v in self.view.boxes[n].operations if v.measured is not None]
        forward = sum(m.seconds or 0 for m in measured if not rule)
        backward = sum(m.backward_seconds or 0 for m in measured if rule or self.direction == "forward")
        return forward, backward

    def _gradients_at(self, i: int, rule: bool) -> list[Statistics]:
        """The gradients that arrive at the operations of a box, or at an array."""
        box = self.view.boxes[i]
        if not rule and (box.members[0].kind == "output" or (box.computes and self.direction == "both")):
            return []
        return _gradients_of(v for n in self.behind[i] for v in self.view.boxes[n].operations or box.members)

    def _gradients_inside(self, i: int, rule: bool) -> list[Statistics]:
        """The gradients of the parameters in a collapsed group."""
        if not self.view.boxes[i].is_group or (not rule and self.direction == "both"):
            return []
        return _gradients_of(v for n in self.behind[i] for v in self.view.boxes[n].members if v.kind == "parameter")

    def _values(self, i: int) -> list[Statistics]:
        """The values of the result of a box."""
        found = [self._result(self.view.boxes[n]).measured for n in self.behind[i]]
        return [m.values for m in found if m is not None and m.values is not None]

    def _has_non_finite(self, i: int, rule: bool) -> bool:
        found = self._gradients_at(i, rule) + self._gradients_inside(i, rule) if "gradient" in self.show else []
        found = found + (self._values(i) if "values" in self.show and not rule else [])
        return any(s.non_finite for s in found)

    def _along(self, i: int, source: int, rule: bool) -> str | None:
        """The text on the edge of the walk from one rule to the next."""
        links = self.view.boxes[i].inputs
        return self._text(next(x for x in links if self.stands_for.get(x.source, x.source) == source), rule)

    def _text(self, link: Link, rule: bool = False) -> str | None:
        """The text on an edge: of the result that goes along it, and of the gradient that comes back."""
        lines = [describe(v) for v in link.carries] if "shape" in self.edges else []
        measured = [v.measured for v in link.carries if v.measured is not None]
        if "values" in self.edges and not rule:
            lines += value_lines([m.values for m in measured if m.values is not None])
        if "gradient" in self.edges and link.gradient and (rule or self.direction == "forward"):
            lines += gradient_lines([m.gradient for m in measured if m.gradient is not None])
        return f"<{'<br/>'.join(f'&#160;{_escape(line)}' for line in lines)}>" if lines else None  # beside the line


def _gradients_of(vertices: Iterable[Vertex]) -> list[Statistics]:
    found = [v.measured.gradient for v in vertices if v.measured is not None]
    return [g for g in found if g is not None]


def _tooltip(v: Vertex) -> dict[str, str]:
    where = _where(v)
    return {"tooltip": _escape(where)} if where else {}


def run_name(first: list[Box], second: list[Box]) -> str:
    """What a run repeats, by the boxes of its first two periods: a scope, without its number, or so many boxes.

    The scope is the outermost one that all boxes of a period are in, and those of the other period are not.
    """
    ours, theirs = (
        common([(*box.scope, box.title) if box.title else box.scope for box in boxes]) for boxes in (first, second)
    )
    name = next((a for a, b in zip(ours, theirs, strict=False) if a != b), "")
    return re.sub(r"[ .]?\d+$", "", name) or (f"{len(first)} boxes" if len(first) > 1 else "1 box")


def named(scope: str, order: int) -> str:
    """A scope, or what the backward pass does there."""
    return scope + (", backward" if order == 1 else f", backward {order}" if order else "")


def quantity(n: int, unit: str) -> str:
    """1234567 -> "1.23 M<unit>", with decimal prefixes."""
    for factor, prefix in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if float(f"{n:.2e}") >= factor:  # rounded first: 999,999 is a million
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
