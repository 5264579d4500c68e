"""Writing a function as an ONNX model: its graph is traced several times, and what differs follows the batch."""

from __future__ import annotations

import functools
import inspect
import math
import operator
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import tree
from ..blame import describe
from ..graph.trace import Edge, Graph, Vertex, trace
from ..serialize import atomic_write
from ..tensor import value
from .build import INSTALL, IR_VERSION, OPSET, Builder, Length, UnsupportedError, Value, onnx_type, plain
from .rules import REFUSED, RULES

_OPEN = {"shape", "index", "widths"}  # arguments that are lengths, and may follow the batch


def export(
    f: Callable[..., Any],
    example: Any,
    path: str | os.PathLike[str],
    *,
    batch: bool = True,
    other: Any = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write the function `f` to `path` as an ONNX model (opset 20), which other programs run without minigraph.

        def logits(params, state, x):
            return cnn.apply(params, state, x, train=False)[0]

        mg.onnx.export(logits, (params, state, images), "cnn.onnx")

    Args:
        f: a function of arrays and of nested dicts, lists and tuples of them, made of minigraph's operations.
        example: a tuple of its positional arguments, or its only one. An argument that is one array becomes an input
            of the model, under the argument's name; the members of a dict, list or tuple become initializers under
            their paths, such as `params.conv1.w`. So do arrays of an argument called `state`.
        path: the file, which is written whole or not at all.
        batch: whether axis 0 of every input is the batch. It is then of any length in the model, not only of that in
            the example. Without it all lengths are those of the example.
        other: a second example with other inputs, for an `f` that takes no numbers but special ones, such as positive
            definite matrices. Its batch may have any length; only its inputs are read.
        metadata: texts to be kept in the file, by name.

    Images stay `(N, H, W, C)`. ONNX's convolutions take the channels first, so the model has transposes where a part
    made of them begins and where it ends; their weights are stored as OIHW. The only result is called "output", several
    are "output.0" and so on, and those in a dict have their keys. Results that depend on no input and no parameter,
    such as the state that comes back as it was, are left out. An input of integers can be an index (`table[tokens]`),
    or an operand.

    To find out what follows the inputs, `f` is run twice more, with one and two examples more in the batch: of random
    numbers of about the same size where they are floating, otherwise of the example's own entries in a random order.
    Where `f` raises an error for random numbers, as for a probability of 1.3, the entries of the example are tried in
    a random order there too. Where it takes neither, `other` says what it takes.

    Raises:
        UnsupportedError: an operation has no counterpart in ONNX, an array was computed from the inputs by NumPy
            outside of the graph, such as a mask `x > 0`, or a length does not grow in proportion to the batch. The
            message names the operation and its line.
        TypeError, ValueError: the example does not fit the function or has no batch; the function depends on nothing
            that is traced; it takes no other numbers than the example, or `other` is not such an example; the metadata
            are no texts. ValueError also where the model is too large for a file, 2 GB.
        ImportError: the `onnx` package is missing. OSError: the file cannot be written.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError(f"export {INSTALL}") from error

    if not callable(f):
        raise TypeError(f"export: expected a function, got {type(f).__name__}")
    metadata = dict(metadata or {})
    if not all(type(text) is str for item in metadata.items() for text in item):
        raise TypeError("export: metadata should be texts by names that are texts")
    arguments = example if isinstance(example, tuple) else (example,)
    inputs = _inputs(f, arguments, batch)
    runs, graphs = _runs(f, arguments, inputs, batch, other)
    arrays = {name: [np.asarray(value(run[i])) for run in runs] for name, i in inputs.items()}
    writer = _Writer(graphs, arrays, batch)
    model = writer.model(str(getattr(getattr(f, "func", f), "__name__", "model")))
    model.ir_version = IR_VERSION
    model.producer_name = "minigraph"
    onnx.helper.set_model_props(model, metadata)
    if model.ByteSize() >= 2**31:
        raise ValueError(f"export: the model has {model.ByteSize():,} bytes, and a file of ONNX holds less than 2 GB")
    onnx.checker.check_model(model, full_check=True)
    try:
        with atomic_write(path) as file:
            file.write(model.SerializeToString())
    except OSError as error:
        raise OSError(f"export: {os.fspath(path)} was not written: {error.strerror or error}") from error


def _inputs(f: Callable[..., Any], arguments: tuple[Any, ...], batch: bool) -> dict[str, int]:
    """The places of the arguments that are inputs, by name."""
    name = getattr(f, "__name__", type(f).__name__)
    try:
        names = [*inspect.signature(f).bind(*arguments).arguments]
    except (TypeError, ValueError) as error:
        raise TypeError(f"export: the example does not fit {name}: {error}") from None
    rest = [f"{names[-1]}.{i}" for i in range(len(arguments) - len(names))] if names else []
    found = {
        n: i for i, (n, a) in enumerate(zip([*names, *rest], arguments, strict=True))
        if tree.is_array(value(a)) and n != "state"
    }  # fmt: skip
    lengths = {n: np.shape(value(arguments[i]))[:1] for n, i in found.items()}
    if batch:
        if not found:
            raise ValueError(f"export: {name} has no argument that is an array, whose axis 0 could be the batch")
        if len(set(lengths.values())) > 1 or not all(n and n[0] for n in lengths.values()):
            shapes = ", ".join(f"{n} {np.shape(value(arguments[i]))}" for n, i in found.items())
            raise ValueError(
                f"export: the inputs should have a batch of one length on axis 0, at least 1, got {shapes}; "
                "with batch=False no axis is one, and arrays in a dict are parameters, without a batch"
            )
    return found


def _runs(
    f: Callable[..., Any], arguments: tuple[Any, ...], inputs: Mapping[str, int], batch: bool, other: Any
) -> tuple[list[tuple[Any, ...]], list[Graph]]:
    """The arguments and the graphs of three runs: of the example, and of other inputs in two longer batches.

    With two examples at least in the batch. A batch of 1 would not show where an array is stretched to the batch, and
    two batches would not show whether a length is in proportion.
    """

    def run(arrays: Mapping[str, np.ndarray]) -> tuple[Any, ...]:
        new = [*arguments]
        for name, i in inputs.items():
            new[i] = arrays[name]
        return tuple(new)

    def graph(arguments: tuple[Any, ...]) -> Graph:
        with np.errstate(all="ignore"):
            return trace(f, *arguments, what="export")

    first = {name: np.asarray(value(arguments[i])) for name, i in inputs.items()}
    if batch:
        first = {name: np.concatenate([a, a]) if len(a) == 1 else a for name, a in first.items()}
    example = run(first)
    graphs = [graph(example)]
    if other is not None:
        more = [run(arrays) for arrays in _given(first, other, inputs, batch)]
        return [example, *more], [*graphs, *map(graph, more)]
    problem: Exception | None = None
    for ways in _ways(first):
        try:
            more = []
            for seed in (1, 2):
                rng = np.random.default_rng(seed)
                more.append(run({n: _WAYS[ways[n]](a, seed * batch, rng) for n, a in first.items()}))
            return [example, *more], [*graphs, *map(graph, more)]
        except Exception as error:  # of the function, or of 0 - 1 in numbers without a sign
            problem = problem or error
    longer = ", of one example more in the batch" if batch else ""
    hint = ", and with batch=False its batch has the length of the example" if batch else ""
    raise ValueError(
        f"export: the function takes the example, but not other numbers{longer}: {problem}. "
        f"A second example says what it takes, other={hint}"
    ) from problem


def _given(
    first: Mapping[str, np.ndarray], other: Any, inputs: Mapping[str, int], batch: bool
) -> list[dict[str, np.ndarray]]:
    """The inputs of the two further runs, made of the second example that the caller gives."""
    given = other if isinstance(other, tuple) else (other,)
    if len(given) <= max(inputs.values(), default=0):
        raise ValueError(f"export: other should have the arguments of the example, got {len(given)}")
    second = {name: np.asarray(value(given[i])) for name, i in inputs.items()}
    for name, a in second.items():
        b = first[name]
        if a.dtype != b.dtype or a.shape[batch:] != b.shape[batch:] or a.ndim != b.ndim or (batch and not len(a)):
            raise ValueError(f"export: other has {describe(a)} as {name}, the example has {describe(b)}")
        if a.size and np.array_equal(np.resize(a, b.shape), b):
            raise ValueError(f"export: other has the same numbers as the example in {name}, expected others")
    if batch and len({len(a) for a in second.values()}) > 1:
        raise ValueError(f"export: the inputs of other have batches of the lengths {[*map(len, second.values())]}")
    if not batch:
        return [second, second]
    return [{n: np.concatenate([*[a] * times, first[n]]) for n, a in second.items()} for times in (1, 2)]


def _random(a: np.ndarray, more: int, rng: np.random.Generator) -> np.ndarray:
    """Random numbers of about the same size, with `more` examples more. Half of them are negative.

    They show what is computed from the inputs where nobody looks: a mask `x > 0` differs in them, even if the example
    is all zeros, or a single number.
    """
    finite = a[np.isfinite(a)].astype(np.float64)
    mean, std = (finite.mean(), max(finite.std(), 1)) if finite.size else (0, 1)
    shape = (len(a) + more, *a.shape[1:]) if more else a.shape
    signs = rng.permutation(np.resize([-1, 1] if mean >= 0 else [1, -1], math.prod(shape))).reshape(shape)
    return np.asarray(signs * np.abs(mean + std * rng.standard_normal(shape)), a.dtype)


def _shuffled(a: np.ndarray, more: int, rng: np.random.Generator, step: int = 1) -> np.ndarray:
    """The entries in another order, with `more` examples more. If all are equal, half of them are changed."""
    shape = (len(a) + more, *a.shape[1:]) if more else a.shape
    flat = np.resize(a, math.prod(shape))
    if (flat == flat[:1]).all():
        half = ~flat if a.dtype.kind == "b" else flat + np.asarray(step if a.dtype.kind in "iu" else step / 2, a.dtype)
        flat[: -(-flat.size // 2)] = half[: -(-flat.size // 2)]
    b = flat.reshape(shape)
    for _ in range(100):
        b = rng.permutation(flat).reshape(shape)
        if not np.array_equal(b[: len(a)] if more else b, a):
            break
    return b


_WAYS: list[Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = [
    _random, _shuffled, functools.partial(_shuffled, step=-1),
]  # fmt: skip


def _ways(first: Mapping[str, np.ndarray]) -> Iterator[dict[str, int]]:
    """For each input a number in _WAYS: the widest for all; then another for one of them in turn; then for all."""
    possible = {n: range(1 - (a.dtype.kind == "f"), len(_WAYS)) for n, a in first.items()}
    widest = {n: ways[0] for n, ways in possible.items()}
    yield widest
    for name, ways in possible.items():
        yield from ({**widest, name: way} for way in ways[1:] if len(first) > 1)
    yield from (dict.fromkeys(first, way) for way in (1, 2) if dict.fromkeys(first, way) != widest)


class _Writer:
    """Goes through the vertices of the graphs together, and makes ONNX's nodes of them."""

    def __init__(self, graphs: list[Graph], inputs: dict[str, list[np.ndarray]], batch: bool) -> None:
        self.graph, self.other, self.third = graphs
        self.inputs, self.batch = inputs, batch
        self.lengths = [len(a) for a in next(iter(inputs.values()))] if batch else [0, 0, 0]
        self.b = Builder(next(iter(inputs), None))
        self.given: dict[str, Value] = {}
        self.values: dict[int, Value | None] = {}
        self.uses = Counter(e.source for v in self.graph.vertices for e in v.inputs)
        self.consumers = {e.source: v for v in self.graph.vertices for e in v.inputs}

    def model(self, name: str) -> Any:
        from onnx import helper

        looks = [[_look(v) for v in g.vertices] for g in (self.graph, self.other, self.third)]
        if looks[0] != looks[1] or looks[0] != looks[2]:
            raise ValueError(
                "export: the function makes another graph of other numbers in a longer batch, as by a loop over the "
                "examples, or a choice by their values"
            )
        for title, (a, again, _) in self.inputs.items():
            self.b.unique(title)
            shape = tuple(map(self._length, a.shape, again.shape))
            self.given[title] = Value(shape, a.dtype, {plain(a.ndim): title})
        outputs = [v for v in self.graph.vertices if v.kind == "output"]
        titles = {v.index: self.b.unique(_title(v, len(outputs))) for v in outputs}
        for v, w in zip(self.graph.vertices, self.other.vertices, strict=True):
            if v.kind == "operation":
                if v.index not in self.values:
                    self._operation(v, w)
            elif v.kind != "output":
                self.values[v.index] = self._array(v, w)
        infos = [self._info(title, v) for title, v in self.given.items()]
        ends = {titles[v.index]: self._value(v.inputs[0], v) for v in outputs}
        self._rename({title: self.b.name(y) for title, y in ends.items()})
        results = [self._info(title, y) for title, y in ends.items()]
        graph = helper.make_graph(self.b.nodes, name, infos, results, self.b.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])

    # ------------------------------------------------------------ arrays

    def _array(self, v: Vertex, w: Vertex) -> Value | None:
        """The Value of an array that goes in; None for one that was computed from the inputs, out of sight."""
        if v.kind == "input" and v.title in self.given:
            return self.given[v.title]
        if v.value is None or w.value is None:
            return None
        title = v.title or (v.note.partition(":")[0] if ":" in v.note else "constant")
        return self._constant(v.value, w.value, title)

    def _constant(self, a: np.ndarray, again: np.ndarray, title: str = "constant") -> Value | None:
        """The Value of a constant that was `a` in the first run. It may be an input; None where it depends on one."""
        for name, (x, y, _) in self.inputs.items():
            if _same(a, x) and _same(again, y) and not _same(x, y):
                return self.given[name]
        if _same(a, again):
            return Value(a.shape, a.dtype, array=a, title=title)
        if a.ndim == again.ndim and a.dtype == again.dtype:  # it may be one row for all examples
            longer = [i for i, (n, m) in enumerate(zip(a.shape, again.shape, strict=True)) if n != m]
            short = tuple(slice(0, 1) if i in longer else slice(None) for i in range(a.ndim))
            if longer and all(_same(np.broadcast_to(a[short], x.shape), x) for x in (a, again)):
                shape = tuple(map(self._length, a.shape, again.shape))
                name = self.b.node("Expand", self.b.constant(a[short], title), self.b.integers(shape))
                return Value(shape, a.dtype, {plain(a.ndim): name})
        return self._one_hot(a, again, title.endswith("or ignored"))  # as `cross_entropy` calls them

    def _one_hot(self, a: np.ndarray, again: np.ndarray, ignored: bool) -> Value | None:
        """A constant that has one number at the classes of an input of integers, and another elsewhere.

        If some labels may be `ignored`, which are no classes, their rows are 0.
        """
        for name, (x, y, _) in self.inputs.items():
            if x.dtype.kind not in "iu" or (a.shape[:-1], again.shape[:-1]) != (x.shape, y.shape) or not a.size:
                continue
            classes = np.arange(a.shape[-1], dtype=x.dtype)
            counted = np.isin(x, classes) if ignored else np.ones(x.shape, np.bool_)
            if not counted.any():  # then no row shows the numbers
                continue
            off, on = a[counted].min(), a[counted].max()

            # The defaults bind what the next turn of the loop changes.
            def rows(i: np.ndarray, off: Any = off, on: Any = on, classes: Any = classes) -> np.ndarray:
                hot = np.where(i[..., None] == classes, on, off)
                return np.where(np.isin(i, classes)[..., None], hot, a.dtype.type(0)) if ignored else hot

            if all(_same(rows(i), b) for i, b in ((x, a), (y, again))):
                labels = self.b.node("Unsqueeze", name, self.b.integers([-1]))
                is_class = self.b.node("Equal", labels, self.b.constant(classes))
                others = self.b.constant(off)
                if ignored and off:
                    low, high = (self.b.constant(np.asarray(k, x.dtype)) for k in (0, len(classes)))
                    inside = (self.b.node("GreaterOrEqual", labels, low), self.b.node("Less", labels, high))
                    zero = self.b.constant(np.zeros((), a.dtype))
                    others = self.b.node("Where", self.b.node("And", *inside), others, zero)
                hot = self.b.node("Where", is_class, self.b.constant(on), others)
                return Value((*self.given[name].shape, a.shape[-1]), a.dtype, {plain(a.ndim): hot})
        return None

    def _length(self, n: int, again: int) -> int | Length:
        """A length that was n in the first run, in terms of the batch."""
        if n == again or not self.batch:
            return n
        times, rest = divmod(again - n, self.lengths[1] - self.lengths[0])
        if rest:
            raise UnsupportedError(f"export: a length of {n}, then {again}, does not grow in proportion to the batch")
        return Length(times, n - times * self.lengths[0])

    # ------------------------------------------------------------ operations

    def _operation(self, v: Vertex, w: Vertex) -> None:
        assert v.primitive is not None
        name = v.primitive.__name__
        where = f"export: {v.title}{_line(v)}"
        rule = RULES.get(name)
        if rule is None or not v.primitive.__module__.startswith("minigraph."):
            reason = REFUSED.get(name, "only minigraph's own operations have a rule for it")
            raise UnsupportedError(f"{where} cannot be exported: {reason}")
        names = [*v.primitive.parameters, *[""] * len(v.args)]
        args = [self._argument(a, again, v, n in _OPEN) for a, again, n in zip(v.args, w.args, names, strict=False)]
        kwargs = {k: self._argument(a, w.kwargs[k], v, k in _OPEN) for k, a in v.kwargs.items()}
        done = [v]
        if name == "layer_norm":
            done += self._affine(v, kwargs)
        y = Value(tuple(map(self._length, v.shape, w.shape)), v.dtype)
        for n, expected in zip(y.shape, self.third.vertices[v.index].shape, strict=True):
            if isinstance(n, Length) and n.times * self.lengths[2] + n.plus != expected:
                raise UnsupportedError(f"{where} cannot be exported: a length does not grow in proportion to the batch")
        with self.b.scope("/".join([*v.scope, f"{v.title}_{v.index}"])):
            try:
                order, tensor = rule(self.b, y, *args, **kwargs)
            except UnsupportedError as error:
                raise UnsupportedError(f"{where} cannot be exported: {error}") from None
        y.names[order] = tensor
        for each in done:
            self.values[each.index] = y

    def _affine(self, v: Vertex, kwargs: dict[str, Any]) -> list[Vertex]:
        """The multiplication by a scale and the addition of a bias behind a normalisation, which ONNX has in one."""
        taken: list[Vertex] = []
        for name, title in (("scale", "multiply"), ("bias", "add")):
            following = self.consumers.get(v.index)
            if self.uses[v.index] != 1 or following is None or following.title != title or following.shape != v.shape:
                break
            others = [e for e in following.inputs if e.source != v.index]
            vector = self.graph.vertices[others[0].source] if len(others) == 1 else v
            if vector.value is None or vector.shape != v.shape[-1:] or {vector.dtype, following.dtype} != {v.dtype}:
                break
            array = self._array(vector, self.other.vertices[vector.index])
            if array is None or array.array is None:
                break
            kwargs[name] = self.values.setdefault(vector.index, array)
            taken.append(following)
            v = following
        return taken

    def _argument(self, a: Any, again: Any, v: Vertex, open: bool) -> Any:
        """An argument with Values in the place of arrays; if it may be `open`, Lengths for what follows the batch."""
        if isinstance(a, Edge):
            return self._value(a, v)
        if isinstance(a, slice):
            return slice(*(self._argument(x, y, v, open) for x, y in zip(_ends(a), _ends(again), strict=True)))
        if isinstance(a, (tuple, list)) and len(a) == len(again):
            return type(a)(self._argument(x, y, v, open) for x, y in zip(a, again, strict=True))
        if open and isinstance(a, (int, np.integer)) and not isinstance(a, bool):
            return self._length(operator.index(a), operator.index(again))
        if isinstance(a, np.ndarray):
            found = self._constant(a, again)
            if found is None:
                raise self._hidden(v, f"an array {describe(a)}")
            return found if a.ndim else found.array
        if not _same(np.asarray(a, object), np.asarray(again, object)):
            raise self._hidden(v, f"the number {a!r}")
        return a

    def _value(self, e: Edge, v: Vertex) -> Value:
        found = self.values.setdefault(e.source, None)
        if found is None:
            source = self.graph.vertices[e.source]
            raise self._hidden(v, source.title or f"an array {describe(source)}")
        return found

    def _hidden(self, v: Vertex, what: str) -> UnsupportedError:
        follows = "the batch or the inputs' values" if self.batch else "the inputs' values"
        return UnsupportedError(
            f"export: {v.title}{_line(v)} uses {what}, which follows {follows} and was computed outside of the graph: "
            "compute it by operations of minigraph on Tensors, or take it as an input"
        )

    # ------------------------------------------------------------ what goes in and out

    def _rename(self, results: dict[str, str]) -> None:
        """Give the tensors of results their names; an input, a constant, or what has a name already, is copied."""
        from onnx import helper

        made = {name for node in self.b.nodes for name in node.output}
        new: dict[str, str] = {}
        for title, old in results.items():
            if old in made and old not in new:
                new[old] = title
        for node in self.b.nodes:
            node.input[:] = [new.get(name, name) for name in node.input]
            node.output[:] = [new.get(name, name) for name in node.output]
        for title, old in results.items():
            if new.get(old) != title:
                name = self.b.unique(f"{title}/Identity")
                self.b.nodes.append(helper.make_node("Identity", [new.get(old, old)], [title], name))

    def _info(self, title: str, v: Value) -> Any:
        from onnx import helper

        shape = [str(n) if isinstance(n, Length) else n for n in v.shape]
        return helper.make_tensor_value_info(title, onnx_type(v.dtype), shape)


def _look(v: Vertex) -> Any:
    """What a vertex has in common with its counterpart in the other run."""
    return v.kind, v.title, v.primitive, v.dtype, len(v.shape), tuple(e.source for e in v.inputs), len(v.args)


def _title(v: Vertex, outputs: int) -> str:
    """The name of a result: its key in a dict, or the path that the trace has; "output" for the only one."""
    title = v.title or "output"
    rest = title.removeprefix("output.")
    return rest if not rest.partition(".")[0].isdigit() else "output" if outputs == 1 else title


def _ends(s: slice) -> tuple[Any, Any, Any]:
    return s.start, s.stop, s.step


def _same(a: np.ndarray, again: np.ndarray) -> bool:
    """Whether two arrays are the same to the bit."""
    return a is again or (a.shape == again.shape and a.dtype == again.dtype and (
        a.tolist() == again.tolist() if a.dtype == object else a.tobytes() == again.tobytes()
    ))  # fmt: skip


def _line(v: Vertex) -> str:
    return "" if v.call is None else f" (line {v.call[1]} of {os.path.basename(v.call[0])}: {v.call[3]})"
