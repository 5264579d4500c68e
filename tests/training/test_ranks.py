"""Ranks that train together, that differ, and that end badly: real processes, each with a limit of its time."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import train_cifar
from minigraph.training import ranks
from minigraph.training.ranks import Ranks, digest
from tests import killing
from tests.mpiexec import mpiexec, needs_mpi

SETTINGS = "--preset record --widths 4,4 --epochs 2 --resolution 12,16 --batch-size 100 --microbatch 16 --average ema"
OPTIONS = [*SETTINGS.split(), "--threads", "1"]  # steps of 7, 7 and 5 parts, which are no equal shares


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What a training in one process leaves."""
    out = tmp_path_factory.mktemp("expected")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(killing.data, "load", None)
        patch.setattr(killing.training.plots, "curves", None)
        patch.setattr(killing.training.plots, "confusion", None)
        killing.simplify()
        assert train_cifar.main([*OPTIONS, "--out", str(out)]) == 0
    return killing.end(out)


def train(count, fault, rank, *options):
    return mpiexec(count, "tests.training.ranks", fault, rank, *options)


@needs_mpi
def test_many_ranks_leave_the_bits_of_one(tmp_path, expected):
    ended = train(4, "none", 0, *OPTIONS, "--out", tmp_path)
    assert ended.returncode == 0 and ended.stderr == ""
    assert killing.end(tmp_path) == expected
    assert ended.stdout.count("results in") == 2  # rank 0 alone prints: at the start and at the end
    assert {path.name for path in tmp_path.iterdir()} == {
        "checkpoint.safetensors", "config.json", "metrics.jsonl", "summary.json"
    }  # fmt: skip


@needs_mpi
@pytest.mark.parametrize(
    "fault, rank, code, message",
    [
        ("kill", 1, 9, r"train_cifar.py: error on rank 1: SIGKILL ended it"),
        ("kill", 0, 9, r"train_cifar.py: error on rank 0: SIGKILL ended it"),
        ("raise", 1, 1, "train_cifar.py: error on rank 1: MemoryError('there is no more')"),
        ("raise in a part", 1, 1, "train_cifar.py: error on rank 1: MemoryError('there is no more')"),
        ("full disk", 0, 2, "train_cifar.py: error on rank 0: {out}/checkpoint.safetensors: the checkpoint was not"),
        ("SIGTERM", 1, 143, "interrupted: go on with --resume {out}"),
    ],
)
def test_a_rank_that_ends_badly_ends_all_with_one_message_and_the_run_goes_on(
    fault, rank, code, message, tmp_path, expected
):
    ended = train(2, fault, rank, *OPTIONS, "--out", tmp_path)
    assert ended.returncode == code, ended.stderr
    message = message.format(out=tmp_path)
    assert ended.stderr.count(message) == 1 and ended.stderr.count("train_cifar.py: error") == (code != 143)
    assert not (tmp_path / "summary.json").exists()

    if (fault, rank) in (("kill", 1), ("full disk", 0)):
        assert train(3, "none", 0, "--resume", tmp_path).returncode == 0  # on another number of ranks
        assert killing.end(tmp_path) == expected


@needs_mpi
@pytest.mark.parametrize(
    "fault, message",
    [
        ("another seed", "the ranks differ in what they begin with: --seed is 0 on rank 0 and 1 on rank 2"),
        ("other labels", "the ranks differ in their data: labels is "),
        ("other code", "the ranks differ in code: minigraph/tape.py is "),
        ("other arithmetic", "the ranks differ in code: arithmetic is "),
        ("drift", "the ranks differ in their parameters: "),
    ],
)
def test_ranks_that_differ_are_refused(fault, message, tmp_path):
    ended = train(3, fault, 2, *OPTIONS, "--out", tmp_path / "out")
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith(f"train_cifar.py: error: {message}")
    assert (tmp_path / "out").exists() == (fault in ("other labels", "drift"))  # the others show before it is made


