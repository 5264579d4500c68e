"""The operators that `load` knows, by the tests of single nodes that the onnx package makes."""

import functools
import importlib
import pkgutil
import re
import warnings

import numpy as np
import pytest

import minigraph as mg

onnx = pytest.importorskip("onnx")

from minigraph.onnx.operators import OPERATORS, Held, aligned, ordered, plain, shape_of  # noqa: E402

node = importlib.import_module("onnx.backend.test.case.node")
LOWER = {name.lower() for name in OPERATORS} | {"rangeop"}
FILES = [m.name for m in pkgutil.iter_modules(node.__path__) if m.name.replace("_", "") in LOWER]
SLOW = {"averagepool", "maxpool"}  # to make their tests takes seconds

# What the tests have and `load` refuses: types that NumPy does not have, training, and some options.
REASONS = re.compile(
    r"the type (bfloat16|float8|float4|u?int[24]\b|string|undefined)|no array but a|3 spatial axes|dilations|"
    "training_mode|is_test=0|select_last_index=1|reduction=(mul|max|min)|Dropout .*2 outputs|MaxPool .*2 outputs|"
    "output_shape|auto_pad=SAME|storage_order=1|saturate=0|before opset 21|operators that are not supported"
)
ERRORS = {  # when they run
    "test_convtranspose_3d": "expected one or two spatial axes",
    "test_maxpool_2d_uint8": "x should be floating",
    "test_reduce_max_empty_set": "no identity",
    "test_reduce_max_empty_set_bool": "no identity",
    "test_reduce_min_empty_set": "no identity",
}
TOLERANCES = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 1e-3}  # it gives four digits


@functools.cache
def cases(file):
    """The tests of a file of the package. They are made when it is imported, and added to one list."""
    before = len(node._NodeTestCases)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module(f"{node.__name__}.{file}")
    return node._NodeTestCases[before:]


def array(v):
    return onnx.numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v


@pytest.mark.parametrize("file", [pytest.param(f, marks=[pytest.mark.slow] if f in SLOW else []) for f in FILES])
def test_the_nodes_of_the_onnx_package(file, tmp_path):
    done = 0
    for case in cases(file):
        onnx.save(case.model, tmp_path / "model.onnx")
        try:
            model, params = mg.onnx.load(tmp_path / "model.onnx")
        except mg.onnx.UnsupportedError as error:
            assert REASONS.search(str(error)), (case.name, error)
            continue
        for inputs, outputs in case.data_sets:
            with np.errstate(all="ignore"):
                if case.name in ERRORS:
                    with pytest.raises(ValueError, match=ERRORS[case.name]):
                        model(params, *map(array, inputs))
                    continue
                y = model(params, *map(array, inputs))
            for got, want in zip(y if type(y) is tuple else (y,), map(array, outputs), strict=True):
                assert (got.shape, got.dtype) == (want.shape, want.dtype), case.name
                tolerance = 2e-3 if want.dtype == np.float16 else TOLERANCES.get(case.name, 1e-5)
                np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance, err_msg=case.name)
            done += 1
    assert done


def test_every_operator_has_such_a_test():
    tested = {name.replace("_", "") for name in FILES} - {"rangeop"} | {"range"}
    assert {name.lower() for name in OPERATORS} == tested


# ---------------------------------------------------------------- the order of axes


def test_an_array_in_another_order_reads_as_itself():
    x = np.arange(24).reshape(1, 2, 3, 4)
    held = Held(x.transpose(0, 2, 3, 1), (0, 2, 3, 1))
    assert shape_of(held) == x.shape
    np.testing.assert_array_equal(plain(held), x)
    np.testing.assert_array_equal(ordered(held, (3, 2, 1, 0)), x.T)


def test_operands_are_brought_into_the_order_of_one():
    x, v = np.arange(24).reshape(1, 2, 3, 4), np.arange(2).reshape(2, 1, 1)
    held = Held(x.transpose(0, 2, 3, 1), (0, 2, 3, 1))
    order, (a, b, c) = aligned(held, v, x)
    np.testing.assert_array_equal(plain(Held(a * b + c, order)), x * v + x)
    assert aligned(x, v)[0] is None
