"""`mg.onnx.export`: whole models, the batch, what a file says, and what is refused."""

import functools
import os
from collections import Counter

import numpy as np
import pytest

import minigraph as mg
from minigraph import tree
from models import airnet, cnn, transformer
from tests.onnx.cases import operators, run, small_transformer

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


X = np.ones((2, 3), np.float32)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


def lengths(info):
    return [d.dim_param or d.dim_value for d in info.type.tensor_type.shape.dim]


def check(f, example, path, *batches):
    """Export f, and compare its result for each batch, which is the last argument of f."""
    mg.onnx.export(f, example, path)
    for x in batches:
        want = f(*example[:-1], x)
        want = want[0] if isinstance(want, tuple) else want
        (got,) = run(path, x)
        assert got.shape == want.shape and got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def images(n, size=32, seed=0):
    return np.random.default_rng(seed).standard_normal((n, size, size, 3), np.float32)


# ---------------------------------------------------------------- whole models


@pytest.mark.parametrize("depth", [2, 3])
def test_airnet_is_one_node_for_each_operation_and_one_transpose(depth, path):
    rng = np.random.default_rng(0)
    params, state = airnet.init(rng, widths=(8, 16, 16), depth=depth)
    state = tree.map(lambda a: a + rng.uniform(0, 0.1, a.shape).astype(np.float32), state)
    apply = functools.partial(airnet.apply, train=False)
    check(apply, (params, state, images(2)), path, images(1), images(3, seed=1))
    traced = Counter(v.title for v in mg.graph.trace.trace(apply, params, state, images(1)).operations)
    found = operators(path)
    assert found["Transpose"] == 1
    assert found["BatchNormalization"] == traced["batch_norm"] == 3 * depth
    assert found["Conv"] == traced["conv2d"]
    assert (found["MaxPool"], found["Add"]) == (traced["max_pool"], traced["add"])
    assert found.total() == sum(traced.values()) + traced["silu"] + 1  # silu is two: x sigmoid(x)


def test_cnn_has_a_reshape_that_leaves_the_batch_open(path):
    params, state = cnn.init(np.random.default_rng(0))
    check(functools.partial(cnn.apply, train=False), (params, state, images(2)), path, images(1), images(5, seed=1))
    assert operators(path)["Transpose"] == 2  # one into the convolutions, one out of them
    model = onnx.load(path)
    (reshape,) = (node for node in model.graph.node if node.op_type == "Reshape")
    shapes = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    assert shapes[reshape.input[1]].tolist() == [-1, 4096]


def test_a_transformer_takes_tokens(path):
    params, tokens = small_transformer(np.random.default_rng(0))
    check(transformer.apply, (params, tokens(2)), path, tokens(1), tokens(4))
    found = operators(path)
    assert (found["LayerNormalization"], found["Gelu"], found["Softmax"]) == (5, 2, 2)
    assert onnx.load(path).graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.INT64


# ---------------------------------------------------------------- what a file says


def test_inputs_outputs_parameters_and_metadata_have_their_names(path):
    params = {"conv": {"w": np.ones((3, 3, 2, 4), np.float32), "b": np.arange(4, dtype=np.float32)}}

    def two(params, image, shift):
        h = mg.conv2d(image, **params["conv"])
        return {"maps": h, "total": h.sum((1, 2, 3)) + shift}

    image, shift = np.ones((3, 5, 6, 2), np.float32), np.ones(3, np.float32)
    mg.onnx.export(two, (params, image, shift), path, metadata={"classes": '["cat"]'})
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(i.name, lengths(i)) for i in model.graph.input] == [("image", ["batch", 5, 6, 2]), ("shift", ["batch"])]
    outputs = [(o.name, lengths(o)) for o in model.graph.output]
    assert outputs == [("maps", ["batch", 3, 4, 4]), ("total", ["batch"])]
    stored = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    assert stored["params.conv.w"].shape == (4, 2, 3, 3)  # OIHW
    np.testing.assert_array_equal(stored["params.conv.b"], params["conv"]["b"])
    assert [(p.key, p.value) for p in model.metadata_props] == [("classes", '["cat"]')]
    assert [(o.domain, o.version) for o in model.opset_import] == [("", mg.onnx.OPSET)]
    assert (model.producer_name, model.graph.name) == ("minigraph", "two")
    maps, total = run(path, image[:1], shift[:1])
    assert maps.shape == (1, 3, 4, 4) and total == [maps.sum() + 1]


