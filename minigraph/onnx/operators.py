"""What each operator of ONNX is in minigraph's operations: one table, by the operator's name.

Those of maps are in `spatial.py`, those of sequences in `sequences.py`.

    @operator("Tanh")
    def _(a): return lambda x: ...

The entry of an operator gets the Arguments of a node when a model is loaded, and returns the function of the node's
inputs. It raises UnsupportedError for options that it cannot do, and so does `Arguments.check` for options that it did
not ask for. Inputs that are left out are None. Integers and bools are plain NumPy arrays, shapes among them; floats are
arrays or Tensors. Either may be Held in another order of axes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..tensor import Tensor, value
from .build import UnsupportedError, numpy_dtype

Function = Callable[..., Any]
OPERATORS: dict[str, Callable[[Arguments], Function]] = {}
SEVERAL = {"Attention", "GRU", "LSTM", "LayerNormalization", "RNN", "Split", "TopK"}  # with more than one output


class Held(NamedTuple):
    """An array of ONNX with its axes in another order: axis i of `array` is its axis `order[i]`.

    Convolutions leave their results so, with the channels last, and what works on entries keeps them.
    """

    array: Any
    order: tuple[int, ...]


class Arguments:
    """The attributes of a node, its inputs that are stored (others are None), and the version of the operators."""

    def __init__(self, node: Any, opset: int, inputs: list[np.ndarray | None]) -> None:
        from onnx import helper

        self.opset, self.inputs = opset, inputs
        self.op_type, self.outputs = node.op_type, len(node.output)
        self._attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        self._asked = {"broadcast"} if opset < 7 else set()  # without an axis, as NumPy does it, and so later versions

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute; a text as a str."""
        self._asked.add(name)
        found = self._attributes.get(name, default)
        return found.decode() if isinstance(found, bytes) else found

    def only(self, name: str, *allowed: Any) -> None:
        """Raise UnsupportedError where an attribute has another value than these, the first of which is its default."""
        found = self.get(name, allowed[0])
        if found not in allowed:
            raise UnsupportedError(f"{name}={found}")

    def stored(self, i: int) -> np.ndarray | None:
        """Input i if it is stored in the model."""
        return self.inputs[i] if i < len(self.inputs) else None

    def check(self, several: bool) -> None:
        """Raise UnsupportedError for attributes that nobody has asked for, and for `several` outputs that are used."""
        rest = self._attributes.keys() - self._asked
        if rest:
            raise UnsupportedError(f"the attribute {', '.join(sorted(rest))}")
        if several and self.op_type not in SEVERAL:
            raise UnsupportedError(f"{self.outputs} outputs")


def operator(*names: str) -> Callable[[Callable[[Arguments], Function]], Callable[[Arguments], Function]]:
    def register(f: Callable[[Arguments], Function]) -> Callable[[Arguments], Function]:
        OPERATORS.update(dict.fromkeys(names, f))
        return f

    return register


# ---------------------------------------------------------------- the order of axes


def kernel_order(ndim: int) -> tuple[int, ...]:
    """(K, C, height, width) of ONNX as (height, width, C, K)."""
    return (*range(2, ndim), 1, 0)


def channels_last(ndim: int) -> tuple[int, ...]:
    """(N, C, H, W) of ONNX as (N, H, W, C)."""
    return (0, *range(2, ndim), 1)


def plain(v: Any) -> Any:
    """The array with ONNX's order of axes."""
    return ordered(v, tuple(range(ndim_of(v))))


def ordered(v: Any, order: tuple[int, ...]) -> Any:
    """The array with its axes in this order."""
    array, have = v if isinstance(v, Held) else (v, tuple(range(ndim_of(v))))
    return array if have == order else ops.transpose(array, tuple(have.index(axis) for axis in order))


def last(v: Any) -> Any:
    return ordered(v, channels_last(ndim_of(v)))


def ndim_of(v: Any) -> int:
    return int(np.ndim(value(v.array if isinstance(v, Held) else v)))


def shape_of(v: Any) -> tuple[int, ...]:
    if isinstance(v, Held):
        return tuple(v.array.shape[v.order.index(axis)] for axis in range(ndim_of(v)))
    return np.shape(value(v))


