"""The table at the top of minigraph/kernels/conv.py: im2col and Winograd by channels, on one core.

python benchmarks/algorithms.py [--size 16]
"""

import argparse
import statistics
import time

import harness

CHANNELS = ((3, 16), (8, 8), (12, 12), (16, 16), (24, 24), (32, 32), (16, 64), (64, 64))
IMAGES, ROUNDS = 32, 15


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=16, help="sides of the map")
    size = parser.parse_args().size
    harness.clear_environment()
    harness.pin(1)
    import numpy as np

    from minigraph.kernels import conv

    print(f"{harness.cpu_model()}, NumPy {np.__version__}, {', '.join(harness._blas())}")
    print(f"ns an output pixel, forward + both gradients, {IMAGES} float32 maps of {size}x{size}, medians of {ROUNDS}")
    rng, same = np.random.default_rng(0), ((1, 1), (1, 1))
    for c, k in CHANNELS:
        x, g = (rng.standard_normal((IMAGES, size, size, n), np.float32) for n in (c, k))
        w = rng.standard_normal((3, 3, c, k), np.float32)

        def both(algorithm, x=x, w=w, g=g):
            conv.conv2d(x, w, padding=same, algorithm=algorithm)
            conv.conv2d_grads(g, x, w, (size, size), (3, 3), padding=same, algorithm=algorithm)

        turns = {algorithm: [] for algorithm in conv.ALGORITHMS}
        for _ in range(ROUNDS):
            for algorithm, seconds in turns.items():
                both(algorithm)
                clock = time.perf_counter()
                both(algorithm)
                seconds.append(time.perf_counter() - clock)
        medians = (f"{a} {1e9 * statistics.median(s) / (IMAGES * size * size):5.0f}" for a, s in turns.items())
        print(f"{c:4} -> {k:2}   {'   '.join(medians)}", flush=True)


if __name__ == "__main__":
    main()
