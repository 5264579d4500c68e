"""A run: its directory, its files, its end before time, and what it says to a loop that does not keep its rules."""

import json
import os
import signal
import time
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import tqdm

from minigraph.serialize import CheckpointError, save
from minigraph.training import Checkpoint, Interrupted, Run, Stop, setting
from minigraph.training.run import describe
from training.problem import STEPS, Config, content, loader, train


@dataclass(frozen=True, repr=False)
class InPart(Config):
    epochs: float = setting(3, above=0)


RESULTS = {"config.json", "metrics.jsonl", "checkpoint.safetensors", "summary.json"}
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def names(directory):
    return {path.name for path in directory.iterdir()}


@pytest.fixture
def whole(tmp_path):
    """A run that was never stopped."""
    with Run(tmp_path / "whole") as run:
        train(Config(), run)
    return tmp_path / "whole"


def signal_at(monkeypatch, step, number=signal.SIGINT):
    """The signal comes in the middle of a step, counted from 1."""
    note = Run.note

    def signal_and_note(run, examples, **means):
        if run.now.step == step:
            signal.raise_signal(number)
        note(run, examples, **means)

    monkeypatch.setattr(Run, "note", signal_and_note)


# ---------------------------------------------------------------- what a run leaves


def test_results(whole, capsys):
    assert names(whole) == RESULTS
    assert json.loads((whole / "config.json").read_text()) == {
        "epochs": 3, "lr": 0.1, "threads": 1, "dataset": "numbers",
    }  # fmt: skip
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, STEPS), (2, 2 * STEPS), (3, 3 * STEPS)]
    assert all(row["dataset"] == "numbers" for row in rows)
    assert all(row["val_loss"] == 0.5 and row["val_accuracy"] is None for row in rows)
    assert all(row["examples_per_second"] == pytest.approx(14 / row["seconds"]) for row in rows)


def test_a_mean_weighs_each_image_alike(tmp_path):
    with Run(tmp_path) as run:
        now = run.start(Config(), {"w": np.zeros(1)}, {}, {"step": np.array(0)})
        for batches in run.epochs(loader(), 1):
            for _, y in batches:
                now.optimizer = {"step": now.optimizer["step"] + 1}
                run.note(len(y), loss=now.step)
            run.end_epoch()
    assert now.history[0]["train_loss"] == (4 * 1 + 4 * 2 + 4 * 3 + 2 * 4) / 14
    assert "train_accuracy" not in now.history[0]