def aligned(*xs: Any) -> tuple[tuple[int, ...] | None, list[Any]]:
    """Operands that broadcast to each other, in one order of axes; None is the plain one."""
    ndim = max(map(ndim_of, xs))
    held = next((x for x in xs if isinstance(x, Held) and ndim_of(x) == ndim), None)
    if held is None:
        return None, [plain(x) for x in xs]
    found = []
    for x in xs:
        if 0 < ndim_of(x) < ndim:
            x = plain(x)
            x = ops.reshape(x, (1,) * (ndim - ndim_of(x)) + shape_of(x))
        found.append(ordered(x, held.order) if ndim_of(x) else x)
    return held.order, found


def rewrapped(y: Any, order: tuple[int, ...] | None) -> Any:
    return y if order is None else Held(y, order)


def integers(x: Any) -> list[int]:
    """A vector of integers, or one, as a list."""
    return [int(n) for n in np.asarray(value(plain(x))).reshape(-1)]


def is_float(x: Any) -> bool:
    return bool(x.dtype.kind == "f")


# ---------------------------------------------------------------- elementwise


def entrywise(f: Function) -> Callable[[Arguments], Function]:
    """The entry of a function of the entries of its operands, without attributes."""

    def apply(*xs: Any) -> Any:
        order, xs = aligned(*xs)  # type: ignore[assignment]
        return rewrapped(f(*xs), order)

    return lambda a: apply


def constantwise(f: Function) -> Callable[[Arguments], Function]:
    """The same for a function of NumPy that no gradient goes through."""
    return entrywise(lambda *xs: f(*map(value, xs)))


def variadic(f: Function) -> Callable[[Arguments], Function]:
    return entrywise(lambda *xs: functools.reduce(f, xs))