def test_a_parameter_in_two_layouts_is_stored_twice(path):
    def f(params, x):
        return mg.conv2d(x, params["w"]) + params["w"][0, 0, 1]

    params = {"w": np.random.default_rng(0).standard_normal((1, 1, 3, 2), np.float32)}
    check(f, (params, images(2, 4)), path, images(3, 4))
    assert {"params.w", "params.w_2"} <= {i.name for i in onnx.load(path).graph.initializer}


def test_a_bias_that_was_broadcast_is_still_a_vector(path):
    def f(params, x):
        return (mg.conv2d(x, params["w"]) + params["b"]).mean((1, 2)) * mg.exp(params["b"])

    rng = np.random.default_rng(0)
    params = {"w": rng.standard_normal((1, 1, 3, 2), np.float32), "b": rng.standard_normal(2, np.float32)}
    check(f, (params, images(2, 4)), path, images(3, 4))


def test_nodes_are_named_by_their_scopes(path):
    def f(params, x):
        return mg.tanh(x @ params["first"]["w"])

    mg.onnx.export(f, ({"first": {"w": np.ones((2, 2))}}, np.ones((1, 2))), path)
    assert [node.name for node in onnx.load(path).graph.node] == ["first/matmul_2/MatMul", "first/tanh_3/Tanh"]


def test_results_that_are_inputs_or_each_other_are_copied(path):
    def f(x):
        y = mg.exp(x)
        return x, y, y

    mg.onnx.export(f, np.ones((2, 3), np.float32), path)
    results = run(path, np.zeros((1, 3), np.float32))
    assert [r.tolist() for r in results] == [[[1, 1, 1]]] * len(results)


# ---------------------------------------------------------------- the batch


def twice(f):
    return functools.wraps(f)(lambda x: f(f(x)))


BATCHED = {
    "two batches in one axis": lambda x: x.reshape(len(x) * 2, 3).sum(1).reshape(len(x), 2),
    "a batch and one more": lambda x: mg.concatenate([x, x[:1]]) * 2,
    "the batch in two places": lambda x: mg.broadcast_to(x.reshape(len(x), 1, 6), (len(x), len(x), 6)),
    "the batch last": lambda x: x.reshape(len(x), 6).T,
    "a token for each": lambda x: mg.concatenate([mg.broadcast_to(x[:1, :1] * 0, (len(x), 1, 3)), x], 1),
    "zeros for each": lambda x: mg.tanh(x + np.zeros((len(x), 1, 3), np.float32)),
    "a slice up to the batch": lambda x: x.T[:, :, : len(x) - 1] * 2,
    "the mean over the batch": lambda x: x - x.mean(0),
    "matrix of pairs": lambda x: x.reshape(len(x), 6) @ x.reshape(len(x), 6).T,
    "reversed": lambda x: mg.flip(x, 0),
    "channels": lambda x: mg.avg_pool(x.reshape(len(x), 2, 3, 1), (2, 3)).reshape(len(x)),
    "pad": lambda x: mg.pad(x, ((1, 0), (0, 0), (0, 2))),
}


@pytest.mark.parametrize("name", BATCHED)
def test_what_follows_the_batch(name, path):
    x = np.random.default_rng(0).standard_normal((5, 2, 3), np.float32)
    for example in (x[:1], x[:3]):
        check(BATCHED[name], (example,), path, *(x[:n] for n in (2, 4, 5)))


# ---------------------------------------------------------------- what the exporter tries

