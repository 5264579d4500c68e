"""minigraph, PyTorch and others at the same works, in turns; see benchmarks/README.md.

python benchmarks/train_step.py                   # everything
python benchmarks/train_step.py --work W1 'conv-*' --systems minigraph 'torch-*' --json
"""

import argparse
import fnmatch
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack

import harness  # none of these modules imports NumPy: the children would inherit its memory in their peak
import isa
from harness import CONV_BATCH, CONV_GRID, INFER_BATCH, MODELS, SYSTEMS, TAPE_OPS, Failed, Worker

# work: (what it is, images a run or None)
TRAIN = "forward + backward + SGD with momentum"
CONV = "forward + both gradients"
WORKS = {
    "W1": (f"cnn (32, 64), batch 128: {TRAIN}", 128),
    "W2": (f"airnet (64, 256, 256), batch 512: {TRAIN}", 512),
    "infer-W1": (f"the net of W1, batch {INFER_BATCH}: forward", INFER_BATCH),
    "infer-W2": (f"the net of W2, batch {INFER_BATCH}: forward", INFER_BATCH),
    **{
        f"conv-{h}-{c}-{k}": (f"conv2d 3x3, {c} to {k} channels at {h}x{h}, batch {CONV_BATCH}: {CONV}", None)
        for h, c, k in CONV_GRID
    },
    "mlp": (f"mlp 784-128-10, batch 32: {TRAIN}", 32),
    "memory-W1": ("peak memory of the whole process in W1", None),
    "memory-W2": ("peak memory of the whole process in W2", None),
    "tape": (f"one of a chain of {TAPE_OPS:,} operations on 8x8 arrays: forward + backward", None),
    "scalar": ("sixteen operations on numbers in float64: forward + backward", None),
    "import": ("import, the start of the interpreter not counted", None),
    "scaling": ("W2 in minigraph, on all threads and on one", MODELS["W2"][1]),
}
# (pattern of works, to what minigraph's ratio is): (bar, aim) with AVX-512, then without. They are to be reached, and
# for `import` not to be passed. Where there is no aim, the bar stands for it.
BARS = {
    ("W1", "torch"): ((1.7, 2.2), (1.5, 2)),
    ("W2", "torch"): ((2.1, 2.5), (1.7, 2.2)),
    ("infer-*", "torch"): ((2, 2), (1.3, 1.3)),
    ("infer-W1", "onnxruntime"): ((1, 1), (0.8, 0.8)),
    ("infer-W2", "onnxruntime"): ((1, 1), (1, 1)),
    ("conv-*", "torch"): ((2, 2), (1.5, 1.5)),
    ("mlp", "torch"): ((1.2, 1.5), (1.2, 1.5)),
    ("memory-*", "torch"): ((2, 4), (2, 4)),
    ("tape", "torch"): ((1.3, 2), (1.3, 2)),
    ("scalar", "torch"): ((1.3, 2), (1.3, 2)),
    ("import", "numpy"): ((1.3, 1.2), (1.3, 1.2)),
    ("scaling", "minigraph on 1"): ((1.8, 1.95), (1.8, 1.95)),
}


