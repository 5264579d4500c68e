"""Epochs of the cnn on CIFAR-10 with random crops and flips, each system in turn: seconds an epoch.

MINIGRAPH_DATA=... python benchmarks/epoch.py [--systems minigraph torch-channels-last] [--rounds 3]

All are fed by minigraph's loader, which is also timed alone. See benchmarks/README.md.
"""

import argparse
import json
import statistics
from contextlib import ExitStack

import harness
from harness import SYSTEMS, Worker

BATCH = 128
TRAINERS = [name for name in SYSTEMS if name == "minigraph" or name.startswith("torch")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object a row instead of a table")
    parser.add_argument("--systems", nargs="+", default=["minigraph", "torch-channels-last"], choices=TRAINERS)
    parser.add_argument("--threads", type=int, default=len(harness.cores()), help="default: all cores")
    parser.add_argument("--microbatch", type=int, help="minigraph's; default: its own choice")
    parser.add_argument("--rounds", type=int, default=3, help="epochs of each system")
    parser.add_argument("--dataset", default="cifar10", choices=("cifar10", "synthetic"))
    args = parser.parse_args()
    harness.clear_environment()
    with ExitStack() as stack:
        workers = {}
        for name in ["loader", *args.systems]:
            worker = Worker(args.threads, prepare, name, args.dataset, args.threads, args.microbatch)
            stack.callback(worker.close)
            workers[name] = worker
        turns = harness.interleave(workers, args.rounds)
    for name, times in turns.items():
        seconds = statistics.median(turn["seconds"] for turn in times)
        images = workers[name].info["images"]
        row = {"work": "epoch", "system": name, "median": seconds, "best": min(turn["seconds"] for turn in times)}
        row |= {"images_per_second": images / seconds, "threads": args.threads, "dataset": args.dataset}
        row["versions"] = harness.versions("minigraph" if name == "loader" else name)
        text = f"{name:20}{seconds:8.2f} s an epoch of {images:,} images{row['images_per_second']:10,.0f} images/s"
        print(json.dumps(row) if args.json else text, flush=True)


def prepare(name, dataset, threads, microbatch):
    """An epoch of training, or of the loader alone, as a run."""
    import numpy as np
    import systems

    from minigraph import data, tree

    images = data.load(dataset)
    loader = data.Loader(images.train_images, images.train_labels, BATCH, shuffle=True, padding=2, flip=True)
    if name == "loader":
        return lambda: [None for _ in loader], 1, {"images": len(loader.images)}
    system = getattr(systems, SYSTEMS[name][1])(threads, microbatch)
    params, state = (dict(tree.items(t)) for t in systems.model_module("cnn").init(np.random.default_rng(0)))
    step = system.trainer("cnn", params, state)
    step(*system.batch(*next(iter(loader))))  # what a first step sets up, or compiles, is not part of an epoch
    epochs = iter(range(1 << 30))

    def run():
        for x, y in loader.epoch(next(epochs)):
            step(*system.batch(x, y))

    return run, 1, {"images": len(loader.images)}


if __name__ == "__main__":
    main()
