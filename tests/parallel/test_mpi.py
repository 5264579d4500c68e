"""Real processes under mpiexec, each with a limit of its time."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
needs_mpi = pytest.mark.skipif(not (MPIEXEC and find_spec("mpi4py")), reason="needs mpi4py and mpiexec")


def mpiexec(ranks, *command, timeout=60):
    """The ended process of a Python program on so many ranks."""
    command = [MPIEXEC, "-n", str(ranks), sys.executable, *command]
    return subprocess.run(command, cwd=ROOT, timeout=timeout, capture_output=True, text=True)


@needs_mpi
@pytest.mark.parametrize(
    "program, ranks",
    [("same_bits", 1), ("same_bits", 2), ("same_bits", 3), ("same_bits", 4), ("dtypes", 3), ("runs_and_reduces", 3),
     ("errors", 3)],
)  # fmt: skip
def test_ranks(program, ranks):
    """The programs of ranks.py, which say what they hold; the first is that of the same bits as one process."""
    ended = mpiexec(ranks, "-m", "tests.parallel.ranks", program)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("is done") == ranks
