"""A checkpoint comes back as it was; what no training wrote is refused."""

import numpy as np
import pytest

from minigraph import optim, tree
from minigraph.serialize import CheckpointError, load, save
from minigraph.training import Checkpoint, Stop, freeze, warm_start

ROW = {"epoch": 1, "step": 3, "train_loss": 0.5, "val_loss": None, "seconds": 1.5, "examples_per_second": 2.0}


def checkpoint(**changes):
    params = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(3, np.float32)}
    opt = optim.SGD(0.1, momentum=0.9)
    params, state = opt.step(params, params, opt.init(params))
    whole = {"config": {"lr": 0.1}, "params": params, "state": {"mean": np.ones(2)}, "optimizer": state}
    return Checkpoint(**{**whole, "history": [ROW], "facts": {"dataset": "d"}, **changes})


def test_round_trip(tmp_path):
    before = checkpoint(sums={"examples": 3, "seconds": 0.5, "loss": 1.25})
    before.save(tmp_path / "c")
    after = Checkpoint.load(tmp_path / "c")
    for part in ("config", "sums", "history", "facts"):
        assert getattr(after, part) == getattr(before, part)
    for part in ("params", "state", "optimizer"):
        for a, b in zip(tree.leaves(getattr(before, part)), tree.leaves(getattr(after, part)), strict=True):
            assert a.dtype == b.dtype and np.array_equal(a, b)
    assert load(tmp_path / "c")["facts"] == {"dataset": "d"}


def test_step_and_repr():
    assert checkpoint().step == 1
    assert repr(checkpoint()) == "Checkpoint(step 1, 1 epochs finished, 9 parameters)"


def test_two_checkpoints_do_not_share_their_sums():
    assert Checkpoint({}, {}, {}, {}).sums is not Checkpoint({}, {}, {}, {}).sums


def test_like_takes_the_order_of_the_running_code(tmp_path):
    fresh, saved = checkpoint(), checkpoint()
    saved.params = dict(reversed(saved.params.items()))
    assert [*saved.like(fresh).params] == ["w", "b"]
    fresh.params["w"] = np.zeros((2, 4), np.float32)
    with pytest.raises(CheckpointError, match="of another model: params at w"):
        saved.like(fresh)


def test_like_compares_what_the_parameters_are_of():
    saved, fresh = checkpoint(model={"classes": ("a", "b")}), checkpoint(model={"classes": ("b", "a")})
    with pytest.raises(CheckpointError, match=r"another model: classes was \('a', 'b'\) and is \('b', 'a'\) now"):
        saved.like(fresh)


@pytest.mark.parametrize("average", [optim.EMA(0.5), optim.Lookahead(0.5, every=1)])
def test_an_average_of_the_weights(average, tmp_path):
    whole = checkpoint()
    assert whole.weights == (whole.params, whole.state)
    first = tree.map(np.array, whole.params)
    whole.average = average.init({"params": whole.params, "state": whole.state})
    whole.params = tree.map(lambda p: p + 2, first)
    whole.step_average(average)
    params, state = whole.weights
    assert np.allclose(params["w"], first["w"] + 1) and np.array_equal(state["mean"], whole.state["mean"])
    led_back = isinstance(average, optim.Lookahead)
    assert np.allclose(whole.params["w"], first["w"] + (1 if led_back else 2))
    whole.save(tmp_path / "c")
    assert np.array_equal(Checkpoint.load(tmp_path / "c").weights[0]["w"], params["w"])


def test_warm_start_takes_what_fits(tmp_path, capsys):
    checkpoint().save(tmp_path / "checkpoint.safetensors")
    saved = checkpoint().params
    params, state = warm_start(tmp_path, {"w": np.zeros((2, 3), np.float32), "b": np.zeros(5, np.float32)}, {})
    assert np.array_equal(params["w"], saved["w"]) and not params["b"].any() and state == {}
    assert "nothing that fits b, which begin anew" in capsys.readouterr().out
    warm_start(tmp_path / "checkpoint.safetensors", tree.map(np.zeros_like, saved), {"mean": np.zeros(2)})
    assert capsys.readouterr().out == ""
    with pytest.raises(CheckpointError, match="of another model: none of its arrays fits"):
        warm_start(tmp_path, {"w": np.zeros(1)}, {})
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        warm_start(tmp_path / "none", {"w": np.zeros(1)}, {})


