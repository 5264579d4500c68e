"""The text training script: its results, its resumption to the bit, and what it says to bad input."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

import train_text
from minigraph import training, tree
from minigraph.data import almanac
from minigraph.serialize import load

PNG = b"\x89PNG\r\n\x1a\n"
RESULTS = {"config.json", "metrics.jsonl", "summary.json", "curves.png", "checkpoint.safetensors"}
TINY = [
    "--epochs", "2", "--batch-size", "8", "--length", "16", "--width", "8", "--heads", "2", "--blocks", "1",
    "--sample", "20", "--microbatch", "3",
]  # fmt: skip


@pytest.fixture(autouse=True)
def quick_figures(monkeypatch):
    """Figures are built but not rendered; returns them by the name of their file."""
    found = {}

    def save(path, fig):
        path.write_bytes(PNG)
        found[path.name] = fig

    monkeypatch.setattr(training.plots, "save_figure", save)
    return found


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(almanac.write(1000))
    return path


def weights(out):
    saved = load(out / "checkpoint.safetensors")
    return [leaf.tobytes() for leaf in tree.leaves((saved["params"], saved["optimizer"]))]


def test_results(text, tmp_path, capsys, quick_figures):
    out = tmp_path / "out"
    assert train_text.main([*TINY, "--text", str(text), "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == RESULTS
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [7, 14] and rows[1]["val_loss"] < rows[0]["val_loss"] < 4
    assert rows[0]["examples_per_second"] == pytest.approx(56 / rows[0]["seconds"])
    summary = json.loads((out / "summary.json").read_text())
    losses = summary["val_losses"]
    assert [*losses] == ["bigram", "5-gram", "transformer"] and losses["transformer"] == rows[1]["val_loss"]
    assert summary["dataset"] == "text.txt" and len(summary["sample"]) == 4 + 20
    (axes, _) = quick_figures["curves.png"].axes
    assert [line.get_label() for line in axes.lines][2:] == ["bigram", "5-gram"]
    assert [line.get_ydata()[0] for line in axes.lines][2:] == [losses["bigram"], losses["5-gram"]]
    captured = capsys.readouterr()
    assert captured.err == "" and summary["sample"] in captured.out
    assert "bigram {bigram:.3f}, 5-gram {5-gram:.3f}, transformer {transformer:.3f}".format(**losses) in captured.out

    options = ["--go-on", str(out), "Tomorrow", "--sample", "9"]
    assert train_text.main(options) == 0
    written = capsys.readouterr().out
    assert written.startswith("Tomorrow") and len(written.rstrip("\n")) <= 17 < 20
    for wrong, message in (("§", "'§', at place 0 of the text, is not in the alphabet"), ("", "and ''")):
        assert train_text.main(["--go-on", str(out), wrong]) == 2
        assert message in capsys.readouterr().err


def test_the_validation_loss_is_that_of_the_saved_parameters(text, tmp_path):
    assert train_text.main([*TINY, "--text", str(text), "--out", str(tmp_path / "out"), "--threads", "1"]) == 0
    saved = load(tmp_path / "out" / "checkpoint.safetensors")
    codes = train_text.data.encode(text.read_text(), saved["model"]["alphabet"])[900:]
    losses = []
    for i in range(6):  # whole windows of 16 in 100 characters
        part = codes[16 * i : 16 * i + 17]
        logits = np.asarray(train_text.transformer.apply(saved["params"], part[None, :-1]))[0].astype(float)
        losses += [*(np.log(np.exp(logits).sum(1)) - logits[np.arange(16), part[1:]])]
    assert saved["history"][-1]["val_loss"] == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("step", [1, 10])
def test_a_run_that_was_stopped_ends_in_the_same_bits(step, text, tmp_path, monkeypatch, capsys):
    options = [*TINY, "--text", str(text)]
    assert train_text.main([*options, "--out", str(tmp_path / "whole")]) == 0
    note = training.Run.note

    def stop_and_note(run, examples, **means):
        if run.now.step == step:
            signal.raise_signal(signal.SIGINT)
        note(run, examples, **means)

    with monkeypatch.context() as patch:
        patch.setattr(training.Run, "note", stop_and_note)
        assert train_text.main([*options, "--out", str(tmp_path / "parts")]) == 130
    assert weights(tmp_path / "parts") != weights(tmp_path / "whole")
    assert train_text.main(["--resume", str(tmp_path / "parts"), "--threads", "1"]) == 0
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    samples = [json.loads((tmp_path / name / "summary.json").read_text())["sample"] for name in ("parts", "whole")]
    assert samples[0] == samples[1]


@pytest.mark.parametrize(("content", "options", "message"), [
    (None, [], "text.txt: no such file"),
    (b"ab\xff" * 400, [], "text.txt: not a text in UTF-8: byte 0xff at place 2"),
    (b"abc" * 100, [], "text.txt: 300 characters are too few for windows of --length 16"),
    (b"abc" * 1000, ["--heads", "3"], "--width is 8, expected a multiple of --heads, 3"),
    (b"abc" * 1000, ["--temperature", "0"], "--temperature is 0.0, expected a finite number above 0"),
])  # fmt: skip
def test_errors_are_one_line(content, options, message, text, tmp_path, capsys):
    text.unlink() if content is None else text.write_bytes(content)
    assert train_text.main([*TINY, "--text", str(text), *options, "--out", str(tmp_path / "out")]) == 2
    line = capsys.readouterr().err
    assert message in line and line.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_run_does_not_go_on_with_another_text(text, tmp_path, capsys):
    assert train_text.main([*TINY, "--text", str(text), "--out", str(tmp_path / "out")]) == 0
    text.write_text(text.read_text()[::-1])
    capsys.readouterr()
    assert train_text.main(["--resume", str(tmp_path / "out")]) == 2
    assert "of another model: text was " in capsys.readouterr().err


def test_the_graph_is_drawn(text, tmp_path):
    options = ["--text", str(text), "--blocks", "2", "--epochs", "0.1", "--draw", "--out", str(tmp_path / "out")]
    assert train_text.main([*TINY, *options]) == 0
    source = (tmp_path / "out" / "graph.dot").read_text()
    assert "attention" in source and "mlp" in source and "block \N{MULTIPLICATION SIGN} 2" in source
    assert "attention" in (tmp_path / "out" / "graph.html").read_text() or not shutil.which("dot")


def test_it_has_150_lines_at_most():
    assert len(Path(train_text.__file__).read_text().splitlines()) <= 150
