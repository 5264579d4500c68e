"""The benchmarks run on the code as it stands. What they measure is not looked at: speed is never a test."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize("command", [
    "breakdown.py W1 --steps 1",
    "roofline.py --json",
    "adbench.py --work lstm --systems minigraph --rounds 1",
    "train_step.py --work tape --systems minigraph --rounds 1 --isa avx2",
])  # fmt: skip
def test_a_benchmark_runs(command):
    script, *options = command.split()
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS.parent)}
    run = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *options], capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout
