"""Drawing a recorded graph with Graphviz: `draw` makes the picture, `save` writes it as DOT and SVG.

An operation is a rounded box: its name, the arguments that are not at their defaults, and its dtype and shape.
Parameters are amber boxes, a model's state is in violet boxes, inputs are blue ellipses, outputs are green ones, and
other constant arrays are grey text. Where an edge is dashed, no gradient flows.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import tree
from ..blame import describe
from ..modes import RECORD, mode
from ..primitive import identity
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
_STATE = {"style": "filled", "fillcolor": "#e8e4f0", "color": "#b0a5c8"}
_INPUT = {"shape": "ellipse", "style": "filled", "fillcolor": "#dcebfa", "color": "#86b3dd"}
_OUTPUT = {"shape": "ellipse", "style": "filled", "fillcolor": "#dff3e4", "color": "#7dbd91"}
_CONSTANT = {"shape": "plaintext", "style": "", "margin": "0.05,0.02"}
_FAINT = "#66727f"
_LONGEST = 48  # characters of an argument's value
_WIDEST = 100  # characters of a line; dot reads no label of more than 16,384
_INSTALL = "install Graphviz (apt install graphviz, brew install graphviz, or conda install graphviz)"
_OPERANDS = ("a", "b")  # the parameters of binary operations, whose names say nothing
_WINDOW = ("window", "stride", "padding", "dilation")  # pairs, and pairs of pairs, of numbers that are often the same


def draw(
    target: Tensor | Callable[..., Any],
    *inputs: Any,
    names: dict[str, Any] | None = None,
    constants: Sequence[str] = ("state",),
) -> graphviz.Digraph:
    """The graph behind a Tensor, or of a function on `inputs`, as a `graphviz.Digraph` (a notebook shows it as it is).

        mg.draw(loss_tensor, names={"w": w, "b": b})
        mg.draw(functools.partial(airnet.apply, train=True), params, state, x)

    Args:
        inputs: nested dicts, lists or tuples of arrays, one for each positional argument of the function. Floating
            arrays are traced and drawn under their paths, such as `params.conv1.w`. An argument that is one array is
            drawn as an input, the members of a dict, list or tuple as parameters.
        names: a nested dict of Tensors and arrays that come in by closure, to give them names too.
        constants: the names of the function's arguments that are not traced, because no gradient goes to them. By
            default that is an argument called `state`, as models have it. They are drawn under their paths as well.

    Nodes are numbered in the order of computation. What the output does not depend on is not drawn. Transforms inside a
    function are drawn too: `mg.draw(mg.grad(f), x)` is the graph of the gradient. No two names are the same: where two
    paths read alike, they are written as `p['a.b']` and `p['a']['b']`.

    Raises:
        TypeError: the target is no Tensor and no function, or the inputs do not fit the function.
        ValueError: no graph was recorded: the output depends on no traced array. Or the function has no argument with
            a name that is in `constants`.
        RuntimeError: a backward pass has freed the graph.
        ImportError: the `graphviz` package is missing.
    """
    try:
        import graphviz  # noqa: F401  (only to say what is missing)
    except ImportError as error:
        raise ImportError('draw needs the graphviz package: pip install -e ".[draw]"') from error

    if names is not None and not isinstance(names, dict):
        raise TypeError(f"draw: names should be a dict of Tensors and arrays, got {type(names).__name__}")
    if not isinstance(constants, (list, tuple)) or not all(isinstance(name, str) for name in constants):
        raise TypeError(f"draw: constants should be a list of the names of arguments, got {describe(constants)}")
    if isinstance(target, Tensor):
        if inputs or tuple(constants) != ("state",):
            what = "inputs" if inputs else "constants"
            raise TypeError(f"draw: {what} go with a function, and the target is a Tensor")
        y, traced = target, list[_Place]()
    elif callable(target):
        y, traced = _trace(target, inputs, constants)
    else:
        raise TypeError(f"draw: expected a Tensor or a function, got {type(target).__name__}")
    titles = _unique((keys, _key(leaf)) for keys, leaf in (*_places(names or {}), *traced))
    entrances = {leaf.node for keys, leaf in traced if len(keys) == 1 and type(leaf) is Tensor}
    state = {_key(leaf) for keys, leaf in traced if keys[0] in constants}

    outputs = [(k, _through(t.node)) for k, t in _places(y, "output") if type(t) is Tensor and t.node is not None]
    # An input that is handed back as it came is no result, unless it is all there is.
    outputs = [(keys, node) for keys, node in outputs if node.op is not None] or outputs
    if not outputs:
        raise ValueError("draw: no graph was recorded, the output depends on nothing that needs a gradient")

    dot = _digraph()("minigraph", graph_attr=_GRAPH, node_attr=_NODE, edge_attr=_EDGE)
    ids: dict[Any, str] = {}

    def add(key: Any, label: str, **style: str) -> str:
        ids[key] = f"n{len(ids)}"
        dot.node(ids[key], label, **style)
        return ids[key]

    nodes = ancestors(node for _, node in outputs)
    for node in nodes:
        if node.op is not None and node.args is None:
            raise RuntimeError(
                f"draw: a backward pass has freed the graph (at {node.op.name}); draw before backward(), "
                "or call backward(retain_graph=True)"
            )
    nodes = [node for node in nodes if node.op is not identity]
    arguments = {node: _arguments(node) for node in nodes if node.op is not None}
    roles = _roles(sources for sources, _ in arguments.values())
    for node in nodes:
        if node.op is None:
            style = _INPUT if node in entrances else _PARAMETER
            add(node, _label(titles.get(node), describe(node)), **style)
            continue
        sources, details = arguments[node]
        for _, source in sources:
            if isinstance(source, np.ndarray) and id(source) not in ids:
                title = titles.get(id(source))
                text = describe(source) if title is not None else f"{roles[id(source)]}constant {describe(source)}"
                if id(source) in state:
                    add(id(source), _label(title, text), **_STATE)
                else:
                    add(id(source), _label(None, title, text), **_CONSTANT)
        name = add(node, _label(node.op.name, titles.get(node), details, describe(node)))
        for _, source in sources:
            if isinstance(source, Node):
                straight = {} if source.op is None and source not in entrances else _STRAIGHT
                dot.edge(ids[source], name, **straight)
            else:
                dot.edge(ids[id(source)], name, style="dashed")
    results = _unique((keys, i) for i, (keys, _) in enumerate(outputs))
    for i, (_, node) in enumerate(outputs):
        dot.edge(ids[node], add(f"output {i}", _label(results[i]), **_OUTPUT), **_STRAIGHT)
    return dot


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


# ---------------------------------------------------------------- what there is to draw


_Place = tuple[tuple[Any, ...], Any]  # the keys and indices on the way to a leaf, and the leaf


def _trace(f: Callable[..., Any], inputs: tuple[Any, ...], constants: Sequence[str]) -> tuple[Any, list[_Place]]:
    """The result of `f` on Tensors in place of the floating arrays of `inputs`, and all its inputs by their places."""
    name = getattr(f, "__name__", type(f).__name__)
    try:
        bound = inspect.signature(f).bind(*inputs)
    except (TypeError, ValueError) as error:
        raise TypeError(f"draw: the inputs do not fit {name}: {error}") from None
    for constant in constants:
        if constant not in bound.signature.parameters and constant != "state":
            raise ValueError(f"draw: {name} has no argument {constant!r}, which constants names")
    places = [
        (keys, _untraced(leaf) if keys[0] in constants else _traced(leaf)) for keys, leaf in _places(bound.arguments)
    ]
    bound.arguments.update(tree.unflatten(bound.arguments, [leaf for _, leaf in places]))
    with mode(RECORD):
        return f(*bound.args), places


def _traced(leaf: Any) -> Any:
    """A fresh leaf for a floating array or Tensor, without the graph behind it; anything else as it is."""
    data = value(leaf)
    return Tensor(data, requires_grad=True) if tree.is_array(data) and data.dtype.kind == "f" else leaf


def _untraced(leaf: Any) -> Any:
    return leaf.detach() if type(leaf) is Tensor else leaf


def _places(tree: Any, *keys: Any) -> Iterator[_Place]:
    """The leaves in the order of `tree.items`, with their keys one by one, which tell `a.b` from `a`, `b`."""
    if isinstance(tree, dict):
        children: Any = tree.items()
    elif isinstance(tree, (list, tuple)):
        children = enumerate(tree)
    else:
        if tree is not None:
            yield keys, tree
        return
    for key, child in children:
        yield from _places(child, *keys, key)


def _unique(places: Iterable[_Place]) -> dict[Any, str]:
    """A name for each thing, no two the same: the path of its place, or the paths of all its places."""
    named = [(".".join(str(key) or "''" for key in keys), keys, thing) for keys, thing in dict.fromkeys(places)]
    readings: dict[str, set[Any]] = {}
    for path, keys, _ in named:
        readings.setdefault(path, set()).add(keys)
    names: dict[Any, str] = {}
    taken: Counter[str] = Counter()
    for path, keys, thing in named:
        if len(readings[path]) > 1:
            path = str(keys[0]) + "".join(f"[{key!r}]" for key in keys[1:])
        name = first = _line(path)
        while taken[name]:  # by an argument and a member of `names`, or by a path that is cut in the same way
            taken[first] += 1
            name = f"{first} ({taken[first]})"
        taken[name] += 1
        names[thing] = f"{names[thing]}, {name}" if thing in names else name
    return names


def _key(leaf: Any) -> Any:
    """What a Tensor or array is known by among a node's parents and arguments."""
    if type(leaf) is Tensor:
        return leaf.node if leaf.node is not None else id(leaf._array)
    return id(leaf)