def test_each_epoch_is_a_line_that_is_flushed(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr("builtins.print", lambda line, flush=False: lines.append((line, flush)))
    with Run(tmp_path) as run:
        train(Config(), run)
    assert [line.split("  ")[0:2] for line, _ in lines] == [["epoch", f"{i}/3"] for i in (1, 2, 3)]
    assert all(flush for _, flush in lines)


def test_describe():
    row = {"epoch": 3, "step": 9, "train_loss": 1.23456, "train_accuracy": 0.5, "val_loss": 2.0, "val_accuracy": None,
           "lr": 0.05, "seconds": 1.0, "examples_per_second": 1234.5}  # fmt: skip
    expected = "epoch  3/10   train loss 1.235 accuracy 50.0%   val loss 2.000   lr 0.050   1234 examples/s"
    assert describe(row, 10) == expected


def test_the_bar_is_for_a_person_who_watches(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tqdm.tqdm", partial(tqdm.tqdm, mininterval=0, ncols=100))
    with Run(tmp_path / "a") as run:
        train(Config(epochs=1), run)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Run(tmp_path / "b") as run:
        train(Config(epochs=1), run)
    bar = capsys.readouterr().err
    states = bar.split("\r")
    assert any(s.startswith("epoch 1/1") and "12/14" in s and "loss=" in s and "accuracy=" in s for s in states)
    assert bar.endswith("\r") and not states[-2].strip()  # it goes when the epoch ends


def test_the_bar_of_a_resumed_epoch_begins_where_it_stopped(tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        signal_at(patch, 2)
        with pytest.raises(Interrupted), Run(tmp_path) as run:
            train(Config(epochs=1), run)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    capsys.readouterr()
    with Run(tmp_path, resume=True) as run:
        train(Config(epochs=1), run)
    assert "8/14" in capsys.readouterr().err.split("\r")[1]


def test_a_bar_goes_before_what_is_said_about_an_interruption(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    signal_at(monkeypatch, 2)
    with pytest.raises(Interrupted), Run(tmp_path) as run:
        train(Config(epochs=1), run)
    assert capsys.readouterr().err.endswith(" \r")


def test_the_bar_is_over_the_whole_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tqdm.tqdm", partial(tqdm.tqdm, mininterval=0, ncols=100))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Run(tmp_path) as run:
        train(InPart(epochs=2.5), run)
    out, bar = capsys.readouterr()
    states = bar.split("\r")
    assert any("epoch 3/3" in s and "36/36" in s for s in states)  # 14 and 14 images, then two steps of 4
    assert len(out.splitlines()) == 3 and all(line.startswith("epoch  ") for line in out.splitlines())


# ---------------------------------------------------------------- epochs in part, and the best of them


@pytest.mark.parametrize(("epochs", "steps", "rows"), [(0.1, 1, 1), (0.5, 2, 1), (1, 4, 1), (1.25, 5, 2), (2.3, 10, 3)])
def test_a_run_may_end_within_an_epoch(epochs, steps, rows, tmp_path, monkeypatch):
    with Run(tmp_path / "whole") as run:
        now = train(InPart(epochs=epochs), run)
    assert (now.step, len(now.history)) == (steps, rows)
    for stop in range(1, steps + 1):
        with monkeypatch.context() as patch:
            signal_at(patch, stop)
            with pytest.raises(Interrupted), Run(tmp_path / str(stop)) as run:
                train(InPart(epochs=epochs), run)
        with Run(tmp_path / str(stop), resume=True) as run:
            train(InPart(epochs=epochs), run)
        assert content(tmp_path / "whole") == content(tmp_path / str(stop))


def test_a_loader_that_drops_its_last_batch(tmp_path):
    images = loader(drop_last=True)
    with Run(tmp_path) as run:
        now = train(Config(epochs=2), run, images)
    assert now.step == 6 and now.history[0]["step"] == 3


def test_the_best_epoch_is_kept_beside_the_last(tmp_path):
    accuracies = [0.5, 0.75, 0.75, 0.25]
    with Run(tmp_path) as run:
        now = run.start(Config(), {"w": np.zeros(1)}, {}, {"step": np.array(0)})
        for batches, accuracy in zip(run.epochs(loader(), 4), accuracies, strict=True):
            for _, y in batches:
                now.optimizer = {"step": now.optimizer["step"] + 1}
                run.note(len(y))
            run.end_epoch(val_accuracy=accuracy, keep_best="val_accuracy")
    assert len(Checkpoint.load(tmp_path / "best.safetensors").history) == 2
    assert len(Checkpoint.load(tmp_path / "checkpoint.safetensors").history) == 4


def test_reprs(tmp_path):
    run = Run(tmp_path / "a")
    assert repr(run) == f"Run({str(tmp_path / 'a')!r}, not started)"
    with run:
        train(Config(), run)
    assert repr(run) == f"Run({str(tmp_path / 'a')!r}, Checkpoint(step 12, 3 epochs finished, 24 parameters))"


# ---------------------------------------------------------------- the directory


def test_runs_of_the_same_second_get_directories_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda _: "now")
    with Run() as a, Run() as b, Run() as c:
        assert [run.directory.name for run in (a, b, c)] == ["now", "now-2", "now-3"]
        for run in (a, b, c):
            train(Config(), run)
    assert {path.name: names(path) for path in (tmp_path / "runs").iterdir()} == dict.fromkeys(
        ("now", "now-2", "now-3"), RESULTS
    )


@pytest.mark.parametrize("resume", [False, True])
def test_a_directory_has_one_run_at_a_time(resume, tmp_path):
    with Run(tmp_path) as run:
        train(Config(), run)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(Stop, match=f"{tmp_path}: another process is training here"), Run(tmp_path, resume=resume):
            pass
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    with Run(tmp_path, resume=True) as run:  # free again
        train(Config(), run)


def test_a_directory_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(Stop, match=f"{tmp_path} is not empty and nothing in it is overwritten"), Run(tmp_path):
        pass
    assert names(tmp_path) == {"notes.txt"}


def test_a_config_json_that_no_run_left_is_left_alone(tmp_path):
    (tmp_path / "config.json").write_text("mine")
    with pytest.raises(Stop, match="is not empty"), Run(tmp_path):
        pass
    assert (tmp_path / "config.json").read_text() == "mine"


def dead(directory, *files):
    """What a run leaves that is killed."""
    directory.mkdir(exist_ok=True)
    for name in (".lock", ".checkpoint.safetensors.0123abcd.tmp", *files):
        (directory / name).write_text("half")


@pytest.mark.parametrize("files", [(), ("config.json",)])
def test_the_directory_of_a_run_that_died_before_its_first_checkpoint_is_used_again(files, tmp_path, whole):
    dead(tmp_path / "a", *files)
    with Run(tmp_path / "a") as run:
        train(Config(), run)
    assert names(tmp_path / "a") == RESULTS
    assert content(tmp_path / "a") == content(whole)


def test_a_dead_run_that_cannot_be_resumed_says_so(tmp_path):
    dead(tmp_path, "config.json")
    anew = f"there is no such checkpoint; to start anew there, give --out {tmp_path}"
    with pytest.raises(CheckpointError, match=anew), Run(tmp_path, resume=True):
        pass
    with pytest.raises(CheckpointError, match=r"there is no such checkpoint$"), Run(tmp_path / "none", resume=True):
        pass


def test_temporary_files_of_a_dead_run_go_when_it_is_resumed(whole):
    dead(whole)
    (whole / "mine.tmp").write_text("mine")
    with Run(whole, resume=True) as run:
        train(Config(), run)
    assert names(whole) == RESULTS | {"mine.tmp"}


def test_an_error_before_the_first_checkpoint_leaves_nothing(tmp_path, monkeypatch):
    def full(self):
        raise CheckpointError("full")

    (tmp_path / "mine").mkdir()
    monkeypatch.setattr(Run, "save", full)
    for directory in (tmp_path / "mine", tmp_path / "new"):
        with pytest.raises(CheckpointError, match="full"), Run(directory) as run:
            train(Config(), run)
    assert names(tmp_path) == {"mine"} and names(tmp_path / "mine") == set()


# ---------------------------------------------------------------- stopped and resumed


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("step", [1, STEPS, STEPS + 2, 3 * STEPS])
def test_a_signal_ends_a_run_after_its_step_and_it_is_resumed_to_the_bit(number, step, tmp_path, whole, monkeypatch):
    with monkeypatch.context() as patch:
        signal_at(patch, step, number)
        with pytest.raises(Interrupted) as caught, Run(tmp_path / "parts") as run:
            train(Config(), run)
    assert caught.value.number == number and run.resumable
    with Run(tmp_path / "parts", resume=True) as run:
        assert run.saved.step == step
        train(Config(), run)
    assert content(tmp_path / "parts") == content(whole)
    assert names(tmp_path / "parts") == RESULTS


def test_a_signal_during_the_validation_ends_the_run_after_the_epoch(tmp_path, whole, monkeypatch):
    end_epoch = Run.end_epoch

    def signal_and_end(run, **more):
        signal.raise_signal(signal.SIGTERM)
        end_epoch(run, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "end_epoch", signal_and_end)
        with pytest.raises(Interrupted), Run(tmp_path / "parts") as run:
            train(Config(), run)
    assert len(run.now.history) == 1
    with Run(tmp_path / "parts", resume=True) as run:
        train(Config(), run)
    assert content(tmp_path / "parts") == content(whole)


@pytest.mark.parametrize("when", ["before the loop", "after the loop"])
def test_outside_of_the_loop_a_signal_acts_at_once(when, tmp_path, monkeypatch):
    place = "start" if when == "before the loop" else "write"

    def signal_first(run, *_, **__):
        if place == "start" or _[0] == "summary.json":
            signal.raise_signal(signal.SIGINT)
            pytest.fail("went on")

    monkeypatch.setattr(Run, place, signal_first)
    with pytest.raises(Interrupted), Run(tmp_path / "a") as run:
        train(Config(), run)
    assert run.resumable == (place == "write")


def test_a_loop_that_is_left_early_defers_no_more_signals(tmp_path):
    with pytest.raises(Interrupted), Run(tmp_path) as run:
        run.start(Config(), {"w": np.zeros(1)}, {}, {"step": np.array(0)})
        for _ in run.epochs(loader(), 3):
            break
        signal.raise_signal(signal.SIGINT)
        pytest.fail("went on")


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("leave", ["goes on", "break", "return"])
def test_a_signal_that_comes_after_the_end_of_the_last_epoch_is_not_lost(leave, number, tmp_path):
    def train_one_epoch(run):
        now = run.start(Config(), {"w": np.zeros(1)}, {}, {"step": np.array(0)})
        for batches in run.epochs(loader(), 1):
            for _, y in batches:
                now.optimizer = {"step": now.optimizer["step"] + 1}
                run.note(len(y))
            run.end_epoch()
            signal.raise_signal(number)
            if leave == "break":
                break
            if leave == "return":
                return
        ended.append(leave)

    ended = []
    with pytest.raises(Interrupted) as caught, Run(tmp_path) as run:
        train_one_epoch(run)
    assert caught.value.number == number and run.resumable
    assert ended == (["break"] if leave == "break" else [])


def test_an_error_is_not_hidden_by_a_signal_that_waits(tmp_path):
    with pytest.raises(ZeroDivisionError), Run(tmp_path) as run:
        run.start(Config(), {"w": np.zeros(1)}, {}, {"step": np.array(0)})
        for _ in run.epochs(loader(), 1):
            signal.raise_signal(signal.SIGINT)
            raise ZeroDivisionError


def test_a_checkpoint_of_another_model(whole):
    before = content(whole)
    with pytest.raises(CheckpointError, match="of another model: params at w"), Run(whole, resume=True) as run:
        run.start(Config(), {"w": np.zeros(3)}, {}, {"step": np.array(0)})
    assert content(whole) == before


@pytest.mark.parametrize("images", [loader(15), loader(14, 5), loader(4)], ids=["length", "batch", "shorter"])
def test_a_checkpoint_that_does_not_fit_the_loader(images, tmp_path, monkeypatch):
    signal_at(monkeypatch, STEPS + 4)  # in the second epoch's last step
    with pytest.raises(Interrupted), Run(tmp_path) as run:
        train(Config(), run)
    wrong = "step 8, 14 examples into the epoch, does not follow"
    with pytest.raises(CheckpointError, match=wrong), Run(tmp_path, resume=True) as run:
        train(Config(), run, images)


def test_a_damaged_checkpoint_frees_the_directory(whole):
    save(whole / "checkpoint.safetensors", [1])
    with pytest.raises(CheckpointError, match="no checkpoint of this version"), Run(whole, resume=True):
        pass
    assert names(whole) == RESULTS


# ---------------------------------------------------------------- divergence, and a loop with a mistake


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": np.nan}, "the loss is nan at step 2; try a smaller --lr than 0.1"),
        ({"accuracy": np.inf}, "the accuracy is inf at step 2"),
        ({"params": np.nan}, "the parameters are not finite at step 2"),
        ({"state": np.inf}, "the parameters are not finite at step 2"),
        ({"val_loss": np.nan}, "the val loss is nan at step 4"),
    ],
    ids=["loss", "accuracy", "params", "state", "val_loss"],
)
def test_a_run_that_diverges_keeps_its_last_good_checkpoint(change, message, tmp_path):
    with pytest.raises(Stop, match=rf"training diverged: {message}.*kept in {tmp_path}\)"), Run(tmp_path) as run:
        now = run.start(Config(), {"w": np.zeros(1)}, {"s": np.zeros(1)}, {"step": np.array(0)})
        for batches in run.epochs(loader(), 1):
            for _, y in batches:
                now.optimizer = {"step": now.optimizer["step"] + 1}
                if now.step == 2:
                    now.params = {"w": np.full(1, change.get("params", 0.0))}
                    now.state = {"s": np.full(1, change.get("state", 0.0))}
                at = change if now.step == 2 else {}
                run.note(len(y), loss=at.get("loss", 1.0), accuracy=at.get("accuracy", 1.0))
            run.end_epoch(val_loss=change.get("val_loss", 1.0))
    with Run(tmp_path, resume=True) as run:
        assert run.saved.step == 0


def test_a_loop_that_forgets_something_is_told(tmp_path):
    def begin(name):
        run.start(Config(), {"w": np.zeros(1)}, {}, {"step": np.array(0)})

    with Run(tmp_path / "a") as run, pytest.raises(RuntimeError, match="start has to be called first"):
        run.note(1, loss=0)
    with Run(tmp_path / "b") as run, pytest.raises(RuntimeError, match=r"4 examples should end.*note\(4, "):
        begin("b")
        for batches in run.epochs(loader(), 1):
            for _ in batches:
                pass
    with Run(tmp_path / "c") as run, pytest.raises(RuntimeError, match="end_epoch was not called once"):
        begin("c")
        for batches in run.epochs(loader(), 1):
            for _, y in batches:
                run.now.optimizer = {"step": run.now.optimizer["step"] + 1}
                run.note(len(y))


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Stop, match="file is a file, expected a directory"), Run(tmp_path / "file"):
        pass
    with pytest.raises(OSError, match="file"), Run(tmp_path / "file" / "a"):
        pass
    assert os.listdir(tmp_path) == ["file"]


