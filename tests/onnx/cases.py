"""Exporting rows of the table of operations, and running models in onnxruntime. `docs/onnx_table.py` uses it too."""

import numpy as np

import minigraph as mg
import minigraph.onnx
from minigraph import tree
from minigraph.tensor import value
from tests.ops.table import converted

# Rows that have cases which are refused: the words of the refusal.
REFUSED_ROWS = {
    "conv2d_weight_grad": "belongs to a backward pass",
    "max_pool_scatter": "belongs to a backward pass",
    "max_pool_gather": "belongs to a backward pass",
    "avg_pool_adjoint": "belongs to a backward pass",
    "batch_norm": "export the model with train=False",
}


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


def compare(row, c, path):
    """Export a case in float32 with its floating arguments as inputs; (operators, largest error in onnxruntime).

    The error is that of the value in float64, in units of the value where that is more than 1.
    """
    import onnx

    exact = []

    def place(a):
        exact.append(a)
        return Array(len(exact) - 1)

    args = converted(c.draw(), place)

    def fill(a, arrays):
        return [fill(v, arrays) for v in a] if isinstance(a, list) else arrays[a.i] if isinstance(a, Array) else a

    def f(*arrays):
        return row.op(*(fill(a, arrays) for a in args), **c.kwargs)

    inputs = [a.astype(np.float32) for a in exact]
    mg.onnx.export(f, tuple(inputs), path, batch=False)
    operators = [node.op_type for node in onnx.load(path).graph.node]
    got = run(path, *inputs)
    want = [np.asarray(value(y)) for y in tree.leaves(f(*exact))]
    dtypes = [value(y).dtype for y in tree.leaves(f(*map(mg.Tensor, inputs)))]
    assert [(g.shape, g.dtype) for g in got] == [(w.shape, d) for w, d in zip(want, dtypes, strict=True)]
    errors = [np.abs(g - w) / np.maximum(1, np.abs(w)) for g, w in zip(got, want, strict=True)]
    return operators, max(float(e.max(initial=0)) for e in errors)

