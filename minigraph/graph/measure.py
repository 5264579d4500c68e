"""A graph with what one run of it measures: times, and statistics of the values and of the gradients."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from .. import tape, watch
from ..blame import describe
from ..primitive import Primitive
from ..tape import Node
from ..tensor import Tensor, value
from .trace import Builder, Graph, Tracer, build, through

BINS = 24


@dataclass(frozen=True)
class Statistics:
    """What there is to say of the entries of an array, in float64.

    Attributes:
        size: the number of entries. non_finite: how many of them are infinite or no number.
        min, max, mean, std, norm: of the finite entries: the standard deviation is that of the population, the norm the
            Euclidean one. NaN where there are none, and then the norm is 0.
        zeros: the share of entries that are zero; 0 for an empty array.
        counts, edges: a histogram of the finite entries: 24 bins of equal width from `min` to `max`, and their 25
            edges. Where all entries are equal, it is one unit wide. Empty where there is no finite entry.
        value: the number itself, of an array without axes; otherwise None.
    """

    size: int
    non_finite: int
    min: float
    max: float
    mean: float
    std: float
    norm: float
    zeros: float
    counts: tuple[int, ...]
    edges: tuple[float, ...]
    value: float | int | bool | None

    @property
    def rms(self) -> float:
        """The root mean square of the finite entries, which unlike the norm does not grow with their number."""
        finite = self.size - self.non_finite
        return self.norm / math.sqrt(finite) if finite else math.nan

    @staticmethod
    def of(array: Any) -> Statistics:
        """The statistics of an array of numbers or bools, of any shape and dtype."""
        array = np.asarray(array)
        number = None if array.ndim else array.item()
        x = array.ravel()
        if array.dtype.kind == "f":
            finite = np.isfinite(x)
            x = x if finite.all() else x[finite]
        non_finite = array.size - x.size
        zeros = (array.size - np.count_nonzero(array)) / array.size if array.size else 0.0
        if not x.size:
            nan = math.nan
            return Statistics(array.size, non_finite, nan, nan, nan, nan, 0.0, zeros, (), (), number)
        low, high = float(x.min()), float(x.max())
        # In units of the largest entry no square and no difference overflows.
        unit = max(-low, high) or 1.0
        x = np.divide(x, unit, dtype=np.float64)
        mean, norm = float(x.mean()), math.sqrt(float(x @ x))
        std = math.sqrt(float(np.square(x - mean).mean()))
        counts, edges = _histogram(x, low, high, unit)
        return Statistics(
            array.size, non_finite, low, high, mean * unit, std * unit, norm * unit, zeros, counts, edges, number
        )


def _histogram(x: np.ndarray, low: float, high: float, unit: float) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The counts and edges for the entries `x * unit`, which lie from `low` to `high`.

    `np.histogram` refuses entries that are so close to each other that there are no 24 numbers between them.
    """
    if low == high:
        counts = [0] * BINS
        counts[BINS // 2] = len(x)
        return tuple(counts), tuple(np.linspace(low - 0.5, high + 0.5, BINS + 1).tolist())
    first, last = low / unit, high / unit
    bins = np.minimum((x - first) * (BINS / (last - first)), BINS - 1).astype(np.intp)
    edges = np.linspace(first, last, BINS + 1) * unit
    edges[0], edges[-1] = low, high
    return tuple(np.bincount(bins, minlength=BINS).tolist()), tuple(edges.tolist())


@dataclass(frozen=True)
class Measured:
    """What a run has shown of one vertex.

    Attributes:
        seconds: the time of the operation. None for arrays, and where the target is a Tensor, whose operations have run
            before.
        backward_seconds: the time of the operation's rule, with the addition of its gradients to those of the inputs.
            None where no rule ran.
        values: of the operation's result, or of the array. None where the array is not kept.
        gradient: of the gradient that arrives at the operation's result, summed over all its uses. For a parameter or
            an input that is the whole gradient, for a result it is what the backward pass begins with. None where no
            gradient arrives.
    """

    seconds: float | None = None
    backward_seconds: float | None = None
    values: Statistics | None = None
    gradient: Statistics | None = None


def measure(
    target: Tensor | Callable[..., Any],
    *inputs: Any,
    names: dict[str, Any] | None = None,
    constants: Sequence[str] = ("state",),
    repeat: int = 1,
    what: str = "measure",
) -> Graph:
    """The graph that `trace` gives, after a run of the function and of a backward pass: each vertex has `measured`.

        graph = measure(loss, params, x, y)
        worst = max(graph.operations, key=lambda v: v.measured.seconds)

    Args:
        inputs, names, constants, what: as in `trace`.
        repeat: how many runs there are. The times are the medians over them; everything else is of the first run.

    The backward pass begins with a gradient of ones. Where some results are single numbers, as a loss is, it begins at
    these alone, and otherwise at all results: the gradients are those of the sum of their entries. No `.grad` changes.
    Gradients of float16 are float32 on their way, and rounded at the parameters and inputs.

    The statistics are computed between the operations, outside of the times. Times of a single run are rough: the first
    run of a function is slower than the next ones.

    A Tensor's graph was recorded before. Its operations are not run again and have no times, and there are statistics
    of those values only that the graph keeps for its rules, and of the Tensor itself. The backward pass is run as for a
    function, and the graph remains.

    Raises, beside what `trace` raises:
        TypeError: repeat is no whole number.
        ValueError: repeat is below 1. Or the function did not run the same operations each time.
        BackwardError: the rule of an operation failed.
    """
    if isinstance(repeat, bool) or not isinstance(repeat, int):
        raise TypeError(f"{what}: repeat should be a whole number, got {describe(repeat)}")
    if repeat < 1:
        raise ValueError(f"{what}: repeat should be at least 1, got {repeat}")
    graphs = [_run(_Meter(full=not i), target, inputs, names, constants, what) for i in range(repeat)]
    for other in graphs[1:]:
        if [(v.title, v.shape) for v in other.vertices] != [(v.title, v.shape) for v in graphs[0].vertices]:
            raise ValueError(f"{what}: the function should run the same operations in each of its {repeat} runs")
    for vertices in zip(*(graph.vertices for graph in graphs), strict=True):
        runs = [v.measured for v in vertices if v.measured is not None]
        vertices[0].measured = Measured(
            _median([run.seconds for run in runs]), _median([run.backward_seconds for run in runs]),
            runs[0].values, runs[0].gradient,
        )  # fmt: skip
    return graphs[0]


def _median(times: Sequence[float | None]) -> float | None:
    known = [t for t in times if t is not None]
    return statistics.median(known) if known else None


def _run(
    meter: _Meter,
    target: Tensor | Callable[..., Any],
    inputs: tuple[Any, ...],
    names: dict[str, Any] | None,
    constants: Sequence[str],
    what: str,
) -> Graph:
    """The graph of one run, with what the meter has seen."""
    builder = build(meter, target, inputs, names, constants, what)
    arrays = _arrays(builder)
    if isinstance(target, Tensor):
        arrays |= _kept(builder) | {through(node): target.data for node in [target.node] if node is not None}
    for key, array in arrays.items():
        if meter.full and key not in meter.values:
            meter.values[key] = Statistics.of(array)
    single = [node for node in builder.results if node.shape == ()]
    seeds = [(node, np.ones(node.shape, node.dtype)) for node in single or builder.results]
    meter.watched = {node for node in builder.nodes if node.op is not None}
    with watch.watching(meter):
        leaves = tape.backprop(seeds, retain_graph=isinstance(target, Tensor))
    if meter.full:
        meter.gradients.update((node, Statistics.of(value(g))) for node, g in leaves.items())
    for key, index in builder.ids.items():
        measured = Measured(
            meter.seconds.get(key), meter.backward_seconds.get(key), meter.values.get(key), meter.gradients.get(key)
        )
        builder.graph.vertices[index].measured = measured
    begins = {node: seed for node, seed in seeds} if meter.full else {}
    for i, node in enumerate(builder.results):
        gradient = Statistics.of(begins[node]) if node in begins else None
        result = builder.graph.vertices[builder.ids["output", i]]
        result.measured = Measured(values=meter.values.get(node), gradient=gradient)
    return builder.graph


class _Meter(Tracer):
    """Sees a function run as a tracer does, and takes times and statistics.

    Args:
        full: whether statistics are wanted, beside the times.

    `watched` has the nodes whose rules are measured, from the moment on when the graph's own backward pass begins.
    """

    def __init__(self, full: bool) -> None:
        super().__init__()
        self.full = full
        self.watched: set[Node] | None = None
        self.seconds: dict[Any, float] = {}
        self.backward_seconds: dict[Any, float] = {}
        self.values: dict[Any, Statistics] = {}
        self.gradients: dict[Any, Statistics] = {}
        self._began: dict[Node, float] = {}

    def operation(self, op: Primitive[Any], run: Callable[[], Any]) -> Any:
        if self.watched is not None:  # inside a rule, as under `checkpoint`
            return run()
        seconds = 0.0

        def timed() -> Any:
            nonlocal seconds
            begin = perf_counter()
            y = run()
            seconds = perf_counter() - begin
            return y

        y = super().operation(op, timed)
        if type(y) is Tensor and y.node is not None:
            self.seconds[y.node] = seconds
            if self.full:  # now, since a later operation may write into the array
                self.values[y.node] = Statistics.of(y.data)
        return y

    def rule_begins(self, node: Node, g: Any) -> None:
        if self.watched is None:  # a transform inside the function
            super().rule_begins(node, g)
        elif node in self.watched:
            if self.full:
                self.gradients[node] = Statistics.of(value(g))
            self._began[node] = perf_counter()

    def rule_ends(self, node: Node) -> None:
        if self.watched is None:
            super().rule_ends(node)
        elif node in self._began:
            self.backward_seconds[node] = perf_counter() - self._began.pop(node)


def _arrays(builder: Builder) -> dict[Any, np.ndarray]:
    """The arrays that go in, by their keys in `builder.ids`."""
    found: dict[Any, np.ndarray] = {}
    for node in builder.nodes:
        leaf = node.leaf() if node.op is None else None
        if leaf is not None:
            found[node] = leaf.data
    for sources, _ in builder.arguments.values():
        found.update((id(source), source) for _, source in sources if isinstance(source, np.ndarray))
    return found


def _kept(builder: Builder) -> dict[Any, np.ndarray]:
    """The results that the nodes keep for the rules, of themselves and of their inputs."""
    found: dict[Any, np.ndarray] = {}
    for node in builder.nodes:
        if node.op is None:
            continue
        if node.y is not None:
            found[node] = node.y
        for argument, parent in zip(node.args, node.parents, strict=True):
            if parent is not None and isinstance(argument, np.ndarray):
                found.setdefault(through(parent), argument)
    return found
