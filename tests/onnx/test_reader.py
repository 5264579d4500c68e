"""`mg.onnx.load`: models of PyTorch and of the onnx package, fine-tuning, and files that are no models."""

import functools
import itertools
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import minigraph as mg
from minigraph import tree
from minigraph.testing import check_vjp
from models import airnet, cnn, transformer
from tests.onnx.cases import export_case, is_refused, operators, run, small_transformer
from tests.ops.table import ROWS

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

RESNET = Path(__file__).with_name("resnet.onnx")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


def images(n=4, size=32, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 3, size, size), np.float32)


def make(path, nodes, inputs=("x",), outputs=("y",), initializers=(), opset=20, shape=("n", 3), **options):
    """Write a model of these nodes, with float32 inputs of one shape."""
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(*n[:3], **(n[3] if len(n) > 3 else {})) for n in nodes], "graph",
        [info(name, 1, shape) for name in inputs], [info(name, 1, [None] * len(shape)) for name in outputs],
        [onnx.numpy_helper.from_array(a, name) for name, a in initializers],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=9, **options)
    onnx.save(model, path)


# ---------------------------------------------------------------- PyTorch


def fine_tune(model, params, x, labels, steps=12, lr=0.05):
    """The losses before each step of gradient descent, and behind the last."""
    loss = mg.value_and_grad(lambda params: mg.cross_entropy(model(params, x), labels))
    losses = []
    for _ in range(steps):
        value, grads = loss(params)
        losses.append(float(value))
        params = {name: p - lr * grads[name] for name, p in params.items()}
    return [*losses, float(loss(params)[0])]


