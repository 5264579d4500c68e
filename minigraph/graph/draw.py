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
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..blame import describe
from ..tensor import Tensor
from .dot import Dot
from .measure import measure
from .trace import Graph, trace
from .view import view as view_of

if TYPE_CHECKING:
    import graphviz

_INSTALL = "install Graphviz (apt install graphviz, brew install graphviz, or conda install graphviz)"
_CROWDED = 500  # boxes above which a picture is hard to read, and `draw` says what to do
_PARAMETERS = ("beside", "label", "hidden")
_SHOWN = ("shape", "flops", "saved", "line", "time", "values", "gradient")
_ON_EDGES = ("shape", "values", "gradient")
_MEASURED = {"time", "values", "gradient"}
_RUNS = 3  # of which the median of the times is shown; the first run is slower
_DIRECTIONS = ("forward", "backward", "both")


def draw(
    target: Tensor | Callable[..., Any],
    *inputs: Any,
    names: dict[str, Any] | None = None,
    constants: Sequence[str] = ("state",),
    view: str = "forward",
    depth: int | None = None,
    fold: bool | None = None,
    parameters: str = "beside",
    show: Sequence[str] = ("shape",),
    edges: Sequence[str] = (),
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
        view: "forward" draws the operations. "backward" draws the way of the gradient from the results to the
            parameters: the rules of the operations, numbered in the order in which the backward pass runs them, with
            the bytes that each sets free of those that the graph still holds. "both" draws each rule beside its
            operation.
        depth: draw each group of this depth, from 1, as one box with its parameters, operations and memory. None draws
            every operation, and a frame around each group.
        fold: draw a run of equal boxes once, with a frame that says how often. None does so where groups are collapsed
            and where there are more than 100 operations.
        parameters: "beside" the operation that uses them, in its "label", or "hidden". So are state and constants.
        show: what to say of an operation beside its name: "shape" (with the dtype), "flops" (by definition, of the
            forward), "saved" (bytes kept for the backward pass), "line" (of the source). A collapsed group has all but
            the line. Three more are measured, as `graph.measure.measure` does it: "time" (of the operation, and of its
            rule), "values" (mean, standard deviation, range and share of zeros of the result), and "gradient" (the root
            mean square of the gradient that arrives).
        edges: what to write on the edges: "shape" and "values" of the result that goes along, and the "gradient" that
            comes back. Arrays that stand beside an operation have it in their own boxes.

    With "gradient" the colours of operations and parameters tell the root mean square on a logarithmic scale, from
    blue, where gradients vanish, to orange, where they explode. With "time" and no "gradient" they tell the share of
    the time of all that is drawn. A legend says which colour is which number. What is not finite is red. A collapsed
    group has the time of all that it holds, and the lowest and the highest gradient, with a colour for each; so have
    the boxes of a run that is folded.

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
            a name that is in `constants`; or view, depth, parameters, show or edges is none of the above.
            Or times are to be shown, and the function did not run the same operations each time.
        RuntimeError: a backward pass has freed the graph. BackwardError: the rule of an operation failed.
        ImportError: the `graphviz` package is missing.
    """
    try:
        import graphviz  # noqa: F401  (only to say what is missing)
    except ImportError as error:
        raise ImportError('draw needs the graphviz package: pip install -e ".[draw]"') from error

    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 1):
        raise ValueError(f"draw: depth should be a whole number from 1, or None, got {describe(depth)}")
    if view not in _DIRECTIONS:
        raise ValueError(f"draw: view should be one of {', '.join(_DIRECTIONS)}, got {describe(view)}")
    if parameters not in _PARAMETERS:
        raise ValueError(f"draw: parameters should be one of {', '.join(_PARAMETERS)}, got {describe(parameters)}")
    for name, given, allowed in (("show", show, _SHOWN), ("edges", edges, _ON_EDGES)):
        if not isinstance(given, (list, tuple, set)) or not all(isinstance(e, str) and e in allowed for e in given):
            raise ValueError(f"draw: {name} should be a list of some of {', '.join(allowed)}, got {describe(given)}")
    if _MEASURED & {*show, *edges}:
        repeat = _RUNS if "time" in show else 1
        graph = measure(target, *inputs, names=names, constants=constants, repeat=repeat, what="draw")
    else:
        graph = trace(target, *inputs, names=names, constants=constants, what="draw")
    shown = view_of(graph, depth, fold)
    boxes = len(shown.shown())
    if boxes > _CROWDED:
        message = f"draw: the picture has {boxes:,} boxes, which are hard to read{_advice(graph, depth)}"
        warnings.warn(message, stacklevel=2)
    picture = _digraph()("minigraph")
    Dot(picture, shown, view, parameters, {*show}, {*edges})
    return picture


def _advice(graph: Graph, depth: int | None) -> str:
    """How to draw fewer boxes."""
    depths = {len(v.scope) for v in graph.operations}
    counts = {d: len(view_of(graph, d).shown()) for d in range(1, max(depths) + 1) if depth is None or d < depth}
    few = [(d, n) for d, n in counts.items() if n <= _CROWDED]
    if few:
        return f"; with depth={few[-1][0]} there are {few[-1][1]}"
    return "; name parts of the function by mg.scope, and draw it with depth=1"


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
