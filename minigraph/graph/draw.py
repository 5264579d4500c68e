"""Drawing a graph with Graphviz: `draw` makes the picture, `save` writes it as DOT and SVG.

An operation is a rounded box: its name, the arguments that are not at their defaults, and its dtype and shape. What the
rules of a backward pass compute is teal, the backward pass of that is pink. Parameters are amber boxes, a model's state
is in violet boxes, inputs are blue ellipses, outputs are green ones (with two lines around a single number, as a loss
is), and other constant arrays are grey. Where an edge is dashed, no gradient flows.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..blame import describe
from ..tensor import Tensor
from .trace import Graph, Scope, Vertex, one_line, trace
from .view import Box, Run, View, view

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
_INSTALL = "install Graphviz (apt install graphviz, brew install graphviz, or conda install graphviz)"
_CROWDED = 500  # boxes above which a picture is hard to read, and `draw` says what to do
_PARAMETERS = ("beside", "label", "hidden")
_SHOWN = ("shape", "flops", "saved", "line")


def draw(
    target: Tensor | Callable[..., Any],
    *inputs: Any,
    names: dict[str, Any] | None = None,
    constants: Sequence[str] = ("state",),
    depth: int | None = None,
    fold: bool | None = None,
    parameters: str = "beside",
    show: Sequence[str] = ("shape",),
) -> graphviz.Digraph:
    """The graph behind a Tensor, or of a function on `inputs`, as a `graphviz.Digraph` (a notebook shows it as it is).

        mg.draw(loss_tensor, names={"w": w, "b": b})
        mg.draw(functools.partial(airnet.apply, train=True), params, state, x, depth=1)

    Args:
        inputs: nested dicts, lists or tuples of arrays, one for each positional argument of the function. Floating
            arrays are traced and drawn under their paths, such as `params.conv1.w`. An argument that is one array is
            drawn as an input, the members of a dict, list or tuple as parameters.
        names: a nested dict of Tensors and arrays that come in by closure, to give them names too.
        constants: the names of the function's arguments that are not traced, because no gradient goes to them. By
            default that is an argument called `state`, as models have it. They are drawn under their paths as well.
        depth: draw each group of this depth, from 1, as one box with its parameters, operations and memory. None draws
            every operation, and a frame around each group.
        fold: draw a run of equal boxes once, with a frame that says how often. None does so where groups are collapsed
            and where there are more than 100 operations.
        parameters: "beside" the operation that uses them, in its "label", or "hidden". So are state and constants.
        show: what to say of an operation beside its name: "shape" (with the dtype), "flops" (by definition, of the
            forward), "saved" (bytes kept for the backward pass), "line" (of the source). A collapsed group has all but
            the line.

    Groups are the scopes of `mg.scope`, or else follow from the paths of the parameters; `graph.trace.trace` says how.
    A Tensor's graph was recorded before anybody looked, so the scopes and calls of a function are seen only where the
    function is given. Every box has its line of source as a tooltip. Boxes are numbered in the order of computation.
    What the output does not depend on is not drawn. Transforms inside a function are drawn too: `mg.draw(mg.grad(f),
    x)` is the graph of the gradient. No two names are the same: where two paths read alike, they are written as
    `p['a.b']` and `p['a']['b']`.

    Warns (UserWarning) where the picture has more than 500 boxes.

    Raises:
        TypeError: the target is no Tensor and no function, or the inputs do not fit the function.
        ValueError: no graph was recorded: the output depends on no traced array. Or the function has no argument with
            a name that is in `constants`; or depth, parameters or show is none of the above.
        RuntimeError: a backward pass has freed the graph.
        ImportError: the `graphviz` package is missing.
    """
    try:
        import graphviz  # noqa: F401  (only to say what is missing)
    except ImportError as error:
        raise ImportError('draw needs the graphviz package: pip install -e ".[draw]"') from error

    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 1):
        raise ValueError(f"draw: depth should be a whole number from 1, or None, got {describe(depth)}")
    if parameters not in _PARAMETERS:
        raise ValueError(f"draw: parameters should be one of {', '.join(_PARAMETERS)}, got {describe(parameters)}")
    if isinstance(show, str) or not set(show) <= {*_SHOWN}:
        raise ValueError(f"draw: show should be a list of some of {', '.join(_SHOWN)}, got {describe(show)}")
    graph = trace(target, *inputs, names=names, constants=constants, what="draw")
    shown = view(graph, depth, fold)
    boxes = len(shown.shown())
    if boxes > _CROWDED:
        message = f"draw: the picture has {boxes:,} boxes, which are hard to read{_advice(graph, depth)}"
        warnings.warn(message, stacklevel=2)
    return _Picture(shown, parameters, {*show}).dot


def save(picture: graphviz.Digraph, path: str | Path) -> list[Path]:
    """Write `path`.dot, and `path`.svg by the `dot` program of Graphviz; returns the files written.

    Where `dot` is missing or fails, the DOT file is written all the same, and a UserWarning says what to do. An older
    `path`.svg is removed then, since it shows another graph.

    Raises:
        TypeError: `picture` is no `graphviz.Digraph`.
        ValueError: the path has no file name.
        OSError: the DOT file cannot be written.
    """
    import graphviz

    if not isinstance(picture, graphviz.Digraph):
        raise TypeError(f"save: expected what draw returns, got {type(picture).__name__}")
    path = Path(path)
    if path.name in ("", ".."):
        raise ValueError(f"save: expected a directory and a file name, got '{path}'")
    source, image = path.with_name(f"{path.name}.dot"), path.with_name(f"{path.name}.svg")
    with _writing(picture):
        graphviz.Digraph.save(picture, source, directory="")
    try:
        graphviz.render("dot", filepath=source, outfile=image, quiet=True)
        return [source, image]
    except BaseException as error:
        note = _remove(image)
        if isinstance(error, graphviz.ExecutableNotFound):
            why = f"the dot program is missing. Please {_INSTALL} and run: dot -Tsvg {source} -o {image}"
        elif isinstance(error, graphviz.CalledProcessError):
            why = f"the dot program failed: {(error.stderr or b'').decode(errors='replace').strip() or error}"
        else:
            raise
    warnings.warn(f"{source} is written, {image} is not{note}: {why}", stacklevel=2)
    return [source]


# ---------------------------------------------------------------- files, and the dot program


@contextlib.contextmanager
def _writing(picture: graphviz.Digraph) -> Iterator[None]:
    """An OSError inside says, in words, why the DOT file cannot be written."""
    try:
        yield
    except OSError as error:
        path = Path(picture.filepath)
        file = next((p for p in path.parents if os.path.exists(p) and not os.path.isdir(p)), None)
        why = f"{file} is a file, not a directory" if file else error.strerror or error
        raise type(error)(f"the drawing cannot be written to {path}: {why}") from None


def _remove(image: Path) -> str:
    """Remove a picture that is older than its DOT file; what to say of it."""
    if not os.path.isfile(image):
        return ""
    try:
        image.unlink()
    except OSError as error:
        return f" (the one there is of an older graph, and cannot be removed: {error.strerror})"
    return " (an older one is removed)"


@functools.cache
def _digraph() -> type[graphviz.Digraph]:
    """`graphviz.Digraph`, which says in words that the dot program is missing, or that a file cannot be written.

    The class is made at its first use, since the package is not everywhere, and takes a while to load.
    """
    import shutil

    import graphviz

    dot = graphviz.backend.DOT_BINARY
    missing = f"the dot program, which makes the picture, is missing: {_INSTALL}. `.source` is the graph as DOT text"

    def need_dot() -> None:
        if shutil.which(dot) is None:
            error = graphviz.ExecutableNotFound([dot])
            error.args = (missing,)
            raise error

    class Picture(graphviz.Digraph):
        def save(self, *args: Any, **kwargs: Any) -> str:
            with _writing(self):
                return super().save(*args, **kwargs)

        def render(self, *args: Any, **kwargs: Any) -> str:
            need_dot()  # before the DOT file is written beside an older picture
            return super().render(*args, **kwargs)

        def pipe(self, *args: Any, **kwargs: Any) -> Any:
            need_dot()
            return super().pipe(*args, **kwargs)

        def _repr_mimebundle_(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            """What a notebook shows: the picture, or what is missing."""
            try:
                return super()._repr_mimebundle_(*args, **kwargs)
            except graphviz.ExecutableNotFound as error:
                return {"text/plain": str(error)}

        def __reduce__(self) -> Any:  # a class that is made in a function cannot be pickled
            return object.__new__, (graphviz.Digraph,), self.__dict__

    return Picture


# ---------------------------------------------------------------- from boxes to DOT


class _Picture:
    """The DOT text of a view."""

    def __init__(self, shown: View, parameters: str, show: set[str]):
        self.view, self.parameters, self.show = shown, parameters, show
        self.dot = _digraph()("minigraph", graph_attr=_GRAPH, node_attr=_NODE, edge_attr=_EDGE)
        self.stands_for = shown.representative()
        visible = [i for i in shown.shown() if parameters == "beside" or not self._is_aside(i)]
        self.names = {i: f"n{n}" for n, i in enumerate(visible)}
        self._add_frames(visible)
        for i in visible:
            self._add_edges(i)

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
                if item in beside:
                    dot.body.append(f"\t{{rank=same {' '.join([*beside[item], self.names[item]])}}}\n")
                continue
            what, inside = item
            self.clusters += 1
            with dot.subgraph(name=f"cluster{self.clusters}") as frame:
                label = f"{self._run_name(what)} \u00d7 {what.times}" if isinstance(what, Run) else what
                frame.attr(label=_escape(label), **(_RUN if isinstance(what, Run) else _CLUSTER))
                self._write(frame, inside)

    def _run_name(self, run: Run) -> str:
        """What is repeated: the scope of a period, without its number, or so many operations."""
        boxes = [self.view.boxes[self.view.places[run.start + k]] for k in range(run.period)]
        names = [box.title or (box.scope[-1] if box.scope else "") for box in boxes]
        if len(set(names)) == 1 and names[0]:
            return re.sub(r"[ .]?\d+$", "", names[0])
        return f"{run.period} boxes" if run.period > 1 else "1 box"

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


def _named(scope: str, order: int) -> str:
    """A scope, or what the backward pass does there."""
    return scope + (", backward" if order == 1 else f", backward {order}" if order else "")


def quantity(n: int, unit: str) -> str:
    """1234567 -> "1.23 M<unit>", with decimal prefixes."""
    for factor, prefix in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if n >= factor:
            return f"{n / factor:.3g} {prefix}{unit}" if len(unit) <= 4 else f"{n / factor:.3g} {prefix} {unit}"
    return f"{n} {unit}"


def _advice(graph: Graph, depth: int | None) -> str:
    """How to draw fewer boxes."""
    depths = {len(v.scope) for v in graph.operations}
    counts = {d: len(view(graph, d).shown()) for d in range(1, max(depths) + 1) if depth is None or d < depth}
    few = [(d, n) for d, n in counts.items() if n <= _CROWDED]
    if few:
        return f"; with depth={few[-1][0]} there are {few[-1][1]}"
    return "; name parts of the function by mg.scope, and draw it with depth=1"


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