@needs_mpi
def test_what_ranks_do_together():
    ended = train(3, "methods", 0)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("is done") == 3


@needs_mpi
def test_commands_are_for_one_process(tmp_path):
    ended = train(2, "none", 0, "--evaluate", tmp_path)
    assert ended.returncode == 2
    assert ended.stderr == "train_cifar.py: error: --evaluate is for one process; drop mpiexec\n"


@needs_mpi
@pytest.mark.slow
def test_ranks_killed_at_random_moments_leave_the_bits_of_one_process(tmp_path):
    """Twenty kills with `python -m tests.killing DIR 20 0 4 OPTIONS`, as CONTRIBUTING.md says; here are five."""
    command = [sys.executable, "-m", "tests.killing", tmp_path, "5", "0", "3", *OPTIONS]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert "0 ended in other bits" in ended.stdout


# ---------------------------------------------------------------- a process alone


def test_a_process_alone_does_the_plain_thing(capsys):
    alone = Ranks()
    assert (alone.rank, alone.size) == (0, 1)
    value = {"a": np.ones(3)}
    assert alone.lead(lambda: value) is value and alone.share(lambda: value) is value
    assert alone.largest(3) == 3
    alone.check_same("nothing", lambda: 1 / 0)  # not even asked
    assert alone.executor(3).workers == 3
    with alone.silent():
        print("heard")
    assert capsys.readouterr().out == "heard\n"
    said = []
    assert alone.end(2, "error", "why", said.append) == 2 and alone.end(0, "", "", said.append) == 0
    assert alone.end(130, "interrupted", "", said.append) == 130
    assert said == ["error: why", "interrupted"]


def test_digest():
    trees = [{"a": np.zeros(3)}, {"a": np.zeros(4)}, {"b": np.zeros(3)}, {"a": np.zeros(3, np.float32)}, {"a": 1}, {}]
    assert len({digest(t) for t in trees}) == len(trees)
    assert digest(*trees) == digest(*trees) != digest(*trees[::-1])
    strided = np.arange(6).reshape(2, 3).T
    assert digest(strided) == digest(strided.copy())


def test_the_code_is_that_of_the_modules_and_of_the_arithmetic():
    facts = ranks.code()
    assert {"Python", "NumPy", "arithmetic", "minigraph/tape.py", "minigraph/training/ranks.py"} <= facts.keys()
    assert facts == ranks.code()
    assert not any("site-packages" in name for name in facts)


def test_what_is_shared_is_whole_and_read_only():
    value = ["text", np.arange(5), {"images": np.ones((2, 3), np.uint8), "empty": np.zeros((0, 2)), "n": 3}]
    path, data, places = ranks._stored(value)
    assert all(start % ranks.ALIGNMENT == 0 for start, _ in places)
    got = ranks._mapped(path, data, places)
    Path(path).unlink()
    assert digest(got) == digest(value) and got[0] == "text" and got[2]["n"] == 3
    with pytest.raises(ValueError, match="read-only"):
        got[1][0] = 1
    path, data, places = ranks._stored("no array")
    assert ranks._mapped(path, data, places) == "no array"
    Path(path).unlink()


def test_a_rank_that_fails_alone_waits_for_a_while_and_ends_the_job(monkeypatch):
    class Comm:
        def Ibarrier(self):
            return self

        def Test(self):
            return False

        def Abort(self, code):
            raise SystemExit(f"aborted with {code}")

    monkeypatch.setattr(ranks, "GRACE", 0.05)
    lone, said = Ranks(), []
    lone.rank, lone._end = 3, Comm()
    begin = time.monotonic()
    with pytest.raises(SystemExit, match="aborted with 2"):
        lone.end(2, "train.py: error", "why", said.append)
    assert said == ["train.py: error on rank 3: why"]
    assert time.monotonic() - begin >= 0.05
