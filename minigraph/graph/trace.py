"""A traced function as one plain data structure, which drawings and summaries read: none of them walks the tape."""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import tree, watch
from ..blame import describe, is_ours, line_of
from ..modes import RECORD, mode
from ..primitive import Primitive, identity
from ..tape import Node, ancestors
from ..tensor import Tensor, value

if TYPE_CHECKING:
    from .measure import Measured

_OPERANDS = ("a", "b")  # the parameters of binary operations, whose names say nothing
_WINDOW = ("window", "stride", "padding", "dilation")  # pairs, and pairs of pairs, of numbers that are often the same
_HIDDEN = ("saved", "inplace")  # keyword arguments that say nothing of what is computed
_LONGEST = 48  # characters of an argument's value
_WIDEST = 100  # characters of a line; dot reads no label of more than 16,384
_SMALL = 4  # entries of a constant whose values are shown

Scope = tuple[str, ...]
Place = tuple[tuple[Any, ...], Any]  # the keys and indices on the way to a leaf, and the leaf


@dataclass(frozen=True)
class Edge:
    """An operand of an operation: the index of the vertex it comes from, and what the operation calls it ("" for a, b).

    `gradient` says whether a gradient flows back along the edge.
    """

    source: int
    role: str = ""
    gradient: bool = True


@dataclass
class Vertex:
    """One operation, or one array that goes in or comes out.

    Attributes:
        index: its place in `Graph.vertices`, which are in the order of computation.
        kind: "operation", "parameter", "input", "state", "constant" or "output".
        title: the operation's name, or the path of an array, such as `params.conv1.w`; None for an array without one.
        note: what else there is to say, such as the arguments of an operation that are not at their defaults.
        name: the name that the caller has given to an operation's result, or None.
        shape, dtype: those of the array, or of the operation's result.
        inputs: the operands, in order.
        scope: the names of the groups that it lies in, the outermost first.
        order: 0 for the forward pass, 1 for what the rules of its backward pass compute, 2 for the backward pass of
            that. An array that goes in has the order of the first operation that uses it.
        of: the operation whose rule has made this one; None in the forward pass, and where that operation is not part
            of the graph.
        call: the file, line and function of the call, and its text; None for arrays.
        saved: the bytes that are kept for the backward pass because of this operation alone. They are counted once,
            with the first operation that keeps them. Arrays that come in from outside do not count.
        flops: the floating-point operations of its forward by definition; 0 for what has few.
        measured: what `measure.measure` has seen of it in a run; None for a graph that is only traced.
        value: the array itself, of one that goes in; None for operations and outputs.
        primitive: what the operation is a call of. None for arrays.
        args, kwargs: the arguments of that call. In `args`, an Edge of `inputs` stands in the place of each operand;
            what a forward has kept for its rule is not among `kwargs`.
    """

    index: int
    kind: str
    title: str | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    note: str = ""
    name: str | None = None
    inputs: tuple[Edge, ...] = ()
    scope: Scope = ()
    order: int = 0
    of: int | None = None
    call: tuple[str, int, str, str] | None = None
    saved: int = 0
    flops: int = 0
    measured: Measured | None = None
    value: np.ndarray | None = field(default=None, repr=False)
    primitive: Primitive[Any] | None = field(default=None, repr=False)
    args: tuple[Any, ...] = field(default=(), repr=False)
    kwargs: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> int:
        """The number of entries."""
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """The bytes of the array."""
        return self.size * self.dtype.itemsize


@dataclass
class Graph:
    """The vertices of a traced function, in the order of computation, each after those that it needs."""

    vertices: list[Vertex] = field(default_factory=list)

    def __repr__(self) -> str:
        kinds = Counter(v.kind for v in self.vertices)
        return f"Graph({', '.join(f'{n} {kind}s' if n > 1 else f'{n} {kind}' for kind, n in kinds.items())})"

    @property
    def operations(self) -> list[Vertex]:
        return [v for v in self.vertices if v.kind == "operation"]

    @property
    def parameters(self) -> dict[str, Vertex]:
        """The parameters by path."""
        return {v.title or f"{i}": v for i, v in enumerate(self.vertices) if v.kind == "parameter"}


