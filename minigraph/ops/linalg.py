"""The products of matrices and tensors that have rules. NumPy's other ones are made of them, in `products`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..fit import sum_to
from ..kernels.precision import widened
from ..primitive import primitive
from ..tensor import ArrayLike, Tensor, value
from .elementwise import arrays
from .numpy_api import implements
from .shape import expand_dims, reshape, transpose

__all__ = ["einsum", "matmul"]


def swap(x: Any) -> Any:
    """The last two axes exchanged."""
    if type(x) is np.ndarray:
        return x.swapaxes(-1, -2)
    return transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


@implements(np.matmul, np.linalg.matmul)
@primitive
def matmul(a: ArrayLike, b: ArrayLike):
    """The matrix product a @ b as NumPy has it: (..., n, k) @ (..., k, m) -> (..., n, m); leading axes broadcast.

    A vector on the left is a row, on the right a column, and its axis is dropped from the result.
    """
    return np.matmul(a, b)


def _why(a: Any, b: Any) -> str | None:
    a, b = np.shape(a), np.shape(b)
    if not a or not b:
        return f"a product needs at least one axis on both sides, got {a} and {b}: write a * b"
    rows = b[-2] if len(b) > 1 else b[0]
    if a[-1] != rows:
        return f"a {a} has {a[-1]} columns, b {b} has {rows} rows"
    return f"the leading axes of a {a} and b {b} do not broadcast" if len(a) > 2 and len(b) > 2 else None


matmul.why = _why


@matmul.count_flops
def _(shape, a, _b):
    return 2 * math.prod(shape) * a.shape[-1]


@matmul.vjp
def _(g, _y, a, b):
    """a: g b^T, summed over the leading axes along which a was broadcast
    b: a^T g, likewise
    """
    a, b = arrays(a, b)
    if a.ndim == 1 and b.ndim == 1:
        return lambda: g * b, lambda: g * a
    if a.ndim == 1:  # (k) (..., k, m) -> (..., m)
        return (
            lambda: sum_to(reshape(b @ expand_dims(g, -1), b.shape[:-1]), a.shape),
            lambda: expand_dims(a, -1) * expand_dims(g, -2),
        )
    if b.ndim == 1:  # (..., n, k) (k) -> (..., n)
        return (
            lambda: expand_dims(g, -1) * b,
            lambda: sum_to(reshape(swap(a) @ expand_dims(g, -1), (*a.shape[:-2], a.shape[-1])), b.shape),
        )
    if b.ndim == 2 and a.ndim > 2:  # one product over all leading axes, instead of one each and their sum
        rows = math.prod(a.shape[:-1])
        return (
            lambda: g @ swap(b),
            lambda: swap(reshape(a, (rows, a.shape[-1]))) @ reshape(g, (rows, g.shape[-1])),
        )
    return lambda: sum_to(g @ swap(b), a.shape), lambda: sum_to(swap(a) @ g, b.shape)


@implements(np.einsum)
def einsum(subscripts: Any, *operands: Any, optimize: Any = None) -> Tensor:
    """The Einstein sum, as numpy.einsum: repeated subscripts, diagonals, `...` and an implied result included.

    Args:
        subscripts, operands: as einsum("ij,j->i", a, x), or with lists of axes, as einsum(a, [0, 1], x, [1], [0]).
        optimize: the order in which several operands are multiplied, as numpy.einsum takes it; by default NumPy looks
            for a good one. It is the order of the forward: gradients always have the one that NumPy finds for them.

    Raises ValueError for subscripts that do not fit the operands, TypeError where there are none.
    """
    if not isinstance(subscripts, str):
        subscripts, operands = _spelled(subscripts, *operands)
    text = subscripts.replace(" ", "")
    inputs, arrow, output = text.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(operands):
        raise ValueError(f"einsum: {subscripts!r} names {len(terms)} operands, {len(operands)} came")
    used = set(text) - set(",.->")
    if not all(c.isalpha() and c.isascii() for c in used):
        raise ValueError(f"einsum: subscripts are letters, got {subscripts!r}")
    free = [c for c in _LETTERS if c not in used]
    widest = 0
    for i, (term, x) in enumerate(zip(terms, operands, strict=True)):  # '...' becomes letters
        ndim = x.ndim if hasattr(x, "ndim") else np.ndim(x)
        letters = term.replace("...", "")
        hidden = ndim - len(letters)
        if hidden < 0 or (hidden and "..." not in term) or "." in letters:
            raise ValueError(f"einsum: {term!r} in {subscripts!r} does not fit operand {i} with {ndim} axes")
        widest = max(widest, hidden)
        terms[i] = term.replace("...", "".join(free[:hidden][::-1]))
    ellipsis = "".join(free[:widest][::-1])
    if arrow:
        output = output.replace("...", ellipsis)
    else:
        joined = "".join(terms)
        output = ellipsis + "".join(sorted(c for c in used if joined.count(c) == 1))
    known = set("".join(terms))
    if len(set(output)) != len(output) or not set(output) <= known:
        raise ValueError(f"einsum: the result {output!r} of {subscripts!r} repeats a subscript or has a new one")
    options = {} if optimize is None else {"optimize": optimize}
    return _einsum(f"{','.join(terms)}->{output}", *operands, **options)


def _spelled(*given: Any) -> tuple[str, tuple[Any, ...]]:
    """The subscripts as a string, and the operands, of a call with lists of axes."""
    lists = [*given[1::2], *(given[-1:] if len(given) % 2 else [])]
    if len(given) < 2 or not all(isinstance(axes, (list, tuple)) for axes in lists):
        raise TypeError(
            f"einsum: expected subscripts as a string first, or operands and lists of axes in turn, got "
            f"{', '.join(type(a).__name__ for a in given)}"
        )
    axes = {i for of in lists for i in of if i is not Ellipsis}
    if not all(isinstance(i, (int, np.integer)) and 0 <= i < len(_LETTERS) for i in axes):
        raise ValueError(f"einsum: axes are ints from 0 to {len(_LETTERS) - 1} or ..., got {lists}")
    letters = sorted(_LETTERS)  # an implied result is in the order of the axes
    terms = ["".join("..." if i is Ellipsis else letters[i] for i in of) for of in lists]
    operands = given[: len(given) - len(given) % 2 : 2]
    subscripts = ",".join(terms[: len(operands)])
    return (f"{subscripts}->{terms[-1]}" if len(given) % 2 else subscripts), operands


_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@primitive
def _einsum(subscripts: str, *operands: Any, optimize: Any = None):
    arrays = [np.asarray(x) for x in operands]
    optimize = len(operands) > 1 if optimize is None else optimize
    y = np.einsum(subscripts, *map(widened, arrays), optimize=optimize)
    return y.astype(np.float16) if np.result_type(*arrays) == np.float16 else y


def _why_not_summed(subscripts: str, *operands: Any, optimize: Any = None) -> str | None:
    longest: dict[str, tuple[int, int]] = {}  # of each subscript, with the operand
    for i, (term, x) in enumerate(zip(subscripts.partition("->")[0].split(","), operands, strict=True)):
        for c, n in zip(term, np.shape(x), strict=True):
            m, j = longest.get(c, (1, i))
            if m != n and 1 not in (m, n):
                first = f"subscript {c!r} has the length {m} in operand {j} {np.shape(operands[j])}"
                return f"{first} and {n} in operand {i} {np.shape(x)}"
            longest[c] = (n, i) if m == 1 else (m, j)
    return None


_einsum.why = _why_not_summed


@_einsum.count_flops
def _(_shape, subscripts, *operands, optimize=None):  # for each combination of all subscripts, the product and the sum
    terms = subscripts.partition("->")[0].split(",")
    lengths = {c: n for term, x in zip(terms, operands, strict=True) for c, n in zip(term, x.shape, strict=True)}
    return len(operands) * math.prod(lengths.values())


@_einsum.vjp
def _(g, _y, subscripts, *operands, optimize=None):
    """operands[i]: the sum of g times the other operands over the subscripts that operands[i] does not have,
    and only on the diagonal where it has a subscript twice
    """
    # y[out] = sum of prod_i x_i[term_i] is linear in each x_i
    inputs, output = subscripts.split("->")
    terms = inputs.split(",")
    free = [c for c in _LETTERS if c not in subscripts]

    def gradient(i: int) -> Any:
        x, term = operands[i], terms[i]
        factors = [(output, g)] + [
            (t, o) for j, (t, o) in enumerate(zip(terms, operands, strict=True)) if j != i
        ]
        target, fresh = "", iter(free)
        for axis, c in enumerate(term):
            if c in target:  # a diagonal: an identity matrix puts the gradient on it
                c, first = next(fresh), c
                factors.append((first + c, np.eye(x.shape[axis], dtype=x.dtype)))
            else:
                lengths = {np.shape(value(o))[t.index(c)] for t, o in factors if c in t}
                if lengths <= {1} - {x.shape[axis]}:  # summed over in x_i alone, or the others are stretched to x_i
                    factors.append((c, np.ones(x.shape[axis], x.dtype)))
            target += c
        names = ",".join(t for t, _ in factors)
        return sum_to(_einsum(f"{names}->{target}", *(o for _, o in factors)), x.shape)

    return (None, *((lambda i=i: gradient(i)) for i in range(len(operands))))
