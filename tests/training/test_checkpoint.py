"""A checkpoint comes back as it was; what no training wrote is refused."""

import numpy as np
import pytest

from minigraph import optim, tree
from minigraph.serialize import CheckpointError, load, save
from minigraph.training import Checkpoint

ROW = {"epoch": 1, "step": 3, "train_loss": 0.5, "val_loss": None, "seconds": 1.5, "images_per_second": 2.0}


def checkpoint(**changes):
    params = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(3, np.float32)}
    opt = optim.SGD(0.1, momentum=0.9)
    params, state = opt.step(params, params, opt.init(params))
    whole = {"config": {"lr": 0.1}, "params": params, "state": {"mean": np.ones(2)}, "optimizer": state}
    return Checkpoint(**{**whole, "history": [ROW], "facts": {"dataset": "d"}, **changes})


def test_round_trip(tmp_path):
    before = checkpoint(sums={"images": 3, "seconds": 0.5, "loss": 1.25})
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


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("config", 1, "config is not a dict"),
        ("optimizer", {}, "optimizer has no step"),
        ("optimizer", 1, "optimizer has no step"),
        ("facts", [], "facts is not a dict"),
        ("model", "cnn", "model is not a dict"),
        ("params", {"w": np.array([1, np.nan])}, "the parameters are not finite"),
        ("sums", {}, "sums are not numbers"),
        ("sums", 1, "sums are not numbers"),
        ("sums", {"images": 1.0, "seconds": 0.0}, "sums are not numbers"),
        ("sums", {"images": 0, "seconds": 0.0, "loss": "x"}, "sums are not numbers"),
        ("sums", {"images": True, "seconds": 0.0}, "sums are not numbers"),
        ("history", None, "history is not a list"),
        ("history", [1], "a row of history"),
        ("history", [{}], "a row of history"),
        ("history", [{**ROW, "step": 3.0}], "a row of history"),
        ("history", [ROW, {**ROW, "lr": 0.1}], "a row of history"),
        ("history", [{**ROW, "train_loss": np.inf}], "a row of history"),
        ("history", [{**ROW, "seconds": 0.0}], "a row of history took no time"),
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
