"""Kill trainings at random moments, resume them, and compare their ends with that of a training left alone.

    python -m tests.killing DIR KILLS SEED [options of train_cifar.py ...]

Prints how many trainings the kills hit. The exit code is 1 where an end differs in a bit. It is a process of its own
since it forks, so that a training starts without its imports.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import train_cifar
from minigraph import data, serialize, training, tree

SMALL = data.synthetic.draw(train=300, test=60)


def start(out, options):
    """The process of a training, which goes on from its checkpoint if there is one."""
    options = ["--resume", str(out)] if (out / "checkpoint.safetensors").exists() else [*options, "--out", str(out)]
    process = os.fork()
    if process == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(train_cifar.main(options))
    return process


def end(out):
    """What a training leaves, without what a clock says."""
    saved = serialize.load(out / "checkpoint.safetensors")
    summary = json.loads((out / "summary.json").read_text())
    for row in (*saved["history"], saved["sums"], summary):
        for name in ("seconds", "examples_per_second", "train_seconds", "gflops_per_second"):
            row.pop(name, None)
    return summary, [(path, getattr(leaf, "dtype", None), bytes_of(leaf)) for path, leaf in tree.items(saved)]


def bytes_of(leaf):
    return leaf.tobytes() if tree.is_array(leaf) else repr(leaf)


def main(folder, kills, seed, *options):
    data.load = lambda *_: SMALL
    training.plots.curves = training.plots.confusion = lambda *_, **__: None  # they take longer than the training
    folder, moments = Path(folder), random.Random(int(seed))
    begin = time.perf_counter()
    assert os.waitstatus_to_exitcode(os.waitpid(start(folder / "alone", options), 0)[1]) == 0
    seconds = time.perf_counter() - begin
    expected, killed, trainings, wrong = end(folder / "alone"), 0, 0, 0
    while killed < int(kills):
        trainings += 1
        out, code = folder / str(trainings), None
        while code != 0:
            process = start(out, options)
            if killed < int(kills):
                time.sleep(moments.uniform(0, seconds))
                os.kill(process, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            if code not in (0, -signal.SIGKILL):
                sys.exit(f"{out} ended with {code} after {killed} kills")
            killed += code != 0
        wrong += end(out) != expected
    print(f"{killed} kills in {trainings} trainings of {seconds:.1f} s: {wrong} ended in other bits")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