def _through(node: Node) -> Node:
    """The node that `node` hands on as it is. Transforms put an identity between each input and its uses."""
    while node.op is identity and node.parents:
        node = node.parents[0]
    return node


def _roles(uses: Iterable[list[tuple[str, Any]]]) -> dict[int, str]:
    """What the operations that use it call each constant array, such as "q: "; "" where they differ."""
    roles: dict[int, str] = {}
    for sources in uses:
        for name, source in sources:
            role = f"{name}: " if name else ""
            if isinstance(source, np.ndarray) and roles.setdefault(id(source), role) != role:
                roles[id(source)] = ""
    return roles


def _arguments(node: Node) -> tuple[list[tuple[str, Any]], str]:
    """What has an edge to the node, and its other arguments as a text.

    The former are parent nodes and constant arrays, in order, each with what the operation calls it.
    """
    assert node.op is not None
    sources: list[tuple[str, Any]] = []
    other: dict[str, Any] = {}
    forward, names = node.op.forward, node.op.parameters
    for i, (argument, parent) in enumerate(zip(node.args, node.parents, strict=True)):
        name = names[i] if i < len(names) else ""
        role = name if names != _OPERANDS else ""
        if parent is not None:
            sources.append((role, _through(parent)))
        elif isinstance(argument, np.ndarray) and argument.ndim:
            sources.append((role, argument))
        else:
            other[name or str(i)] = argument
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

    return html.escape(_line(text)).replace("\\", "\\\\")  # Graphviz puts the node's id in place of \N


def _line(text: str) -> str:
    """`text` as one line that can be seen: quoted where it is not, cut in the middle where it is too long."""
    text = text if text.isprintable() and text.strip() else repr(text)  # control characters are not XML
    half = _WIDEST // 2 - 2
    return text if len(text) <= _WIDEST else f"{text[:half]}...{text[-half:]}"
