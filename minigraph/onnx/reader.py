"""Reading an ONNX model as a function of its parameters and inputs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..blame import describe
from ..tensor import value
from . import sequences, spatial  # noqa: F401  they add to OPERATORS
from .build import INSTALL, UnsupportedError, numpy_dtype
from .operators import OPERATORS, Arguments, Held, kernel_order, plain

OPSETS = range(1, 29)
_FIXED = {  # inputs of operators that are no parameters
    "BatchNormalization": slice(3, 5), "Resize": slice(1, 3), "Upsample": slice(1, 2), "OneHot": slice(2, 3),
    "Pad": slice(2, 3),
}  # fmt: skip


class Input(NamedTuple):
    """What a model takes: a name, a shape in which a text or None stands for any length (or None), and a dtype."""

    name: str
    shape: tuple[int | str | None, ...] | None
    dtype: np.dtype[Any]


class Model:
    """An ONNX model as a function: `model(params, x, ...)`, of its parameters and its inputs in order.

    It returns the output, or a tuple of several. Inputs and parameters may be Tensors, and all that lies between is
    made of minigraph's operations, so it can be differentiated.

    Attributes:
        inputs: what it takes, besides the parameters. outputs: the names of what it returns.
        metadata: the texts of the file, by name.
        path: the file.
    """

    def __init__(self, path: str, graph: Any, opset: int, metadata: dict[str, str]) -> None:
        self.path, self.metadata = path, metadata
        self.outputs = tuple(o.name for o in graph.output)
        stored = {i.name: _stored(path, i) for i in graph.initializer}
        self.inputs = tuple(_input(path, i) for i in graph.input if i.name not in stored)
        nodes = [*graph.node]
        used = Counter(name for node in nodes for name in node.input) + Counter(self.outputs)
        self._orders = _kernels(nodes, stored, used)
        self._constants, self._params = self._divide(nodes, stored)
        self._steps = self._compile(nodes, opset, used, stored)

    def __repr__(self) -> str:
        return f"Model({self.path!r}: {', '.join(i.name for i in self.inputs)} -> {', '.join(self.outputs)})"

    def _divide(
        self, nodes: list[Any], stored: dict[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The initializers: constants, and parameters, which are floating, have axes, and are used as numbers.

        Running statistics are no parameters, and neither is what a gradient does not reach, such as the scales by which
        maps are resized.
        """
        statistics = {name for node in nodes for name in node.input[_FIXED.get(node.op_type, slice(0))]}
        constants, params = {}, {}
        for name, array in stored.items():
            floating = array.dtype.kind == "f" and array.ndim and name not in statistics
            if floating and np.isfinite(array).all():  # a mask with infinities is no parameter
                order = self._orders.get(name, range(array.ndim))
                params[name] = np.array(array.transpose(tuple(order)), order="C")
            else:
                constants[name] = array
                self._orders.pop(name, None)
        return constants, params

    def _compile(
        self, nodes: list[Any], opset: int, used: Counter[str], stored: dict[str, np.ndarray]
    ) -> list[_Step]:
        """A step for each node. Raises UnsupportedError with all that is not supported."""
        unknown = Counter(_kind(node) for node in nodes if _kind(node) not in OPERATORS)
        if unknown:
            listed = ", ".join(f"{name} ({n})" for name, n in sorted(unknown.items()))
            raise UnsupportedError(f"load: {self.path} has operators that are not supported: {listed}")
        steps, problems = [], []
        last = {name: i for i, node in enumerate(nodes) for name in node.input}
        known = dict(stored)
        for i, node in enumerate(nodes):
            inputs = [known.get(name) for name in node.input]
            arguments = Arguments(node, opset, inputs)
            where = f"{node.op_type} {node.name or node.output[0]}"
            try:
                function = OPERATORS[node.op_type](arguments)
                arguments.check(any(used[name] for name in node.output[1:]))
            except UnsupportedError as error:
                problems.append(f"{where}: {error}")
                continue
            if node.op_type == "Constant":
                known[node.output[0]] = function()
            free = [n for n in {*node.input, *node.output} if last.get(n, i) == i and n not in self.outputs]
            steps.append(_Step(where, function, [*node.input], [*node.output], free))
        if problems:
            raise UnsupportedError(f"load: {self.path} has what is not supported: {'; '.join(problems)}")
        return steps

    def __call__(self, params: Any, *inputs: Any) -> Any:
        if not isinstance(params, dict) or params.keys() != self._params.keys():
            raise ValueError(f"{self.path}: expected params as load gave them, a dict of {len(self._params)} arrays")
        if len(inputs) != len(self.inputs):
            names = ", ".join(i.name for i in self.inputs)
            raise TypeError(f"{self.path}: expected the inputs {names}, got {len(inputs)}")
        values: dict[str, Any] = {"": None, **self._constants}
        for name, array in params.items():
            values[name] = Held(array, self._orders[name]) if name in self._orders else array
        for expected, x in zip(self.inputs, inputs, strict=True):
            values[expected.name] = self._checked(expected, x)
        for step in self._steps:
            try:
                y = step.function(*(values[name] for name in step.inputs))
            except (TypeError, ValueError, IndexError, KeyError, ArithmeticError) as error:
                raise ValueError(f"{self.path}: at {step.where}: {error}") from error
            for name, result in zip(step.outputs, y if type(y) is tuple else (y,), strict=False):
                values[name] = result
            for name in step.free:
                values.pop(name, None)
        results = tuple(plain(values[name]) for name in self.outputs)
        return results[0] if len(results) == 1 else results

    def _checked(self, expected: Input, x: Any) -> Any:
        x = x if hasattr(x, "dtype") else np.asarray(x)
        shape = expected.shape
        fits = x.dtype == expected.dtype and (shape is None or len(shape) == x.ndim) and all(
            not isinstance(n, int) or n == m for n, m in zip(shape or (), x.shape, strict=False)
        )  # fmt: skip
        if not fits:
            lengths = "" if shape is None else f" ({', '.join('any' if n is None else str(n) for n in shape)})"
            raise ValueError(
                f"{self.path}: input {expected.name} should be {expected.dtype}{lengths}, got {describe(value(x))}"
            )
        return x


