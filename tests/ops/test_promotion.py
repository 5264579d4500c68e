"""A suite over every operation of several operands: the dtype of its result is that of the table in how-it-works.md."""

from pathlib import Path

import numpy as np
import pytest

import minigraph as mg

PAGE = Path(__file__).parents[2] / "docs" / "how-it-works.md"
FLOATS = [np.float16, np.float32, np.float64]
INTS = [np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]


def table():
    """The table of the page: {(row, column): dtype}."""
    lines = [line.strip("|").split("|") for line in PAGE.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines]
    start = next(i for i, line in enumerate(cells) if line[0] == "beside")
    columns = cells[start][1:]
    rows = [line for line in cells[start + 2 :] if len(line) == 1 + len(columns)]
    return {(row, column): dtype for row, *line in rows for column, dtype in zip(columns, line, strict=True)}


TABLE = table()
NUMBER = "a number, ints, bools"
ARRAYS = {f"{np.dtype(t)} {axes}": np.full(shape, 2, t) for t in FLOATS for axes, shape in (("(n)", 3), ("()", ()))}
NUMBERS = {
    **{f"{np.dtype(t)} array": np.full(3, 1, t) for t in INTS},
    **{f"{np.dtype(t)} array ()": np.full((), 1, t) for t in INTS},
    **{f"{np.dtype(t)} scalar": t(1) for t in FLOATS + INTS},
    "int": 2, "float": 2.5, "bool": True, "list": [1.0, 2.0, 3.0], "list of ints": [1, 2, 3],
}  # fmt: skip
BINARY = {
    name: getattr(mg, name)
    for name in ("add", "subtract", "multiply", "divide", "power", "maximum", "minimum", "remainder")
} | {
    "where": lambda a, b: mg.where(np.array([True, False, True]), a, b),
    "clip": lambda a, b: mg.clip(a, b),
    "clip to high": lambda a, b: mg.clip(a, None, b),
    "clip by name": lambda a, b: mg.clip(a, high=b),
    "einsum": lambda a, b: mg.einsum("...,...->...", a, b),
}
WITH_AXES = {
    "matmul": mg.matmul,
    "dot": mg.dot,
    "outer": mg.outer,
    "kron": mg.kron,
    "vecdot": mg.vecdot,
    "cross": mg.cross,
    "convolve": mg.convolve,
    "concatenate": lambda a, b: mg.concatenate([a, b]),
    "stack": lambda a, b: mg.stack([a, b]),
    "concatenate, flattened": lambda a, b: mg.concatenate([a, b], None),
    "scatter_add": lambda a, b: mg.scatter_add(a, [0, 1, 1], b),
}


def wrapped(x):
    """What may stand for an operand: the thing itself, a Tensor of it and, where it is floating, a leaf of it."""
    if not isinstance(x, np.ndarray):
        return [x]
    return [x, mg.Tensor(x), *([mg.Tensor(x, requires_grad=True)] if x.dtype.kind == "f" else [])]


def check(f, a, b, expected):
    for x in wrapped(a):
        for y in wrapped(b):
            for first, second in ((x, y), (y, x)):
                out = f(first, second)
                assert out.dtype == expected, (first, second)
                if isinstance(out, mg.Tensor) and out.requires_grad:
                    mg.mean(out).backward()
                    for t in (x, y):
                        if isinstance(t, mg.Tensor) and t.requires_grad and t.grad is not None:
                            assert (t.grad.dtype, t.grad.shape) == (t.dtype, t.shape)
                            t.grad = None


def test_the_table_has_every_pair():
    assert set(TABLE) == {(row, column) for row in (*ARRAYS, NUMBER) for column in ARRAYS}
    assert all(TABLE[a, b] == TABLE[b, a] for a in ARRAYS for b in ARRAYS)


@pytest.mark.parametrize("name", [*BINARY, *WITH_AXES])
def test_two_operands(name):
    for first, a in ARRAYS.items():
        for second, b in (ARRAYS | NUMBERS).items():
            if name in BINARY or (np.ndim(a) and np.ndim(b)):
                check((BINARY | WITH_AXES)[name], a, b, TABLE[second if second in ARRAYS else NUMBER, first])


@pytest.mark.parametrize("shape", [(200, 300), (1,)])
def test_large_arrays_and_one_entry(shape):
    """Large results lie in recycled memory; an axis of length 1 is an axis."""
    for t in FLOATS:
        for number in (np.float32(2), np.float64(2), np.full((), 2.0), np.full(shape, 2, np.int16)):
            check(mg.add, np.ones(shape, t), number, t)


def test_where_no_array_is_floating_numpys_rule_holds():
    for a in NUMBERS.values():
        for b in NUMBERS.values():
            for name in ("multiply", "maximum", "divide"):
                assert np.asarray(getattr(mg, name)(a, b)).dtype == np.asarray(getattr(np, name)(a, b)).dtype


LONG = [np.longdouble(2), np.full(3, 2, np.longdouble), np.full((), 2, np.longdouble)]
COMPLEX = [2j, np.complex64(2), np.full(3, 2j), np.full((), 2j, np.complex64)]


@pytest.mark.parametrize("name", [*BINARY, *WITH_AXES])
def test_what_is_wider_or_complex_is_refused(name):
    for other in (*COMPLEX, *(LONG if np.finfo(np.longdouble).bits > 64 else [])):
        for x in wrapped(np.ones(3, np.float32)) + wrapped(np.ones(3, np.float16)):
            if name in BINARY or np.ndim(other):
                with pytest.raises(TypeError, match=r"the result would be|64 bits|complex|not supported"):
                    (BINARY | WITH_AXES)[name](x, other)
