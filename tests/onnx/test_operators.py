"""The operators that `load` knows, by the tests of single nodes that the onnx package makes."""

import re

import numpy as np
import pytest

import minigraph as mg
from minigraph import tree
from minigraph.testing import check_vjp
from tests.onnx.cases import check_node, node_cases, node_files, run

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


def model_of(path, op_type, arrays, options, opset, outputs):
    """Write a model of one node, whose inputs are these arrays; None is left out."""
    make, kind = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype
    names = ["" if a is None else f"x{i}" for i, a in enumerate(arrays)]
    results = [f"y{i}" for i in range(outputs)]
    node = make.make_node(op_type, names, results, **options)
    given = [make.make_tensor_value_info(n, kind(a.dtype), a.shape) for n, a in zip(names, arrays, strict=True) if n]
    kinds = [kind(arrays[0].dtype), onnx.TensorProto.INT64 if op_type == "TopK" else kind(arrays[0].dtype)]
    ends = [make.make_tensor_value_info(name, kinds[i > 0], [None] * ndim(op_type, arrays, i))
            for i, name in enumerate(results)]  # fmt: skip
    graph = make.make_graph([node], "graph", given, ends)
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", opset)], ir_version=10), path)


def ndim(op_type, arrays, i):
    """The number of axes of result i."""
    if op_type in ("LSTM", "GRU", "RNN"):
        return 4 - (i > 0)
    return {"Det": 1, "SoftmaxCrossEntropyLoss": 0}.get(op_type, arrays[0].ndim)


RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape, np.float32)


def ints(*numbers):
    return np.array(numbers, np.int64)


def resize(shape, sizes=None, scales=None, **options):
    scales = None if scales is None else np.float32(scales)
    return ("Resize", [normal(*shape), None, scales, *([] if sizes is None else [ints(*sizes)])], options)


def recurrent(op_type, gates, ways, more=(), **options):
    x, w, r, b = normal(3, 2, 2), normal(ways, gates * 3, 2), normal(ways, gates * 3, 3), normal(ways, 2 * gates * 3)
    states = 2 if op_type == "LSTM" else 1
    initial = [normal(ways, 2, 3) for _ in range(states)]
    return (op_type, [x, w / 2, r / 2, b, None, *initial, *more], {"hidden_size": 3, **options}, 22, states + 1)


def attention(q, kv, *more, opset=23, **options):
    return ("Attention", [normal(*q), normal(*kv), normal(*kv), *more], options, opset)


