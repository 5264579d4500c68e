"""The parent of a rank, which says how it was ended. No MPI is needed: the launcher's variable is enough."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minigraph.training.supervisor import supervise

PROGRAM = """
import os, signal, sys, time
from minigraph.training.supervisor import supervise
def stop(number, frame):
    print("got", number, flush=True)
    sys.exit(7)
code = supervise("train.py")
if code is not None:
    sys.exit(code)
signal.signal(signal.SIGTERM, stop)
print(os.getpid(), flush=True)
"""


def start(*lines):
    env = {**os.environ, "PMI_RANK": "5"}
    command = [sys.executable, "-c", PROGRAM + "\n".join(lines)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_without_a_launcher_there_is_no_parent(monkeypatch):
    for name in ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK"):
        monkeypatch.delenv(name, raising=False)
    process = os.getpid()
    assert supervise("train.py") is None and os.getpid() == process


@pytest.mark.parametrize("code", [0, 2, 130])
def test_the_exit_code_is_that_of_the_child(code):
    process = start(f"sys.exit({code})")
    _, err = process.communicate(timeout=30)
    assert process.returncode == code and err == ""


@pytest.mark.parametrize("name", ["SIGKILL", "SIGABRT"])
def test_a_signal_that_ends_the_child_is_named_and_ends_the_parent(name):
    process = start(f"os.kill(os.getpid(), signal.{name})")
    out, err = process.communicate(timeout=30)
    assert process.returncode == -getattr(signal, name)
    hint = ", as Linux does when memory runs out" if name == "SIGKILL" else ""
    assert err.startswith(f"train.py: error on rank 5: {name} ended it{hint} (process {out.strip()} on ")
    assert err.endswith("; go on with --resume\n")


def test_signals_are_handed_on_once():
    process = start("time.sleep(30)")
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (7, f"got {signal.SIGTERM:d}\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone ends a child with its parent")
def test_the_child_ends_with_its_parent():
    process = start("time.sleep(30)")
    child = int(process.stdout.readline())
    process.kill()
    process.wait(30)
    deadline = time.monotonic() + 20
    while state(child) not in (None, "Z"):  # what has ended may wait for somebody to ask for its exit code
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.communicate()


def state(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return None