LABELS = {
    "mean": {}, "sum": {"reduction": "sum"}, "none": {"reduction": "none"}, "smoothing": {"label_smoothing": 0.1},
    "ignored": {"ignore_index": -1, "reduction": "none"},
    "ignored, smoothing": {"ignore_index": -1, "reduction": "sum", "label_smoothing": 0.1},
}  # fmt: skip


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("labels", [[0, 3, 1], [2, 2], [0]])
def test_a_loss_takes_labels(name, labels, path):
    def loss(logits, labels):
        return mg.cross_entropy(logits, labels, **LABELS[name])

    logits = np.random.default_rng(0).standard_normal((7, 4), np.float32)
    mg.onnx.export(loss, (logits[: len(labels)], np.array(labels)), path)
    more = np.array([3, 1, -1 if name.startswith("ignored") else 0, 0, 1, 2, 1])
    (got,) = run(path, logits, more)
    np.testing.assert_allclose(got, loss(logits, more), rtol=1e-5, atol=1e-6)


def test_a_mean_that_the_labels_weigh_is_refused(path):
    example = np.ones((3, 4), np.float32), np.array([0, 3, 1])
    for options in ({"weight": [1, 2, 3, 4]}, {"ignore_index": 3}):
        with pytest.raises(mg.onnx.UnsupportedError, match="follows the batch or the inputs' values"):
            mg.onnx.export(lambda x, labels, options=options: mg.cross_entropy(x, labels, **options), example, path)


def test_labels_by_numpy_are_recognised_too(path):
    def f(x, labels):
        return mg.sum(x * np.where(np.arange(4) == labels[..., None], np.float32(2), np.float32(-1)), -1)

    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((2, 5, 4), np.float32), rng.integers(0, 4, (2, 5))
    mg.onnx.export(f, (x, labels), path)
    np.testing.assert_allclose(run(path, x, labels)[0], f(x, labels), rtol=1e-5)
    with pytest.raises(mg.onnx.UnsupportedError, match="follows the batch"):  # not one number at the labels
        mg.onnx.export(lambda x, labels: x * np.arange(4.0)[labels][..., None], (x, labels), path)


@pytest.mark.parametrize("batch", [True, False])
def test_equal_numbers_in_the_example_do_not_hide_what_follows_them(batch, path):
    table, tokens = np.arange(12, dtype=np.float32).reshape(4, 3), np.zeros((2, 2), int)
    mg.onnx.export(lambda p, tokens: mg.take(p[0], tokens, 0), ([table], tokens), path, batch=batch)
    np.testing.assert_array_equal(run(path, tokens + 3)[0], table[tokens + 3])
    for x in (tokens, np.zeros((2, 2), bool), np.full((2, 2), 0.5)):
        with pytest.raises(mg.onnx.UnsupportedError, match="computed outside of the graph"):
            mg.onnx.export(lambda p, x: p[0] * (x < 0.25), ([table[:1, :2]], x), path, batch=batch)