def one_epoch(run, **facts):
    now = run.start(Config(), {"w": np.zeros(1)}, {}, {"step": np.array(0)}, **facts)
    for batches in run.epochs(loader(), 1):
        for _, y in batches:
            now.optimizer = {"step": now.optimizer["step"] + 1}
            run.note(len(y), loss=1.0)
        run.end_epoch()
        yield


def test_a_signal_after_the_last_epoch_is_not_lost(tmp_path):
    """The user may still do something inside the loop, such as saving samples."""
    with pytest.raises(Interrupted), Run(tmp_path / "r") as run:
        for _ in one_epoch(run):
            signal.raise_signal(signal.SIGTERM)


def test_an_epoch_without_examples_says_so(tmp_path):
    with Run(tmp_path / "r") as run:
        run.start(Config(), {"w": np.zeros(1)}, {}, {"step": np.array(0)})
        with pytest.raises(RuntimeError, match="no examples were noted since the last epoch ended"):
            run.end_epoch()


def test_facts_do_not_replace_what_the_run_writes(tmp_path):
    with Run(tmp_path / "r") as run:
        list(one_epoch(run, epoch=7, history="h"))
    (row,) = (json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines())
    assert row["epoch"] == 1 and row["history"] == "h"
    assert Checkpoint.load(tmp_path / "r" / "checkpoint.safetensors").facts == {"epoch": 7, "history": "h"}


def test_a_finished_run_that_is_resumed_says_so(whole, capsys):
    capsys.readouterr()
    with Run(whole, resume=True) as run:
        train(Config(), run)
    assert f"{whole}: all 3 epochs are done already\n" in capsys.readouterr().out
