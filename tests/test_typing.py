"""What an editor sees: a user's program passes both type checkers, and every planted mistake is reported by both."""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent
PROGRAM, MISTAKES = HERE / "typing" / "program.py", HERE / "typing" / "mistakes.py"
MARKED = {n for n, line in enumerate(MISTAKES.read_text().splitlines(), 1) if line.endswith("# mistake")}


def mypy(path, folder):
    """The lines at which `mypy --strict` finds an error."""
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder), "--config-file", os.devnull]
    run = subprocess.run(
        [*command, str(path)], cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert run.returncode in (0, 1), run.stdout + run.stderr
    found = re.findall(r"^(.*?):(\d+): error: (.*)$", run.stdout, re.MULTILINE)
    assert all(Path(name).name == path.name for name, _, _ in found), run.stdout
    return {int(line): message for _, line, message in found}


def pyright(path, folder):
    """The lines at which `pyright` finds an error."""
    (folder / path.name).write_text(path.read_text())
    (folder / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT)]}))
    run = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert run.returncode in (0, 1), run.stdout + run.stderr
    found = json.loads(run.stdout[run.stdout.index("{") :])["generalDiagnostics"]
    return {d["range"]["start"]["line"] + 1: d["message"] for d in found if d["severity"] == "error"}


@pytest.fixture(params=[mypy, pyright], ids=lambda f: f.__name__)
def checker(request):
    pytest.importorskip(request.param.__name__, reason="comes with the extra dev")
    return request.param


@pytest.mark.slow
def test_a_users_program_passes(checker, tmp_path):
    assert checker(PROGRAM, tmp_path) == {}


@pytest.mark.slow
def test_every_mistake_is_reported_and_nothing_else(checker, tmp_path):
    found = checker(MISTAKES, tmp_path)
    assert found.keys() == MARKED, {n: found.get(n, "not reported") for n in found.keys() ^ MARKED}


def test_the_program_runs(capsys):
    runpy.run_path(str(PROGRAM), run_name="__main__")
    assert "accuracy" in capsys.readouterr().out
