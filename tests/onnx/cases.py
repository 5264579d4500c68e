"""Exporting rows of the table of operations, running models in onnxruntime, and the onnx package's tests of nodes.

`docs/onnx_table.py` uses it too.
"""

import functools
import importlib
import pkgutil
import warnings
from collections import Counter

import numpy as np

import minigraph as mg
import minigraph.onnx
from minigraph import tree
from minigraph.tensor import value
from minigraph.testing import check_vjp
from models import transformer
from tests.ops.table import converted

# Rows that have cases which are refused: the words of the refusal.
REFUSED_ROWS = {
    "conv2d_weight_grad": "belongs to a backward pass",
    "max_pool_scatter": "belongs to a backward pass",
    "max_pool_gather": "belongs to a backward pass",
    "avg_pool_adjoint": "belongs to a backward pass",
    "batch_norm": "export the model with train=False",
}


def small_transformer(rng):
    """Parameters of models/transformer.py whose head does not begin at 0, and a function of tokens (n) -> (n, 8)."""
    params = transformer.init(rng, characters=11, length=8, width=16, heads=2, blocks=2)
    params["head"]["w"] = rng.standard_normal((16, 11), np.float32)
    return params, lambda n: rng.integers(0, 11, (n, 8))


# Rows whose operations follow the values of their inputs, by NumPy and outside of the graph: an order, NaN, a turn.
BY_VALUE = {
    "interp", "median", "nancumprod", "nancumsum", "nanmax", "nanmean", "nanmin", "nanprod", "nanstd", "nansum",
    "nanvar", "partition", "percentile", "quantile", "sort", "top_k", "unique", "unwrap",
}  # fmt: skip


def normals(seed):
    """A function of a shape that draws a float32 array of it."""
    rng = np.random.default_rng(seed)
    return lambda *shape: rng.standard_normal(shape, np.float32)


def ints(*numbers):
    return np.array(numbers, np.int64)


class Array:
    """The place of a floating argument."""

    def __init__(self, i):
        self.i = i


def run(path, *inputs):
    """The results of a model in onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))


def operators(path):
    """How many nodes of each operator a model has."""
    import onnx

    return Counter(node.op_type for node in onnx.load(path).graph.node)


# Rows that take neither random numbers nor their own in another order: a second example, made of the first.
OTHERS = {
    "cholesky": lambda a: (2 * a,),
    "interp": lambda x, *points: (-x, *(p / 2 for p in points)),
}


def is_refused(row, c):
    return row.name in REFUSED_ROWS and c.kwargs.get("train", True)


def export_case(row, c, path):
    """Export a case in float32, with its floating arguments as inputs: (the function, these in float64)."""
    exact = []

    def place(a):
        exact.append(a)
        return Array(len(exact) - 1)

    args = converted(c.draw(), place)

    def fill(a, arrays):
        return [fill(v, arrays) for v in a] if isinstance(a, list) else arrays[a.i] if isinstance(a, Array) else a

    def f(*arrays):
        return row.op(*(fill(a, arrays) for a in args), **c.kwargs)

    example = tuple(a.astype(np.float32) for a in exact)
    other = OTHERS[row.name](*example) if row.name in OTHERS else None
    mg.onnx.export(f, example, path, batch=False, other=other)
    return f, exact


def error_of(row, c, path):
    """Export a case, run it in onnxruntime, and return its largest error.

    That is the difference from the value in float64, in units of the value where this is more than 1.
    """
    f, exact = export_case(row, c, path)
    inputs = [a.astype(np.float32) for a in exact]
    got = run(path, *inputs)
    want = [np.asarray(value(y)) for y in tree.leaves(f(*exact))]
    dtypes = [value(y).dtype for y in tree.leaves(f(*map(mg.Tensor, inputs)))]
    assert [(g.shape, g.dtype) for g in got] == [(w.shape, d) for w, d in zip(want, dtypes, strict=True)]
    errors = [np.abs(g - w) / np.maximum(1, np.abs(w)) for g, w in zip(got, want, strict=True)]
    return max(float(e.max(initial=0)) for e in errors)


# ---------------------------------------------------------------- the tests of single nodes that the onnx package makes

_NODES = "onnx.backend.test.case.node"
# Four digits are given in one; two divide by a length before it is rounded, which onnxruntime does not, nor we.
TOLERANCES = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 1e-3}
OTHER_RESULTS = {
    "test_resize_downsample_scales_linear_align_corners", "test_resize_downsample_scales_cubic_align_corners",
}  # fmt: skip


def node_files():
    """The names of the files of tests."""
    return [m.name for m in pkgutil.iter_modules(importlib.import_module(_NODES).__path__)]


@functools.cache
def node_cases(file):
    """The tests of a file of the package. They are made when it is imported, and added to one list."""
    made = importlib.import_module(_NODES)._NodeTestCases
    before = len(made)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module(f"{_NODES}.{file}")
    return made[before:]


def check_node(case, path):
    """The message of a refusal, before or while it runs, or None. Raises AssertionError for another result."""
    import onnx

    def array(v):
        return onnx.numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v

    onnx.save(case.model, path)
    try:
        model, params = mg.onnx.load(path)
    except mg.onnx.UnsupportedError as error:
        return str(error)
    for inputs, outputs in case.data_sets:
        try:
            with np.errstate(all="ignore"):
                y = model(params, *map(array, inputs))
        except ValueError as error:
            return str(error)
        for got, want in zip(y if type(y) is tuple else (y,), map(array, outputs), strict=True):
            assert (got.shape, got.dtype) == (want.shape, want.dtype), case.name
            tolerance = 2e-3 if want.dtype == np.float16 else TOLERANCES.get(case.name, 1e-5)
            close = np.allclose(got, want, rtol=tolerance, atol=tolerance, equal_nan=True)
            assert close != (case.name in OTHER_RESULTS), case.name
    return None


# ---------------------------------------------------------------- single nodes of our own


def model_of(path, op_type, arrays, options, opset, outputs):
    """Write a model of one node, whose inputs are these arrays; None is left out."""
    import onnx

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


def check_single_node(op_type, arrays, options, opset=20, outputs=1, *, path, compared=True):
    """Hold a node to onnxruntime in float32, where it is `compared`, and its gradient to differences in float64.

    `arrays` are its inputs, None where one is left out.
    """
    model_of(path, op_type, arrays, options, opset, outputs)
    model, params = mg.onnx.load(path)
    given = [a for a in arrays if a is not None]
    if compared:
        for got, want in zip(tree.leaves(model(params, *given)), run(path, *given), strict=True):
            assert (got.shape, got.dtype) == (want.shape, want.dtype)
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    fixed = op_type in ("Resize", "Upsample")  # of which only the first input is differentiable
    free = [a.dtype.kind == "f" and np.isfinite(a).all() and not (fixed and i) for i, a in enumerate(given)]
    wide = [a.astype(np.float64) if a.dtype.kind == "f" and not (fixed and i) else a for i, a in enumerate(given)]
    all_wide = iter(wide)
    model_of(path, op_type, [None if a is None else next(all_wide) for a in arrays], options, opset, outputs)
    model, params = mg.onnx.load(path)

    def f(*xs):
        rest = iter(xs)
        y = model(params, *(next(rest) if is_free else a for is_free, a in zip(free, wide, strict=True)))
        return sum((v * np.arange(1, v.size + 1).reshape(v.shape)).sum() for v in tree.leaves(y) if v.dtype.kind == "f")

    check_vjp(f, *(a for is_free, a in zip(free, wide, strict=True) if is_free), order=1)
