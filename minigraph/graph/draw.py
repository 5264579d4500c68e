"""Drawing a recorded graph with Graphviz: `draw` makes the picture, `save` writes it as DOT and SVG.

An operation is a rounded box: its name, the arguments that are not at their defaults, and its dtype and shape.
Parameters are amber boxes, inputs are blue ellipses, outputs are green ones, and constant arrays are grey text.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import tree
from ..blame import describe
from ..modes import RECORD, mode
from ..tape import Node, ancestors
from ..tensor import Tensor, value

if TYPE_CHECKING:
    import graphviz

_GRAPH = {"rankdir": "TB", "nodesep": "0.3", "ranksep": "0.35", "ordering": "in"}
_NODE = {
    "fontname": "Helvetica,Arial,sans-serif", "fontsize": "13", "fontcolor": "#1f2933",
    "shape": "box", "style": "rounded,filled", "fillcolor": "#f3f5f7", "color": "#b4bec9",
    "margin": "0.16,0.08", "height": "0.3",
}  # fmt: skip
_EDGE = {"color": "#8794a3", "arrowsize": "0.6"}
_STRAIGHT = {"weight": "8"}  # keeps edges from inputs and operations straight, so parameters stand aside
_PARAMETER = {"style": "filled", "fillcolor": "#fdf0d5", "color": "#dcb768"}
_INPUT = {"shape": "ellipse", "style": "filled", "fillcolor": "#dcebfa", "color": "#86b3dd"}
_OUTPUT = {"shape": "ellipse", "style": "filled", "fillcolor": "#dff3e4", "color": "#7dbd91"}
_CONSTANT = {"shape": "plaintext", "style": "", "margin": "0.05,0.02"}
_FAINT = "#66727f"
_LONGEST = 48  # characters of an argument's value
_WINDOW = ("window", "stride", "padding", "dilation")  # pairs, and pairs of pairs, of numbers that are often the same


def draw(
    target: Tensor | Callable[..., Any], *inputs: Any, names: dict[str, Any] | None = None
) -> graphviz.Digraph:
    """The graph behind a Tensor, or of a function on `inputs`, as a `graphviz.Digraph` (a notebook shows it as it is).

        mg.draw(loss_tensor, names={"w": w, "b": b})
        mg.draw(functools.partial(cnn.apply, train=True), params, state, x)

    Args:
        inputs: nested dicts, lists or tuples of arrays, one for each positional argument of the function. Floating
            arrays are traced and drawn under their paths, such as `params.conv1.w`. An argument that is one array is
            drawn as an input, the members of a dict, list or tuple as parameters.
        names: a nested dict of Tensors and arrays that come in by closure, to give them names too.

    Nodes are numbered in the order of computation. What the output does not depend on is not drawn. Transforms inside a
    function are drawn too: `mg.draw(mg.grad(f), x)` is the graph of the gradient.

    Raises:
        TypeError: the target is no Tensor and no function, or the inputs do not fit the function.
        ValueError: no graph was recorded: the output depends on no traced array.
        RuntimeError: a backward pass has freed the graph.
        ImportError: the `graphviz` package is missing.
    """
    try:
        import graphviz
    except ImportError as error:
        raise ImportError('draw needs the graphviz package: pip install "minigraph[draw]"') from error

    if names is not None and not isinstance(names, dict):
        raise TypeError(f"draw: names should be a dict of Tensors and arrays, got {type(names).__name__}")
    titles: dict[Any, str] = {}  # of a node, or of the id of an array
    if isinstance(target, Tensor):
        if inputs:
            raise TypeError("draw: inputs go with a function, and the target is a Tensor")
        y, traced = target, dict[str, Any]()
    elif callable(target):
        y, traced = _trace(target, inputs)
    else:
        raise TypeError(f"draw: expected a Tensor or a function, got {type(target).__name__}")
    for path, leaf in (*tree.items(names or {}), *traced.items()):
        titles[_key(leaf)] = path
    entrances = {leaf.node for path, leaf in traced.items() if "." not in path and type(leaf) is Tensor}

    outputs = [(p, t.node) for p, t in tree.items(y, "output") if type(t) is Tensor and t.node is not None]
    # An input that is handed back as it came is no result, unless it is all there is.
    outputs = [(path, node) for path, node in outputs if node.op is not None] or outputs
    if not outputs:
        raise ValueError("draw: no graph was recorded, the output depends on nothing that needs a gradient")

    dot = graphviz.Digraph("minigraph", graph_attr=_GRAPH, node_attr=_NODE, edge_attr=_EDGE)
    ids: dict[Any, str] = {}

    def add(key: Any, label: str, **style: str) -> str:
        ids[key] = f"n{len(ids)}"
        dot.node(ids[key], label, **style)
        return ids[key]

    for node in ancestors(node for _, node in outputs):
        if node.op is not None and node.args is None:
            raise RuntimeError(
                f"draw: a backward pass has freed the graph (at {node.op.name}); draw before backward(), "
                "or call backward(retain_graph=True)"
            )
        if node.op is None:
            style = _INPUT if node in entrances else _PARAMETER
            add(node, _label(titles.get(node), describe(node)), **style)
            continue
        sources, details = _arguments(node)
        for source in sources:
            if isinstance(source, np.ndarray) and id(source) not in ids:
                lines = (titles.get(id(source)), describe(source))
                add(id(source), _label(None, *lines), **_CONSTANT)
        name = add(node, _label(node.op.name, titles.get(node), details, describe(node)))
        for source in sources:
            if isinstance(source, Node):
                straight = {} if source.op is None and source not in entrances else _STRAIGHT
                dot.edge(ids[source], name, **straight)
            else:
                dot.edge(ids[id(source)], name, style="dashed")
    for path, node in outputs:
        dot.edge(ids[node], add(path, _label(path), **_OUTPUT), **_STRAIGHT)
    return dot


def save(picture: graphviz.Digraph, path: str | Path) -> list[Path]:
    """Write `path`.dot, and `path`.svg by the `dot` program of Graphviz; returns the files written.

    Where `dot` is missing or fails, the DOT file is written all the same, and a UserWarning says what to do.
    """
    import graphviz

    path = Path(path)
    source, image = path.with_name(f"{path.name}.dot"), path.with_name(f"{path.name}.svg")
    picture.save(source)
    try:
        graphviz.render("dot", filepath=source, outfile=image, quiet=True)
        return [source, image]
    except graphviz.ExecutableNotFound:
        why = (
            "the dot program is missing. Install Graphviz (apt install graphviz, brew install graphviz, or "
            f"conda install graphviz) and run: dot -Tsvg {source} -o {image}"
        )
    except graphviz.CalledProcessError as error:
        why = f"the dot program failed: {(error.stderr or b'').decode(errors='replace').strip() or error}"
    warnings.warn(f"{source} is written, {image} is not: {why}", stacklevel=2)
    return [source]


# ---------------------------------------------------------------- what there is to draw


def _trace(f: Callable[..., Any], inputs: tuple[Any, ...]) -> tuple[Any, dict[str, Any]]:
    """The result of `f` on Tensors in place of the floating arrays of `inputs`, and all its inputs by path."""
    try:
        bound = inspect.signature(f).bind(*inputs)
    except (TypeError, ValueError) as error:
        name = getattr(f, "__name__", type(f).__name__)
        raise TypeError(f"draw: the inputs do not fit {name}: {error}") from None
    leaves = [_traced(leaf) for leaf in tree.leaves(bound.arguments)]
    paths = [path for path, _ in tree.items(bound.arguments)]
    bound.arguments.update(tree.unflatten(bound.arguments, leaves))
    with mode(RECORD):
        return f(*bound.args), dict(zip(paths, leaves, strict=True))


def _traced(leaf: Any) -> Any:
    """A fresh leaf for a floating array or Tensor, without the graph behind it; anything else as it is."""
    data = value(leaf)
    return Tensor(data, requires_grad=True) if tree.is_array(data) and data.dtype.kind == "f" else leaf


def _key(leaf: Any) -> Any:
    """What a Tensor or array is known by among a node's parents and arguments."""
    if type(leaf) is Tensor:
        return leaf.node if leaf.node is not None else id(leaf._array)
    return id(leaf)


