"""Trees of parameters and runs of an optimizer, for the tests of this folder."""

import numpy as np

from minigraph import tree
from minigraph.optim import SGD, Adam, AdamW

SHAPES = {"conv1": {"w": (3, 3, 2, 4), "b": (4,)}, "scale": (), "head": [(5, 3), (0, 2)]}

OPTIMIZERS = {
    "sgd": lambda lr=0.1: SGD(lr),
    "sgd decay": lambda lr=0.1: SGD(lr, weight_decay=0.02),
    "momentum": lambda lr=0.1: SGD(lr, momentum=0.9, weight_decay=0.02),
    "nesterov": lambda lr=0.1: SGD(lr, momentum=0.9, nesterov=True, weight_decay=0.02),
    "adam": lambda lr=0.1: Adam(lr, betas=(0.8, 0.95), eps=1e-6),
    "adam decay": lambda lr=0.1: Adam(lr, weight_decay=0.02),
    "adamw": lambda lr=0.1: AdamW(lr, weight_decay=0.02),
}


def draw(seed, shapes=SHAPES, dtype=np.float64):
    """A tree of arrays: SHAPES with a normal array for each shape."""
    rng = np.random.default_rng(seed)

    def arrays(shape):
        if isinstance(shape, dict):
            return {name: arrays(child) for name, child in shape.items()}
        if isinstance(shape, list):
            return [arrays(child) for child in shape]
        return np.asarray(rng.standard_normal(shape), dtype)

    return arrays(shapes)


def run(opt, params, gradients, state=None):
    state = opt.init(params) if state is None else state
    for grads in gradients:
        params, state = opt.step(params, grads, state)
    return params, state


def assert_same(a, b):
    """Equal bit for bit, in structure and dtype too."""
    for x, y in zip(tree.leaves(a), tree.leaves(tree.check_like(a, b, "b")), strict=True):
        assert x.tobytes() == y.tobytes()
