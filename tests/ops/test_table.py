"""A suite over the table: every primitive and every public operation is held to its row.

It stands beside the files that mirror minigraph/ops, since each of its tests runs over all families. What only one
operation promises is tested in the file of its family.
"""

import importlib

import numpy as np
import pytest

import minigraph as mg
from minigraph import ops, tree

from .table import ROWS, converted, is_floating, pulled, tensors


def over(*attributes):
    """Parametrise by every (row, case); the cases are those of `row.cases`, `row.empty`."""
    return pytest.mark.parametrize(
        ("row", "c"),
        [
            pytest.param(row, c, id=f"{row}-{attribute}{i}")
            for attribute in attributes
            for row in ROWS
            for i, c in enumerate(getattr(row, attribute))
        ],
    )


# ---------------------------------------------------------------- completeness


def test_every_primitive_and_operation_has_a_row():
    helpers = {"numpy_ufunc", "numpy_function"}
    wanted = {name for name, p in mg.primitives().items() if p.__module__.startswith("minigraph.")}
    wanted |= set(ops.__all__) - helpers
    assert {row.name for row in ROWS} == wanted


def test_every_public_function_of_the_families_is_in_all():
    public = {
        name
        for name, f in vars(ops).items()
        if callable(f) and not name.startswith("_") and f.__module__.startswith("minigraph.ops.")
    }
    assert public - {"numpy_ufunc", "numpy_function"} == set(ops.__all__)


@pytest.mark.parametrize("name", ops.__all__)
def test_every_operation_is_documented(name):
    assert getattr(ops, name).__doc__


# ---------------------------------------------------------------- values


@over("cases", "empty")
def test_value(row, c):
    args = c.draw()
    expected = tree.leaves(row.reference(*args, **c.kwargs))
    for got in (row.op(*args, **c.kwargs), row.op(*tensors(args), **c.kwargs)):
        got = tree.leaves(got)
        assert len(got) == len(expected)
        for g, e in zip(got, expected, strict=True):
            g = g.data if isinstance(g, mg.Tensor) else g
            assert g.shape == np.shape(e)
            np.testing.assert_allclose(g, e, rtol=1e-12, atol=1e-12)


@over("cases")
def test_arrays_in_arrays_out_and_nothing_recorded(row, c, monkeypatch):
    def no_node(*_):
        raise AssertionError("recorded")

    monkeypatch.setattr(importlib.import_module("minigraph.primitive"), "new_node", no_node)
    for y in tree.leaves(row.op(*c.draw(), **c.kwargs)):
        assert isinstance(y, (np.ndarray, np.generic))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@over("cases")
def test_arrays_tensors_and_leaves_give_the_same_dtypes(row, c, dtype):
    args = converted(c.draw(), lambda a: a.astype(dtype))
    inputs = args, converted(args, mg.Tensor), tensors(args)
    arrays, constants, recorded = ([y.dtype for y in tree.leaves(row.op(*x, **c.kwargs))] for x in inputs)
    assert arrays == constants == recorded


INNER = {"avg_pool_adjoint", "batch_norm_eval", "conv2d_input_grad", "conv2d_weight_grad"}  # of arrays of one dtype


@pytest.mark.parametrize("kind", ["ints", "lists"])
@over("cases")
def test_neither_ints_nor_lists_decide_the_dtype_beside_floats(row, c, kind):
    args = converted(c.draw(), lambda a: a.astype(np.float32))
    floating = [i for i, a in enumerate(args) if is_floating(a)]
    if row.name == "full_like" or row.name in INNER:  # the first argument of full_like alone decides
        floating = []
    for i in floating if len(floating) > 1 else []:
        plain = np.rint(np.abs(args[i])).astype(np.int64) if kind == "ints" else args[i].tolist()

        def call(convert, i=i, plain=plain):
            inputs = [plain if k == i else convert(a) if k in floating else a for k, a in enumerate(args)]
            return [y.dtype for y in tree.leaves(row.op(*inputs, **c.kwargs))]

        try:
            expected = call(lambda a: mg.Tensor(a, requires_grad=True))
        except RuntimeWarning:  # these ints are out of its domain
            continue
        except (TypeError, ValueError) as error:  # some take no ints
            assert str(error).startswith(row.name)
            continue
        assert call(lambda a: a) == call(mg.Tensor) == expected


@over("cases")
def test_ints_give_the_numbers_that_floats_do(row, c):
    if row.name == "pad" or row.name in INNER:  # pad rounds its means, as NumPy's does
        return
    args = converted(c.draw(), lambda a: np.rint(np.abs(a)).clip(0, 3))
    try:
        expected = tree.leaves(row.op(*args, **c.kwargs))
    except (ValueError, ArithmeticError, RuntimeWarning):  # they are out of its domain
        return
    try:
        got = tree.leaves(row.op(*converted(args, lambda a: a.astype(np.int64)), **c.kwargs))
    except (TypeError, ValueError) as error:
        assert str(error).startswith(row.name)
        return
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-12, atol=1e-12)


@over("cases")
def test_inputs_are_not_changed(row, c):
    def frozen(a):
        a = a.copy()
        a.flags.writeable = False
        return a

    pulled(row, c, converted(c.draw(), frozen))  # writing to a frozen array raises


# ---------------------------------------------------------------- gradients


@over("cases", "empty")
def test_gradient(row, c):
    row.check(c)


@over("cases", "empty")
def test_float32_stays_float32(row, c):
    args = c.draw()
    values, grads = pulled(row, c, converted(args, lambda a: a.astype(np.float32)))
    exact_values, exact_grads = pulled(row, c, args)
    for got, exact in zip([*values, *grads], [*exact_values, *exact_grads], strict=True):
        if exact is None:
            assert got is None
            continue
        assert got.dtype == (np.float64 if row.name == "astype" and got is values[0] else np.float32)
        size = np.abs(exact.data).max(initial=0)
        np.testing.assert_allclose(got.data, exact.data, rtol=0, atol=2e-5 * size + 1e-30)


@over("cases")
@pytest.mark.parametrize("layout", ["strided", "fortran", "reversed", "swapped bytes"])
def test_layout_does_not_matter(row, c, layout):
    def other(a):
        if layout == "swapped bytes":  # as some file formats have it
            return a.astype(a.dtype.newbyteorder())
        if layout == "fortran":
            return np.array(a, order="F")
        if layout == "reversed":
            return np.asarray(np.flip(np.flip(a).copy()))
        wide = np.full((*a.shape[:-1], 2 * a.shape[-1]) if a.ndim else (2,), np.nan)
        view = wide[..., ::2] if a.ndim else wide[0:1].reshape(())
        view[...] = a
        return view

    args = c.draw()
    for got, expected in zip(pulled(row, c, converted(args, other)), pulled(row, c, args), strict=True):
        for g, e in zip(got, expected, strict=True):
            if e is None:
                assert g is None
                continue
            np.testing.assert_allclose(g.data, e.data, rtol=1e-12, atol=1e-13)
            assert g.shape == e.shape
            assert g.dtype.newbyteorder("=") == e.dtype
