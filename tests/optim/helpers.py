"""Trees of parameters and runs of an optimizer, for the tests of this folder."""

import numpy as np

from minigraph import tree

SHAPES = {"conv1": {"w": (3, 3, 2, 4), "b": (4,)}, "scale": (), "head": [(5, 3), (0, 2)]}


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
