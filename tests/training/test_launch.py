"""The command line of a run: what it takes, what it returns, and the one line it says about an error."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from minigraph.data import DataError
from minigraph.serialize import CheckpointError, load, save
from minigraph.training import Run, Settings, Stop, launch, setting
from training.problem import Config, content, train


@dataclass(frozen=True, repr=False)
class Preset(Config):
    preset: str = setting("default", "named settings")


PRESETS = {"default": Preset(), "long": Preset(preset="long", epochs=5, lr=0.2)}


def error(capsys, status):
    assert status == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("problem.py: error: ")
    return line


def test_options_make_the_config(tmp_path):
    assert launch(train, Config(), ["--epochs", "2", "--out", str(tmp_path)]) == 0
    config = json.loads((tmp_path / "config.json").read_text())
    assert config == {"epochs": 2, "lr": 0.1, "threads": 1, "dataset": "numbers"}


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], Preset()),
        (["--preset", "long"], Preset(preset="long", epochs=5, lr=0.2)),
        (["--lr", "0.3", "--preset", "long"], Preset(preset="long", epochs=5, lr=0.3)),
    ],
)
def test_presets(argv, expected, tmp_path):
    seen = []
    launch(lambda config, run: seen.append(config), PRESETS, [*argv, "--out", str(tmp_path)])
    assert seen == [expected]


def test_without_out_a_new_directory_under_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert launch(train, Config(), []) == 0
    assert len([*(tmp_path / "runs").iterdir()]) == 1


def test_the_arguments_of_the_process_are_the_default(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "--epochs", "1", "--out", str(tmp_path)])
    assert launch(train, Config()) == 0
    assert len(load(tmp_path / "checkpoint.safetensors")["history"]) == 1


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_gives_its_exit_code_and_says_how_to_go_on(name, status, tmp_path, monkeypatch, capsys):
    note = Run.note

    def signal_and_note(run, examples, **means):
        if run.now.step == 6:
            signal.raise_signal(getattr(signal, name))
        note(run, examples, **means)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "note", signal_and_note)
        assert launch(train, Config(), ["--out", str(tmp_path / "a")]) == status
    assert capsys.readouterr().err == f"interrupted: go on with --resume {tmp_path / 'a'}\n"
    assert launch(train, Config(), ["--resume", str(tmp_path / "a")]) == 0
    assert launch(train, Config(), ["--out", str(tmp_path / "b")]) == 0
    assert content(tmp_path / "a") == content(tmp_path / "b")


PROGRAM = """
import sys
from minigraph.training import launch
from training.problem import Config, train
sys.exit(launch(train, Config()))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals between processes")
@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129), ("SIGKILL", -9)])
def test_a_process_of_its_own_is_ended_at_any_moment_and_resumed_to_the_bit(name, status, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    command = [sys.executable, "-c", PROGRAM, "--epochs", "100000", "--out", str(tmp_path / "a")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        assert process.stdout.readline().startswith("epoch  1/100000")  # a pipe gets its lines as they come
        time.sleep(0.1)
        process.send_signal(getattr(signal, name))
        _, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert err == ("" if name == "SIGKILL" else f"interrupted: go on with --resume {tmp_path / 'a'}\n")
    saved = load(tmp_path / "a" / "checkpoint.safetensors")
    epochs = len(saved["history"]) + 2
    save(tmp_path / "a" / "checkpoint.safetensors", {**saved, "config": {**saved["config"], "epochs": epochs}})
    assert launch(train, Config(), ["--resume", str(tmp_path / "a")]) == 0
    assert launch(train, Config(), ["--epochs", str(epochs), "--out", str(tmp_path / "b")]) == 0
    assert content(tmp_path / "a") == content(tmp_path / "b")


@pytest.mark.parametrize("options", [["--out", "a"], []], ids=["the same --out", "no --out"])
def test_of_processes_that_start_at_once_each_has_a_directory_or_an_error(options, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    command = [sys.executable, "-c", PROGRAM, "--epochs", "30", *options]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes) for _ in range(4)]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    codes = [process.returncode for process in processes]
    directories = [tmp_path / "a"] if options else [*(tmp_path / "runs").iterdir()]
    assert codes.count(0) == len(directories) == (1 if options else 4)
    for code, error in zip(codes, errors, strict=True):
        in_words = "another process is training here" in error or "is not empty" in error
        assert (code, error) == (0, "") or (code == 2 and in_words and error.count("\n") == 1)
    for directory in directories:
        assert len(load(directory / "checkpoint.safetensors")["history"]) == 30
        assert {path.name for path in directory.iterdir()} == {
            "config.json", "metrics.jsonl", "checkpoint.safetensors", "summary.json",
        }  # fmt: skip


def test_ctrl_c_before_there_is_a_checkpoint(tmp_path, capsys):
    def interrupted(config, run):
        signal.raise_signal(signal.SIGINT)

    assert launch(interrupted, Config(), ["--out", str(tmp_path / "a")]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("argv", "refused"),
    [(["--lr", "1"], "--lr"), (["--lr", "1", "--epochs", "9"], "--epochs, --lr"), (["--out", "x"], "--out")],
)
def test_a_resumed_run_keeps_its_settings(argv, refused, tmp_path, capsys):
    launch(train, Config(), ["--out", str(tmp_path)])
    capsys.readouterr()
    line = error(capsys, launch(train, Config(), ["--resume", str(tmp_path), *argv]))
    assert "--resume takes the settings of the run; drop --" in line
    assert set(refused.split(", ")) == set(line.split("drop ")[1].split(", "))


def test_a_resumed_run_may_change_what_may_change(tmp_path):
    seen = []

    def note_and_train(config, run):
        seen.append(config)
        train(config, run)

    launch(note_and_train, Config(), ["--lr", "0.3", "--out", str(tmp_path)])
    launch(note_and_train, Config(), ["--resume", str(tmp_path), "--threads", "2"])
    assert seen[1] == replace(seen[0], threads=2) == Config(lr=0.3, threads=2)


def test_a_checkpoint_has_every_setting(tmp_path, capsys):
    launch(train, Config(), ["--out", str(tmp_path)])
    capsys.readouterr()
    path = tmp_path / "checkpoint.safetensors"
    saved = load(path)
    del saved["config"]["lr"]
    save(path, saved)
    line = error(capsys, launch(train, Config(), ["--resume", str(tmp_path)]))
    assert f"{path} is no checkpoint of this version: settings that are missing: ['lr']" in line


@pytest.mark.parametrize("config", [{"lr": 0.0}, {"epochs": 2.0}, {"depth": 3}, {"lr": "x"}, {"lr": None}], ids=str)
def test_settings_in_a_checkpoint_are_checked(config, tmp_path, capsys):
    launch(train, Config(), ["--out", str(tmp_path)])
    capsys.readouterr()
    path = tmp_path / "checkpoint.safetensors"
    saved = load(path)
    save(path, {**saved, "config": {**saved["config"], **config}})
    line = error(capsys, launch(train, Config(), ["--resume", str(tmp_path)]))
    assert f"{path} is no checkpoint of this version: " in line


@pytest.mark.parametrize("kind", [Stop, DataError, OSError])
def test_an_error_that_is_the_users_to_mend_is_one_line(kind, tmp_path, capsys):
    def fail(config, run):
        raise kind("what\nis wrong")

    assert launch(fail, Config(), ["--out", str(tmp_path / "a")]) == 2
    assert capsys.readouterr().err == "test_launch.py: error: what is wrong\n"
    assert not (tmp_path / "a").exists()


def test_out_that_cannot_be_a_directory(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    line = error(capsys, launch(train, Config(), ["--out", str(tmp_path / "file")]))
    assert line.endswith("/file is a file, expected a directory for the results")
    below = tmp_path / "file" / "below"
    assert error(capsys, launch(train, Config(), ["--out", str(below)])).endswith(f"error: {below}: Not a directory")


def test_an_error_of_the_program_is_a_traceback(tmp_path):
    def fail(config, run):
        raise ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        launch(fail, Config(), ["--out", str(tmp_path)])


def test_a_wrong_option_makes_no_directory(tmp_path, capsys):
    assert "--lr is 0.0" in error(capsys, launch(train, Config(), ["--lr", "0", "--out", str(tmp_path / "a")]))
    assert not (tmp_path / "a").exists()


def test_help(capsys):
    with pytest.raises(SystemExit) as end:
        launch(train, PRESETS, ["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert end.value.code == 0
    assert "usage: problem.py" in text and "Fit a few numbers." in text and "--preset {default,long}" in text
    assert "--resume DIR go on with the run in DIR, under its own settings; only --threads may be given anew" in text


def test_a_terminal_that_is_gone_is_no_error(tmp_path, monkeypatch):
    def gone(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("builtins.print", gone)
    assert launch(train, Config(), ["--lr", "0"]) == 2


def test_settings_without_any_that_may_change(tmp_path, capsys):
    @dataclass(frozen=True, repr=False)
    class Plain(Settings):
        lr: float = 0.1

    with pytest.raises(SystemExit):
        launch(train, Plain(), ["--help"])
    assert "under its own settings\n" in capsys.readouterr().out


# ---------------------------------------------------------------- commands

CALLS = []


def evaluate(config, run):
    """Measure 100% of a run.

    And more.
    """
    CALLS.append((config, run))


def predict(config, run, image, *images):
    """Classes of pictures."""
    CALLS.append((config, run, image, *images))


def compare_all(config, *runs):
    """Runs beside each other."""
    CALLS.append((config, *runs))


COMMANDS = (evaluate, predict, compare_all)


@pytest.mark.parametrize(
    ("argv", "texts"),
    [
        (["--evaluate", "a"], ("a",)),
        (["--predict", "a", "b"], ("a", "b")),
        (["--predict", "a", "b", "c", "d"], ("a", "b", "c", "d")),
        (["--compare-all", "a"], ("a",)),
        (["--compare-all", "a", "b"], ("a", "b")),
    ],
    ids=" ".join,
)
def test_a_command_is_called_with_its_texts_and_no_run_is_made(argv, texts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    CALLS.clear()
    assert launch(train, PRESETS, [*argv, "--threads", "3"], COMMANDS) == 0
    (call,) = CALLS
    assert call == (Preset(threads=3), *texts)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--predict", "a"], "--predict takes RUN IMAGE [IMAGE ...], got 1: a"),
        (["--predict"], "argument --predict: expected at least one argument"),
        (["--evaluate"], "argument --evaluate: expected 1 argument"),
        (["--evaluate", "a", "b"], "unrecognized arguments: b"),
        (["--evaluate", "a", "--lr", "1", "--threads", "2"], "--evaluate trains nothing; drop --lr"),
        (["--evaluate", "a", "--preset", "long"], "--evaluate trains nothing; drop --preset"),
        (["--evaluate", "a", "--out", "b", "--resume", "c"], "--evaluate trains nothing; drop --out, --resume"),
        (["--compare-all", "a", "--evaluate", "b"], "--evaluate trains nothing; drop --compare-all"),
        (["--evaluate", "a", "--threads", "0"], "--threads is 0, expected a whole number of at least 1"),
    ],
    ids=" ".join,
)
def test_a_command_with_other_texts_or_options(argv, message, capsys):
    CALLS.clear()
    assert error(capsys, launch(train, PRESETS, argv, COMMANDS)).endswith(f"error: {message}")
    assert not CALLS


@pytest.mark.parametrize("kind", [Stop, DataError, OSError, CheckpointError])
def test_an_error_of_a_command_is_one_line(kind, capsys):
    def fail(config, run):
        raise kind("what\nis wrong")

    assert error(capsys, launch(train, Config(), ["--fail", "a"], [fail])) == "problem.py: error: what is wrong"


def test_help_of_commands(capsys):
    with pytest.raises(SystemExit):
        launch(train, Config(), ["--help"], COMMANDS)
    text = " ".join(capsys.readouterr().out.split())
    assert "--evaluate RUN Measure 100% of a run. --predict RUN IMAGE [IMAGE ...] Classes of pictures." in text
    assert "--compare-all RUN [RUN ...] Runs beside each other." in text
