"""Two objectives of ADBench (Srajer, Kukelova & Fitzgibbon 2018) and their gradients: minigraph and others, in turns.

    python benchmarks/adbench.py                 # needs whichever of autograd, mygrad, jax is to be compared
    python benchmarks/adbench.py --rounds 5 --json

Each objective is written once, for whatever module has NumPy's functions. A round times every system once, and the
ratios to minigraph are formed within a round. JAX is jitted, and compiled before it is timed. Gradients agree to 1e-9
of the largest entry, or the run fails.
"""

import argparse
import importlib
import json
import math
import statistics
import time
from importlib.util import find_spec

import numpy

# ---------------------------------------------------------------- the objectives


def gmm(np, alphas, means, icf, x, gamma, m):
    """The log-likelihood of a Gaussian mixture and its Wishart prior, with `np` for NumPy's functions.

    alphas (K,) are the logarithms of the weights, means (K, D). icf (K, D (D + 1) / 2) has the inverse square roots of
    the covariances: the logarithms of the diagonal, then what is below it, column by column. x (N, D) are the data.
    """
    (n, d), k = x.shape, alphas.shape[0]
    logs = icf[:, :d]
    diagonals, sums = np.exp(logs), np.sum(logs, 1)
    places = numpy.full((d, d), icf.shape[1] - d)  # where each entry is; elsewhere it is the zero that is appended
    places[numpy.triu_indices(d, 1)] = numpy.arange(d * (d - 1) // 2)  # the transpose: its rows are the columns
    below = np.concatenate([icf[:, d:], numpy.zeros((k, 1))], 1)[:, places]  # (K, D, D)
    centred = x[None] - means[:, None]  # (K, N, D)
    scaled = centred * diagonals[:, None] + np.matmul(centred, below)
    inner = (alphas + sums)[:, None] - 0.5 * np.sum(scaled * scaled, 2)
    prior = 0.5 * gamma**2 * (np.sum(diagonals * diagonals) + np.sum(icf[:, d:] * icf[:, d:])) - m * np.sum(sums)
    degrees = d + m + 1
    constant = degrees * d * math.log(gamma / math.sqrt(2)) - multigammaln(0.5 * degrees, d)
    likelihood = np.sum(logsumexp(np, inner)) - n * logsumexp(np, alphas) - n * d * 0.5 * math.log(2 * math.pi)
    return likelihood + prior - k * constant


def logsumexp(np, x):
    top = np.max(x, 0)
    return np.log(np.sum(np.exp(x - top), 0)) + top


def multigammaln(a, d):
    return 0.25 * d * (d - 1) * math.log(math.pi) + sum(math.lgamma(a - 0.5 * j) for j in range(d))


def loop(step, carry, xs):
    for x in zip(*xs, strict=True):
        carry = step(carry, x)
    return carry


def lstm(np, main, extra, state, sequence, loop=loop):
    """The loss of a sequence (T, B) under an LSTM that works on each of the B channels by itself.

    main (2 L, 4 B) has a weight and a bias for each of L layers, extra (3, B) the weights of input and output and the
    bias of the output, state (2 L, B) the hidden state and the cell of each layer.
    """
    steps, b = sequence.shape[0] - 1, sequence.shape[1]

    def step(carry, pair):
        (states, total), (now, then) = carry, pair
        states, x = [*states], now * extra[0]
        for i in range(0, len(states), 2):
            hidden, cell = states[i], states[i + 1]
            gates = np.concatenate([x, hidden, x, hidden]) * main[i] + main[i + 1]
            forget, add, out = (1 / (1 + np.exp(-gates[j * b : (j + 1) * b])) for j in range(3))
            cell = cell * forget + add * np.tanh(gates[3 * b :])
            x = hidden = out * np.tanh(cell)
            states[i], states[i + 1] = hidden, cell
        y = x * extra[1] + extra[2]
        return states, total + np.sum(then * (y - np.log(2 + np.sum(np.exp(y)))))

    _, total = loop(step, ([state[i] for i in range(state.shape[0])], 0.0), (sequence[:-1], sequence[1:]))
    return -total / (steps * b)


# ---------------------------------------------------------------- sizes and systems


def drawn_gmm(n, d, k):
    rng = numpy.random.default_rng(0)
    parameters = rng.standard_normal(k), rng.standard_normal((k, d)), 0.1 * rng.standard_normal((k, d * (d + 1) // 2))
    return gmm, parameters, (rng.standard_normal((n, d)), 1.0, 0)


def drawn_lstm(layers, length, b=14):
    rng = numpy.random.default_rng(0)
    parameters = rng.random((2 * layers, 4 * b)), rng.random((3, b))
    return lstm, parameters, (rng.random((2 * layers, b)), (rng.random((length, b)) < 0.3).astype(float))


WORKS = {
    "gmm, 1,000 points, D 10, K 25": lambda: drawn_gmm(1000, 10, 25),
    "gmm, 10,000 points, D 10, K 25": lambda: drawn_gmm(10_000, 10, 25),
    "gmm, 1,000 points, D 64, K 25": lambda: drawn_gmm(1000, 64, 25),
    "lstm, 2 layers, 128 characters": lambda: drawn_lstm(2, 128),
    "lstm, 4 layers, 128 characters": lambda: drawn_lstm(4, 128),
}


def gradient_minigraph(f, rest):
    np = importlib.import_module("minigraph")
    return np.grad(lambda p: f(np, *p, *rest))


def gradient_autograd(f, rest):
    np, grad = importlib.import_module("autograd.numpy"), importlib.import_module("autograd").grad
    return grad(lambda p: f(np, *p, *rest))


def gradient_mygrad(f, rest):
    np = importlib.import_module("mygrad")

    def gradient(parameters):
        tensors = [np.tensor(p) for p in parameters]
        f(np, *tensors, *rest).backward()
        return [t.grad for t in tensors]

    return gradient


def gradient_jax(f, rest):
    jax, np = importlib.import_module("jax"), importlib.import_module("jax.numpy")
    jax.config.update("jax_enable_x64", True)

    def scanned(step, carry, xs):  # a loop that is traced once: unrolled, it takes minutes to compile
        return jax.lax.scan(lambda carry, x: (step(carry, x), None), carry, xs)[0]

    options = {"loop": scanned} if f is lstm else {}
    jitted = jax.jit(jax.grad(lambda p: f(np, *p, *rest, **options)))
    return lambda parameters: jax.block_until_ready(jitted(parameters))


SYSTEMS = {
    "minigraph": gradient_minigraph, "autograd": gradient_autograd, "mygrad": gradient_mygrad, "jax": gradient_jax,
}  # fmt: skip


def seconds(f, *args, least=0.2):
    """The time of a call, on average over as many as take `least` seconds."""
    count, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < least or not count:
        f(*args)
        count += 1
    return taken / count


def compare(work, systems, rounds):
    """A row for each system: its median time, and minigraph's speed over it (quartiles over the rounds)."""
    f, parameters, rest = WORKS[work]()
    gradients = {name: SYSTEMS[name](f, rest) for name in systems}
    expected = gradients["minigraph"](parameters)
    for name, gradient in gradients.items():
        for got, e in zip(gradient(parameters), expected, strict=True):
            error = numpy.abs(numpy.asarray(got) - e).max() / numpy.abs(e).max()
            if not error < 1e-9:
                raise SystemExit(f"{work}: the gradient of {name} differs by {error:.1e}")
    turns = [{name: seconds(gradients[name], parameters) for name in systems} for _ in range(rounds)]
    rows = []
    for name in systems:
        ratios = [turn[name] / turn["minigraph"] for turn in turns]
        low, ratio, high = numpy.quantile(ratios, [0.25, 0.5, 0.75])
        median = statistics.median(turn[name] for turn in turns)
        rows.append({"work": work, "system": name, "seconds": median, "ratio": ratio, "quartiles": [low, high]})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--work", default="", help="only works whose name contains this")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS, help="minigraph is always there")
    parser.add_argument("--json", action="store_true", help="an object a line")
    options = parser.parse_args()
    systems = [name for name in SYSTEMS if name == "minigraph" or (name in options.systems and find_spec(name))]
    for work in WORKS:
        if options.work not in work:
            continue
        for row in compare(work, systems, options.rounds):
            if options.json:
                print(json.dumps(row), flush=True)
                continue
            low, high = row["quartiles"]
            print(
                f"{work:32} {row['system']:10} {1e3 * row['seconds']:9.2f} ms   {row['ratio']:5.2f} x minigraph's "
                f"[{low:.2f}, {high:.2f}]", flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