def squeezed(x):
    """A function of numbers from 0 to 1."""
    assert ((x >= 0) & (x <= 1)).all()
    return mg.log(x * 0.5 + 1)


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("x", [[[0.1, 0.5], [0.2, 0.3]], [[0.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
def test_a_domain_is_found_by_the_entries_of_the_example(x, batch, path):
    x = np.array(x, np.float32)
    mg.onnx.export(squeezed, x, path, batch=batch)
    np.testing.assert_allclose(run(path, 1 - x)[0], squeezed(1 - x), rtol=1e-5)
    with pytest.raises(mg.onnx.UnsupportedError, match="computed outside of the graph"):  # the other input is random
        mg.onnx.export(lambda x, y: squeezed(x) * mg.where(y > 0, y, 2.0), (x, 0 * x + 3), path, batch=batch)


def rising(x):
    if not (np.diff(x, axis=1) > 0).all():
        raise ValueError("it should rise")
    return (x[:, 1:] - x[:, :-1]).reshape(-1, 2).sum(1)


def test_a_second_example_says_what_a_function_takes(path):
    x = np.float32([[1, 2, 4], [1, 5, 7]])
    words = r"not other numbers, of one .* it should rise\. A second example says what it takes, other=, and"
    with pytest.raises(ValueError, match=words):
        mg.onnx.export(rising, x, path)
    for other in (x[:1] - 4, x * 2, np.concatenate([x, x]) ** 2):
        mg.onnx.export(rising, x, path, other=other)
        np.testing.assert_array_equal(run(path, x[:1] + 3)[0], rising(x[:1]))
    mg.onnx.export(rising, x, path, other=x * 2, batch=False)
    with pytest.raises(mg.onnx.UnsupportedError, match="computed outside of the graph"):
        mg.onnx.export(lambda x: rising(x) * (x[:, 0] > 0), x, path, other=x - 4)


OTHERS = {
    "the same": ((X, X + 1), (X + 1, X + 1), "the same numbers as the example in b"),
    "a shape": ((X, X), (X + 1, X[:, :2]), r"other has float32 \(2, 2\) as b, the example has float32 \(2, 3\)"),
    "a dtype": ((X, X), (X + 1, X.astype(int)), "other has int64"),
    "lengths": ((X, X), (X + 1, X[:1] + 1), r"batches of the lengths \[2, 1\]"),
    "one": ((X, X), X + 1, "the arguments of the example, got 1"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_second_example_has_to_fit_the_first(name, path):
    example, other, words = OTHERS[name]
    with pytest.raises(ValueError, match=words):
        mg.onnx.export(mg.add, example, path, other=other)


@pytest.mark.parametrize("masked", [None, "constant", "input"])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_with_a_mask(masked, causal, path):
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 4, 2, 5, 6), np.float32)
    mask = rng.random((4, 1, 5, 5)) < 0.5
    mask[:, :, 2] = False  # a query that may attend to nothing

    def f(q, k, v, mask):
        mask = {None: None, "constant": np.eye(5) == 0, "input": mask}[masked]
        return mg.scaled_dot_product_attention(q, k, v, mask=mask, causal=causal)

    mg.onnx.export(f, (q[:2], k[:2], v[:2], mask[:2]), path)
    np.testing.assert_allclose(run(path, q, k, v, mask)[0], f(q, k, v, mask), rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- layouts

LAYOUTS = {  # the function, and how many transposes it needs
    "pool to conv": (lambda x, w: mg.conv2d(mg.max_pool(mg.relu(mg.conv2d(x, w)), 2), w), 2),
    "a residual connection": (lambda x, w: mg.relu(mg.conv2d(x, w) + x), 2),
    "a bias and a scale of channels": (lambda x, w: mg.conv2d(x, w) * np.arange(3, dtype=np.float32) + 1, 2),
    "a vector of columns": (lambda x, w: mg.conv2d(x, w) + np.arange(6, dtype=np.float32)[:, None], 2),
    "a traced lower rank": (lambda x, w: mg.conv2d(x, w) + mg.exp(x[0, :, :, :1]), 3),
    "means of maps": (lambda x, w: mg.conv2d(x, w).mean((1, 2)), 1),
    "means of channels": (lambda x, w: mg.conv2d(x, w).mean(-1), 1),
    "means of rows": (lambda x, w: mg.conv2d(x, w).mean(1), 2),
    "kept axes": (lambda x, w: mg.conv2d(x, w) - mg.conv2d(x, w).max(3, keepdims=True), 2),
    "softmax of channels": (lambda x, w: mg.softmax(mg.conv2d(x, w)), 2),
    "joined channels": (lambda x, w: mg.concatenate([mg.conv2d(x, w), x], -1), 2),
    "a crop": (lambda x, w: mg.conv2d(x, w)[:, 1:-1, ::2], 2),
    "a mirror": (lambda x, w: mg.flip(mg.conv2d(x, w), 2), 2),
    "padding": (lambda x, w: mg.pad(mg.conv2d(x, w), ((0, 0), (1, 0), (2, 0), (0, 1))), 2),
    "channels first by hand": (lambda x, w: mg.conv2d(x, w).transpose(0, 3, 1, 2), 1),
    "a row": (lambda x, w: mg.conv2d(x, w)[:, 0], 2),
    "a bias with another use": (lambda x, w: (mg.conv2d(x, w) + w[0, 0, 0]) * mg.exp(w[0, 0, 0]), 2),
    "weights made of others": (lambda x, w: mg.conv2d(x, w / mg.norm(w)), 3),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_transposes_stand_at_the_ends_only(name, path):
    f, transposes = LAYOUTS[name]
    params = {"w": np.random.default_rng(1).standard_normal((1, 1, 3, 3), np.float32)}
    check(lambda params, x: f(x, params["w"]), (params, images(2, 6)), path, images(3, 6))
    assert operators(path)["Transpose"] == transposes


# ---------------------------------------------------------------- refusals


def largest_squared(x):
    return (mg.max_pool(x.reshape(1, 2, 2, 1), 2) ** 2).sum()


def hidden_mask(x):
    return mg.where(x > 0, x, 2 * x)


def picks(x):
    return x[np.arange(len(x)), 0]


@mg.custom_vjp
def tanh(x):
    return np.tanh(x) + 1


@tanh.vjp
def _(g, _y, _x):
    return g


REFUSED = {
    "mask": (hidden_mask, {}, r"where \(line .* of test_writer.py: return mg.where.* uses .* computed outside"),
    "mask of a fixed shape": (hidden_mask, {"batch": False}, "uses .* follows the inputs' values and was computed out"),
    "index": (picks, {}, r"getitem .* uses an array int64 \(2,\), which follows the batch"),
    "number": (lambda x: x * (1 / len(x)), {}, "multiply .* uses the number 0.5, which follows"),
    "count of examples": (lambda x: x * len(x), {}, "multiply .* uses the number 2, which follows"),
    "squares": (lambda x: (x @ x.T).reshape(-1) * 2, {}, "reshape .* does not grow in proportion to the batch"),
    "features": (lambda x: mg.layer_norm(x.T), {}, "layer_norm .* needs a length that follows the batch"),
    "dropout": (lambda x: mg.dropout(x, 0.5, rng=np.random.default_rng(0)), {}, "which follows the batch"),
    "own primitive": (lambda x: tanh(x), {}, "tanh .* cannot be exported: only minigraph's own"),
    "count": (lambda x: mg.var(x, 0, ddof=1), {}, "var .* cannot be exported: it needs a length that"),
    "gradient": (mg.grad(largest_squared), {"batch": False}, "max_pool_scatter"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_counterpart_is_refused_by_name(name, path):
    f, options, words = REFUSED[name]
    with pytest.raises(mg.onnx.UnsupportedError, match=words):
        mg.onnx.export(f, np.array([[1.0, -2.0], [3.0, 4.0]], np.float32), path, **options)
    assert not path.exists()


WRONG = {
    "no function": (lambda path: mg.onnx.export(3, X, path), TypeError, "expected a function, got int"),
    "arguments": (lambda path: mg.onnx.export(lambda x: x, (X, X), path), TypeError, "does not fit"),
    "no input": (lambda path: mg.onnx.export(lambda p: p["w"] * 2, ({"w": X},), path), ValueError, "no argument"),
    "no axis": (lambda path: mg.onnx.export(mg.exp, np.float32(1), path), ValueError, "a batch of one length on"),
    "two lengths": (lambda path: mg.onnx.export(mg.add, (X, X[:1]), path), ValueError, r"got a \(2, 3\), b \(1, 3\)"),
    "empty": (lambda path: mg.onnx.export(mg.exp, X[:0], path), ValueError, "at least 1"),
    "nothing traced": (lambda path: mg.onnx.export(lambda x: 3, X, path), ValueError, "no graph was recorded"),
    "metadata": (lambda path: mg.onnx.export(mg.exp, X, path, metadata={"n": 1}), TypeError, "texts"),
    "a fixed batch": (lambda path: mg.onnx.export(lambda x: x.reshape(3, 2) * 2, X, path), ValueError, "batch=False"),
    "a loop": (lambda path: mg.onnx.export(lambda x: sum(v.sum() for v in x), X, path), ValueError, "loop over the"),
    "directory": (lambda path: mg.onnx.export(mg.exp, X, path / "no" / "a"), OSError, "No such file"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_calls_say_what_was_expected(name, path):
    call, kind, words = WRONG[name]
    with pytest.raises(kind, match=words):
        call(path)
    assert not path.exists()


def test_an_old_file_stays_where_the_new_one_fails(path):
    mg.onnx.export(mg.exp, X, path)
    before = path.read_bytes()
    with pytest.raises(mg.onnx.UnsupportedError):
        mg.onnx.export(hidden_mask, -X, path)
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]
