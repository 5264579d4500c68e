"""Trained models in use: what is printed, returned and drawn."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from minigraph import data
from minigraph.training import Checkpoint, Classifier, Stop, plots, use

CLASSES = ("red", "green", "blue", "none of them")


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """The files and titles of figures, which are not rendered."""
    found = {}
    monkeypatch.setattr(plots, "save_figure", lambda path, fig: found.update({path: fig.get_suptitle()}))
    return found


def brightest(params, state, x, *, train):
    """The mean of each channel is the logit of its colour."""
    return x.mean((1, 2)) @ params["w"], state


def classifier(**more):
    params = {"w": 20 * np.eye(3, 4, dtype=np.float32)}
    model = {"name": "brightest", "classes": CLASSES, "shape": (4, 4, 3), "mean": (0.5,) * 3, "std": (0.25,) * 3}
    saved = Checkpoint({}, params, {}, {"step": 1}, facts={"dataset": "colours"}, model=model)
    return Classifier(brightest, saved, "c.safetensors", **more)


def colours(*which):
    images = np.zeros((len(which), 4, 4, 3), np.uint8)
    for i, channel in enumerate(which):
        images[i, ..., channel] = 200
    return images


def test_evaluate(tmp_path, capsys, drawn):
    labels = [0, 0, 0, 0, 1, 1, 2]
    found = use.evaluate(classifier(), colours(0, 1, 1, 2, 1, 1, 2), labels, tmp_path)
    assert found["accuracy"] == dict.fromkeys(("none", "mirror", "mirror+translate"), pytest.approx(4 / 7))
    assert found["classes"] == pytest.approx(dict(zip(CLASSES, (0.25, 1, 1, np.nan), strict=True)), nan_ok=True)
    assert found["confusion"].tolist() == [[1, 2, 1, 0], [0, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert capsys.readouterr().out == f"""\
7 test images
  without TTA       57.14%
  mirror            57.14%
  mirror+translate  57.14%
accuracy of each class, and what it was taken for most often
  red           25.0%      green 50.0%, blue 25.0%
  green         100.0%
  blue          100.0%
  none of them  no images
most frequent confusions
  red taken for green  2 of 4
  red taken for blue   1 of 4
pictures in {tmp_path}
"""
    title = "brightest on colours: 57.14% test accuracy"
    assert drawn == {tmp_path / "confusion.png": title, tmp_path / "predictions.png": title}


def test_evaluate_without_a_mistake(tmp_path, capsys):
    use.evaluate(classifier(), colours(0, 1), np.array([0, 1]), tmp_path)
    assert "most frequent confusions\n  none\n" in capsys.readouterr().out


def test_evaluate_draws_filters_and_heat_of_a_model_that_has_them(tmp_path, drawn):
    def head(params, state, maps, *, train):
        return brightest(params, state, maps, train=train)

    def features(params, state, x, *, train):
        return x, state

    model = classifier(features=features, head=head)
    model.params["conv"] = np.ones((3, 3, 3, 5), np.float32)
    use.evaluate(model, colours(0, 1, 2), np.array([0, 1, 1]), tmp_path)
    assert drawn.keys() == {tmp_path / f"{n}.png" for n in ("confusion", "predictions", "filters", "heatmaps")}
    assert drawn[tmp_path / "filters.png"] == "brightest on colours: the 5 filters of the first convolution"


def test_evaluate_refuses_labels_that_are_no_classes(tmp_path):
    with pytest.raises(ValueError, match=r"expected labels to be \(1,\) integers in \[0, 4\)"):
        use.evaluate(classifier(), colours(0), np.array([4]), tmp_path)


def test_classify_prints_a_line_for_each_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    images = colours(0, 1, 2)
    images[0, ..., 1] = 190
    for name, image in zip(("r.png", "green.png", "b.png"), images, strict=True):
        Image.fromarray(image).resize((40, 40)).save(name)
    probabilities = use.classify(classifier(), ["r.png", "green.png", "b.png"], top=2)
    assert probabilities.argmax(-1).tolist() == [0, 1, 2]
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"r\.png      red 9\d\.\d%  green \d\.\d%", lines[0])
    assert lines[1].startswith("green.png  green 100.0%  ") and lines[2].startswith("b.png      blue 100.0%  ")
    with pytest.raises(data.DataError, match=r"missing\.png: not a readable image: No such file"):
        use.classify(classifier(), ["missing.png"])


def test_export_keeps_classes_and_normalisation(tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    use.export(classifier(), tmp_path / "m.onnx")
    assert capsys.readouterr().out == f"{tmp_path / 'm.onnx'} takes images (N, 4, 4, 3) to logits (N, 4)\n"
    model = onnx.load(tmp_path / "m.onnx")
    assert {p.key: json.loads(p.value) for p in model.metadata_props} == {
        "name": "brightest", "classes": [*CLASSES], "layout": "NHWC", "mean": [0.5] * 3, "std": [0.25] * 3,
        "dataset": "colours",
    }  # fmt: skip
    assert [(i.name, len(i.type.tensor_type.shape.dim)) for i in (*model.graph.input, *model.graph.output)] == [
        ("images", 4), ("logits", 2),
    ]  # fmt: skip

    def hidden(params, state, x, *, train):
        return brightest(params, state, x * (np.asarray(x.detach()) > 0), train=train)

    other = classifier()
    other.apply = hidden
    with pytest.raises(Stop, match=r"c.safetensors: export: multiply .* computed outside of the graph"):
        use.export(other, tmp_path / "other.onnx")


# ---------------------------------------------------------------- compare


def make_run(directory, rows, *, epochs=3, summary=None, **config):
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps({"model": "cnn", "epochs": epochs, "lr": 0.1, **config}))
    numbers = {"val_accuracy": 0.5, "lr": 0.1}
    lines = [json.dumps({"dataset": "x", "epoch": i, "train_loss": 1 / i, **numbers}) for i in range(1, rows + 1)]
    if lines:
        (directory / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    if summary is not None:
        (directory / "summary.json").write_text(json.dumps(summary))
    return directory


def test_compare(tmp_path, capsys, drawn):
    done = {"test_accuracy": 0.75, "test_accuracy_tta": 0.765, "train_seconds": 81.3, "examples_per_second": 1234}
    runs = [
        make_run(tmp_path / "first", 3, summary=done),
        make_run(tmp_path / "killed", 2, lr=0.2, keep="best"),
        make_run(tmp_path / "early", 0, notice="SYNTHETIC"),
        make_run(tmp_path / "short", 1, epochs=0.3),
    ]
    table = use.compare(*runs, picture=tmp_path / "c.png")
    assert capsys.readouterr().out == f"{table}\ncurves in {tmp_path / 'c.png'}\n"
    assert table == """\
                          first     killed      early       short
