"""The pieces of an ONNX graph: lengths that follow the batch, orders of axes, constants, names."""

import numpy as np
import pytest

from minigraph.onnx.build import Builder, Length, UnsupportedError, Value, channels_first, fixed, onnx_type, plain

pytest.importorskip("onnx")


def test_lengths_read_as_they_are_computed():
    assert [str(n) for n in (Length(1, 0), Length(2, 0), Length(1, 1), Length(3, -2))] == [
        "batch", "2 * batch", "batch + 1", "3 * batch - 2",
    ]  # fmt: skip
    with pytest.raises(UnsupportedError, match="follows the batch"):
        fixed([2, Length(1, 0)])
    assert fixed([2, 3]) == [2, 3]


def test_a_value_is_transposed_once_and_not_back():
    b = Builder("x")
    x = Value((Length(1, 0), 4, 5, 3), np.dtype(np.float32), {plain(4): "x"})
    first = b.name(x, channels_first(4))
    assert b.name(x, channels_first(4)) == first and b.name(x) == "x" and len(b.nodes) == 1
    assert [*b.nodes[0].attribute[0].ints] == [0, 3, 1, 2]


def test_equal_numbers_are_one_constant_and_titles_are_kept():
    b = Builder(None)
    assert b.constant(np.float32(1)) == b.constant(np.float32(1)) != b.constant(np.float64(1))
    assert b.constant(np.ones(2), "w") == "w" and b.constant(np.ones(2), "w") == "w_2"


def test_the_shape_of_the_batch_is_read_once():
    b = Builder("x")
    b.integers([Length(1, 0), 3])
    b.integers([Length(2, 1)])
    assert [n.op_type for n in b.nodes] == ["Shape", "Concat", "Mul", "Add"]
    assert b.reshape("y", [Length(2, 0), 3]) and b.nodes[-1].op_type == "Reshape"
    assert len(b.nodes) == 5  # -1 needs no arithmetic


def test_dtypes_that_onnx_has_not_are_named():
    assert onnx_type(np.float32) == 1
    with pytest.raises(UnsupportedError, match=r"no arrays of (longdouble|float128)"):
        onnx_type(np.longdouble)
