"""Joining, cutting and repeating: splits of any shape, lists of Tensors, bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigraph as mg
from minigraph.testing import check_adjoint

from .checks import same
from .strategies import arrays


@given(st.data())
def test_concatenate_undoes_split(data):
    x = data.draw(arrays(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    n = x.shape[axis]
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=3)))
    for sections in (cuts, data.draw(st.sampled_from([d for d in range(1, n + 1) if n % d == 0] or [1]))):
        parts = mg.split(x, sections, axis)
        for got, expected in zip(parts, np.split(x, sections, axis), strict=True):
            same(got, expected)
        same(mg.concatenate(parts, axis), x)
        check_adjoint(lambda x, sections=sections: mg.split(x, sections, axis), x)
        check_adjoint(lambda parts: mg.concatenate(parts, axis), parts)
    check_adjoint(lambda a, b: mg.stack([a, b], axis), x, x)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: mg.block([]), ValueError, "block: expected lists that are all nested as deep, and none empty"),
    (lambda x: mg.block([[x], x]), ValueError, "block: expected lists that are all nested as deep"),
    (lambda x: mg.vstack([]), TypeError, "vstack: expected a list or tuple of at least one array"),
    (lambda x: mg.hstack(2.0), TypeError, "hstack: expected a list or tuple of at least one array, got float"),
    (lambda x: mg.array_split(x, 0), ValueError, "array_split: 3 entries along axis 0 do not divide into 0 parts"),
    (lambda x: mg.vsplit(x, 3), ValueError, r"vsplit: axis 0 is out of range for shape \(3,\)"),
    (lambda x: mg.dsplit(x, 1), ValueError, "dsplit: axis 2 is out of range"),
    (lambda x: mg.split(x, 2), ValueError, "split: 3 entries along axis 0 do not divide into 2 parts"),
    (lambda x: mg.repeat(x, 2, axis=1), ValueError, "repeat: axis 1 is out of range"),
    (lambda x: mg.repeat(x, -1), ValueError, "repeat: expected counts of at least 0, got -1"),
    (lambda x: mg.roll(x, 1, axis=2), ValueError, "roll: axis 2 is out of range"),
    (lambda x: mg.unstack(x[0]), ValueError, "unstack: expected at least one axis"),
    (lambda x: mg.delete(x, 5), IndexError, "index 5 is out of bounds"),
    (lambda x: mg.insert(x, 5, 1.0), IndexError, "index 5 is out of bounds"),
])  # fmt: skip
def test_bad_input(call, error, message):
    for x in (np.ones(3), mg.Tensor(np.ones(3), requires_grad=True)):
        with pytest.raises(error, match=message):
            call(x)


def test_lists_that_hold_tensors_are_joined():
    t = mg.Tensor(2.0, requires_grad=True)
    for y, expected in (
        (mg.append([t, 1.0], [[t]]), [2, 1, 2]), (mg.vstack([[t, 1.0], [0.0, t]]), [[2, 1], [0, 2]]),
        (mg.hstack([[t], [t, t]]), [2, 2, 2]), (mg.insert([1.0, 2.0], 1, [t, t]), [1, 2, 2, 2]),
    ):  # fmt: skip
        np.testing.assert_array_equal(y.data, expected)
        t.grad = None
        y.sum().backward()
        assert t.grad.item() == np.sum(np.asarray(expected) == 2) - (np.asarray(expected).tolist() == [1, 2, 2, 2])


def test_numbers_beside_float32_do_not_widen():
    x = np.ones(2, np.float32)
    for y in (mg.append(x, 2.0), mg.append([1.0], x), mg.hstack([x, [1.0]]), mg.block([x, 1.0]), mg.insert(x, 0, 2.5)):
        assert y.dtype == np.float32