run                       finished  unfinished  unfinished  unfinished
epochs                    3 of 3    2 of 3      0 of 3      0.3 of 0.3
last train loss           0.333     0.500       -           1.000
last validation accuracy  50.00%    50.00%      -           50.00%
test accuracy             75.00%    -           -           -
with TTA                  76.50%    -           -           -
seconds of training       81        -           -           -
examples a second         1234      -           -           -
epochs                    3         3           3           0.3
lr                        0.1       0.2         0.1         0.1
keep                                best"""
    assert drawn == {tmp_path / "c.png": "4 runs"}


def test_compare_runs_without_an_epoch(tmp_path, capsys, drawn):
    table = use.compare(make_run(tmp_path / "a", 0), picture=tmp_path / "c.png")
    assert capsys.readouterr().out == f"{table}\n" and not drawn


def test_runs_of_one_name_are_told_apart(tmp_path):
    a, b = make_run(tmp_path / "a" / "run", 1), make_run(tmp_path / "b" / "run", 1)
    table = use.compare(a, b, b, picture=tmp_path / "c.png")
    assert table.splitlines()[0].split("  ")[-3:] == [str(a), str(b), f"{b} (2)"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", None, r"/run: there is no run, for want of config\.json$"),
        ("config.json", b"{", r"config\.json: not readable as JSON: "),
        ("config.json", b"\xff", r"config\.json: not readable as JSON: "),
        ("config.json", b"[1]", r"config\.json: expected an object, got \[1\]"),
        ("summary.json", b"3", r"summary\.json: expected an object, got 3"),
        ("metrics.jsonl", b'{"epoch": 1}\n{"epo', r"metrics\.jsonl: line 2 is not readable as JSON"),
        ("metrics.jsonl", b'{"epoch": NaN}', r"metrics\.jsonl: line 1 is not a row of numbers with its epoch"),
        ("metrics.jsonl", b'{"epoch": 0}', r"metrics\.jsonl: line 1 is not a row"),
        ("metrics.jsonl", b"[]", r"metrics\.jsonl: line 1 is not a row"),
    ],
)
def test_compare_of_damaged_files(file, content, message, tmp_path):
    directory = make_run(tmp_path / "run", 1)
    if content is None:
        (directory / file).unlink()
    else:
        (directory / file).write_bytes(content)
    with pytest.raises(Stop, match=message):
        use.compare(directory)


def test_results_that_are_no_numbers_are_shown_as_they_are(tmp_path):
    summary = {"test_accuracy": "\x1b[2J" + "x" * 100, "train_seconds": float("nan")}
    table = use.compare(make_run(tmp_path / "a", 1, summary=summary), picture=tmp_path / "c.png")
    assert re.search(r"^test accuracy +\.\.\.x{37}$", table, re.MULTILINE) and "\x1b" not in table
    assert re.search(r"^seconds of training +nan$", table, re.MULTILINE)
