"""A graph as one HTML page that plays the forward pass and the backward walk, step by step.

The page needs no network and no library: the data stand in it as JSON, `page.js` draws them and `page.css` says how
they look. Graphviz has laid out each group when the page was made, see `nested`.
"""

from __future__ import annotations

import functools
import inspect
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from ..blame import describe
from ..primitive import Primitive
from ..serialize import atomic_write
from ..tensor import Tensor
from .mathematics import definition, gradient, without_docstring
from .measure import Measured, Statistics, measure
from .nested import Group, Tree, layout, size_of
from .trace import Graph, Vertex, one_line

_PARAMETERS = ("beside", "label", "hidden")
_ASIDE = frozenset({"parameter", "state", "constant"})
_READABLE = 45  # boxes that a page shows at the start, where `depth` is None
_LINES = 40  # of a rule's source
_LONGEST = 24  # characters of a line that stands in the box of a number


def page(
    target: Tensor | Callable[..., Any],
    *inputs: Any,
    names: dict[str, Any] | None = None,
    constants: Sequence[str] = ("state",),
    depth: int | None = None,
    fold: bool | None = None,
    parameters: str = "beside",
) -> Page:
    """The graph of a function on `inputs`, or behind a Tensor, as a page that shows how its gradients come about.

        mg.graph.page(lambda a, b, c, f: (a * b + c) * f, 2.0, -3.0, 10.0, -2.0).save("graph.html")

    A step of the page is an operation of the forward pass, or a rule of the backward walk: which gradient arrives, what
    the rule computes, to which operands it is added, what is freed, and how much memory is held. Scopes unfold by a
    click. Every box has its shapes, bytes, time, line of source, and histograms of its values and of its gradient. In a
    graph of single numbers these stand in the boxes. The function and its backward pass run once, so give it a small
    batch.

    Args:
        target, inputs, names, constants: as in `mg.draw`. A Python float among the inputs is a number to differentiate.
        depth: fold the groups of this depth, from 1, at the start. None unfolds as many levels as can be read at once.
        fold: show a run of equal boxes once. None does so where there are more than 100 operations.
        parameters: "beside" the operation that uses them, in its "label", or "hidden". So are state and constants.

    The backward walk begins at the single numbers among the results, or else at all of them, with a gradient of ones. A
    Tensor's graph was recorded before, so the page has those values only that the graph keeps for its rules.

    The memory held is that of the arrays kept for the backward pass, and of the gradients that are there: those that
    wait for their rule, and those of parameters and inputs. Parameters, inputs, constants and the temporary arrays
    inside an operation do not count.

    Raises:
        TypeError, ValueError, BackwardError: what `measure` raises; or depth, fold or parameters is none of the above.
        RuntimeError: the dot program of Graphviz is missing, or a backward pass has freed the graph.
    """
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 1):
        raise ValueError(f"page: depth should be a whole number from 1, or None, got {describe(depth)}")
    if fold is not None and not isinstance(fold, bool):
        raise TypeError(f"page: fold should be True, False or None, got {describe(fold)}")
    if parameters not in _PARAMETERS:
        raise ValueError(f"page: parameters should be one of {', '.join(_PARAMETERS)}, got {describe(parameters)}")
    numbers = [np.float64(x) if type(x) is float else x for x in inputs]
    graph = measure(target, *numbers, names=names, constants=constants, what="page")
    title = "a Tensor" if isinstance(target, Tensor) else _name(target)
    tree = Tree(graph, fold, frozenset() if parameters == "beside" else _ASIDE)
    return Page(title, _data(title, graph, tree, depth, parameters))


class Page:
    """A page that `page` has made. A notebook shows it; `save` writes it as a file.

    Attributes:
        html: the page as a text.
    """

    def __init__(self, title: str, data: dict[str, Any]):
        self._title = title
        self._operations = sum(v["kind"] == "operation" for v in data["vertices"])
        self.html = _fill(title, data)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page as the file `path`, whole or not at all; returns the path.

        Raises:
            TypeError: the path is no path.
            OSError: the file cannot be written; its message says why.
        """
        try:
            target = Path(path)
        except TypeError:
            raise TypeError(f"save: expected a path such as 'graph.html', got {describe(path)}") from None
        if target.is_dir():
            raise IsADirectoryError(f"save: expected a file such as 'graph.html', '{target}' is a directory")
        try:
            with atomic_write(target) as file:
                file.write(self.html.encode())
        except OSError as error:
            raise type(error)(f"the page cannot be written to {target}: {error.strerror or error}") from None
        return target

    def _repr_html_(self) -> str:
        """What a notebook shows: a frame of its own, so that neither's styles and names reach the other."""
        import html

        style = "width:100%;height:720px;border:1px solid #8886;border-radius:8px"
        return f'<iframe title="{html.escape(self._title)}" srcdoc="{html.escape(self.html)}" style="{style}"></iframe>'

    def __repr__(self) -> str:
        return f"<page of {self._title}: {self._operations:,} operations; save('graph.html') writes it>"