class _Step(NamedTuple):
    """One node: its function, the names that it reads and writes, and those that nobody needs after it."""

    where: str
    function: Callable[..., Any]
    inputs: list[str]
    outputs: list[str]
    free: list[str]


def load(path: str | os.PathLike[str]) -> tuple[Model, dict[str, np.ndarray]]:
    """An ONNX model as a function and its parameters: `model, params = mg.onnx.load("resnet.onnx")`.

    `model(params, x)` runs it on arrays or Tensors, and `mg.grad` goes through it. The parameters are a dict by the
    names in the file: the floating initializers that have axes, except running statistics and masks with infinities.
    Kernels of convolutions are stored as minigraph's convolutions take them, (height, width, channels, filters); all
    other shapes are those of the file, and so are the axes of inputs and outputs, with the channels first.

    Batch normalisation and dropout work as in evaluation. Operators that round or compare have no gradient.

    Args:
        path: the file. Data in files beside it are read too.

    Raises:
        UnsupportedError: the model has operators, or options of operators, that are not supported. The message lists
            all of them.
        ValueError: the file is no valid ONNX model.
        ImportError: the `onnx` package is missing. OSError: the file, or one of its data beside it, cannot be read.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError(f"load {INSTALL}") from error

    name = os.fspath(path)
    try:
        model = onnx.load(name, load_external_data=False)
    except OSError:
        raise
    except Exception as error:  # DecodeError, or UnicodeDecodeError of a form as text
        raise ValueError(f"load: {name} is no valid ONNX model: no file of ONNX, or cut short ({error})") from error
    try:
        _read_data(model, name)
        onnx.checker.check_model(model)
        if model.functions:
            import onnx.inliner

            model = onnx.inliner.inline_local_functions(model)
        opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
        if opset not in OPSETS:
            raise UnsupportedError(f"load: {name} has opset {opset}, expected {OPSETS[0]} to {OPSETS[-1]}")
        model = _expanded(model, opset)
        loaded = Model(name, model.graph, opset, {p.key: p.value for p in model.metadata_props})
    except (OSError, UnsupportedError):
        raise
    except Exception as error:  # a damaged file can raise DecodeError, ValidationError, KeyError, ...
        raise ValueError(f"load: {name} is no valid ONNX model: {' '.join(str(error).split())}") from error
    return loaded, loaded._params


def _read_data(model: Any, path: str) -> None:
    """Read the initializers that are stored in files beside the model. Raises FileNotFoundError for one that is not."""
    from onnx import TensorProto, external_data_helper

    beside = os.path.dirname(path)
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            file = next((e.value for e in tensor.external_data if e.key == "location"), "")
            if not os.path.exists(os.path.join(beside, file)):
                raise FileNotFoundError(f"load: {path} has its numbers in the file {file} beside it, which is missing")
    external_data_helper.load_external_data_for_model(model, beside)


def _expanded(model: Any, opset: int) -> Any:
    """The model with operators that are not in OPERATORS replaced by those that ONNX defines them by, if it does."""
    import onnx.inliner

    tried: set[str] = set()
    while True:
        names = set()
        for node in model.graph.node:
            if _kind(node) in OPERATORS or _kind(node) in tried or node.domain not in ("", "ai.onnx"):
                continue
            schema: Any = onnx.defs.get_schema(node.op_type, opset)
            if schema.has_function or schema.has_context_dependent_function:
                names.add(node.op_type)
                given = {a.name for a in node.attribute}  # the definition does not know the defaults
                defaults = {name: a.default_value for name, a in schema.attributes.items()}
                node.attribute.extend(v for name, v in defaults.items() if v.name and name not in given)
        if not names:
            return model
        tried |= names
        try:
            ids = [("", name) for name in sorted(names)]
            model = onnx.inliner.inline_selected_functions(model, ids, inline_schema_functions=True)
        except RuntimeError:  # a type that it would have to know, and does not
            return model


def _kind(node: Any) -> str:
    """The operator of a node, with its domain where that is not ONNX's own."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _kernels(nodes: list[Any], stored: dict[str, np.ndarray], used: Counter[str]) -> dict[str, tuple[int, ...]]:
    """The orders in which kernels are stored: initializers that are kernels of convolutions and nothing else."""
    uses = Counter(n.input[1] for n in nodes if n.op_type in ("Conv", "ConvTranspose") and n.input[1] in stored)
    return {name: kernel_order(stored[name].ndim) for name, count in uses.items() if count == used[name]}


def _stored(path: str, tensor: Any) -> np.ndarray:
    """An initializer."""
    from onnx import numpy_helper

    try:
        numpy_dtype(tensor.data_type)
    except UnsupportedError as error:
        raise UnsupportedError(f"load: {path}: {tensor.name} is of {error}") from None
    return numpy_helper.to_array(tensor)


def _input(path: str, info: Any) -> Input:
    kind = info.type.tensor_type
    if not info.type.HasField("tensor_type"):
        raise UnsupportedError(f"load: {path}: input {info.name} is no array but a {info.type.WhichOneof('value')}")
    try:
        dtype = numpy_dtype(kind.elem_type)
    except UnsupportedError as error:
        raise UnsupportedError(f"load: {path}: input {info.name} is of {error}") from None
    if not kind.HasField("shape"):
        return Input(info.name, None, dtype)
    lengths = (d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in kind.shape.dim)
    return Input(info.name, tuple(lengths), dtype)