def test_a_resnet_of_pytorch_runs_and_learns():
    model, params = mg.onnx.load(RESNET)
    for x in (images(1), images(3, seed=1)):
        np.testing.assert_allclose(model(params, x), run(RESNET, x)[0], rtol=1e-4, atol=1e-4)
    assert params["stem.weight"].shape == (7, 7, 3, 2)  # HWIO
    assert model.inputs == (("x", ("batch", 3, 32, 32), np.float32),) and len(model.outputs) == 1
    losses = fine_tune(model, params, images(8), np.arange(8) % 4)
    assert all(later < earlier for earlier, later in itertools.pairwise(losses))
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.slow
def test_pytorchs_values_and_gradients(path):
    torch = pytest.importorskip("torch")
    from tests.onnx import resnet

    net, x = resnet.random_net(4), images(3, 64)
    kept = {"dynamo": False, "input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}}
    resnet.export(net, torch.tensor(x[:2]), path, training=torch.onnx.TrainingMode.PRESERVE, **kept)
    assert operators(path)["BatchNormalization"] == 20
    model, params = mg.onnx.load(path)
    assert params.keys() == {name for name, _ in net.named_parameters()}
    want = net(torch.tensor(x))
    np.testing.assert_allclose(model(params, x), want.detach().numpy(), rtol=1e-4, atol=1e-4)
    labels = np.array([1, 0, 3])
    torch.nn.functional.cross_entropy(want, torch.tensor(labels)).backward()
    grads = mg.grad(lambda params: mg.cross_entropy(model(params, x), labels))(params)
    for name, p in net.named_parameters():
        expected = p.grad.numpy().transpose(2, 3, 1, 0) if p.ndim == 4 else p.grad.numpy()
        np.testing.assert_allclose(grads[name], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_pytorchs_transformer(path):
    torch = pytest.importorskip("torch")
    from tests.onnx import resnet

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = torch.nn.Embedding(11, 16)
            layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu")
            self.layers = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = torch.nn.Linear(16, 11)

        def forward(self, tokens):
            return self.head(self.layers(self.tokens(tokens)))

    torch.manual_seed(0)
    net, tokens = Net().eval(), np.random.default_rng(0).integers(0, 11, (3, 7))
    kept = {"dynamo": False, "input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}}
    resnet.export(net, torch.tensor(tokens[:2]), path, **kept)
    model, params = mg.onnx.load(path)
    want = net(torch.tensor(tokens)).detach().numpy()
    np.testing.assert_allclose(model(params, tokens), want, rtol=1e-4, atol=1e-4)
    assert (mg.grad(lambda params: mg.mean(model(params, tokens) ** 2))(params)["tokens.weight"] != 0).any()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dynamo"), [
    ("mobile", False), ("vit", False), ("unet", False), ("sounds", False), ("film", False),
    ("vit", True), ("mixer", True),  # this exporter takes from 5 to 40 seconds; all six passed with it
])  # fmt: skip
def test_pytorchs_architectures(name, dynamo, path):
    torch = pytest.importorskip("torch")
    if dynamo:
        pytest.importorskip("onnxscript")
    from tests.onnx import architectures

    net = architectures.make(name)
    architectures.export(name, net, path, dynamo)
    model, params = mg.onnx.load(path)
    x = np.random.default_rng(0).standard_normal((3, *architectures.MODELS[name][1]), np.float32)
    t = torch.tensor(x, requires_grad=True)
    y = net(t)
    np.testing.assert_allclose(model(params, x), y.detach().numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model(params, x), run(path, x)[0], rtol=1e-4, atol=1e-4)
    (y * y).mean().backward()

    def loss(params, x):
        y = model(params, x)
        return (y * y).mean()

    grads, to_x = mg.grad(loss, argnums=(0, 1))(params, x)
    np.testing.assert_allclose(to_x, t.grad.numpy(), rtol=1e-3, atol=1e-5)
    assert all((g != 0).any() for g in grads.values())


@pytest.mark.parametrize("name", ["vit", "unet"])
def test_files_of_pytorchs_architectures(name):
    path = RESNET.with_name(f"{name}.onnx")
    model, params = mg.onnx.load(path)
    x = images(3)
    np.testing.assert_allclose(model(params, x), run(path, x)[0], rtol=1e-4, atol=1e-4)
    grads = mg.grad(lambda params: (model(params, x) ** 2).mean())(params)
    assert all((g != 0).any() for g in grads.values())


# ---------------------------------------------------------------- there and back


def test_our_own_models_come_back(path):
    rng = np.random.default_rng(0)
    x = np.random.default_rng(0).standard_normal((3, 32, 32, 3), np.float32)
    for module, options in ((airnet, {"widths": (8, 8, 8), "depth": 3}), (cnn, {"widths": (4, 8)})):
        params, state = module.init(rng, **options)
        apply = functools.partial(module.apply, train=False)
        mg.onnx.export(apply, (params, state, x[:2]), path, metadata={"layout": "NHWC"})
        model, loaded = mg.onnx.load(path)
        np.testing.assert_allclose(model(loaded, x), apply(params, state, x)[0], rtol=1e-5, atol=1e-5)
        assert model.metadata == {"layout": "NHWC"}
    np.testing.assert_array_equal(loaded["params.conv1.w"], params["conv1"]["w"])
    again = path.with_name("again.onnx")
    mg.onnx.export(model, (loaded, x[:2]), again)
    assert operators(again) == operators(path)
    params, tokens = small_transformer(rng)
    mg.onnx.export(transformer.apply, (params, tokens(2)), path)
    model, loaded = mg.onnx.load(path)
    x = tokens(4)
    np.testing.assert_allclose(model(loaded, x), transformer.apply(params, x), rtol=1e-5, atol=1e-5)


CASES = [pytest.param(row, c, id=f"{row}-{i}") for row in ROWS for i, c in enumerate(row.cases)
         if not is_refused(row, c)]  # fmt: skip


@pytest.mark.parametrize(("row", "c"), CASES)
def test_every_primitive_comes_back_with_its_gradient(row, c, path):
    try:
        f, exact = export_case(row, c, path)
    except mg.onnx.UnsupportedError:
        return  # test_rules.py says why
    model, params = mg.onnx.load(path)

    def loss(g):
        return lambda *xs: sum((y * y).sum() for y in tree.leaves(g(*xs)))

    every = tuple(range(len(exact)))
    inputs = [x.astype(np.float32) for x in exact]
    got, grads = mg.value_and_grad(loss(lambda *xs: model(params, *xs)), argnums=every)(*inputs)
    want, expected = mg.value_and_grad(loss(f), argnums=every)(*exact)
    np.testing.assert_allclose(got, want, rtol=1e-4)
    for g, e in zip(grads, expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-3, atol=1e-4)


def test_gradients_go_to_inputs_and_parameters(path):
    def f(params, x):
        return mg.softmax(mg.layer_norm(mg.conv2d(x, params["w"], padding=1), params["scale"]).mean(1)) ** 2

    rng = np.random.default_rng(0)
    params = {"w": rng.standard_normal((3, 3, 2, 3)), "scale": rng.standard_normal(3)}
    x = rng.standard_normal((2, 3, 4, 2))
    mg.onnx.export(f, (params, x), path)
    model, loaded = mg.onnx.load(path)
    names = [*loaded]
    check_vjp(lambda x, *arrays: model(dict(zip(names, arrays, strict=True)), x), x, *loaded.values())


def test_several_outputs_are_a_tuple(path):
    mg.onnx.export(lambda x: (mg.exp(x), x * 2), np.ones((2, 3)), path)
    model, params = mg.onnx.load(path)
    assert params == {} and repr(model) == f"Model({str(path)!r}: x -> output.0, output.1)"
    a, b = model(params, np.zeros((1, 3)))
    assert a.tolist() == [[1, 1, 1]] and b.tolist() == [[0, 0, 0]]


# ---------------------------------------------------------------- what is a parameter


def test_running_statistics_masks_and_integers_are_no_parameters(path):
    v = np.ones(3, np.float32)
    stored = [("scale", v), ("bias", 0 * v), ("mean", v), ("var", v), ("mask", np.float32([0, -np.inf, 0])),
              ("shape", np.array([-1, 3])), ("half", np.float32(0.5))]  # fmt: skip
    make(path, [
        ("BatchNormalization", ["x", "scale", "bias", "mean", "var"], ["a"]), ("Add", ["a", "mask"], ["b"]),
        ("Mul", ["b", "half"], ["c"]), ("Reshape", ["c", "shape"], ["y"]),
    ], initializers=stored)  # fmt: skip
    model, params = mg.onnx.load(path)
    assert params.keys() == {"scale", "bias"}
    assert np.isneginf(model(params, np.ones((2, 3), np.float32))[:, 1]).all()


def test_a_kernel_that_something_else_uses_keeps_its_axes(path):
    w = np.random.default_rng(0).standard_normal((3, 3, 1, 1), np.float32)
    make(path, [("Conv", ["x", "w"], ["a"]), ("ReduceSum", ["w"], ["b"]), ("Mul", ["a", "b"], ["y"])],
         initializers=[("w", w)], shape=("n", 3, 2, 2))  # fmt: skip
    model, params = mg.onnx.load(path)
    assert params["w"].shape == w.shape
    np.testing.assert_allclose(model(params, images(2, 2)), run(path, images(2, 2))[0], rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- models that the onnx package ships


SHIPPED = Path(onnx.__file__).parent / "backend" / "test" / "data"
# Why some of them are refused. Most of PyTorch's were written for operators of before 2017.
REASONS = re.compile(
    r"is_test|attribute axis|before opset 7|the type string|Gradient \(1\)|Sequence|Shrink|2 outputs"
)


@pytest.mark.parametrize(("kind", "least"), [("pytorch-converted", 55), ("pytorch-operator", 28), ("simple", 6)])
def test_models_of_the_onnx_package(kind, least):
    done = 0
    for file in sorted(SHIPPED.glob(f"{kind}/*/model.onnx")):
        try:
            model, params = mg.onnx.load(file)
        except mg.onnx.UnsupportedError as error:
            assert REASONS.search(str(error)), error
            continue
        for data in sorted(file.parent.glob("test_data_set_*")):
            def read(what, names, data=data):
                files = (data / f"{what}_{i}.pb" for i in range(len(names)))
                return [onnx.numpy_helper.to_array(onnx.load_tensor(file)) for file in files]

            with np.errstate(all="ignore"):
                y = model(params, *read("input", model.inputs))
            for got, want in zip(y if type(y) is tuple else (y,), read("output", model.outputs), strict=True):
                assert got.shape == want.shape
                np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
            done += 1
    assert done >= least


@pytest.mark.slow
def test_real_architectures_of_the_onnx_package():
    """They come with constants as weights, so only one is run."""
    for file in sorted(SHIPPED.glob("light/*.onnx")):
        model, params = mg.onnx.load(file)
        if "shufflenet" in file.name:
            x = images(1, 224)
            np.testing.assert_allclose(model(params, x), run(file, x)[0], rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------- errors


def test_everything_unsupported_is_listed_before_anything_runs(path):
    make(path, [("Hardmax", ["x"], ["a"]), ("Hardmax", ["a"], ["b"]), ("GlobalLpPool", ["b"], ["y"])])
    words = r"operators that are not supported: GlobalLpPool \(1\), Hardmax \(2\)"
    with pytest.raises(mg.onnx.UnsupportedError, match=words):
        mg.onnx.load(path)
    make(path, [("MaxPool", ["x"], ["a"], {"kernel_shape": [2, 2], "storage_order": 1, "name": "pool"}),
                ("AveragePool", ["a"], ["y"], {"kernel_shape": [2, 2], "pads": [0, 0, 0, -1]})])  # fmt: skip
    words = r"MaxPool pool: storage_order=1; AveragePool y: pads=\[0, 0, 0, -1\]"
    with pytest.raises(mg.onnx.UnsupportedError, match=words):
        mg.onnx.load(path)
    make(path, [("Cast", ["x"], ["y"], {"to": onnx.TensorProto.BFLOAT16})])
    with pytest.raises(mg.onnx.UnsupportedError, match="the type bfloat16, expected one of bool"):
        mg.onnx.load(path)


def test_without_the_package_the_error_says_what_to_install(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    for call in (lambda: mg.onnx.load(path), lambda: mg.onnx.export(mg.exp, np.ones(2), path)):
        with pytest.raises(ImportError, match=r'needs the onnx package: pip install "onnx>=1\.19"'):
            call()


def test_files_that_are_no_models(path):
    with pytest.raises(FileNotFoundError):
        mg.onnx.load(path)
    whole = RESNET.read_bytes()
    for content in (b"\x00" * 100, b"no model", b"<html>404</html>", whole[:1], whole[:5000], whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"model.onnx is no valid ONNX model: no file of ONNX, or cut short"):
            mg.onnx.load(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"model.onnx is no valid ONNX model: .* ir_version"):
        mg.onnx.load(path)
    with pytest.raises(IsADirectoryError):
        mg.onnx.load(path.parent)
    make(path, [("Relu", ["nothing"], ["y"])])
    with pytest.raises(ValueError, match=r"no valid ONNX model: .*nothing"):
        mg.onnx.load(path)


@pytest.mark.parametrize("opset", [0, 29])
def test_an_opset_that_is_not_known(opset, path):
    make(path, [("Relu", ["x"], ["y"])], opset=opset)
    words = "opset 29, expected 1 to 28" if opset else "no valid ONNX model: .*domain_version of 0"
    with pytest.raises(ValueError, match=words):
        mg.onnx.load(path)


def test_numbers_in_a_file_beside_the_model(path):
    w = np.random.default_rng(0).standard_normal((3, 3), np.float32)
    make(path, [("MatMul", ["x", "w"], ["y"])], initializers=[("w", w)])
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="numbers", size_threshold=0)
    np.testing.assert_array_equal(mg.onnx.load(path)[1]["w"], w)
    beside = path.with_name("numbers")
    beside.write_bytes(beside.read_bytes()[:10])
    with pytest.raises(ValueError, match=r"no valid ONNX model: .*exceeds available data"):
        mg.onnx.load(path)
    beside.unlink()
    with pytest.raises(FileNotFoundError, match="has its numbers in the file numbers beside it, which is missing"):
        mg.onnx.load(path)


def test_damaged_files_raise_one_of_the_errors(path):
    """Each byte of a file changed in turn, in steps: never another error than those that `load` names."""
    mg.onnx.export(lambda x: mg.softmax(x.reshape(len(x), 3, 1)[:, ::-1]).sum(1), np.ones((2, 3), np.float32), path)
    content = path.read_bytes()
    for i in range(0, len(content), 3):
        path.write_bytes(content[:i] + bytes([content[i] ^ 0x41]) + content[i + 1 :])
        try:
            model, params = mg.onnx.load(path)
            model(params, np.ones((1, 3), np.float32))
        except (ValueError, TypeError):
            pass


def test_calls_that_do_not_fit(path):
    make(path, [("MatMul", ["x", "w"], ["y"])], initializers=[("w", np.ones((3, 2), np.float32))])
    model, params = mg.onnx.load(path)
    x = np.ones((1, 3), np.float32)
    assert model(params, x).tolist() == [[3, 3]]
    with pytest.raises(TypeError, match="expected the inputs x, got 2"):
        model(params, x, x)
    with pytest.raises(ValueError, match=r"expected params as load gave them, a dict of 1 arrays"):
        model({}, x)
    for wrong in (x.astype(float), x[0], np.ones((1, 4), np.float32)):
        with pytest.raises(ValueError, match=r"input x should be float32 \(n, 3\), got float"):
            model(params, wrong)
    with pytest.raises(ValueError, match=r"model.onnx: at MatMul y: matmul.*a \(1, 3\) has 3 columns"):
        model({"w": np.ones((4, 2), np.float32)}, x)