def trace(
    target: Tensor | Callable[..., Any],
    *inputs: Any,
    names: dict[str, Any] | None = None,
    constants: Sequence[str] = ("state",),
    what: str = "trace",
) -> Graph:
    """The graph behind a Tensor, or of a function on `inputs`.

    Args:
        inputs: nested dicts, lists or tuples of arrays, one for each positional argument of the function. Floating
            arrays are traced under their paths, such as `params.conv1.w`. An argument that is one array is an input,
            the members of a dict, list or tuple are parameters.
        names: a nested dict of Tensors and arrays that come in by closure, to give them names too.
        constants: the names of the function's arguments that are not traced, because no gradient goes to them. By
            default that is an argument called `state`, as models have it.
        what: the function that an error names.

    What the output does not depend on is left out, and so are operations that only hand on what they get. Transforms
    inside a function are traced too: `trace(mg.grad(f), x)` is the graph of the gradient.

    The scopes of operations are those of `mg.scope`, if the function has any. Otherwise they follow from the paths of
    the parameters: what uses `params.block1.*` is in `block1`, and what comes after it in the same function of the
    user's. Where parameters have no such paths, the calls of the user's functions are the scopes.

    Raises:
        TypeError: the target is no Tensor and no function, or the inputs do not fit the function.
        ValueError: no graph was recorded: the output depends on no traced array. Or the function has no argument with
            a name that is in `constants`.
        RuntimeError: a backward pass has freed the graph.
    """
    return build(Tracer(), target, inputs, names, constants, what).graph


def build(
    tracer: Tracer,
    target: Tensor | Callable[..., Any],
    inputs: tuple[Any, ...],
    names: dict[str, Any] | None,
    constants: Sequence[str],
    what: str,
) -> Builder:
    """The builder of the graph that `tracer` has seen; see `trace` for the other arguments and the errors."""
    if names is not None and not isinstance(names, dict):
        raise TypeError(f"{what}: names should be a dict of Tensors and arrays, got {type(names).__name__}")
    if not isinstance(constants, (list, tuple)) or not all(isinstance(name, str) for name in constants):
        raise TypeError(f"{what}: constants should be a list of the names of arguments, got {describe(constants)}")
    if isinstance(target, Tensor):
        if inputs or tuple(constants) != ("state",):
            extra = "inputs" if inputs else "constants"
            raise TypeError(f"{what}: {extra} go with a function, and the target is a Tensor")
        y, traced = target, list[Place]()
    elif callable(target):
        y, traced = _run(target, inputs, constants, tracer, what)
    else:
        raise TypeError(f"{what}: expected a Tensor or a function, got {type(target).__name__}")
    return Builder(tracer, y, traced, [*_places(names or {})], constants, what)


# ---------------------------------------------------------------- while the function runs


class Tracer:
    """Sees the operations of a function: where each was called, and in whose rule."""

    def __init__(self) -> None:
        self.scopes: dict[Node, Scope] = {}
        self.calls: dict[Node, list[FrameType]] = {}  # frames of the user's, the outermost first
        self.rules: dict[Node, Node] = {}
        self.derived: dict[int, tuple[Any, Any, str]] = {}  # by id: an array, what it was made from, and how
        self._names = _Numbered()
        self._open: list[Node] = []

    def operation(self, op: Primitive[Any], run: Callable[[], Any]) -> Any:
        y = run()
        if type(y) is Tensor and y.node is not None:
            self.scopes[y.node] = tuple(self._names(entry, entry.name) for entry in watch.scopes())
            self.calls[y.node] = _frames()
            if self._open:  # a rule may run further rules: a composite's
                self.rules[y.node] = self._open[0]
        return y

    def rule_begins(self, node: Node, g: Any) -> None:
        self._open.append(node)

    def adds(self, node: Node, i: int, gradient: Any) -> None:
        pass

    def rule_ends(self, node: Node) -> None:
        self._open.remove(node)

    def derives(self, array: Any, source: Any, how: str) -> None:
        self.derived[id(array)] = array, source, how

    def original(self, array: Any) -> Any:
        """The array of which `array` is a node's copy; `array` itself if it is none."""
        _, source, how = self.derived.get(id(array), (None, None, ""))
        return self.original(source) if how == watch.COPY else array


