"""Programs on several ranks, for tests."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
needs_mpi = pytest.mark.skipif(not (MPIEXEC and find_spec("mpi4py")), reason="needs mpi4py and mpiexec")


def mpiexec(ranks, *program, timeout=60):
    """Run `python -m *program` on so many ranks, within so many seconds. Returns the ended process."""
    command = [MPIEXEC, "-n", str(ranks), sys.executable, "-m", *map(str, program)]
    return subprocess.run(command, cwd=ROOT, timeout=timeout, capture_output=True, text=True)
