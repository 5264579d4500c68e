"""The benchmarks run on the code as it stands. What they measure is not looked at: speed is never a test."""

import importlib
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
    "train_step.py --work infer-W1 mlp scalar --systems minigraph minigraph-plain numpy onnxruntime --rounds 1 --json",
])  # fmt: skip
def test_a_benchmark_runs(command):
    script, *options = command.split()
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS.parent)}
    run = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *options], capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout


@pytest.fixture
def scaling(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("scaling")


def test_the_simulation_of_ranks_on_a_network_without_limits(scaling):
    """Only the share of the parts counts: 24 parts on two threads of each rank."""
    network = scaling.Network(latency=0.0, overhead=0.0, bandwidth=1e30)
    step = scaling.Step(part=1.0, serial=0.5, ready=[(1000.0, 0.5), (1000.0, 1.0)], add=1e30)
    seconds = {ranks: scaling.simulate(step, 24, ranks, 2, network) for ranks in (1, 2, 3, 5, 12, 64)}
    assert seconds == {1: 12.5, 2: 6.5, 3: 4.5, 5: 3.5, 12: 1.5, 64: 1.5}


def test_the_simulation_of_two_ranks_by_hand(scaling):
    """A bucket of 100 bytes that is final at the end: half of it goes there, then half of the sum comes back."""
    network = scaling.Network(latency=1.0, overhead=0.5, bandwidth=10.0)
    step = scaling.Step(part=100.0, serial=0.0, ready=[(100.0, 1.0)], add=50.0)
    message = 0.5 + 1.0 + 50 / 10
    assert scaling.simulate(step, 2, 2, 1, network) == 100 + message + 50 / 50 + message + 2 * (1.0 + 0.5)
    early = scaling.Step(part=100.0, serial=0.0, ready=[(100.0, 0.5)], add=50.0)
    assert scaling.simulate(early, 2, 2, 1, network) == 100 + 2 * (1.0 + 0.5)  # hidden, but for the last agreement
