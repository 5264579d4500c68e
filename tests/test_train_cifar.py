"""The training script: its results, its resumption to the bit, and what it says to bad input."""

import copy
import dataclasses
import errno
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minigraph as mg
import models
import train_cifar
from minigraph import data, training, tree
from minigraph.data import synthetic
from minigraph.serialize import load, save
from models import airnet

RESULTS = {"config.json", "metrics.jsonl", "summary.json", "curves.png", "confusion.png", "checkpoint.safetensors"}
SMALL = synthetic.draw(train=300, test=60)
ROOT = Path(train_cifar.__file__).parent
PNG = b"\x89PNG\r\n\x1a\n"

# A model with all that a checkpoint has to bring back: state, momentum, random operations.
NOISY = """
import numpy as np, minigraph as mg
from models import mlp

def init(rng):
    params, _ = mlp.init(rng, hidden=16)
    return params, {"mean": np.zeros(3, np.float32), "var": np.ones(3, np.float32)}

def apply(params, state, x, *, train):
    x, mean, var = mg.batch_norm(x, None, None, state["mean"], state["var"], train=train)
    logits, _ = mlp.apply(params, {}, mg.dropout(x, 0.2, train=train), train=train)
    return logits, {"mean": mean, "var": var}
"""


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The data, cut down so that an epoch takes a moment."""
    load = data.load

    def load_small(dataset, directory):
        if dataset == "synthetic" and directory is None:
            return SMALL
        return load(dataset, directory)

    monkeypatch.setattr(data, "load", load_small)


@pytest.fixture(autouse=True)
def quick_figures(monkeypatch):
    """Figures are built but not rendered, which takes longer than the training; returns the function that does."""
    render = training.plots.save_figure
    monkeypatch.setattr(training.plots, "save_figure", lambda path, fig: path.write_bytes(PNG))
    return render


@pytest.fixture
def noisy(monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    (folder / "noisy.py").write_text(NOISY)
    monkeypatch.setattr(train_cifar.models, "__path__", [*train_cifar.models.__path__, str(folder)])
    yield "noisy"
    sys.modules.pop("models.noisy", None)


def train(out, *options, model="mlp", epochs=2):
    settings = ["--dataset", "synthetic", "--model", model, "--epochs", str(epochs), "--batch-size", "64"]
    return train_cifar.main([*settings, "--out", str(out), *options])


def refused(capsys, status):
    """The message of a run that was refused: one line."""
    assert status == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("train_cifar.py: error: ")
    return lines[0]


def read_rows(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def content(out):
    """The checkpoint without what a clock says."""
    saved = load(out / "checkpoint.safetensors")
    for row in (*saved["history"], saved["sums"]):
        row["seconds"] = row["examples_per_second"] = None
    return saved


def equal(a, b):
    """Whether two checkpoints are equal to the bit."""
    rows = [[(path, np.asarray(leaf)) for path, leaf in tree.items(t)] for t in (a, b)]
    return len(rows[0]) == len(rows[1]) and all(
        p == q and x.dtype == y.dtype and x.tobytes() == y.tobytes() for (p, x), (q, y) in zip(*rows, strict=True)
    )


def interrupt(monkeypatch, step):
    """Ctrl-C in the middle of a step, counted from 1."""
    note = training.Run.note

    def interrupt_and_note(run, examples, **means):
        if run.now.step == step:
            signal.raise_signal(signal.SIGINT)
        note(run, examples, **means)

    monkeypatch.setattr(training.Run, "note", interrupt_and_note)


# ---------------------------------------------------------------- what a run leaves


def test_results(tmp_path, capsys, monkeypatch, quick_figures):
    monkeypatch.setattr(training.plots, "save_figure", quick_figures)
    out = tmp_path / "deep" / "out"
    assert train(out, "--seed", "3") == 0
    assert {path.name for path in out.iterdir()} == RESULTS

    config = json.loads((out / "config.json").read_text())
    assert config["seed"] == 3 and config["batch_size"] == 64 and config["val"] == 30
    rows = read_rows(out)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert [row["step"] for row in rows] == [5, 10]
    assert all(0 <= row[k] <= 1 for row in rows for k in ("train_accuracy", "val_accuracy"))
    summary = json.loads((out / "summary.json").read_text())
    assert summary.keys() >= {
        "dataset", "model", "preset", "parameters", "epochs", "seed", "train_seconds", "examples_per_second",
        "test_accuracy", "minigraph_version",
    }  # fmt: skip
    assert summary["parameters"] == 3072 * 128 + 128 + 128 * 10 + 10
    assert summary["epochs"] == 2 and summary["seed"] == 3 and summary["model"] == "mlp"
    for name in ("curves.png", "confusion.png"):
        image = (out / name).read_bytes()
        assert image.startswith(PNG) and len(image) > 10_000
    captured = capsys.readouterr()
    assert captured.err == ""  # not a terminal: no bar
    assert "epoch  2/2" in captured.out and f"test accuracy {summary['test_accuracy']:.2%}" in captured.out


def test_the_test_accuracy_is_that_of_the_saved_parameters(tmp_path):
    train(tmp_path)
    saved = load(tmp_path / "checkpoint.safetensors")
    assert saved["model"] == {
        "name": "mlp", "classes": SMALL.classes, "shape": (32, 32, 3), "mean": data.cifar.MEAN, "std": data.cifar.STD,
    }  # fmt: skip
    model = models.load("mlp")
    loader = data.Loader(SMALL.test_images, SMALL.test_labels, 60)
    ((x, y),) = loader
    logits, _ = model.apply(saved["params"], saved["state"], x, train=False)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["test_accuracy"] == (logits.argmax(-1) == y).mean()


@pytest.fixture
def figures(monkeypatch):
    """The figures of a run, in place of their files, by name."""
    found = {}
    monkeypatch.setattr(training.plots, "save_figure", lambda path, fig: found.update({path.name: fig}))
    return found


def test_the_synthetic_set_is_announced_everywhere(tmp_path, capsys, figures):
    train(tmp_path, epochs=1)
    output = capsys.readouterr().out
    notice = data.SYNTHETIC_NOTICE
    assert output.index(notice) < output.index("epoch  1/1") < output.rindex(notice)
    results = [json.loads((tmp_path / name).read_text()) for name in ("config.json", "summary.json")]
    for result in (*results, *read_rows(tmp_path), load(tmp_path / "checkpoint.safetensors")["facts"]):
        assert result["dataset"] == "synthetic"
        assert result["notice"] == notice
    assert figures.keys() == {"curves.png", "confusion.png"}
    for fig in figures.values():
        assert "SYNTHETIC" in fig.get_suptitle() and fig.get_supxlabel() == notice


def test_the_real_set_is_not_called_synthetic(tmp_path, capsys, monkeypatch, figures):
    monkeypatch.setattr(data, "load", lambda *_: dataclasses.replace(SMALL, name="cifar10"))
    train(tmp_path, epochs=1)
    assert "synthetic" not in capsys.readouterr().out.lower()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["dataset"] == "cifar10" and "notice" not in summary
    assert figures.keys() == {"curves.png", "confusion.png"}
    for fig in figures.values():
        assert "CIFAR-10" in fig.get_suptitle() and fig.get_supxlabel() == ""


def test_init_is_given_normalised_training_images_if_it_takes_them(tmp_path, monkeypatch):
    given = []
    init = airnet.init

    def noted(rng, *, widths=None, images=None):
        given.append(images)
        return init(rng, widths=widths, images=images)

    monkeypatch.setattr(airnet, "init", noted)
    assert train(tmp_path, "--widths", "4,4,4", model="airnet", epochs=1) == 0
    kept, _ = data.split(SMALL, 30)  # not validation's
    expected, _ = next(iter(data.Loader(*kept, 270)))
    assert np.array_equal(given[0], expected)
    assert np.array_equal(load(tmp_path / "checkpoint.safetensors")["state"]["whiten"], airnet.whitening(expected))


def test_init_is_given_5000_images_at_most(monkeypatch):
    given = []
    monkeypatch.setattr(airnet, "init", lambda rng, images=None: given.append(images) or ({}, {}))
    images = np.zeros((5001, 1, 1, 3), np.uint8)
    models.load("airnet").init(np.random.default_rng(0), None, images, np.zeros(5001, int))
    assert given[0].shape == (5000, 1, 1, 3)


@pytest.mark.parametrize("preset", train_cifar.PRESETS)
def test_presets_set_defaults_and_options_override_them(preset, tmp_path, monkeypatch):
    widths = [] if preset == "cnn" else ["--widths", "4,4,4"]
    options = ["--preset", preset, "--dataset", "synthetic", "--epochs", "1.5", "--batch-size", "100", *widths]
    assert train_cifar.main([*options, "--out", str(tmp_path)]) == 0
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["preset"], config["epochs"], config["batch_size"]) == (preset, 1.5, 100)
    assert config["lr"] == train_cifar.PRESETS[preset].lr
    assert len(read_rows(tmp_path)) == 2
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["examples_per_second"] == pytest.approx((270 + 200) / summary["train_seconds"], rel=0.3)


def test_another_model_begins_with_plain_sgd(tmp_path):
    assert train(tmp_path, epochs=1) == 0
    assert json.loads((tmp_path / "config.json").read_text())["preset"] == "cnn"
    assert train_cifar.default_preset({}) == "quick" == next(iter(train_cifar.PRESETS))


def test_widths_are_for_models_that_take_them(tmp_path, capsys):
    line = refused(capsys, train(tmp_path / "a", "--widths", "4,4"))
    assert "models/mlp.py: init takes no widths" in line
    line = refused(capsys, train(tmp_path / "b", "--widths", "4,x", model="airnet"))
    assert "--widths is 4,x, expected whole numbers" in line


@pytest.mark.parametrize("average", ["ema", "lookahead"])
def test_averaged_weights_are_those_that_are_tested_and_resumed(average, tmp_path, noisy, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(whole, "--average", average, model=noisy) == 0
    with monkeypatch.context() as patch:
        interrupt(patch, 7)
        assert train(parts, "--average", average, model=noisy) == 130
    assert train_cifar.main(["--resume", str(parts)]) == 0
    assert equal(content(whole), content(parts))
    checkpoint = training.Checkpoint.load(whole / "checkpoint.safetensors")
    params, state = checkpoint.weights
    model = models.load(noisy)
    ((x, y),) = data.Loader(SMALL.test_images, SMALL.test_labels, 60)
    logits, _ = model.apply(params, state, x, train=False)
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["test_accuracy"] == pytest.approx((logits.argmax(-1) == y).mean())


def test_the_best_epoch_is_tested_if_asked(tmp_path, capsys):
    assert train(tmp_path, "--keep", "best", "--lr", "0.2", epochs=6) == 0
    best = training.Checkpoint.load(tmp_path / "best.safetensors")
    accuracies = [row["val_accuracy"] for row in read_rows(tmp_path)]
    assert len(best.history) == 1 + accuracies.index(max(accuracies))
    assert json.loads((tmp_path / "summary.json").read_text())["tested_epoch"] == len(best.history)
    assert "--val is 0" in refused(capsys, train(tmp_path / "b", "--keep", "best", "--val", "0"))


def test_a_run_from_another_one_goes_on_without_it(tmp_path, monkeypatch):
    assert train(tmp_path / "a") == 0
    options = ["--init", str(tmp_path / "a"), "--freeze", "hidden.*"]
    assert train(tmp_path / "whole", *options) == 0
    with monkeypatch.context() as patch:
        interrupt(patch, 3)
        assert train(tmp_path / "parts", *options) == 130
    (tmp_path / "a").rename(tmp_path / "moved")
    assert train_cifar.main(["--resume", str(tmp_path / "parts")]) == 0
    assert equal(content(tmp_path / "whole"), content(tmp_path / "parts"))


def test_evaluate_predict_and_compare(tmp_path, capsys, monkeypatch):
    assert train(tmp_path / "a") == train(tmp_path / "b", "--lr", "0.01") == 0
    accuracy = json.loads((tmp_path / "a" / "summary.json").read_text())["test_accuracy"]
    capsys.readouterr()
    assert train_cifar.main(["--evaluate", str(tmp_path / "a")]) == 0
    assert re.search(rf"without TTA +{accuracy:.2%}", capsys.readouterr().out)
    assert {"predictions.png", "confusion.png"} <= {path.name for path in (tmp_path / "a").iterdir()}
    saved = load(tmp_path / "b" / "checkpoint.safetensors")
    del saved["config"]["lr"]
    save(tmp_path / "other", saved)
    line = refused(capsys, train_cifar.main(["--evaluate", str(tmp_path / "other")]))
    assert "other is no checkpoint of this version: settings that are missing: ['lr']" in line
    Image.fromarray(SMALL.test_images[0]).resize((50, 40)).save(tmp_path / "x.png")
    assert train_cifar.main(["--predict", str(tmp_path / "a"), str(tmp_path / "x.png")]) == 0
    assert "x.png" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    assert train_cifar.main(["--compare", "a", "b"]) == 0
    assert re.search(r"lr +0\.05 +0\.01", capsys.readouterr().out) and (tmp_path / "compare.png").exists()


def test_init_from_another_run_and_freeze(tmp_path, capsys):
    assert train(tmp_path / "a") == 0
    before = load(tmp_path / "a" / "checkpoint.safetensors")["params"]
    options = ["--init", str(tmp_path / "a"), "--freeze", "hidden.*"]
    assert train(tmp_path / "b", *options) == 0
    saved = load(tmp_path / "b" / "checkpoint.safetensors")
    assert equal(before["hidden"], saved["params"]["hidden"]) and not equal(before["head"], saved["params"]["head"])
    assert saved["optimizer"]["velocity"]["hidden"]["w"] is None  # no gradient, no velocity
    capsys.readouterr()
    assert "--freeze: partition: 'hid' picks none" in refused(capsys, train(tmp_path / "c", "--freeze", "hid"))
    assert "leaves nothing to train" in refused(capsys, train(tmp_path / "c", "--freeze", "*"))
    assert "no such checkpoint" in refused(capsys, train(tmp_path / "c", "--init", str(tmp_path / "none")))


def test_every_setting_is_an_option(tmp_path, monkeypatch):
    loaders, schedules = [], []
    Loader, cosine = data.Loader, mg.optim.cosine
    monkeypatch.setattr(data, "Loader", lambda *a, **k: loaders.append(Loader(*a, **k)) or loaders[-1])
    monkeypatch.setattr(mg.optim, "cosine", lambda *a, **k: schedules.append(k) or cosine(*a, **k))
    assert train(tmp_path / "a", "--warmup", "0.4", "--padding", "3", "--flip", "none", epochs=1) == 0
    assert (loaders[0].padding, loaders[0].flip, schedules[0]) == (3, False, {"warmup": 2})  # of 5 steps
    assert train(tmp_path / "b", "--warmup", "1e308", "--padding", "0", "--flip", "random", epochs=1) == 0
    assert (loaders[3].padding, loaders[3].flip, schedules[-1]) == (0, True, {"warmup": 4})


@pytest.mark.parametrize("n", [1, 2, 5, 12])
@pytest.mark.parametrize("model", ["mlp", "cnn", "airnet"])
def test_the_defaults_suit_a_few_images(n, model, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load", lambda *_: synthetic.draw(train=n, test=1))
    assert train_cifar.main(["--model", model, "--epochs", "1", "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == RESULTS
    assert json.loads((tmp_path / "config.json").read_text())["val"] == n // 10


def test_the_validation_images_are_the_same_for_every_seed(tmp_path, monkeypatch):
    seen = []
    Loader = data.Loader
    monkeypatch.setattr(data, "Loader", lambda *a, **k: seen.append(a[1]) or Loader(*a, **k))
    for seed in "01":
        assert train(tmp_path / seed, "--seed", seed, epochs=1) == 0
    (_, val, _), (_, again, _) = seen[:3], seen[3:]
    assert np.array_equal(val, again) and len(val) == 30
    share = 30 * np.bincount(SMALL.train_labels) / 300
    assert np.all(abs(np.bincount(val, minlength=10) - share) < 1)


def test_a_run_is_repeatable_and_depends_on_its_seed(tmp_path, noisy):
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        train(tmp_path / name, "--seed", seed, model=noisy)
    a, b, c = (content(tmp_path / name) for name in "abc")
    assert equal(a, b)
    assert not equal(a["params"], c["params"])


def test_no_validation(tmp_path):
    assert train(tmp_path, "--val", "0") == 0
    assert [row["val_loss"] for row in read_rows(tmp_path)] == [None, None]


def test_default_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--dataset", "synthetic", "--model", "mlp", "--epochs", "1"]
    assert train_cifar.main(options) == 0
    (out,) = (tmp_path / "runs").iterdir()
    assert {path.name for path in out.iterdir()} == RESULTS


def test_the_cnn_learns(tmp_path):
    assert train(tmp_path, "--batch-size", "20", "--val", "0", model="cnn", epochs=3) == 0
    rows = read_rows(tmp_path)
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]


def test_draw(tmp_path, capsys):
    assert train(tmp_path, "--draw", epochs=1) == 0
    assert "matmul" in (tmp_path / "graph.dot").read_text()
    svg = tmp_path / "graph.svg"
    assert svg.is_file() or "Graphviz" in capsys.readouterr().out


# ---------------------------------------------------------------- stopped and resumed


@pytest.mark.parametrize("step", [1, 3, 5, 8, 10], ids="step {}".format)
def test_interrupted_and_resumed_is_uninterrupted_to_the_bit(step, tmp_path, noisy, monkeypatch, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(whole, model=noisy) == 0  # 2 epochs of 5 steps

    with monkeypatch.context() as patch:
        interrupt(patch, step)
        assert train(parts, model=noisy) == 130
    assert capsys.readouterr().err == f"interrupted: go on with --resume {parts}\n"
    assert int(load(parts / "checkpoint.safetensors")["optimizer"]["step"]) == step
    assert not (parts / "summary.json").exists()

    assert train_cifar.main(["--resume", str(parts)]) == 0
    assert equal(content(whole), content(parts))
    assert {path.name for path in parts.iterdir()} == RESULTS
    for a, b in zip(read_rows(whole), read_rows(parts), strict=True):
        assert {**a, "seconds": 0, "examples_per_second": 0} == {**b, "seconds": 0, "examples_per_second": 0}
    a, b = (json.loads((out / "summary.json").read_text()) for out in (whole, parts))
    assert a["test_accuracy"] == b["test_accuracy"] and a["test_loss"] == b["test_loss"]


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_is_uninterrupted_to_the_bit(tmp_path):
    settings = "--preset record --widths 4,4 --epochs 4 --resolution 12,16 --batch-size 100 --average ema --threads 1"
    command = [sys.executable, "-m", "tests.killing", tmp_path, "30", "0", *settings.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"30 kills in \d+ trainings of .* s: 0 ended in other bits\n", done.stdout)


@pytest.mark.slow
def test_ctrl_c_in_a_process_of_its_own(tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, train_cifar.__file__, "--dataset", "synthetic", "--model", "mlp", "--batch-size", "16"]
    process = subprocess.Popen(
        [*command, "--epochs", "1000", "--out", out], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    metrics = out / "metrics.jsonl"
    while not metrics.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == f"interrupted: go on with --resume {out}\n"
    saved = load(out / "checkpoint.safetensors")
    assert len(saved["history"]) == len(read_rows(out)) >= 1


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("place", ["the test", "the score", "the figures"])
def test_a_signal_during_the_final_evaluation_is_not_lost(place, name, tmp_path, monkeypatch, capsys):
    number = getattr(signal, name)

    def signal_and(function, last):
        def call(*arguments, **options):
            if last(*arguments):
                signal.raise_signal(number)
            return function(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        if place == "the test":
            predict = training.predict
            patch.setattr(training, "predict", signal_and(predict, lambda _, images: len(images.labels) == 60))
        elif place == "the score":
            patch.setattr(training, "score", signal_and(training.score, lambda _, labels: len(labels) == 60))
        else:
            patch.setattr(training.plots, "curves", signal_and(training.plots.curves, lambda *_: True))
        assert train(tmp_path) == 128 + number
    assert capsys.readouterr().err == f"interrupted: go on with --resume {tmp_path}\n"
    assert train_cifar.main(["--resume", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == RESULTS


@pytest.mark.parametrize("module", ["numpy", "threadpoolctl"])
def test_ctrl_c_during_the_imports_is_one_line(module, tmp_path):
    (tmp_path / f"{module}.py").write_text("import signal; signal.raise_signal(signal.SIGINT)")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    run = subprocess.run([sys.executable, train_cifar.__file__], env=environment, capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "interrupted\n")


def test_a_second_ctrl_c_does_not_wait(tmp_path, monkeypatch, capsys):
    def interrupt_twice(*_, **means):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(training.Run, "note", interrupt_twice)
    assert train(tmp_path) == 130
    assert int(load(tmp_path / "checkpoint.safetensors")["optimizer"]["step"]) == 0  # the one from the start


def test_resuming_a_finished_run_makes_its_report_again(tmp_path):
    train(tmp_path)
    before = content(tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    (tmp_path / "summary.json").unlink()
    assert train_cifar.main(["--resume", str(tmp_path)]) == 0
    assert equal(before, content(tmp_path))
    assert json.loads((tmp_path / "summary.json").read_text()) == summary


def test_resume_with_other_threads_is_the_same_to_the_bit(tmp_path, noisy, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(whole, "--threads", "1", model=noisy) == 0
    with monkeypatch.context() as patch:
        interrupt(patch, 3)
        assert train(parts, "--threads", "1", model=noisy) == 130
    assert train_cifar.main(["--resume", str(parts), "--threads", "2"]) == 0
    a, b = content(whole), content(parts)
    assert a["config"].pop("threads") == 1 and b["config"].pop("threads") == 2
    assert equal(a, b)


def test_resume_does_not_fall_back_to_another_data_set(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(data, "load", lambda *of: asked.append(of) or dataclasses.replace(SMALL, name="cifar10"))
    train_cifar.main(["--model", "mlp", "--epochs", "1", "--out", str(tmp_path)])
    train_cifar.main(["--resume", str(tmp_path), "--data", "elsewhere"])
    assert asked == [("auto", None), ("cifar10", "elsewhere")]


def test_a_run_whose_data_was_given_by_a_relative_path_is_resumed_from_another_folder(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(data, "load", lambda *of: asked.append(of) or dataclasses.replace(SMALL, name="cifar10"))
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    train_cifar.main(["--model", "mlp", "--epochs", "1", "--data", "../images", "--out", "out"])
    monkeypatch.chdir(tmp_path)
    assert train_cifar.main(["--resume", "a/out"]) == 0
    assert asked == [("auto", "../images"), ("cifar10", str(tmp_path / "images"))]


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lr", "nan"], "--lr is nan"),
        (["--lr", "inf"], "--lr is inf"),
        (["--lr", "0"], "--lr is 0.0, expected a finite number above 0"),
        (["--lr", "-0.1"], "--lr is -0.1"),
        (["--lr", "fast"], "--lr: invalid float value: 'fast'"),
        (["--epochs", "0"], "--epochs is 0"),
        (["--epochs", "-1"], "--epochs is -1"),
        (["--epochs", "few"], "--epochs: invalid float value"),
        (["--batch-size", "0"], "--batch-size is 0"),
        (["--momentum", "1"], "--momentum is 1.0"),
        (["--momentum", "nan"], "--momentum is nan"),
        (["--weight-decay", "-1"], "--weight-decay is -1.0"),
        (["--seed", "-1"], "--seed is -1"),
        (["--threads", "0"], "--threads is 0"),
        (["--microbatch", "0"], "--microbatch is 0"),
        (["--val", "-1"], "--val is -1"),
        (["--val", "300"], "val is 300, expected 0 <= val < 300"),
        (["--preset", "slow"], "'slow' (choose from"),
        (["--model", "lstm"], "'lstm' (choose from"),
        (["--dataset", "mnist"], "'mnist' (choose from"),
        (["--learning-rate", "1"], "--learning-rate"),
        (["--data", "elsewhere"], "elsewhere"),
        (["--dataset", "cifar10", "--data", "elsewhere"], "elsewhere: no such directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options(options, message, tmp_path, capsys):
    out = tmp_path / "out"
    line = refused(capsys, train_cifar.main(["--dataset", "synthetic", "--model", "mlp", *options, "--out", str(out)]))
    assert message in line
    assert not out.exists()


def test_an_unknown_model_lists_the_models(capsys):
    line = refused(capsys, train_cifar.main(["--model", "lstm"]))
    assert "cnn" in line and "mlp" in line


def test_a_module_that_is_no_model(tmp_path, capsys, monkeypatch):
    (tmp_path / "empty.py").write_text("")
    monkeypatch.setattr(train_cifar.models, "__path__", [str(tmp_path)])
    assert "functions init and apply" in refused(capsys, train(tmp_path / "out", model="empty"))


def test_a_model_that_returns_only_logits(tmp_path, capsys, monkeypatch):
    source = NOISY.replace('return logits, {"mean": mean, "var": var}', "return logits")
    (tmp_path / "only_logits.py").write_text(source)
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    line = refused(capsys, train(tmp_path / "out", model="only_logits"))
    assert "models/only_logits.py: apply returned float32 (2, 10); expected apply(params, state, x, *, train)" in line


def test_corrupt_data(tmp_path, capsys):
    (tmp_path / "cifar-10-batches-bin").mkdir()
    for name in ("data_batch_1.bin", "test_batch.bin"):
        (tmp_path / "cifar-10-batches-bin" / name).write_bytes(b"\0" * 3073)
    status = train_cifar.main(["--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert "data_batch_1.bin: truncated, corrupt" in refused(capsys, status)


def test_a_directory_in_use_is_left_alone(tmp_path, capsys):
    assert train(tmp_path, epochs=1) == 0
    capsys.readouterr()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert f"{tmp_path} is not empty" in refused(capsys, train(tmp_path, epochs=1))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_directory_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "file" in refused(capsys, train(tmp_path / "file", epochs=1))
    assert "file/out" in refused(capsys, train(tmp_path / "file" / "out", epochs=1))


def test_the_directory_is_checked_before_the_data_is_loaded(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(data, "load", lambda *_: pytest.fail("loaded"))
    (tmp_path / "file").write_text("")
    refused(capsys, train(tmp_path))
    refused(capsys, train(tmp_path / "file"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_disk_that_is_full_from_the_start(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "fsync", full_disk)
    line = refused(capsys, train(tmp_path))
    assert "config.json was not written: No space left on device" in line


@pytest.mark.slow
def test_a_disk_that_fills_up_costs_only_what_is_not_written_yet(tmp_path, capsys, monkeypatch):
    save = training.Checkpoint.save

    def save_once_more(checkpoint, path):
        if len(checkpoint.history) == 2:
            monkeypatch.setattr(os, "fsync", full_disk)
        save(checkpoint, path)

    with monkeypatch.context() as patch:
        patch.setattr(training.Checkpoint, "save", save_once_more)
        line = refused(capsys, train(tmp_path))
    assert "checkpoint.safetensors" in line and "No space left on device" in line
    assert len(load(tmp_path / "checkpoint.safetensors")["history"]) == len(read_rows(tmp_path)) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "metrics.jsonl", "checkpoint.safetensors"}

    monkeypatch.undo()
    monkeypatch.setattr(data, "load", lambda *_: SMALL)
    assert train_cifar.main(["--resume", str(tmp_path)]) == 0
    assert train(tmp_path / "whole") == 0
    assert equal(content(tmp_path), content(tmp_path / "whole"))


def full_disk(fd):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_run_that_diverges_keeps_the_last_good_checkpoint(tmp_path, capsys, monkeypatch):
    Loader = data.Loader

    class Diverging(Loader):
        """In the second epoch the images are so bright that the loss overflows."""

        def epoch(self, epoch, start=0):
            for x, y in super().epoch(epoch, start):
                yield (x * np.float32(1e30) if self.shuffle and epoch == 1 else x), y

    monkeypatch.setattr(data, "Loader", Diverging)
    line = refused(capsys, train(tmp_path, epochs=3))
    assert "diverged" in line and "--lr" in line and str(tmp_path) in line
    saved = load(tmp_path / "checkpoint.safetensors")
    assert len(saved["history"]) == len(read_rows(tmp_path)) == 1
    assert all(np.isfinite(leaf).all() for leaf in tree.leaves(saved["params"]))


def test_a_huge_learning_rate(tmp_path, capsys):
    assert "try a smaller --lr than 1e+30" in refused(capsys, train(tmp_path, "--lr", "1e30"))


@pytest.mark.parametrize(
    ("options", "named"),
    [(["--lr", "1"], "lr"), (["--epochs", "9"], "epochs"), (["--model", "cnn"], "model"), (["--out", "x"], "out")],
    ids=["lr", "epochs", "model", "out"],
)
def test_resume_keeps_the_settings_of_the_run(options, named, tmp_path, capsys):
    train(tmp_path, epochs=1)
    capsys.readouterr()
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    line = refused(capsys, train_cifar.main(["--resume", str(tmp_path), *options]))
    assert "--resume takes the settings of the run" in line and f"--{named}" in line
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


def test_resume_without_a_checkpoint(tmp_path, capsys):
    assert "no such checkpoint" in refused(capsys, train_cifar.main(["--resume", str(tmp_path)]))


def test_resume_of_a_damaged_checkpoint(tmp_path, capsys):
    train(tmp_path, epochs=1)
    capsys.readouterr()
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "not a readable checkpoint" in refused(capsys, train_cifar.main(["--resume", str(tmp_path)]))


@pytest.mark.parametrize("tree", [[1, 2], {"params": np.zeros(3)}, "x"], ids=["list", "part", "str"])
def test_resume_of_a_checkpoint_of_something_else(tree, tmp_path, capsys):
    save(tmp_path / "checkpoint.safetensors", tree)
    assert "no checkpoint of this version" in refused(capsys, train_cifar.main(["--resume", str(tmp_path)]))


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("sums", {}),
        ("sums", 1),
        ("sums", {"examples": 0, "seconds": 0.0, "loss": "x"}),
        ("history", [1]),
        ("history", [{}]),
        ("history", 1),
        ("config", {"lr": 0.0}),
    ],
    ids=str,
)
def test_resume_of_a_checkpoint_with_a_wrong_part(part, value, tmp_path, capsys):
    train(tmp_path, epochs=1)
    capsys.readouterr()
    path = tmp_path / "checkpoint.safetensors"
    save(path, {**load(path), part: value})
    assert f"{path} is no checkpoint of this version" in refused(capsys, train_cifar.main(["--resume", str(tmp_path)]))


@pytest.mark.parametrize(
    ("step", "rows", "images"),
    [(-1, 0, 0), (4, 1, 0), (11, 1, 270), (6, 1, 0), (10, 1, 0), (5, 0, 0), (0, 0, 64), (11, 2, 64), (15, 3, 0)],
)
def test_resume_of_a_checkpoint_whose_parts_contradict_each_other(step, rows, images, tmp_path, capsys):
    train(tmp_path)  # 2 epochs of 5 steps
    capsys.readouterr()
    path = tmp_path / "checkpoint.safetensors"
    saved = load(path)
    saved["optimizer"]["step"][...] = step
    row = saved["history"][0]
    saved["history"] = [{**row, "epoch": i + 1, "step": 5 * (i + 1)} for i in range(rows)]
    saved["sums"]["examples"] = images
    save(path, saved)
    before = path.read_bytes()
    assert f"{path}: step {step}, " in refused(capsys, train_cifar.main(["--resume", str(tmp_path)]))
    assert path.read_bytes() == before


WEIRD = [None, True, 2.0, -1, 10**400, math.nan, "no", {}, 1e308]


@pytest.mark.slow
@pytest.mark.parametrize("part", ["the whole", "config", "history", "sums", "facts", "optimizer"])
def test_whatever_a_checkpoint_says_is_refused_in_one_line_or_does_no_harm(part, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(data, "load", lambda *_: SMALL)
    monkeypatch.setattr(training.plots, "curves", lambda *_, **__: None)
    monkeypatch.setattr(training.plots, "confusion", lambda *_, **__: None)
    assert train_cifar.main(["--model", "mlp", "--epochs", "1", "--batch-size", "64", "--out", str(tmp_path)]) == 0
    path = tmp_path / "checkpoint.safetensors"
    whole = load(path)
    for name in whole if part == "the whole" else whole[part][0] if part == "history" else whole[part]:
        for value in WEIRD:
            changed = copy.deepcopy(whole)
            at = changed if part == "the whole" else changed[part][0] if part == "history" else changed[part]
            at[name] = value
            save(path, changed)
            capsys.readouterr()
            code = train_cifar.main(["--resume", str(tmp_path)])
            error = capsys.readouterr().err
            lines = error.count("\n")
            assert (code, lines) in {(0, 0), (2, 1)} and len(error) < 500, (name, value)
            for file in ("metrics.jsonl", "summary.json"):
                assert not re.search("NaN|Infinity", (tmp_path / file).read_text()), (name, value)


def test_parameters_that_are_not_finite_are_refused(tmp_path, capsys):
    train(tmp_path, epochs=1)
    path = tmp_path / "checkpoint.safetensors"
    saved = load(path)
    saved["params"]["hidden"]["w"][3] = np.nan
    save(path, saved)
    capsys.readouterr()
    assert "the parameters are not finite" in refused(capsys, train_cifar.main(["--resume", str(tmp_path)]))


@pytest.mark.parametrize("part", ["params", "optimizer"])
def test_resume_of_a_checkpoint_of_another_model(part, tmp_path, capsys):
    train(tmp_path, epochs=1)
    capsys.readouterr()
    path = tmp_path / "checkpoint.safetensors"
    saved = load(path)
    at = saved[part] if part == "params" else saved[part]["velocity"]
    at["hidden"]["w"] = at["hidden"]["w"][:, :64]
    save(path, saved)
    before = path.read_bytes()
    line = refused(capsys, train_cifar.main(["--resume", str(tmp_path)]))
    assert "of another model" in line and "hidden.w" in line
    assert path.read_bytes() == before


def test_a_missing_package_is_named_before_anything_is_done(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(training.errors, "find_spec", lambda name: None if name == "matplotlib" else name)
    line = refused(capsys, train(tmp_path / "out"))
    assert "matplotlib is missing: pip install" in line
    assert not (tmp_path / "out").exists()


def test_the_page_lists_every_option_with_its_default():
    page = (Path(train_cifar.__file__).parent / "docs" / "training.md").read_text()
    rows = dict(re.findall(r"^\| `--([a-z-]+)`[^|]* \| ([^|]*?) ?\|", page, re.MULTILINE))
    for field in dataclasses.fields(train_cifar.Config):
        default = rows.pop(field.name.replace("_", "-")).strip("`")
        shown = field.metadata["shown"] or training.settings._show(field.default)
        assert default == shown.split(",")[0] or field.name == "data", field.name
    assert rows.keys() == {"out", "resume"}


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as end:
        train_cifar.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for option in (
        "preset", "model", "dataset", "data", "epochs", "batch-size", "lr", "momentum", "weight-decay", "val", "seed",
        "threads", "microbatch", "out", "resume", "draw", "warmup", "padding", "flip", "init", "freeze", "keep", "tta",
        "average", "optimizer", "resolution", "widths",
    ):  # fmt: skip
        assert f"--{option} " in text