def truncated_quotient(a: Any, b: Any) -> Any:
    if is_float(a):
        return ops.divide(a, b)
    return np.where((a < 0) == (b < 0), 1, -1).astype(a.dtype) * (abs(a) // abs(b))


def power(a: Any, b: Any) -> Any:
    if type(b) is np.ndarray and not b.ndim:
        b = b.item()  # squares and roots have short cuts
    if is_float(a):
        return ops.power(a, b)
    return np.power(a, b).astype(a.dtype)


OPERATORS |= {
    "Add": entrywise(ops.add), "Sub": entrywise(ops.subtract), "Mul": entrywise(ops.multiply),
    "Div": entrywise(truncated_quotient), "Pow": entrywise(power), "Neg": entrywise(ops.negative),
    "Abs": entrywise(ops.abs), "Exp": entrywise(ops.exp), "Log": entrywise(ops.log), "Sqrt": entrywise(ops.sqrt),
    "Tan": entrywise(ops.tan), "Asin": entrywise(ops.arcsin), "Acos": entrywise(ops.arccos),
    "Atan": entrywise(ops.arctan), "Sinh": entrywise(ops.sinh), "Cosh": entrywise(ops.cosh),
    "Asinh": entrywise(ops.arcsinh), "Acosh": entrywise(ops.arccosh), "Atanh": entrywise(ops.arctanh),
    "Reciprocal": entrywise(lambda x: 1 / x), "Sin": entrywise(ops.sin), "Cos": entrywise(ops.cos),
    "Tanh": entrywise(ops.tanh), "Sigmoid": entrywise(ops.sigmoid), "Relu": entrywise(ops.relu),
    "Softplus": entrywise(ops.softplus), "Erf": entrywise(ops.erf), "Softsign": entrywise(lambda x: x / (1 + abs(x))),
    "Mish": entrywise(lambda x: x * ops.tanh(ops.softplus(x))),
    "HardSwish": entrywise(lambda x: x * ops.clip(x / 6 + 0.5, 0, 1)),
    "Max": variadic(ops.maximum), "Min": variadic(ops.minimum), "Sum": variadic(ops.add),
    "Mean": entrywise(lambda *xs: functools.reduce(ops.add, xs) / len(xs)),
    "Where": entrywise(lambda condition, a, b: ops.where(value(condition), a, b)),
    "Sign": constantwise(np.sign), "Floor": constantwise(np.floor), "Ceil": constantwise(np.ceil),
    "Round": constantwise(np.round), "Not": constantwise(np.logical_not), "And": constantwise(np.logical_and),
    "Or": constantwise(np.logical_or), "Xor": constantwise(np.logical_xor), "Equal": constantwise(np.equal),
    "Less": constantwise(np.less), "LessOrEqual": constantwise(np.less_equal), "Greater": constantwise(np.greater),
    "GreaterOrEqual": constantwise(np.greater_equal), "IsNaN": constantwise(np.isnan),
    "BitwiseAnd": constantwise(np.bitwise_and), "BitwiseOr": constantwise(np.bitwise_or),
    "BitwiseXor": constantwise(np.bitwise_xor), "BitwiseNot": constantwise(np.invert),
    "NonZero": lambda a: lambda x: np.array(np.nonzero(value(plain(x))), np.int64),
    "Identity": lambda a: lambda x: x,
}  # fmt: skip


@operator("LeakyRelu")
def _(a: Arguments) -> Function:
    slope = a.get("alpha", 0.01)
    return entrywise(lambda x: ops.leaky_relu(x, slope))(a)


@operator("PRelu")
def _(a: Arguments) -> Function:
    if a.opset < 7:
        raise UnsupportedError("its form before opset 7")
    return entrywise(lambda x, slope: ops.maximum(x, 0) + slope * ops.minimum(x, 0))(a)


@operator("Elu")
def _(a: Arguments) -> Function:
    alpha = a.get("alpha", 1.0)
    return entrywise(lambda x: ops.elu(x, alpha))(a)


@operator("Celu")
def _(a: Arguments) -> Function:
    alpha = a.get("alpha", 1.0)
    return entrywise(lambda x: ops.elu(x / alpha, 1.0) * alpha)(a)


@operator("Selu")
def _(a: Arguments) -> Function:
    alpha, gamma = a.get("alpha", 1.6732632423543772), a.get("gamma", 1.0507009873554805)
    return entrywise(lambda x: ops.elu(x, alpha) * gamma)(a)


@operator("HardSigmoid")
def _(a: Arguments) -> Function:
    alpha, beta = a.get("alpha", 0.2), a.get("beta", 0.5)
    return entrywise(lambda x: ops.clip(x * alpha + beta, 0, 1))(a)


@operator("ThresholdedRelu")
def _(a: Arguments) -> Function:
    alpha = a.get("alpha", 1.0)
    return entrywise(lambda x: ops.where(value(x) > alpha, x, 0))(a)


@operator("Gelu")
def _(a: Arguments) -> Function:
    a.only("approximate", "none", "tanh")
    approximate = a.get("approximate", "none") == "tanh"
    return entrywise(lambda x: ops.gelu(x, approximate))(a)


@operator("Swish")
def _(a: Arguments) -> Function:
    alpha = a.get("alpha", 1.0)
    return entrywise(lambda x: ops.silu(x) if alpha == 1 else x * ops.sigmoid(x * alpha))(a)


@operator("Clip")
def _(a: Arguments) -> Function:
    low, high = a.get("min"), a.get("max")

    def clip(x: Any, least: Any = low, most: Any = high) -> Any:
        if least is not None:
            x = ops.maximum(x, least)
        return x if most is None else ops.minimum(x, most)

    def apply(x: Any, least: Any = low, most: Any = high) -> Any:
        y = clip(x.array if isinstance(x, Held) else x, least, most)
        return Held(y, x.order) if isinstance(x, Held) else y

    return apply


@operator("Mod")
def _(a: Arguments) -> Function:
    if a.get("fmod", 0):  # the sign of the dividend
        return entrywise(lambda x, y: np.sign(value(x)) * ops.remainder(abs(x), abs(y)))(a)
    return entrywise(ops.remainder)(a)


@operator("Cast")
def _(a: Arguments) -> Function:
    dtype = numpy_dtype(a.get("to"))
    a.only("saturate", 1)
    a.only("round_mode", "up")
    return entrywise(lambda x: _cast(x, dtype))(a)


@operator("CastLike")
def _(a: Arguments) -> Function:
    a.only("saturate", 1)
    a.only("round_mode", "up")
    return lambda x, like: _cast(plain(x), (like.array if isinstance(like, Held) else like).dtype)


def _cast(x: Any, dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "f" and type(x) is Tensor:
        return x if x.dtype == dtype else ops.astype(x, dtype)
    return np.asarray(value(x)).astype(dtype)


@operator("Dropout")
def _(a: Arguments) -> Function:
    a.get("ratio"), a.get("seed"), a.get("is_test")
    training = a.stored(2)
    if len(a.inputs) > 2 and (training is None or training.any()):
        raise UnsupportedError("training_mode")
    return lambda x, *_: x


# ---------------------------------------------------------------- reductions


def reduction(f: Function) -> Callable[[Arguments], Function]:
    """The entry of f(x, axes, keepdims), which reduces an array."""

    def of(a: Arguments) -> Function:
        fixed, keepdims, noop = a.get("axes"), bool(a.get("keepdims", 1)), a.get("noop_with_empty_axes", 0)

        def apply(x: Any, axes: Any = None) -> Any:
            n = ndim_of(x)
            given = fixed if axes is None else integers(axes)
            if not given and noop:
                return x
            chosen = tuple(sorted(axis % n for axis in given)) if given else tuple(range(n))
            order = x.order if isinstance(x, Held) else tuple(range(n))
            left = [axis for axis in order if axis not in chosen]
            if not keepdims and left != sorted(left):
                order = tuple(range(n))
            y = f(ordered(x, order), tuple(order.index(axis) for axis in chosen), keepdims)
            return rewrapped(y, order if keepdims else None)

        return apply

    return of


OPERATORS |= {
    "ReduceSum": reduction(ops.sum), "ReduceMean": reduction(ops.mean), "ReduceMax": reduction(ops.max),
    "ReduceMin": reduction(ops.min), "ReduceProd": reduction(ops.prod), "ReduceLogSumExp": reduction(ops.logsumexp),
    "ReduceL1": reduction(lambda x, axes, keep: ops.sum(abs(x), axes, keep)),
    "ReduceL2": reduction(lambda x, axes, keep: ops.norm(x, None, axes, keep)),
    "ReduceSumSquare": reduction(lambda x, axes, keep: ops.sum(x * x, axes, keep)),
    "ReduceLogSum": reduction(lambda x, axes, keep: ops.log(ops.sum(x, axes, keep))),
}  # fmt: skip


@operator("ArgMax", "ArgMin")
def _(a: Arguments) -> Function:
    axis, keepdims, f = a.get("axis", 0), bool(a.get("keepdims", 1)), np.argmax if a.op_type == "ArgMax" else np.argmin
    from_behind = a.get("select_last_index", 0)

    def apply(x: Any) -> Any:
        x = value(plain(x))
        if from_behind:
            return (x.shape[axis] - 1 - f(np.flip(x, axis), axis, keepdims=keepdims)).astype(np.int64)
        return f(x, axis, keepdims=keepdims).astype(np.int64)

    return apply


@operator("Softmax", "LogSoftmax")
def _(a: Arguments) -> Function:
    f = ops.softmax if a.op_type == "Softmax" else ops.log_softmax
    axis = a.get("axis", -1 if a.opset >= 13 else 1)

    def apply(x: Any) -> Any:
        n = ndim_of(x)
        first = axis % n
        order = x.order if isinstance(x, Held) else tuple(range(n))
        axes = [first] if a.opset >= 13 else range(first, n)  # before, all axes from this one on were one
        y = f(ordered(x, order), tuple(order.index(i) for i in axes))
        return rewrapped(y, x.order if isinstance(x, Held) else None)

    return apply


@operator("TopK")
def _(a: Arguments) -> Function:
    axis, fixed = a.get("axis", -1), a.get("k")
    sign = -1 if a.get("largest", 1) else 1
    a.get("sorted")  # they are in order anyway

    def apply(x: Any, k: Any = None) -> Any:
        x, n = plain(x), fixed if k is None else integers(k)[0]
        keys = value(x)
        keys = keys * sign if is_float(x) else np.invert(keys) if sign < 0 else keys  # the order is reversed
        places = np.argsort(keys, axis, stable=True)[(slice(None),) * (axis % x.ndim) + (slice(n),)]
        return ops.getitem(x, _elements(places, axis)), places.astype(np.int64)

    return apply


@operator("IsInf")
def _(a: Arguments) -> Function:
    least, most = a.get("detect_negative", 1), a.get("detect_positive", 1)
    return constantwise(lambda x: np.isinf(x) & ((x > 0) & bool(most) | (x < 0) & bool(least)))(a)


@operator("CumSum", "CumProd")
def _(a: Arguments) -> Function:
    exclusive, reverse = a.get("exclusive", 0), a.get("reverse", 0)
    f, first = (ops.cumsum, 0) if a.op_type == "CumSum" else (ops.cumprod, 1)

    def apply(x: Any, axis: Any) -> Any:
        x, i = plain(x), integers(axis)[0]
        x = ops.flip(x, i) if reverse else x
        if exclusive:
            kept = (slice(None),) * (i % x.ndim) + (slice(-1),)
            widths = [(int(axis == i % x.ndim), 0) for axis in range(x.ndim)]
            x = ops.pad(x[kept], widths, constant_values=first)
        y = f(x, i)
        y = ops.flip(y, i) if reverse else y
        return y if is_float(x) else y.astype(x.dtype)

    return apply


# ---------------------------------------------------------------- shapes


@operator("Shape")
def _(a: Arguments) -> Function:
    start, end = a.get("start", 0), a.get("end")
    return lambda x: np.array(shape_of(x)[start:end], np.int64)


@operator("Size")
def _(a: Arguments) -> Function:
    return lambda x: np.array(math.prod(shape_of(x)), np.int64)


@operator("Reshape")
def _(a: Arguments) -> Function:
    allowzero, fixed = a.get("allowzero", 0), a.get("shape")

    def apply(x: Any, shape: Any = None) -> Any:
        x, lengths = plain(x), integers(shape) if fixed is None else fixed
        if not allowzero:
            lengths = [x.shape[i] if n == 0 else n for i, n in enumerate(lengths)]
        return ops.reshape(x, tuple(lengths))

    return apply


@operator("Flatten")
def _(a: Arguments) -> Function:
    axis = a.get("axis", 1)

    def apply(x: Any) -> Any:
        x = plain(x)
        rows = math.prod(x.shape[: axis if axis >= 0 else axis + x.ndim])
        return ops.reshape(x, (rows, x.size // rows if rows else -1))

    return apply


@operator("Transpose")
def _(a: Arguments) -> Function:
    perm = a.get("perm")

    def apply(x: Any) -> Any:
        n = ndim_of(x)
        axes = [*reversed(range(n))] if perm is None else perm
        array, order = x if isinstance(x, Held) else (x, tuple(range(n)))
        new = tuple(axes.index(axis) for axis in order)  # the entries stay where they are
        return array if new == tuple(range(n)) else Held(array, new)

    return apply


@operator("Squeeze")
def _(a: Arguments) -> Function:
    fixed = a.get("axes")

    def apply(x: Any, axes: Any = None) -> Any:
        given = fixed if axes is None else integers(axes)
        return ops.squeeze(plain(x), None if given is None else tuple(given))

    return apply


@operator("Unsqueeze")
def _(a: Arguments) -> Function:
    fixed = a.get("axes")
    return lambda x, axes=None: ops.expand_dims(plain(x), tuple(fixed if axes is None else integers(axes)))


@operator("Expand")
def _(a: Arguments) -> Function:
    def apply(x: Any, shape: Any) -> Any:
        x = plain(x)
        return ops.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(integers(shape))))

    return apply


@operator("Tile")
def _(a: Arguments) -> Function:
    def apply(x: Any, repeats: Any) -> Any:
        x, times = plain(x), integers(repeats)
        pairs = [*zip(times, x.shape, strict=True)]
        wide = ops.reshape(x, tuple(n for _, m in pairs for n in (1, m)))
        wide = ops.broadcast_to(wide, tuple(n for pair in pairs for n in pair))
        return ops.reshape(wide, tuple(k * m for k, m in pairs))

    return apply


@operator("Concat")
def _(a: Arguments) -> Function:
    axis = a.get("axis")

    def apply(*xs: Any) -> Any:
        held = next((x for x in xs if isinstance(x, Held)), None)
        if held is None:
            return ops.concatenate(xs, axis)
        place = held.order.index(axis % len(held.order))
        return Held(ops.concatenate([ordered(x, held.order) for x in xs], place), held.order)

    return apply


@operator("Split")
def _(a: Arguments) -> Function:
    axis, fixed, outputs = a.get("axis", 0), a.get("split"), a.outputs
    a.get("num_outputs")

    def apply(x: Any, lengths: Any = None) -> Any:
        x = plain(x)
        given = fixed if lengths is None else integers(lengths)
        if given is None:
            given = [-(-x.shape[axis] // outputs)] * outputs
        return tuple(ops.split(x, [int(n) for n in np.cumsum(given)[:-1]], axis))

    return apply


@operator("Slice")
def _(a: Arguments) -> Function:
    fixed = [a.get(name) for name in ("starts", "ends", "axes")]

    def apply(x: Any, *given: Any) -> Any:
        x = plain(x)
        parts: list[Any] = [None if v is None else integers(v) for v in given] if given else fixed
        starts, ends, axes, steps = [*parts, None, None][:4]
        index = [slice(None)] * x.ndim
        for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
            axis, step = i if axes is None else axes[i], 1 if steps is None else steps[i]
            n = x.shape[axis]
            # ONNX counts from the end once, NumPy's ends below -n say that everything before 0 belongs to it
            stop = None if step < 0 and end < -n else end
            index[axis] = slice(start, stop, step)
        return ops.getitem(x, tuple(index))

    return apply


@operator("Gather")
def _(a: Arguments) -> Function:
    axis = a.get("axis", 0)
    return lambda x, indices: ops.take(plain(x), value(plain(indices)), axis)


@operator("GatherElements")
def _(a: Arguments) -> Function:
    axis = a.get("axis", 0)
    return lambda x, indices: ops.getitem(plain(x), _elements(value(plain(indices)), axis))


@operator("Compress")
def _(a: Arguments) -> Function:
    axis = a.get("axis")

    def apply(x: Any, condition: Any) -> Any:
        x, places = plain(x), np.flatnonzero(value(condition))
        return ops.take(ops.reshape(x, (-1,)), places, 0) if axis is None else ops.take(x, places, axis)

    return apply


@operator("GatherND")
def _(a: Arguments) -> Function:
    batch = a.get("batch_dims", 0)

    def apply(x: Any, indices: Any) -> Any:
        i = value(plain(indices))
        places = np.ogrid[tuple(slice(n) for n in i.shape[:-1])][:batch] if batch else []
        return ops.getitem(plain(x), (*places, *np.moveaxis(i, -1, 0)))

    return apply


@operator("ScatterElements", "ScatterND", "Scatter")
def _(a: Arguments) -> Function:
    axis = a.get("axis", 0)
    a.only("reduction", "none", "add")
    adds, elements = a.get("reduction", "none") == "add", a.op_type != "ScatterND"

    def apply(x: Any, indices: Any, updates: Any) -> Any:
        x, i, updates = plain(x), value(plain(indices)), plain(updates)
        index = _elements(i, axis) if elements else tuple(np.moveaxis(i, -1, 0))
        if not is_float(x):
            y = x.copy()
            if adds:
                np.add.at(y, index, updates)
            else:
                y[index] = updates
            return y
        if adds:
            return ops.scatter_add(x, index, updates)
        kept = np.ones(x.shape, bool)
        kept[index] = False
        return ops.where(kept, x, ops.scatter(updates, index, x.shape))

    return apply


def _elements(indices: np.ndarray, axis: int) -> tuple[Any, ...]:
    """The index of which entry (i, k) is (i, indices[i, k]), for axis 1."""
    index: list[Any] = list(np.ogrid[tuple(slice(n) for n in indices.shape)])
    index[axis] = indices
    return tuple(index)


@operator("Pad")
def _(a: Arguments) -> Function:
    a.only("mode", "constant", "reflect", "edge", "wrap")
    mode, fixed, fill = a.get("mode", "constant"), a.get("pads", a.get("paddings")), a.get("value", 0.0)

    def apply(x: Any, pads: Any = None, constant: Any = None, axes: Any = None) -> Any:
        x = plain(x)
        given = fixed if pads is None else integers(pads)
        chosen = range(x.ndim) if axes is None else integers(axes)
        widths = [(0, 0)] * x.ndim
        for axis, before, after in zip(chosen, given, given[len(given) // 2 :], strict=False):
            widths[axis] = before, after
        if mode != "constant":
            for axis, pair in enumerate(widths):
                if any(pair):
                    x = ops.take(x, np.pad(np.arange(x.shape[axis]), pair, mode), axis)
            return x
        crop = tuple(slice(max(0, -b), n - max(0, -e)) for n, (b, e) in zip(x.shape, widths, strict=True))
        x = ops.getitem(x, crop) if any(min(pair) < 0 for pair in widths) else x
        number = fill if constant is None else np.asarray(value(constant)).reshape(-1)[0].item()
        return ops.pad(x, [(max(0, b), max(0, e)) for b, e in widths], constant_values=number)

    return apply


@operator("Constant")
def _(a: Arguments) -> Function:
    from onnx import numpy_helper

    for name, dtype in (("value_float", np.float32), ("value_floats", np.float32), ("value_int", np.int64),
                        ("value_ints", np.int64)):  # fmt: skip
        if (given := a.get(name)) is not None:
            array = np.array(given, dtype)
            break
    else:
        if (given := a.get("value")) is None:
            raise UnsupportedError("a constant of texts, or a sparse one")
        array = numpy_helper.to_array(given)
    if array.dtype.kind not in "fiub":
        raise UnsupportedError(f"a constant of {array.dtype}")
    return lambda: array


@operator("ConstantOfShape")
def _(a: Arguments) -> Function:
    from onnx import numpy_helper

    given = a.get("value")
    number = np.zeros(1, np.float32) if given is None else numpy_helper.to_array(given)
    return lambda shape: np.full(tuple(integers(shape)), number.reshape(()), number.dtype)


@operator("Range")
def _(a: Arguments) -> Function:
    return lambda *ends: np.arange(*(value(e).item() for e in ends), dtype=value(ends[0]).dtype)


@operator("EyeLike")
def _(a: Arguments) -> Function:
    k, given = a.get("k", 0), a.get("dtype")
    dtype: Any = None if given is None else numpy_dtype(given)

    def apply(x: Any) -> Any:
        rows, columns = shape_of(x)
        return np.eye(rows, columns, k, dtype or value(plain(x)).dtype)

    return apply


@operator("Trilu")
def _(a: Arguments) -> Function:
    upper = a.get("upper", 1)

    def apply(x: Any, k: Any = None) -> Any:
        x, diagonal = plain(x), 0 if k is None else integers(k)[0]
        mask = np.tri(x.shape[-2], x.shape[-1], diagonal - 1 if upper else diagonal, dtype=bool)
        return ops.where(~mask if upper else mask, x, np.zeros((), x.dtype))

    return apply


@operator("OneHot")
def _(a: Arguments) -> Function:
    axis = a.get("axis", -1)

    def apply(indices: Any, depth: Any, values: Any) -> Any:
        n, (off, on) = integers(depth)[0], np.asarray(value(values))
        i = value(plain(indices)).astype(np.int64)
        is_on = np.expand_dims(np.where(i < 0, i + n, i), -1) == np.arange(n)
        return np.moveaxis(np.where(is_on, on, off), -1, axis)

    return apply


# ---------------------------------------------------------------- linear algebra


@operator("MatMul")
def _(a: Arguments) -> Function:
    return lambda x, y: ops.matmul(plain(x), plain(y))


@operator("Gemm")
def _(a: Arguments) -> Function:
    alpha, beta = a.get("alpha", 1.0), a.get("beta", 1.0)
    first, second = a.get("transA", 0), a.get("transB", 0)

    def apply(x: Any, w: Any, bias: Any = None) -> Any:
        x, w = plain(x), plain(w)
        y = ops.matmul(ops.transpose(x) if first else x, ops.transpose(w) if second else w)
        y = y if alpha == 1 else y * alpha
        if bias is None:
            return y
        return y + (plain(bias) if beta == 1 else plain(bias) * beta)

    return apply


@operator("Det")
def _(a: Arguments) -> Function:
    return lambda x: ops.det(plain(x))


@operator("Einsum")
def _(a: Arguments) -> Function:
    equation = a.get("equation")
    return lambda *xs: ops.einsum(equation, *map(plain, xs))


# ---------------------------------------------------------------- normalisation


@operator("LRN")
def _(a: Arguments) -> Function:
    alpha, beta, bias, size = a.get("alpha", 1e-4), a.get("beta", 0.75), a.get("bias", 1.0), a.get("size")

    def apply(x: Any) -> Any:  # x / (bias + alpha / size * the sum of x^2 over `size` neighbouring channels) ^ beta
        x = last(x)
        before = (size - 1) // 2
        squares = ops.pad(x * x, [(0, 0)] * (x.ndim - 1) + [(before, size - 1 - before)])
        total = functools.reduce(ops.add, (squares[..., i : i + x.shape[-1]] for i in range(size)))
        return Held(x / (bias + alpha / size * total) ** beta, channels_last(x.ndim))

    return apply


@operator("BatchNormalization")
def _(a: Arguments) -> Function:
    eps = a.get("epsilon", 1e-5)
    a.get("momentum")
    a.only("training_mode", 0)
    a.only("spatial", 1)
    a.get("consumed_inputs")
    if not a.get("is_test", a.opset >= 7):
        raise UnsupportedError("is_test=0")

    def apply(x: Any, *vectors: Any) -> Any:
        scale, bias, mean, var = map(plain, vectors)
        y, _, _ = ops.batch_norm(last(x), scale, bias, mean, var, train=False, eps=eps)
        return Held(y, channels_last(y.ndim))

    return apply


@operator("LayerNormalization")
def _(a: Arguments) -> Function:
    axis, eps = a.get("axis", -1), a.get("epsilon", 1e-5)
    a.only("stash_type", 1)

    def apply(x: Any, scale: Any, bias: Any = None) -> Any:
        x = plain(x)
        shape = x.shape
        kept = shape[: axis % x.ndim]
        n = math.prod(shape[len(kept) :])
        vectors = [None if v is None else ops.reshape(ops.broadcast_to(plain(v), shape[len(kept) :]), (n,))
                   for v in (scale, bias)]  # fmt: skip
        h = ops.reshape(x, (*kept, n))
        y = ops.reshape(ops.layer_norm(h, *vectors, eps=eps), shape)
        if a.outputs == 1:
            return y
        ones = (*kept, *[1] * (x.ndim - len(kept)))
        mean, var = ops.mean(h, -1), ops.var(h, -1)
        return y, ops.reshape(mean, ones), ops.reshape(1 / ops.sqrt(var + eps), ones)

    return apply


@operator("RMSNormalization")
def _(a: Arguments) -> Function:
    axis, eps = a.get("axis", -1), a.get("epsilon", 1e-5)
    a.only("stash_type", 1)

    def apply(x: Any, scale: Any) -> Any:
        x = plain(x)
        return x / ops.sqrt((x * x).mean(tuple(range(axis % x.ndim, x.ndim)), keepdims=True) + eps) * plain(scale)

    return apply


@operator("LpNormalization")
def _(a: Arguments) -> Function:
    axis, p = a.get("axis", -1), a.get("p", 2)
    a.only("p", 2, 1)

    def apply(x: Any) -> Any:
        x = plain(x)
        size = ops.norm(x, p, axis, True) if p == 2 else ops.sum(abs(x), axis, keepdims=True)
        return ops.where(value(size) == 0, 0, x / ops.where(value(size) == 0, 1, size))

    return apply


@operator("InstanceNormalization", "GroupNormalization")
def _(a: Arguments) -> Function:
    eps, groups = a.get("epsilon", 1e-5), a.get("num_groups")
    a.only("stash_type", 1)

    def apply(x: Any, scale: Any, bias: Any) -> Any:
        x = plain(x)
        n, c = x.shape[:2]
        h = ops.reshape(ops.layer_norm(ops.reshape(x, (n, groups or c, -1)), eps=eps), x.shape)
        ones = (1,) * (x.ndim - 2)
        return h * ops.reshape(plain(scale), (c, *ones)) + ops.reshape(plain(bias), (c, *ones))

    return apply
