"""The lock of a directory, between processes and after the death of one."""

import os
import signal
import subprocess
import sys

import pytest

from minigraph.training import Stop, files
from minigraph.training.files import locked, to_json, write

HOLDER = """
import sys, time
from pathlib import Path
from minigraph.training.files import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the directory until its standard input ends."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_write_and_to_json(tmp_path):
    write(tmp_path / "a.json", to_json({"a": [1, None]}))
    assert (tmp_path / "a.json").read_text() == '{\n  "a": [\n    1,\n    null\n  ]\n}\n'
    with pytest.raises(Stop, match=r"missing.a\.json was not written: No such file or directory$"):
        write(tmp_path / "missing" / "a.json", b"")


def test_the_lock_leaves_no_trace(tmp_path):
    for _ in range(2):
        with locked(tmp_path):
            assert os.listdir(tmp_path) == [".lock"]
        assert os.listdir(tmp_path) == []


def test_a_directory_is_locked_against_the_same_process(tmp_path):
    with locked(tmp_path), pytest.raises(Stop, match=f"{tmp_path}: another process is training here"), locked(tmp_path):
        pass


def test_a_directory_is_locked_against_another_process(tmp_path, holder):
    with pytest.raises(Stop, match="another process"), locked(tmp_path):
        pass
    holder.communicate("")
    with locked(tmp_path):
        pass


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_process_that_is_killed_holds_nothing(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert os.listdir(tmp_path) == [".lock"]
    with locked(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


def test_a_lock_file_that_is_removed_while_it_is_opened_is_not_taken(tmp_path, monkeypatch):
    """The owner ends between our opening and our locking its file; a third process could make a new one."""
    lock = files._lock
    opened = []

    def owner_ends_first(file):
        opened.append(file)
        if len(opened) == 1:
            (tmp_path / ".lock").unlink()
        lock(file)

    monkeypatch.setattr(files, "_lock", owner_ends_first)
    with locked(tmp_path):
        assert len(opened) == 2 and opened[0].closed
        assert os.path.samestat(os.fstat(opened[1].fileno()), (tmp_path / ".lock").stat())


@pytest.mark.skipif(os.name != "posix", reason="fcntl")
def test_a_file_system_without_locks_is_no_reason_not_to_train(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


def test_without_fcntl_msvcrt_locks(tmp_path, monkeypatch):
    class Msvcrt:
        LK_NBLCK = 2
        held = False

        @classmethod
        def locking(cls, fd, mode, size):
            assert (mode, size) == (2, 1)
            if cls.held:
                raise PermissionError(13, "Permission denied")
            cls.held = True

    monkeypatch.setattr(files, "find_spec", lambda name: name == "msvcrt")
    monkeypatch.setitem(sys.modules, "msvcrt", Msvcrt)
    with locked(tmp_path), pytest.raises(Stop, match="another process"), locked(tmp_path):
        pass