def main():
    args = arguments()
    cleared = harness.clear_environment()
    held = isa.limit(args.isa) if args.isa else None
    machine = {"cpu": harness.cpu_model(), "cores": len(harness.cores()), "python": sys.version.split()[0]}
    machine["isa"] = args.instructions
    if not args.json:
        packages = {name: number for system in args.systems for name, number in harness.versions(system).items()}
        print(f"{machine['cpu']} ({machine['isa']}), {machine['cores']} cores, of which {args.threads} are used")
        print(f"Python {machine['python']}, {', '.join(f'{name} {number}' for name, number in packages.items())}")
        print(f"removed from the environment: {', '.join(cleared) or 'nothing was to be'}", flush=True)
        print(f"held to {args.isa} ({held})\n" if args.isa else "", flush=True)
    for work in args.work:
        rows = [{**row, "threads": row.get("threads", args.threads), **machine} for row in measure(work, args)]
        print(*map(json.dumps, rows), sep="\n", flush=True) if args.json else print(table(work, rows), flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object a row instead of tables")
    parser.add_argument("--work", nargs="+", default=["*"], help=f"patterns of {', '.join(WORKS)}")
    parser.add_argument("--systems", nargs="+", default=["*"], help=f"patterns of {', '.join(SYSTEMS)}")
    parser.add_argument("--threads", type=int, default=len(harness.cores()), help="default: all cores")
    parser.add_argument("--microbatch", type=int, help="minigraph's; default: its own choice")
    parser.add_argument("--isa", choices=["avx2"], help="hold every library to these instructions, and check it")
    parser.add_argument("--rounds", type=int, default=11, help="turns that each system has at a work")
    args = parser.parse_args()
    if not 1 <= args.threads <= len(harness.cores()) or args.rounds < 1:
        parser.error(f"--threads should be from 1 to {len(harness.cores())}, --rounds at least 1")
    args.instructions = args.isa or isa.native()
    args.work = chosen(parser, args.work, WORKS)
    args.systems = [name for name in chosen(parser, args.systems, SYSTEMS) if usable(name, args.isa)]
    return args


def chosen(parser, patterns, names):
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            parser.error(f"{pattern} is none of {', '.join(names)}")
    return [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]


def usable(system, instructions):
    if not harness.installed(system):
        skipped(system, "not installed")
        return False
    if system == "onnxruntime" and instructions not in (None, isa.native()):
        skipped(system, f"cannot be held to {instructions}")
        return False
    if system == "torch-compile" and not any(map(shutil.which, (os.environ.get("CXX", ""), "g++", "clang++"))):
        skipped(system, "no C++ compiler")
        return False
    return True


def skipped(what, why):
    print(f"skipped {what}: {why}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------- measuring: work -> rows


def measure(work, args):
    """A row for each system."""
    if work == "import":
        return import_rows(args)
    if work == "scaling":
        return scaling_rows(args)
    if work.startswith("memory-"):
        return memory_rows(work, args)
    with harness.inputs(work, args.threads, args.microbatch) as folder, ExitStack() as stack:
        workers = {}
        for name in args.systems:
            if not harness.can(name, work):
                continue
            try:
                workers[name] = worker = Worker(
                    args.threads, harness.prepare, name, work, folder, args.threads, args.microbatch
                )
            except Failed as error:
                skipped(f"{name} at {work}", error)
                continue
            stack.callback(worker.close)
        turns = harness.interleave(workers, args.rounds)
    references = [best_torch(turns, "seconds"), "onnxruntime"]
    return [{**row(work, name, turns, references, args.instructions), **workers[name].info} for name in turns]


def memory_rows(work, args):
    """Each system in a process that takes five steps and compares nothing."""
    step = work.removeprefix("memory-")
    turns = {}
    with harness.inputs(step, args.threads, args.microbatch) as folder:
        for name in args.systems:
            if not harness.can(name, work):
                continue
            try:
                worker = Worker(
                    args.threads, harness.prepare, name, step, folder, args.threads, args.microbatch, False
                )
            except Failed as error:
                skipped(f"{name} at {work}", error)
                continue
            for _ in range(5):
                worker.measure()
            turns[name] = [{"bytes": worker.peak()}]
            worker.close()
    return [row(work, name, turns, [best_torch(turns, "bytes")], args.instructions) for name in turns]


def scaling_rows(args):
    with harness.inputs("W2", args.threads, args.microbatch) as folder, ExitStack() as stack:
        workers = {}
        for threads in (args.threads, 1):
            name = f"minigraph on {threads}"
            workers[name] = worker = Worker(
                threads, harness.prepare, "minigraph", "W2", folder, threads, args.microbatch
            )
            stack.callback(worker.close)
        turns = harness.interleave(workers, args.rounds)
    rows = {name: row("scaling", name, turns, ["minigraph on 1"], args.instructions) for name in turns}
    return [{**found, "threads": int(name.split()[-1])} for name, found in rows.items()]


def import_rows(args):
    """In fresh processes, from compiled bytecode. The first import of each reads the disk and does not count."""
    names = ["minigraph", "numpy"] + ["torch"] * harness.installed("torch-eager")
    code = "import time; clock = time.perf_counter(); import {}; print(time.perf_counter() - clock)"
    turns = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "PYTHONPYCACHEPREFIX": folder, "PYTHONDONTWRITEBYTECODE": ""}
        for i in range(3 * args.rounds + 1):
            for name in names:
                command = [sys.executable, "-c", code.format(name)]
                seconds = subprocess.run(command, env=env, capture_output=True, check=True).stdout
                if i:
                    turns[name].append({"seconds": float(seconds)})
    return [row("import", name, turns, ["numpy"], args.instructions) for name in names]


def best_torch(turns, unit):
    """The PyTorch mode with the smallest median."""
    modes = [name for name in turns if name.startswith("torch")]
    return min(modes, key=lambda name: statistics.median(turn[unit] for turn in turns[name]), default=None)


def row(work, system, turns, references, instructions):
    """The median over the turns, and its ratio to that of each reference that took part, which is taken turn by turn.

    A ratio is the reference's time or memory over the system's: larger is better. For `import` it is the inverse.
    """
    unit = next(iter(turns[system][0]))
    images = WORKS[work][1]
    values = [turn[unit] / (TAPE_OPS if work == "tape" else 1) for turn in turns[system]]
    out = {"work": work, "system": system, "unit": unit, "median": statistics.median(values), "best": min(values)}
    if images:
        out["images_per_second"] = images / out["median"]
    if "faults" in turns[system][0]:
        out["page_faults"] = statistics.median(turn["faults"] for turn in turns[system])
    out["ratios"] = {}
    for reference in filter(turns.__contains__, references):
        ratios = [theirs[unit] / ours[unit] for theirs, ours in zip(turns[reference], turns[system], strict=True)]
        if work == "import":
            ratios = [1 / ratio for ratio in ratios]
        low, ratio, high = harness.quartiles(ratios)
        out["ratios"][reference] = {"ratio": ratio, "quartiles": [low, high]}
        if system.startswith("minigraph") and system != reference:
            out["ratios"][reference] |= bar_and_aim(work, reference, instructions)
    package = system.split()[0]
    return out | {"versions": harness.versions(package) if package in SYSTEMS else {package: harness.version(package)}}


def bar_and_aim(work, reference, instructions):
    kind = "torch" if reference.startswith("torch") else reference
    for (pattern, against), bars in BARS.items():
        if against == kind and fnmatch.fnmatch(work, pattern):
            return dict(zip(("bar", "aim"), bars[instructions != "avx512"], strict=True))
    return {}


# ---------------------------------------------------------------- printing


def table(work, rows):
    what, images = WORKS[work]
    head = f"  {'':20}{'median':>10}{'best':>10}{'images/s':>10}{'faults':>9}{'error':>9}"
    blas = f" ({', '.join(rows[0]['blas'])})" if rows[0].get("blas") else ""
    head += "".join(f"   ratio to {reference}" for reference in rows[0]["ratios"])
    lines = [f"{work}: {what}{blas}", head]
    for r in rows:
        line = f"  {r['system']:20}{quantity(r['median'], r['unit']):>10}{quantity(r['best'], r['unit']):>10}"
        line += f"{r['images_per_second']:10,.0f}" if images else " " * 10
        line += f"{r['page_faults']:9,.0f}" if "page_faults" in r else " " * 9
        line += f"{r['error']:9.0e}" if "error" in r else " " * 9
        for found in r["ratios"].values():
            low, high = found["quartiles"]
            line += f"   {found['ratio']:.2f}" + f" ({low:.2f} to {high:.2f})" * (low < high)
            if "bar" in found:
                bar, aim = found["bar"], found["aim"]
                line += f"   bar {bar:g}, aim {aim:g}: {verdict(work, found['ratio'], bar, aim)}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def verdict(work, ratio, bar, aim):
    sign = -1 if work == "import" else 1
    if sign * ratio < sign * bar:
        return "NOT REACHED"
    return "aim reached" if sign * ratio >= sign * aim else "bar reached"


def quantity(value, unit):
    if unit == "bytes":
        return f"{value / 1e6:.0f} MB"
    for scale, name in ((1, "s"), (1e-3, "ms"), (1e-6, "us")):
        if value >= scale:
            return f"{value / scale:.{1 if value >= 10 * scale else 2}f} {name}"
    return f"{value:.2g} s"


if __name__ == "__main__":
    main()
