"""The ONNX graph while it is written: its values, the lengths that follow the batch, and the order of axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

OPSET = 20  # of ai.onnx, published in November 2023; the first with Gelu
IR_VERSION = 9  # the one that came with it
INSTALL = 'needs the onnx package: pip install "onnx>=1.19"'

DTYPES = [np.dtype(code) for code in ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")]

Order = tuple[int, ...]  # a permutation: entry i is the axis of minigraph's array that is axis i of ONNX's


class UnsupportedError(ValueError):
    """What cannot be expressed in ONNX, or what of an ONNX file has no counterpart here."""


@dataclass(frozen=True)
class Length:
    """A length that follows the batch: `times * batch + plus`."""

    times: int
    plus: int

    def __str__(self) -> str:
        batch = "batch" if self.times == 1 else f"{self.times} * batch"
        return batch if not self.plus else f"{batch} {'+' if self.plus > 0 else '-'} {abs(self.plus)}"


@dataclass
class Value:
    """An array of the graph, under the names of the ONNX tensors that hold it.

    Attributes:
        shape, dtype: those of minigraph's array.
        names: by the order of axes, the ONNX tensor in which they stand so. A constant that no node uses has none; a
            longer order is that of an array to which it is broadcast, with axes of length 1.
        array: the entries of a constant or parameter, else None.
        title: what a constant is called.
    """

    shape: tuple[int | Length, ...]
    dtype: np.dtype[Any]
    names: dict[Order, str] = field(default_factory=dict)
    array: np.ndarray | None = None
    title: str = "constant"
    casts: dict[np.dtype[Any], Value] = field(default_factory=dict)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def order(self) -> Order:
        """An order in which it is there already; the plain one, if that is."""
        usual = plain(self.ndim)
        return usual if usual in self.names else next((o for o in self.names if len(o) == self.ndim), usual)


def plain(ndim: int) -> Order:
    """The axes as minigraph has them."""
    return tuple(range(ndim))


def channels_first(ndim: int) -> Order:
    """The axes as ONNX's convolutions have them: (N, H, W, C) -> (N, C, H, W)."""
    return (0, ndim - 1, *range(1, ndim - 1))


