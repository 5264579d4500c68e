"""How near the layers of W1 and W2 come to the limits of one core: its matrix products and its memory.

python benchmarks/roofline.py [--out roofline.png] [--json]

Every layer is run alone on a micro-batch of 64 images, forward and backward. Its operations are those of the
definition (direct convolution: Winograd may pass the roof of the products), one for each entry of the map elsewhere;
its bytes are what has to be read and written at least once.
"""

import argparse
import json
import statistics
import time

import harness

IMAGES, ROUNDS = 64, 15
SAME, ODD = 1, ((1, 0), (1, 0))
# layer: (operation, shape of the map, channels out and padding of a convolution)
LAYERS = {
    "W1 conv 3-32": ("conv", (32, 32, 3), 32, SAME),
    "W1 relu": ("relu", (32, 32, 32)),
    "W1 pool": ("pool", (32, 32, 32)),
    "W1 conv 32-64": ("conv", (16, 16, 32), 64, SAME),
    "W2 conv 24-64": ("conv", (31, 31, 24), 64, ODD),
    "W2 pool": ("pool", (30, 30, 64)),
    "W2 norm": ("norm", (15, 15, 64)),
    "W2 silu": ("silu", (15, 15, 64)),
    "W2 conv 64-64": ("conv", (15, 15, 64), 64, SAME),
    "W2 conv 64-256": ("conv", (15, 15, 64), 256, ODD),
    "W2 conv 256-256": ("conv", (7, 7, 256), 256, SAME),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object a row instead of a table")
    parser.add_argument("--out", help="a picture of it (.png, .svg; needs matplotlib)")
    args = parser.parse_args()
    harness.clear_environment()
    harness.pin(1)
    peaks = measure_peaks()
    rows = [row for layer in LAYERS for row in measure(layer)]
    if args.json:
        machine = {**peaks, "cpu": harness.cpu_model(), **harness.versions("minigraph")}
        print(*map(json.dumps, (machine, *rows)), sep="\n")
    else:
        print(f"{harness.cpu_model()}, one core, {', '.join(harness._blas())}")
        print(f"product of matrices  {peaks['product']:6.0f} GFLOP/s")
        print(f"sum of two arrays    {peaks['cache']:6.0f} GB/s in the second-level cache")
        print(f"                     {peaks['memory']:6.0f} GB/s in memory\n")
        print(f"{'':26}{'us an image':>12}{'FLOP/byte':>11}{'GFLOP/s':>9}{'of roof':>9}")
        for r in rows:
            share = r["gflops"] / min(peaks["product"], r["intensity"] * peaks["memory"])
            name = f"{r['layer']} {r['pass']}"
            print(f"{name:26}{r['us']:12.1f}{r['intensity']:11.2f}{r['gflops']:9.1f}{share:9.0%}")
    if args.out:
        draw(peaks, rows, args.out)


def measure_peaks():
    """GFLOP/s of a product of 1,024 x 1,024 matrices; GB/s of c = a + b, all three counted, of 256 KB and of 64 MB."""
    import numpy as np

    a, c = np.ones((1024, 1024), np.float32), np.empty((1024, 1024), np.float32)
    peaks = {"product": 2 * 1024**3 / median(lambda: np.matmul(a, a, out=c)) / 1e9}
    for name, size in (("cache", 1 << 16), ("memory", 1 << 24)):
        a, b, c = (np.ones(size, np.float32) for _ in range(3))
        peaks[name] = 3 * a.nbytes / median(lambda a=a, b=b, c=c: np.add(a, b, out=c)) / 1e9
    return peaks


def measure(layer):
    """The rows of a layer: forward and backward."""
    import numpy as np

    import minigraph as mg
    from minigraph import transforms

    rng = np.random.default_rng(0)
    kind, shape, *rest = LAYERS[layer]
    arrays = [rng.standard_normal((IMAGES, *shape), np.float32)]
    if kind == "conv":
        k, padding = rest
        arrays.append(rng.standard_normal((3, 3, shape[-1], k), np.float32))
    if kind == "norm":
        arrays.append(rng.standard_normal(shape[-1:], np.float32))
        mean, var = np.zeros(shape[-1], np.float32), np.ones(shape[-1], np.float32)
    f = {
        "conv": lambda x, w: mg.conv2d(x, w, padding=padding),
        "pool": lambda x: mg.max_pool(x, 2),
        "relu": mg.relu,
        "silu": mg.silu,
        "norm": lambda x, b: mg.batch_norm(x, None, b, mean, var, train=True)[0],
    }[kind]
    image = layer == "W1 conv 3-32"  # its input needs no gradient

    def forward():
        if image:
            return transforms.pulled_back(lambda w: f(arrays[0], w), tuple(arrays[1:]), own=False)
        return transforms.pulled_back(f, tuple(arrays), own=False)  # as parallel does

    y, pullback = forward()
    g = rng.standard_normal(y.shape, np.float32)
    operations = 2 * y.size * 9 * shape[-1] if kind == "conv" else arrays[0].size
    read, index = sum(a.nbytes for a in arrays), y.size if kind == "pool" else 0
    saved = index if kind == "pool" else read  # what the backward pass reads beside g; it writes the gradients
    written = arrays[1].nbytes if image else read
    passes = {
        "forward": (forward, operations, read + y.nbytes + index),
        "backward": (
            lambda: pullback(g), operations * (2 if kind == "conv" and not image else 1), g.nbytes + saved + written
        ),
    }
    for name, (run, flops, size) in passes.items():
        seconds = median(run)
        yield {
            "layer": layer, "pass": name, "us": 1e6 * seconds / IMAGES,
            "intensity": flops / size, "gflops": flops / seconds / 1e9,
        }  # fmt: skip


def median(run):
    """Seconds of a run."""
    run(), run()
    times = []
    for _ in range(ROUNDS):
        clock = time.perf_counter()
        run()
        times.append(time.perf_counter() - clock)
    return statistics.median(times)


def draw(peaks, rows, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    figure, axes = plt.subplots(figsize=(8, 4.8), layout="constrained")
    x = np.geomspace(0.05, 1000, 400)
    for name, style, label, at in (("cache", ":", "second-level cache", 0.06), ("memory", "-", "memory", 1.3)):
        axes.plot(x, np.minimum(peaks["product"], x * peaks[name]), style, color="0.5", zorder=1)
        axes.annotate(f"{label}, {peaks[name]:.0f} GB/s", (at, peaks[name]), color="0.4", fontsize=8)
    top = peaks["product"]
    axes.annotate(f"product of matrices, {top:.0f} GFLOP/s", (0.06, 1.1 * top), color="0.4", fontsize=8)
    colors = dict(zip(LAYERS, (*plt.get_cmap("tab10").colors, "black"), strict=True))
    for r in rows:
        forward = r["pass"] == "forward"
        axes.plot(
            r["intensity"], r["gflops"], "o" if forward else "s", color=colors[r["layer"]], ms=6,
            mfc=None if forward else "none", label=r["layer"] if forward else None,
        )  # fmt: skip
    axes.plot([], [], "o", color="0.3", label="forward")
    axes.plot([], [], "s", color="0.3", mfc="none", label="backward")
    axes.set(xscale="log", yscale="log", xlim=(0.05, 1000), xlabel="operations a byte")
    axes.set_ylabel("GFLOP/s, those of direct convolution counted")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right center", fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