class _Numbered:
    """Names of things: `name`, and `name 2` for the second thing of that name."""

    def __init__(self) -> None:
        self._names: dict[Any, str] = {}
        self._taken: Counter[str] = Counter()

    def __call__(self, thing: Any, name: str) -> str:
        if thing not in self._names:
            self._taken[name] += 1
            n = self._taken[name]
            self._names[thing] = f"{name} {n}" if n > 1 else name
        return self._names[thing]


def _frames() -> list[FrameType]:
    """The user's frames from the traced function to the call of an operation."""
    frames: list[FrameType] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code is not _call.__code__:
        if not is_ours(frame.f_code):
            frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def _call(f: Callable[..., Any], *args: Any) -> Any:
    """f(*args); `_frames` looks no further out than here."""
    return f(*args)


def _run(
    f: Callable[..., Any], inputs: tuple[Any, ...], constants: Sequence[str], tracer: Tracer, what: str
) -> tuple[Any, list[Place]]:
    """The result of `f` on Tensors in place of the floating arrays of `inputs`, and all its inputs by their places."""
    name = getattr(f, "__name__", type(f).__name__)
    try:
        bound = inspect.signature(f).bind(*inputs)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{what}: the inputs do not fit {name}: {error}") from None
    for constant in constants:
        if constant not in bound.signature.parameters and constant != "state":
            raise ValueError(f"{what}: {name} has no argument {constant!r}, which constants names")
    places = [
        (keys, _untraced(leaf) if keys[0] in constants else _traced(leaf)) for keys, leaf in _places(bound.arguments)
    ]
    bound.arguments.update(tree.unflatten(bound.arguments, [leaf for _, leaf in places]))
    with mode(RECORD), watch.watching(tracer):
        return _call(f, *bound.args), places


def _traced(leaf: Any) -> Any:
    """A fresh leaf for a floating array or Tensor, without the graph behind it; anything else as it is."""
    data = value(leaf)
    return Tensor(data, requires_grad=True) if tree.is_array(data) and data.dtype.kind == "f" else leaf


def _untraced(leaf: Any) -> Any:
    return leaf.detach() if type(leaf) is Tensor else leaf


# ---------------------------------------------------------------- from the tape to vertices


