"""Draw the pictures of these pages: python docs/drawings.py (needs the dot program)."""

import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # models/ is no installed package

import numpy as np

import minigraph as mg
from minigraph.graph.draw import save
from models import airnet, cnn, transformer

HERE = Path(__file__).parent / "drawings"


def loss(params, x, labels):
    logits, _ = apply(params, {}, x)
    return mg.cross_entropy(logits, labels)


apply = functools.partial(cnn.apply, train=True)


def text_loss(params, x, y):
    return mg.cross_entropy(transformer.apply(params, x), y)


def recurrence(p, x):
    h = np.zeros((2, 4))
    for t in range(x.shape[1]):
        h = mg.tanh(x[:, t] @ p["w"] + h @ p["u"])
    return h.sum()


def deep(params, x):
    for w in params["layers"]:
        x = mg.tanh(x @ w)
    return mg.mean(x * x)


def slope(x):
    return mg.sum(mg.grad(lambda x: mg.sum(mg.tanh(x) * x))(x))


def graphs():
    """The drawings by name."""
    x = mg.Tensor([1.0, 2.0], requires_grad=True)
    w = mg.Tensor([3.0, -1.0], requires_grad=True)
    params, _ = cnn.init(np.random.default_rng(0))
    images, labels = np.zeros((128, 32, 32, 3), np.float32), np.zeros(128, int)
    few = images[:2], labels[:2]
    weights, state = airnet.init(np.random.default_rng(0))
    codes = np.zeros((16, 64), int), np.zeros((16, 64), int)
    cell = {"w": np.ones((3, 4)), "u": np.ones((4, 4))}
    rng = np.random.default_rng(0)
    layers = {"layers": [rng.normal(size=(16, 16)) / 10 for _ in range(4)]}
    return {
        "tape": mg.draw(mg.tanh(x * w).sum(), names={"x": x, "w": w}),
        "cnn": mg.draw(loss, params, images, labels),
        "airnet": mg.draw(functools.partial(airnet.apply, train=True), weights, state, images[:2], depth=1),
        "recurrence": mg.draw(recurrence, cell, np.ones((2, 600, 3))),
        "cnn-both": mg.draw(loss, params, *few, view="both"),
        "cnn-gradient": mg.draw(mg.grad(loss), params, *few, depth=1),
        "transformer": mg.draw(text_loss, transformer.init(np.random.default_rng(0), characters=62), *codes, depth=2),
        "second-derivative": mg.draw(mg.grad(slope), np.ones(3)),
        "vanishing": mg.draw(deep, layers, rng.normal(size=(32, 16)), show=["gradient"]),
    }


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for name, graph in graphs().items():
        for path in save(graph, HERE / name):
            if path.suffix == ".dot":
                path.unlink()