MASK = np.array([[1, 0, 1, 1], [0, 0, 1, 0], [1, 1, 1, 1]], bool)
NODES = {
    "conv 1": ("Conv", [normal(2, 4, 9), normal(6, 2, 3), normal(6)],
               {"strides": [2], "dilations": [2], "pads": [1, 2], "group": 2}),
    "conv 3": ("Conv", [normal(2, 2, 4, 5, 6), normal(3, 2, 2, 3, 2), normal(3)],
               {"strides": [1, 2, 1], "dilations": [2, 1, 2], "pads": [1, 0, 1, 0, 2, 1]}),
    "conv 3, same": ("Conv", [normal(1, 4, 5, 5, 4), normal(4, 2, 3, 2, 3)], {"auto_pad": "SAME_LOWER", "group": 2}),
    "conv transpose 1": ("ConvTranspose", [normal(2, 4, 5), normal(4, 3, 4), normal(6)],
                         {"strides": [3], "dilations": [2], "pads": [1, 2], "output_padding": [1], "group": 2}),
    "conv transpose 2": ("ConvTranspose", [normal(2, 3, 4, 5), normal(3, 2, 3, 3)],
                         {"strides": [2, 3], "pads": [1, 0, 0, 1], "output_padding": [1, 2]}),
    "conv transpose 2, same": ("ConvTranspose", [normal(1, 3, 4, 3), normal(3, 2, 3, 3)],
                               {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "conv transpose 2, shape": ("ConvTranspose", [normal(1, 3, 4, 3), normal(3, 2, 3, 3)],
                                {"strides": [3, 2], "output_shape": [10, 8], "output_padding": [1, 1]}),
    "conv transpose 3": ("ConvTranspose", [normal(2, 2, 3, 2, 3), normal(2, 3, 3, 2, 2), normal(3)],
                         {"strides": [2, 1, 2], "dilations": [2, 1, 1], "pads": [1, 0, 1, 0, 1, 0]}),
    "max pool 1": ("MaxPool", [normal(2, 3, 9)], {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    "max pool 2, dilated": ("MaxPool", [normal(2, 3, 9, 8)],
                            {"kernel_shape": [3, 2], "dilations": [2, 3], "strides": [2, 1], "ceil_mode": 1}),
    "max pool 3": ("MaxPool", [normal(2, 3, 5, 6, 5)],
                   {"kernel_shape": [2, 3, 2], "strides": [2, 2, 1], "pads": [0, 1, 1, 1, 1, 0]}),
    "average pool 2": ("AveragePool", [normal(2, 3, 6, 7)],
                       {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 1, 1], "ceil_mode": 1}),
    "average pool 3": ("AveragePool", [normal(2, 3, 5, 6, 5)],
                       {"kernel_shape": [2, 3, 2], "strides": [2, 2, 1], "pads": [0, 1, 1, 1, 1, 0], "ceil_mode": 1}),
    "average pool 3, padded": ("AveragePool", [normal(2, 3, 4, 4, 5)],
                               {"kernel_shape": [2, 3, 2], "pads": [1, 1, 0, 1, 1, 1], "count_include_pad": 1}),
    "average pool 2, dilated": ("AveragePool", [normal(2, 3, 9, 8)], {"kernel_shape": [3, 2], "dilations": [2, 3]}),
    "nearest": resize((2, 3, 4, 5), scales=[1, 1, 2, 3]),
    "nearest, floor": resize((2, 3, 4, 5), (2, 3, 7, 3), coordinate_transformation_mode="asymmetric",
                             nearest_mode="floor"),
    "nearest, ceil": resize((2, 3, 4, 5), (2, 3, 7, 3), coordinate_transformation_mode="align_corners",
                            nearest_mode="ceil"),
    "nearest, half up": resize((2, 3, 4, 5), (2, 3, 8, 10), nearest_mode="round_prefer_ceil"),
    "linear": resize((2, 3, 4, 5), (2, 3, 7, 3), mode="linear"),
    "linear, one row": resize((2, 3, 4, 5), (2, 3, 1, 9), mode="linear",
                              coordinate_transformation_mode="pytorch_half_pixel"),
    "linear, corners": resize((2, 3, 4, 5), (2, 3, 7, 3), mode="linear",
                              coordinate_transformation_mode="align_corners"),
    "linear, corners of a scale": resize((1, 1, 2, 4), scales=[1, 1, 0.6, 0.6], mode="linear",
                                         coordinate_transformation_mode="align_corners"),
    "linear, symmetric": resize((1, 2, 5, 4), scales=[1, 1, 1.3, 2.4], mode="linear",
                                coordinate_transformation_mode="half_pixel_symmetric"),
    "linear, asymmetric": resize((2, 3, 4, 5), scales=[1, 1, 2, 1.5], mode="linear",
                                 coordinate_transformation_mode="asymmetric"),
    "linear, 1": resize((2, 3, 6), (2, 3, 4), mode="linear"),
    "linear, 3": resize((1, 2, 3, 4, 3), (1, 2, 5, 3, 4), mode="linear"),
    "linear, antialias": resize((2, 3, 9, 8), (2, 3, 4, 11), mode="linear", antialias=1),
    "linear, a ratio": resize((2, 3, 4, 6), (9, 8), mode="linear", axes=[2, 3],
                              keep_aspect_ratio_policy="not_larger"),
    "linear, a region": ("Resize", [normal(1, 1, 4, 5), np.float32([0, 0, 0.4, -0.2, 1, 1, 1.2, 0.7]), None,
                                    ints(1, 1, 3, 4)],
                         {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize",
                          "extrapolation_value": 7.0}),
    "cubic": resize((2, 3, 5, 6), (2, 3, 8, 4), mode="cubic", cubic_coeff_a=-0.5),
    "cubic, excluding": resize((1, 2, 5, 6), (1, 2, 8, 4), mode="cubic", exclude_outside=1),
    "upsample": ("Upsample", [normal(2, 3, 4, 5), np.float32([1, 1, 2, 3])], {"mode": "linear"}, 9),
    "resize of opset 10": ("Resize", [normal(2, 3, 4, 6), np.float32([1, 1, 2, 0.5])], {}, 10),
    "lstm": recurrent("LSTM", 4, 1),
    "lstm, both ways": recurrent("LSTM", 4, 2, [normal(2, 9)], direction="bidirectional"),
    "gru": recurrent("GRU", 3, 1, direction="reverse"),
    "gru, both ways": recurrent("GRU", 3, 2, direction="bidirectional", linear_before_reset=1),
    "rnn": recurrent("RNN", 1, 1, activations=["Relu"]),
    "attention": attention((2, 3, 4, 5), (2, 3, 6, 5)),
    "attention, causal": attention((2, 3, 4, 5), (2, 3, 4, 5), is_causal=1, scale=0.7),
    "attention, a mask": attention((2, 2, 3, 5), (2, 2, 4, 5), MASK),
    "attention, a bias": attention((2, 2, 3, 5), (2, 2, 4, 5), np.where(MASK, normal(3, 4), -np.inf)),
    "attention, shared heads": attention((2, 4, 12), (2, 6, 6), q_num_heads=4, kv_num_heads=2, softcap=2.0),
    "rotation": ("RotaryEmbedding", [normal(2, 3, 8), normal(5, 2), normal(5, 2), ints([0, 1, 2], [2, 3, 4])],
                 {"num_heads": 2, "interleaved": 1}, 23),
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
def test_onnxruntime_agrees_with_a_node_and_differences_with_its_gradient(name, tmp_path):
    op_type, arrays, options, opset, outputs = (*NODES[name], *(20, 1)[len(NODES[name]) - 3 :])
    path = tmp_path / "model.onnx"
    model_of(path, op_type, arrays, options, opset, outputs)
    model, params = mg.onnx.load(path)
    given = [a for a in arrays if a is not None]
    if name not in NOT_IN_ONNXRUNTIME:
        for got, want in zip(tree.leaves(model(params, *given)), run(path, *given), strict=True):
            assert (got.shape, got.dtype) == (want.shape, want.dtype)
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    fixed = {"Resize", "Upsample"}  # of which only the first input is differentiable
    free = [a is not None and a.dtype.kind == "f" and np.isfinite(a).all() and (i == 0 or op_type not in fixed)
            for i, a in enumerate(arrays)]  # fmt: skip
    wide = [a if a is None or a.dtype.kind != "f" or (op_type in fixed and i) else a.astype(np.float64)
            for i, a in enumerate(arrays)]  # fmt: skip
    model_of(path, op_type, wide, options, opset, outputs)
    model, params = mg.onnx.load(path)

    def f(*xs):
        rest = iter(xs)
        pairs = [(is_free, a) for is_free, a in zip(free, wide, strict=True) if a is not None]
        y = model(params, *(next(rest) if is_free else a for is_free, a in pairs))
        return sum((v * np.arange(1, v.size + 1).reshape(v.shape)).sum() for v in tree.leaves(y) if v.dtype.kind == "f")

    check_vjp(f, *(a for is_free, a in zip(free, wide, strict=True) if is_free), order=1)


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
