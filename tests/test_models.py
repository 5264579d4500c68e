"""The models: their form, and the cnn against an independent convolution."""

import importlib
import sys

import numpy as np
import pytest
from scipy.signal import correlate

import minigraph as mg
import models
from minigraph import tree
from minigraph.training import Stop
from models import cnn, mlp

SMALL = {
    "cnn": {"image": (8, 12, 3), "widths": (3, 5), "classes": 4},
    "mlp": {"image": (8, 12, 3), "hidden": 7, "classes": 4},
}


def images(n, *shape):
    return np.random.default_rng(1).standard_normal((n, *shape), np.float32)


@pytest.mark.parametrize("name", models.names())
def test_every_model_has_the_form_that_the_trainer_needs(name):
    model = importlib.import_module(f"models.{name}")
    params, state = model.init(np.random.default_rng(0))
    again, _ = model.init(np.random.default_rng(0))
    other, _ = model.init(np.random.default_rng(1))
    for (path, a), b in zip(tree.items(params), tree.leaves(again), strict=True):
        assert a.dtype == np.float32, path
        assert np.array_equal(a, b), path
    assert any((a != b).any() for a, b in zip(tree.leaves(params), tree.leaves(other), strict=True))

    before = [a.copy() for a in tree.leaves((params, state))]
    for train in (True, False):
        logits, new_state = model.apply(params, state, images(2, 32, 32, 3), train=train)
        assert logits.shape == (2, 10) and logits.dtype == np.float32
        tree.check_like(state, new_state, "state")
    for a, b in zip(before, tree.leaves((params, state)), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("model", [cnn, mlp], ids=["cnn", "mlp"])
def test_the_arguments_set_image_widths_and_classes(model):
    params, state = model.init(np.random.default_rng(0), **SMALL[model.__name__.split(".")[1]])
    logits, _ = model.apply(params, state, images(2, 8, 12, 3), train=False)
    assert logits.shape == (2, 4)


def test_sizes():
    def size(params):
        return {path: leaf.shape for path, leaf in tree.items(params)}

    assert size(cnn.init(np.random.default_rng(0))[0]) == {
        "conv1.w": (3, 3, 3, 32), "conv1.b": (32,), "conv2.w": (3, 3, 32, 64), "conv2.b": (64,),
        "head.w": (4096, 10), "head.b": (10,),
    }  # fmt: skip
    assert size(mlp.init(np.random.default_rng(0))[0]) == {
        "hidden.w": (3072, 128), "hidden.b": (128,), "head.w": (128, 10), "head.b": (10,),
    }  # fmt: skip


def test_init_is_he():
    params, _ = cnn.init(np.random.default_rng(0))
    for name, fan_in in (("conv2", 9 * 32), ("head", 4096)):
        assert params[name]["w"].std() == pytest.approx(np.sqrt(2 / fan_in), rel=0.02)
        assert not params[name]["b"].any()


def test_cnn_against_scipy():
    params, state = cnn.init(np.random.default_rng(0), **SMALL["cnn"])
    rng = np.random.default_rng(2)
    params = tree.map(lambda a: rng.standard_normal(a.shape), params)  # biases too, in float64
    x = rng.standard_normal((2, 8, 12, 3))

    def block(h, p):  # (H, W, C) -> (H/2, W/2, K)
        maps = [correlate(np.pad(h, ((1, 1), (1, 1), (0, 0))), w, "valid")[..., 0] for w in np.moveaxis(p["w"], -1, 0)]
        y = np.maximum(np.stack(maps, -1) + p["b"], 0)
        return np.maximum.reduce([y[i::2, j::2] for i in (0, 1) for j in (0, 1)])

    expected = [
        block(block(image, params["conv1"]), params["conv2"]).ravel() @ params["head"]["w"] + params["head"]["b"]
        for image in x
    ]
    logits, _ = cnn.apply(params, state, x, train=True)
    np.testing.assert_allclose(logits, expected, rtol=1e-10)


@pytest.mark.parametrize("model", [cnn, mlp], ids=["cnn", "mlp"])
def test_a_small_set_is_learnt_by_heart(model):
    params, state = model.init(np.random.default_rng(0), **SMALL[model.__name__.split(".")[1]])
    x, y = images(20, 8, 12, 3), np.arange(20) % 4
    opt = mg.optim.SGD(0.05, momentum=0.9)
    at = opt.init(params)
    step = mg.value_and_grad(lambda p: mg.cross_entropy(model.apply(p, state, x, train=True)[0], y))
    losses = []
    for _ in range(100):
        loss, grads = step(params)
        assert {g.dtype for g in tree.leaves(grads)} == {np.dtype(np.float32)}
        params, at = opt.step(params, grads, at)
        losses.append(float(loss))
    assert losses[0] > 1
    assert losses[-1] < 0.02


# ---------------------------------------------------------------- the contract of a model of the user's

GOOD = {
    "init": 'def init(rng): return {"w": np.zeros((3072, 10), np.float32)}, {}',
    "apply": 'def apply(params, state, x, *, train): return x.reshape(len(x), -1) @ params["w"], state',
}
INIT = r"init\(rng, \.\.\.\) -> \(params, state\)"
APPLY = r"apply\(params, state, x, \*, train\) -> \(logits, state\)"


@pytest.fixture
def write_model(tmp_path, monkeypatch):
    """Writes `models/mine.py` with one of its functions as given."""

    def write(function, source):
        (tmp_path / "mine.py").write_text("import numpy as np\n" + "\n".join({**GOOD, function: source}.values()))

    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    yield write
    sys.modules.pop("models.mine", None)


CONTRACT_BROKEN = [
    ("apply", "def apply(params, state, x, *, train): return x.reshape(len(x), -1) @ params['w']",
     rf"apply returned float32 \(2, 10\); expected {APPLY}"),
    ("apply", "def apply(params, state, x, *, train): return None", rf"apply returned None; expected {APPLY}"),
    ("apply", "def apply(params, state, x, *, train): return 1, 2, 3", "apply returned a tuple of 3; expected"),
    ("apply", "def apply(params, state, x, *, train): return (x[0].reshape(1, -1) @ params['w'])[0], state",
     r"apply gave logits float32 \(10,\) for 2 images; expected .*logits \(N, classes\)"),
    ("apply", "def apply(params, state, x, *, train): return x[:1].reshape(1, -1) @ params['w'], state",
     r"apply gave logits float32 \(1, 10\) for 2 images"),
    ("apply", "def apply(params, x): return x", rf"expected {APPLY}, got apply\(params, x\): "),
    ("apply", "def apply(params, state, x): return x", r".*got apply\(params, state, x\): .*'train'"),
    ("apply", "apply = 3", "expected functions init and apply"),
    ("init", "def init(rng): return {'w': np.zeros((3072, 10), np.float32), 'b': np.zeros(10, np.float32)}",
     rf"init returned a dict of 2; expected {INIT}"),
    ("init", "def init(rng): return {'w': np.zeros((3, 10), int)}, {}", r"init gave int64 \(3, 10\) at w of params"),
    ("init", "def init(rng): return {'w': np.zeros((3072, 10)), 'b': 0.0}, {}", r"init gave 0\.0 at b of params"),
    ("init", "def init(rng): return {'w': np.zeros((3072, 10))}, {'mean': 0}", r"init gave 0 at mean of state"),
    ("init", "def init(): return {}, {}", rf"expected {INIT}, got init\(\): too many positional arguments"),
    ("init", "", "expected functions init and apply"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "source", "message"), CONTRACT_BROKEN, ids=range(len(CONTRACT_BROKEN)))
def test_a_model_that_breaks_the_contract_is_told_so_by_its_file(function, source, message, write_model):
    write_model(function, source)
    with pytest.raises(Stop, match=rf"^models/mine\.py: {message}.*see models/__init__\.py$") as caught:
        model = models.load("mine")
        params, state = model.init(np.random.default_rng(0))
        model.apply(params, state, images(2, 32, 32, 3), train=True)
    assert "\n" not in str(caught.value)