class Builder:
    """Makes the vertices of the nodes behind `y`.

    Attributes:
        graph: the vertices. ids: the index of each, by its node, the id of its array, or ("output", i) for a result.
        nodes: those of the tape that are vertices, inputs first. results: those of the results, in order.
        arguments: what `arguments` gives for each node of an operation.
    """

    def __init__(
        self, tracer: Tracer, y: Any, traced: list[Place], named: list[Place], constants: Sequence[str], what: str
    ):
        self.graph = Graph()
        self.tracer = tracer
        self.traced, self.named, self.constants = traced, named, constants
        self.titles = unique((keys, _key(leaf)) for keys, leaf in (*named, *traced))
        self.ids: dict[Any, int] = {}
        results = [(keys, t.node) for keys, t in _places(y, "output") if type(t) is Tensor]
        outputs = [(keys, through(node)) for keys, node in results if node is not None]
        # An input that is handed back as it came is no result, unless it is all there is.
        outputs = [(keys, node) for keys, node in outputs if node.op is not None] or outputs
        if not outputs:
            raise ValueError(f"{what}: no graph was recorded, the output depends on nothing that needs a gradient")
        self.results = [node for _, node in outputs]
        self.nodes = ancestors(self.results)
        for node in self.nodes:
            if node.op is not None and node.args is None:
                raise RuntimeError(
                    f"{what}: a backward pass has freed the graph (at {node.op.name}); {what} before backward(), "
                    "or call backward(retain_graph=True)"
                )
        self.nodes = [node for node in self.nodes if node.op is not identity]
        self.arguments = {node: self._arguments(node) for node in self.nodes if node.op is not None}
        self._add_nodes()
        self._add_outputs(outputs)
        self._count_saved()
        _Scopes(self)

    def _add(self, key: Any, kind: str, title: str | None, like: Any, **more: Any) -> Vertex:
        vertex = Vertex(len(self.graph.vertices), kind, title, tuple(like.shape), like.dtype, **more)
        self.ids[key] = vertex.index
        self.graph.vertices.append(vertex)
        return vertex

    def _arguments(self, node: Node) -> tuple[list[tuple[str, Any]], str]:
        """What `arguments` gives, but with the caller's arrays in the place of a node's copies of them.

        An input that lies within an index, as in `x[:, i]`, is among them too.
        """
        sources, details = arguments(node)
        within = [leaf for argument in node.args if type(argument) is tuple for leaf in tree.leaves(argument)]
        arrays = [self.tracer.original(leaf) for leaf in within if isinstance(leaf, np.ndarray)]
        inputs = [array for array in arrays if id(array) in self.titles]
        sources = [(role, self.tracer.original(source)) for role, source in sources]
        return sources + [("index", array) for array in inputs], details

    def _add_nodes(self) -> None:
        entrances = {_key(leaf) for keys, leaf in self.traced if len(keys) == 1}
        state = {_key(leaf) for keys, leaf in self.traced if keys[0] in self.constants}
        roles = _roles(sources for sources, _ in self.arguments.values())
        for node in self.nodes:
            if node.op is None:
                kind, leaf = "input" if node in entrances else "parameter", node.leaf()
                self._add(node, kind, self.titles.get(node), node, value=None if leaf is None else leaf._array)
                continue
            sources, details = self.arguments[node]
            for _, source in sources:
                if isinstance(source, np.ndarray) and id(source) not in self.ids:
                    title = self.titles.get(id(source)) or self._origin(source)
                    kind = "state" if id(source) in state else "input" if id(source) in entrances else "constant"
                    note = "" if title else _constant(source, roles[id(source)])
                    self._add(id(source), kind, title, source, note=note, value=source)
            edges = [
                Edge(self.ids[s], role) if isinstance(s, Node) else Edge(self.ids[id(s)], role, gradient=False)
                for role, s in sources
            ]
            operands = iter(edges)
            args = tuple(
                next(operands) if is_operand(argument, parent) else argument
                for argument, parent in zip(node.args, node.parents, strict=True)
            )
            kwargs = {k: v for k, v in (node.kwargs or {}).items() if k != "saved"}
            rule = self.tracer.rules.get(node)
            of = None if rule is None else self.ids.get(rule)
            order = 0
            while rule is not None:
                order, rule = order + 1, self.tracer.rules.get(rule)
            call = node.call and (node.call[0].co_filename, *line_of(*node.call))
            self._add(
                node, "operation", node.op.name, node, note=details, name=self.titles.get(node), inputs=tuple(edges),
                order=order, of=of, call=call, flops=node.op.operations(node), primitive=node.op, args=args,
                kwargs=kwargs,
            )  # fmt: skip

    def _origin(self, array: np.ndarray) -> str | None:
        """How a constant was made of an argument, such as "y, one-hot"."""
        _, source, how = self.tracer.derived.get(id(array), (None, None, ""))
        title = self.titles.get(_key(source)) if how else None
        return f"{title}, {how}" if title else None

    def _add_outputs(self, outputs: list[tuple[tuple[Any, ...], Node]]) -> None:
        results = unique((keys, i) for i, (keys, _) in enumerate(outputs))
        for i, (keys, node) in enumerate(outputs):
            order = self.graph.vertices[self.ids[node]].order
            title = (order and self._gradient(keys, node)) or results[i]
            self._add(("output", i), "output", title, node, inputs=(Edge(self.ids[node]),), order=order)

    def _gradient(self, keys: tuple[Any, ...], node: Node) -> str | None:
        """The title of a result of the backward pass: of what it is the gradient, if a traced array has its place."""
        found = {
            self.titles[leaf.node]
            for path, leaf in self.traced
            if type(leaf) is Tensor and leaf.node is not None and leaf.shape == node.shape
            and keys[len(keys) - len(path) + 1 :] == path[1:]
        }  # fmt: skip
        return f"gradient of {found.pop()}" if len(found) == 1 else None

    def _count_saved(self) -> None:
        """Count each array that is kept with the first operation that keeps it. Leaves and constants live anyway.

        An array is told by the memory that it is a view of. That may be larger, since kernels use memory again, so what
        counts is the largest view.
        """
        seen = {id(owner_of(value(leaf))) for _, leaf in (*self.traced, *self.named) if tree.is_array(value(leaf))}
        keepers: dict[int, Node] = {}
        sizes: dict[int, int] = {}
        for node in self.nodes:
            if node.op is None:
                continue
            kept = [node.y, *tree.leaves((node.kwargs or {}).get("saved"))]
            kept += [a for a, parent in zip(node.args, node.parents, strict=True) if parent is not None and parent.op]
            for array in kept:
                if isinstance(array, np.ndarray) and id(owner_of(array)) not in seen:
                    owner = owner_of(array)
                    keepers.setdefault(id(owner), node)
                    sizes[id(owner)] = max(sizes.get(id(owner), 0), min(array.nbytes, owner.nbytes))
        for owner_id, node in keepers.items():
            self.graph.vertices[self.ids[node]].saved += sizes[owner_id]


