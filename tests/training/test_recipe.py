"""The settings of a training: what they make of images and parameters, and what they say about files of presets."""

import numpy as np
import pytest

import minigraph as mg
from minigraph import optim, tree
from minigraph.graph.flops import flops
from minigraph.training import Checkpoint, ImageRecipe, Recipe, Stop, presets, work
from minigraph.training.recipe import numbers
from models import airnet
from train_cifar import Config


def images(n=100):
    return np.zeros((n, 8, 8, 3), np.uint8), np.arange(n) % 3


PARAMS = {
    "whiten": {"b": np.zeros(4)},
    "block1": {"conv1": np.ones((3, 3, 4, 5)), "b1": np.zeros(5)},
    "head": np.ones((5, 3)),
}


def test_the_loader_has_the_settings():
    augmentation = {"padding": 1, "flip": "random", "brightness": 0.1, "contrast": 0.2, "cutout": 3}
    loader = ImageRecipe(batch_size=7, resolution="4,8", **augmentation).loader(*images())
    assert (loader.batch_size, loader.padding, loader.flip, loader.shuffle) == (7, 1, True, True)
    assert (loader.brightness, loader.contrast, loader.cutout, loader.resolution) == (0.1, 0.2, 3, (4, 8))
    assert ImageRecipe(flip="alternate").loader(*images()).flip == "alternate"
    assert ImageRecipe(flip="none").loader(*images()).flip is False


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("epochs", [0.1, 0.5, 1.0, 2.0, 3.3, 40.0])
def test_in_a_run_of_any_length_the_rate_falls_for_most_of_it(epochs, schedule):
    recipe = ImageRecipe(epochs=epochs, batch_size=3, schedule=schedule)
    loader = recipe.loader(*images())
    steps = recipe.steps(loader)
    assert steps == np.ceil(epochs * 34)
    rates = [recipe.rate(0.5, loader)(step) for step in range(steps)]
    top = int(np.argmax(rates))
    assert top <= steps / 10 + 1 and np.all(np.diff(rates[top:]) < 0) and rates[-1] < rates[top] / 2
    for warmup, rise in ((0.0, 0), (0.05, 2), (1e308, steps - 1)):
        rate = ImageRecipe(epochs=epochs, batch_size=3, warmup=warmup).rate(0.5, loader)
        assert rate(min(rise, steps - 1)) == 0.5 or rise >= steps


def test_any_training_has_adamw_under_its_schedule():
    recipe = Recipe(epochs=2.0, batch_size=10, lr=0.5, weight_decay=0.25)
    batches = ImageRecipe(batch_size=10).loader(*images())
    opt = recipe.make_optimizer(PARAMS, batches)
    assert (type(opt), opt.betas, opt.weight_decay) == (optim.AdamW, (0.9, 0.99), 0.25)
    assert [opt.lr(step) for step in range(20)] == [optim.cosine(0.5, 20, warmup=2)(step) for step in range(20)]


def test_muon_takes_matrices_and_sgd_the_rest():
    recipe = ImageRecipe(weight_decay=0.01, batch_size=10)
    opt = recipe.make_optimizer(PARAMS, recipe.loader(*images()))
    members = {path: pattern for path, pattern in tree.items(opt._members(PARAMS, "test"))}
    assert members == {"whiten.b": "whiten.*", "block1.conv1": "ndim >= 2", "block1.b1": "*", "head": "head*"}
    assert type(opt.groups["ndim >= 2"]) is optim.Muon
    assert opt.groups["whiten.*"].lr(30) == 0 < opt.groups["whiten.*"].lr(29)  # three epochs of 10 steps
    opt = recipe.make_optimizer({"hidden": {"w": np.ones((3, 4))}}, recipe.loader(*images()))
    assert [*opt.groups] == ["ndim >= 2"]


def test_a_step_takes_off_the_share_that_weight_decay_says():
    recipe = ImageRecipe(weight_decay=0.25, warmup=0.0)
    params = {"head": np.ones((5, 3)), "b": np.full(2, 4.0)}
    opt = recipe.make_optimizer(params, recipe.loader(*images()))
    zero = tree.map(np.zeros_like, params)
    params, _ = opt.step(params, zero, opt.init(params))
    assert np.allclose(params["head"], 1 - 0.25 * 1.85) and np.allclose(params["b"], 4 * (1 - 0.25 * 1.85))  # Nesterov


