"""Kill trainings at random moments, resume them, and compare their ends with that of a training left alone.

    python -m tests.killing DIR KILLS SEED RANKS [options of train_cifar.py ...]

With several RANKS the trainings are under mpiexec, each time on another number of them, and the kill hits any one; the
training left alone is one process all the same. Prints how many trainings the kills hit. The exit code is 1 where an
end differs in a bit, or where the other ranks of a killed one go on for more than a few seconds.

One process is a fork of this one, so that a training starts without its imports.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import train_cifar
from minigraph import data, serialize, training, tree

SMALL = data.synthetic.draw(train=300, test=60)
SECONDS = 5.0  # in which the other ranks of a killed one should have ended


def simplify():
    """Have the training take a small data set and make no pictures, which take longer than it does."""
    data.load = lambda *_: SMALL
    training.plots.curves = training.plots.confusion = lambda *_, **__: None


def start(out, options, ranks):
    """The process of a training, which goes on from its checkpoint if there is one."""
    options = ["--resume", str(out)] if (out / "checkpoint.safetensors").exists() else [*options, "--out", str(out)]
    if ranks > 1:
        mpiexec = Path(sys.executable).with_name("mpiexec")
        command = [mpiexec, "-n", str(ranks), sys.executable, "-m", "tests.training.ranks", "none", "0", *options]
        with open(f"{out}.txt", "w") as said:
            return subprocess.Popen(command, stdout=said, stderr=said).pid
    process = os.fork()
    if process == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(train_cifar.main(options))
    return process


def kill(process, ranks, moments):
    """Kill the process, or of several ranks one. Returns the rank, None if it had not begun or was over."""
    if ranks == 1:
        os.kill(process, signal.SIGKILL)
        return None
    supervisors = [p for child in children(process) for p in children(child)]  # of the proxy of mpiexec
    workers = [p for supervisor in supervisors for p in children(supervisor)]
    if len(workers) < ranks:
        return None
    rank = moments.randrange(ranks)
    os.kill(workers[rank], signal.SIGKILL)
    return rank


def children(process):
    try:
        return [*map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())]
    except OSError:
        return []


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


def main(folder, kills, seed, most, *options):
    simplify()
    folder, moments, most = Path(folder), random.Random(int(seed)), int(most)
    assert code_of(start(folder / "alone", options, 1)) == 0
    begin = time.perf_counter()
    assert code_of(start(folder / "timed", options, most)) == 0
    seconds = time.perf_counter() - begin
    expected, killed, trainings, wrong, longest = end(folder / "alone"), 0, 0, 0, 0.0
    while killed < int(kills):
        trainings += 1
        out, code = folder / str(trainings), None
        while code != 0:
            ranks = moments.randint(2, most) if most > 1 else 1
            process, rank = start(out, options, ranks), None
            if killed < int(kills):
                time.sleep(moments.uniform(0, seconds))
                rank = kill(process, ranks, moments)
            begin = time.perf_counter()
            code = code_of(process)
            if code not in (0, -signal.SIGKILL, signal.SIGKILL):
                sys.exit(f"{out} ended with {code} after {killed} kills")
            killed += code != 0
            if ranks > 1 and code != 0:
                longest = max(longest, time.perf_counter() - begin)
                said = Path(f"{out}.txt").read_text()
                if f"error on rank {rank}: SIGKILL" not in said:
                    sys.exit(f"{out}: rank {rank} was killed, and nothing says so:\n{said}")
        wrong += end(out) != expected
    print(f"{killed} kills in {trainings} trainings of {seconds:.1f} s: {wrong} ended in other bits")
    if most > 1:
        print(f"the other ranks ended in {longest:.1f} s at most")
    return wrong > 0 or longest > SECONDS


def code_of(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