class _Scopes:
    """Gives the vertices of a graph their scopes; see `trace`."""

    def __init__(self, builder: Builder) -> None:
        self.b, self.vertices = builder, builder.graph.vertices
        self.codes = {
            builder.ids[node]: node.call[0] for node in builder.nodes if node.op is not None and node.call is not None
        }
        explicit = {builder.ids[n]: s for n, s in builder.tracer.scopes.items() if n in builder.ids}
        if any(explicit.values()):
            scopes = explicit
        else:
            scopes = self._by_parameters()
            if not any(scopes.values()):
                scopes = self._by_calls()
        for index, scope in scopes.items():
            self.vertices[index].scope = scope
        for v in self.vertices:  # what a rule computes lies where the operation lies
            if v.order and v.kind == "operation":
                v.scope = () if v.of is None else self.vertices[v.of].scope
        self._place_arrays()

    def _by_parameters(self) -> dict[int, Scope]:
        paths = self._paths()
        forward = [v for v in self.vertices if v.kind == "operation" and not v.order]
        scopes: dict[int, Scope] = {}
        inside: set[tuple[Scope, Any]] = set()  # the scopes, with the functions that have made operations of theirs
        for v in forward:
            own = [paths[e.source] for e in v.inputs if e.source in paths]
            if own:
                scopes[v.index] = scope = common(own)
                inside.update((scope[:n], self.codes.get(v.index)) for n in range(1, len(scope) + 1))
        for v in forward:  # the others come after an operand, in the innermost scope that their function is in
            if v.index not in scopes:
                scope = scopes[max(found)] if (found := [e.source for e in v.inputs if e.source in scopes]) else ()
                while scope and (scope, self.codes.get(v.index)) not in inside:
                    scope = scope[:-1]
                scopes[v.index] = scope
        return scopes

    def _paths(self) -> dict[int, Scope]:
        """The scope of each parameter that has one by its path."""
        found: dict[int, list[str]] = {}
        first: dict[int, str] = {}
        traced = [(keys, keys[1:-1], leaf) for keys, leaf in self.b.traced]  # the first key is the argument
        for keys, inner, leaf in (*traced, *((keys, keys[:-1], leaf) for keys, leaf in self.b.named)):
            index = self.b.ids.get(_key(leaf))
            if index is None or self.vertices[index].kind != "parameter" or index in found:
                continue
            first[index] = str(keys[0])
            found[index] = _components(inner)
        several = len({first[i] for i, path in found.items() if path}) > 1
        return {i: ((first[i],) if several else ()) + tuple(path) for i, path in found.items() if path}

    def _by_calls(self) -> dict[int, Scope]:
        name_of = _Numbered()
        scopes: dict[int, Scope] = {}
        for node, frames in self.b.tracer.calls.items():
            if node in self.b.ids:
                names = [name_of(id(f), f.f_code.co_name.strip("<>")) for f in frames[1:]]
                scopes[self.b.ids[node]] = tuple(names)
        forward = [v.index for v in self.vertices if v.kind == "operation" and not v.order]
        around = common([scopes.get(i, ()) for i in forward])  # a function that makes everything is no part
        return {i: scope[len(around) :] for i, scope in scopes.items()}

    def _place_arrays(self) -> None:
        """An array lies where all that use it lie, a result where its path says, if its operation lies there too."""
        users: dict[int, list[Vertex]] = {}
        for v in self.vertices:
            for edge in v.inputs:
                if self.vertices[edge.source].kind != "operation" and v.kind == "operation":
                    users.setdefault(edge.source, []).append(v)
        for index, found in users.items():
            array = self.vertices[index]
            array.scope = common([v.scope for v in found]) if array.kind != "input" else ()
            array.order = min(v.order for v in found)
        for v in self.vertices:
            if v.kind == "output":
                made = self.vertices[v.inputs[0].source].scope
                keys = (v.title or "").split(".")
                v.scope = made if made and made[0] in keys else ()