class Builder:
    """Collects nodes and initializers. Values are transposed where a node wants another order, and only there.

    A convolution leaves its result with the channels first, and what works on entries keeps them there. So transposes
    stand where such a part of the graph begins and where it ends.
    """

    def __init__(self, batch: str | None) -> None:
        """`batch` is the name of an input whose first axis is the batch."""
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._input = batch
        self._taken: set[str] = set()
        self._constants: dict[Any, str] = {}
        self._batch: str | None = None
        self._scope = ""

    # ------------------------------------------------------------ names, nodes, constants

    def unique(self, name: str) -> str:
        """`name`, with a number behind it if it is taken. It is taken from here on."""
        n, found = 1, name
        while found in self._taken:
            n += 1
            found = f"{name}_{n}"
        self._taken.add(found)
        return found

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Nodes that are made inside have names that begin with this one."""
        self._scope = name
        yield
        self._scope = ""

    def node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """A node of ONNX's operator `op_type` with one output, whose name is returned. An input "" is left out."""
        from onnx import helper

        name = self.unique(f"{self._scope}/{op_type}" if self._scope else op_type)
        self.nodes.append(helper.make_node(op_type, inputs, [name], name, **attributes))
        return name

    def constant(self, array: Any, title: str = "constant") -> str:
        """The name of an initializer with these entries. Small ones without a title are shared."""
        from onnx import numpy_helper

        array = np.asarray(array)
        key = (array.dtype.str, array.shape, array.tobytes()) if title == "constant" and array.size <= 64 else None
        if key in self._constants:
            return self._constants[key]
        name = self.unique(title)
        array = np.asarray(array, array.dtype.newbyteorder("="), order="C")
        self.initializers.append(numpy_helper.from_array(array, name))
        if key:
            self._constants[key] = name
        return name

    def integers(self, values: Sequence[int | Length]) -> str:
        """The name of an int64 vector; what in it follows the batch is computed from the shape of an input."""
        if not any(isinstance(v, Length) for v in values):
            return self.constant(np.array(values, np.int64))
        parts = []
        for v in values:
            if not isinstance(v, Length):
                parts.append(self.constant(np.array([v], np.int64)))
                continue
            if self._batch is None:
                assert self._input is not None
                self._batch = self.node("Shape", self._input, start=0, end=1)
            part = self._batch
            if v.times != 1:
                part = self.node("Mul", part, self.constant(np.array([v.times], np.int64)))
            if v.plus:
                part = self.node("Add", part, self.constant(np.array([v.plus], np.int64)))
            parts.append(part)
        return parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=0)

    # ------------------------------------------------------------ values

    def name(self, v: Value, order: Order | None = None) -> str:
        """The tensor with the axes of `v` in this order, by default the plain one."""
        order = plain(v.ndim) if order is None else order
        if order not in v.names:
            if v.array is not None:
                v.names[order] = self.constant(v.array.transpose(order), v.title)
            else:
                have, name = next((o, n) for o, n in v.names.items() if len(o) == v.ndim)
                v.names[order] = self.node("Transpose", name, perm=[have.index(axis) for axis in order])
        return v.names[order]

    def operand(self, a: Any, dtype: Any) -> Value:
        """A Value in this dtype, made of a Value or of numbers."""
        dtype = np.dtype(dtype)
        if not isinstance(a, Value):
            a = np.asarray(a, dtype)
            return Value(a.shape, dtype, array=a)
        if a.dtype == dtype:
            return a
        if dtype not in a.casts:
            if a.array is not None:
                cast = Value(a.shape, dtype, array=a.array.astype(dtype), title=a.title)
            else:
                cast = Value(a.shape, dtype, {a.order: self.node("Cast", self.name(a, a.order), to=onnx_type(dtype))})
            a.casts[dtype] = cast
        return a.casts[dtype]

    def aligned(self, ndim: int, *operands: Value) -> tuple[Order, list[str]]:
        """An order of the `ndim` axes of a result, and the operands so that they broadcast to it.

        The channels are first where some operand has them so, and only so.
        """
        order = first = channels_first(ndim)
        if ndim < 3 or not any(v.ndim == ndim and v.order == first for v in operands):
            order = plain(ndim)
        return order, [self._broadcast(v, ndim, order) for v in operands]

    def _broadcast(self, v: Value, ndim: int, order: Order) -> str:
        if v.ndim in (0, ndim) or order == plain(ndim):
            return self.name(v, order if v.ndim == ndim else None)
        if order not in v.names:  # it has axes of length 1 in front, and these in order too
            new = ndim - v.ndim
            if v.array is not None:
                v.names[order] = self.constant(v.array.reshape((1,) * new + v.array.shape).transpose(order), v.title)
            else:
                name = self.name(v, tuple(axis - new for axis in order if axis >= new))
                ones = [i for i, axis in enumerate(order) if axis < new]
                v.names[order] = self.node("Unsqueeze", name, self.integers(ones))
        return v.names[order]

    def reshape(self, name: str, shape: Sequence[int | Length]) -> str:
        """The tensor `name` in another shape. One length that follows the batch is left to follow from the others."""
        lengths: list[int | Length] = [-1 if isinstance(n, Length) else n for n in shape]
        if lengths.count(-1) > 1 or (-1 in lengths and 0 in lengths):
            lengths = [*shape]
        allow = {"allowzero": 1} if 0 in lengths else {}
        return self.node("Reshape", name, self.integers(lengths), **allow)

    def ones(self, n: int | Length, dtype: Any, value: float = 1) -> str:
        """A vector of n ones, or of another number."""
        return self.constant(np.full(fixed([n]), value, dtype))


def onnx_type(dtype: Any) -> int:
    """ONNX's number of a dtype. Raises UnsupportedError where it has none."""
    from onnx import helper

    dtype = np.dtype(dtype).newbyteorder("=")
    if dtype not in DTYPES:
        raise UnsupportedError(f"export: ONNX has no arrays of {dtype}")
    return int(helper.np_dtype_to_tensor_dtype(dtype))


def fixed(shape: Sequence[int | Length]) -> list[int]:
    """Lengths that have to be known. Raises UnsupportedError where one follows the batch."""
    if any(isinstance(n, Length) for n in shape):
        raise UnsupportedError("it needs a length that follows the batch; export with batch=False")
    return [*shape]  # type: ignore[list-item]


def numpy_dtype(number: int) -> np.dtype[Any]:
    """The dtype of ONNX's number. Raises UnsupportedError for those that NumPy does not have by itself."""
    from onnx import TensorProto, helper

    for dtype in DTYPES:
        if helper.np_dtype_to_tensor_dtype(dtype) == number:
            return dtype
    name = TensorProto.DataType.Name(number).lower() if number in TensorProto.DataType.values() else f"number {number}"
    raise UnsupportedError(f"the type {name}, expected one of {', '.join(map(str, DTYPES))}")
