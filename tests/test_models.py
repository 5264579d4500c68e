"""The models: their form, and the cnn against an independent convolution."""

import importlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.signal import correlate

import minigraph as mg
import models
from minigraph import tree
from minigraph.serialize import CheckpointError, save
from minigraph.training import Checkpoint, Stop
from models import airnet, cnn, mlp

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


# ---------------------------------------------------------------- airnet


def airnet_by_definition(params, state, x):
    """Logits in training, with every convolution computed in full, whatever the pool then drops."""

    def conv(h, w):
        return mg.conv2d(h, w, padding=1)

    def norm(h, b):
        return (h - h.mean((0, 1, 2))) / np.sqrt(h.var((0, 1, 2)) + 1e-12) + b

    def silu(h):
        return h / (1 + np.exp(-h))

    def pool(h):
        rows, columns = (n // 2 * 2 for n in h.shape[1:3])
        return np.maximum.reduce([h[:, i:rows:2, j:columns:2] for i in (0, 1) for j in (0, 1)])

    h = silu(mg.conv2d(x, state["whiten"], params["whiten"]["b"]))
    for name in ("block1", "block2", "block3"):
        p = params[name]
        first = silu(norm(pool(conv(h, p["conv1"])), p["b1"]))
        h = silu(norm(conv(first, p["conv2"]), p["b2"]))
        if "conv3" in p:
            h = silu(norm(conv(h, p["conv3"]), p["b3"]) + first)
    return h.max((1, 2)) @ params["head"] / 9


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("size", [24, 28, 32])
def test_airnet_computes_what_it_would_without_the_trim(size, depth):
    params, state = airnet.init(np.random.default_rng(0), widths=(5, 6, 7), depth=depth, classes=4)
    rng = np.random.default_rng(2)
    params = tree.map(lambda a: rng.standard_normal(a.shape), params)  # biases too, in float64
    x = rng.standard_normal((3, size, size, 3))
    logits, _ = airnet.apply(params, state, x, train=True)
    np.testing.assert_allclose(logits, airnet_by_definition(params, state, x), rtol=1e-8, atol=1e-10)


def test_airnet_parameters_and_state():
    params, state = airnet.init(np.random.default_rng(0))
    assert sum(a.size for a in tree.leaves(params)) == 1_971_352 and state["whiten"].size == 288
    params, state = airnet.init(np.random.default_rng(0), widths=(24, 30), depth=3, classes=4)
    assert {path: a.shape for path, a in tree.items(params)} == {
        "whiten.b": (24,),
        "block1.conv1": (3, 3, 24, 24), "block1.b1": (24,), "block1.conv2": (3, 3, 24, 24), "block1.b2": (24,),
        "block1.conv3": (3, 3, 24, 24), "block1.b3": (24,),
        "block2.conv1": (3, 3, 24, 30), "block2.b1": (30,), "block2.conv2": (3, 3, 30, 30), "block2.b2": (30,),
        "block2.conv3": (3, 3, 30, 30), "block2.b3": (30,), "head": (30, 4),
    }  # fmt: skip
    _, new = airnet.apply(params, state, images(2, 32, 32, 3), train=True)
    tree.check_like(state, new, "state")
    with pytest.raises(ValueError, match=r"^airnet\.init: depth is 4, expected 2 or 3"):
        airnet.init(np.random.default_rng(0), depth=4)


def test_the_first_filters_of_airnet_are_the_identity():
    x = images(1, 6, 6, 4)
    y = mg.conv2d(x, airnet.dirac(np.random.default_rng(0), 4, 7), padding=1)
    np.testing.assert_allclose(y[..., :4], x, atol=1e-6)
    assert abs(y[..., 4:]).max() > 0.01


def test_whitening_makes_patches_uncorrelated_and_of_one_size():
    x = images(130, 8, 8, 3)
    x = x + 2 * np.roll(x, 1, axis=2) + 3 * x.mean(-1, keepdims=True) + 0.5  # neighbours and channels are correlated
    filters = airnet.whitening(x)
    assert filters.shape == (2, 2, 3, 24) and filters.dtype == np.float32
    np.testing.assert_array_equal(filters[..., 12:], -filters[..., :12])
    y = mg.conv2d(x.astype(float), filters[..., :12].astype(float)).reshape(-1, 12)
    second_moments = y.T @ y / len(y)
    np.testing.assert_allclose(second_moments, np.diag(np.diag(second_moments)), atol=1e-4)
    sizes = np.diag(second_moments)
    assert (sizes > 0.9).all() and (sizes < 1).all()  # lambda / (lambda + 5e-4)


def test_draw_knows_the_state_of_a_model_by_its_place(tmp_path):
    def apply(p, s, images, *, train):
        return p["w"] * (images - s["mean"]), s

    model = models.Model("models/mine.py", SimpleNamespace(apply=apply))
    model.draw(tmp_path / "graph", {"w": np.ones(3)}, {"mean": np.ones(3)}, np.ones((4, 3)), np.zeros(4, int))
    dot = (tmp_path / "graph.dot").read_text()
    assert "params.w" in dot and "state.mean" in dot and "dashed" in dot


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
        params, state = model.init(np.random.default_rng(0), None, np.zeros((1, 2, 2, 3), np.uint8), [0])
        model.apply(params, state, images(2, 32, 32, 3), train=True)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- a trained model


def checkpoint(seed=0, config=None, **model):
    params, state = cnn.init(np.random.default_rng(seed), image=(8, 8, 3), widths=(3, 4), classes=2)
    model = {"name": "cnn", "classes": ("a", "b"), "shape": (8, 8, 3), "mean": (0.5,) * 3, "std": (0.2,) * 3, **model}
    return Checkpoint(config or {}, params, state, {"step": 1}, model=model)


def test_trained_takes_a_run_or_a_file(tmp_path):
    saved = checkpoint()
    saved.save(tmp_path / "checkpoint.safetensors")
    for run in (tmp_path, str(tmp_path), tmp_path / "checkpoint.safetensors"):
        classifier = models.trained(run)
        assert classifier.path == tmp_path / "checkpoint.safetensors" and classifier.has_heatmaps
        np.testing.assert_array_equal(classifier.params["head"]["w"], saved.params["head"]["w"])


@pytest.mark.parametrize(("keep", "expected"), [("best", "best"), ("last", "checkpoint"), (None, "checkpoint")])
def test_trained_takes_the_best_checkpoint_where_the_run_was_to_keep_it(keep, expected, tmp_path):
    checkpoint(config={"keep": keep}).save(tmp_path / "checkpoint.safetensors")
    assert models.trained(tmp_path).path.name == "checkpoint.safetensors"
    checkpoint(1, config={"keep": keep}).save(tmp_path / "best.safetensors")
    assert models.trained(tmp_path).path.name == f"{expected}.safetensors"


@pytest.mark.parametrize("name", ["os", "cnn.init", "..train_cifar", "", None, 3, np.ones(2)], ids=str)
def test_trained_imports_nothing_that_is_no_model(name, tmp_path):
    path = tmp_path / "c.safetensors"
    checkpoint(name=name).save(path)
    expected = r"c\.safetensors: it is of the model .*, expected one of airnet, cnn, mlp$"
    with pytest.raises(CheckpointError, match=expected):
        models.trained(path)


def test_trained_refuses_other_files(tmp_path):
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors: there is no such checkpoint"):
        models.trained(tmp_path)
    save(tmp_path / "a", {"params": np.ones(3)})
    with pytest.raises(CheckpointError, match="a is no checkpoint of this version"):
        models.trained(tmp_path / "a")
    checkpoint(name="mlp").save(tmp_path / "b")
    with pytest.raises(CheckpointError, match="b: the model does not run with these weights: KeyError: 'hidden'"):
        models.trained(tmp_path / "b")


@pytest.mark.parametrize("model", [cnn, airnet], ids=["cnn", "airnet"])
@pytest.mark.parametrize("train", [True, False])
def test_the_head_of_the_features_is_the_model(model, train):
    params, state = model.init(np.random.default_rng(0))
    x = images(2, 32, 32, 3)
    maps, between = model.features(params, state, x, train=train)
    assert maps.ndim == 4 and min(maps.shape[1:3]) >= 7
    for part, expected in zip(
        model.head(params, between, maps, train=train), model.apply(params, state, x, train=train), strict=True
    ):
        for a, b in zip(tree.leaves(part), tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(a, b)
