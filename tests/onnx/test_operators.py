"""The operators that `load` knows, by the tests of single nodes that the onnx package makes."""

import re

import numpy as np
import pytest

from tests.onnx.cases import check_node, check_single_node, ints, node_cases, node_files, normals

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from minigraph.onnx.operators import OPERATORS, Held, aligned, ordered, plain, shape_of  # noqa: E402

LOWER = {name.lower() for name in OPERATORS} | {"rangeop"}
DEFINED = {"negativeloglikelihoodloss", "swiglu", "centercroppad", "causalconvwithstate", "hannwindow"}
FILES = [name for name in node_files() if name.replace("_", "") in LOWER | DEFINED]
SLOW = {"averagepool", "maxpool", "attention", "negativeloglikelihoodloss"}  # to make or run their tests takes seconds

# What the tests have and `load` refuses: types that NumPy does not have, training, and some options.
REASONS = re.compile(
    "the type (bfloat16|float8|float4|u?int[24]\\b|string|undefined)|no array but a|training_mode|is_test=0|"
    "reduction=(mul|max|min)|(Dropout|MaxPool) .*2 outputs|storage_order=1|saturate=0|the output qk_matmul_output|"
    "operators that are not supported|x should be floating|no identity"
)


@pytest.mark.parametrize("file", [pytest.param(f, marks=[pytest.mark.slow] if f in SLOW else []) for f in FILES])
def test_the_nodes_of_the_onnx_package(file, tmp_path):
    done = 0
    for case in node_cases(file):
        refusal = check_node(case, tmp_path / "model.onnx")
        assert refusal is None or REASONS.search(refusal), (case.name, refusal)
        done += refusal is None
    assert done


def test_every_operator_has_such_a_test():
    tested = {name.replace("_", "") for name in FILES} - DEFINED - {"rangeop"} | {"range"}
    assert {name.lower() for name in OPERATORS} == tested


# ---------------------------------------------------------------- single nodes in onnxruntime, and their gradients

normal = normals(0)
NODES = {
    "top k": ("TopK", [normal(3, 5), ints(2)], {"largest": 0}, 20, 2),
    "products": ("CumProd", [normal(3, 4), np.array(1)], {"exclusive": 1, "reverse": 1}, 26),
    "sums": ("CumSum", [normal(3, 4), np.array(0)], {"exclusive": 1}),
    "unit length": ("LpNormalization", [normal(3, 4)], {"axis": 0, "p": 1}),
    "groups": ("GroupNormalization", [normal(2, 4, 3), normal(4), normal(4)], {"num_groups": 2}, 21),
    "compress": ("Compress", [normal(3, 4), np.array([1, 0, 1], bool)], {"axis": 0}),
    "determinant": ("Det", [normal(2, 3, 3)], {}),
    "a loss": ("SoftmaxCrossEntropyLoss", [normal(3, 4), ints(1, 0, 3), np.float32([1, 2, 3, 4])], {}),
    "silu of half": ("SwiGLU", [normal(3, 4), normal(3, 4)], {}, 28),
    "scatter": ("Scatter", [normal(3, 3), ints([1, 0, 2]), normal(1, 3)], {}, 9),
}  # fmt: skip
NOT_IN_ONNXRUNTIME = {"products", "silu of half"}


@pytest.mark.parametrize("name", NODES)
def test_onnxruntime_agrees_and_differences_with_the_gradient(name, tmp_path):
    check_single_node(*NODES[name], path=tmp_path / "model.onnx", compared=name not in NOT_IN_ONNXRUNTIME)


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
