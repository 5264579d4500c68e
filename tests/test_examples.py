import subprocess
import sys
from pathlib import Path

import pytest

from minigraph import examples

ROOT = Path(__file__).parent.parent


def test_the_copies_are_the_files_and_run_by_themselves(tmp_path, capsys):
    assert examples.main([str(tmp_path / "mine")]) == 0
    assert f"cd {tmp_path / 'mine'} && python train_cifar.py" in capsys.readouterr().out
    copied = sorted(p.relative_to(tmp_path / "mine") for p in (tmp_path / "mine").rglob("*.*"))
    programs = ROOT / "train_cifar.py", ROOT / "train_text.py"
    there = [*programs, *(p for p in (ROOT / "models").iterdir() if p.suffix in (".py", ".toml"))]
    assert copied == sorted(p.relative_to(ROOT) for p in there)
    assert all((tmp_path / "mine" / name).read_bytes() == (ROOT / name).read_bytes() for name in copied)
    code = "import models; print(models.__file__, 'airnet' in models.names())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path / "mine")
    assert run.stdout == f"{tmp_path / 'mine' / 'models' / '__init__.py'} True\n", run.stderr


def test_a_file_that_is_there_is_not_written_over(tmp_path, capsys):
    (tmp_path / "models").mkdir()
    mine = tmp_path / "models" / "cnn.py"
    mine.write_text("mine")
    assert examples.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"minigraph.examples: error: {mine} is there already; copy into another directory\n"
    )
    assert mine.read_text() == "mine" and list(tmp_path.iterdir()) == [tmp_path / "models"]


def test_an_installation_lays_them_in_share(tmp_path, monkeypatch):
    package = tmp_path / "lib" / "minigraph" / "examples.py"
    laid = tmp_path / "share" / "minigraph" / "train_cifar.py"
    laid.parent.mkdir(parents=True)
    laid.write_text("")

    class File(type(laid)):
        def locate(self):
            return laid

    monkeypatch.setattr(examples, "__file__", str(package))
    monkeypatch.setattr(examples.metadata, "files", lambda name: [File("../share/minigraph/train_cifar.py")])
    assert examples.source() == laid.parent
    monkeypatch.setattr(examples.metadata, "files", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"no train_cifar\.py"):
        examples.source()
