"""`Tensor`: an array and the node that made it. Nearly every operator is one line into `ops`."""

from __future__ import annotations

import copy
import sys
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NoReturn

import numpy as np

from . import tape
from .blame import describe
from .kernels.memory import owned
from .tape import Node, new_node


class Tensor:
    """An n-dimensional array whose operations are recorded, so that gradients can be pulled back through them.

    Args:
        data: an array, a number, or a nested list of numbers. An ndarray is shared, not copied.
        requires_grad: make this a leaf, for which `backward()` leaves the gradient in `.grad`.
        dtype: the dtype of the array, by default NumPy's choice.

    Operators, methods and NumPy's functions record what they do. Comparisons, `argmax` and `argmin` have no gradient,
    and return ndarrays. Tensors hash by identity.

    Raises:
        TypeError: the data is not numeric, or `requires_grad` with a dtype that is not floating.
    """

    __slots__ = ("__weakref__", "_array", "_grad", "node")
    _array: np.ndarray
    _grad: Tensor | None  # of leaves only
    node: Node | None

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None):
        refuse_foreign(data)
        array = np.asarray(data, dtype)
        if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
            kind = f"{type(data).__name__} of {array.dtype}"
            raise TypeError(f"Tensor: expected real numbers, got {kind}; up to 64 bits each")
        if requires_grad and array.dtype.kind != "f":
            raise TypeError(
                f"Tensor: requires_grad needs a floating dtype, got {array.dtype}; pass dtype=np.float32"
            )
        self._array = array
        self.node = None
        if requires_grad:
            self.node = new_node(None, array)
            self.node.leaf = weakref.ref(self)  # weak, since the Tensor's gradient may lead to the node
            self._grad = None

    @staticmethod
    def of(data: np.ndarray, node: Node | None) -> Tensor:
        """A tensor of `data` at `node`, unchecked."""
        new = Tensor.__new__(Tensor)
        new._array, new.node = data, node
        return new

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("Tensor is not made to be subclassed: write functions on Tensors")

    # ------------------------------------------------------------ attributes

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._array.dtype

    @property
    def ndim(self) -> int:
        return self._array.ndim

    @property
    def size(self) -> int:
        return self._array.size

    @property
    def itemsize(self) -> int:
        """The bytes of one entry."""
        return self._array.itemsize

    @property
    def nbytes(self) -> int:
        """The bytes of all entries."""
        return self._array.nbytes

    @property
    def requires_grad(self) -> bool:
        return self.node is not None

    @property
    def data(self) -> np.ndarray:
        """The array. An array of the same shape and dtype can be put in its place, outside of any graph."""
        return self._array

    @data.setter
    def data(self, array: np.ndarray) -> None:
        if type(array) is not np.ndarray:
            hint = ": write t.data = u.data" if type(array) is Tensor else ""
            raise TypeError(f"data: expected an ndarray, got {type(array).__name__}{hint}")
        if self.node is not None and (array.shape != self.shape or array.dtype != self.dtype):
            raise ValueError(f"data: expected {describe(self)}, as the graph has it, got {describe(array)}")
        self._array = array

    @property
    def grad(self) -> Tensor | None:
        """The accumulated gradient of a leaf, None before the first backward pass. Other Tensors never have one."""
        return getattr(self, "_grad", None)

    @grad.setter
    def grad(self, gradient: Tensor | None) -> None:
        if not self._is_leaf():
            raise TypeError("grad can be set on a leaf only: a Tensor made with requires_grad=True")
        if gradient is not None and (type(gradient) is not Tensor or gradient.shape != self.shape):
            raise TypeError(f"grad: expected None or a Tensor {self.shape}, got {describe(gradient)}")
        self._grad = gradient

    def _is_leaf(self) -> bool:
        return self.node is not None and self.node.op is None

    # ------------------------------------------------------------ copies: a leaf's copy is a fresh leaf

    def __copy__(self) -> Tensor:
        return self._copy(self._array, self.grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self._copy(self._array.copy(), copy.deepcopy(self.grad, memo))

    def __reduce__(self) -> Any:
        self._refuse_copy("pickle")
        return _restore, (self._array, self.requires_grad, self.grad)

    def _copy(self, data: np.ndarray, grad: Tensor | None) -> Tensor:
        self._refuse_copy("copy")
        return _restore(data, self.requires_grad, grad)

    def _refuse_copy(self, what: str) -> None:
        if self.node is not None and self.node.op is not None:
            raise TypeError(
                f"{what}: this Tensor is the result of {self.node.op.name} in a graph, which is not copied: "
                f"{what} t.detach(), or the leaves"
            )

    @property
    def T(self) -> Tensor:
        return ops.transpose(self)

    @property
    def mT(self) -> Tensor:
        """Each matrix transposed: the last two axes exchanged."""
        return ops.matrix_transpose(self)

    @property
    def flat(self) -> Tensor:
        """All entries in one axis, to iterate over or to pick from."""
        return ops.ravel(self)

    # ------------------------------------------------------------ gradients

    def backward(
        self, gradient: Any = None, *, retain_graph: bool = False, create_graph: bool = False
    ) -> None:
        """Add the gradient of this Tensor to `.grad` of every leaf that it was computed from.

        Args:
            gradient: the gradient of this Tensor, in its shape; by default 1, if the Tensor has one entry.
            retain_graph: keep the graph for another backward pass. Otherwise it is freed.
            create_graph: make the gradients differentiable in turn, and keep the graph.

        Gradients of float16 are summed in float32 and rounded at the leaf, once in each backward pass.

        Raises:
            TypeError: this Tensor requires no gradient.
            ValueError: `gradient` is missing or of another shape.
            BackwardError: the graph was freed, or a rule failed; names the operation and the line that called it.
        """
        if self.node is None:
            raise TypeError("backward: this Tensor was not computed from one with requires_grad=True")
        if gradient is None:
            if self.size != 1:
                raise ValueError(
                    f"backward: a Tensor of shape {self.shape} needs gradient=, an array of that shape"
                )
            gradient = np.ones(self.shape, self.dtype)
        elif type(gradient) is not Tensor:
            gradient = np.asarray(gradient, self.dtype)
        elif not create_graph:
            gradient = gradient._array.astype(self.dtype, copy=False)
        elif gradient.dtype != self.dtype:
            gradient = gradient.astype(self.dtype)
        if gradient.shape != self.shape:
            raise ValueError(f"backward: gradient has shape {gradient.shape}, expected {self.shape}")
        if create_graph and type(gradient) is not Tensor:
            gradient = Tensor(gradient)
        grads = tape.backprop(
            [(self.node, gradient)],
            retain_graph=retain_graph or create_graph,
            create_graph=create_graph,
        )
        # A leaf can be the root itself. Its gradient is then the caller's array, which has to be copied.
        arrays = owned([value(g) for g in grads.values()], {id(value(gradient))})
        for (node, g), array in zip(grads.items(), arrays, strict=True):
            leaf = node.leaf()
            if leaf is not None:  # else nobody can ask for its gradient any more
                new = Tensor.of(array, g.node if type(g) is Tensor else None)
                leaf._grad = new if leaf._grad is None else leaf._grad + new

    def detach(self) -> Tensor:
        """A Tensor of the same array that is not part of the graph."""
        return Tensor.of(self._array, None)

    def item(self) -> float | int | bool:
        """The one entry as a Python number."""
        if self.size != 1:
            raise ValueError(f"item: expected one entry, got shape {self.shape}")
        return self._array.item()

    def numpy(self) -> np.ndarray:
        """The array. Raises TypeError if this Tensor requires a gradient, which an array would lose."""
        if self.node is not None:
            raise TypeError(f"{_LOST}: use t.detach().numpy()")
        return self._array

    def astype(self, dtype: Any, *, copy: bool = True) -> Tensor:
        """The entries in another dtype. Raises TypeError for one that is not floating, if a gradient is required."""
        if not copy and np.dtype(dtype) == self.dtype:
            return self
        if self.node is None and np.dtype(dtype).kind in "iub":
            return Tensor(self._array.astype(dtype))
        return ops.astype(self, dtype)

    # ------------------------------------------------------------ operators

    def __add__(self, other: Any) -> Tensor:
        return ops.add._binary(self, other)

    def __radd__(self, other: Any) -> Tensor:
        return ops.add._binary(other, self)

    def __sub__(self, other: Any) -> Tensor:
        return ops.subtract._binary(self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return ops.subtract._binary(other, self)

    def __mul__(self, other: Any) -> Tensor:
        return ops.multiply._binary(self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return ops.multiply._binary(other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return ops.divide._binary(self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return ops.divide._binary(other, self)

    def __pow__(self, other: Any) -> Tensor:
        return ops.power._binary(self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return ops.power._binary(other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return ops.matmul._binary(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return ops.matmul._binary(other, self)

    def __mod__(self, other: Any) -> Tensor:
        return ops.remainder._binary(self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return ops.remainder._binary(other, self)

    def __floordiv__(self, other: Any) -> Tensor:
        return ops.floor_divide._binary(self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return ops.floor_divide._binary(other, self)

    def __divmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return ops.divmod(self, other)

    def __rdivmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return ops.divmod(other, self)

    def __round__(self, digits: int = 0) -> Tensor:
        return ops.round._apply(self, digits)

    # `t += u` makes a new Tensor. To a leaf with a gradient it means an update, after which it would be a leaf no more.

    def __iadd__(self, other: Any) -> Tensor:
        return self._in_place("+") + other

    def __isub__(self, other: Any) -> Tensor:
        return self._in_place("-") - other

    def __imul__(self, other: Any) -> Tensor:
        return self._in_place("*") * other

    def __itruediv__(self, other: Any) -> Tensor:
        return self._in_place("/") / other

    def _in_place(self, operator: str) -> Tensor:
        if self.grad is not None:
            raise TypeError(
                f"w {operator}= ... would make this leaf the result of an operation, and no leaf any more: "
                f"update its array, as in w.data -= lr * w.grad.data"
            )
        return self

    def __neg__(self) -> Tensor:
        return ops.negative._apply(self)

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return ops.abs._apply(self)

    def __invert__(self) -> np.ndarray:
        return ~self._array

    def __and__(self, other: Any) -> np.ndarray:
        return self._array & value(other)

    def __or__(self, other: Any) -> np.ndarray:
        return self._array | value(other)

    def __xor__(self, other: Any) -> np.ndarray:
        return self._array ^ value(other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __lshift__(self, other: Any) -> np.ndarray:
        return self._array << value(other)

    def __rshift__(self, other: Any) -> np.ndarray:
        return self._array >> value(other)

    def __rlshift__(self, other: Any) -> np.ndarray:
        return other << self._array

    def __rrshift__(self, other: Any) -> np.ndarray:
        return other >> self._array

    def __lt__(self, other: Any) -> np.ndarray:
        return self._array < value(other)

    def __le__(self, other: Any) -> np.ndarray:
        return self._array <= value(other)

    def __gt__(self, other: Any) -> np.ndarray:
        return self._array > value(other)

    def __ge__(self, other: Any) -> np.ndarray:
        return self._array >= value(other)

    def __eq__(self, other: Any) -> Any:
        return self._array == value(other)

    def __ne__(self, other: Any) -> Any:
        return self._array != value(other)

    __hash__ = object.__hash__

    # ------------------------------------------------------------ as a container

    def __getitem__(self, index: Any) -> Tensor:
        return ops.getitem(self, index)

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise TypeError(
            "a Tensor cannot be assigned to in place, its old value may be saved for the backward pass; write "
            "mg.where(mask, value, t) for a new Tensor, or t.data[index] = value outside of any graph"
        )

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a Tensor with no axes")
        return len(self._array)

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise TypeError("iteration over a Tensor with no axes")
        return (self[i] for i in range(len(self._array)))

    def __contains__(self, entry: Any) -> bool:
        return bool((self._array == value(entry)).any())

    def __bool__(self) -> bool:
        return bool(self._array)

    def __float__(self) -> float:  # math.exp(t) and array[0] = t come here, and would lose the gradient
        _constant(self, "float(), which array[i] = t calls too,")
        return float(self.item())

    def __int__(self) -> int:
        _constant(self, "int()")
        return int(self.item())

    def __index__(self) -> int:
        return self._array.__index__()

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        return format(self.item() if self.size == 1 else self._array, spec)

    def __repr__(self) -> str:
        text = np.array2string(self._array, separator=", ", prefix="Tensor(")
        parts = [text, f"dtype={self.dtype}"]
        if self.size > np.get_printoptions()["threshold"] or 0 in self.shape:
            parts.append(f"shape={self.shape}")
        if self.node is not None:
            parts.append(f"op={self.node.op.name}" if self.node.op else "requires_grad=True")
        return f"Tensor({', '.join(parts)})"

    # ------------------------------------------------------------ methods: NumPy's names and arguments

    def sum(
        self, axis: Any = None, keepdims: bool = False, *, dtype: Any = None, initial: Any = None, where: Any = None,
    ) -> Tensor:  # fmt: skip
        return ops.sum(self, axis, keepdims, dtype=dtype, initial=initial, where=where)

    def mean(self, axis: Any = None, keepdims: bool = False, *, dtype: Any = None, where: Any = None) -> Tensor:
        return ops.mean(self, axis, keepdims, dtype=dtype, where=where)

    def var(
        self, axis: Any = None, ddof: float = 0, keepdims: bool = False,
        *, dtype: Any = None, where: Any = None, mean: Any = None,
    ) -> Tensor:  # fmt: skip
        return ops.var(self, axis, ddof, keepdims, dtype=dtype, where=where, mean=mean)

    def std(
        self, axis: Any = None, ddof: float = 0, keepdims: bool = False,
        *, dtype: Any = None, where: Any = None, mean: Any = None,
    ) -> Tensor:  # fmt: skip
        return ops.std(self, axis, ddof, keepdims, dtype=dtype, where=where, mean=mean)

    def max(self, axis: Any = None, keepdims: bool = False, *, initial: Any = None, where: Any = None) -> Tensor:
        return ops.max(self, axis, keepdims, initial=initial, where=where)

    def min(self, axis: Any = None, keepdims: bool = False, *, initial: Any = None, where: Any = None) -> Tensor:
        return ops.min(self, axis, keepdims, initial=initial, where=where)

    def prod(
        self, axis: Any = None, keepdims: bool = False, *, dtype: Any = None, initial: Any = None, where: Any = None,
    ) -> Tensor:  # fmt: skip
        return ops.prod(self, axis, keepdims, dtype=dtype, initial=initial, where=where)

    def ptp(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return ops.ptp(self, axis, keepdims)

    def cumsum(self, axis: int | None = None, dtype: Any = None) -> Tensor:
        return ops.cumsum(self, axis, dtype)

    def cumprod(self, axis: int | None = None, dtype: Any = None) -> Tensor:
        return ops.cumprod(self, axis, dtype)

    def trace(self, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Tensor:
        return ops.trace(self, offset, axis1, axis2, dtype)

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        return ops.diagonal(self, offset, axis1, axis2)

    def dot(self, b: Any) -> Tensor:
        return np.dot(self, b)

    def sort(self, axis: int | None = -1, kind: Any = None, *, stable: bool | None = None) -> Tensor:
        """A new Tensor, in ascending order: unlike an array, a Tensor is not sorted in place."""
        return ops.sort(self, axis, kind, stable=stable)

    def argsort(self, axis: int | None = -1, kind: Any = None, *, stable: bool | None = None) -> np.ndarray:
        return np.argsort(self._array, axis, kind, stable=stable)

    def argmax(self, axis: Any = None, *, keepdims: bool = False) -> Any:
        return self._array.argmax(axis, keepdims=keepdims)

    def argmin(self, axis: Any = None, *, keepdims: bool = False) -> Any:
        return self._array.argmin(axis, keepdims=keepdims)

    def any(self, axis: Any = None, *, keepdims: bool = False) -> Any:
        return self._array.any(axis, keepdims=keepdims)

    def all(self, axis: Any = None, *, keepdims: bool = False) -> Any:
        return self._array.all(axis, keepdims=keepdims)

    def nonzero(self) -> tuple[np.ndarray, ...]:
        return self._array.nonzero()

    def tolist(self) -> Any:
        """The entries as a nested list of Python numbers."""
        return self._array.tolist()

    def copy(self, order: str = "C") -> Tensor:
        return ops.copy(self, order)

    def reshape(self, *shape: Any, order: Literal["C", "F"] = "C") -> Tensor:
        return ops.reshape(self, shape[0] if len(shape) == 1 else shape, order)

    def ravel(self, order: Literal["C", "F"] = "C") -> Tensor:
        return ops.ravel(self, order)

    def flatten(self, order: Literal["C", "F"] = "C") -> Tensor:
        return ops.ravel(self, order)

    def transpose(self, *axes: Any) -> Tensor:
        if len(axes) == 1 and not isinstance(axes[0], int):
            return ops.transpose(self, axes[0])
        return ops.transpose(self, axes or None)

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        return ops.swapaxes(self, axis1, axis2)

    def squeeze(self, axis: Any = None) -> Tensor:
        return ops.squeeze(self, axis)

    def repeat(self, repeats: Any, axis: int | None = None) -> Tensor:
        return ops.repeat(self, repeats, axis)

    def take(self, indices: Any, axis: int | None = None, *, mode: str = "raise") -> Tensor:
        return ops.take(self, indices, axis, mode=mode)

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        return ops.clip(self, min, max)

    def round(self, decimals: int = 0) -> Tensor:
        return ops.round(self, decimals)

    # ------------------------------------------------------------ NumPy's functions on Tensors

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.node is not None:  # np.array([t, u]) and array[i] = t come here too, and S @ t of a sparse S
            asking = str(sys._getframe(1).f_globals.get("__name__"))
            if asking.startswith("scipy.sparse"):
                raise TypeError(f"{_LOST}, and {_SPARSE}")
            raise TypeError(f"{_LOST}: use t.detach().numpy(), or mg.array, mg.where and mg.scatter_add on Tensors")
        return np.array(self._array, dtype, copy=copy)

    def __dlpack__(self, **kwargs: Any) -> Any:
        """For `np.from_dlpack(t.detach())`, `torch.from_dlpack(t.detach())`: the array's own memory.

        A flipped array, whose strides are negative, is copied: PyTorch has none, and ends the process.
        """
        if self.node is not None:
            raise TypeError(f"{_LOST}: use np.from_dlpack(t.detach())")
        array = self._array
        if min(array.strides, default=0) < 0:
            if kwargs.get("copy") is False:
                raise BufferError("a Tensor with negative strides is handed on as a copy only")
            array = array.copy()
        return array.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return ops.numpy_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, f: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return ops.numpy_function(f, args, kwargs)


# What operations take: a Tensor, or what NumPy makes an array of.
ArrayLike = Tensor | np.ndarray | np.generic | float | Sequence[Any]


_SPARSE = (
    "a sparse array has no rule: use s.toarray(), or a mg.custom_vjp of s @ x whose rule is s.T @ g"
)


def refuse_foreign(x: Any, name: str = "") -> None:
    """TypeError for an array that NumPy would read wrongly: a masked one, and a sparse one, as SciPy has them.

    SciPy need not be there: a sparse array is known by its method `toarray`.
    """
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(
            f"{name}got a masked array, whose mask would be lost: fill it (a.filled(0)) and give the mask as an array "
            f"of its own, for instance to mg.where"
        )
    if hasattr(x, "toarray"):
        raise TypeError(f"{name}got a {type(x).__name__} {getattr(x, 'shape', '')}: {_SPARSE}")


def value(x: Any) -> Any:
    """The array of a Tensor; anything else as it is. No gradient goes through what is computed from it."""
    return x._array if type(x) is Tensor else x


def _restore(data: np.ndarray, requires_grad: bool, grad: Tensor | None) -> Tensor:
    new = Tensor(data, requires_grad)
    if requires_grad:
        new._grad = grad
    return new


_LOST = "this Tensor requires a gradient, an ndarray would lose it"


def _constant(x: Any, what: str) -> Any:
    if type(x) is Tensor and x.node is not None:
        raise TypeError(f"{what} gives no gradient, and this Tensor requires one: use t.detach() or t.item()")
    return value(x)


from . import ops  # noqa: E402  (the ops make Tensors, so Tensor has to be there first)