def owner_of(array: Any) -> Any:
    """The array that owns the memory of a view."""
    while isinstance(array, np.ndarray) and isinstance(array.base, np.ndarray):
        array = array.base
    return array


def common(scopes: Sequence[Scope]) -> Scope:
    """The longest beginning that all scopes have."""
    shortest = min(scopes, key=len, default=())
    n = next((i for i, name in enumerate(shortest) if any(s[i] != name for s in scopes)), len(shortest))
    return shortest[:n]


def _components(keys: Iterable[Any]) -> list[str]:
    """The keys on a path as names, an index together with the name before it: `blocks.0`."""
    names: list[str] = []
    for key in keys:
        if isinstance(key, int) and names:
            names[-1] += f".{key}"
        else:
            names.append(str(key))
    return names


# ---------------------------------------------------------------- names and arguments


def _places(tree: Any, *keys: Any) -> Iterator[Place]:
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


def unique(places: Iterable[Place]) -> dict[Any, str]:
    """A name for each thing, no two the same: the path of its place, or the paths of all its places.

    Where two paths read alike, they are written as `p['a.b']` and `p['a']['b']`.
    """
    named = [(".".join(str(key) or "''" for key in keys), keys, thing) for keys, thing in dict.fromkeys(places)]
    readings: dict[str, set[Any]] = {}
    for path, keys, _ in named:
        readings.setdefault(path, set()).add(keys)
    names: dict[Any, str] = {}
    taken: Counter[str] = Counter()
    for path, keys, thing in named:
        if len(readings[path]) > 1:
            path = str(keys[0]) + "".join(f"[{key!r}]" for key in keys[1:])
        name = first = one_line(path)
        while taken[name]:  # by an argument and a member of `names`, or by a path that is cut in the same way
            taken[first] += 1
            name = f"{first} ({taken[first]})"
        taken[name] += 1
        names[thing] = f"{names[thing]}, {name}" if thing in names else name
    return names


def one_line(text: str) -> str:
    """`text` as one line that can be seen: quoted where it is not, cut in the middle where it is too long."""
    text = text if text.isprintable() and text.strip() else repr(text)  # control characters are not XML
    half = _WIDEST // 2 - 2
    return text if len(text) <= _WIDEST else f"{text[:half]}...{text[-half:]}"


def _key(leaf: Any) -> Any:
    """What a Tensor or array is known by among a node's parents and arguments."""
    if type(leaf) is Tensor:
        return leaf.node if leaf.node is not None else id(leaf._array)
    return id(leaf)


def through(node: Node) -> Node:
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


def _constant(array: np.ndarray, role: str) -> str:
    """What to say of an array that has no name: its few values, or what an operation calls it."""
    if array.size <= _SMALL and array.dtype.kind in "biuf":
        return role + _short(array.tolist())
    return f"{role}constant"


def is_operand(argument: Any, parent: Node | None) -> bool:
    """Whether an argument of an operation has an edge: it comes from the graph, or is an array with axes."""
    return parent is not None or (isinstance(argument, np.ndarray) and argument.ndim > 0)


def arguments(node: Node) -> tuple[list[tuple[str, Any]], str]:
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
        if is_operand(argument, parent):
            sources.append((role, argument if parent is None else through(parent)))
        else:
            other[name or str(i)] = argument
    # Arrays among the keyword arguments are not shown: they were computed before the forward, as in batch_norm.
    other.update((k, v) for k, v in (node.kwargs or {}).items() if k not in _HIDDEN and not tree.is_array(v))
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
    elif isinstance(value, tuple):
        text = f"({', '.join(map(_short, value))}{',' * (len(value) == 1)})"
    elif isinstance(value, list):
        text = f"[{', '.join(map(_short, value))}]"
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
