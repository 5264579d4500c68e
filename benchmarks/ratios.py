"""A picture of what `train_step.py --json` printed: each system's speed (or memory) as a ratio to the best of PyTorch.

python benchmarks/ratios.py rows.jsonl ratios.png          (needs matplotlib)
"""

import argparse
import json
from pathlib import Path

NAMES = {
    "minigraph": "tab:red", "torch-eager": "tab:gray", "torch-channels-last": "tab:blue", "torch-compile": "tab:cyan",
    "onnxruntime": "tab:purple", "jax": "tab:green", "mygrad": "tab:olive", "autograd": "tab:brown",
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("picture", type=Path)
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.rows.read_text().splitlines()]
    rows = [r for r in rows if r["system"] in NAMES]
    draw([r | found for r in rows for name, found in r["ratios"].items() if "torch" in name], args.picture)


def draw(rows, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FixedLocator, StrMethodFormatter

    works = list(dict.fromkeys(r["work"] for r in rows))
    figure, axes = plt.subplots(figsize=(8, 0.32 * len(works) + 1.2), layout="constrained")
    axes.axvline(1, color="0.7", lw=1, zorder=0)
    for r in rows:
        y = -works.index(r["work"])
        color = NAMES[r["system"]]
        front = r["system"] == "minigraph"
        axes.plot(r["ratio"], y, "D" if front else "o", color=color, ms=6 if front else 4, zorder=3 if front else 2)
        if front:
            axes.plot(r["quartiles"], (y, y), color=color, lw=1.5)
            axes.plot(r["bar"], y, "|", color="black", ms=13)
    for name, color in NAMES.items():
        if any(r["system"] == name for r in rows):
            axes.plot([], [], "D" if name == "minigraph" else "o", color=color, ms=4, label=name)
    axes.plot([], [], "|", color="black", ms=10, label="bar")
    axes.set(xscale="log", yticks=range(0, -len(works), -1), yticklabels=works)
    axes.set_xlabel("times the speed (or one over the memory) of the best PyTorch mode")
    axes.xaxis.set_major_locator(FixedLocator([0.05, 0.1, 0.2, 0.5, 1, 1.5, 2, 3]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.minorticks_off()
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside right center", fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
