"""The script of docs/your-own-model.md, as its reader would run it."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minigraph import tree
from minigraph.serialize import load
from minigraph.training import Run, launch

PAGE = Path(__file__).parent.parent / "docs" / "your-own-model.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
SCRIPT = next(block for block in BLOCKS if "__main__" in block)
OPTIONS = ["--images", "photos", "--size", "16", "--epochs", "2", "--batch-size", "4"]


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The script's names; the working directory holds it and a folder of images of several kinds."""
    rng = np.random.default_rng(0)
    for i in range(24):
        name, mode = ("dark", "light")[i % 2], ("RGB", "L", "RGBA", "P")[i % 4]
        path = tmp_path / "photos" / name / (f"{i}.jpg" if mode in "RGB L" else f"{i}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = rng.integers(10, 40, 2)
        pixels = rng.integers(0, 100, (height, width, 3)) + 155 * (name == "light")
        Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(path)
    (tmp_path / "train.py").write_text(SCRIPT)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "train"}
    exec(compile(SCRIPT, str(tmp_path / "train.py"), "exec"), names)
    return names


def weights(directory):
    saved = load(Path(directory) / "checkpoint.safetensors")
    return [leaf.tobytes() for leaf in tree.leaves((saved["params"], saved["optimizer"]))]


def test_it_has_60_lines_at_most():
    assert len(SCRIPT.splitlines()) <= 60


def test_it_runs_as_a_program(script, tmp_path):
    run = subprocess.run([sys.executable, "train.py", *OPTIONS, "--out", "a"], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    assert [line.split("   ")[0] for line in run.stdout.splitlines()] == ["epoch  1/2", "epoch  2/2"]
    out = tmp_path / "a"
    results = {"config.json", "metrics.jsonl", "checkpoint.safetensors", "curves.png"}
    assert {path.name for path in out.iterdir()} == results
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    config = json.loads((out / "config.json").read_text())
    assert config["size"] == 16 and config["classes"] == ["dark", "light"]


def test_it_is_interrupted_and_resumed_to_the_bit(script, monkeypatch, capsys):
    def run(*options):
        return launch(script["train"], script["Config"](), [*options])

    assert run(*OPTIONS, "--out", "whole") == 0
    note = Run.note

    def signal_and_note(run, examples, **means):
        if run.now.step == 7:
            signal.raise_signal(signal.SIGTERM)
        note(run, examples, **means)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "note", signal_and_note)
        assert run(*OPTIONS, "--out", "parts") == 143
    assert "go on with --resume parts" in capsys.readouterr().err
    assert weights("parts") != weights("whole")
    assert run("--resume", "parts") == 0
    assert weights("parts") == weights("whole")


def test_it_learns(script):
    assert launch(script["train"], script["Config"](), [*OPTIONS, "--epochs", "8", "--out", "a"]) == 0
    assert load("a/checkpoint.safetensors")["history"][-1]["val_accuracy"] == 1


def test_its_errors_are_one_line(script, capsys):
    Path("photos/dark/broken.png").write_text("")
    assert launch(script["train"], script["Config"](), OPTIONS) == 2
    line = capsys.readouterr().err
    assert line.startswith("train.py: error: photos/dark/broken.png: not a readable image: ") and line.count("\n") == 1