def test_sgd_is_plain():
    recipe = ImageRecipe(optimizer="sgd", lr=0.3, momentum=0.5, weight_decay=0.1)
    opt = recipe.make_optimizer(PARAMS, recipe.loader(*images()))
    assert type(opt) is optim.SGD and (opt.momentum, opt.weight_decay) == (0.5, 0.1)


def test_averages():
    loader = ImageRecipe(batch_size=10).loader(*images())
    assert ImageRecipe(average="none").make_average(loader) is None
    lookahead = ImageRecipe(average="lookahead", epochs=2.0).make_average(loader)
    assert type(lookahead) is optim.Lookahead and lookahead.decay(20) == 0.95**5 and lookahead.decay(10) == 0.95**5 / 8
    ema = ImageRecipe(average="ema", epochs=2.0).make_average(loader)
    assert type(ema) is optim.EMA and (ema.decay(18), ema.decay(19)) == (0, 0.7)


def test_the_work_of_a_training_counts_each_epoch_at_its_size():
    recipe = ImageRecipe(batch_size=30, resolution="2,4")
    loader = recipe.loader(*images())
    history = [{"epoch": 1, "step": 4}, {"epoch": 2, "step": 8}, {"epoch": 3, "step": 9}]
    done = Checkpoint({}, {}, {}, {"step": 9}, history=history)
    assert work(loader, done, lambda x, step: x.size + step) == 100 * 12 + 100 * (48 + 4) + 30 * (48 + 8)


def test_after_three_epochs_the_first_layer_needs_no_gradient_and_the_rest_gets_the_same():
    recipe = ImageRecipe(batch_size=50)
    loader = recipe.loader(*images())  # two steps an epoch
    rng = np.random.default_rng(0)
    params, state = airnet.init(rng, widths=(4, 4))
    x, y = rng.standard_normal((6, 16, 16, 3), np.float32), np.arange(6)

    def loss(params, step):
        logits, _ = airnet.apply(recipe.trained_in(step, params, loader), state, x, train=True)
        return mg.cross_entropy(logits, y)

    before, after = (mg.grad(loss)(params, step) for step in (5, 6))
    assert before["whiten"]["b"].any() and not after.pop("whiten")["b"].any()
    assert all(np.array_equal(a, b) for a, b in zip(tree.leaves(after), tree.leaves(before)[1:], strict=True))
    assert flops(loss, params, 6) < flops(loss, params, 5)
    assert recipe.trained_in(6, PARAMS, loader)["whiten"]["b"] is PARAMS["whiten"]["b"]  # frozen: an array
    assert ImageRecipe(optimizer="sgd", batch_size=50).trained_in(6, params, loader) is params


def test_numbers():
    assert numbers("widths", "64, 128,8") == (64, 128, 8) and numbers("widths", None) is None
    for text in ("", "1,,2", "x", "-1", "0", "1.5", "9" * 300):
        with pytest.raises(Stop, match=r"--widths is .*, expected whole numbers from 1") as caught:
            numbers("widths", text)
        assert len(str(caught.value)) < 200


def test_presets_from_a_file(tmp_path):
    path = tmp_path / "presets.toml"
    path.write_text("[a]\nepochs = 3.0\n[b]\nflip = 'none'\n")
    found = presets(path, Config)
    assert [*found] == ["a", "b"] and found["a"] == Config(preset="a", epochs=3.0) and found["b"].flip == "none"
    for text, message in [
        ("[a]\ndepth = 3", r"presets.toml: \[a\]: .*'depth'"),
        ("[a]\nflip = 'up'", "--flip is up, expected one of none, random, alternate"),
        ("[a", "presets.toml: "),
    ]:
        path.write_text(text)
        with pytest.raises(Stop, match=message):
            presets(path, Config)
    with pytest.raises(Stop, match=r"none\.toml: "):
        presets(tmp_path / "none.toml", Config)