@pytest.mark.parametrize("keep", ["last", "best"])
def test_warm_start_takes_the_best_epoch_of_a_run_that_kept_it(tmp_path, keep):
    last, best = checkpoint(), checkpoint()
    last.config["keep"] = keep
    best.params = tree.map(lambda p: p + 1, last.params)
    last.save(tmp_path / "checkpoint.safetensors")
    best.save(tmp_path / "best.safetensors")
    params, _ = warm_start(tmp_path, tree.map(np.zeros_like, last.params), {})
    expected = best if keep == "best" else last
    assert np.array_equal(params["w"], expected.params["w"])


def test_freeze():
    params = {"a": np.ones(1), "b": {"c": np.ones(2)}}
    assert freeze(None, params) == ({"a": None, "b": {"c": None}}, params)
    frozen, trained = freeze("b.*", params)
    assert trained == {"a": params["a"], "b": {"c": None}} and frozen["b"] == params["b"]
    for patterns, message in (("x", "--freeze: partition: 'x' picks none"), ("a,b.c", "leaves nothing to train")):
        with pytest.raises(Stop, match=message):
            freeze(patterns, params)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("config", 1, "config is not a dict"),
        ("optimizer", {}, "optimizer has no step"),
        ("optimizer", 1, "optimizer has no step"),
        ("facts", [], "facts is not a dict"),
        ("model", "cnn", "model is not a dict"),
        ("average", {"params": {}}, "average is no average"),
        ("average", {"step": np.array(1), "weights": {"params": {}}}, "average is no average"),
        ("average", {"step": np.array(1), "weights": {"params": np.array(np.inf), "state": {}}}, "the parameters"),
        ("params", {"w": np.array([1, np.nan])}, "the parameters are not finite"),
        ("sums", {}, "sums are not numbers"),
        ("sums", 1, "sums are not numbers"),
        ("sums", {"examples": 1.0, "seconds": 0.0}, "sums are not numbers"),
        ("sums", {"examples": 0, "seconds": 0.0, "loss": "x"}, "sums are not numbers"),
        ("sums", {"examples": True, "seconds": 0.0}, "sums are not numbers"),
        ("history", None, "history is not a list"),
        ("history", [1], "a row of history"),
        ("history", [{}], "a row of history"),
        ("history", [{**ROW, "step": 3.0}], "a row of history"),
        ("history", [ROW, {**ROW, "lr": 0.1}], "a row of history"),
        ("history", [{**ROW, "train_loss": np.inf}], "a row of history"),
        ("history", [{**ROW, "seconds": 0.0}], "a row of history took no time"),
        ("history", [{**ROW, "epoch": 2}], "the rows of history are not in order"),
        ("history", [ROW, {**ROW, "epoch": 2, "step": 2}], "the rows of history are not in order"),
        ("history", [{**ROW, "step": -3}], "the rows of history are not in order"),
    ],
)
def test_a_wrong_part(part, value, message, tmp_path):
    checkpoint().save(tmp_path / "c")
    save(tmp_path / "c", {**load(tmp_path / "c"), part: value})
    with pytest.raises(CheckpointError, match=f"c is no checkpoint of this version: {message}"):
        Checkpoint.load(tmp_path / "c")


@pytest.mark.parametrize("content", [1, [1], {"params": np.zeros(2)}], ids=["int", "list", "part"])
def test_something_else(content, tmp_path):
    save(tmp_path / "c", content)
    with pytest.raises(CheckpointError, match="no checkpoint of this version"):
        Checkpoint.load(tmp_path / "c")