def _arguments(node: Node) -> tuple[list[Any], str]:
    """What has an edge to the node (parent nodes and constant arrays, in order), and its other arguments as a text."""
    assert node.op is not None
    sources: list[Any] = []
    other: dict[str, Any] = {}
    forward, names = node.op.forward, node.op.parameters
    for i, (argument, parent) in enumerate(zip(node.args, node.parents, strict=True)):
        if parent is not None:
            sources.append(parent)
        elif isinstance(argument, np.ndarray) and argument.ndim:
            sources.append(argument)
        else:
            other[names[i] if i < len(names) else str(i)] = argument
    # Arrays among the keyword arguments are not shown: they were computed before the forward, as in batch_norm.
    other.update((k, v) for k, v in (node.kwargs or {}).items() if k != "saved" and not tree.is_array(v))
    defaults = dict(zip(reversed(names), reversed(forward.__defaults__ or ()), strict=False))
    defaults.update(forward.__kwdefaults__ or {})
    texts = {k: _one(v) if k in _WINDOW else _short(v) for k, v in other.items() if v != defaults.get(k)}
    return sources, ", ".join(f"{k}={text}" for k, text in texts.items())


def _one(value: Any) -> str:
    """2 for (2, 2) and ((2, 2), (2, 2)); other values in full."""
    entries = {_short(v) for v in tree.leaves(value)}
    return entries.pop() if len(entries) == 1 else _short(value)


def _short(value: Any) -> str:
    """An argument's value in a few characters, without addresses and without the entries of an array."""
    if tree.is_array(value) and not value.ndim:
        value = value.item()
    if isinstance(value, float):
        text = f"{value:g}"
    elif isinstance(value, (tuple, list)):
        text = f"({', '.join(map(_short, value))}{',' * (len(value) == 1)})"
    elif isinstance(value, slice):
        parts = ["" if v is None else str(v) for v in (value.start, value.stop, value.step)]
        text = ":".join(parts if value.step is not None else parts[:2])
    elif value is ...:
        text = "..."
    elif value is None or isinstance(value, (bool, int, str, np.dtype)):
        text = str(value)
    elif isinstance(value, np.ndarray):
        text = describe(value)
    else:
        text = getattr(value, "__name__", type(value).__name__)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _label(title: str | None, *lines: str | None) -> str:
    """Graphviz's HTML: the title in bold, the lines below it small."""
    parts = [f"<b>{_escape(title)}</b>"] if title is not None else []
    parts += [f'<font point-size="10" color="{_FAINT}">{_escape(line)}</font>' for line in lines if line]
    return f"<{'<br/>'.join(parts)}>"


def _escape(text: str) -> str:
    import html  # its table of entities takes a while to load

    text = text if text.isprintable() else repr(text)  # control characters are not XML
    return html.escape(text).replace("\\", "\\\\")  # Graphviz puts the node's id in place of \N