# ---------------------------------------------------------------- the file


def _fill(title: str, data: dict[str, Any]) -> str:
    """The template with its parts. Inside a script element only "<" could end it, and JSON can do without."""
    import html

    text = json.dumps(data, separators=(",", ":"), allow_nan=False)  # ASCII alone, so no U+2028 either
    text = text.replace("<", "\\u003c")
    parts = {"title": html.escape(title), "style": _part("page.css"), "data": text, "script": _part("page.js")}
    before, *rest = _part("page.html").split("{{")
    return before + "".join(parts[name] + after for name, _, after in (piece.partition("}}") for piece in rest))


def _part(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def _name(f: Any) -> str:
    while isinstance(f, functools.partial):
        f = f.func
    return one_line(getattr(f, "__name__", type(f).__name__).replace("<lambda>", "a function"))


# ---------------------------------------------------------------- the data


def _data(title: str, graph: Graph, tree: Tree, depth: int | None, parameters: str) -> dict[str, Any]:
    """What `page.js` reads."""
    scalar = all(v.shape == () for v in graph.vertices)
    files: dict[str, int] = {}
    used = dict.fromkeys(v.primitive for v in graph.operations if v.primitive is not None)
    rules = {op: n for n, op in enumerate(used)}
    on_line = Counter(v.call[:2] for v in graph.operations if v.call is not None)
    labels: dict[int, list[str]] = {}
    sizes: dict[str, tuple[float, float]] = {}
    for v in graph.vertices:
        if tree.shown(v.index) == v.index:
            labels[v.index] = _lines(v, graph, scalar, parameters, on_line)
            sizes[f"v{v.index}"] = size_of(v.title or "", labels[v.index], _cell(v, scalar))
    groups = []
    for group in tree.groups:
        lines = group.lines() if group is not tree.root else []
        name = _group_name(group)
        sizes[f"g{group.index}"] = size_of(f"{name} + ", lines)  # with the sign that unfolds it
        groups.append({
            "title": name, "lines": lines, "times": group.times, "order": group.order,
            "box": sizes[f"g{group.index}"],
            "children": [f"g{c.index}" if isinstance(c, Group) else f"v{c.index}" for c in group.children],
        })  # fmt: skip
    for entry, inside in zip(groups, layout(tree, sizes), strict=True):
        entry.update(inside)
    vertices = []
    for v in graph.vertices:
        entry = _vertex(v, files)
        if v.primitive is not None:
            entry["op"] = rules[v.primitive]
        if v.index in labels:
            entry.update(lines=labels[v.index], box=sizes[f"v{v.index}"], cell=_cell(v, scalar))
        elif (shown := tree.shown(v.index)) is not None:
            entry["shown"] = shown
        vertices.append(entry)
    steps, held = _steps(graph)
    return {
        "title": title,
        "scalar": scalar,
        "open": _open(tree, depth),
        "vertices": vertices,
        "groups": groups,
        "files": [_short(file) for file in files],
        "rules": [_rule(op) for op in rules],
        "steps": steps,
        "held": held,
    }


def _vertex(v: Vertex, files: dict[str, int]) -> dict[str, Any]:
    """What there is to say of a vertex, but for what is empty or zero; each file gets a number."""
    measured = v.measured or Measured()
    found = {
        "kind": v.kind, "title": v.title or "", "note": v.note, "name": v.name, "shape": [*v.shape],
        "dtype": str(v.dtype), "order": v.order, "scope": [*v.scope], "saved": v.saved, "flops": v.flops,
        "inputs": [[e.source, e.role, int(e.gradient)] for e in v.inputs],
        "seconds": _digits(measured.seconds), "rule": _digits(measured.backward_seconds),
        "values": _statistics(measured.values), "gradient": _statistics(measured.gradient),
    }  # fmt: skip
    if v.call is not None:
        file, line, function, text = v.call
        found["call"] = [files.setdefault(file, len(files)), line, function, text]
    return {k: x for k, x in found.items() if x not in (None, "", [], 0)}


def _lines(v: Vertex, graph: Graph, scalar: bool, parameters: str, on_line: Counter[Any]) -> list[str]:
    """What the box of a vertex says below its title. `on_line` has the number of operations by file and line."""
    lines = [one_line(text) for text in (v.name, v.note) if text]
    if scalar and v.call is not None and len(v.call[3]) <= _LONGEST and on_line[v.call[:2]] == 1:
        lines.append(v.call[3])  # such as e = a * b
    if parameters == "label":
        aside = [graph.vertices[e.source] for e in v.inputs]
        lines += [f"{w.title or w.note} {describe(w)}" for w in aside if w.kind in _ASIDE]
    return lines if scalar or v.kind == "output" else [*lines, describe(v)]


def _cell(v: Vertex, scalar: bool) -> int:
    """The height of the row with the value and the gradient in a box; results show what their operation has."""
    return 0 if v.kind == "output" or v.measured is None else 34 if scalar else 18


def _group_name(group: Group) -> str:
    if group.times > 1:
        return f"{group.title} \u00d7 {group.times}"
    return group.title + (", backward" if group.order == 1 else f", backward {group.order}" if group.order else "")


def _open(tree: Tree, depth: int | None) -> list[int]:
    """The groups that are unfolded at the start: all above a depth. A run of vertices counts as no level of its own."""

    def unfolded(depth: int) -> list[Group]:
        return [g for g in tree.groups if len(g.scope) < depth]

    def boxes(depth: int) -> int:
        found = unfolded(depth)
        return sum(not (isinstance(c, Group) and c in found) for g in found for c in g.children)

    if depth is None:
        deepest = max(len(g.scope) for g in tree.groups)
        depth = max((d for d in range(1, deepest + 2) if boxes(d) <= _READABLE), default=1)
    return [g.index for g in unfolded(depth)]


def _steps(graph: Graph) -> tuple[list[dict[str, Any]], list[int]]:
    """The steps of the forward pass and of the backward walk, and the bytes that are held after each."""
    steps: list[dict[str, Any]] = []
    held: list[int] = []
    kept = 0
    alive: dict[int, int] = {}  # the bytes of each gradient that is there

    def step(kind: str, v: Vertex, **more: Any) -> None:
        steps.append({"kind": kind, "at": v.index, **more})
        held.append(kept + sum(alive.values()))

    for v in graph.operations:
        kept += v.saved
        step("forward", v)
    for v in graph.vertices:
        if v.kind == "output" and v.measured is not None and v.measured.gradient is not None:
            alive[v.inputs[0].source] = _on_its_way(v)
            step("begin", v)
    for v in reversed(graph.operations):
        measured = v.measured
        if measured is None or measured.backward_seconds is None:
            continue
        adds = []
        for edge, added in zip(v.inputs, measured.added, strict=True):
            if added is not None:
                adds.append([edge.source, _digits(added.value if added.value is not None else added.norm)])
                alive[edge.source] = _on_its_way(graph.vertices[edge.source])
        kept -= v.saved
        freed = v.saved + alive.pop(v.index, 0)
        step("backward", v, adds=adds, freed=freed)
    return steps, held


def _on_its_way(v: Vertex) -> int:
    """The bytes of a gradient: that of a float16 array is float32 on its way."""
    return v.size * max(v.dtype.itemsize, 4)


def _statistics(s: Statistics | None) -> dict[str, Any] | None:
    if s is None:
        return None
    if s.value is not None:
        return {"value": _digits(s.value)}
    found: dict[str, Any] = {
        "min": _digits(s.min), "max": _digits(s.max), "mean": _digits(s.mean), "std": _digits(s.std),
        "norm": _digits(s.norm), "counts": [*s.counts],
    }  # fmt: skip
    found |= {"zeros": _digits(s.zeros)} if s.zeros else {}
    return found | ({"bad": s.non_finite} if s.non_finite else {})


def _digits(x: float | bool | None) -> Any:
    """`x` in six significant digits; a text where it is no finite number, which JSON has not."""
    if x is None or isinstance(x, (bool, int)):
        return x
    return float(f"{x:.6g}") if math.isfinite(x) else f"{x}"


# ---------------------------------------------------------------- what a rule computes


def _rule(op: Primitive[Any]) -> dict[str, Any]:
    """The mathematics of a primitive and of its rule, the source of the rule, and where that stands."""
    found: dict[str, Any] = {"says": _definition(op), "pulls": gradient(op), "names": [*op.parameters]}
    try:
        lines, first = inspect.getsourcelines(op.rule)
        file = inspect.getsourcefile(op.rule) or ""
    except (OSError, TypeError):
        return found
    begin = next((i for i, line in enumerate(lines) if line.lstrip().startswith("def ")), 0)
    found["where"] = f"{_short(file)}, line {first + begin}"
    lines = without_docstring(lines[begin:])
    source = inspect.cleandoc("\n" + "".join(lines[:_LINES]))
    found["source"] = source + ("\n..." if len(lines) > _LINES else "")
    return found


def _definition(op: Primitive[Any]) -> str:
    """The first paragraph of the definition; below it the module's formula, if the primitive has no docstring."""
    module = inspect.getmodule(op.forward)
    formulas = [line for line in ((module and module.__doc__) or "").splitlines() if line.startswith("    ")]
    about = formulas if not op.forward.__doc__ and len(formulas) == 1 else []
    return "\n".join([*definition(op)[:1], *(line.strip() for line in about)])


def _short(file: str) -> str:
    """A file's path from the package or the working directory on, or its name; a page may be read elsewhere."""
    path = Path(file)
    roots = (root for root in (Path(__file__).parents[2], Path.cwd()) if path.is_relative_to(root))
    root = next(roots, path.parent)
    return path.relative_to(root).as_posix()
